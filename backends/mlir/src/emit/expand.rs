//! What machines do that have 32-bit integers and `f32` only: operations on wider values, and rounding to integers.
//!
//! The longer ones are functions of the module, the shorter ones are written in place.

use super::{double, portable};
use crate::error::Unsupported;
use crate::ir::{Cmp, Ir, Style, V, Write};
use melior::ir::{BlockRef, Type};
use nc_ir::kernel::{Scalar, ScalarOp};

/// A function that is added to modules that call it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Helper {
    /// [`ScalarOp::IDiv`] of `i64`.
    Divide,
    /// [`ScalarOp::IRem`] of `i64`.
    Remainder,
    /// [`ScalarOp::I64ToF32`].
    I64ToF32,
    /// [`ScalarOp::F32ToI64`].
    F32ToI64,
    /// [`ScalarOp::Fma`] of `f64`, and with it sums and products.
    Fma,
    /// [`ScalarOp::FDiv`] of `f64`.
    FDiv,
    /// [`ScalarOp::FSqrt`] of `f64`.
    FSqrt,
    /// Rounding of the exact results of the others, see [`double::pack`].
    Pack,
    /// [`ScalarOp::I64ToF64`].
    I64ToF64,
    /// [`ScalarOp::F64ToI64`].
    F64ToI64,
    /// [`ScalarOp::F32ToF64`].
    F32ToF64,
    /// [`ScalarOp::F64ToF32`].
    F64ToF32,
    /// [`ScalarOp::Fma`] of `f32`, through Vulkan.
    F32Fma,
    /// [`ScalarOp::FDiv`] of `f32`, through Vulkan.
    F32Div,
    /// [`ScalarOp::FSqrt`] of `f32`, through Vulkan.
    F32Sqrt,
}

impl Helper {
    fn name(self) -> &'static str {
        match self {
            Helper::Divide => "nc_i64_div",
            Helper::Remainder => "nc_i64_rem",
            Helper::I64ToF32 => "nc_i64_to_f32",
            Helper::F32ToI64 => "nc_f32_to_i64",
            Helper::Fma => "nc_f64_fma",
            Helper::FDiv => "nc_f64_div",
            Helper::FSqrt => "nc_f64_sqrt",
            Helper::Pack => "nc_f64_pack",
            Helper::I64ToF64 => "nc_i64_to_f64",
            Helper::F64ToI64 => "nc_f64_to_i64",
            Helper::F32ToF64 => "nc_f32_to_f64",
            Helper::F64ToF32 => "nc_f64_to_f32",
            Helper::F32Fma => "nc_f32_fma",
            Helper::F32Div => "nc_f32_div",
            Helper::F32Sqrt => "nc_f32_sqrt",
        }
    }

    /// Types of arguments and result.
    fn signature<'c>(self, ir: &Ir<'c>) -> (Vec<Type<'c>>, Type<'c>) {
        let (i64, f32) = (ir.types.i64, ir.types.f32);
        match self {
            Helper::Divide | Helper::Remainder | Helper::FDiv => (vec![i64, i64], i64),
            Helper::I64ToF32 | Helper::F64ToF32 => (vec![i64], f32),
            Helper::F32ToI64 | Helper::F32ToF64 => (vec![f32], i64),
            Helper::FSqrt | Helper::I64ToF64 | Helper::F64ToI64 => (vec![i64], i64),
            Helper::Fma => (vec![i64, i64, i64], i64),
            Helper::Pack => (vec![i64, i64, i64, ir.types.i32], i64),
            Helper::F32Fma => (vec![f32, f32, f32], f32),
            Helper::F32Div => (vec![f32, f32], f32),
            Helper::F32Sqrt => (vec![f32], f32),
        }
    }

    /// The helper that it calls itself.
    pub fn needs(self) -> Option<Helper> {
        matches!(self, Helper::Fma | Helper::FDiv | Helper::FSqrt | Helper::I64ToF64).then_some(Helper::Pack)
    }

    /// Calls the function.
    pub fn call<'c>(self, ir: &mut Ir<'c>, arguments: &[V<'c>]) -> V<'c> {
        let (_, result) = self.signature(ir);
        ir.call_value(self.name(), arguments, result)
    }

    /// Adds the function to a module.
    pub fn define<'c>(
        self,
        module: BlockRef<'c, '_>,
        context: &'c melior::Context,
        style: Style,
    ) -> Result<(), Unsupported> {
        let mut ir = Ir::new(context, Style { soft: true, ..style });
        let (arguments, result) = self.signature(&ir);
        ir.function(module, (self.name(), false), &arguments, Some(result), |ir, a| {
            Ok(Some(match self {
                Helper::Divide => divide(ir, a[0], a[1])?.0,
                Helper::Remainder => divide(ir, a[0], a[1])?.1,
                Helper::I64ToF32 => i64_to_f32(ir, a[0]),
                Helper::F32ToI64 => f32_to_i64(ir, a[0]),
                Helper::Fma => double::fma(ir, a),
                Helper::FDiv => double::divide(ir, a)?,
                Helper::FSqrt => double::sqrt(ir, a)?,
                Helper::Pack => double::pack(ir, a),
                Helper::I64ToF64 => double::from_i64(ir, a[0]),
                Helper::F64ToI64 => double::to_i64(ir, a[0]),
                Helper::F32ToF64 => double::from_f32(ir, a[0]),
                Helper::F64ToF32 => double::to_f32(ir, a[0]),
                Helper::F32Fma => portable::fma(ir, a),
                Helper::F32Div => portable::divide(ir, a),
                Helper::F32Sqrt => portable::sqrt(ir, a)?,
            }))
        })
    }
}

