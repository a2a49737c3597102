//! Softmax and its kin.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value};
use nc_ir::graph::{Op, ReduceKind};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Softmax", &[1, 11, 13], Types::Float, "", softmax),
    row("LogSoftmax", &[1, 11, 13], Types::Float, "", log_softmax),
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
    let y = centred(c, &x, &axes)?;
    let e = c.unary(Op::Exp, &y)?;
    let sum = c.reduce(ReduceKind::Sum, &e, &axes, true)?;
    Ok(vec![c.div(&e, &sum)?])
}

fn log_softmax(c: &mut Call<'_, '_>) -> Results {
    let (x, axes) = prepare(c)?;
    let y = centred(c, &x, &axes)?;
    let e = c.unary(Op::Exp, &y)?;
    let sum = c.reduce(ReduceKind::Sum, &e, &axes, true)?;
    let log = c.unary(Op::Log, &sum)?;
    Ok(vec![c.sub(&y, &log)?])
}
