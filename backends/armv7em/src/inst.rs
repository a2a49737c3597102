//! Decoded instructions.

/// A decoded instruction. What the fields mean is said at its [`Op`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inst {
    /// What to do.
    pub op: Op,
    /// Condition (14: always), from an IT block or of a branch.
    pub cond: u8,
    /// Halfwords: 1 or 2.
    pub len: u8,
    /// Estimated cycles, without what depends on data.
    pub cycles: u8,
    /// Destination, or the source of a store.
    pub rd: u8,
    /// First operand.
    pub rn: u8,
    /// Second operand.
    pub rm: u8,
    /// Third operand or a sub-operation.
    pub ra: u8,
    /// Immediate: a number, a target, a list of registers.
    pub imm: u32,
}

impl Inst {
    /// Always.
    pub const AL: u8 = 14;

    /// An instruction with an immediate.
    pub(crate) fn new(op: Op, len: u8, rd: u8, rn: u8, rm: u8, imm: u32) -> Inst {
        Inst { op, cond: Inst::AL, len, cycles: 1, rd, rn, rm, ra: 0, imm }
    }

    /// With a fourth field.
    pub(crate) fn ra(self, ra: u8) -> Inst {
        Inst { ra, ..self }
    }
}

/// Operations of [`Op::AluImm`] and its kin, in `ra & 15`.
pub(crate) mod alu {
    pub const AND: u8 = 0;
    pub const BIC: u8 = 1;
    pub const ORR: u8 = 2;
    pub const ORN: u8 = 3;
    pub const EOR: u8 = 4;
    pub const ADD: u8 = 5;
    pub const ADC: u8 = 6;
    pub const SBC: u8 = 7;
    pub const SUB: u8 = 8;
    pub const RSB: u8 = 9;
    pub const MOV: u8 = 10;
    pub const MVN: u8 = 11;
    pub const TST: u8 = 12;
    pub const TEQ: u8 = 13;
    pub const CMP: u8 = 14;
    pub const CMN: u8 = 15;
    /// Sets the flags.
    pub const S: u8 = 16;
    /// A logical operation with a rotated immediate: carry is its bit 31.
    pub const C: u8 = 32;
}

/// Sizes of memory accesses in `ra & 7`.
pub(crate) mod size {
    pub const B: u8 = 0;
    pub const H: u8 = 1;
    pub const W: u8 = 2;
    pub const SB: u8 = 4;
    pub const SH: u8 = 5;
    /// The address is that before the base is changed.
    pub const POST: u8 = 8;
    /// A load.
    pub const LOAD: u8 = 16;
}

