//! Gather, scatter and selection by index.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid};
use nc_ir::graph::Op;
use nc_ir::{DType, Tensor};

const CLAMPED: &str = "known indices out of range (computed ones are clamped)";

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Gather", &[1, 11, 13], Types::Any, CLAMPED, gather),
    row("GatherElements", &[11, 13], Types::Any, CLAMPED, gather_elements),
    row("GatherND", &[11, 12, 13], Types::Any, CLAMPED, gather_nd),
    row("Compress", &[9, 11, 28], Types::Any, "", compress),
    row("NonZero", &[9, 13], Types::Any, "", non_zero),
];

/// Indices counted from the front of an axis of `n` elements: negative ones count from its end. A known index out of range is
/// refused; one that is computed is clamped by nc's `gather`.
pub(super) fn from_front(c: &mut Call<'_, '_>, index: &Value, n: usize) -> Result<Value, Fault> {
    let index = c.cast(index, DType::I64)?;
    if let Some(t) = index.tensor() {
        let list: Vec<i64> = t.as_slice::<i64>().to_vec();
        let n = n as i64;
        if let Some(k) = list.iter().find(|k| **k < -n || **k >= n) {
            return invalid(format!("the index {k} does not exist in an axis of {n} elements"));
        }
        let front: Vec<i64> = list.into_iter().map(|k| if k < 0 { k + n } else { k }).collect();
        let t = Tensor::from_vec(t.shape().to_vec(), front).unwrap_or_else(|| t.clone());
        return Ok(Value::known(t, ""));
    }
    let zero = c.scalar(DType::I64, 0.0);
    let size = c.scalar(DType::I64, n as f64);
    let negative = c.ew(Op::Lt, &[&index, &zero])?;
    let moved = c.add(&index, &size)?;
    c.select(&negative, &moved, &index)
}

fn gather(c: &mut Call<'_, '_>) -> Results {
    let (x, index) = (c.operand(0)?, c.operand(1)?);
    let shape = c.shape(&x);
    let axis = c.axis(c.int("axis", 0)?, shape.len())?;
    let index = from_front(c, &index, shape[axis])?;
    Ok(vec![c.gather(&x, &index, axis)?])
}

/// Distance in elements between neighbours along each axis of a row-major tensor.
fn strides(shape: &[usize]) -> Vec<i64> {
    let mut out = vec![1i64; shape.len()];
    for a in (1..shape.len()).rev() {
        out[a - 1] = out[a].saturating_mul(shape[a] as i64);
    }
    out
}

/// `i stride` along axis `axis` of a shape of `rank` dimensions, extents of 1 elsewhere.
fn ramp(c: &mut Call<'_, '_>, n: usize, stride: i64, axis: usize, rank: usize) -> Result<Value, Fault> {
    let index = c.op(Op::Iota { len: n as u64 }, &[])?;
    let stride = Value::known(Tensor::scalar_i64(stride), "");
    let index = c.mul(&index, &stride)?;
    let mut shape = vec![1; rank];
    shape[axis] = n;
    c.reshape(&index, &shape)
}

/// The place in the flat `x` of the element that `index` (counted from the front) names along `axis`, for each position
/// of `index`.
pub(super) fn flat_places(c: &mut Call<'_, '_>, shape: &[usize], index: &Value, axis: usize) -> Result<Value, Fault> {
    let (own, by) = (c.shape(index), strides(shape));
    let stride = Value::known(Tensor::scalar_i64(by[axis]), "");
    let mut place = c.mul(index, &stride)?;
    for a in (0..shape.len()).filter(|a| *a != axis) {
        let ramp = ramp(c, own[a], by[a], a, shape.len())?;
        place = c.add(&place, &ramp)?;
    }
    Ok(place)
}

/// Operands of an op whose indices have the rank of the data, and are not longer than it on the other axes.
pub(super) fn check_elements(shape: &[usize], own: &[usize], axis: usize) -> Result<(), Fault> {
    let fits = shape.len() == own.len() && (0..shape.len()).all(|a| a == axis || own[a] <= shape[a]);
    match fits {
        true => Ok(()),
        false => invalid(format!("indices {own:?} do not fit {shape:?} on the axes other than {axis}")),
    }
}

fn gather_elements(c: &mut Call<'_, '_>) -> Results {
    let (x, index) = (c.operand(0)?, c.operand(1)?);
    let shape = c.shape(&x);
    let axis = c.axis(c.int("axis", 0)?, shape.len())?;
    check_elements(&shape, &c.shape(&index), axis)?;
    let index = from_front(c, &index, shape[axis])?;
    // Clamped here, since a place beyond the axis lies in another row.
    let index = clamped(c, &index, shape[axis])?;
    let place = flat_places(c, &shape, &index, axis)?;
    let flat = c.reshape(&x, &[shape.iter().product()])?;
    Ok(vec![c.gather(&flat, &place, 0)?])
}

