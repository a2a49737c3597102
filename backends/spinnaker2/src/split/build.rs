//! Writes the pieces.

use super::facts::{Facts, Kind};
use super::uses::{Use, axis_of, constant, extents, for_rows, row_count, uses};
use super::{Feed, Piece, Population, Signal, Split, SplitError};
use nc_ir::graph::connect::{Delays, SynapseTable, Weights, expand};
use nc_ir::graph::{
    ConnId, Connectivity, ConstId, DelayLine, Graph, LineId, Module, Node, Op, Port, Rule, State, SynapseDelay,
    SynapseWeight, ValueId,
};
use nc_ir::tensor::Tensor;
use nc_ir::types::{DType, TensorType};
use rustc_hash::FxHashMap;
use std::ops::Range;

type Rows = Option<Range<u64>>;

/// Splits a solved module with known extents. `parts` says into how many pieces of nearly equal numbers of rows a
/// population is split, at least 1 and at most its rows; populations that are not divisible are not asked about.
/// At most `max_synapses` synapses are expanded.
///
/// # Errors
/// If extents are not known, equations are not solved, or synapses cannot be expanded.
pub fn split(
    module: &Module,
    mut parts: impl FnMut(&Population) -> u64,
    max_synapses: u64,
) -> Result<Split, SplitError> {
    let mut facts = Facts::new(module.clone())?;
    let parts: Vec<u64> =
        facts.populations.iter().map(|p| if p.divisible { parts(p).clamp(1, p.rows) } else { 1 }).collect();
    let is_split: Vec<bool> = parts.iter().map(|n| *n > 1).collect();
    facts.order(&is_split);
    let b = Builder {
        facts,
        is_split,
        signals: Vec::new(),
        of: FxHashMap::default(),
        tables: FxHashMap::default(),
        left: max_synapses,
    };
    b.run(&parts)
}

/// The rows of a part of a population.
fn rows_of(rows: u64, part: u64, parts: u64) -> Rows {
    let at = |p: u64| rows / parts * p + (rows % parts).min(p);
    (parts > 1).then(|| at(part)..at(part + 1))
}

struct Builder {
    facts: Facts,
    is_split: Vec<bool>,
    signals: Vec<Signal>,
    of: FxHashMap<ValueId, usize>,
    tables: FxHashMap<ConnId, SynapseTable>,
    left: u64,
}

/// A piece that is being written.
struct Writer {
    piece: Piece,
    population: usize,
    /// New values of the piece's rows, and of whole values.
    rows: FxHashMap<ValueId, ValueId>,
    full: FxHashMap<ValueId, ValueId>,
    fed: Vec<(Feed, ValueId)>,
    consts: FxHashMap<ConstId, ConstId>,
    /// The piece's delay lines by what they remember.
    lines: FxHashMap<ValueId, LineId>,
}

impl Builder {
    fn run(mut self, parts: &[u64]) -> Result<Split, SplitError> {
        let mut nodes: FxHashMap<(usize, u32), Vec<usize>> = FxHashMap::default();
        let mut order: Vec<(u32, usize)> = Vec::new();
        for (k, node) in self.facts.module.graph.nodes.iter().enumerate() {
            let Some(first) = node.results.first() else { continue };
            if !self.facts.live[k] || !matches!(self.facts.kind(*first), Kind::Node(_)) {
                continue;
            }
            let key = (self.facts.population[first.index()], self.facts.level[k]);
            let list = nodes.entry(key).or_default();
            if list.is_empty() {
                order.push((key.1, key.0));
            }
            list.push(k);
        }
        order.sort_unstable();
        let mut writers = Vec::new();
        for (level, p) in order {
            for part in 0..parts[p] {
                let rows = rows_of(self.facts.populations[p].rows, part, parts[p]);
                writers.push(self.piece(p, level, rows, &nodes[&(p, level)])?);
            }
        }
        let module = self.facts.module.clone();
        let outputs = module.outputs.iter().map(|o| self.signal(o.value)).collect();
        let probes = module.probes.iter().map(|o| self.signal(o.value)).collect();
        let mut pieces = Vec::new();
        for mut w in writers {
            for (s, signal) in self.signals.iter().enumerate() {
                if self.facts.population[signal.value.index()] == w.population
                    && let Some(v) = w.rows.get(&signal.value)
                    && self.facts.def[signal.value.index()].is_some_and(|k| self.facts.level[k] == w.piece.level)
                {
                    w.piece.module.outputs.push(Port { name: format!("out{s}"), value: *v });
                    w.piece.gives.push(s);
                }
            }
            pieces.push(w.piece);
        }
        let levels = pieces.iter().map(|p| p.level + 1).max().unwrap_or(0);
        let populations = self.facts.populations;
        Ok(Split { pieces, signals: self.signals, levels, outputs, probes, populations })
    }

