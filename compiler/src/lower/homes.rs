//! Where values live: buffers of the program for states, host arrays, temporaries and constants.

use super::schedule::{Commit, Dest, Item, Schedule, updated};
use super::{ALIGN, Facts, Lowering};
use nc_ir::graph::{Op, ValueId};
use nc_ir::kernel::{BufId, Emit, Index, KernelBuilder, ListId, Role, Scalar, ScalarOp, Val};
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use rustc_hash::FxHashMap;

/// The homes of everything.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    /// The buffer of a value that lives in one.
    pub value: Vec<Option<BufId>>,
    /// Values stored without the contract's final `+ 0.0`, which whoever loads them adds.
    pub raw: Vec<bool>,
    /// Where parameters of a region find their elements.
    pub bound: FxHashMap<ValueId, Memory>,
    /// Parameters that are the number of the iteration of a loop, by level.
    pub iterations: FxHashMap<ValueId, usize>,
    pub states: Vec<BufId>,
    pub shadows: Vec<Option<BufId>>,
    pub outputs: Vec<Target>,
    pub probes: Vec<BufId>,
    pub line_frames: Vec<Option<BufId>>,
    pub line_events: Vec<Option<ListId>>,
    /// By number of the schedule's event plan.
    pub lists: Vec<ListId>,
}

impl Lowering<'_> {
    /// Makes the buffers of what a module's step function is given and gives.
    pub fn allocate_interface(&mut self) {
        let module = self.facts.module;
        let size = |facts: &Facts<'_>, v: ValueId| (facts.count(v), facts.ty(v).dtype);
        for p in &module.inputs {
            let (n, dtype) = size(&self.facts, p.value);
            let buf = self.program.add_buffer(p.name.clone(), dtype, n, Role::Input);
            self.homes.bound.insert(p.value, Memory::whole(buf, dtype));
        }
        for s in &module.states {
            let init = module.consts[s.init.index()].data.clone();
            let (n, dtype) = size(&self.facts, s.read);
            self.homes.states.push(self.program.add_buffer(s.name.clone(), dtype, n, Role::State(init)));
        }
        for p in &module.outputs {
            let (n, dtype) = size(&self.facts, p.value);
            let buf = self.program.add_buffer(p.name.clone(), dtype, n, Role::Output);
            self.homes.outputs.push(Target::whole(buf));
        }
        for p in &module.probes {
            let (n, dtype) = size(&self.facts, p.value);
            let role = Role::Probe { every: p.every.max(1) };
            self.homes.probes.push(self.program.add_buffer(p.name.clone(), dtype, n, role));
        }
    }

    /// Makes the buffers and lists that the schedule asks for.
    pub fn allocate(&mut self, schedule: &Schedule) {
        let graph = self.facts.graph();
        self.homes.value = vec![None; graph.values.len()];
        self.homes.raw = vec![false; graph.values.len()];
        for (k, s) in self.facts.states.iter().enumerate() {
            let (n, dtype) = (self.facts.count(s.read), self.facts.ty(s.read).dtype);
            let has = |i: &Item| matches!(i, Item::Cluster(c) if c.stores.iter().any(|x| x.1 == Dest::Shadow(k)));
            let shadow = schedule.commits[k] == Commit::Copied && schedule.items.iter().any(has);
            let name = format!("{}.next", s.name);
            self.homes.shadows.push(shadow.then(|| self.program.add_buffer(name, dtype, n, Role::Temp)));
        }
        for (k, l) in self.facts.lines.iter().enumerate() {
            let n = l.ty.elements().unwrap_or(0) * u64::from(l.depth + 1);
            let zero = Tensor::zeros(l.ty.dtype, Vec::new());
            self.homes.line_frames.push(
                schedule.line_frames[k]
                    .then(|| self.program.add_buffer(format!("{}.line", l.name), l.ty.dtype, n, Role::State(zero))),
            );
        }
        for e in &schedule.events {
            let name = format!("{}.events", graph.name_of(e.value));
            let n = self.facts.count(e.value);
            self.homes.lists.push(self.program.add_list(name, n, e.slots, ALIGN));
        }
        self.homes.line_events = schedule.line_list.iter().map(|l| l.map(|id| self.homes.lists[id])).collect();
        self.allocate_values(schedule);
    }

    fn allocate_values(&mut self, schedule: &Schedule) {
        let graph = self.facts.graph();
        for p in &graph.params {
            if let Some(k) = schedule.occupies[p.index()] {
                self.homes.value[p.index()] = Some(self.homes.states[k]);
            }
        }
        for (k, node) in graph.nodes.iter().enumerate() {
            if matches!(node.op, Op::Const { .. }) || self.facts.is_view(node) {
                continue;
            }
            let updates = updated(node);
            for (r, v) in node.results.iter().enumerate() {
                let home = if let Some(state) = schedule.occupies[v.index()] {
                    Some(self.homes.states[state])
                } else if let Some((_, operand)) = updates.iter().find(|u| u.0 == r) {
                    let reuse = schedule.in_place.get(&(k, *operand)).copied().unwrap_or(false);
                    let from = self.homes.value[self.facts.view(node.args[*operand]).base.index()];
                    Some(if reuse { from } else { None }.unwrap_or_else(|| self.temp(*v)))
                } else if schedule.stored[v.index()] || !super::fusible(&node.op) {
                    Some(self.temp(*v))
                } else {
                    None
                };
                self.homes.value[v.index()] = home;
            }
        }
    }

    fn temp(&mut self, v: ValueId) -> BufId {
        let name = self.facts.graph().name_of(v);
        self.program.add_buffer(name, self.facts.ty(v).dtype, self.facts.count(v), Role::Temp)
    }

    /// The home of an anchor's result.
    ///
    /// # Errors
    /// A bug of the lowering: the value was given no home.
    pub fn home(&self, v: ValueId) -> Result<BufId, nc_ir::Diagnostic> {
        self.homes.value[v.index()].ok_or_else(|| self.bug(format!("{} has no home", self.facts.graph().name_of(v))))
    }

    /// The buffer that holds the elements of `v`, and the first of them.
    ///
    /// # Errors
    /// As [`Lowering::home`].
    pub fn memory(&mut self, v: ValueId) -> Result<Memory, nc_ir::Diagnostic> {
        let view = self.facts.view(v);
        let base = view.base;
        let single = self.facts.count(base) == 1;
        let offset = view.offset as i64;
        if let Some(t) = self.facts.known[base.index()] {
            let buf = match self.const_buffers.get(&std::ptr::from_ref(t)) {
                Some(b) => *b,
                None => {
                    let name = self.facts.graph().name_of(base);
                    let b = self.program.add_buffer(name, t.dtype(), t.len() as u64, Role::Const(t.clone()));
                    self.const_buffers.insert(t, b);
                    b
                }
            };
            return Ok(Memory { offset, single, ..Memory::whole(buf, t.dtype()) });
        }
        if let Some(m) = self.homes.bound.get(&base) {
            // A value that repeats one element has it at every place.
            let offset = if m.single { m.offset } else { m.offset + offset };
            return Ok(Memory { offset, single: m.single || single, ..*m });
        }
        let buf = self.home(base)?;
        let raw = self.homes.raw[base.index()];
        Ok(Memory { offset, single, raw, ..Memory::whole(buf, self.facts.ty(base).dtype) })
    }

    /// The slot of a list that holds the events of `back` ticks ago.
    pub fn slot(&self, b: &mut KernelBuilder, list: ListId, back: u32) -> Val {
        let slots = i64::from(self.program.lists[list.index()].slots);
        ring_slot(b, slots, i64::from(back))
    }

    /// Element type of a value in memory.
    pub fn elem(&self, v: ValueId) -> DType {
        self.facts.ty(v).dtype
    }
}

