//! Element-wise loops in eight lanes: a function of its own, which this kernel calls.
//!
//! What is the same in all iterations is computed before the call and handed over in a frame. The rest of the body has
//! to be straight-line code on 32-bit lanes that lie side by side in memory.

use super::cell::{Cell, Lin};
use super::lists::Chunk;
use super::shape::Class;
use super::{Emitted, Emitter};
use crate::error::Unsupported;
use crate::wide::{
    Arg, Code, Elem, Invariant, LANES, Loop, MAX_POINTERS, Op, Push, Row, Shift, Step, Temp, assemble, ops,
};
use cranelift_codegen::ir::{FuncRef, Function, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value, types};
use nc_ir::DType;
use nc_ir::kernel::{Block, BufId, Index, Scalar, ScalarOp, ScalarType, Stmt, Val};
use rustc_hash::{FxHashMap, FxHashSet};

/// Defines the function of a loop and makes it known to the function that calls it.
pub(crate) type Define<'a> = &'a mut dyn FnMut(&mut Function, &Code) -> Emitted<FuncRef>;

/// Fewest iterations for which a call is worth it.
pub(super) const LEAST: i64 = 32;
/// Most steps of a body.
const MAX_STEPS: usize = 1024;
/// Most values that one push changes: they have to be in registers together.
const MAX_UPDATES: usize = 4;
/// Largest displacement from a pointer.
const MAX_DISPLACEMENT: i64 = i32::MAX as i64 - (1 << 20);

/// A value in lanes.
#[derive(Clone, Copy, Debug)]
enum Lanes {
    Temp(Temp),
    /// The complement of a mask.
    Not(Temp),
    /// Still in memory, for its only use.
    Row(Row, BufId),
}

/// What a pointer points to.
#[derive(Clone, PartialEq, Eq)]
struct Base {
    start: Value,
    /// Values and their factors.
    terms: Vec<(Value, i64)>,
    /// Bytes to add, where they are too many for a displacement.
    far: i64,
}

impl Base {
    fn at(start: Value) -> Base {
        Base { start, terms: Vec::new(), far: 0 }
    }
}

/// A loop that is being built.
#[derive(Default)]
struct Builder {
    l: Loop,
    lanes: FxHashMap<Val, Lanes>,
    /// Uses of the values of the body.
    uses: FxHashMap<Val, usize>,
    /// Values that are 1 where a mask is set, else 0.
    ones: FxHashMap<Val, Arg>,
    bases: Vec<Base>,
    params: Vec<Value>,
    order: Order,
}

/// The statements in the order in which they are built, by their numbers in the body.
#[derive(Default)]
struct Order {
    statements: Vec<usize>,
    /// Selections that a push makes, by the number of the push: selections and their results.
    updates: FxHashMap<usize, Vec<(Val, Val, Val)>>,
}

fn elem(t: DType) -> Option<Elem> {
    match t {
        DType::F32 | DType::I32 => Some(Elem::Word),
        DType::Bool => Some(Elem::Bool),
        DType::I16 => Some(Elem::I16),
        DType::U16 => Some(Elem::U16),
        DType::I8 => Some(Elem::I8),
        DType::U8 => Some(Elem::U8),
        _ => None,
    }
}

fn narrow(ty: ScalarType) -> bool {
    matches!(ty, ScalarType::F32 | ScalarType::I32 | ScalarType::Bool)
}

fn operands(s: &Stmt) -> &[Val] {
    match s {
        Stmt::Op { args, .. } => args,
        Stmt::Store { value, .. } => std::slice::from_ref(value),
        Stmt::Push { cond, .. } => std::slice::from_ref(cond),
        _ => &[],
    }
}

