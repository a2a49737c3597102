//! Softmax and its kin.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value};
use nc_ir::DType;
use nc_ir::graph::{CumulateKind, Op, ReduceKind};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Softmax", &[1, 11, 13], Types::Float, "", softmax),
    row("LogSoftmax", &[1, 11, 13], Types::Float, "", log_softmax),
    row("Hardmax", &[1, 11, 13], Types::Float, "", hardmax),
];

/// The operand, and the axes that are normalised. Before version 13 these are all from `axis` on.
fn prepare(c: &mut Call<'_, '_>) -> Result<(Value, Vec<usize>), Fault> {
    let x = c.operand(0)?;
    let rank = c.rank(&x);
    let axis = c.int("axis", if c.opset < 13 { 1 } else { -1 })?;
    let first = match (c.opset < 13, rank) {
        // The old form flattens to two dimensions: `axis` may be one past the last, and then nothing is normalised.
        (true, _) if axis == rank as i64 => rank,
        _ => c.axis(axis, rank)?,
    };
    Ok((x, if c.opset < 13 { (first..rank).collect() } else { vec![first] }))
}

/// `x - max(x)` along the axes, which keeps the exponentials finite.
fn centred(c: &mut Call<'_, '_>, x: &Value, axes: &[usize]) -> Result<Value, Fault> {
    if c.shape(x).contains(&0) {
        return Ok(x.clone());
    }
    let most = c.reduce(ReduceKind::Max, x, axes, true)?;
    c.sub(x, &most)
}

fn softmax(c: &mut Call<'_, '_>) -> Results {
    let (x, axes) = prepare(c)?;
    Ok(vec![softmax_of(c, &x, &axes)?])
}

/// The softmax of a value along axes, in its own element type.
pub(super) fn softmax_of(c: &mut Call<'_, '_>, x: &Value, axes: &[usize]) -> Result<Value, Fault> {
    let y = centred(c, x, axes)?;
    let e = c.unary(Op::Exp, &y)?;
    let sum = denominator(c, &e, axes)?;
    c.div(&e, &sum)
}

/// What the exponentials of a softmax are divided by: their sum along axes, which are kept. In `bf16` the standard's own
/// results have a sum of which every step is rounded, which shows in the eight bits that there are.
pub(super) fn denominator(c: &mut Call<'_, '_>, e: &Value, axes: &[usize]) -> Result<Value, Fault> {
    match axes {
        [axis] if c.dtype(e) == DType::BF16 && c.shape(e)[*axis] > 0 => {
            let (axis, n) = (*axis, c.shape(e)[*axis]);
            let op = Op::Cumulate { kind: CumulateKind::Sum, axis, exclusive: false, reverse: false };
            let sums = c.op(op, std::slice::from_ref(e))?;
            c.slice_axis(&sums, axis, n - 1, n, 1)
        }
        _ => c.reduce(ReduceKind::Sum, e, axes, true),
    }
}

fn log_softmax(c: &mut Call<'_, '_>) -> Results {
    let (x, axes) = prepare(c)?;
    let y = centred(c, &x, &axes)?;
    let e = c.unary(Op::Exp, &y)?;
    let sum = c.reduce(ReduceKind::Sum, &e, &axes, true)?;
    let log = c.unary(Op::Log, &sum)?;
    Ok(vec![c.sub(&y, &log)?])
}

/// One where the first largest element is, else zero.
fn hardmax(c: &mut Call<'_, '_>) -> Results {
    let (x, axes) = prepare(c)?;
    let shape = c.shape(&x);
    if shape.contains(&0) {
        return Ok(vec![x]);
    }
    // All axes that are normalised as one.
    let first = axes.first().copied().unwrap_or(shape.len());
    let (before, rest) = shape.split_at(first);
    let (own, after) = rest.split_at(axes.len());
    let n: usize = own.iter().product();
    let flat = [before, &[n], after].concat();
    let y = c.reshape(&x, &flat)?;
    let best = c.op(Op::Argmax { axis: first, keep: true, last: false }, &[y])?;
    let index = c.op(Op::Iota { len: n as u64 }, &[])?;
    let mut along = vec![1; flat.len() - first];
    along[0] = n;
    let index = c.reshape(&index, &along)?;
    let hit = c.ew(Op::Eq, &[&best, &index])?;
    let y = c.cast(&hit, c.dtype(&x))?;
    Ok(vec![c.reshape(&y, &shape)?])
}
