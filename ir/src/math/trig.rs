//! Sine, cosine and tangent.
//!
//! The argument is multiplied by 2/pi in integers, with as many of its bits as matter (Payne and Hanek 1983): bits of
//! 2/pi whose product with the argument is a multiple of 4 are skipped, and of the rest three words are kept. One
//! sequence serves every finite argument from pi/4 up; below pi/4 the argument is its own remainder.

use super::build::Build;
use super::coefs::{COS, HALF_PI, SIN, TAN, TWO_OVER_PI};
use crate::kernel::Emit;

impl<E: Emit> Build<'_, E> {
    /// Two zero words and as many words of 2/pi, of the integer type's width, as the largest argument needs.
    fn two_over_pi(&mut self) -> Vec<E::Value> {
        let mut words = vec![self.int(0); 2];
        if self.wide {
            words.extend(TWO_OVER_PI[..18].iter().map(|w| self.int(*w as i64)));
        } else {
            words.extend(TWO_OVER_PI[..3].iter().flat_map(|w| [self.int((w >> 32) as i64), self.int(*w as i64)]));
        }
        words
    }

    /// For finite `a >= 0`: the quadrant `q` (an integer, of which the two low bits count) and the remainder `r + low`
    /// with `a = q pi/2 + r + low` modulo 2 pi, `|r| <= pi/4` and `low` below the last place of `r`.
    fn quadrant(&mut self, a: E::Value) -> [E::Value; 3] {
        let (width, mantissa) = (self.width(), self.mantissa());
        let one = self.int(1);
        // a = sig * 2^(exponent - bias - (width - 1)), the top bit of `sig` set.
        let bits = self.bits(a);
        let s = self.int(mantissa);
        let exponent = self.shr(bits, s);
        let (mask, hidden) = (self.int((1 << mantissa) - 1), self.int(1 << mantissa));
        let sig = self.and(bits, mask);
        let sig = self.or(sig, hidden);
        let left = self.int(width - 1 - mantissa);
        let sig = self.shl(sig, left);

        // The first bit of 2/pi that counts, from the start of the two zero words.
        let offset = self.int(width - 1 - self.bias());
        let first = self.iadd(exponent, offset);
        let log_width = self.int(if self.wide { 6 } else { 5 });
        let word = self.sar(first, log_width);
        let word_mask = self.int(width - 1);
        let sh = self.and(first, word_mask);

        // Words `word ..= word + 3`, by selecting on each bit of `word`.
        let mut words = self.two_over_pi();
        let mut step = if self.wide { 16 } else { 4 };
        while step > 0 {
            let (bit, zero) = (self.int(step as i64), self.int(0));
            let taken = self.and(word, bit);
            let taken = self.ine(taken, zero);
            for i in 0..3 + step {
                if let Some(&other) = words.get(i + step) {
                    words[i] = self.select(taken, other, words[i]);
                }
            }
            words.truncate(3 + step);
            step /= 2;
        }
        let back = self.xor(sh, word_mask);
        let mut window = [one; 3];
        for (i, w) in window.iter_mut().enumerate() {
            let hi = self.shl(words[i], sh);
            let lo = self.shr(words[i + 1], one);
            let lo = self.shr(lo, back);
            *w = self.or(hi, lo);
        }

        // The two upper words of the product modulo 4: two bits of quadrant, then the fraction.
        let carried = self.umulhi(sig, window[2]);
        let mid = self.imul(sig, window[1]);
        let lo = self.iadd(mid, carried);
        let carry = self.ult(lo, mid);
        let hi = self.imul(sig, window[0]);
        let mid = self.umulhi(sig, window[1]);
        let hi = self.iadd(hi, mid);
        let more = self.iadd(hi, one);
        let hi = self.select(carry, more, hi);

        let (two, top, half) = (self.int(2), self.int(width - 2), self.int(1 << (width - 3)));
        let q = self.iadd(hi, half);
        let q = self.shr(q, top);
        let upper = self.shl(hi, two);
        let spill = self.shr(lo, top);
        let upper = self.or(upper, spill);
        let lower = self.shl(lo, two);

        // upper + lower / 2^width, a signed fraction of a quadrant, as a sum of two floats; then times pi/2.
        let f = self.value_of(upper);
        let back = self.int_of(f);
        let rest = self.isub(upper, back);
        let rest = self.value_of(rest);
        let lower = self.shr(lower, left);
        let lower = self.value_of(lower);
        let unit = self.num((-(mantissa as f64) - 1.0).exp2());
        let g = self.fma(lower, unit, rest);
        let scale = (-(width as f64)).exp2();
        let hi = self.pick((HALF_PI.hi.0 * scale as f32, HALF_PI.hi.1 * scale));
        let lo = self.pick((HALF_PI.lo.0 * scale as f32, HALF_PI.lo.1 * scale));
        let g = self.mul(g, hi);
        let g = self.fma(f, lo, g);
        let r = self.fma(f, hi, g);
        let minus = self.neg(r);
        let low = self.fma(f, hi, minus);
        let low = self.add(low, g);

        let (quarter, none, zero) = (self.pick((HALF_PI.hi.0 / 2.0, HALF_PI.hi.1 / 2.0)), self.int(0), self.num(0.0));
        let small = self.lt(a, quarter);
        [self.select(small, none, q), self.select(small, a, r), self.select(small, zero, low)]
    }

    /// `sin(q pi/2 + r + low)`, its sign flipped by `sign` (a sign bit in place, or 0).
    fn sin_quadrant(&mut self, [q, r, low]: [E::Value; 3], sign: E::Value) -> E::Value {
        let (zero, one, unit) = (self.int(0), self.int(1), self.num(1.0));
        let z = self.mul(r, r);
        let p = self.poly(&SIN, z);
        let rz = self.mul(r, z);
        let s = self.fma(rz, p, low);
        let s = self.add(r, s);
        let p = self.poly(&COS, z);
        let half = self.num(-0.5);
        let p = self.fma(z, p, half);
        let rl = self.mul(r, low);
        let rl = self.neg(rl);
        let c = self.fma(z, p, rl);
        let c = self.add(c, unit);
        let odd = self.and(q, one);
        let odd = self.ine(odd, zero);
        let y = self.select(odd, c, s);
        // The second bit of q, as a sign.
        let top = self.int(self.width() - 2);
        let down = self.shl(q, top);
        let mask = self.int(1 << (self.width() - 1));
        let down = self.and(down, mask);
        let flip = self.xor(down, sign);
        self.flip(y, flip)
    }

    /// NaN instead of `y` where `a` is infinite or NaN.
    fn if_finite(&mut self, a: E::Value, y: E::Value) -> E::Value {
        let (inf, nan) = (self.num(f64::INFINITY), self.num(f64::NAN));
        let finite = self.lt(a, inf);
        self.select(finite, y, nan)
    }
}

