//! One kernel of the kernel IR to one function of `func`, `scf`, `arith` and `math`, with memory through `llvm`.
//!
//! [`ops`] is the arithmetic, [`expand`] what a machine without 64-bit arithmetic does instead, [`portable`] what one does
//! through Vulkan, [`memory`] the addresses,
//! loads and stores, [`lists`] the event lists; [`threads`] and [`gather`] divide the work among the threads of a graphics
//! processor.

mod cell;
mod double;
pub(crate) mod expand;
mod gather;
mod lists;
mod memory;
mod narrow;
mod ops;
pub(crate) mod owned;
mod portable;
pub(crate) mod threads;
mod wide;

use crate::error::Unsupported;
use crate::gpu::Arithmetic;
use crate::ir::{Ir, Style, V, Write};
use crate::scratch::Scratch;
use melior::ir::Module;
use nc_ir::kernel::abi::{Layout, Place};
use nc_ir::kernel::{
    Block, BufId, Carried, Emit, Kernel, Parallel, Program, Scalar, ScalarOp, ScalarType, Stmt, Val, loaded_type,
};
use std::collections::{BTreeMap, BTreeSet};
use threads::{Meet, Threads};

/// Result of emitting something.
pub(crate) type Emitted<T> = Result<T, Unsupported>;

/// Deepest nesting of statements.
const MAX_DEPTH: usize = 64;

/// How often the body of a loop that reads and adds is written out, where that helps.
const REPEATED: i64 = 16;

/// Statements of a body that is, at most.
const MOST_REPEATED: usize = 12;

/// What a kernel function is given, in this order: the arena, the constant pool, the table of current host frames, the
/// tick, the part. After these come the iterations that the kernel asks for.
pub(crate) const KERNEL_PARAMS: usize = 5;

/// What the function of a kernel of a team is given before the iterations: as other kernels, and the number of the thread,
/// of samples, and of the sample.
pub(crate) const TEAM_PARAMS: usize = KERNEL_PARAMS + 3;

/// What emission has to know about the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Machine {
    /// A processor.
    Cpu {
        /// True if only 32-bit integers and `f32` exist: everything wider is written out, and so is rounding to integers.
        small: bool,
    },
    /// Blocks of threads.
    Gpu(Side),
}

/// Who runs blocks of threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// This processor, one thread after another. Functions then have three more parameters, at their ends: the address of
    /// what the threads of a block share, function and argument to call where they meet.
    Host,
    /// One of NVIDIA's processors, by PTX.
    Ptx,
    /// Any, by SPIR-V. If it is taken to compute little right, functions have one more parameter, at their ends: the address
    /// where to write that a loop did not run to its end.
    Spirv(Arithmetic),
}

impl Machine {
    /// How modules of a program of so many parts are written.
    pub fn style(self, parts: u32) -> Style {
        match self {
            Machine::Cpu { small } => Style { soft: small, spirv: None },
            Machine::Gpu(Side::Spirv(_)) => Style { soft: false, spirv: Some(crate::gpu::shared_bytes(parts)) },
            Machine::Gpu(Side::Host | Side::Ptx) => Style::default(),
        }
    }
}

/// Threads that run parts together, a block of them each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Blocks {
    /// Threads of a block.
    pub threads: u32,
    /// Who runs them.
    pub side: Side,
}

impl Blocks {
    /// Whether this processor runs them.
    pub fn host(self) -> bool {
        self.side == Side::Host
    }

    /// What emission has to know.
    pub fn machine(self) -> Machine {
        Machine::Gpu(self.side)
    }
}

/// A value of the kernel IR.
#[derive(Clone, Copy)]
pub(crate) struct Cell<'c> {
    pub v: V<'c>,
    pub ty: ScalarType,
}

