//! Event lists: reading, emptying and appending.

use super::cell::{Cell, Lin};
use super::{Emitted, Emitter};
use crate::error::Unsupported;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, Value, types};
use nc_ir::kernel::abi::ListPlace;
use nc_ir::kernel::{EventBody, EventList, ListId, Val};

fn flags() -> MemFlagsData {
    MemFlagsData::trusted()
}

/// A chunk of a slot: the address of its count, and of its first index.
pub(super) struct Chunk {
    pub count: (Value, i32),
    pub first: (Value, i32),
}

impl Emitter<'_, '_> {
    fn list(&self, list: ListId) -> Emitted<(EventList, ListPlace)> {
        match (self.program.lists.get(list.index()), self.layout.lists.get(list.index())) {
            (Some(l), Some(p)) => Ok((l.clone(), *p)),
            _ => Err(Unsupported::malformed(format!("no list {list}"))),
        }
    }

    pub(super) fn chunk(&mut self, list: ListId, slot: Val, part: Lin) -> Emitted<Chunk> {
        let (list, place) = self.list(list)?;
        let slot = if list.slots == 1 { Lin::constant(0) } else { self.uniform_index(slot)? };
        let parts = i64::from(self.program.parts.max(1));
        let arena = self.arena;
        let cell = self.sum(slot.times(4 * parts), part.times(4));
        let count = self.pointer(arena, place.counts as i64, cell);
        let start = self.part_start(list.extent(), part);
        let first = self.sum(slot.times(place.stride as i64), start.times(4));
        let first = self.pointer(arena, place.indices as i64, first);
        Ok(Chunk { count, first })
    }

    /// Runs the bodies for the events of a slot, chunk by chunk.
    pub(super) fn events(&mut self, list: ListId, slot: Val, wide: Option<&EventBody>, one: &EventBody) -> Emitted<()> {
        if self.program.parts <= 1 {
            return self.chunk_events(list, slot, Lin::constant(0), wide, one);
        }
        let parts = i64::from(self.program.parts);
        let Some(l) = self.begin_loop(Lin::constant(0), Lin::constant(parts), 1, &[], &[]) else { return Ok(()) };
        let part = l.counter();
        self.chunk_events(list, slot, part, wide, one)?;
        self.end_loop(l, &[]);
        Ok(())
    }

    fn chunk_events(
        &mut self,
        list: ListId,
        slot: Val,
        part: Lin,
        wide: Option<&EventBody>,
        one: &EventBody,
    ) -> Emitted<()> {
        let chunk = self.chunk(list, slot, part)?;
        let n = self.b.ins().uload32(flags(), chunk.count.0, chunk.count.1);
        let mut start = Lin::constant(0);
        if let Some(w) = wide.filter(|w| !w.vars.is_empty()) {
            let group = w.vars.len() as i64;
            let rest = if (group as u64).is_power_of_two() {
                self.b.ins().band_imm_u(n, group - 1)
            } else {
                let group = self.b.ins().iconst(types::I64, group);
                self.b.ins().urem(n, group)
            };
            let end = self.b.ins().isub(n, rest);
            let end = self.atom(end);
            self.event_loop(&chunk, start, end, w)?;
            start = end;
        }
        let n = self.atom(n);
        self.event_loop(&chunk, start, n, one)
    }

    fn event_loop(&mut self, chunk: &Chunk, start: Lin, end: Lin, body: &EventBody) -> Emitted<()> {
        let step = body.vars.len().max(1) as i64;
        let Some(l) = self.begin_loop(start, end, step, &[], &[]) else { return Ok(()) };
        let at = self.pointer(chunk.first.0, i64::from(chunk.first.1), l.counter().times(4));
        for (k, v) in body.vars.iter().enumerate() {
            let i = self.b.ins().uload32(flags(), at.0, at.1 + 4 * k as i32);
            let i = self.atom(i);
            self.set(*v, Cell::Lin(i))?;
        }
        self.block(&body.body)?;
        self.end_loop(l, &[]);
        Ok(())
    }

    /// Empties this part's chunk of a slot.
    pub(super) fn clear(&mut self, list: ListId, slot: Val) -> Emitted<()> {
        let part = self.part;
        let chunk = self.chunk(list, slot, part)?;
        let zero = self.b.ins().iconst(types::I32, 0);
        self.b.ins().store(flags(), zero, chunk.count.0, chunk.count.1);
        Ok(())
    }

