//! Populations, levels and what is needed of what.

use super::uses::{Use, extents, row_count, uses};
use super::{Population, SplitError};
use nc_ir::graph::{Class, LineId, Module, Op, ValueId};
use nc_ir::types::DType;
use rustc_hash::FxHashMap;

/// What stands behind a value that is used whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Can be computed anywhere, from constants and the tick.
    Anywhere,
    /// An input of the model.
    Host(usize),
    /// A state before the tick.
    State(usize),
    /// The past of a delay line.
    Past(LineId, u32),
    /// A movement of data that whoever needs it does itself, from the whole operand.
    Moved(usize),
    /// A node's value.
    Node(usize),
}

pub(crate) struct Facts {
    pub module: Module,
    /// What a value that leaves the model was before it got a node of its own.
    pub original: FxHashMap<ValueId, ValueId>,
    /// The node that defines a value.
    pub def: Vec<Option<usize>>,
    anywhere: Vec<bool>,
    inputs: FxHashMap<ValueId, usize>,
    states: FxHashMap<ValueId, usize>,
    /// Population of each value, see [`Facts::populations`].
    pub population: Vec<usize>,
    pub populations: Vec<Population>,
    /// Is needed.
    pub live: Vec<bool>,
    /// Of each node.
    pub level: Vec<u32>,
}

impl Facts {
    /// Gathers the facts. Every root of the model (output, probe, next state, source of a delay line) becomes the
    /// result of a node that is computed somewhere.
    pub fn new(mut module: Module) -> Result<Facts, SplitError> {
        if let Some(v) = module.graph.values.iter().find(|v| v.ty.extents().is_none()) {
            return Err(SplitError(format!("the extents of `{}` are not known", v.name)));
        }
        if module.graph.nodes.iter().any(|n| matches!(n.op, Op::Integrate { .. })) {
            return Err(SplitError("the model still holds differential equations".into()));
        }
        let original = own_roots(&mut module)?;
        let n = module.graph.values.len();
        let mut f = Facts {
            original,
            def: vec![None; n],
            anywhere: vec![false; n],
            inputs: module.inputs.iter().enumerate().map(|(k, p)| (p.value, k)).collect(),
            states: module.states.iter().enumerate().map(|(k, s)| (s.read, k)).collect(),
            population: (0..n).collect(),
            populations: Vec::new(),
            live: vec![false; module.graph.nodes.len()],
            level: vec![0; module.graph.nodes.len()],
            module,
        };
        f.define();
        f.unite();
        Ok(f)
    }

    fn define(&mut self) {
        let roots = roots(&self.module);
        for (k, node) in self.module.graph.nodes.iter().enumerate() {
            let pure = match node.op {
                Op::Const { .. } | Op::Tick | Op::Iota { .. } => true,
                Op::Delayed { .. } => false,
                _ => {
                    !matches!(node.op.info().class, Class::Synaptic | Class::Control)
                        && node.args.iter().all(|a| self.anywhere[a.index()])
                }
            };
            for r in &node.results {
                self.def[r.index()] = Some(k);
                self.anywhere[r.index()] = pure && !roots.contains(r);
            }
        }
    }

    /// What a value is.
    pub fn kind(&self, v: ValueId) -> Kind {
        if self.anywhere[v.index()] {
            return Kind::Anywhere;
        }
        let Some(k) = self.def[v.index()] else {
            return match (self.inputs.get(&v), self.states.get(&v)) {
                (Some(k), _) => Kind::Host(*k),
                (_, Some(k)) => Kind::State(*k),
                _ => Kind::Anywhere,
            };
        };
        match self.module.graph.nodes[k].op {
            Op::Delayed { line, ticks } => Kind::Past(line, ticks),
            _ => Kind::Node(k),
        }
    }

