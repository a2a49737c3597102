//! Tiles of products in eight lanes: the inner loop of a vector loop whose carried values are chains of products, as a
//! function of its own.
//!
//! What a chain starts from goes into a frame. Where all that follows the loop is to store the sums, lanes side by side, the
//! function does that too; else what a chain ends at comes back in the frame, and the code around the loop goes on with it.

use super::cell::{Cell, Lin};
use super::shape::Class;
use super::{Emitted, Emitter};
use crate::error::Unsupported;
use crate::wide::{Chains, LANES, Operand, Start, Table, Unit};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value, types};
use nc_ir::DType;
use nc_ir::kernel::{Block, BufId, Carried, Index, Scalar, ScalarOp, ScalarType, Stmt, Val};

/// Fewest links, where their number is known, for which a call is worth it.
const LEAST: i64 = 4;
/// Largest displacement from a pointer.
const MAX_DISPLACEMENT: i64 = i32::MAX as i64 / 2;

/// A load of the loop.
#[derive(Clone, Copy)]
pub(super) struct Load<'k> {
    pub dst: Val,
    pub buf: BufId,
    pub index: &'k Index,
}

/// What the loop is, if it is chains of products.
pub(super) struct Shape<'k> {
    table: Option<Load<'k>>,
    lanes: Load<'k>,
    /// One for each carried value.
    factors: Vec<Option<Load<'k>>>,
}

/// What stands around a loop.
#[derive(Default)]
pub(super) struct Around<'k> {
    /// What is done before it in the same block, if that is known.
    pub before: &'k [Stmt],
    /// Where its sums go, if all that follows is to store them.
    pub ends: Vec<(BufId, &'k Index)>,
}

/// What a pointer starts from, and how far it moves with a link.
#[derive(Clone, PartialEq)]
pub(super) struct Base {
    start: Value,
    terms: Vec<(Value, i64)>,
    far: i64,
    moves: i32,
}

/// The loop of a vector loop's body that carries values, if it has one such.
pub(super) fn inner(body: &Block) -> Option<(Val, &[Carried], &Block)> {
    let mut loops = body.stmts.iter().filter_map(|s| match s {
        Stmt::For { var, carried, body, .. } => Some((*var, carried.as_slice(), body)),
        _ => None,
    });
    let only = loops.next()?;
    loops.next().is_none().then_some(only)
}

impl Emitter<'_, '_> {
    /// Registers side by side, if the inner loop of a vector loop, whose classes are known, is chains of products; of a loop
    /// that runs so often, where that is known.
    pub(super) fn chains_side_by_side(&self, body: &Block, trip: Option<i64>) -> Option<usize> {
        let (var, carried, body) = inner(body)?;
        if self.picks(var, carried, body).is_some() {
            return trip.is_some_and(|t| t >= LANES).then_some(1);
        }
        self.chains(var, carried, body)?;
        let registers = trip.map(|t| (t.max(0) / LANES) as usize);
        Some(Chains::widest(carried.len(), registers)).filter(|w| *w > 0)
    }

