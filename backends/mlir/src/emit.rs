//! One kernel of the kernel IR to one function of `func`, `scf`, `arith` and `math`, with memory through `llvm`.
//!
//! [`ops`] is the arithmetic, [`expand`] what a machine without 64-bit arithmetic does instead, [`memory`] the addresses,
//! loads and stores, [`lists`] the event lists.

mod double;
pub(crate) mod expand;
mod lists;
mod memory;
mod narrow;
mod ops;
pub(crate) mod threads;

use crate::error::Unsupported;
use crate::gpu::Shape;
use crate::ir::{Cmp, Ir, V, Write};
use melior::ir::Module;
use nc_ir::kernel::abi::{Layout, Place};
use nc_ir::kernel::{
    Block, BufId, Carried, Emit, Kernel, Parallel, Program, Role, Scalar, ScalarOp, ScalarType, Stmt, Val, loaded_type,
};
use std::collections::{BTreeMap, BTreeSet};
use threads::{Meet, Threads};

/// Result of emitting something.
pub(crate) type Emitted<T> = Result<T, Unsupported>;

/// Deepest nesting of statements.
const MAX_DEPTH: usize = 64;

/// What a kernel function is given, in this order: the arena, the constant pool, the table of current host frames, the
/// tick, the part. After these come the iterations that the kernel asks for.
pub(crate) const KERNEL_PARAMS: usize = 5;

/// What emission has to know about the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Machine {
    /// True if only 32-bit integers and `f32` exist: everything wider is written out, and so is rounding to integers.
    pub small: bool,
    /// How many threads run each kernel together; 0 if parts do not work together.
    pub threads: u32,
    /// Whether it is a graphics processor.
    pub gpu: bool,
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
    /// The part, or 0 where there is only one.
    part: V<'c>,
    slots: Vec<Option<Cell<'c>>>,
    depth: usize,
    machine: Machine,
    /// The threads that run this together, where they do.
    threads: Option<Threads<'c>>,
    /// Functions of [`expand`] that are called.
    pub helpers: BTreeSet<expand::Helper>,
}

impl<'c> Write<'c> for Emitter<'c, '_> {
    fn ir(&mut self) -> &mut Ir<'c> {
        &mut self.ir
    }
}

/// Adds the function of `kernel` to the module; the helpers that it calls. If several threads run it together, it has
/// three more parameters: function and argument of their barrier, and how many there are; the part is the thread.
pub(crate) fn kernel<'c>(
    module: &Module<'c>,
    context: &'c melior::Context,
    symbol: &str,
    (program, layout): (&Program, &Layout),
    kernel: &Kernel,
    machine: Machine,
) -> Emitted<BTreeSet<expand::Helper>> {
    let mut ir = Ir::new(context, machine.small);
    let (ptr, i64) = (ir.types.ptr, ir.types.i64);
    let mut arguments = vec![ptr, ptr, ptr, i64, i64];
    arguments.resize(KERNEL_PARAMS + kernel.iterations.len(), i64);
    if machine.threads > 0 {
        arguments.extend([ptr, ptr, i64]);
    }
    let mut helpers = BTreeSet::new();
    ir.function(module, (symbol, false), &arguments, None, |ir, a| {
        let (a, threads) = match (machine.threads, a) {
            (0, a) => (a, None),
            (_, [a @ .., function, argument, count]) => {
                let meet = Meet::Call(*function, *argument);
                (a, Some(Threads { id: a[4], count: *count, shape: Shape::of(kernel, 1), meet }))
            }
            (_, a) => (a, None),
        };
        helpers = body(ir, a, (program, layout), kernel, (machine, threads))?;
        Ok(None)
    })?;
    Ok(helpers)
}

