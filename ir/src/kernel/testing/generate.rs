//! How the choices make a program.
//!
//! Every access is in range by its form. What a kernel (or a vector loop) writes, it touches only at its own items: the
//! buffers of its extent at the item's index. Everything else it reads anywhere. Values that depend on how a kernel is
//! split (part, range) never become data, and bits of a float are only taken when it is not NaN.

use super::memory::{Buf, Kind, Shape};
use super::{Case, Choices};
use crate::kernel::abi::Layout;
use crate::kernel::builder::KernelBuilder;
use crate::kernel::program::{BufId, Element, Index, Kernel, ListId, Parallel, Program, Role, Step, Trips, Val};
use crate::kernel::scalar::{Emit, Scalar, ScalarOp, ScalarType};
use crate::tensor::Tensor;
use crate::types::DType;

/// What may be touched here.
#[derive(Clone)]
struct Place {
    /// Item of an extent, and its extent.
    item: Option<(Val, usize)>,
    /// Event of a list, and the list's extent.
    event: Option<(Val, usize)>,
    /// Variable of an inner vector loop over the width of matrices: they are then touched at this column only, and
    /// nothing else is written.
    column: Option<(Val, u64)>,
    /// Buffers that are written, at own items only.
    written: Vec<usize>,
    /// Nothing else runs at the same time: everything may be written anywhere.
    free: bool,
}

pub(super) struct Generator {
    pub(super) c: Choices,
    pub(super) program: Program,
    pub(super) extents: Vec<Parallel>,
    pub(super) bufs: Vec<Buf>,
    /// Lists and their extents.
    pub(super) lists: Vec<(ListId, usize)>,
    /// Values that may be used here.
    pool: Vec<Val>,
    /// Statements that may still be written in this kernel.
    budget: usize,
    every: u64,
    /// Loops of steps that are open.
    loops: usize,
    /// Kernels so far.
    kernels: usize,
    /// Numbers of trips that loops may read, from -3 to 3; made when first needed.
    trips: Option<BufId>,
}

pub(super) const WIDTHS: [u64; 6] = [1, 2, 3, 4, 5, 8];

pub(super) fn case(choices: Choices) -> Case {
    let mut g = Generator {
        c: choices,
        program: Program::new("random", 1),
        extents: Vec::new(),
        bufs: Vec::new(),
        lists: Vec::new(),
        pool: Vec::new(),
        budget: 0,
        every: 1,
        loops: 0,
        kernels: 0,
        trips: None,
    };
    g.program.parts = g.c.of(&[1, 1, 2, 3]);
    g.memory();
    let kernels = 1 + g.c.below(5);
    g.steps(kernels, 0);
    let ticks = 1 + g.c.below(6) as u64;
    let layout = Layout::of(&g.program).unwrap_or_else(|| unreachable!("a few thousand bytes"));
    let mut host = Vec::new();
    for id in &layout.host {
        let b = g.program.buffers[id.index()].clone();
        let frames = match b.role {
            Role::Probe { every } => ticks.div_ceil(every),
            Role::Const(_) | Role::State(_) | Role::Temp | Role::Input | Role::Output => ticks,
        };
        let mut bytes = vec![0; frames as usize * b.len as usize * b.elem.size()];
        if b.role == Role::Input {
            bytes = (0..frames * b.len).flat_map(|_| g.element(b.elem)).collect();
        }
        host.push(bytes);
    }
    Case { program: g.program, ticks, host }
}

impl Generator {
    /// Steps that hold so many kernels.
    fn steps(&mut self, mut kernels: usize, depth: usize) {
        while kernels > 0 {
            let inside = 1 + self.c.below(kernels);
            match self.c.below(if depth < 3 { 6 } else { 1 }) {
                4 => self.repeat(inside, depth),
                5 => self.choose(inside, depth),
                _ => {
                    self.kernel(self.kernels);
                    self.kernels += 1;
                    kernels -= 1;
                    continue;
                }
            }
            kernels -= inside;
        }
    }

