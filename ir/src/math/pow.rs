//! The power function.
//!
//! `|x|^y = 2^(y log2 |x|)`, with the logarithm and the product as unevaluated sums of two floats, by error-free
//! transformations with the fused multiply-add (Muller 2016, chapter 4), because the exponent's integer part eats the
//! leading bits.

use super::build::Build;
use super::coefs::{LN_2, LOG_TAIL, THIRD, TWO_OVER_LN2};
use crate::kernel::Emit;

impl<E: Emit> Build<'_, E> {
    /// `x y` as a sum of two floats, exactly (barring underflow).
    fn two_product(&mut self, x: E::Value, y: E::Value) -> (E::Value, E::Value) {
        let hi = self.mul(x, y);
        let minus = self.neg(hi);
        (hi, self.fma(x, y, minus))
    }

    /// `x + y` as a sum of two floats, exactly, for `x` of no lower exponent than `y`, or 0.
    fn two_sum(&mut self, x: E::Value, y: E::Value) -> (E::Value, E::Value) {
        let hi = self.add(x, y);
        let back = self.sub(x, hi);
        (hi, self.add(back, y))
    }

    /// `log2(x)` as a sum of two floats, for positive finite `x`.
    ///
    /// `log2(2^k m) = k + 2/ln(2) s (1 + s^2 (1/3 + s^2 P(s^2)))` with `s = (m - 1) / (m + 1)`; only `P` is in single
    /// precision.
    fn log2_pair(&mut self, x: E::Value) -> (E::Value, E::Value) {
        let (m, k) = self.split(x);
        let one = self.num(1.0);
        let f = self.sub(m, one);
        let (d, dl) = self.two_sum(one, m);
        let inv = self.div(one, d);
        let s = self.mul(f, inv);
        let minus = self.neg(s);
        let rest = self.fma(minus, d, f);
        let rest = self.fma(minus, dl, rest);
        let sl = self.mul(rest, inv);

        let (z, zl) = self.two_product(s, s);
        let ss = self.add(s, s);
        let zl = self.fma(ss, sl, zl);

        let p = self.poly(&LOG_TAIL, z);
        let p = self.mul(z, p);
        let (third, third_lo) = (self.pick(THIRD.hi), self.pick(THIRD.lo));
        let (c, cl) = self.two_sum(third, p);
        let cl = self.add(cl, third_lo);

        let (t, tl) = self.two_product(z, c);
        let tl = self.fma(z, cl, tl);
        let tl = self.fma(zl, c, tl);

        let (u, ul) = self.two_product(s, t);
        let ul = self.fma(sl, t, ul);
        let ul = self.fma(s, tl, ul);

        let (g, gl) = self.two_sum(s, u);
        let low = self.add(ul, sl);
        let gl = self.add(gl, low);

        let (scale, scale_lo) = (self.pick(TWO_OVER_LN2.hi), self.pick(TWO_OVER_LN2.lo));
        let (h, hl) = self.two_product(g, scale);
        let hl = self.fma(g, scale_lo, hl);
        let hl = self.fma(gl, scale, hl);

        let (hi, lo) = self.two_sum(k, h);
        (hi, self.add(lo, hl))
    }
}

/// `x` to the power `y`.
///
/// As in C99: 1 for `y = 0` and for `x = 1`, even if the other is NaN; NaN for finite `x < 0` and `y` no integer; the
/// sign of `x` (of a zero or an infinity too) for odd integers `y`, else positive.
pub fn pow<E: Emit>(e: &mut E, x: E::Value, y: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let (zero, one, inf) = (b.num(0.0), b.num(1.0), b.num(f64::INFINITY));
    let (low, nan) = (b.num(f64::NEG_INFINITY), b.num(f64::NAN));
    let a = b.abs(x);

    let (h, l) = b.log2_pair(a);
    let at_zero = b.eq(a, zero);
    let at_inf = b.eq(a, inf);
    let h = b.select(at_zero, low, h);
    let h = b.select(at_inf, inf, h);

    // y log2(a), held to where the result is far out of range.
    let (p, pl) = b.two_product(y, h);
    let pl = b.fma(y, l, pl);
    let (limit, minus) = (b.pick((160.0, 1100.0)), b.pick((-160.0, -1100.0)));
    let mag = b.abs(p);
    let inside = b.le(mag, limit);
    let up = b.gt(p, zero);
    let end = b.select(up, limit, minus);
    let p = b.select(inside, p, end);
    let pl = b.select(inside, pl, zero);

    let magic = b.magic();
    let t = b.add(p, magic);
    let (n, k) = b.nearest_by_adding(t);
    let r = b.sub(p, k);
    let ln2 = b.pick(LN_2.hi);
    let rl = b.mul(pl, ln2);
    let r = b.fma(r, ln2, rl);
    let v = b.exp_near(r);
    let v = b.scale(v, n);
    let at_one = b.eq(a, one);
    let v = b.select(at_one, one, v);

    // The parity of y.
    let half = b.num(0.5);
    let whole = b.trunc(y);
    let whole = b.eq(whole, y);
    let hy = b.mul(y, half);
    let fl = b.floor(hy);
    let uneven = b.ne(fl, hy);
    let odd = b.and(whole, uneven);
    let sign = b.sign_bit(x);
    let none = b.int(0);
    let sign = b.select(odd, sign, none);
    let v = b.flip(v, sign);

    let finite = b.gt(x, low);
    let negative = b.lt(x, zero);
    let negative = b.and(finite, negative);
    let broken = b.not(whole);
    let undefined = b.and(negative, broken);
    let unordered = b.uno(x, y);
    let undefined = b.or(undefined, unordered);
    let v = b.select(undefined, nan, v);
    let unit = b.eq(x, one);
    let none = b.eq(y, zero);
    let unit = b.or(unit, none);
    b.select(unit, one, v)
}
