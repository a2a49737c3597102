//! Reductions along axes, and running sums.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid};
use nc_ir::DType;
use nc_ir::graph::{CumulateKind, Op, ReduceKind};

const TYPES: Types = Types::Number;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("ReduceSum", &[1, 11, 13], TYPES, "", |c| reduction(c, 13, |c, x, a, k| c.reduce(ReduceKind::Sum, x, a, k))),
    row("ReduceMean", &[1, 11, 13, 18], TYPES, "", |c| reduction(c, 18, mean)),
    row("ReduceProd", &[1, 11, 13, 18], TYPES, "", |c| {
        reduction(c, 18, |c, x, a, k| c.reduce(ReduceKind::Prod, x, a, k))
    }),
    row("ReduceMax", &[1, 11, 12, 13, 18, 20], Types::Any, "", |c| extreme(c, ReduceKind::Max)),
    row("ReduceMin", &[1, 11, 12, 13, 18, 20], Types::Any, "", |c| extreme(c, ReduceKind::Min)),
    row("ReduceL1", &[1, 11, 13, 18], TYPES, "", |c| reduction(c, 18, l1)),
    row("ReduceL2", &[1, 11, 13, 18], TYPES, "", |c| reduction(c, 18, l2)),
    row("ReduceSumSquare", &[1, 11, 13, 18], TYPES, "", |c| reduction(c, 18, sum_square)),
    row("ReduceLogSum", &[1, 11, 13, 18, 28], TYPES, "", |c| reduction(c, 18, log_sum)),
    row("ReduceLogSumExp", &[1, 11, 13, 18, 28], TYPES, "", |c| reduction(c, 18, log_sum_exp)),
    row("ArgMax", &[1, 11, 12, 13], TYPES, "", |c| arg(c, true)),
    row("ArgMin", &[1, 11, 12, 13], TYPES, "", |c| arg(c, false)),
    row("CumSum", &[11, 14], TYPES, "", |c| running(c, CumulateKind::Sum)),
    row("CumProd", &[26], TYPES, "", |c| running(c, CumulateKind::Prod)),
];

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

/// A reduction written by `f`, which is given the value, the axes, and whether they are kept.
fn reduction(
    c: &mut Call<'_, '_>,
    input_since: i64,
    f: impl FnOnce(&mut Call<'_, '_>, &Value, &[usize], bool) -> Result<Value, Fault>,
) -> Results {
    let x = c.operand(0)?;
    let (axes, keep) = axes_of(c, c.rank(&x), input_since)?;
    Ok(vec![f(c, &x, &axes, keep)?])
}

/// Number of elements along axes.
fn count(c: &Call<'_, '_>, x: &Value, axes: &[usize]) -> usize {
    let shape = c.shape(x);
    axes.iter().map(|a| shape[*a]).product()
}

fn mean(c: &mut Call<'_, '_>, x: &Value, axes: &[usize], keep: bool) -> Result<Value, Fault> {
    if c.dtype(x).is_float() && count(c, x, axes) > 0 {
        return c.reduce(ReduceKind::Mean, x, axes, keep);
    }
    // Of integers: the quotient without its fraction. Of nothing: no number.
    let sum = c.reduce(ReduceKind::Sum, x, axes, keep)?;
    let n = c.scalar(c.dtype(x), count(c, x, axes) as f64);
    c.div(&sum, &n)
}

/// The largest or smallest; of nothing the least or greatest value there is.
fn extreme(c: &mut Call<'_, '_>, kind: ReduceKind) -> Results {
    let x = c.operand(0)?;
    let dtype = c.dtype(&x);
    let (axes, keep) = axes_of(c, c.rank(&x), 18)?;
    let y = if dtype == DType::Bool { c.cast(&x, DType::U8)? } else { x };
    let y = if count(c, &y, &axes) > 0 {
        c.reduce(kind, &y, &axes, keep)?
    } else {
        let low = kind == ReduceKind::Max;
        let identity = match (dtype.is_float(), low) {
            (true, true) => f64::NEG_INFINITY,
            (true, false) => f64::INFINITY,
            // Conversions saturate.
            (false, true) => -1e30,
            (false, false) if dtype == DType::Bool => 1.0,
            (false, false) => 1e30,
        };
        let mut shape = c.shape(&y);
        for a in axes.iter().rev() {
            match keep {
                true => shape[*a] = 1,
                false => drop(shape.remove(*a)),
            }
        }
        let identity = c.scalar(c.dtype(&y), identity);
        c.broadcast(&identity, &shape)?
    };
    Ok(vec![c.cast(&y, dtype)?])
}