    /// The steps that `write` appends, and with them gone. What they make ready may not be made at all.
    fn apart(&mut self, write: impl FnOnce(&mut Generator)) -> Vec<Step> {
        let outer = std::mem::take(&mut self.program.steps);
        let ready: Vec<bool> = self.bufs.iter().map(|b| b.ready).collect();
        write(self);
        for (b, ready) in self.bufs.iter_mut().zip(ready) {
            b.ready = ready;
        }
        std::mem::replace(&mut self.program.steps, outer)
    }

    fn repeat(&mut self, kernels: usize, depth: usize) {
        let trips = if self.c.once_in(2) {
            let buf = self.trips();
            let at = self.c.below(4) as u64;
            if self.c.once_in(2) {
                self.set_trips(buf, at);
            }
            Trips::Read(Element { buf, at })
        } else {
            Trips::Known(self.c.of(&[2, 0, 1, 3]))
        };
        let condition = if self.c.once_in(3) { self.condition() } else { None };
        self.loops += 1;
        let body = self.apart(|g| {
            // The number of trips is read when the loop begins, so that this changes nothing.
            if let (Trips::Read(e), true) = (trips, g.c.once_in(3)) {
                g.set_trips(e.buf, e.at);
            }
            g.steps(kernels, depth + 1);
        });
        self.loops -= 1;
        self.program.steps.push(Step::Loop { trips, condition, body });
    }

    fn choose(&mut self, kernels: usize, depth: usize) {
        let Some(condition) = self.condition() else { return self.steps(kernels, depth + 1) };
        let otherwise = self.c.below(kernels);
        let then_steps = self.apart(|g| g.steps(kernels - otherwise, depth + 1));
        let else_steps = self.apart(|g| g.steps(otherwise, depth + 1));
        self.program.steps.push(Step::If { condition, then_steps, else_steps });
    }

    /// A truth value in memory.
    fn condition(&mut self) -> Option<Element> {
        let fits = |b: &&Buf| b.elem == DType::Bool && b.ready && !matches!(b.role, Kind::Probe(_));
        let all: Vec<(BufId, u64)> = self.bufs.iter().filter(fits).map(|b| (b.id, b.len)).collect();
        let (buf, len) = *all.get(self.c.below(all.len()))?;
        Some(Element { buf, at: self.c.below(len as usize) as u64 })
    }

    fn trips(&mut self) -> BufId {
        *self.trips.get_or_insert_with(|| {
            let data = Tensor::from_vec(vec![4], vec![2i64, 0, -3, 1]);
            let data = data.unwrap_or_else(|| unreachable!("four elements"));
            self.program.add_buffer("trips", DType::I64, 4, Role::State(data))
        })
    }

    /// A kernel that sets a number of trips to one from 0 to 3.
    fn set_trips(&mut self, buf: BufId, at: u64) {
        let mut b = KernelBuilder::new("trips", None, 1);
        let from = if self.loops > 0 { b.iteration(self.loops - 1) } else { b.tick() };
        let (three, by) = (b.index(3), b.index(self.c.below(4) as i64));
        let n = b.op(ScalarOp::IAdd, &[from, by]);
        let n = b.op(ScalarOp::And, &[n, three]);
        b.store(buf, Index::at(at as i64), n);
        self.program.push(b.finish());
    }

    fn kernel(&mut self, number: usize) {
        self.every = self.c.of(&[1, 1, 1, 2]);
        let extent = self.c.below(self.extents.len());
        let parallel = (!self.c.once_in(4)).then(|| self.extents[extent]);
        let mut b = KernelBuilder::new(format!("kernel{number}"), parallel, self.every);
        self.pool = vec![Kernel::TICK];
        if self.loops > 0 && !self.c.once_in(3) {
            let level = self.c.below(self.loops);
            self.pool.push(b.iteration(level));
        }
        self.budget = 50;
        match parallel {
            Some(_) => self.parallel_kernel(&mut b, extent),
            None => self.serial_kernel(&mut b),
        }
        let kernel = b.finish();
        self.program.push(kernel);
    }

