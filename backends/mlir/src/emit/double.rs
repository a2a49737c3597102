//! Arithmetic on `f64` for machines that have only `f32`: values are the `i64` with the same bits.
//!
//! Sums and products are special cases of the fused multiply-add, which is exact up to its one rounding: `a * 1 + b`, and
//! `a * b - 0`. Exact results are a 128-bit number times a power of two, rounded in one place, [`pack`].

use super::expand::Helper;
use super::wide::Wide;
use crate::error::Unsupported;
use crate::ir::{Cmp, Ir, V, Write};
use nc_ir::kernel::{Scalar, ScalarOp};

const INFINITY: i64 = 0x7ff0 << 48;
const NAN: i64 = 0x7ff8 << 48;
const FRACTION: i64 = (1 << 52) - 1;
/// An exponent below all others, of zeros.
const LEAST: i64 = -100_000;

/// A number taken apart: it is `±m * 2^(e - 1075)` with m from 2^52 on below 2^53, or 0 with a very small exponent.
struct Parts<'c> {
    /// The sign bit in its place.
    sign: V<'c>,
    /// An `i32`.
    e: V<'c>,
    m: V<'c>,
    zero: V<'c>,
    infinite: V<'c>,
    nan: V<'c>,
}

fn unpack<'c>(ir: &mut Ir<'c>, x: V<'c>) -> Parts<'c> {
    let i32 = ir.types.i32;
    let sign = ir.by("arith.andi", x, i64::MIN);
    let a = ir.by("arith.andi", x, i64::MAX);
    let exponent = ir.by("arith.shrui", a, 52);
    let fraction = ir.by("arith.andi", a, FRACTION);
    let small = ir.cmp_k(Cmp::Eq, exponent, 0);
    let hidden = ir.by("arith.ori", fraction, 1 << 52);
    let m = ir.select(small, fraction, hidden);
    let zeros = ir.leading_zeros(m);
    let by = ir.by("arith.subi", zeros, 11);
    let amount = ir.by("arith.andi", by, 63);
    let m = ir.bin("arith.shli", m, amount);
    let exponent = ir.by("arith.maxsi", exponent, 1);
    let e = ir.bin("arith.subi", exponent, by);
    let e = ir.op("arith.trunci", &[e], i32);
    let zero = ir.cmp_k(Cmp::Eq, a, 0);
    let least = ir.int(i32, LEAST);
    let e = ir.select(zero, least, e);
    let infinite = ir.cmp_k(Cmp::Eq, a, INFINITY);
    let nan = ir.cmp_k(Cmp::Sgt, a, INFINITY);
    Parts { sign, e, m, zero, infinite, nan }
}

/// Calls [`pack`] for `±s * 2^e`.
fn packed<'c>(ir: &mut Ir<'c>, sign: V<'c>, s: Wide<'c>, e: V<'c>) -> V<'c> {
    Helper::Pack.call(ir, &[sign, s.high, s.low, e])
}

