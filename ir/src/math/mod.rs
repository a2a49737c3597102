//! The elementary functions, each one fixed sequence of [`ScalarOp`]s.
//!
//! Every function is written once against [`Emit`], so that the interpreter (with [`crate::kernel::Evaluate`]) and
//! every backend (which writes the same operations into a kernel) give the same bits. Guarantees, for binary32 and
//! binary64:
//!
//! - no branches and no tables in memory: both arms of a condition are computed and one is selected, so that a sequence
//!   vectorises as it stands;
//! - the binary32 versions use operations on 32-bit types only;
//! - at most 2 ulp from the true value for every argument, subnormal results included. For binary32 functions of one
//!   argument the example `ulp` of this crate tests that over all 2^32 arguments; the others are tested by sampling;
//! - infinities, signed zeros and NaN as in C99, annex F; [`tanh`], [`sigmoid`] and [`erf()`] never leave their range.
//!
//! The methods are classical: reduction by a constant split into two floats (Cody and Waite, *Software Manual for the
//! Elementary Functions*, 1980), reduction of huge trigonometric arguments by the digits of 2/pi (Payne and Hanek,
//! *Radian reduction for trigonometric functions*, 1983), minimax polynomials by the Remez exchange and error-free
//! transformations (Muller, *Elementary Functions*, 3rd edition, 2016). The constants are printed by `derive.py`
//! beside this file.
//!
//! # Panics
//! Each function panics if its arguments are not of one float type (of the type in its name, for conversions), which
//! the verifiers of the graph and of the kernels rule out.

mod arc;
mod build;
mod coefs;
mod convert;
mod erf;
mod exp;
mod log;
mod pow;
mod tape;
mod trig;

#[cfg(test)]
mod tests;

pub use arc::{acos, asin, atan};
pub use convert::{decode_bf16, decode_f16, encode_bf16, encode_f16, round_bf16, round_f16};
pub use erf::{erf, gelu};
pub use exp::{exp, expm1, sigmoid, tanh};
pub use log::{log, log1p, softplus};
pub use pow::pow;
pub use tape::{Block, LANES, Step, Tape};
pub use trig::{cos, cos_turns, sin, sin_turns, tan};

use crate::kernel::{Emit, ScalarOp};

/// The square root of `x`, correctly rounded: the operation [`ScalarOp::FSqrt`] itself.
pub fn sqrt<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    e.op(ScalarOp::FSqrt, &[x])
}
