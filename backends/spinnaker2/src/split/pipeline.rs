//! Levels of a tick as ticks of their own: the model retimed.
//!
//! Parts that feed each other within a tick run one after the other, in slots of it. Retimed, each such step is a tick
//! of latency instead, and all parts run at once. A part at stage S computes in tick t what the model computes in tick
//! t - S: what it needs of a part at stage R comes S - R ticks later than in the model, the number of the tick is S less,
//! and until tick S its states keep their first values, its outputs and what delay lines remember are zeros.
//!
//! Parts that depend on each other in a circle, through states and delays as well, have one stage and keep their levels. So do
//! plastic synapses, whose states may not be touched in every tick, with all that they depend on: their stage is 0.
//!
//! The result is a model like any other. It is what is split, and what bundles are checked against.

use super::SplitError;
use super::facts::{Facts, Kind};
use crate::bundle::Manifest;
use nc_ir::graph::{
    ConnId, DelayLine, Graph, GraphBuilder, LineId, Module, Node, Op, Pools, State, SynapseDelay, ValueId,
};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use rustc_hash::FxHashMap;

/// A retimed model.
#[derive(Clone, PartialEq, Debug)]
pub struct Pipelined {
    /// The model.
    pub module: Module,
    /// Ticks that each output comes later than in the model. Before, it is zero.
    pub outputs: Vec<u64>,
    /// Ticks that each probe comes later, a multiple of the ticks between its frames.
    pub probes: Vec<u64>,
}

impl Pipelined {
    /// A model as it is.
    pub fn unchanged(module: Module) -> Pipelined {
        let (outputs, probes) = (vec![0; module.outputs.len()], vec![0; module.probes.len()]);
        Pipelined { module, outputs, probes }
    }

    /// Writes down how much later outputs and probes come.
    pub fn note(&self, manifest: &mut Manifest) {
        let of = |ports: &mut [crate::bundle::Port], late: &[u64]| {
            ports.iter_mut().zip(late).for_each(|(p, late)| p.latency = *late);
        };
        of(&mut manifest.outputs, &self.outputs);
        of(&mut manifest.probes, &self.probes);
    }
}

/// Retimes a solved module with known extents.
///
/// # Errors
/// As [`super::split`].
pub fn pipeline(module: &Module) -> Result<Pipelined, SplitError> {
    let mut facts = Facts::new(module.clone())?;
    // Whatever is split later, there are no more packets than with this.
    let all = vec![true; facts.populations.len()];
    facts.order(&all);
    let stages = stages(&facts, &all);
    Retimer::new(facts, stages).run()
}

/// The nodes that are computed somewhere, each with its stage.
fn stages(facts: &Facts, split: &[bool]) -> Vec<Option<u32>> {
    let nodes = &facts.module.graph.nodes;
    let mut number: FxHashMap<(usize, u32), usize> = FxHashMap::default();
    let mut part: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut fixed: Vec<bool> = Vec::new();
    for (k, node) in nodes.iter().enumerate() {
        let Some(first) = node.results.first() else { continue };
        if !facts.live[k] || !matches!(facts.kind(*first), Kind::Node(_)) {
            continue;
        }
        let key = (facts.population[first.index()], facts.level[k]);
        let p = *number.entry(key).or_insert_with(|| {
            fixed.push(false);
            fixed.len() - 1
        });
        part[k] = Some(p);
        fixed[p] |= matches!(node.op, Op::PlasticPre { .. } | Op::PlasticPost { .. }) || node.regions.iter().any(ticks);
    }
    let made = |v: ValueId| facts.def[v.index()].and_then(|k| part[k]);
    // From, to, and the least ticks between.
    let mut edges: Vec<(usize, usize, u32)> = Vec::new();
    for (k, node) in nodes.iter().enumerate() {
        let Some(to) = part[k] else { continue };
        let line = match node.op {
            Op::Project { line, .. } | Op::PlasticPre { line, .. } => line,
            _ => None,
        };
        let sources = facts.leaves(k, split).into_iter().map(|(kind, _)| kind);
        for kind in sources.chain(line.map(|l| Kind::Past(l, 1))) {
            let (from, least) = match kind {
                Kind::Node(d) => (part[d], 1),
                Kind::State(s) => (made(facts.module.states[s].next), 0),
                Kind::Past(line, _) => (made(facts.module.lines[line.index()].source), 0),
                Kind::Anywhere | Kind::Host(_) | Kind::Moved(_) => (None, 0),
            };
            edges.extend(from.filter(|f| *f != to).map(|f| (f, to, least)));
        }
    }
    edges.sort_unstable();
    edges.dedup();
    let circle = circles(fixed.len(), &edges);
    let count = circle.iter().max().map_or(0, |n| n + 1);
    let mut stays = vec![false; count];
    (0..fixed.len()).filter(|p| fixed[*p]).for_each(|p| stays[circle[p]] = true);
    let mut between: Vec<Vec<(usize, u32)>> = vec![Vec::new(); count];
    for (from, to, least) in &edges {
        if circle[*from] != circle[*to] {
            between[circle[*to]].push((circle[*from], *least));
        }
    }
    // Circles are numbered so that each comes after those that it depends on.
    for c in (0..count).rev() {
        if stays[c] {
            between[c].iter().for_each(|(from, _)| stays[*from] = true);
        }
    }
    let mut stage = vec![0; count];
    for c in 0..count {
        if !stays[c] {
            stage[c] = between[c].iter().map(|(from, least)| stage[*from] + least).max().unwrap_or(0);
        }
    }
    part.into_iter().map(|p| p.map(|p| stage[circle[p]])).collect()
}