/// Rounds `±(high * 2^64 + low) * 2^e` to nearest even; 0 keeps the sign.
pub(super) fn pack<'c>(ir: &mut Ir<'c>, a: &[V<'c>]) -> V<'c> {
    let t = ir.types;
    let (sign, e) = (a[0], a[3]);
    let s = Wide { high: a[1], low: a[2] };
    let zeros = s.leading_zeros(ir);
    let amount = ir.by("arith.andi", zeros, 127);
    let s = s.left(ir, amount);
    let zeros = ir.op("arith.trunci", &[zeros], t.i32);
    let e = ir.bin("arith.subi", e, zeros);
    // The exponent as it is stored; from 0 down the number is subnormal.
    let e = ir.by("arith.addi", e, 127 + 1023);
    let one = ir.int(t.i32, 1);
    let below = ir.bin("arith.subi", one, e);
    let below = ir.by("arith.maxsi", below, 0);
    let s = s.jam(ir, below);
    let more = ir.cmp_k(Cmp::Ne, s.low, 0);
    let more = ir.op("arith.extui", &[more], t.i64);
    let m = ir.bin("arith.ori", s.high, more);
    let q = ir.by("arith.shrui", m, 11);
    let q = round(ir, q, m, 0x7ff, 0x400);
    let lower = ir.by("arith.subi", e, 1);
    let lower = ir.by("arith.maxsi", lower, 0);
    let lower = ir.by("arith.minsi", lower, 2046);
    let lower = ir.op("arith.extui", &[lower], t.i64);
    let lower = ir.by("arith.shli", lower, 52);
    let bits = ir.add(lower, q);
    let over = ir.cmp_k(Cmp::Sge, e, 2047);
    let infinity = ir.i64(INFINITY);
    let bits = ir.select(over, infinity, bits);
    let bits = ir.bin("arith.ori", bits, sign);
    let none = ir.cmp_k(Cmp::Eq, m, 0);
    ir.select(none, sign, bits)
}

/// `q`, one more if what is left of it in `m & mask` is more than `half`, or just that and `q` is odd.
fn round<'c>(ir: &mut Ir<'c>, q: V<'c>, m: V<'c>, mask: i64, half: i64) -> V<'c> {
    let rest = ir.by("arith.andi", m, mask);
    let odd = ir.by("arith.andi", q, 1);
    let odd = ir.cmp_k(Cmp::Ne, odd, 0);
    let tie = ir.cmp_k(Cmp::Eq, rest, half);
    let tie = ir.bin("arith.andi", tie, odd);
    let more = ir.cmp_k(Cmp::Sgt, rest, half);
    let up = ir.bin("arith.ori", more, tie);
    let up = ir.op("arith.extui", &[up], melior::ir::ValueLike::r#type(&q));
    ir.add(q, up)
}

