//! Kernel programs to machine code through Cranelift.
//!
//! [`compile`] gives code in memory, [`compile_object`] a relocatable object; [`clif`] and [`asm`] show what is
//! generated. The result of every operation is the one of [`nc_ir::kernel::ScalarOp::eval`] to the bit (any NaN being as
//! good as another), whether it runs in scalar code or in vector lanes.

mod emit;
mod error;
mod functions;
mod jit;
mod object;
mod target;
mod wide;

pub use error::Unsupported;
pub use jit::{JitCode, compile};
pub use object::{Header, HostArray, asm, clif, compile_object, header};
pub use target::{Lanes, Options, Watch};
