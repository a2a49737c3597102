//! The pipeline from a model graph to kernels, once for all backends.
//!
//! ```text
//! model graph --fold, solve, fold--> discrete graph --hoist, saturate--> graph --lower, plan--> kernel program
//! ```
//!
//! [`compile`] runs the whole list; [`pipeline`] is that list. Nothing here does IO, and a model that cannot be lowered
//! is a [`Diagnostic`] that names the op.

pub mod codes;
pub mod control;
pub mod cost;
pub mod fold;
pub mod hoist;
pub mod lower;
pub mod pipeline;
pub mod prune;
pub mod rebuild;
pub mod saturate;
pub mod solve;
pub mod states;
pub mod tables;
pub mod unroll;

pub use pipeline::{Compiled, Level, LineHome, Math, Options, PassTime, StateHome, compile, prepare};

use nc_ir::Diagnostic;

/// What went wrong: at least one diagnostic.
pub type Errors = Vec<Diagnostic>;
