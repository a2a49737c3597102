//! Encodings of the floating-point unit.

use super::{DOUBLE, UNDEFINED, UNPREDICTABLE, refuse};
use crate::inst::{Inst, Op};

fn new(op: Op, rd: u32, rn: u32, rm: u32, imm: u32) -> Inst {
    Inst::new(op, 2, rd as u8, rn as u8, rm as u8, imm)
}

/// Decodes an instruction of coprocessors 10 and 11.
pub(super) fn decode(a: u32, b: u32, address: u32) -> Inst {
    let double = b >> 8 & 1 == 1;
    match a >> 8 & 15 {
        14 if b >> 4 & 1 == 0 => {
            if double {
                return moves_of_doubles(a, b);
            }
            processing(a, b)
        }
        14 => transfer(a, b),
        12 | 13 if a >> 5 & 15 == 2 => transfer_two(a, b),
        12 | 13 => memory(a, b, address),
        _ => refuse(UNDEFINED, 2),
    }
}

fn moves_of_doubles(a: u32, b: u32) -> Inst {
    // VMOV between double registers is the only processing of doubles that a single-precision unit has.
    let (d, m) = ((b >> 12 & 15) << 1, (b & 15) << 1);
    if a >> 4 & 15 == 11 && a & 15 == 0 && b >> 6 & 3 == 1 && a >> 6 & 1 == 0 && b >> 5 & 1 == 0 {
        return new(Op::VmovD, d, 0, m, 0);
    }
    refuse(DOUBLE, 2)
}

fn processing(a: u32, b: u32) -> Inst {
    let d = (b >> 12 & 15) << 1 | a >> 6 & 1;
    let n = (a & 15) << 1 | b >> 7 & 1;
    let m = (b & 15) << 1 | b >> 5 & 1;
    let low = b >> 6 & 1;
    match (a >> 4 & 11, low) {
        // The product is subtracted with bit 6; VNMLA and VNMLS also negate the addend.
        (0, s) => new(Op::Vmla, d, n, m, 0).ra(s as u8),
        (1, s) => new(Op::Vmla, d, n, m, 0).ra(s as u8 | 2),
        (2, 0) => new(Op::Vmul, d, n, m, 0),
        (2, _) => new(Op::Vnmul, d, n, m, 0),
        (3, 0) => new(Op::Vadd, d, n, m, 0),
        (3, _) => new(Op::Vsub, d, n, m, 0),
        (8, 0) => new(Op::Vdiv, d, n, m, 0),
        (9, s) => new(Op::Vfma, d, n, m, 0).ra(s as u8 | 2),
        (10, s) => new(Op::Vfma, d, n, m, 0).ra(s as u8),
        (11, 0) if b & 0xa0 != 0 => refuse(UNDEFINED, 2),
        (11, 0) => {
            let imm8 = (a & 15) << 4 | b & 15;
            let exponent = if imm8 >> 6 & 1 == 1 { 0x1f << 25 } else { 1 << 30 };
            new(Op::VmovImm, d, 0, 0, (imm8 & 0x80) << 24 | exponent | (imm8 & 0x3f) << 19)
        }
        (11, _) => other(a, b, d, m),
        _ => refuse(UNDEFINED, 2),
    }
}

fn other(a: u32, b: u32, d: u32, m: u32) -> Inst {
    let top = b >> 7 & 1;
    match (a & 15, top) {
        (0, 0) => new(Op::VmovReg, d, 0, m, 0),
        (0, _) => new(Op::Vabs, d, 0, m, 0),
        (1, 0) => new(Op::Vneg, d, 0, m, 0),
        (1, _) => new(Op::Vsqrt, d, 0, m, 0),
        (2, t) => new(Op::VcvtFromHalf, d, 0, m, 0).ra(t as u8),
        (3, t) => new(Op::VcvtToHalf, d, 0, m, 0).ra(t as u8),
        (4, e) => new(Op::Vcmp, d, 0, m, 0).ra(e as u8),
        (5, _) if b & 0x2f != 0 => refuse(UNDEFINED, 2),
        (5, e) => new(Op::Vcmp, d, 0, 0, 0).ra(e as u8 | 2),
        (8, signed) => new(Op::VcvtFloat, d, 0, m, 0).ra(signed as u8),
        (k @ (12 | 13), zero) => new(Op::VcvtInt, d, 0, m, 0).ra((k & 1) as u8 | if zero == 0 { 2 } else { 0 }),
        (k @ (10 | 11 | 14 | 15), wide) => {
            let size = if wide == 1 { 32 } else { 16 };
            let imm = (b & 15) << 1 | b >> 5 & 1;
            if imm > size {
                return refuse(UNPREDICTABLE, 2);
            }
            let ra = u8::from(k & 1 == 0) | if wide == 1 { 0 } else { 2 };
            new(if k >= 14 { Op::VcvtToFixed } else { Op::VcvtFixed }, d, 0, 0, size - imm).ra(ra)
        }
        (7, 1) => refuse(DOUBLE, 2),
        _ => refuse(UNDEFINED, 2),
    }
}

