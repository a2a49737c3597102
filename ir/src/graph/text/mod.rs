//! The text form of a module, which reads back to an equal module, names of values included.
//!
//! ```text
//! module "net" {
//!   dt = 0.001
//!   seed = 42
//!   const c0 "tau": f32 = [0.5]
//!   line line0 "P.spike": bool[4], source = %3, depth = 2
//!   conn conn0 "c" {
//!     pre = 0..4 of 4
//!     post = 0..4 of 4
//!     rule = random(p = 0.1, stream = 7)
//!     weight = scalar c0
//!     delay = ticks 1
//!   }
//!   graph {
//!     param %0 "P.v": f32[4]
//!     %1: f32 = constant{id = c0}()
//!     %2: f32[4] = mul(%0, %1)
//!     %3: bool[4] = gt(%2, %1)
//!   }
//!   input "x" = %0
//!   output "y" = %2
//!   state "P.v": read = %0, next = %2, init = c0
//!   probe "v" = %2 every 10
//! }
//! ```
//!
//! A region stands after the operands of its op, as its name and a block that ends in `give (..)`. Constants of up to
//! [`READABLE`] elements are lists, longer ones (and those with NaN) the little-endian bytes as `x"..."`. `#` begins a
//! comment. The reader never panics, takes memory in proportion to the text, and nests no deeper than the verifier allows;
//! it does not check types: [`super::verify`] does.

mod lex;
mod parse;
mod print;

#[cfg(test)]
mod tests;

pub use parse::parse;
pub use print::{print, print_elided, print_graph};

use crate::diag::{Diagnostic, Span};
use std::fmt;

/// Constants of at most this many elements are printed as lists.
pub const READABLE: usize = 64;

/// What is wrong with a module text, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The offending bytes of the text.
    pub span: Span,
    /// What was found and what is expected.
    pub message: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for TextError {}

impl From<TextError> for Diagnostic {
    fn from(e: TextError) -> Diagnostic {
        Diagnostic::error("E0520", e.span, e.to_string())
    }
}
