//! The order of a tick: which element-wise ops are fused into which loop, and where every other kernel stands.
//!
//! Nodes are visited in program order. An element-wise node joins the earliest cluster of its extent at which all its
//! operands are ready, or opens a new one at the end; every other node is an anchor at the end. What a value is needed
//! for (a stored tensor, an event list, an output frame) is recorded on the cluster that makes it.

use super::{Drive, Facts, Source, fusible};
use crate::Errors;
use nc_ir::graph::{Node, Op, ValueId};
use nc_ir::types::DType;
use rustc_hash::FxHashMap;

/// Where a cluster stores a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dest {
    /// A temporary that other kernels read.
    Temp,
    /// An output's frame.
    Output(usize),
    /// A probe's frame.
    Probe(usize),
    /// The current frame of a delay line.
    Ring(usize),
    /// A temporary that keeps the next value of a state until its old value is no longer needed.
    Shadow(usize),
    /// The state itself.
    State(usize),
    /// The state itself, from its shadow.
    FromShadow(usize),
}

/// One loop over `extent` elements.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub extent: u64,
    /// Runs in ticks that are multiples of this.
    pub every: u64,
    /// Nodes that are computed, by index, in program order.
    pub nodes: Vec<usize>,
    /// Values that are stored.
    pub stores: Vec<(ValueId, Dest)>,
    /// Event lists that are filled, with the value whose non-zero elements they hold.
    pub pushes: Vec<(ValueId, usize)>,
}

/// A step of the tick.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Cluster(Cluster),
    /// A node with kernels of its own.
    Anchor(usize),
    /// Writes ones into a zeroed frame at the events of a list.
    Scatter {
        /// The list.
        events: usize,
        /// An output or a probe.
        target: Dest,
        /// Runs in ticks that are multiples of this.
        every: u64,
    },
}

/// An event list to be made.
#[derive(Clone, Debug)]
pub(crate) struct EventPlan {
    /// Whose non-zero elements it holds.
    pub value: ValueId,
    /// Number of slots.
    pub slots: u32,
}

/// How the next value of a state gets into its buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Commit {
    /// It is there already: the state does not change, or its events were delivered in place.
    Stays,
    /// The cluster that makes it stores it there; the value lives there from then on.
    InPlace,
    /// A copy at the end.
    Copied,
}

pub(crate) struct Schedule {
    pub items: Vec<Item>,
    pub events: Vec<EventPlan>,
    /// The list of a source.
    pub list_of: FxHashMap<Source, usize>,
    /// Lines that are read as frames.
    pub line_frames: Vec<bool>,
    /// The list of a line.
    pub line_list: Vec<Option<usize>>,
    /// Values that must live in a buffer.
    pub stored: Vec<bool>,
    pub commits: Vec<Commit>,
    /// Anchors that update their operand in place: (node, operand's position).
    pub in_place: FxHashMap<(usize, usize), bool>,
    /// The state whose buffer a value lives in: reads, and results of deliveries in place.
    pub occupies: Vec<Option<usize>>,
    /// The item that makes a value.
    item_of: Vec<Option<usize>>,
    by_extent: FxHashMap<(u64, u64), Vec<usize>>,
    /// The lists that hold a value's events.
    lists_of: FxHashMap<ValueId, Vec<usize>>,
    /// Lists that some cluster fills already.
    filled: Vec<bool>,
    /// The item that fills the shadow of a state.
    shadow_at: Vec<usize>,
}

