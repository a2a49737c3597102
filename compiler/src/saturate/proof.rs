//! Which rules lead from what was written to what was taken, by egg's proofs of equality (M. Flatt et al., "Small proofs from
//! congruence closure", 2022).
//!
//! Proofs are kept only on request: a second e-graph is made for them, so that what is taken is the same with and without.

use super::Classes;
use super::analysis::Facts;
use super::extract::Cheapest;
use super::language::Term;
use super::piece::Shape;
use egg::{Id, RecExpr, Rewrite, TreeTerm};
use nc_ir::graph::ValueId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Most terms of a stretch that proofs are made for.
const MOST: usize = 1000;

/// A value as it was written, and as it was taken.
pub struct Pair {
    written: RecExpr<Term>,
    taken: RecExpr<Term>,
}

/// The needed values of a stretch. `None` if there are too many terms.
pub fn pairs(shape: &Shape, classes: &Classes, cheapest: &Cheapest<'_>) -> Option<Vec<Pair>> {
    if shape.terms.len() > MOST {
        return None;
    }
    let mut out = Vec::with_capacity(shape.needed.len());
    for k in &shape.needed {
        let mut taken = RecExpr::default();
        take(cheapest, classes.egraph.find(classes.of[*k]), &mut taken, &mut FxHashMap::default())?;
        out.push(Pair { written: written(shape, *k), taken });
    }
    Some(out)
}

/// Value k of a shape with all that it is made of.
fn written(shape: &Shape, k: usize) -> RecExpr<Term> {
    let mut live = vec![false; k + 1];
    live[k] = true;
    let leaves = shape.leaves.len();
    for n in (leaves..=k).rev().filter(|n| *n >= leaves) {
        if live[n] {
            shape.terms[n - leaves].1.iter().for_each(|a| live[*a] = true);
        }
    }
    let mut out = RecExpr::default();
    let mut at: Vec<Id> = vec![Id::from(0); k + 1];
    for n in (0..=k).filter(|n| live[*n]) {
        let term = match n.checked_sub(leaves) {
            None => Term::Leaf(ValueId(n as u32)),
            Some(t) => {
                let (op, args) = &shape.terms[t];
                Term::Apply(op.clone(), args.iter().map(|a| at[*a]).collect())
            }
        };
        at[n] = out.add(term);
    }
    out
}

/// The chosen term of a class with the chosen terms below it. `None` if it is too deep.
fn take(cheapest: &Cheapest<'_>, class: Id, out: &mut RecExpr<Term>, known: &mut FxHashMap<Id, Id>) -> Option<Id> {
    if let Some(id) = known.get(&class) {
        return Some(*id);
    }
    if known.len() > MOST {
        return None;
    }
    let term = match cheapest.term(class)? {
        Term::Apply(op, args) => {
            let args: Option<Vec<Id>> = args.iter().map(|a| take(cheapest, cheapest.find(*a), out, known)).collect();
            Term::Apply(op.clone(), args?)
        }
        leaf => leaf.clone(),
    };
    let id = out.add(term);
    known.insert(class, id);
    Some(id)
}

/// The rules that the proofs use. Values for which the second e-graph does not find what the first one did have none.
pub fn rules(shape: &Shape, pairs: &[Pair], rewrites: &[Rewrite<Term, Facts>], rounds: usize) -> BTreeSet<String> {
    let mut classes = Classes::of(shape, true);
    classes.explore(rewrites, rounds);
    let mut used = BTreeSet::new();
    for p in pairs {
        let (from, to) = (classes.egraph.lookup_expr(&p.written), classes.egraph.lookup_expr(&p.taken));
        if from.is_none() || from != to {
            continue;
        }
        let proof = classes.egraph.explain_equivalence(&p.written, &p.taken);
        let mut left: Vec<&Rc<TreeTerm<Term>>> = proof.explanation_trees.iter().collect();
        // Proofs share their parts.
        let mut seen = FxHashSet::default();
        while let Some(step) = left.pop() {
            if !seen.insert(Rc::as_ptr(step)) {
                continue;
            }
            used.extend([step.forward_rule, step.backward_rule].into_iter().flatten().map(|r| r.to_string()));
            left.extend(step.child_proofs.iter().flatten());
        }
    }
    used
}