/// The sine of an angle in radians, exact reduction for every finite argument.
pub fn sin<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let sign = b.sign_bit(x);
    let a = b.abs(x);
    let at = b.quadrant(a);
    let y = b.sin_quadrant(at, sign);
    b.if_finite(a, y)
}

/// The cosine of an angle in radians, exact reduction for every finite argument.
pub fn cos<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let (a, one, zero) = (b.abs(x), b.int(1), b.int(0));
    let [q, r, low] = b.quadrant(a);
    let q = b.iadd(q, one);
    let y = b.sin_quadrant([q, r, low], zero);
    b.if_finite(a, y)
}

/// The tangent of an angle in radians, exact reduction for every finite argument.
///
/// With `t = tan(r + low)` as a sum of two floats it is `t`, or in odd quadrants `-1/t`, corrected by what the rounded
/// reciprocal lacks.
pub fn tan<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let (sign, a) = (b.sign_bit(x), b.abs(x));
    let [q, r, low] = b.quadrant(a);
    let z = b.mul(r, r);
    let p = b.poly(&TAN, z);
    let rz = b.mul(r, z);
    let w = b.mul(rz, p);
    let near = b.add(r, w);
    // The derivative is 1 + tan^2.
    let slope = b.mul(near, near);
    let more = b.fma(slope, low, low);
    let w = b.add(w, more);
    let t = b.add(r, w);
    let rest = b.sub(r, t);
    let rest = b.add(rest, w);
    let (zero, one, minus) = (b.int(0), b.int(1), b.num(-1.0));
    let inverse = b.div(minus, t);
    let unit = b.num(1.0);
    let lacks = b.fma(inverse, t, unit);
    let lacks = b.fma(inverse, rest, lacks);
    let inverse = b.fma(inverse, lacks, inverse);
    let odd = b.and(q, one);
    let odd = b.ine(odd, zero);
    let y = b.select(odd, inverse, t);
    let y = b.flip(y, sign);
    b.if_finite(a, y)
}

/// `sin(2 pi u)` for `|u|` up to 2^20, without the long reduction. An angle of a whole number of quarters is exact.
pub fn sin_turns<E: Emit>(e: &mut E, u: E::Value) -> E::Value {
    turns(e, u, 0)
}

/// `cos(2 pi u)` for `|u|` up to 2^20, without the long reduction. An angle of a whole number of quarters is exact.
pub fn cos_turns<E: Emit>(e: &mut E, u: E::Value) -> E::Value {
    turns(e, u, 1)
}

fn turns<E: Emit>(e: &mut E, u: E::Value, quarter: i64) -> E::Value {
    let b = &mut Build::new(e, u);
    let four = b.num(4.0);
    let f = b.mul(u, four);
    let n = b.nearest(f);
    let f = b.sub(f, n);
    let hi = b.pick(HALF_PI.hi);
    let r = b.mul(f, hi);
    let q = b.int_of(n);
    let (quarter, none, zero) = (b.int(quarter), b.int(0), b.num(0.0));
    let q = b.iadd(q, quarter);
    b.sin_quadrant([q, r, zero], none)
}
