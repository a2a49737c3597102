//! The constraints that a kernel program keeps, numbered, and their check.
//!
//! A program that passes has no undefined values, no ill-typed operation and no access that is out of range for every
//! tick; accesses whose place depends on values are checked by [`super::interp`] when it runs. A violation is a mistake
//! of whoever wrote the program, not of a user of the model.

use super::abi::Layout;
use super::program::{
    Block, BufId, Carried, Element, EventBody, Index, Kernel, ListId, Parallel, Program, Role, Step, Stmt, Trips, Val,
    loaded_type,
};
use super::scalar::{Scalar, ScalarType};
use crate::types::DType;
use rustc_hash::{FxHashMap, FxHashSet};
use std::fmt;

/// Most parts a program may be split into.
pub const MAX_PARTS: u32 = 1024;

/// Most values of one kernel.
pub const MAX_VALS: u32 = 1 << 24;

/// Deepest nesting of blocks.
pub const MAX_DEPTH: usize = 64;

/// Deepest nesting of loops and branches around kernels.
pub const MAX_STEP_DEPTH: usize = 64;

/// Largest extent of a buffer, a list or a parallel kernel, and the largest `align` and `every`.
pub const MAX_LEN: u64 = 1 << 40;

/// Errors beyond this many are not collected.
const MAX_ERRORS: usize = 64;

macro_rules! constraints {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal;)*) => {
        /// What a program has to keep.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        pub enum Constraint { $($(#[doc = $doc])+ $variant,)* }

        impl Constraint {
            /// Every constraint in the order of its number.
            pub const ALL: &[Constraint] = &[$(Constraint::$variant),*];

            /// Its number, for example `K007`.
            pub const fn code(self) -> &'static str {
                match self { $(Constraint::$variant => $code,)* }
            }

            /// What it demands.
            pub const fn doc(self) -> &'static str {
                match self { $(Constraint::$variant => concat!($($doc),+),)* }
            }
        }
    };
}

constraints! {
    /// `parts` is from 1 to 1024.
    Parts = "K001";
    /// Extents, `align` and `every` are at most 2^40, lists are shorter than 2^32, and the layout fits 64 bits.
    Size = "K002";
    /// Lists have at least one slot; every `align` and every `every` is at least 1.
    Positive = "K003";
    /// The data of a constant or state has the buffer's element type and its length or one element.
    Data = "K004";
    /// Every value is below the kernel's `vals`, which counts the entry values and is at most 2^24.
    ValueNumber = "K005";
    /// Every value is defined at most once.
    SingleAssignment = "K006";
    /// A value is defined before it is used, in the same block or one around it.
    Scope = "K007";
    /// An operation takes the types of its operands.
    OpType = "K008";
    /// Loop bounds, slots and pushed indices are `i64`, conditions `bool`, and a carried value keeps its type.
    OperandType = "K009";
    /// The values of an element index are `i64`.
    IndexType = "K010";
    /// Buffers and lists that a kernel names exist.
    Known = "K011";
    /// Constants and inputs are not stored to.
    ReadOnly = "K012";
    /// A stored value has the type that the buffer's elements have when loaded.
    StoreType = "K013";
    /// A constant element index lies inside the buffer.
    IndexRange = "K014";
    /// A vector loop carries nothing.
    VectorCarries = "K015";
    /// A vector loop clears no list, and pushes to a list at one place that is not inside another loop.
    VectorLists = "K016";
    /// Only parallel kernels over a list's own extent push to it or clear it.
    ListWriter = "K017";
    /// A kernel that pushes to a list of one slot, or clears it, does not read it.
    ListReader = "K018";
    /// A constant slot is one of the list's.
    SlotRange = "K019";
    /// The single body of an event loop has one variable, the wide body from 2 to 64.
    EventVars = "K020";
    /// Kernels that touch a probe carry its `every`.
    ProbeEvery = "K021";
    /// Blocks nest at most 64 deep.
    Depth = "K022";
    /// What decides a loop or a branch of steps is an element of a buffer that is no probe: `i64` for trips, `bool` for a
    /// condition.
    StepElement = "K023";
    /// Loops and branches around kernels nest at most 64 deep.
    StepDepth = "K024";
    /// A kernel asks for the iterations of no more loops than there are around it.
    Iterations = "K025";
}

