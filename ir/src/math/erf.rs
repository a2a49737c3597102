//! The error function.

use super::build::Build;
use super::coefs::{ERF_FAR, ERF_NEAR};
use super::exp::Reduced;
use crate::kernel::Emit;

/// The error function.
///
/// For `|x| < 1` it is `x + x P(x^2)`; beyond, `1 - exp(-Q(|x|))` with a polynomial `Q` for `-log(erfc)`, clamped where
/// the result has rounded to 1.
pub fn erf<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut Build::new(e, x);
    let one = b.num(1.0);
    let z = b.mul(x, x);
    let p = b.poly(&ERF_NEAR, z);
    let near = b.fma(x, p, x);

    let sign = b.sign_bit(x);
    let a = b.abs(x);
    let c = b.at_most(a, (4.0, 6.0));
    let u = b.sub(c, one);
    let q = b.poly(&ERF_FAR, u);
    let q = b.neg(q);
    let Reduced { n, r } = b.exp_reduce(q);
    let t = b.exp_near(r);
    let t = b.neg(t);
    let s = b.pow2(n);
    let far = b.fma(t, s, one);
    let bits = b.bits(far);
    let bits = b.or(bits, sign);
    let far = b.float(bits);

    let small = b.lt(a, one);
    b.select(small, near, far)
}

/// `x/2 (1 + erf(x / sqrt(2)))`, with each step rounded.
///
/// The sum cancels for negative `x`: the error is about 1 ulp of `x/2`, not of the result.
pub fn gelu<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let t = {
        let b = &mut Build::new(e, x);
        let k = b.pick(super::coefs::HALF_SQRT2.hi);
        b.mul(x, k)
    };
    let t = erf(e, t);
    let b = &mut Build::new(e, x);
    let (one, half) = (b.num(1.0), b.num(0.5));
    let t = b.add(t, one);
    let h = b.mul(x, half);
    b.mul(h, t)
}
