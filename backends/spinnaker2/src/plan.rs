//! From pieces to tasks for cores and the streams between them.

use crate::bundle::{Role, Source, Stream, kind};
use crate::machine::Machine;
use crate::split::{Feed, Piece, Split, row_count};
use nc_ir::graph::Module;
use nc_ir::tensor::Tensor;
use nc_ir::types::TensorType;
use rustc_hash::FxHashMap;
use std::ops::Range;

/// What runs on a core.
#[derive(Clone, Debug)]
pub struct Task {
    /// What for.
    pub role: Role,
    /// For people.
    pub name: String,
    /// Rows of the population.
    pub rows: Option<[u64; 2]>,
    /// The model's rows that these are, if they are dealt out in another order.
    pub order: Option<Vec<u32>>,
    /// The slot in which it computes and sends.
    pub slot: u32,
    /// Number of its piece, if it computes one.
    pub piece: Option<usize>,
    /// Streams and parts that it sends; of a piece, in the order of its outputs.
    pub sends: Vec<(usize, u64)>,
    /// What it receives; of a piece, in the order of its inputs.
    pub receives: Vec<Wanted>,
}

/// Rows of a stream that a task needs.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The stream.
    pub stream: usize,
    /// One tick later than it was sent.
    pub late: bool,
    /// Rows.
    pub rows: Range<u64>,
    /// What is read in the first tick, if it is `late`: of the stream's shape, or a scalar.
    pub init: Option<Tensor>,
}

/// Tasks and streams. Keys of the streams are not yet given.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Tasks: sources, pieces in their order, sinks.
    pub tasks: Vec<Task>,
    /// Streams.
    pub streams: Vec<Stream>,
    /// The stream of each input that something reads.
    pub inputs: Vec<Option<usize>>,
    /// The stream of each output.
    pub outputs: Vec<usize>,
    /// The stream of each probe.
    pub probes: Vec<usize>,
    /// Tasks that receive rows of each stream.
    wanted: Vec<Vec<(usize, Range<u64>)>>,
}

/// Slots of a split: one that brings the inputs, one for each level.
pub fn slots(split: &Split) -> u32 {
    split.levels + 1
}

/// Bytes of data that a core has for frames of inputs and outputs with their packets: what is left of its data after
/// the stack and the scheduler's tables.
pub fn interface_bytes(machine: &Machine) -> u64 {
    let c = &machine.core;
    (c.data_bytes.value - c.stack_bytes.value).saturating_sub(1024).max(64)
}

/// Bytes that an element takes on a sink: in its frame, and in the ring as a packet.
fn sink_bytes(dtype: &str, size: u64) -> u64 {
    size + entry_bytes(kind(dtype))
}

/// Bytes of an entry of the ring that holds packets of a kind.
pub fn entry_bytes(kind: u32) -> u64 {
    match kind {
        0 => 4,
        4 => 12,
        _ => 8,
    }
}

struct Planner<'a> {
    split: &'a Split,
    module: &'a Module,
    plan: Plan,
    of: FxHashMap<Source, usize>,
    interface: u64,
}

/// Rows, elements of a row and the type's name.
fn extents(ty: &TensorType) -> (u64, u64, String) {
    let shape = ty.extents().unwrap_or_default();
    let rows = row_count(&shape).unwrap_or(1);
    let elements: u64 = shape.iter().product();
    (rows, elements.checked_div(rows).unwrap_or(0), ty.dtype.name().to_owned())
}

/// Tasks and streams of a split of `module`.
pub fn plan(split: &Split, module: &Module, machine: &Machine) -> Plan {
    let mut p = Planner {
        split,
        module,
        plan: Plan { inputs: vec![None; module.inputs.len()], ..Plan::default() },
        of: FxHashMap::default(),
        interface: interface_bytes(machine),
    };
    p.sources();
    let pieces: Vec<Task> = split.pieces.iter().enumerate().map(|(k, piece)| p.piece(k, piece)).collect();
    p.plan.tasks.extend(pieces);
    p.plan.outputs = split.outputs.iter().map(|s| p.signal(*s)).collect();
    p.plan.probes = split.probes.iter().map(|s| p.signal(*s)).collect();
    p.sinks();
    let mut plan = p.plan;
    plan.wanted = vec![Vec::new(); plan.streams.len()];
    for (k, t) in plan.tasks.iter().enumerate() {
        for w in &t.receives {
            plan.wanted[w.stream].push((k, w.rows.clone()));
        }
    }
    plan
}

