//! Machine code that was compiled before in this process, found by what it was compiled from.

use crate::args::Target;
use nc_compiler::Level;
use nc_ir::kernel::abi::Code;
use nc_ir::kernel::{Program, Role};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

/// A collision-resistant summary.
pub type Fingerprint = [u8; 32];

/// Takes in text and bytes, gives a [`Fingerprint`].
#[derive(Default)]
pub struct Summary(Sha256);

impl Summary {
    /// Takes in bytes, told apart from those before and after.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// The fingerprint of everything taken in.
    pub fn finish(self) -> Fingerprint {
        self.0.finalize().into()
    }
}

impl Write for Summary {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.0.update(s.as_bytes());
        Ok(())
    }
}

/// The fingerprint of a program: equal programs, and practically no others, have equal ones. Shapes, parts and the
/// values of constants and initial states are all part of it.
pub fn of_program(program: &Program) -> Fingerprint {
    let mut s = Summary::default();
    // A summary takes any text.
    let _ = write!(s, "{}|{:?}|{:?}|", program.parts, program.lists, program.steps);
    for b in &program.buffers {
        let (kind, data): (&str, &[u8]) = match &b.role {
            Role::Const(t) => ("const", t.bytes()),
            Role::State(t) => ("state", t.bytes()),
            Role::Temp => ("temp", &[]),
            Role::Input => ("input", &[]),
            Role::Output => ("output", &[]),
            Role::Probe { .. } => ("probe", &[]),
        };
        let every = if let Role::Probe { every } = b.role { every } else { 0 };
        let _ = write!(s, "{kind} {every} {:?} {:?} {}|", b.name, b.elem, b.len);
        s.bytes(data);
    }
    s.finish()
}

/// Code by the fingerprint of its program and who made it.
#[derive(Default)]
pub struct CodeCache {
    codes: HashMap<(Fingerprint, (Target, Level)), Arc<dyn Code>>,
}

/// Most programs whose code is kept. Reached, the cache starts anew: programs that are used again come back at once.
const MOST: usize = 256;

impl CodeCache {
    /// The code of `program` for a target at a level, made by `compile` if it is not there.
    ///
    /// # Errors
    /// What `compile` refuses; nothing is kept then.
    pub fn get<E>(
        &mut self,
        program: &Program,
        target: (Target, Level),
        compile: impl FnOnce() -> Result<Arc<dyn Code>, E>,
    ) -> Result<Arc<dyn Code>, E> {
        let key = (of_program(program), target);
        if let Some(code) = self.codes.get(&key) {
            return Ok(code.clone());
        }
        let code = compile()?;
        if self.codes.len() >= MOST {
            self.codes.clear();
        }
        self.codes.insert(key, code.clone());
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nc_ir::kernel::interp::{Interpreted, Options};
    use nc_ir::{DType, Tensor};

    fn program(weight: f32, parts: u32) -> Program {
        let mut p = Program::new("m", parts);
        let mut data = vec![0.0; 100];
        data[99] = weight;
        p.add_buffer("w", DType::F32, 100, Role::Const(Tensor::from_vec(vec![100], data).unwrap()));
        p
    }

    #[test]
    fn equal_programs_share_code_and_others_do_not() {
        let mut cache = CodeCache::default();
        let mut made = 0;
        let cpu = (Target::Cpu, Level::O2);
        let plain = (Target::Cpu, Level::O0);
        let llvm = (Target::Llvm, Level::O2);
        for (weight, parts, target) in
            [(1.0, 1, cpu), (1.0, 1, cpu), (2.0, 1, cpu), (1.0, 2, cpu), (1.0, 1, llvm), (1.0, 1, plain)]
        {
            let p = program(weight, parts);
            let code = cache.get(&p, target, || {
                made += 1;
                Interpreted::new(&p, Options::default()).map(|c| Arc::new(c) as Arc<dyn Code>)
            });
            assert!(code.is_ok());
        }
        assert_eq!(made, 5);
        let failed: Result<_, &str> = cache.get(&program(3.0, 1), cpu, || Err("refused"));
        assert!(failed.is_err());
    }
}
