//! Which representation each product gets, decided before anything is scheduled: event lists follow from it.

use super::super::{Drive, Facts, Source};
use crate::Errors;
use crate::cost::{
    Alternative, Choice, Counted, Input, Origin, Product, Reason, Repr, SPARSE, SPIKES, Weights, Window, alternatives,
};
use crate::pipeline::{Level, Options};
use nc_ir::Diagnostic;
use nc_ir::graph::{Node, Op, ValueId};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use rustc_hash::FxHashMap;

/// What was chosen for a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen {
    pub repr: Repr,
    /// Whose events drive it, if it walks events.
    pub drive: Drive,
    /// Number of the product in the [`Registry`].
    pub number: usize,
    /// It walks events row by row, which are found in the value itself: no list of all its events is made.
    pub rows: bool,
}

/// The products of a program in the order in which they were met, and how often each name occurred.
#[derive(Default)]
pub(crate) struct Registry {
    pub choices: Vec<Choice>,
    counted: Counted,
    names: FxHashMap<String, u32>,
}

impl Registry {
    /// A registry of no products, which knows weights that were looked at before.
    pub fn with(counted: Counted) -> Registry {
        Registry { counted, ..Registry::default() }
    }

    /// A name that no product has yet.
    fn name(&mut self, wanted: String) -> String {
        let n = self.names.entry(wanted.clone()).or_insert(0);
        *n += 1;
        if *n == 1 { wanted } else { format!("{wanted}#{n}") }
    }

    /// What the caller asks of products that are not there.
    pub fn unmet(&self, options: &Options, errors: &mut Errors) {
        for (name, repr) in &options.wishes.force {
            if !self.choices.iter().any(|c| c.name == *name) {
                let known: Vec<&str> = self.choices.iter().map(|c| c.name.as_str()).take(20).collect();
                let hint = match known[..] {
                    [] => "the model has no products with weights".to_owned(),
                    _ => format!("its products are {}", known.join(", ")),
                };
                errors.push(
                    Diagnostic::error_nowhere("E0705", format!("`{name}` is to be {repr}, and is no product"))
                        .with_hint(hint),
                );
            }
        }
    }
}

/// A product of rows with one matrix of weights: `linear`, or `matmul` with a single matrix on the right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    pub x: ValueId,
    pub bias: Option<ValueId>,
    pub y: ValueId,
    /// Outputs.
    pub m: u64,
    /// Inputs.
    pub k: u64,
    pub rows: u64,
    /// Elements of the weights from one output to the next, and from one input to the next.
    pub strides: [u64; 2],
    /// The weights, if they are known.
    pub known: Option<&'a Tensor>,
}

