//! Kernels that the threads of a block run together.
//!
//! All threads take the same way through a kernel and compute what is outside of loops alike. They divide the iterations
//! of loops that are independent of each other, the first thread alone does what is in no such loop and writes, and all
//! meet before and after whatever writes, so that they read the same.

use super::cell::cell;
use super::owned::{self, Inner};
use super::{Cell, Emitted, Emitter};
use crate::error::Unsupported;
use crate::ir::{Cmp, V, Write};
use crate::scratch::{GROUP, PUSHES, ROUNDS, Scratch};
use nc_ir::kernel::{Block, Carried, EventBody, Kernel, ScalarType, Stmt, Val};
use std::collections::BTreeSet;

/// Iterations of a loop that take about as long as a meeting of threads.
const MEETING: u64 = 8;

/// Which thread this is.
#[derive(Clone, Copy)]
pub(crate) struct Threads<'c> {
    /// Its number in the block, an `i64`.
    pub id: V<'c>,
    /// How many there are.
    pub count: u32,
    /// How they meet.
    pub meet: Meet<'c>,
    /// The address of what they share, and what lies where.
    pub shared: (V<'c>, Scratch),
    /// Whether they go on without meeting, since each touches only what is its own.
    pub quiet: bool,
}

/// How the threads of a block meet.
#[derive(Clone, Copy)]
pub(crate) enum Meet<'c> {
    /// By an instruction of a graphics processor.
    Gpu,
    /// By a call: function and argument.
    Call(V<'c>, V<'c>),
}