/// `(tick - back) mod slots`, without a negative dividend: empty slots stand for ticks before the first.
pub(crate) fn ring_slot(b: &mut KernelBuilder, slots: i64, back: i64) -> Val {
    if slots == 1 {
        return b.index(0);
    }
    let shift = b.index(slots - back % slots);
    let n = b.index(slots);
    let tick = b.tick();
    let at = b.op(ScalarOp::IAdd, &[tick, shift]);
    b.op(ScalarOp::IRem, &[at, n])
}

/// Most loops that the place of a row can depend on; beyond, rows are copied.
const MAX_ROWS: usize = 4;

/// How a place moves with the iterations of the loops around.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rows {
    /// Level of the loop, and elements from one iteration to the next.
    terms: [(usize, i64); MAX_ROWS],
    count: usize,
}

impl Rows {
    /// With one more loop, if there is room.
    pub fn and(mut self, level: usize, stride: i64) -> Option<Rows> {
        *self.terms.get_mut(self.count)? = (level, stride);
        self.count += 1;
        Some(self)
    }

    /// True if the place does not move.
    pub fn are_fixed(&self) -> bool {
        self.count == 0
    }

    fn of(&self, b: &mut KernelBuilder, mut index: Index) -> Index {
        for (level, stride) in &self.terms[..self.count] {
            let i = b.iteration(*level);
            index = index.plus(i, *stride);
        }
        index
    }
}

/// Where the elements of a value can be loaded from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub buf: BufId,
    pub elem: DType,
    /// First element.
    pub offset: i64,
    /// One element that serves every index.
    pub single: bool,
    /// Lacks the final `+ 0.0`.
    pub raw: bool,
    pub rows: Rows,
}

impl Memory {
    /// A whole buffer.
    pub fn whole(buf: BufId, elem: DType) -> Memory {
        Memory { buf, elem, offset: 0, single: false, raw: false, rows: Rows::default() }
    }

    /// Loads the element at `index`.
    pub fn load(&self, b: &mut KernelBuilder, index: Index) -> Val {
        let index = if self.single { Index::at(self.offset) } else { index.offset(self.offset) };
        let index = self.rows.of(b, index);
        let v = b.load(self.buf, self.elem, index);
        if self.raw { plus_zero(b, v) } else { v }
    }
}

/// Where the elements of an output are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub buf: BufId,
    /// First element.
    pub offset: i64,
    pub rows: Rows,
}

impl Target {
    /// A whole buffer.
    pub fn whole(buf: BufId) -> Target {
        Target { buf, offset: 0, rows: Rows::default() }
    }

    /// The place of the element at `index`.
    pub fn at(&self, b: &mut KernelBuilder, index: Index) -> Index {
        self.rows.of(b, index.offset(self.offset))
    }
}

/// `x + 0.0`: the contract's last step of every chain, which turns -0 into +0.
pub(crate) fn plus_zero(b: &mut KernelBuilder, x: Val) -> Val {
    let zero = match b.type_of(x) {
        nc_ir::kernel::ScalarType::F64 => Scalar::F64(0.0),
        _ => Scalar::F32(0.0),
    };
    let zero = b.constant(zero);
    b.op(ScalarOp::FAdd, &[x, zero])
}

/// A floating-point constant of the register type of `elem`.
pub(crate) fn float(b: &mut KernelBuilder, elem: DType, x: f64) -> Val {
    b.constant(if elem == DType::F64 { Scalar::F64(x) } else { Scalar::F32(x as f32) })
}