impl<'a> Matrix<'a> {
    pub fn of(facts: &Facts<'a>, node: &Node) -> Option<Matrix<'a>> {
        let (&[x, w, ref rest @ ..], &[y, ..]) = (&node.args[..], &node.results[..]) else { return None };
        let e = facts.extents(w);
        let ([a, b], known) = (e[..].try_into().ok()?, facts.known[w.index()]);
        let (m, k, strides) = match node.op {
            Op::Linear => (a, b, [b, 1]),
            Op::Matmul if facts.ty(x).rank() >= 2 => (b, a, [1, b]),
            _ => return None,
        };
        let rows = facts.count(y).checked_div(m)?;
        (m > 0 && k > 0 && rows > 0).then_some(Matrix { x, bias: rest.first().copied(), y, m, k, rows, strides, known })
    }

    /// Known weights, output by output.
    pub fn weight(&self, output: u64, input: u64) -> usize {
        (output * self.strides[0] + input * self.strides[1]) as usize
    }
}

/// The choice for a node that has one.
pub(crate) fn chosen(facts: &Facts<'_>, node: &Node) -> Option<Chosen> {
    let k = facts.def[node.results.first()?.index()]?;
    facts.chosen.get(&k).copied()
}

/// How the input of a product arrives.
pub(crate) fn drive_of(facts: &Facts<'_>, node: &Node) -> Drive {
    chosen(facts, node).map_or(Drive::Dense, |c| c.drive)
}

impl<'a> Facts<'a> {
    /// Chooses for every product of the graph.
    pub fn choose(&mut self, options: &Options, registry: &mut Registry, errors: &mut Errors) {
        for (k, node) in self.graph().nodes.iter().enumerate() {
            let Some((mut product, what)) = self.product(node) else { continue };
            let (x, w, y) = (node.args[0], node.args[1], node.results[0]);
            let name = registry.name(self.graph().name_of(y));
            let element = self.ty(y).dtype;
            let finite = self.finite[w.index()] || !element.is_float();
            if let (Some(t), true) = (self.known[w.index()], finite) {
                product.weights = registry.counted.of(t, matches!(node.op, Op::Matmul));
            }
            let drive = self.events_for(x);
            let input = self.graph().name_of(match drive {
                // Not the numbers that are made of them, which have no name.
                Drive::Spikes(Source::Now(spikes)) => spikes,
                Drive::Spikes(Source::Line(..)) | Drive::Dense | Drive::Graded(_) => self.view(x).base,
            });
            product.input = match drive {
                Drive::Dense => Input::Dense,
                Drive::Spikes(_) => Input::Spikes,
                Drive::Graded(_) => Input::Graded,
            };
            let activity = self.activity(x, drive, [&name, &input], options);
            product.activity = activity.0;
            let alternatives = match options.level {
                Level::O2 => alternatives(&product, &options.wishes.costs),
                _ => Vec::new(),
            };
            // No list is made of a value of which nothing is known.
            let listed = |r: Repr| matches!(r, Repr::Events | Repr::SparseEvents);
            let best = alternatives.iter().find(|a| activity.1 != Origin::Unknown || !listed(a.repr));
            let (mut repr, mut reason) = match (options.level, best) {
                // What is counted has to be there as a whole.
                _ if options.wishes.count => (Repr::Dense, Reason::Rule),
                (Level::O2, Some(best)) => (best.repr, Reason::Cost),
                (Level::O1, _) => (self.by_rule(node, &product), Reason::Rule),
                _ => (Repr::Dense, Reason::Rule),
            };
            if let Some(forced) = options.wishes.force.get(&name) {
                let all: Vec<Repr> = crate::cost::alternatives(&product, &options.wishes.costs)
                    .iter()
                    .map(|a: &Alternative| a.repr)
                    .collect();
                if all.contains(forced) {
                    (repr, reason) = (*forced, Reason::Forced);
                } else {
                    let can: Vec<&str> = all.iter().map(|r| r.name()).collect();
                    errors.push(
                        Diagnostic::error_nowhere("E0705", format!("`{name}` cannot be {forced}"))
                            .with_hint(format!("it can be {}", can.join(", "))),
                    );
                }
            }
            let drive = if listed(repr) { drive } else { Drive::Dense };
            let now = matches!(drive, Drive::Spikes(Source::Now(_)) | Drive::Graded(_));
            let rows = now && rows_of(node, &product) > 1;
            self.chosen.insert(k, Chosen { repr, drive, number: registry.choices.len(), rows });
            registry.choices.push(Choice {
                name,
                input,
                what,
                activity,
                weights: product.weights,
                chosen: repr,
                reason,
                alternatives,
            });
        }
    }

    /// The fixed rule: events where the input is known to be mostly zero.
    fn by_rule(&self, node: &Node, p: &Product) -> Repr {
        let sparse = self.drive(node.args[0]) != Drive::Dense;
        let known = matches!(p.weights, Weights::Known { .. });
        if matches!(node.op, Op::Linear) && sparse && known && p.input != Input::Dense {
            Repr::Events
        } else {
            Repr::Dense
        }
    }

    /// The product that a node is, with what it is for people; without what the choice adds.
    fn product(&self, node: &Node) -> Option<(Product, String)> {
        let elem = super::register(self.ty(*node.results.first()?).dtype).size() as u64;
        let finite = self.is_known_finite(*node.args.first()?);
        let base = Product {
            outputs: 0,
            inputs: 0,
            rows: 0,
            elem,
            weights: Weights::Any,
            input: Input::Dense,
            activity: 1.0,
            finite,
            window: None,
        };
        if let Op::Conv { groups, pad, .. } = &node.op {
            let (ex, ew, ey) = (self.extents(node.args[0]), self.extents(node.args[1]), self.extents(node.results[0]));
            let n = ew.len() - 2;
            let lead = ex.len() - n - 1;
            let groups = (*groups).max(1);
            let images: u64 = ex[..lead].iter().product();
            let (area, positions): (u64, u64) = (ex[lead + 1..].iter().product(), ey[lead + 1..].iter().product());
            let taps: u64 = ew[2..].iter().product();
            if images * area * positions * taps * ew[0] * ew[1] == 0 {
                return None;
            }
            let reach = positions as f64 * taps as f64 / area as f64;
            let padded = pad.iter().any(|p| *p > 0);
            let window = Some(Window { positions, reach: reach.min(taps as f64), depth: ew[1] * taps, padded });
            let sizes: Vec<String> = ew[2..].iter().map(u64::to_string).collect();
            let what = format!("convolution {} -> {}, window {}", ex[lead], ew[0], sizes.join(" x "));
            let (outputs, inputs, rows) = (ew[0] / groups, ew[1] * area, images * groups);
            return Some((Product { outputs, inputs, rows, window, ..base }, what));
        }
        let m = Matrix::of(self, node)?;
        let rows = if m.rows > 1 { format!(", {} rows", m.rows) } else { String::new() };
        let what = format!("product {} -> {}{rows}", m.k, m.m);
        Some((Product { outputs: m.m, inputs: m.k, rows: m.rows, ..base }, what))
    }

