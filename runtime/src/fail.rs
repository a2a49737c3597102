//! How failures of the operating system and of file formats become diagnostics.

use nc_ir::diag::Diagnostic;
use std::io;

/// The file, and the array in it, that a message is about.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The file as the user named it.
    pub file: String,
    /// The array, when the message is about one.
    pub array: Option<String>,
}

impl Place {
    pub fn file(file: &str) -> Place {
        Place { file: file.to_owned(), array: None }
    }

    pub fn array(&self, name: &str) -> Place {
        Place { file: self.file.clone(), array: Some(name.to_owned()) }
    }

    pub fn error(&self, code: &'static str, text: impl AsRef<str>) -> Diagnostic {
        let text = text.as_ref();
        Diagnostic::error_nowhere(
            code,
            match &self.array {
                Some(a) => format!("{}: array {a:?}: {text}", self.file),
                None => format!("{}: {text}", self.file),
            },
        )
    }

    /// A failed read. An early end is a truncated file.
    pub fn reading(&self, e: &io::Error) -> Diagnostic {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => self.error("E0602", "the file ended while it was read"),
            _ => self.error("E0600", format!("cannot be read: {e}")),
        }
    }

    /// A failed write. A full disk has a code of its own.
    pub fn writing(&self, e: &io::Error) -> Diagnostic {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                self.error("E0631", format!("the disk is full: {e}"))
            }
            _ => self.error("E0630", format!("cannot be written: {e}")),
        }
    }
}

/// What is wrong with `name` as the name of an array, if anything.
pub(crate) fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name.len() > MAX_NAME {
        Some("is longer than 1024 bytes")
    } else if name.chars().any(char::is_control) {
        Some("has a control character")
    } else if name.contains('\\') {
        Some("has a backslash")
    } else if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("looks like a path that leaves its directory")
    } else {
        None
    }
}

/// Longest name of an array in bytes.
pub(crate) const MAX_NAME: usize = 1024;

/// Bytes of `shape` elements of `size` bytes, or `None` if they, or the product of the non-zero extents alone, do not
/// fit the address space.
pub(crate) fn byte_size(shape: &[usize], size: usize) -> Option<usize> {
    let solid = shape.iter().try_fold(size, |n, d| n.checked_mul((*d).max(1)))?;
    (isize::try_from(solid).is_ok()).then(|| if shape.contains(&0) { 0 } else { solid })
}
