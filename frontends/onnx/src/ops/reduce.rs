//! Reductions along axes.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results};
use nc_ir::graph::ReduceKind;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[row("ReduceSum", &[1, 11, 13], Types::Number, "", reduce_sum)];

/// The axes of a reduction and whether they are kept. They are an attribute before version `input_since`, an operand from
/// it on; none means all, unless `noop_with_empty_axes` is set.
fn axes_of(c: &mut Call<'_, '_>, rank: usize, input_since: i64) -> Result<(Vec<usize>, bool), Fault> {
    let keep = c.flag("keepdims", true)?;
    let given = if c.opset < input_since {
        c.ints("axes")?
    } else {
        match c.optional(1) {
            Some(v) => Some(c.known_ints(&v, "the axes")?),
            None => None,
        }
    };
    let noop = c.opset >= input_since && c.flag("noop_with_empty_axes", false)?;
    let mut axes = Vec::new();
    for a in given.unwrap_or_default() {
        axes.push(c.axis(a, rank)?);
    }
    if axes.is_empty() && !noop {
        axes = (0..rank).collect();
    }
    axes.sort_unstable();
    axes.dedup();
    Ok((axes, keep))
}

fn reduce_sum(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let rank = c.rank(&x);
    let (axes, keep) = axes_of(c, rank, 13)?;
    Ok(vec![c.reduce(ReduceKind::Sum, &x, &axes, keep)?])
}
