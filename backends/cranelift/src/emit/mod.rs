//! One kernel of the kernel IR to one function.
//!
//! [`cell`] says what values are, [`shape`] decides which loops become vector code, [`ops`] and [`lanes`] are the
//! arithmetic, [`memory`] the addresses, loads and stores, [`loops`] the control flow, [`lists`] the event lists.
//! [`wide`] hands element-wise loops over to [`crate::wide`] where the processor has registers for eight lanes, [`chains`]
//! products, [`listing`] the search for what is not zero.

mod cell;
mod chains;
mod indices;
mod lanes;
mod listing;
mod lists;
mod loops;
mod memory;
mod narrow;
mod ops;
mod picks;
mod shape;
mod wide;

use crate::error::Unsupported;
use crate::target::Mode;
use cell::{Cell, Lin, Slot};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use nc_ir::kernel::abi::{Layout, Place};
use nc_ir::kernel::{Block, BufId, Kernel, Parallel, Program, ScalarType, Stmt, Val};
use rustc_hash::{FxHashMap, FxHashSet};
use shape::Classes;
pub(crate) use wide::Define;

/// Result of emitting something.
pub(crate) type Emitted<T> = Result<T, Unsupported>;

/// Deepest nesting of statements.
const MAX_DEPTH: usize = 64;

/// The Cranelift type of a scalar.
pub(crate) fn scalar_type(ty: ScalarType) -> Type {
    match ty {
        ScalarType::F32 => types::F32,
        ScalarType::F64 => types::F64,
        ScalarType::I32 => types::I32,
        ScalarType::I64 => types::I64,
        ScalarType::Bool => types::I8,
    }
}

/// The Cranelift type of a register full of lanes.
pub(crate) fn lane_type(ty: ScalarType) -> Type {
    match ty {
        ScalarType::F32 => types::F32X4,
        ScalarType::F64 => types::F64X2,
        ScalarType::I32 | ScalarType::Bool => types::I32X4,
        ScalarType::I64 => types::I64X2,
    }
}

/// True if a lane takes 64 bits.
pub(crate) fn is_wide(ty: ScalarType) -> bool {
    match ty {
        ScalarType::F64 | ScalarType::I64 => true,
        ScalarType::F32 | ScalarType::I32 | ScalarType::Bool => false,
    }
}

/// What a kernel function is given, in this order, all of them 64 bits wide: the arena, the constant pool, the table of
/// current host frames, the tick, the part. After these come the iterations that the kernel asks for.
pub(crate) const KERNEL_PARAMS: usize = 5;

/// The state of emission of one kernel.
pub(crate) struct Emitter<'a, 'b> {
    b: &'a mut FunctionBuilder<'b>,
    program: &'a Program,
    layout: &'a Layout,
    arena: Value,
    consts: Value,
    hosts: FxHashMap<u32, Value>,
    part: Lin,
    slots: Vec<Slot>,
    types: Vec<ScalarType>,
    classes: Classes,
    /// Groups of four lanes that are emitted at once; 0 in scalar code.
    groups: usize,
    depth: u32,
    /// Loop depth at which a value that occurs in a [`Lin`] is defined; 0 if absent.
    level: FxHashMap<Value, u32>,
    /// Loop counters times a constant that a loop carries along.
    scaled: FxHashMap<(Value, i64), Value>,
    /// Buffers that the kernel stores to.
    stored: FxHashSet<BufId>,
    /// Values that are nothing but parts of addresses.
    index_only: FxHashSet<Val>,
    /// Where those of them lie that the lanes of the current loop read.
    rows: indices::Rows,
    mode: Mode,
    define: Define<'a>,
}

