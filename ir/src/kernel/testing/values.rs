//! Operands for tests of scalar operations: special values of every type, and any.

use super::Choices;
use crate::kernel::{Scalar, ScalarOp, ScalarType, Signature};
use crate::types::DType;

/// The element type that holds a scalar as it is.
pub fn dtype(ty: ScalarType) -> DType {
    match ty {
        ScalarType::F32 => DType::F32,
        ScalarType::F64 => DType::F64,
        ScalarType::I32 => DType::I32,
        ScalarType::I64 => DType::I64,
        ScalarType::Bool => DType::Bool,
    }
}

/// The choices of operand types that an operation takes.
pub fn signatures(op: ScalarOp) -> Vec<Vec<ScalarType>> {
    use ScalarType::{Bool, F32, F64, I32, I64};
    let same = |n: u8, types: &[ScalarType]| types.iter().map(|t| vec![*t; n as usize]).collect();
    match op.signature() {
        Signature::Float(n) => same(n, &[F32, F64]),
        Signature::FloatCmp => same(2, &[F32, F64]),
        Signature::Int(n) => same(n, &[I32, I64]),
        Signature::IntCmp => same(2, &[I32, I64]),
        Signature::Logic(n) => same(n, &[Bool, I32, I64]),
        Signature::Select => ScalarType::ALL.iter().map(|t| vec![Bool, *t, *t]).collect(),
        Signature::Convert(from, _) => vec![vec![from]],
    }
}

/// Special floating-point numbers.
pub const FLOATS: &[f64] = &[
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    3.7,
    -3.7,
    1e-40,
    -1e-310,
    5e-324,
    8388607.5,
    4503599627370495.5,
    2147483647.0,
    2147483648.0,
    -2147483648.0,
    -2147483904.0,
    9.3e18,
    -9.3e18,
    1e30,
    3.4e38,
    1.7e308,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    16777217.0,
    0.1,
];
/// Special integers.
pub const INTS: &[i64] = &[
    0,
    1,
    -1,
    2,
    -2,
    3,
    7,
    31,
    32,
    33,
    63,
    64,
    65,
    100,
    -100,
    255,
    65535,
    65536,
    i32::MAX as i64,
    i32::MIN as i64,
    i32::MAX as i64 + 1,
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
    16777217,
    9007199254740993,
    -9007199254740993,
    1 << 40,
];

/// Special value `k` of a type, over and over.
pub fn edge(ty: ScalarType, k: usize) -> Scalar {
    let (f, i) = (FLOATS[k % FLOATS.len()], INTS[k % INTS.len()]);
    match ty {
        ScalarType::F32 => Scalar::F32(f as f32),
        ScalarType::F64 => Scalar::F64(f),
        ScalarType::I32 => Scalar::I32(i as i32),
        ScalarType::I64 => Scalar::I64(i),
        ScalarType::Bool => Scalar::Bool(k % 2 == 1),
    }
}

/// A value of a type, special or not.
pub fn random(ty: ScalarType, c: &mut Choices) -> Scalar {
    if c.once_in(3) {
        return edge(ty, c.below(1000));
    }
    let bits = u64::from(c.draw()) << 32 | u64::from(c.draw());
    match ty {
        ScalarType::F32 | ScalarType::F64 if c.once_in(2) => {
            let x = (bits as i64 as f64) / 2f64.powi(32 + c.below(40) as i32);
            if ty == ScalarType::F32 { Scalar::F32(x as f32) } else { Scalar::F64(x) }
        }
        ScalarType::Bool => Scalar::Bool(bits & 1 == 1),
        _ => Scalar::from_bits(ty, bits),
    }
}

/// The bytes of values of one type.
pub fn bytes(values: &[Scalar]) -> Vec<u8> {
    let size = values.first().map_or(0, |v| dtype(v.ty()).size());
    values.iter().flat_map(|v| v.bits().to_le_bytes()[..size].to_vec()).collect()
}
