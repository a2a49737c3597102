//! Evaluation of a region of scalars on many elements at once, all of its nodes on one column before the next.
//!
//! [`Context::evaluate`](super::eval::Context) takes a node at a time and makes a tensor of each result: right for the few
//! large values of a step, slow for a region that is run on thousands of short rows.

use super::broken;
use super::columns::{Columns, LANES};
use super::register::zeros;
use crate::diag::Diagnostic;
use crate::graph::expand::inline_with;
use crate::graph::{Class, Constant, Graph, Op};
use crate::kernel::{Emit, Scalar};
use crate::tensor::Tensor;
use crate::types::DType;

/// A region each of whose results depends on the same element of its parameters only.
pub(crate) struct Pointwise<'a> {
    graph: &'a Graph,
    consts: &'a [Constant],
    result: DType,
    columns: Columns,
    slots: Vec<Option<u32>>,
    results: Vec<u32>,
}

impl<'a> Pointwise<'a> {
    /// `None` if the region has not one result, or holds a node other than element-wise ones and scalar constants.
    pub fn of(graph: &'a Graph, consts: &'a [Constant]) -> Option<Pointwise<'a>> {
        let scalar = |op: &Op| match op {
            Op::Const { id } => consts.get(id.index()).is_some_and(|c| c.data.shape().is_empty()),
            op => op.info().class == Class::Elementwise,
        };
        let [result] = graph.results[..] else {
            return None;
        };
        let result = graph.values.get(result.index())?.ty.dtype;
        let (slots, results) = (Vec::new(), Vec::new());
        graph.nodes.iter().all(|n| scalar(&n.op)).then(|| Pointwise {
            graph,
            consts,
            result,
            columns: Columns::default(),
            slots,
            results,
        })
    }

    /// The result for each element; a parameter of rank 0 serves every element, the others have `n`.
    ///
    /// # Errors
    /// If a parameter has another length, or a value is not defined where it is used.
    pub fn run(&mut self, params: &[&Tensor], n: usize) -> Result<Tensor, Diagnostic> {
        let misfit = || broken("a region does not fit its operands");
        let mut out = zeros(self.result, vec![n]).ok_or_else(misfit)?;
        let mut args = Vec::with_capacity(params.len());
        for at in (0..n).step_by(LANES) {
            let count = LANES.min(n - at);
            let columns = &mut self.columns;
            columns.clear();
            // Regions of connectivities are evaluated before the first tick.
            let tick = columns.constant(Scalar::I64(0));
            args.clear();
            for p in params {
                let column = if p.shape().is_empty() { columns.scalar(p) } else { columns.read(p, at, count) };
                args.push(column.ok_or_else(misfit)?);
            }
            inline_with(columns, self.graph, self.consts, tick, &args, &mut self.slots, &mut self.results)
                .map_err(broken)?;
            let result = *self.results.first().ok_or_else(misfit)?;
            self.columns.write(result, &mut out, at, count).ok_or_else(misfit)?;
        }
        Ok(out)
    }
}
