//! The rewrite rules, one file per family. Each rule has a name, a direction and a reason; `exact` ones give the same bits
//! on both sides for all operands (any NaN being as good as any other), the others round differently and run under fast
//! math alone. Every rule makes random instances of its left side, on which a test holds both sides together.

mod algebra;
mod fast;
mod pooling;
mod products;
mod shape;
mod truth;

#[cfg(test)]
mod tests;

use super::analysis::{Facts, Known};
use super::language::Term;
use crate::pipeline::Math;
use egg::{Applier, EGraph, Id, Pattern, PatternAst, Rewrite, SearchMatches, Searcher, Subst, Symbol, Var};
use nc_ir::graph::{Op, expand};
use nc_ir::kernel::Scalar;
use nc_ir::types::{DType, TensorType};

/// A rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Name, unique among all.
    pub name: &'static str,
    /// The file it stands in.
    pub family: &'static str,
    /// Both sides give the same bits.
    pub exact: bool,
    /// Why both sides are the same.
    pub reason: &'static str,
    /// What it does.
    pub way: Way,
}

/// How a rule is written.
#[derive(Clone, Copy)]
pub enum Way {
    /// As two patterns over ops without attributes, for some element types.
    Pattern {
        /// Left side.
        from: &'static str,
        /// Right side.
        to: &'static str,
        /// The element types for which it holds.
        of: Domain,
    },
    /// As a function from a term to terms that equal it.
    Built(Build),
}

/// Gives terms that equal `op(args)`, which stands in the class.
pub type Build = fn(&mut Cx<'_>, op: &Op, args: &[Id]) -> Vec<Id>;

/// A set of element types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Domain {
    /// Whatever the ops take.
    Any,
    /// Floats.
    Floats,
    /// Numbers with a sign.
    Signed,
    /// Truth values and integers.
    Logic,
}

impl Domain {
    /// True if the type belongs to it.
    pub fn has(self, dtype: DType) -> bool {
        match self {
            Domain::Any => true,
            Domain::Floats => dtype.is_float(),
            Domain::Signed => !dtype.is_unsigned(),
            Domain::Logic => !dtype.is_float(),
        }
    }
}

/// Every rule, by family.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [algebra::RULES, truth::RULES, shape::RULES, products::RULES, pooling::RULES, fast::RULES].into_iter().flatten()
}

/// The rules for the runner: those that the kind of arithmetic admits, without those that are named.
///
/// # Errors
/// A pattern that is not written in the op table's terms; a test rules that out.
pub fn rewrites(math: Math, without: &[String]) -> Result<Vec<Rewrite<Term, Facts>>, String> {
    all().filter(|r| (r.exact || math == Math::Fast) && !without.iter().any(|w| w == r.name)).map(rewrite).collect()
}

/// One rule for the runner.
///
/// # Errors
/// As [`rewrites`].
pub fn rewrite(rule: &Rule) -> Result<Rewrite<Term, Facts>, String> {
    match rule.way {
        Way::Pattern { from, to, of } => {
            let parse = |text: &str| text.parse::<Pattern<Term>>().map_err(|e| format!("{}: {e}", rule.name));
            Rewrite::new(rule.name, parse(from)?, Typed { to: parse(to)?, of })
        }
        Way::Built(build) => Rewrite::new(rule.name, Everywhere, Built { build }),
    }
}

/// The right side of a pattern, applied where its type is that of the left and the rule holds for it: a scalar operand may
/// stand for a whole tensor on one side.
struct Typed {
    to: Pattern<Term>,
    of: Domain,
}

impl Applier<Term, Facts> for Typed {
    fn apply_one(
        &self,
        egraph: &mut EGraph<Term, Facts>,
        class: Id,
        subst: &Subst,
        _searcher: Option<&PatternAst<Term>>,
        rule: Symbol,
    ) -> Vec<Id> {
        if egraph[class].data.as_ref().is_none_or(|k| !self.of.has(k.ty.dtype)) {
            return Vec::new();
        }
        let new = egraph.add_instantiation(&self.to.ast, subst);
        let same = same_type(egraph, class, new);
        if same && egraph.union_trusted(class, new, rule) { vec![class] } else { Vec::new() }
    }

    fn vars(&self) -> Vec<Var> {
        self.to.vars()
    }
}

fn same_type(egraph: &EGraph<Term, Facts>, a: Id, b: Id) -> bool {
    let ty = |id: Id| egraph[id].data.as_ref().map(|k| &k.ty);
    ty(a).is_some() && ty(a) == ty(b)
}

/// Finds every class that has an op in it.
struct Everywhere;

impl Searcher<Term, Facts> for Everywhere {
    fn search_eclass_with_limit(
        &self,
        egraph: &EGraph<Term, Facts>,
        eclass: Id,
        _limit: usize,
    ) -> Option<SearchMatches<'_, Term>> {
        let has_op = egraph[eclass].iter().any(|t| matches!(t, Term::Apply(..)));
        has_op.then(|| SearchMatches { eclass, substs: vec![Subst::default()], ast: None })
    }

    fn vars(&self) -> Vec<Var> {
        Vec::new()
    }
}