impl Schedule {
    pub fn of(facts: &Facts<'_>) -> Result<Schedule, Errors> {
        let n = facts.graph().values.len();
        let mut s = Schedule {
            items: Vec::new(),
            events: Vec::new(),
            list_of: FxHashMap::default(),
            line_frames: vec![false; facts.lines.len()],
            line_list: vec![None; facts.lines.len()],
            stored: vec![false; n],
            commits: vec![Commit::Stays; facts.states.len()],
            in_place: FxHashMap::default(),
            occupies: vec![None; n],
            item_of: vec![None; n],
            by_extent: FxHashMap::default(),
            lists_of: FxHashMap::default(),
            filled: Vec::new(),
            shadow_at: vec![0; facts.states.len()],
        };
        s.plan_events(facts);
        for (k, state) in facts.states.iter().enumerate() {
            s.occupies[state.read.index()] = Some(k);
        }
        for (k, node) in facts.graph().nodes.iter().enumerate() {
            if matches!(node.op, Op::Const { .. }) || facts.is_view(node) {
                continue;
            }
            if fusible(&node.op) {
                s.fuse(facts, k, node);
            } else {
                s.anchor(facts, k, node);
            }
        }
        s.roots(facts);
        s.drop_unneeded(facts);
        s.store_what_is_read(facts);
        s.commit_states(facts);
        Ok(s)
    }

    /// Finds every event list that some node walks.
    fn plan_events(&mut self, facts: &Facts<'_>) {
        let mut wanted: Vec<Source> = Vec::new();
        for node in &facts.graph().nodes {
            match &node.op {
                Op::Linear | Op::Matmul | Op::Conv { .. } => match super::contraction::drive_of(facts, node) {
                    Drive::Spikes(Source::Now(_)) | Drive::Graded(_) => {
                        wanted.extend(super::contraction::now_of(facts, node).map(Source::Now));
                    }
                    Drive::Spikes(source) => wanted.push(source),
                    Drive::Dense => {}
                },
                Op::Project { line, now_count, .. } | Op::PlasticPre { line, now_count, .. } => {
                    if *now_count > 0 {
                        wanted.push(Source::Now(event_value(facts, node.args[0])));
                    }
                    if let Some(l) = line {
                        wanted.push(Source::Line(*l, 1));
                    }
                }
                Op::PlasticPost { .. } => wanted.push(Source::Now(event_value(facts, node.args[0]))),
                Op::Reduce { .. } => wanted.extend(super::reduction::counted(facts, node)),
                _ => {}
            }
        }
        let by_events = wanted.clone();
        for node in &facts.graph().nodes {
            if let Op::Delayed { line, ticks } = &node.op {
                let only_events =
                    by_events.contains(&Source::Line(*line, *ticks)) && reads_are_products(facts, node.results[0]);
                if !only_events {
                    self.line_frames[line.index()] = true;
                }
            }
        }
        for source in wanted {
            let key = match source {
                Source::Now(v) => Source::Now(v),
                Source::Line(l, _) => Source::Line(l, 0),
            };
            if self.list_of.contains_key(&key) {
                continue;
            }
            if let Source::Line(l, _) = key {
                let line = &facts.lines[l.index()];
                let id = self.events.len();
                let value = event_value(facts, line.source);
                self.events.push(EventPlan { value, slots: line.depth + 1 });
                self.lists_of.entry(value).or_default().push(id);
                self.list_of.insert(key, id);
                self.line_list[l.index()] = Some(id);
            }
        }
        // A source that is remembered serves this tick's readers from the line's list.
        for node in &facts.graph().nodes {
            let now: Option<ValueId> = match &node.op {
                Op::Linear | Op::Matmul | Op::Conv { .. } => super::contraction::now_of(facts, node),
                Op::Project { now_count, .. } | Op::PlasticPre { now_count, .. } if *now_count > 0 => {
                    Some(event_value(facts, node.args[0]))
                }
                Op::PlasticPost { .. } => Some(event_value(facts, node.args[0])),
                Op::Reduce { .. } => match super::reduction::counted(facts, node) {
                    Some(Source::Now(v)) => Some(v),
                    Some(Source::Line(..)) | None => None,
                },
                _ => None,
            };
            if let Some(v) = now {
                self.list_for_now(v);
            }
        }
        self.filled = vec![false; self.events.len()];
    }

    fn list_for_now(&mut self, v: ValueId) -> usize {
        if let Some(id) = self.list_of.get(&Source::Now(v)) {
            return *id;
        }
        let id = match self.lists_of.get(&v).and_then(|l| l.first()) {
            Some(id) => *id,
            None => {
                self.events.push(EventPlan { value: v, slots: 1 });
                let id = self.events.len() - 1;
                self.lists_of.insert(v, vec![id]);
                id
            }
        };
        self.list_of.insert(Source::Now(v), id);
        id
    }

