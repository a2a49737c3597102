//! Element by element.

use super::{Row, Types, row};
use crate::import::{Call, Fault, Results, Value};
use nc_ir::graph::Op;

/// The family's rows.
pub(super) const ROWS: &[Row] = &[
    row("Add", &[1, 6, 7, 13, 14], Types::Number, "", |c| binary(c, Op::Add)),
    row("Sub", &[1, 6, 7, 13, 14], Types::Number, "", |c| binary(c, Op::Sub)),
    row("Mul", &[1, 6, 7, 13, 14], Types::Number, "", |c| binary(c, Op::Mul)),
    row("Div", &[1, 6, 7, 13, 14], Types::Number, "", |c| binary(c, Op::Div)),
    row("Exp", &[1, 6, 13], Types::Float, "", |c| unary(c, Op::Exp)),
    row("Tanh", &[1, 6, 13], Types::Float, "", |c| unary(c, Op::Tanh)),
    row("Sigmoid", &[1, 6, 13], Types::Float, "", |c| unary(c, Op::Sigmoid)),
];

/// Two operands that fit each other. Before version 7 the second is repeated only if `broadcast` is set, and is aligned with
/// the axes from `axis` on (the last ones without it).
fn operands(c: &mut Call<'_, '_>) -> Result<(Value, Value), Fault> {
    let (a, b) = (c.operand(0)?, c.operand(1)?);
    if c.opset >= 7 {
        return Ok((a, b));
    }
    // Of version 1: which result may share memory with an operand. It changes no number.
    c.has("consumed_inputs");
    let spread = c.flag("broadcast", false)?;
    let axis = c.int_opt("axis")?;
    let (rank, own) = (c.rank(&a), c.shape(&b));
    match (spread, axis) {
        (false, _) if c.shape(&a) != own => Err(Fault::Invalid("its operands have different shapes".to_owned())),
        (true, Some(axis)) => {
            let first = c.axis(axis, rank)?;
            if first + own.len() > rank {
                return Err(Fault::Invalid(format!("{own:?} does not fit {:?} from axis {axis} on", c.shape(&a))));
            }
            let mut shape = own;
            shape.resize(rank - first, 1);
            let b = c.reshape(&b, &shape)?;
            Ok((a, b))
        }
        _ => Ok((a, b)),
    }
}

fn binary(c: &mut Call<'_, '_>, op: Op) -> Results {
    let (a, b) = operands(c)?;
    Ok(vec![c.ew(op, &[&a, &b])?])
}

fn unary(c: &mut Call<'_, '_>, op: Op) -> Results {
    c.has("consumed_inputs");
    let x = c.operand(0)?;
    Ok(vec![c.unary(op, &x)?])
}
