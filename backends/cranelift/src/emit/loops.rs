//! Counted loops, in scalar code and in lanes.
//!
//! Loops that carry nothing test at the end, behind a guard that goes away where the bounds are constants. Those that
//! carry values test at the start: the next values are then used once, without which no load is folded into their
//! computation.

use super::cell::{Cell, Lin, Slot};
use super::chains::Around;
use super::shape::{self, Class, Plan};
use super::{Emitted, Emitter, is_wide, wide};
use crate::error::Unsupported;
use crate::target::Lanes;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, Value, types};
use nc_ir::kernel::{Block, BufId, Carried, ScalarType, Stmt, Val};

/// Copies of the body of a short scalar loop.
const UNROLL: i64 = 4;
/// Copies of the body of a short loop inside a vector loop.
const UNROLL_LANES: i64 = 2;
/// Longest body (in statements) that is copied.
const UNROLL_STATEMENTS: usize = 12;
/// Vector registers that inner loops may carry.
const CARRIED_REGISTERS: usize = 12;
/// Most groups of four lanes at once.
const MAX_GROUPS: usize = 8;

/// A loop that is being emitted.
pub(super) struct Loop {
    header: ir::Block,
    /// Where the loop goes when it ends, if it tests at the start or may be skipped.
    after: Option<ir::Block>,
    counter: Value,
    end: Lin,
    step: i64,
    scaled: Vec<(i64, Value)>,
    carried: Vec<Value>,
}

impl Loop {
    /// The counter.
    pub fn counter(&self) -> Lin {
        Lin::of(self.counter)
    }
}

fn args(vs: &[Value]) -> Vec<BlockArg> {
    vs.iter().map(|v| BlockArg::from(*v)).collect()
}

