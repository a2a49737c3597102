//! Inverse sine, cosine and tangent.

use super::build::Build;
use super::coefs::{ASIN, ATAN, HALF_PI};
use crate::kernel::Emit;

impl<E: Emit> Build<'_, E> {
    /// `k pi/4` as a sum of two floats, for a power of two `k`.
    fn eighths(&mut self, k: f64) -> [E::Value; 2] {
        let f = k / 2.0;
        let hi = self.pick((HALF_PI.hi.0 * f as f32, HALF_PI.hi.1 * f));
        [hi, self.pick((HALF_PI.lo.0 * f as f32, HALF_PI.lo.1 * f))]
    }

    /// `y` (which is not negative) with the sign of `x`.
    fn signed(&mut self, y: E::Value, x: E::Value) -> E::Value {
        let (bits, sign) = (self.bits(y), self.sign_bit(x));
        let bits = self.or(bits, sign);
        self.float(bits)
    }

    /// For `a = |x|`: whether it is above 1/2; the base `s`, which is `a` up to 1/2 and `sqrt((1 - a) / 2)` above; and `p`
    /// with `asin(s) = s + p`. Beyond 1 both are NaN.
    fn arc_sine(&mut self, a: E::Value) -> [E::Value; 3] {
        let (half, one) = (self.num(0.5), self.num(1.0));
        let far = self.gt(a, half);
        // The difference is exact: `a` is at least half of 1.
        let rest = self.sub(one, a);
        let rest = self.mul(rest, half);
        let square = self.mul(a, a);
        let z = self.select(far, rest, square);
        let root = self.e.op(crate::kernel::ScalarOp::FSqrt, &[rest]);
        let s = self.select(far, root, a);
        let p = self.poly(&ASIN, z);
        let sz = self.mul(s, z);
        [far, s, self.mul(sz, p)]
    }
}

/// The inverse tangent.
///
/// `pi/4 + atan((a - 1) / (a + 1))` for `a` from `tan(pi/8)` to `tan(3 pi/8)`, `pi/2 + atan(-1/a)` beyond, and `t + t^3 P(t^2)`
/// for what remains.
pub fn atan<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let a = b.abs(x);
    let (low, high, one, zero) = (b.num(0.4142135679721832), b.num(2.4142136573791504), b.num(1.0), b.num(0.0));
    let (middle, far) = (b.gt(a, low), b.gt(a, high));
    let (less, more, minus) = (b.sub(a, one), b.add(a, one), b.num(-1.0));
    let num = b.select(far, minus, less);
    let den = b.select(far, a, more);
    let quotient = b.div(num, den);
    let t = b.select(middle, quotient, a);
    let ([q_hi, q_lo], [h_hi, h_lo]) = (b.eighths(1.0), b.eighths(2.0));
    let (hi, lo) = (b.select(far, h_hi, q_hi), b.select(far, h_lo, q_lo));
    let (hi, lo) = (b.select(middle, hi, zero), b.select(middle, lo, zero));
    let z = b.mul(t, t);
    let p = b.poly(&ATAN, z);
    let tz = b.mul(t, z);
    let p = b.fma(tz, p, lo);
    // In the near range `hi` is 0 and this is `t + t^3 P`.
    let y = b.add(t, p);
    let y = b.add(hi, y);
    b.signed(y, x)
}

/// The inverse sine; NaN beyond 1. Above 1/2 it is `pi/2 - 2 asin(sqrt((1 - |x|) / 2))`.
pub fn asin<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let a = b.abs(x);
    let [far, s, p] = b.arc_sine(a);
    let near = b.add(s, p);
    let [hi, lo] = b.eighths(2.0);
    let (s, p) = (b.add(s, s), b.add(p, p));
    let rest = b.sub(lo, p);
    let rest = b.sub(rest, s);
    let beyond = b.add(hi, rest);
    let y = b.select(far, beyond, near);
    b.signed(y, x)
}

/// The inverse cosine; NaN beyond 1. Up to 1/2 in size it is `pi/2 - asin(x)`, else twice the inverse sine of
/// `sqrt((1 - |x|) / 2)`, taken from pi for negative `x`.
pub fn acos<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let (a, zero) = (b.abs(x), b.num(0.0));
    let [far, s, p] = b.arc_sine(a);
    let negative = b.lt(x, zero);
    // Near: pi/2 -+ (s + p). The sum of `hi` and `s` is rounded once; its rest goes with what is small.
    let [hi, lo] = b.eighths(2.0);
    let (minus_s, minus_p) = (b.neg(s), b.neg(p));
    let (t, q) = (b.select(negative, s, minus_s), b.select(negative, p, minus_p));
    let sum = b.add(hi, t);
    let lost = b.sub(hi, sum);
    let lost = b.add(lost, t);
    let q = b.add(q, lo);
    let q = b.add(q, lost);
    let near = b.add(sum, q);
    // Far: 2 (s + p), or pi minus that.
    let (s, p) = (b.add(s, s), b.add(p, p));
    let twice = b.add(s, p);
    let [pi_hi, pi_lo] = b.eighths(4.0);
    let rest = b.sub(pi_lo, p);
    let rest = b.sub(rest, s);
    let from_pi = b.add(pi_hi, rest);
    let beyond = b.select(negative, from_pi, twice);
    b.select(far, beyond, near)
}
