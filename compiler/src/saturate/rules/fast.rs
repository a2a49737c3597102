//! What is the same number but not the same rounding: these rules run under fast math alone.

use super::products::weights;
use super::{Cx, Rule, Way, one};
use egg::Id;
use nc_ir::graph::Op;
use nc_ir::types::DType;

const fn built(name: &'static str, reason: &'static str, build: super::Build) -> Rule {
    Rule { name, family: "fast", exact: false, reason, way: Way::Built(build) }
}

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    built("linear-linear", "a linear map after a linear map is one", linear_linear),
    built("scale-linear", "a scaled product is a product with scaled weights", scale_linear),
    built("bias-linear", "what is added to a product is where its chains can start", bias_linear),
    built("scale-conv", "a scaled convolution is one with scaled weights, as of a batch norm", scale_conv),
    built("bias-conv", "what is added to each channel is where its chains can start", bias_conv),
    built("mul-constants", "two constant factors are one", mul_constants),
    built("add-constants", "two constant summands are one", add_constants),
    built("div-constant", "a quotient by a constant is the product with its inverse", div_constant),
    built("distribute", "a common factor is multiplied once", distribute),
    built("mul-add", "a product and a sum, rounded once", mul_add),
    built("reset-by-product", "a finite number times the complement of a truth value is zero where it is true", reset),
];

fn linear_linear(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Linear, [x, w, bias @ ..]) = (op, args) else { return Vec::new() };
    let inner = cx.term(*x, |op, a| (*op == Op::Linear && weights(cx, a[1]).is_some()).then(|| a.to_vec()));
    let (Some(inner), Some(_)) = (inner, weights(cx, *w)) else { return Vec::new() };
    let mut operands = vec![inner[0], cx.add(Op::Matmul, &[*w, inner[1]])];
    match (inner.get(2), bias.first()) {
        (Some(first), then) => {
            let moved: Vec<Id> = [*first, *w].into_iter().chain(then.copied()).collect();
            operands.push(cx.add(Op::Linear, &moved));
        }
        (None, then) => operands.extend(then),
    }
    vec![cx.add(Op::Linear, &operands)]
}

/// A constant that is one number for each output of a product (`[outputs]`), given that it stands beside its result.
fn per_output(cx: &mut Cx<'_>, c: Id, result: &[u64], axis: usize) -> Option<Id> {
    if !cx.is_constant(c) {
        return None;
    }
    let n = result[axis];
    let extents = cx.extents(c)?;
    if extents.is_empty() {
        return Some(cx.add(Op::Broadcast { shape: vec![n] }, &[c]));
    }
    if result.len() == 1 {
        return Some(c);
    }
    let inner = cx.term(c, |op, a| matches!(op, Op::Broadcast { .. }).then(|| a[0]))?;
    let from = cx.extents(inner)?;
    // Axes are matched from the right: all but the one of the outputs have to be repeated.
    let of = (axis + from.len()).checked_sub(result.len());
    let single = from.iter().enumerate().all(|(a, e)| *e == 1 || Some(a) == of);
    if !single {
        return None;
    }
    let same = of.is_some_and(|a| from[a] == n);
    Some(match same {
        true => cx.add(Op::Reshape { shape: vec![n] }, &[inner]),
        false => {
            let scalar = cx.add(Op::Reshape { shape: Vec::new() }, &[inner]);
            cx.add(Op::Broadcast { shape: vec![n] }, &[scalar])
        }
    })
}

/// A sum or product of a contraction with a constant: the contraction's operands, and the constant for each output.
fn beside(cx: &mut Cx<'_>, args: &[Id], is: fn(&Op) -> bool) -> Option<(Op, Vec<Id>, Id)> {
    let [y, c] = args else { return None };
    let (op, of) = cx.term(*y, |op, a| (is(op) && cx.is_constant(a[1])).then(|| (op.clone(), a.to_vec())))?;
    let result = cx.extents(*y)?;
    let axis = match op {
        Op::Conv { .. } => result.len().checked_sub(cx.extents(of[1])?.len() - 1)?,
        _ => result.len().checked_sub(1)?,
    };
    let c = per_output(cx, *c, &result, axis)?;
    Some((op, of, c))
}

