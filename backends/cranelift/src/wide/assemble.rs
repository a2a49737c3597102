//! Registers for the values of a loop, and its bytes.
//!
//! The body is a straight line, so that the next use of every value is known, and the value to give up, if there are
//! more than registers, is the one whose next use is last. Of the invariants as many stay in registers as leave enough
//! for the body; the others are operands in memory.

use super::vex::{
    ADDPS, ANDPS, BROADCASTSS, FMADD132PS, FMADD213PS, FMADD231PS, Gpr, If, Label, MOVAPS, MOVQ_STORE, MOVUPS,
    MOVUPS_STORE, MULPS, Mem, ORPS, Op, PABSB, PACKSSDW, PACKSSWB, PACKUSDW, PACKUSWB, PADDD, PBROADCASTD, PCMPEQD,
    PCMPGTD, PMOVSXBD, PMOVSXWD, PMOVZXBD, PMOVZXWD, PMULLD, PMULUDQ, PSLLD, PSRLD, Rm, Text, XORPS, Ymm,
};
use super::{Arg, Elem, Invariant, LANES, Loop, MAX_POINTERS, Push, Row, Step, Temp};

const FRAME: Gpr = Gpr(7);
const END: Gpr = Gpr(6);
const COUNTER: Gpr = Gpr(0);
/// Registers of a push: the mask, an index, the count.
const MASK: Gpr = Gpr(1);
const INDEX: Gpr = Gpr(2);
const COUNT: Gpr = Gpr(8);
/// Registers of the pointers.
const POINTERS: [Gpr; MAX_POINTERS] = [Gpr(9), Gpr(10), Gpr(11), Gpr(3), Gpr(12), Gpr(13), Gpr(14), Gpr(15)];
/// How many of them the caller does not expect back.
const FREE_POINTERS: usize = 3;
const REGISTERS: usize = 16;
const SLOT: u32 = 32;

/// A function for the C calling convention of Unix. It takes a frame and the number of elements, a positive multiple of
/// eight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Code {
    pub bytes: Vec<u8>,
    pub listing: String,
    /// Size of the frame in bytes.
    pub frame: u32,
}

/// Gives a loop registers and bytes. `None` if a step has more operands than there are registers.
pub(crate) fn assemble(l: &Loop) -> Option<Code> {
    let mut uses = vec![0usize; l.invariants.len()];
    for a in l.body.iter().flat_map(Step::args) {
        if let Arg::Invariant(n) = a {
            *uses.get_mut(n as usize)? += 1;
        }
    }
    let mut order: Vec<usize> = (0..uses.len()).collect();
    order.sort_by_key(|n| std::cmp::Reverse(uses[*n]));
    let most = order.len().min(REGISTERS - 1);
    let fits = (0..=most).rev().find_map(|n| Assembler::new(l, &order[..n], false).run());
    fits.or_else(|| Assembler::new(l, &[], true).run())
}

impl Step {
    /// What it reads.
    fn args(&self) -> Vec<Arg> {
        match self {
            Step::Load(..) | Step::Counter(_) => Vec::new(),
            Step::Unary(_, _, x, _) | Step::Shift(_, _, x, _) | Step::Store(_, x) => vec![*x],
            Step::Binary(_, _, x, y, _) => vec![*x, *y],
            Step::Fma(_, x, y, z) | Step::Blend(_, x, y, z) => vec![*x, *y, *z],
            Step::Push(p) => {
                let updates = p.updates.iter().flat_map(|(t, x)| [Arg::Temp(*t), *x]);
                std::iter::once(p.mask).chain(updates).collect()
            }
        }
    }

    /// What it computes.
    fn result(&self) -> Option<Temp> {
        match self {
            Step::Load(t, _)
            | Step::Unary(_, t, ..)
            | Step::Binary(_, t, ..)
            | Step::Shift(_, t, ..)
            | Step::Fma(t, ..)
            | Step::Blend(t, ..)
            | Step::Counter(t) => Some(*t),
            Step::Store(..) | Step::Push(_) => None,
        }
    }
}