/// Adds the function of `kernel` to a module of a graphics processor, whose threads run it together. It is given what
/// other kernel functions are given, without the part.
pub(crate) fn gpu_kernel<'c>(
    module: melior::ir::BlockRef<'c, '_>,
    context: &'c melior::Context,
    symbol: &str,
    (program, layout): (&Program, &Layout),
    kernel: &Kernel,
) -> Emitted<()> {
    let mut ir = Ir::new(context, false);
    let (ptr, i64) = (ir.types.ptr, ir.types.i64);
    let mut arguments = vec![ptr, ptr, ptr, i64];
    arguments.resize(KERNEL_PARAMS - 1 + kernel.iterations.len(), i64);
    ir.gpu_function(module, symbol, &arguments, |ir, a| {
        let (thread, size) = (ir.gpu_number("gpu.thread_id"), ir.gpu_number("gpu.block_dim"));
        let shape = Shape::of(kernel, program.parts);
        let (id, count) = match shape {
            Shape::Block => (thread, size),
            Shape::Grid | Shape::Parts => {
                let (block, blocks) = (ir.gpu_number("gpu.block_id"), ir.gpu_number("gpu.grid_dim"));
                let start = ir.mul(block, size);
                (ir.add(start, thread), ir.mul(blocks, size))
            }
        };
        let machine = Machine { small: false, threads: 0, gpu: true };
        let mut all = a[..4].to_vec();
        if shape == Shape::Parts {
            all.push(id);
            all.extend(&a[4..]);
            let parts = ir.i64(program.parts.into());
            let inside = ir.cmp(Cmp::Ult, id, parts);
            return ir.when(inside, |ir| body(ir, &all, (program, layout), kernel, (machine, None)).map(drop));
        }
        all.push(ir.i64(0));
        all.extend(&a[4..]);
        let threads = Threads { id, count, shape, meet: Meet::Gpu };
        body(ir, &all, (program, layout), kernel, (machine, Some(threads)))?;
        Ok(())
    })
}

/// Writes the code of a kernel.
fn body<'c>(
    ir: &mut Ir<'c>,
    a: &[V<'c>],
    (program, layout): (&Program, &Layout),
    kernel: &Kernel,
    (machine, threads): (Machine, Option<Threads<'c>>),
) -> Emitted<BTreeSet<expand::Helper>> {
    let &[arena, consts, frames, tick, part, ref iterations @ ..] = a else {
        return Err(Unsupported::malformed("a kernel function has five parameters or more"));
    };
    // Threads of a block or grid run the kernel as one part; their lists, too, are then of one part.
    let one = program.parts <= 1 || kernel.parallel.is_none() || threads.is_some();
    let mut e = Emitter {
        ir: ir.fork(),
        program,
        layout,
        arena,
        consts,
        hosts: BTreeMap::new(),
        part,
        slots: vec![None; kernel.vals.max(Kernel::ENTRY_VALS) as usize],
        depth: 0,
        machine,
        threads,
        helpers: BTreeSet::new(),
    };
    if one {
        e.part = e.ir.i64(0);
    }
    let mut used = BTreeSet::new();
    buffers(&kernel.body, &mut used, MAX_DEPTH)?;
    for b in used {
        if let Some(Place::Host(n)) = layout.buffers.get(b.index()) {
            let mut p = e.ir.frame(frames, *n, if machine.gpu { 8 } else { 4 });
            if machine.gpu {
                let number = e.frame_number(b, tick)?;
                let buffer = e.buffer(b)?;
                let bytes = buffer.len.saturating_mul(buffer.elem.size() as u64) as i64;
                let offset = e.ir.times(number, bytes);
                p = e.ir.element(p, e.ir.types.i8, offset);
            }
            e.hosts.insert(*n, p);
        }
    }
    let (lo, hi) = match kernel.parallel {
        None => (e.ir.i64(0), e.ir.i64(0)),
        Some(p) if one => {
            let (lo, hi) = p.range(0, 1);
            (e.ir.i64(lo as i64), e.ir.i64(hi as i64))
        }
        Some(p) => {
            let next = e.ir.plus(part, 1);
            (e.part_start(p, part), e.part_start(p, next))
        }
    };
    e.index(Kernel::TICK, tick)?;
    e.index(Kernel::PART, e.part)?;
    e.index(Kernel::LO, lo)?;
    e.index(Kernel::HI, hi)?;
    for (v, i) in kernel.iterations.iter().zip(iterations) {
        e.index(*v, *i)?;
    }
    e.block(&kernel.body)?;
    e.ir.check()?;
    Ok(e.helpers)
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
    /// The number of the frame of a host array that belongs to a tick.
    fn frame_number(&mut self, buf: BufId, tick: V<'c>) -> Emitted<V<'c>> {
        Ok(match self.buffer(buf)?.role {
            Role::Probe { every } if every > 1 => self.ir.by("arith.divui", tick, every as i64),
            _ => tick,
        })
    }

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
        block.stmts.iter().try_for_each(|s| self.stmt(s))?;
        self.depth -= 1;
        Ok(())
    }

    fn stmt(&mut self, s: &Stmt) -> Emitted<()> {
        if self.together(s)? {
            return Ok(());
        }
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
        let results = self.for_loop((lo, hi, 1), &init, |e, i, state| {
            e.index(var, i)?;
            for ((c, v), ty) in carried.iter().zip(state).zip(&types) {
                e.set(c.param, Cell { v: *v, ty: *ty })?;
            }
            e.block(body)?;
            carried.iter().zip(&types).map(|(c, ty)| e.typed(c.next, *ty)).collect()
        })?;
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
