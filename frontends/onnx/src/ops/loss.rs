//! Losses: what training frameworks leave at the end of an exported model.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value, invalid};
use nc_ir::DType;
use nc_ir::graph::{Op, ReduceKind};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("NegativeLogLikelihoodLoss", &[12, 13, 22], Types::Float, "", likelihood),
    row("SoftmaxCrossEntropyLoss", &[12, 13], Types::Float, "", cross_entropy),
];

fn likelihood(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    Ok(vec![loss(c, &x)?])
}

fn cross_entropy(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    if c.rank(&x) < 2 {
        return invalid(format!("its operand has the shape {:?}, [N, C, ..] was expected", c.shape(&x)));
    }
    let logs = c.log_softmax_along(&x, 1)?;
    Ok(vec![loss(c, &logs)?, logs])
}

impl Call<'_, '_> {
    /// `x - max - log(sum(exp(x - max)))` along an axis.
    ///
    /// # Errors
    /// If the axis has no elements.
    pub(super) fn log_softmax_along(&mut self, x: &Value, axis: usize) -> Result<Value, Fault> {
        let most = self.reduce(ReduceKind::Max, x, &[axis], true)?;
        let off = self.sub(x, &most)?;
        let e = self.unary(Op::Exp, &off)?;
        let sum = self.reduce(ReduceKind::Sum, &e, &[axis], true)?;
        let log = self.unary(Op::Log, &sum)?;
        self.sub(&off, &log)
    }
}

/// `-w[t] x[n, t, ..]` for the targets `t` (operand 1) and weights (operand 2), summed, averaged over the weights, or neither.
fn loss(c: &mut Call<'_, '_>, x: &Value) -> Result<Value, Fault> {
    let (target, weight) = (c.operand(1)?, c.optional(2));
    let reduction = c.text("reduction", "mean")?;
    let ignored = c.int_opt("ignore_index")?;
    let (shape, dtype) = (c.shape(x), c.dtype(x));
    if shape.len() < 2 || [&shape[..1], &shape[2..]].concat() != c.shape(&target) {
        return invalid(format!("targets of shape {:?} do not fit an operand of shape {shape:?}", c.shape(&target)));
    }
    let classes = shape[1];
    let target = c.cast(&target, DType::I64)?;
    let zero = c.scalar(dtype, 0.0);
    let counts = match ignored {
        None => None,
        Some(n) => {
            let n = c.i64s(&[n]);
            let n = c.reshape(&n, &[])?;
            Some(c.ew(Op::Ne, &[&target, &n])?)
        }
    };
    // Element (n, t, rest) of [N, C, rest] is number (n * C + t) * R + r.
    let rest: usize = shape[2..].iter().product();
    let flat = c.reshape(x, &[shape.iter().product()])?;
    let target_flat = c.reshape(&target, &[shape[0], rest])?;
    let rows: Vec<i64> = (0..shape[0]).map(|n| (n * classes * rest) as i64).collect();
    let columns: Vec<i64> = (0..rest as i64).collect();
    let (rows, columns) = (c.i64s(&rows), c.i64s(&columns));
    let rows = c.reshape(&rows, &[shape[0], 1])?;
    let (per, zeroth, last) =
        (c.scalar(DType::I64, rest as f64), c.scalar(DType::I64, 0.0), c.scalar(DType::I64, classes as f64 - 1.0));
    // An index that is to be ignored need not be one of a class.
    let inside = c.ew(Op::Max, &[&target_flat, &zeroth])?;
    let inside = c.ew(Op::Min, &[&inside, &last])?;
    let at = c.mul(&inside, &per)?;
    let at = c.add(&at, &rows)?;
    let at = c.add(&at, &columns)?;
    let taken = c.gather(&flat, &at, 0)?;
    let own = c.shape(&target);
    let taken = c.reshape(&taken, &own)?;
    let inside = c.reshape(&inside, &own)?;
    let mut weights = match &weight {
        Some(w) => Some(c.gather(w, &inside, 0)?),
        None => None,
    };
    if let Some(counts) = &counts {
        let w = match weights {
            Some(w) => w,
            None => c.scalar(dtype, 1.0),
        };
        weights = Some(c.select(counts, &w, &zero)?);
    }
    let mut y = c.unary(Op::Neg, &taken)?;
    if let Some(w) = &weights {
        y = c.mul(&y, w)?;
    }
    // What is ignored is no part of the sum, whatever stands there.
    if let Some(counts) = &counts {
        y = c.select(counts, &y, &zero)?;
    }
    let axes: Vec<usize> = (0..own.len()).collect();
    match reduction.as_str() {
        "none" => Ok(y),
        "sum" => c.reduce(ReduceKind::Sum, &y, &axes, false),
        "mean" => match weights {
            None => c.reduce(ReduceKind::Mean, &y, &axes, false),
            Some(w) => {
                let (sum, all) = (c.reduce(ReduceKind::Sum, &y, &axes, false)?, c.broadcast(&w, &own)?);
                let all = c.reduce(ReduceKind::Sum, &all, &axes, false)?;
                c.div(&sum, &all)
            }
        },
        other => invalid(format!("`reduction` is {other:?}")),
    }
}
