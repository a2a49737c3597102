//! Truth values: comparisons, selections, and truth values that were turned into numbers, as spikes are.

use super::algebra::{domain, patterns};
use super::{Cx, Domain, Rule, Way};
use egg::Id;
use nc_ir::graph::Op;
use nc_ir::types::DType;

const PATTERNS: [Rule; 17] = patterns! { "truth";
    "not-not": "(not (not ?x))" => "?x", "every bit is flipped twice";
    "select-not": "(select (not ?c) ?a ?b)" => "(select ?c ?b ?a)", "the branches change places";
    "select-same": "(select ?c ?x ?x)" => "?x", "both branches are the same";
    "select-nested-then": "(select ?c (select ?c ?a ?b) ?d)" => "(select ?c ?a ?d)", "the condition is known inside";
    "select-nested-else": "(select ?c ?a (select ?c ?b ?d))" => "(select ?c ?a ?d)", "the condition is known inside";
    "not-eq": "(not (eq ?a ?b))" => "(ne ?a ?b)", "`ne` is the complement of `eq`, also for NaN";
    "not-ne": "(not (ne ?a ?b))" => "(eq ?a ?b)", "`eq` is the complement of `ne`, also for NaN";
    "gt-lt": "(gt ?a ?b)" => "(lt ?b ?a)", "the same comparison read from the right";
    "ge-le": "(ge ?a ?b)" => "(le ?b ?a)", "the same comparison read from the right";
    "and-same": "(and ?x ?x)" => "?x", "idempotent";
    "or-same": "(or ?x ?x)" => "?x", "idempotent";
    "and-commutes": "(and ?a ?b)" => "(and ?b ?a)", "conjunction commutes";
    "or-commutes": "(or ?a ?b)" => "(or ?b ?a)", "disjunction commutes";
    "and-absorbs": "(and ?x (or ?x ?y))" => "?x", "what is true of x is true of x or y", Logic;
    "or-absorbs": "(or ?x (and ?x ?y))" => "?x", "what is true of x and y is true of x", Logic;
    "not-and-not": "(and (not ?a) (not ?b))" => "(not (or ?a ?b))", "De Morgan", Logic;
    "not-or-not": "(or (not ?a) (not ?b))" => "(not (and ?a ?b))", "De Morgan", Logic;
};

const fn built(name: &'static str, reason: &'static str, build: super::Build) -> Rule {
    Rule { name, family: "truth", exact: true, reason, way: Way::Built(build) }
}

const BUILT: [Rule; 8] = [
    built("select-numbers", "one where it is true and zero elsewhere is the truth value as a number", select_numbers),
    built("select-truths", "a selection between truth values of which one is constant is `and` or `or`", select_truths),
    built(
        "truth-again",
        "a truth value that became a number and is compared with one is itself, or its complement",
        again,
    ),
    built("mul-truths", "the product of two truth values is one where both are true", both_truths),
    built("max-truths", "the larger of two truth values is one where one of them is true", both_truths_max),
    built("one-minus-truth", "1 - 1 is +0 and 1 - 0 is 1: the complement as a number", one_minus),
    built(
        "subtract-where",
        "c * 1 is c, and c * 0 is +0 for c not below zero, which changes nothing when it is subtracted: reset by \
         subtraction is a selection",
        subtract_where,
    ),
    built("cast-same", "a conversion to the type that it has", cast_same),
];

/// The rules of this family.
pub(super) const RULES: &[Rule] = &super::joined::<17, 8, 25>(PATTERNS, BUILT);

fn select_numbers(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Select, [c, a, b]) = (op, args) else { return Vec::new() };
    let (Some(to), Some(a), Some(b)) = (cx.dtype(*a), cx.number(*a), cx.number(*b)) else { return Vec::new() };
    let [zero, one] = [0, 1].map(|n| nc_ir::graph::expand::number(to, n).bits());
    if to == DType::Bool {
        return Vec::new();
    }
    match (a.bits(), b.bits()) {
        (a, b) if a == one && b == zero => vec![cx.add(Op::Cast { to }, &[*c])],
        (a, b) if a == zero && b == one => {
            let not = cx.add(Op::Not, &[*c]);
            vec![cx.add(Op::Cast { to }, &[not])]
        }
        _ => Vec::new(),
    }
}

fn select_truths(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Select, [c, a, b]) = (op, args) else { return Vec::new() };
    if cx.dtype(*a) != Some(DType::Bool) {
        return Vec::new();
    }
    let known = |id: Id| cx.number(id).map(|s| s.bits() != 0);
    match (known(*a), known(*b)) {
        (Some(true), Some(false)) => vec![*c],
        (Some(false), Some(true)) => vec![cx.add(Op::Not, &[*c])],
        (Some(true), None) => vec![cx.add(Op::Or, &[*c, *b])],
        (None, Some(false)) => vec![cx.add(Op::And, &[*c, *a])],
        _ => Vec::new(),
    }
}

fn again(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    if let (Op::Cast { to: DType::Bool }, Some(truth)) = (op, args.first().and_then(|x| cx.truth(*x))) {
        return vec![truth];
    }
    let [x, bound] = args else { return Vec::new() };
    let (Some(truth), Some(bound)) = (cx.truth(*x), cx.float(*bound)) else { return Vec::new() };
    // What the comparison says of one, and of zero.
    let said = |x: f64| match op {
        Op::Eq => Some(x == bound),
        Op::Ne => Some(x != bound),
        Op::Lt => Some(x < bound),
        Op::Le => Some(x <= bound),
        Op::Gt => Some(x > bound),
        Op::Ge => Some(x >= bound),
        _ => None,
    };
    match (said(1.0), said(0.0)) {
        (Some(true), Some(false)) => vec![truth],
        (Some(false), Some(true)) => vec![cx.add(Op::Not, &[truth])],
        _ => Vec::new(),
    }
}

fn both_truths(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    if *op == Op::Mul { both(cx, Op::And, args) } else { Vec::new() }
}

fn both_truths_max(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    if *op == Op::Max { both(cx, Op::Or, args) } else { Vec::new() }
}

fn both(cx: &mut Cx<'_>, op: Op, args: &[Id]) -> Vec<Id> {
    let (Some(a), Some(b), Some(to)) = (cx.truth(args[0]), cx.truth(args[1]), cx.dtype(args[0])) else {
        return Vec::new();
    };
    let joined = cx.add(op, &[a, b]);
    vec![cx.add(Op::Cast { to }, &[joined])]
}

fn one_minus(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Sub, [one, x]) = (op, args) else { return Vec::new() };
    let (Some(1.0), Some(truth), Some(to)) = (cx.float(*one), cx.truth(*x), cx.dtype(*x)) else { return Vec::new() };
    let not = cx.add(Op::Not, &[truth]);
    vec![cx.add(Op::Cast { to }, &[not])]
}

fn subtract_where(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    let (Op::Sub, [v, by]) = (op, args) else { return Vec::new() };
    let found = cx.term(*by, |op, factors| match op {
        Op::Mul => {
            let truth = cx.truth(factors[0])?;
            let c = cx.float(factors[1])?;
            (c.is_finite() && c.is_sign_positive()).then_some((truth, factors[1]))
        }
        _ => None,
    });
    let Some((truth, c)) = found else { return Vec::new() };
    let less = cx.add(Op::Sub, &[*v, c]);
    vec![cx.add(Op::Select, &[truth, less, *v])]
}

fn cast_same(cx: &mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id> {
    match op {
        Op::Cast { to } if cx.dtype(args[0]) == Some(*to) => vec![args[0]],
        _ => Vec::new(),
    }
}
