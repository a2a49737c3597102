//! Numbers in memory that the threads of a block share.

use crate::ir::{Ir, V};

/// Cell `index` of a table of 32-bit numbers at a byte offset.
pub(super) fn cell<'c>(ir: &mut Ir<'c>, base: V<'c>, table: i64, index: V<'c>) -> V<'c> {
    let at = ir.beyond(base, table);
    ir.element(at, ir.types.i32, index)
}