fn l1(c: &mut Call<'_, '_>, x: &Value, axes: &[usize], keep: bool) -> Result<Value, Fault> {
    let y = c.unary(Op::Abs, x)?;
    c.reduce(ReduceKind::Sum, &y, axes, keep)
}

fn sum_square(c: &mut Call<'_, '_>, x: &Value, axes: &[usize], keep: bool) -> Result<Value, Fault> {
    let y = c.mul(x, x)?;
    c.reduce(ReduceKind::Sum, &y, axes, keep)
}

/// Runs `f` in a float type that holds the value: its own, 32 bits for narrower ones, 64 for integers.
fn real(
    c: &mut Call<'_, '_>,
    x: &Value,
    f: impl FnOnce(&mut Call<'_, '_>, &Value) -> Result<Value, Fault>,
) -> Result<Value, Fault> {
    let dtype = c.dtype(x);
    let wide = match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        d if d.is_float() => d,
        _ => DType::F64,
    };
    let y = c.cast(x, wide)?;
    let y = f(c, &y)?;
    c.cast(&y, dtype)
}

fn l2(c: &mut Call<'_, '_>, x: &Value, axes: &[usize], keep: bool) -> Result<Value, Fault> {
    real(c, x, |c, x| {
        let y = sum_square(c, x, axes, keep)?;
        c.unary(Op::Sqrt, &y)
    })
}

fn log_sum(c: &mut Call<'_, '_>, x: &Value, axes: &[usize], keep: bool) -> Result<Value, Fault> {
    real(c, x, |c, x| {
        let y = c.reduce(ReduceKind::Sum, x, axes, keep)?;
        c.unary(Op::Log, &y)
    })
}

/// `m + log(sum(exp(x - m)))` with m the largest element, or 0 where that is not finite.
fn log_sum_exp(c: &mut Call<'_, '_>, x: &Value, axes: &[usize], keep: bool) -> Result<Value, Fault> {
    real(c, x, |c, x| {
        if count(c, x, axes) == 0 {
            let y = c.unary(Op::Exp, x)?;
            let y = c.reduce(ReduceKind::Sum, &y, axes, keep)?;
            return c.unary(Op::Log, &y);
        }
        let dtype = c.dtype(x);
        let most = c.reduce(ReduceKind::Max, x, axes, true)?;
        let (infinity, zero) = (c.scalar(dtype, f64::INFINITY), c.scalar(dtype, 0.0));
        let size = c.unary(Op::Abs, &most)?;
        let finite = c.ew(Op::Lt, &[&size, &infinity])?;
        let most = c.select(&finite, &most, &zero)?;
        let y = c.sub(x, &most)?;
        let y = c.unary(Op::Exp, &y)?;
        let y = c.reduce(ReduceKind::Sum, &y, axes, keep)?;
        let y = c.unary(Op::Log, &y)?;
        let most = c.reshape(&most, &c.shape(&y))?;
        c.add(&y, &most)
    })
}

fn arg(c: &mut Call<'_, '_>, largest: bool) -> Results {
    let x = c.operand(0)?;
    let axis = c.axis(c.int("axis", 0)?, c.rank(&x))?;
    let keep = c.flag("keepdims", true)?;
    let last = c.flag("select_last_index", false)?;
    let op = if largest { Op::Argmax { axis, keep, last } } else { Op::Argmin { axis, keep, last } };
    Ok(vec![c.op(op, &[x])?])
}

/// A running sum or product along an axis.
fn running(c: &mut Call<'_, '_>, kind: CumulateKind) -> Results {
    let (x, axis) = (c.operand(0)?, c.operand(1)?);
    let (exclusive, reverse) = (c.flag("exclusive", false)?, c.flag("reverse", false)?);
    let [axis] = c.known_ints(&axis, "the axis")?[..] else { return invalid("the axis is not one number") };
    let axis = c.axis(axis, c.rank(&x))?;
    Ok(vec![c.op(Op::Cumulate { kind, axis, exclusive, reverse }, &[x])?])
}