    /// The buffers that a kernel over an extent chooses to write, and the temporaries among them that it writes first.
    fn written(&mut self, extent: usize) -> (Vec<usize>, Vec<usize>) {
        let (mut written, mut fresh) = (Vec::new(), Vec::new());
        for k in 0..self.bufs.len() {
            let b = &self.bufs[k];
            let own = match b.shape {
                Shape::Row { extent: e } | Shape::Matrix { extent: e, .. } => e == extent,
                Shape::Cross { to, .. } => to == extent,
                Shape::Table => false,
            };
            let possible = match b.role {
                Kind::Const | Kind::Input => false,
                Kind::Probe(every) => every == self.every,
                Kind::Temp => b.ready || self.every == 1,
                Kind::State | Kind::Output => true,
            };
            if own && possible && !self.c.once_in(3) {
                written.push(k);
                if !self.bufs[k].ready {
                    fresh.push(k);
                }
            }
        }
        (written, fresh)
    }

    fn parallel_kernel(&mut self, b: &mut KernelBuilder, extent: usize) {
        let (written, fresh) = self.written(extent);
        let (lo, hi) = (b.lo(), b.hi());
        let mut pushed = None;
        let mine: Vec<ListId> = self.lists.iter().filter(|l| l.1 == extent).map(|l| l.0).collect();
        if !mine.is_empty() && !self.c.once_in(3) {
            let list = self.c.of(&mine);
            let slot = self.slot(b, list, 0);
            b.clear(list, slot);
            pushed = Some((list, slot));
        }
        let place = Place { item: None, event: None, column: None, written, free: false };
        self.fill(b, &place, extent, (lo, hi), &fresh);
        let phases = 1 + self.c.below(3);
        let push_in = self.c.below(phases);
        let part_zero = self.c.once_in(6);
        for phase in 0..phases {
            if phase != push_in && self.c.once_in(3) {
                let place = place.clone();
                self.event_phase(b, &place, Some((extent, lo, hi)), pushed.map(|p| p.0));
            } else {
                let push = pushed.filter(|_| phase == push_in);
                self.item_loop(b, &place, extent, (lo, hi), push);
            }
        }
        if part_zero {
            self.by_first_part(b, &place, extent);
        }
    }

    /// A store that only part 0 performs, to its own first item, which part 0 has whatever the number of parts.
    fn by_first_part(&mut self, b: &mut KernelBuilder, place: &Place, extent: usize) {
        let rows: Vec<usize> =
            place.written.iter().copied().filter(|k| self.bufs[*k].shape == Shape::Row { extent }).collect();
        if rows.is_empty() {
            return;
        }
        let k = self.c.of(&rows);
        let (part, zero) = (b.part(), b.index(0));
        let first = b.op(ScalarOp::IEq, &[part, zero]);
        let ty = crate::kernel::loaded_type(self.bufs[k].elem);
        let value = self.value(b, ty);
        b.if_then(first, |b| b.store(self.bufs[k].id, Index::at(0), value));
    }

    fn serial_kernel(&mut self, b: &mut KernelBuilder) {
        for _ in 0..1 + self.c.below(3) {
            let extent = self.c.below(self.extents.len());
            let (lo, hi) = (b.index(0), b.index(self.extents[extent].len as i64));
            match self.c.below(4) {
                0 | 1 => {
                    let (written, fresh) = self.written(extent);
                    let place = Place { item: None, event: None, column: None, written, free: false };
                    self.fill(b, &place, extent, (lo, hi), &fresh);
                    self.item_loop(b, &place, extent, (lo, hi), None);
                }
                2 => {
                    let place = Place { item: None, event: None, column: None, written: Vec::new(), free: true };
                    self.event_phase(b, &place, None, None);
                }
                _ => {
                    let place = Place { item: None, event: None, column: None, written: Vec::new(), free: true };
                    let mark = self.pool.len();
                    let count = self.c.of(&[3, 1, 6]);
                    b.for_count(count, false, |b, i| {
                        self.pool.push(i);
                        self.stmts(b, &place, 1);
                    });
                    self.pool.truncate(mark);
                    self.stmts(b, &place, 1);
                }
            }
        }
    }