/// Emits the body of `kernel` into `b`, whose entry block is current and has [`KERNEL_PARAMS`] parameters and one more
/// for each of the kernel's iterations.
pub(crate) fn kernel(
    b: &mut FunctionBuilder<'_>,
    params: &[Value],
    program: &Program,
    layout: &Layout,
    kernel: &Kernel,
    mode: Mode,
    define: Define<'_>,
) -> Emitted<()> {
    let &[arena, consts, hosts, tick, part, ref iterations @ ..] = params else {
        return Err(Unsupported::malformed("a kernel function has five parameters or more"));
    };
    let vals = kernel.vals.max(Kernel::ENTRY_VALS) as usize;
    let mut types = vec![ScalarType::I64; vals];
    let mut used = Vec::new();
    shape::infer(program, &kernel.body, &mut types, &mut used, MAX_DEPTH)?;
    let (index_only, stored) = indices::index_only(program, &kernel.body);
    let one_part = program.parts <= 1 || kernel.parallel.is_none();
    let mut e = Emitter {
        b,
        program,
        layout,
        arena,
        consts,
        hosts: FxHashMap::default(),
        part: if one_part { Lin::constant(0) } else { Lin::of(part) },
        slots: vec![Slot::Undefined; vals],
        types,
        classes: Classes::new(vals),
        groups: 0,
        depth: 0,
        level: FxHashMap::default(),
        scaled: FxHashMap::default(),
        stored,
        index_only,
        rows: indices::Rows::default(),
        mode,
        define,
    };
    for buf in used {
        if let Some(Place::Host(n)) = layout.buffers.get(buf.index()) {
            let at = i32::try_from(8 * u64::from(*n)).map_err(|_| Unsupported::malformed("too many host arrays"))?;
            let flags = MemFlagsData::trusted();
            let p = e.b.ins().load(types::I64, flags, hosts, at);
            e.hosts.insert(*n, p);
        }
    }
    let (lo, hi) = match kernel.parallel {
        None => (Lin::constant(0), Lin::constant(0)),
        Some(p) if program.parts <= 1 => {
            let (lo, hi) = p.range(0, 1);
            (Lin::constant(lo as i64), Lin::constant(hi as i64))
        }
        Some(p) => (e.part_start(p, Lin::of(part)), e.part_start(p, Lin::of(part).plus(1))),
    };
    e.set(Kernel::TICK, Cell::Lin(Lin::of(tick)))?;
    let part = e.part;
    e.set(Kernel::PART, Cell::Lin(part))?;
    e.set(Kernel::LO, Cell::Lin(lo))?;
    e.set(Kernel::HI, Cell::Lin(hi))?;
    for (v, i) in kernel.iterations.iter().zip(iterations) {
        e.set(*v, Cell::Lin(Lin::of(*i)))?;
    }
    e.block(&kernel.body)
}

impl Emitter<'_, '_> {
    /// First item of part `part` of an extent, as [`Parallel::range`] has it.
    fn part_start(&mut self, p: Parallel, part: Lin) -> Lin {
        let parts = u64::from(self.program.parts.max(1));
        if let Some(k) = part.known() {
            return Lin::constant(p.range(k.clamp(0, i64::from(u32::MAX)) as u32, parts as u32).0 as i64);
        }
        let align = p.align.max(1);
        let blocks = p.len.div_ceil(align);
        let (share, extra) = (blocks / parts, blocks % parts);
        let part = self.int(part);
        let least = self.b.ins().iconst(types::I64, extra as i64);
        let more = self.b.ins().umin(part, least);
        let all = self.b.ins().imul_imm_s(part, share as i64);
        let at = self.b.ins().iadd(all, more);
        let at = self.b.ins().imul_imm_s(at, align as i64);
        let len = self.b.ins().iconst(types::I64, p.len as i64);
        let at = self.b.ins().umin(at, len);
        self.atom(at)
    }

    /// Defines a value, the same in all groups.
    fn set(&mut self, v: Val, cell: Cell) -> Emitted<()> {
        let slot = self.slots.get_mut(v.index()).ok_or_else(|| Unsupported::malformed(format!("no value {v}")))?;
        *slot = Slot::Same(cell);
        Ok(())
    }