/// Puts stores where their values are computed and lets pushes do the selections by their condition whose results are
/// only stored: they are rare. Leaves a body as it is in which a store could overtake another access.
fn order(body: &Block, types: &[ScalarType]) -> Order {
    let stmts = &body.stmts;
    // These may be other names of what they are computed from.
    let renames = |s: &Stmt| matches!(s, Stmt::Op { op: ScalarOp::Not | ScalarOp::F32Bits | ScalarOp::BitsF32, .. });
    let defines = |s: &Stmt| match s {
        Stmt::Const { dst, .. } | Stmt::Op { dst, .. } | Stmt::Load { dst, .. } => Some(*dst),
        _ => None,
    };
    let named = |v: Val| stmts.iter().any(|s| renames(s) && (defines(s) == Some(v) || operands(s).contains(&v)));
    let plain = || Order { statements: (0..stmts.len()).collect(), ..Order::default() };
    let mut stored = FxHashSet::default();
    for s in stmts {
        match s {
            Stmt::Load { buf, .. } if stored.contains(buf) => return plain(),
            Stmt::Store { buf, .. } if !stored.insert(*buf) => return plain(),
            _ => {}
        }
    }
    let mut readers: FxHashMap<Val, Vec<usize>> = FxHashMap::default();
    for (n, s) in stmts.iter().enumerate() {
        for v in operands(s) {
            readers.entry(*v).or_default().push(n);
        }
    }
    let only_stored =
        |v: &Val| readers.get(v).is_none_or(|r| r.iter().all(|n| matches!(stmts[*n], Stmt::Store { .. })));
    let mut o = Order::default();
    let (mut taken, mut changed) = (FxHashSet::default(), FxHashSet::default());
    for (n, s) in stmts.iter().enumerate() {
        let Stmt::Push { cond, .. } = s else { continue };
        let mut updates = Vec::new();
        for (k, s) in stmts.iter().enumerate() {
            let Stmt::Op { dst, op: ScalarOp::Select, args } = s else { continue };
            let [c, x, y] = args[..] else { continue };
            // No one else may see the value after it is changed.
            let alone = readers.get(&y).is_some_and(|r| {
                r.iter().all(|n| *n == k || *n < k && !matches!(stmts[*n], Stmt::Store { .. } | Stmt::Push { .. }))
            });
            let free = !changed.contains(&x) && !changed.contains(&y) && x != y && updates.len() < MAX_UPDATES;
            let number = types.get(dst.index()).is_some_and(|t| *t != ScalarType::Bool);
            if c == *cond && number && alone && free && !named(y) && only_stored(dst) {
                updates.push((*dst, x, y));
                taken.insert(k);
                changed.extend([y, *dst]);
            }
        }
        o.updates.insert(n, updates);
    }
    let mut later: Vec<usize> = (0..stmts.len()).filter(|n| matches!(stmts[*n], Stmt::Store { .. })).collect();
    for (n, s) in stmts.iter().enumerate().filter(|(n, _)| !taken.contains(n)) {
        let Some(v) = defines(s) else { continue };
        o.statements.push(n);
        later.retain(|k| match &stmts[*k] {
            Stmt::Store { buf, value, .. } if *value == v => {
                let read = stmts[n..].iter().any(|s| matches!(s, Stmt::Load { buf: b, .. } if b == buf));
                if !read && !changed.contains(value) {
                    o.statements.push(*k);
                    return false;
                }
                true
            }
            _ => true,
        });
    }
    o.statements.extend((0..stmts.len()).filter(|n| matches!(stmts[*n], Stmt::Push { .. })));
    o.statements.extend(later);
    o
}

impl Emitter<'_, '_> {
    /// True if a loop of which [`super::shape::plan`] made the classes can run in eight lanes.
    pub(super) fn fits_wide(&self, body: &Block) -> bool {
        self.mode.wide && body.stmts.len() <= MAX_STEPS && body.stmts.iter().all(|s| self.fits(s).is_some())
    }

    fn class(&self, v: Val) -> Option<Class> {
        self.classes.get(v)
    }

    /// Whether an index moves on with the lanes.
    pub(super) fn moves(&self, index: &Index) -> Option<i64> {
        index.terms.iter().try_fold(0i64, |sum, (v, c)| match self.class(*v)? {
            Class::Uniform => Some(sum),
            Class::Linear(k) => Some(sum.wrapping_add(k.wrapping_mul(*c))),
            Class::Varying => None,
        })
    }

