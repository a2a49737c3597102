//! 32-bit encodings of the integer unit.

use super::{COPROCESSOR, DUAL, EXCLUSIVE, PARALLEL, SPECIAL, STATE, UNDEFINED, UNPREDICTABLE};
use super::{float, refuse, shift, sign, target};
use crate::inst::{Inst, Op, alu, size};

fn new(op: Op, rd: u32, rn: u32, rm: u32, imm: u32) -> Inst {
    Inst::new(op, 2, rd as u8, rn as u8, rm as u8, imm)
}

/// Decodes a long instruction.
pub(super) fn decode(first: u16, second: u16, address: u32) -> Inst {
    let (a, b) = (u32::from(first), u32::from(second));
    match a >> 11 & 3 {
        1 => match a >> 9 & 3 {
            0 if a >> 6 & 1 == 0 => multiple(a, b),
            0 => double(a, b, address),
            1 => shifted(a, b),
            _ => coprocessor(a, b, address),
        },
        2 if b >> 15 == 0 && a >> 9 & 1 == 0 => modified(a, b),
        2 if b >> 15 == 0 => plain(a, b, address),
        2 => branch(a, b, address),
        _ => match a >> 8 & 7 {
            0 | 1 => single(a, b, address),
            2 => register(a, b),
            3 if a >> 7 & 1 == 0 => multiply(a, b),
            3 => multiply_long(a, b),
            _ => coprocessor(a, b, address),
        },
    }
}

fn coprocessor(a: u32, b: u32, address: u32) -> Inst {
    if b >> 9 & 7 == 5 && a >> 12 == 14 { float::decode(a, b, address) } else { refuse(COPROCESSOR, 2) }
}

/// True if a register is the stack pointer or the program counter.
fn bad(r: u32) -> bool {
    r == 13 || r == 15
}

/// LDM, STM, PUSH, POP.
fn multiple(a: u32, b: u32) -> Inst {
    let (n, load, back) = (a & 15, a >> 4 & 1 == 1, a >> 5 & 1);
    let below = match a >> 7 & 3 {
        1 => 0,
        2 => 1,
        _ => return refuse(STATE, 2),
    };
    let ok = b.count_ones() >= 2 && n != 15 && b >> 13 & 1 == 0 && (load || b >> 15 == 0) && b >> 14 != 3;
    if !ok || (back == 1 && b >> n & 1 == 1) {
        return refuse(UNPREDICTABLE, 2);
    }
    new(if load { Op::Ldm } else { Op::Stm }, 0, n, 0, b | back << 16 | below << 17)
}

/// LDRD, STRD, table branches, exclusive accesses.
fn double(a: u32, b: u32, address: u32) -> Inst {
    let (n, t, t2, imm) = (a & 15, b >> 12, b >> 8 & 15, (b & 0xff) * 4);
    let (before, up, back, load) = (a >> 8 & 1 == 1, a >> 7 & 1 == 1, a >> 5 & 1 == 1, a >> 4 & 1 == 1);
    if !before && !back {
        return match (a >> 4 & 15, b >> 4 & 15) {
            (13, 0 | 1) if b >> 8 == 0xf0 => {
                let m = b & 15;
                if bad(m) || n == 13 {
                    return refuse(UNPREDICTABLE, 2);
                }
                new(Op::Tb, 0, n, m, address + 4).ra((b >> 4 & 1) as u8)
            }
            _ => refuse(EXCLUSIVE, 2),
        };
    }
    let offset = if up { imm } else { imm.wrapping_neg() };
    if bad(t) || bad(t2) || (load && t == t2) || (back && (n == 15 || n == t || n == t2)) || (!load && n == 15) {
        return refuse(UNPREDICTABLE, 2);
    }
    if n == 15 {
        return new(Op::LdrdAbs, t, 0, 0, ((address + 4) & !3).wrapping_add(offset)).ra(t2 as u8);
    }
    if back {
        return new(Op::IndexD, t, n, u32::from(!before) | u32::from(load) << 1, offset).ra(t2 as u8);
    }
    new(if load { Op::Ldrd } else { Op::Strd }, t, n, 0, offset).ra(t2 as u8)
}