    /// Defines a value in group `u`; groups come in order.
    fn set_group(&mut self, v: Val, u: usize, cell: Cell) -> Emitted<()> {
        let slot = self.slots.get_mut(v.index()).ok_or_else(|| Unsupported::malformed(format!("no value {v}")))?;
        match (u, cell) {
            (0, Cell::V4(..) | Cell::V22(..)) => *slot = Slot::Each(vec![cell]),
            (0, Cell::Const(_) | Cell::One(..) | Cell::Lin(_)) => *slot = Slot::Same(cell),
            _ => match slot {
                Slot::Each(cells) => cells.push(cell),
                Slot::Undefined | Slot::Same(_) => {}
            },
        }
        Ok(())
    }

    /// True if a value needs nothing in the groups after the first.
    fn is_same(&self, v: Val) -> bool {
        matches!(self.slots.get(v.index()), Some(Slot::Same(_)))
    }

    /// A value in group `u`.
    fn cell(&self, v: Val, u: usize) -> Emitted<Cell> {
        match self.slots.get(v.index()) {
            Some(Slot::Same(Cell::Lin(l))) => Ok(Cell::Lin(l.group(u))),
            Some(Slot::Same(c)) => Ok(*c),
            Some(Slot::Each(cells)) => {
                cells.get(u).copied().ok_or_else(|| Unsupported::malformed(format!("{v} is used before it is defined")))
            }
            Some(Slot::Undefined) | None => Err(Unsupported::malformed(format!("{v} is used before it is defined"))),
        }
    }

    /// A value that is an `i64` and the same in all lanes.
    fn uniform_index(&self, v: Val) -> Emitted<Lin> {
        match self.cell(v, 0)? {
            Cell::Lin(l) if l.lane == 0 => Ok(l),
            c => Err(Unsupported::malformed(format!("{v} is {} where one i64 is needed", c.ty()))),
        }
    }

    /// A value as a term of a sum, remembered with the loop it belongs to.
    fn atom(&mut self, v: Value) -> Lin {
        self.level.entry(v).or_insert(self.depth);
        Lin::of(v)
    }

    /// `v * c`.
    fn scale(&mut self, v: Value, c: i64) -> Value {
        if c == 1 {
            return v;
        }
        if let Some(s) = self.scaled.get(&(v, c)) {
            return *s;
        }
        if c > 0 && (c as u64).is_power_of_two() {
            self.b.ins().ishl_imm_u(v, i64::from(c.trailing_zeros()))
        } else {
            self.b.ins().imul_imm_s(v, c)
        }
    }

    /// The terms of a sum, those of outer loops first, so that partial sums can leave inner loops.
    fn sorted(&self, l: &Lin) -> ([(Value, i64); cell::MAX_TERMS], usize) {
        let mut terms = [(Value::from_u32(0), 0); cell::MAX_TERMS];
        let n = l.terms().len();
        terms[..n].copy_from_slice(l.terms());
        terms[..n].sort_by_key(|t| (self.level.get(&t.0).copied().unwrap_or(0), t.0.as_u32()));
        (terms, n)
    }

    /// Computes a sum (its lane part left out).
    fn int(&mut self, l: Lin) -> Value {
        let (terms, n) = self.sorted(&l);
        let mut sum = None;
        for &(v, c) in &terms[..n] {
            let t = self.scale(v, c);
            sum = Some(match sum {
                None => t,
                Some(s) => self.b.ins().iadd(s, t),
            });
        }
        match sum {
            None => self.b.ins().iconst(types::I64, l.k),
            Some(s) if l.k == 0 => s,
            Some(s) => self.b.ins().iadd_imm_s(s, l.k),
        }
    }