/// What an instruction does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Op {
    /// Not yet decoded.
    New,
    /// Not implemented; `imm` is the number of its name.
    Unsupported,
    /// Nothing.
    Nop,
    /// `wfi`, `wfe`.
    Wait,
    /// `svc`.
    Svc,
    /// `bkpt`.
    Bkpt,
    /// `rd = imm`.
    MovImm,
    /// `rd = rm`.
    MovReg,
    /// `rd = rn + imm`.
    AddImm,
    /// `rd = rn + rm`.
    AddReg,
    /// `rd = rn - rm`.
    SubReg,
    /// `rd = rn + (rm << imm)`.
    AddLsl,
    /// `rd = rn + imm`, flags.
    AddsImm,
    /// `rd = rn - imm`, flags.
    SubsImm,
    /// `rd = rn + rm`, flags.
    AddsReg,
    /// `rd = rn - rm`, flags.
    SubsReg,
    /// `rn - imm`, flags only.
    CmpImm,
    /// `rn - rm`, flags only.
    CmpReg,
    /// `rd = rm << imm`.
    LslImm,
    /// `rd = rm >> imm`, logical, `imm` in 1..=31.
    LsrImm,
    /// `rd = rn op imm`.
    AluImm,
    /// `rd = rn op rm`.
    AluReg,
    /// `rd = rn op shift(rm)`: `imm` is the kind in bits 8.. (0 lsl, 1 lsr, 2 asr, 3 ror, 4 rrx) and the amount.
    AluShift,
    /// `rd = shift(rn, rm)`: `ra` is the kind and `alu::S`.
    ShiftReg,
    /// `rd = (rd & 0xffff) | imm << 16`.
    Movt,
    /// `rd = bits of rn`: `imm` is the lowest bit, `ra` the width.
    Ubfx,
    /// Signed [`Op::Ubfx`].
    Sbfx,
    /// Inserts the low `ra` bits of `rn` at bit `imm`.
    Bfi,
    /// Clears `ra` bits at bit `imm`.
    Bfc,
    /// Signed saturation of shifted `rn` to `ra` bits; `imm` as in [`Op::AluShift`].
    Ssat,
    /// Unsigned [`Op::Ssat`].
    Usat,
    /// `rd = extend(ror(rm, imm)) (+ rn unless 15)`: `ra` 0 sxth, 1 uxth, 2 sxtb16, 3 uxtb16, 4 sxtb, 5 uxtb.
    Extend,
    /// Leading zeros.
    Clz,
    /// Bits in reverse.
    Rbit,
    /// Bytes in reverse.
    Rev,
    /// Bytes in reverse in each half.
    Rev16,
    /// Bytes of the low half in reverse, sign-extended.
    Revsh,
    /// Halves packed; `ra` 1 for the top of `rn`.
    Pkh,
    /// Product; `ra` has `alu::S`.
    Mul,
    /// `ra + rn * rm`.
    Mla,
    /// `ra - rn * rm`.
    Mls,
    /// Product of halves: `imm` bit 0 top of `rm`, bit 1 top of `rn`; plus `ra` unless 15.
    SmulXy,
    /// Upper part of a word times a half; plus `ra` unless 15.
    SmulW,
    /// Sum of two products of halves: `imm` bit 0 exchange, bit 1 subtract; plus `ra` unless 15.
    Smuad,
    /// Upper word of a product: `imm` bit 0 rounds, bit 1 subtracts from; plus `ra` unless 15.
    Smmul,
    /// `ra:rd = rn * rm`, unsigned.
    Umull,
    /// Signed.
    Smull,
    /// Adds to `ra:rd`, unsigned.
    Umlal,
    /// Signed.
    Smlal,
    /// `ra:rd = rn * rm + ra + rd`.
    Umaal,
    /// Adds a product of halves to `ra:rd`; `imm` as in [`Op::SmulXy`].
    SmlalXy,
    /// Quotient, signed.
    Sdiv,
    /// Quotient, unsigned.
    Udiv,
    /// Saturating `rm (+/-) rn`: `ra` bit 0 subtracts, bit 1 doubles `rn` first.
    Qadd,
    /// Goes to `imm` (a number of a halfword).
    B,
    /// Goes to `imm` if the condition holds.
    Bcond,
    /// Goes to `imm` if `rn` is zero.
    Cbz,
    /// Goes to `imm` unless `rn` is zero.
    Cbnz,
    /// Calls `imm`; `lr` is set.
    Bl,
    /// Goes to the address in `rm`.
    Bx,
    /// Calls the address in `rm`.
    Blx,
    /// Table branch: base `rn` (15: `imm`), index `rm`, `ra` 1 for halves.
    Tb,
    /// Loads of `[rn + imm]`.
    Ldr,
    /// Half, zero-extended.
    Ldrh,
    /// Byte.
    Ldrb,
    /// Half, sign-extended.
    Ldrsh,
    /// Byte, sign-extended.
    Ldrsb,
    /// Stores to `[rn + imm]`.
    Str,
    /// Half.
    Strh,
    /// Byte.
    Strb,
    /// Loads of `[rn + (rm << imm)]`.
    LdrR,
    /// Half, zero-extended.
    LdrhR,
    /// Byte.
    LdrbR,
    /// Half, sign-extended.
    LdrshR,
    /// Byte, sign-extended.
    LdrsbR,
    /// Stores to `[rn + (rm << imm)]`.
    StrR,
    /// Half.
    StrhR,
    /// Byte.
    StrbR,
    /// A load of the address `imm`; `ra` is the size.
    LdrAbs,
    /// An access that changes its base: `ra` is a size with flags.
    Index,
    /// A load of the program counter from `[rn + imm]`, or `[imm]` if `rn` is 15; `ra` as in [`Op::Index`], 0 keeps the
    /// base.
    LdrPc,
    /// Two words at `[rn + imm]`: `rd`, `ra`.
    Ldrd,
    /// Two words.
    Strd,
    /// Two words, changes its base: `rm` bit 0 is set after the access, bit 1 for a load.
    IndexD,
    /// Two words at address `imm`.
    LdrdAbs,
    /// Loads the list `imm & 0xffff` from `rn` upward; bit 16 writes the base back, bit 17 begins below.
    Ldm,
    /// Stores.
    Stm,
    /// Reads the flags (`apsr`).
    Mrs,
    /// Writes the flags: `imm` bit 0 says that N to Q are written.
    Msr,
    /// `s[rd] = s[rn] + s[rm]`.
    Vadd,
    /// Difference.
    Vsub,
    /// Product.
    Vmul,
    /// Negated product.
    Vnmul,
    /// `s[rd] += s[rn] * s[rm]`, two roundings: `ra` bit 0 negates the product, bit 1 the addend.
    Vmla,
    /// One rounding; `ra` as in [`Op::Vmla`].
    Vfma,
    /// Quotient.
    Vdiv,
    /// Square root of `s[rm]`.
    Vsqrt,
    /// Magnitude.
    Vabs,
    /// Negation.
    Vneg,
    /// `s[rd] = s[rm]`.
    VmovReg,
    /// `s[rd] = imm`.
    VmovImm,
    /// Two singles: `d[rd] = d[rm]`.
    VmovD,
    /// Compares `s[rd]` with `s[rm]`: `ra` bit 0 signals quiet NaNs, bit 1 compares with zero.
    Vcmp,
    /// To integer: `ra` bit 0 signed, bit 1 rounds to nearest instead of toward zero.
    VcvtInt,
    /// From integer: `ra` bit 0 signed.
    VcvtFloat,
    /// To fixed point in place: `imm` fraction bits, `ra` bit 0 signed, bit 1 16 bits.
    VcvtToFixed,
    /// From fixed point in place.
    VcvtFixed,
    /// Half to single: `ra` 1 for the top half.
    VcvtFromHalf,
    /// Single to half.
    VcvtToHalf,
    /// `r[rd] = s[rn]`.
    VmovToCore,
    /// `s[rn] = r[rd]`.
    VmovFromCore,
    /// `r[rd], r[ra] = s[rm], s[rm + 1]`.
    VmovToCore2,
    /// `s[rm], s[rm + 1] = r[rd], r[ra]`.
    VmovFromCore2,
    /// Loads `ra` singles from `[rn + imm]` (`rn` 15: from `imm`).
    Vldr,
    /// Stores.
    Vstr,
    /// Loads `ra` singles from `rn` on: `imm` bit 0 writes the base back, bit 1 begins below.
    Vldm,
    /// Stores.
    Vstm,
    /// `r[rd] = fpscr`, or the flags if `rd` is 15.
    Vmrs,
    /// `fpscr = r[rd]`.
    Vmsr,
}