/// Indices brought into an axis of `n` elements.
pub(super) fn clamped(c: &mut Call<'_, '_>, index: &Value, n: usize) -> Result<Value, Fault> {
    let (zero, last) = (c.scalar(DType::I64, 0.0), c.scalar(DType::I64, n.saturating_sub(1) as f64));
    let index = c.ew(Op::Min, &[index, &last])?;
    c.ew(Op::Max, &[&index, &zero])
}

/// Tuples of indices in the last axis of `index`, after `batch` common axes: the place of the slice that each names, where
/// slices are counted along the first `batch + k` axes.
pub(super) fn tuple_places(
    c: &mut Call<'_, '_>,
    shape: &[usize],
    index: &Value,
    batch: usize,
) -> Result<(Value, usize), Fault> {
    let own = c.shape(index);
    let Some((&k, lead)) = own.split_last() else { return invalid("the indices have no dimensions") };
    if batch > lead.len() || batch + k > shape.len() || own[..batch] != shape[..batch] {
        return invalid(format!("indices {own:?} do not fit {shape:?} with {batch} common axes"));
    }
    let by = strides(&shape[..batch + k]);
    let mut place = Value::known(Tensor::scalar_i64(0), "");
    for j in 0..k {
        let part = c.slice_axis(index, lead.len(), j, j + 1, 1)?;
        let part = c.reshape(&part, lead)?;
        let part = from_front(c, &part, shape[batch + j])?;
        let part = clamped(c, &part, shape[batch + j])?;
        let stride = Value::known(Tensor::scalar_i64(by[batch + j]), "");
        let part = c.mul(&part, &stride)?;
        place = c.add(&place, &part)?;
    }
    for a in 0..batch {
        let ramp = ramp(c, lead[a], by[a], a, lead.len())?;
        place = c.add(&place, &ramp)?;
    }
    let place = c.broadcast(&place, lead)?;
    Ok((place, batch + k))
}

fn gather_nd(c: &mut Call<'_, '_>) -> Results {
    let (x, index) = (c.operand(0)?, c.operand(1)?);
    let shape = c.shape(&x);
    let batch =
        usize::try_from(c.int("batch_dims", 0)?).map_err(|_| Fault::Invalid("batch_dims is negative".into()))?;
    let (place, axes) = tuple_places(c, &shape, &index, batch)?;
    let (outer, inner) = shape.split_at(axes);
    let rows = c.reshape(&x, &[&[outer.iter().product()], inner].concat())?;
    Ok(vec![c.gather(&rows, &place, 0)?])
}

/// The slices for which the condition, which must be known, holds.
fn compress(c: &mut Call<'_, '_>) -> Results {
    let (mut x, condition) = (c.operand(0)?, c.operand(1)?);
    let axis = match c.int_opt("axis")? {
        Some(a) => c.axis(a, c.rank(&x))?,
        None => {
            x = c.reshape(&x, &[c.shape(&x).iter().product()])?;
            0
        }
    };
    let n = c.shape(&x)[axis];
    let t = c.known(&condition, "the condition")?;
    if t.dtype() != DType::Bool {
        return invalid("the condition is no vector of truth values");
    }
    let index: Vec<i64> = (0..t.len()).filter(|k| t.bytes()[*k] == 1).map(|k| k as i64).collect();
    if index.last().is_some_and(|k| *k >= n as i64) {
        return invalid(format!("the condition is longer than the {n} elements of axis {axis}"));
    }
    let index = c.i64s(&index);
    Ok(vec![c.gather(&x, &index, axis)?])
}

/// The indices of the elements that are not zero, a column for each. The operand must be known.
fn non_zero(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let t = c.known(&x, "the number of elements that are not zero")?;
    let by = strides(t.shape());
    let found: Vec<i64> = (0..t.len()).filter(|k| t.get_f64(*k) != 0.0).map(|k| k as i64).collect();
    let rank = t.shape().len();
    let mut list = Vec::with_capacity(rank * found.len());
    for (a, n) in t.shape().iter().enumerate() {
        list.extend(found.iter().map(|k| k / by[a] % *n as i64));
    }
    let rows = c.i64s(&list);
    Ok(vec![c.reshape(&rows, &[rank, found.len()])?])
}