    /// Writes temporaries completely, so that they may be read.
    fn fill(&mut self, b: &mut KernelBuilder, place: &Place, extent: usize, (lo, hi): (Val, Val), fresh: &[usize]) {
        for &k in fresh {
            let mark = self.pool.len();
            let (id, elem, shape) = (self.bufs[k].id, self.bufs[k].elem, self.bufs[k].shape);
            let vector = self.c.once_in(2);
            b.for_loop(lo, hi, vector, |b, i| {
                self.pool.push(i);
                self.load(b, &Place { item: Some((i, extent)), ..place.clone() });
                let v = self.value(b, crate::kernel::loaded_type(elem));
                match shape {
                    Shape::Matrix { extent, width, transposed } => b.for_count(width, false, |b, j| {
                        b.store(id, self.matrix(extent, width, transposed, i).plus(j, self.stride(shape)), v);
                    }),
                    Shape::Row { .. } | Shape::Cross { .. } | Shape::Table => b.store(id, Index::var(i), v),
                }
            });
            self.pool.truncate(mark);
            self.bufs[k].ready = true;
        }
    }

    /// Distance between the columns of a matrix.
    fn stride(&self, shape: Shape) -> i64 {
        match shape {
            Shape::Matrix { extent, transposed: true, .. } => self.extents[extent].len as i64,
            Shape::Matrix { .. } | Shape::Row { .. } | Shape::Cross { .. } | Shape::Table => 1,
        }
    }

    /// Column 0 of an item of a matrix.
    fn matrix(&self, _extent: usize, width: u64, transposed: bool, i: Val) -> Index {
        Index::default().plus(i, if transposed { 1 } else { width as i64 })
    }

    fn slot(&mut self, b: &mut KernelBuilder, list: ListId, ahead: i64) -> Val {
        let slots = i64::from(self.program.lists[list.index()].slots);
        let (tick, ahead, slots) = (b.tick(), b.index(ahead), b.index(slots));
        let at = b.op(ScalarOp::IAdd, &[tick, ahead]);
        b.op(ScalarOp::IRem, &[at, slots])
    }

    fn item_loop(
        &mut self,
        b: &mut KernelBuilder,
        place: &Place,
        extent: usize,
        (lo, hi): (Val, Val),
        push: Option<(ListId, Val)>,
    ) {
        let mark = self.pool.len();
        let vector = !self.c.once_in(3);
        let in_if = self.c.once_in(4);
        b.for_loop(lo, hi, vector, |b, i| {
            self.pool.push(i);
            let place = Place { item: Some((i, extent)), ..place.clone() };
            self.load(b, &place);
            self.stmts(b, &place, 1);
            self.store(b, &place);
            if let Some((list, slot)) = push {
                let cond = self.value(b, ScalarType::Bool);
                if in_if {
                    let outer = self.value(b, ScalarType::Bool);
                    b.if_then(outer, |b| b.push(list, slot, cond, i));
                } else {
                    b.push(list, slot, cond, i);
                }
            }
        });
        self.pool.truncate(mark);
    }

    /// A loop over the events of a list: event by event, or with the loop over items inside so that a whole group is
    /// folded into each.
    fn event_phase(
        &mut self,
        b: &mut KernelBuilder,
        place: &Place,
        items: Option<(usize, Val, Val)>,
        pushed: Option<ListId>,
    ) {
        let readable: Vec<(ListId, usize)> = self
            .lists
            .iter()
            .copied()
            .filter(|(l, _)| Some(*l) != pushed || self.program.lists[l.index()].slots > 1)
            .collect();
        if readable.is_empty() {
            return;
        }
        let (list, source) = self.c.of(&readable);
        let ahead = if Some(list) == pushed { 1 } else { self.c.below(3) as i64 };
        let slot = self.slot(b, list, ahead);
        let group = self.c.of(&[1, 2, 4, 8]);
        let (folded, vector) = (self.c.once_in(2), !self.c.once_in(3));
        let (mark, position, budget) = (self.pool.len(), self.c.position(), self.budget.min(12));
        let mut end = position;
        b.events(list, slot, group, |b, events| {
            // Every event of every body is written from the same choices, so that all do the same work.
            let mut one = |g: &mut Generator, b: &mut KernelBuilder, e: Val, item: Option<(Val, usize)>| {
                let inside = g.pool.len();
                g.c.rewind(position);
                g.budget = budget;
                g.pool.push(e);
                let place = Place { item, event: Some((e, source)), ..place.clone() };
                g.load(b, &place);
                g.load(b, &place);
                g.stmts(b, &place, 2);
                g.store(b, &place);
                end = end.max(g.c.position());
                g.pool.truncate(inside);
            };
            match items {
                Some((extent, lo, hi)) if folded => b.for_loop(lo, hi, vector, |b, i| {
                    self.pool.push(i);
                    for e in events {
                        one(self, b, *e, Some((i, extent)));
                    }
                }),
                Some((extent, lo, hi)) => {
                    for e in events {
                        b.for_loop(lo, hi, vector, |b, i| {
                            let inside = self.pool.len();
                            self.pool.push(i);
                            one(self, b, *e, Some((i, extent)));
                            self.pool.truncate(inside);
                        });
                    }
                }
                None => {
                    for e in events {
                        one(self, b, *e, None);
                    }
                }
            }
            self.pool.truncate(mark);
        });
        self.c.rewind(end);
    }

