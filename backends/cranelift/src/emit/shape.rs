//! What a kernel's code looks like before any of it is emitted: the types of its values, and which loops are worth
//! running in lanes.

use super::{Emitted, is_wide};
use crate::error::Unsupported;
use nc_ir::DType;
use nc_ir::kernel::{Block, BufId, Index, ListId, Program, Scalar, ScalarOp, ScalarType, Stmt, Val, loaded_type};

/// How a value differs between the iterations of a vector loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Not at all.
    Uniform,
    /// An `i64` that grows by a constant.
    Linear(i64),
    /// In any way.
    Varying,
}

/// The classes of a kernel's values with respect to one vector loop; what is not inside it is uniform.
#[derive(Debug, Default)]
pub(super) struct Classes {
    of: Vec<Class>,
    set: Vec<Val>,
}

impl Classes {
    /// All of `vals` values uniform.
    pub fn new(vals: usize) -> Classes {
        Classes { of: vec![Class::Uniform; vals], set: Vec::new() }
    }

    /// The class of a value.
    pub fn get(&self, v: Val) -> Option<Class> {
        self.of.get(v.index()).copied()
    }

    fn set(&mut self, v: Val, c: Class) -> Option<()> {
        *self.of.get_mut(v.index())? = c;
        if c != Class::Uniform {
            self.set.push(v);
        }
        Some(())
    }

    /// Forgets the last loop.
    fn clear(&mut self) {
        for v in self.set.drain(..) {
            if let Some(c) = self.of.get_mut(v.index()) {
                *c = Class::Uniform;
            }
        }
    }
}

/// Fills in the types of the values and collects the buffers that the code touches. Refuses code nested deeper than
/// `depth`.
pub(super) fn infer(
    program: &Program,
    block: &Block,
    types: &mut [ScalarType],
    used: &mut Vec<BufId>,
    depth: usize,
) -> Emitted<()> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Unsupported::new("statements nested more than 64 deep", "flatten the kernel"));
    };
    let get = |types: &[ScalarType], v: Val| {
        types.get(v.index()).copied().ok_or_else(|| Unsupported::malformed(format!("no value {v}")))
    };
    let set = |types: &mut [ScalarType], v: Val, ty: ScalarType| match types.get_mut(v.index()) {
        Some(t) => {
            *t = ty;
            Ok(())
        }
        None => Err(Unsupported::malformed(format!("no value {v}"))),
    };
    let buffer = |used: &mut Vec<BufId>, b: BufId| match program.buffers.get(b.index()) {
        Some(buffer) => {
            if !used.contains(&b) {
                used.push(b);
            }
            Ok(loaded_type(buffer.elem))
        }
        None => Err(Unsupported::malformed(format!("no buffer {b}"))),
    };
    for s in &block.stmts {
        match s {
            Stmt::Const { dst, value } => set(types, *dst, value.ty())?,
            Stmt::Op { dst, op, args } => {
                let args = args.iter().map(|a| get(types, *a)).collect::<Emitted<Vec<_>>>()?;
                let ty = op.result_type(&args);
                let ty = ty.ok_or_else(|| Unsupported::malformed(format!("{op} does not take {args:?}")))?;
                set(types, *dst, ty)?;
            }
            Stmt::Load { dst, buf, .. } => {
                let ty = buffer(used, *buf)?;
                set(types, *dst, ty)?;
            }
            Stmt::Store { buf, value, .. } => {
                if buffer(used, *buf)? != get(types, *value)? {
                    return Err(Unsupported::malformed(format!("{buf} holds no {}", get(types, *value)?)));
                }
            }
            Stmt::For { var, carried, body, .. } => {
                set(types, *var, ScalarType::I64)?;
                for c in carried {
                    let ty = get(types, c.init)?;
                    set(types, c.param, ty)?;
                    set(types, c.result, ty)?;
                }
                infer(program, body, types, used, depth)?;
            }
            Stmt::Events { wide, one, .. } => {
                for e in wide.iter().chain([one]) {
                    for v in &e.vars {
                        set(types, *v, ScalarType::I64)?;
                    }
                    infer(program, &e.body, types, used, depth)?;
                }
            }
            Stmt::Clear { .. } | Stmt::Push { .. } => {}
            Stmt::If { then_body, else_body, .. } => {
                infer(program, then_body, types, used, depth)?;
                infer(program, else_body, types, used, depth)?;
            }
        }
    }
    Ok(())
}

