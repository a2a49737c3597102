//! Writing `.npz`: whole arrays, and arrays that grow frame by frame while others do too.

use super::check_name;
use super::npy;
use super::zip::{CENTRAL, END, END64, LOCAL, LOCATOR64};
use crate::atomic::AtomicFile;
use crate::fail::{Place, byte_size};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use half::bf16;
use nc_ir::diag::Diagnostic;
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How an `.npz` is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NpzOptions {
    /// Compress the members with deflate. Smaller and slower; stored by default.
    pub deflate: bool,
}

/// Writes one `.npz`, which appears at its target when [`NpzWriter::finish`] succeeds and not before.
///
/// The bytes of the file depend on nothing but what is written: members carry a fixed time. `bf16` is written as `f32`,
/// which holds all of its values, since npy has no name for it. Memory is bounded: what is appended to a stream beyond
/// 256 KiB waits in an unnamed temporary file on the disk of the target.
#[derive(Debug)]
pub struct NpzWriter {
    out: BufWriter<AtomicFile>,
    place: Place,
    options: NpzOptions,
    names: HashSet<String>,
    members: Vec<Written>,
    streams: Vec<Growing>,
    /// Length of what is written.
    at: u64,
    /// The first failure; the file cannot be completed after it.
    failed: Option<Diagnostic>,
}

/// A growing array of an [`NpzWriter`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamId(usize);

/// A member that stands in the file.
#[derive(Debug)]
struct Written {
    name: String,
    at: u64,
    /// 0 stored, 8 deflated.
    method: u16,
    stored: u64,
    unpacked: u64,
    crc: u32,
}

/// An array that still grows.
#[derive(Debug)]
struct Growing {
    name: String,
    dtype: DType,
    frame: Vec<usize>,
    frame_bytes: usize,
    frames: usize,
    spool: Spool,
}

/// Bytes in memory up to a bound, the ones before them in a file without a name.
#[derive(Debug, Default)]
struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
}

const SPOOL: usize = 256 << 10;

/// Most dimensions that numpy reads.
const MAX_RANK: usize = 64;

impl Spool {
    fn push(&mut self, bytes: &[u8], directory: &Path) -> io::Result<()> {
        if self.memory.len() + bytes.len() > SPOOL {
            let file = match &mut self.file {
                Some(f) => f,
                none => none.insert(tempfile::tempfile_in(directory)?),
            };
            file.write_all(&self.memory)?;
            self.memory.clear();
            if bytes.len() > SPOOL {
                return file.write_all(bytes);
            }
        }
        self.memory.extend_from_slice(bytes);
        Ok(())
    }

    /// Gives all bytes in order.
    fn drain(self, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if let Some(mut file) = self.file {
            file.seek(SeekFrom::Start(0))?;
            let mut buffer = vec![0; SPOOL];
            loop {
                let n = file.read(&mut buffer)?;
                if n == 0 {
                    break;
                }
                to(&buffer[..n])?;
            }
        }
        to(&self.memory)
    }
}