impl Planner<'_> {
    fn stream(&mut self, name: String, source: Source, ty: &TensorType, parts: u64, slot: u32) -> usize {
        let (rows, row_elements, dtype) = extents(ty);
        let (order, measured) = (None, None);
        let (key, keys, shift) = (0, 0, 0);
        let mut s = Stream { name, source, dtype, rows, row_elements, order, parts, key, keys, shift, slot, measured };
        // The first part is the largest.
        let block = s.elements_of(0).max(1).next_power_of_two();
        s.shift = block.trailing_zeros();
        s.keys = block * parts.next_power_of_two();
        self.of.insert(source, self.plan.streams.len());
        self.plan.streams.push(s);
        self.plan.streams.len() - 1
    }

    /// The inputs that some piece reads, in parts that fit a source, and the sources.
    fn sources(&mut self) {
        let mut open: Option<(Task, u64)> = None;
        for k in 0..self.module.inputs.len() {
            let read = |p: &Piece| p.feeds.iter().any(|f| matches!(f, Feed::Host { input, .. } if *input == k));
            if !self.split.pieces.iter().any(read) {
                continue;
            }
            let port = &self.module.inputs[k];
            let ty = self.module.graph.ty(port.value).clone();
            let bytes = ty.bytes().unwrap_or(0);
            let rows = extents(&ty).0;
            // A frame is padded, and cannot be split within a row.
            let fit = self.interface - 64;
            let parts = bytes.div_ceil(fit).clamp(1, rows.max(1));
            let id = self.stream(port.name.clone(), Source::Input(k), &ty, parts, 0);
            self.plan.inputs[k] = Some(id);
            for part in 0..parts {
                let need = self.plan.streams[id].elements_of(part) * ty.dtype.size() as u64 + 64;
                let (mut task, left) = match open.take() {
                    Some((t, left)) if left >= need => (t, left),
                    other => {
                        self.plan.tasks.extend(other.map(|(t, _)| t));
                        (interface(Role::Source, "inputs"), self.interface)
                    }
                };
                name(&mut task, &port.name);
                task.sends.push((id, part));
                open = Some((task, left.saturating_sub(need)));
            }
        }
        self.plan.tasks.extend(open.map(|(t, _)| t));
    }

    /// The stream of a signal.
    fn signal(&mut self, signal: usize) -> usize {
        let s = &self.split.signals[signal];
        if let Some(id) = self.of.get(&Source::Value(s.root.0)) {
            return *id;
        }
        let givers: Vec<&Piece> = self.split.pieces.iter().filter(|p| p.gives.contains(&signal)).collect();
        let slot = givers.first().map_or(0, |p| p.level + 1);
        let parts = givers.len().max(1) as u64;
        let id = self.stream(s.name.clone(), Source::Value(s.root.0), &s.ty, parts, slot);
        self.plan.streams[id].order = s.order.as_ref().map(|o| o.to_vec());
        id
    }

    fn piece(&mut self, k: usize, piece: &Piece) -> Task {
        let mut receives = Vec::new();
        for feed in &piece.feeds {
            let (stream, late, rows, init) = match feed {
                Feed::Host { input, rows } => {
                    let Some(id) = self.plan.inputs[*input] else { continue };
                    (id, false, rows, None)
                }
                Feed::Now { signal, rows } => (self.signal(*signal), false, rows, None),
                Feed::Late { signal, rows, init } => (self.signal(*signal), true, rows, Some(init.clone())),
            };
            let all = self.plan.streams[stream].rows;
            receives.push(Wanted { stream, late, rows: rows.clone().unwrap_or(0..all), init });
        }
        let sends = piece
            .gives
            .iter()
            .map(|s| {
                let id = self.signal(*s);
                (id, self.part_of(id, piece.rows.as_ref().map_or(0, |r| r.start)))
            })
            .collect();
        Task {
            role: Role::Compute,
            name: piece.name.clone(),
            rows: piece.rows.as_ref().map(|r| [r.start, r.end]),
            order: piece.order.clone(),
            slot: piece.level + 1,
            piece: Some(k),
            sends,
            receives,
        }
    }

    fn part_of(&self, stream: usize, row: u64) -> u64 {
        let s = &self.plan.streams[stream];
        (0..s.parts).find(|p| s.row_of(*p) == row).unwrap_or(0)
    }

    /// Cores that collect outputs and probes, each stream in shares of rows that fit.
    fn sinks(&mut self) {
        let mut wanted: Vec<usize> = self.plan.outputs.iter().chain(&self.plan.probes).copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut open: Option<(Task, u64)> = None;
        for id in wanted {
            let s = &self.plan.streams[id];
            let (label, rows) = (s.name.clone(), s.rows);
            let row = (s.row_elements * sink_bytes(&s.dtype, s.element_bytes())).max(1);
            // Packets of a part that reaches into two shares wait in the rings of both.
            let whole = (s.elements_of(0) * entry_bytes(s.kind())).min(self.interface / 2);
            let share = ((self.interface - 64).saturating_sub(whole) / row).clamp(1, rows.max(1));
            let mut from = 0;
            while from < rows {
                let to = (from + share).min(rows);
                let need = (to - from) * row + 64 + if share < rows { whole } else { 0 };
                let (mut task, left) = match open.take() {
                    Some((t, left)) if left >= need => (t, left),
                    other => {
                        self.plan.tasks.extend(other.map(|(t, _)| t));
                        (interface(Role::Sink, "outputs"), self.interface)
                    }
                };
                name(&mut task, &label);
                task.receives.push(Wanted { stream: id, late: false, rows: from..to, init: None });
                open = Some((task, left.saturating_sub(need)));
                from = to;
            }
        }
        self.plan.tasks.extend(open.map(|(t, _)| t));
    }
}