    /// The list of a source that [`Schedule::plan_events`] found.
    pub fn list(&self, source: Source) -> Option<usize> {
        match source {
            Source::Now(v) => self.list_of.get(&Source::Now(v)).copied(),
            Source::Line(l, _) => self.line_list[l.index()],
        }
    }

    /// The first item at which a cluster of `extent` can read operand `v`.
    fn ready(&self, facts: &Facts<'_>, v: ValueId, extent: u64) -> usize {
        let view = facts.view(v);
        match self.item_of[view.base.index()] {
            None => 0,
            Some(at) => {
                let pointwise = view.offset == 0
                    && facts.count(view.base) == extent
                    && facts.count(v) == extent
                    && matches!(self.items[at], Item::Cluster(_));
                if pointwise { at } else { at + 1 }
            }
        }
    }

    /// The earliest cluster of this extent at or after `from`; a new one if there is none.
    fn cluster(&mut self, extent: u64, every: u64, from: usize) -> usize {
        let known = self.by_extent.entry((extent, every)).or_default();
        let at = known.partition_point(|k| *k < from);
        if let Some(k) = known.get(at) {
            return *k;
        }
        known.push(self.items.len());
        self.items.push(Item::Cluster(Cluster { extent, every, ..Cluster::default() }));
        self.items.len() - 1
    }

    fn at(&mut self, item: usize) -> &mut Cluster {
        match &mut self.items[item] {
            Item::Cluster(c) => c,
            Item::Anchor(_) | Item::Scatter { .. } => unreachable!("`cluster` gives clusters"),
        }
    }

    fn fuse(&mut self, facts: &Facts<'_>, k: usize, node: &Node) {
        let extent = facts.count(node.results[0]);
        let from = node.args.iter().map(|a| self.ready(facts, *a, extent)).max().unwrap_or(0);
        let at = self.cluster(extent, 1, from);
        self.at(at).nodes.push(k);
        let v = node.results[0];
        self.item_of[v.index()] = Some(at);
        self.push_events(v, at);
    }

    /// Has the cluster that makes `v` fill the lists of its events.
    fn push_events(&mut self, v: ValueId, at: usize) {
        for id in self.lists_of.get(&v).cloned().unwrap_or_default() {
            self.at(at).pushes.push((v, id));
            self.filled[id] = true;
        }
    }

    /// Makes sure that the events of a value that no cluster makes are collected before the next anchor.
    fn collect(&mut self, facts: &Facts<'_>, id: usize) {
        if self.filled[id] {
            return;
        }
        let v = self.events[id].value;
        let extent = facts.count(v);
        let from = self.ready(facts, v, extent);
        let at = self.cluster(extent, 1, from);
        self.at(at).pushes.push((v, id));
        self.filled[id] = true;
    }

    fn anchor(&mut self, facts: &Facts<'_>, k: usize, node: &Node) {
        let mut lists: Vec<usize> = Vec::new();
        match &node.op {
            Op::Linear | Op::Matmul | Op::Conv { .. } => {
                let now = super::contraction::now_of(facts, node);
                lists.extend(now.and_then(|v| self.list(Source::Now(v))));
            }
            Op::Project { now_count, .. } | Op::PlasticPre { now_count, .. } if *now_count > 0 => {
                lists.extend(self.list(Source::Now(event_value(facts, node.args[0]))));
            }
            Op::PlasticPost { .. } => lists.extend(self.list(Source::Now(event_value(facts, node.args[0])))),
            Op::Reduce { .. } => {
                if let Some(Source::Now(v)) = super::reduction::counted(facts, node) {
                    lists.extend(self.list(Source::Now(v)));
                }
            }
            _ => {}
        }
        for id in lists {
            self.collect(facts, id);
        }
        for (result, operand) in updated(node) {
            let arg = node.args[operand];
            let base = facts.view(arg);
            let whole = base.offset == 0 && facts.count(base.base) == facts.count(arg);
            let writable = self.occupies[base.base.index()].is_some() || self.item_of[base.base.index()].is_some();
            let alone = node.args.iter().filter(|a| facts.view(**a).base == base.base).count() == 1;
            let free = whole && writable && alone && facts.last_use[base.base.index()] <= k;
            self.in_place.insert((k, operand), free);
            if free {
                self.occupies[node.results[result].index()] = self.occupies[base.base.index()];
            }
        }
        let at = self.items.len();
        self.items.push(Item::Anchor(k));
        for r in &node.results {
            self.item_of[r.index()] = Some(at);
        }
    }

