//! Equality saturation of the pure part of the step function, and of the body of every region on its own.
//!
//! Ops with one result and no regions are terms; inputs, states, constants, deliveries and results of regions are leaves.
//! [`rules`] add what equals a term, `extract` takes the cheapest form of every value that is needed, with
//! `price` in nanoseconds; what became constant is computed then (`settle`). Large graphs are cut into stretches
//! (`piece`), and stretches that look the same are saturated once. All bounds are numbers of terms and visits, so that a
//! model gives the same graph on every machine.

mod analysis;
mod extract;
mod language;
mod piece;
mod plan;
mod price;
mod proof;
pub mod rules;
mod settle;

pub use language::Term;

use crate::cost::{Counted, SPARSE, Weights};
use crate::pipeline::{Level, Options};
use crate::rebuild::{self, Rebuild, constants_of};
use crate::{Errors, cost};
use analysis::{Facts, Known};
use egg::{EGraph, Id, Rewrite, Runner, SimpleScheduler};
use extract::Cheapest;
use nc_ir::graph::{Module, Op, ValueId};
use nc_ir::kernel::Scalar;
use nc_ir::{Diagnostic, Tensor};
use piece::{Leaf, Piece, Shape, is_term};
use plan::{Plan, Writer};
use price::Prices;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Rounds of rewriting: as deep as the deepest chain of rules that helps each other.
const ROUNDS: usize = 6;

/// What saturation did to one graph: the step function or a body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Region {
    /// Which graph: empty for the step function, else the ops around it from the outside in.
    pub place: String,
    /// Stretches that the graph was cut into.
    pub pieces: usize,
    /// Stretches that looked like no other before.
    pub different: usize,
    /// Terms of the e-graph at the end.
    pub terms: usize,
    /// Classes of the e-graph at the end.
    pub classes: usize,
    /// Predicted nanoseconds of one run before.
    pub before: f64,
    /// Predicted nanoseconds of one run after.
    pub after: f64,
    /// How often each rule joined two classes.
    pub rules: BTreeMap<String, usize>,
    /// Values that follow from constants and are computed in every tick all the same, with the reason.
    pub left: Vec<String>,
    /// The rules that lead from what was written to what was taken, if proofs were asked for.
    pub taken: BTreeSet<String>,
}

/// Saturates, and takes the cheapest form of every value that is needed, in the step function and in the bodies of its
/// `cond`, `scan` and `repeat`.
///
/// # Errors
/// `E0799`: the rewritten graph is ill-typed, a bug.
pub fn run(module: &mut Module, options: &Options, counted: &mut Counted) -> Result<Vec<Region>, Errors> {
    let rules = rules::rewrites(options.math, &options.without).map_err(bug)?;
    let mut done = Vec::new();
    saturate(module, options, &rules, "", &[], (&mut done, counted))?;
    Ok(done)
}

/// Works on one graph, after the bodies in it. `scanned` are the parameters that are rows of a loop.
fn saturate(
    module: &mut Module,
    options: &Options,
    rules: &[Rewrite<Term, Facts>],
    place: &str,
    scanned: &[ValueId],
    (done, counted): (&mut Vec<Region>, &mut Counted),
) -> Result<(), Errors> {
    rebuild::each_body_of(module, &mut |body, node| {
        let rows = match node.op {
            Op::Scan { carried_count, scanned_count, .. } => carried_count..carried_count + scanned_count,
            _ => 0..0,
        };
        let rows: Vec<ValueId> = body.graph.params.get(rows).unwrap_or_default().to_vec();
        let place = format!("{place}/{}", node.op.info().name);
        saturate(body, options, rules, &place, &rows, (&mut *done, &mut *counted))
    })?;
    let level = options.level;
    if !module.graph.nodes.iter().any(|n| is_term(n, level)) {
        return Ok(());
    }
    let mut region = Region { place: place.trim_start_matches('/').to_owned(), ..Region::default() };
    rewrite(module, options, rules, scanned, (&mut region, counted)).map_err(bug)?;
    if level > Level::O1 {
        region.left = settle::run(module, settle::MAX_ELEMENTS).map_err(bug)?;
    }
    done.push(region);
    Ok(())
}