/// The state of emission of one kernel.
pub(crate) struct Emitter<'c, 'p> {
    pub ir: Ir<'c>,
    program: &'p Program,
    layout: &'p Layout,
    arena: V<'c>,
    consts: V<'c>,
    hosts: BTreeMap<u32, V<'c>>,
    part: V<'c>,
    slots: Vec<Option<Cell<'c>>>,
    depth: usize,
    machine: Machine,
    /// The threads that run this together, where they do. Absent inside of what a thread does for itself.
    threads: Option<Threads<'c>>,
    /// A buffer whose one element in question is in a register.
    register: Option<(BufId, Cell<'c>)>,
    /// Whether iterations of a loop over the range of the part are independent, since the part may be cut anywhere.
    items: bool,
    /// Items of a part.
    items_each: u64,
    /// Constants of the kernel.
    known: BTreeMap<Val, i64>,
    /// Functions of [`expand`] that are called.
    pub helpers: BTreeSet<expand::Helper>,
}

impl<'c> Write<'c> for Emitter<'c, '_> {
    fn ir(&mut self) -> &mut Ir<'c> {
        &mut self.ir
    }
}

/// Adds the function of `kernel` to the module; the helpers that it calls.
pub(crate) fn kernel<'c>(
    module: &Module<'c>,
    context: &'c melior::Context,
    symbol: &str,
    (program, layout): (&Program, &Layout),
    kernel: &Kernel,
    machine: Machine,
) -> Emitted<BTreeSet<expand::Helper>> {
    let mut ir = Ir::new(context, machine.style(program.parts));
    let (ptr, i64) = (ir.types.ptr, ir.types.i64);
    let mut arguments = vec![ptr, ptr, ptr, i64, i64];
    arguments.resize(KERNEL_PARAMS + kernel.iterations.len(), i64);
    let mut helpers = BTreeSet::new();
    ir.function(module.body(), (symbol, false), &arguments, None, |ir, a| {
        let mut e = Emitter::new(ir.fork(), (program, layout), kernel, a, machine)?;
        let mut used = BTreeSet::new();
        buffers(&kernel.body, &mut used, MAX_DEPTH)?;
        for b in used {
            if let Some(Place::Host(n)) = layout.buffers.get(b.index()) {
                let p = e.ir.frame(a[2], *n, 4);
                e.hosts.insert(*n, p);
            }
        }
        e.body(kernel, &a[KERNEL_PARAMS..])?;
        helpers = e.helpers;
        Ok(None)
    })?;
    Ok(helpers)
}

/// Adds the function of a kernel that blocks of threads run together. It is given what [`TEAM_PARAMS`] says.
pub(crate) fn team_kernel<'c>(
    module: melior::ir::BlockRef<'c, '_>,
    context: &'c melior::Context,
    symbol: &str,
    (program, layout): (&Program, &Layout),
    kernel: &Kernel,
    blocks: Blocks,
) -> Emitted<BTreeSet<expand::Helper>> {
    let mut ir = Ir::new(context, blocks.machine().style(program.parts));
    let (ptr, i64) = (ir.types.ptr, ir.types.i64);
    let memory = if blocks.host() { ptr } else { ir.global() };
    let mut arguments = vec![memory, memory, memory, i64, i64, i64, i64, i64];
    arguments.resize(TEAM_PARAMS + kernel.iterations.len(), i64);
    match blocks.side {
        Side::Host => arguments.extend([ptr, ptr, ptr]),
        Side::Spirv(Arithmetic::Portable) => arguments.push(ptr),
        Side::Spirv(Arithmetic::Fused) | Side::Ptx => {}
    }
    let scratch = Scratch::of(blocks.threads, program.parts);
    let mut helpers = BTreeSet::new();
    let mut write = |ir: &mut Ir<'c>, a: &[V<'c>]| {
        let (a, shared, meet) = match a {
            [a @ .., shared, function, argument] if blocks.host() => (a, *shared, Meet::Call(*function, *argument)),
            _ => (a, ir.shared(), Meet::Gpu),
        };
        let mut a = a.to_vec();
        a[..3].iter_mut().for_each(|p| *p = ir.cast(*p, ptr));
        let mut e = Emitter::new(ir.fork(), (program, layout), kernel, &a, blocks.machine())?;
        let mut iterations = &a[TEAM_PARAMS..];
        if let (Side::Spirv(Arithmetic::Portable), Some((fault, rest))) = (blocks.side, iterations.split_last()) {
            (e.ir.fault, iterations) = (Some(*fault), rest);
            // There are fewer samples than 2^63.
            e.ir.zero = Some(e.ir.by("arith.shrui", a[6], 63));
        }
        let threads = Threads { id: a[5], count: blocks.threads, meet, shared: (shared, scratch), quiet: false };
        e.threads = Some(threads);
        let mut used = BTreeSet::new();
        buffers(&kernel.body, &mut used, MAX_DEPTH)?;
        for b in used {
            if let Some(Place::Host(n)) = layout.buffers.get(b.index()) {
                let buffer = program.buffers.get(b.index()).ok_or_else(|| Unsupported::malformed("a host array"))?;
                let p = e.ir.team_frame(a[2], (*n, buffer), (a[3], a[6], a[7]));
                e.hosts.insert(*n, p);
            }
        }
        e.body(kernel, iterations)?;
        helpers = e.helpers;
        Ok(())
    };
    match blocks.host() {
        true => ir.function(module, (symbol, false), &arguments, None, |ir, a| write(ir, a).map(|()| None)),
        false => ir.device_function(module, symbol, &arguments, write),
    }?;
    Ok(helpers)
}