    fn signal(&mut self, value: ValueId) -> usize {
        let (signals, graph) = (&mut self.signals, &self.facts.module.graph);
        let root = self.facts.original.get(&value).copied().unwrap_or(value);
        *self.of.entry(value).or_insert_with(|| {
            signals.push(Signal { value, root, name: graph.name_of(value), ty: graph.ty(value).clone() });
            signals.len() - 1
        })
    }

    fn piece(&mut self, population: usize, level: u32, rows: Rows, nodes: &[usize]) -> Result<Writer, SplitError> {
        let name = self.facts.populations[population].name.clone();
        let old = &self.facts.module;
        let module = Module {
            name: match &rows {
                Some(r) => format!("{name}[{}..{}].{level}", r.start, r.end),
                None => format!("{name}.{level}"),
            },
            dt: old.dt,
            seed: old.seed,
            ..Module::default()
        };
        let piece = Piece { name, population, rows, level, module, feeds: Vec::new(), gives: Vec::new() };
        let mut w = Writer {
            piece,
            population,
            rows: FxHashMap::default(),
            full: FxHashMap::default(),
            fed: Vec::new(),
            consts: FxHashMap::default(),
            lines: FxHashMap::default(),
        };
        for k in nodes {
            let node = self.facts.module.graph.nodes[*k].clone();
            if let Some(new) = self.slice(&mut w, &node)? {
                w.rows.insert(node.results[0], new);
                continue;
            }
            let new = match self.shifted(&mut w, &node)? {
                Some(new) => vec![new],
                None => {
                    let args = self.operands(&mut w, &node)?;
                    self.compute(&mut w, &node, args)?
                }
            };
            for (old, new) in node.results.iter().zip(new) {
                w.rows.insert(*old, new);
            }
        }
        // The states whose next value is computed here and that are read here.
        let states = self.facts.module.states.clone();
        for s in &states {
            if let (Some(read), Some(next)) = (w.rows.get(&s.read).copied(), w.rows.get(&s.next).copied())
                && self.keeps(&w, s.read)
            {
                let init = self.initial(&mut w, s.init);
                w.piece.module.states.push(State { name: s.name.clone(), read, next, init });
            }
        }
        w.piece.module.sparse = self.sparse(&w);
        Ok(w)
    }

    /// What a node of the piece takes.
    fn operands(&mut self, w: &mut Writer, node: &Node) -> Result<Vec<ValueId>, SplitError> {
        let uses = uses(&self.facts.module, node);
        let mut args = Vec::with_capacity(node.args.len());
        for (j, a) in node.args.iter().enumerate() {
            args.push(match (uses.as_ref().map(|u| u[j]), w.piece.rows.clone()) {
                (Some(Use::Rows), _) => self.own(w, *a)?,
                (Some(Use::Along(axis)), Some(r)) => self.along(w, *a, axis, &r)?,
                _ => self.whole(w, *a)?,
            });
        }
        Ok(args)
    }