/// A word between the units.
fn transfer(a: u32, b: u32) -> Inst {
    let t = b >> 12 & 15;
    let n = (a & 15) << 1 | b >> 7 & 1;
    let to_core = a >> 4 & 1 == 1;
    let double = b >> 8 & 1 == 1;
    // Bits that must be clear.
    if b & if double { 0x0f } else { 0x6f } != 0 {
        return refuse(UNDEFINED, 2);
    }
    match (a >> 5 & 7, double) {
        (7, false) if a & 15 == 1 && b & 0x80 == 0 && to_core && t != 13 => new(Op::Vmrs, t, 0, 0, 0),
        (7, false) if a & 15 == 1 && b & 0x80 == 0 && !to_core && t != 13 && t != 15 => new(Op::Vmsr, t, 0, 0, 0),
        _ if t == 13 || t == 15 => refuse(UNPREDICTABLE, 2),
        (0, false) => new(if to_core { Op::VmovToCore } else { Op::VmovFromCore }, t, n, 0, 0),
        // A half of a double register.
        (k @ (0 | 1), true) if b >> 7 & 1 == 0 && b >> 5 & 3 == 0 => {
            new(if to_core { Op::VmovToCore } else { Op::VmovFromCore }, t, (a & 15) << 1 | k, 0, 0)
        }
        _ => refuse(UNDEFINED, 2),
    }
}

/// Two words between the units.
fn transfer_two(a: u32, b: u32) -> Inst {
    let (t, t2) = (b >> 12 & 15, a & 15);
    let double = b >> 8 & 1 == 1;
    let m = if double { (b & 15) << 1 } else { (b & 15) << 1 | b >> 5 & 1 };
    let to_core = a >> 4 & 1 == 1;
    if b >> 6 & 3 != 0 || b >> 4 & 1 != 1 || (double && b >> 5 & 1 == 1) {
        return refuse(UNDEFINED, 2);
    }
    if [13, 15].contains(&t) || [13, 15].contains(&t2) || m == 31 || (to_core && t == t2) {
        return refuse(UNPREDICTABLE, 2);
    }
    new(if to_core { Op::VmovToCore2 } else { Op::VmovFromCore2 }, t, 0, m, 0).ra(t2 as u8)
}

/// Loads and stores.
fn memory(a: u32, b: u32, address: u32) -> Inst {
    let n = a & 15;
    let double = b >> 8 & 1 == 1;
    let d = if double { (b >> 12 & 15) << 1 } else { (b >> 12 & 15) << 1 | a >> 6 & 1 };
    let (before, up, back, load) = (a >> 8 & 1 == 1, a >> 7 & 1 == 1, a >> 5 & 1 == 1, a >> 4 & 1 == 1);
    let imm = (b & 0xff) * 4;
    if double && a >> 6 & 1 == 1 {
        return refuse(UNDEFINED, 2);
    }
    if before && !back {
        let offset = if up { imm } else { imm.wrapping_neg() };
        let count = if double { 2 } else { 1 };
        if n == 15 && !load {
            return refuse(UNPREDICTABLE, 2);
        }
        let offset = if n == 15 { ((address + 4) & !3).wrapping_add(offset) } else { offset };
        return new(if load { Op::Vldr } else { Op::Vstr }, d, n, 0, offset).ra(count);
    }
    let count = b & 0xff;
    let mode = match (before, up) {
        (false, true) => 0,
        (true, false) if back => 2,
        _ => return refuse(UNDEFINED, 2),
    };
    if n == 15 || count == 0 || d + count > 32 || (double && count & 1 == 1) {
        return refuse(UNPREDICTABLE, 2);
    }
    new(if load { Op::Vldm } else { Op::Vstm }, d, n, 0, mode | u32::from(back)).ra(count as u8)
}