fn rewrite(
    module: &mut Module,
    options: &Options,
    rules: &[Rewrite<Term, Facts>],
    scanned: &[ValueId],
    (region, counted): (&mut Region, &mut Counted),
) -> Result<(), String> {
    let level = options.level;
    let pieces = piece::cut(module, level);
    let outside = piece::read_outside(module, &pieces, level);
    let mut leaves = leaves(module, options, scanned, counted);
    let mut plans: FxHashMap<Shape, Plan> = FxHashMap::default();
    let mut rb = Rebuild::new(std::mem::take(module));
    for nodes in pieces {
        let piece = Piece::of(&rb.old, nodes.clone(), level, |v| outside[v.index()], |v| leaves[v.index()].clone());
        region.pieces += 1;
        if !plans.contains_key(&piece.shape) {
            let plan = plan_for(&piece.shape, options, rules)?;
            region.add(&plan.region);
            plans.insert(piece.shape.clone(), plan);
        }
        let plan = &plans[&piece.shape];
        region.before += plan.region.before;
        for (k, known) in &plan.known {
            leaves[piece.values[*k].index()].known = known.clone();
        }
        // Places of the nodes that are no terms: constants can be anywhere.
        let mut made: FxHashMap<ValueId, usize> = FxHashMap::default();
        let mut asks = Vec::new();
        for k in nodes.clone() {
            let node = &rb.old.nodes[k];
            if !is_term(node, level) {
                asks.extend(node.args.iter().map(|a| (*a, k)));
                if !node.args.is_empty() {
                    made.extend(node.results.iter().map(|r| (*r, k + 1)));
                }
            }
        }
        if !plan.is_in_order(&piece, &asks, |v| made.get(&v).copied().unwrap_or(0)) {
            region.after += plan.region.before;
            for k in nodes {
                let node = rb.old.nodes[k].clone();
                rb.copy(&node);
            }
            continue;
        }
        region.after += plan.region.after;
        let mut writer = Writer::new(plan, &piece, &rb);
        for k in nodes {
            let node = rb.old.nodes[k].clone();
            if node.results.iter().any(|r| rb.is_written(*r)) {
                continue;
            }
            if !is_term(&node, level) {
                for a in &node.args {
                    writer.value(&mut rb, *a)?;
                }
                rb.copy(&node);
            }
        }
        for k in &piece.shape.needed {
            writer.value(&mut rb, piece.values[*k])?;
        }
    }
    *module = rb.finish();
    Ok(())
}

/// Saturates a stretch and chooses.
fn plan_for(shape: &Shape, options: &Options, rules: &[Rewrite<Term, Facts>]) -> Result<Plan, String> {
    let mut classes = Classes::of(shape, false);
    let given: Vec<(Id, Term)> = classes.given(shape);
    let rounds = if options.level > Level::O1 { ROUNDS } else { ROUNDS / 3 };
    let applied = classes.explore(rules, rounds);
    let weights = |class: Id| classes.weights(shape, class, 8);
    let prices = Prices { costs: &options.wishes.costs, weights: &weights };
    let before = given.iter().map(|(class, term)| prices.of(&classes.egraph, *class, term)).sum();
    let mut cheapest = Cheapest::of(&classes.egraph, |class, term| prices.of(&classes.egraph, class, term));
    if options.level > Level::O1 {
        let mut roots: Vec<Id> = shape.needed.iter().map(|k| classes.egraph.find(classes.of[*k])).collect();
        roots.sort_unstable();
        roots.dedup();
        cheapest.improve(&roots);
    }
    let region = Region {
        terms: classes.egraph.total_number_of_nodes(),
        classes: classes.egraph.number_of_classes(),
        before,
        after: cheapest.total(),
        rules: applied,
        taken: match options.proofs {
            true => proof::pairs(shape, &classes, &cheapest)
                .map_or_else(BTreeSet::new, |p| proof::rules(shape, &p, rules, rounds)),
            false => BTreeSet::new(),
        },
        ..Region::default()
    };
    Plan::of(&classes, &cheapest, &shape.needed, region)
}

