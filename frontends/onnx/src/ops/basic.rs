//! The vocabulary of the families: nc's ops on values, with ONNX's broadcasting.

use crate::import::{Call, Fault, Value, invalid};
use nc_ir::graph::{Op, ReduceKind};
use nc_ir::{DType, Tensor};

/// The shape that shapes broadcast to, aligned from the right.
pub(super) fn broadcast_shape(shapes: &[Vec<usize>]) -> Result<Vec<usize>, Fault> {
    let rank = shapes.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = vec![1usize; rank];
    for s in shapes {
        let missing = rank - s.len();
        for (a, n) in s.iter().enumerate() {
            let o = &mut out[missing + a];
            match (*o, *n) {
                (x, y) if x == y || y == 1 => {}
                (1, y) => *o = y,
                _ => return invalid(format!("the shapes {shapes:?} do not broadcast")),
            }
        }
    }
    Ok(out)
}

/// Extents for an op's attribute.
fn dims(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|n| *n as u64).collect()
}

impl Call<'_, '_> {
    /// A known scalar of an element type: `x` rounded to it.
    pub fn scalar(&self, dtype: DType, x: f64) -> Value {
        Value::known(full(dtype, x), "")
    }

    /// A known vector of `i64`.
    pub fn i64s(&self, list: &[i64]) -> Value {
        Value::known(ints(list), "")
    }

    /// An element-wise op with broadcasting: operands of one element become scalars, others are repeated.
    ///
    /// # Errors
    /// If the shapes do not broadcast, or element types do not fit.
    pub fn ew(&mut self, op: Op, args: &[&Value]) -> Result<Value, Fault> {
        let shapes: Vec<Vec<usize>> = args.iter().map(|a| self.shape(a)).collect();
        let shape = broadcast_shape(&shapes)?;
        let full = shapes.contains(&shape);
        let mut fitted = Vec::with_capacity(args.len());
        for (a, s) in args.iter().zip(&shapes) {
            fitted.push(if s.is_empty() || *s == shape {
                (*a).clone()
            } else if full && s.iter().all(|n| *n == 1) {
                self.reshape(a, &[])?
            } else {
                self.broadcast(a, &shape)?
            });
        }
        self.op(op, &fitted)
    }

    /// An element-wise op on one operand.
    ///
    /// # Errors
    /// If the element type does not fit.
    pub fn unary(&mut self, op: Op, x: &Value) -> Result<Value, Fault> {
        self.op(op, std::slice::from_ref(x))
    }

    /// Sum, with broadcasting.
    ///
    /// # Errors
    /// As [`Call::ew`]; so for the ones below.
    pub fn add(&mut self, a: &Value, b: &Value) -> Result<Value, Fault> {
        self.ew(Op::Add, &[a, b])
    }

    /// Difference.
    ///
    /// # Errors
    /// As [`Call::ew`].
    pub fn sub(&mut self, a: &Value, b: &Value) -> Result<Value, Fault> {
        self.ew(Op::Sub, &[a, b])
    }

    /// Product.
    ///
    /// # Errors
    /// As [`Call::ew`].
    pub fn mul(&mut self, a: &Value, b: &Value) -> Result<Value, Fault> {
        self.ew(Op::Mul, &[a, b])
    }

    /// Quotient.
    ///
    /// # Errors
    /// As [`Call::ew`].
    pub fn div(&mut self, a: &Value, b: &Value) -> Result<Value, Fault> {
        self.ew(Op::Div, &[a, b])
    }

    /// `a` where `c` is true, else `b`.
    ///
    /// # Errors
    /// As [`Call::ew`].
    pub fn select(&mut self, c: &Value, a: &Value, b: &Value) -> Result<Value, Fault> {
        self.ew(Op::Select, &[c, a, b])
    }

    /// Conversion to an element type.
    ///
    /// # Errors
    /// None that a value can cause.
    pub fn cast(&mut self, x: &Value, to: DType) -> Result<Value, Fault> {
        if self.dtype(x) == to {
            return Ok(x.clone());
        }
        self.unary(Op::Cast { to }, x)
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshape(&mut self, x: &Value, shape: &[usize]) -> Result<Value, Fault> {
        if self.shape(x) == shape {
            return Ok(x.clone());
        }
        if let Some(t) = x.tensor() {
            return match t.reshaped(shape.to_vec()) {
                Some(t) => Ok(Value::known(t, "")),
                None => invalid(format!("{:?} cannot be reshaped to {shape:?}", t.shape())),
            };
        }
        let shape = dims(shape);
        self.op(Op::Reshape { shape }, std::slice::from_ref(x))
    }

    /// Repeats to a shape, aligned from the right.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn broadcast(&mut self, x: &Value, shape: &[usize]) -> Result<Value, Fault> {
        if self.shape(x) == shape {
            return Ok(x.clone());
        }
        let shape = dims(shape);
        self.op(Op::Broadcast { shape }, std::slice::from_ref(x))
    }

