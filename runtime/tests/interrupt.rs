//! Interrupting a process that writes. Alone in its binary: removing the pending files concerns the whole process.

use nc_ir::tensor::Tensor;
use nc_runtime::arrays::{NpzOptions, NpzWriter};
use nc_runtime::atomic::{AtomicFile, remove_pending};
use std::io::Write;

#[test]
fn an_interrupt_removes_what_is_half_written_and_holds_off_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut a = AtomicFile::create(&dir.path().join("a")).unwrap();
    a.write_all(b"half").unwrap();
    let mut b = NpzWriter::create(&dir.path().join("b.npz"), NpzOptions::default()).unwrap();
    b.write("x", &Tensor::scalar_f32(1.0)).unwrap();
    std::fs::write(dir.path().join("kept"), b"").unwrap();

    let stopped = remove_pending();
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["kept"]);

    let later = dir.path().join("later");
    let writer = std::thread::spawn(move || AtomicFile::create(&later).unwrap().commit());
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing new while stopped");
    drop(stopped);
    writer.join().unwrap().unwrap();

    assert_eq!(a.commit().unwrap_err().code, "E0630");
    assert_eq!(b.finish().unwrap_err().code, "E0630");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}