    /// Outputs, probes, delay lines, and next values that are other states' old ones.
    fn roots(&mut self, facts: &Facts<'_>) {
        for (k, v) in facts.outputs.iter().enumerate() {
            self.record(facts, *v, Dest::Output(k), 1);
        }
        for (k, line) in facts.lines.iter().enumerate() {
            if let Some(id) = self.line_list[k] {
                self.collect(facts, id);
            }
            if self.line_frames[k] {
                self.write(facts, line.source, Dest::Ring(k), 1);
            }
        }
        for (k, s) in facts.states.iter().enumerate() {
            let base = facts.view(s.next).base;
            let from_state = self.occupies[base.index()].is_some_and(|o| o != k || base != s.next);
            let from_outside = self.item_of[base.index()].is_none() && self.occupies[base.index()].is_none();
            let broken = facts.view(s.next).offset != 0 || facts.count(base) != facts.count(s.next);
            if (from_state || from_outside || broken) && s.next != s.read {
                self.write(facts, s.next, Dest::Shadow(k), 1);
                self.commits[k] = Commit::Copied;
            }
        }
        for (k, (v, every)) in facts.probes.iter().enumerate() {
            self.record(facts, *v, Dest::Probe(k), *every);
        }
    }

    /// Writes a value to a host frame: by its events if it has them, else element by element.
    fn record(&mut self, facts: &Facts<'_>, v: ValueId, target: Dest, every: u64) {
        let base = event_value(facts, v);
        if facts.ty(v).dtype == DType::Bool
            && !facts.is_body
            && facts.count(base) == facts.count(v)
            && let Some(id) = self.lists_of.get(&base).and_then(|l| l.first()).copied()
        {
            self.collect(facts, id);
            self.items.push(Item::Scatter { events: id, target, every });
            return;
        }
        self.write(facts, v, target, every);
    }

    fn write(&mut self, facts: &Facts<'_>, v: ValueId, dest: Dest, every: u64) {
        let extent = facts.count(v);
        // A decimated recording reads stored values, so it stands after everything that makes them.
        let from = if every == 1 { self.ready(facts, v, extent) } else { self.items.len() };
        let at = match self.items.last() {
            Some(Item::Cluster(c)) if every > 1 && c.every == every && c.extent == extent => self.items.len() - 1,
            _ => self.cluster(extent, every, from),
        };
        self.at(at).stores.push((v, dest));
        if let Dest::Shadow(k) = dest {
            self.shadow_at[k] = at;
        }
    }

    /// Takes nodes out of clusters whose values nothing reads, such as casts of spikes that arrive as events.
    fn drop_unneeded(&mut self, facts: &Facts<'_>) {
        let nodes = &facts.graph().nodes;
        let mut needed = vec![false; facts.graph().values.len()];
        for item in &self.items {
            match item {
                Item::Cluster(c) => {
                    for v in c.stores.iter().map(|s| s.0).chain(c.pushes.iter().map(|p| p.0)) {
                        needed[facts.view(v).base.index()] = true;
                    }
                }
                Item::Anchor(k) => {
                    for v in anchor_reads(facts, &nodes[*k]) {
                        needed[v.index()] = true;
                    }
                }
                Item::Scatter { .. } => {}
            }
        }
        for s in &facts.states {
            needed[facts.view(s.next).base.index()] = true;
        }
        for node in nodes.iter().rev() {
            if fusible(&node.op) && needed[node.results[0].index()] {
                for a in &node.args {
                    needed[facts.view(*a).base.index()] = true;
                }
            }
        }
        for item in &mut self.items {
            if let Item::Cluster(c) = item {
                c.nodes.retain(|k| needed[nodes[*k].results[0].index()]);
            }
        }
    }

