//! The rewrite rules, each named, with its reason. All are exact: both sides give the same bits for all operands (any NaN
//! being as good as any other), which a test checks on edge cases and random operands.

use super::{Term, Types};
use egg::{Applier, EGraph, Id, Pattern, PatternAst, Rewrite, Subst, Symbol, Var};
use nc_ir::types::DType;

/// A rule, for the documentation.
pub struct Rule {
    /// Name.
    pub name: &'static str,
    /// Left side.
    pub from: &'static str,
    /// Right side.
    pub to: &'static str,
    /// Why both sides are the same.
    pub reason: &'static str,
    /// The element types for which they are.
    pub of: Domain,
}

/// A set of element types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Domain {
    /// Whatever the ops take.
    Any,
    /// Floats.
    Floats,
    /// Numbers with a sign.
    Signed,
}

impl Domain {
    fn has(self, dtype: DType) -> bool {
        match self {
            Domain::Any => true,
            Domain::Floats => dtype.is_float(),
            Domain::Signed => !dtype.is_unsigned(),
        }
    }
}

macro_rules! domain {
    () => {
        Domain::Any
    };
    ($of:ident) => {
        Domain::$of
    };
}

macro_rules! rules {
    ($($name:literal: $from:literal => $to:literal, $reason:literal $(, $of:ident)?;)*) => {
        /// Every rule, in order.
        pub const RULES: &[Rule] = &[$(
            Rule { name: $name, from: $from, to: $to, reason: $reason, of: domain!($($of)?) }
        ),*];
    };
}

rules! {
    "neg-neg": "(neg (neg ?x))" => "?x", "the sign is flipped twice";
    "not-not": "(not (not ?x))" => "?x", "every bit is flipped twice";
    "abs-neg": "(abs (neg ?x))" => "(abs ?x)", "the sign is dropped", Signed;
    "abs-abs": "(abs (abs ?x))" => "(abs ?x)", "the sign is dropped already";
    "sub-neg": "(sub ?a (neg ?b))" => "(add ?a ?b)", "subtraction adds the number of the other sign";
    "add-neg": "(add ?a (neg ?b))" => "(sub ?a ?b)", "subtraction adds the number of the other sign";
    "mul-neg-neg": "(mul (neg ?a) (neg ?b))" => "(mul ?a ?b)", "rounding is symmetric and two signs cancel";
    "div-neg-neg": "(div (neg ?a) (neg ?b))" => "(div ?a ?b)", "rounding is symmetric and two signs cancel", Floats;
    "fma-neg-neg": "(fma (neg ?a) (neg ?b) ?c)" => "(fma ?a ?b ?c)", "two signs cancel in the exact product";
    "select-not": "(select (not ?c) ?a ?b)" => "(select ?c ?b ?a)", "the branches change places";
    "select-same": "(select ?c ?x ?x)" => "?x", "both branches are the same";
    "select-nested-then": "(select ?c (select ?c ?a ?b) ?d)" => "(select ?c ?a ?d)", "the condition is known inside";
    "select-nested-else": "(select ?c ?a (select ?c ?b ?d))" => "(select ?c ?a ?d)", "the condition is known inside";
    "not-eq": "(not (eq ?a ?b))" => "(ne ?a ?b)", "`ne` is the complement of `eq`, also for NaN";
    "not-ne": "(not (ne ?a ?b))" => "(eq ?a ?b)", "`eq` is the complement of `ne`, also for NaN";
    "gt-lt": "(gt ?a ?b)" => "(lt ?b ?a)", "the same comparison read from the right";
    "lt-gt": "(lt ?a ?b)" => "(gt ?b ?a)", "the same comparison read from the right";
    "and-same": "(and ?x ?x)" => "?x", "idempotent";
    "or-same": "(or ?x ?x)" => "?x", "idempotent";
    "add-commutes": "(add ?a ?b)" => "(add ?b ?a)", "addition commutes";
    "mul-commutes": "(mul ?a ?b)" => "(mul ?b ?a)", "multiplication commutes";
    "and-commutes": "(and ?a ?b)" => "(and ?b ?a)", "conjunction commutes";
    "or-commutes": "(or ?a ?b)" => "(or ?b ?a)", "disjunction commutes";
}

/// The rules for the runner. A rule applies only where both sides have the same type: a scalar operand may stand for a
/// whole tensor on one side.
///
/// # Errors
/// A rule that is not written in the op table's terms; a test rules that out.
pub fn rewrites() -> Result<Vec<Rewrite<Term, Types>>, String> {
    RULES
        .iter()
        .map(|r| {
            let parse = |text: &str| text.parse::<Pattern<Term>>().map_err(|e| format!("{}: {e}", r.name));
            Rewrite::new(r.name, parse(r.from)?, Typed { to: parse(r.to)?, of: r.of })
        })
        .collect()
}

