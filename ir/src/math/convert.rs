//! Half-precision formats held in 32-bit registers, by integer operations: IEEE binary16 and bfloat16.
//!
//! Narrowing rounds to nearest, ties to even, keeps subnormals and overflows to infinity. A NaN becomes quiet and keeps
//! its sign and the upper bits of its payload; widening keeps a NaN's payload (of binary16, made quiet).

use super::build::Build;
use crate::kernel::{Emit, Scalar, ScalarOp};

/// The sign bit and the other bits of an f32.
fn parts<E: Emit>(b: &mut Build<'_, E>, x: E::Value) -> (E::Value, E::Value) {
    let (bits, mask) = (b.bits(x), b.int(0x7fff_ffff));
    let sign = b.sign_bit(x);
    (sign, b.and(bits, mask))
}

/// `bits` plus half of the last place kept, or a little less where that place is even: rounds the bits below `shift`.
fn round_up<E: Emit>(b: &mut Build<'_, E>, bits: E::Value, shift: i64) -> E::Value {
    let (s, one, below) = (b.int(shift), b.int(1), b.int((1 << (shift - 1)) - 1));
    let last = b.shr(bits, s);
    let last = b.and(last, one);
    let up = b.iadd(bits, below);
    b.iadd(up, last)
}

/// `|x| + 1/2`, whose last place is the smallest binary16 subnormal.
fn on_subnormal_grid<E: Emit>(b: &mut Build<'_, E>, magnitude: E::Value) -> E::Value {
    let (x, half) = (b.float(magnitude), b.num(0.5));
    b.add(x, half)
}

/// Bits of the f32 infinity.
const INF: i64 = 0x7f80_0000;
/// Bits of 2^-14, the smallest normal binary16, as f32.
const F16_NORMAL: i64 = 0x3880_0000;
/// Bits of 65520, the smallest value that rounds to the binary16 infinity, as f32.
const F16_OVERFLOW: i64 = 0x477f_f000;

/// The f32 `x` rounded to the nearest binary16 value.
pub fn round_f16<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut narrow(e);
    let (sign, mag) = parts(b, x);
    let normal = round_up(b, mag, 13);
    let mask = b.int(!0x1fff);
    let normal = b.and(normal, mask);
    let grid = on_subnormal_grid(b, mag);
    let half = b.num(0.5);
    let small = b.sub(grid, half);
    let small = b.bits(small);
    let y = select_f16(b, mag, normal, small, INF);
    let inf = b.int(INF);
    let nan = b.igt(mag, inf);
    let y = b.select(nan, mag, y);
    let y = b.or(y, sign);
    b.float(y)
}

/// `small` below the normal binary16 range, `inf` above it, `normal` between.
fn select_f16<E: Emit>(b: &mut Build<'_, E>, mag: E::Value, normal: E::Value, small: E::Value, inf: i64) -> E::Value {
    let (lowest, over, inf) = (b.int(F16_NORMAL), b.int(F16_OVERFLOW), b.int(inf));
    let below = b.ilt(mag, lowest);
    let y = b.select(below, small, normal);
    let above = b.ige(mag, over);
    b.select(above, inf, y)
}

/// The binary16 bits (in the low half of an i32, the upper half 0) of the f32 `x`, rounded.
pub fn encode_f16<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut narrow(e);
    let (sign, mag) = parts(b, x);
    let (thirteen, sixteen) = (b.int(13), b.int(16));
    let normal = round_up(b, mag, 13);
    let bias = b.int((127 - 15) << 23);
    let normal = b.isub(normal, bias);
    let normal = b.shr(normal, thirteen);
    let grid = on_subnormal_grid(b, mag);
    let (grid, half) = (b.bits(grid), b.int(0x3f00_0000));
    let small = b.isub(grid, half);
    let y = select_f16(b, mag, normal, small, 0x7c00);
    let (inf, payload, quiet) = (b.int(INF), b.int(0x3ff), b.int(0x7e00));
    let is_nan = b.igt(mag, inf);
    let nan = b.shr(mag, thirteen);
    let nan = b.and(nan, payload);
    let nan = b.or(nan, quiet);
    let y = b.select(is_nan, nan, y);
    let sign = b.shr(sign, sixteen);
    b.or(y, sign)
}

/// The f32 with the value of the binary16 whose bits are the low half of the i32 `h`.
pub fn decode_f16<E: Emit>(e: &mut E, h: E::Value) -> E::Value {
    let b = &mut narrow(e);
    let (rest, sixteen, thirteen) = (b.int(0x7fff), b.int(16), b.int(13));
    let mag = b.and(h, rest);
    let up = b.shl(h, sixteen);
    let top = b.int(0x8000_0000);
    let sign = b.and(up, top);
    let wide = b.shl(mag, thirteen);
    let bias = b.int((127 - 15) << 23);
    let normal = b.iadd(wide, bias);
    let (count, unit) = (b.value_of(mag), b.num((-24f64).exp2()));
    let small = b.mul(count, unit);
    let small = b.bits(small);
    let (lowest, inf, end) = (b.int(0x400), b.int(0x7c00), b.int(INF));
    let below = b.ilt(mag, lowest);
    let y = b.select(below, small, normal);
    let special = b.ige(mag, inf);
    let infinite = b.or(wide, end);
    let y = b.select(special, infinite, y);
    let (is_nan, quiet) = (b.igt(mag, inf), b.int(0x0040_0000));
    let nan = b.or(y, quiet);
    let y = b.select(is_nan, nan, y);
    let y = b.or(y, sign);
    b.float(y)
}

/// The bits of `x` rounded to bfloat16, in the upper half; the lower half is not cleared.
fn upper_bf16<E: Emit>(b: &mut Build<'_, E>, x: E::Value) -> E::Value {
    let bits = b.bits(x);
    let up = round_up(b, bits, 16);
    let quiet = b.int(0x0040_0000);
    let nan = b.or(bits, quiet);
    let is_nan = b.uno(x, x);
    b.select(is_nan, nan, up)
}

/// The f32 `x` rounded to the nearest bfloat16 value.
pub fn round_bf16<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut narrow(e);
    let (bits, mask) = (upper_bf16(b, x), b.int(!0xffff));
    let bits = b.and(bits, mask);
    b.float(bits)
}

/// The bfloat16 bits (in the low half of an i32, the upper half 0) of the f32 `x`, rounded.
pub fn encode_bf16<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let b = &mut narrow(e);
    let (bits, sixteen) = (upper_bf16(b, x), b.int(16));
    b.shr(bits, sixteen)
}

/// The f32 with the value of the bfloat16 whose bits are the low half of the i32 `h`.
pub fn decode_bf16<E: Emit>(e: &mut E, h: E::Value) -> E::Value {
    let k = e.constant(Scalar::I32(16));
    let bits = e.op(ScalarOp::Shl, &[h, k]);
    e.op(ScalarOp::BitsF32, &[bits])
}

/// A writer of 32-bit operations.
fn narrow<E: Emit>(e: &mut E) -> Build<'_, E> {
    Build { e, wide: false }
}
