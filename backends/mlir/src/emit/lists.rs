//! Event lists: reading, emptying and appending.

use super::{Cell, Emitted, Emitter};
use crate::error::Unsupported;
use crate::ir::{V, Write};
use nc_ir::kernel::{EventBody, ListId, ScalarType, Val};

/// A chunk of a slot: the address of its count, and of its first index.
pub(super) struct Chunk<'c> {
    pub count: V<'c>,
    pub first: V<'c>,
}

impl<'c> Emitter<'c, '_> {
    pub(super) fn chunk(&mut self, list: ListId, slot: Val, part: V<'c>) -> Emitted<Chunk<'c>> {
        let (Some(l), Some(place)) = (self.program.lists.get(list.index()), self.layout.lists.get(list.index())) else {
            return Err(Unsupported::malformed(format!("no list {list}")));
        };
        let (extent, slots) = (l.extent(), l.slots);
        let parts = self.program.parts.max(1);
        let slot = self.typed(slot, ScalarType::I64)?;
        let arena = self.arena;
        let (mut count, mut first) =
            (self.ir.beyond(arena, place.counts as i64), self.ir.beyond(arena, place.indices as i64));
        let (i8, i32) = (self.ir.types.i8, self.ir.types.i32);
        if slots > 1 {
            let cells = self.ir.times(slot, i64::from(parts));
            count = self.ir.element(count, i32, cells);
            let bytes = self.ir.times(slot, place.stride as i64);
            first = self.ir.element(first, i8, bytes);
        }
        if parts > 1 {
            count = self.ir.element(count, i32, part);
            let start = self.part_start(extent, part);
            first = self.ir.element(first, i32, start);
        }
        Ok(Chunk { count, first })
    }

    /// A `u32` in memory as an `i64`.
    pub(super) fn word(&mut self, at: V<'c>) -> V<'c> {
        let (i32, i64) = (self.ir.types.i32, self.ir.types.i64);
        let x = self.ir.load(at, i32, 4);
        self.ir.op("arith.extui", &[x], i64)
    }

    /// Runs the bodies for the events of a slot, chunk by chunk.
    pub(super) fn events(&mut self, list: ListId, slot: Val, wide: Option<&EventBody>, one: &EventBody) -> Emitted<()> {
        let zero = self.ir.i64(0);
        if self.program.parts <= 1 {
            return self.chunk_events(list, slot, zero, wide, one);
        }
        let parts = self.ir.i64(i64::from(self.program.parts));
        self.for_loop((zero, parts, 1), &[], |e, part, _| {
            e.chunk_events(list, slot, part, wide, one)?;
            Ok(Vec::new())
        })
        .map(drop)
    }

    fn chunk_events(
        &mut self,
        list: ListId,
        slot: Val,
        part: V<'c>,
        wide: Option<&EventBody>,
        one: &EventBody,
    ) -> Emitted<()> {
        let chunk = self.chunk(list, slot, part)?;
        let n = self.word(chunk.count);
        let mut start = self.ir.i64(0);
        if let Some(w) = wide.filter(|w| !w.vars.is_empty()) {
            let i64 = self.ir.types.i64;
            // Counts fit 32 bits.
            let i32 = self.ir.types.i32;
            let short = self.ir.op("arith.trunci", &[n], i32);
            let group = self.ir.int(i32, w.vars.len() as i64);
            let rest = self.ir.op("arith.remui", &[short, group], i32);
            let rest = self.ir.op("arith.extui", &[rest], i64);
            let end = self.ir.op("arith.subi", &[n, rest], i64);
            self.event_loop(&chunk, start, end, w)?;
            start = end;
        }
        self.event_loop(&chunk, start, n, one)
    }

    fn event_loop(&mut self, chunk: &Chunk<'c>, start: V<'c>, end: V<'c>, body: &EventBody) -> Emitted<()> {
        let step = body.vars.len().max(1) as i64;
        self.for_loop((start, end, step), &[], |e, k, _| {
            let i32 = e.ir.types.i32;
            let at = e.ir.element(chunk.first, i32, k);
            for (n, v) in body.vars.iter().enumerate() {
                let at = e.ir.beyond(at, 4 * n as i64);
                let i = e.word(at);
                e.set(*v, Cell { v: i, ty: ScalarType::I64 })?;
            }
            e.block(&body.body)?;
            Ok(Vec::new())
        })
        .map(drop)
    }

    /// Empties this part's chunk of a slot.
    pub(super) fn clear(&mut self, list: ListId, slot: Val) -> Emitted<()> {
        let part = self.part;
        let chunk = self.chunk(list, slot, part)?;
        let zero = self.ir.int(self.ir.types.i32, 0);
        self.ir.store(chunk.count, zero, 4);
        Ok(())
    }

    /// Appends an index if a condition holds.
    pub(super) fn push(&mut self, list: ListId, slot: Val, cond: Val, index: Val) -> Emitted<()> {
        let cond = self.typed(cond, ScalarType::Bool)?;
        let index = self.typed(index, ScalarType::I64)?;
        let part = self.part;
        self.when(cond, |e| {
            let chunk = e.chunk(list, slot, part)?;
            let (i32, one) = (e.ir.types.i32, e.ir.int(e.ir.types.i32, 1));
            let n = e.word(chunk.count);
            let at = e.ir.element(chunk.first, i32, n);
            let short = e.ir.op("arith.trunci", &[index], i32);
            e.ir.store(at, short, 4);
            let n = e.ir.op("arith.trunci", &[n], i32);
            let n = e.ir.add(n, one);
            e.ir.store(chunk.count, n, 4);
            Ok(())
        })
    }
}
