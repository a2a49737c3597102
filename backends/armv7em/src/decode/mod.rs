//! Decoding: two halfwords to an [`Inst`].

mod float;
mod long;
mod short;

use crate::inst::{Inst, Op};
use crate::timing;

/// Names of what is not implemented; [`Inst::imm`] of [`Op::Unsupported`] is a number of this table.
pub(crate) const NAMES: &[&str] = &[
    "an undefined instruction",
    "an unpredictable use of pc or sp",
    "a coprocessor instruction",
    "an exclusive access",
    "a change of the processor's state",
    "a special register",
    "a parallel addition",
    "an instruction that crosses the end of the code",
    "a double-precision instruction",
    "a branch into or out of an IT block",
    "a saturating or dual multiplication",
    "a rounding or NaN mode of the floating-point unit",
];
pub(crate) const UNDEFINED: u32 = 0;
pub(crate) const UNPREDICTABLE: u32 = 1;
pub(crate) const COPROCESSOR: u32 = 2;
pub(crate) const EXCLUSIVE: u32 = 3;
pub(crate) const STATE: u32 = 4;
pub(crate) const SPECIAL: u32 = 5;
pub(crate) const PARALLEL: u32 = 6;
pub(crate) const CROSSES: u32 = 7;
pub(crate) const DOUBLE: u32 = 8;
pub(crate) const IN_IT: u32 = 9;
pub(crate) const DUAL: u32 = 10;
pub(crate) const MODE: u32 = 11;

/// True for the first half of a long instruction.
pub(crate) fn is_long(first: u16) -> bool {
    first >> 11 >= 0b11101
}

/// An instruction that is not implemented.
pub(crate) fn refuse(name: u32, len: u8) -> Inst {
    Inst::new(Op::Unsupported, len, 0, 0, 0, name)
}

/// Straight-line code that is being decoded.
#[derive(Default)]
pub(crate) struct Block {
    /// The state of the IT block: condition and mask, 0 outside.
    it: u8,
    /// The last instruction was an access that the next one may be pipelined with, which loaded this register.
    access: Option<u8>,
    ends: bool,
}

impl Block {
    /// Decodes the next instruction.
    pub fn next(&mut self, first: u16, second: Option<u16>, address: u32) -> Inst {
        let cond = if self.it != 0 { Some(self.it >> 4) } else { None };
        let mut inst = if is_long(first) {
            match second {
                Some(second) => long::decode(first, second, address),
                None => refuse(CROSSES, 1),
            }
        } else {
            short::decode(first, address, cond.is_some())
        };
        self.ends = goes(&inst);
        let is_it = first & 0xff00 == 0xbf00 && first & 15 != 0;
        if let Some(cond) = cond {
            let last = self.it & 7 == 0;
            if is_it || matches!(inst.op, Op::Bcond | Op::Cbz | Op::Cbnz) || (self.ends && !last && inst.op != Op::Bkpt)
            {
                inst = refuse(IN_IT, inst.len);
                self.ends = true;
            }
            // A breakpoint has no condition.
            inst.cond = if inst.op == Op::Bkpt { Inst::AL } else { cond };
            self.it = if last { 0 } else { self.it & 0xe0 | self.it << 1 & 0x1f };
            // What follows is reached when the condition does not hold.
            self.ends &= inst.op == Op::Unsupported;
        } else if is_it {
            self.it = first as u8;
            if first >> 4 & 15 == 15 || (first >> 4 & 15 == 14 && (first & 15).count_ones() != 1) {
                inst = refuse(UNPREDICTABLE, 1);
                self.ends = true;
            }
        }
        inst.cycles = timing::cycles(&inst);
        let pipelined = timing::pipelined(&inst);
        if let Some(loaded) = self.access
            && pipelined
            && inst.cond == Inst::AL
            && inst.rn != loaded
            && inst.rm != loaded
        {
            inst.cycles -= 1;
        }
        self.access = pipelined.then_some(inst.rd);
        inst
    }

    /// True if what follows the last instruction is not reached from it, or only by return.
    pub fn ends(&self) -> bool {
        self.ends
    }
}

/// True if control never runs on to the next instruction.
fn goes(i: &Inst) -> bool {
    match i.op {
        Op::B | Op::Bx | Op::Tb | Op::LdrPc | Op::Unsupported | Op::Bkpt => true,
        Op::Ldm => i.imm & 1 << 15 != 0,
        _ => false,
    }
}

/// A branch target as a number of a halfword.
pub(crate) fn target(address: u32, offset: i32) -> u32 {
    address.wrapping_add(4).wrapping_add(offset as u32) >> 1
}

/// Sign-extends the low `bits` bits.
pub(crate) fn sign(x: u32, bits: u32) -> i32 {
    (x << (32 - bits)) as i32 >> (32 - bits)
}

/// Kind and amount of a shift as [`Op::AluShift`] has them; `imm5` as encoded.
pub(crate) fn shift(kind: u32, imm5: u32) -> u32 {
    match (kind, imm5) {
        (0, n) => n,
        (3, 0) => 4 << 8 | 1,
        (k, 0) => k << 8 | 32,
        (k, n) => k << 8 | n,
    }
}
