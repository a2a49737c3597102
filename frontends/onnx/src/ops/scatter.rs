//! Scatter: writing at places that indices name; and the largest elements.

use super::index::{check_elements, clamped, flat_places, from_front, tuple_places};
use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, invalid, unsupported};
use nc_ir::DType;
use nc_ir::graph::{Op, ScatterKind};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Scatter", &[9, 11], Types::Any, "", scatter_elements),
    row("ScatterElements", &[11, 13, 16, 18], Types::Any, "", scatter_elements),
    row("ScatterND", &[11, 13, 16, 18], Types::Any, "", scatter_nd),
    row("TensorScatter", &[24], Types::Any, "", tensor_scatter),
    row("TopK", &[1, 10, 11, 24], Types::Number, "", top_k),
];

fn kind(c: &Call<'_, '_>) -> Result<ScatterKind, Fault> {
    match c.text("reduction", "none")?.as_str() {
        "none" => Ok(ScatterKind::Set),
        "add" => Ok(ScatterKind::Add),
        "mul" => Ok(ScatterKind::Mul),
        "max" => Ok(ScatterKind::Max),
        "min" => Ok(ScatterKind::Min),
        other => unsupported(format!("the reduction {other:?}")),
    }
}

fn scatter_elements(c: &mut Call<'_, '_>) -> Results {
    let (x, index, updates) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let kind = kind(c)?;
    let shape = c.shape(&x);
    let axis = c.axis(c.int("axis", 0)?, shape.len())?;
    check_elements(&shape, &c.shape(&index), axis)?;
    if c.shape(&updates) != c.shape(&index) {
        return invalid("indices and updates have different shapes");
    }
    let index = from_front(c, &index, shape[axis])?;
    let index = clamped(c, &index, shape[axis])?;
    let place = flat_places(c, &shape, &index, axis)?;
    Ok(vec![c.op(Op::Scatter { kind }, &[x, place, updates])?])
}

fn scatter_nd(c: &mut Call<'_, '_>) -> Results {
    let (x, index, updates) = (c.operand(0)?, c.operand(1)?, c.operand(2)?);
    let kind = kind(c)?;
    let shape = c.shape(&x);
    let (place, axes) = tuple_places(c, &shape, &index, 0)?;
    let inner = &shape[axes..];
    let own = c.shape(&place);
    if c.shape(&updates) != [&own, inner].concat() {
        return invalid(format!("updates {:?} do not fit {own:?} slices of {inner:?}", c.shape(&updates)));
    }
    // From the place of a slice to the places of its elements.
    let size: usize = inner.iter().product();
    let (m, by) = (own.iter().product(), c.scalar(DType::I64, size as f64));
    let first = c.mul(&place, &by)?;
    let first = c.reshape(&first, &[m, 1])?;
    let within = c.op(Op::Iota { len: size as u64 }, &[])?;
    let place = c.add(&first, &within)?;
    let updates = c.reshape(&updates, &[m, size])?;
    Ok(vec![c.op(Op::Scatter { kind }, &[x, place, updates])?])
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

/// The first k elements, in the order of their values, along an axis and their indices; of equal ones the first.
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
    let order = c.op(Op::Argsort { axis, descending: largest }, std::slice::from_ref(&x))?;
    let index = c.slice_axis(&order, axis, 0, k, 1)?;
    let place = flat_places(c, &shape, &index, axis)?;
    let flat = c.reshape(&x, &[shape.iter().product()])?;
    Ok(vec![c.gather(&flat, &place, 0)?, index])
}
