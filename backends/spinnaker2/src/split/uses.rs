//! What a node needs of its operands when it is computed for some rows only.
//!
//! The rows of a value run along its first axis that has more than one element: a batch of one does not stand in the way
//! of its features. What lies before that axis has one element, so rows follow each other in memory.

use nc_ir::graph::{Class, ConstId, Graph, Module, Node, Op, ValueId};
use std::ops::Range;

/// How a node uses an operand when it is computed for some rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// The same rows of it.
    Rows,
    /// All of it.
    Full,
    /// Rows that begin so many later.
    Shifted(u64),
    /// Of a constant, as much along this axis as the result has rows.
    Along(usize),
}

pub(crate) fn extents(g: &Graph, v: ValueId) -> Vec<u64> {
    g.ty(v).extents().unwrap_or_default()
}

/// The axis of a value's rows: the first with more than one element, or the first.
pub(crate) fn axis_of(shape: &[u64]) -> usize {
    shape.iter().position(|n| *n != 1).unwrap_or(0)
}

/// The number of a value's rows; a scalar has none.
pub(crate) fn row_count(shape: &[u64]) -> Option<u64> {
    shape.get(axis_of(shape)).copied()
}

/// The constant that a value is.
pub(crate) fn constant(module: &Module, v: ValueId) -> Option<ConstId> {
    module.graph.nodes.iter().find(|n| n.results.contains(&v)).and_then(|n| match n.op {
        Op::Const { id } => Some(id),
        _ => None,
    })
}

/// `op` when only some rows of its result, which has this shape, are computed.
pub(crate) fn for_rows(op: &mut Op, shape: &[u64], rows: &Range<u64>) {
    let axis = axis_of(shape);
    let n = rows.end - rows.start;
    match op {
        Op::Broadcast { shape } | Op::Reshape { shape } => {
            if let Some(x) = shape.get_mut(axis) {
                *x = n;
            }
        }
        Op::Slice { start, stop, .. } => {
            if let (Some(a), Some(b)) = (start.get_mut(axis), stop.get_mut(axis)) {
                (*a, *b) = (0, n);
            }
        }
        _ => {}
    }
}

/// How the operands are used when the results are computed row by row, or `None` if they are computed whole.
pub(crate) fn uses(module: &Module, node: &Node) -> Option<Vec<Use>> {
    let g = &module.graph;
    let out = extents(g, *node.results.first()?);
    let rows = row_count(&out)?;
    if rows < 2 {
        return None;
    }
    let at = axis_of(&out);
    let args: Vec<Vec<u64>> = node.args.iter().map(|a| extents(g, *a)).collect();
    // As many rows; as many along the same axis.
    let same = |x: &[u64]| row_count(x) == Some(rows);
    let aligned = |x: &[u64]| same(x) && axis_of(x) == at;
    let is_one = |x: &[u64]| x.iter().all(|n| *n == 1);
    let optional = |u: [Use; 3]| Some(u[..args.len().min(3)].to_vec());
    match &node.op {
        op if op.info().class == Class::Elementwise => {
            Some(args.iter().map(|x| if x.is_empty() { Use::Full } else { Use::Rows }).collect())
        }
        Op::Broadcast { .. } => {
            let source = (at + args[0].len()).checked_sub(out.len()).map(|k| args[0][k]);
            Some(vec![if source == Some(rows) { Use::Rows } else { Use::Full }])
        }
        Op::Reshape { .. } => same(&args[0]).then(|| vec![Use::Rows]),
        Op::Transpose { perm } => (same(&args[0]) && perm[at] == axis_of(&args[0])).then(|| vec![Use::Rows]),
        Op::Slice { start, step, .. } if axis_of(&args[0]) == at && step[at] == 1 => match start[at] {
            0 if same(&args[0]) => Some(vec![Use::Rows]),
            lo => Some(vec![Use::Shifted(lo)]),
        },
        Op::Pad { low, high, interior } => {
            let kept = low[at] == 0 && high[at] == 0 && interior[at] == 0;
            (kept && aligned(&args[0])).then(|| vec![Use::Rows, Use::Full])
        }
        Op::Pool { size, .. } => (aligned(&args[0]) && at + size.len() < out.len()).then(|| vec![Use::Rows]),
        Op::Concat { axis } => (*axis > at && args.iter().all(|x| aligned(x))).then(|| vec![Use::Rows; args.len()]),
        Op::Gather { axis } => {
            let axis = *axis;
            let (table, index) = (&args[0], &args[1]);
            if axis > at && aligned(table) {
                return Some(vec![Use::Rows, Use::Full]);
            }
            if axis == at && index.len() == 1 && same(index) {
                return Some(vec![Use::Full, Use::Rows]);
            }
            // The same places of every row that the indices name.
            let place = (at + 1).checked_sub(index.len()).filter(|_| at >= axis + index.len())?;
            constant(module, node.args[0]).map(|_| vec![Use::Along(place), Use::Full])
        }
        Op::Reduce { axes, .. } => {
            let own = axis_of(&args[0]);
            let kept = !axes.is_empty() && !axes.contains(&own) && same(&args[0]);
            kept.then(|| vec![Use::Rows])
        }
        Op::Argmax { axis, .. } | Op::Argmin { axis, .. } => {
            (*axis > axis_of(&args[0]) && same(&args[0])).then(|| vec![Use::Rows])
        }
        Op::Linear if at + 1 == out.len() => optional([Use::Full, Use::Rows, Use::Rows]),
        Op::Linear => optional([Use::Rows, Use::Full, Use::Full]),
        Op::Matmul if args[0].len() == 2 && args[1].len() == 2 => match at {
            0 => Some(vec![Use::Rows, Use::Full]),
            _ => constant(module, node.args[1]).map(|_| vec![Use::Full, Use::Along(1)]),
        },
        Op::Conv { groups, .. } => {
            let space = args[1].len() - 2;
            let channels = out.len() - space - 1;
            if at < channels {
                return optional([Use::Rows, Use::Full, Use::Full]);
            }
            (at == channels && *groups == 1 && is_one(&args[0][..channels]))
                .then(|| [Use::Full, Use::Rows, Use::Rows][..args.len()].to_vec())
        }
        Op::Project { conn, now_count, .. } => {
            let targets = module.conns.get(conn.index())?.post_len;
            let vectors = args[*now_count..].iter().all(|x| x.is_empty() || x.as_slice() == [targets]);
            if rows != targets || !vectors || out.len() != 1 {
                return None;
            }
            let by_target = |x: &Vec<u64>| if x.is_empty() { Use::Full } else { Use::Rows };
            let rest = args[*now_count..].iter().map(by_target);
            Some(std::iter::repeat_n(Use::Full, *now_count).chain(rest).collect())
        }
        _ => None,
    }
}
