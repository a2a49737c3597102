//! Scatter: writing at places that indices name; and the largest elements.

use super::index::{check_elements, clamped, flat_places, from_front, tuple_places};
use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid, unsupported};
use nc_ir::graph::{Op, ReduceKind};
use nc_ir::{DType, Tensor};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Scatter", &[9, 11], Types::Any, "", scatter_elements),
    row("ScatterElements", &[11, 13, 16, 18], Types::Any, "", scatter_elements),
    row("ScatterND", &[11, 13, 16, 18], Types::Any, "", scatter_nd),
    row("TensorScatter", &[24], Types::Any, "", tensor_scatter),
    row("TopK", &[1, 10, 11, 24], Types::Number, "", top_k),
];

/// What becomes of an element that is written to; `None` if it is replaced.
fn combination(c: &Call<'_, '_>) -> Result<Option<Op>, Fault> {
    Ok(match c.text("reduction", "none")?.as_str() {
        "none" => None,
        "add" => Some(Op::Add),
        "mul" => Some(Op::Mul),
        "max" => Some(Op::Max),
        "min" => Some(Op::Min),
        other => return unsupported(format!("the reduction {other:?}")),
    })
}

/// Writes the rows `updates[m]` to the rows `place[m]` of `x`, in the order of m. All have one row shape.
///
/// Where places are known and rows are replaced, the last update of each row is found here. Else a scan writes one row
/// after another.
fn write_rows(c: &mut Call<'_, '_>, x: &Value, place: &Value, updates: &Value, by: Option<Op>) -> Result<Value, Fault> {
    let shape = c.shape(x);
    let (Some((&n, inner)), dtype) = (shape.split_first(), c.dtype(x)) else {
        return invalid("its operand has no dimensions");
    };
    if c.shape(place).first() == Some(&0) || shape.contains(&0) {
        return Ok(x.clone());
    }
    let mut column = vec![1; inner.len() + 1];
    column[0] = n;
    if let (Some(t), None) = (place.tensor(), &by) {
        let mut source = vec![0i64; n];
        let mut written = vec![false; n];
        for (m, k) in t.as_slice::<i64>().iter().enumerate() {
            let k = usize::try_from(*k).unwrap_or(n).min(n - 1);
            source[k] = m as i64;
            written[k] = true;
        }
        let source = c.i64s(&source);
        let rows = c.gather(updates, &source, 0)?;
        let written = Tensor::from_bools(column, &written).unwrap_or_else(|| Tensor::zeros(DType::Bool, vec![n]));
        return c.select(&Value::known(written, ""), &rows, x);
    }
    let numbers = c.op(Op::Iota { len: n as u64 }, &[])?;
    let numbers = c.reshape(&numbers, &column)?;
    c.open();
    let rows = c.parameter(dtype, &shape, "rows");
    let at = c.parameter(DType::I64, &[], "place");
    let update = c.parameter(dtype, inner, "update");
    let hit = c.ew(Op::Eq, &[&numbers, &at])?;
    let new = match by {
        None => update,
        Some(op) => c.ew(op, &[&rows, &update])?,
    };
    let next = c.select(&hit, &new, &rows)?;
    let body = c.close(&[next]);
    let results = c.scan(std::slice::from_ref(x), &[place.clone(), updates.clone()], false, body)?;
    results.into_iter().next().ok_or_else(|| Fault::Invalid("a scan gives no result".to_owned()))
}

fn scatter_elements(c: &mut Call<'_, '_>) -> Results {
    let (x, index, updates) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let by = combination(c)?;
    let shape = c.shape(&x);
    let axis = c.axis(c.int("axis", 0)?, shape.len())?;
    check_elements(&shape, &c.shape(&index), axis)?;
    if c.shape(&updates) != c.shape(&index) {
        return invalid("indices and updates have different shapes");
    }
    let index = from_front(c, &index, shape[axis])?;
    let index = clamped(c, &index, shape[axis])?;
    let place = flat_places(c, &shape, &index, axis)?;
    let m: usize = c.shape(&place).iter().product();
    let place = c.reshape(&place, &[m])?;
    let updates = c.reshape(&updates, &[m])?;
    let flat = c.reshape(&x, &[shape.iter().product()])?;
    let y = write_rows(c, &flat, &place, &updates, by)?;
    Ok(vec![c.reshape(&y, &shape)?])
}

fn scatter_nd(c: &mut Call<'_, '_>) -> Results {
    let (x, index, updates) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let by = combination(c)?;
    let shape = c.shape(&x);
    let (place, axes) = tuple_places(c, &shape, &index, 0)?;
    let (outer, inner) = shape.split_at(axes);
    let own = c.shape(&place);
    if c.shape(&updates) != [&own, inner].concat() {
        return invalid(format!("updates {:?} do not fit {own:?} slices of {inner:?}", c.shape(&updates)));
    }
    let m: usize = own.iter().product();
    let place = c.reshape(&place, &[m])?;
    let updates = c.reshape(&updates, &[&[m], inner].concat())?;
    let rows = c.reshape(&x, &[&[outer.iter().product()], inner].concat())?;
    let y = write_rows(c, &rows, &place, &updates, by)?;
    Ok(vec![c.reshape(&y, &shape)?])
}

