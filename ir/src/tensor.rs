//! A dense, row-major, host-side tensor: constants, inputs, outputs and the interpreter's values.

use crate::types::{DType, TensorType};
use half::{bf16, f16};
use std::sync::Arc;

/// Dense row-major data with its type. Cheap to clone: the bytes are shared and copied on write.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Arc<Words>,
}

/// Bytes in 8-byte words, so that every element type is aligned.
#[derive(Clone, PartialEq, Eq)]
struct Words {
    words: Vec<u64>,
    len: usize,
}

impl Words {
    fn zeros(len: usize) -> Words {
        Words { words: vec![0; len.div_ceil(8)], len }
    }

    fn new(bytes: &[u8]) -> Words {
        let mut w = Words::zeros(bytes.len());
        w.bytes_mut().copy_from_slice(bytes);
        w
    }

    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}

/// A Rust type that is the in-memory form of one [`DType`].
pub trait Element: bytemuck::Pod {
    /// The element type this Rust type stores.
    const DTYPE: DType;
}

macro_rules! element {
    ($($rust:ty => $dtype:ident),* $(,)?) => { $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })* };
}
element! {
    f64 => F64, f32 => F32, f16 => F16, bf16 => BF16, i64 => I64, i32 => I32, i16 => I16, i8 => I8,
    u64 => U64, u32 => U32, u16 => U16, u8 => U8,
}

impl Tensor {
    /// A tensor over little-endian bytes. `None` if the length is not that of the type and shape.
    pub fn from_bytes(dtype: DType, shape: Vec<usize>, bytes: &[u8]) -> Option<Tensor> {
        let n = shape.iter().try_fold(dtype.size(), |n, d| n.checked_mul(*d))?;
        (n == bytes.len()).then(|| Tensor { dtype, shape, data: Arc::new(Words::new(bytes)) })
    }

    /// A tensor of one of the numeric element types. `None` if the count does not match the shape.
    pub fn from_vec<T: Element>(shape: Vec<usize>, data: Vec<T>) -> Option<Tensor> {
        Tensor::from_bytes(T::DTYPE, shape, bytemuck::cast_slice(&data))
    }

    /// A `bool` tensor. `None` if the count does not match the shape.
    pub fn from_bools(shape: Vec<usize>, data: &[bool]) -> Option<Tensor> {
        Tensor::from_bytes(DType::Bool, shape, &data.iter().map(|b| u8::from(*b)).collect::<Vec<u8>>())
    }

    /// A rank-0 `f32`.
    pub fn scalar_f32(x: f32) -> Tensor {
        Tensor { dtype: DType::F32, shape: Vec::new(), data: Arc::new(Words::new(&x.to_le_bytes())) }
    }

    /// A rank-0 `i64`.
    pub fn scalar_i64(x: i64) -> Tensor {
        Tensor { dtype: DType::I64, shape: Vec::new(), data: Arc::new(Words::new(&x.to_le_bytes())) }
    }

    /// All zeros (`false` for `bool`).
    pub fn zeros(dtype: DType, shape: Vec<usize>) -> Tensor {
        let n = shape.iter().product::<usize>() * dtype.size();
        Tensor { dtype, shape, data: Arc::new(Words::zeros(n)) }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True when some extent is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type with known extents.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, self.shape.iter().map(|d| *d as u64))
    }

    /// Little-endian bytes, row-major.
    pub fn bytes(&self) -> &[u8] {
        self.data.bytes()
    }

    /// Bytes to write into; copies them first if they are shared.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        Arc::make_mut(&mut self.data).bytes_mut()
    }

    /// The elements as `T`.
    ///
    /// # Panics
    /// If `T` is not this tensor's element type: callers match on [`Tensor::dtype`] first.
    pub fn as_slice<T: Element>(&self) -> &[T] {
        assert_eq!(T::DTYPE, self.dtype, "element type of a tensor");
        bytemuck::cast_slice(self.data.bytes())
    }

    /// The elements to write into, as `T`; copies them first if they are shared.
    ///
    /// # Panics
    /// As [`Tensor::as_slice`].
    pub fn as_mut_slice<T: Element>(&mut self) -> &mut [T] {
        assert_eq!(T::DTYPE, self.dtype, "element type of a tensor");
        bytemuck::cast_slice_mut(self.bytes_mut())
    }

    /// The same data under another shape with as many elements, or `None`.
    pub fn reshaped(&self, shape: Vec<usize>) -> Option<Tensor> {
        let n = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        (n == self.len()).then(|| Tensor { dtype: self.dtype, shape, data: self.data.clone() })
    }

    /// Element `k` widened to `f64` (exact but for `i64` and `u64` beyond 53 bits).
    pub fn get_f64(&self, k: usize) -> f64 {
        let s = self.dtype.size();
        let b = &self.bytes()[k * s..(k + 1) * s];
        match self.dtype {
            DType::F64 => f64::from_le_bytes(b.try_into().expect("8 bytes")),
            DType::F32 => f64::from(f32::from_le_bytes(b.try_into().expect("4 bytes"))),
            DType::F16 => f16::from_le_bytes(b.try_into().expect("2 bytes")).to_f64(),
            DType::BF16 => bf16::from_le_bytes(b.try_into().expect("2 bytes")).to_f64(),
            DType::I64 => i64::from_le_bytes(b.try_into().expect("8 bytes")) as f64,
            DType::I32 => f64::from(i32::from_le_bytes(b.try_into().expect("4 bytes"))),
            DType::I16 => f64::from(i16::from_le_bytes(b.try_into().expect("2 bytes"))),
            DType::I8 => f64::from(b[0] as i8),
            DType::U64 => u64::from_le_bytes(b.try_into().expect("8 bytes")) as f64,
            DType::U32 => f64::from(u32::from_le_bytes(b.try_into().expect("4 bytes"))),
            DType::U16 => f64::from(u16::from_le_bytes(b.try_into().expect("2 bytes"))),
            DType::U8 | DType::Bool => f64::from(b[0]),
        }
    }

    /// Element `k` of an integer or `bool` tensor, exact; `None` for floats.
    pub fn get_int(&self, k: usize) -> Option<i128> {
        match self.dtype {
            DType::I64 => Some(i128::from(self.as_slice::<i64>()[k])),
            DType::U64 => Some(i128::from(self.as_slice::<u64>()[k])),
            d if d.is_float() => None,
            // The others fit a double.
            _ => Some(self.get_f64(k) as i128),
        }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}(", self.ty())?;
        for k in 0..self.len().min(8) {
            write!(f, "{}{}", if k > 0 { ", " } else { "" }, self.get_f64(k))?;
        }
        f.write_str(if self.len() > 8 { ", ...)" } else { ")" })
    }
}