/// The right side of a rule, applied where its type is that of the left and the rule holds for it.
struct Typed {
    to: Pattern<Term>,
    of: Domain,
}

impl Applier<Term, Types> for Typed {
    fn apply_one(
        &self,
        egraph: &mut EGraph<Term, Types>,
        class: Id,
        subst: &Subst,
        _searcher: Option<&PatternAst<Term>>,
        rule: Symbol,
    ) -> Vec<Id> {
        if egraph[class].data.as_ref().is_none_or(|t| !self.of.has(t.dtype)) {
            return Vec::new();
        }
        let new = egraph.add_instantiation(&self.to.ast, subst);
        let same_type = egraph[new].data.is_some() && egraph[new].data == egraph[class].data;
        if same_type && egraph.union_trusted(class, new, rule) { vec![class] } else { Vec::new() }
    }

    fn vars(&self) -> Vec<Var> {
        self.to.vars()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egg::Language;
    use nc_ir::graph::{Op, ValueId, expand};
    use nc_ir::kernel::{Evaluate, Scalar};
    use std::collections::BTreeMap;

    /// The value of a side with its variables bound; `None` if the operand types do not fit.
    fn value(side: &str, bound: &BTreeMap<String, (Scalar, DType)>) -> Option<(Scalar, DType)> {
        let pattern: Pattern<Term> = side.parse().expect("a pattern");
        let mut values: Vec<(Scalar, DType)> = Vec::new();
        for node in pattern.ast.iter() {
            values.push(match node {
                egg::ENodeOrVar::Var(v) => bound[&v.to_string()],
                egg::ENodeOrVar::ENode(term @ Term::Apply(op, _)) => {
                    let args: Vec<(Scalar, DType)> = term.children().iter().map(|c| values[usize::from(*c)]).collect();
                    let (v, types): (Vec<_>, Vec<_>) = args.into_iter().unzip();
                    let result = super::super::result_dtype(op, &types);
                    let fits = match op {
                        Op::Fma => types[0].is_float(),
                        Op::Neg | Op::Abs | Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Lt | Op::Gt => {
                            types[0] != DType::Bool
                        }
                        Op::Not | Op::And | Op::Or => !types[0].is_float(),
                        _ => true,
                    };
                    if !fits {
                        return None;
                    }
                    (expand::elementwise(&mut Evaluate, op, &v, &types, result), result)
                }
                egg::ENodeOrVar::ENode(Term::Leaf(_)) => return None,
            });
        }
        values.last().copied()
    }

    #[test]
    fn both_sides_of_every_rule_are_the_same_to_the_bit() {
        let floats =
            [0.0f32, -0.0, 1.0, -1.5, 3.25e-41, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.1, -7e8];
        let ints = [0i32, 1, -1, 7, i32::MIN, i32::MAX, 12345];
        let pools: [(DType, Vec<Scalar>); 6] = [
            (DType::F32, floats.iter().map(|x| Scalar::F32(*x)).collect()),
            (DType::I32, ints.iter().map(|x| Scalar::I32(*x)).collect()),
            (DType::I8, [0, 1, -1, 7, -128, 127, 3].map(Scalar::I32).to_vec()),
            (DType::U8, [0, 1, 2, 7, 128, 255, 254].map(Scalar::I32).to_vec()),
            (DType::U64, [0, 1, -1, 7, i64::MIN, i64::MAX, -12345].map(Scalar::I64).to_vec()),
            (DType::Bool, vec![Scalar::Bool(false), Scalar::Bool(true)]),
        ];
        for rule in RULES {
            let mut tried = 0;
            for (dtype, pool) in pools.iter().filter(|p| rule.of.has(p.0)) {
                for seed in 0..600usize {
                    let pick = |salt: usize| pool[(seed.wrapping_mul(2654435761) >> salt) % pool.len()];
                    let bound: BTreeMap<String, (Scalar, DType)> = [("?x", 3), ("?a", 5), ("?b", 9), ("?d", 13)]
                        .into_iter()
                        .map(|(name, salt)| (name.to_string(), (pick(salt), *dtype)))
                        .chain([(
                            "?c".to_string(),
                            match rule.name.starts_with("select") {
                                true => (Scalar::Bool(seed % 2 == 0), DType::Bool),
                                false => (pick(17), *dtype),
                            },
                        )])
                        .collect();
                    if let (Some((l, lt)), Some((r, rt))) = (value(rule.from, &bound), value(rule.to, &bound)) {
                        assert!(lt == rt && l.same(r), "{}: {l:?} and {r:?} for {bound:?}", rule.name);
                        tried += 1;
                    }
                }
            }
            assert!(tried > 0, "{} was never tried", rule.name);
        }
    }

    #[test]
    fn every_rule_is_written_in_the_terms_of_the_table() {
        assert_eq!(rewrites().map(|r| r.len()), Ok(RULES.len()));
        assert_eq!(Term::Leaf(ValueId(3)).to_string(), "%3");
    }
}