/// How threads do a statement.
enum How<'a> {
    /// All alike.
    Alike,
    /// The first for all.
    Alone,
    /// A loop, each some of the iterations.
    Divided(Val, Val, Val, &'a Block),
    /// A vector loop that pushes, each some of the iterations.
    Pushes(Val, Val, Val, &'a Block),
    /// An event loop.
    Events,
    /// A loop that runs vector loops over what is each thread's own.
    Own,
    /// The same, each thread's sum in a register.
    Sums(Inner<'a>),
}

impl<'c> Emitter<'c, '_> {
    pub(super) fn meet(&mut self, threads: Threads<'c>) {
        if !threads.quiet {
            threads.meet.write(&mut self.ir);
        }
    }

    /// A block of statements that threads do together.
    pub(super) fn block_together(&mut self, block: &Block, threads: Threads<'c>) -> Emitted<()> {
        let mut left = &block.stmts[..];
        while let Some((s, rest)) = left.split_first() {
            let how = self.how(s, threads);
            let How::Alone = how else {
                self.together(s, how, threads)?;
                left = rest;
                continue;
            };
            let more = rest.iter().take_while(|s| matches!(self.how(s, threads), How::Alone)).count();
            let (run, rest) = left.split_at(1 + more);
            self.alone(threads, |e| run.iter().try_for_each(|s| e.stmt(s)))?;
            left = rest;
        }
        Ok(())
    }

    fn how<'a>(&self, s: &'a Stmt, threads: Threads<'c>) -> How<'a> {
        match s {
            Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Load { .. } => How::Alike,
            Stmt::Store { .. } | Stmt::Push { .. } | Stmt::Clear { .. } => How::Alone,
            Stmt::For { var, lo, hi, vector, carried, body } => {
                self.how_for((*var, *lo, *hi), *vector, carried, body, threads)
            }
            Stmt::Events { .. } => How::Events,
            Stmt::If { then_body, else_body, .. } => match owned::divides(then_body) || owned::divides(else_body) {
                true => How::Alike,
                false => How::Alone,
            },
        }
    }

    fn how_for<'a>(
        &self,
        (var, lo, hi): (Val, Val, Val),
        vector: bool,
        carried: &[Carried],
        body: &'a Block,
        threads: Threads<'c>,
    ) -> How<'a> {
        if vector && owned::pushes(body) {
            return if pushes_plainly(var, body) { How::Pushes(var, lo, hi, body) } else { How::Alone };
        }
        if vector {
            return How::Divided(var, lo, hi, body);
        }
        if !carried.is_empty() {
            return How::Alike;
        }
        let divides = owned::divides(body);
        // Parts may be cut anywhere, so their items are independent.
        let items = self.items && (lo, hi) == (Kernel::LO, Kernel::HI) && !owned::pushes(body);
        if items && (!divides || self.items_each >= u64::from(threads.count) / 2 || self.items_each > self.widest(body))
        {
            return How::Divided(var, lo, hi, body);
        }
        if !divides {
            let alone = BTreeSet::from([var]);
            return if owned::apart(&[body], &alone) { How::Divided(var, lo, hi, body) } else { How::Alone };
        }
        if owned::ranges_apart(body, var, &self.known) && self.better_outside((lo, hi), body, threads) {
            return How::Divided(var, lo, hi, body);
        }
        if !threads.quiet && owned::repeats(&[body]) {
            return match self.sums(&[body]) {
                Some(inner) => How::Sums(inner),
                None => How::Own,
            };
        }
        How::Alike
    }

    /// Whether threads are done sooner if each runs the body of a loop for some of the iterations than if they run all of them
    /// together and divide what is inside. No if that is not known.
    fn better_outside(&self, (lo, hi): (Val, Val), body: &Block, threads: Threads<'c>) -> bool {
        let (Some(lo), Some(hi)) = (self.known.get(&lo), self.known.get(&hi)) else { return false };
        let (trips, count) = (hi.saturating_sub(*lo).max(0) as u64, u64::from(threads.count));
        match (self.steps(body, None), self.steps(body, Some(count))) {
            (Some(alone), Some(together)) => {
                trips.div_ceil(count).saturating_mul(alone) < trips.saturating_mul(together)
            }
            _ => false,
        }
    }

    /// Iterations of all loops of a block, as one thread runs them, or as so many do together; `None` if they are not known.
    fn steps(&self, block: &Block, together: Option<u64>) -> Option<u64> {
        block.stmts.iter().try_fold(1u64, |sum, s| {
            Some(sum.saturating_add(match s {
                Stmt::For { lo, hi, vector, body, .. } => {
                    let trips = self.known.get(hi)?.saturating_sub(*self.known.get(lo)?).max(0) as u64;
                    match together {
                        Some(count) if *vector => {
                            MEETING + trips.div_ceil(count).saturating_mul(self.steps(body, None)?)
                        }
                        _ => trips.saturating_mul(self.steps(body, together)?),
                    }
                }
                Stmt::If { then_body, else_body, .. } => {
                    self.steps(then_body, together)?.max(self.steps(else_body, together)?)
                }
                Stmt::Events { .. } => return None,
                _ => 0,
            }))
        })
    }

    /// The most iterations of the vector loops of a block, as far as known.
    fn widest(&self, block: &Block) -> u64 {
        let mut most = 0;
        block.each(&mut |s| {
            if let Stmt::For { vector: true, lo, hi, .. } = s
                && let (Some(lo), Some(hi)) = (self.known.get(lo), self.known.get(hi))
            {
                most = most.max(hi.saturating_sub(*lo).max(0) as u64);
            }
        });
        most
    }

    /// The loop in which each of these bodies ends, if all it does is to add to one number of each thread.
    pub(super) fn sums<'a>(&self, bodies: &[&'a Block]) -> Option<Inner<'a>> {
        let mut last = None;
        for b in bodies {
            let inner = owned::inner(b).filter(|i| i.vector && i.condition.is_none())?;
            let (_, buf, _) = owned::reads_and_writes(inner.body)?;
            // What is in a register is not rounded to what memory holds.
            let lossless = self.program.buffers.get(buf.index()).is_some_and(|b| super::memory::lossless(b.elem));
            if !lossless || last.is_some_and(|(other, _)| other != buf) {
                return None;
            }
            last = Some((buf, inner));
        }
        last.map(|(_, inner)| inner)
    }

    fn together(&mut self, s: &Stmt, how: How<'_>, threads: Threads<'c>) -> Emitted<()> {
        match how {
            How::Alike | How::Alone => self.stmt(s),
            How::Divided(var, lo, hi, body) => {
                let each = |e: &mut Self, i: &[V<'c>]| e.side_by_side(var, i, body);
                self.share_by(threads, (lo, hi), self.at_a_time((lo, hi), body, threads), each)
            }
            How::Pushes(var, lo, hi, body) => self.push_together(threads, var, (lo, hi), body),
            How::Events => match s {
                Stmt::Events { list, slot, wide, one } => {
                    self.events_together(threads, (*list, *slot), wide.as_ref(), one)
                }
                _ => Err(Unsupported::malformed("an event loop")),
            },
            How::Own => {
                self.meet(threads);
                self.threads = Some(Threads { quiet: true, ..threads });
                let done = self.stmt(s);
                self.threads = Some(threads);
                self.meet(threads);
                done
            }
            How::Sums(inner) => match s {
                Stmt::For { var, lo, hi, .. } => self.sum_over((*var, *lo, *hi), inner, threads),
                _ => Err(Unsupported::malformed("a loop")),
            },
        }
    }

    /// Has the first thread alone do something.
    pub(super) fn alone(&mut self, threads: Threads<'c>, body: impl FnOnce(&mut Self) -> Emitted<()>) -> Emitted<()> {
        self.meet(threads);
        let first = self.ir.cmp_k(Cmp::Eq, threads.id, 0);
        self.threads = None;
        let done = self.when(first, body);
        self.threads = Some(threads);
        self.meet(threads);
        done
    }

    /// Divides the iterations of a loop among the threads.
    pub(super) fn share(
        &mut self,
        threads: Threads<'c>,
        (lo, hi): (Val, Val),
        body: impl Fn(&mut Self, V<'c>) -> Emitted<()>,
    ) -> Emitted<()> {
        self.share_by(threads, (lo, hi), 1, |e, i| i.iter().try_for_each(|i| body(e, *i)))
    }

    /// Divides the iterations of a loop among the threads, each of which does so many at a time.
    fn share_by(
        &mut self,
        threads: Threads<'c>,
        (lo, hi): (Val, Val),
        at_a_time: i64,
        body: impl Fn(&mut Self, &[V<'c>]) -> Emitted<()>,
    ) -> Emitted<()> {
        let (lo, hi) = (self.typed(lo, ScalarType::I64)?, self.typed(hi, ScalarType::I64)?);
        self.meet(threads);
        let count = i64::from(threads.count);
        let first = self.ir.add(lo, threads.id);
        self.threads = None;
        let done = self.by_groups((first, hi), (count, at_a_time), body);
        self.threads = Some(threads);
        self.meet(threads);
        done
    }

    /// Runs a body for numbers from `first` on in steps, below `end`: for so many at a time while there are as many.
    fn by_groups(
        &mut self,
        (mut first, end): (V<'c>, V<'c>),
        (step, at_a_time): (i64, i64),
        body: impl Fn(&mut Self, &[V<'c>]) -> Emitted<()>,
    ) -> Emitted<()> {
        if at_a_time > 1 {
            // The last of a group is inside if its first is below this.
            let whole = self.ir.plus(end, -step * (at_a_time - 1));
            first = self.while_below((first, whole), step * at_a_time, |e, i| {
                let all: Vec<_> = (0..at_a_time).map(|n| e.ir.plus(i, n * step)).collect();
                body(e, &all)
            })?;
        }
        self.while_below((first, end), step, |e, i| body(e, &[i])).map(drop)
    }

    /// Runs a body for numbers from `first` on in steps, below `end`; the first number that is not.
    fn while_below(
        &mut self,
        (first, end): (V<'c>, V<'c>),
        step: i64,
        body: impl FnOnce(&mut Self, V<'c>) -> Emitted<()>,
    ) -> Emitted<V<'c>> {
        let last = self.for_loop((first, end, step), &[first], |e, i, _| {
            body(e, i)?;
            Ok(vec![e.ir.plus(i, step)])
        })?;
        Ok(last[0])
    }

    /// Iterations of a loop side by side, statement by statement, so that what all of them read is on its way at once.
    fn side_by_side(&mut self, var: Val, numbers: &[V<'c>], body: &Block) -> Emitted<()> {
        let [i] = numbers else { return self.each_side_by_side(var, numbers, body).map(drop) };
        self.index(var, *i)?;
        self.block(body)
    }

    /// The same for plain statements; pushes are left out. Gives what each iteration has defined.
    fn each_side_by_side(&mut self, var: Val, numbers: &[V<'c>], body: &Block) -> Emitted<Vec<Vec<Option<Cell<'c>>>>> {
        let mut own: Vec<_> = numbers.iter().map(|_| self.slots.clone()).collect();
        for (slots, i) in own.iter_mut().zip(numbers) {
            std::mem::swap(&mut self.slots, slots);
            let done = self.index(var, *i);
            std::mem::swap(&mut self.slots, slots);
            done?;
        }
        for s in body.stmts.iter().filter(|s| !matches!(s, Stmt::Push { .. })) {
            for slots in &mut own {
                std::mem::swap(&mut self.slots, slots);
                let done = self.stmt(s);
                std::mem::swap(&mut self.slots, slots);
                done?;
            }
        }
        Ok(own)
    }

    /// A loop around a vector loop whose iterations add to one number each: each thread runs it for its own numbers.
    fn sum_over(&mut self, (var, lo, hi): (Val, Val, Val), inner: Inner<'_>, threads: Threads<'c>) -> Emitted<()> {
        let (lo, hi) = (self.typed(lo, ScalarType::I64)?, self.typed(hi, ScalarType::I64)?);
        self.share(threads, (inner.lo, inner.hi), |e, j| {
            e.in_register(inner, j, |e, x| {
                let sum = e.for_loop((lo, hi, 1), &[x.v], |e, k, sum| {
                    e.index(var, k)?;
                    e.add_to(inner, j, Cell { v: sum[0], ..x }).map(|c| vec![c.v])
                })?;
                Ok(Cell { v: sum[0], ..x })
            })
        })
    }

    /// Holds the number that iteration `j` of a loop adds to in a register meanwhile.
    pub(super) fn in_register(
        &mut self,
        inner: Inner<'_>,
        j: V<'c>,
        body: impl FnOnce(&mut Self, Cell<'c>) -> Emitted<Cell<'c>>,
    ) -> Emitted<()> {
        let missing = || Unsupported::malformed("a loop that adds");
        let (_, buf, index) = owned::reads_and_writes(inner.body).ok_or_else(missing)?;
        self.index(inner.var, j)?;
        let before = self.load(buf, index)?;
        let after = body(self, before)?;
        self.index(inner.var, j)?;
        self.store(buf, index, after)
    }

    /// What iteration `j` of the loop that a body ends in makes of a number in a register.
    pub(super) fn add_to(&mut self, inner: Inner<'_>, j: V<'c>, x: Cell<'c>) -> Emitted<Cell<'c>> {
        let missing = || Unsupported::malformed("a loop that adds");
        let (_, buf, _) = owned::reads_and_writes(inner.body).ok_or_else(missing)?;
        inner.outer.iter().try_for_each(|s| self.stmt(s))?;
        self.index(inner.var, j)?;
        self.register = Some((buf, x));
        let done = self.block(inner.body);
        let after = self.register.take();
        done?;
        after.map(|(_, x)| x).ok_or_else(missing)
    }

    /// A vector loop that pushes. A tile of iterations is done without a meeting, each thread setting bits where all see
    /// them; then threads count the bits before those of a word, and list what it says.
    fn push_together(&mut self, threads: Threads<'c>, var: Val, (lo, hi): (Val, Val), body: &Block) -> Emitted<()> {
        let at_a_time = self.at_a_time((lo, hi), body, threads);
        let (lo, hi) = (self.typed(lo, ScalarType::I64)?, self.typed(hi, ScalarType::I64)?);
        let pushes = pushes_of(body);
        let count = i64::from(threads.count);
        self.meet(threads);
        let done = self.for_loop((lo, hi, count * ROUNDS), &[], |e, first, _| {
            let end = e.ir.plus(first, count * ROUNDS);
            let end = e.ir.op("arith.minsi", &[end, hi], e.ir.types.i64);
            let mut before = Vec::with_capacity(pushes.len());
            for p in &pushes {
                let part = e.part;
                let chunk = e.chunk(p.list, p.slot, part)?;
                before.push(e.word(chunk.count));
            }
            let own = e.ir.add(first, threads.id);
            e.threads = None;
            let done = e.by_groups((own, end), (count, at_a_time), |e, numbers| {
                let own = e.each_side_by_side(var, numbers, body)?;
                for (slots, i) in own.into_iter().zip(numbers) {
                    let outer = std::mem::replace(&mut e.slots, slots);
                    let done = e.set_bits(threads, &pushes, (first, *i));
                    e.slots = outer;
                    done?;
                }
                Ok(())
            });
            e.threads = Some(threads);
            done?;
            e.meet(threads);
            e.sums_of_words(threads, pushes.len())?;
            e.meet(threads);
            for (n, (p, before)) in pushes.iter().zip(before).enumerate() {
                e.list_bits(threads, n, p, (first, before))?;
            }
            e.meet(threads);
            e.clear_bits(threads, pushes.len())?;
            e.meet(threads);
            Ok(Vec::new())
        });
        done.map(drop)
    }

    /// How many iterations of a loop a thread does at a time.
    fn at_a_time(&self, (lo, hi): (Val, Val), body: &Block, threads: Threads<'c>) -> i64 {
        let all = match (self.known.get(&lo), self.known.get(&hi)) {
            _ if (lo, hi) == (Kernel::LO, Kernel::HI) => self.items_each,
            (Some(lo), Some(hi)) => hi.saturating_sub(*lo).max(0) as u64,
            _ => return 1,
        };
        let some = body.stmts.iter().all(|s| owned::plain(s) || matches!(s, Stmt::Push { .. }));
        match body.stmts.len() {
            0..=48 if some && all > 2 * u64::from(threads.count) => 4,
            49..=96 if some && all > u64::from(threads.count) => 2,
            _ => 1,
        }
    }

    /// Sets the bits of an iteration that pushes.
    fn set_bits(&mut self, threads: Threads<'c>, pushes: &[Push], (first, i): (V<'c>, V<'c>)) -> Emitted<()> {
        let (base, s) = threads.shared;
        for (n, p) in pushes.iter().enumerate() {
            let condition = self.typed(p.condition, ScalarType::Bool)?;
            self.when(condition, |e| {
                // Which round it is, times words of a round, and the word of this thread.
                let ahead = e.ir.op("arith.subi", &[i, first], e.ir.types.i64);
                let round = e.ir.by("arith.divui", ahead, threads.count.into());
                let word = e.ir.times(round, s.words);
                let own = e.ir.by("arith.divui", threads.id, 32);
                let word = e.ir.add(word, own);
                let at = cell(&mut e.ir, base, s.bits[n], word);
                let (i32, id) = (e.ir.types.i32, threads.id);
                let id = e.ir.op("arith.trunci", &[id], i32);
                let bit = e.ir.by("arith.andi", id, 31);
                let one = e.ir.int(i32, 1);
                let bit = e.ir.bin("arith.shli", one, bit);
                e.ir.atomic_or(at, bit);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The number of bits of a word, as an `i64`.
    fn bits_of(&mut self, word: V<'c>) -> V<'c> {
        let bits = self.ir.bits_set(word);
        self.ir.op("arith.extui", &[bits], self.ir.types.i64)
    }

    /// Counts the bits of each [`GROUP`] words, of so many lists.
    fn sums_of_words(&mut self, threads: Threads<'c>, lists: usize) -> Emitted<()> {
        let (base, s) = threads.shared;
        let i32 = self.ir.types.i32;
        for n in 0..lists {
            // Each list has threads of its own, as far as there are as many.
            let shift = self.ir.plus(threads.id, -(s.groups * n as i64 % i64::from(threads.count)));
            let wrapped = self.ir.plus(shift, threads.count.into());
            let early = self.ir.cmp_k(Cmp::Slt, shift, 0);
            let start = self.ir.select(early, wrapped, shift);
            let end = self.ir.i64(s.groups);
            self.for_loop((start, end, threads.count.into()), &[], |e, g, _| {
                let word = e.ir.times(g, GROUP);
                let from = cell(&mut e.ir, base, s.bits[n], word);
                let mut sum = e.ir.i64(0);
                for k in 0..GROUP {
                    let at = e.ir.beyond(from, 4 * k);
                    let word = e.ir.load(at, i32, 4);
                    let bits = e.bits_of(word);
                    sum = e.ir.add(sum, bits);
                }
                let to = cell(&mut e.ir, base, s.sums[n], g);
                let sum = e.ir.op("arith.trunci", &[sum], i32);
                e.ir.store(to, sum, 4);
                Ok(Vec::new())
            })?;
        }
        Ok(())
    }

    /// Takes the bits of so many lists away.
    fn clear_bits(&mut self, threads: Threads<'c>, lists: usize) -> Emitted<()> {
        let (base, s) = threads.shared;
        let (end, none) = (self.ir.i64(s.words * ROUNDS), self.ir.int(self.ir.types.i32, 0));
        self.for_loop((threads.id, end, threads.count.into()), &[], |e, w, _| {
            for table in &s.bits[..lists] {
                let at = cell(&mut e.ir, base, *table, w);
                e.ir.store(at, none, 4);
            }
            Ok(Vec::new())
        })
        .map(drop)
    }

    /// Lists what bits say, after the `before` numbers that are listed.
    fn list_bits(&mut self, threads: Threads<'c>, n: usize, p: &Push, (first, before): (V<'c>, V<'c>)) -> Emitted<()> {
        let (base, s) = threads.shared;
        let i32 = self.ir.types.i32;
        let part = self.part;
        let chunk = self.chunk(p.list, p.slot, part)?;
        let end = self.ir.i64(s.words * ROUNDS);
        let (zero, none) = (self.ir.i64(0), self.ir.int(i32, 0));
        self.for_loop((threads.id, end, threads.count.into()), &[], |e, w, _| {
            let at = cell(&mut e.ir, base, s.bits[n], w);
            let word = e.ir.load(at, i32, 4);
            let some = e.ir.cmp(Cmp::Ne, word, none);
            e.when(some, |e| {
                let group = e.ir.by("arith.divui", w, GROUP);
                let start = e.ir.times(group, GROUP);
                let sum = e.for_loop((zero, group, 1), &[before], |e, g, sum| {
                    let at = cell(&mut e.ir, base, s.sums[n], g);
                    let more = e.word(at);
                    Ok(vec![e.ir.add(sum[0], more)])
                })?;
                let to = e.for_loop((start, w, 1), &sum, |e, u, sum| {
                    let at = cell(&mut e.ir, base, s.bits[n], u);
                    let word = e.ir.load(at, i32, 4);
                    let more = e.bits_of(word);
                    Ok(vec![e.ir.add(sum[0], more)])
                })?;
                let round = e.ir.by("arith.divui", w, s.words);
                let own = e.ir.by("arith.remui", w, s.words);
                let ahead = e.ir.times(round, threads.count.into());
                let own = e.ir.times(own, 32);
                let number = e.ir.add(first, ahead);
                let number = e.ir.add(number, own);
                e.each_bit(word, |e, bit, k| {
                    let at = e.ir.add(to[0], k);
                    let at = e.ir.element(chunk.first, i32, at);
                    let number = e.ir.add(number, bit);
                    let number = e.ir.op("arith.trunci", &[number], i32);
                    e.ir.store(at, number, 4);
                })
            })?;
            Ok(Vec::new())
        })?;
        let first = self.ir.cmp_k(Cmp::Eq, threads.id, 0);
        self.when(first, |e| {
            let all = e.ir.i64(s.groups);
            let sum = e.for_loop((zero, all, 1), &[before], |e, g, sum| {
                let at = cell(&mut e.ir, base, s.sums[n], g);
                let more = e.word(at);
                Ok(vec![e.ir.add(sum[0], more)])
            })?;
            let sum = e.ir.op("arith.trunci", &[sum[0]], i32);
            e.ir.store(chunk.count, sum, 4);
            Ok(())
        })
    }

    /// Calls `body` with the number of each bit that is set, and how many were before it.
    fn each_bit(&mut self, word: V<'c>, body: impl FnOnce(&mut Self, V<'c>, V<'c>)) -> Emitted<()> {
        let zero = self.ir.i64(0);
        let more = |ir: &mut crate::ir::Ir<'c>, a: &[V<'c>]| ir.cmp_k(Cmp::Ne, a[0], 0);
        self.while_loop(&[word, zero], more, |e, a| {
            let below = e.ir.by("arith.subi", a[0], 1);
            let rest = e.ir.bin("arith.andi", a[0], below);
            let ones = e.ir.int(e.ir.types.i32, -1);
            let lower = e.ir.bin("arith.xori", a[0], ones);
            let lower = e.ir.bin("arith.andi", lower, below);
            let bit = e.bits_of(lower);
            body(e, bit, a[1]);
            Ok(vec![rest, e.ir.plus(a[1], 1)])
        })?;
        Ok(())
    }
}

/// A push of a vector loop.
struct Push {
    list: nc_ir::kernel::ListId,
    slot: Val,
    condition: Val,
}

/// The pushes of the body of a vector loop.
fn pushes_of(body: &Block) -> Vec<Push> {
    let push = |s: &Stmt| match s {
        Stmt::Push { list, slot, cond, .. } => Some(Push { list: *list, slot: *slot, condition: *cond }),
        _ => None,
    };
    body.stmts.iter().filter_map(push).collect()
}

impl<'c> Meet<'c> {
    /// Writes that the threads of a block meet.
    pub fn write(self, ir: &mut crate::ir::Ir<'c>) {
        match self {
            Meet::Gpu => ir.gpu_barrier(),
            Meet::Call(function, argument) => ir.call_pointer(function, &[argument]),
        }
    }
}

/// Whether all pushes of the body of a loop are statements of it that push its number, to slots from outside, and nothing is
/// cleared.
fn pushes_plainly(var: Val, body: &Block) -> bool {
    let (mut all, mut cleared) = (0, false);
    body.each(&mut |s| match s {
        Stmt::Push { .. } => all += 1,
        Stmt::Clear { .. } => cleared = true,
        _ => {}
    });
    let inside = owned::defined(body);
    let own = body
        .stmts
        .iter()
        .filter(|s| matches!(s, Stmt::Push { slot, index, .. } if *index == var && !inside.contains(slot)));
    !cleared && all <= PUSHES && own.count() == all
}

/// Whether one of the bodies of an event loop has something in it that threads divide.
pub(super) fn divided(wide: Option<&EventBody>, one: &EventBody) -> bool {
    owned::bodies(wide, one).iter().any(|b| owned::divides(b))
}
