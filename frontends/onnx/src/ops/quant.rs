//! Quantisation: numbers as small integers with a scale and a zero point.

use super::conv;
use super::matmul::Side;
use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid, unsupported};
use crate::tensor::element_type;
use nc_ir::DType;
use nc_ir::graph::{Op, ReduceKind};

const SMALL: Types = Types::These(&[DType::I8, DType::U8]);

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row(
        "QuantizeLinear",
        &[10, 13, 19, 21, 23, 24, 25, 28],
        Types::Number,
        "types of 2 and 4 bits, float8, float6",
        quantize,
    ),
    row(
        "DequantizeLinear",
        &[10, 13, 19, 21, 23, 24, 25, 28],
        Types::Int,
        "types of 2 and 4 bits, float8, float6",
        dequantize,
    ),
    row("DynamicQuantizeLinear", &[11], Types::Float, "", dynamic),
    row("QLinearMatMul", &[10, 21], SMALL, "", matmul),
    row("QLinearConv", &[10], SMALL, "", convolution),
];

/// The range of an integer type that something can be quantised to.
fn range(dtype: DType) -> Result<(f64, f64), Fault> {
    Ok(match dtype {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        DType::U16 => (0.0, 65535.0),
        DType::I16 => (-32768.0, 32767.0),
        other => return unsupported(format!("quantisation to {other}")),
    })
}

/// A scale or zero point laid out for an operand of a shape: a scalar, one for each index of an axis, or one for each block
/// of an axis.
fn fitted(c: &mut Call<'_, '_>, v: &Value, shape: &[usize], axis: i64, block: usize) -> Result<Value, Fault> {
    let own = c.shape(v);
    match own.len() {
        0 => Ok(v.clone()),
        1 if own == [1] && block == 0 => c.reshape(v, &[]),
        1 if block == 0 => {
            // Version 10 has scalars only, and an axis makes no sense for them.
            let axis = c.axis(axis, shape.len())?;
            if own[0] != shape[axis] {
                return invalid(format!("{} scales for axis {axis} of {shape:?}", own[0]));
            }
            let mut full = vec![1; shape.len() - axis];
            full[0] = own[0];
            c.reshape(v, &full)
        }
        n if n == shape.len() && block > 0 => {
            let axis = c.axis(axis, shape.len())?;
            if own[axis].checked_mul(block).is_none_or(|all| all < shape[axis] || all >= shape[axis] + block) {
                return invalid(format!("{} blocks of {block} do not cover axis {axis} of {shape:?}", own[axis]));
            }
            let column = c.unsqueeze(v, &[axis + 1])?;
            let mut wide = own.clone();
            wide.insert(axis + 1, block);
            let wide = c.broadcast(&column, &wide)?;
            let mut joined = own;
            joined[axis] *= block;
            let all = c.reshape(&wide, &joined)?;
            c.slice_axis(&all, axis, 0, shape[axis], 1)
        }
        n => invalid(format!("scales of {n} dimensions for an operand of shape {shape:?}")),
    }
}

/// `axis` and `block_size`.
fn layout(c: &Call<'_, '_>) -> Result<(i64, usize), Fault> {
    let axis = if c.opset >= 13 { c.int("axis", 1)? } else { 1 };
    let block = if c.opset >= 21 { c.int("block_size", 0)? } else { 0 };
    match usize::try_from(block) {
        Ok(b) if b <= 1 << 31 => Ok((axis, b)),
        _ => invalid(format!("`block_size` is {block}")),
    }
}

/// The element type that an attribute names; `None` for 0 or no attribute.
fn named_type(c: &Call<'_, '_>, attribute: &str) -> Result<Option<DType>, Fault> {
    match c.int(attribute, 0)? {
        0 => Ok(None),
        n => {
            match i32::try_from(n).map_err(|_| format!("the element type {n} is not supported")).and_then(element_type)
            {
                Ok(d) => Ok(Some(d)),
                Err(text) => Err(Fault::Unsupported(text)),
            }
        }
    }
}

impl Call<'_, '_> {
    /// `saturate(round(x / scale) + zero)` in an integer type; `x` and `scale` are of one float type, `zero` a float.
    ///
    /// # Errors
    /// For a type that nothing is quantised to, or shapes that do not fit.
    fn quantized(&mut self, x: &Value, scale: &Value, zero: Option<&Value>, to: DType) -> Result<Value, Fault> {
        let (low, high) = range(to)?;
        let q = self.div(x, scale)?;
        let q = self.unary(Op::Round, &q)?;
        // The rest is exact in f32 for every type that it can become.
        let mut q = self.cast(&q, DType::F32)?;
        if let Some(zero) = zero {
            let zero = self.cast(zero, DType::F32)?;
            q = self.add(&q, &zero)?;
        }
        let (low, high) = (self.scalar(DType::F32, low), self.scalar(DType::F32, high));
        let q = self.ew(Op::Max, &[&q, &low])?;
        let q = self.ew(Op::Min, &[&q, &high])?;
        self.cast(&q, to)
    }
}

fn quantize(c: &mut Call<'_, '_>) -> Results {
    let (x, scale, zero) = (c.operand(0)?, c.operand(1)?, c.optional(2));
    let (axis, block) = layout(c)?;
    // Concerns float8 alone, which no result can be.
    c.has("saturate");
    let wanted = if c.opset >= 21 { named_type(c, "output_dtype")? } else { None };
    let precision = if c.opset >= 23 { named_type(c, "precision")? } else { None };
    let to = match (&zero, wanted) {
        (Some(z), Some(d)) if c.dtype(z) != d => {
            return invalid(format!("`output_dtype` is {d}, but the zero point is {}", c.dtype(z)));
        }
        (Some(z), _) => c.dtype(z),
        (None, d) => d.unwrap_or(DType::U8),
    };
    let shape = c.shape(&x);
    let scale = fitted(c, &scale, &shape, axis, block)?;
    let zero = zero.map(|z| fitted(c, &z, &shape, axis, block)).transpose()?;
    let kind = match precision {
        Some(d) => d,
        None if c.dtype(&scale).is_float() => c.dtype(&scale),
        None => DType::F32,
    };
    let (x, scale) = (c.cast(&x, kind)?, c.cast(&scale, kind)?);
    Ok(vec![c.quantized(&x, &scale, zero.as_ref(), to)?])
}