    /// What an inner loop in lanes is, if its carried values are chains of products.
    fn chains<'k>(&self, var: Val, carried: &[Carried], body: &'k Block) -> Option<Shape<'k>> {
        if !self.mode.wide || carried.is_empty() {
            return None;
        }
        let (mut table, mut lanes) = (None::<Load<'k>>, None::<Load<'k>>);
        // A table of 16-bit numbers, until these are made indices.
        let mut narrow = None::<Load<'k>>;
        let mut single: Vec<Load<'k>> = Vec::new();
        let mut factors: Vec<Option<Option<Load<'k>>>> = vec![None; carried.len()];
        let elem = |b: BufId| self.program.buffers.get(b.index()).map(|b| b.elem);
        for s in &body.stmts {
            match s {
                Stmt::Const { .. } => {}
                Stmt::Load { dst, buf, index } => {
                    let load = Load { dst: *dst, buf: *buf, index };
                    match (self.moves(index)?, elem(*buf)?) {
                        (0, DType::I64 | DType::U32) if table.is_none() => table = Some(load),
                        (0, DType::U16) if table.is_none() && narrow.is_none() => narrow = Some(load),
                        (0, DType::F32) => single.push(load),
                        (1, DType::F32) if lanes.is_none() => lanes = Some(load),
                        _ => return None,
                    }
                }
                Stmt::Op { dst, op: ScalarOp::U32ToI64, args } => {
                    let from = narrow.take().filter(|l| args.as_slice() == [l.dst])?;
                    table = Some(Load { dst: *dst, ..from });
                }
                Stmt::Op { dst, op, args } => {
                    let at = |c: &&Carried| c.next == *dst && args.contains(&c.param);
                    let n = carried.iter().position(|c| at(&c))?;
                    let (acc, side) = (carried[n].param, lanes?.dst);
                    let factor = match (op, args.as_slice()) {
                        (ScalarOp::Fma, [x, y, z]) if *z == acc => {
                            let other = if *x == side {
                                y
                            } else if *y == side {
                                x
                            } else {
                                return None;
                            };
                            Some(*single.iter().find(|l| l.dst == *other)?)
                        }
                        (ScalarOp::FAdd, [x, y]) if (*x == acc && *y == side) || (*x == side && *y == acc) => None,
                        _ => return None,
                    };
                    if factors[n].replace(factor).is_some() {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        if narrow.is_some() {
            return None;
        }
        let shape = Shape { table, lanes: lanes?, factors: factors.into_iter().collect::<Option<_>>()? };
        let varying = |c: &Carried| {
            let f32 = self.types.get(c.param.index()) == Some(&ScalarType::F32);
            f32 && self.classes.get(c.param).is_some_and(|c| c != Class::Uniform)
        };
        // Other numbers of the loop than its counter and what the table says have no place in an address.
        let defined: Vec<Val> = body.stmts.iter().filter_map(of_index).collect();
        let said = shape.table.map(|t| t.dst);
        let plain = |l: &Load<'_>| {
            l.index.terms.iter().all(|(v, c)| *v == var || Some(*v) == said && *c > 0 || !defined.contains(v))
        };
        let reachable = shape.factors.iter().flatten().chain([&shape.lanes]).all(plain);
        let table_by_counter =
            shape.table.is_none_or(|t| plain(&t) && t.index.terms.iter().all(|(v, _)| Some(*v) != said));
        (carried.iter().all(varying) && reachable && table_by_counter).then_some(shape)
    }

    /// Where the sums of an inner loop go, if all that follows it adds +0 to each and stores it, lanes side by side.
    fn ends<'k>(&self, carried: &[Carried], rest: &'k [Stmt]) -> Option<Vec<(BufId, &'k Index)>> {
        let zero = |v: Val, rest: &[Stmt]| {
            let here = rest
                .iter()
                .any(|s| matches!(s, Stmt::Const { dst, value: Scalar::F32(x) } if *dst == v && x.to_bits() == 0));
            here || matches!(self.cell(v, 0), Ok(Cell::Const(Scalar::F32(x))) if x.to_bits() == 0)
        };
        let mut sums: Vec<Option<Val>> = vec![None; carried.len()];
        let mut ends = vec![None; carried.len()];
        for s in rest {
            match s {
                Stmt::Const { .. } => {}
                Stmt::Op { dst, op: ScalarOp::FAdd, args } => {
                    let row = carried.iter().position(|c| args.first() == Some(&c.result))?;
                    if !zero(*args.get(1)?, rest) || sums[row].replace(*dst).is_some() {
                        return None;
                    }
                }
                Stmt::Store { buf, index, value } => {
                    let row = sums.iter().position(|s| *s == Some(*value))?;
                    let f32 = self.program.buffers.get(buf.index())?.elem == DType::F32;
                    if !f32 || self.moves(index)? != 1 || ends[row].replace((*buf, index)).is_some() {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        ends.into_iter().collect()
    }

    /// Runs the loop of a block at `n` and what follows it as chains in eight lanes. False, with nothing emitted, if they are
    /// something else.
    pub(super) fn run_to_the_end(&mut self, block: &Block, n: usize) -> Emitted<bool> {
        let Some(Stmt::For { var, lo, hi, carried, body, .. }) = block.stmts.get(n) else { return Ok(false) };
        let Some(ends) = self.ends(carried, &block.stmts[n + 1..]) else { return Ok(false) };
        let (lo, hi) = (self.uniform_index(*lo)?, self.uniform_index(*hi)?);
        let around = Around { before: &block.stmts[..n], ends };
        Ok(self.run_picks(*var, (lo, hi), carried, body, &around)?
            || self.run_chains(*var, (lo, hi), carried, body, &around)?)
    }

    /// Runs an inner loop as chains in eight lanes, whose sums go where `around` says if it says anything. False, with nothing
    /// emitted, if it is something else.
    pub(super) fn run_chains(
        &mut self,
        var: Val,
        (lo, hi): (Lin, Lin),
        carried: &[Carried],
        body: &Block,
        around: &Around<'_>,
    ) -> Emitted<bool> {
        let few = lo.known().zip(hi.known()).is_some_and(|(l, h)| h.saturating_sub(l) < LEAST);
        if self.groups < 2 || !self.groups.is_multiple_of(2) || few {
            return Ok(false);
        }
        let Some(shape) = self.chains(var, carried, body) else { return Ok(false) };
        for s in body.stmts.iter().filter(|s| matches!(s, Stmt::Const { .. })) {
            self.simple(s, 0)?;
        }
        let mut bases = Vec::new();
        let said = shape.table.map(|t| t.dst);
        let table = match &shape.table {
            None => None,
            Some(t) => match self.table(&mut bases, t, var, lo)? {
                None => return Ok(false),
                some => some,
            },
        };
        let Some(lanes) = self.operand(&mut bases, &shape.lanes, (var, said), lo)? else { return Ok(false) };
        let mut factors = Vec::with_capacity(carried.len());
        for f in &shape.factors {
            factors.push(match f {
                None => None,
                Some(f) => match self.operand(&mut bases, f, (var, said), lo)? {
                    Some(o) => Some(o),
                    None => return Ok(false),
                },
            });
        }
        let chains = Chains { table, lanes, width: self.groups / 2, factors, ..Chains::default() };
        self.call_chains(chains, bases, var, (lo, hi), carried, around)
    }

    /// Where a table lies in the first link, and how wide its elements are.
    pub(super) fn table(&mut self, bases: &mut Vec<Base>, t: &Load<'_>, var: Val, lo: Lin) -> Emitted<Option<Table>> {
        let unit = match self.buffer_elem(t.buf)? {
            DType::I64 => Unit::I64,
            DType::U16 => Unit::U16,
            _ => Unit::U32,
        };
        let o = self.operand(bases, t, (var, None), lo)?;
        Ok(o.map(|o| Table { unit, pointer: o.pointer, displacement: o.displacement }))
    }

    /// Adds to chains where they start and end, and calls them. False, with nothing emitted, if there are too many values.
    pub(super) fn call_chains(
        &mut self,
        mut chains: Chains,
        mut bases: Vec<Base>,
        var: Val,
        (lo, hi): (Lin, Lin),
        carried: &[Carried],
        around: &Around<'_>,
    ) -> Emitted<bool> {
        let zero = |c: &Cell| matches!(c, Cell::Const(Scalar::F32(x)) if x.to_bits() == 0);
        // The loop has not begun or has ended: its counter is in no such place.
        let still = |e: &mut Self, bases: &mut Vec<Base>, buf: BufId, index: &Index| -> Emitted<Option<Operand>> {
            let o = e.operand(bases, &Load { dst: var, buf, index }, (var, None), Lin::constant(0))?;
            Ok(o.filter(|o| bases.get(o.pointer as usize).is_some_and(|b| b.moves == 0)))
        };
        for (n, c) in carried.iter().enumerate() {
            let same = carried[..n].iter().position(|o| o.init == c.init);
            let start = match same {
                _ if zero(&self.cell(c.init, 0)?) => Start::Zero,
                Some(other) => Start::Like(other),
                None => match self.loaded(c.init, around.before) {
                    Some((buf, index)) => still(self, &mut bases, buf, index)?.map_or(Start::Frame, Start::Memory),
                    None => Start::Frame,
                },
            };
            chains.starts.push(start);
        }
        for (buf, index) in &around.ends {
            match still(self, &mut bases, *buf, index)? {
                Some(o) => chains.ends.push(o),
                None => return Ok(false),
            }
        }
        chains.moves = bases.iter().map(|b: &Base| b.moves).collect();
        let Some(code) = chains.assemble() else { return Ok(false) };
        let callee = (self.define)(self.b.func, &code)?;
        let frame = StackSlotData::new(StackSlotKind::ExplicitSlot, code.frame.max(8), 4);
        let frame = self.b.create_sized_stack_slot(frame);
        let frame = self.b.ins().stack_addr(types::I64, frame, 0);
        let flags = MemFlagsData::trusted();
        for (n, base) in bases.iter().enumerate() {
            let mut p = base.start;
            if base.far != 0 {
                p = self.b.ins().iadd_imm_s(p, base.far);
            }
            for (v, c) in &base.terms {
                let t = self.scale(*v, *c);
                p = self.b.ins().iadd(p, t);
            }
            self.b.ins().store(flags, p, frame, 8 * n as i32);
        }
        let place = |row: usize, u: usize| chains.place(row, u / 2) + 16 * (u % 2) as i32;
        for (row, c) in carried.iter().enumerate().filter(|(n, _)| chains.starts[*n] == Start::Frame) {
            for u in 0..self.groups {
                let cell = self.cell(c.init, u)?;
                let v = self.vector(&cell)[0];
                self.b.ins().store(flags, v, frame, place(row, u));
            }
        }
        let count = self.sum(hi, lo.times(-1));
        let count = self.int(count);
        self.b.ins().call(callee, &[frame, count]);
        if !around.ends.is_empty() {
            return Ok(true);
        }
        for (row, c) in carried.iter().enumerate() {
            for u in 0..self.groups {
                let v = self.b.ins().load(types::F32X4, flags, frame, place(row, u));
                self.set_group(c.result, u, Cell::V4(ScalarType::F32, v))?;
            }
        }
        Ok(true)
    }

    /// Where a value was loaded from, lanes side by side, if that is what it is and it still lies there.
    fn loaded<'k>(&self, v: Val, before: &'k [Stmt]) -> Option<(BufId, &'k Index)> {
        let (buf, index) = before.iter().find_map(|s| match s {
            Stmt::Load { dst, buf, index } if *dst == v => Some((*buf, index)),
            _ => None,
        })?;
        let plain = |s: &Stmt| match s {
            Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Load { .. } => true,
            Stmt::Store { buf: b, .. } => *b != buf,
            _ => false,
        };
        let f32 = self.program.buffers.get(buf.index())?.elem == DType::F32;
        (f32 && self.moves(index)? == 1 && before.iter().all(plain)).then_some((buf, index))
    }

    /// Where an operand lies in the first link. `None` if an address cannot say it.
    pub(super) fn operand(
        &mut self,
        bases: &mut Vec<Base>,
        load: &Load<'_>,
        (var, said): (Val, Option<Val>),
        lo: Lin,
    ) -> Emitted<Option<Operand>> {
        let size = self.buffer_elem(load.buf)?.size() as i64;
        let (start, at) = self.base(load.buf)?;
        let mut sum = Lin::constant(load.index.offset);
        let (mut moves, mut factor) = (0i64, 0i64);
        for (v, c) in &load.index.terms {
            if *v == var {
                moves = moves.wrapping_add(*c);
                sum = self.sum(sum, lo.times(*c));
            } else if Some(*v) == said {
                factor = factor.wrapping_add(*c);
            } else {
                let Cell::Lin(l) = self.cell(*v, 0)? else {
                    return Err(Unsupported::malformed(format!("{v} is not an index")));
                };
                sum = self.sum(sum, l.times(*c));
            }
        }
        let bytes = sum.times(size).uniform();
        let disp = at.wrapping_add(bytes.k);
        let near = disp.checked_abs().is_some_and(|d| d <= MAX_DISPLACEMENT);
        let (Some(moves), Some(factor)) = (bytes_of(moves, size), bytes_of(factor, size)) else { return Ok(None) };
        let (terms, n) = self.sorted(&bytes);
        let base = Base { start, terms: terms[..n].to_vec(), far: if near { 0 } else { disp }, moves };
        let known = bases.iter().position(|b| *b == base);
        let pointer = known.unwrap_or_else(|| {
            bases.push(base);
            bases.len() - 1
        });
        let displacement = if near { disp as i32 } else { 0 };
        Ok(u8::try_from(pointer).ok().map(|pointer| Operand { pointer, displacement, factor }))
    }
}

/// The number that a statement makes, if it is one that indices are made of.
fn of_index(s: &Stmt) -> Option<Val> {
    match s {
        Stmt::Load { dst, .. } | Stmt::Op { dst, .. } => Some(*dst),
        _ => None,
    }
}

/// A number of elements in bytes, if it is not negative and small enough.
fn bytes_of(elements: i64, size: i64) -> Option<i32> {
    let bytes = elements.checked_mul(size)?;
    i32::try_from(bytes).ok().filter(|b| *b >= 0)
}