/// `x * y + z` with one rounding.
pub(super) fn fma<'c>(ir: &mut Ir<'c>, a: &[V<'c>]) -> V<'c> {
    let (x, y, z) = (unpack(ir, a[0]), unpack(ir, a[1]), unpack(ir, a[2]));
    // The product's first bit is number 123 or 124, that of z number 123: a sum has room, and when bits are lost the other
    // term is so much larger that at most one leading bit cancels.
    let by = ir.i64(19);
    let product = Wide::product(ir, x.m, y.m).left(ir, by);
    let addend = Wide { high: ir.by("arith.shli", z.m, 71 - 64), low: ir.i64(0) };
    let ep = ir.add(x.e, y.e);
    let ep = ir.by("arith.addi", ep, -2150 - 19);
    let ez = ir.by("arith.addi", z.e, -1075 - 71);
    let (down, up) = (ir.bin("arith.subi", ep, ez), ir.bin("arith.subi", ez, ep));
    let (down, up) = (ir.by("arith.maxsi", down, 0), ir.by("arith.maxsi", up, 0));
    let addend = addend.jam(ir, down);
    let product = product.jam(ir, up);
    let e = ir.bin("arith.maxsi", ep, ez);
    let sign = ir.bin("arith.xori", x.sign, y.sign);
    let same = ir.cmp(Cmp::Eq, sign, z.sign);
    let sum = product.add(ir, addend);
    let (difference, swapped) = (product.sub(ir, addend), addend.sub(ir, product));
    let less = product.below(ir, addend);
    let magnitude = swapped.select(ir, less, difference);
    let s = sum.select(ir, same, magnitude);
    let of_difference = ir.select(less, z.sign, sign);
    let some = magnitude.some(ir);
    let positive = ir.i64(0);
    let of_difference = ir.select(some, of_difference, positive);
    let own = ir.select(same, sign, of_difference);
    let r = packed(ir, own, s, e);
    // What is infinite or no number.
    let (infinity, nan) = (ir.i64(INFINITY), ir.i64(NAN));
    let infinite = ir.bin("arith.ori", x.infinite, y.infinite);
    let of_product = ir.bin("arith.ori", infinity, sign);
    let r = ir.select(z.infinite, a[2], r);
    let r = ir.select(infinite, of_product, r);
    let no_zero = ir.bin("arith.ori", x.zero, y.zero);
    let bad_product = ir.bin("arith.andi", infinite, no_zero);
    let both = ir.bin("arith.andi", infinite, z.infinite);
    let differ = ir.cmp(Cmp::Ne, sign, z.sign);
    let bad_sum = ir.bin("arith.andi", both, differ);
    let bad = [bad_sum, x.nan, y.nan, z.nan].iter().fold(bad_product, |b, c| ir.bin("arith.ori", b, *c));
    ir.select(bad, nan, r)
}

/// `x / y`, bit by bit.
pub(super) fn divide<'c>(ir: &mut Ir<'c>, a: &[V<'c>]) -> Result<V<'c>, Unsupported> {
    let (x, y) = (unpack(ir, a[0]), unpack(ir, a[1]));
    let none = ir.i64(0);
    let state = ir.repeat(56, &[none, x.m], |ir, state| {
        let (q, r) = (state[0], state[1]);
        let less = ir.cmp(Cmp::Ult, r, y.m);
        let q = ir.by("arith.shli", q, 1);
        let bit = ir.by("arith.ori", q, 1);
        let rest = ir.bin("arith.subi", r, y.m);
        let (q, r) = (ir.select(less, q, bit), ir.select(less, r, rest));
        Ok(vec![q, ir.by("arith.shli", r, 1)])
    })?;
    let s = sticky(ir, state[0], state[1]);
    let e = ir.bin("arith.subi", x.e, y.e);
    let e = ir.by("arith.addi", e, -56);
    let sign = ir.bin("arith.xori", x.sign, y.sign);
    let r = packed(ir, sign, s, e);
    let (infinity, nan) = (ir.i64(INFINITY), ir.i64(NAN));
    let endless = ir.bin("arith.ori", infinity, sign);
    let over = ir.bin("arith.ori", x.infinite, y.zero);
    let nothing = ir.bin("arith.ori", x.zero, y.infinite);
    let r = ir.select(over, endless, r);
    let r = ir.select(nothing, sign, r);
    let bad = ir.bin("arith.andi", over, nothing);
    let bad = ir.bin("arith.ori", bad, x.nan);
    let bad = ir.bin("arith.ori", bad, y.nan);
    Ok(ir.select(bad, nan, r))
}

/// `2 q`, and one more if there is a remainder.
fn sticky<'c>(ir: &mut Ir<'c>, q: V<'c>, r: V<'c>) -> Wide<'c> {
    let more = ir.cmp_k(Cmp::Ne, r, 0);
    let more = ir.op("arith.extui", &[more], ir.types.i64);
    let q = ir.by("arith.shli", q, 1);
    let q = ir.bin("arith.ori", q, more);
    Wide::of(ir, q)
}

/// The square root, bit by bit: with an even exponent e, `sqrt(m * 2^e)` is the root of `m * 2^58` times `2^((e - 58) / 2)`.
pub(super) fn sqrt<'c>(ir: &mut Ir<'c>, a: &[V<'c>]) -> Result<V<'c>, Unsupported> {
    let t = ir.types;
    let x = unpack(ir, a[0]);
    let e = ir.by("arith.addi", x.e, -1075);
    let odd = ir.by("arith.andi", e, 1);
    let e = ir.bin("arith.subi", e, odd);
    let odd = ir.op("arith.extui", &[odd], t.i64);
    let m = ir.bin("arith.shli", x.m, odd);
    // The upper half of its 114 bits from the top of 128; the lower is zero.
    let n = ir.by("arith.shli", m, 58 + 14 - 64);
    let (root, rest) = root(ir, n, 57)?;
    let s = sticky(ir, root, rest);
    let e = ir.by("arith.addi", e, -58);
    let e = ir.by("arith.shrsi", e, 1);
    let e = ir.by("arith.addi", e, -1);
    let r = packed(ir, x.sign, s, e);
    let r = ir.select(x.infinite, a[0], r);
    let negative = ir.cmp_k(Cmp::Ne, x.sign, 0);
    let nan = ir.i64(NAN);
    let r = ir.select(negative, nan, r);
    let r = ir.select(x.zero, a[0], r);
    Ok(ir.select(x.nan, nan, r))
}

/// The root of a number, bit by bit, and what is left of it. Two of its bits are taken for each bit of the root, from the top
/// of 64; beyond these come zeros.
pub(super) fn root<'c>(ir: &mut Ir<'c>, n: V<'c>, bits: i64) -> Result<(V<'c>, V<'c>), Unsupported> {
    let none = ir.i64(0);
    let state = ir.repeat(bits, &[none, none, n], |ir, state| {
        let (root, r, n) = (state[0], state[1], state[2]);
        let two = ir.by("arith.shrui", n, 62);
        let n = ir.by("arith.shli", n, 2);
        let r = ir.by("arith.shli", r, 2);
        let r = ir.bin("arith.ori", r, two);
        let root = ir.by("arith.shli", root, 1);
        let trial = ir.by("arith.shli", root, 1);
        let trial = ir.by("arith.ori", trial, 1);
        let less = ir.cmp(Cmp::Ult, r, trial);
        let rest = ir.bin("arith.subi", r, trial);
        let bit = ir.by("arith.ori", root, 1);
        Ok(vec![ir.select(less, root, bit), ir.select(less, r, rest), n])
    })?;
    Ok((state[0], state[1]))
}