fn dequantize(c: &mut Call<'_, '_>) -> Results {
    let (x, scale, zero) = (c.operand(0)?, c.operand(1)?, c.optional(2));
    let (axis, block) = layout(c)?;
    let wanted = if c.opset >= 23 { named_type(c, "output_dtype")? } else { None };
    let shape = c.shape(&x);
    let scale = fitted(c, &scale, &shape, axis, block)?;
    let mut q = c.cast(&x, DType::I32)?;
    if let Some(zero) = zero {
        let zero = fitted(c, &zero, &shape, axis, block)?;
        let zero = c.cast(&zero, DType::I32)?;
        q = c.sub(&q, &zero)?;
    }
    let kind = c.dtype(&scale);
    let q = c.cast(&q, kind)?;
    let y = c.mul(&q, &scale)?;
    Ok(vec![c.cast(&y, wanted.unwrap_or(kind))?])
}

/// A scale and zero point that cover the operand and zero, with 8 bits without a sign.
fn dynamic(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let dtype = c.dtype(&x);
    let axes: Vec<usize> = (0..c.rank(&x)).collect();
    let nothing = c.scalar(dtype, 0.0);
    let (mut most, mut least) = (nothing.clone(), nothing.clone());
    if !c.shape(&x).contains(&0) {
        let m = c.reduce(ReduceKind::Max, &x, &axes, false)?;
        most = c.ew(Op::Max, &[&m, &nothing])?;
        let m = c.reduce(ReduceKind::Min, &x, &axes, false)?;
        least = c.ew(Op::Min, &[&m, &nothing])?;
    }
    let width = c.sub(&most, &least)?;
    let (steps, one) = (c.scalar(dtype, 255.0), c.scalar(dtype, 1.0));
    let scale = c.div(&width, &steps)?;
    // All zeros: any scale does.
    let flat = c.ew(Op::Eq, &[&width, &nothing])?;
    let scale = c.select(&flat, &one, &scale)?;
    let below = c.unary(Op::Neg, &least)?;
    let zero = c.quantized(&below, &scale, None, DType::U8)?;
    let y = c.quantized(&x, &scale, Some(&zero), DType::U8)?;
    Ok(vec![y, scale, zero])
}

/// The factor from sums of products to steps of the result: `scale a * scale b / scale y`, in f32.
fn factor(c: &mut Call<'_, '_>, a: &Value, b: &Value, y: &Value) -> Result<Value, Fault> {
    let (a, b, y) = (c.cast(a, DType::F32)?, c.cast(b, DType::F32)?, c.cast(y, DType::F32)?);
    let product = c.mul(&a, &b)?;
    c.div(&product, &y)
}

/// Sums of products in `i32`, scaled and quantised.
fn requantized(c: &mut Call<'_, '_>, sums: &Value, factor: &Value, zero: &Value) -> Result<Value, Fault> {
    let x = c.cast(sums, DType::F32)?;
    let x = c.mul(&x, factor)?;
    let one = c.scalar(DType::F32, 1.0);
    let to = c.dtype(zero);
    c.quantized(&x, &one, Some(zero), to)
}

fn matmul(c: &mut Call<'_, '_>) -> Results {
    let (a, a_scale, a_zero) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let (b, b_scale, b_zero) = (c.operand(3)?, c.operand(4)?, c.operand(5)?);
    let (y_scale, y_zero) = (c.operand(6)?, c.operand(7)?);
    let a = c.centred(&a, Some(&a_zero), Side::Rows)?;
    let b = c.centred(&b, Some(&b_zero), Side::Columns)?;
    let sums = c.matmul(&a, &b)?;
    // One scale for each row of the left side, one for each column of the right.
    let rows = |c: &mut Call<'_, '_>, v: Value| match c.shape(&v)[..] {
        [n] if n > 1 => c.unsqueeze(&v, &[1]),
        _ => Ok(v),
    };
    let (a_scale, y_scale, y_zero) = (rows(c, a_scale)?, rows(c, y_scale)?, rows(c, y_zero)?);
    let factor = factor(c, &a_scale, &b_scale, &y_scale)?;
    Ok(vec![requantized(c, &sums, &factor, &y_zero)?])
}

fn convolution(c: &mut Call<'_, '_>) -> Results {
    let (x, x_scale, x_zero) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let (w, w_scale, w_zero) = (c.operand(3)?, c.operand(4)?, c.operand(5)?);
    let (y_scale, y_zero, bias) = (c.operand(6)?, c.operand(7)?, c.optional(8));
    let sums = conv::integer(c, &x, &w, Some(&x_zero), Some(&w_zero), bias)?;
    let factor = factor(c, &x_scale, &w_scale, &y_scale)?;
    // One scale for each output channel.
    let factor = match c.shape(&factor)[..] {
        [n] if n > 1 => {
            let mut shape = vec![1; c.rank(&sums) - 1];
            shape[0] = n;
            c.reshape(&factor, &shape)?
        }
        _ => factor,
    };
    Ok(vec![requantized(c, &sums, &factor, &y_zero)?])
}
