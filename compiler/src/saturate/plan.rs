//! What was chosen for a stretch, and how it is written to the new graph.

use super::analysis::Known;
use super::extract::Cheapest;
use super::language::Term;
use super::piece::Piece;
use super::{Classes, Region};
use crate::fold;
use crate::rebuild::Rebuild;
use egg::{Id, Language};
use nc_ir::Tensor;
use nc_ir::graph::{Node, Op, ValueId};
use nc_ir::kernel::{Scalar, loaded_type};
use nc_ir::types::DType;
use rustc_hash::FxHashMap;

/// A step of a plan.
#[derive(Clone, Debug)]
enum Step {
    /// The leaf of this number.
    Leaf(usize),
    /// A scalar, by its bits.
    Number(DType, u64),
    /// An op on the results of earlier steps.
    Apply(Op, Vec<usize>),
}

/// The chosen terms of a stretch, each after its operands.
#[derive(Clone, Debug)]
pub struct Plan {
    steps: Vec<Step>,
    /// For each number of the shape, the step that gives its value.
    step_of: Vec<Option<usize>>,
    /// What is known about the values that are read outside, by their numbers.
    pub known: Vec<(usize, Known)>,
    /// What saturation did.
    pub region: Region,
}

impl Plan {
    /// Puts the chosen terms of what is needed in order.
    ///
    /// # Errors
    /// A needed class without a term that is free of cycles: a bug.
    pub fn of(classes: &Classes, cheapest: &Cheapest<'_>, needed: &[usize], region: Region) -> Result<Plan, String> {
        let egraph = &classes.egraph;
        let mut steps = Vec::new();
        let mut done: FxHashMap<Id, usize> = FxHashMap::default();
        // Chains of terms can be long: a stack of its own.
        let mut stack: Vec<Id> = needed.iter().rev().map(|k| egraph.find(classes.of[*k])).collect();
        while let Some(c) = stack.last().copied() {
            if done.contains_key(&c) {
                stack.pop();
                continue;
            }
            let term = cheapest.term(c).ok_or("a class has no term without a cycle")?;
            let args: Vec<Id> = term.children().iter().map(|a| egraph.find(*a)).collect();
            let before = stack.len();
            stack.extend(args.iter().rev().filter(|a| !done.contains_key(a)));
            if stack.len() > before {
                continue;
            }
            done.insert(c, steps.len());
            steps.push(match term {
                Term::Leaf(v) => Step::Leaf(v.index()),
                Term::Number(dtype, bits) => Step::Number(*dtype, *bits),
                Term::Apply(op, _) => Step::Apply(op.clone(), args.iter().map(|a| done[a]).collect()),
            });
            stack.pop();
        }
        let known = needed.iter().filter_map(|k| Some((*k, egraph[classes.of[*k]].data.clone()?))).collect();
        let step_of = classes.of.iter().map(|c| done.get(&egraph.find(*c)).copied()).collect();
        Ok(Plan { steps, step_of, known, region })
    }
}

impl Plan {
    /// For each step the last of the leaves that it is made of, by the places that these have; 0 if there are none.
    fn latest(&self, place: impl Fn(usize) -> usize) -> Vec<usize> {
        let mut latest = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let at = match step {
                Step::Leaf(k) => place(*k),
                Step::Number(..) => 0,
                Step::Apply(_, args) => args.iter().map(|a| latest[*a]).max().unwrap_or(0),
            };
            latest.push(at);
        }
        latest
    }

    /// True if every value that a node of the stretch reads can be written before the node: rules look at terms alone, and
    /// may make a value of one that only comes later. `asks` are the reads with the places of their readers, `made` says
    /// behind which place a leaf is there.
    pub fn is_in_order(&self, piece: &Piece, asks: &[(ValueId, usize)], made: impl Fn(ValueId) -> usize) -> bool {
        let latest = self.latest(|k| made(piece.values[k]));
        asks.iter().all(|(v, reader)| {
            let step = piece.number.get(v).and_then(|k| self.step_of[*k]);
            step.is_none_or(|s| latest[s] <= *reader)
        })
    }
}

/// Writes the steps of a plan for one stretch, each once, when it is asked for.
pub struct Writer<'p> {
    plan: &'p Plan,
    piece: &'p Piece,
    names: Vec<String>,
    done: Vec<Option<ValueId>>,
}

impl<'p> Writer<'p> {
    /// Nothing is written yet. Steps take the names of the values that they stand for.
    pub fn new(plan: &'p Plan, piece: &'p Piece, rb: &Rebuild) -> Writer<'p> {
        let mut names = vec![String::new(); plan.steps.len()];
        for (v, step) in piece.values.iter().zip(&plan.step_of) {
            let name = &rb.old.values[v.index()].name;
            if let Some(slot) = step.map(|s| &mut names[s]).filter(|s| s.is_empty()) {
                slot.clone_from(name);
            }
        }
        Writer { plan, piece, names, done: vec![None; plan.steps.len()] }
    }

    /// Makes sure that an old value of the stretch has its new one; others are left alone.
    ///
    /// # Errors
    /// An op that does not fit its operands: a bug.
    pub fn value(&mut self, rb: &mut Rebuild, old: ValueId) -> Result<(), String> {
        let Some(k) = self.piece.number.get(&old).filter(|k| **k >= self.piece.shape.leaves.len()) else {
            return Ok(());
        };
        let step = self.plan.step_of[*k].ok_or("a value that is read was not planned")?;
        let new = self.step(rb, step)?;
        rb.replace(old, new);
        Ok(())
    }

    /// A leaf. Constants are written where they are first needed, which may be before the place that they have.
    fn leaf(&self, rb: &mut Rebuild, old: ValueId) -> Result<ValueId, String> {
        if !rb.is_written(old) {
            let makes = |n: &&Node| n.args.is_empty() && n.results.contains(&old);
            let node = rb.old.nodes.iter().find(makes).ok_or("a value comes later than what is made of it")?.clone();
            rb.copy(&node);
        }
        Ok(rb.value(old))
    }

    fn step(&mut self, rb: &mut Rebuild, wanted: usize) -> Result<ValueId, String> {
        let mut stack = vec![wanted];
        while let Some(s) = stack.last().copied() {
            if self.done[s].is_some() {
                stack.pop();
                continue;
            }
            let value = match &self.plan.steps[s] {
                Step::Leaf(k) => self.leaf(rb, self.piece.values[*k])?,
                Step::Number(dtype, bits) => {
                    let mut t = Tensor::zeros(*dtype, Vec::new());
                    fold::store(t.bytes_mut(), *dtype, Scalar::from_bits(loaded_type(*dtype), *bits));
                    rb.constant("", t).map_err(|e| e.to_string())?
                }
                Step::Apply(op, args) => {
                    let before = stack.len();
                    stack.extend(args.iter().rev().filter(|a| self.done[**a].is_none()));
                    if stack.len() > before {
                        continue;
                    }
                    let args: Vec<ValueId> = args.iter().filter_map(|a| self.done[*a]).collect();
                    let v = rb.op(op.clone(), &args).map_err(|e| e.to_string())?;
                    if !self.names[s].is_empty() {
                        rb.builder().name(v, &self.names[s]);
                    }
                    v
                }
            };
            self.done[s] = Some(value);
            stack.pop();
        }
        self.done[wanted].ok_or_else(|| "a step was not written".to_owned())
    }
}
