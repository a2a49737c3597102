//! Writing kernels: a [`KernelBuilder`] hands out values, knows their types, and is an [`Emit`] itself.
//!
//! Guarantees: every value is defined once, before its uses, in an enclosing block. Constants are folded and equal pure
//! operations shared, both exactly: a fold that would have to choose a NaN is left to run time.
//!
//! The builder checks nothing that [`super::verify`] checks: an ill-typed operation is emitted as it stands and reported
//! there.

use super::program::{
    Block, BufId, Buffer, Carried, EventBody, EventList, Index, Kernel, Kernels, ListId, Parallel, Program, Role, Step,
    Stmt, Val, loaded_type,
};
use super::scalar::{Emit, Scalar, ScalarOp, ScalarType};
use crate::types::DType;
use rustc_hash::FxHashMap;

impl Program {
    /// An empty program.
    pub fn new(name: impl Into<String>, parts: u32) -> Program {
        Program { name: name.into(), parts, ..Program::default() }
    }

    /// Adds a buffer of `len` elements.
    pub fn add_buffer(&mut self, name: impl Into<String>, elem: DType, len: u64, role: Role) -> BufId {
        self.buffers.push(Buffer { name: name.into(), elem, len, role });
        BufId(self.buffers.len() as u32 - 1)
    }

    /// Adds an event list over indices below `len`.
    pub fn add_list(&mut self, name: impl Into<String>, len: u64, slots: u32, align: u64) -> ListId {
        self.lists.push(EventList { name: name.into(), len, slots, align });
        ListId(self.lists.len() as u32 - 1)
    }

    /// Appends a kernel to the steps.
    pub fn push(&mut self, kernel: Kernel) {
        self.steps.push(Step::Kernel(kernel));
    }

    /// Every kernel, those inside loops and branches too, in the order of the text; messages number them in this order.
    pub fn kernels(&self) -> Kernels<'_> {
        Kernels { open: vec![self.steps.iter()] }
    }

    /// Element type of a buffer.
    pub fn elem(&self, buf: BufId) -> DType {
        self.buffers[buf.index()].elem
    }
}

/// A block under construction and what may be reused inside it.
#[derive(Default)]
struct Scope {
    stmts: Vec<Stmt>,
    constants: FxHashMap<Scalar, Val>,
    ops: FxHashMap<(ScalarOp, [Val; 3]), Val>,
}

/// Builds one [`Kernel`].
///
/// ```
/// use nc_ir::DType;
/// use nc_ir::kernel::{Emit, Index, Parallel, Program, Role, Scalar, ScalarOp, builder::KernelBuilder};
/// let mut program = Program::new("double", 1);
/// let x = program.add_buffer("x", DType::F32, 8, Role::Input);
/// let y = program.add_buffer("y", DType::F32, 8, Role::Output);
/// let mut b = KernelBuilder::new("twice", Some(Parallel { len: 8, align: 4 }), 1);
/// let (lo, hi) = (b.lo(), b.hi());
/// b.for_loop(lo, hi, true, |b, i| {
///     let v = b.load(x, DType::F32, Index::var(i));
///     let two = b.constant(Scalar::F32(2.0));
///     let w = b.op(ScalarOp::FMul, &[v, two]);
///     b.store(y, Index::var(i), w);
/// });
/// program.push(b.finish());
/// ```
pub struct KernelBuilder {
    name: String,
    parallel: Option<Parallel>,
    every: u64,
    iterations: Vec<Val>,
    types: Vec<ScalarType>,
    known: FxHashMap<Val, Scalar>,
    /// Enclosing blocks, outermost first; never empty.
    scopes: Vec<Scope>,
}

impl KernelBuilder {
    /// A kernel without statements that runs in ticks that are multiples of `every`.
    pub fn new(name: impl Into<String>, parallel: Option<Parallel>, every: u64) -> KernelBuilder {
        KernelBuilder {
            name: name.into(),
            parallel,
            every,
            iterations: Vec::new(),
            types: vec![ScalarType::I64; Kernel::ENTRY_VALS as usize],
            known: FxHashMap::default(),
            scopes: vec![Scope::default()],
        }
    }

    /// The tick's number, `i64`.
    pub fn tick(&self) -> Val {
        Kernel::TICK
    }

    /// The part's number, `i64`.
    pub fn part(&self) -> Val {
        Kernel::PART
    }

