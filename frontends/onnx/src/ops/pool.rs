//! Pooling: what windows of `[N, C, ..]` have in common.

use super::conv::{Windows, per_axis, spatial, windows};
use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid};
use nc_ir::graph::{Op, PoolKind, ReduceKind, ScatterKind};
use nc_ir::{DType, Tensor};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("AveragePool", &[1, 7, 10, 11, 19, 22], Types::Float, "", average),
    row("MaxPool", &[1, 8, 10, 11, 12, 22], Types::Number, "", max),
    row("MaxUnpool", &[9, 11, 22], Types::Float, "", unpool),
    row("LpPool", &[1, 2, 11, 18, 22], Types::Float, "", lp),
    row("GlobalAveragePool", &[1, 22], Types::Float, "", |c| global(c, ReduceKind::Mean)),
    row("GlobalMaxPool", &[1, 22], Types::Float, "", |c| global(c, ReduceKind::Max)),
    row("GlobalLpPool", &[1, 2, 22], Types::Float, "", global_lp),
];

/// The operand, its spatial extents and the windows over them.
fn pooled(c: &mut Call<'_, '_>) -> Result<(Value, Vec<usize>, Windows), Fault> {
    let x = c.operand(0)?;
    let extents = spatial(c, &x)?;
    if !c.has("kernel_shape") {
        return invalid("the attribute `kernel_shape` is missing");
    }
    let size = per_axis(c, "kernel_shape", extents.len(), 1, 1)?;
    let at = windows(c, size, &extents)?;
    Ok((x, extents, at))
}

fn pool(c: &mut Call<'_, '_>, x: &Value, kind: PoolKind, at: &Windows) -> Result<Value, Fault> {
    let op = Op::Pool {
        kind,
        size: at.size.clone(),
        stride: at.stride.clone(),
        pad: at.pad(),
        dilation: at.dilation.clone(),
    };
    c.op(op, std::slice::from_ref(x))
}

fn average(c: &mut Call<'_, '_>) -> Results {
    let (x, extents, at) = pooled(c)?;
    if !c.flag("count_include_pad", false)? {
        return Ok(vec![pool(c, &x, PoolKind::Mean, &at)?]);
    }
    if at.extra.iter().all(|e| *e == 0) {
        return Ok(vec![pool(c, &x, PoolKind::Avg, &at)?]);
    }
    // What `ceil_mode` adds beyond the declared padding does not count: the divisors are known.
    let sum = pool(c, &x, PoolKind::Sum, &at)?;
    let counts = counts(&at, &extents);
    let divisor = c.tensor_f32(counts, c.dtype(&x))?;
    Ok(vec![c.div(&sum, &divisor)?])
}

/// Number of elements of each window that lie inside the input or its declared padding.
fn counts(at: &Windows, extents: &[usize]) -> Tensor {
    let mut all = vec![1f32];
    let mut shape = Vec::with_capacity(extents.len());
    for (a, n) in extents.iter().enumerate() {
        let end = *n as u64 + at.before[a] + at.after[a];
        let windows = at.count(a, *n as u64);
        let own = |w: u64| (0..at.size[a]).filter(|k| w * at.stride[a] + k * at.dilation[a] < end).count() as f32;
        let own: Vec<f32> = (0..windows).map(own).collect();
        all = all.iter().flat_map(|x| own.iter().map(move |y| x * y)).collect();
        shape.push(windows as usize);
    }
    Tensor::from_vec(shape, all).unwrap_or_else(|| Tensor::scalar_f32(1.0))
}

impl Call<'_, '_> {
    /// A known tensor of `f32`, converted to an element type.
    ///
    /// # Errors
    /// None that a value can cause.
    pub(super) fn tensor_f32(&mut self, t: Tensor, dtype: DType) -> Result<Value, Fault> {
        let v = Value::known(t, "");
        self.cast(&v, dtype)
    }
}

fn max(c: &mut Call<'_, '_>) -> Results {
    let (x, extents, at) = pooled(c)?;
    let columns_first = c.opset >= 8 && c.flag("storage_order", false)?;
    let mut results = vec![pool(c, &x, PoolKind::Max, &at)?];
    if c.wants(1) {
        results.push(places(c, &x, &extents, &at, columns_first)?);
    }
    Ok(results)
}

