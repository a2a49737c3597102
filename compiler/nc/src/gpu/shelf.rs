//! Code for graphics processors that is kept in a folder, found by what it was made of.

use crate::cache::Summary;
use nc_ir::Diagnostic;
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::{Program, Role};
use nc_mlir::gpu::{Arch, Arithmetic};
use nc_runtime::atomic::AtomicFile;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

/// Where the folder is named if no argument names it.
pub const VARIABLE: &str = "NC_KERNEL_CACHE";

/// What a kept file of text begins with; the fingerprint of what follows the line comes after it.
const HEAD: &str = "// nc kernels ";

/// What any other kept file begins with; the 32 bytes of the fingerprint of the rest come after it.
const MARK: &[u8] = b"nc code\0";

/// Most bytes of a kept file.
const MOST: u64 = 256 << 20;

/// A folder of code, one file for each program and architecture.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// The folder that is named, or the one of the environment.
    pub fn of(named: Option<&Path>) -> Option<Shelf> {
        let folder = match named {
            Some(path) => path.to_owned(),
            None => PathBuf::from(std::env::var_os(VARIABLE).filter(|v| !v.is_empty())?),
        };
        Some(Shelf { folder })
    }

    /// Where code is kept.
    pub fn file(&self, key: &str, arch: Arch) -> PathBuf {
        self.folder.join(format!("{key}.{}.{}", arch.name(), arch.extension()))
    }

    /// The code of this key, if it is there.
    ///
    /// # Errors
    /// E0874 if the file is there and is not what was written.
    pub fn get(&self, key: &str, arch: Arch) -> Result<Option<Vec<u8>>, Diagnostic> {
        let path = self.file(key, arch);
        let broken = |why: &str| {
            Diagnostic::error_nowhere("E0874", format!("{} is not code that nc kept: {why}", path.display()))
                .with_hint("delete the file; a build with `--features mlir` makes it anew")
        };
        let mut all = Vec::new();
        match std::fs::File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(broken(&e.to_string())),
            Ok(file) => file.take(MOST + 1).read_to_end(&mut all).map_err(|e| broken(&e.to_string()))?,
        };
        if all.len() as u64 > MOST {
            return Err(broken("it is too large"));
        }
        let code = if is_text(arch) {
            let end = all.iter().position(|b| *b == b'\n').ok_or_else(|| broken("it has no first line"))?;
            let (head, code) = (&all[..end], &all[end + 1..]);
            Some(code).filter(|code| head == first_line(code).as_bytes())
        } else {
            all.strip_prefix(MARK)
                .and_then(|rest| rest.split_at_checked(32))
                .and_then(|(sum, code)| (Sha256::digest(code).as_slice() == sum).then_some(code))
        };
        let code = code.ok_or_else(|| broken("its content and what it begins with do not belong together"))?;
        Ok(Some(code.to_vec()))
    }

    /// Keeps code.
    ///
    /// # Errors
    /// E0630 and its kin.
    pub fn put(&self, key: &str, arch: Arch, code: &[u8]) -> Result<(), Diagnostic> {
        crate::compile::make_folder(&self.folder)?;
        let mut file = AtomicFile::create(&self.file(key, arch))?;
        let head = match is_text(arch) {
            true => format!("{}\n", first_line(code)).into_bytes(),
            false => [MARK, Sha256::digest(code).as_slice()].concat(),
        };
        file.write_all(&head).and_then(|()| file.write_all(code)).map_err(|e| file.failure(&e))?;
        file.commit()
    }

    /// The code of this key: kept, or else made and then kept. What is there and is not what was written is made anew.
    ///
    /// # Errors
    /// What `make` refuses; E0630 and its kin.
    pub fn get_or_make(
        &self,
        key: &str,
        arch: Arch,
        make: impl FnOnce() -> Result<Vec<u8>, Diagnostic>,
    ) -> Result<Vec<u8>, Diagnostic> {
        if let Ok(Some(code)) = self.get(key, arch) {
            return Ok(code);
        }
        let code = make()?;
        self.put(key, arch, &code)?;
        Ok(code)
    }
}

impl Shelf {
    /// Where it is kept what a device proved.
    fn proven(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.proven"))
    }

    /// What a device proved, if that is kept.
    pub fn verdict(&self, key: &str) -> Option<Arithmetic> {
        let text = std::fs::read_to_string(self.proven(key)).ok()?;
        [Arithmetic::Portable, Arithmetic::Fused].into_iter().find(|a| text == format!("{}\n", Arch::Vulkan(*a).name()))
    }

    /// Keeps what a device proved.
    ///
    /// # Errors
    /// E0630 and its kin.
    pub fn keep_verdict(&self, key: &str, verdict: Arithmetic) -> Result<(), Diagnostic> {
        crate::compile::make_folder(&self.folder)?;
        let mut file = AtomicFile::create(&self.proven(key))?;
        writeln!(file, "{}", Arch::Vulkan(verdict).name()).map_err(|e| file.failure(&e))?;
        file.commit()
    }
}

/// Summarises all that a verdict hangs on: the device with its driver, the proof, and what makes code of it.
pub fn key_of_verdict(device: &str, proof: &str) -> String {
    let mut s = Summary::default();
    let _ = write!(s, "proof|{}|{device}|{proof}", nc_mlir::SOURCES);
    hex(&s.finish())
}