    fn fits(&self, s: &Stmt) -> Option<()> {
        let ty = |v: &Val| self.types.get(v.index()).copied();
        match s {
            Stmt::Const { .. } => Some(()),
            Stmt::Op { dst, op, args } => {
                if self.class(*dst)? != Class::Varying {
                    return Some(());
                }
                if *op == ScalarOp::I64ToI32 {
                    return matches!(self.class(*args.first()?)?, Class::Linear(_)).then_some(());
                }
                let slow = matches!(op, ScalarOp::IDiv | ScalarOp::IRem);
                let all = args.iter().chain([dst]).all(|v| ty(v).is_some_and(narrow));
                (all && !slow).then_some(())
            }
            Stmt::Load { buf, index, .. } => match self.moves(index)? {
                0 => Some(()),
                1 => elem(self.program.buffers.get(buf.index())?.elem).map(|_| ()),
                _ => None,
            },
            Stmt::Store { buf, index, .. } if self.moves(index)? == 1 => {
                elem(self.program.buffers.get(buf.index())?.elem).map(|_| ())
            }
            Stmt::Push { index, .. } => (self.class(*index)? == Class::Linear(1)).then_some(()),
            Stmt::Store { .. } | Stmt::For { .. } | Stmt::Events { .. } | Stmt::Clear { .. } | Stmt::If { .. } => None,
        }
    }

    /// Runs as many iterations in eight lanes as are a multiple of eight; where the others start.
    pub(super) fn wide_loop(&mut self, var: Val, lo: Lin, hi: Lin, body: &Block) -> Emitted<Lin> {
        let end = self.whole(lo, hi, LANES);
        let count = self.sum(end, lo.times(-1));
        let known = count.known();
        if known == Some(0) {
            return Ok(lo);
        }
        let count = self.int(count);
        let next = self.b.create_block();
        if known.is_none() {
            let some = self.b.create_block();
            self.b.ins().brif(count, some, &[], next, &[]);
            self.b.switch_to_block(some);
        }
        let done = self.call_wide(var, lo, count, body)?;
        self.b.ins().jump(next, &[]);
        self.b.switch_to_block(next);
        Ok(if done { end } else { lo })
    }

    /// False, with no effect, if the loop has too many pointers.
    fn call_wide(&mut self, var: Val, lo: Lin, count: Value, body: &Block) -> Emitted<bool> {
        let mut first = lo;
        first.lane = 1;
        self.set(var, Cell::Lin(first))?;
        let mut w = Builder { order: order(body, &self.types), ..Builder::default() };
        for s in &body.stmts {
            for v in operands(s) {
                *w.uses.entry(*v).or_default() += 1;
            }
            if self.is_outside(s) {
                self.simple(s, 0)?;
            }
        }
        for n in std::mem::take(&mut w.order.statements) {
            let s = &body.stmts[n];
            if !self.is_outside(s) {
                self.wide_stmt(&mut w, n, s)?;
            }
        }
        w.l.pointers = w.bases.len();
        w.l.params = w.params.len();
        let code = if w.bases.len() <= MAX_POINTERS { assemble(&w.l) } else { None };
        let Some(code) = code else { return Ok(false) };
        let callee = (self.define)(self.b.func, &code)?;
        let frame = StackSlotData::new(StackSlotKind::ExplicitSlot, code.frame.max(8), 4);
        let frame = self.b.create_sized_stack_slot(frame);
        let frame = self.b.ins().stack_addr(types::I64, frame, 0);
        let flags = MemFlagsData::trusted();
        for (n, base) in w.bases.iter().enumerate() {
            let mut p = base.start;
            if base.far != 0 {
                p = self.b.ins().iadd_imm_s(p, base.far);
            }
            for (v, c) in &base.terms {
                let t = self.scale(*v, *c);
                p = self.b.ins().iadd(p, t);
            }
            self.b.ins().store(flags, p, frame, Loop::pointer(n));
        }
        for (n, v) in w.params.iter().enumerate() {
            self.b.ins().store(flags, *v, frame, w.l.param(n));
        }
        self.b.ins().call(callee, &[frame, count]);
        Ok(true)
    }

    /// True if a statement is the same in all iterations or computes an index.
    fn is_outside(&self, s: &Stmt) -> bool {
        match s {
            Stmt::Const { .. } => true,
            Stmt::Op { dst, .. } => self.class(*dst) != Some(Class::Varying),
            Stmt::Load { index, .. } => self.moves(index) == Some(0),
            _ => false,
        }
    }