    /// Every value that an item reads from another item must be stored.
    fn store_what_is_read(&mut self, facts: &Facts<'_>) {
        let mut reads: Vec<ValueId> = Vec::new();
        for (at, item) in self.items.iter().enumerate() {
            match item {
                Item::Cluster(c) => reads.extend(
                    cluster_reads(facts, c)
                        .filter(|(v, pointwise)| !pointwise || self.item_of[v.index()] != Some(at))
                        .map(|(v, _)| v),
                ),
                Item::Anchor(k) => reads.extend(anchor_reads(facts, &facts.graph().nodes[*k])),
                Item::Scatter { .. } => {}
            }
        }
        for v in reads {
            self.stored[v.index()] = true;
        }
    }

    /// Decides how each state gets its next value.
    fn commit_states(&mut self, facts: &Facts<'_>) {
        let n = facts.graph().values.len();
        // For each value, the last item that reads it, and the last that reads it other than element by element.
        let (mut last, mut last_whole) = (vec![None; n], vec![None; n]);
        for (at, item) in self.items.iter().enumerate() {
            match item {
                Item::Cluster(c) => {
                    for (v, pointwise) in cluster_reads(facts, c) {
                        last[v.index()] = Some(at);
                        if !pointwise {
                            last_whole[v.index()] = Some(at);
                        }
                    }
                }
                Item::Anchor(k) => {
                    for v in anchor_reads(facts, &facts.graph().nodes[*k]) {
                        last[v.index()] = Some(at);
                        last_whole[v.index()] = Some(at);
                    }
                }
                Item::Scatter { .. } => {}
            }
        }
        // The values that live in each state's buffer.
        let mut occupants: Vec<Vec<ValueId>> = vec![Vec::new(); facts.states.len()];
        for (v, o) in self.occupies.iter().enumerate() {
            if let Some(k) = o {
                occupants[*k].push(ValueId(v as u32));
            }
        }
        let mut taken: FxHashMap<ValueId, usize> = FxHashMap::default();
        for (k, s) in facts.states.iter().enumerate() {
            let read_by = |marks: &[Option<usize>]| occupants[k].iter().filter_map(|v| marks[v.index()]).max();
            let made = occupants[k].iter().filter_map(|v| self.item_of[v.index()]).max();
            let (last, last_whole) = (read_by(&last).max(made), read_by(&last_whole).max(made));
            let after = last.map_or(0, |l| l + 1);
            if self.commits[k] == Commit::Copied {
                let at = self.cluster(facts.count(s.read), 1, after.max(self.shadow_at[k] + 1));
                self.at(at).stores.push((s.next, Dest::FromShadow(k)));
                continue;
            }
            let base = facts.view(s.next).base;
            if self.occupies[base.index()] == Some(k) {
                continue;
            }
            let at = self.item_of[base.index()].unwrap_or(0);
            let in_cluster = matches!(self.items.get(at), Some(Item::Cluster(_)));
            let safe = in_cluster && last.is_none_or(|l| l <= at) && last_whole.is_none_or(|l| l < at);
            if safe && facts.count(base) == facts.count(s.read) {
                self.at(at).stores.push((base, Dest::State(k)));
                self.commits[k] = Commit::InPlace;
                taken.entry(base).or_insert(k);
            } else {
                self.stored[base.index()] = true;
                let to = self.cluster(facts.count(s.read), 1, after.max(at + 1));
                self.at(to).stores.push((s.next, Dest::State(k)));
                self.commits[k] = Commit::Copied;
            }
        }
        // A value that is stored in place lives there; it needs no temporary.
        for (v, k) in taken {
            self.occupies[v.index()] = Some(k);
        }
        // The stores of temporaries.
        for v in 0..n {
            let id = ValueId(v as u32);
            if !self.stored[v] || self.occupies[v].is_some() {
                continue;
            }
            if let Some(at) = self.item_of[v]
                && let Item::Cluster(c) = &mut self.items[at]
            {
                c.stores.push((id, Dest::Temp));
            }
        }
    }
}

