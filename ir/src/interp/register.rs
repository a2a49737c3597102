//! Arithmetic in register types: chains and reductions run in these and are narrowed when they are stored.

use crate::graph::expand::narrow;
use crate::kernel::{Evaluate, Scalar};
use crate::tensor::Tensor;
use crate::types::DType;

/// One of the register types that numbers are held in.
pub(crate) trait Register: Copy {
    /// Zero (+0 for floats).
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// `a * b + c`: rounded once for floats, wrapping for integers.
    fn mul_add(a: Self, b: Self, c: Self) -> Self;
    /// Sum; wraps for integers.
    fn add(a: Self, b: Self) -> Self;
    /// Product; wraps for integers.
    fn mul(a: Self, b: Self) -> Self;
    /// Quotient by a count; toward zero for integers.
    fn div_count(a: Self, n: usize) -> Self;
    /// `a < b`; false if either is NaN.
    fn less(a: Self, b: Self) -> bool;
    /// Not a number.
    fn is_nan(a: Self) -> bool;
    /// The elements of a tensor in registers. The tensor must be of an element type that is held in this register type.
    fn read(t: &Tensor) -> Vec<Self>;
    /// As a scalar.
    fn scalar(self) -> Scalar;
    /// The value of a scalar of this register type; zero for one of another.
    fn held(s: Scalar) -> Self;
}

macro_rules! float_register {
    ($t:ident, $variant:ident, |$x:ident| $read:expr) => {
        impl Register for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn mul_add(a: Self, b: Self, c: Self) -> Self {
                a.mul_add(b, c)
            }
            fn add(a: Self, b: Self) -> Self {
                a + b
            }
            fn mul(a: Self, b: Self) -> Self {
                a * b
            }
            fn div_count(a: Self, n: usize) -> Self {
                a / n as $t
            }
            fn less(a: Self, b: Self) -> bool {
                a < b
            }
            fn is_nan(a: Self) -> bool {
                a.is_nan()
            }
            fn read($x: &Tensor) -> Vec<Self> {
                $read
            }
            fn scalar(self) -> Scalar {
                Scalar::$variant(self)
            }
            fn held(s: Scalar) -> Self {
                match s {
                    Scalar::$variant(x) => x,
                    _ => Self::ZERO,
                }
            }
        }
    };
}

macro_rules! int_register {
    ($t:ident, $variant:ident, $held:ident, |$x:ident| $read:expr) => {
        impl Register for $t {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            fn mul_add(a: Self, b: Self, c: Self) -> Self {
                a.wrapping_mul(b).wrapping_add(c)
            }
            fn add(a: Self, b: Self) -> Self {
                a.wrapping_add(b)
            }
            fn mul(a: Self, b: Self) -> Self {
                a.wrapping_mul(b)
            }
            fn div_count(a: Self, n: usize) -> Self {
                $t::try_from(n).map_or(0, |n| a.checked_div(n).unwrap_or(0))
            }
            fn less(a: Self, b: Self) -> bool {
                a < b
            }
            fn is_nan(_: Self) -> bool {
                false
            }
            fn read($x: &Tensor) -> Vec<Self> {
                $read
            }
            fn scalar(self) -> Scalar {
                Scalar::$variant(self as $held)
            }
            fn held(s: Scalar) -> Self {
                match s {
                    Scalar::$variant(x) => x as $t,
                    _ => Self::ZERO,
                }
            }
        }
    };
}

float_register!(f64, F64, |t| t.as_slice::<f64>().to_vec());
float_register!(f32, F32, |t| match t.dtype() {
    DType::F16 => t.as_slice::<half::f16>().iter().map(|x| x.to_f32()).collect(),
    DType::BF16 => t.as_slice::<half::bf16>().iter().map(|x| x.to_f32()).collect(),
    _ => t.as_slice::<f32>().to_vec(),
});
int_register!(i64, I64, i64, |t| match t.dtype() {
    DType::U32 => t.as_slice::<u32>().iter().map(|x| i64::from(*x)).collect(),
    _ => t.as_slice::<i64>().to_vec(),
});
int_register!(u64, I64, i64, |t| t.as_slice::<u64>().to_vec());
int_register!(i32, I32, i32, |t| match t.dtype() {
    DType::I16 => t.as_slice::<i16>().iter().map(|x| i32::from(*x)).collect(),
    DType::I8 => t.as_slice::<i8>().iter().map(|x| i32::from(*x)).collect(),
    DType::U16 => t.as_slice::<u16>().iter().map(|x| i32::from(*x)).collect(),
    DType::U8 => t.as_slice::<u8>().iter().map(|x| i32::from(*x)).collect(),
    _ => t.as_slice::<i32>().to_vec(),
});