    /// As much of a constant along an axis as the piece has rows.
    fn along(&self, w: &mut Writer, v: ValueId, axis: usize, r: &Range<u64>) -> Result<ValueId, SplitError> {
        let none = || SplitError(format!("`{v}` is not a constant"));
        let data = &self.facts.module.consts[constant(&self.facts.module, v).ok_or_else(none)?.index()].data;
        let id = w.piece.module.add_const("", along(data, axis, r));
        push(&mut w.piece.module, Op::Const { id }, vec![], vec![]).map(|r| r[0])
    }

    /// The piece's rows of a slice whose rows lie elsewhere in its operand.
    fn shifted(&mut self, w: &mut Writer, node: &Node) -> Result<Option<ValueId>, SplitError> {
        let Op::Slice { start, stop, step } = &node.op else { return Ok(None) };
        let Some(Use::Shifted(lo)) = uses(&self.facts.module, node).map(|u| u[0]) else { return Ok(None) };
        let Some(r) = w.piece.rows.clone() else { return Ok(None) };
        let axis = axis_of(&extents(&self.facts.module.graph, node.results[0]));
        let own = lo + r.start..lo + r.end;
        let (mut start, mut stop) = (start.clone(), stop.clone());
        let fed = match self.fed_rows(w, node.args[0], own.clone()) {
            Some(fed) => {
                (start[axis], stop[axis]) = (0, own.end - own.start);
                fed
            }
            None => {
                (start[axis], stop[axis]) = (own.start, own.end);
                self.whole(w, node.args[0])?
            }
        };
        let op = Op::Slice { start, stop, step: step.clone() };
        push(&mut w.piece.module, op, vec![fed], vec![]).map(|r| Some(r[0]))
    }

    /// Some rows of a value that comes from elsewhere, if they can come alone.
    fn fed_rows(&mut self, w: &mut Writer, v: ValueId, rows: Range<u64>) -> Option<ValueId> {
        match self.facts.whole_kind(v) {
            Kind::Host(input) => Some(self.feed(w, v, Feed::Host { input, rows: Some(rows) })),
            Kind::State(s) => Some(self.late_state(w, s, Some(rows))),
            Kind::Node(_) => {
                let signal = self.signal(v);
                Some(self.feed(w, v, Feed::Now { signal, rows: Some(rows) }))
            }
            Kind::Anywhere | Kind::Past(..) | Kind::Moved(_) => None,
        }
    }

    /// Names of the piece's inputs and states that are mostly zero.
    fn sparse(&self, w: &Writer) -> Vec<String> {
        let old = &self.facts.module;
        let is = |name: &String| old.sparse.contains(name);
        let mut names: Vec<String> =
            w.piece.module.states.iter().filter(|s| is(&s.name)).map(|s| s.name.clone()).collect();
        for (k, feed) in w.piece.feeds.iter().enumerate() {
            let sparse = match feed {
                Feed::Host { input, .. } => is(&old.inputs[*input].name),
                Feed::Late { signal, .. } | Feed::Now { signal, .. } => {
                    old.states.iter().any(|s| s.next == self.signals[*signal].value && is(&s.name))
                }
            };
            if sparse {
                names.push(w.piece.module.inputs[k].name.clone());
            }
        }
        names
    }

    /// True if the piece holds a state: it computes the next value.
    fn keeps(&self, w: &Writer, read: ValueId) -> bool {
        let Kind::State(s) = self.facts.kind(read) else { return false };
        let next = self.facts.module.states[s].next;
        self.facts.population[next.index()] == w.population
            && self.facts.def[next.index()].is_some_and(|k| self.facts.level[k] == w.piece.level)
    }

    fn initial(&self, w: &mut Writer, init: ConstId) -> ConstId {
        let data = &self.facts.module.consts[init.index()].data;
        let data = match &w.piece.rows {
            Some(r) if !data.shape().is_empty() => rows(data, r),
            _ => data.clone(),
        };
        w.piece.module.add_const("", data)
    }