/// True for a region that asks for the tick.
fn ticks(g: &Graph) -> bool {
    let mut open = vec![g];
    while let Some(g) = open.pop() {
        if g.nodes.iter().any(|n| matches!(n.op, Op::Tick)) {
            return true;
        }
        open.extend(g.nodes.iter().flat_map(|n| &n.regions));
    }
    false
}

/// The strongly connected parts of a graph: a number for each node, lower ones first in the order of the edges.
fn circles(nodes: usize, edges: &[(usize, usize, u32)]) -> Vec<usize> {
    let mut to: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    let mut from: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    for (a, b, _) in edges {
        to[*a].push(*b);
        from[*b].push(*a);
    }
    // Nodes in the order in which a search leaves them.
    let (mut seen, mut left) = (vec![false; nodes], Vec::with_capacity(nodes));
    for start in 0..nodes {
        let mut open = vec![(start, 0)];
        while let Some((at, next)) = open.pop() {
            if next == 0 && std::mem::replace(&mut seen[at], true) {
                continue;
            }
            match to[at].get(next) {
                Some(b) => {
                    open.push((at, next + 1));
                    if !seen[*b] {
                        open.push((*b, 0));
                    }
                }
                None => left.push(at),
            }
        }
    }
    let (mut of, mut count) = (vec![usize::MAX; nodes], 0);
    for start in left.into_iter().rev() {
        if of[start] != usize::MAX {
            continue;
        }
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut of[at], count) == usize::MAX {
                open.extend(from[at].iter().filter(|a| of[**a] == usize::MAX));
            }
        }
        count += 1;
    }
    of
}

/// What a value is before its stage begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Gate {
    /// Whatever comes out.
    Open,
    /// Zero.
    Zero,
    /// What this state starts with.
    Held(usize),
}

struct Retimer {
    facts: Facts,
    stages: Vec<Option<u32>>,
    new: Module,
    /// New values by old ones and the stage that they are for.
    at: FxHashMap<(ValueId, u32), ValueId>,
    gated: FxHashMap<(ValueId, Gate), ValueId>,
    lines: FxHashMap<(ValueId, Gate), LineId>,
    /// Lines whose source is still that of the model.
    open: Vec<(LineId, ValueId, Gate)>,
    conns: FxHashMap<(ConnId, u32), ConnId>,
}

fn wrong(v: ValueId) -> SplitError {
    SplitError(format!("`{v}` has no source"))
}

impl Retimer {
    fn new(facts: Facts, stages: Vec<Option<u32>>) -> Retimer {
        let mut new = facts.module.clone();
        (new.graph, new.lines) = (Graph::default(), Vec::new());
        let (at, gated) = (FxHashMap::default(), FxHashMap::default());
        let (lines, conns) = (FxHashMap::default(), FxHashMap::default());
        Retimer { facts, stages, new, at, gated, lines, open: Vec::new(), conns }
    }

    fn push(&mut self, op: Op, args: Vec<ValueId>, regions: Vec<Graph>) -> Result<Vec<ValueId>, SplitError> {
        self.new.builder().push(op, args, regions).map_err(|e| SplitError(e.to_string()))
    }

    fn one(&mut self, op: Op, args: Vec<ValueId>) -> Result<ValueId, SplitError> {
        self.push(op, args, Vec::new()).map(|r| r[0])
    }

    fn scalar(&mut self, t: Tensor) -> Result<ValueId, SplitError> {
        let id = self.new.add_const("", t);
        self.one(Op::Const { id }, Vec::new())
    }

