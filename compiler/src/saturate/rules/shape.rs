//! Ops that move or name elements: they are joined, cancelled, and moved to where less has to be moved.

use super::{Cx, Rule, Way, one};
use egg::Id;
use nc_ir::graph::{Class, Op};

const fn built(name: &'static str, reason: &'static str, build: super::Build) -> Rule {
    Rule { name, family: "shape", exact: true, reason, way: Way::Built(build) }
}

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    built("reshape-reshape", "the order of the elements stays, so that the last shape is what counts", reshape_reshape),
    built("reshape-none", "the shape that it has", reshape_none),
    built("transpose-transpose", "two permutations are one", transpose_transpose),
    built("transpose-units", "axes of extent 1 hold no order: where no others move, elements stay", transpose_units),
    built("slice-slice", "of the elements that were taken, some are taken", slice_slice),
    built("slice-none", "everything is taken", slice_none),
    built("slice-concat", "all that is taken lies in one of the parts", slice_concat),
    built("concat-concat", "parts of a part are parts", concat_concat),
    built("concat-one", "a single part", concat_one),
    built("concat-slices", "neighbouring pieces of one value, joined", concat_slices),
    built("broadcast-broadcast", "what is repeated to a larger shape is repeated once", broadcast_broadcast),
    built("broadcast-operand", "element-wise ops take a scalar for all elements", broadcast_operand),
    built("slice-elementwise", "each element is for itself: compute those that are taken", slice_elementwise),
    built("reshape-elementwise", "each element is for itself, whatever the shape", reshape_elementwise),
    built("transpose-elementwise", "each element is for itself, wherever it stands", transpose_elementwise),
];

fn reshape_reshape(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let Op::Reshape { .. } = op else { return Vec::new() };
    let inner = cx.term(args[0], |op, a| matches!(op, Op::Reshape { .. }).then(|| a[0]));
    one(inner.map(|x| cx.add(op.clone(), &[x])))
}

fn reshape_none(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    match op {
        Op::Reshape { shape } if cx.extents(args[0]).as_ref() == Some(shape) => vec![args[0]],
        _ => Vec::new(),
    }
}

fn transpose_transpose(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let Op::Transpose { perm } = op else { return Vec::new() };
    let inner = cx.term(args[0], |op, a| match op {
        Op::Transpose { perm } => Some((perm.clone(), a[0])),
        _ => None,
    });
    one(inner.map(|(first, x)| {
        let perm = perm.iter().map(|p| first[*p]).collect();
        cx.add(Op::Transpose { perm }, &[x])
    }))
}

fn transpose_units(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Transpose { perm }, Some(extents)) = (op, cx.extents(args[0])) else { return Vec::new() };
    let large: Vec<usize> = perm.iter().copied().filter(|p| extents[*p] != 1).collect();
    if !large.is_sorted() {
        return Vec::new();
    }
    let shape = perm.iter().map(|p| extents[*p]).collect();
    vec![cx.add(Op::Reshape { shape }, &[args[0]])]
}

fn slice_slice(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let Op::Slice { start, stop, step } = op else { return Vec::new() };
    let inner = cx.term(args[0], |op, a| match op {
        Op::Slice { start, stop, step } => Some((start.clone(), stop.clone(), step.clone(), a[0])),
        _ => None,
    });
    let Some((first, end, by, x)) = inner else { return Vec::new() };
    let axes = 0..start.len();
    // The last element that is taken, as the inner slice counts, ends the slice of both.
    let taken = |a: usize| stop[a].saturating_sub(start[a]).div_ceil(step[a].max(1));
    if axes.clone().any(|a| taken(a) == 0) {
        return Vec::new();
    }
    let joined = Op::Slice {
        start: axes.clone().map(|a| first[a] + start[a] * by[a]).collect(),
        stop: axes
            .clone()
            .map(|a| (first[a] + (start[a] + (taken(a) - 1) * step[a]) * by[a] + 1).min(end[a]))
            .collect(),
        step: axes.map(|a| by[a].saturating_mul(step[a])).collect(),
    };
    vec![cx.add(joined, &[x])]
}

/// True if a slice takes everything of these extents.
fn takes_all(start: &[u64], stop: &[u64], step: &[u64], extents: &[u64]) -> bool {
    start.iter().all(|s| *s == 0) && step.iter().all(|s| *s == 1) && stop == extents
}

fn slice_none(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    match (op, cx.extents(args[0])) {
        (Op::Slice { start, stop, step }, Some(e)) if takes_all(start, stop, step, &e) => vec![args[0]],
        _ => Vec::new(),
    }
}

/// Each part of a concatenation with where it begins and ends.
fn parts(cx: &Cx<'_>, parts: &[Id], axis: usize) -> Option<Vec<(Id, u64, u64)>> {
    let mut at = 0;
    let place = |p: &Id| {
        let from = at;
        at += cx.extents(*p)?.get(axis)?;
        Some((*p, from, at))
    };
    parts.iter().map(place).collect()
}