/// Runs a body with `R` standing for the register type of an element type, which is `u64` for `u64`, so that it is compared
/// and divided as such; `bool` has none and gives `None`.
macro_rules! with_register {
    ($dtype:expr, $R:ident => $body:expr) => {
        match $crate::kernel::loaded_type($dtype) {
            $crate::kernel::ScalarType::F32 => {
                type $R = f32;
                Some($body)
            }
            $crate::kernel::ScalarType::F64 => {
                type $R = f64;
                Some($body)
            }
            $crate::kernel::ScalarType::I32 => {
                type $R = i32;
                Some($body)
            }
            $crate::kernel::ScalarType::I64 if $dtype == $crate::types::DType::U64 => {
                type $R = u64;
                Some($body)
            }
            $crate::kernel::ScalarType::I64 => {
                type $R = i64;
                Some($body)
            }
            $crate::kernel::ScalarType::Bool => None,
        }
    };
}
pub(crate) use with_register;

/// A tensor of `dtype` from registers, each narrowed first. `None` if the count does not match the shape.
pub(crate) fn store<R: Register>(dtype: DType, shape: Vec<usize>, data: &[R]) -> Option<Tensor> {
    let mut out = zeros(dtype, shape)?;
    if out.len() != data.len() {
        return None;
    }
    for (k, x) in data.iter().enumerate() {
        put(&mut out, k, narrow(&mut Evaluate, x.scalar(), dtype));
    }
    Some(out)
}

/// All zeros, or `None` if the size overflows.
pub(crate) fn zeros(dtype: DType, shape: Vec<usize>) -> Option<Tensor> {
    let bytes = shape.iter().try_fold(dtype.size(), |n, d| n.checked_mul(*d))?;
    (bytes <= isize::MAX as usize).then(|| Tensor::zeros(dtype, shape))
}

/// The elements of a tensor as scalars in registers.
pub(crate) fn scalars(t: &Tensor) -> Vec<Scalar> {
    match t.dtype() {
        DType::Bool => t.bytes().iter().map(|b| Scalar::Bool(*b != 0)).collect(),
        d => with_register!(d, R => R::read(t).into_iter().map(Register::scalar).collect()).unwrap_or_default(),
    }
}

/// Writes a scalar, which must already be in the range of the element type, to element `k`. Beyond the end, or with a
/// scalar of another register type, nothing is written.
pub(crate) fn put(t: &mut Tensor, k: usize, x: Scalar) {
    macro_rules! set {
        ($t:ty, $v:expr) => {
            if let Some(slot) = t.as_mut_slice::<$t>().get_mut(k) {
                *slot = $v;
            }
        };
    }
    match (t.dtype(), x) {
        (DType::F64, Scalar::F64(x)) => set!(f64, x),
        (DType::F32, Scalar::F32(x)) => set!(f32, x),
        (DType::F16, Scalar::F32(x)) => set!(half::f16, half::f16::from_f32(x)),
        (DType::BF16, Scalar::F32(x)) => set!(half::bf16, half::bf16::from_f32(x)),
        (DType::I64, Scalar::I64(x)) => set!(i64, x),
        (DType::I32, Scalar::I32(x)) => set!(i32, x),
        (DType::I16, Scalar::I32(x)) => set!(i16, x as i16),
        (DType::I8, Scalar::I32(x)) => set!(i8, x as i8),
        (DType::U64, Scalar::I64(x)) => set!(u64, x as u64),
        (DType::U32, Scalar::I64(x)) => set!(u32, x as u32),
        (DType::U16, Scalar::I32(x)) => set!(u16, x as u16),
        (DType::U8, Scalar::I32(x)) => set!(u8, x as u8),
        (DType::Bool, Scalar::Bool(x)) => {
            if let Some(slot) = t.bytes_mut().get_mut(k) {
                *slot = u8::from(x);
            }
        }
        _ => {}
    }
}