impl<'c, 'p> Emitter<'c, 'p> {
    /// The emitter of a kernel function with these arguments.
    fn new(
        ir: Ir<'c>,
        (program, layout): (&'p Program, &'p Layout),
        kernel: &Kernel,
        a: &[V<'c>],
        machine: Machine,
    ) -> Emitted<Emitter<'c, 'p>> {
        let &[arena, consts, _, tick, part, ..] = a else {
            return Err(Unsupported::malformed("a kernel function has five parameters or more"));
        };
        let parts = program.parts.max(1);
        let mut known = BTreeMap::new();
        kernel.body.each(&mut |s| {
            if let Stmt::Const { dst, value: Scalar::I64(k) } = s {
                known.insert(*dst, *k);
            }
        });
        let items = kernel.parallel.is_some_and(|p| p.align <= 1) && !owned::mentions(&kernel.body, Kernel::PART);
        let mut e = Emitter {
            ir,
            program,
            layout,
            arena,
            consts,
            hosts: BTreeMap::new(),
            part,
            slots: vec![None; kernel.vals.max(Kernel::ENTRY_VALS) as usize],
            depth: 0,
            machine,
            threads: None,
            register: None,
            items,
            items_each: kernel.parallel.map_or(0, |p| p.len.div_ceil(parts.into())),
            known,
            helpers: BTreeSet::new(),
        };
        if parts == 1 || kernel.parallel.is_none() {
            e.part = e.ir.i64(0);
        }
        e.index(Kernel::TICK, tick)?;
        Ok(e)
    }

    /// Writes the code of a kernel.
    fn body(&mut self, kernel: &Kernel, iterations: &[V<'c>]) -> Emitted<()> {
        let part = self.part;
        let (lo, hi) = match kernel.parallel {
            None => (self.ir.i64(0), self.ir.i64(0)),
            Some(p) if self.program.parts <= 1 => {
                let (lo, hi) = p.range(0, 1);
                (self.ir.i64(lo as i64), self.ir.i64(hi as i64))
            }
            Some(p) => {
                let next = self.ir.plus(part, 1);
                (self.part_start(p, part), self.part_start(p, next))
            }
        };
        self.index(Kernel::PART, part)?;
        self.index(Kernel::LO, lo)?;
        self.index(Kernel::HI, hi)?;
        for (v, i) in kernel.iterations.iter().zip(iterations) {
            self.index(*v, *i)?;
        }
        self.block(&kernel.body)?;
        self.ir.check()
    }
}

/// The buffers that a block uses.
fn buffers(block: &Block, used: &mut BTreeSet<BufId>, depth: usize) -> Emitted<()> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Unsupported::malformed("statements nest more than 64 deep"));
    };
    for s in &block.stmts {
        match s {
            Stmt::Load { buf, .. } | Stmt::Store { buf, .. } => drop(used.insert(*buf)),
            Stmt::For { body, .. } => buffers(body, used, depth)?,
            Stmt::Events { wide, one, .. } => {
                buffers(&one.body, used, depth)?;
                if let Some(w) = wide {
                    buffers(&w.body, used, depth)?;
                }
            }
            Stmt::If { then_body, else_body, .. } => {
                buffers(then_body, used, depth)?;
                buffers(else_body, used, depth)?;
            }
            Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Clear { .. } | Stmt::Push { .. } => {}
        }
    }
    Ok(())
}

