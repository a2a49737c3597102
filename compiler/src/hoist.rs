//! Moves work out of the bodies of `scan` and `repeat`: what is the same in every iteration is computed once before the
//! loop, and a product of each scanned row with weights that do not change becomes one product of all rows.
//!
//! Both are exact: ops are pure and total, and each output of `linear` is a chain of its own, whatever the number of rows.

use crate::control::{compact, needed};
use crate::rebuild::{self, Rebuild, count};
use nc_ir::graph::{Graph, Module, Node, Op, ValueId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::convert::Infallible;

/// Products of all rows are not made larger than this many elements: they have to be kept until the loop has read them.
const MAX_ELEMENTS: u64 = 1 << 24;

/// Moves what can be moved, out of inner loops first.
pub fn run(module: &mut Module) {
    let done: Result<(), Infallible> = rebuild::each_body(module, &mut |body| {
        run(body);
        Ok(())
    });
    match done {
        Ok(()) => {}
        Err(never) => match never {},
    }
    let loops = |n: &Node| matches!(n.op, Op::Scan { .. } | Op::Loop { .. });
    if !module.graph.nodes.iter().any(loops) {
        return;
    }
    let mut rb = Rebuild::new(std::mem::take(module));
    for node in std::mem::take(&mut rb.old.nodes) {
        match node.op {
            Op::Scan { .. } | Op::Loop { .. } => hoist(&mut rb, node),
            _ => rb.copy(&node),
        }
    }
    *module = rb.finish();
}

/// How a value of a body depends on the iteration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It does, or may.
    Varying,
    /// It is a constant.
    Constant,
    /// It is the same in every iteration.
    Same,
}

/// Ops that cost nothing: they stay where their result is used.
fn is_free(op: &Op) -> bool {
    matches!(op, Op::Reshape { .. } | Op::Broadcast { .. } | Op::Slice { .. })
}

fn hoist(rb: &mut Rebuild, mut node: Node) {
    let mut body = node.regions.pop().unwrap_or_default();
    let (carried, scanned, before) = match node.op {
        Op::Scan { carried_count, scanned_count, reverse: _ } => (carried_count, scanned_count, 0),
        Op::Loop { carried_count } => (2 + carried_count, 0, 1),
        _ => (node.args.len(), 0, 0),
    };
    let first = carried + scanned;
    let mut kind = vec![Kind::Varying; body.values.len()];
    let mut outside: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    for (k, x) in node.args.iter().enumerate().skip(first) {
        let p = body.params[k - before];
        kind[p.index()] = Kind::Same;
        outside.insert(p, rb.value(*x));
    }
    // What moves: everything that is the same and costs something, with the free ops that it reads through.
    let mut moves = vec![false; body.nodes.len()];
    for (k, n) in body.nodes.iter().enumerate() {
        let of = |kind: &[Kind]| {
            let kinds = || n.args.iter().map(|a| kind[a.index()]);
            match &n.op {
                Op::Const { .. } | Op::Iota { .. } => Kind::Constant,
                Op::Tick => Kind::Same,
                _ if !n.regions.is_empty() || kinds().any(|k| k == Kind::Varying) => Kind::Varying,
                _ if kinds().any(|k| k == Kind::Same) => Kind::Same,
                _ => Kind::Constant,
            }
        };
        let found = of(&kind);
        for r in &n.results {
            kind[r.index()] = found;
        }
        moves[k] = found == Kind::Same && !is_free(&n.op) && n.op != Op::Tick;
    }
    let length = node.args.get(carried).and_then(|x| rb.old.ty(*x).extents()?.first().copied()).unwrap_or(0);
    let most = MAX_ELEMENTS / length.max(1);
    let rows: Vec<usize> = (0..body.nodes.len())
        .filter(|k| of_rows(&body, *k, carried..first, &kind))
        .filter(|k| count(body.ty(body.nodes[*k].results[0])) <= most)
        .collect();
    let mut copied = moves.clone();
    let mut wanted: FxHashSet<ValueId> = rows.iter().flat_map(|k| body.nodes[*k].args[1..].iter().copied()).collect();
    for (k, n) in body.nodes.iter().enumerate().rev() {
        copied[k] |= n.results.iter().any(|r| wanted.contains(r));
        if copied[k] {
            wanted.extend(&n.args);
        }
    }
    let mut args = rb.values(&node.args);
    for (n, _) in body.nodes.iter().zip(&copied).filter(|(_, copied)| **copied) {
        let of: Vec<ValueId> = n.args.iter().map(|a| outside[a]).collect();
        let results = rb.append(n.op.clone(), of, n.results.iter().map(|r| &body.values[r.index()]));
        outside.extend(n.results.iter().copied().zip(results));
    }
    let moved: Vec<ValueId> = (body.nodes.iter().zip(&moves))
        .filter(|(_, moves)| **moves)
        .flat_map(|(n, _)| n.results.iter().copied())
        .collect();
    for v in &moved {
        body.params.push(*v);
        args.push(outside[v]);
    }
    let mut more = 0;
    for k in &rows {
        let (x, rest) = body.nodes[*k].args.split_first().expect("a product has operands");
        let at = body.params.iter().position(|p| p == x).expect("the row is a parameter");
        let mut operands = vec![args[at]];
        operands.extend(rest.iter().map(|a| outside[a]));
        // The type of all rows together follows from the op; a product that does not fit is left where it is.
        let Ok(all) = rb.op(Op::Linear, &operands) else { continue };
        let row = body.nodes[*k].results[0];
        rb.builder().name(all, &body.values[row.index()].name);
        body.params.insert(first + more, row);
        args.insert(first + more, all);
        moves[*k] = true;
        more += 1;
    }
    if let Op::Scan { scanned_count, .. } = &mut node.op {
        *scanned_count += more;
    }
    let mut moves = moves.into_iter();
    body.nodes.retain(|_| !moves.next().unwrap_or(false));
    let read = needed(&body, &body.results);
    node.regions = vec![compact(&body, &read)];
    rb.copy_with(&node, args);
}

/// True if a node is a product of a scanned row (one of the parameters `scanned`) with weights that do not change.
fn of_rows(body: &Graph, k: usize, scanned: std::ops::Range<usize>, kind: &[Kind]) -> bool {
    let node = &body.nodes[k];
    let [x, rest @ ..] = node.args.as_slice() else { return false };
    // Rows of a scan have the places of their operands among the parameters.
    let row = body.params.get(scanned).is_some_and(|rows| rows.contains(x));
    node.op == Op::Linear && row && rest.iter().all(|a| kind[a.index()] != Kind::Varying)
}
