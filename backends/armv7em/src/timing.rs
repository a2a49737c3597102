//! An estimate of a Cortex-M4F's cycles.
//!
//! The figures follow the instruction timing tables of Arm's Cortex-M4 technical reference manual as we remember
//! them, without wait states: memory is single-cycle, branches refill in two cycles, a single load or store that
//! follows another one is pipelined. They are an estimate: contention between cores, alignment of branch targets,
//! folding of IT and the operands of divisions and of the floating-point pipeline are simplified.

use crate::inst::{Inst, Op};

/// Cycles that a taken branch adds.
pub const REFILL: u8 = 2;

/// Cycles of a division by the position of the quotient's highest bit.
#[inline]
pub fn division(dividend: u32, divisor: u32) -> u64 {
    if divisor == 0 || dividend < divisor {
        return 2;
    }
    let bits = divisor.leading_zeros() - dividend.leading_zeros();
    u64::from(3 + bits / 4).min(12)
}

/// Cycles without what depends on data: taken branches and divisions.
pub fn cycles(i: &Inst) -> u8 {
    match i.op {
        Op::Ldr | Op::Ldrh | Op::Ldrb | Op::Ldrsh | Op::Ldrsb | Op::LdrAbs | Op::Index | Op::LdrPc => 2,
        Op::LdrR | Op::LdrhR | Op::LdrbR | Op::LdrshR | Op::LdrsbR => 2,
        Op::Str | Op::Strh | Op::Strb | Op::StrR | Op::StrhR | Op::StrbR => 2,
        Op::Ldrd | Op::Strd | Op::IndexD | Op::LdrdAbs => 3,
        Op::Ldm | Op::Stm => 1 + (i.imm & 0xffff).count_ones() as u8,
        Op::Vldr | Op::Vstr | Op::Vldm | Op::Vstm => 1 + i.ra,
        Op::Mla | Op::Mls | Op::Tb | Op::Vmsr | Op::VmovToCore2 | Op::VmovFromCore2 => 2,
        Op::Vmla | Op::Vfma => 3,
        Op::Vdiv | Op::Vsqrt => 14,
        Op::Sdiv | Op::Udiv => 0,
        _ => 1,
    }
}

/// True for an access that is pipelined behind another one, or before one: a single load or store without a new base.
pub fn pipelined(i: &Inst) -> bool {
    cycles(i) == 2
        && matches!(
            i.op,
            Op::Ldr
                | Op::Ldrh
                | Op::Ldrb
                | Op::Ldrsh
                | Op::Ldrsb
                | Op::LdrAbs
                | Op::LdrR
                | Op::LdrhR
                | Op::LdrbR
                | Op::LdrshR
                | Op::LdrsbR
                | Op::Str
                | Op::Strh
                | Op::Strb
        )
}
