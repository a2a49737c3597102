//! Writes the pieces.

use super::facts::{Facts, Kind};
use super::reach::Picked;
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
use std::sync::Arc;

type Rows = Option<Range<u64>>;

/// The rows of a population in the order in which they are dealt out, if it is not the model's.
pub(super) type Order = Option<Arc<Vec<u32>>>;

/// Splits a solved module with known extents. `parts` says into how many pieces of nearly equal numbers of rows a
/// population is split, at least 1 and at most its rows; populations that are not divisible are not asked about.
/// At most `max_synapses` synapses are expanded.
///
/// # Errors
/// If extents are not known, equations are not solved, or synapses cannot be expanded.
pub fn split(module: &Module, parts: impl FnMut(&Population) -> u64, max_synapses: u64) -> Result<Split, SplitError> {
    split_ordered(module, parts, &[], max_synapses)
}

/// As [`split`], where some populations, by their numbers, have their rows in another order: row `order[q]` of the model is
/// the q-th that is dealt out. Such an order comes from [`crate::mapping::orders`], which knows what may have one.
///
/// # Errors
/// As [`split`].
pub fn split_ordered(
    module: &Module,
    mut parts: impl FnMut(&Population) -> u64,
    orders: &[Option<Arc<Vec<u32>>>],
    max_synapses: u64,
) -> Result<Split, SplitError> {
    let mut facts = Facts::new(module.clone())?;
    let parts: Vec<u64> =
        facts.populations.iter().map(|p| if p.divisible { parts(p).clamp(1, p.rows) } else { 1 }).collect();
    let is_split: Vec<bool> = parts.iter().map(|n| *n > 1).collect();
    facts.order(&is_split);
    let order = |p: usize| {
        let o = orders.get(p).cloned().flatten();
        o.filter(|o| is_split[p] && o.len() as u64 == facts.populations[p].rows)
    };
    let b = Builder {
        orders: (0..parts.len()).map(order).collect(),
        facts,
        parts: parts.clone(),
        is_split,
        signals: Vec::new(),
        of: FxHashMap::default(),
        tables: FxHashMap::default(),
        left: max_synapses,
    };
    b.run(&parts)
}

/// The rows of a part of a population.
pub(super) fn rows_of(rows: u64, part: u64, parts: u64) -> Rows {
    let at = |p: u64| rows / parts * p + (rows % parts).min(p);
    (parts > 1).then(|| at(part)..at(part + 1))
}

pub(super) struct Builder {
    pub(super) facts: Facts,
    /// Into how many pieces each population is split.
    pub(super) parts: Vec<u64>,
    /// The order of each population's rows, if it is not the model's.
    orders: Vec<Order>,
    pub(super) is_split: Vec<bool>,
    signals: Vec<Signal>,
    of: FxHashMap<ValueId, usize>,
    tables: FxHashMap<ConnId, SynapseTable>,
    left: u64,
}