/// True if the operands can change places, NaNs being as good as each other.
fn commutes(op: Op) -> bool {
    [ADDPS, MULPS, ANDPS, ORPS, XORPS, PADDD, PMULLD, PMULUDQ, PCMPEQD].contains(&op)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holder {
    Nothing,
    Invariant,
    Temp(Temp),
    /// A value that only the current step needs.
    Scratch,
}

#[derive(Clone, Copy, Default, Debug)]
struct Place {
    register: Option<Ymm>,
    slot: Option<u32>,
}

/// Code for when some lane of a mask is set, which is rare: it lies behind the loop.
struct Cold<'a> {
    start: Label,
    back: Label,
    mask: Ymm,
    blends: Vec<(Ymm, Rm)>,
    push: &'a Push,
}

struct Assembler<'a> {
    l: &'a Loop,
    text: Text,
    pinned: &'a [usize],
    invariants: Vec<Rm>,
    pool: Vec<[u32; 8]>,
    temps: Vec<Place>,
    /// The steps that read a value, in order. Steps whose result nothing reads are left out.
    uses: Vec<Vec<usize>>,
    holders: [Holder; REGISTERS],
    /// Registers that the current step needs.
    locked: [bool; REGISTERS],
    step: usize,
    slots: u32,
    /// Whether values may go to memory.
    spill: bool,
    cold: Vec<Cold<'a>>,
}