impl NpzWriter {
    /// Starts a file that will be at `target`.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn create(target: &Path, options: NpzOptions) -> Result<NpzWriter, Diagnostic> {
        Ok(NpzWriter {
            out: BufWriter::with_capacity(1 << 16, AtomicFile::create(target)?),
            place: Place::file(&target.display().to_string()),
            options,
            names: HashSet::new(),
            members: Vec::new(),
            streams: Vec::new(),
            at: 0,
            failed: None,
        })
    }

    /// Writes a whole array.
    ///
    /// # Errors
    /// E0612, E0613 for its name, E0633 for more than 64 dimensions, E0630, E0631.
    pub fn write(&mut self, name: &str, array: &Tensor) -> Result<(), Diagnostic> {
        self.usable()?;
        self.claim(name, array.shape().len())?;
        let header = npy::write_header(array.dtype(), array.shape());
        let deflate = self.options.deflate;
        let written = member(&mut self.out, self.at, name, deflate, |to| {
            to(&header)?;
            if array.dtype() == DType::BF16 {
                // In blocks, so that the widened copy stays small.
                array.as_slice::<bf16>().chunks(1 << 14).try_for_each(|block| to(&widened(block)))
            } else {
                to(array.bytes())
            }
        });
        self.keep(written)
    }

    /// Declares an array that grows along a new leading axis. It appears in the file even if nothing is appended.
    ///
    /// # Errors
    /// E0612, E0613 for its name, E0633 for more than 63 dimensions of a frame or a frame larger than memory.
    pub fn stream(&mut self, name: &str, dtype: DType, frame: &[usize]) -> Result<StreamId, Diagnostic> {
        self.usable()?;
        let frame_bytes = byte_size(frame, dtype.size()).ok_or_else(|| {
            self.place
                .array(name)
                .error("E0633", format!("frames of shape {frame:?} have more elements than fit in memory"))
        })?;
        self.claim(name, frame.len() + 1)?;
        self.streams.push(Growing {
            name: name.to_owned(),
            dtype,
            frame: frame.to_vec(),
            frame_bytes,
            frames: 0,
            spool: Spool::default(),
        });
        Ok(StreamId(self.streams.len() - 1))
    }

    /// Appends frames, given as their bytes: little-endian, row-major, `bool` as 0 and 1.
    ///
    /// # Errors
    /// E0633 if the number of bytes is not that of so many frames, E0630, E0631.
    pub fn append(&mut self, id: StreamId, frames: usize, bytes: &[u8]) -> Result<(), Diagnostic> {
        self.usable()?;
        let Some(s) = self.streams.get_mut(id.0) else {
            return Err(self.place.error("E0633", "the array to append to belongs to another file"));
        };
        if s.frame_bytes.checked_mul(frames) != Some(bytes.len()) {
            let (dtype, frame, name) = (s.dtype, &s.frame, &s.name);
            return Err(self.place.array(name).error(
                "E0633",
                format!(
                    "{frames} frames of {dtype}{frame:?} take another number of bytes than the {} given",
                    bytes.len()
                ),
            ));
        }
        s.frames = s.frames.saturating_add(frames);
        let directory = self.out.get_ref().directory();
        let pushed = if s.dtype == DType::BF16 {
            bytes.chunks(1 << 15).try_for_each(|block| {
                let halves: Vec<bf16> = block.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b)).collect();
                s.spool.push(&widened(&halves), directory)
            })
        } else {
            s.spool.push(bytes, directory)
        };
        pushed.map_err(|e| self.fail(&e))
    }

    /// Appends one frame.
    ///
    /// # Errors
    /// E0633 if its element type or shape is not that of the stream, E0630, E0631.
    pub fn append_frame(&mut self, id: StreamId, frame: &Tensor) -> Result<(), Diagnostic> {
        if let Some(s) = self.streams.get(id.0)
            && (s.dtype != frame.dtype() || s.frame != frame.shape())
        {
            let (dtype, shape) = (s.dtype, &s.frame);
            return Err(self.place.array(&s.name).error(
                "E0633",
                format!("has frames of {dtype}{shape:?}, was given {}{:?}", frame.dtype(), frame.shape()),
            ));
        }
        self.append(id, 1, frame.bytes())
    }

    /// Frames appended so far.
    pub fn frames(&self, id: StreamId) -> usize {
        self.streams.get(id.0).map_or(0, |s| s.frames)
    }

    /// Writes the growing arrays and the directory, and puts the file at its target. Members stand in the order of the
    /// whole arrays first, then the growing ones as declared.
    ///
    /// # Errors
    /// E0630, E0631, or the failure of an earlier call; the target is then as it was.
    pub fn finish(mut self) -> Result<(), Diagnostic> {
        self.usable()?;
        for s in std::mem::take(&mut self.streams) {
            let mut shape = vec![s.frames];
            shape.extend(&s.frame);
            let header = npy::write_header(s.dtype, &shape);
            let deflate = self.options.deflate;
            let written = member(&mut self.out, self.at, &s.name, deflate, |to| {
                to(&header)?;
                s.spool.drain(to)
            });
            self.keep(written)?;
        }
        let end = directory(&self.members, self.at);
        self.out.write_all(&end).map_err(|e| self.place.writing(&e))?;
        match self.out.into_inner() {
            Ok(file) => file.commit(),
            Err(e) => Err(self.place.writing(e.error())),
        }
    }

    fn usable(&self) -> Result<(), Diagnostic> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, e: &io::Error) -> Diagnostic {
        let d = self.place.writing(e);
        self.failed = Some(d.clone());
        d
    }

    fn claim(&mut self, name: &str, rank: usize) -> Result<(), Diagnostic> {
        check_name(name, &self.place)?;
        if rank > MAX_RANK {
            return Err(self
                .place
                .array(name)
                .error("E0633", format!("has {rank} dimensions, numpy reads {MAX_RANK}")));
        }
        if self.names.insert(name.to_owned()) {
            Ok(())
        } else {
            Err(self.place.array(name).error("E0613", "was already written to this file"))
        }
    }

    fn keep(&mut self, written: io::Result<(Written, u64)>) -> Result<(), Diagnostic> {
        let (written, end) = written.map_err(|e| self.fail(&e))?;
        self.members.push(written);
        self.at = end;
        Ok(())
    }
}

/// The bytes of the values as `f32`.
fn widened(block: &[bf16]) -> Vec<u8> {
    block.iter().flat_map(|x| x.to_f32().to_le_bytes()).collect()
}

/// 1980-01-01 00:00, the first time zip can name.
const TIME: u32 = 0x0021_0000;

/// Version needed to extract: 4.5, for Zip64.
const VERSION: u16 = 45;

/// Bit 11: the name is UTF-8.
fn flags(name: &str) -> u16 {
    if name.is_ascii() { 0 } else { 1 << 11 }
}