    /// The stage of a value that a node of a stage computes.
    fn stage_of(&self, v: ValueId) -> u32 {
        self.facts.def[v.index()].and_then(|k| self.stages[k]).unwrap_or(0)
    }

    fn stage_of_state(&self, s: usize) -> u32 {
        self.stage_of(self.facts.module.states[s].next)
    }

    fn starts_at_zero(&self, s: usize) -> bool {
        let init = self.facts.module.states[s].init;
        self.facts.module.consts[init.index()].data.bytes().iter().all(|b| *b == 0)
    }

    /// How a value that crosses stages, or leaves the model, is gated: in one way, so that it is sent once.
    fn gate_of(&self, v: ValueId) -> Gate {
        let m = &self.facts.module;
        let next = m.states.iter().position(|s| s.next == v);
        match next {
            _ if self.stage_of(v) == 0 => Gate::Open,
            _ if m.lines.iter().any(|l| l.source == v) => Gate::Zero,
            Some(s) => self.gate_of_state(s),
            None => Gate::Open,
        }
    }

    /// How the next value of a state is gated.
    fn gate_of_state(&self, s: usize) -> Gate {
        match self.stage_of_state(s) {
            0 => Gate::Open,
            _ if self.starts_at_zero(s) => Gate::Zero,
            _ => Gate::Held(s),
        }
    }

    fn run(mut self) -> Result<Pipelined, SplitError> {
        let old = self.facts.module.clone();
        for p in &old.graph.params {
            let value = &old.graph.values[p.index()];
            let stage = match self.facts.kind(*p) {
                Kind::State(s) => self.stage_of_state(s),
                _ => 0,
            };
            let new = self.new.graph.add_param(value.ty.clone(), value.name.clone());
            self.at.insert((*p, stage), new);
        }
        for (k, node) in old.graph.nodes.iter().enumerate() {
            if let Some(stage) = self.stages[k] {
                self.node(node, stage)?;
            }
        }
        let param = |s: &Self, v: ValueId, stage: u32| s.at.get(&(v, stage)).copied().ok_or_else(|| wrong(v));
        for (k, s) in old.states.iter().enumerate() {
            let next = self.gate(s.next, self.gate_of_state(k))?;
            let read = param(&self, s.read, self.stage_of_state(k))?;
            self.new.states[k] = State { name: s.name.clone(), read, next, init: s.init };
        }
        for (k, p) in old.inputs.iter().enumerate() {
            self.new.inputs[k].value = param(&self, p.value, 0)?;
        }
        let (mut outputs, mut probes) = (Vec::new(), Vec::new());
        for (k, p) in old.outputs.iter().enumerate() {
            outputs.push(u64::from(self.stage_of(p.value)));
            self.new.outputs[k].value = self.leaving(p.value)?;
        }
        for (k, p) in old.probes.iter().enumerate() {
            let (stage, every) = (u64::from(self.stage_of(p.value)), p.every.max(1));
            let late = stage.next_multiple_of(every);
            let value = self.leaving(p.value)?;
            self.new.probes[k].value = match u32::try_from(late - stage) {
                Ok(0) => value,
                Ok(more) => {
                    let line = self.line_over(value, p.name.clone(), more);
                    self.one(Op::Delayed { line, ticks: more }, Vec::new())?
                }
                Err(_) => return Err(SplitError(format!("`{}` is recorded too seldom to be retimed", p.name))),
            };
            probes.push(late);
        }
        // What lines remember is there by now. It can take further lines.
        while let Some((line, v, gate)) = self.open.pop() {
            let source = self.gate(v, gate)?;
            self.new.lines[line.index()].source = source;
        }
        nc_ir::graph::verify::verify(&self.new).map_err(|e| SplitError(e.to_string()))?;
        Ok(Pipelined { module: self.new, outputs, probes })
    }

    /// A value that leaves the model: zero before its stage begins.
    fn leaving(&mut self, v: ValueId) -> Result<ValueId, SplitError> {
        let gate = if self.stage_of(v) == 0 { Gate::Open } else { Gate::Zero };
        self.gate(v, gate)
    }

    /// A node in its stage.
    fn node(&mut self, node: &Node, stage: u32) -> Result<(), SplitError> {
        let mut op = node.op.clone();
        let mut args = Vec::with_capacity(node.args.len());
        let mut from = 0;
        match &mut op {
            Op::Project { conn, line: line @ Some(_), now_count, .. }
            | Op::PlasticPre { conn, line: line @ Some(_), now_count, .. } => {
                from = *now_count;
                self.events(node, stage, conn, line, now_count, &mut args)?;
            }
            _ => {}
        }
        for a in &node.args[from..] {
            args.push(self.value(*a, stage)?);
        }
        let results = self.push(op, args, node.regions.clone())?;
        for (old, new) in node.results.iter().zip(results) {
            self.name(*old, new);
            self.at.insert((*old, stage), new);
        }
        Ok(())
    }