/// The value whose events stand for those of `v`: what it is a whole view of.
pub(crate) fn event_value(facts: &Facts<'_>, v: ValueId) -> ValueId {
    let view = facts.view(v);
    if view.offset == 0 && facts.count(view.base) == facts.count(v) { view.base } else { v }
}

/// (result, operand) positions of the values that an anchor updates.
pub(crate) fn updated(node: &Node) -> Vec<(usize, usize)> {
    match &node.op {
        Op::Project { now_count, state_count, .. } => (0..*state_count).map(|k| (k, now_count + k)).collect(),
        Op::PlasticPre { now_count, state_count, synapse_count, .. } => {
            let first = node.args.len() - synapse_count;
            let states = (0..*state_count).map(|k| (k, now_count + k));
            states.chain((0..*synapse_count).map(|k| (state_count + k, first + k))).collect()
        }
        Op::PlasticPost { .. } => (0..node.args.len() - 1).map(|k| (k, k + 1)).collect(),
        _ => Vec::new(),
    }
}

/// The values that a cluster reads, each with "only element i in iteration i".
fn cluster_reads<'a>(facts: &'a Facts<'_>, c: &'a Cluster) -> impl Iterator<Item = (ValueId, bool)> + 'a {
    let nodes = &facts.graph().nodes;
    let operands = c.nodes.iter().flat_map(|k| nodes[*k].args.iter().copied());
    let stored = c.stores.iter().filter(|s| !matches!(s.1, Dest::FromShadow(_))).map(|s| s.0);
    let pushed = c.pushes.iter().map(|p| p.0);
    operands.chain(stored).chain(pushed).filter(|v| facts.splat(*v).is_none()).map(|v| {
        let view = facts.view(v);
        (view.base, view.offset == 0 && facts.count(view.base) == c.extent && facts.count(v) == c.extent)
    })
}

/// The values that an anchor reads from memory (not through event lists).
fn anchor_reads(facts: &Facts<'_>, node: &Node) -> Vec<ValueId> {
    let first = match &node.op {
        Op::Linear | Op::Matmul | Op::Conv { .. } => match super::contraction::drive_of(facts, node) {
            Drive::Spikes(_) => 1,
            Drive::Graded(_) | Drive::Dense => 0,
        },
        Op::Project { now_count, .. } | Op::PlasticPre { now_count, .. } => *now_count,
        Op::PlasticPost { .. } => 1,
        Op::Reduce { .. } => usize::from(super::reduction::counted(facts, node).is_some()),
        _ => 0,
    };
    let looked_through = super::contraction::looked_through(facts, node);
    let values = node.args[first..].iter().copied().chain(looked_through);
    values.filter(|v| facts.splat(*v).is_none()).map(|v| facts.view(v).base).collect()
}

/// True if a delayed spike train is used by event-driven products only.
fn reads_are_products(facts: &Facts<'_>, v: ValueId) -> bool {
    let mut seen = vec![v];
    let mut k = 0;
    while k < seen.len() {
        let v = seen[k];
        k += 1;
        if facts.last_use[v.index()] == usize::MAX {
            return false;
        }
        for user in &facts.users[v.index()] {
            let node = &facts.graph().nodes[*user];
            match &node.op {
                Op::Cast { .. } | Op::Reshape { .. } => seen.push(node.results[0]),
                Op::Linear | Op::Matmul | Op::Conv { .. }
                    if node.args[0] == v && node.args[1..].iter().all(|a| *a != v) =>
                {
                    if !matches!(super::contraction::drive_of(facts, node), Drive::Spikes(_)) {
                        return false;
                    }
                }
                Op::Reduce { .. } if super::reduction::counted(facts, node).is_some() => {}
                _ => return false,
            }
        }
    }
    true
}
