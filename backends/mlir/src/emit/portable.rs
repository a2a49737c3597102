//! Arithmetic through Vulkan, whose specification leaves some of it open.
//!
//! Sums, products, comparisons and conversions are correctly rounded on every device (Vulkan 1.2, "Precision and Operation
//! of SPIR-V Instructions"), and decorated so that they stay what they are. Quotients and roots may be some units in the
//! last place off: they are written out. So is the fused product, which may be two operations, unless the device has shown
//! that it is one ([`Arithmetic::Fused`]). Signs are set by integer operations.

use super::Emitter;
use super::double::root;
use super::expand::{Helper, mul_high};
use crate::error::Unsupported;
use crate::gpu::Arithmetic;
use crate::ir::{Cmp, Ir, V};
use melior::ir::{Attribute, Type, ValueLike};
use nc_ir::kernel::{Scalar, ScalarOp, ScalarType};

/// An operation on floats that no pass takes apart or joins with others.
fn kept<'c>(ir: &mut Ir<'c>, name: &str, x: &[V<'c>]) -> V<'c> {
    let as_it_is = Attribute::unit(ir.context);
    ir.with(name, x, x[0].r#type(), &[("no_contraction", as_it_is)])
}

/// The bits of a float.
fn bits_of<'c>(ir: &mut Ir<'c>, x: V<'c>) -> V<'c> {
    let ty = if x.r#type() == ir.types.f32 { ir.types.i32 } else { ir.types.i64 };
    ir.op("arith.bitcast", &[x], ty)
}

/// All bits but the first, for integers of this type.
fn magnitude_mask(ir: &Ir<'_>, ty: Type<'_>) -> i64 {
    if ty == ir.types.i32 { i64::from(i32::MAX) } else { i64::MAX }
}

/// `x` with the sign of `of`, or with the sign of either.
fn with_sign<'c>(ir: &mut Ir<'c>, x: V<'c>, of: V<'c>) -> V<'c> {
    let (bits, from) = (bits_of(ir, x), bits_of(ir, of));
    let mask = magnitude_mask(ir, bits.r#type());
    let sign = ir.by("arith.andi", from, !mask);
    let bits = ir.bin("arith.ori", bits, sign);
    ir.op("arith.bitcast", &[bits], x.r#type())
}

/// To an integer toward zero, saturating; NaN gives 0.
fn saturated<'c>(ir: &mut Ir<'c>, x: V<'c>, ty: Type<'c>) -> V<'c> {
    let (least, most) = if ty == ir.types.i32 { (i32::MIN.into(), i32::MAX.into()) } else { (i64::MIN, i64::MAX) };
    let float = |ir: &mut Ir<'c>, k: f64| {
        let k = if x.r#type() == ir.types.f32 { Scalar::F32(k as f32) } else { Scalar::F64(k) };
        ir.constant(k)
    };
    // Both are powers of two, so that no rounding moves them.
    let (low, high, zero) = (float(ir, least as f64), float(ir, -(least as f64)), float(ir, 0.0));
    let (under, over) = (ir.cmpf(super::ops::float::OLT, x, low), ir.cmpf(super::ops::float::OGE, x, high));
    let nan = ir.cmpf(super::ops::float::UNO, x, x);
    let outside = ir.bin("arith.ori", under, over);
    let outside = ir.bin("arith.ori", outside, nan);
    let inside = ir.select(outside, zero, x);
    let n = ir.op("arith.fptosi", &[inside], ty);
    let (least, most) = (ir.int(ty, least), ir.int(ty, most));
    let n = ir.select(under, least, n);
    ir.select(over, most, n)
}