    fn stmts(&mut self, b: &mut KernelBuilder, place: &Place, depth: usize) {
        for _ in 0..self.c.below(9) {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            match self.c.below(if depth < 4 { 16 } else { 11 }) {
                0..=5 => self.operation(b),
                6..=8 => self.load(b, place),
                9 | 10 => self.store(b, place),
                11 => self.branch(b, place, depth),
                12 => self.accumulate(b, place, depth),
                13 => self.counted(b, place, depth),
                14 => self.columns(b, place, depth),
                _ => self.inner_events(b, place),
            }
        }
    }

    fn branch(&mut self, b: &mut KernelBuilder, place: &Place, depth: usize) {
        let cond = self.value(b, ScalarType::Bool);
        let mark = self.pool.len();
        let otherwise = self.c.once_in(2);
        // Both closures need the generator, one after the other.
        let g = std::cell::RefCell::new(self);
        let body = |b: &mut KernelBuilder| {
            let mut g = g.borrow_mut();
            g.stmts(b, place, depth + 1);
            g.store(b, place);
            g.pool.truncate(mark);
        };
        if otherwise { b.if_else(cond, body, body) } else { b.if_then(cond, body) }
    }

    /// A loop that carries values, over a known or a computed number of iterations.
    fn accumulate(&mut self, b: &mut KernelBuilder, place: &Place, depth: usize) {
        let lo = b.index(self.c.of(&[0, 2, -3]));
        let hi = if self.c.once_in(3) { self.few(b) } else { b.index(self.c.of(&[3, 0, 5, 8])) };
        let init: Vec<Val> = (0..1 + self.c.below(3))
            .map(|_| {
                let ty = self.c.of(&ScalarType::ALL);
                self.value(b, ty)
            })
            .collect();
        let mark = self.pool.len();
        let results = b.for_carried(lo, hi, &init, |b, i, params| {
            self.pool.push(i);
            self.pool.extend_from_slice(params);
            self.stmts(b, place, depth + 1);
            self.operation(b);
            let next = init.iter().map(|v| self.value(b, b.type_of(*v))).collect();
            self.pool.truncate(mark);
            next
        });
        self.pool.extend(results);
    }

    /// A number from 0 to 7 that is computed.
    fn few(&mut self, b: &mut KernelBuilder) -> Val {
        let (x, seven) = (self.value(b, ScalarType::I64), b.index(7));
        b.op(ScalarOp::And, &[x, seven])
    }

    fn counted(&mut self, b: &mut KernelBuilder, place: &Place, depth: usize) {
        let mark = self.pool.len();
        let lo = b.index(0);
        let hi = if self.c.once_in(2) { self.few(b) } else { b.index(4) };
        b.for_loop(lo, hi, false, |b, i| {
            self.pool.push(i);
            self.stmts(b, place, depth + 1);
        });
        self.pool.truncate(mark);
    }

    /// A vector loop over the columns of the item's matrices.
    fn columns(&mut self, b: &mut KernelBuilder, place: &Place, depth: usize) {
        if place.item.is_none() || place.column.is_some() || place.event.is_some() {
            return;
        }
        let (width, mark) = (self.c.of(&WIDTHS), self.pool.len());
        b.for_count(width, true, |b, j| {
            self.pool.push(j);
            let place = Place { column: Some((j, width)), ..place.clone() };
            self.load(b, &place);
            self.stmts(b, &place, depth + 1);
            self.store(b, &place);
        });
        self.pool.truncate(mark);
    }