/// A vector loop that may run in lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Whether lanes are expected to be faster than scalar code.
    pub worth: bool,
    /// Statements, those with 64-bit lanes counted twice.
    pub weight: usize,
    /// Registers per group that inner loops carry.
    pub carried: usize,
    /// Operations on what differs between iterations.
    pub ops: usize,
    /// Loads and stores of it.
    pub accesses: usize,
}

struct Scan<'a> {
    program: &'a Program,
    types: &'a [ScalarType],
    classes: &'a mut Classes,
    known: &'a dyn Fn(Val) -> Option<i64>,
    consts: Vec<(Val, i64)>,
    stores: Vec<(BufId, Index, i64)>,
    pushes: Vec<ListId>,
    plan: Plan,
    vector: f64,
    scalar: f64,
    times: f64,
    quiet: bool,
}

/// Looks at a vector loop over `var`. `None` if its body cannot run in lanes; otherwise `classes` holds for its values.
/// `known` gives the constants around it; with the variable comes how often the loop runs, where that is known.
pub(super) fn plan(
    program: &Program,
    types: &[ScalarType],
    classes: &mut Classes,
    known: &dyn Fn(Val) -> Option<i64>,
    (var, trip): (Val, Option<u64>),
    body: &Block,
) -> Option<Plan> {
    classes.clear();
    let plan = Plan { worth: false, weight: 0, carried: 0, ops: 0, accesses: 0 };
    let mut s = Scan {
        program,
        types,
        classes,
        known,
        consts: Vec::new(),
        stores: Vec::new(),
        pushes: Vec::new(),
        plan,
        vector: 0.0,
        scalar: 0.0,
        times: 1.0,
        quiet: false,
    };
    s.set(var, Class::Linear(1))?;
    s.block(body, true)?;
    s.disjoint(trip)?;
    let mut plan = s.plan;
    plan.worth = s.vector <= s.scalar;
    Some(plan)
}