/// The operation of a data-processing encoding, with the register that is not there replaced.
fn operation(a: u32, d: u32, n: u32) -> Option<u8> {
    let s = a >> 4 & 1 == 1;
    let op = match (a >> 5 & 15, s && d == 15, n == 15) {
        (0, true, _) => alu::TST,
        (0, ..) => alu::AND,
        (1, ..) => alu::BIC,
        (2, _, true) => alu::MOV,
        (2, ..) => alu::ORR,
        (3, _, true) => alu::MVN,
        (3, ..) => alu::ORN,
        (4, true, _) => alu::TEQ,
        (4, ..) => alu::EOR,
        (8, true, _) => alu::CMN,
        (8, ..) => alu::ADD,
        (10, ..) => alu::ADC,
        (11, ..) => alu::SBC,
        (13, true, _) => alu::CMP,
        (13, ..) => alu::SUB,
        (14, ..) => alu::RSB,
        _ => return None,
    };
    let named = matches!(op, alu::TST | alu::TEQ | alu::CMN | alu::CMP);
    let unary = matches!(op, alu::MOV | alu::MVN);
    let stack = matches!(op, alu::ADD | alu::SUB | alu::MOV | alu::CMP | alu::CMN);
    if (d == 15 && !named) || (n == 15 && !unary) || (!stack && (d == 13 || (n == 13 && !unary))) {
        return None;
    }
    Some(op | if s { alu::S } else { 0 })
}

/// Data processing with a shifted register.
fn shifted(a: u32, b: u32) -> Inst {
    let (n, d, m) = (a & 15, b >> 8 & 15, b & 15);
    let (kind, amount) = (b >> 4 & 3, b >> 10 & 0x1c | b >> 6 & 3);
    if b >> 15 != 0 {
        return refuse(UNDEFINED, 2);
    }
    if a >> 5 & 15 == 6 {
        if bad(d) || bad(n) || bad(m) || kind & 1 != 0 || a >> 4 & 1 == 1 {
            return refuse(UNDEFINED, 2);
        }
        // The bottom comes from rn and the top from shifted rm, or the other way round.
        return new(Op::Pkh, d, n, m, shift(kind, amount)).ra((kind >> 1) as u8);
    }
    let plain_move = a >> 5 & 15 == 2 && n == 15 && kind == 0 && amount == 0;
    if m == 15 || (m == 13 && !plain_move) {
        return refuse(UNPREDICTABLE, 2);
    }
    let Some(op) = operation(a, d, n) else { return refuse(UNPREDICTABLE, 2) };
    match (op, kind, amount) {
        (alu::MOV, 0, 0) => new(Op::MovReg, d, 0, m, 0),
        (alu::MOV, 0, k) => new(Op::LslImm, d, 0, m, k),
        (alu::MOV, 1, k @ 1..) => new(Op::LsrImm, d, 0, m, k),
        (alu::ADD, 0, 0) => new(Op::AddReg, d, n, m, 0),
        (alu::ADD, 0, k) => new(Op::AddLsl, d, n, m, k),
        (alu::SUB, 0, 0) => new(Op::SubReg, d, n, m, 0),
        (_, 0, 0) => new(Op::AluReg, d, n, m, 0).ra(op),
        _ => new(Op::AluShift, d, n, m, shift(kind, amount)).ra(op),
    }
}

/// The value of a modified immediate, and whether it was rotated.
fn expand(imm12: u32) -> Option<(u32, bool)> {
    let byte = imm12 & 0xff;
    if imm12 >> 10 != 0 {
        return Some(((0x80 | imm12 & 0x7f).rotate_right(imm12 >> 7), true));
    }
    let value = match imm12 >> 8 {
        0 => return Some((byte, false)),
        1 => byte << 16 | byte,
        2 => byte << 24 | byte << 8,
        _ => byte * 0x0101_0101,
    };
    (byte != 0).then_some((value, false))
}

fn imm12(a: u32, b: u32) -> u32 {
    (a >> 10 & 1) << 11 | (b >> 12 & 7) << 8 | b & 0xff
}