fn interface(role: Role, name: &str) -> Task {
    let name = name.to_owned();
    Task { role, name, rows: None, order: None, slot: 0, piece: None, sends: Vec::new(), receives: Vec::new() }
}

fn name(task: &mut Task, port: &str) {
    if task.name == "inputs" || task.name == "outputs" {
        task.name = port.to_owned();
    } else if !task.name.split(", ").any(|n| n == port) && task.name.len() < 60 {
        task.name = format!("{}, {port}", task.name);
    }
}

impl Plan {
    /// Parts of a stream that hold rows of a range.
    pub fn parts_with(&self, stream: usize, rows: &Range<u64>) -> Range<u64> {
        let s = &self.streams[stream];
        if rows.start >= rows.end.min(s.rows) {
            return 0..0;
        }
        s.part_of(rows.start)..s.part_of(rows.end.min(s.rows) - 1) + 1
    }

    /// True if some task needs a part of a stream; what nobody needs is not sent.
    pub fn is_wanted(&self, stream: usize, part: u64) -> bool {
        !self.receivers(stream, part).is_empty()
    }

    /// The tasks that need a part of a stream.
    pub fn receivers(&self, stream: usize, part: u64) -> Vec<usize> {
        let of = self.wanted[stream].iter().filter(|(_, rows)| self.parts_with(stream, rows).contains(&part));
        let mut tasks: Vec<usize> = of.map(|(k, _)| *k).collect();
        // Tasks ascend; one with several frames of a stream counts once.
        tasks.dedup();
        tasks
    }

    /// The most packets that come to a task in one slot, and the bytes of one in its ring.
    pub fn ring(&self, task: usize) -> (u64, u64) {
        let t = &self.tasks[task];
        let mut parts: Vec<(usize, u64)> = Vec::new();
        for w in &t.receives {
            parts.extend(self.parts_with(w.stream, &w.rows).map(|p| (w.stream, p)));
        }
        parts.sort_unstable();
        parts.dedup();
        let mut by_slot: FxHashMap<u32, u64> = FxHashMap::default();
        for (s, p) in &parts {
            *by_slot.entry(self.streams[*s].slot).or_default() += self.streams[*s].elements_of(*p);
        }
        let step = parts.iter().map(|(s, _)| entry_bytes(self.streams[*s].kind())).max().unwrap_or(4);
        (by_slot.values().copied().max().unwrap_or(0), step)
    }
}