/// The flat index, in the whole operand, of the largest element of each window: the window's elements are gathered, with the
/// least value of the type for those outside, and the first largest of them is looked up.
fn places(
    c: &mut Call<'_, '_>,
    x: &Value,
    extents: &[usize],
    at: &Windows,
    columns_first: bool,
) -> Result<Value, Fault> {
    let shape = c.shape(x);
    let (planes, area) = (shape[0] * shape[1], extents.iter().product::<usize>());
    let counts: Vec<usize> = extents.iter().enumerate().map(|(a, n)| at.count(a, *n as u64) as usize).collect();
    let (windows, size) = (counts.iter().product::<usize>(), at.size.iter().product::<u64>() as usize);
    // For each element of each window: where it is in a plane, whether that is inside, and its index in the stated order.
    let total = windows.checked_mul(size).filter(|n| *n <= 1 << 28);
    let Some(total) = total else { return invalid(format!("{windows} windows of {size} elements are too many")) };
    let (mut from, mut inside, mut named) =
        (Vec::with_capacity(total), Vec::with_capacity(total), Vec::with_capacity(total));
    for w in 0..windows {
        for k in 0..size {
            let (mut w, mut k) = (w, k);
            let (mut place, mut name, mut within) = (0usize, 0usize, true);
            let (mut row_stride, mut column_stride) = (1, area);
            for a in (0..extents.len()).rev() {
                let (own, tap) = (w % counts[a], k % at.size[a] as usize);
                (w, k) = (w / counts[a], k / at.size[a] as usize);
                let p = (own as u64 * at.stride[a] + tap as u64 * at.dilation[a]).checked_sub(at.before[a]);
                match p.map(|p| p as usize).filter(|p| *p < extents[a]) {
                    Some(p) => {
                        column_stride /= extents[a];
                        place += p * row_stride;
                        name += p * column_stride;
                    }
                    None => {
                        column_stride /= extents[a].max(1);
                        within = false;
                    }
                }
                row_stride *= extents[a];
            }
            from.push(if within { place as i64 } else { 0 });
            inside.push(u8::from(within));
            named.push(if columns_first { name as i64 } else { place as i64 });
        }
    }
    let dtype = c.dtype(x);
    let flat = c.reshape(x, &[planes, area])?;
    let from = c.i64s(&from);
    let elements = c.gather(&flat, &from, 1)?;
    let mask =
        Tensor::from_bytes(DType::Bool, vec![total], &inside).unwrap_or_else(|| Tensor::zeros(DType::Bool, vec![0]));
    let lowest = match dtype {
        d if d.is_float() => f64::NEG_INFINITY,
        DType::I8 => f64::from(i8::MIN),
        DType::I16 => f64::from(i16::MIN),
        DType::I32 => f64::from(i32::MIN),
        DType::I64 => i64::MIN as f64,
        _ => 0.0,
    };
    let lowest = c.scalar(dtype, lowest);
    let elements = c.select(&Value::known(mask, ""), &elements, &lowest)?;
    let elements = c.reshape(&elements, &[planes, windows, size])?;
    let best = c.op(Op::Argmax { axis: 2, keep: false, last: false }, &[elements])?;
    // Window w's element k is number w * size + k of the table.
    let first: Vec<i64> = (0..windows).map(|w| (w * size) as i64).collect();
    let first = c.i64s(&first);
    let at_table = c.add(&best, &first)?;
    let named = c.i64s(&named);
    let in_plane = c.gather(&named, &at_table, 0)?;
    let plane: Vec<i64> = (0..planes).map(|p| (p * area) as i64).collect();
    let plane = c.i64s(&plane);
    let plane = c.reshape(&plane, &[planes, 1])?;
    let all = c.add(&in_plane, &plane)?;
    let result: Vec<usize> = [&shape[..2], &counts].concat();
    c.reshape(&all, &result)
}