/// Data processing with a modified immediate.
fn modified(a: u32, b: u32) -> Inst {
    let (n, d) = (a & 15, b >> 8 & 15);
    let Some((value, rotated)) = expand(imm12(a, b)) else { return refuse(UNPREDICTABLE, 2) };
    let Some(op) = operation(a, d, n) else { return refuse(UNPREDICTABLE, 2) };
    if op & 15 == alu::MOV && d == 13 {
        return refuse(UNPREDICTABLE, 2);
    }
    match op {
        alu::MOV => new(Op::MovImm, d, 0, 0, value),
        alu::ADD => new(Op::AddImm, d, n, 0, value),
        alu::SUB => new(Op::AddImm, d, n, 0, value.wrapping_neg()),
        _ => new(Op::AluImm, d, n, 0, value).ra(op | if rotated { alu::C } else { 0 }),
    }
}

/// ADDW, SUBW, MOVW, MOVT, bit fields, saturation.
fn plain(a: u32, b: u32, address: u32) -> Inst {
    let (n, d) = (a & 15, b >> 8 & 15);
    let imm = imm12(a, b);
    let low = b >> 10 & 0x1c | b >> 6 & 3;
    let width = b & 31;
    if d == 15 || (d == 13 && !(a >> 4 & 31 == 0 || a >> 4 & 31 == 10)) {
        return refuse(UNPREDICTABLE, 2);
    }
    // Bit fields and saturation have bits that must be clear.
    if a >> 8 & 1 == 1 && (a >> 10 & 1 == 1 || b >> 5 & 1 == 1) {
        return refuse(UNDEFINED, 2);
    }
    let pc = (address + 4) & !3;
    match a >> 4 & 31 {
        0 | 10 if n == 15 && d == 13 => refuse(UNPREDICTABLE, 2),
        0 if n == 15 => new(Op::MovImm, d, 0, 0, pc + imm),
        0 => new(Op::AddImm, d, n, 0, imm),
        10 if n == 15 => new(Op::MovImm, d, 0, 0, pc.wrapping_sub(imm)),
        10 => new(Op::AddImm, d, n, 0, imm.wrapping_neg()),
        4 => new(Op::MovImm, d, 0, 0, n << 12 | imm),
        12 => new(Op::Movt, d, 0, 0, n << 12 | imm),
        k @ (16 | 18 | 24 | 26) => {
            if bad(n) || (k & 2 != 0 && low == 0) {
                // Saturation of two halves.
                return refuse(if bad(n) { UNPREDICTABLE } else { PARALLEL }, 2);
            }
            let op = if k < 24 { Op::Ssat } else { Op::Usat };
            let bits = if k < 24 { width + 1 } else { width };
            new(op, d, n, 0, shift(k & 2, low)).ra(bits as u8)
        }
        k @ (20 | 28) => {
            if bad(n) || low + width > 31 {
                return refuse(UNPREDICTABLE, 2);
            }
            new(if k == 20 { Op::Sbfx } else { Op::Ubfx }, d, n, 0, low).ra((width + 1) as u8)
        }
        22 => {
            if n == 13 || width < low {
                return refuse(UNPREDICTABLE, 2);
            }
            new(if n == 15 { Op::Bfc } else { Op::Bfi }, d, n, 0, low).ra((width - low + 1) as u8)
        }
        _ => refuse(UNDEFINED, 2),
    }
}

/// Branches, hints, barriers, flags.
fn branch(a: u32, b: u32, address: u32) -> Inst {
    let (link, wide) = (b >> 14 & 1 == 1, b >> 12 & 1 == 1);
    if wide {
        let s = a >> 10 & 1;
        let (i1, i2) = (!(b >> 13 ^ s) & 1, !(b >> 11 ^ s) & 1);
        let offset = s << 24 | i1 << 23 | i2 << 22 | (a & 0x3ff) << 12 | (b & 0x7ff) << 1;
        return new(if link { Op::Bl } else { Op::B }, 0, 0, 0, target(address, sign(offset, 25)));
    }
    if link {
        return refuse(UNDEFINED, 2);
    }
    let cond = a >> 6 & 15;
    if cond < 14 {
        let offset =
            (a >> 10 & 1) << 20 | (b >> 11 & 1) << 19 | (b >> 13 & 1) << 18 | (a & 63) << 12 | (b & 0x7ff) << 1;
        return Inst { cond: cond as u8, ..new(Op::Bcond, 0, 0, 0, target(address, sign(offset, 21))) };
    }
    match a >> 4 & 0x7f {
        0x38 | 0x39 if b & 0xff == 0 && b >> 8 & 3 == 0 && !bad(a & 15) => new(Op::Msr, 0, a & 15, 0, b >> 11 & 1),
        0x3a if a & 15 == 15 && b == 0x8002 => new(Op::Wait, 0, 0, 0, 0),
        0x3a if a & 15 == 15 && b == 0x8003 => new(Op::Wait, 0, 0, 0, 0),
        0x3a if a & 15 == 15 && b & 0xff00 == 0x8000 => new(Op::Nop, 0, 0, 0, 0),
        0x3b if a & 15 == 15 && b >> 4 & 15 >= 4 && b >> 4 & 15 <= 6 => new(Op::Nop, 0, 0, 0, 0),
        0x3b => refuse(EXCLUSIVE, 2),
        0x3e | 0x3f if b & 0xff == 0 && !bad(b >> 8 & 15) => new(Op::Mrs, b >> 8 & 15, 0, 0, 0),
        _ => refuse(SPECIAL, 2),
    }
}

