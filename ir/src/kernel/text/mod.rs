//! The text form of kernel programs: [`Program`] prints itself, [`parse()`] reads it back equal to the bit.
//!
//! ```text
//! program "scale" parts 2
//!
//! buffer b0 "x" f32[8] input
//! buffer b1 "w" f32[8] const f32[8] { 1.0, -0.0, inf, 2.5, 1e-40, nan:0x7fc00001, 0.1, 3.0 }
//! buffer b2 "y" f32[8] output
//! buffer b3 "sum" f64[1] probe every 10
//! list l0 "spikes" len 8 slots 3 align 4
//!
//! kernel "scale" parallel 8 align 4 {
//!     for.vector v4 in v2..v3 {
//!         v5 = load b0[v4]
//!         v6 = load b1[v4*-1 + 7]
//!         v7 = fmul v5, v6
//!         store b2[v4], v7
//!     }
//! }
//! ```
//!
//! Around kernels stand loops, `loop 10 { .. }`, `loop b4[0] while b5[0] { .. }`, and branches, `if b5[0] { .. } else
//! { .. }`; a kernel in loops reads `kernel "k" serial iterations (v4, v5) { .. }` if it asks for their iterations.
//!
//! `v0` to `v3` are the tick, the part and the part's range. A serial loop that carries values reads
//! `v9 = for v4 in v2..v3 carry (v5 = v8) { .. yield v6 }`; event loops, pushes and branches read
//! `events l0[v5] { wide (v6, v7) { .. } one (v8) { .. } }`, `clear l0[v5]`, `push l0[v5], v4 if v6` and
//! `if v6 { .. } else { .. }`. A comment runs from `;` to the end of the line.
//!
//! A float prints as the shortest decimal that reads back to its bits; a NaN as all its bits. The parser takes any text
//! without panicking; its recursion is bounded by [`super::verify::MAX_DEPTH`] and its memory by the text's length and
//! the limit for data that is written as one repeated element.

mod lex;
mod parse;
mod print;

use super::program::Program;
use std::fmt;

pub use print::{print, print_kernel};

/// Bytes of constants and states that [`parse()`] takes at most.
pub const DEFAULT_MAX_BYTES: u64 = 1 << 30;

/// Why a text is not a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Reads a program, with data of at most [`DEFAULT_MAX_BYTES`]. What is read is not yet verified.
///
/// # Errors
/// The first place where the text is not in the form that [`print()`] writes.
pub fn parse(text: &str) -> Result<Program, ParseError> {
    parse_with_limit(text, DEFAULT_MAX_BYTES)
}

/// Reads a program, with data of at most `max_bytes`. What is read is not yet verified.
///
/// # Errors
/// As [`parse()`].
pub fn parse_with_limit(text: &str, max_bytes: u64) -> Result<Program, ParseError> {
    parse::program(text, max_bytes)
}

#[cfg(test)]
mod tests;
