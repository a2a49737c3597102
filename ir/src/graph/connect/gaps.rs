//! Random targets of one row, drawn by the gaps between them.

use crate::kernel::{Emit, Scalar, ScalarOp, ScalarType};
use crate::{math, random};

/// Draws the gaps of a `Random` rule: draw k of row i takes half a block at `(stream, i, k / 2)`, words 0 and 1 for even
/// k and 2 and 3 for odd k; their upper 53 bits times 2^-53 are the uniform u, and `floor(log(1 - u) / log1p(-p))` targets
/// are skipped.
pub(super) struct Gaps {
    stream: u64,
    row: u64,
    next: u64,
    block: [u32; 4],
    log_q: f64,
}

impl Gaps {
    /// Draws for row `row`; `log_q` is `log1p(-p)`.
    pub fn new(stream: u64, row: u64, log_q: f64) -> Gaps {
        Gaps { stream, row, next: 0, block: [0; 4], log_q }
    }

    /// `log1p(-p)`.
    pub fn log_q(p: f64) -> f64 {
        f64::from_bits(math::log1p(&mut Wide, (-p).to_bits()))
    }

    /// How many targets to skip: a whole number, at least 0.
    pub fn skip(&mut self) -> f64 {
        let k = self.next;
        self.next += 1;
        if k.is_multiple_of(2) {
            self.block = random::words_at(self.stream, self.row, k / 2, 0);
        }
        let (lo, hi) =
            if k.is_multiple_of(2) { (self.block[0], self.block[1]) } else { (self.block[2], self.block[3]) };
        let bits = ((u64::from(hi) << 32) | u64::from(lo)) >> 11;
        let u = bits as f64 * (1.0 / (1u64 << 53) as f64);
        let log = f64::from_bits(math::log(&mut Wide, (1.0 - u).to_bits()));
        (log / self.log_q).floor()
    }
}

/// Evaluates 64-bit code on bare bits: what [`crate::kernel::Evaluate`] computes where every number is an `f64` or an
/// `i64`, without the types beside them. Truth values are 0 and 1.
struct Wide;

impl Emit for Wide {
    type Value = u64;

    #[inline(always)]
    fn constant(&mut self, k: Scalar) -> u64 {
        k.bits()
    }

    #[inline(always)]
    fn op(&mut self, op: ScalarOp, args: &[u64]) -> u64 {
        let f = |k: usize| f64::from_bits(args[k]);
        let i = |k: usize| args[k] as i64;
        let float = |x: f64| x.to_bits();
        match op {
            ScalarOp::FAdd => float(f(0) + f(1)),
            ScalarOp::FSub => float(f(0) - f(1)),
            ScalarOp::FMul => float(f(0) * f(1)),
            ScalarOp::FDiv => float(f(0) / f(1)),
            ScalarOp::Fma => float(f(0).mul_add(f(1), f(2))),
            ScalarOp::FNeg => float(-f(0)),
            ScalarOp::FAbs => float(f(0).abs()),
            ScalarOp::FSqrt => float(f(0).sqrt()),
            ScalarOp::Floor => float(f(0).floor()),
            ScalarOp::Ceil => float(f(0).ceil()),
            ScalarOp::Trunc => float(f(0).trunc()),
            ScalarOp::Nearest => float(f(0).round_ties_even()),
            ScalarOp::FEq => u64::from(f(0) == f(1)),
            ScalarOp::FNe => u64::from(f(0) != f(1)),
            ScalarOp::FLt => u64::from(f(0) < f(1)),
            ScalarOp::FLe => u64::from(f(0) <= f(1)),
            ScalarOp::FGt => u64::from(f(0) > f(1)),
            ScalarOp::FGe => u64::from(f(0) >= f(1)),
            ScalarOp::FUno => u64::from(f(0).is_nan() || f(1).is_nan()),
            ScalarOp::IAdd => args[0].wrapping_add(args[1]),
            ScalarOp::ISub => args[0].wrapping_sub(args[1]),
            ScalarOp::IMul => args[0].wrapping_mul(args[1]),
            ScalarOp::Shl => args[0].wrapping_shl(args[1] as u32),
            ScalarOp::ShrS => i(0).wrapping_shr(args[1] as u32) as u64,
            ScalarOp::ShrU => args[0].wrapping_shr(args[1] as u32),
            ScalarOp::IEq => u64::from(args[0] == args[1]),
            ScalarOp::INe => u64::from(args[0] != args[1]),
            ScalarOp::ILt => u64::from(i(0) < i(1)),
            ScalarOp::ILe => u64::from(i(0) <= i(1)),
            ScalarOp::IGt => u64::from(i(0) > i(1)),
            ScalarOp::IGe => u64::from(i(0) >= i(1)),
            ScalarOp::ULt => u64::from(args[0] < args[1]),
            // Of truth values as of integers.
            ScalarOp::And => args[0] & args[1],
            ScalarOp::Or => args[0] | args[1],
            ScalarOp::Xor => args[0] ^ args[1],
            ScalarOp::Select => {
                if args[0] != 0 {
                    args[1]
                } else {
                    args[2]
                }
            }
            ScalarOp::I64ToF64 => float(i(0) as f64),
            ScalarOp::F64ToI64 => (f(0) as i64) as u64,
            ScalarOp::F64Bits | ScalarOp::BitsF64 => args[0],
            ScalarOp::UMulHi
            | ScalarOp::IDiv
            | ScalarOp::IRem
            | ScalarOp::Not
            | ScalarOp::F32ToF64
            | ScalarOp::F64ToF32
            | ScalarOp::I32ToF32
            | ScalarOp::I32ToF64
            | ScalarOp::I64ToF32
            | ScalarOp::F32ToI32
            | ScalarOp::F32ToI64
            | ScalarOp::F64ToI32
            | ScalarOp::I32ToI64
            | ScalarOp::U32ToI64
            | ScalarOp::I64ToI32
            | ScalarOp::F32Bits
            | ScalarOp::BitsF32
            | ScalarOp::BoolToI32 => unreachable!("the binary64 logarithm does not use {op}"),
        }
    }

    #[inline(always)]
    fn type_of(&self, _: u64) -> ScalarType {
        ScalarType::F64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Evaluate;

    #[test]
    fn bare_bits_give_the_same_logarithms() {
        for k in 0..20_000u64 {
            let x = random::words_at(7, k, 0, 0);
            let u = ((u64::from(x[0]) << 32) | u64::from(x[1])) as f64 / 2f64.powi(64);
            for (f, arg) in [(0, 1.0 - u), (1, -u), (0, u), (1, -u * 1e-9), (1, -u * 1e-18)] {
                let (bare, typed) = match f {
                    0 => (math::log(&mut Wide, arg.to_bits()), math::log(&mut Evaluate, Scalar::F64(arg))),
                    _ => (math::log1p(&mut Wide, arg.to_bits()), math::log1p(&mut Evaluate, Scalar::F64(arg))),
                };
                assert!(Scalar::F64(f64::from_bits(bare)).same(typed), "{arg}");
            }
        }
    }
}
