//! The kernel IR: buffers, event lists and kernels that run one after another in every tick.
//!
//! Semantics in brief. A [`Program`] advances one tick by running its steps in order: kernels, and loops and branches
//! around steps. A parallel kernel runs once for each part p of `parts`, over its own range `lo..hi` of the kernel's
//! extent, and no part reads what another writes in the same kernel; between kernels all parts meet. A serial kernel runs
//! once. All parts take the same way through loops and branches: what decides is read from memory, by all of them
//! before any goes on. Values are scalars in single assignment; memory is typed buffers indexed by element.

use super::scalar::{Scalar, ScalarOp, ScalarType};
use crate::tensor::Tensor;
use crate::types::DType;

entity! {
    /// A scalar of one kernel, assigned once.
    Val, "v"
}
entity! {
    /// A buffer of the program.
    BufId, "b"
}
entity! {
    /// An event list of the program.
    ListId, "l"
}

/// Everything that runs in one tick.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Program {
    /// Name of the model.
    pub name: String,
    /// How many parts the parallel kernels are split into; at least 1.
    pub parts: u32,
    /// Typed memory.
    pub buffers: Vec<Buffer>,
    /// Event lists.
    pub lists: Vec<EventList>,
    /// What is done in a tick, in order.
    pub steps: Vec<Step>,
}

/// A step of a tick.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// Runs a kernel.
    Kernel(Kernel),
    /// Runs `body` again and again.
    Loop {
        /// How many times at most.
        trips: Trips,
        /// Read before each iteration: the first time that it is false, the loop ends.
        condition: Option<Element>,
        /// The steps of an iteration.
        body: Vec<Step>,
    },
    /// Runs `then_steps` if the condition holds, else `else_steps`.
    If {
        /// Read once.
        condition: Element,
        /// When true.
        then_steps: Vec<Step>,
        /// When false.
        else_steps: Vec<Step>,
    },
}

/// How often a loop of steps runs at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trips {
    /// This often.
    Known(u64),
    /// As often as this `i64` says when the loop begins; never if it is negative.
    Read(Element),
}

/// An element of a buffer that decides the way through the steps. Not one of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element {
    /// The buffer.
    pub buf: BufId,
    /// The element.
    pub at: u64,
}

/// The kernels of a program in the order of its text, see [`Program::kernels`].
#[derive(Clone, Debug)]
pub struct Kernels<'a> {
    /// What is left of each open list of steps, innermost last.
    pub(super) open: Vec<std::slice::Iter<'a, Step>>,
}

impl<'a> Iterator for Kernels<'a> {
    type Item = &'a Kernel;

    fn next(&mut self) -> Option<&'a Kernel> {
        while let Some(steps) = self.open.last_mut() {
            match steps.next() {
                Some(Step::Kernel(k)) => return Some(k),
                Some(Step::Loop { body, .. }) => self.open.push(body.iter()),
                Some(Step::If { then_steps, else_steps, .. }) => {
                    self.open.push(else_steps.iter());
                    self.open.push(then_steps.iter());
                }
                None => drop(self.open.pop()),
            }
        }
        None
    }
}

/// What a buffer is for.
#[derive(Clone, PartialEq, Debug)]
pub enum Role {
    /// Filled at compile time, never written.
    Const(Tensor),
    /// Lives from tick to tick; starts as the given tensor (of the buffer's length, or one element for all).
    State(Tensor),
    /// Unspecified at the start of a tick.
    Temp,
    /// One frame per tick, read from the host's array `name`.
    Input,
    /// One frame per tick, written to the host's array `name`; zero at the start of the tick.
    Output,
    /// One frame in each tick that is a multiple of `every`; zero before it is written. Its kernels carry the same
    /// `every`.
    Probe {
        /// Ticks between frames, at least 1.
        every: u64,
    },
}