    /// First item of the part, `i64`.
    pub fn lo(&self) -> Val {
        Kernel::LO
    }

    /// One past the last item of the part, `i64`.
    pub fn hi(&self) -> Val {
        Kernel::HI
    }

    /// The number of the current iteration of a loop around the kernel, `i64`; level 0 is the outermost.
    pub fn iteration(&mut self, level: usize) -> Val {
        while self.iterations.len() <= level {
            let v = self.fresh(ScalarType::I64);
            self.iterations.push(v);
        }
        self.iterations[level]
    }

    /// The extent that the kernel is split over.
    pub fn parallel(&self) -> Option<Parallel> {
        self.parallel
    }

    /// Number of statements in the block under construction.
    pub fn block_len(&self) -> usize {
        self.scope().stmts.len()
    }

    /// The constant that a value is known to be.
    pub fn known(&self, v: Val) -> Option<Scalar> {
        self.known.get(&v).copied()
    }

    /// An `i64` constant.
    pub fn index(&mut self, k: i64) -> Val {
        self.constant(Scalar::I64(k))
    }

    /// `buf[index]`, widened from `elem`.
    pub fn load(&mut self, buf: BufId, elem: DType, index: Index) -> Val {
        let dst = self.fresh(loaded_type(elem));
        let index = self.simplified(index);
        self.push_stmt(Stmt::Load { dst, buf, index });
        dst
    }

    /// `buf[index] = value`, narrowed to the buffer's element type.
    pub fn store(&mut self, buf: BufId, index: Index, value: Val) {
        let index = self.simplified(index);
        self.push_stmt(Stmt::Store { buf, index, value });
    }

    /// `for var in lo..hi`, carrying nothing. With `vector`, the caller promises that iterations are independent.
    pub fn for_loop(&mut self, lo: Val, hi: Val, vector: bool, body: impl FnOnce(&mut Self, Val)) {
        let var = self.fresh(ScalarType::I64);
        let body = self.block(|b| body(b, var));
        self.push_stmt(Stmt::For { var, lo, hi, vector, carried: Vec::new(), body });
    }

    /// `for i in 0..n` with a known count.
    pub fn for_count(&mut self, n: u64, vector: bool, body: impl FnOnce(&mut Self, Val)) {
        let (lo, hi) = (self.index(0), self.index(n as i64));
        self.for_loop(lo, hi, vector, body);
    }

    /// A serial loop that carries values: `body` is given the loop variable and the carried values and returns the next
    /// ones, as many as `init`. Gives the values after the loop.
    ///
    /// # Panics
    /// If `body` returns another number of values than `init` has.
    pub fn for_carried(
        &mut self,
        lo: Val,
        hi: Val,
        init: &[Val],
        body: impl FnOnce(&mut Self, Val, &[Val]) -> Vec<Val>,
    ) -> Vec<Val> {
        let var = self.fresh(ScalarType::I64);
        let params: Vec<Val> = init.iter().map(|v| self.fresh(self.types[v.index()])).collect();
        let mut next = Vec::new();
        let code = self.block(|b| next = body(b, var, &params));
        assert_eq!(next.len(), init.len(), "values that a loop carries");
        let results: Vec<Val> = init.iter().map(|v| self.fresh(self.types[v.index()])).collect();
        let carried = (0..init.len())
            .map(|k| Carried { param: params[k], init: init[k], next: next[k], result: results[k] })
            .collect();
        self.push_stmt(Stmt::For { var, lo, hi, vector: false, carried, body: code });
        results
    }

    /// For the events of a slot: `body` is written once for groups of `group` events (if that is more than one) and once
    /// for a single event; it is given the events' indices in order.
    pub fn events(&mut self, list: ListId, slot: Val, group: usize, mut body: impl FnMut(&mut Self, &[Val])) {
        let mut written = |b: &mut Self, n: usize| {
            let vars: Vec<Val> = (0..n).map(|_| b.fresh(ScalarType::I64)).collect();
            let code = b.block(|b| body(b, &vars));
            EventBody { vars, body: code }
        };
        let wide = (group > 1).then(|| written(self, group));
        let one = written(self, 1);
        self.push_stmt(Stmt::Events { list, slot, wide, one });
    }

    /// Empties this part's chunk of a slot.
    pub fn clear(&mut self, list: ListId, slot: Val) {
        self.push_stmt(Stmt::Clear { list, slot });
    }

