//! What the targets over array files share.

use nc_runtime::arrays::{ArrayFile, Limits};

/// Reads a file of arrays in every way there is; whole arrays and frames must agree.
pub fn read_arrays(shown: &str, bytes: &[u8]) {
    let limits = Limits { max_bytes: 1 << 24, max_arrays: 1 << 10, max_rank: 16 };
    let Ok(file) = ArrayFile::from_bytes(shown, bytes.to_vec(), limits) else { return };
    let _ = file.refused().count();
    for info in file.arrays().iter().take(32) {
        let whole = file.read(&info.name);
        if let Ok(t) = &whole {
            assert_eq!((t.shape(), t.dtype()), (&info.shape[..], info.dtype), "the listing differs from the data");
        }
        let Ok(mut frames) = file.frames(&info.name) else { continue };
        let mut bytes = Vec::new();
        let most = (frames.total() / 7).max(1);
        let complete = loop {
            match frames.next(most) {
                Ok(Some(block)) => bytes.extend_from_slice(block.bytes()),
                Ok(None) => break true,
                Err(_) => break false,
            }
            assert!(bytes.len() <= 2 << 24 || whole.is_err(), "frames hold more than the whole array");
            if bytes.len() > 2 << 24 {
                break false;
            }
        };
        if let (true, Ok(t)) = (complete, &whole) {
            assert_eq!(t.bytes(), &bytes[..], "frames differ from the whole array");
        }
    }
    let _ = file.read_all();
}