    fn name(&mut self, old: ValueId, new: ValueId) {
        let name = self.facts.module.graph.values[old.index()].name.clone();
        self.new.builder().name(new, &name);
    }

    /// The events of a connection with a delay line. Those of an earlier stage come by longer delays.
    fn events(
        &mut self,
        node: &Node,
        stage: u32,
        conn: &mut ConnId,
        line: &mut Option<LineId>,
        now_count: &mut usize,
        args: &mut Vec<ValueId>,
    ) -> Result<(), SplitError> {
        let Some(id) = *line else { return Ok(()) };
        let (source, depth) = (self.facts.module.lines[id.index()].source, self.facts.module.lines[id.index()].depth);
        let original = self.facts.original.get(&source);
        if *now_count > 0 && source != node.args[0] && original != Some(&node.args[0]) {
            let name = &self.facts.module.conns[conn.index()].name;
            let text = "takes the events of this tick and those of earlier ticks from two sources";
            return Err(SplitError(format!("`{name}` {text}")));
        }
        let from = self.stage_of(source);
        let gate = if from == 0 { Gate::Open } else { Gate::Zero };
        let more = stage - from;
        *line = Some(self.line(source, gate, depth + more));
        if more > 0 {
            *now_count = 0;
            *conn = self.later(*conn, more)?;
        } else if *now_count > 0 {
            args.push(self.gate(source, gate)?);
        }
        Ok(())
    }

    /// A connection whose delays are so many ticks longer.
    fn later(&mut self, conn: ConnId, more: u32) -> Result<ConnId, SplitError> {
        if let Some(id) = self.conns.get(&(conn, more)) {
            return Ok(*id);
        }
        let mut c = self.new.conns[conn.index()].clone();
        match &mut c.delay {
            SynapseDelay::Ticks(d) => *d += more,
            SynapseDelay::PerSynapse(id) | SynapseDelay::Kernel(id) => {
                let mut data = self.new.consts[id.index()].data.clone();
                data.as_mut_slice::<i64>().iter_mut().for_each(|d| *d += i64::from(more));
                *id = self.new.add_const("", data);
            }
            SynapseDelay::Region { body, max } => {
                *max += more;
                let id = self.new.add_const("", Tensor::scalar_i64(i64::from(more)));
                let failed = |e: nc_ir::graph::OpError| SplitError(e.to_string());
                let result = body.results.first().copied().ok_or_else(|| SplitError("a delay without value".into()))?;
                let pools = Pools { consts: &self.new.consts, lines: &[], conns: &[] };
                let mut b = GraphBuilder::new(body, pools);
                let by = b.constant(id).map_err(failed)?;
                let sum = b.add(result, by).map_err(failed)?;
                body.results = vec![sum];
            }
        }
        let id = ConnId(self.new.conns.len() as u32);
        self.new.conns.push(c);
        self.conns.insert((conn, more), id);
        Ok(id)
    }

    /// A value for a stage, which is not before its own.
    fn value(&mut self, v: ValueId, stage: u32) -> Result<ValueId, SplitError> {
        let mut open = vec![v];
        while let Some(x) = open.last().copied() {
            if self.at.contains_key(&(x, stage)) {
                open.pop();
                continue;
            }
            let again = match self.facts.kind(x) {
                Kind::Node(k) => match self.facts.whole_kind(x) {
                    Kind::Moved(_) if self.stages[k] != Some(stage) => Some(k),
                    _ => None,
                },
                Kind::Anywhere => self.facts.def[x.index()],
                _ => None,
            };
            let Some(k) = again else {
                let new = self.leaf(x, stage)?;
                self.at.insert((x, stage), new);
                continue;
            };
            let node = self.facts.module.graph.nodes[k].clone();
            let before = open.len();
            open.extend(node.args.iter().filter(|a| !self.at.contains_key(&(**a, stage))));
            if open.len() > before {
                continue;
            }
            let args = node.args.iter().map(|a| self.at[&(*a, stage)]).collect();
            let results = match node.op {
                Op::Tick if stage > 0 => {
                    let tick = self.one(Op::Tick, Vec::new())?;
                    let by = self.scalar(Tensor::scalar_i64(i64::from(stage)))?;
                    vec![self.one(Op::Sub, vec![tick, by])?]
                }
                op => self.push(op, args, node.regions.clone())?,
            };
            for (old, new) in node.results.iter().zip(results) {
                self.name(*old, new);
                self.at.insert((*old, stage), new);
            }
        }
        self.at.get(&(v, stage)).copied().ok_or_else(|| wrong(v))
    }

