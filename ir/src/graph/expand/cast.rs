//! Conversions between element types.

use super::{narrow, number};
use crate::kernel::{Emit, Scalar, ScalarOp, ScalarType, loaded_type};
use crate::types::DType;

/// The bits of `from` as `to`, which has the same width; see [`crate::graph::Op::Bitcast`].
pub fn bitcast<E: Emit>(e: &mut E, x: E::Value, from: DType, to: DType) -> E::Value {
    // Between integers of one width a conversion wraps, which keeps the bits.
    match (from, to) {
        _ if from == to => x,
        (DType::F32, _) => {
            let bits = e.op(ScalarOp::F32Bits, &[x]);
            cast(e, bits, DType::I32, to)
        }
        (DType::F64, _) => {
            let bits = e.op(ScalarOp::F64Bits, &[x]);
            cast(e, bits, DType::I64, to)
        }
        (_, DType::F32) => {
            let bits = cast(e, x, from, DType::I32);
            e.op(ScalarOp::BitsF32, &[bits])
        }
        (_, DType::F64) => {
            let bits = cast(e, x, from, DType::I64);
            e.op(ScalarOp::BitsF64, &[bits])
        }
        _ => cast(e, x, from, to),
    }
}

/// Converts from element type `from` to element type `to`; see [`crate::graph::Op::Cast`].
pub fn cast<E: Emit>(e: &mut E, x: E::Value, from: DType, to: DType) -> E::Value {
    if from == to {
        return x;
    }
    let (held, wanted) = (loaded_type(from), loaded_type(to));
    match (from, to) {
        (_, DType::Bool) => {
            let zero = e.constant(number(from, 0));
            e.op(if from.is_float() { ScalarOp::FNe } else { ScalarOp::INe }, &[x, zero])
        }
        (DType::Bool, _) => {
            let (one, zero) = (e.constant(number(to, 1)), e.constant(number(to, 0)));
            e.op(ScalarOp::Select, &[x, one, zero])
        }
        _ if from.is_float() && to.is_float() => match (held, wanted) {
            (ScalarType::F32, ScalarType::F64) => e.op(ScalarOp::F32ToF64, &[x]),
            (ScalarType::F64, _) if to == DType::F32 => e.op(ScalarOp::F64ToF32, &[x]),
            (ScalarType::F64, _) => {
                let y = f32_rounded_to_odd(e, x);
                narrow(e, y, to)
            }
            _ => narrow(e, x, to),
        },
        _ if from.is_float() => float_to_int(e, x, to),
        (DType::U64, _) if to.is_float() => u64_to_float(e, x, to),
        (_, DType::F64) => e.op(if held == ScalarType::I64 { ScalarOp::I64ToF64 } else { ScalarOp::I32ToF64 }, &[x]),
        // An integer that a binary16 can hold is exact in an f32, so that rounding twice is rounding once.
        (_, DType::F32 | DType::F16) => {
            let y = e.op(if held == ScalarType::I64 { ScalarOp::I64ToF32 } else { ScalarOp::I32ToF32 }, &[x]);
            narrow(e, y, to)
        }
        (_, DType::BF16) => {
            let y = match held {
                ScalarType::I64 => f64_with_sticky_bit(e, x),
                _ => e.op(ScalarOp::I32ToF64, &[x]),
            };
            let y = f32_rounded_to_odd(e, y);
            narrow(e, y, to)
        }
        _ => {
            let y = match (held, wanted) {
                (ScalarType::I64, ScalarType::I32) => e.op(ScalarOp::I64ToI32, &[x]),
                (ScalarType::I32, ScalarType::I64) => e.op(ScalarOp::I32ToI64, &[x]),
                _ => x,
            };
            narrow(e, y, to)
        }
    }
}

/// A float to an integer type: toward zero, saturating, NaN to 0.
fn float_to_int<E: Emit>(e: &mut E, x: E::Value, to: DType) -> E::Value {
    if to == DType::U64 {
        return float_to_u64(e, x);
    }
    let op = match (e.type_of(x), loaded_type(to)) {
        (ScalarType::F64, ScalarType::I64) => ScalarOp::F64ToI64,
        (ScalarType::F64, _) => ScalarOp::F64ToI32,
        (_, ScalarType::I64) => ScalarOp::F32ToI64,
        _ => ScalarOp::F32ToI32,
    };
    let y = e.op(op, &[x]);
    let range = match to {
        DType::I16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DType::I8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        DType::U32 => (0, i64::from(u32::MAX)),
        DType::U16 => (0, i64::from(u16::MAX)),
        DType::U8 => (0, i64::from(u8::MAX)),
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 | DType::I64 | DType::I32 | DType::U64 | DType::Bool => {
            return y;
        }
    };
    let (lo, hi) = (e.constant(number(to, range.0)), e.constant(number(to, range.1)));
    let below = e.op(ScalarOp::ILt, &[y, lo]);
    let y = e.op(ScalarOp::Select, &[below, lo, y]);
    let above = e.op(ScalarOp::IGt, &[y, hi]);
    e.op(ScalarOp::Select, &[above, hi, y])
}

