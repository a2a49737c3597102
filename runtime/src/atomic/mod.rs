//! Output files that appear complete or not at all.
//!
//! Bytes go to a temporary file beside the target, which takes the target's name on [`AtomicFile::commit`]. Dropping the
//! file before that removes the temporary and leaves the target as it was. A process that is about to be ended by a
//! signal calls [`remove_pending`] first.

use crate::fail::Place;
use nc_ir::diag::Diagnostic;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempPath;

/// Temporaries of this process that are neither committed nor removed.
static PENDING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn pending() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While this lives no [`AtomicFile`] is created or committed: other threads that try wait.
#[must_use = "hold it until the process exits, so that no new temporary appears"]
pub struct Stopped {
    _lock: MutexGuard<'static, BTreeSet<PathBuf>>,
}

/// Removes the temporary file of every [`AtomicFile`] of the process that is not committed.
///
/// For the thread that handles an interrupt and then ends the process; it takes a lock, so it must not be called inside
/// a POSIX signal handler, and the calling thread must not create, commit or drop an [`AtomicFile`] while it holds the
/// result. A commit under way finishes first.
pub fn remove_pending() -> Stopped {
    let mut lock = pending();
    for path in std::mem::take(&mut *lock) {
        // A file that is gone already, or cannot be removed, leaves nothing to do for a process that is ending.
        let _ = fs::remove_file(path);
    }
    Stopped { _lock: lock }
}

/// How the finished bytes get to the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Delivery {
    /// By renaming: the target is a regular file or does not exist.
    Rename,
    /// By copying: the target is a device, a pipe or a socket, which must not be replaced.
    Copy,
}

/// A file under construction. Writing is not buffered.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temp: Option<TempPath>,
    /// The key in `PENDING`.
    temp_path: PathBuf,
    target: PathBuf,
    delivery: Delivery,
    place: Place,
}

impl AtomicFile {
    /// Starts a file that will be at `target`. The target is not touched.
    ///
    /// A link is followed, so that the file it names is replaced. A replaced file keeps its permissions. A target that is
    /// a device or a pipe is written at commit, from a temporary in the system's directory for them.
    ///
    /// # Errors
    /// E0632 if the target is a directory, is read-only or has no file name; E0630 or E0631 if no temporary can be made.
    pub fn create(target: &Path) -> Result<AtomicFile, Diagnostic> {
        let place = Place::file(&target.display().to_string());
        let existing = match fs::metadata(target) {
            Ok(m) => Some(m),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(place.writing(&e)),
        };
        let delivery = match &existing {
            Some(m) if m.is_dir() => return Err(place.error("E0632", "is a directory, an output file was expected")),
            Some(m) if m.is_file() && m.permissions().readonly() => {
                return Err(place.error("E0632", "is marked read-only"));
            }
            Some(m) if m.is_file() => Delivery::Rename,
            Some(_) => Delivery::Copy,
            None => Delivery::Rename,
        };
        if target.file_name().is_none() {
            return Err(place.error("E0632", format!("{:?} has no file name", target.display().to_string())));
        }
        let target = resolve(target).map_err(|e| place.writing(&e))?;
        let directory = match (delivery, target.parent()) {
            (Delivery::Rename, Some(parent)) => parent.to_owned(),
            _ => std::env::temp_dir(),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".nc-").suffix(".part");
        #[cfg(unix)]
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        #[cfg(unix)]
        builder.permissions(open);
        let mut lock = pending();
        let made = builder.tempfile_in(&directory).map_err(|e| {
            let d = place.writing(&e);
            if directory.is_dir() { d } else { d.with_hint(format!("there is no directory {}", directory.display())) }
        })?;
        let (file, temp) = made.into_parts();
        let temp_path = temp.to_path_buf();
        lock.insert(temp_path.clone());
        drop(lock);
        let made = AtomicFile { file, temp: Some(temp), temp_path, target, delivery, place };
        if let (Some(m), Delivery::Rename) = (existing, delivery) {
            made.file.set_permissions(m.permissions()).map_err(|e| made.place.writing(&e))?;
        }
        Ok(made)
    }

    /// Puts the bytes written so far at the target: on disk first, then under its name.
    ///
    /// # Errors
    /// E0630 or E0631; the target is then as it was (a device or pipe may have taken some bytes).
    pub fn commit(mut self) -> Result<(), Diagnostic> {
        self.deliver().map_err(|e| self.place.writing(&e))
    }