/// A typed, flat piece of memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Buffer {
    /// Name for messages; the array's name for inputs, outputs and probes.
    pub name: String,
    /// Element type in memory. Loads widen: f16 and bf16 to f32 (exact), i16 and i8 to i32 (sign-extended), u16 and u8 to i32
    /// and u32 to i64 (zero-extended); u64 is held as the i64 with the same bits, bool as bool. Stores narrow: f32 to f16
    /// or bf16 by rounding to nearest even, integers by dropping bits.
    pub elem: DType,
    /// Number of elements (of one frame).
    pub len: u64,
    /// What it is for.
    pub role: Role,
}

/// The register type that a memory element becomes when loaded and must have to be stored.
pub const fn loaded_type(elem: DType) -> ScalarType {
    match elem {
        DType::F64 => ScalarType::F64,
        DType::F32 | DType::F16 | DType::BF16 => ScalarType::F32,
        DType::I64 | DType::U64 | DType::U32 => ScalarType::I64,
        DType::I32 | DType::I16 | DType::I8 | DType::U16 | DType::U8 => ScalarType::I32,
        DType::Bool => ScalarType::Bool,
    }
}

/// Lists of active indices: one list per slot, ascending. A list with one slot holds this tick's events; with more it is
/// a ring that is part of the state (empty at the start) and remembers past ticks.
///
/// Only parallel kernels over the list's own `len` and `align` push. Each part fills its own chunk of a slot with indices
/// of its own range; readers see the chunks in order, so the whole is ascending whatever the number of parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventList {
    /// Name for messages.
    pub name: String,
    /// Indices are below this.
    pub len: u64,
    /// Number of slots, at least 1.
    pub slots: u32,
    /// Part boundaries of the kernels that push are multiples of this.
    pub align: u64,
}

impl EventList {
    /// The extent that kernels that push to this list are split over.
    pub fn extent(&self) -> Parallel {
        Parallel { len: self.len, align: self.align }
    }
}

/// The extent that a parallel kernel is split over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parallel {
    /// Number of items.
    pub len: u64,
    /// Part boundaries are multiples of this (and `len`).
    pub align: u64,
}

impl Parallel {
    /// The half-open range of part `part` of `parts`: equal shares of aligned blocks, the first ones one block larger.
    pub fn range(&self, part: u32, parts: u32) -> (u64, u64) {
        let align = self.align.max(1);
        let blocks = self.len.div_ceil(align);
        let at = |p: u64| {
            let (share, extra) = (blocks / u64::from(parts), blocks % u64::from(parts));
            ((share * p + extra.min(p)) * align).min(self.len)
        };
        (at(u64::from(part)), at(u64::from(part) + 1))
    }
}

/// A piece of a tick.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// Name for messages and profiles.
    pub name: String,
    /// The extent it is split over, or `None` for a serial kernel, which part 0 runs.
    pub parallel: Option<Parallel>,
    /// Runs only in ticks that are multiples of this; at least 1.
    pub every: u64,
    /// Values, `i64`, that are defined on entry as the numbers, from 0, of the current iterations of the loops around the
    /// kernel, the outermost first. Inner loops that the kernel does not ask about are left out.
    pub iterations: Vec<Val>,
    /// Number of values; `Val`s are below it.
    pub vals: u32,
    /// The code. [`Kernel::TICK`], [`Kernel::PART`], [`Kernel::LO`] and [`Kernel::HI`] are defined on entry, as are
    /// `iterations`.
    pub body: Block,
}

impl Kernel {
    /// The tick's number, `i64`.
    pub const TICK: Val = Val(0);
    /// The part's number, `i64`.
    pub const PART: Val = Val(1);
    /// First item of the part, `i64`; 0 in a serial kernel.
    pub const LO: Val = Val(2);
    /// One past the last item of the part, `i64`; 0 in a serial kernel.
    pub const HI: Val = Val(3);
    /// Number of values that are defined on entry of every kernel.
    pub const ENTRY_VALS: u32 = 4;
}