impl<'a> Assembler<'a> {
    /// An assembler that keeps these invariants in registers.
    fn new(l: &'a Loop, pinned: &'a [usize], spill: bool) -> Assembler<'a> {
        let mut uses = vec![Vec::new(); l.temps as usize];
        for (n, s) in l.body.iter().enumerate().rev() {
            if s.result().is_some_and(|t| uses[t.0 as usize].is_empty()) {
                continue;
            }
            for a in s.args() {
                if let Arg::Temp(t) = a {
                    uses[t.0 as usize].push(n);
                }
            }
        }
        uses.iter_mut().for_each(|u: &mut Vec<usize>| u.reverse());
        Assembler {
            l,
            text: Text::default(),
            pinned,
            invariants: Vec::with_capacity(l.invariants.len()),
            pool: Vec::new(),
            temps: vec![Place::default(); l.temps as usize],
            uses,
            holders: [Holder::Nothing; REGISTERS],
            locked: [false; REGISTERS],
            step: 0,
            slots: 0,
            spill,
            cold: Vec::new(),
        }
    }

    /// `None` if there are too few registers.
    fn run(mut self) -> Option<Code> {
        let used = &POINTERS[..self.l.pointers];
        let saved = used.get(FREE_POINTERS..).unwrap_or_default();
        for r in saved {
            self.text.push(*r);
        }
        for (n, r) in used.iter().enumerate() {
            self.text.load64(*r, Mem::At(FRAME, Loop::pointer(n)));
        }
        self.invariants();
        self.text.zero(COUNTER);
        let top = self.text.label();
        self.text.bind(top);
        let l = self.l;
        for (n, s) in l.body.iter().enumerate() {
            if s.result().is_some_and(|t| self.uses[t.0 as usize].is_empty()) {
                continue;
            }
            self.step = n;
            self.emit(s)?;
            self.end_step();
        }
        self.text.add(COUNTER, LANES as i8);
        self.text.compare(COUNTER, END);
        self.text.jump(If::Below, top);
        self.text.vzeroupper();
        for r in saved.iter().rev() {
            self.text.pop(*r);
        }
        self.text.ret();
        for c in std::mem::take(&mut self.cold) {
            self.append(c);
        }
        let frame = self.slot(self.slots) as u32;
        let (bytes, listing) = self.text.finish(&self.pool);
        Some(Code { bytes, listing, frame })
    }

    /// Byte offset of slot `n` in the frame.
    fn slot(&self, n: u32) -> i32 {
        (self.l.param(self.l.params) as u32).next_multiple_of(SLOT) as i32 + (SLOT * n) as i32
    }

    fn new_slot(&mut self) -> u32 {
        self.slots += 1;
        self.slots - 1
    }

    /// Brings the invariants to where the loop expects them.
    fn invariants(&mut self) {
        let l = self.l;
        for (n, v) in l.invariants.iter().enumerate() {
            let pinned = self.pinned.iter().position(|p| *p == n).map(|k| Ymm((REGISTERS - 1 - k) as u8));
            if let Some(r) = pinned {
                self.holders[r.0 as usize] = Holder::Invariant;
            }
            let rm = match (*v, pinned) {
                (Invariant::Lanes([0, 0, 0, 0, 0, 0, 0, 0]), Some(r)) => {
                    self.text.binary(XORPS, r, r, Rm::Reg(r), None);
                    Rm::Reg(r)
                }
                (Invariant::Lanes(lanes), r) => {
                    self.pool.push(lanes);
                    let m = Rm::Mem(Mem::Pool(self.pool.len() as u32 - 1));
                    if let Some(r) = r {
                        self.text.unary(MOVUPS, r, m, None);
                    }
                    r.map_or(m, Rm::Reg)
                }
                (Invariant::Param(p), r) => {
                    let m = Rm::Mem(Mem::At(FRAME, l.param(p as usize)));
                    // Register 0 is pinned last and holds nothing before the loop otherwise.
                    let to = r.unwrap_or(Ymm(0));
                    self.text.unary(BROADCASTSS, to, m, None);
                    match r {
                        Some(r) => Rm::Reg(r),
                        None => {
                            let slot = self.new_slot();
                            let at = Mem::At(FRAME, self.slot(slot));
                            self.text.store(at, to);
                            Rm::Mem(at)
                        }
                    }
                }
            };
            self.invariants.push(rm);
        }
    }

    fn row(r: &Row) -> Mem {
        Mem::Row(POINTERS[r.pointer as usize], COUNTER, r.elem.shift(), r.displacement)
    }

    /// Where an operand is.
    fn rm(&mut self, a: Arg) -> Rm {
        match a {
            Arg::Invariant(n) => self.invariants[n as usize],
            Arg::Row(r) => Rm::Mem(Assembler::row(&r)),
            Arg::Temp(t) => match self.temps[t.0 as usize] {
                Place { register: Some(r), .. } => {
                    self.locked[r.0 as usize] = true;
                    Rm::Reg(r)
                }
                Place { slot, .. } => Rm::Mem(Mem::At(FRAME, self.slot(slot.unwrap_or(0)))),
            },
        }
    }

    /// An operand in a register.
    fn reg(&mut self, a: Arg) -> Option<Ymm> {
        let m = match self.rm(a) {
            Rm::Reg(r) => return Some(r),
            m @ Rm::Mem(_) => m,
        };
        let r = self.fresh()?;
        self.text.unary(MOVUPS, r, m, None);
        if let Arg::Temp(t) = a {
            self.hold(r, t);
        }
        Some(r)
    }

    fn hold(&mut self, r: Ymm, t: Temp) {
        self.holders[r.0 as usize] = Holder::Temp(t);
        self.temps[t.0 as usize].register = Some(r);
    }

    /// A register for the current step.
    fn fresh(&mut self) -> Option<Ymm> {
        let free = self.holders.iter().position(|h| *h == Holder::Nothing);
        let n = match free {
            Some(n) => n,
            None if self.spill => self.give_up()?,
            None => return None,
        };
        self.holders[n] = Holder::Scratch;
        self.locked[n] = true;
        Some(Ymm(n as u8))
    }

    /// Frees the register of the value that is needed last.
    fn give_up(&mut self) -> Option<usize> {
        let step = self.step;
        let next = |t: Temp| self.uses[t.0 as usize].iter().find(|u| **u > step).copied().unwrap_or(usize::MAX);
        let held = self.holders.iter().enumerate().filter(|(n, _)| !self.locked[*n]);
        let temps = held.filter_map(|(n, h)| if let Holder::Temp(t) = h { Some((n, *t)) } else { None });
        let (n, t) = temps.max_by_key(|(_, t)| next(*t))?;
        if self.temps[t.0 as usize].slot.is_none() {
            let slot = self.new_slot();
            self.text.store(Mem::At(FRAME, self.slot(slot)), Ymm(n as u8));
            self.temps[t.0 as usize].slot = Some(slot);
        }
        self.temps[t.0 as usize].register = None;
        Some(n)
    }

    fn dies(&self, a: Arg) -> bool {
        matches!(a, Arg::Temp(t) if self.uses[t.0 as usize].last() == Some(&self.step))
    }

    /// Frees what the current step was the last to need.
    fn release(&mut self) {
        for n in 0..REGISTERS {
            match self.holders[n] {
                Holder::Temp(t) if self.uses[t.0 as usize].last().is_none_or(|u| *u <= self.step) => {
                    self.temps[t.0 as usize].register = None;
                    self.holders[n] = Holder::Nothing;
                }
                Holder::Scratch => self.holders[n] = Holder::Nothing,
                Holder::Temp(_) | Holder::Invariant | Holder::Nothing => {}
            }
        }
    }

    fn end_step(&mut self) {
        self.release();
        self.locked = [false; REGISTERS];
    }

    /// A register for the result of one instruction, which may be that of an operand.
    fn result(&mut self, t: Temp) -> Option<Ymm> {
        self.release();
        let r = self.fresh()?;
        self.hold(r, t);
        Some(r)
    }

    fn emit(&mut self, s: &'a Step) -> Option<()> {
        match s {
            Step::Load(t, row) => self.load(*t, row)?,
            Step::Unary(op, t, x, k) => {
                let x = self.rm(*x);
                let r = self.result(*t)?;
                self.text.unary(*op, r, x, *k);
            }
            Step::Binary(op, t, x, y, k) => {
                let (a, b) = (self.rm(*x), self.rm(*y));
                let swap = commutes(*op) && matches!((a, b), (Rm::Mem(_), Rm::Reg(_)));
                let (x, b) = if swap { (*y, a) } else { (*x, b) };
                let a = self.reg(x)?;
                let r = self.result(*t)?;
                self.text.binary(*op, r, a, b, *k);
            }
            Step::Shift(op, t, x, by) => {
                let x = self.reg(*x)?;
                let r = self.result(*t)?;
                self.text.shift(*op, r, x, *by);
            }
            Step::Fma(t, x, y, z) => self.fma(*t, *x, *y, *z)?,
            Step::Blend(t, m, x, y) => {
                let x = self.rm(*x);
                let (m, y) = (self.reg(*m)?, self.reg(*y)?);
                let r = self.result(*t)?;
                self.text.blend(r, m, x, y);
            }
            Step::Counter(t) => {
                let r = self.result(*t)?;
                self.text.movd(r, COUNTER);
                self.text.unary(PBROADCASTD, r, Rm::Reg(r), None);
            }
            Step::Store(row, x) => self.store(row, *x)?,
            Step::Push(p) => self.push(p)?,
        }
        Some(())
    }

    /// The result replaces an operand: one that is not needed any more, or a copy.
    fn fma(&mut self, t: Temp, x: Arg, y: Arg, z: Arg) -> Option<()> {
        let (mut a, mut b, c) = (self.rm(x), self.rm(y), self.rm(z));
        let (mut x, mut y) = (x, y);
        let replaced = |e: &Assembler<'_>, a: Arg, rm: Rm| match rm {
            Rm::Reg(r) if e.dies(a) => Some(r),
            _ => None,
        };
        let (mut sum, mut factor) = (replaced(self, z, c), replaced(self, x, a));
        if sum.is_none() && factor.is_none() {
            (factor, x, y, a, b) = (replaced(self, y, b), y, x, b, a);
        }
        if sum.is_none() && factor.is_none() {
            let r = self.fresh()?;
            // A copy of what has to be loaded anyway costs nothing.
            if let (Rm::Reg(_), Rm::Mem(_)) = (c, b) {
                (x, y, a, b) = (y, x, b, a);
            }
            if let (Rm::Reg(_), Rm::Mem(_)) = (c, a) {
                self.text.unary(MOVUPS, r, a, None);
                factor = Some(r);
            } else {
                self.text.unary(if matches!(c, Rm::Reg(_)) { MOVAPS } else { MOVUPS }, r, c, None);
                sum = Some(r);
            }
        }
        let r = match (sum, factor) {
            (Some(r), _) => {
                let (v, m) = if matches!(a, Rm::Reg(_)) { (self.reg(x)?, b) } else { (self.reg(y)?, a) };
                self.text.binary(FMADD231PS, r, v, m, None);
                r
            }
            (None, Some(r)) => {
                if matches!(c, Rm::Reg(_)) {
                    let v = self.reg(z)?;
                    self.text.binary(FMADD132PS, r, v, b, None);
                } else {
                    let v = self.reg(y)?;
                    self.text.binary(FMADD213PS, r, v, c, None);
                }
                r
            }
            (None, None) => return None,
        };
        self.release();
        self.hold(r, t);
        Some(())
    }

    fn load(&mut self, t: Temp, row: &Row) -> Option<()> {
        let m = Rm::Mem(Assembler::row(row));
        if row.elem == Elem::Bool {
            let zero = self.fresh()?;
            let r = self.fresh()?;
            self.text.binary(XORPS, zero, zero, Rm::Reg(zero), None);
            self.text.unary(PMOVZXBD, r, m, None);
            self.text.binary(PCMPGTD, r, r, Rm::Reg(zero), None);
            self.hold(r, t);
            return Some(());
        }
        let r = self.result(t)?;
        let op = match row.elem {
            Elem::Word => MOVUPS,
            Elem::I16 => PMOVSXWD,
            Elem::U16 => PMOVZXWD,
            Elem::I8 => PMOVSXBD,
            Elem::U8 | Elem::Bool => PMOVZXBD,
        };
        self.text.unary(op, r, m, None);
        Some(())
    }

    fn store(&mut self, row: &Row, x: Arg) -> Option<()> {
        let m = Assembler::row(row);
        let x = self.reg(x)?;
        let bits = match row.elem {
            Elem::Word => {
                self.text.store(m, x);
                return Some(());
            }
            Elem::Bool => {
                let t = self.fresh()?;
                self.text.upper_half(t, x);
                self.text.binary_low(PACKSSDW, t, x, t);
                self.text.binary_low(PACKSSWB, t, t, t);
                self.text.unary_low(PABSB, t, t);
                self.text.store_low(MOVQ_STORE, m, t);
                return Some(());
            }
            Elem::I16 | Elem::U16 => 16,
            Elem::I8 | Elem::U8 => 8,
        };
        // Without the upper bits the values are in the range of unsigned saturation.
        let (t, u) = (self.fresh()?, self.fresh()?);
        self.text.shift(PSLLD, t, x, 32 - bits);
        self.text.shift(PSRLD, t, t, 32 - bits);
        self.text.upper_half(u, t);
        self.text.binary_low(PACKUSDW, t, t, u);
        if bits == 16 {
            self.text.store_low(MOVUPS_STORE, m, t);
        } else {
            self.text.binary_low(PACKUSWB, t, t, t);
            self.text.store_low(MOVQ_STORE, m, t);
        }
        Some(())
    }

    fn push(&mut self, p: &'a Push) -> Option<()> {
        let mask = self.reg(p.mask)?;
        let mut blends = Vec::with_capacity(p.updates.len());
        for (t, x) in &p.updates {
            let r = self.reg(Arg::Temp(*t))?;
            blends.push((r, self.rm(*x)));
            self.temps[t.0 as usize].slot = None;
        }
        let (start, back) = (self.text.label(), self.text.label());
        self.text.movmsk(MASK, mask);
        self.text.test(MASK);
        self.text.jump(If::NotZero, start);
        self.text.bind(back);
        self.cold.push(Cold { start, back, mask, blends, push: p });
        Some(())
    }

    /// What a push does if a lane is set.
    fn append(&mut self, c: Cold<'_>) {
        let Push { count, first, index, .. } = c.push;
        let at = |(p, d): (u8, i32)| (POINTERS[p as usize], d);
        let ((count, count_at), (first, first_at)) = (at(*count), at(*first));
        self.text.bind(c.start);
        for (r, x) in c.blends {
            self.text.blend(r, c.mask, x, r);
        }
        self.text.load32(COUNT, Mem::At(count, count_at));
        let each = self.text.label();
        self.text.bind(each);
        self.text.lowest(INDEX, MASK);
        self.text.add32_register(INDEX, COUNTER);
        self.text.add32(INDEX, Mem::At(FRAME, self.l.param(*index as usize)));
        self.text.store32(Mem::Row(first, COUNT, 2, first_at), INDEX);
        self.text.add(COUNT, 1);
        self.text.clear_lowest(MASK);
        self.text.jump(If::NotZero, each);
        self.text.store32(Mem::At(count, count_at), COUNT);
        self.text.jump(If::Always, c.back);
    }
}
