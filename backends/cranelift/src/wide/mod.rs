//! Loops in eight lanes: Cranelift has registers of 128 bits only, so that the bodies of element-wise loops are encoded
//! here, as functions of their own that Cranelift's code calls.
//!
//! A [`Loop`] is straight-line code on values of eight 32-bit lanes. [`assemble()`] gives it registers and bytes. [`Chains`]
//! are sums of products that stay in registers from the first link to the last, [`listing()`](listing::listing) finds what is
//! not zero. Nothing here knows the kernel IR; what a loop of it becomes is decided in `emit/wide.rs`, `emit/chains.rs`,
//! `emit/picks.rs` and `emit/listing.rs`.

mod assemble;
mod chains;
pub(crate) mod listing;
mod vex;

pub(crate) use assemble::{Code, assemble};
pub(crate) use chains::{Chains, Operand, Pick, Start, Table, Unit};
pub(crate) use vex::{Op, Shift};
pub(crate) mod ops {
    //! The instructions that a [`super::Step`] can name.
    pub(crate) use super::vex::{
        ADDPS, ANDNPS, ANDPS, CMPPS, CVTDQ2PS, CVTTPS2DQ, DIVPS, MULPS, ORPS, PADDD, PBLENDD, PCMPEQD, PCMPGTD, PMULLD,
        PMULUDQ, PSLLD, PSLLVD, PSRAD, PSRAVD, PSRLD, PSRLQ, PSRLVD, PSUBD, ROUNDPS, SQRTPS, SUBPS, XORPS,
    };
}

/// Lanes of a value.
pub(crate) const LANES: i64 = 8;
/// Most pointers of a loop: one register each.
pub(crate) const MAX_POINTERS: usize = 8;

/// An element type in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Elem {
    /// 32 bits.
    Word,
    /// One byte of 0 or 1; a mask in lanes.
    Bool,
    /// 16 bits, sign-extended.
    I16,
    /// 16 bits, zero-extended.
    U16,
    /// 8 bits, sign-extended.
    I8,
    /// 8 bits, zero-extended.
    U8,
}

impl Elem {
    /// Binary logarithm of the size in bytes.
    fn shift(self) -> u8 {
        match self {
            Elem::Word => 2,
            Elem::I16 | Elem::U16 => 1,
            Elem::Bool | Elem::I8 | Elem::U8 => 0,
        }
    }
}

/// Eight elements in a row: those at `pointer + displacement`, moved on with the counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub elem: Elem,
    /// Number of the pointer.
    pub pointer: u8,
    /// In bytes.
    pub displacement: i32,
}

/// A value that the loop computes; numbered in the order of their definitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Temp(pub u32);

/// An operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arg {
    Temp(Temp),
    /// Number of an [`Invariant`].
    Invariant(u32),
    /// Read where it is used, if that is the only place.
    Row(Row),
}

/// A value that is the same in all iterations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Invariant {
    /// These lanes.
    Lanes([u32; 8]),
    /// Parameter n in all lanes.
    Param(u32),
}

/// One step of the body.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Step {
    /// Eight elements.
    Load(Temp, Row),
    /// `op(x)`, with the immediate operand that some instructions have.
    Unary(Op, Temp, Arg, Option<u8>),
    /// `op(x, y)`.
    Binary(Op, Temp, Arg, Arg, Option<u8>),
    /// A shift by a constant.
    Shift(Shift, Temp, Arg, u8),
    /// `x * y + z` with one rounding.
    Fma(Temp, Arg, Arg, Arg),
    /// `if mask then x else y`.
    Blend(Temp, Arg, Arg, Arg),
    /// The number of the first iteration's lane 0 since the loop began, in all lanes.
    Counter(Temp),
    /// Stores eight elements.
    Store(Row, Arg),
    /// Appends the indices of the lanes whose mask is set to a list, and changes values in these lanes.
    Push(Push),
}

/// See [`Step::Push`].
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Push {
    pub mask: Arg,
    /// Pointer and displacement of the list's count.
    pub count: (u8, i32),
    /// Pointer and displacement of the list's first index.
    pub first: (u8, i32),
    /// The parameter that holds the index of the first iteration's lane 0.
    pub index: u32,
    /// Values that become others where the mask is set.
    pub updates: Vec<(Temp, Arg)>,
}

/// A loop over `0, 8, 16, ..` below a count. It is called with a frame and the count; the frame holds the pointers,
/// then the parameters of 32 bits, then room for values that have no register.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Loop {
    pub pointers: usize,
    pub params: usize,
    pub invariants: Vec<Invariant>,
    pub temps: u32,
    pub body: Vec<Step>,
}

impl Loop {
    /// Byte offset of pointer `n` in the frame.
    pub fn pointer(n: usize) -> i32 {
        8 * n as i32
    }

    /// Byte offset of parameter `n` in the frame.
    pub fn param(&self, n: usize) -> i32 {
        8 * self.pointers as i32 + 4 * n as i32
    }
}

#[cfg(test)]
mod tests;