impl Region {
    /// Counts a stretch that looks like no other.
    fn add(&mut self, other: &Region) {
        self.different += 1;
        self.terms += other.terms;
        self.classes += other.classes;
        for (rule, times) in &other.rules {
            *self.rules.entry(rule.clone()).or_default() += times;
        }
        self.taken.extend(other.taken.iter().cloned());
    }
}

fn bug(text: String) -> Errors {
    vec![
        Diagnostic::error_nowhere("E0799", format!("saturation: {text}"))
            .with_hint("this is a bug of nc: please report the model"),
    ]
}

/// The e-graph, and the class of each value of a shape.
struct Classes {
    egraph: EGraph<Term, Facts>,
    of: Vec<Id>,
}

impl Classes {
    /// The terms of a stretch as they stand, in an e-graph that can tell later why two are equal if it is to.
    fn of(shape: &Shape, proofs: bool) -> Classes {
        let facts = Facts { leaves: shape.leaves.iter().map(|l| l.known.clone()).collect() };
        let mut egraph = EGraph::new(facts);
        if proofs {
            egraph = egraph.with_explanations_enabled();
        }
        let mut of: Vec<Id> = (0..shape.leaves.len()).map(|k| egraph.add(Term::Leaf(ValueId(k as u32)))).collect();
        for (op, args) in &shape.terms {
            let args = args.iter().map(|a| of[*a]).collect();
            of.push(egraph.add(Term::Apply(op.clone(), args)));
        }
        Classes { egraph, of }
    }

    /// The terms as they were given, each once, without those that nothing needs.
    fn given(&self, shape: &Shape) -> Vec<(Id, Term)> {
        let mut live = vec![false; self.of.len()];
        shape.needed.iter().for_each(|k| live[*k] = true);
        let mut out: FxHashMap<Id, Term> = FxHashMap::default();
        for (k, (op, args)) in shape.terms.iter().enumerate().rev() {
            let k = k + shape.leaves.len();
            if live[k] {
                args.iter().for_each(|a| live[*a] = true);
                out.insert(self.of[k], Term::Apply(op.clone(), args.iter().map(|a| self.of[*a]).collect()));
            }
        }
        let mut out: Vec<(Id, Term)> = out.into_iter().collect();
        out.sort_by_key(|(c, _)| *c);
        out
    }

    /// Adds what the rules say is equal; how often each joined two classes.
    fn explore(&mut self, rules: &[Rewrite<Term, Facts>], rounds: usize) -> BTreeMap<String, usize> {
        let limit = 20 * self.egraph.total_number_of_nodes() + 1000;
        let runner = Runner::default()
            .with_egraph(std::mem::take(&mut self.egraph))
            .with_scheduler(SimpleScheduler)
            .with_iter_limit(rounds)
            .with_node_limit(limit)
            // Rounds and terms bound the work; a clock would make the result depend on the machine.
            .with_time_limit(Duration::from_secs(3600))
            .run(rules);
        self.egraph = runner.egraph;
        let mut applied = BTreeMap::new();
        for (rule, times) in runner.iterations.iter().flat_map(|i| &i.applied) {
            *applied.entry(rule.to_string()).or_default() += times;
        }
        applied
    }