impl<'c> Emitter<'c, '_> {
    /// First item of part `part` of an extent, as [`Parallel::range`] has it.
    fn part_start(&mut self, p: Parallel, part: V<'c>) -> V<'c> {
        let parts = u64::from(self.program.parts.max(1));
        if parts == 1 {
            return self.ir.i64(0);
        }
        let align = p.align.max(1);
        let blocks = p.len.div_ceil(align);
        let (share, extra) = (blocks / parts, blocks % parts);
        let i64 = self.ir.types.i64;
        let least = self.ir.i64(extra as i64);
        let more = self.ir.op("arith.minui", &[part, least], i64);
        let all = self.ir.times(part, share as i64);
        let at = self.ir.add(all, more);
        let at = self.ir.times(at, align as i64);
        let len = self.ir.i64(p.len as i64);
        self.ir.op("arith.minui", &[at, len], i64)
    }

    fn set(&mut self, v: Val, cell: Cell<'c>) -> Emitted<()> {
        let slot = self.slots.get_mut(v.index()).ok_or_else(|| Unsupported::malformed(format!("no value {v}")))?;
        *slot = Some(cell);
        Ok(())
    }

    /// Defines an `i64`.
    fn index(&mut self, v: Val, x: V<'c>) -> Emitted<()> {
        self.set(v, Cell { v: x, ty: ScalarType::I64 })
    }

    fn cell(&self, v: Val) -> Emitted<Cell<'c>> {
        let slot = self.slots.get(v.index()).ok_or_else(|| Unsupported::malformed(format!("no value {v}")))?;
        slot.ok_or_else(|| Unsupported::malformed(format!("{v} is used before it is defined")))
    }

    /// A value that must be of this type.
    fn typed(&self, v: Val, ty: ScalarType) -> Emitted<V<'c>> {
        let c = self.cell(v)?;
        if c.ty != ty {
            return Err(Unsupported::malformed(format!("{v} is {} where {ty} is needed", c.ty)));
        }
        Ok(c.v)
    }

    fn block(&mut self, block: &Block) -> Emitted<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unsupported::malformed("statements nest more than 64 deep"));
        }
        match self.threads {
            Some(threads) => self.block_together(block, threads)?,
            None => block.stmts.iter().try_for_each(|s| self.stmt(s))?,
        }
        self.depth -= 1;
        Ok(())
    }

    fn stmt(&mut self, s: &Stmt) -> Emitted<()> {
        match s {
            Stmt::Const { dst, value } => {
                let c = self.constant(*value);
                self.set(*dst, c)
            }
            Stmt::Op { dst, op, args } => {
                let mut cells = Vec::with_capacity(args.len());
                for a in args {
                    cells.push(self.cell(*a)?);
                }
                let types: Vec<_> = cells.iter().map(|c| c.ty).collect();
                if op.result_type(&types).is_none() {
                    return Err(Unsupported::malformed(format!("{op} does not take {types:?}")));
                }
                let r = self.op(*op, &cells);
                self.set(*dst, r)
            }
            Stmt::Load { dst, buf, index } => {
                let r = self.load(*buf, index)?;
                self.set(*dst, r)
            }
            Stmt::Store { buf, index, value } => {
                let x = self.cell(*value)?;
                let b = self.buffer(*buf)?;
                if loaded_type(b.elem) != x.ty {
                    return Err(Unsupported::malformed(format!("{buf} holds no {}", x.ty)));
                }
                self.store(*buf, index, x)
            }
            Stmt::For { var, lo, hi, vector: _, carried, body } => self.repeat(*var, (*lo, *hi), carried, body),
            Stmt::Events { list, slot, wide, one } => self.events(*list, *slot, wide.as_ref(), one),
            Stmt::Clear { list, slot } => self.clear(*list, *slot),
            Stmt::Push { list, slot, cond, index } => self.push(*list, *slot, *cond, *index),
            Stmt::If { cond, then_body, else_body } => {
                let cond = self.typed(*cond, ScalarType::Bool)?;
                if else_body.stmts.is_empty() {
                    return self.when(cond, |e| e.block(then_body));
                }
                let run = |body: &Block| {
                    let body = body.clone();
                    move |e: &mut Self| e.block(&body).map(|()| Vec::new())
                };
                self.branch(cond, &[], run(then_body), run(else_body)).map(drop)
            }
        }
    }

    fn repeat(&mut self, var: Val, (lo, hi): (Val, Val), carried: &[Carried], body: &Block) -> Emitted<()> {
        let (lo, hi) = (self.typed(lo, ScalarType::I64)?, self.typed(hi, ScalarType::I64)?);
        let mut types = Vec::with_capacity(carried.len());
        let mut init = Vec::with_capacity(carried.len());
        for c in carried {
            let cell = self.cell(c.init)?;
            types.push(cell.ty);
            init.push(cell.v);
        }
        let once = |e: &mut Self, i: V<'c>, state: &[V<'c>]| -> Emitted<Vec<V<'c>>> {
            e.index(var, i)?;
            for ((c, v), ty) in carried.iter().zip(state).zip(&types) {
                e.set(c.param, Cell { v: *v, ty: *ty })?;
            }
            e.block(body)?;
            carried.iter().zip(&types).map(|(c, ty)| e.typed(c.next, *ty)).collect()
        };
        let mut start = lo;
        let mut results = init;
        // A graphics processor's thread has to have many loads on their way at a time.
        let reads = matches!(self.machine, Machine::Gpu(_))
            && self.threads.is_none()
            && !carried.is_empty()
            && body.stmts.len() <= MOST_REPEATED;
        if reads && body.stmts.iter().all(|s| matches!(s, Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Load { .. })) {
            let len = self.ir.op("arith.subi", &[hi, lo], self.ir.types.i64);
            let zero = self.ir.i64(0);
            let len = self.ir.op("arith.maxsi", &[len, zero], self.ir.types.i64);
            let whole = self.ir.by("arith.divui", len, REPEATED);
            let whole = self.ir.times(whole, REPEATED);
            let end = self.ir.add(lo, whole);
            results = self.for_loop((lo, end, REPEATED), &results, |e, i, state| {
                let mut state = state.to_vec();
                for n in 0..REPEATED {
                    let i = e.ir.plus(i, n);
                    state = once(e, i, &state)?;
                }
                Ok(state)
            })?;
            start = end;
        }
        let results = self.for_loop((start, hi, 1), &results, once)?;
        for ((c, v), ty) in carried.iter().zip(results).zip(types) {
            self.set(c.result, Cell { v, ty })?;
        }
        Ok(())
    }
}

impl<'c> Emit for Emitter<'c, '_> {
    type Value = Cell<'c>;

    fn constant(&mut self, k: Scalar) -> Cell<'c> {
        Cell { v: self.ir.constant(k), ty: k.ty() }
    }

    fn op(&mut self, op: ScalarOp, args: &[Cell<'c>]) -> Cell<'c> {
        let mut types = [ScalarType::Bool; 3];
        for (t, a) in types.iter_mut().zip(args) {
            *t = a.ty;
        }
        let ty = op.result_type(&types[..args.len().min(3)]).unwrap_or(types[0]);
        let mut v = [None; 3];
        for (v, a) in v.iter_mut().zip(args) {
            *v = Some(a.v);
        }
        Cell { v: self.scalar_op(op, types[0], v), ty }
    }

    fn type_of(&self, v: Cell<'c>) -> ScalarType {
        v.ty
    }
}