    /// The type of some rows of a value.
    fn ty(&self, v: ValueId, r: &Rows) -> TensorType {
        let mut shape = extents(&self.facts.module.graph, v);
        let axis = axis_of(&shape);
        if let (Some(r), Some(n)) = (r, shape.get_mut(axis)) {
            *n = r.end - r.start;
        }
        TensorType::new(self.facts.module.graph.ty(v).dtype, shape)
    }

    /// The input of a piece that a feed comes in by.
    fn feed(&mut self, w: &mut Writer, v: ValueId, feed: Feed) -> ValueId {
        if let Some((_, v)) = w.fed.iter().find(|(f, _)| *f == feed) {
            return *v;
        }
        let r = match &feed {
            Feed::Host { rows, .. } | Feed::Now { rows, .. } | Feed::Late { rows, .. } => rows.clone(),
        };
        let ty = self.ty(v, &r);
        let name = format!("in{}", w.piece.feeds.len());
        let value = w.piece.module.graph.add_param(ty, name.clone());
        w.piece.module.inputs.push(Port { name, value });
        w.piece.feeds.push(feed.clone());
        w.fed.push((feed, value));
        value
    }

    /// The piece's rows of a value.
    fn own(&mut self, w: &mut Writer, v: ValueId) -> Result<ValueId, SplitError> {
        if let Some(v) = w.rows.get(&v) {
            return Ok(*v);
        }
        let r = w.piece.rows.clone();
        if self.facts.turned(v) && self.facts.population[v.index()] != w.population {
            return match &r {
                None => self.whole(w, v),
                Some(r) => self.rows_anywhere(w, v, r),
            };
        }
        let new = match self.facts.kind(v) {
            Kind::Host(input) => self.feed(w, v, Feed::Host { input, rows: r }),
            Kind::State(_) if self.keeps(w, v) => {
                let name = self.facts.module.graph.name_of(v);
                w.piece.module.graph.add_param(self.ty(v, &r), name)
            }
            Kind::State(s) => self.late_state(w, s, r),
            Kind::Past(line, ticks) => self.past(w, line, ticks, r)?,
            Kind::Anywhere => match r {
                None => self.whole(w, v)?,
                Some(r) => self.rows_anywhere(w, v, &r)?,
            },
            Kind::Node(_) | Kind::Moved(_) => {
                let signal = self.signal(v);
                self.feed(w, v, Feed::Now { signal, rows: r })
            }
        };
        w.rows.insert(v, new);
        Ok(new)
    }

    fn rows_anywhere(&mut self, w: &mut Writer, v: ValueId, r: &Range<u64>) -> Result<ValueId, SplitError> {
        if let Some(k) = self.facts.def[v.index()]
            && let Op::Const { id } = self.facts.module.graph.nodes[k].op
        {
            let data = &self.facts.module.consts[id.index()].data;
            if extents(&self.facts.module.graph, v).len() == data.shape().len() {
                let data = rows(data, r);
                let id = w.piece.module.add_const("", data);
                return push(&mut w.piece.module, Op::Const { id }, vec![], vec![]).map(|r| r[0]);
            }
        }
        let whole = self.whole(w, v)?;
        let shape = extents(&self.facts.module.graph, v);
        let mut start = vec![0; shape.len()];
        let step = vec![1; shape.len()];
        let axis = axis_of(&shape);
        let mut stop = shape;
        (start[axis], stop[axis]) = (r.start, r.end);
        push(&mut w.piece.module, Op::Slice { start, stop, step }, vec![whole], vec![]).map(|r| r[0])
    }

    fn late_state(&mut self, w: &mut Writer, s: usize, rows: Rows) -> ValueId {
        let (next, init) = (self.facts.module.states[s].next, self.facts.module.states[s].init);
        let init = self.facts.module.consts[init.index()].data.clone();
        let signal = self.signal(next);
        self.feed(w, next, Feed::Late { signal, rows, init })
    }

