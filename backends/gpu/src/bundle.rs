//! Bundles: a plan with the code and the first contents of memory, as files.

use crate::plan::{Binary, Plan, VULKAN};
use crate::vulkan::words;
use nc_ir::Diagnostic;

/// The file of the plan.
pub const MANIFEST: &str = "gpu.json";
/// The file of the arena before the first tick.
pub const ARENA: &str = "arena.bin";
/// The file of the constant pool.
pub const CONSTS: &str = "consts.bin";

/// A plan, and what it names.
#[derive(Clone, PartialEq, Debug)]
pub struct Bundle {
    /// The plan.
    pub plan: Plan,
    /// The arena before the first tick.
    pub arena: Vec<u8>,
    /// The constant pool.
    pub consts: Vec<u8>,
    /// The code of each of [`Plan::binaries`].
    pub code: Vec<Vec<u8>>,
    /// The code of each binary of [`Plan::proof`].
    pub proofs: Vec<Vec<u8>>,
}

impl Bundle {
    /// The files with their names.
    ///
    /// # Errors
    /// E0872 for a plan that JSON cannot hold.
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>, Diagnostic> {
        let mut all = vec![(ARENA.to_owned(), self.arena.clone()), (CONSTS.to_owned(), self.consts.clone())];
        let code = self.code.iter().chain(&self.proofs);
        all.extend(self.plan.all_binaries().zip(code).map(|(b, c)| (b.file.clone(), c.clone())));
        let text = serde_json::to_string_pretty(&self.plan)
            .map_err(|e| Diagnostic::error_nowhere("E0872", format!("{MANIFEST} is not written: {e}")))?;
        all.push((MANIFEST.to_owned(), format!("{text}\n").into_bytes()));
        Ok(all)
    }

    /// Reads a bundle; `file` gives the content of a file by its name, at most so many bytes of it.
    ///
    /// # Errors
    /// E0872, and what `file` refuses.
    pub fn read(file: impl Fn(&str, u64) -> Result<Vec<u8>, Diagnostic>) -> Result<Bundle, Diagnostic> {
        let wrong = |e: String| {
            Diagnostic::error_nowhere("E0872", format!("the bundle cannot be used: {e}"))
                .with_hint("write it anew with `nc compile MODEL --target gpu -o DIR`")
        };
        let text = file(MANIFEST, 256 << 20)?;
        let plan: Plan = serde_json::from_slice(&text).map_err(|e| wrong(format!("{MANIFEST}: {e}")))?;
        plan.check().map_err(|e| wrong(format!("{MANIFEST}: {e}")))?;
        let arena = file(ARENA, plan.arena_bytes)?;
        let consts = file(CONSTS, plan.const_bytes)?;
        let mut code = Vec::new();
        for b in plan.all_binaries() {
            let bytes = file(&b.file, 256 << 20)?;
            if !is_code(&b.arch, &bytes) {
                return Err(wrong(format!("{} is no code for {}", b.file, b.arch)));
            }
            code.push(bytes);
        }
        let proofs = code.split_off(plan.binaries.len());
        plan.memory(&arena, &consts).map_err(wrong)?;
        Ok(Bundle { plan, arena, consts, code, proofs })
    }

    /// The code for an architecture, and of its proof.
    pub fn code_for(&self, arch: &str) -> (Option<&[u8]>, Option<&[u8]>) {
        let proof: &[Binary] = self.plan.proof.as_ref().map_or(&[], |p| &p.binaries);
        let of = |all: &[Binary], code: &[Vec<u8>]| all.iter().zip(code).position(|(b, _)| b.arch == arch);
        (
            of(&self.plan.binaries, &self.code).map(|n| self.code[n].as_slice()),
            of(proof, &self.proofs).map(|n| self.proofs[n].as_slice()),
        )
    }
}

/// Whether bytes look like code for an architecture: words of SPIR-V for Vulkan, text for any other.
fn is_code(arch: &str, bytes: &[u8]) -> bool {
    match VULKAN.contains(&arch) {
        true => words(bytes).is_some(),
        false => std::str::from_utf8(bytes).is_ok(),
    }
}