    /// Whose events could drive a product with `x`: any value whose elements lie in a list's reach.
    fn events_for(&self, x: ValueId) -> Drive {
        if !matches!(self.ty(x).dtype, DType::F32 | DType::F64) || self.count(x) >= 1 << 32 {
            return Drive::Dense;
        }
        match self.drive(x) {
            Drive::Dense => {
                let base = self.view(x).base;
                let listable = self.count(base) == self.count(x) && self.splat(base).is_none();
                if listable && self.known[base.index()].is_none() { Drive::Graded(base) } else { Drive::Dense }
            }
            drive => drive,
        }
    }

    fn activity(&self, x: ValueId, drive: Drive, names: [&String; 2], options: &Options) -> (f64, Origin) {
        let known = &options.wishes.activity;
        if let Some(a) = names.iter().find_map(|n| known.get(*n)) {
            return (a.clamp(0.0, 1.0), Origin::Profile);
        }
        match drive {
            Drive::Spikes(_) => (SPIKES, Origin::Spikes),
            Drive::Graded(v) if self.sparse[v.index()] => (SPARSE, Origin::Sparse),
            _ if self.sparse[self.view(x).base.index()] => (SPARSE, Origin::Sparse),
            _ => (1.0, Origin::Unknown),
        }
    }

    /// True if no element can be infinite or NaN, whatever the input of the model.
    pub fn is_known_finite(&self, x: ValueId) -> bool {
        /// Nodes that are looked at.
        const MOST: usize = 32;
        let (mut left, mut seen) = (MOST, vec![x]);
        while let Some(v) = seen.pop() {
            if !self.ty(v).dtype.is_float() {
                continue;
            }
            let base = self.view(v).base;
            if let Some(t) = self.known[base.index()] {
                if !super::super::is_finite(t) {
                    return false;
                }
                continue;
            }
            let Some(node) = self.node_of(base) else { return false };
            left -= 1;
            if left == 0 {
                return false;
            }
            match &node.op {
                // No integer is beyond the range of these.
                Op::Cast { .. } if matches!(self.ty(base).dtype, DType::F32 | DType::F64) => {
                    let from = self.ty(node.args[0]).dtype;
                    if from.is_float() && from.size() > self.ty(base).dtype.size() {
                        return false;
                    }
                    seen.push(node.args[0]);
                }
                Op::Select => seen.extend(&node.args[1..]),
                Op::Neg | Op::Abs | Op::Floor | Op::Transpose { .. } | Op::Concat { .. } | Op::Slice { .. } => {
                    seen.extend(&node.args);
                }
                _ => return false,
            }
        }
        true
    }
}

/// The rows of elements that a product's input consists of.
fn rows_of(node: &Node, p: &Product) -> u64 {
    match &node.op {
        Op::Conv { groups, .. } => p.rows / (*groups).max(1),
        _ => p.rows,
    }
}

/// The value whose list of this tick's events a product walks.
pub(crate) fn now_of(facts: &Facts<'_>, node: &Node) -> Option<ValueId> {
    let c = chosen(facts, node).filter(|c| !c.rows)?;
    match c.drive {
        Drive::Spikes(Source::Now(v)) | Drive::Graded(v) => Some(v),
        Drive::Spikes(Source::Line(..)) | Drive::Dense => None,
    }
}

/// The value in whose elements a product finds the events of each row.
pub(crate) fn looked_through(facts: &Facts<'_>, node: &Node) -> Option<ValueId> {
    let c = chosen(facts, node).filter(|c| c.rows)?;
    match c.drive {
        Drive::Spikes(Source::Now(v)) | Drive::Graded(v) => Some(v),
        Drive::Spikes(Source::Line(..)) | Drive::Dense => None,
    }
}
