//! Gather, scatter and selection by index.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value};
use nc_ir::graph::Op;
use nc_ir::{DType, Tensor};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[row("Gather", &[1, 11, 13], Types::Any, "", gather)];

/// Indices counted from the front of an axis of `n` elements: negative ones count from its end. A known index out of range is
/// refused; one that is computed is clamped by nc's `gather`.
pub(super) fn from_front(c: &mut Call<'_, '_>, index: &Value, n: usize) -> Result<Value, Fault> {
    let index = c.cast(index, DType::I64)?;
    if let Some(t) = index.tensor() {
        let list: Vec<i64> = t.as_slice::<i64>().to_vec();
        let n = n as i64;
        if let Some(k) = list.iter().find(|k| **k < -n || **k >= n) {
            return Err(Fault::Invalid(format!("the index {k} does not exist in an axis of {n} elements")));
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
