//! The cheapest form of every value: first as if nothing were shared, then with what is shared counted once.
//!
//! The first choice settles classes from the cheapest up (D. E. Knuth, *A generalization of Dijkstra's algorithm*, 1977).
//! From it a local search goes on over the graph that is really computed: it changes one choice, or all choices at once
//! that a shared value would serve, and keeps what makes the sum of all costs smaller. The search is bounded by numbers of
//! visits, never by a clock: the same model gives the same program on every machine.

use super::Term;
use super::analysis::Facts;
use egg::{EGraph, Id, Language};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Visits of classes in the local search, for each class that there is.
const VISITS: usize = 60;
/// Times that all choices are gone through.
const SWEEPS: usize = 3;

/// A term of a class that is not settled.
struct Candidate {
    /// Number of the class, and of the term in it.
    at: (usize, usize),
    /// Operands whose classes are not settled.
    waiting: usize,
}

/// A class as the search sees it.
struct Choices {
    id: Id,
    /// For each term its own cost and the classes of its operands.
    terms: Vec<(f64, Vec<usize>)>,
    /// The term that is taken.
    taken: Option<usize>,
    /// How often the graph that is computed reads it.
    reads: usize,
}

/// The chosen term of each class that has one without a cycle.
pub struct Cheapest<'e> {
    egraph: &'e EGraph<Term, Facts>,
    number: FxHashMap<Id, usize>,
    classes: Vec<Choices>,
    /// What is computed costs so much.
    total: f64,
    /// Visits of classes that the search may still make; it begins nothing new without.
    visits: usize,
}