    fn wide_stmt(&mut self, w: &mut Builder, n: usize, s: &Stmt) -> Emitted<()> {
        match s {
            Stmt::Load { dst, buf, index } => {
                let row = self.row(w, *buf, index)?;
                let single = w.uses.get(dst) == Some(&1) && row.elem == Elem::Word;
                let lanes = if single {
                    Lanes::Row(row, *buf)
                } else {
                    let t = w.temp();
                    w.l.body.push(Step::Load(t, row));
                    Lanes::Temp(t)
                };
                w.lanes.insert(*dst, lanes);
                Ok(())
            }
            Stmt::Op { dst, op, args } => {
                let r = self.wide_op(w, *dst, *op, args)?;
                w.lanes.insert(*dst, r);
                Ok(())
            }
            Stmt::Store { buf, index, value } => {
                let row = self.row(w, *buf, index)?;
                w.settle(*buf);
                let x = self.plain(w, *value)?;
                w.l.body.push(Step::Store(row, x));
                Ok(())
            }
            Stmt::Push { list, slot, cond, index } => {
                let Cell::Lin(index) = self.cell(*index, 0)? else {
                    return Err(Unsupported::malformed("a pushed index that is not linear"));
                };
                let part = self.part;
                let Chunk { count, first } = self.chunk(*list, *slot, part)?;
                let count = (w.base(Base::at(count.0)), count.1);
                let first = (w.base(Base::at(first.0)), first.1);
                let at = self.int(index.uniform());
                let at = self.b.ins().ireduce(types::I32, at);
                let index = w.param(at);
                let mask = self.plain(w, *cond)?;
                let mut updates = Vec::new();
                for (dst, x, y) in w.order.updates.remove(&n).unwrap_or_default() {
                    let x = self.plain(w, x)?;
                    // An operand that is the same in all lanes has no register of its own to change.
                    let t = match self.plain(w, y)? {
                        Arg::Temp(t) => t,
                        y => w.step(|t| Step::Binary(ops::ORPS, t, y, y, None)),
                    };
                    updates.push((t, x));
                    w.lanes.insert(dst, Lanes::Temp(t));
                }
                w.l.body.push(Step::Push(Push { mask, count, first, index, updates }));
                Ok(())
            }
            _ => Err(Unsupported::malformed("a statement that eight lanes do not have")),
        }
    }

    fn row(&mut self, w: &mut Builder, buf: BufId, index: &Index) -> Emitted<Row> {
        let kind = self.buffer_elem(buf)?;
        let (base, at) = self.base(buf)?;
        let mut sum = Lin::constant(index.offset);
        for (v, c) in &index.terms {
            let Cell::Lin(l) = self.cell(*v, 0)? else {
                return Err(Unsupported::malformed(format!("{v} is not an index")));
            };
            sum = self.sum(sum, l.times(*c));
        }
        let bytes = sum.times(kind.size() as i64);
        let disp = at.wrapping_add(bytes.k);
        let near = disp.checked_abs().is_some_and(|d| d <= MAX_DISPLACEMENT);
        let (terms, n) = self.sorted(&bytes);
        let pointer = w.base(Base { start: base, terms: terms[..n].to_vec(), far: if near { 0 } else { disp } });
        let elem = elem(kind).ok_or_else(|| Unsupported::malformed(format!("{buf} in eight lanes")))?;
        Ok(Row { elem, pointer, displacement: if near { disp as i32 } else { 0 } })
    }

    /// An operand that may still be in memory; a mask as it is.
    fn arg(&mut self, w: &mut Builder, v: Val) -> Emitted<Arg> {
        match w.lanes.get(&v) {
            Some(Lanes::Row(row, _)) => Ok(Arg::Row(*row)),
            _ => self.plain(w, v),
        }
    }

