//! The exponential and what is made of it.
//!
//! `x = n ln(2) + r` with `|r| <= ln(2)/2`, and `exp(x) = 2^n (1 + (exp(r) - 1))`. `ln(2)` is split into two floats; with
//! a fused multiply-add the first step of the reduction is exact, since `n` needs few bits.

use super::build::Build;
use super::coefs::{EXP, EXPM1, LN_2, LOG2_E};
use crate::kernel::Emit;

/// What the reduction of an exponent gives.
pub(super) struct Reduced<V> {
    /// An integer whose low bits are those of `n`, with enough zeros above them to be shifted into an exponent field.
    pub n: V,
    /// The remainder.
    pub r: V,
}

impl<E: Emit> Build<'_, E> {
    /// `x + 3 * 2^(p-2)`, whose low bits hold the integer nearest to `x`, and that integer as a float.
    pub(super) fn nearest_by_adding(&mut self, t: E::Value) -> (E::Value, E::Value) {
        let magic = self.magic();
        (self.bits(t), self.sub(t, magic))
    }

    /// A float so large that its last place is 1, with room for either sign.
    pub(super) fn magic(&mut self) -> E::Value {
        self.pick((12_582_912.0, 6_755_399_441_055_744.0))
    }

    /// Reduces an `x` of at most a few thousand.
    pub(super) fn exp_reduce(&mut self, x: E::Value) -> Reduced<E::Value> {
        let (l2e, magic) = (self.pick(LOG2_E.hi), self.magic());
        let t = self.fma(x, l2e, magic);
        let (n, k) = self.nearest_by_adding(t);
        let (hi, lo) = (self.pick((-LN_2.hi.0, -LN_2.hi.1)), self.pick((-LN_2.lo.0, -LN_2.lo.1)));
        let r = self.fma(k, hi, x);
        let r = self.fma(k, lo, r);
        Reduced { n, r }
    }

    /// `exp(r) - 1` for `|r| <= ln(2)/2`.
    fn expm1_near(&mut self, r: E::Value) -> E::Value {
        let q = self.poly(&EXPM1, r);
        let rr = self.mul(r, r);
        self.fma(rr, q, r)
    }

    /// `exp(r)` for `|r| <= ln(2)/2`.
    pub(super) fn exp_near(&mut self, r: E::Value) -> E::Value {
        let one = self.num(1.0);
        let q = self.poly(&EXP, r);
        let rr = self.mul(r, r);
        let p = self.fma(rr, q, r);
        self.add(p, one)
    }

    /// `y 2^n` with one rounding for `y` about 1 and `n` from a reduction, past both ends of the normal range.
    pub(super) fn scale(&mut self, y: E::Value, n: E::Value) -> E::Value {
        let (one, s) = (self.int(1), self.mantissa());
        let s = self.int(s);
        let bias = self.bias() << self.mantissa();
        let bias = self.int(bias);
        let half = self.sar(n, one);
        let first = self.shl(half, s);
        let whole = self.shl(n, s);
        let second = self.isub(whole, first);
        let first = self.iadd(first, bias);
        let second = self.iadd(second, bias);
        let (first, second) = (self.float(first), self.float(second));
        let y = self.mul(y, first);
        self.mul(y, second)
    }

    /// `exp(x)` for an `x` that is clamped already to where `2^n` is the square of a normal number.
    pub(super) fn exp_clamped(&mut self, x: E::Value) -> E::Value {
        let Reduced { n, r } = self.exp_reduce(x);
        let y = self.exp_near(r);
        self.scale(y, n)
    }

    /// `exp(x)` for `x <= 0` (or NaN).
    pub(super) fn exp_below(&mut self, x: E::Value) -> E::Value {
        let x = self.at_least(x, EXP_LOW);
        self.exp_clamped(x)
    }
}

/// Below this the exponential rounds to 0.
const EXP_LOW: (f32, f64) = (-104.0, -746.0);
/// Above this it rounds to infinity.
const EXP_HIGH: (f32, f64) = (89.0, 710.0);

/// The exponential. Overflows to infinity, underflows through the subnormals to 0.
pub fn exp<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let x = b.at_most(x, EXP_HIGH);
    b.exp_below(x)
}

/// `exp(x) - 1`, accurate near 0.
///
/// `2^n exp(r) - 1 = 2^n (exp(r) - 1) + (2^n - 1)`; half of it is computed, so that `2^n` does not overflow too early.
pub fn expm1<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let c = b.at_most(x, EXP_HIGH);
    let c = b.at_least(c, (-30.0, -60.0));
    let Reduced { n, r } = b.exp_reduce(c);
    let p = b.expm1_near(r);
    let one = b.int(1);
    let n = b.isub(n, one);
    let (s, half) = (b.pow2(n), b.num(0.5));
    let less = b.sub(s, half);
    let y = b.fma(s, p, less);
    let y = b.add(y, y);
    // Subnormals and signed zeros are their own result.
    let (mag, tiny) = (b.abs(x), b.pick((1.0 / (1u32 << 26) as f32, 1.0 / (1u64 << 55) as f64)));
    let tiny = b.lt(mag, tiny);
    b.select(tiny, x, y)
}

/// The hyperbolic tangent.
///
/// With `w = exp(2 |x|) - 1` it is `1 - 2 / (w + 2)`, and `w/2 - w/2 (w / (w + 2))` where that is below 1/2.
pub fn tanh<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let sign = b.sign_bit(x);
    let a = b.abs(x);
    // Where the result has rounded to 1.
    let a = b.at_most(a, (10.0, 20.0));
    let a = b.add(a, a);
    let Reduced { n, r } = b.exp_reduce(a);
    let p = b.expm1_near(r);
    let (s, half, one, two) = (b.pow2(n), b.num(0.5), b.num(1.0), b.num(2.0));
    let less = b.sub(s, one);
    let w = b.fma(s, p, less);
    let d = b.add(w, two);
    let low = b.lt(w, two);
    let h = b.mul(w, half);
    let base = b.select(low, h, one);
    let num = b.select(low, w, two);
    let u = b.div(num, d);
    let u = b.neg(u);
    let y = b.fma(u, base, base);
    let bits = b.bits(y);
    let bits = b.or(bits, sign);
    b.float(bits)
}

/// The logistic function `1 / (1 + exp(-x))`.
///
/// With `t = exp(-|x|)` and `u = t / (1 + t)` it is `1 - u` or `t - t u`: nothing overflows, and the lower tail keeps its
/// precision.
pub fn sigmoid<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let a = b.abs(x);
    let a = b.neg(a);
    let t = b.exp_below(a);
    let (zero, one) = (b.num(0.0), b.num(1.0));
    let d = b.add(t, one);
    let u = b.div(t, d);
    let neg = b.lt(x, zero);
    let base = b.select(neg, t, one);
    let u = b.neg(u);
    b.fma(u, base, base)
}