/// Applies a function to every term of a class.
struct Built {
    build: Build,
}

impl Applier<Term, Facts> for Built {
    fn apply_one(
        &self,
        egraph: &mut EGraph<Term, Facts>,
        class: Id,
        _subst: &Subst,
        _searcher: Option<&PatternAst<Term>>,
        rule: Symbol,
    ) -> Vec<Id> {
        if egraph[class].data.is_none() {
            return Vec::new();
        }
        let terms: Vec<Term> = egraph[class].iter().cloned().collect();
        let mut changed = false;
        for term in terms {
            let Term::Apply(op, args) = term else { continue };
            for new in (self.build)(&mut Cx { egraph }, &op, &args) {
                if same_type(egraph, class, new) {
                    changed |= egraph.union_trusted(class, new, rule);
                }
            }
        }
        if changed { vec![class] } else { Vec::new() }
    }
}

/// What a rule sees of the e-graph, and how it writes to it.
pub struct Cx<'e> {
    egraph: &'e mut EGraph<Term, Facts>,
}

impl Cx<'_> {
    /// What is known about a class.
    pub fn known(&self, id: Id) -> Option<&Known> {
        self.egraph[id].data.as_ref()
    }

    /// The type of a class.
    pub fn ty(&self, id: Id) -> Option<&TensorType> {
        self.known(id).map(|k| &k.ty)
    }

    /// The element type of a class.
    pub fn dtype(&self, id: Id) -> Option<DType> {
        self.ty(id).map(|t| t.dtype)
    }

    /// The extents of a class.
    pub fn extents(&self, id: Id) -> Option<Vec<u64>> {
        self.ty(id).and_then(TensorType::extents)
    }

    /// The number that all elements of a class are.
    pub fn number(&self, id: Id) -> Option<Scalar> {
        self.known(id).and_then(|k| k.uniform)
    }

    /// The float that all elements of a class are.
    pub fn float(&self, id: Id) -> Option<f64> {
        match self.number(id)? {
            Scalar::F32(x) => Some(f64::from(x)),
            Scalar::F64(x) => Some(x),
            Scalar::I32(_) | Scalar::I64(_) | Scalar::Bool(_) => None,
        }
    }

    /// True for a constant.
    pub fn is_constant(&self, id: Id) -> bool {
        self.known(id).is_some_and(|k| k.constant)
    }

    /// True if both are the same class.
    pub fn same(&self, a: Id, b: Id) -> bool {
        self.egraph.find(a) == self.egraph.find(b)
    }

    /// The first term of a class that a function takes.
    pub fn term<T>(&self, id: Id, f: impl Fn(&Op, &[Id]) -> Option<T>) -> Option<T> {
        self.egraph[id].iter().find_map(|t| match t {
            Term::Apply(op, args) => f(op, args),
            Term::Leaf(_) | Term::Number(..) => None,
        })
    }

    /// The truth value that a class is the number of.
    pub fn truth(&self, id: Id) -> Option<Id> {
        self.term(id, |op, args| match op {
            Op::Cast { .. } if self.dtype(args[0]) == Some(DType::Bool) => Some(args[0]),
            _ => None,
        })
    }

    /// How many terms read a class.
    pub fn user_count(&self, id: Id) -> usize {
        self.egraph[id].parents().len()
    }

    /// Terms that read a class.
    pub fn users(&self, id: Id) -> Vec<(Op, Vec<Id>)> {
        let terms = self.egraph[id].parents().map(|p| self.egraph.id_to_node(p).clone());
        terms
            .filter_map(|t| match t {
                Term::Apply(op, args) => Some((op, args)),
                Term::Leaf(_) | Term::Number(..) => None,
            })
            .collect()
    }

    /// The class of an op.
    pub fn add(&mut self, op: Op, args: &[Id]) -> Id {
        self.egraph.add(Term::Apply(op, args.to_vec()))
    }

    /// The class of a whole number as a scalar of a type.
    pub fn integer(&mut self, dtype: DType, x: i64) -> Id {
        self.scalar(dtype, expand::number(dtype, x))
    }

    /// The class of a scalar.
    pub fn scalar(&mut self, dtype: DType, x: Scalar) -> Id {
        self.egraph.add(Term::Number(dtype, x.bits()))
    }
}

/// Two lists as one, at compile time.
const fn joined<const A: usize, const B: usize, const C: usize>(a: [Rule; A], b: [Rule; B]) -> [Rule; C] {
    assert!(A + B == C, "as many rules as both lists have");
    let mut all = [a[0]; C];
    let mut k = 0;
    while k < C {
        all[k] = if k < A { a[k] } else { b[k - A] };
        k += 1;
    }
    all
}

/// Nothing, or one class.
fn one(id: Option<Id>) -> Vec<Id> {
    id.into_iter().collect()
}
