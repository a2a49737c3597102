//! The kernel IR: what backends print. A few dozen scalar ops, structured loops, event lists, typed buffers.
//!
//! [`scalar`] is the arithmetic, [`program`] the structure, [`abi`] the memory layout and calling convention, [`text`]
//! the text form, [`verify`] the numbered constraints, [`phases`] what kernels touch, [`interp`] the reference interpreter. [`builder`] writes kernels,
//! [`testing`] makes random programs, [`docs`] prints reference tables.

pub mod abi;
pub mod builder;
pub mod docs;
pub mod interp;
pub mod phases;
pub mod program;
pub mod scalar;
pub mod testing;
pub mod text;
pub mod verify;

pub use builder::KernelBuilder;
pub use program::{
    Block, BufId, Buffer, Carried, Element, EventBody, EventList, Index, Kernel, Kernels, ListId, Parallel, Program,
    Role, Step, Stmt, Trips, Val, loaded_type,
};
pub use scalar::{Emit, Evaluate, Scalar, ScalarOp, ScalarType, Signature};