/// Counts and sums what passes.
struct Counted<W> {
    to: W,
    bytes: u64,
    hasher: crc32fast::Hasher,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.bytes += n as u64;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Receives the content of a member piece by piece.
type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// Writes a member at `at`, the end of the file, and gives its record and the new end.
fn member(
    out: &mut BufWriter<AtomicFile>,
    at: u64,
    array: &str,
    deflate: bool,
    content: impl FnOnce(Sink<'_>) -> io::Result<()>,
) -> io::Result<(Written, u64)> {
    let name = format!("{array}.npy");
    let method = if deflate { 8u16 } else { 0 };
    let header = |crc: u32, stored: u64, unpacked: u64| {
        let mut h = Vec::with_capacity(50 + name.len());
        h.extend(LOCAL.to_le_bytes());
        h.extend(VERSION.to_le_bytes());
        h.extend(flags(&name).to_le_bytes());
        h.extend(method.to_le_bytes());
        h.extend(TIME.to_le_bytes());
        h.extend(crc.to_le_bytes());
        // The sizes stand in the Zip64 field: there is room for any size to be filled in afterwards.
        h.extend([0xFF; 8]);
        h.extend((name.len() as u16).to_le_bytes());
        h.extend(20u16.to_le_bytes());
        h.extend(name.as_bytes());
        h.extend(1u16.to_le_bytes());
        h.extend(16u16.to_le_bytes());
        h.extend(unpacked.to_le_bytes());
        h.extend(stored.to_le_bytes());
        h
    };
    let blank = header(0, 0, 0);
    out.write_all(&blank)?;
    let mut packed = Counted { to: &mut *out, bytes: 0, hasher: crc32fast::Hasher::new() };
    let (unpacked, crc) = if deflate {
        let encoder = DeflateEncoder::new(&mut packed, Compression::default());
        let mut plain = Counted { to: encoder, bytes: 0, hasher: crc32fast::Hasher::new() };
        content(&mut |b| plain.write_all(b))?;
        plain.to.finish()?;
        (plain.bytes, plain.hasher.finalize())
    } else {
        content(&mut |b| packed.write_all(b))?;
        (packed.bytes, packed.hasher.clone().finalize())
    };
    let stored = packed.bytes;
    let end = at + blank.len() as u64 + stored;
    out.seek(SeekFrom::Start(at))?;
    out.write_all(&header(crc, stored, unpacked))?;
    out.seek(SeekFrom::Start(end))?;
    Ok((Written { name, at, method, stored, unpacked, crc }, end))
}

/// The central directory and the end records, for an archive whose members end at `at`.
fn directory(members: &[Written], at: u64) -> Vec<u8> {
    const MAX: u64 = u32::MAX as u64;
    let mut d = Vec::new();
    let short = |n: u64| (n.min(MAX) as u32).to_le_bytes();
    for m in members {
        let mut long = Vec::new();
        for n in [m.unpacked, m.stored, m.at] {
            if n >= MAX {
                long.extend(n.to_le_bytes());
            }
        }
        d.extend(CENTRAL.to_le_bytes());
        // Made on Unix, so that the attributes are a file mode.
        d.extend((VERSION | 3 << 8).to_le_bytes());
        d.extend(VERSION.to_le_bytes());
        d.extend(flags(&m.name).to_le_bytes());
        d.extend(m.method.to_le_bytes());
        d.extend(TIME.to_le_bytes());
        d.extend(m.crc.to_le_bytes());
        d.extend(short(m.stored));
        d.extend(short(m.unpacked));
        d.extend((m.name.len() as u16).to_le_bytes());
        d.extend((if long.is_empty() { 0 } else { long.len() as u16 + 4 }).to_le_bytes());
        // No comment, first volume, no internal attributes.
        d.extend([0; 6]);
        d.extend((0o100_644u32 << 16).to_le_bytes());
        d.extend(short(m.at));
        d.extend(m.name.as_bytes());
        if !long.is_empty() {
            d.extend(1u16.to_le_bytes());
            d.extend((long.len() as u16).to_le_bytes());
            d.extend(long);
        }
    }
    let (count, size) = (members.len() as u64, d.len() as u64);
    if count >= 0xFFFF || size >= MAX || at >= MAX {
        let end = at + size;
        d.extend(END64.to_le_bytes());
        d.extend(44u64.to_le_bytes());
        d.extend((VERSION | 3 << 8).to_le_bytes());
        d.extend(VERSION.to_le_bytes());
        d.extend([0; 8]);
        d.extend(count.to_le_bytes());
        d.extend(count.to_le_bytes());
        d.extend(size.to_le_bytes());
        d.extend(at.to_le_bytes());
        d.extend(LOCATOR64.to_le_bytes());
        d.extend([0; 4]);
        d.extend(end.to_le_bytes());
        d.extend(1u32.to_le_bytes());
    }
    let count = (count.min(0xFFFF) as u16).to_le_bytes();
    d.extend(END.to_le_bytes());
    d.extend([0; 4]);
    d.extend(count);
    d.extend(count);
    d.extend(short(size));
    d.extend(short(at));
    d.extend([0; 2]);
    d
}
