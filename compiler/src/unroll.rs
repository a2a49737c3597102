//! Loops with a known number of iterations, written out.
//!
//! A `scan` or `repeat` becomes the nodes of its body, once for each iteration, so that what splits a step function by
//! its nodes can split the loop as well. Every operation is what it was: no bit changes.

use crate::rebuild::{Rebuild, constants_of};
use nc_ir::Tensor;
use nc_ir::graph::{Module, Node, Op, OpError, ValueId};

/// Loops in loops are written out to this depth.
const DEPTH: usize = 8;

/// Writes out the loops of the step function whose iterations have no more than `max_nodes` nodes in all. How many there
/// were; none are where an extent is not known.
///
/// # Errors
/// Never for a valid module; the builder's type.
pub fn run(module: &mut Module, max_nodes: usize) -> Result<usize, OpError> {
    let (mut left, mut done) = (max_nodes, 0);
    for _ in 0..DEPTH {
        // In each round: what was in a loop's loop is now in a loop.
        let bodies = module.graph.nodes.iter().flat_map(|n| &n.regions);
        if module.graph.values.iter().chain(bodies.flat_map(|g| &g.values)).any(|v| v.ty.extents().is_none()) {
            break;
        }
        let before = done;
        let known: Vec<Option<Tensor>> = constants_of(&module.graph, &module.consts)
            .into_iter()
            .map(|t| t.filter(|t| t.len() == 1).cloned())
            .collect();
        let mut rb = Rebuild::new(std::mem::take(module));
        for node in std::mem::take(&mut rb.old.nodes) {
            let trips = trips(&node, &rb, &known).filter(|n| *n > 0);
            let nodes = |n: u64| {
                // A slice and a reshape for what is scanned and given out, and the body.
                let more = 2 * (node.args.len() + node.results.len());
                usize::try_from(n).ok()?.checked_mul(node.regions[0].nodes.len() + more)
            };
            match trips.and_then(|n| nodes(n).filter(|nodes| *nodes <= left).map(|nodes| (n, nodes))) {
                Some((n, nodes)) => {
                    left -= nodes;
                    done += 1;
                    write(&mut rb, &node, n)?;
                }
                None => rb.copy(&node),
            }
        }
        *module = rb.finish();
        if done == before {
            break;
        }
    }
    Ok(done)
}

/// How often a loop runs, if that is known.
fn trips(node: &Node, rb: &Rebuild, known: &[Option<Tensor>]) -> Option<u64> {
    match node.op {
        Op::Scan { carried_count, scanned_count, .. } if scanned_count > 0 => {
            rb.old.ty(node.args[carried_count]).extents()?.first().copied()
        }
        Op::Loop { .. } => {
            let (trips, begins) = (known[node.args[0].index()].as_ref()?, known[node.args[1].index()].as_ref()?);
            let body = &node.regions[0];
            let goes_on = constants_of(body, &rb.module.consts)[body.results[0].index()]?;
            let always = |t: &Tensor| t.bytes().iter().all(|b| *b != 0);
            let n = u64::try_from(*trips.as_slice::<i64>().first()?).ok()?;
            (always(begins) && always(goes_on)).then_some(n)
        }
        _ => None,
    }
}

fn write(rb: &mut Rebuild, node: &Node, n: u64) -> Result<(), OpError> {
    let body = &node.regions[0];
    let (heads, carried, scanned, reverse) = match node.op {
        Op::Scan { carried_count, scanned_count, reverse } => (0, carried_count, scanned_count, reverse),
        Op::Loop { carried_count } => (2, carried_count, 0, false),
        _ => return Ok(()),
    };
    let args = rb.values(&node.args[heads..]);
    let mut now: Vec<ValueId> = args[..carried].to_vec();
    let mut rows: Vec<Vec<ValueId>> = vec![Vec::new(); node.results.len() - carried];
    for t in 0..n {
        let at = if reverse { n - 1 - t } else { t };
        let mut given = Vec::with_capacity(body.params.len());
        if heads > 0 {
            given.push(rb.constant("", Tensor::scalar_i64(t as i64))?);
        }
        given.extend(&now);
        for x in &args[carried..carried + scanned] {
            given.push(row(rb, *x, at)?);
        }
        given.extend(&args[carried + scanned..]);
        let results = rb.inline(body, &given);
        let results = &results[usize::from(heads > 0)..];
        now = results[..carried].to_vec();
        for (all, v) in rows.iter_mut().zip(&results[carried..]) {
            let mut shape = vec![1];
            shape.extend(rb.module.graph.ty(*v).extents().unwrap_or_default());
            all.push(rb.op(Op::Reshape { shape }, &[*v])?);
        }
    }
    for (old, new) in node.results.iter().zip(now) {
        rb.redirect(*old, new);
    }
    for (old, mut rows) in node.results[carried..].iter().zip(rows) {
        if reverse {
            rows.reverse();
        }
        let whole = rb.op(Op::Concat { axis: 0 }, &rows)?;
        rb.replace(*old, whole);
    }
    Ok(())
}

/// Row `at` of a value, without its leading axis.
fn row(rb: &mut Rebuild, x: ValueId, at: u64) -> Result<ValueId, OpError> {
    let whole = rb.module.graph.ty(x).extents().unwrap_or_default();
    let (mut start, mut stop) = (vec![0; whole.len()], whole.clone());
    (start[0], stop[0]) = (at, at + 1);
    let step = vec![1; whole.len()];
    let slice = rb.op(Op::Slice { start, stop, step }, &[x])?;
    rb.op(Op::Reshape { shape: whole[1..].to_vec() }, &[slice])
}