impl<'e> Cheapest<'e> {
    /// Chooses for all classes; `cost` is what a term of a class takes besides its operands: not negative, and not NaN.
    /// Of terms that cost the same the first of the class is taken.
    pub fn of(egraph: &'e EGraph<Term, Facts>, cost: impl Fn(Id, &Term) -> f64) -> Cheapest<'e> {
        let number: FxHashMap<Id, usize> = egraph.classes().enumerate().map(|(k, c)| (c.id, k)).collect();
        let of = |id: Id| number[&egraph.find(id)];
        let classes: Vec<Choices> = (egraph.classes())
            .map(|c| {
                let term = |t: &Term| (cost(c.id, t), t.children().iter().map(|a| of(*a)).collect());
                Choices { id: c.id, terms: c.iter().map(term).collect(), taken: None, reads: 0 }
            })
            .collect();
        let mut all = Cheapest { egraph, number, classes, total: 0.0, visits: 0 };
        all.settle();
        all
    }

    /// Settles classes from the cheapest up.
    fn settle(&mut self) {
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); self.classes.len()];
        let mut costs: Vec<Option<f64>> = vec![None; self.classes.len()];
        // Bits of floats that are not negative are in the order of the floats.
        let mut next = BinaryHeap::new();
        for (c, class) in self.classes.iter().enumerate() {
            for (t, (own, args)) in class.terms.iter().enumerate() {
                let k = candidates.len();
                args.iter().for_each(|a| users[*a].push(k));
                if args.is_empty() {
                    next.push(Reverse((own.to_bits(), k)));
                }
                candidates.push(Candidate { at: (c, t), waiting: args.len() });
            }
        }
        while let Some(Reverse((bits, k))) = next.pop() {
            let (c, t) = candidates[k].at;
            if costs[c].is_some() {
                continue;
            }
            costs[c] = Some(f64::from_bits(bits));
            self.classes[c].taken = Some(t);
            for user in std::mem::take(&mut users[c]) {
                candidates[user].waiting -= 1;
                let (d, s) = candidates[user].at;
                if candidates[user].waiting == 0 && costs[d].is_none() {
                    let (own, args) = &self.classes[d].terms[s];
                    let all = args.iter().fold(*own, |sum, a| sum + costs[*a].unwrap_or(f64::INFINITY));
                    next.push(Reverse((all.to_bits(), user)));
                }
            }
        }
    }

    /// The class that this one became part of.
    pub fn find(&self, class: Id) -> Id {
        self.egraph.find(class)
    }

    /// The chosen term of a class.
    pub fn term(&self, class: Id) -> Option<&'e Term> {
        let c = &self.classes[*self.number.get(&self.egraph.find(class))?];
        self.egraph[c.id].iter().nth(c.taken?)
    }

    /// Takes a term of a class whatever it costs, if no chosen term leads from it back to the class.
    #[cfg(test)]
    pub fn force(&mut self, class: Id, term: usize) -> bool {
        let c = self.number[&self.egraph.find(class)];
        let before = self.classes[c].taken.replace(term);
        self.visits = usize::MAX;
        let leads_back = self.leads_to(c, &self.classes[c].terms[term].1.clone());
        if leads_back {
            self.classes[c].taken = before;
        }
        !leads_back
    }

    /// The cost of what is computed for these values, each shared value once.
    pub fn total(&self) -> f64 {
        self.total
    }

    /// Improves the choices for the graph that computes these values.
    pub fn improve(&mut self, roots: &[Id]) {
        for r in roots {
            let c = self.number[&self.egraph.find(*r)];
            self.read(c);
        }
        self.visits = VISITS * self.classes.len() + 10_000;
        let shared = self.shared();
        for _ in 0..SWEEPS {
            let before = self.total;
            for users in &shared {
                self.try_shared(users);
            }
            for c in 0..self.classes.len() {
                self.try_terms(c);
            }
            if self.visits == 0 || self.total >= before {
                break;
            }
        }
    }

    /// For each class that terms of at least two other classes read, those (class, term).
    fn shared(&self) -> Vec<Vec<(usize, usize)>> {
        let mut users: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.classes.len()];
        for (c, class) in self.classes.iter().enumerate().filter(|(_, class)| class.terms.len() > 1) {
            for (t, (_, args)) in class.terms.iter().enumerate() {
                for a in args.iter().collect::<FxHashSet<_>>() {
                    users[*a].push((c, t));
                }
            }
        }
        let many = |u: &[(usize, usize)]| u.iter().any(|(c, _)| *c != u[0].0);
        let worth = |c: usize| self.classes[c].terms.iter().any(|(own, _)| *own > 0.0);
        let all = users.into_iter().enumerate();
        all.filter(|(c, u)| worth(*c) && u.len() > 1 && u.len() <= 256 && many(u)).map(|(_, users)| users).collect()
    }

    /// Counts a read of a class, and what it makes necessary.
    fn read(&mut self, class: usize) {
        let mut stack = vec![class];
        while let Some(c) = stack.pop() {
            self.classes[c].reads += 1;
            self.visits = self.visits.saturating_sub(1);
            if let (1, Some(t)) = (self.classes[c].reads, self.classes[c].taken) {
                let (own, args) = &self.classes[c].terms[t];
                self.total += own;
                stack.extend(args);
            }
        }
    }

    /// Takes a read back, and what it made necessary.
    fn unread(&mut self, class: usize) {
        let mut stack = vec![class];
        while let Some(c) = stack.pop() {
            self.classes[c].reads -= 1;
            self.visits = self.visits.saturating_sub(1);
            if let (0, Some(t)) = (self.classes[c].reads, self.classes[c].taken) {
                let (own, args) = &self.classes[c].terms[t];
                self.total -= own;
                stack.extend(args);
            }
        }
    }

    /// Takes another term of a class that is read.
    fn switch(&mut self, c: usize, t: usize) {
        let new = self.classes[c].terms[t].clone();
        let old = self.classes[c].taken.map(|t| self.classes[c].terms[t].clone());
        self.classes[c].taken = Some(t);
        self.total += new.0;
        new.1.iter().for_each(|a| self.read(*a));
        if let Some((own, args)) = old {
            self.total -= own;
            args.iter().for_each(|a| self.unread(*a));
        }
    }

    /// True if the chosen terms lead from these classes to `goal`, or if it takes too many visits to tell.
    fn leads_to(&mut self, goal: usize, from: &[usize]) -> bool {
        let mut seen: FxHashSet<usize> = FxHashSet::default();
        let mut stack = from.to_vec();
        while let Some(c) = stack.pop() {
            if c == goal || self.visits == 0 {
                return true;
            }
            if !seen.insert(c) {
                continue;
            }
            self.visits -= 1;
            let Some(t) = self.classes[c].taken else { return true };
            stack.extend(&self.classes[c].terms[t].1);
        }
        false
    }

    /// Tries the other terms of a class.
    fn try_terms(&mut self, c: usize) {
        for t in 0..self.classes[c].terms.len() {
            let class = &self.classes[c];
            if class.reads == 0 || class.taken == Some(t) || self.visits == 0 {
                continue;
            }
            let Some(before) = class.taken else { continue };
            let args = class.terms[t].1.clone();
            if self.leads_to(c, &args) {
                continue;
            }
            let total = self.total;
            self.switch(c, t);
            if !is_less(self.total, total) {
                self.switch(c, before);
                self.total = total;
            }
        }
    }

    /// Tries to take, in every class that can, the term that reads a shared one.
    fn try_shared(&mut self, users: &[(usize, usize)]) {
        let total = self.total;
        let mut undo: Vec<(usize, usize)> = Vec::new();
        for (c, t) in users {
            let class = &self.classes[*c];
            let once = undo.iter().all(|(u, _)| u != c);
            let Some(before) = class.taken else { continue };
            if class.reads == 0 || before == *t || !once {
                continue;
            }
            let args = class.terms[*t].1.clone();
            if !self.leads_to(*c, &args) {
                self.switch(*c, *t);
                undo.push((*c, before));
            }
        }
        if !undo.is_empty() && !is_less(self.total, total) {
            for (c, t) in undo.into_iter().rev() {
                self.switch(c, t);
            }
            self.total = total;
        }
    }
}

/// Less by more than rounding.
fn is_less(new: f64, old: f64) -> bool {
    new < old - old.abs() * 1e-9
}