/// A constraint that a program does not keep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierError {
    /// Which one.
    pub constraint: Constraint,
    /// In which kernel, by its place in the program; `None` for the declarations.
    pub kernel: Option<usize>,
    /// What is wrong, naming the thing.
    pub what: String,
}

impl fmt::Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.constraint.code())?;
        if let Some(k) = self.kernel {
            write!(f, " in kernel {k}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for VerifierError {}

/// Checks every constraint.
///
/// # Errors
/// The violations, in program order; at most 64 of them.
pub fn verify(program: &Program) -> Result<(), Vec<VerifierError>> {
    let mut errors = Vec::new();
    declarations(program, &mut errors);
    steps(program, &program.steps, Around::default(), &mut 0, &mut errors);
    errors.truncate(MAX_ERRORS);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What stands around a list of steps.
#[derive(Clone, Copy, Default)]
struct Around {
    depth: usize,
    loops: usize,
}

/// Checks steps; `number` counts the kernels.
fn steps(program: &Program, list: &[Step], around: Around, number: &mut usize, errors: &mut Vec<VerifierError>) {
    if around.depth > MAX_STEP_DEPTH {
        let what = format!("a step is nested more than {MAX_STEP_DEPTH} deep");
        errors.push(VerifierError { constraint: Constraint::StepDepth, kernel: None, what });
        return;
    }
    let deeper = Around { depth: around.depth + 1, ..around };
    for step in list {
        match step {
            Step::Kernel(kernel) => {
                let mut check = Check::new(program, kernel, *number, errors);
                check.kernel(around.loops);
                *number += 1;
            }
            Step::Loop { trips, condition, body } => {
                if let Trips::Read(e) = trips {
                    element(program, *e, DType::I64, errors);
                }
                if let Some(e) = condition {
                    element(program, *e, DType::Bool, errors);
                }
                steps(program, body, Around { loops: around.loops + 1, ..deeper }, number, errors);
            }
            Step::If { condition, then_steps, else_steps } => {
                element(program, *condition, DType::Bool, errors);
                steps(program, then_steps, deeper, number, errors);
                steps(program, else_steps, deeper, number, errors);
            }
        }
        if errors.len() >= MAX_ERRORS {
            return;
        }
    }
}

fn element(program: &Program, e: Element, elem: DType, errors: &mut Vec<VerifierError>) {
    let what = match program.buffers.get(e.buf.index()) {
        None => format!("there is no {}", e.buf),
        Some(b) if matches!(b.role, Role::Probe { .. }) => format!("{} decides a step and is a probe", e.buf),
        Some(b) if b.elem != elem => format!("{}[{}] is {}, not {elem}", e.buf, e.at, b.elem),
        Some(b) if e.at >= b.len => format!("{}[{}] is outside its {} elements", e.buf, e.at, b.len),
        Some(_) => return,
    };
    errors.push(VerifierError { constraint: Constraint::StepElement, kernel: None, what });
}

fn declarations(program: &Program, errors: &mut Vec<VerifierError>) {
    let mut fail = |constraint, what: String| errors.push(VerifierError { constraint, kernel: None, what });
    if program.parts == 0 || program.parts > MAX_PARTS {
        fail(Constraint::Parts, format!("{} parts", program.parts));
    }
    let mut sized = true;
    for (k, b) in program.buffers.iter().enumerate() {
        let id = BufId(k as u32);
        if b.len > MAX_LEN {
            sized = false;
            fail(Constraint::Size, format!("{id} `{}` has {} elements", b.name, b.len));
        }
        match &b.role {
            Role::Const(t) | Role::State(t) => {
                if t.dtype() != b.elem || (t.len() as u64 != b.len && t.len() != 1) {
                    fail(Constraint::Data, format!("{id} `{}` is {}[{}], its data {}", b.name, b.elem, b.len, t.ty()));
                } else if b.elem == DType::Bool && t.bytes().iter().any(|x| *x > 1) {
                    fail(Constraint::Data, format!("{id} `{}` has a truth value that is neither 0 nor 1", b.name));
                }
            }
            Role::Probe { every } => {
                if *every == 0 {
                    fail(Constraint::Positive, format!("probe {id} `{}` has `every` 0", b.name));
                } else if *every > MAX_LEN {
                    fail(Constraint::Size, format!("probe {id} `{}` has `every` {every}", b.name));
                }
            }
            Role::Temp | Role::Input | Role::Output => {}
        }
    }
    for (k, l) in program.lists.iter().enumerate() {
        let id = ListId(k as u32);
        if l.len > u64::from(u32::MAX) || l.align > MAX_LEN {
            sized = false;
            fail(Constraint::Size, format!("list {id} `{}` has extent {} aligned to {}", l.name, l.len, l.align));
        }
        if l.slots == 0 || l.align == 0 {
            fail(Constraint::Positive, format!("list {id} `{}` has {} slots, align {}", l.name, l.slots, l.align));
        }
    }
    if sized && Layout::of(program).is_none_or(|l| l.arena_bytes > i64::MAX as u64 || l.const_bytes > i64::MAX as u64) {
        fail(Constraint::Size, "the buffers together do not fit 63 bits".to_string());
    }
}

/// A loop around the statement being checked.
#[derive(Default)]
struct LoopInfo {
    vector: bool,
    pushed: FxHashSet<ListId>,
}

struct Check<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
    number: usize,
    errors: &'a mut Vec<VerifierError>,
    /// Values that are visible here.
    types: FxHashMap<Val, ScalarType>,
    constants: FxHashMap<Val, Scalar>,
    /// Every value that was defined anywhere so far.
    defined: FxHashSet<Val>,
    /// The values each open block defines.
    scopes: Vec<Vec<Val>>,
    loops: Vec<LoopInfo>,
    reads: FxHashSet<ListId>,
    writes: FxHashSet<ListId>,
}

impl<'a> Check<'a> {
    fn new(program: &'a Program, kernel: &'a Kernel, number: usize, errors: &'a mut Vec<VerifierError>) -> Check<'a> {
        Check {
            program,
            kernel,
            number,
            errors,
            types: FxHashMap::default(),
            constants: FxHashMap::default(),
            defined: FxHashSet::default(),
            scopes: vec![Vec::new()],
            loops: Vec::new(),
            reads: FxHashSet::default(),
            writes: FxHashSet::default(),
        }
    }

    fn fail(&mut self, constraint: Constraint, what: String) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(VerifierError { constraint, kernel: Some(self.number), what });
        }
    }

    /// Checks the kernel, which stands in so many loops of steps.
    fn kernel(&mut self, around: usize) {
        let k = self.kernel;
        if k.every == 0 {
            self.fail(Constraint::Positive, "`every` is 0".to_string());
        } else if k.every > MAX_LEN {
            self.fail(Constraint::Size, format!("`every` is {}", k.every));
        }
        if let Some(Parallel { len, align }) = k.parallel {
            if align == 0 {
                self.fail(Constraint::Positive, "the extent's `align` is 0".to_string());
            }
            if len > MAX_LEN || align > MAX_LEN {
                self.fail(Constraint::Size, format!("the extent is {len} aligned to {align}"));
            }
        }
        if k.vals < Kernel::ENTRY_VALS || k.vals > MAX_VALS {
            self.fail(Constraint::ValueNumber, format!("`vals` is {}", k.vals));
        }
        for v in [Kernel::TICK, Kernel::PART, Kernel::LO, Kernel::HI] {
            self.types.insert(v, ScalarType::I64);
            self.defined.insert(v);
        }
        if k.iterations.len() > around {
            let n = k.iterations.len();
            self.fail(
                Constraint::Iterations,
                format!("the iterations of {n} loops are asked for, {around} are around"),
            );
        }
        for v in &k.iterations {
            self.define(*v, ScalarType::I64);
        }
        self.block(&k.body, &[]);
        let both: Vec<ListId> = self.writes.intersection(&self.reads).copied().collect();
        for l in both {
            if self.program.lists.get(l.index()).is_some_and(|d| d.slots == 1) {
                self.fail(Constraint::ListReader, format!("{l} is written and read"));
            }
        }
    }

    fn define(&mut self, v: Val, ty: ScalarType) {
        if v.0 >= self.kernel.vals && self.kernel.vals >= Kernel::ENTRY_VALS {
            self.fail(Constraint::ValueNumber, format!("{v} is not below `vals`, {}", self.kernel.vals));
        }
        if !self.defined.insert(v) {
            self.fail(Constraint::SingleAssignment, format!("{v} is defined again"));
            return;
        }
        self.types.insert(v, ty);
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(v);
        }
    }

    /// The type of a value that is used here.
    fn used(&mut self, v: Val) -> Option<ScalarType> {
        let ty = self.types.get(&v).copied();
        if ty.is_none() {
            self.fail(Constraint::Scope, format!("{v} is not defined here"));
        }
        ty
    }

    fn expect(&mut self, v: Val, ty: ScalarType, what: &str) {
        if let Some(t) = self.used(v)
            && t != ty
        {
            self.fail(Constraint::OperandType, format!("{what} {v} is {t}, not {ty}"));
        }
    }

    /// Checks a block in a scope of its own that starts with `params`.
    fn block(&mut self, block: &Block, params: &[(Val, ScalarType)]) {
        self.open(params);
        self.stmts(block);
        self.close();
    }

    fn open(&mut self, params: &[(Val, ScalarType)]) {
        self.scopes.push(Vec::new());
        for (v, ty) in params {
            self.define(*v, *ty);
        }
    }

    fn close(&mut self) {
        for v in self.scopes.pop().unwrap_or_default() {
            self.types.remove(&v);
        }
    }

    fn stmts(&mut self, block: &Block) {
        // Scope 0 holds nothing and scope 1 is the kernel's body, which is depth 1.
        if self.scopes.len() - 1 > MAX_DEPTH {
            self.fail(Constraint::Depth, format!("a block is nested more than {MAX_DEPTH} deep"));
            return;
        }
        for s in &block.stmts {
            if self.errors.len() >= MAX_ERRORS {
                return;
            }
            self.stmt(s);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Const { dst, value } => {
                self.define(*dst, value.ty());
                self.constants.insert(*dst, *value);
            }
            Stmt::Op { dst, op, args } => {
                let types: Vec<Option<ScalarType>> = args.iter().map(|v| self.used(*v)).collect();
                let Some(types) = types.into_iter().collect::<Option<Vec<ScalarType>>>() else {
                    // The operands are reported; the result gets a type so that its uses are not reported as well.
                    self.define(*dst, ScalarType::I64);
                    return;
                };
                let ty = op.result_type(&types);
                if ty.is_none() {
                    let names: Vec<&str> = types.iter().map(|t| t.name()).collect();
                    self.fail(Constraint::OpType, format!("{op} of {dst} does not take ({})", names.join(", ")));
                }
                self.define(*dst, ty.or(types.first().copied()).unwrap_or(ScalarType::I64));
            }
            Stmt::Load { dst, buf, index } => {
                let elem = self.access(*buf, index);
                self.define(*dst, elem.map_or(ScalarType::I64, loaded_type));
            }
            Stmt::Store { buf, index, value } => {
                let elem = self.access(*buf, index);
                let ty = self.used(*value);
                let role = self.program.buffers.get(buf.index()).map(|b| &b.role);
                if matches!(role, Some(Role::Const(_) | Role::Input)) {
                    self.fail(Constraint::ReadOnly, format!("store to {buf}"));
                }
                if let (Some(elem), Some(ty)) = (elem, ty)
                    && loaded_type(elem) != ty
                {
                    self.fail(Constraint::StoreType, format!("store of {value}, {ty}, to {buf} of {elem}"));
                }
            }
            Stmt::For { var, lo, hi, vector, carried, body } => self.for_loop(*var, (*lo, *hi), *vector, carried, body),
            Stmt::Events { list, slot, wide, one } => {
                self.reads.insert(*list);
                self.slot(*list, *slot);
                if wide.as_ref().is_some_and(|w| !(2..=64).contains(&w.vars.len())) {
                    self.fail(
                        Constraint::EventVars,
                        format!("the wide body over {list} has a wrong number of variables"),
                    );
                }
                if one.vars.len() != 1 {
                    self.fail(Constraint::EventVars, format!("the single body over {list} has {}", one.vars.len()));
                }
                for EventBody { vars, body } in wide.iter().chain([one]) {
                    let params: Vec<(Val, ScalarType)> = vars.iter().map(|v| (*v, ScalarType::I64)).collect();
                    self.loops.push(LoopInfo::default());
                    self.block(body, &params);
                    self.loops.pop();
                }
            }
            Stmt::Clear { list, slot } => {
                self.slot(*list, *slot);
                self.writes(*list);
                if self.loops.iter().any(|l| l.vector) {
                    self.fail(Constraint::VectorLists, format!("a vector loop clears {list}"));
                }
            }
            Stmt::Push { list, slot, cond, index } => {
                self.slot(*list, *slot);
                self.expect(*cond, ScalarType::Bool, "condition");
                self.expect(*index, ScalarType::I64, "pushed index");
                self.writes(*list);
                let inner = self.loops.last().is_some_and(|l| l.vector);
                if let Some(l) = self.loops.iter_mut().find(|l| l.vector)
                    && (!l.pushed.insert(*list) || !inner)
                {
                    self.fail(Constraint::VectorLists, format!("a vector loop pushes to {list} more than once"));
                }
            }
            Stmt::If { cond, then_body, else_body } => {
                self.expect(*cond, ScalarType::Bool, "condition");
                self.block(then_body, &[]);
                self.block(else_body, &[]);
            }
        }
    }

    fn for_loop(&mut self, var: Val, (lo, hi): (Val, Val), vector: bool, carried: &[Carried], body: &Block) {
        self.expect(lo, ScalarType::I64, "loop bound");
        self.expect(hi, ScalarType::I64, "loop bound");
        if vector && !carried.is_empty() {
            self.fail(
                Constraint::VectorCarries,
                format!("the vector loop over {var} carries {} values", carried.len()),
            );
        }
        let mut params = vec![(var, ScalarType::I64)];
        for c in carried {
            let ty = self.used(c.init).unwrap_or(ScalarType::I64);
            params.push((c.param, ty));
        }
        self.loops.push(LoopInfo { vector, ..LoopInfo::default() });
        self.open(&params);
        self.stmts(body);
        for (c, (_, ty)) in carried.iter().zip(&params[1..]) {
            self.expect(c.next, *ty, "next carried value");
        }
        self.close();
        self.loops.pop();
        for (c, (_, ty)) in carried.iter().zip(&params[1..]) {
            self.define(c.result, *ty);
        }
    }

    /// Checks the place of a load or store; gives the element type.
    fn access(&mut self, buf: BufId, index: &Index) -> Option<DType> {
        for (v, _) in &index.terms {
            if let Some(ty) = self.used(*v)
                && ty != ScalarType::I64
            {
                self.fail(Constraint::IndexType, format!("{v} in an index of {buf} is {ty}"));
            }
        }
        let Some(b) = self.program.buffers.get(buf.index()) else {
            self.fail(Constraint::Known, format!("there is no {buf}"));
            return None;
        };
        let (elem, len) = (b.elem, b.len);
        if let Role::Probe { every } = b.role
            && every != self.kernel.every
        {
            self.fail(Constraint::ProbeEvery, format!("{buf} is sampled every {every}, not {}", self.kernel.every));
        }
        let constant = index.terms.iter().try_fold(index.offset, |sum, (v, c)| match self.constants.get(v) {
            Some(Scalar::I64(k)) => Some(sum.wrapping_add(k.wrapping_mul(*c))),
            _ => None,
        });
        if let Some(at) = constant
            && !u64::try_from(at).is_ok_and(|at| at < len)
        {
            self.fail(Constraint::IndexRange, format!("{buf}[{at}] is outside its {len} elements"));
        }
        Some(elem)
    }

    fn slot(&mut self, list: ListId, slot: Val) {
        self.expect(slot, ScalarType::I64, "slot");
        let Some(l) = self.program.lists.get(list.index()) else {
            self.fail(Constraint::Known, format!("there is no {list}"));
            return;
        };
        if let Some(Scalar::I64(s)) = self.constants.get(&slot).copied()
            && !(0..i64::from(l.slots)).contains(&s)
        {
            self.fail(Constraint::SlotRange, format!("slot {s} of {list}, which has {}", l.slots));
        }
    }

    fn writes(&mut self, list: ListId) {
        self.writes.insert(list);
        if let Some(l) = self.program.lists.get(list.index())
            && self.kernel.parallel != Some(l.extent())
        {
            self.fail(Constraint::ListWriter, format!("{list} is written by a kernel over another extent"));
        }
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
