//! Stretches of a graph that are saturated on their own: a small graph is one; a large one is cut where a single value
//! crosses, as between layers. Two stretches that look the same to the rules, such as repeated layers, have equal
//! [`Shape`]s, so that the first one's work serves all.

use super::analysis::Known;
use crate::cost::Weights;
use crate::pipeline::Level;
use crate::rebuild;
use nc_ir::graph::{Class, Graph, Module, Node, Op, ValueId};
use nc_ir::types::TensorType;
use rustc_hash::FxHashMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// Graphs of no more terms are not cut.
const WHOLE: usize = 256;
/// Terms from which on a stretch ends where a layer does.
const LAYER: usize = 8;
/// Most terms of a stretch, wherever it has to end.
const MOST: usize = 2048;

/// True for the ops that are terms at a level: pure, with one result.
pub fn is_term(node: &Node, level: Level) -> bool {
    let pure = node.results.len() == 1 && node.regions.is_empty() && !node.args.is_empty();
    pure && match node.op.info().class {
        Class::Elementwise => true,
        Class::Data | Class::Contraction | Class::Reduction | Class::Sequential => level > Level::O1,
        Class::Synaptic | Class::Control => false,
    }
}

/// A value that a stretch reads and does not make.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// What is known about it.
    pub known: Known,
    /// What is known about it as the weights of a product.
    pub weights: Option<Weights>,
}

impl Eq for Leaf {}

impl Hash for Leaf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Known { ty, constant, uniform, activity, scanned } = &self.known;
        let TensorType { dtype, shape } = ty;
        (dtype, shape, constant, uniform.map(nc_ir::kernel::Scalar::bits), activity.to_bits(), scanned).hash(state);
        match self.weights {
            None => 0u64.hash(state),
            Some(Weights::Any) => 1u64.hash(state),
            Some(Weights::Known { nonzero, links, steps }) => (2u64, nonzero, links, steps).hash(state),
        }
    }
}

/// A stretch as the rules see it. Values are numbered: leaves first, then the results of the terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// What is read.
    pub leaves: Vec<Leaf>,
    /// What is computed, in order.
    pub terms: Vec<(Op, Vec<usize>)>,
    /// Results that are read outside, in order.
    pub needed: Vec<usize>,
}

/// A stretch of a graph.
pub struct Piece {
    /// What the rules see.
    pub shape: Shape,
    /// The value of the graph for each number.
    pub values: Vec<ValueId>,
    /// The number of each value that the stretch makes or reads.
    pub number: FxHashMap<ValueId, usize>,
}

impl Piece {
    /// The terms among these nodes. `outside` says whether a value is read by something else than the terms.
    pub fn of(
        graph: &Graph,
        nodes: Range<usize>,
        level: Level,
        outside: impl Fn(ValueId) -> bool,
        leaf: impl Fn(ValueId) -> Leaf,
    ) -> Piece {
        let terms: Vec<&Node> = graph.nodes[nodes].iter().filter(|n| is_term(n, level)).collect();
        let made: FxHashMap<ValueId, ()> = terms.iter().map(|n| (n.results[0], ())).collect();
        let mut values: Vec<ValueId> = Vec::new();
        let mut number: FxHashMap<ValueId, usize> = FxHashMap::default();
        for a in terms.iter().flat_map(|n| &n.args).filter(|a| !made.contains_key(a)) {
            number.entry(*a).or_insert_with(|| {
                values.push(*a);
                values.len() - 1
            });
        }
        let leaves: Vec<Leaf> = values.iter().map(|v| leaf(*v)).collect();
        for n in &terms {
            number.insert(n.results[0], values.len());
            values.push(n.results[0]);
        }
        let shape = Shape {
            terms: terms.iter().map(|n| (n.op.clone(), n.args.iter().map(|a| number[a]).collect())).collect(),
            needed: (leaves.len()..values.len()).filter(|k| outside(values[*k])).collect(),
            leaves,
        };
        Piece { shape, values, number }
    }
}

/// Where each value is last read, by the index of a node: roots after the last one.
fn last_reads(module: &Module) -> Vec<usize> {
    let mut last = vec![0; module.graph.values.len()];
    for (k, node) in module.graph.nodes.iter().enumerate() {
        node.args.iter().for_each(|a| last[a.index()] = k);
    }
    rebuild::roots(module).for_each(|r| last[r.index()] = usize::MAX);
    last
}

/// The stretches of a graph, in order.
pub fn cut(module: &Module, level: Level) -> Vec<Range<usize>> {
    let nodes = &module.graph.nodes;
    let total = nodes.iter().filter(|n| is_term(n, level)).count();
    if total <= WHOLE {
        return std::iter::once(0..nodes.len()).collect();
    }
    // Values that are made before a place and read after it; constants are at hand everywhere.
    let last = last_reads(module);
    let mut change = vec![0i64; nodes.len() + 2];
    for (k, node) in nodes.iter().enumerate().filter(|(_, n)| !n.args.is_empty()) {
        for r in &node.results {
            let end = last[r.index()].min(nodes.len());
            if end > k {
                change[k + 1] += 1;
                change[end + 1] -= 1;
            }
        }
    }
    let (mut out, mut from, mut terms, mut crossing) = (Vec::new(), 0, 0, 0);
    for (k, node) in nodes.iter().enumerate() {
        crossing += change[k];
        let begins = matches!(node.op.info().class, Class::Contraction | Class::Data | Class::Control);
        let layer = crossing == 1 && terms >= LAYER && begins && !node.args.is_empty();
        if layer || terms >= MOST {
            out.push(from..k);
            (from, terms) = (k, 0);
        }
        terms += usize::from(is_term(node, level));
    }
    out.push(from..nodes.len());
    out
}

/// For each value, whether something else than a term of its own stretch reads it.
pub fn read_outside(module: &Module, pieces: &[Range<usize>], level: Level) -> Vec<bool> {
    let mut outside = vec![false; module.graph.values.len()];
    let mut piece_of = vec![usize::MAX; module.graph.values.len()];
    for (p, range) in pieces.iter().enumerate() {
        for node in &module.graph.nodes[range.clone()] {
            node.results.iter().for_each(|r| piece_of[r.index()] = p);
            for a in &node.args {
                outside[a.index()] |= !is_term(node, level) || piece_of[a.index()] != p;
            }
        }
    }
    rebuild::roots(module).for_each(|r| outside[r.index()] = true);
    outside
}