impl Scan<'_> {
    fn class(&self, v: Val) -> Option<Class> {
        self.classes.get(v)
    }

    fn set(&mut self, v: Val, c: Class) -> Option<()> {
        self.classes.set(v, c)
    }

    fn constant(&self, v: Val) -> Option<i64> {
        self.consts.iter().rev().find(|c| c.0 == v).map(|c| c.1).or_else(|| (self.known)(v))
    }

    /// Counts the cost of something for four lanes.
    fn cost(&mut self, vector: f64, scalar: f64) {
        if !self.quiet {
            self.vector += vector * self.times;
            self.scalar += scalar * self.times;
        }
    }

    fn index(&self, index: &Index) -> Option<Class> {
        let mut lane = 0i64;
        for (v, c) in &index.terms {
            match self.class(*v)? {
                Class::Uniform => {}
                Class::Linear(k) => lane = lane.wrapping_add(k.wrapping_mul(*c)),
                Class::Varying => return Some(Class::Varying),
            }
        }
        Some(if lane == 0 { Class::Uniform } else { Class::Linear(lane) })
    }

    fn op(&mut self, op: ScalarOp, args: &[Val]) -> Option<Class> {
        let mut classes = [Class::Uniform; 3];
        for (c, a) in classes.iter_mut().zip(args) {
            *c = self.class(*a)?;
        }
        let classes = &classes[..args.len().min(3)];
        if classes.iter().all(|c| *c == Class::Uniform) {
            return Some(Class::Uniform);
        }
        let lane = |c: Class| match c {
            Class::Uniform => Some(0),
            Class::Linear(k) => Some(k),
            Class::Varying => None,
        };
        let wide = self.types.get(args.first()?.index()).is_some_and(|t| is_wide(*t));
        let linear = |k: i64| if k == 0 { Class::Uniform } else { Class::Linear(k) };
        match (op, classes) {
            (ScalarOp::IAdd, [x, y]) if wide => {
                if let (Some(x), Some(y)) = (lane(*x), lane(*y)) {
                    return Some(linear(x.wrapping_add(y)));
                }
            }
            (ScalarOp::ISub, [x, y]) if wide => {
                if let (Some(x), Some(y)) = (lane(*x), lane(*y)) {
                    return Some(linear(x.wrapping_sub(y)));
                }
            }
            (ScalarOp::IMul, [x, y]) if wide => {
                if let (Some(x), Some(y)) = (lane(*x), lane(*y)) {
                    if let Some(c) = self.constant(args[0]) {
                        return Some(linear(y.wrapping_mul(c)));
                    }
                    if let Some(c) = self.constant(args[1]) {
                        return Some(linear(x.wrapping_mul(c)));
                    }
                }
            }
            (ScalarOp::Shl, [x, Class::Uniform]) if wide => {
                if let (Some(x), Some(c)) = (lane(*x), self.constant(args[1])) {
                    return Some(linear(x.wrapping_mul(1i64.wrapping_shl(c as u32))));
                }
            }
            _ => {}
        }
        let wide = wide || args.last().is_some_and(|a| self.types.get(a.index()).is_some_and(|t| is_wide(*t)));
        let uniform_shift = classes.get(1) == Some(&Class::Uniform);
        let one_by_one = match op {
            ScalarOp::UMulHi => wide,
            ScalarOp::IDiv
            | ScalarOp::IRem
            | ScalarOp::I64ToF32
            | ScalarOp::I64ToF64
            | ScalarOp::F32ToI64
            | ScalarOp::F64ToI32
            | ScalarOp::F64ToI64 => true,
            ScalarOp::Shl | ScalarOp::ShrS | ScalarOp::ShrU => !uniform_shift,
            _ => false,
        };
        match (one_by_one, wide) {
            (true, _) => self.cost(4.0 + 8.0, 4.0),
            (false, true) => self.cost(2.0, 4.0),
            (false, false) => self.cost(1.0, 4.0),
        }
        self.plan.weight += if one_by_one { 8 } else { 1 + usize::from(wide) };
        self.plan.ops += 1;
        Some(Class::Varying)
    }

    fn access(&mut self, elem: DType, class: Class, store: bool) {
        let wide = elem.size() == 8 || elem == DType::U32;
        let narrow = elem.size() < 4;
        let half = matches!(elem, DType::F16 | DType::BF16);
        self.plan.accesses += usize::from(class != Class::Uniform);
        self.plan.weight += 1 + usize::from(wide) + usize::from(narrow) + 8 * usize::from(half);
        let half = if half { 8.0 } else { 0.0 };
        match class {
            Class::Uniform => self.cost(1.0, 4.0),
            Class::Linear(1) if wide => self.cost(2.0, 4.0 + 4.0 * half),
            Class::Linear(1) => self.cost(1.0 + f64::from(u8::from(narrow)) + half, 4.0 + 4.0 * half),
            Class::Linear(_) if !store => self.cost(7.0 + half, 4.0 + 4.0 * half),
            Class::Varying | Class::Linear(_) => self.cost(11.0 + half, 4.0 + 4.0 * half),
        }
    }

    fn block(&mut self, block: &Block, top: bool) -> Option<()> {
        for s in &block.stmts {
            match s {
                Stmt::Const { dst, value } => {
                    if let Scalar::I64(k) = value {
                        self.consts.push((*dst, *k));
                    }
                    self.set(*dst, Class::Uniform)?;
                }
                Stmt::Op { dst, op, args } => {
                    let c = self.op(*op, args)?;
                    self.set(*dst, c)?;
                }
                Stmt::Load { dst, buf, index } => {
                    let c = self.index(index)?;
                    self.access(self.program.buffers.get(buf.index())?.elem, c, false);
                    self.set(*dst, if c == Class::Uniform { c } else { Class::Varying })?;
                }
                Stmt::Store { buf, index, .. } => {
                    let c = self.index(index)?;
                    let lane = match c {
                        Class::Uniform => return None,
                        Class::Linear(k) => k,
                        Class::Varying => 0,
                    };
                    self.access(self.program.buffers.get(buf.index())?.elem, c, true);
                    if !self.quiet {
                        self.stores.push((*buf, index.clone(), lane));
                    }
                }
                Stmt::For { var, lo, hi, carried, body, .. } => {
                    if self.class(*lo)? != Class::Uniform || self.class(*hi)? != Class::Uniform {
                        return None;
                    }
                    self.set(*var, Class::Uniform)?;
                    let flat = |c: Class| if c == Class::Uniform { c } else { Class::Varying };
                    for c in carried {
                        let init = flat(self.class(c.init)?);
                        self.set(c.param, init)?;
                    }
                    // Each round turns at least one more parameter into a varying one.
                    let was = std::mem::replace(&mut self.quiet, true);
                    for _ in 0..=carried.len() {
                        if carried.is_empty() {
                            break;
                        }
                        self.block(body, false)?;
                        let mut same = true;
                        for c in carried {
                            if self.class(c.param)? == Class::Uniform && self.class(c.next)? != Class::Uniform {
                                self.set(c.param, Class::Varying)?;
                                same = false;
                            }
                        }
                        if same {
                            break;
                        }
                    }
                    self.quiet = was;
                    self.times *= 8.0;
                    self.block(body, false)?;
                    self.times /= 8.0;
                    let mut registers = 0;
                    for c in carried {
                        let class = self.class(c.param)?;
                        self.set(c.result, class)?;
                        if class != Class::Uniform {
                            registers += 1 + usize::from(is_wide(*self.types.get(c.param.index())?));
                        }
                    }
                    self.plan.carried = self.plan.carried.max(registers);
                    self.plan.weight += 2;
                }
                Stmt::Events { slot, wide, one, .. } => {
                    if self.class(*slot)? != Class::Uniform {
                        return None;
                    }
                    self.times *= 8.0;
                    for e in wide.iter().chain([one]) {
                        for v in &e.vars {
                            self.set(*v, Class::Uniform)?;
                        }
                        self.block(&e.body, false)?;
                    }
                    self.times /= 8.0;
                    self.plan.weight += 4;
                }
                Stmt::Clear { .. } => return None,
                Stmt::Push { list, slot, index, .. } => {
                    let linear = matches!(self.class(*index)?, Class::Linear(_));
                    if !top || !linear || self.class(*slot)? != Class::Uniform || self.pushes.contains(list) {
                        return None;
                    }
                    self.pushes.push(*list);
                    self.cost(3.0, 8.0);
                    self.plan.weight += 4;
                }
                Stmt::If { cond, then_body, else_body } => {
                    if self.class(*cond)? != Class::Uniform {
                        return None;
                    }
                    self.block(then_body, false)?;
                    self.block(else_body, false)?;
                    self.plan.weight += 2;
                }
            }
        }
        Some(())
    }

    /// Holds if no two stores can reach the same element from different iterations, as far as this can be seen: stores
    /// to one buffer have the same terms, and offsets that no number of iterations of the loop lies between.
    fn disjoint(&self, trip: Option<u64>) -> Option<()> {
        for (n, (buf, index, lane)) in self.stores.iter().enumerate() {
            for (other, i, l) in &self.stores[..n] {
                if other != buf || i == index {
                    continue;
                }
                let (apart, lane_step) = (i.offset.wrapping_sub(index.offset).unsigned_abs(), lane.unsigned_abs());
                let between = lane_step > 0 && !apart.is_multiple_of(lane_step);
                let beyond = trip.is_some_and(|n| lane_step.checked_mul(n).is_some_and(|reach| apart >= reach));
                if i.terms != index.terms || l != lane || !(between || beyond || apart < lane_step) {
                    return None;
                }
            }
        }
        Some(())
    }
}