    /// Permutes the axes: axis k of the result is axis `perm[k]` of `x`.
    ///
    /// # Errors
    /// If `perm` is no permutation of the axes.
    pub fn transpose(&mut self, x: &Value, perm: &[usize]) -> Result<Value, Fault> {
        if perm.iter().enumerate().all(|(k, p)| k == *p) && perm.len() == self.rank(x) {
            return Ok(x.clone());
        }
        self.op(Op::Transpose { perm: perm.to_vec() }, std::slice::from_ref(x))
    }

    /// The elements `start` (included) to `stop` (not included) of one axis, every `step`th (1 or more).
    ///
    /// # Errors
    /// If the range leaves the axis.
    pub fn slice_axis(
        &mut self,
        x: &Value,
        axis: usize,
        start: usize,
        stop: usize,
        step: usize,
    ) -> Result<Value, Fault> {
        let shape = self.shape(x);
        if start == 0 && step == 1 && shape.get(axis) == Some(&stop) {
            return Ok(x.clone());
        }
        let (mut from, mut to, mut by) = (vec![0u64; shape.len()], dims(&shape), vec![1u64; shape.len()]);
        if let (Some(f), Some(t), Some(b)) = (from.get_mut(axis), to.get_mut(axis), by.get_mut(axis)) {
            (*f, *t, *b) = (start as u64, stop as u64, step as u64);
        }
        self.op(Op::Slice { start: from, stop: to, step: by }, std::slice::from_ref(x))
    }

    /// Joins values along an axis.
    ///
    /// # Errors
    /// If their other extents differ.
    pub fn concat(&mut self, xs: &[Value], axis: usize) -> Result<Value, Fault> {
        match xs {
            [one] => Ok(one.clone()),
            _ => self.op(Op::Concat { axis }, xs),
        }
    }

    /// Slices of `x` along `axis` that the integers in `index` name, counted from the front.
    ///
    /// # Errors
    /// If there is no such axis, or `index` has no integers.
    pub fn gather(&mut self, x: &Value, index: &Value, axis: usize) -> Result<Value, Fault> {
        self.op(Op::Gather { axis }, &[x.clone(), index.clone()])
    }

    /// Combines the elements along axes.
    ///
    /// # Errors
    /// If an axis does not exist, or there is no result.
    pub fn reduce(&mut self, kind: ReduceKind, x: &Value, axes: &[usize], keep: bool) -> Result<Value, Fault> {
        if axes.is_empty() {
            return Ok(x.clone());
        }
        self.op(Op::Reduce { kind, axes: axes.to_vec(), keep }, std::slice::from_ref(x))
    }

    /// A value with further axes of extent 1 at `axes` of the result, which are ascending.
    ///
    /// # Errors
    /// If an axis lies beyond the result.
    pub fn unsqueeze(&mut self, x: &Value, axes: &[usize]) -> Result<Value, Fault> {
        let mut shape = self.shape(x);
        for a in axes {
            if *a > shape.len() {
                return invalid(format!("the axis {a} does not exist in a shape of {} dimensions", shape.len() + 1));
            }
            shape.insert(*a, 1);
        }
        self.reshape(x, &shape)
    }
}

/// A scalar tensor: `x` rounded to the element type.
pub(super) fn full(dtype: DType, x: f64) -> Tensor {
    let mut t = Tensor::zeros(dtype, Vec::new());
    let bytes: Vec<u8> = match dtype {
        DType::F64 => x.to_le_bytes().to_vec(),
        DType::F32 => (x as f32).to_le_bytes().to_vec(),
        DType::F16 => half::f16::from_f64(x).to_le_bytes().to_vec(),
        DType::BF16 => half::bf16::from_f64(x).to_le_bytes().to_vec(),
        DType::I64 => (x as i64).to_le_bytes().to_vec(),
        DType::I32 => (x as i32).to_le_bytes().to_vec(),
        DType::I16 => (x as i16).to_le_bytes().to_vec(),
        DType::I8 => (x as i8).to_le_bytes().to_vec(),
        DType::U64 => (x as u64).to_le_bytes().to_vec(),
        DType::U32 => (x as u32).to_le_bytes().to_vec(),
        DType::U16 => (x as u16).to_le_bytes().to_vec(),
        DType::U8 => (x as u8).to_le_bytes().to_vec(),
        DType::Bool => vec![u8::from(x != 0.0)],
    };
    t.bytes_mut().copy_from_slice(&bytes);
    t
}

/// A vector of `i64`.
pub(super) fn ints(list: &[i64]) -> Tensor {
    let bytes: Vec<u8> = list.iter().flat_map(|n| n.to_le_bytes()).collect();
    // As many bytes as the extent asks for.
    Tensor::from_bytes(DType::I64, vec![list.len()], &bytes).unwrap_or_else(|| Tensor::zeros(DType::I64, vec![0]))
}