/// Whether either is no number, and integers that compare as the numbers do.
fn keys<'c>(ir: &mut Ir<'c>, x: V<'c>, y: V<'c>) -> (V<'c>, V<'c>, V<'c>) {
    let mut key = |x| {
        let a = ir.by("arith.andi", x, i64::MAX);
        let nan = ir.cmp_k(Cmp::Sgt, a, INFINITY);
        let zero = ir.i64(0);
        let minus = ir.bin("arith.subi", zero, a);
        let negative = ir.cmp_k(Cmp::Slt, x, 0);
        (nan, ir.select(negative, minus, a))
    };
    let ((nx, x), (ny, y)) = (key(x), key(y));
    (ir.bin("arith.ori", nx, ny), x, y)
}

/// A comparison.
pub(super) fn compare<'c>(ir: &mut Ir<'c>, op: ScalarOp, x: V<'c>, y: V<'c>) -> V<'c> {
    let (nan, x, y) = keys(ir, x, y);
    let how = match op {
        ScalarOp::FEq => Cmp::Eq,
        ScalarOp::FNe => Cmp::Ne,
        ScalarOp::FLt => Cmp::Slt,
        ScalarOp::FLe => Cmp::Sle,
        ScalarOp::FGt => Cmp::Sgt,
        ScalarOp::FGe => Cmp::Sge,
        _ => return nan,
    };
    let holds = ir.cmp(how, x, y);
    let unordered = ir.int(ir.types.i1, if matches!(op, ScalarOp::FNe) { -1 } else { 0 });
    ir.select(nan, unordered, holds)
}

/// Rounds to an integer.
pub(super) fn integer<'c>(ir: &mut Ir<'c>, op: ScalarOp, x: V<'c>) -> V<'c> {
    let sign = ir.by("arith.andi", x, i64::MIN);
    let a = ir.by("arith.andi", x, i64::MAX);
    let e = ir.by("arith.shrui", a, 52);
    let e = ir.by("arith.subi", e, 1023);
    let bounded = ir.by("arith.maxsi", e, 0);
    let bounded = ir.by("arith.minsi", bounded, 51);
    let places = ir.i64(52);
    let places = ir.bin("arith.subi", places, bounded);
    let one = ir.i64(1);
    let unit = ir.bin("arith.shli", one, places);
    let mask = ir.by("arith.subi", unit, 1);
    let rest = ir.bin("arith.andi", a, mask);
    let whole = ir.bin("arith.subi", a, rest);
    // Next from zero: the carry moves on into the exponent.
    let next = ir.add(whole, unit);
    let small = ir.cmp_k(Cmp::Slt, e, 0);
    let (zero, first) = (ir.i64(0), ir.constant(Scalar::F64(1.0)));
    let whole = ir.select(small, zero, whole);
    let next = ir.select(small, first, next);
    let exact = ir.cmp(Cmp::Eq, whole, a);
    let away = match op {
        ScalarOp::Floor => ir.cmp_k(Cmp::Ne, sign, 0),
        ScalarOp::Ceil => ir.cmp_k(Cmp::Eq, sign, 0),
        ScalarOp::Nearest => {
            let half = ir.by("arith.shrui", unit, 1);
            let more = ir.cmp(Cmp::Sgt, rest, half);
            let tie = ir.cmp(Cmp::Eq, rest, half);
            let odd = ir.bin("arith.andi", whole, unit);
            let odd = ir.cmp_k(Cmp::Ne, odd, 0);
            let tie = ir.bin("arith.andi", tie, odd);
            let large = ir.bin("arith.ori", more, tie);
            let tiny = ir.constant(Scalar::F64(0.5));
            let above = ir.cmp(Cmp::Sgt, a, tiny);
            ir.select(small, above, large)
        }
        _ => ir.int(ir.types.i1, 0),
    };
    let r = ir.select(away, next, whole);
    let r = ir.select(exact, whole, r);
    let fixed = ir.cmp_k(Cmp::Sge, e, 52);
    let r = ir.select(fixed, a, r);
    ir.bin("arith.ori", r, sign)
}