    /// A loop over events inside an item, which folds them into one of the item's elements.
    fn inner_events(&mut self, b: &mut KernelBuilder, place: &Place) {
        let Some((item, extent)) = place.item else { return };
        if place.event.is_some() || place.column.is_some() {
            return;
        }
        let rows: Vec<usize> =
            place.written.iter().copied().filter(|k| self.bufs[*k].shape == Shape::Row { extent }).collect();
        // Lists of other extents are never pushed to in this kernel.
        let lists: Vec<(ListId, usize)> = self.lists.iter().copied().filter(|l| l.1 != extent).collect();
        if rows.is_empty() || lists.is_empty() {
            return;
        }
        let (row, (list, source)) = (self.c.of(&rows), self.c.of(&lists));
        let (id, elem) = (self.bufs[row].id, self.bufs[row].elem);
        let slot = self.slot(b, list, 0);
        let group = self.c.of(&[1, 4]);
        let (mark, position) = (self.pool.len(), self.c.position());
        let mut end = position;
        b.events(list, slot, group, |b, events| {
            for e in events {
                self.c.rewind(position);
                self.pool.push(*e);
                let old = b.load(id, elem, Index::var(item));
                self.pool.push(old);
                self.load(b, &Place { event: Some((*e, source)), ..place.clone() });
                self.operation(b);
                let new = self.value(b, b.type_of(old));
                b.store(id, Index::var(item), new);
                end = end.max(self.c.position());
                self.pool.truncate(mark);
            }
        });
        self.c.rewind(end);
    }

    /// A value of a type: one that is there, preferring the latest, or a constant.
    fn value(&mut self, b: &mut KernelBuilder, ty: ScalarType) -> Val {
        let fitting: Vec<Val> = self.pool.iter().rev().copied().filter(|v| b.type_of(*v) == ty).take(6).collect();
        let k = self.c.below(fitting.len() + 1);
        if let Some(v) = fitting.get(k) {
            return *v;
        }
        let (n, x) = (self.c.below(9) as i64 - 3, self.c.below(33) as f64 / 8.0 - 2.0);
        let wild = self.c.once_in(6);
        let bits = u64::from(self.c.draw()) << 32 | u64::from(self.c.draw());
        b.constant(match ty {
            ScalarType::F32 if wild => Scalar::F32(f32::from_bits(bits as u32)),
            ScalarType::F64 if wild => Scalar::F64(f64::from_bits(bits)),
            ScalarType::I32 if wild => Scalar::I32(bits as i32),
            ScalarType::I64 if wild => Scalar::I64(bits as i64),
            ScalarType::F32 => Scalar::F32(x as f32),
            ScalarType::F64 => Scalar::F64(x),
            ScalarType::I32 => Scalar::I32(n as i32),
            ScalarType::I64 => Scalar::I64(n),
            ScalarType::Bool => Scalar::Bool(n & 1 == 0),
        })
    }

    fn operation(&mut self, b: &mut KernelBuilder) {
        use crate::kernel::scalar::Signature::{Convert, Float, FloatCmp, Int, IntCmp, Logic, Select};
        use ScalarType::{Bool, F32, F64, I32, I64};
        let op = self.c.of(ScalarOp::ALL);
        let mut types = [Bool; 3];
        match op.signature() {
            Float(_) | FloatCmp => types = [self.c.of(&[F32, F32, F64]); 3],
            Int(_) | IntCmp => types = [self.c.of(&[I32, I64]); 3],
            Logic(_) => types = [self.c.of(&[Bool, I32, I64]); 3],
            Select => types[1..].fill(self.c.of(&ScalarType::ALL)),
            Convert(from, _) => types[0] = from,
        }
        let mut args: Vec<Val> = types[..op.arity()].iter().map(|t| self.value(b, *t)).collect();
        if matches!(op, ScalarOp::F32Bits | ScalarOp::F64Bits) {
            let zero = b.constant(if types[0] == F32 { Scalar::F32(0.0) } else { Scalar::F64(0.0) });
            let nan = b.op(ScalarOp::FUno, &[args[0], args[0]]);
            args[0] = b.op(ScalarOp::Select, &[nan, zero, args[0]]);
        }
        let v = b.op(op, &args);
        self.pool.push(v);
    }