    /// An operand that is in memory only if it is an invariant.
    fn plain(&mut self, w: &mut Builder, v: Val) -> Emitted<Arg> {
        match w.lanes.get(&v).copied() {
            Some(Lanes::Temp(t)) => return Ok(Arg::Temp(t)),
            Some(Lanes::Not(t)) => {
                let ones = w.splat(u32::MAX);
                let r = w.step(|r| Step::Binary(ops::XORPS, r, Arg::Temp(t), ones, None));
                w.lanes.insert(v, Lanes::Temp(r));
                return Ok(Arg::Temp(r));
            }
            Some(Lanes::Row(row, _)) => {
                let r = w.step(|r| Step::Load(r, row));
                w.lanes.insert(v, Lanes::Temp(r));
                return Ok(Arg::Temp(r));
            }
            None => {}
        }
        match self.cell(v, 0)? {
            Cell::Const(Scalar::Bool(true)) => Ok(w.splat(u32::MAX)),
            Cell::Const(k) => Ok(w.splat(k.bits() as u32)),
            Cell::One(ScalarType::Bool, x) => {
                let m = self.b.ins().bmask(types::I32, x);
                Ok(w.splat_param(m))
            }
            Cell::One(_, x) => Ok(w.splat_param(x)),
            c => Err(Unsupported::malformed(format!("{v} is {} in eight lanes", c.ty()))),
        }
    }