    /// A value that comes from another stage.
    fn leaf(&mut self, v: ValueId, stage: u32) -> Result<ValueId, SplitError> {
        let (source, gate, ticks) = match self.facts.kind(v) {
            Kind::Host(_) => (v, Gate::Open, stage),
            Kind::State(s) => {
                let (own, next) = (self.stage_of_state(s), self.facts.module.states[s].next);
                match own > 0 || self.starts_at_zero(s) {
                    true => (next, self.gate_of_state(s), stage - own + 1),
                    // Its first value is in no line over its next ones.
                    false => (v, Gate::Open, stage),
                }
            }
            Kind::Past(line, ticks) => {
                let source = self.facts.module.lines[line.index()].source;
                let own = self.stage_of(source);
                (source, if own == 0 { Gate::Open } else { Gate::Zero }, ticks + stage - own)
            }
            Kind::Node(k) => match self.stages[k] {
                Some(own) if own < stage => (v, self.gate_of(v), stage - own),
                _ => return Err(wrong(v)),
            },
            Kind::Anywhere | Kind::Moved(_) => return Err(wrong(v)),
        };
        let line = self.line(source, gate, ticks);
        let new = self.one(Op::Delayed { line, ticks }, Vec::new())?;
        self.name(v, new);
        Ok(new)
    }

    /// A line over a value of the model, at least so deep. What it remembers is set at the end.
    fn line(&mut self, v: ValueId, gate: Gate, depth: u32) -> LineId {
        if let Some(id) = self.lines.get(&(v, gate)) {
            let line = &mut self.new.lines[id.index()];
            line.depth = line.depth.max(depth);
            return *id;
        }
        let name = self.facts.module.graph.name_of(v);
        let ty = self.facts.module.graph.ty(v).clone();
        let id = LineId(self.new.lines.len() as u32);
        self.new.lines.push(DelayLine { name, source: v, ty, depth });
        self.lines.insert((v, gate), id);
        self.open.push((id, v, gate));
        id
    }

    /// A line over a new value.
    fn line_over(&mut self, source: ValueId, name: String, depth: u32) -> LineId {
        let ty = self.new.graph.ty(source).clone();
        let id = LineId(self.new.lines.len() as u32);
        self.new.lines.push(DelayLine { name, source, ty, depth });
        id
    }

    /// A value at its own stage, behind a gate.
    fn gate(&mut self, v: ValueId, gate: Gate) -> Result<ValueId, SplitError> {
        if let Some(new) = self.gated.get(&(v, gate)) {
            return Ok(*new);
        }
        let stage = self.stage_of(v);
        // The source of a line may have a node of its own that only renames it.
        let v0 = self.facts.original.get(&v).copied().unwrap_or(v);
        let plain = match self.at.get(&(v, stage)) {
            Some(new) => *new,
            None => self.value(v0, stage)?,
        };
        let other = match gate {
            Gate::Open => return Ok(plain),
            Gate::Zero => match self.new.graph.ty(plain).dtype {
                DType::Bool => None,
                dtype => Some(self.scalar(Tensor::zeros(dtype, Vec::new()))?),
            },
            Gate::Held(s) => {
                let read = self.facts.module.states[s].read;
                Some(self.at.get(&(read, stage)).copied().ok_or_else(|| wrong(read))?)
            }
        };
        let tick = self.one(Op::Tick, Vec::new())?;
        let from = self.scalar(Tensor::scalar_i64(i64::from(stage)))?;
        let open = self.one(Op::Ge, vec![tick, from])?;
        let new = match other {
            Some(other) => self.one(Op::Select, vec![open, plain, other])?,
            None => self.one(Op::And, vec![open, plain])?,
        };
        self.name(v, new);
        self.gated.insert((v, gate), new);
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_and_come_in_order() {
        // 0 -> 1 <-> 2 -> 3, 4 alone.
        let of = circles(5, &[(0, 1, 1), (1, 2, 0), (2, 1, 0), (2, 3, 1)]);
        assert_eq!(of[1], of[2]);
        assert!(of[0] < of[1] && of[2] < of[3]);
        let different: std::collections::BTreeSet<usize> = of.iter().copied().collect();
        assert_eq!(different.len(), 4);
    }
}