/// Puts each element where its index says, among zeros. Indices are flat positions in the shape that stride and window give;
/// in a larger `output_shape` the elements keep their coordinates.
fn unpool(c: &mut Call<'_, '_>) -> Results {
    let (x, index) = (c.operand(0)?, c.operand(1)?);
    let extents = spatial(c, &x)?;
    let n = extents.len();
    if !c.has("kernel_shape") {
        return invalid("the attribute `kernel_shape` is missing");
    }
    let size = per_axis(c, "kernel_shape", n, 1, 1)?;
    let stride = per_axis(c, "strides", n, 1, 1)?;
    let pads = per_axis(c, "pads", 2 * n, 0, 0)?;
    let shape = c.shape(&x);
    if c.shape(&index) != shape {
        return invalid(format!("indices {:?} for elements {shape:?}", c.shape(&index)));
    }
    let mut own = shape[..2].to_vec();
    for a in 0..n {
        let full = (extents[a] as u64).saturating_sub(1).saturating_mul(stride[a]).saturating_add(size[a]);
        own.push(full.saturating_sub(pads[a].saturating_add(pads[n + a])) as usize);
    }
    let target = match c.optional(2) {
        None => own.clone(),
        Some(v) => {
            let list = c.known_ints(&v, "the shape of the result")?;
            list.iter().map(|n| usize::try_from(*n).unwrap_or(0)).collect()
        }
    };
    if target.len() != own.len() || target[..2] != shape[..2] {
        return invalid(format!("the shape {target:?} of the result does not fit an operand of shape {shape:?}"));
    }
    let place = if target == own { index } else { moved(c, &index, &own, &target)? };
    let zero = c.scalar(c.dtype(&x), 0.0);
    let zeros = c.broadcast(&zero, &target)?;
    Ok(vec![c.op(Op::Scatter { kind: ScatterKind::Set }, &[zeros, place, x])?])
}

/// Flat positions in one shape as those of the same coordinates in another; -1 for those that it has not.
fn moved(c: &mut Call<'_, '_>, index: &Value, from: &[usize], to: &[usize]) -> Result<Value, Fault> {
    let mut rest = index.clone();
    let mut place = c.scalar(DType::I64, 0.0);
    let mut inside = c.scalar(DType::Bool, 1.0);
    let mut stride = 1usize;
    for (from, to) in from.iter().zip(to).rev() {
        let extent = c.scalar(DType::I64, *from as f64);
        let coordinate = c.ew(Op::Rem, &[&rest, &extent])?;
        rest = c.div(&rest, &extent)?;
        let (by, limit) = (c.scalar(DType::I64, stride as f64), c.scalar(DType::I64, *to as f64));
        let within = c.ew(Op::Lt, &[&coordinate, &limit])?;
        inside = c.ew(Op::And, &[&inside, &within])?;
        let part = c.mul(&coordinate, &by)?;
        place = c.add(&place, &part)?;
        stride = stride.saturating_mul(*to);
    }
    let nowhere = c.scalar(DType::I64, -1.0);
    c.select(&inside, &place, &nowhere)
}

/// `|x|` to a power.
fn powered(c: &mut Call<'_, '_>, x: &Value, p: f64) -> Result<Value, Fault> {
    let size = c.unary(Op::Abs, x)?;
    match p {
        1.0 => Ok(size),
        2.0 => c.mul(x, x),
        p => {
            let p = c.scalar(c.dtype(x), p);
            c.ew(Op::Pow, &[&size, &p])
        }
    }
}

/// The inverse of [`powered`] for what is not negative.
fn rooted(c: &mut Call<'_, '_>, x: &Value, p: f64) -> Result<Value, Fault> {
    match p {
        1.0 => Ok(x.clone()),
        2.0 => c.unary(Op::Sqrt, x),
        p => {
            let p = c.scalar(c.dtype(x), 1.0 / p);
            c.ew(Op::Pow, &[x, &p])
        }
    }
}

/// The order of a norm: a real number in version 1, whole from version 2 on.
fn order(c: &Call<'_, '_>) -> Result<f64, Fault> {
    let p = if c.opset < 2 { f64::from(c.float("p", 2.0)?) } else { c.int("p", 2)? as f64 };
    if p > 0.0 { Ok(p) } else { invalid(format!("the order of the norm is {p}")) }
}

fn lp(c: &mut Call<'_, '_>) -> Results {
    let p = order(c)?;
    let (x, _, at) = pooled(c)?;
    let power = powered(c, &x, p)?;
    let sum = pool(c, &power, PoolKind::Sum, &at)?;
    Ok(vec![rooted(c, &sum, p)?])
}

/// Every axis from the third on is combined.
fn global(c: &mut Call<'_, '_>, kind: ReduceKind) -> Results {
    let x = c.operand(0)?;
    let axes: Vec<usize> = (2..c.rank(&x)).collect();
    Ok(vec![c.reduce(kind, &x, &axes, true)?])
}

fn global_lp(c: &mut Call<'_, '_>) -> Results {
    let (x, p) = (c.operand(0)?, order(c)?);
    let axes: Vec<usize> = (2..c.rank(&x)).collect();
    let power = powered(c, &x, p)?;
    let sum = c.reduce(ReduceKind::Sum, &power, &axes, true)?;
    Ok(vec![rooted(c, &sum, p)?])
}
