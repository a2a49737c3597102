//! Loops that list what is not zero in a row, eight elements at a time.
//!
//! Such a loop writes the number of every element to the place of the next event, and moves that place on if the element is
//! one. Eight at a time are written as a register whose last lanes say nothing, so that this is done only where what follows
//! the loop writes zeros to the eight places behind the last event: then memory is the same afterwards.

use super::cell::{Cell, Lin};
use super::{Emitted, Emitter};
use crate::error::Unsupported;
use crate::wide::{Elem, LANES, listing};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value, types};
use nc_ir::DType;
use nc_ir::kernel::{BufId, Carried, Index, Scalar, ScalarOp, Stmt, Val};

/// Fewest elements for which a call is worth it, where their number is known.
const LEAST: i64 = 16;

/// What such a loop reads and writes.
struct Listing<'k> {
    elem: Elem,
    from: (BufId, &'k Index),
    to: (BufId, &'k Index),
}

impl Emitter<'_, '_> {
    fn is_constant(&self, v: Val, near: &[Stmt], k: Scalar) -> bool {
        let same = |x: &Scalar| x.ty() == k.ty() && x.bits() == k.bits();
        let here = near.iter().any(|s| matches!(s, Stmt::Const { dst, value } if *dst == v && same(value)));
        here || match self.cell(v, 0) {
            Ok(Cell::Const(x)) => same(&x),
            Ok(Cell::Lin(l)) => matches!(k, Scalar::I64(k) if l.known() == Some(k)),
            _ => false,
        }
    }

    /// What a loop lists, if that is all that it does, and what follows it writes zeros behind the last.
    fn listing<'k>(&self, s: &'k Stmt, rest: &[Stmt]) -> Option<Listing<'k>> {
        let Stmt::For { var, carried, body, .. } = s else { return None };
        let [c] = carried.as_slice() else { return None };
        let elem = |b: BufId| self.program.buffers.get(b.index()).map(|b| b.elem);
        let (mut from, mut to, mut is, mut more, mut last) = (None, None, None, None, None);
        for s in &body.stmts {
            match s {
                Stmt::Const { .. } => {}
                Stmt::Load { dst, buf, index } if from.is_none() => from = Some((*dst, *buf, index)),
                Stmt::Store { buf, index, value } if to.is_none() && value == var => to = Some((*buf, index)),
                Stmt::Op { dst, op: ScalarOp::FNe, args } if is.is_none() => {
                    let zero = self.is_constant(*args.get(1)?, &body.stmts, Scalar::F32(0.0));
                    is = (zero && from.is_some_and(|f| f.0 == args[0])).then_some(*dst);
                    is?;
                }
                Stmt::Op { dst, op: ScalarOp::IAdd, args } if more.is_none() => {
                    let one = |v: &Val| self.is_constant(*v, &body.stmts, Scalar::I64(1));
                    more = (args.contains(&c.param) && args.iter().any(one)).then_some(*dst);
                    more?;
                }
                Stmt::Op { dst, op: ScalarOp::Select, args } if last.is_none() => last = Some((*dst, args)),
                _ => return None,
            }
        }
        let ((x, source, at), (target, place), (last, args)) = (from?, to?, last?);
        let elem_of = match (elem(source)?, is) {
            (DType::F32, Some(_)) => Elem::Word,
            (DType::Bool, None) => Elem::Bool,
            _ => return None,
        };
        let chosen = last == c.next && args.as_slice() == [is.unwrap_or(x), more?, c.param];
        let times = |i: &Index, v: Val| i.terms.iter().filter(|t| t.0 == v).map(|t| t.1).sum::<i64>();
        let defined = |v: Val| v == x || v == last || Some(v) == is || Some(v) == more;
        let plain = |i: &Index| i.terms.iter().all(|t| !defined(t.0));
        let moves = times(at, *var) == 1 && times(at, c.param) == 0 && plain(at);
        let placed = times(place, c.param) == 1 && times(place, *var) == 0 && plain(place);
        let apart = source != target && elem(target)? == DType::U32;
        let constants = rest.iter().take_while(|s| matches!(s, Stmt::Const { .. })).count();
        let followed = self.clears(rest.get(constants)?, &rest[..constants], (target, place), c);
        (chosen && moves && placed && apart && followed).then_some(Listing {
            elem: elem_of,
            from: (source, at),
            to: (target, place),
        })
    }

    /// True if a statement writes zeros to eight places from the one that a loop's result is.
    fn clears(&self, s: &Stmt, near: &[Stmt], (target, place): (BufId, &Index), c: &Carried) -> bool {
        let Stmt::For { var, lo, hi, carried, body, .. } = s else { return false };
        let known = |v: Val, k: i64| self.is_constant(v, near, Scalar::I64(k));
        if !known(*lo, 0) || !known(*hi, LANES) || !carried.is_empty() {
            return false;
        }
        let stores = body.stmts.iter().filter(|s| !matches!(s, Stmt::Const { .. }));
        let mut right = 0;
        for s in stores {
            let Stmt::Store { buf, index, value } = s else { return false };
            let mut wanted: Vec<(Val, i64)> =
                place.terms.iter().map(|(v, k)| (if *v == c.param { c.result } else { *v }, *k)).collect();
            wanted.push((*var, 1));
            let mut terms = index.terms.clone();
            wanted.sort_unstable();
            terms.sort_unstable();
            let zero = known(*value, 0) || self.is_constant(*value, &body.stmts, Scalar::I64(0));
            if *buf != target || terms != wanted || index.offset != place.offset || !zero {
                return false;
            }
            right += 1;
        }
        right == 1
    }

    /// The address of an element, with some of the values in its index left out.
    fn address(&mut self, (buf, index): (BufId, &Index), without: Val) -> Emitted<Value> {
        let size = self.buffer_elem(buf)?.size() as i64;
        let (start, at) = self.base(buf)?;
        let mut sum = Lin::constant(index.offset);
        for (v, c) in index.terms.iter().filter(|t| t.0 != without) {
            let Cell::Lin(l) = self.cell(*v, 0)? else {
                return Err(Unsupported::malformed(format!("{v} is not an index")));
            };
            sum = self.sum(sum, l.times(*c));
        }
        let mut bytes = sum.times(size);
        bytes.k = bytes.k.wrapping_add(at);
        let far = self.int(bytes);
        Ok(self.b.ins().iadd(start, far))
    }

    /// Runs as many iterations of a loop of scalar code eight at a time as are a multiple of eight, if it lists what is not
    /// zero and `rest` follows it; then the others. False, with nothing emitted, if it is something else.
    pub(super) fn run_listing(&mut self, s: &Stmt, rest: &[Stmt]) -> Emitted<bool> {
        let Stmt::For { var, lo, hi, vector: false, carried, body } = s else { return Ok(false) };
        if !self.mode.wide || self.groups > 0 || self.uniform_index(*lo)?.known() != Some(0) {
            return Ok(false);
        }
        let hi = self.uniform_index(*hi)?;
        if hi.known().is_none_or(|n| n < LEAST) {
            return Ok(false);
        }
        let (Some(l), [c]) = (self.listing(s, rest), carried.as_slice()) else { return Ok(false) };
        let Some(code) = listing::listing(l.elem) else { return Ok(false) };
        let callee = (self.define)(self.b.func, &code)?;
        let frame = StackSlotData::new(StackSlotKind::ExplicitSlot, code.frame, 4);
        let frame = self.b.create_sized_stack_slot(frame);
        let frame = self.b.ins().stack_addr(types::I64, frame, 0);
        let flags = MemFlagsData::trusted();
        let (from, to) = (self.address(l.from, *var)?, self.address(l.to, c.param)?);
        let before = self.uniform_index(c.init)?;
        let before = self.int(before);
        self.b.ins().store(flags, from, frame, listing::FRAME_FROM);
        self.b.ins().store(flags, to, frame, listing::FRAME_TO);
        self.b.ins().store(flags, before, frame, listing::FRAME_COUNT);
        let whole = self.whole(Lin::constant(0), hi, LANES);
        let count = self.int(whole);
        self.b.ins().call(callee, &[frame, count]);
        let n = self.b.ins().load(types::I64, flags, frame, listing::FRAME_COUNT);
        self.rest_of_loop(*var, (whole, hi), carried, body, vec![n])?;
        Ok(true)
    }
}