/// Statements in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Block {
    /// The statements.
    pub stmts: Vec<Stmt>,
}

/// An element index: `sum(coefficient * value) + offset`, values `i64`, wrapping. Must lie inside the buffer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash)]
pub struct Index {
    /// Values and their coefficients.
    pub terms: Vec<(Val, i64)>,
    /// Constant part.
    pub offset: i64,
}

impl Index {
    /// A constant index.
    pub fn at(offset: i64) -> Index {
        Index { terms: Vec::new(), offset }
    }

    /// A value as index.
    pub fn var(v: Val) -> Index {
        Index { terms: vec![(v, 1)], offset: 0 }
    }

    /// Adds `coefficient * v`.
    pub fn plus(mut self, v: Val, coefficient: i64) -> Index {
        self.terms.push((v, coefficient));
        self
    }

    /// Adds a constant.
    pub fn offset(mut self, by: i64) -> Index {
        self.offset += by;
        self
    }
}

/// A value that a loop carries from one iteration to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carried {
    /// The value inside the body.
    pub param: Val,
    /// The value before the first iteration.
    pub init: Val,
    /// The value at the end of the body.
    pub next: Val,
    /// The value after the loop.
    pub result: Val,
}

/// The body of an event loop for a group of events.
#[derive(Clone, PartialEq, Debug)]
pub struct EventBody {
    /// The indices of the group, `i64`, in order.
    pub vars: Vec<Val>,
    /// The code.
    pub body: Block,
}

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub enum Stmt {
    /// `dst = value`.
    Const {
        /// Defined value.
        dst: Val,
        /// The constant.
        value: Scalar,
    },
    /// `dst = op(args)`.
    Op {
        /// Defined value.
        dst: Val,
        /// The operation.
        op: ScalarOp,
        /// Operands.
        args: Vec<Val>,
    },
    /// `dst = buf[index]`.
    Load {
        /// Defined value, of [`loaded_type`].
        dst: Val,
        /// Buffer.
        buf: BufId,
        /// Element.
        index: Index,
    },
    /// `buf[index] = value`.
    Store {
        /// Buffer, not a constant or input.
        buf: BufId,
        /// Element.
        index: Index,
        /// Value of [`loaded_type`].
        value: Val,
    },
    /// `for var in lo..hi`. With `vector`, the iterations are independent of each other (no iteration reads or writes what
    /// another writes, pushes keep their order) and carry nothing, so a backend may run several at once.
    For {
        /// Loop variable, `i64`.
        var: Val,
        /// First value.
        lo: Val,
        /// One past the last value.
        hi: Val,
        /// Iterations are independent.
        vector: bool,
        /// Carried values; empty if `vector`.
        carried: Vec<Carried>,
        /// The code.
        body: Block,
    },
    /// For the events of a slot in ascending order: whole groups through `wide` while a chunk has as many left, the rest
    /// one by one. Both bodies must do the same work for each event.
    Events {
        /// The list.
        list: ListId,
        /// The slot, `i64`, in `0..slots`.
        slot: Val,
        /// The body for groups of more than one.
        wide: Option<EventBody>,
        /// The body for one event.
        one: EventBody,
    },
    /// Empties this part's chunk of a slot; only in a kernel that may push to the list.
    Clear {
        /// The list.
        list: ListId,
        /// The slot.
        slot: Val,
    },
    /// Appends `index` to this part's chunk of a slot if `cond`; indices must ascend and lie in the part's range.
    Push {
        /// The list.
        list: ListId,
        /// The slot.
        slot: Val,
        /// Condition, `bool`.
        cond: Val,
        /// The index, `i64`.
        index: Val,
    },
    /// Runs `then_body` if `cond`, else `else_body`. Values defined inside are not visible outside.
    If {
        /// Condition, `bool`.
        cond: Val,
        /// When true.
        then_body: Block,
        /// When false.
        else_body: Block,
    },
}