fn scaled(cx: &mut Cx<'_>, args: &[Id], is: fn(&Op) -> bool) -> Vec<Id> {
    let Some((op, of, scale)) = beside(cx, args, is) else { return Vec::new() };
    let Some(shape) = cx.extents(of[1]) else { return Vec::new() };
    let column = [shape[0]].into_iter().chain(shape[1..].iter().map(|_| 1)).collect();
    let column = cx.add(Op::Reshape { shape: column }, &[scale]);
    let factors = cx.add(Op::Broadcast { shape }, &[column]);
    let mut operands = vec![of[0], cx.add(Op::Mul, &[of[1], factors])];
    if let Some(bias) = of.get(2) {
        operands.push(cx.add(Op::Mul, &[*bias, scale]));
    }
    vec![cx.add(op, &operands)]
}

fn biased(cx: &mut Cx<'_>, args: &[Id], is: fn(&Op) -> bool) -> Vec<Id> {
    let Some((op, of, more)) = beside(cx, args, is) else { return Vec::new() };
    let bias = match of.get(2) {
        Some(bias) => cx.add(Op::Add, &[*bias, more]),
        None => more,
    };
    vec![cx.add(op, &[of[0], of[1], bias])]
}

fn is_linear(op: &Op) -> bool {
    *op == Op::Linear
}

fn is_conv(op: &Op) -> bool {
    matches!(op, Op::Conv { .. })
}

fn scale_linear(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    if *op == Op::Mul { scaled(cx, args, is_linear) } else { Vec::new() }
}

fn scale_conv(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    if *op == Op::Mul { scaled(cx, args, is_conv) } else { Vec::new() }
}

fn bias_linear(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    if *op == Op::Add { biased(cx, args, is_linear) } else { Vec::new() }
}

fn bias_conv(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    if *op == Op::Add { biased(cx, args, is_conv) } else { Vec::new() }
}

/// `(x o c) o d` with constants c and d is `x o (c o d)`.
fn associate(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let [inner, d] = args else { return Vec::new() };
    if !cx.is_constant(*d) || cx.is_constant(*inner) || !cx.dtype(*d).is_some_and(DType::is_float) {
        return Vec::new();
    }
    let found = cx.term(*inner, |o, a| (o == op && cx.is_constant(a[1])).then(|| (a[0], a[1])));
    one(found.map(|(x, c)| {
        let both = cx.add(op.clone(), &[c, *d]);
        cx.add(op.clone(), &[x, both])
    }))
}

fn mul_constants(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    if *op == Op::Mul { associate(cx, op, args) } else { Vec::new() }
}

fn add_constants(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    if *op == Op::Add { associate(cx, op, args) } else { Vec::new() }
}

fn div_constant(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Div, [x, c]) = (op, args) else { return Vec::new() };
    let Some(dtype) = cx.dtype(*c).filter(|d| d.is_float()) else { return Vec::new() };
    if !cx.is_constant(*c) || cx.is_constant(*x) {
        return Vec::new();
    }
    let unit = cx.integer(dtype, 1);
    let inverse = cx.add(Op::Div, &[unit, *c]);
    vec![cx.add(Op::Mul, &[*x, inverse])]
}

fn distribute(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Add, [left, right]) = (op, args) else { return Vec::new() };
    let factors = |cx: &Cx<'_>, id: Id| cx.term(id, |op, a| (*op == Op::Mul).then(|| (a[0], a[1])));
    let (Some((a, x)), Some((b, y))) = (factors(cx, *left), factors(cx, *right)) else { return Vec::new() };
    for (a, x, b, y) in [(a, x, b, y), (a, x, y, b), (x, a, b, y), (x, a, y, b)] {
        if cx.same(x, y) && cx.dtype(x).is_some_and(DType::is_float) {
            let sum = cx.add(Op::Add, &[a, b]);
            return vec![cx.add(Op::Mul, &[sum, x])];
        }
    }
    Vec::new()
}

fn mul_add(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Add, [product, c]) = (op, args) else { return Vec::new() };
    let factors = cx.term(*product, |op, a| (*op == Op::Mul).then(|| (a[0], a[1])));
    match factors {
        Some((a, b)) if cx.dtype(a).is_some_and(DType::is_float) => vec![cx.add(Op::Fma, &[a, b, *c])],
        _ => Vec::new(),
    }
}

fn reset(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Mul, [v, keep]) = (op, args) else { return Vec::new() };
    let (Some(truth), Some(dtype)) = (cx.truth(*keep), cx.dtype(*v)) else { return Vec::new() };
    let fired = cx.term(truth, |op, a| (*op == Op::Not).then(|| a[0]));
    one(fired.map(|s| {
        let zero = cx.integer(dtype, 0);
        cx.add(Op::Select, &[s, zero, *v])
    }))
}