    /// The sum of two, computing one of them if there are too many terms.
    fn sum(&mut self, x: Lin, y: Lin) -> Lin {
        if let Some(s) = x.add(&y) {
            return s;
        }
        let v = self.int(x.uniform());
        let (k, mut x) = (x.lane, self.atom(v));
        x.lane = k;
        if let Some(s) = x.add(&y) {
            return s;
        }
        let v = self.int(y.uniform());
        let mut y2 = self.atom(v);
        y2.lane = y.lane;
        x.add(&y2).unwrap_or(x)
    }

    /// Base register of a buffer and the byte offset of its first element from there.
    fn base(&self, buf: BufId) -> Emitted<(Value, i64)> {
        match self.layout.buffers.get(buf.index()) {
            Some(Place::Arena(at)) => Ok((self.arena, *at as i64)),
            Some(Place::Consts(at)) => Ok((self.consts, *at as i64)),
            Some(Place::Host(n)) => match self.hosts.get(n) {
                Some(p) => Ok((*p, 0)),
                None => Err(Unsupported::malformed(format!("{buf} is not among the host arrays"))),
            },
            None => Err(Unsupported::malformed(format!("no buffer {buf}"))),
        }
    }

    /// Emits a block in the current mode.
    fn block(&mut self, block: &Block) -> Emitted<()> {
        if self.groups == 0 {
            for (n, s) in block.stmts.iter().enumerate() {
                if !self.run_listing(s, &block.stmts[n + 1..])? {
                    self.stmt(s)?;
                }
            }
            return Ok(());
        }
        self.grouped(block)
    }

    /// Emits one statement of scalar code, or one with control flow.
    fn stmt(&mut self, s: &Stmt) -> Emitted<()> {
        match s {
            Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Load { .. } => self.simple(s, 0),
            Stmt::Store { buf, index, value } => self.store(*buf, index, *value, 0),
            Stmt::For { var, lo, hi, vector, carried, body } => self.for_loop(*var, *lo, *hi, *vector, carried, body),
            Stmt::Events { list, slot, wide, one } => self.events(*list, *slot, wide.as_ref(), one),
            Stmt::Clear { list, slot } => self.clear(*list, *slot),
            Stmt::Push { list, slot, cond, index } => {
                if self.groups == 0 {
                    self.push(*list, *slot, *cond, *index)
                } else {
                    self.push_groups(*list, *slot, *cond, *index)
                }
            }
            Stmt::If { cond, then_body, else_body } => self.branch(*cond, then_body, else_body),
        }
    }

    /// Emits a statement without control flow or effect on memory in group `u`.
    fn simple(&mut self, s: &Stmt, u: usize) -> Emitted<()> {
        if self.is_row_of_indices(s) {
            return Ok(());
        }
        match s {
            Stmt::Const { dst, value } => {
                if u == 0 {
                    self.set(*dst, Cell::constant(*value))?;
                }
                Ok(())
            }
            Stmt::Op { dst, op, args } => {
                if u > 0 && self.is_same(*dst) {
                    return Ok(());
                }
                let mut cells = [Cell::Lin(Lin::constant(0)); 3];
                if args.len() != op.arity() {
                    return Err(Unsupported::malformed(format!("{op} with {} operands", args.len())));
                }
                for (c, a) in cells.iter_mut().zip(args) {
                    *c = self.cell(*a, u)?;
                }
                let r = self.op(*op, &cells[..args.len()])?;
                self.set_group(*dst, u, r)
            }
            Stmt::Load { dst, buf, index } => {
                if u > 0 && self.is_same(*dst) {
                    return Ok(());
                }
                let r = self.load(*buf, index, u)?;
                self.set_group(*dst, u, r)
            }
            Stmt::Store { .. }
            | Stmt::For { .. }
            | Stmt::Events { .. }
            | Stmt::Clear { .. }
            | Stmt::Push { .. }
            | Stmt::If { .. } => Err(Unsupported::malformed("a statement with effects among plain ones")),
        }
    }
}
