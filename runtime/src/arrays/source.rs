//! Bytes at positions: a file or a buffer, and sequential reading of a part of it.

use crate::fail::Place;
use nc_ir::diag::Diagnostic;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Random access to the bytes of one input. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Source {
    kind: Kind,
    len: u64,
}

#[derive(Clone, Debug)]
enum Kind {
    File(Arc<File>),
    Bytes(Arc<[u8]>),
}

impl Source {
    /// Opens a regular file. Devices and pipes are refused before they are opened: opening one can block.
    pub fn open(path: &Path, place: &Place) -> Result<Source, Diagnostic> {
        let meta = std::fs::metadata(path).map_err(|e| place.error("E0600", format!("cannot be opened: {e}")))?;
        if !meta.is_file() {
            let found = if meta.is_dir() { "a directory" } else { "a device or a pipe" };
            return Err(place.error("E0600", format!("is {found}, a regular file was expected")));
        }
        let file = File::open(path).map_err(|e| place.error("E0600", format!("cannot be opened: {e}")))?;
        let len = file.metadata().map_err(|e| place.reading(&e))?.len();
        Ok(Source { kind: Kind::File(Arc::new(file)), len })
    }

    pub fn bytes(bytes: Vec<u8>) -> Source {
        Source { len: bytes.len() as u64, kind: Kind::Bytes(bytes.into()) }
    }

    /// Length when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.kind {
            Kind::File(f) => file_read_at(f, at, buffer),
            Kind::Bytes(b) => {
                let rest = usize::try_from(at).ok().and_then(|at| b.get(at..)).unwrap_or(&[]);
                let n = rest.len().min(buffer.len());
                buffer[..n].copy_from_slice(&rest[..n]);
                Ok(n)
            }
        }
    }

    /// Sequential reading of the bytes from `start` up to `end`.
    pub fn section(&self, start: u64, end: u64) -> Section {
        Section { source: self.clone(), at: start, end }
    }

    /// The first `n` bytes at `at`, or fewer if the source ends before.
    pub fn peek(&self, at: u64, n: u64) -> io::Result<Vec<u8>> {
        let mut v = Vec::new();
        self.section(at, at.saturating_add(n).min(self.len)).read_to_end(&mut v)?;
        Ok(v)
    }
}

#[cfg(unix)]
fn file_read_at(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

#[cfg(windows)]
fn file_read_at(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, at)
}

/// See [`Source::section`].
#[derive(Debug)]
pub(super) struct Section {
    source: Source,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let n = left.min(buffer.len());
        let got = self.source.read_at(self.at, &mut buffer[..n])?;
        self.at += got as u64;
        Ok(got)
    }
}
