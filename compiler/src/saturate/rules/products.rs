//! Products with weights. Each output of `linear` is a chain of its own in ascending order of the inputs, so that outputs
//! can be computed together or apart, and a chain can be cut in two, the second part going on where the first ended:
//! the +0 that ends the first part changes nothing but -0, and the last part turns every zero into +0.

use super::{Cx, Rule, Way, one};
use egg::Id;
use nc_ir::graph::Op;
use nc_ir::types::DType;

const fn built(name: &'static str, reason: &'static str, build: super::Build) -> Rule {
    Rule { name, family: "products", exact: true, reason, way: Way::Built(build) }
}

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    built("linear-shared", "products of one input, such as those of gates, are rows of one product", linear_shared),
    built("linear-of-concat", "a chain over joined inputs is a chain over the first that the second goes on with", cut),
    built("linear-into-bias", "a chain that goes on from another one is a chain over both inputs", join),
    built("linear-slice", "outputs that nobody takes need not be computed", linear_slice),
    built("linear-zero-bias", "a chain without bias starts from +0", zero_bias),
    built("matmul-weights", "a product with a constant matrix is a product with weights", matmul_weights),
];

/// Weights of more elements are not copied to join them.
const MAX_WEIGHTS: u64 = 1 << 26;
/// Most products that are joined.
const MAX_PRODUCTS: usize = 64;
/// Products of a value that has more readers are not looked for.
const MAX_READERS: usize = 512;

/// A slice along one axis.
pub(super) fn along(extents: &[u64], axis: usize, from: u64, to: u64) -> Op {
    let mut start = vec![0; extents.len()];
    let mut stop = extents.to_vec();
    start[axis] = from;
    stop[axis] = to;
    Op::Slice { start, stop, step: vec![1; extents.len()] }
}

/// Outputs and inputs of the constant weights of a product.
pub(super) fn weights(cx: &Cx<'_>, w: Id) -> Option<[u64; 2]> {
    let extents: [u64; 2] = cx.extents(w)?.try_into().ok()?;
    cx.is_constant(w).then_some(extents)
}

fn linear_shared(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Linear, [x, w, bias @ ..]) = (op, args) else { return Vec::new() };
    let is_joined = |cx: &Cx<'_>, w: Id| cx.term(w, |op, _| matches!(op, Op::Concat { .. }).then_some(())).is_some();
    if cx.is_constant(*x) || weights(cx, *w).is_none() || is_joined(cx, *w) {
        return Vec::new();
    }
    // Looking at every reader for every product is bounded, whatever a value is read by.
    if cx.user_count(*x) > MAX_READERS {
        return Vec::new();
    }
    let mut group: Vec<(Id, Vec<Id>, u64)> = Vec::new();
    for (user, a) in cx.users(*x) {
        let (Op::Linear, [of, v, b @ ..]) = (&user, a.as_slice()) else { continue };
        let fits = cx.same(*of, *x) && cx.dtype(*v) == cx.dtype(*w) && b.len() == bias.len() && !is_joined(cx, *v);
        let known = group.iter().any(|(u, c, _)| cx.same(*u, *v) && c.iter().zip(b).all(|(c, b)| cx.same(*c, *b)));
        if let (true, false, Some([outputs, _])) = (fits, known, weights(cx, *v)) {
            group.push((*v, b.to_vec(), outputs));
        }
    }
    let outputs: u64 = group.iter().map(|g| g.2).sum();
    let inputs = cx.extents(*w).map_or(0, |e| e[1]);
    if !(2..=MAX_PRODUCTS).contains(&group.len()) || outputs.saturating_mul(inputs) > MAX_WEIGHTS {
        return Vec::new();
    }
    let mut before = 0;
    let mut own = None;
    for (v, b, n) in &group {
        if cx.same(*v, *w) && b.iter().zip(bias).all(|(b, c)| cx.same(*b, *c)) {
            own = Some((before, before + n));
        }
        before += n;
    }
    let Some((from, to)) = own else { return Vec::new() };
    let all: Vec<Id> = group.iter().map(|g| g.0).collect();
    let mut operands = vec![*x, cx.add(Op::Concat { axis: 0 }, &all)];
    if !bias.is_empty() {
        let all: Vec<Id> = group.iter().map(|g| g.1[0]).collect();
        operands.push(cx.add(Op::Concat { axis: 0 }, &all));
    }
    let joined = cx.add(Op::Linear, &operands);
    let Some(extents) = cx.extents(joined) else { return Vec::new() };
    vec![cx.add(along(&extents, extents.len() - 1, from, to), &[joined])]
}