    /// Appends `index` to this part's chunk of a slot if `cond`.
    pub fn push(&mut self, list: ListId, slot: Val, cond: Val, index: Val) {
        self.push_stmt(Stmt::Push { list, slot, cond, index });
    }

    /// Runs `then` if `cond`.
    pub fn if_then(&mut self, cond: Val, then: impl FnOnce(&mut Self)) {
        self.if_else(cond, then, |_| ());
    }

    /// Runs `then` if `cond`, else `otherwise`.
    pub fn if_else(&mut self, cond: Val, then: impl FnOnce(&mut Self), otherwise: impl FnOnce(&mut Self)) {
        let then_body = self.block(then);
        let else_body = self.block(otherwise);
        self.push_stmt(Stmt::If { cond, then_body, else_body });
    }

    /// The kernel.
    pub fn finish(mut self) -> Kernel {
        let stmts = std::mem::take(&mut self.scope_mut().stmts);
        Kernel {
            name: self.name,
            parallel: self.parallel,
            every: self.every,
            iterations: self.iterations,
            vals: self.types.len() as u32,
            body: Block { stmts },
        }
    }

    /// A new value of a type, not yet defined.
    fn fresh(&mut self, ty: ScalarType) -> Val {
        self.types.push(ty);
        Val(self.types.len() as u32 - 1)
    }

    fn block(&mut self, body: impl FnOnce(&mut Self)) -> Block {
        self.scopes.push(Scope::default());
        body(self);
        Block { stmts: self.scopes.pop().unwrap_or_default().stmts }
    }

    fn scope(&self) -> &Scope {
        self.scopes.last().expect("the outermost block stays open")
    }

    fn scope_mut(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("the outermost block stays open")
    }

    fn push_stmt(&mut self, stmt: Stmt) {
        self.scope_mut().stmts.push(stmt);
    }

    /// Known values become part of the offset, equal values share a term, terms of coefficient 0 go.
    fn simplified(&self, index: Index) -> Index {
        let mut out = Index { terms: Vec::with_capacity(index.terms.len()), offset: index.offset };
        for (v, c) in index.terms {
            if let Some(Scalar::I64(k)) = self.known(v) {
                out.offset = out.offset.wrapping_add(k.wrapping_mul(c));
            } else if let Some(t) = out.terms.iter_mut().find(|t| t.0 == v) {
                t.1 = t.1.wrapping_add(c);
            } else {
                out.terms.push((v, c));
            }
        }
        out.terms.retain(|t| t.1 != 0);
        out
    }

    /// A value that the operation is known to equal, without computing anything new.
    fn identity(&self, op: ScalarOp, args: &[Val]) -> Option<Val> {
        let int = |k: usize| match self.known(args[k]) {
            Some(Scalar::I32(x)) => Some(i64::from(x)),
            Some(Scalar::I64(x)) => Some(x),
            _ => None,
        };
        match (op, args) {
            (ScalarOp::IAdd, [a, b]) => match (int(0), int(1)) {
                (_, Some(0)) => Some(*a),
                (Some(0), _) => Some(*b),
                _ => None,
            },
            (ScalarOp::ISub, [a, _]) if int(1) == Some(0) => Some(*a),
            (ScalarOp::IMul, [a, b]) => match (int(0), int(1)) {
                (_, Some(1)) | (Some(0), _) => Some(*a),
                (Some(1), _) | (_, Some(0)) => Some(*b),
                _ => None,
            },
            (ScalarOp::Select, [c, a, b]) => match self.known(*c) {
                Some(Scalar::Bool(true)) => Some(*a),
                Some(Scalar::Bool(false)) => Some(*b),
                _ => (a == b).then_some(*a),
            },
            _ => None,
        }
    }

    fn folded(&self, op: ScalarOp, args: &[Val]) -> Option<Scalar> {
        let known: Vec<Scalar> = args.iter().map(|v| self.known(*v)).collect::<Option<_>>()?;
        let value = op.eval(&known);
        let is_nan = match value {
            Scalar::F32(x) => x.is_nan(),
            Scalar::F64(x) => x.is_nan(),
            Scalar::I32(_) | Scalar::I64(_) | Scalar::Bool(_) => false,
        };
        let reads_nan_bits = matches!(op, ScalarOp::F32Bits | ScalarOp::F64Bits)
            && known
                .iter()
                .any(|k| matches!(k, Scalar::F32(x) if x.is_nan()) || matches!(k, Scalar::F64(x) if x.is_nan()));
        (!is_nan && !reads_nan_bits).then_some(value)
    }
}