/// Loads and stores of one register.
fn single(a: u32, b: u32, address: u32) -> Inst {
    let (n, t) = (a & 15, b >> 12);
    let (signed, load) = (a >> 8 & 1 == 1, a >> 4 & 1 == 1);
    let width = a >> 5 & 3;
    if width == 3 || (signed && (!load || width == 2)) || (!load && n == 15) {
        return refuse(UNDEFINED, 2);
    }
    let code = width as u8 | if signed { 4 } else { 0 };
    // A load of a byte or half to the program counter is a hint to fetch.
    if load && width != 2 && t == 15 {
        let known = n == 15 || a >> 7 & 1 == 1 || b >> 8 & 15 == 12 || b >> 6 & 63 == 0;
        return if known { new(Op::Nop, 0, 0, 0, 0) } else { refuse(UNDEFINED, 2) };
    }
    if (t == 13 && width != 2) || (t == 15 && !load) {
        return refuse(UNPREDICTABLE, 2);
    }
    let to_pc = t == 15;
    if n == 15 {
        let imm = if a >> 7 & 1 == 1 { b & 0xfff } else { (b & 0xfff).wrapping_neg() };
        let from = ((address + 4) & !3).wrapping_add(imm);
        return if to_pc { new(Op::LdrPc, 15, 15, 0, from) } else { new(Op::LdrAbs, t, 0, 0, from).ra(code) };
    }
    let direct = |imm: u32| {
        let op = match (load, code) {
            _ if to_pc => Op::LdrPc,
            (true, size::B) => Op::Ldrb,
            (true, size::H) => Op::Ldrh,
            (true, size::W) => Op::Ldr,
            (true, size::SB) => Op::Ldrsb,
            (true, _) => Op::Ldrsh,
            (false, size::B) => Op::Strb,
            (false, size::H) => Op::Strh,
            (false, _) => Op::Str,
        };
        new(op, t, n, 0, imm)
    };
    if a >> 7 & 1 == 1 {
        return direct(b & 0xfff);
    }
    let imm = b & 0xff;
    if b >> 11 & 1 == 0 {
        let (m, amount) = (b & 15, b >> 4 & 3);
        if b >> 6 & 31 != 0 || bad(m) || to_pc {
            return refuse(UNDEFINED, 2);
        }
        let op = match (load, code) {
            (true, size::B) => Op::LdrbR,
            (true, size::H) => Op::LdrhR,
            (true, size::W) => Op::LdrR,
            (true, size::SB) => Op::LdrsbR,
            (true, _) => Op::LdrshR,
            (false, size::B) => Op::StrbR,
            (false, size::H) => Op::StrhR,
            (false, _) => Op::StrR,
        };
        return new(op, t, n, m, amount);
    }
    let (before, up, back) = (b >> 10 & 1 == 1, b >> 9 & 1 == 1, b >> 8 & 1 == 1);
    let offset = if up { imm } else { imm.wrapping_neg() };
    match (before, back) {
        (true, false) if up => refuse(STATE, 2),
        (true, false) => direct(offset),
        (false, false) => refuse(UNDEFINED, 2),
        _ if n == t && !to_pc => refuse(UNPREDICTABLE, 2),
        _ => {
            let flags = code | if before { 0 } else { size::POST } | if load { size::LOAD } else { 0 };
            new(if to_pc { Op::LdrPc } else { Op::Index }, t, n, 0, offset).ra(flags)
        }
    }
}