impl Emitter<'_, '_> {
    /// Opens a loop from `start` while below `end`, carrying `init`; `None` if it never runs. `end - start` is a
    /// multiple of `step`. `strides` are constants whose products with the counter are carried along.
    pub(super) fn begin_loop(
        &mut self,
        start: Lin,
        end: Lin,
        step: i64,
        strides: &[i64],
        init: &[Value],
    ) -> Option<Loop> {
        let known = match (start.known(), end.known()) {
            (Some(s), Some(e)) if s >= e => return None,
            (Some(_), Some(_)) => true,
            _ => false,
        };
        let mut enter = vec![self.int(start)];
        for s in strides {
            enter.push(self.int(start.times(*s)));
        }
        enter.extend_from_slice(init);
        let header = self.b.create_block();
        for v in &enter {
            let ty = self.b.func.dfg.value_type(*v);
            self.b.append_block_param(header, ty);
        }
        let mut after = None;
        if known || !init.is_empty() {
            self.b.ins().jump(header, &args(&enter));
        } else {
            let skip = self.b.create_block();
            let some = self.less(start, end);
            self.b.ins().brif(some, header, &args(&enter), skip, &[]);
            after = Some(skip);
        }
        self.b.switch_to_block(header);
        self.depth += 1;
        let params = self.b.block_params(header).to_vec();
        let counter = params[0];
        self.level.insert(counter, self.depth);
        let mut scaled = Vec::with_capacity(strides.len());
        for (s, v) in strides.iter().zip(&params[1..]) {
            self.scaled.insert((counter, *s), *v);
            scaled.push((*s, *v));
        }
        let carried = params[1 + strides.len()..].to_vec();
        if !carried.is_empty() {
            let (body, exit) = (self.b.create_block(), self.b.create_block());
            // The body goes last: Cranelift then visits it before the exit, and forgets the loop, to which it moves
            // invariants, only after it.
            let (x, y) = (self.bound(Lin::of(counter)), self.bound(end));
            let done = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, x, y);
            self.b.ins().brif(done, exit, &[], body, &[]);
            self.b.switch_to_block(body);
            after = Some(exit);
        }
        Some(Loop { header, after, counter, end, step, scaled, carried })
    }

    /// Closes a loop; the values after it.
    pub(super) fn end_loop(&mut self, l: Loop, next: &[Value]) -> Vec<Value> {
        let i = self.b.ins().iadd_imm_s(l.counter, l.step);
        let mut again = vec![i];
        for (s, v) in &l.scaled {
            again.push(self.b.ins().iadd_imm_s(*v, s.wrapping_mul(l.step)));
        }
        again.extend_from_slice(next);
        self.depth -= 1;
        if !l.carried.is_empty() {
            self.b.ins().jump(l.header, &args(&again));
            if let Some(exit) = l.after {
                self.b.switch_to_block(exit);
            }
            return l.carried;
        }
        let more = self.less(Lin::of(i), l.end);
        let exit = l.after.unwrap_or_else(|| self.b.create_block());
        self.b.ins().brif(more, l.header, &args(&again), exit, &[]);
        self.b.switch_to_block(exit);
        Vec::new()
    }

    fn known_int(&self, v: Val) -> Option<i64> {
        match self.slots.get(v.index()) {
            Some(Slot::Same(Cell::Lin(l))) => l.known(),
            _ => None,
        }
    }

    fn strides(&self, body: &Block, var: Val) -> Vec<i64> {
        shape::strides(self.program, body, var, &|v| self.known_int(v))
    }

    /// `for var in lo..hi`.
    pub(super) fn for_loop(
        &mut self,
        var: Val,
        lo: Val,
        hi: Val,
        vector: bool,
        carried: &[Carried],
        body: &Block,
    ) -> Emitted<()> {
        let (lo, hi) = (self.uniform_index(lo)?, self.uniform_index(hi)?);
        if vector && carried.is_empty() && self.groups == 0 {
            let mut classes = std::mem::take(&mut self.classes);
            let trip = lo.known().zip(hi.known()).map(|(l, h)| h.saturating_sub(l).max(0) as u64);
            let plan = shape::plan(self.program, &self.types, &mut classes, &|v| self.known_int(v), (var, trip), body);
            self.classes = classes;
            let wanted = |p: &Plan| match self.mode.lanes {
                Lanes::WhereWorth => p.worth,
                Lanes::WherePossible => true,
                Lanes::Never => false,
            };
            if let Some(plan) = plan.filter(wanted) {
                return self.vector_loop(var, lo, hi, body, plan);
            }
        }
        self.serial_loop(var, lo, hi, carried, body)
    }

    /// The values that a loop carries, one after the other.
    fn flatten(&mut self, carried: &[Carried], of: impl Fn(&Carried) -> Val) -> Emitted<Vec<Value>> {
        let mut out = Vec::new();
        for c in carried {
            let v = of(c);
            if !self.differs(c.param) {
                let cell = self.cell(v, 0)?;
                if !cell.is_uniform() {
                    return Err(Unsupported::malformed(format!("{v} differs between lanes")));
                }
                out.push(self.scalar(&cell));
                continue;
            }
            for u in 0..self.groups {
                let cell = self.cell(v, u)?;
                let regs = self.vector(&cell);
                out.extend_from_slice(if is_wide(cell.ty()) { &regs[..] } else { &regs[..1] });
            }
        }
        Ok(out)
    }

    fn differs(&self, param: Val) -> bool {
        self.groups > 0 && self.classes.get(param).is_some_and(|c| c != Class::Uniform)
    }

    /// Gives the carried values back their shape.
    fn unflatten(&mut self, carried: &[Carried], of: impl Fn(&Carried) -> Val, values: &[Value]) -> Emitted<()> {
        let mut values = values.iter().copied();
        let mut next = || values.next().ok_or_else(|| Unsupported::malformed("a carried value is missing"));
        for c in carried {
            let v = of(c);
            let ty = self.types.get(c.param.index()).copied().unwrap_or(ScalarType::I64);
            if !self.differs(c.param) {
                let x = next()?;
                let cell = self.uniform_cell(ty, x);
                self.set(v, cell)?;
                continue;
            }
            for u in 0..self.groups {
                let x = next()?;
                let cell = if is_wide(ty) { Cell::V22(ty, [x, next()?]) } else { Cell::V4(ty, x) };
                self.set_group(v, u, cell)?;
            }
        }
        Ok(())
    }

    fn serial_loop(&mut self, var: Val, lo: Lin, hi: Lin, carried: &[Carried], body: &Block) -> Emitted<()> {
        if self.groups > 0 && self.run_chains(var, (lo, hi), carried, body, &Around::default())? {
            return Ok(());
        }
        let values = self.flatten(carried, |c| c.init)?;
        self.rest_of_loop(var, (lo, hi), carried, body, values)
    }

    /// Runs the iterations of a loop from `lo` on, with the values that it carries there.
    pub(super) fn rest_of_loop(
        &mut self,
        var: Val,
        (lo, hi): (Lin, Lin),
        carried: &[Carried],
        body: &Block,
        mut values: Vec<Value>,
    ) -> Emitted<()> {
        let strides = self.strides(body, var);
        let mut start = lo;
        let trip = lo.known().zip(hi.known()).map(|(l, h)| h.saturating_sub(l));
        let unroll = if self.groups == 0 { UNROLL } else { UNROLL_LANES };
        // In lanes, the copies of a tile of several chains would have more values alive than there are registers.
        let tile = self.groups > 0 && carried.len() > 1;
        let gathers = self.groups > 0 && self.reads_by_index(body);
        let copies =
            if may_copy(body) && !tile && !gathers && trip.is_none_or(|t| t >= 2 * unroll) { unroll } else { 1 };
        if copies > 1 {
            let end = self.whole(lo, hi, copies);
            if let Some(l) = self.begin_loop(start, end, copies, &strides, &values) {
                let mut inside = l.carried.clone();
                for k in 0..copies {
                    self.unflatten(carried, |c| c.param, &inside)?;
                    self.set(var, Cell::Lin(l.counter().plus(k)))?;
                    self.block(body)?;
                    inside = self.flatten(carried, |c| c.next)?;
                }
                values = self.end_loop(l, &inside);
            }
            start = end;
        }
        if let Some(l) = self.begin_loop(start, hi, 1, &strides, &values) {
            let inside = l.carried.clone();
            self.unflatten(carried, |c| c.param, &inside)?;
            self.set(var, Cell::Lin(l.counter()))?;
            self.block(body)?;
            let inside = self.flatten(carried, |c| c.next)?;
            values = self.end_loop(l, &inside);
        }
        self.unflatten(carried, |c| c.result, &values)
    }

    /// `lo` plus the largest multiple of `step` that fits before `hi`; `lo` if `hi` is below it. A power of two, unless both
    /// are known.
    pub(super) fn whole(&mut self, lo: Lin, hi: Lin, step: i64) -> Lin {
        if let (Some(l), Some(h)) = (lo.known(), hi.known()) {
            let n = h.saturating_sub(l).max(0);
            return Lin::constant(l.wrapping_add(n - n % step.max(1)));
        }
        let n = self.sum(hi, lo.times(-1));
        let some = self.less(lo, hi);
        let n = self.int(n);
        let whole = self.b.ins().band_imm_s(n, -step);
        let none = self.b.ins().iconst(types::I64, 0);
        let n = self.b.ins().select(some, whole, none);
        let n = self.atom(n);
        self.sum(lo, n)
    }

    fn vector_loop(&mut self, var: Val, lo: Lin, hi: Lin, body: &Block, plan: Plan) -> Emitted<()> {
        let trip = lo.known().zip(hi.known()).map(|(l, h)| h.saturating_sub(l).max(0));
        let mut groups = match plan.carried {
            // A longer body has more constants and masks than registers: more groups would only spill them.
            0 if plan.weight <= 12 => 4,
            0 if plan.weight <= 128 => 2,
            0 => 1,
            n => (CARRIED_REGISTERS / n).clamp(1, MAX_GROUPS).next_power_of_two(),
        };
        while plan.carried * groups > CARRIED_REGISTERS && groups > 1 {
            groups /= 2;
        }
        while groups > 1 && trip.is_some_and(|t| t < 4 * groups as i64) {
            groups /= 2;
        }
        // Registers of eight lanes hold two groups: as many of them side by side as are there, then those that are left.
        let mut left = 1;
        if let Some(width) = self.chains_side_by_side(body, trip) {
            groups = 2 * width;
            left = trip.map_or(2, |t| 2 * (t as usize / 8 % width)).max(1);
        }
        let mut start = lo;
        // A loop that reads and writes more than it computes waits for memory, and gains nothing from a call.
        let worth = trip.is_none_or(|t| t >= wide::LEAST) && plan.ops > plan.accesses;
        if (worth || self.mode.lanes == Lanes::WherePossible) && self.fits_wide(body) {
            start = self.wide_loop(var, lo, hi, body)?;
        }
        for groups in [groups, left, 1] {
            let lanes = 4 * groups as i64;
            let few = start.known().zip(hi.known()).map(|(s, h)| h.saturating_sub(s).max(0));
            if few.is_some_and(|n| n < lanes) {
                continue;
            }
            let end = self.whole(start, hi, lanes);
            self.groups = groups;
            let done = self.lanes_loop(var, start, end, lanes, body);
            self.groups = 0;
            done?;
            start = end;
            if groups == 1 {
                break;
            }
        }
        self.serial_loop(var, start, hi, &[], body)
    }

    fn lanes_loop(&mut self, var: Val, start: Lin, end: Lin, lanes: i64, body: &Block) -> Emitted<()> {
        let strides = self.strides(body, var);
        if let Some(l) = self.begin_loop(start, end, lanes, &strides, &[]) {
            let mut counter = l.counter();
            counter.lane = 1;
            self.set(var, Cell::Lin(counter))?;
            self.block(body)?;
            self.end_loop(l, &[]);
        }
        Ok(())
    }

    /// Emits a block in lanes: plain statements mostly group by group, so that little is alive at once; stores of narrow
    /// elements and pushes for all groups together, as late as the accesses to their buffer allow.
    pub(super) fn grouped(&mut self, block: &Block) -> Emitted<()> {
        let mut run: Vec<&Stmt> = Vec::new();
        let mut later: Vec<&Stmt> = Vec::new();
        for (n, s) in block.stmts.iter().enumerate() {
            match s {
                Stmt::Const { .. } | Stmt::Op { .. } => run.push(s),
                Stmt::Load { buf, .. } => {
                    if waits(&later, *buf) {
                        self.flush(&mut run, &mut later)?;
                    }
                    run.push(s);
                }
                Stmt::Store { buf, .. } => {
                    if waits(&later, *buf) {
                        self.flush(&mut run, &mut later)?;
                    }
                    let narrow = self.buffer_elem(*buf)?.size() < 4;
                    if narrow && self.groups > 1 && !touches(&run, *buf) {
                        later.push(s);
                    } else {
                        run.push(s);
                    }
                }
                Stmt::Push { .. } => later.push(s),
                Stmt::For { .. } | Stmt::Events { .. } | Stmt::Clear { .. } | Stmt::If { .. } => {
                    self.flush(&mut run, &mut later)?;
                    if self.run_to_the_end(block, n)? {
                        return Ok(());
                    }
                    self.stmt(s)?;
                }
            }
        }
        self.flush(&mut run, &mut later)
    }

    fn flush(&mut self, run: &mut Vec<&Stmt>, later: &mut Vec<&Stmt>) -> Emitted<()> {
        // Where several values are loaded that all groups share, as the inputs of a tile's rows, each is used by all of
        // them before the next is loaded: else they would all be alive until the last group.
        let shared = |s: &&&Stmt| matches!(s, Stmt::Load { dst, .. } if self.classes.get(*dst) == Some(Class::Uniform));
        let (inner, outer) = if run.iter().filter(shared).count() > 2 { (self.groups, 1) } else { (1, self.groups) };
        for first in 0..outer {
            for s in run.iter() {
                for u in first..first + inner {
                    match s {
                        Stmt::Store { buf, index, value } => self.store(*buf, index, *value, u)?,
                        s => self.simple(s, u)?,
                    }
                }
            }
        }
        for s in later.iter() {
            match s {
                Stmt::Store { buf, index, value } => self.store_groups(*buf, index, *value)?,
                s => self.stmt(s)?,
            }
        }
        run.clear();
        later.clear();
        Ok(())
    }
}

/// True if a delayed store goes to this buffer.
fn waits(later: &[&Stmt], buf: BufId) -> bool {
    later.iter().any(|s| matches!(s, Stmt::Store { buf: b, .. } if *b == buf))
}

/// True if a statement of the run stores to this buffer.
fn touches(run: &[&Stmt], buf: BufId) -> bool {
    run.iter().any(|s| matches!(s, Stmt::Store { buf: b, .. } if *b == buf))
}

/// True if copies of the body one after the other are no burden.
fn may_copy(body: &Block) -> bool {
    let plain = |s: &Stmt| match s {
        Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Load { .. } | Stmt::Store { .. } => true,
        Stmt::For { .. } | Stmt::Events { .. } | Stmt::Clear { .. } | Stmt::Push { .. } | Stmt::If { .. } => false,
    };
    body.stmts.len() <= UNROLL_STATEMENTS && body.stmts.iter().all(plain)
}