    fn deliver(&mut self) -> io::Result<()> {
        match self.delivery {
            Delivery::Rename => {
                self.file.sync_all()?;
                let mut lock = pending();
                if let Some(temp) = self.temp.take() {
                    // A failed rename drops the path in the error, which removes the temporary.
                    temp.persist(&self.target).map_err(|e| e.error)?;
                    lock.remove(&self.temp_path);
                }
                drop(lock);
                sync_directory(&self.target);
                Ok(())
            }
            Delivery::Copy => {
                self.file.seek(SeekFrom::Start(0))?;
                let mut target = File::options().write(true).open(&self.target)?;
                let mut buffer = vec![0; 1 << 16];
                loop {
                    let n = self.file.read(&mut buffer)?;
                    if n == 0 {
                        return target.flush();
                    }
                    target.write_all(&buffer[..n])?;
                }
            }
        }
    }

    /// The directory for further temporaries of the same output: the one on whose disk there must be room anyway.
    pub fn directory(&self) -> &Path {
        self.temp_path.parent().unwrap_or(Path::new("."))
    }

    /// What went wrong with a write to this file, as a diagnostic (E0631 for a full disk, else E0630).
    pub fn failure(&self, e: &io::Error) -> Diagnostic {
        self.place.writing(e)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        let mut lock = pending();
        drop(self.temp.take());
        lock.remove(&self.temp_path);
    }
}

/// The absolute path that a write to `target` reaches, links followed.
fn resolve(target: &Path) -> io::Result<PathBuf> {
    if let Ok(path) = fs::canonicalize(target) {
        return Ok(path);
    }
    // A link to a file that does not exist yet.
    let named = match fs::read_link(target) {
        Ok(to) => target.parent().unwrap_or(Path::new("")).join(to),
        Err(_) => target.to_owned(),
    };
    std::path::absolute(named)
}

/// Makes the new name durable where the system can; where it cannot, the name is as durable as any other.
fn sync_directory(target: &Path) {
    if cfg!(unix)
        && let Some(parent) = target.parent()
        && let Ok(d) = File::open(parent)
    {
        let _ = d.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut v: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        v.sort();
        v
    }

    #[test]
    fn appears_on_commit_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let mut f = AtomicFile::create(&target).unwrap();
        f.write_all(b"abc").unwrap();
        assert!(!target.exists());
        f.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn drop_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::write(&target, b"old").unwrap();
        let mut f = AtomicFile::create(&target).unwrap();
        f.write_all(b"new").unwrap();
        assert_eq!(names(dir.path()).len(), 2);
        drop(f);
        assert_eq!(names(dir.path()), ["out"]);
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }

    #[test]
    fn refuses_directories_and_missing_parents() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(AtomicFile::create(dir.path()).unwrap_err().code, "E0632");
        let d = AtomicFile::create(&dir.path().join("no/out")).unwrap_err();
        assert_eq!(d.code, "E0630");
        assert!(d.hint.unwrap().contains("no directory"));
        assert_eq!(AtomicFile::create(Path::new("")).unwrap_err().code, "E0632");
    }

    #[cfg(unix)]
    #[test]
    fn keeps_permissions_follows_links_refuses_read_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::write(&target, b"old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("out", &link).unwrap();
        let mut f = AtomicFile::create(&link).unwrap();
        f.write_all(b"new").unwrap();
        f.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        fs::set_permissions(&target, fs::Permissions::from_mode(0o440)).unwrap();
        assert_eq!(AtomicFile::create(&target).unwrap_err().code, "E0632");

        let dangling = dir.path().join("dangling");
        std::os::unix::fs::symlink("later", &dangling).unwrap();
        AtomicFile::create(&dangling).unwrap().commit().unwrap();
        assert!(dir.path().join("later").exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_a_full_disk_and_stays_a_device() {
        use std::os::unix::fs::FileTypeExt;
        let full = Path::new("/dev/full");
        if !full.exists() {
            eprintln!("skipped: no /dev/full");
            return;
        }
        let mut f = AtomicFile::create(full).unwrap();
        f.write_all(b"abc").unwrap();
        let temp = f.temp_path.clone();
        assert_eq!(f.commit().unwrap_err().code, "E0631");
        assert!(!temp.exists());
        assert!(fs::metadata(full).unwrap().file_type().is_char_device());
    }
}
