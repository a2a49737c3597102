//! The logarithm and what is made of it.
//!
//! `x = 2^k (1 + f)` with `1 + f` from `sqrt(1/2)` to `sqrt(2)`, and `log(1 + f) = 2 atanh(s)` with `s = f / (2 + f)`,
//! arranged as `f - (f^2/2 - s (f^2/2 + s^2 P(s^2)))` so that the leading term is exact.

use super::build::Build;
use super::coefs::{HALF_SQRT2, LN_2, LOG};
use crate::kernel::Emit;

impl<E: Emit> Build<'_, E> {
    /// The bits of `sqrt(1/2)`.
    fn half_sqrt2_bits(&mut self) -> E::Value {
        let (narrow, wide) = HALF_SQRT2.hi;
        let bits = if self.wide { wide.to_bits() as i64 } else { i64::from(narrow.to_bits()) };
        self.int(bits)
    }

    /// `k` for a positive normal `x = 2^k m`, with `m` from `sqrt(1/2)` to `sqrt(2)`; and the bits of `x`.
    fn exponent(&mut self, x: E::Value) -> (E::Value, E::Value) {
        let (bits, base, s) = (self.bits(x), self.half_sqrt2_bits(), self.mantissa());
        let s = self.int(s);
        let above = self.isub(bits, base);
        (self.sar(above, s), bits)
    }

    /// `m` (as [`Build::exponent`] has it), given what that returned.
    fn significand(&mut self, k: E::Value, bits: E::Value) -> E::Value {
        let s = self.mantissa();
        let s = self.int(s);
        let field = self.shl(k, s);
        let m = self.isub(bits, field);
        self.float(m)
    }

    /// `x = 2^k m` for any positive finite `x`, subnormals too, with `m` from `sqrt(1/2)` to `sqrt(2)`.
    /// Returns `m` and `k`, both as floats.
    pub(super) fn split(&mut self, x: E::Value) -> (E::Value, E::Value) {
        let shift = self.mantissa();
        let normal = self.pick((f32::MIN_POSITIVE, f64::MIN_POSITIVE));
        let up = self.num((1u64 << shift) as f64);
        let small = self.lt(x, normal);
        let lifted = self.mul(x, up);
        let x = self.select(small, lifted, x);
        let (k, bits) = self.exponent(x);
        let m = self.significand(k, bits);
        let (shift, zero) = (self.int(shift), self.int(0));
        let by = self.select(small, shift, zero);
        let k = self.isub(k, by);
        (m, self.value_of(k))
    }

    /// `k ln(2) + log(1 + f)` for `1 + f` from `sqrt(1/2)` to `sqrt(2)`.
    pub(super) fn log_near(&mut self, f: E::Value, k: E::Value) -> E::Value {
        let (two, half) = (self.num(2.0), self.num(0.5));
        let d = self.add(f, two);
        let s = self.div(f, d);
        let z = self.mul(s, s);
        let p = self.poly(&LOG, z);
        let hf = self.mul(f, half);
        let hff = self.mul(hf, f);
        let q = self.fma(z, p, hff);
        let q = self.mul(s, q);
        let (hi, lo) = (self.pick(LN_2.hi), self.pick(LN_2.lo));
        let q = self.fma(k, lo, q);
        let q = self.sub(hff, q);
        let q = self.sub(f, q);
        self.fma(k, hi, q)
    }

    /// `log(1 + u)` for `u` from 0 to 1.
    pub(super) fn log1p_unit(&mut self, u: E::Value) -> E::Value {
        let one = self.num(1.0);
        let v = self.add(u, one);
        let (k, _) = self.exponent(v);
        let f = self.scaled_excess(u, k);
        let k = self.value_of(k);
        self.log_near(f, k)
    }

    /// `(1 + u) / 2^k - 1`, rounded once, for `2^k` about `1 + u` and at most 2^30.
    fn scaled_excess(&mut self, u: E::Value, k: E::Value) -> E::Value {
        let (zero, one) = (self.int(0), self.num(1.0));
        let down = self.isub(zero, k);
        let s = self.pow2(down);
        let less = self.sub(s, one);
        self.fma(u, s, less)
    }

    /// The logarithm's results outside the positive numbers: `y` corrected for the argument `x` (with `zero` where the
    /// result is minus infinity): infinity and NaN are their own result, below `zero` there is none.
    fn log_ends(&mut self, y: E::Value, x: E::Value, zero: f64) -> E::Value {
        let (inf, zero) = (self.num(f64::INFINITY), self.num(zero));
        let (low, nan) = (self.num(f64::NEG_INFINITY), self.num(f64::NAN));
        let finite = self.lt(x, inf);
        let y = self.select(finite, y, x);
        let at = self.eq(x, zero);
        let y = self.select(at, low, y);
        let below = self.lt(x, zero);
        self.select(below, nan, y)
    }
}

/// The natural logarithm. Of 0: minus infinity; of a negative number: NaN.
pub fn log<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let (m, k) = b.split(x);
    let one = b.num(1.0);
    let f = b.sub(m, one);
    let y = b.log_near(f, k);
    b.log_ends(y, x, 0.0)
}

/// `log(1 + x)`, accurate near 0. Of -1: minus infinity; below: NaN.
pub fn log1p<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let one = b.num(1.0);
    let u = b.add(x, one);
    let (k, bits) = b.exponent(u);
    let m = b.significand(k, bits);
    let rounded = b.sub(m, one);
    let exact = b.scaled_excess(x, k);
    // Of large arguments the 1 is lost without harm, and 2^-k may not be normal.
    let large = b.pick((1e9, 1e18));
    let small = b.lt(x, large);
    let f = b.select(small, exact, rounded);
    let k = b.value_of(k);
    let y = b.log_near(f, k);
    let (mag, tiny) = (b.abs(x), b.pick((1.0 / (1u32 << 26) as f32, 1.0 / (1u64 << 55) as f64)));
    let tiny = b.lt(mag, tiny);
    let y = b.select(tiny, x, y);
    b.log_ends(y, x, -1.0)
}

/// `log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))`.
pub fn softplus<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let a = b.abs(x);
    let a = b.neg(a);
    let t = b.exp_below(a);
    let y = b.log1p_unit(t);
    let zero = b.num(0.0);
    let below = b.lt(x, zero);
    let base = b.select(below, zero, x);
    b.add(base, y)
}