    /// What the source of a line was `ticks` ticks ago. The signal is that of the tick before; a line in the piece
    /// remembers the rest.
    fn past(&mut self, w: &mut Writer, line: LineId, ticks: u32, rows: Rows) -> Result<ValueId, SplitError> {
        let late = self.late_source(w, line, rows);
        if ticks <= 1 {
            return Ok(late);
        }
        let line = remember(w, late, ticks - 1);
        push(&mut w.piece.module, Op::Delayed { line, ticks: ticks - 1 }, vec![], vec![]).map(|r| r[0])
    }

    fn late_source(&mut self, w: &mut Writer, line: LineId, rows: Rows) -> ValueId {
        let source = self.facts.module.lines[line.index()].source;
        let init = Tensor::zeros(self.facts.module.lines[line.index()].ty.dtype, Vec::new());
        let signal = self.signal(source);
        self.feed(w, source, Feed::Late { signal, rows, init })
    }

    /// All of a value.
    fn whole(&mut self, w: &mut Writer, v: ValueId) -> Result<ValueId, SplitError> {
        let local = w.piece.rows.is_none() && self.facts.local(v, Some(w.population), &self.is_split);
        if local && !matches!(self.facts.kind(v), Kind::Anywhere) {
            return self.own(w, v);
        }
        if let Some(v) = w.full.get(&v) {
            return Ok(*v);
        }
        let new = match self.facts.whole_kind(v) {
            Kind::Host(input) => self.feed(w, v, Feed::Host { input, rows: None }),
            Kind::State(s) => self.late_state(w, s, None),
            Kind::Past(line, ticks) => self.past(w, line, ticks, None)?,
            Kind::Node(_) => {
                let signal = self.signal(v);
                self.feed(w, v, Feed::Now { signal, rows: None })
            }
            Kind::Moved(k) => self.again(w, k, v)?,
            Kind::Anywhere => {
                let Some(k) = self.facts.def[v.index()] else {
                    return Err(SplitError(format!("`{v}` has no source")));
                };
                match self.facts.module.graph.nodes[k].op {
                    Op::Const { id } => {
                        let id = self.constant(w, id);
                        push(&mut w.piece.module, Op::Const { id }, vec![], vec![])?[0]
                    }
                    _ => self.again(w, k, v)?,
                }
            }
        };
        w.full.insert(v, new);
        Ok(new)
    }

    /// Computes a node in this piece, whole.
    fn again(&mut self, w: &mut Writer, k: usize, v: ValueId) -> Result<ValueId, SplitError> {
        let node = self.facts.module.graph.nodes[k].clone();
        if let Some(v) = self.slice(w, &node)? {
            return Ok(v);
        }
        let args = node.args.iter().map(|a| self.whole(w, *a)).collect::<Result<Vec<_>, _>>()?;
        let regions = self.regions(w, node.regions);
        let results = push(&mut w.piece.module, node.op, args, regions)?;
        let at = node.results.iter().position(|r| *r == v).unwrap_or(0);
        Ok(results[at])
    }

    /// A slice, computed whole, of a value that comes from elsewhere: only the rows that it takes are fed.
    fn slice(&mut self, w: &mut Writer, node: &Node) -> Result<Option<ValueId>, SplitError> {
        let Op::Slice { start, stop, step } = &node.op else { return Ok(None) };
        let v = node.args[0];
        let whole = extents(&self.facts.module.graph, v);
        let axis = axis_of(&whole);
        let (Some(lo), Some(hi), Some(1)) = (start.get(axis), stop.get(axis), step.get(axis)) else { return Ok(None) };
        let local = w.piece.rows.is_none() && self.facts.local(v, Some(w.population), &self.is_split);
        // Axes before that of the rows have one element.
        let all = (0..axis).all(|k| (start[k], stop[k]) == (0, 1));
        if w.piece.rows.is_some() && uses(&self.facts.module, node).is_some()
            || local
            || lo >= hi
            || !all
            || (*lo, Some(*hi)) == (0, row_count(&whole))
        {
            return Ok(None);
        }
        let Some(fed) = self.fed_rows(w, v, *lo..*hi) else { return Ok(None) };
        let (mut start, mut stop) = (start.clone(), stop.clone());
        (start[axis], stop[axis]) = (0, hi - lo);
        let op = Op::Slice { start, stop, step: step.clone() };
        push(&mut w.piece.module, op, vec![fed], vec![]).map(|r| Some(r[0]))
    }

