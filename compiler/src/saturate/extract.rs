//! The cheapest term of every class, in n log n.
//!
//! Costs are never negative, so that the classes can be settled from the cheapest up: a class takes the first of its terms
//! whose operands are settled and whose cost is next (D. E. Knuth, *A generalization of Dijkstra's algorithm*, 1977). A
//! term is looked at once for each of its operands, and no chosen term leads back to its own class, however large the
//! costs are.

use super::{Term, Types};
use egg::{EGraph, Id, Language};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A term of a class that is not settled.
struct Candidate<'e> {
    term: &'e Term,
    class: Id,
    /// Operands whose classes are not settled.
    waiting: usize,
}

/// The chosen term of each class that has one without a cycle.
pub struct Cheapest<'e> {
    chosen: FxHashMap<Id, (f64, &'e Term)>,
}

impl<'e> Cheapest<'e> {
    /// Chooses for all classes; `cost` is what a term takes besides its operands: not negative, and not NaN. Of terms
    /// that cost the same the first of the class is taken.
    pub fn of(egraph: &'e EGraph<Term, Types>, cost: impl Fn(&Term) -> f64) -> Cheapest<'e> {
        let mut candidates = Vec::with_capacity(egraph.total_number_of_nodes());
        let mut users: FxHashMap<Id, Vec<usize>> = FxHashMap::default();
        // Bits of floats that are not negative are in the order of the floats.
        let mut next = BinaryHeap::new();
        for class in egraph.classes() {
            for term in class.iter() {
                let k = candidates.len();
                term.for_each(|c| users.entry(egraph.find(c)).or_default().push(k));
                let waiting = term.children().len();
                if waiting == 0 {
                    next.push(Reverse((cost(term).to_bits(), k)));
                }
                candidates.push(Candidate { term, class: class.id, waiting });
            }
        }
        let mut chosen: FxHashMap<Id, (f64, &Term)> = FxHashMap::default();
        while let Some(Reverse((bits, k))) = next.pop() {
            let Candidate { term, class, .. } = candidates[k];
            if chosen.contains_key(&class) {
                continue;
            }
            chosen.insert(class, (f64::from_bits(bits), term));
            for user in users.remove(&class).unwrap_or_default() {
                let candidate = &mut candidates[user];
                candidate.waiting -= 1;
                if candidate.waiting == 0 && !chosen.contains_key(&candidate.class) {
                    let own = cost(candidate.term);
                    let all = candidate.term.fold(own, |sum, c| sum + chosen[&egraph.find(c)].0);
                    next.push(Reverse((all.to_bits(), user)));
                }
            }
        }
        Cheapest { chosen }
    }

    /// The term of a class by its canonical number.
    pub fn term(&self, class: Id) -> Option<&'e Term> {
        self.chosen.get(&class).map(|(_, term)| *term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nc_ir::graph::{Op, ValueId};

    fn cost(term: &Term) -> f64 {
        match term {
            Term::Leaf(_) => 0.0,
            Term::Apply(Op::Mul, _) => 4.0,
            Term::Apply(..) => 1.0,
        }
    }

    #[test]
    fn the_cheapest_term_without_a_cycle_is_taken() {
        let mut e: EGraph<Term, Types> = EGraph::default();
        let x = e.add(Term::Leaf(ValueId(0)));
        let mul = e.add(Term::Apply(Op::Mul, vec![x, x]));
        let add = e.add(Term::Apply(Op::Add, vec![x, x]));
        e.union(mul, add);
        // A class whose term leads back to it.
        let neg = e.add(Term::Apply(Op::Neg, vec![add]));
        let back = e.add(Term::Apply(Op::Neg, vec![neg]));
        e.union(back, add);
        e.rebuild();
        let best = Cheapest::of(&e, cost);
        assert!(matches!(best.term(e.find(add)), Some(Term::Apply(Op::Add, _))));
        assert!(matches!(best.term(e.find(neg)), Some(Term::Apply(Op::Neg, _))));
        assert!(matches!(best.term(e.find(x)), Some(Term::Leaf(_))));
    }

    #[test]
    fn costs_beyond_all_numbers_lead_to_no_cycle() {
        let mut e: EGraph<Term, Types> = EGraph::default();
        let mut v = e.add(Term::Leaf(ValueId(0)));
        // Each value is used twice: as a tree the last one has 2^2000 terms.
        for _ in 0..2000 {
            v = e.add(Term::Apply(Op::Add, vec![v, v]));
        }
        let abs = e.add(Term::Apply(Op::Abs, vec![v]));
        let again = e.add(Term::Apply(Op::Abs, vec![abs]));
        e.union(again, abs);
        e.rebuild();
        let best = Cheapest::of(&e, cost);
        let Some(Term::Apply(Op::Abs, args)) = best.term(e.find(abs)) else { panic!("a term") };
        assert_eq!(e.find(args[0]), e.find(v));
    }
}
