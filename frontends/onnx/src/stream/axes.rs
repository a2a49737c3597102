//! Where the steps of a sequence stand in the operands and results of an op.
//!
//! A value that holds every step of a sequence has them along one axis, which they may share with other axes that were
//! merged into it: its extent is `before * steps * after`. An op can be run one step at a time if each step of its result
//! depends on the same step of its operands alone; [`back`] says so, axis by axis.

use nc_ir::graph::{Class, Graph, Node, Op};

/// Where the steps stand in a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The axis.
    pub axis: usize,
    /// How often the sequence stands along the axis.
    pub before: u64,
    /// Neighbours along the axis that belong to one step.
    pub after: u64,
}

impl Place {
    /// The axis holds the steps and nothing else.
    pub fn whole(axis: usize) -> Place {
        Place { axis, before: 1, after: 1 }
    }

    /// True if the axis holds the steps and nothing else.
    pub fn is_whole(self) -> bool {
        self.before == 1 && self.after == 1
    }

    /// The shape of one step: the steps are taken out of the axis, which stays. `None` if the axis does not hold them.
    pub fn step(self, shape: &[u64], steps: u64) -> Option<Vec<u64>> {
        let per_step = self.before.checked_mul(self.after)?;
        let mut shape = shape.to_vec();
        let extent = shape.get_mut(self.axis)?;
        (per_step.checked_mul(steps) == Some(*extent)).then(|| *extent = per_step)?;
        Some(shape)
    }

    /// Where the steps stand once the same elements have another shape. `None` if no axis of it holds them whole.
    fn reshaped(self, from: &[u64], to: &[u64], steps: u64) -> Option<Place> {
        // Elements between two steps.
        let stride = inner(from, self.axis).checked_mul(self.after)?;
        let span = stride.checked_mul(steps)?;
        (0..to.len()).find_map(|axis| {
            let inner = inner(to, axis);
            let all = inner.checked_mul(to[axis])?;
            if all == 0 || span == 0 || stride % inner != 0 || all % span != 0 {
                return None;
            }
            Some(Place { axis, before: all / span, after: stride / inner })
        })
    }
}

/// Elements between two neighbours along an axis.
pub(super) fn inner(shape: &[u64], axis: usize) -> u64 {
    shape[axis + 1..].iter().fold(1, |n, d| n.saturating_mul(*d))
}

/// The extents of a value; an importer knows them all.
pub(super) fn extents(graph: &Graph, v: nc_ir::graph::ValueId) -> Vec<u64> {
    graph.ty(v).extents().unwrap_or_default()
}

/// The axis of operand `k` that goes along axis `r` of the result, so that each position along the latter depends on the same
/// position along the former alone; `Ok(None)` if the operand is the same for all positions.
///
/// # Errors
/// A position along the axis depends on several positions, or on another one.
fn back(graph: &Graph, node: &Node, k: usize, r: usize) -> Result<Option<usize>, ()> {
    let shape = |k: usize| extents(graph, node.args[k]);
    let (x, y) = (shape(k), extents(graph, node.results[0]));
    let rank = x.len();
    // An operand whose axes are matched with those of the result from the right.
    let aligned = || match (r + rank).checked_sub(y.len()) {
        Some(a) if x[a] == y[r] => Some(a),
        _ => None,
    };
    let first = |along: bool, a: usize| if along && k == 0 { Ok(Some(a)) } else { Err(()) };
    match &node.op {
        op if op.info().class == Class::Elementwise => Ok((rank > 0).then_some(r)),
        Op::Broadcast { .. } => Ok(aligned()),
        Op::Transpose { perm } => Ok(Some(perm[r])),
        Op::Slice { start, stop, step } => first(start[r] == 0 && stop[r] == x[r] && step[r] == 1, r),
        Op::Concat { axis } => {
            if r == *axis {
                Err(())
            } else {
                Ok(Some(r))
            }
        }
        Op::Pad { low, high, interior } => match k {
            0 => first(low[r] == 0 && high[r] == 0 && interior[r] == 0, r),
            _ => Ok(None),
        },
        Op::Gather { axis } => {
            let wide = extents(graph, node.args[1]).len();
            Ok(match (k, r) {
                (0, r) if r < *axis => Some(r),
                (0, r) if r >= axis + wide => Some(r + 1 - wide),
                (1, r) if r >= *axis && r < axis + wide => Some(r - axis),
                _ => None,
            })
        }
        Op::Linear => match (k, r + 1 < y.len()) {
            (0, true) => Ok(Some(r)),
            (_, true) => Ok(None),
            // The outputs of a layer go along its weights.
            (_, false) => Err(()),
        },
        Op::Matmul => Ok(match (k, y.len() - r) {
            (0, 1) | (1, 2) => None,
            (0, 2) | (1, 1) => Some(rank + r - y.len()),
            _ => aligned(),
        }),
        Op::Conv { stride, pad, .. } => {
            let w = shape(1);
            let n = w.len() - 2;
            let lead = y.len() - n - 1;
            match r {
                r if r < lead => Ok((k == 0).then_some(r)),
                r if r == lead => Err(()),
                r => {
                    let s = r - lead - 1;
                    match (w[s + 2] == 1 && stride[s] == 1 && pad[s] == 0 && pad[n + s] == 0, k) {
                        (false, _) => Err(()),
                        (true, 0) => Ok(Some(r)),
                        (true, _) => Ok(None),
                    }
                }
            }
        }
        Op::Pool { size, stride, pad, .. } => match (r + size.len()).checked_sub(y.len()) {
            Some(s) => first(size[s] == 1 && stride[s] == 1 && pad[s] == 0 && pad[size.len() + s] == 0, r),
            None => Ok(Some(r)),
        },
        Op::Reduce { axes, keep, .. } => kept(rank, |a| axes.contains(&a), *keep, r),
        Op::Argmax { axis, keep, .. } | Op::Argmin { axis, keep, .. } => kept(rank, |a| a == *axis, *keep, r),
        Op::Cumulate { axis, .. } | Op::Argsort { axis, .. } => {
            if r == *axis {
                Err(())
            } else {
                Ok(Some(r))
            }
        }
        _ => Err(()),
    }
}