    fn wide_op(&mut self, w: &mut Builder, dst: Val, op: ScalarOp, args: &[Val]) -> Emitted<Lanes> {
        use ScalarOp as S;
        let malformed = || Unsupported::malformed(format!("{op} in eight lanes"));
        let at = |n: usize| args.get(n).copied().ok_or_else(malformed);
        let unary = |e: &mut Self, w: &mut Builder, op: Op, k: Option<u8>| -> Emitted<Lanes> {
            let x = e.arg(w, at(0)?)?;
            Ok(Lanes::Temp(w.step(|t| Step::Unary(op, t, x, k))))
        };
        let binary = |e: &mut Self, w: &mut Builder, op: Op, x: Val, y: Val, k: Option<u8>| -> Emitted<Temp> {
            let (x, y) = (e.arg(w, x)?, e.arg(w, y)?);
            Ok(w.step(|t| Step::Binary(op, t, x, y, k)))
        };
        let compare = |e: &mut Self, w: &mut Builder, k: u8| -> Emitted<Lanes> {
            Ok(Lanes::Temp(binary(e, w, ops::CMPPS, at(0)?, at(1)?, Some(k))?))
        };
        Ok(match op {
            S::FAdd => Lanes::Temp(binary(self, w, ops::ADDPS, at(0)?, at(1)?, None)?),
            S::FSub => Lanes::Temp(binary(self, w, ops::SUBPS, at(0)?, at(1)?, None)?),
            S::FMul => Lanes::Temp(binary(self, w, ops::MULPS, at(0)?, at(1)?, None)?),
            S::FDiv => Lanes::Temp(binary(self, w, ops::DIVPS, at(0)?, at(1)?, None)?),
            S::Fma => {
                let (x, y, z) = (self.arg(w, at(0)?)?, self.arg(w, at(1)?)?, self.arg(w, at(2)?)?);
                Lanes::Temp(w.step(|t| Step::Fma(t, x, y, z)))
            }
            S::FNeg | S::FAbs => {
                let x = self.arg(w, at(0)?)?;
                let (op, bits) = if op == S::FNeg { (ops::XORPS, 1 << 31) } else { (ops::ANDPS, !(1 << 31)) };
                let bits = w.splat(bits);
                Lanes::Temp(w.step(|t| Step::Binary(op, t, x, bits, None)))
            }
            S::FSqrt => unary(self, w, ops::SQRTPS, None)?,
            S::Nearest => unary(self, w, ops::ROUNDPS, Some(8))?,
            S::Floor => unary(self, w, ops::ROUNDPS, Some(9))?,
            S::Ceil => unary(self, w, ops::ROUNDPS, Some(10))?,
            S::Trunc => unary(self, w, ops::ROUNDPS, Some(11))?,
            // Quiet comparisons; those for inequality and for disorder hold for NaN.
            S::FEq => compare(self, w, 0x00)?,
            S::FNe => compare(self, w, 0x04)?,
            S::FLt => compare(self, w, 0x11)?,
            S::FLe => compare(self, w, 0x12)?,
            S::FGt => compare(self, w, 0x1e)?,
            S::FGe => compare(self, w, 0x1d)?,
            S::FUno => compare(self, w, 0x03)?,
            S::IAdd => Lanes::Temp(binary(self, w, ops::PADDD, at(0)?, at(1)?, None)?),
            S::ISub => match w.ones.get(&at(1)?).copied() {
                // A mask is -1 where it is set.
                Some(mask) => {
                    let x = self.arg(w, at(0)?)?;
                    Lanes::Temp(w.step(|t| Step::Binary(ops::PADDD, t, x, mask, None)))
                }
                None => Lanes::Temp(binary(self, w, ops::PSUBD, at(0)?, at(1)?, None)?),
            },
            S::IMul => Lanes::Temp(binary(self, w, ops::PMULLD, at(0)?, at(1)?, None)?),
            S::UMulHi => {
                let (x, y) = (self.plain(w, at(0)?)?, self.plain(w, at(1)?)?);
                let even = w.step(|t| Step::Binary(ops::PMULUDQ, t, x, y, None));
                let even = w.step(|t| Step::Shift(ops::PSRLQ, t, Arg::Temp(even), 32));
                let x = w.step(|t| Step::Shift(ops::PSRLQ, t, x, 32));
                let y = w.step(|t| Step::Shift(ops::PSRLQ, t, y, 32));
                let odd = w.step(|t| Step::Binary(ops::PMULUDQ, t, Arg::Temp(x), Arg::Temp(y), None));
                let (even, odd) = (Arg::Temp(even), Arg::Temp(odd));
                Lanes::Temp(w.step(|t| Step::Binary(ops::PBLENDD, t, even, odd, Some(0xaa))))
            }
            S::Shl => self.wide_shift(w, ops::PSLLD, ops::PSLLVD, at(0)?, at(1)?)?,
            S::ShrS => self.wide_shift(w, ops::PSRAD, ops::PSRAVD, at(0)?, at(1)?)?,
            S::ShrU => self.wide_shift(w, ops::PSRLD, ops::PSRLVD, at(0)?, at(1)?)?,
            S::IEq => Lanes::Temp(binary(self, w, ops::PCMPEQD, at(0)?, at(1)?, None)?),
            S::INe => Lanes::Not(binary(self, w, ops::PCMPEQD, at(0)?, at(1)?, None)?),
            S::IGt => Lanes::Temp(binary(self, w, ops::PCMPGTD, at(0)?, at(1)?, None)?),
            S::ILe => Lanes::Not(binary(self, w, ops::PCMPGTD, at(0)?, at(1)?, None)?),
            S::ILt => Lanes::Temp(binary(self, w, ops::PCMPGTD, at(1)?, at(0)?, None)?),
            S::IGe => Lanes::Not(binary(self, w, ops::PCMPGTD, at(1)?, at(0)?, None)?),
            S::ULt => {
                let sign = w.splat(1 << 31);
                let (x, y) = (self.arg(w, at(0)?)?, self.arg(w, at(1)?)?);
                let x = w.step(|t| Step::Binary(ops::XORPS, t, x, sign, None));
                let y = w.step(|t| Step::Binary(ops::XORPS, t, y, sign, None));
                Lanes::Temp(w.step(|t| Step::Binary(ops::PCMPGTD, t, Arg::Temp(y), Arg::Temp(x), None)))
            }
            S::And => match (w.lanes.get(&at(0)?).copied(), w.lanes.get(&at(1)?).copied()) {
                (Some(Lanes::Not(x)), _) => {
                    let y = self.plain(w, at(1)?)?;
                    Lanes::Temp(w.step(|t| Step::Binary(ops::ANDNPS, t, Arg::Temp(x), y, None)))
                }
                (_, Some(Lanes::Not(y))) => {
                    let x = self.plain(w, at(0)?)?;
                    Lanes::Temp(w.step(|t| Step::Binary(ops::ANDNPS, t, Arg::Temp(y), x, None)))
                }
                _ => Lanes::Temp(binary(self, w, ops::ANDPS, at(0)?, at(1)?, None)?),
            },
            S::Or => Lanes::Temp(binary(self, w, ops::ORPS, at(0)?, at(1)?, None)?),
            S::Xor => Lanes::Temp(binary(self, w, ops::XORPS, at(0)?, at(1)?, None)?),
            S::Not => match self.plain_mask(w, at(0)?)? {
                (Arg::Temp(x), false) if self.types.get(dst.index()) == Some(&ScalarType::Bool) => Lanes::Not(x),
                (Arg::Temp(x), true) => Lanes::Temp(x),
                (x, _) => {
                    let ones = w.splat(u32::MAX);
                    Lanes::Temp(w.step(|t| Step::Binary(ops::XORPS, t, x, ones, None)))
                }
            },
            S::Select => self.wide_select(w, dst, at(0)?, at(1)?, at(2)?)?,
            S::I32ToF32 => unary(self, w, ops::CVTDQ2PS, None)?,
            S::F32ToI32 => {
                // What does not fit becomes the smallest number: too large has to be the largest, NaN 0.
                let x = self.plain(w, at(0)?)?;
                let limit = w.splat(2147483648f32.to_bits());
                let r = w.step(|t| Step::Unary(ops::CVTTPS2DQ, t, x, None));
                let large = w.step(|t| Step::Binary(ops::CMPPS, t, x, limit, Some(0x1d)));
                let r = w.step(|t| Step::Binary(ops::XORPS, t, Arg::Temp(r), Arg::Temp(large), None));
                let number = w.step(|t| Step::Binary(ops::CMPPS, t, x, x, Some(0x07)));
                Lanes::Temp(w.step(|t| Step::Binary(ops::ANDPS, t, Arg::Temp(r), Arg::Temp(number), None)))
            }
            S::F32Bits | S::BitsF32 => match self.arg(w, at(0)?)? {
                Arg::Temp(t) => Lanes::Temp(t),
                Arg::Row(row) => Lanes::Temp(w.step(|t| Step::Load(t, row))),
                x @ Arg::Invariant(_) => Lanes::Temp(w.step(|t| Step::Binary(ops::ORPS, t, x, x, None))),
            },
            S::BoolToI32 => {
                let x = self.plain(w, at(0)?)?;
                w.ones.insert(dst, x);
                Lanes::Temp(w.step(|t| Step::Shift(ops::PSRLD, t, x, 31)))
            }
            S::I64ToI32 => self.wide_counter(w, at(0)?)?,
            _ => return Err(malformed()),
        })
    }