fn slice_concat(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let Op::Slice { start, stop, step } = op else { return Vec::new() };
    let joined = cx.term(args[0], |op, a| match op {
        Op::Concat { axis } => Some((*axis, a.to_vec())),
        _ => None,
    });
    let Some((axis, of)) = joined else { return Vec::new() };
    if stop[axis] <= start[axis] {
        return Vec::new();
    }
    let Some(parts) = parts(cx, &of, axis) else { return Vec::new() };
    let Some((part, from, _)) = parts.into_iter().find(|(_, from, to)| *from <= start[axis] && stop[axis] <= *to)
    else {
        return Vec::new();
    };
    let (mut start, mut stop) = (start.clone(), stop.clone());
    start[axis] -= from;
    stop[axis] -= from;
    vec![cx.add(Op::Slice { start, stop, step: step.clone() }, &[part])]
}

fn concat_concat(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let Op::Concat { axis } = op else { return Vec::new() };
    for (k, part) in args.iter().enumerate() {
        let inner = cx.term(*part, |op, a| match op {
            Op::Concat { axis: same } if same == axis => Some(a.to_vec()),
            _ => None,
        });
        if let Some(inner) = inner {
            let all: Vec<Id> = args[..k].iter().chain(&inner).chain(&args[k + 1..]).copied().collect();
            return vec![cx.add(op.clone(), &all)];
        }
    }
    Vec::new()
}

fn concat_one(_: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    match (op, args) {
        (Op::Concat { .. }, [x]) => vec![*x],
        _ => Vec::new(),
    }
}

fn concat_slices(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Concat { axis }, true) = (op, args.len() > 1) else { return Vec::new() };
    let slice = |cx: &Cx<'_>, id: Id| {
        cx.term(id, |op, a| match op {
            Op::Slice { start, stop, step } if step[*axis] == 1 => {
                Some((start.clone(), stop.clone(), step.clone(), a[0]))
            }
            _ => None,
        })
    };
    let Some((start, mut stop, step, x)) = slice(cx, args[0]) else { return Vec::new() };
    for part in &args[1..] {
        let Some((s, e, by, of)) = slice(cx, *part) else { return Vec::new() };
        let others = (0..s.len()).filter(|a| a != axis).all(|a| s[a] == start[a] && e[a] == stop[a]);
        if !cx.same(of, x) || by != step || !others || s[*axis] != stop[*axis] {
            return Vec::new();
        }
        stop[*axis] = e[*axis];
    }
    vec![cx.add(Op::Slice { start, stop, step }, &[x])]
}

fn broadcast_broadcast(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let Op::Broadcast { .. } = op else { return Vec::new() };
    let inner = cx.term(args[0], |op, a| matches!(op, Op::Broadcast { .. }).then(|| a[0]));
    one(inner.map(|x| cx.add(op.clone(), &[x])))
}

fn is_elementwise(op: &Op) -> bool {
    op.info().class == Class::Elementwise && !matches!(op, Op::Random { .. })
}

fn broadcast_operand(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    if !is_elementwise(op) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for (k, a) in args.iter().enumerate() {
        let scalar = cx.term(*a, |op, of| match op {
            Op::Broadcast { .. } if cx.ty(of[0])?.rank() == 0 => Some(of[0]),
            _ => None,
        });
        // Another operand has to say what the shape is; the type of the term is checked against that of the class.
        if let Some(scalar) = scalar {
            let mut with = args.to_vec();
            with[k] = scalar;
            out.push(cx.add(op.clone(), &with));
        }
    }
    out
}

/// The operands of an element-wise op with `data`, an op on one operand, taken through them: scalars stay.
fn through(cx: &mut Cx<'_>, op: &Op, args: &[Id], data: &Op) -> Id {
    let moved: Vec<Id> = args
        .iter()
        .map(|a| if cx.ty(*a).is_some_and(|t| t.rank() == 0) { *a } else { cx.add(data.clone(), &[*a]) })
        .collect();
    cx.add(op.clone(), &moved)
}

fn slice_elementwise(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let Op::Slice { .. } = op else { return Vec::new() };
    let inner = cx.term(args[0], |op, a| is_elementwise(op).then(|| (op.clone(), a.to_vec())));
    one(inner.map(|(of, a)| through(cx, &of, &a, op)))
}

/// An op whose operands all are `data` of something, or scalars, as `data` of the op.
fn out_of(cx: &mut Cx<'_>, op: &Op, args: &[Id], take: impl Fn(&Op) -> bool) -> Vec<Id> {
    if !is_elementwise(op) {
        return Vec::new();
    }
    let mut data: Option<(Op, Vec<u64>)> = None;
    let mut inner = Vec::with_capacity(args.len());
    for a in args {
        if cx.ty(*a).is_some_and(|t| t.rank() == 0) {
            inner.push(*a);
            continue;
        }
        let found = cx.term(*a, |op, of| (take(op) && !cx.is_constant(*a)).then(|| (op.clone(), of[0])));
        let Some((op, x)) = found else { return Vec::new() };
        let Some(extents) = cx.extents(x) else { return Vec::new() };
        if data.as_ref().is_some_and(|(d, e)| *d != op || *e != extents) {
            return Vec::new();
        }
        data = Some((op, extents));
        inner.push(x);
    }
    let Some((data, _)) = data else { return Vec::new() };
    let all = cx.add(op.clone(), &inner);
    vec![cx.add(data, &[all])]
}

fn reshape_elementwise(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    out_of(cx, op, args, |op| matches!(op, Op::Reshape { .. }))
}

fn transpose_elementwise(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    out_of(cx, op, args, |op| matches!(op, Op::Transpose { .. }))
}
