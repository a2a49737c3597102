//! Kernels that the threads of a block run together.
//!
//! All threads take the same way through a kernel and compute what is outside of loops alike. They divide the iterations
//! of loops that are independent of each other, the first thread alone does what is in no such loop and writes, and all
//! meet before and after whatever writes, so that they read the same.

use super::owned::{self, Inner};
use super::scratch::{PUSHES, Scratch, cell};
use super::{Cell, Emitted, Emitter};
use crate::error::Unsupported;
use crate::ir::{Cmp, V, Write};
use nc_ir::kernel::{Block, Carried, EventBody, Kernel, ScalarType, Stmt, Val};
use std::collections::BTreeSet;

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
            return if pushes_plainly(body) { How::Pushes(var, lo, hi, body) } else { How::Alone };
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
        if !threads.quiet && owned::repeats(&[body]) {
            return match self.sums(&[body]) {
                Some(inner) => How::Sums(inner),
                None => How::Own,
            };
        }
        How::Alike
    }

    /// The most iterations of the vector loops of a block, as far as known.
    fn widest(&self, block: &Block) -> u64 {
        let mut most = 0;
        owned::each(block, &mut |s| {
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
            How::Divided(var, lo, hi, body) => self.share(threads, (lo, hi), |e, i| {
                e.index(var, i)?;
                e.block(body)
            }),
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
        body: impl FnOnce(&mut Self, V<'c>) -> Emitted<()>,
    ) -> Emitted<()> {
        let (lo, hi) = (self.typed(lo, ScalarType::I64)?, self.typed(hi, ScalarType::I64)?);
        self.meet(threads);
        let first = self.ir.add(lo, threads.id);
        self.threads = None;
        let done = self.for_loop((first, hi, threads.count.into()), &[], |e, i, _| {
            body(e, i)?;
            Ok(Vec::new())
        });
        self.threads = Some(threads);
        self.meet(threads);
        done.map(drop)
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

    /// A vector loop that pushes: threads put their bits where all see them, and count the ones before their own.
    fn push_together(&mut self, threads: Threads<'c>, var: Val, (lo, hi): (Val, Val), body: &Block) -> Emitted<()> {
        let (lo, hi) = (self.typed(lo, ScalarType::I64)?, self.typed(hi, ScalarType::I64)?);
        let (base, s) = threads.shared;
        self.meet(threads);
        self.for_loop((lo, hi, threads.count.into()), &[], |e, first, _| {
            let i = e.ir.add(first, threads.id);
            let inside = e.ir.cmp(Cmp::Slt, i, hi);
            e.threads = None;
            let done = e.pushed(inside, i, var, body);
            e.threads = Some(threads);
            let pushed = done?;
            let i32 = e.ir.types.i32;
            let own = e.ir.by("arith.divui", threads.id, 32);
            for (n, s_) in pushed.iter().enumerate() {
                let table = s.bits + 4 * s.words * n as i64;
                let at = cell(&mut e.ir, base, table, threads.id);
                let word = cell(&mut e.ir, base, table, own);
                let zero = e.ir.int(i32, 0);
                let clears = e.ir.cmp_k(Cmp::Slt, threads.id, s.words);
                e.when(clears, |e| {
                    e.ir.store(at, zero, 4);
                    Ok(())
                })?;
                e.meet(threads);
                e.when(s_.pushes, |e| {
                    let bit = e.bit(threads);
                    e.ir.atomic_or(word, bit);
                    Ok(())
                })?;
            }
            e.meet(threads);
            for (n, p) in pushed.iter().enumerate() {
                let table = s.bits + 4 * s.words * n as i64;
                e.append(threads, table, own, p)?;
            }
            Ok(Vec::new())
        })?;
        self.meet(threads);
        Ok(())
    }

    /// The bit of this thread in its word.
    fn bit(&mut self, threads: Threads<'c>) -> V<'c> {
        let i32 = self.ir.types.i32;
        let id = self.ir.op("arith.trunci", &[threads.id], i32);
        let at = self.ir.by("arith.andi", id, 31);
        let one = self.ir.int(i32, 1);
        self.ir.bin("arith.shli", one, at)
    }

    /// Appends what threads push, whose bits all see, to a list.
    fn append(&mut self, threads: Threads<'c>, table: i64, own: V<'c>, p: &Pushed<'c>) -> Emitted<()> {
        let (base, s) = threads.shared;
        let (i32, i64) = (self.ir.types.i32, self.ir.types.i64);
        let zero = self.part;
        let chunk = self.chunk(p.list, p.slot, zero)?;
        let n = self.word(chunk.count);
        let mut all = self.ir.i64(0);
        let mut before = self.ir.i64(0);
        for w in 0..s.words {
            let k = self.ir.i64(w);
            let at = cell(&mut self.ir, base, table, k);
            let word = self.ir.load(at, i32, 4);
            let bits = self.ir.intrinsic("llvm.ctpop", &[word], i32);
            let bits = self.ir.op("arith.extui", &[bits], i64);
            let earlier = self.ir.cmp(Cmp::Slt, k, own);
            let zero = self.ir.i64(0);
            let more = self.ir.select(earlier, bits, zero);
            before = self.ir.add(before, more);
            all = self.ir.add(all, bits);
        }
        // All have read the count.
        self.meet(threads);
        self.when(p.pushes, |e| {
            let at = cell(&mut e.ir, base, table, own);
            let word = e.ir.load(at, i32, 4);
            let bit = e.bit(threads);
            let below = e.ir.by("arith.subi", bit, 1);
            let lower = e.ir.bin("arith.andi", word, below);
            let lower = e.ir.intrinsic("llvm.ctpop", &[lower], i32);
            let lower = e.ir.op("arith.extui", &[lower], i64);
            let rank = e.ir.add(before, lower);
            let rank = e.ir.add(n, rank);
            let to = e.ir.element(chunk.first, i32, rank);
            let short = e.ir.op("arith.trunci", &[p.index], i32);
            e.ir.store(to, short, 4);
            Ok(())
        })?;
        let first = self.ir.cmp_k(Cmp::Eq, threads.id, 0);
        self.when(first, |e| {
            let n = e.ir.add(n, all);
            let n = e.ir.op("arith.trunci", &[n], i32);
            e.ir.store(chunk.count, n, 4);
            Ok(())
        })?;
        self.meet(threads);
        Ok(())
    }

    /// One iteration without its pushes, if it is inside; what is pushed.
    fn pushed(&mut self, inside: V<'c>, i: V<'c>, var: Val, body: &Block) -> Emitted<Vec<Pushed<'c>>> {
        let (i1, i64) = (self.ir.types.i1, self.ir.types.i64);
        let pushes: Vec<_> = (body.stmts.iter())
            .filter_map(|s| match s {
                Stmt::Push { list, slot, cond, index } => Some((*list, *slot, *cond, *index)),
                _ => None,
            })
            .collect();
        let types: Vec<_> = pushes.iter().flat_map(|_| [i1, i64]).collect();
        let values = self.branch(
            inside,
            &types,
            |e| {
                e.index(var, i)?;
                let plain = body.stmts.iter().filter(|s| !matches!(s, Stmt::Push { .. }));
                plain.clone().try_for_each(|s| e.stmt(s))?;
                let mut values = Vec::new();
                for (_, _, cond, index) in &pushes {
                    values.push(e.typed(*cond, ScalarType::Bool)?);
                    values.push(e.typed(*index, ScalarType::I64)?);
                }
                Ok(values)
            },
            |e| {
                let (no, zero) = (e.ir.int(i1, 0), e.ir.i64(0));
                Ok(pushes.iter().flat_map(|_| [no, zero]).collect())
            },
        )?;
        let pairs = pushes.iter().zip(values.chunks_exact(2));
        Ok(pairs.map(|((list, slot, ..), v)| Pushed { list: *list, slot: *slot, pushes: v[0], index: v[1] }).collect())
    }
}

/// What an iteration pushes.
struct Pushed<'c> {
    list: nc_ir::kernel::ListId,
    slot: Val,
    pushes: V<'c>,
    index: V<'c>,
}

impl<'c> Meet<'c> {
    /// Writes that the threads of a block meet.
    pub fn write(self, ir: &mut crate::ir::Ir<'c>) {
        match self {
            Meet::Gpu => drop(ir.raw("gpu.barrier", &[], &[], &[], Vec::new())),
            Meet::Call(function, argument) => ir.call_pointer(function, &[argument]),
        }
    }
}

/// Whether all pushes of the body of a vector loop are statements of it, to slots from outside, and nothing is cleared.
fn pushes_plainly(body: &Block) -> bool {
    let (mut all, mut cleared) = (0, false);
    owned::each(body, &mut |s| match s {
        Stmt::Push { .. } => all += 1,
        Stmt::Clear { .. } => cleared = true,
        _ => {}
    });
    let slots: Vec<Val> =
        (body.stmts.iter()).filter_map(|s| if let Stmt::Push { slot, .. } = s { Some(*slot) } else { None }).collect();
    let inside = owned::defined(body);
    !cleared && slots.len() == all && all <= PUSHES && slots.iter().all(|s| !inside.contains(s))
}

/// Whether event loops of these bodies do only what threads can divide.
pub(super) fn divided(wide: Option<&EventBody>, one: &EventBody) -> bool {
    owned::bodies(wide, one).iter().any(|b| owned::divides(b))
}