    /// As [`Facts::kind`], for a value that is used whole: movements of data are done by whoever needs the result.
    pub fn whole_kind(&self, v: ValueId) -> Kind {
        let Kind::Node(k) = self.kind(v) else { return self.kind(v) };
        let node = &self.module.graph.nodes[k];
        let from_bool = |a: &ValueId| self.module.graph.ty(*a).dtype == DType::Bool;
        match &node.op {
            Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Broadcast { .. } => Kind::Moved(k),
            Op::Cast { .. } if from_bool(&node.args[0]) => Kind::Moved(k),
            _ => Kind::Node(k),
        }
    }

    /// True for a reshape that makes other rows: whoever needs some of them takes them from the whole.
    pub fn turned(&self, v: ValueId) -> bool {
        let Kind::Node(k) = self.kind(v) else { return false };
        let node = &self.module.graph.nodes[k];
        matches!(node.op, Op::Reshape { .. }) && uses(&self.module, node).is_none()
    }

    fn find(&mut self, v: usize) -> usize {
        let mut root = v;
        while self.population[root] != root {
            root = self.population[root];
        }
        let mut at = v;
        while self.population[at] != root {
            at = std::mem::replace(&mut self.population[at], root);
        }
        root
    }

    fn union(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.find(a.index()), self.find(b.index()));
        self.population[a.max(b)] = a.min(b);
    }

    /// Forms the populations.
    fn unite(&mut self) {
        let mut whole = vec![false; self.population.len()];
        for k in 0..self.module.graph.nodes.len() {
            let node = self.module.graph.nodes[k].clone();
            let Some(first) = node.results.first().copied() else { continue };
            if self.anywhere[first.index()] || matches!(node.op, Op::Delayed { .. }) {
                continue;
            }
            for r in &node.results {
                self.union(first, *r);
            }
            let uses = uses(&self.module, &node);
            whole[first.index()] |= uses.is_none();
            // Plastic synapses stay with their targets.
            let together = match node.op {
                Op::PlasticPre { now_count, .. } => now_count..node.args.len(),
                Op::PlasticPost { .. } => 0..node.args.len(),
                _ => 0..0,
            };
            for (j, a) in node.args.iter().enumerate() {
                let rows = uses.as_ref().is_some_and(|u| u[j] == Use::Rows);
                if (rows || together.contains(&j))
                    && !self.turned(*a)
                    && matches!(self.kind(*a), Kind::Node(_) | Kind::State(_))
                {
                    self.union(first, *a);
                }
            }
        }
        for k in 0..self.module.states.len() {
            let s = &self.module.states[k];
            let (read, next) = (s.read, s.next);
            self.union(read, next);
        }
        let mut number: FxHashMap<usize, usize> = FxHashMap::default();
        for (v, whole) in whole.iter().enumerate() {
            let root = self.find(v);
            let at = *number.entry(root).or_insert_with(|| {
                let name = self.module.graph.name_of(ValueId(v as u32));
                self.populations.push(Population { name, values: Vec::new(), rows: 1, divisible: true });
                self.populations.len() - 1
            });
            let p = &mut self.populations[at];
            let shape = extents(&self.module.graph, ValueId(v as u32));
            let rows = row_count(&shape).unwrap_or(1);
            let named = &self.module.graph.values[v].name;
            if !named.is_empty() {
                p.values.push((named.clone(), shape.iter().product()));
            }
            p.divisible &= !whole && rows > 1;
            p.rows = p.rows.max(rows);
        }
        let of: Vec<usize> = (0..self.population.len()).map(|v| number[&self.find(v)]).collect();
        self.population = of;
        for p in &mut self.populations {
            p.rows = if p.divisible { p.rows } else { 1 };
        }
    }

    /// The nodes that must have run before node `k` in the same tick, with 1 if a packet lies between.
    pub fn before(&self, k: usize, split: &[bool]) -> Vec<(usize, u32)> {
        let node = |(kind, by)| match kind {
            Kind::Node(d) => Some((d, by)),
            _ => None,
        };
        self.leaves(k, split).into_iter().filter_map(node).collect()
    }

    /// What node `k` is computed from, behind movements of data that it does itself, with 1 if a packet lies between.
    pub fn leaves(&self, k: usize, split: &[bool]) -> Vec<(Kind, u32)> {
        let node = &self.module.graph.nodes[k];
        let uses = uses(&self.module, node);
        let own = node.results.first().map(|r| self.population[r.index()]);
        let mut found = Vec::new();
        for (j, a) in node.args.iter().enumerate() {
            let rows = uses.as_ref().is_some_and(|u| u[j] == Use::Rows);
            if rows && !self.turned(*a) || self.local(*a, own, split) {
                found.push((self.kind(*a), 0));
                continue;
            }
            let mut open = vec![*a];
            while let Some(v) = open.pop() {
                if v != *a && self.local(v, own, split) {
                    found.push((self.kind(v), 0));
                    continue;
                }
                match self.whole_kind(v) {
                    Kind::Moved(m) => open.extend(&self.module.graph.nodes[m].args),
                    kind => found.push((kind, 1)),
                }
            }
        }
        found
    }

    /// True for a value of a population that is not split, used inside it: it needs no packet.
    pub fn local(&self, v: ValueId, population: Option<usize>, split: &[bool]) -> bool {
        let own = self.population[v.index()];
        Some(own) == population && !split[own]
    }

    /// Finds what is needed and the level of each node.
    pub fn order(&mut self, split: &[bool]) {
        let n = self.module.graph.nodes.len();
        let before: Vec<Vec<(usize, u32)>> = (0..n).map(|k| self.before(k, split)).collect();
        for r in roots(&self.module) {
            if let Some(k) = self.def[r.index()] {
                self.live[k] = true;
            }
        }
        for k in (0..n).rev() {
            if self.live[k] {
                for (d, _) in &before[k] {
                    self.live[*d] = true;
                }
            }
        }
        for (k, before) in before.iter().enumerate() {
            self.level[k] = before.iter().map(|(d, by)| self.level[*d] + by).max().unwrap_or(0);
        }
        // As late as its users allow, so that a population is cut into as few levels as can be.
        let mut latest: Vec<Option<u32>> = vec![None; n];
        for k in (0..n).rev() {
            if let Some(l) = latest[k] {
                self.level[k] = self.level[k].max(l);
            }
            if self.live[k] {
                for (d, by) in &before[k] {
                    let at = self.level[k] - by;
                    latest[*d] = Some(latest[*d].map_or(at, |x| x.min(at)));
                }
            }
        }
    }
}