/// Values from 2^63 on are moved below it, converted, and moved back by the sign bit. The move is exact: such a float is a
/// multiple of its last place, and so is the difference.
fn float_to_u64<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let wide = e.type_of(x) == ScalarType::F64;
    let half = 2f64.powi(63);
    let (op, half, zero) = match wide {
        true => (ScalarOp::F64ToI64, Scalar::F64(half), Scalar::F64(0.0)),
        false => (ScalarOp::F32ToI64, Scalar::F32(half as f32), Scalar::F32(0.0)),
    };
    let (half, zero) = (e.constant(half), e.constant(zero));
    let negative = e.op(ScalarOp::FLt, &[x, zero]);
    let x = e.op(ScalarOp::Select, &[negative, zero, x]);
    let large = e.op(ScalarOp::FGe, &[x, half]);
    let moved = e.op(ScalarOp::FSub, &[x, half]);
    let x = e.op(ScalarOp::Select, &[large, moved, x]);
    let y = e.op(op, &[x]);
    let (top, none) = (e.constant(Scalar::I64(i64::MIN)), e.constant(Scalar::I64(0)));
    let flip = e.op(ScalarOp::Select, &[large, top, none]);
    e.op(ScalarOp::Xor, &[y, flip])
}

/// Values from 2^63 on are halved first, the bit that is lost being kept in the last place: that is rounding to odd, so that
/// what follows still rounds once. The result is doubled, which is exact.
fn u64_to_float<E: Emit>(e: &mut E, x: E::Value, to: DType) -> E::Value {
    let (zero, one) = (e.constant(Scalar::I64(0)), e.constant(Scalar::I64(1)));
    let large = e.op(ScalarOp::ILt, &[x, zero]);
    let halved = e.op(ScalarOp::ShrU, &[x, one]);
    let last = e.op(ScalarOp::And, &[x, one]);
    let halved = e.op(ScalarOp::Or, &[halved, last]);
    let x = e.op(ScalarOp::Select, &[large, halved, x]);
    let (y, factors) = match to {
        DType::F64 => (e.op(ScalarOp::I64ToF64, &[x]), [Scalar::F64(2.0), Scalar::F64(1.0)]),
        DType::BF16 => {
            let y = f64_with_sticky_bit(e, x);
            (f32_rounded_to_odd(e, y), [Scalar::F32(2.0), Scalar::F32(1.0)])
        }
        _ => (e.op(ScalarOp::I64ToF32, &[x]), [Scalar::F32(2.0), Scalar::F32(1.0)]),
    };
    let [two, one] = factors.map(|k| e.constant(k));
    let factor = e.op(ScalarOp::Select, &[large, two, one]);
    let y = e.op(ScalarOp::FMul, &[y, factor]);
    narrow(e, y, to)
}

/// The f64 `x` as an f32, of whose two neighbours the one with an odd last bit is taken if `x` lies between: rounding that
/// to a format with at least two bits less is the same as rounding `x` (Boldo and Melquiond, *Emulation of a FMA and
/// correctly rounded sums: proved algorithms using rounding to odd*, 2008).
fn f32_rounded_to_odd<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let nearest = e.op(ScalarOp::F64ToF32, &[x]);
    let back = e.op(ScalarOp::F32ToF64, &[nearest]);
    let inexact = e.op(ScalarOp::FNe, &[back, x]);
    let bits = e.op(ScalarOp::F32Bits, &[nearest]);
    let (one, zero) = (e.constant(Scalar::I32(1)), e.constant(Scalar::I32(0)));
    let last = e.op(ScalarOp::And, &[bits, one]);
    let even = e.op(ScalarOp::IEq, &[last, zero]);
    let (size, true_size) = (e.op(ScalarOp::FAbs, &[back]), e.op(ScalarOp::FAbs, &[x]));
    let away = e.op(ScalarOp::FGt, &[size, true_size]);
    let (down, up) = (e.op(ScalarOp::ISub, &[bits, one]), e.op(ScalarOp::IAdd, &[bits, one]));
    let other = e.op(ScalarOp::Select, &[away, down, up]);
    let take = e.op(ScalarOp::And, &[inexact, even]);
    let odd = e.op(ScalarOp::Select, &[take, other, bits]);
    e.op(ScalarOp::BitsF32, &[odd])
}

/// The i64 `x` as an f64 that rounds to any format of at most 50 bits as `x` itself does: beyond 53 bits the last twelve
/// are replaced by one that says whether any was set.
fn f64_with_sticky_bit<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let mask = e.constant(Scalar::I64(0xfff));
    let (zero, half) = (e.constant(Scalar::I64(0)), e.constant(Scalar::I64(0x800)));
    let low = e.op(ScalarOp::And, &[x, mask]);
    let exact = e.op(ScalarOp::IEq, &[low, zero]);
    let sticky = e.op(ScalarOp::Select, &[exact, zero, half]);
    let high = e.op(ScalarOp::ISub, &[x, low]);
    let short = e.op(ScalarOp::IAdd, &[high, sticky]);
    let top = e.constant(Scalar::I64(53));
    let top = e.op(ScalarOp::ShrS, &[x, top]);
    let minus_one = e.constant(Scalar::I64(-1));
    let positive = e.op(ScalarOp::IEq, &[top, zero]);
    let negative = e.op(ScalarOp::IEq, &[top, minus_one]);
    let fits = e.op(ScalarOp::Or, &[positive, negative]);
    let y = e.op(ScalarOp::Select, &[fits, x, short]);
    e.op(ScalarOp::I64ToF64, &[y])
}