/// An `i64`, rounded.
pub(super) fn from_i64<'c>(ir: &mut Ir<'c>, x: V<'c>) -> V<'c> {
    let sign = ir.by("arith.andi", x, i64::MIN);
    let zero = ir.i64(0);
    let minus = ir.bin("arith.subi", zero, x);
    let negative = ir.cmp_k(Cmp::Slt, x, 0);
    let a = ir.select(negative, minus, x);
    let (s, e) = (Wide::of(ir, a), ir.int(ir.types.i32, 0));
    packed(ir, sign, s, e)
}

/// To an `i64` toward zero, saturating; NaN gives 0.
pub(super) fn to_i64<'c>(ir: &mut Ir<'c>, x: V<'c>) -> V<'c> {
    let a = ir.by("arith.andi", x, i64::MAX);
    let exponent = ir.by("arith.shrui", a, 52);
    let fraction = ir.by("arith.andi", a, FRACTION);
    let m = ir.by("arith.ori", fraction, 1 << 52);
    let left = ir.by("arith.subi", exponent, 1075);
    let bias = ir.i64(1075);
    let right = ir.bin("arith.subi", bias, exponent);
    let (l, r) = (ir.by("arith.andi", left, 63), ir.by("arith.andi", right, 63));
    let (larger, smaller) = (ir.bin("arith.shli", m, l), ir.bin("arith.shrui", m, r));
    let up = ir.cmp_k(Cmp::Sge, left, 0);
    let v = ir.select(up, larger, smaller);
    let zero = ir.i64(0);
    let minus = ir.bin("arith.subi", zero, v);
    let negative = ir.cmp_k(Cmp::Slt, x, 0);
    let v = ir.select(negative, minus, v);
    let (least, most) = (ir.i64(i64::MIN), ir.i64(i64::MAX));
    let end = ir.select(negative, least, most);
    let over = ir.cmp_k(Cmp::Sge, exponent, 1023 + 63);
    let v = ir.select(over, end, v);
    let fraction_only = ir.cmp_k(Cmp::Slt, exponent, 1023);
    let nan = ir.cmp_k(Cmp::Sgt, a, INFINITY);
    let none = ir.bin("arith.ori", fraction_only, nan);
    ir.select(none, zero, v)
}

/// To an `i32` toward zero, saturating; NaN gives 0.
pub(super) fn to_i32<'c>(ir: &mut Ir<'c>, x: V<'c>) -> V<'c> {
    let v = Helper::F64ToI64.call(ir, &[x]);
    let v = ir.by("arith.maxsi", v, i32::MIN.into());
    let v = ir.by("arith.minsi", v, i32::MAX.into());
    ir.op("arith.trunci", &[v], ir.types.i32)
}

