//! Control: nested graphs that run under a condition.

use super::{Row, Types, row};
use crate::import::{Call, Results, invalid};

/// The family's rows.
pub(super) const ROWS: &[Row] = &[row("If", &[1, 11, 13, 16, 19, 21, 23, 24, 25], Types::Bool, "", branch)];

/// `If`: with a known condition the branch stands where the node stood.
fn branch(c: &mut Call<'_, '_>) -> Results {
    let condition = c.operand(0)?;
    let (yes, no) = (c.graph("then_branch")?, c.graph("else_branch")?);
    if c.shape(&condition).iter().any(|n| *n != 1) {
        return invalid("the condition has more than one element");
    }
    if let Some(t) = condition.tensor() {
        return c.body(if t.bytes() == [1] { yes } else { no }, Vec::new());
    }
    let condition = c.reshape(&condition, &[])?;
    c.open();
    let results = c.body(yes, Vec::new())?;
    let yes = c.close(&results);
    c.open();
    let results = c.body(no, Vec::new())?;
    let no = c.close(&results);
    c.cond(&condition, yes, no)
}
