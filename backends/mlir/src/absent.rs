//! What there is without the feature `llvm`.

use crate::{Options, Stage, Unsupported};
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::{Code, EntryPoint, Layout};

/// Names what is missing.
pub(crate) fn missing() -> Unsupported {
    Unsupported::new(
        "anything through LLVM, which this build was made without",
        "build nc with `--features mlir` where LLVM and MLIR 22 are installed",
    )
}

/// Machine code; there is none without the feature `llvm`.
#[derive(Debug)]
pub enum JitCode {}

impl Code for JitCode {
    fn entry(&self) -> EntryPoint {
        match *self {}
    }
}

/// Kernels of graphics processors on this processor; there are none without the feature `llvm`.
#[derive(Debug)]
pub enum Kernels {}

impl Kernels {
    /// Compiles the kernels of a program.
    ///
    /// # Errors
    /// Always [`Unsupported`] without the feature `llvm`.
    pub fn compile(_: &Program, _: &Layout, _: u32) -> Result<Kernels, Unsupported> {
        Err(missing())
    }

    /// Runs a launch; there is none to run without the feature `llvm`.
    ///
    /// # Safety
    /// As with the feature.
    ///
    /// # Errors
    /// Never returns.
    pub unsafe fn launch(&self, _: (u32, u32), _: &[u64]) -> Result<(), String> {
        match *self {}
    }
}

/// Compiles a program for the processor this runs on.
///
/// # Errors
/// Always [`Unsupported`] without the feature `llvm`.
pub fn compile(_: &Program, _: &Layout, _: &Options) -> Result<JitCode, Unsupported> {
    Err(missing())
}

/// The program as it stands at a stage on the way to code.
///
/// # Errors
/// Always [`Unsupported`] without the feature `llvm`.
pub fn text(_: &Program, _: &Layout, _: Stage) -> Result<String, Unsupported> {
    Err(missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_says_what_is_missing() {
        let program = Program::new("empty", 1);
        let Some(layout) = Layout::of(&program) else { panic!("nothing to lay out") };
        let arm = crate::arm::Options { prefix: "m".to_owned(), ..Default::default() };
        let refusals = [
            compile(&program, &layout, &Options::default()).err(),
            text(&program, &layout, Stage::Mlir).err(),
            crate::arm::object(&program, &layout, &arm).err(),
            crate::arm::asm(&program, &layout, &arm).err(),
            crate::gpu::text(&program, &layout, "m", crate::gpu::Arch::Sm80, crate::gpu::Stage::Ptx).err(),
            Kernels::compile(&program, &layout, 4).err(),
        ];
        for e in refusals {
            assert!(e.is_some_and(|e| e.what.contains("LLVM") && e.hint.contains("--features mlir")));
        }
    }
}
