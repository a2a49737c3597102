//! What this backend refuses.

use std::fmt;

/// Something that this backend does not do, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsupported {
    /// What is not supported.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

impl Unsupported {
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Unsupported {
        Unsupported { what: what.into(), hint: hint.into() }
    }
}

#[cfg(feature = "llvm")]
impl Unsupported {
    /// A program that breaks a constraint that the verifier checks.
    pub(crate) fn malformed(what: impl fmt::Display) -> Unsupported {
        Unsupported::new(format!("a malformed kernel program: {what}"), "verify the program before compiling it")
    }

    /// Something that MLIR or LLVM failed at.
    pub(crate) fn failed(at: &str, what: impl fmt::Display) -> Unsupported {
        Unsupported::new(format!("this program: {at}: {what}"), "use the target cpu or the reference interpreter")
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not supported: {} ({})", self.what, self.hint)
    }
}

impl std::error::Error for Unsupported {}