/// A piece that is being written.
pub(super) struct Writer {
    pub(super) piece: Piece,
    pub(super) population: usize,
    /// New values of the piece's rows, and of whole values.
    rows: FxHashMap<ValueId, ValueId>,
    full: FxHashMap<ValueId, ValueId>,
    fed: Vec<(Feed, ValueId)>,
    consts: FxHashMap<ConstId, ConstId>,
    /// What it receives of the sources of connections, by source and whether they are those of the tick before.
    pub(super) picked: FxHashMap<(ValueId, bool), Option<Picked>>,
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
        let (orders, population) = (&self.orders, &self.facts.population);
        let root = self.facts.original.get(&value).copied().unwrap_or(value);
        *self.of.entry(value).or_insert_with(|| {
            let order = orders[population[value.index()]].clone();
            signals.push(Signal { value, root, name: graph.name_of(value), ty: graph.ty(value).clone(), order });
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
        let order = match (&rows, &self.orders[population]) {
            (Some(r), Some(o)) => Some(o[r.start as usize..r.end as usize].to_vec()),
            _ => None,
        };
        let piece = Piece { name, population, rows, order, level, module, feeds: Vec::new(), gives: Vec::new() };
        let mut w = Writer {
            piece,
            population,
            rows: FxHashMap::default(),
            full: FxHashMap::default(),
            fed: Vec::new(),
            consts: FxHashMap::default(),
            picked: FxHashMap::default(),
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
                    let picked = self.picked(&mut w, &node, nodes)?;
                    let args = self.operands(&mut w, &node, picked.as_ref())?;
                    self.compute(&mut w, &node, args, picked.as_ref())?
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
    fn operands(&mut self, w: &mut Writer, node: &Node, picked: Option<&Picked>) -> Result<Vec<ValueId>, SplitError> {
        let uses = uses(&self.facts.module, node);
        let mut args = Vec::with_capacity(node.args.len());
        for (j, a) in node.args.iter().enumerate() {
            if let Some(p) = picked.filter(|p| j == 0 && !p.late) {
                args.push(p.value);
                continue;
            }
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
    pub(super) fn fed_rows(&mut self, w: &mut Writer, v: ValueId, rows: Range<u64>) -> Option<ValueId> {
        if self.order(v).is_some() {
            return None;
        }
        self.fed_places(w, v, rows)
    }

    /// As [`Builder::fed_rows`], by places in the order in which they are dealt out.
    pub(super) fn fed_places(&mut self, w: &mut Writer, v: ValueId, rows: Range<u64>) -> Option<ValueId> {
        match self.facts.whole_kind(v) {
            Kind::Host(input) => Some(self.feed(w, v, Feed::Host { input, rows: Some(rows) })),
            Kind::State(s) => Some(self.late_state(w, s, Some(rows))),
            Kind::Node(_) => {
                let signal = self.signal(v);
                Some(self.feed(w, v, Feed::Now { signal, rows: Some(rows) }))
            }
            Kind::Past(line, ticks) => self.past(w, line, ticks, Some(rows)).ok(),
            Kind::Anywhere | Kind::Moved(_) => None,
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
        let data = match (&w.piece.rows, self.listed(w)) {
            (Some(_), Some(list)) if !data.shape().is_empty() => picked_rows(data, list),
            (Some(r), None) if !data.shape().is_empty() => rows(data, r),
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
        let foreign = !matches!(self.facts.kind(v), Kind::Anywhere) && self.home(v) != Some(w.population);
        if foreign && (self.listed(w).is_some() || self.order(v).is_some()) {
            // What passes between two orders is put in the model's.
            let new = match &r {
                None => self.whole(w, v)?,
                Some(r) => self.rows_anywhere(w, v, r)?,
            };
            w.rows.insert(v, new);
            return Ok(new);
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

    /// The population whose order the rows of a value have when they are fed.
    fn home(&self, v: ValueId) -> Option<usize> {
        match self.facts.kind(v) {
            Kind::Host(_) | Kind::Anywhere => None,
            Kind::State(s) => Some(self.facts.population[self.facts.module.states[s].next.index()]),
            Kind::Past(line, _) => Some(self.facts.population[self.facts.module.lines[line.index()].source.index()]),
            Kind::Node(_) | Kind::Moved(_) => Some(self.facts.population[v.index()]),
        }
    }

    /// The order of the rows of a value when they are fed.
    pub(super) fn order(&self, v: ValueId) -> Order {
        self.home(v).and_then(|p| self.orders[p].clone())
    }

    /// The model's rows that a piece has, if they are not a range.
    pub(super) fn listed(&self, w: &Writer) -> Option<&[u32]> {
        let r = w.piece.rows.as_ref()?;
        self.orders[w.population].as_ref().map(|o| &o[r.start as usize..r.end as usize])
    }

    /// A whole value that was fed, in the model's order.
    fn restored(&self, w: &mut Writer, fed: ValueId, order: &Order) -> Result<ValueId, SplitError> {
        let Some(order) = order else { return Ok(fed) };
        let mut at = vec![0; order.len()];
        order.iter().enumerate().for_each(|(q, row)| at[*row as usize] = q as i64);
        gathered(w, fed, at)
    }

    fn rows_anywhere(&mut self, w: &mut Writer, v: ValueId, r: &Range<u64>) -> Result<ValueId, SplitError> {
        let list = self.listed(w).map(<[u32]>::to_vec);
        if let Some(k) = self.facts.def[v.index()]
            && let Op::Const { id } = self.facts.module.graph.nodes[k].op
        {
            let data = &self.facts.module.consts[id.index()].data;
            if extents(&self.facts.module.graph, v).len() == data.shape().len() {
                let data = list.as_ref().map_or_else(|| rows(data, r), |l| picked_rows(data, l));
                let id = w.piece.module.add_const("", data);
                return push(&mut w.piece.module, Op::Const { id }, vec![], vec![]).map(|r| r[0]);
            }
        }
        let whole = self.whole(w, v)?;
        if let Some(list) = list {
            return gathered(w, whole, list.iter().map(|i| i64::from(*i)).collect());
        }
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
        let mut init = self.facts.module.consts[init.index()].data.clone();
        if let Some(order) = self.order(next).filter(|o| o.len() == init.len()) {
            init = picked_rows(&init, &order);
        }
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

    pub(super) fn late_source(&mut self, w: &mut Writer, line: LineId, rows: Rows) -> ValueId {
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
            Kind::State(s) => {
                let fed = self.late_state(w, s, None);
                self.restored(w, fed, &self.order(v))?
            }
            Kind::Past(line, ticks) => {
                let fed = self.past(w, line, ticks, None)?;
                self.restored(w, fed, &self.order(v))?
            }
            Kind::Node(_) => {
                let signal = self.signal(v);
                let fed = self.feed(w, v, Feed::Now { signal, rows: None });
                self.restored(w, fed, &self.order(v))?
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
    fn compute(
        &mut self,
        w: &mut Writer,
        node: &Node,
        args: Vec<ValueId>,
        picked: Option<&Picked>,
    ) -> Result<Vec<ValueId>, SplitError> {
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
                        let late = match picked {
                            Some(p) => p.value,
                            None => {
                                let fed = self.late_source(w, id, None);
                                let source = self.facts.module.lines[id.index()].source;
                                self.restored(w, fed, &self.order(source))?
                            }
                        };
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
                *conn = self.synapses(w, *conn, earlier, picked)?;
            }
            Op::PlasticPost { conn } => *conn = self.synapses(w, *conn, 0, None)?,
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

    /// The synapses of a connection.
    pub(super) fn table(&mut self, conn: ConnId) -> Result<&SynapseTable, SplitError> {
        if !self.tables.contains_key(&conn) {
            let c = &self.facts.module.conns[conn.index()];
            let table = expand(c, self.facts.module.pools(), self.left).map_err(|e| SplitError(e.message.clone()))?;
            self.left = self.left.saturating_sub(table.len() as u64);
            self.tables.insert(conn, table);
        }
        Ok(&self.tables[&conn])
    }

    /// The synapses of the piece's targets, with delays that are `earlier` less, of the sources that are picked.
    fn synapses(
        &mut self,
        w: &mut Writer,
        conn: ConnId,
        earlier: u32,
        picked: Option<&Picked>,
    ) -> Result<ConnId, SplitError> {
        self.table(conn)?;
        let table = &self.tables[&conn];
        let c = &self.facts.module.conns[conn.index()];
        let targets = w.piece.rows.clone().unwrap_or(0..c.post_len);
        let (mut pre, mut post, mut weight, mut delay) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let all: Vec<u64>;
        let sources = match picked {
            Some(p) => &p.sources,
            None => {
                all = (0..c.pre_len).collect();
                &all
            }
        };
        // Where the piece has a target.
        let list = self.listed(w);
        let mut place = vec![u32::MAX; if list.is_some() { c.post_len as usize } else { 0 }];
        list.into_iter().flatten().enumerate().for_each(|(k, j)| place[*j as usize] = k as u32);
        let local = |j: u64| match list {
            None => targets.contains(&j).then(|| (j - targets.start) as u32),
            Some(_) => Some(place[j as usize]).filter(|k| *k != u32::MAX),
        };
        for (k, i) in sources.iter().enumerate() {
            let row = table.row(*i as usize);
            let mut mine: Vec<(u32, usize)> =
                row.filter_map(|s| local(u64::from(table.post[s])).map(|j| (j, s))).collect();
            // Synapses of one pair keep their order.
            mine.sort_by_key(|(j, _)| *j);
            for (j, s) in mine {
                pre.push(k as i64);
                post.push(i64::from(j));
                weight.push(table.weight.at(s));
                delay.push(i64::from(table.delay.at(s) - earlier));
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
        let pre_len = sources.len() as u64;
        let post_len = targets.end - targets.start;
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

pub(super) fn push(
    m: &mut Module,
    op: Op,
    args: Vec<ValueId>,
    regions: Vec<Graph>,
) -> Result<Vec<ValueId>, SplitError> {
    m.builder().push(op, args, regions).map_err(|e| SplitError(e.to_string()))
}

/// Elements of a vector by their numbers.
pub(super) fn gathered(w: &mut Writer, of: ValueId, index: Vec<i64>) -> Result<ValueId, SplitError> {
    let n = index.len();
    let data = Tensor::from_vec(vec![n], index).unwrap_or_else(|| Tensor::zeros(DType::I64, vec![0]));
    let id = w.piece.module.add_const("", data);
    let index = push(&mut w.piece.module, Op::Const { id }, vec![], vec![])?[0];
    push(&mut w.piece.module, Op::Gather { axis: 0 }, vec![of, index], vec![]).map(|r| r[0])
}

/// Elements of a vector by their numbers.
pub(super) fn picked_rows(t: &Tensor, list: &[u32]) -> Tensor {
    let size = t.dtype().size();
    let bytes: Vec<u8> = list
        .iter()
        .filter_map(|k| t.bytes().get(*k as usize * size..(*k as usize + 1) * size))
        .flatten()
        .copied()
        .collect();
    Tensor::from_bytes(t.dtype(), vec![list.len()], &bytes).unwrap_or_else(|| t.clone())
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
