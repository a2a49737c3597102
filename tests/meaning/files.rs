//! What tests of the command line share: running it, and the arrays that it wrote.

use nc_ir::Tensor;
use nc_runtime::arrays::{ArrayFile, Limits};
use nc_tests::nc;
use std::path::Path;

/// All arrays of a file.
pub fn arrays(path: &Path) -> Vec<(String, Tensor)> {
    ArrayFile::open(path, Limits::default()).and_then(|f| f.read_all()).expect("an array file")
}

/// Runs `nc` in a folder, which must succeed; what it says on standard error.
pub fn done(folder: &Path, args: &[&str]) -> String {
    let (code, out, err) = nc(folder, args);
    assert_eq!(code, Some(0), "{args:?}\n{out}\n{err}");
    err
}