    /// What is known about the weights in a class.
    fn weights(&self, shape: &Shape, class: Id, depth: usize) -> Option<Weights> {
        let class = &self.egraph[class];
        let count = class.data.as_ref()?.count();
        let leaf = class.iter().find_map(|t| match t {
            Term::Leaf(v) => Some(v.index()),
            Term::Number(..) | Term::Apply(..) => None,
        });
        if let Some(k) = leaf {
            return shape.leaves[k].weights;
        }
        class.iter().filter(|_| depth > 0).find_map(|t| {
            let Term::Apply(op, args) = t else { return None };
            let nonzero = |k: &Id| match self.weights(shape, *k, depth - 1)? {
                Weights::Known { nonzero, links, steps } => {
                    Some((nonzero, links, self.egraph[*k].data.as_ref()?, steps))
                }
                Weights::Any => None,
            };
            // Of a part as many are taken to be zero as of the whole.
            let part = |n: u64, of: u64| (n as f64 * count as f64 / of.max(1) as f64).round() as u64;
            match op {
                Op::Concat { .. } => {
                    let all: Vec<_> = args.iter().map(nonzero).collect::<Option<_>>()?;
                    let links = |(_, links, known, _): &(u64, Option<[u64; 2]>, &Known, _)| match links {
                        Some(links) => *links,
                        None => cost::BLOCKS.map(|width| known.count() / width),
                    };
                    let some = all.iter().any(|a| a.1.is_some());
                    let sum = all.iter().map(links).fold([0, 0], |[a, b], [c, d]| [a + c, b + d]);
                    let nonzero = all.iter().map(|a| a.0).sum();
                    let steps = all.iter().map(|a| a.3).sum();
                    Some(Weights::Known { nonzero, links: some.then_some(sum), steps })
                }
                Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } => {
                    let (n, links, known, steps) = nonzero(&args[0])?;
                    let of = known.count();
                    // Turned round, other weights stand side by side.
                    let cut = matches!(op, Op::Slice { .. });
                    let links = links.filter(|_| cut).map(|l| l.map(|l| part(l, of)));
                    let steps = steps.filter(|_| cut).map(|s| part(s, of));
                    Some(Weights::Known { nonzero: part(n, of), links, steps })
                }
                _ => None,
            }
        })
    }
}

/// What is known about the values that no term makes.
fn leaves(module: &Module, options: &Options, scanned: &[ValueId], counted: &mut Counted) -> Vec<Leaf> {
    let leaf = |v: &nc_ir::graph::Value| Leaf { known: Known::of(v.ty.clone()), weights: None };
    let mut leaves: Vec<Leaf> = module.graph.values.iter().map(leaf).collect();
    let mut weights: Vec<bool> = vec![false; leaves.len()];
    for node in &module.graph.nodes {
        if matches!(node.op, Op::Linear | Op::Conv { .. } | Op::Matmul | Op::Transpose { .. } | Op::Concat { .. }) {
            node.args.iter().for_each(|a| weights[a.index()] = true);
        }
    }
    for (v, t) in constants_of(&module.graph, &module.consts).into_iter().enumerate() {
        if let Some(t) = t {
            let known = &mut leaves[v].known;
            (known.constant, known.activity, known.uniform) = (true, 1.0, uniform(t));
            leaves[v].weights = weights[v].then(|| counted.of(t, false));
        }
    }
    for name in &module.sparse {
        let inputs = module.inputs.iter().filter(|p| p.name == *name).map(|p| p.value);
        let states = module.states.iter().filter(|s| s.name == *name).map(|s| s.read);
        for v in inputs.chain(states) {
            let activity = &mut leaves[v.index()].known.activity;
            *activity = activity.min(SPARSE);
        }
    }
    // Measured activities stand under the names of products, and are those of their inputs.
    for node in &module.graph.nodes {
        let (Some(x), Some(y)) = (node.args.first(), node.results.first()) else { continue };
        if let Some(rate) = options.wishes.activity.get(&module.graph.values[y.index()].name) {
            leaves[x.index()].known.activity = rate.clamp(0.0, 1.0);
        }
    }
    scanned.iter().for_each(|v| leaves[v.index()].known.scanned = true);
    leaves
}

/// The number that all elements of a tensor are.
fn uniform(t: &Tensor) -> Option<Scalar> {
    let size = t.dtype().size();
    let first = t.bytes().get(..size)?;
    let same = t.bytes().chunks_exact(size).all(|x| x == first);
    if same { nc_ir::graph::expand::load(t, 0) } else { None }
}
