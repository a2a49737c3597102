//! Result types of the ops: the shape and type rule of each row of the op table.

use super::{Graph, Op, Pools, ValueId};
use crate::types::TensorType;

/// The types of the results, or what does not fit.
pub(super) fn infer(
    _op: &Op,
    _args: &[ValueId],
    _regions: &[Graph],
    _graph: &Graph,
    _pools: Pools<'_>,
) -> Result<Vec<TensorType>, String> {
    Err("no rule".to_string())
}