/// The values that outlive a tick or leave the model.
fn roots(module: &Module) -> Vec<ValueId> {
    let ports = module.outputs.iter().map(|p| p.value).chain(module.probes.iter().map(|p| p.value));
    ports.chain(module.states.iter().map(|s| s.next)).chain(module.lines.iter().map(|l| l.source)).collect()
}

/// Gives every root that no node of its own computes a node.
fn own_roots(module: &mut Module) -> Result<FxHashMap<ValueId, ValueId>, SplitError> {
    let mut own: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    for r in roots(module) {
        let node = module.graph.nodes.iter().find(|n| n.results.contains(&r));
        let computed =
            node.is_some_and(|n| !matches!(n.op, Op::Const { .. } | Op::Tick | Op::Iota { .. } | Op::Delayed { .. }));
        if computed || own.contains_key(&r) {
            continue;
        }
        let shape = extents(&module.graph, r);
        let name = module.graph.name_of(r);
        let mut b = module.builder();
        let v = b.reshape(r, shape).map_err(|e| SplitError(e.to_string()))?;
        b.name(v, &name);
        own.insert(r, v);
    }
    let new = |v: &mut ValueId| {
        if let Some(n) = own.get(v) {
            *v = *n;
        }
    };
    module.outputs.iter_mut().for_each(|p| new(&mut p.value));
    module.probes.iter_mut().for_each(|p| new(&mut p.value));
    module.states.iter_mut().for_each(|s| new(&mut s.next));
    module.lines.iter_mut().for_each(|l| new(&mut l.source));
    Ok(own.into_iter().map(|(old, new)| (new, old)).collect())
}