    /// A mask, and whether it is the complement that is meant.
    fn plain_mask(&mut self, w: &mut Builder, v: Val) -> Emitted<(Arg, bool)> {
        match w.lanes.get(&v).copied() {
            Some(Lanes::Not(t)) => Ok((Arg::Temp(t), true)),
            _ => Ok((self.plain(w, v)?, false)),
        }
    }

    fn wide_shift(&mut self, w: &mut Builder, fixed: Shift, each: Op, x: Val, by: Val) -> Emitted<Lanes> {
        if !w.lanes.contains_key(&by)
            && let Cell::Const(k) = self.cell(by, 0)?
        {
            let x = self.plain(w, x)?;
            return Ok(Lanes::Temp(w.step(|t| Step::Shift(fixed, t, x, (k.bits() & 31) as u8))));
        }
        let (x, by) = (self.plain(w, x)?, self.arg(w, by)?);
        let low = w.splat(31);
        let by = w.step(|t| Step::Binary(ops::ANDPS, t, by, low, None));
        Ok(Lanes::Temp(w.step(|t| Step::Binary(each, t, x, Arg::Temp(by), None))))
    }

    fn wide_select(&mut self, w: &mut Builder, dst: Val, c: Val, x: Val, y: Val) -> Emitted<Lanes> {
        let (mask, not) = self.plain_mask(w, c)?;
        let (x, y) = if not { (y, x) } else { (x, y) };
        let known = |e: &Self, w: &Builder, v: Val| match e.cell(v, 0) {
            Ok(Cell::Const(k)) if !w.lanes.contains_key(&v) => Some((k.bits(), k.ty())),
            _ => None,
        };
        let (kx, ky) = (known(self, w, x), known(self, w, y));
        if kx == Some((1, ScalarType::I32)) && ky == Some((0, ScalarType::I32)) {
            w.ones.insert(dst, mask);
            return Ok(Lanes::Temp(w.step(|t| Step::Shift(ops::PSRLD, t, mask, 31))));
        }
        if ky.is_some_and(|k| k.0 == 0) {
            let x = self.arg(w, x)?;
            return Ok(Lanes::Temp(w.step(|t| Step::Binary(ops::ANDPS, t, mask, x, None))));
        }
        if kx.is_some_and(|k| k.0 == 0) {
            let y = self.arg(w, y)?;
            return Ok(Lanes::Temp(w.step(|t| Step::Binary(ops::ANDNPS, t, mask, y, None))));
        }
        let (x, y) = (self.arg(w, x)?, self.plain(w, y)?);
        Ok(Lanes::Temp(w.step(|t| Step::Blend(t, mask, x, y))))
    }