/// Shifts by registers, extensions, reversals, saturating additions.
fn register(a: u32, b: u32) -> Inst {
    let (n, d, m) = (a & 15, b >> 8 & 15, b & 15);
    if b >> 12 != 15 || bad(d) || bad(m) || n == 13 {
        return refuse(UNPREDICTABLE, 2);
    }
    let (x, y) = (a >> 4 & 15, b >> 4 & 15);
    match (x, y) {
        (0..=7, 0) if n != 15 => new(Op::ShiftReg, d, n, m, 0).ra((x >> 1) as u8 | if x & 1 == 1 { alu::S } else { 0 }),
        (0..=5, 8..=11) => new(Op::Extend, d, n, m, (y & 3) * 8).ra(x as u8),
        (8, 8..=11) if n != 15 => new(Op::Qadd, d, n, m, 0).ra([0, 2, 1, 3][(y & 3) as usize]),
        (9, 8..=11) if n == m => new([Op::Rev, Op::Rev16, Op::Rbit, Op::Revsh][(y & 3) as usize], d, 0, m, 0),
        (11, 8) if n == m => new(Op::Clz, d, 0, m, 0),
        (8..=15, 0..=11) => refuse(PARALLEL, 2),
        _ => refuse(UNDEFINED, 2),
    }
}

/// Multiplications with a word as result.
fn multiply(a: u32, b: u32) -> Inst {
    let (n, d, m, acc) = (a & 15, b >> 8 & 15, b & 15, b >> 12);
    if bad(n) || bad(d) || bad(m) || acc == 13 {
        return refuse(UNPREDICTABLE, 2);
    }
    let kind = b >> 4 & 15;
    match (a >> 4 & 7, kind) {
        (0, 0) if acc == 15 => new(Op::Mul, d, n, m, 0),
        (0, 0) => new(Op::Mla, d, n, m, 0).ra(acc as u8),
        (0, 1) if acc != 15 => new(Op::Mls, d, n, m, 0).ra(acc as u8),
        (1, 0..=3) => new(Op::SmulXy, d, n, m, kind).ra(acc as u8),
        (2, 0 | 1) => new(Op::Smuad, d, n, m, kind).ra(acc as u8),
        (3, 0 | 1) => new(Op::SmulW, d, n, m, kind).ra(acc as u8),
        (4, 0 | 1) => new(Op::Smuad, d, n, m, kind | 2).ra(acc as u8),
        (5, 0 | 1) => new(Op::Smmul, d, n, m, kind).ra(acc as u8),
        (6, 0 | 1) if acc != 15 => new(Op::Smmul, d, n, m, kind | 2).ra(acc as u8),
        (7, 0) => refuse(DUAL, 2),
        _ => refuse(UNDEFINED, 2),
    }
}

/// Multiplications with two words as result, and divisions.
fn multiply_long(a: u32, b: u32) -> Inst {
    let (n, high, m, low) = (a & 15, b >> 8 & 15, b & 15, b >> 12);
    if bad(n) || bad(high) || bad(m) {
        return refuse(UNPREDICTABLE, 2);
    }
    let kind = (a >> 4 & 7, b >> 4 & 15);
    if let (1 | 3, 15) = kind {
        return match low {
            15 => new(if kind.0 == 1 { Op::Sdiv } else { Op::Udiv }, high, n, m, 0),
            _ => refuse(UNPREDICTABLE, 2),
        };
    }
    if bad(low) || low == high {
        return refuse(UNPREDICTABLE, 2);
    }
    let two = |op, imm| new(op, low, n, m, imm).ra(high as u8);
    match kind {
        (0, 0) => two(Op::Smull, 0),
        (2, 0) => two(Op::Umull, 0),
        (4, 0) => two(Op::Smlal, 0),
        (6, 0) => two(Op::Umlal, 0),
        (6, 6) => two(Op::Umaal, 0),
        (4, 8..=11) => two(Op::SmlalXy, kind.1 & 3),
        (4 | 5, 12 | 13) => refuse(DUAL, 2),
        _ => refuse(UNDEFINED, 2),
    }
}