impl Emit for KernelBuilder {
    type Value = Val;

    fn constant(&mut self, k: Scalar) -> Val {
        if let Some(v) = self.scopes.iter().rev().find_map(|s| s.constants.get(&k)) {
            return *v;
        }
        let dst = self.fresh(k.ty());
        self.known.insert(dst, k);
        self.scope_mut().constants.insert(k, dst);
        self.push_stmt(Stmt::Const { dst, value: k });
        dst
    }

    fn op(&mut self, op: ScalarOp, args: &[Val]) -> Val {
        let types: Vec<ScalarType> = args.iter().map(|v| self.types[v.index()]).collect();
        let Some(ty) = op.result_type(&types) else {
            let dst = self.fresh(types.first().copied().unwrap_or(ScalarType::I64));
            self.push_stmt(Stmt::Op { dst, op, args: args.to_vec() });
            return dst;
        };
        if let Some(v) = self.identity(op, args) {
            return v;
        }
        if let Some(k) = self.folded(op, args) {
            return self.constant(k);
        }
        // Unused operands of the key repeat the first, which no arity confuses: the operation fixes the arity.
        let mut key = [args[0]; 3];
        key[..args.len()].copy_from_slice(args);
        if let Some(v) = self.scopes.iter().rev().find_map(|s| s.ops.get(&(op, key))) {
            return *v;
        }
        let dst = self.fresh(ty);
        self.scope_mut().ops.insert((op, key), dst);
        self.push_stmt(Stmt::Op { dst, op, args: args.to_vec() });
        dst
    }

    fn type_of(&self, v: Val) -> ScalarType {
        self.types[v.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pure_operations_are_shared_in_scope_only() {
        let mut b = KernelBuilder::new("k", None, 1);
        let t = b.tick();
        let three = b.index(3);
        let cond = b.op(ScalarOp::ILt, &[t, three]);
        let (mut inner, mut again) = (None, None);
        b.if_then(cond, |b| {
            assert_eq!(b.op(ScalarOp::ILt, &[t, three]), cond);
            inner = Some(b.op(ScalarOp::IAdd, &[t, three]));
            again = Some(b.op(ScalarOp::IAdd, &[t, three]));
        });
        assert_eq!(inner, again);
        let outer = b.op(ScalarOp::IAdd, &[t, three]);
        assert_ne!(Some(outer), inner, "a value of an inner block is not visible outside");
    }

    #[test]
    fn constants_fold_but_nan_is_left_to_run_time() {
        let mut b = KernelBuilder::new("k", None, 1);
        let (two, half) = (b.constant(Scalar::F32(2.0)), b.constant(Scalar::F32(0.5)));
        let one = b.op(ScalarOp::FMul, &[two, half]);
        assert_eq!(b.known(one), Some(Scalar::F32(1.0)));
        let zero = b.constant(Scalar::F32(0.0));
        let nan = b.op(ScalarOp::FDiv, &[zero, zero]);
        assert_eq!(b.known(nan), None);
        let minus = b.constant(Scalar::F32(-0.0));
        assert_ne!(zero, minus, "constants are told apart by bits");
    }

    #[test]
    fn index_terms_merge_and_known_values_become_offset() {
        let mut b = KernelBuilder::new("k", None, 1);
        let five = b.index(5);
        let (lo, hi) = (b.lo(), b.hi());
        let index = Index::var(lo).plus(five, 3).plus(lo, 4).plus(hi, 2).plus(hi, -2).offset(1);
        let v = b.load(BufId(0), DType::I8, index);
        assert_eq!(b.type_of(v), ScalarType::I32);
        let k = b.finish();
        assert_eq!(
            k.body.stmts.last(),
            Some(&Stmt::Load { dst: v, buf: BufId(0), index: Index { terms: vec![(lo, 5)], offset: 16 } })
        );
    }

    #[test]
    fn events_are_written_for_a_group_and_for_one() {
        let mut b = KernelBuilder::new("k", None, 1);
        let slot = b.index(0);
        let mut sizes = Vec::new();
        b.events(ListId(0), slot, 4, |_, vars| sizes.push(vars.len()));
        assert_eq!(sizes, [4, 1]);
    }
}
