//! Activation functions.

use super::{Row, Types, row};
use crate::import::{Call, Results};
use nc_ir::graph::Op;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[row("Relu", &[6, 13, 14], Types::Number, "", relu)];

fn relu(c: &mut Call<'_, '_>) -> Results {
    let x = c.operand(0)?;
    let zero = c.scalar(c.dtype(&x), 0.0);
    Ok(vec![c.ew(Op::Max, &[&x, &zero])?])
}