/// Factors by which `var` enters the byte addresses of the accesses in `block`, other than those that address modes do.
pub(super) fn strides(program: &Program, block: &Block, var: Val, known: &dyn Fn(Val) -> Option<i64>) -> Vec<i64> {
    let mut s = Strides { program, known, factors: vec![(var, 1)], consts: Vec::new(), found: Vec::new() };
    s.block(block);
    s.found
}

/// Most scaled counters that one loop carries.
const MAX_STRIDES: usize = 4;

struct Strides<'a> {
    program: &'a Program,
    known: &'a dyn Fn(Val) -> Option<i64>,
    factors: Vec<(Val, i64)>,
    consts: Vec<(Val, i64)>,
    found: Vec<i64>,
}

impl Strides<'_> {
    fn factor(&self, v: Val) -> i64 {
        self.factors.iter().find(|f| f.0 == v).map_or(0, |f| f.1)
    }

    fn constant(&self, v: Val) -> Option<i64> {
        self.consts.iter().rev().find(|c| c.0 == v).map(|c| c.1).or_else(|| (self.known)(v))
    }

    fn index(&mut self, buf: BufId, index: &Index) {
        let Some(buffer) = self.program.buffers.get(buf.index()) else { return };
        let sum = index.terms.iter().fold(0i64, |s, (v, c)| s.wrapping_add(self.factor(*v).wrapping_mul(*c)));
        let bytes = sum.wrapping_mul(buffer.elem.size() as i64);
        if !matches!(bytes, 0 | 1 | 2 | 4 | 8) && !self.found.contains(&bytes) && self.found.len() < MAX_STRIDES {
            self.found.push(bytes);
        }
    }

    fn block(&mut self, block: &Block) {
        for s in &block.stmts {
            match s {
                Stmt::Const { dst, value } => {
                    if let Scalar::I64(k) = value {
                        self.consts.push((*dst, *k));
                    }
                }
                Stmt::Op { dst, op, args } => {
                    let f = |n: usize| args.get(n).map_or(0, |a| self.factor(*a));
                    let k = |n: usize| args.get(n).and_then(|a| self.constant(*a));
                    let (x, y) = (f(0), f(1));
                    if x == 0 && y == 0 {
                        continue;
                    }
                    let sum = match op {
                        ScalarOp::IAdd => x.wrapping_add(y),
                        ScalarOp::ISub => x.wrapping_sub(y),
                        ScalarOp::IMul => {
                            k(1).map_or(0, |c| x.wrapping_mul(c)).wrapping_add(k(0).map_or(0, |c| y.wrapping_mul(c)))
                        }
                        _ => 0,
                    };
                    if sum != 0 && self.factors.len() < 64 {
                        self.factors.push((*dst, sum));
                    }
                }
                Stmt::Load { buf, index, .. } | Stmt::Store { buf, index, .. } => self.index(*buf, index),
                Stmt::For { body, .. } => self.block(body),
                Stmt::Events { wide, one, .. } => {
                    for e in wide.iter().chain([one]) {
                        self.block(&e.body);
                    }
                }
                Stmt::Clear { .. } | Stmt::Push { .. } => {}
                Stmt::If { then_body, else_body, .. } => {
                    self.block(then_body);
                    self.block(else_body);
                }
            }
        }
    }
}
