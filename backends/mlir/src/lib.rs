//! Kernel programs through MLIR and LLVM.
//!
//! [`compile`] gives code in memory for this processor, [`text`] shows the stages on the way there, [`arm::object`] gives a
//! relocatable object for an Arm core, [`gpu::text`] kernels for graphics processors. The result of every operation is the
//! one of [`nc_ir::kernel::ScalarOp::eval`] to the bit (any NaN being as good as another): nothing is contracted or
//! reassociated, and `fma` is fused where the program says so and nowhere else.
//!
//! All of it needs the feature `llvm`, and with it LLVM and MLIR 22 where this is built. Without the feature the crate
//! builds everywhere, and every call is refused with what is missing.

pub mod arm;
mod error;
pub mod gpu;
mod scratch;

#[cfg(feature = "llvm")]
mod cortex;
#[cfg(feature = "llvm")]
mod emit;
#[cfg(feature = "llvm")]
mod host;
#[cfg(feature = "llvm")]
mod ir;
#[cfg(feature = "llvm")]
mod jit;
#[cfg(feature = "llvm")]
mod llvm;
#[cfg(feature = "llvm")]
mod module;
#[cfg(feature = "llvm")]
mod ptx;
#[cfg(feature = "llvm")]
mod run;
#[cfg(feature = "llvm")]
mod spirv;
#[cfg(feature = "llvm")]
mod symbol;
#[cfg(feature = "llvm")]
mod team;

#[cfg(not(feature = "llvm"))]
mod absent;

#[cfg(not(feature = "llvm"))]
pub use absent::{JitCode, compile, text};
pub use error::Unsupported;
#[cfg(feature = "llvm")]
pub use jit::{JitCode, compile, text};

/// True if this build has the feature `llvm`.
pub const AVAILABLE: bool = cfg!(feature = "llvm");

/// Tells versions of this crate apart: the same text may become other code in another.
pub const SOURCES: &str = env!("NC_MLIR_SOURCES");

/// How code is generated. The result of running it does not depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Write out what machines lack that have 32-bit integers and `f32` only, as [`arm::object`] does. Slow; for tests of
    /// just that.
    pub small: bool,
}

/// A stage on the way to machine code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// MLIR as it is first written: `func`, `scf`, `arith`, `math`, and `llvm` for memory.
    Mlir,
    /// LLVM's intermediate representation after its passes.
    Llvm,
    /// Assembly language.
    Asm,
}
