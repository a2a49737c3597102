//! Pooling and reductions, and what can wait until they have made less of a value.

use super::{Cx, Rule, Way};
use egg::Id;
use nc_ir::graph::{Op, PoolKind, ReduceKind};

const fn built(name: &'static str, reason: &'static str, build: super::Build) -> Rule {
    Rule { name, family: "pooling", exact: true, reason, way: Way::Built(build) }
}

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    built("pool-of-bounded", "the largest of bounded elements is the largest of them, bounded", pool_of_bounded),
    built("pool-one", "the largest of one element", pool_one),
    built("reduce-of-bounded", "the largest of bounded elements is the largest of them, bounded", reduce_of_bounded),
    built("reduce-units", "the extreme of one element", reduce_units),
];

/// The operand and the bound of a `max` with one number.
fn bounded(cx: &Cx<'_>, id: Id) -> Option<(Id, Id)> {
    cx.term(id, |op, a| match op {
        Op::Max if cx.ty(a[1])?.rank() == 0 && cx.ty(a[0])?.rank() > 0 => Some((a[0], a[1])),
        _ => None,
    })
}

fn pool_of_bounded(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let Op::Pool { kind: PoolKind::Max, size, pad, dilation, .. } = op else { return Vec::new() };
    // Every window has an element: one that reaches over a border is less than a window over it.
    let whole = pad.iter().all(|p| *p == 0);
    let inside = dilation.iter().all(|d| *d == 1) && pad.iter().zip(size.iter().cycle()).all(|(p, s)| p < s);
    let (true, Some((x, bound))) = (whole || inside, bounded(cx, args[0])) else { return Vec::new() };
    let pooled = cx.add(op.clone(), &[x]);
    vec![cx.add(Op::Max, &[pooled, bound])]
}

fn pool_one(_: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    match op {
        Op::Pool { kind: PoolKind::Max, size, stride, pad, .. }
            if size.iter().chain(stride).all(|n| *n == 1) && pad.iter().all(|n| *n == 0) =>
        {
            vec![args[0]]
        }
        _ => Vec::new(),
    }
}

fn reduce_of_bounded(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Reduce { kind: ReduceKind::Max, .. }, Some(extents)) = (op, cx.extents(args[0])) else {
        return Vec::new();
    };
    let (false, Some((x, bound))) = (extents.contains(&0), bounded(cx, args[0])) else { return Vec::new() };
    let reduced = cx.add(op.clone(), &[x]);
    vec![cx.add(Op::Max, &[reduced, bound])]
}

fn reduce_units(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Reduce { kind: ReduceKind::Max | ReduceKind::Min, axes, keep }, Some(extents)) = (op, cx.extents(args[0]))
    else {
        return Vec::new();
    };
    if axes.iter().any(|a| extents[*a] != 1) {
        return Vec::new();
    }
    let shape = (0..extents.len()).filter(|a| *keep || !axes.contains(a)).map(|a| extents[a]).collect();
    vec![cx.add(Op::Reshape { shape }, &[args[0]])]
}
