//! The kernel IR.
pub mod scalar;
pub use scalar::{Emit, Evaluate, Scalar, ScalarOp, ScalarType, Signature};