    /// A node of the piece, for its rows.
    fn compute(&mut self, w: &mut Writer, node: &Node, args: Vec<ValueId>) -> Result<Vec<ValueId>, SplitError> {
        let mut op = node.op.clone();
        if let (Some(r), Some(first)) = (&w.piece.rows, node.results.first()) {
            for_rows(&mut op, &extents(&self.facts.module.graph, *first), r);
        }
        let mut args = args;
        match &mut op {
            Op::Project { conn, line, now_count, .. } | Op::PlasticPre { conn, line, now_count, .. } => {
                let mut earlier = 0;
                if let Some(id) = *line {
                    let depth = self.facts.module.lines[id.index()].depth;
                    if *now_count == 0 {
                        // The signal of the tick before stands for this tick's: every delay is one less.
                        earlier = 1;
                        let late = self.late_source(w, id, None);
                        args.insert(0, late);
                        *now_count = 1;
                    }
                    let now = node.args.first().filter(|_| earlier == 0);
                    if now.is_some_and(|v| !self.is_source(*v, id)) {
                        return Err(SplitError(format!(
                            "`{}` takes the events of this tick and those of earlier ticks from two sources",
                            self.facts.module.conns[conn.index()].name
                        )));
                    }
                    let depth = depth - earlier;
                    *line = (depth > 0).then(|| remember(w, args[0], depth));
                }
                *conn = self.synapses(w, *conn, earlier)?;
            }
            Op::PlasticPost { conn } => *conn = self.synapses(w, *conn, 0)?,
            _ => {}
        }
        let regions = self.regions(w, node.regions.clone());
        push(&mut w.piece.module, op, args, regions)
    }

    /// True if a line remembers this value, perhaps under the name that makes it a node's.
    fn is_source(&self, v: ValueId, line: LineId) -> bool {
        let source = self.facts.module.lines[line.index()].source;
        let renamed = |k: usize| {
            let node = &self.facts.module.graph.nodes[k];
            matches!(node.op, Op::Reshape { .. }) && node.args == [v]
        };
        source == v || self.facts.def[source.index()].is_some_and(renamed)
    }

    /// Regions with the constants that they name in the piece's pool.
    fn regions(&self, w: &mut Writer, mut regions: Vec<Graph>) -> Vec<Graph> {
        for node in regions.iter_mut().flat_map(|g| &mut g.nodes) {
            if let Op::Const { id } = &mut node.op {
                *id = self.constant(w, *id);
            }
            node.regions = self.regions(w, std::mem::take(&mut node.regions));
        }
        regions
    }

    /// A constant of the model, in the piece's pool.
    fn constant(&self, w: &mut Writer, id: ConstId) -> ConstId {
        let Writer { consts, piece, .. } = w;
        let data = || self.facts.module.consts[id.index()].data.clone();
        *consts.entry(id).or_insert_with(|| piece.module.add_const("", data()))
    }