    /// Appends an index in scalar code.
    pub(super) fn push(&mut self, list: ListId, slot: Val, cond: Val, index: Val) -> Emitted<()> {
        let cond = self.cell(cond, 0)?;
        let index = self.uniform_index(index)?;
        if let Some(k) = cond.known()
            && k.bits() == 0
        {
            return Ok(());
        }
        let part = self.part;
        let chunk = self.chunk(list, slot, part)?;
        let cond = self.scalar(&cond);
        let (hit, next) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(cond, hit, &[], next, &[]);
        self.b.switch_to_block(hit);
        let n = self.b.ins().uload32(flags(), chunk.count.0, chunk.count.1);
        let index = self.int(index);
        self.append(&chunk, n, index);
        let n = self.b.ins().iadd_imm_s(n, 1);
        self.b.ins().istore32(flags(), n, chunk.count.0, chunk.count.1);
        self.b.ins().jump(next, &[]);
        self.b.switch_to_block(next);
        Ok(())
    }

    fn append(&mut self, chunk: &Chunk, n: Value, index: Value) {
        let at = self.b.ins().ishl_imm_u(n, 2);
        let at = self.b.ins().iadd(chunk.first.0, at);
        self.b.ins().istore32(flags(), index, at, chunk.first.1);
    }

    /// Appends the indices of the lanes of all groups whose condition holds, in order.
    pub(super) fn push_groups(&mut self, list: ListId, slot: Val, cond: Val, index: Val) -> Emitted<()> {
        let Cell::Lin(index) = self.cell(index, 0)? else {
            return Err(Unsupported::malformed(format!("{index} is pushed by lanes without being linear")));
        };
        let mut bits = None;
        for start in (0..self.groups).step_by(4) {
            let mut masks = Vec::with_capacity(4);
            for u in start..self.groups.min(start + 4) {
                let c = self.cell(cond, u)?;
                masks.push(self.mask(&c));
            }
            let some = match masks[..] {
                [m] => self.b.ins().vhigh_bits(types::I32, m),
                _ => {
                    let lanes = 4 * masks.len() as u32;
                    let packed = self.packed_masks(&masks);
                    let b = self.b.ins().vhigh_bits(types::I32, packed);
                    if lanes == 16 { b } else { self.b.ins().band_imm_u(b, (1 << lanes) - 1) }
                }
            };
            bits = Some(match bits {
                None => some,
                Some(b) => {
                    let some = self.b.ins().ishl_imm_u(some, 4 * start as i64);
                    self.b.ins().bor(b, some)
                }
            });
        }
        let Some(bits) = bits else { return Ok(()) };
        let part = self.part;
        let chunk = self.chunk(list, slot, part)?;
        let first = self.int(index.uniform());
        let (hit, each, done, next) =
            (self.b.create_block(), self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(bits, hit, &[], next, &[]);
        self.b.switch_to_block(hit);
        let n = self.b.ins().uload32(flags(), chunk.count.0, chunk.count.1);
        self.b.append_block_param(each, types::I32);
        self.b.append_block_param(each, types::I64);
        self.b.ins().jump(each, &[BlockArg::from(bits), BlockArg::from(n)]);
        self.b.switch_to_block(each);
        let (bits, n) = (self.b.block_params(each)[0], self.b.block_params(each)[1]);
        let l = self.b.ins().ctz(bits);
        let l = self.b.ins().uextend(types::I64, l);
        let l = self.scale(l, index.lane);
        let i = self.b.ins().iadd(first, l);
        self.append(&chunk, n, i);
        let n = self.b.ins().iadd_imm_s(n, 1);
        let less = self.b.ins().iadd_imm_s(bits, -1);
        let bits = self.b.ins().band(bits, less);
        self.b.ins().brif(bits, each, &[BlockArg::from(bits), BlockArg::from(n)], done, &[]);
        self.b.switch_to_block(done);
        self.b.ins().istore32(flags(), n, chunk.count.0, chunk.count.1);
        self.b.ins().jump(next, &[]);
        self.b.switch_to_block(next);
        Ok(())
    }

    /// Branches on a condition that is the same in all lanes.
    pub(super) fn branch(
        &mut self,
        cond: Val,
        then_body: &nc_ir::kernel::Block,
        else_body: &nc_ir::kernel::Block,
    ) -> Emitted<()> {
        let cond = self.cell(cond, 0)?;
        if !cond.is_uniform() {
            return Err(Unsupported::malformed("a branch whose condition differs between lanes"));
        }
        if let Some(k) = cond.known() {
            return self.block(if k.bits() != 0 { then_body } else { else_body });
        }
        let cond = self.scalar(&cond);
        let (yes, no, next) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let other = if else_body.stmts.is_empty() { next } else { no };
        self.b.ins().brif(cond, yes, &[], other, &[]);
        self.b.switch_to_block(yes);
        self.block(then_body)?;
        self.b.ins().jump(next, &[]);
        if other == no {
            self.b.switch_to_block(no);
            self.block(else_body)?;
            self.b.ins().jump(next, &[]);
        }
        self.b.switch_to_block(next);
        Ok(())
    }

    /// `x < y` for sums.
    pub(super) fn less(&mut self, x: Lin, y: Lin) -> Value {
        let (x, y) = (self.bound(x), self.bound(y));
        self.b.ins().icmp(IntCC::SignedLessThan, x, y)
    }
}