/// The update stands in the cache from the place on that each sample names; with `circular` it goes on at the start.
fn tensor_scatter(c: &mut Call<'_, '_>) -> Results {
    let (past, update) = (c.operand(0)?, c.operand(1)?);
    let shape = c.shape(&past);
    let rank = shape.len();
    let axis = c.axis(c.int("axis", -2)?, rank)?;
    let circular = match c.text("mode", "linear")?.as_str() {
        "linear" => false,
        "circular" => true,
        other => return unsupported(format!("the mode {other:?}")),
    };
    if axis == 0 || c.rank(&update) != rank || c.shape(&past).contains(&0) || c.shape(&update).contains(&0) {
        return invalid(format!("{:?} cannot be written to {shape:?} along axis {axis}", c.shape(&update)));
    }
    let (n, length) = (shape[axis], c.shape(&update)[axis]);
    let mut along = vec![1; rank];
    along[axis] = n;
    let place = c.op(Op::Iota { len: n as u64 }, &[])?;
    let mut place = c.reshape(&place, &along)?;
    let zero = c.scalar(DType::I64, 0.0);
    if let Some(start) = c.optional(2) {
        let mut batch = vec![1; rank];
        batch[0] = shape[0];
        let start = c.reshape(&start, &batch)?;
        place = c.sub(&place, &start)?;
        if circular {
            let size = c.scalar(DType::I64, n as f64);
            let rest = c.ew(Op::Rem, &[&place, &size])?;
            let negative = c.ew(Op::Lt, &[&rest, &zero])?;
            let moved = c.add(&rest, &size)?;
            place = c.select(&negative, &moved, &rest)?;
        }
    }
    let size = c.scalar(DType::I64, length as f64);
    let (from, to) = (c.ew(Op::Ge, &[&place, &zero])?, c.ew(Op::Lt, &[&place, &size])?);
    let written = c.ew(Op::And, &[&from, &to])?;
    let index = clamped(c, &place, length)?;
    let index = c.broadcast(&index, &shape)?;
    let own = c.shape(&update);
    check_elements(&own, &shape, axis)?;
    let places = flat_places(c, &own, &index, axis)?;
    let flat = c.reshape(&update, &[own.iter().product()])?;
    let new = c.gather(&flat, &places, 0)?;
    Ok(vec![c.select(&written, &new, &past)?])
}

/// The k largest (or smallest) elements along an axis and their indices: a scan takes one after the other, of equal ones the
/// first.
fn top_k(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let shape = c.shape(&x);
    let axis = c.axis(c.int("axis", -1)?, shape.len())?;
    let k = match c.opset < 10 {
        true => c.int("k", 0)?,
        false => {
            let k = c.operand(1)?;
            match c.known_ints(&k, "the number of elements")?[..] {
                [k] => k,
                _ => return invalid("K is not one number"),
            }
        }
    };
    let largest = c.flag("largest", true)?;
    // The order without `sorted` is any; this one is as good.
    c.has("sorted");
    let Some(k) = usize::try_from(k).ok().filter(|k| *k <= shape[axis]) else {
        return invalid(format!("{k} elements cannot be taken from the {} of axis {axis}", shape[axis]));
    };
    let dtype = c.dtype(&x);
    let mut result = shape.clone();
    result[axis] = k;
    if k == 0 || shape.contains(&0) {
        let (value, index) = (c.scalar(dtype, 0.0), c.scalar(DType::I64, 0.0));
        return Ok(vec![c.broadcast(&value, &result)?, c.broadcast(&index, &result)?]);
    }
    let bound = match (dtype.is_float(), largest) {
        (true, true) => f64::NEG_INFINITY,
        (true, false) => f64::INFINITY,
        // Conversions saturate.
        (false, true) => -1e30,
        (false, false) => 1e30,
    };
    let worst = c.scalar(dtype, bound);
    let no = c.scalar(DType::Bool, 0.0);
    let none = c.broadcast(&no, &shape)?;
    let rounds = c.op(Op::Iota { len: k as u64 }, &[])?;
    let places = c.op(Op::Iota { len: shape[axis] as u64 }, &[])?;
    let mut along = vec![1; shape.len() - axis];
    along[0] = shape[axis];
    let places = c.reshape(&places, &along)?;
    c.open();
    let taken = c.parameter(DType::Bool, &shape, "taken");
    let _round = c.parameter(DType::I64, &[], "round");
    let left = c.select(&taken, &worst, &x)?;
    let best = c.reduce(if largest { ReduceKind::Max } else { ReduceKind::Min }, &left, &[axis], true)?;
    let equal = c.ew(Op::Eq, &[&x, &best])?;
    let free = c.unary(Op::Not, &taken)?;
    let found = c.ew(Op::And, &[&equal, &free])?;
    let found = c.cast(&found, DType::I32)?;
    let index = c.op(Op::Argmax { axis, keep: true, last: false }, &[found])?;
    let own = c.ew(Op::Eq, &[&places, &index])?;
    let next = c.ew(Op::Or, &[&taken, &own])?;
    let body = c.close(&[next, best, index]);
    let stacked = c.scan(&[none], &[rounds], false, body)?;
    let [_, values, indices] = &stacked[..] else { return invalid("a scan gives no rows") };
    // From [k, .., 1, ..] to [.., k, ..].
    let squeezed = [&[k], &shape[..axis], &shape[axis + 1..]].concat();
    let mut order: Vec<usize> = (1..shape.len()).collect();
    order.insert(axis, 0);
    let mut results = Vec::with_capacity(2);
    for v in [values, indices] {
        let v = c.reshape(v, &squeezed)?;
        results.push(c.transpose(&v, &order)?);
    }
    Ok(results)
}