/// An `f32`, exactly. Subnormal ones become normal by a multiplication with 2^32.
pub(super) fn from_f32<'c>(ir: &mut Ir<'c>, x: V<'c>) -> V<'c> {
    let t = ir.types;
    let bits = ir.op("arith.bitcast", &[x], t.i32);
    let magnitude = ir.by("arith.andi", bits, 0x7fff_ffff);
    let tiny = ir.cmp_k(Cmp::Slt, magnitude, 0x0080_0000);
    let scale = ir.constant(Scalar::F32(4_294_967_296.0));
    let scaled = ir.bin("arith.mulf", x, scale);
    let scaled = ir.op("arith.bitcast", &[scaled], t.i32);
    let used = ir.select(tiny, scaled, bits);
    let used = ir.by("arith.andi", used, 0x7fff_ffff);
    let wide = ir.op("arith.extui", &[used], t.i64);
    let wide = ir.by("arith.shli", wide, 29);
    let (plain, less) = (ir.i64((1023 - 127) << 52), ir.i64((1023 - 127 - 32) << 52));
    let bias = ir.select(tiny, less, plain);
    let r = ir.add(wide, bias);
    // Exponents of all ones stay that way.
    let special = ir.cmp_k(Cmp::Sge, magnitude, 0x7f80_0000);
    let ones = ir.by("arith.ori", wide, INFINITY);
    let r = ir.select(special, ones, r);
    let (is_zero, zero) = (ir.cmp_k(Cmp::Eq, magnitude, 0), ir.i64(0));
    let r = ir.select(is_zero, zero, r);
    let sign = ir.op("arith.extui", &[bits], t.i64);
    let sign = ir.by("arith.shli", sign, 32);
    let sign = ir.by("arith.andi", sign, i64::MIN);
    ir.bin("arith.ori", r, sign)
}

/// To an `f32`, rounded.
pub(super) fn to_f32<'c>(ir: &mut Ir<'c>, x: V<'c>) -> V<'c> {
    let t = ir.types;
    let a = ir.by("arith.andi", x, i64::MAX);
    let e = ir.by("arith.shrui", a, 52);
    let e = ir.op("arith.trunci", &[e], t.i32);
    let e = ir.by("arith.subi", e, 1023 - 127);
    let m = ir.by("arith.andi", a, FRACTION);
    let m = ir.by("arith.ori", m, 1 << 52);
    // From 2^31 on below 2^32, then where the exponent is below the least, less.
    let one = ir.int(t.i32, 1);
    let below = ir.bin("arith.subi", one, e);
    let below = ir.by("arith.maxsi", below, 0);
    let below = ir.by("arith.minsi", below, 40);
    let below = ir.by("arith.addi", below, 21);
    let below = ir.op("arith.extui", &[below], t.i64);
    let shifted = ir.bin("arith.shrui", m, below);
    let back = ir.bin("arith.shli", shifted, below);
    let lost = ir.cmp(Cmp::Ne, back, m);
    let lost = ir.op("arith.extui", &[lost], t.i64);
    let m = ir.bin("arith.ori", shifted, lost);
    let q = ir.by("arith.shrui", m, 8);
    let q = round(ir, q, m, 0xff, 0x80);
    let q = ir.op("arith.trunci", &[q], t.i32);
    let lower = ir.by("arith.subi", e, 1);
    let lower = ir.by("arith.maxsi", lower, 0);
    let lower = ir.by("arith.shli", lower, 23);
    let bits = ir.add(lower, q);
    let over = ir.cmp_k(Cmp::Sge, e, 255);
    let infinity = ir.int(t.i32, 0x7f80_0000);
    let bits = ir.select(over, infinity, bits);
    let (is_zero, zero) = (ir.cmp_k(Cmp::Eq, a, 0), ir.int(t.i32, 0));
    let bits = ir.select(is_zero, zero, bits);
    let (is_nan, nan) = (ir.cmp_k(Cmp::Sgt, a, INFINITY), ir.int(t.i32, 0x7fc0_0000));
    let bits = ir.select(is_nan, nan, bits);
    let sign = ir.by("arith.shrui", x, 32);
    let sign = ir.op("arith.trunci", &[sign], t.i32);
    let sign = ir.by("arith.andi", sign, i32::MIN.into());
    let bits = ir.bin("arith.ori", bits, sign);
    ir.op("arith.bitcast", &[bits], t.f32)
}