/// True for types in which a chain can be cut: those that are as wide as the register it runs in.
fn is_wide(dtype: Option<DType>) -> bool {
    matches!(dtype, Some(DType::F32 | DType::F64 | DType::I32 | DType::I64))
}

/// True if the value is a single row.
fn is_row(extents: &[u64]) -> bool {
    extents.split_last().is_some_and(|(_, rows)| rows.iter().all(|n| *n == 1))
}

fn cut(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Linear, [x, w, bias @ ..]) = (op, args) else { return Vec::new() };
    let (Some(extents), Some([outputs, inputs])) = (cx.extents(*x), weights(cx, *w)) else { return Vec::new() };
    if !is_row(&extents) || !is_wide(cx.dtype(*x)) {
        return Vec::new();
    }
    let parts = cx.term(*x, |op, a| match op {
        Op::Concat { axis } if axis + 1 == extents.len() && a.len() > 1 => Some(a.to_vec()),
        _ => None,
    });
    let Some(parts) = parts else { return Vec::new() };
    let mut from = 0;
    let mut bias = bias.first().copied();
    let mut result = None;
    for part in parts {
        let Some(n) = cx.extents(part).and_then(|e| e.last().copied()) else { return Vec::new() };
        let columns = cx.add(along(&[outputs, inputs], 1, from, from + n), &[*w]);
        from += n;
        let mut operands = vec![part, columns];
        operands.extend(bias);
        let sum = cx.add(Op::Linear, &operands);
        bias = Some(if extents.len() == 1 { sum } else { cx.add(Op::Reshape { shape: vec![outputs] }, &[sum]) });
        result = Some(sum);
    }
    one(result)
}

fn join(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Linear, [h, wh, first]) = (op, args) else { return Vec::new() };
    let vector = |cx: &Cx<'_>, id: Id| cx.extents(id).is_some_and(|e| e.len() == 1);
    if !vector(cx, *h) || !is_wide(cx.dtype(*h)) || weights(cx, *wh).is_none() {
        return Vec::new();
    }
    let inner = cx.term(*first, |op, a| match op {
        Op::Linear if vector(cx, a[0]) && weights(cx, a[1]).is_some() => Some(a.to_vec()),
        _ => None,
    });
    let Some(inner) = inner else { return Vec::new() };
    let x = cx.add(Op::Concat { axis: 0 }, &[inner[0], *h]);
    let w = cx.add(Op::Concat { axis: 1 }, &[inner[1], *wh]);
    let operands: Vec<Id> = [x, w].into_iter().chain(inner.get(2).copied()).collect();
    vec![cx.add(Op::Linear, &operands)]
}

fn linear_slice(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let Op::Slice { start, stop, step } = op else { return Vec::new() };
    let product = cx.term(args[0], |op, a| (*op == Op::Linear && weights(cx, a[1]).is_some()).then(|| a.to_vec()));
    let (Some(of), Some(extents)) = (product, cx.extents(args[0])) else { return Vec::new() };
    let Some((last, lead)) = extents.split_last() else { return Vec::new() };
    let n = lead.len();
    let rows_stay = (0..n).all(|a| start[a] == 0 && step[a] == 1 && stop[a] == extents[a]);
    let Some([_, inputs]) = weights(cx, of[1]) else { return Vec::new() };
    if !rows_stay || stop[n].saturating_sub(start[n]) >= *last {
        return Vec::new();
    }
    let some = |more: &[u64], full: u64| Op::Slice {
        start: [start[n]].iter().chain(more).copied().collect(),
        stop: [stop[n]].into_iter().chain(more.iter().map(|_| full)).collect(),
        step: [step[n]].into_iter().chain(more.iter().map(|_| 1)).collect(),
    };
    let mut operands = vec![of[0], cx.add(some(&[0], inputs), &[of[1]])];
    if let Some(bias) = of.get(2) {
        operands.push(cx.add(some(&[], 0), &[*bias]));
    }
    vec![cx.add(Op::Linear, &operands)]
}

fn zero_bias(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    match (op, args) {
        (Op::Linear | Op::Conv { .. }, [x, w, bias]) if cx.number(*bias).is_some_and(|s| s.bits() == 0) => {
            vec![cx.add(op.clone(), &[*x, *w])]
        }
        _ => Vec::new(),
    }
}

fn matmul_weights(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Matmul, [a, b]) = (op, args) else { return Vec::new() };
    if weights(cx, *b).is_none() || cx.is_constant(*a) {
        return Vec::new();
    }
    let w = cx.add(Op::Transpose { perm: vec![1, 0] }, &[*b]);
    vec![cx.add(Op::Linear, &[*a, w])]
}