    /// The synapses of the piece's targets, with delays that are `earlier` less.
    fn synapses(&mut self, w: &mut Writer, conn: ConnId, earlier: u32) -> Result<ConnId, SplitError> {
        if !self.tables.contains_key(&conn) {
            let c = &self.facts.module.conns[conn.index()];
            let table = expand(c, self.facts.module.pools(), self.left).map_err(|e| SplitError(e.message.clone()))?;
            self.left = self.left.saturating_sub(table.len() as u64);
            self.tables.insert(conn, table);
        }
        let table = &self.tables[&conn];
        let c = &self.facts.module.conns[conn.index()];
        let targets = w.piece.rows.clone().unwrap_or(0..c.post_len);
        let (mut pre, mut post, mut weight, mut delay) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for i in 0..table.pre_len() {
            for s in table.row(i) {
                let j = u64::from(table.post[s]);
                if targets.contains(&j) {
                    pre.push(i as i64);
                    post.push((j - targets.start) as i64);
                    weight.push(table.weight.at(s));
                    delay.push(i64::from(table.delay.at(s) - earlier));
                }
            }
        }
        let n = pre.len();
        let m = &mut w.piece.module;
        let vector = |x: Vec<i64>| Tensor::from_vec(vec![n], x).unwrap_or_else(|| Tensor::zeros(DType::I64, vec![0]));
        let (pre_id, post_id) = (m.add_const("", vector(pre)), m.add_const("", vector(post)));
        let weight = match &table.weight {
            Weights::Scalar(x) => SynapseWeight::Scalar(m.add_const("", Tensor::scalar_f32(*x))),
            Weights::Per(_) => {
                let data = Tensor::from_vec(vec![n], weight).unwrap_or_else(|| Tensor::zeros(DType::F32, vec![0]));
                SynapseWeight::PerSynapse(m.add_const("", data))
            }
        };
        let delay = match &table.delay {
            Delays::Uniform(d) => SynapseDelay::Ticks(d.saturating_sub(earlier)),
            Delays::Per(_) => SynapseDelay::PerSynapse(m.add_const("", vector(delay))),
        };
        let (pre_len, post_len) = (c.pre_len, targets.end - targets.start);
        let id = ConnId(m.conns.len() as u32);
        m.conns.push(Connectivity {
            name: c.name.clone(),
            pre_len,
            post_len,
            pre: 0..pre_len,
            post: 0..post_len,
            rule: Rule::Table { pre: pre_id, post: post_id },
            weight,
            delay,
        });
        Ok(id)
    }
}

/// A delay line of the piece over one of its values, of at least this depth.
fn remember(w: &mut Writer, source: ValueId, depth: u32) -> LineId {
    let m = &mut w.piece.module;
    if let Some(id) = w.lines.get(&source) {
        let line = &mut m.lines[id.index()];
        line.depth = line.depth.max(depth);
        return *id;
    }
    let id = LineId(m.lines.len() as u32);
    let (name, ty) = (m.graph.name_of(source), m.graph.ty(source).clone());
    m.lines.push(DelayLine { name, source, ty, depth });
    w.lines.insert(source, id);
    id
}

fn push(m: &mut Module, op: Op, args: Vec<ValueId>, regions: Vec<Graph>) -> Result<Vec<ValueId>, SplitError> {
    m.builder().push(op, args, regions).map_err(|e| SplitError(e.to_string()))
}

/// Some rows of a tensor.
pub(super) fn rows(t: &Tensor, r: &Range<u64>) -> Tensor {
    let shape: Vec<u64> = t.shape().iter().map(|n| *n as u64).collect();
    along(t, axis_of(&shape), r)
}

/// Part of a tensor along an axis.
fn along(t: &Tensor, axis: usize, r: &Range<u64>) -> Tensor {
    let mut shape = t.shape().to_vec();
    let inner: usize = shape[axis + 1..].iter().product::<usize>() * t.dtype().size();
    let outer: usize = shape[..axis].iter().product();
    let (lo, hi) = (r.start as usize * inner, r.end as usize * inner);
    let row = shape[axis] * inner;
    shape[axis] = (r.end - r.start) as usize;
    let bytes: Vec<u8> = (0..outer).flat_map(|k| &t.bytes()[k * row + lo..k * row + hi]).copied().collect();
    Tensor::from_bytes(t.dtype(), shape, &bytes).unwrap_or_else(|| t.clone())
}
