//! Random tensors.

use super::Choices;
use crate::tensor::Tensor;
use crate::types::{DType, TensorType};
use half::{bf16, f16};

/// A float: mostly of moderate size, now and then a special one.
fn float(c: &mut Choices) -> f64 {
    let x = c.draw();
    match x % 32 {
        0 => [0.0, -0.0, 1.0, -1.0][x as usize / 32 % 4],
        1 => [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-310][x as usize / 32 % 4],
        2 => [1e-40, -3e38, 1e300, 65520.0][x as usize / 32 % 4],
        3 => f64::from((x / 32 % 9) as i32 - 4),
        _ => f64::from(x / 32) / f64::from(1 << 24) - 4.0,
    }
}

fn int(c: &mut Choices) -> i64 {
    let x = c.draw();
    match x % 16 {
        0 => [i64::MIN, i64::MAX, i64::from(i32::MIN), i64::from(i32::MAX)][x as usize / 16 % 4],
        1 => i64::from(x / 16) << 20,
        _ => i64::from(x / 16 % 21) - 7,
    }
}

/// A tensor of a type with known extents: numbers of moderate size, among them infinities, NaN, subnormals, zeros of both
/// signs and the ends of the integers.
pub fn tensor(c: &mut Choices, ty: &TensorType) -> Tensor {
    let shape: Vec<usize> = ty.extents().unwrap_or_default().into_iter().map(|n| n as usize).collect();
    let n = shape.iter().product();
    macro_rules! fill {
        ($f:expr) => {
            Tensor::from_vec(shape.clone(), (0..n).map(|_| $f).collect::<Vec<_>>())
        };
    }
    let made = match ty.dtype {
        DType::F64 => fill!(float(c)),
        DType::F32 => fill!(float(c) as f32),
        DType::F16 => fill!(f16::from_f64(float(c))),
        DType::BF16 => fill!(bf16::from_f64(float(c))),
        DType::I64 => fill!(int(c)),
        DType::I32 => fill!(int(c) as i32),
        DType::I16 => fill!(int(c) as i16),
        DType::I8 => fill!(int(c) as i8),
        DType::U64 => fill!(int(c) as u64),
        DType::U32 => fill!(int(c) as u32),
        DType::U16 => fill!(int(c) as u16),
        DType::U8 => fill!(int(c) as u8),
        DType::Bool => {
            let rare = c.below(3) as u32;
            let bits: Vec<bool> = (0..n).map(|_| (c.draw() >> 8) & rare == rare).collect();
            Tensor::from_bools(shape.clone(), &bits)
        }
    };
    made.unwrap_or_else(|| Tensor::zeros(ty.dtype, shape))
}