/// Rounds an `f32` to an integer. From 2^23 on every value is one; below, the sign is that of the operand even where the
/// result is 0.
pub(crate) fn round<'c>(ir: &mut Ir<'c>, op: ScalarOp, x: V<'c>) -> V<'c> {
    let (i32, f32) = (ir.types.i32, ir.types.f32);
    let bits = ir.op("arith.bitcast", &[x], i32);
    let magnitude = ir.by("arith.andi", bits, 0x7fff_ffff);
    let sign = ir.by("arith.andi", bits, i64::from(i32::MIN));
    let one = ir.constant(Scalar::F32(1.0));
    let whole = match op {
        ScalarOp::Nearest => {
            // Adding 2^23 leaves no room for a fraction.
            let a = ir.op("arith.bitcast", &[magnitude], f32);
            let big = ir.constant(Scalar::F32(8_388_608.0));
            let sum = ir.bin("arith.addf", a, big);
            ir.bin("arith.subf", sum, big)
        }
        _ => {
            let t = ir.intrinsic("llvm.fptosi.sat", &[x], i32);
            let t = ir.op("arith.sitofp", &[t], f32);
            match op {
                ScalarOp::Floor => {
                    let above = ir.cmpf(2, t, x);
                    let less = ir.bin("arith.subf", t, one);
                    ir.select(above, less, t)
                }
                ScalarOp::Ceil => {
                    let below = ir.cmpf(4, t, x);
                    let more = ir.bin("arith.addf", t, one);
                    ir.select(below, more, t)
                }
                _ => t,
            }
        }
    };
    let whole = ir.op("arith.bitcast", &[whole], i32);
    let whole = ir.bin("arith.ori", whole, sign);
    let small = ir.cmp_k(Cmp::Slt, magnitude, 0x4b00_0000);
    let r = ir.select(small, whole, bits);
    ir.op("arith.bitcast", &[r], f32)
}