/// The axis of the operand of a reduction that is axis `r` of the result.
fn kept(rank: usize, reduced: impl Fn(usize) -> bool, keep: bool, r: usize) -> Result<Option<usize>, ()> {
    let mut rest = (0..rank).filter(|a| keep || !reduced(*a));
    match rest.nth(r) {
        Some(a) if !reduced(a) => Ok(Some(a)),
        _ => Err(()),
    }
}

/// Where the steps of the result stand if those of operand `k` stand at `p`; `None` if a step of the result depends on
/// several steps of the operand.
pub(super) fn forward(graph: &Graph, node: &Node, k: usize, p: Place, steps: u64) -> Option<Place> {
    let (x, y) = (extents(graph, node.args[k]), extents(graph, *node.results.first()?));
    if matches!(node.op, Op::Reshape { .. }) {
        return p.reshaped(&x, &y, steps);
    }
    let r = (0..y.len()).find(|r| back(graph, node, k, *r) == Ok(Some(p.axis)))?;
    (y[r] == x[p.axis]).then_some(Place { axis: r, ..p })
}

/// Where the steps of operand `k` stand if those of the result stand at `p`; `Some(None)` if it is the same in every step,
/// `None` if a step of the result depends on several steps of the operand.
pub(super) fn backward(graph: &Graph, node: &Node, k: usize, p: Place, steps: u64) -> Option<Option<Place>> {
    if matches!(node.op, Op::Reshape { .. }) {
        let (x, y) = (extents(graph, node.args[k]), extents(graph, node.results[0]));
        return Some(Some(p.reshaped(&y, &x, steps)?));
    }
    Some(back(graph, node, k, p.axis).ok()?.map(|axis| Place { axis, ..p }))
}

/// What an op does to the steps that stand along an axis it mixes, for messages.
pub(super) fn deed(op: &Op) -> &'static str {
    match op {
        Op::Slice { .. } | Op::Gather { .. } => "picks steps other than the last",
        Op::Concat { .. } => "joins values along the steps",
        Op::Pad { .. } => "pads the sequence",
        Op::Broadcast { .. } | Op::Reshape { .. } => "spreads the steps over other axes",
        Op::Linear | Op::Matmul | Op::Conv { .. } => "sums products over several steps",
        Op::Pool { .. } | Op::Reduce { .. } => "combines several steps",
        Op::Argmax { .. } | Op::Argmin { .. } | Op::Argsort { .. } => "puts the steps in order",
        Op::Cumulate { .. } => "goes from the last step to the first",
        Op::If | Op::Loop { .. } => "is a branch or a loop that reads the whole sequence",
        Op::Scatter { .. } => "scatters into the sequence",
        _ => "reads several steps at once",
    }
}
