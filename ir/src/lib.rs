//! The two floors of `nc`'s intermediate representation and what they mean.

#[macro_use]
mod entity;

pub mod codes;
pub mod diag;
pub mod graph;
pub mod interp;
pub mod kernel;
pub mod math;
pub mod random;
pub mod tensor;
pub mod types;

pub use diag::{Diagnostic, Severity, Span};
pub use tensor::{Element, Tensor};
pub use types::{DType, Dim, TensorType};