/// Whether code of an architecture is text.
fn is_text(arch: Arch) -> bool {
    match arch {
        Arch::Sm80 | Arch::Sm90 => true,
        Arch::Vulkan(_) => false,
    }
}

/// What a kept file of text begins with.
fn first_line(code: &[u8]) -> String {
    format!("{HEAD}{}", hex(&Sha256::digest(code)))
}

/// Summarises all that code is made of: the program but for the values of its constants and first states, its layout, and
/// what makes code of it.
pub fn key(program: &Program, layout: &Layout, entry: &str) -> String {
    let mut s = Summary::default();
    // A summary takes any text.
    let _ = write!(s, "1|{}|{entry}|{}|", nc_mlir::SOURCES, program.parts);
    let _ = write!(s, "{:?}|{:?}|{layout:?}|", program.lists, program.steps);
    for b in &program.buffers {
        let role = match &b.role {
            Role::Const(_) => "const".to_owned(),
            Role::State(_) => "state".to_owned(),
            other => format!("{other:?}"),
        };
        let _ = write!(s, "{role} {:?} {:?} {}|", b.name, b.elem, b.len);
    }
    hex(&s.finish())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nc_ir::{DType, Tensor};
    use nc_mlir::gpu::Arithmetic;

    fn program(name: &str, values: [f32; 2], parts: u32) -> (Program, Layout) {
        let mut p = Program::new("m", parts);
        p.add_buffer(name, DType::F32, 2, Role::Const(Tensor::from_vec(vec![2], values.to_vec()).expect("two")));
        p.add_buffer("s", DType::F32, 2, Role::State(Tensor::scalar_f32(values[0])));
        let layout = Layout::of(&p).expect("small");
        (p, layout)
    }

    #[test]
    fn a_key_tells_programs_apart_and_not_their_values() {
        let of = |name, values, parts, entry| {
            let (p, l) = program(name, values, parts);
            key(&p, &l, entry)
        };
        let base = of("w", [1.0, 2.0], 1, "nc 256");
        assert_eq!(base.len(), 64);
        assert_eq!(of("w", [3.0, 4.0], 1, "nc 256"), base);
        let others =
            [of("u", [1.0, 2.0], 1, "nc 256"), of("w", [1.0, 2.0], 2, "nc 256"), of("w", [1.0, 2.0], 1, "nc 128")];
        assert!(others.iter().all(|k| *k != base));
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_broken_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::of(Some(&dir.path().join("deep/kept"))).expect("named");
        let text = b".version 8.0\nret;\n".to_vec();
        let spirv = b"\x03\x02\x23\x07\n\xff\0\n".to_vec();
        for (arch, code) in [(Arch::Sm80, text), (Arch::Vulkan(Arithmetic::Portable), spirv)] {
            assert_eq!(shelf.get("k", arch).expect("nothing wrong"), None);
            let made = |shelf: &Shelf| {
                let mut made = false;
                let code = shelf.get_or_make("k", arch, || {
                    made = true;
                    Ok(code.clone())
                });
                (code.expect("code"), made)
            };
            assert_eq!(made(&shelf), (code.clone(), true));
            assert_eq!(made(&shelf), (code.clone(), false));
            assert_eq!(shelf.get("k", Arch::Sm90).expect("nothing wrong"), None);
            let file = shelf.file("k", arch);
            let whole = std::fs::read(&file).expect("a file");
            let mut other = whole.clone();
            other[20] ^= 1;
            for broken in [&whole[..whole.len() - 1], &whole[..10], b"", b"\xff\xfe\n", &other] {
                std::fs::write(&file, broken).expect("written");
                let e = shelf.get("k", arch).expect_err("broken");
                let name = format!("k.{}.{}", arch.name(), arch.extension());
                assert!(e.code == "E0874" && e.message.contains(&name), "{e:?}");
            }
            // Made anew over what is broken.
            assert_eq!(made(&shelf), (code.clone(), true));
            assert_eq!(std::fs::read(&file).expect("a file"), whole);
        }
        let arch = Arch::Sm80;
        let refused = shelf.get_or_make("other", arch, || Err(Diagnostic::error_nowhere("E0840", "no")));
        assert_eq!(refused.expect_err("not made").code, "E0840");
        assert!(!shelf.file("other", arch).exists());
    }

    #[test]
    fn verdicts_come_back_and_what_is_no_verdict_does_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::of(Some(&dir.path().join("kept"))).expect("named");
        let key = key_of_verdict("device 1.0", "proof");
        assert!(key != key_of_verdict("device 1.1", "proof") && key != key_of_verdict("device 1.0", "other"));
        assert_eq!(shelf.verdict(&key), None);
        for verdict in [Arithmetic::Portable, Arithmetic::Fused] {
            shelf.keep_verdict(&key, verdict).expect("kept");
            assert_eq!(shelf.verdict(&key), Some(verdict));
        }
        std::fs::write(shelf.proven(&key), "vulkan-fuse").expect("written");
        assert_eq!(shelf.verdict(&key), None);
    }
}