    /// Index of an own element, if the buffer has elements that belong to this place.
    fn own(&mut self, b: &mut KernelBuilder, place: &Place, k: usize) -> Option<Index> {
        let (item, extent) = place.item?;
        let shape = self.bufs[k].shape;
        match (shape, place.column) {
            (Shape::Row { extent: e }, None) if e == extent => Some(Index::var(item)),
            (Shape::Matrix { extent: e, width, transposed }, column) if e == extent => {
                let index = self.matrix(extent, width, transposed, item);
                let stride = self.stride(shape);
                match column {
                    Some((j, w)) => (w <= width).then(|| index.plus(j, stride)),
                    None if self.c.once_in(2) => {
                        let (x, mask, w) = (self.value(b, ScalarType::I64), b.index(i64::MAX), b.index(width as i64));
                        let x = b.op(ScalarOp::And, &[x, mask]);
                        let j = b.op(ScalarOp::IRem, &[x, w]);
                        Some(index.plus(j, stride))
                    }
                    None => Some(index.offset(self.c.below(width as usize) as i64 * stride)),
                }
            }
            (Shape::Cross { from, to }, None) if to == extent => {
                let row = self.extents[to].len as i64;
                match place.event {
                    Some((e, source)) if source == from => Some(Index::var(item).plus(e, row)),
                    _ => Some(Index::var(item).offset(self.c.below(self.extents[from].len as usize) as i64 * row)),
                }
            }
            (Shape::Row { .. } | Shape::Matrix { .. } | Shape::Cross { .. } | Shape::Table, _) => None,
        }
    }

    /// Any index inside the buffer.
    fn anywhere(&mut self, b: &mut KernelBuilder, place: &Place, k: usize) -> Index {
        let (len, shape) = (self.bufs[k].len as i64, self.bufs[k].shape);
        if let (Some((e, source)), Shape::Row { extent }) = (place.event, shape)
            && extent == source
            && !self.c.once_in(4)
        {
            return Index::var(e);
        }
        match (self.c.below(4), place.item, shape) {
            (0, Some((i, e)), Shape::Row { extent }) if e == extent => Index::at(len - 1).plus(i, -1),
            (0 | 1, ..) => Index::at(self.c.below(len as usize) as i64),
            _ => {
                let (x, mask, n) = (self.value(b, ScalarType::I64), b.index(i64::MAX), b.index(len));
                let x = b.op(ScalarOp::And, &[x, mask]);
                Index::var(b.op(ScalarOp::IRem, &[x, n]))
            }
        }
    }

    fn load(&mut self, b: &mut KernelBuilder, place: &Place) {
        let k = self.c.below(self.bufs.len());
        let buf = &self.bufs[k];
        if !buf.ready || matches!(buf.role, Kind::Probe(every) if every != self.every) {
            return;
        }
        let written = place.written.contains(&k);
        let index = match self.own(b, place, k) {
            Some(own) if written || !self.c.once_in(3) => own,
            // Rows that are written, just not in the inner vector loop, are read at the item.
            None if written && place.column.is_some() => match (self.bufs[k].shape, place.item) {
                (Shape::Row { extent }, Some((i, e))) if extent == e => Index::var(i),
                _ => return,
            },
            None if written => return,
            Some(_) | None => self.anywhere(b, place, k),
        };
        let v = b.load(self.bufs[k].id, self.bufs[k].elem, index);
        self.pool.push(v);
    }

    fn store(&mut self, b: &mut KernelBuilder, place: &Place) {
        let k = if place.free {
            let k = self.c.below(self.bufs.len());
            let writable = match self.bufs[k].role {
                Kind::Const | Kind::Input => false,
                Kind::Probe(every) => every == self.every,
                Kind::State | Kind::Output | Kind::Temp => true,
            };
            if !writable {
                return;
            }
            k
        } else if place.written.is_empty() {
            return;
        } else {
            self.c.of(&place.written)
        };
        let index = if place.free { Some(self.anywhere(b, place, k)) } else { self.own(b, place, k) };
        let Some(index) = index else { return };
        let value = self.value(b, crate::kernel::loaded_type(self.bufs[k].elem));
        b.store(self.bufs[k].id, index, value);
    }
}