/// `-x`, of a zero and of what is no number as well.
fn negated<'c>(ir: &mut Ir<'c>, x: V<'c>) -> V<'c> {
    let bits = bits_of(ir, x);
    let mask = magnitude_mask(ir, bits.r#type());
    let bits = ir.by("arith.xori", bits, !mask);
    ir.op("arith.bitcast", &[bits], x.r#type())
}

/// An operation on one float that is not left to MLIR's passes: of its sign, to a whole number, to another type.
fn sign_or_kind<'c>(i: &mut Ir<'c>, op: ScalarOp, x: V<'c>) -> Option<V<'c>> {
    let t = i.types;
    let whole = |i: &mut Ir<'c>, name: &str, y: V<'c>| {
        let whole = i.op(name, &[y], x.r#type());
        // No integer near a negative number is positive; a zero has the sign of what was rounded.
        with_sign(i, whole, x)
    };
    Some(match op {
        ScalarOp::FNeg => negated(i, x),
        ScalarOp::FAbs => magnitude(i, x),
        ScalarOp::Floor => whole(i, "spirv.GL.Floor", x),
        ScalarOp::Ceil => whole(i, "spirv.GL.Ceil", x),
        ScalarOp::Nearest => whole(i, "spirv.GL.RoundEven", x),
        ScalarOp::Trunc => {
            let a = magnitude(i, x);
            whole(i, "spirv.GL.Floor", a)
        }
        ScalarOp::F32ToI32 | ScalarOp::F64ToI32 => saturated(i, x, t.i32),
        ScalarOp::F32ToI64 | ScalarOp::F64ToI64 => saturated(i, x, t.i64),
        // Mesa makes one conversion, which rounds once, of this and one to `f32` that follows.
        ScalarOp::I64ToF64 => {
            let zero = i.zero?;
            let r = i.op("arith.sitofp", &[x], t.f64);
            let bits = bits_of(i, r);
            let bits = i.bin("arith.ori", bits, zero);
            i.op("arith.bitcast", &[bits], t.f64)
        }
        _ => return None,
    })
}

/// `|x|`.
fn magnitude<'c>(ir: &mut Ir<'c>, x: V<'c>) -> V<'c> {
    let bits = bits_of(ir, x);
    let mask = magnitude_mask(ir, bits.r#type());
    let bits = ir.by("arith.andi", bits, mask);
    ir.op("arith.bitcast", &[bits], x.r#type())
}

impl<'c> Emitter<'c, '_> {
    /// An operation that is not left to MLIR's passes.
    pub(super) fn portable(
        &mut self,
        how: Arithmetic,
        (op, ty): (ScalarOp, ScalarType),
        (x, y, z): (V<'c>, V<'c>, V<'c>),
    ) -> Option<V<'c>> {
        let i = &mut self.ir;
        Some(match op {
            ScalarOp::FAdd => kept(i, "spirv.FAdd", &[x, y]),
            ScalarOp::FMul => kept(i, "spirv.FMul", &[x, y]),
            ScalarOp::FSub => {
                // Mesa's software device takes what is subtracted from itself for 0, infinities as well.
                let minus = negated(i, y);
                kept(i, "spirv.FAdd", &[x, minus])
            }
            ScalarOp::Fma => match how {
                Arithmetic::Fused => kept(i, "spirv.GL.Fma", &[x, y, z]),
                Arithmetic::Portable => self.written_out((Helper::F32Fma, Helper::Fma), ty, &[x, y, z]),
            },
            ScalarOp::FDiv => self.written_out((Helper::F32Div, Helper::FDiv), ty, &[x, y]),
            ScalarOp::FSqrt => self.written_out((Helper::F32Sqrt, Helper::FSqrt), ty, &[x]),
            ScalarOp::IRem => {
                // The conversion of `arith.remsi` takes the least integer for a positive one.
                let (_, _, safe) = self.divisor(y);
                let i = &mut self.ir;
                let q = i.bin("arith.divsi", x, safe);
                let whole = i.mul(q, safe);
                i.bin("arith.subi", x, whole)
            }
            ScalarOp::UMulHi if ty == ScalarType::I64 => mul_high(i, x, y),
            _ => return sign_or_kind(i, op, x),
        })
    }

    /// An operation by a function for `f32`, or by one for the bits of `f64`.
    fn written_out(&mut self, (single, double): (Helper, Helper), ty: ScalarType, x: &[V<'c>]) -> V<'c> {
        if ty == ScalarType::F32 {
            return self.help(single, x);
        }
        let bits: Vec<_> = x.iter().map(|x| bits_of(&mut self.ir, *x)).collect();
        let r = self.help(double, &bits);
        self.ir.op("arith.bitcast", &[r], self.ir.types.f64)
    }
}

/// `x * y + z` with one rounding.
///
/// The product of two `f32` is exact in `f64`. The sum is rounded to odd there: where its last bit is not set, it goes one
/// step toward what the rounding took away. 53 bits are two and more beyond the 24 of the result, so that rounding it once
/// more is as good as rounding once (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
pub(super) fn fma<'c>(ir: &mut Ir<'c>, a: &[V<'c>]) -> V<'c> {
    let t = ir.types;
    let w: Vec<_> = a.iter().map(|x| ir.op("arith.extf", &[*x], t.f64)).collect();
    let p = kept(ir, "spirv.FMul", &[w[0], w[1]]);
    let z = w[2];
    let sum = kept(ir, "spirv.FAdd", &[p, z]);
    // What the sum lacks, exactly (Knuth).
    let of_z = kept(ir, "spirv.FSub", &[sum, p]);
    let of_p = kept(ir, "spirv.FSub", &[sum, of_z]);
    let (lost_p, lost_z) = (kept(ir, "spirv.FSub", &[p, of_p]), kept(ir, "spirv.FSub", &[z, of_z]));
    let lost = kept(ir, "spirv.FAdd", &[lost_p, lost_z]);
    let (bits, lost) = (bits_of(ir, sum), bits_of(ir, lost));
    // No number is lost from one that is infinite, or is none.
    let magnitude = ir.by("arith.andi", lost, i64::MAX);
    let (some, number) = (ir.cmp_k(Cmp::Ne, magnitude, 0), ir.cmp_k(Cmp::Sle, magnitude, 0x7ff0 << 48));
    let last = ir.by("arith.andi", bits, 1);
    let even = ir.cmp_k(Cmp::Eq, last, 0);
    let moves = ir.bin("arith.andi", some, number);
    let moves = ir.bin("arith.andi", moves, even);
    let signs = ir.bin("arith.xori", bits, lost);
    let away = ir.cmp_k(Cmp::Sge, signs, 0);
    let (up, down) = (ir.i64(1), ir.i64(-1));
    let step = ir.select(away, up, down);
    let moved = ir.add(bits, step);
    let bits = ir.select(moves, moved, bits);
    let odd = ir.op("arith.bitcast", &[bits], t.f64);
    ir.op("arith.truncf", &[odd], t.f32)
}

/// A number taken apart: it is `±m * 2^e` with m, an `i32`, from 2^23 on below 2^24, or 0.
struct Parts<'c> {
    sign: V<'c>,
    e: V<'c>,
    m: V<'c>,
    zero: V<'c>,
    infinite: V<'c>,
    nan: V<'c>,
}

fn unpack<'c>(ir: &mut Ir<'c>, x: V<'c>) -> Parts<'c> {
    let bits = bits_of(ir, x);
    let sign = ir.by("arith.andi", bits, i32::MIN.into());
    let a = ir.by("arith.andi", bits, i32::MAX.into());
    let exponent = ir.by("arith.shrui", a, 23);
    let fraction = ir.by("arith.andi", a, (1 << 23) - 1);
    let hidden = ir.by("arith.ori", fraction, 1 << 23);
    let small = ir.cmp_k(Cmp::Eq, exponent, 0);
    let m = ir.select(small, fraction, hidden);
    let zeros = ir.leading_zeros(m);
    let by = ir.by("arith.subi", zeros, 8);
    let amount = ir.by("arith.andi", by, 31);
    let m = ir.bin("arith.shli", m, amount);
    let exponent = ir.by("arith.maxsi", exponent, 1);
    let e = ir.by("arith.subi", exponent, 150);
    let e = ir.bin("arith.subi", e, by);
    let zero = ir.cmp_k(Cmp::Eq, a, 0);
    let infinite = ir.cmp_k(Cmp::Eq, a, 0x7f80_0000);
    let nan = ir.cmp_k(Cmp::Sgt, a, 0x7f80_0000);
    Parts { sign, e, m, zero, infinite, nan }
}

/// `(q + a little if there is a rest) * 2^e` rounded, as bits; q is an `i64` from 2^25 on below 2^30.
fn rounded<'c>(ir: &mut Ir<'c>, q: V<'c>, rest: V<'c>, e: V<'c>) -> V<'c> {
    let t = ir.types;
    let some = ir.cmp_k(Cmp::Ne, rest, 0);
    let some = ir.op("arith.extui", &[some], t.i64);
    let q = ir.by("arith.shli", q, 1);
    let q = ir.bin("arith.ori", q, some);
    // Exact in f64, as is the product with a power of two; what follows rounds once.
    let q = ir.op("arith.sitofp", &[q], t.f64);
    let e = ir.by("arith.addi", e, 1023 - 1);
    let e = ir.op("arith.extui", &[e], t.i64);
    let scale = ir.by("arith.shli", e, 52);
    let scale = ir.op("arith.bitcast", &[scale], t.f64);
    let r = kept(ir, "spirv.FMul", &[q, scale]);
    let r = ir.op("arith.truncf", &[r], t.f32);
    bits_of(ir, r)
}

const INFINITY: i64 = 0x7f80_0000;
const NAN: i64 = 0x7fc0_0000;

/// `x / y`, of integers.
pub(super) fn divide<'c>(ir: &mut Ir<'c>, a: &[V<'c>]) -> V<'c> {
    let t = ir.types;
    let (x, y) = (unpack(ir, a[0]), unpack(ir, a[1]));
    let (n, d) = (ir.op("arith.extui", &[x.m], t.i64), ir.op("arith.extui", &[y.m], t.i64));
    let n = ir.by("arith.shli", n, 27);
    let one = ir.i64(1);
    let d = ir.select(y.zero, one, d);
    let (q, rest) = (ir.bin("arith.divui", n, d), ir.bin("arith.remui", n, d));
    let e = ir.bin("arith.subi", x.e, y.e);
    let e = ir.by("arith.subi", e, 27);
    let r = rounded(ir, q, rest, e);
    let (infinity, nan, none) = (ir.int(t.i32, INFINITY), ir.int(t.i32, NAN), ir.int(t.i32, 0));
    let over = ir.bin("arith.ori", x.infinite, y.zero);
    let nothing = ir.bin("arith.ori", x.zero, y.infinite);
    let r = ir.select(over, infinity, r);
    let r = ir.select(nothing, none, r);
    let sign = ir.bin("arith.xori", x.sign, y.sign);
    let r = ir.bin("arith.ori", r, sign);
    let bad = ir.bin("arith.andi", over, nothing);
    let bad = ir.bin("arith.ori", bad, x.nan);
    let bad = ir.bin("arith.ori", bad, y.nan);
    let r = ir.select(bad, nan, r);
    ir.op("arith.bitcast", &[r], t.f32)
}

/// The square root, bit by bit: with an even exponent e, `sqrt(m * 2^e)` is the root of `m * 2^28` times `2^(e / 2 - 14)`.
pub(super) fn sqrt<'c>(ir: &mut Ir<'c>, a: &[V<'c>]) -> Result<V<'c>, Unsupported> {
    let t = ir.types;
    let x = unpack(ir, a[0]);
    let odd = ir.by("arith.andi", x.e, 1);
    let e = ir.bin("arith.subi", x.e, odd);
    let m = ir.bin("arith.shli", x.m, odd);
    let n = ir.op("arith.extui", &[m], t.i64);
    // Its 54 bits from the top of 64.
    let n = ir.by("arith.shli", n, 28 + 10);
    let (root, rest) = root(ir, n, 27)?;
    let e = ir.by("arith.shrsi", e, 1);
    let e = ir.by("arith.subi", e, 14);
    let r = rounded(ir, root, rest, e);
    let r = ir.op("arith.bitcast", &[r], t.f32);
    let negative = ir.cmp_k(Cmp::Ne, x.sign, 0);
    let nan = ir.constant(Scalar::F32(f32::NAN));
    let r = ir.select(x.infinite, a[0], r);
    let r = ir.select(negative, nan, r);
    let r = ir.select(x.zero, a[0], r);
    Ok(ir.select(x.nan, nan, r))
}
