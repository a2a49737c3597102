//! Event loops that the threads of a block run together.
//!
//! Events are put where all threads see them, a tile of as many as there are threads at a time. What follows from an event
//! is divided where the iterations of a loop touch nothing in common. Where events lead to numbers anywhere in memory (the
//! targets of synapses), the numbers of all events of a tile are divided, and threads that would add to the same number do
//! so one after another, in the order of events.

use super::cell::cell;
use super::owned::{self, Inner};
use super::threads::{Threads, divided};
use super::{Cell, Emitted, Emitter};
use crate::error::Unsupported;
use crate::ir::{Cmp, V, Write};
use crate::scratch::CLAIMS;
use nc_ir::kernel::{EventBody, ListId, ScalarType, Stmt, Val};
use std::collections::BTreeSet;

/// About how many events are added at a time where each thread has a sum: what they need is loaded at the same time.
const AT_ONCE: i64 = 32;

/// How many of the events are added at a time that are left over.
const LEFT: i64 = 16;

impl<'c> Emitter<'c, '_> {
    /// An event loop.
    pub(super) fn events_together(
        &mut self,
        threads: Threads<'c>,
        (list, slot): (ListId, Val),
        wide: Option<&EventBody>,
        one: &EventBody,
    ) -> Emitted<()> {
        let around = self.threads;
        let done = self.events_divided(Threads { quiet: false, ..threads }, (list, slot), wide, one);
        self.threads = around;
        done
    }

    fn events_divided(
        &mut self,
        threads: Threads<'c>,
        (list, slot): (ListId, Val),
        wide: Option<&EventBody>,
        one: &EventBody,
    ) -> Emitted<()> {
        let bodies = owned::bodies(wide, one);
        self.threads = Some(threads);
        if let Some(inner) = owned::inner(&one.body).filter(|_| scatters(one)) {
            return self.tiles(threads, list, slot, |e, n| e.scatter(threads, one, inner, n));
        }
        if owned::repeats(&bodies) {
            if let Some(inner) = self.sums(&bodies) {
                return self.tiles(threads, list, slot, |e, n| {
                    e.share(threads, (inner.lo, inner.hi), |e, j| {
                        e.in_register(inner, j, |e, x| e.sum_events(threads, wide, one, (j, n), x))
                    })
                });
            }
            let quiet = Threads { quiet: true, ..threads };
            return self.tiles(threads, list, slot, |e, n| {
                e.threads = Some(quiet);
                let done = e.each_event(threads, wide, one, n);
                e.threads = Some(threads);
                done
            });
        }
        if !divided(wide, one) {
            let var = BTreeSet::from_iter(one.vars.iter().copied());
            if owned::apart(&[&one.body], &var) {
                return self.tiles(threads, list, slot, |e, n| {
                    let own = e.ir.cmp(Cmp::Slt, threads.id, n);
                    e.threads = None;
                    let done = e.when(own, |e| e.event(threads, one, threads.id));
                    e.threads = Some(threads);
                    done
                });
            }
            return self.tiles(threads, list, slot, |e, n| e.alone(threads, |e| e.each_event(threads, wide, one, n)));
        }
        self.tiles(threads, list, slot, |e, n| e.each_event(threads, wide, one, n))
    }

    /// Runs the body of an event, or of a group of events, that begins at `k` in the tile.
    fn event(&mut self, threads: Threads<'c>, body: &EventBody, k: V<'c>) -> Emitted<()> {
        self.events_at(threads, body, k)?;
        self.block(&body.body)
    }

    /// Reads events from the tile.
    fn events_at(&mut self, threads: Threads<'c>, body: &EventBody, k: V<'c>) -> Emitted<()> {
        let (base, s) = threads.shared;
        let at = cell(&mut self.ir, base, s.events, k);
        for (n, v) in body.vars.iter().enumerate() {
            let at = self.ir.beyond(at, 4 * n as i64);
            let i = self.word(at);
            self.set(*v, Cell { v: i, ty: ScalarType::I64 })?;
        }
        Ok(())
    }

    /// Runs the bodies for the `n` events of a tile in order.
    fn each_event(&mut self, t: Threads<'c>, wide: Option<&EventBody>, one: &EventBody, n: V<'c>) -> Emitted<()> {
        let mut start = self.ir.i64(0);
        if let Some(w) = wide.filter(|w| !w.vars.is_empty()) {
            let end = self.groups(n, w.vars.len() as i64);
            self.for_loop((start, end, w.vars.len() as i64), &[], |e, k, _| {
                e.event(t, w, k)?;
                Ok(Vec::new())
            })?;
            start = end;
        }
        self.for_loop((start, n, 1), &[], |e, k, _| {
            e.event(t, one, k)?;
            Ok(Vec::new())
        })
        .map(drop)
    }

    /// The largest multiple of `of` that is at most `n`.
    fn groups(&mut self, n: V<'c>, of: i64) -> V<'c> {
        let rest = self.ir.by("arith.remui", n, of);
        self.ir.op("arith.subi", &[n, rest], self.ir.types.i64)
    }

    /// Adds what the `n` events of a tile bring to number `j`.
    fn sum_events(
        &mut self,
        threads: Threads<'c>,
        wide: Option<&EventBody>,
        one: &EventBody,
        (j, n): (V<'c>, V<'c>),
        mut x: Cell<'c>,
    ) -> Emitted<Cell<'c>> {
        let missing = || Unsupported::malformed("an event loop that adds");
        let body = wide.filter(|w| !w.vars.is_empty()).unwrap_or(one);
        let inner = owned::inner(&body.body).ok_or_else(missing)?;
        let each = body.vars.len().max(1) as i64;
        let times = (AT_ONCE / each).max(1);
        let (zero, end) = (self.ir.i64(0), self.groups(n, each * times));
        let sum = self.for_loop((zero, end, each * times), &[x.v], |e, k, sum| {
            let mut x = Cell { v: sum[0], ..x };
            for t in 0..times {
                let k = e.ir.plus(k, t * each);
                e.events_at(threads, body, k)?;
                x = e.add_to(inner, j, x)?;
            }
            Ok(vec![x.v])
        })?;
        x.v = sum[0];
        let inner = owned::inner(&one.body).ok_or_else(missing)?;
        let last = self.ir.plus(n, -1);
        let sum = self.for_loop((end, n, LEFT), &[x.v], |e, k, sum| {
            let mut x = Cell { v: sum[0], ..x };
            for t in 0..LEFT {
                // Beyond the last event the last one is looked at again, and not added.
                let k = e.ir.plus(k, t);
                let inside = e.ir.cmp(Cmp::Slt, k, n);
                let at = e.ir.op("arith.minsi", &[k, last], e.ir.types.i64);
                e.events_at(threads, one, at)?;
                let more = e.add_to(inner, j, x)?;
                x.v = e.ir.select(inside, more.v, x.v);
            }
            Ok(vec![x.v])
        })?;
        Ok(Cell { v: sum[0], ..x })
    }

    /// Puts the events of a list where all threads see them, tile by tile; `body` is given how many there are in it.
    fn tiles(
        &mut self,
        threads: Threads<'c>,
        list: ListId,
        slot: Val,
        body: impl FnOnce(&mut Self, V<'c>) -> Emitted<()>,
    ) -> Emitted<()> {
        let (base, s) = threads.shared;
        let parts = i64::from(self.program.parts.max(1));
        let zero = self.ir.i64(0);
        self.meet(threads);
        let total = match parts {
            1 => {
                let chunk = self.chunk(list, slot, zero)?;
                self.word(chunk.count)
            }
            _ => self.sums_of_parts(threads, list, slot, parts)?,
        };
        self.for_loop((zero, total, threads.count.into()), &[], |e, first, _| {
            let k = e.ir.add(first, threads.id);
            let inside = e.ir.cmp(Cmp::Slt, k, total);
            e.when(inside, |e| {
                let (part, own) = match parts {
                    1 => (zero, k),
                    _ => {
                        let all = e.ir.i64(parts);
                        let part = e.search(threads, s.parts, (parts, all), k);
                        let at = cell(&mut e.ir, base, s.parts, part);
                        let start = e.word(at);
                        (part, e.ir.op("arith.subi", &[k, start], e.ir.types.i64))
                    }
                };
                let chunk = e.chunk(list, slot, part)?;
                let i32 = e.ir.types.i32;
                let from = e.ir.element(chunk.first, i32, own);
                let event = e.ir.load(from, i32, 4);
                let to = cell(&mut e.ir, base, s.events, threads.id);
                e.ir.store(to, event, 4);
                Ok(())
            })?;
            e.meet(threads);
            let left = e.ir.op("arith.subi", &[total, first], e.ir.types.i64);
            let most = e.ir.i64(threads.count.into());
            let n = e.ir.op("arith.minsi", &[left, most], e.ir.types.i64);
            body(e, n)?;
            e.meet(threads);
            Ok(Vec::new())
        })
        .map(drop)
    }

    /// Adds up how many events each part has; how many there are.
    fn sums_of_parts(&mut self, threads: Threads<'c>, list: ListId, slot: Val, parts: i64) -> Emitted<V<'c>> {
        let (base, s) = threads.shared;
        let i32 = self.ir.types.i32;
        let n = self.ir.i64(parts);
        self.for_loop((threads.id, n, threads.count.into()), &[], |e, p, _| {
            let chunk = e.chunk(list, slot, p)?;
            let count = e.ir.load(chunk.count, i32, 4);
            let to = cell(&mut e.ir, base, s.ends + 4, p);
            e.ir.store(to, count, 4);
            Ok(Vec::new())
        })?;
        let table = s.ends;
        let all = self.ir.i64(parts);
        self.add_up(threads, (parts, all))?;
        let more = self.ir.i64(parts + 1);
        self.for_loop((threads.id, more, threads.count.into()), &[], |e, p, _| {
            let from = cell(&mut e.ir, base, table, p);
            let sum = e.ir.load(from, i32, 4);
            let to = cell(&mut e.ir, base, s.parts, p);
            e.ir.store(to, sum, 4);
            Ok(Vec::new())
        })?;
        self.meet(threads);
        let at = cell(&mut self.ir, base, s.parts, n);
        Ok(self.word(at))
    }

    /// Replaces numbers 1 to `n`, which is at most `most`, of the table of ends, which all threads have written, by sums up
    /// to each, and number 0 by 0.
    fn add_up(&mut self, threads: Threads<'c>, (most, n): (i64, V<'c>)) -> Emitted<()> {
        let (base, s) = threads.shared;
        let i32 = self.ir.types.i32;
        let first = self.ir.cmp_k(Cmp::Eq, threads.id, 0);
        self.when(first, |e| {
            let zero = e.ir.int(i32, 0);
            let at = e.ir.beyond(base, s.ends);
            e.ir.store(at, zero, 4);
            Ok(())
        })?;
        self.meet(threads);
        let rounds = (most + i64::from(threads.count) - 1) / i64::from(threads.count);
        let mut by = 1;
        while by < most {
            let far = self.ir.cmp_k(Cmp::Sgt, n, by);
            self.when(far, |e| {
                // What each thread adds is read before any writes.
                let mut sums = Vec::new();
                for r in 0..rounds {
                    let p = e.ir.plus(threads.id, r * i64::from(threads.count));
                    let inside = e.ir.cmp(Cmp::Slt, p, n);
                    let far = e.ir.cmp_k(Cmp::Sge, p, by);
                    let both = e.ir.bin("arith.andi", inside, far);
                    let sum = e.branch(
                        both,
                        &[i32],
                        |e| {
                            let at = cell(&mut e.ir, base, s.ends + 4, p);
                            let x = e.ir.load(at, i32, 4);
                            let at = e.ir.beyond(at, -4 * by);
                            let y = e.ir.load(at, i32, 4);
                            Ok(vec![e.ir.add(x, y)])
                        },
                        |e| Ok(vec![e.ir.int(i32, 0)]),
                    )?;
                    sums.push((both, p, sum[0]));
                }
                e.meet(threads);
                for (both, p, sum) in sums {
                    e.when(both, |e| {
                        let at = cell(&mut e.ir, base, s.ends + 4, p);
                        e.ir.store(at, sum, 4);
                        Ok(())
                    })?;
                }
                e.meet(threads);
                Ok(())
            })?;
            by *= 2;
        }
        Ok(())
    }

    /// The last of `n` numbers, which are at most `most`, of a table, which do not fall and begin with 0, that is at most
    /// `x`.
    fn search(&mut self, threads: Threads<'c>, table: i64, (most, n): (i64, V<'c>), x: V<'c>) -> V<'c> {
        let (base, _) = threads.shared;
        let mut found = self.ir.i64(0);
        let last = self.ir.plus(n, -1);
        let mut step = (most as u64).next_power_of_two() as i64 / 2;
        while step > 0 {
            let next = self.ir.plus(found, step);
            let inside = self.ir.op("arith.minsi", &[next, last], self.ir.types.i64);
            let at = cell(&mut self.ir, base, table, inside);
            let begin = self.word(at);
            let low = self.ir.cmp(Cmp::Sle, begin, x);
            let there = self.ir.cmp(Cmp::Eq, next, inside);
            let go = self.ir.bin("arith.andi", low, there);
            found = self.ir.select(go, next, found);
            step /= 2;
        }
        found
    }

    /// Runs a loop for each of the `n` events of a tile, whose iterations write anywhere: all of them are divided.
    fn scatter(&mut self, threads: Threads<'c>, one: &EventBody, inner: Inner<'_>, n: V<'c>) -> Emitted<()> {
        let (base, s) = threads.shared;
        let (i32, i64) = (self.ir.types.i32, self.ir.types.i64);
        let own = self.ir.cmp(Cmp::Slt, threads.id, n);
        let count = self.branch(
            own,
            &[i32],
            |e| {
                e.threads = None;
                e.events_at(threads, one, threads.id)?;
                inner.outer.iter().try_for_each(|s| e.stmt(s))?;
                let range = |e: &mut Self| {
                    inner.before.iter().try_for_each(|s| e.stmt(s))?;
                    Ok(vec![e.typed(inner.lo, ScalarType::I64)?, e.typed(inner.hi, ScalarType::I64)?])
                };
                let range = match inner.condition {
                    None => range(e)?,
                    Some(c) => {
                        let c = e.typed(c, ScalarType::Bool)?;
                        e.branch(c, &[i64, i64], range, |e| {
                            let zero = e.ir.i64(0);
                            Ok(vec![zero, zero])
                        })?
                    }
                };
                let (lo, hi) = (range[0], range[1]);
                let at = e.ir.beyond(base, s.begins);
                let at = e.ir.element(at, i64, threads.id);
                e.ir.store(at, lo, 8);
                let len = e.ir.op("arith.subi", &[hi, lo], i64);
                let zero = e.ir.i64(0);
                let len = e.ir.op("arith.maxsi", &[len, zero], i64);
                Ok(vec![e.ir.op("arith.trunci", &[len], i32)])
            },
            |e| Ok(vec![e.ir.int(i32, 0)]),
        )?;
        let at = cell(&mut self.ir, base, s.ends + 4, threads.id);
        self.ir.store(at, count[0], 4);
        self.threads = Some(threads);
        let all = i64::from(threads.count);
        self.add_up(threads, (all, n))?;
        let last = cell(&mut self.ir, base, s.ends, n);
        let total = self.word(last);
        let zero = self.ir.i64(0);
        self.for_loop((zero, total, all), &[], |e, first, _| {
            let f = e.ir.add(first, threads.id);
            let inside = e.ir.cmp(Cmp::Slt, f, total);
            e.claim(threads, one, inner, (f, inside), (n, total))?;
            Ok(Vec::new())
        })
        .map(drop)
    }

    /// One iteration of a loop of one event in each thread: those that write the same number do so in turn, lower threads
    /// first. In each round every thread that is not done claims its number (a cell of a table, which others that lead to
    /// the same cell claim, too), and the lowest one writes.
    fn claim(
        &mut self,
        threads: Threads<'c>,
        one: &EventBody,
        inner: Inner<'_>,
        (f, inside): (V<'c>, V<'c>),
        (n, total): (V<'c>, V<'c>),
    ) -> Emitted<()> {
        let (base, s) = threads.shared;
        let (i1, i32, i64) = (self.ir.types.i1, self.ir.types.i32, self.ir.types.i64);
        let missing = || Unsupported::malformed("a loop that writes anywhere");
        let touches = owned::touches(inner.body).ok_or_else(missing)?;
        let (before, writes) = inner.body.stmts.split_at(touches.before);
        let flag = self.ir.beyond(base, s.flag);
        self.threads = None;
        // What a thread that is outside would do is done for the last number, and not written.
        let end = self.ir.plus(total, -1);
        let at = self.ir.op("arith.minsi", &[f, end], i64);
        let event = self.search(threads, s.ends, (threads.count.into(), n), at);
        self.events_at(threads, one, event)?;
        // An event that leads to anything meets the condition.
        inner.outer.iter().chain(inner.before).try_for_each(|s| self.stmt(s))?;
        let start = cell(&mut self.ir, base, s.ends, event);
        let start = self.word(start);
        let begin = self.ir.beyond(base, s.begins);
        let begin = self.ir.element(begin, i64, event);
        let begin = self.ir.load(begin, i64, 8);
        let k = self.ir.op("arith.subi", &[at, start], i64);
        let k = self.ir.add(begin, k);
        self.index(inner.var, k)?;
        before.iter().try_for_each(|s| self.stmt(s))?;
        let mut claims = Vec::new();
        for index in touches.places {
            let number = self.element_number(index)?;
            let number = self.ir.by("arith.andi", number, i64::from(CLAIMS - 1));
            claims.push(cell(&mut self.ir, base, s.claims, number));
        }
        let me = self.ir.op("arith.trunci", &[threads.id], i32);
        let (yes, no, none) = (self.ir.int(i32, 1), self.ir.int(i32, 0), self.ir.int(i32, -1));
        // Whether this thread has still to write; whether any has.
        let any = self.ir.int(i1, 1);
        self.while_loop(
            &[inside, any],
            |_, a| a[1],
            |e, a| {
                let pending = a[0];
                e.when(pending, |e| {
                    claims.iter().for_each(|claim| e.ir.atomic_umin(*claim, me));
                    Ok(())
                })?;
                threads.meet.write(&mut e.ir);
                let mut mine = pending;
                for claim in &claims {
                    let holder = e.ir.load(*claim, i32, 4);
                    let held = e.ir.cmp(Cmp::Eq, holder, me);
                    mine = e.ir.bin("arith.andi", mine, held);
                }
                let first = e.ir.cmp_k(Cmp::Eq, threads.id, 0);
                e.when(first, |e| {
                    e.ir.store(flag, no, 4);
                    Ok(())
                })?;
                threads.meet.write(&mut e.ir);
                let waits = e.ir.int(i1, 1);
                let waits = e.ir.bin("arith.xori", mine, waits);
                let waits = e.ir.bin("arith.andi", waits, pending);
                e.when(mine, |e| {
                    writes.iter().try_for_each(|s| e.stmt(s))?;
                    claims.iter().for_each(|claim| e.ir.store(*claim, none, 4));
                    Ok(())
                })?;
                e.when(waits, |e| {
                    e.ir.store(flag, yes, 4);
                    Ok(())
                })?;
                threads.meet.write(&mut e.ir);
                let left = e.ir.load(flag, i32, 4);
                Ok(vec![waits, e.ir.cmp(Cmp::Ne, left, no)])
            },
        )?;
        self.threads = Some(threads);
        Ok(())
    }
}

/// Whether an event leads to a loop whose iterations read and write a few numbers anywhere.
fn scatters(one: &EventBody) -> bool {
    let Some(inner) = owned::inner(&one.body) else { return false };
    let Some(touches) = owned::touches(inner.body) else { return false };
    let written = owned::stored(inner.body);
    let touched = |s: &Stmt| matches!(s, Stmt::Load { buf, .. } if written.contains(buf));
    let before = inner.body.stmts[..touches.before].iter();
    // Iterations of a vector loop over the same numbers each time are better divided as such.
    let apart = inner.vector && owned::repeats(&[&one.body]);
    !apart && !inner.outer.iter().chain(inner.before).chain(before).any(touched)
}