/// The upper half of the unsigned product of two `i64`, from products of halves.
pub(crate) fn mul_high<'c>(ir: &mut Ir<'c>, x: V<'c>, y: V<'c>) -> V<'c> {
    let low = |ir: &mut Ir<'c>, v| ir.by("arith.andi", v, 0xffff_ffff);
    let high = |ir: &mut Ir<'c>, v| ir.by("arith.shrui", v, 32);
    let (x0, x1, y0, y1) = (low(ir, x), high(ir, x), low(ir, y), high(ir, y));
    let (p00, p01, p10, p11) = (ir.mul(x0, y0), ir.mul(x0, y1), ir.mul(x1, y0), ir.mul(x1, y1));
    let (a, b, c) = (high(ir, p00), low(ir, p01), low(ir, p10));
    let middle = ir.add(a, b);
    let middle = ir.add(middle, c);
    let carry = high(ir, middle);
    let (d, e) = (high(ir, p01), high(ir, p10));
    let sum = ir.add(p11, d);
    let sum = ir.add(sum, e);
    ir.add(sum, carry)
}

/// The magnitude of an `i64`, as an unsigned number, and whether it is negative.
fn magnitude<'c>(ir: &mut Ir<'c>, x: V<'c>) -> (V<'c>, V<'c>) {
    let negative = ir.cmp_k(Cmp::Slt, x, 0);
    (negate_if(ir, negative, x), negative)
}

fn negate_if<'c>(ir: &mut Ir<'c>, condition: V<'c>, x: V<'c>) -> V<'c> {
    let zero = ir.i64(0);
    let negative = ir.bin("arith.subi", zero, x);
    ir.select(condition, negative, x)
}

/// Quotient and remainder of `i64` toward zero; a divisor of 0 gives 0 for both.
fn divide<'c>(ir: &mut Ir<'c>, x: V<'c>, y: V<'c>) -> Result<(V<'c>, V<'c>), Unsupported> {
    let t = ir.types;
    let (a, x_negative) = magnitude(ir, x);
    let (b, y_negative) = magnitude(ir, y);
    let both = ir.bin("arith.ori", a, b);
    let short = ir.by("arith.shrui", both, 32);
    let short = ir.cmp_k(Cmp::Eq, short, 0);
    let zero = ir.cmp_k(Cmp::Eq, b, 0);
    let one = ir.i64(1);
    let safe = ir.select(zero, one, b);
    let results = ir.branch(
        short,
        &[t.i64, t.i64],
        |ir| {
            let (a, b) = (ir.op("arith.trunci", &[a], t.i32), ir.op("arith.trunci", &[safe], t.i32));
            let (q, r) = (ir.bin("arith.divui", a, b), ir.bin("arith.remui", a, b));
            Ok(vec![ir.op("arith.extui", &[q], t.i64), ir.op("arith.extui", &[r], t.i64)])
        },
        |ir| long_division(ir, a, safe),
    )?;
    let (q, r) = (results[0], results[1]);
    let differ = ir.bin("arith.xori", x_negative, y_negative);
    let q = negate_if(ir, differ, q);
    let r = negate_if(ir, x_negative, r);
    let none = ir.i64(0);
    Ok((ir.select(zero, none, q), ir.select(zero, none, r)))
}

/// Unsigned division, bit by bit; the divisor is from 1 to 2^63.
fn long_division<'c>(ir: &mut Ir<'c>, a: V<'c>, b: V<'c>) -> Result<Vec<V<'c>>, Unsupported> {
    let t = ir.types;
    let (lo, hi, zero) = (ir.int(t.i32, 0), ir.int(t.i32, 64), ir.i64(0));
    ir.for_loop((lo, hi, 1), &[a, zero], |ir, _, state| {
        let (a, r) = (state[0], state[1]);
        let top = ir.by("arith.shrui", a, 63);
        let r = ir.by("arith.shli", r, 1);
        let r = ir.bin("arith.ori", r, top);
        let a = ir.by("arith.shli", a, 1);
        let less = ir.cmp(Cmp::Ult, r, b);
        let rest = ir.bin("arith.subi", r, b);
        let bit = ir.by("arith.ori", a, 1);
        Ok(vec![ir.select(less, a, bit), ir.select(less, r, rest)])
    })
}