    /// The low 32 bits of an index in lanes.
    fn wide_counter(&mut self, w: &mut Builder, v: Val) -> Emitted<Lanes> {
        let Cell::Lin(l) = self.cell(v, 0)? else {
            return Err(Unsupported::malformed(format!("{v} is not an index")));
        };
        let first = self.int(l.uniform());
        let first = self.b.ins().ireduce(types::I32, first);
        let first = w.splat_param(first);
        let mut lanes = [0u32; 8];
        for (n, lane) in lanes.iter_mut().enumerate() {
            *lane = (l.lane as u32).wrapping_mul(n as u32);
        }
        let steps = w.invariant(Invariant::Lanes(lanes));
        let mut r = w.step(Step::Counter);
        if l.lane != 1 {
            let by = w.splat(l.lane as u32);
            r = w.step(|t| Step::Binary(ops::PMULLD, t, Arg::Temp(r), by, None));
        }
        let r = w.step(|t| Step::Binary(ops::PADDD, t, Arg::Temp(r), steps, None));
        Ok(Lanes::Temp(w.step(|t| Step::Binary(ops::PADDD, t, Arg::Temp(r), first, None))))
    }
}

impl Builder {
    fn temp(&mut self) -> Temp {
        self.l.temps += 1;
        Temp(self.l.temps - 1)
    }

    fn step(&mut self, s: impl FnOnce(Temp) -> Step) -> Temp {
        let t = self.temp();
        self.l.body.push(s(t));
        t
    }

    fn invariant(&mut self, v: Invariant) -> Arg {
        let known = self.l.invariants.iter().position(|i| *i == v);
        let n = known.unwrap_or_else(|| {
            self.l.invariants.push(v);
            self.l.invariants.len() - 1
        });
        Arg::Invariant(n as u32)
    }

    fn splat(&mut self, bits: u32) -> Arg {
        self.invariant(Invariant::Lanes([bits; 8]))
    }

    fn param(&mut self, v: Value) -> u32 {
        let known = self.params.iter().position(|p| *p == v);
        let n = known.unwrap_or_else(|| {
            self.params.push(v);
            self.params.len() - 1
        });
        n as u32
    }

    fn splat_param(&mut self, v: Value) -> Arg {
        let n = self.param(v);
        self.invariant(Invariant::Param(n))
    }

    fn base(&mut self, b: Base) -> u8 {
        let known = self.bases.iter().position(|k| *k == b);
        let n = known.unwrap_or_else(|| {
            self.bases.push(b);
            self.bases.len() - 1
        });
        n.min(u8::MAX as usize) as u8
    }

    /// Loads what is still to be read from a buffer.
    fn settle(&mut self, buf: BufId) {
        let waits = |(v, l): (&Val, &Lanes)| match l {
            Lanes::Row(row, b) if *b == buf => Some((*v, *row)),
            _ => None,
        };
        let mut waiting: Vec<(Val, Row)> = self.lanes.iter().filter_map(waits).collect();
        waiting.sort_by_key(|(v, _)| v.index());
        for (v, row) in waiting {
            let t = self.step(|t| Step::Load(t, row));
            self.lanes.insert(v, Lanes::Temp(t));
        }
    }
}