/// An `i64` rounded to `f32`: its 32 leading bits, the last of them set if there are others, are converted and scaled by a
/// power of two, so that only one step rounds.
fn i64_to_f32<'c>(ir: &mut Ir<'c>, x: V<'c>) -> V<'c> {
    let t = ir.types;
    let (a, negative) = magnitude(ir, x);
    let zeros = ir.leading_zeros(a);
    let by = ir.by("arith.andi", zeros, 63);
    let m = ir.bin("arith.shli", a, by);
    let (high, low) = (ir.by("arith.shrui", m, 32), ir.op("arith.trunci", &[m], t.i32));
    let high = ir.op("arith.trunci", &[high], t.i32);
    let more = ir.cmp_k(Cmp::Ne, low, 0);
    let more = ir.op("arith.extui", &[more], t.i32);
    let jammed = ir.bin("arith.ori", high, more);
    let f = ir.op("arith.uitofp", &[jammed], t.f32);
    let zeros = ir.op("arith.trunci", &[zeros], t.i32);
    let bias = ir.int(t.i32, 127 + 32);
    let exponent = ir.bin("arith.subi", bias, zeros);
    let scale = ir.by("arith.shli", exponent, 23);
    let scale = ir.op("arith.bitcast", &[scale], t.f32);
    let r = ir.bin("arith.mulf", f, scale);
    let minus = ir.op("arith.negf", &[r], t.f32);
    let r = ir.select(negative, minus, r);
    let (is_zero, zero) = (ir.cmp_k(Cmp::Eq, a, 0), ir.constant(Scalar::F32(0.0)));
    ir.select(is_zero, zero, r)
}

/// An `f32` toward zero, saturating; NaN gives 0.
fn f32_to_i64<'c>(ir: &mut Ir<'c>, x: V<'c>) -> V<'c> {
    let t = ir.types;
    let bits = ir.op("arith.bitcast", &[x], t.i32);
    let magnitude = ir.by("arith.andi", bits, 0x7fff_ffff);
    let exponent = ir.by("arith.shrui", magnitude, 23);
    let fraction = ir.by("arith.andi", bits, 0x007f_ffff);
    let m = ir.by("arith.ori", fraction, 0x0080_0000);
    let m = ir.op("arith.extui", &[m], t.i64);
    // The last place of the fraction weighs 2^(exponent - 150).
    let left = ir.by("arith.subi", exponent, 150);
    let bias = ir.int(t.i32, 150);
    let right = ir.bin("arith.subi", bias, exponent);
    let amount = |ir: &mut Ir<'c>, v| {
        let v = ir.by("arith.andi", v, 63);
        ir.op("arith.extui", &[v], t.i64)
    };
    let (l, r) = (amount(ir, left), amount(ir, right));
    let (larger, smaller) = (ir.bin("arith.shli", m, l), ir.bin("arith.shrui", m, r));
    let up = ir.cmp_k(Cmp::Sge, left, 0);
    let v = ir.select(up, larger, smaller);
    let negative = ir.cmp_k(Cmp::Slt, bits, 0);
    let v = negate_if(ir, negative, v);
    let (least, most) = (ir.i64(i64::MIN), ir.i64(i64::MAX));
    let end = ir.select(negative, least, most);
    // From 2^63 on.
    let over = ir.cmp_k(Cmp::Sge, exponent, 127 + 63);
    let v = ir.select(over, end, v);
    let fraction_only = ir.cmp_k(Cmp::Slt, exponent, 127);
    let nan = ir.cmp_k(Cmp::Sgt, magnitude, 0x7f80_0000);
    let none = ir.bin("arith.ori", fraction_only, nan);
    let zero = ir.i64(0);
    ir.select(none, zero, v)
}
