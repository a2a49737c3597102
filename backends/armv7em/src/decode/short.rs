//! 16-bit encodings.

use super::{STATE, UNDEFINED, UNPREDICTABLE, refuse, shift, sign, target};
use crate::inst::{Inst, Op, alu, size};

/// Decodes a short instruction; in an IT block most do not set the flags.
pub(super) fn decode(h: u16, address: u32, in_it: bool) -> Inst {
    let h = u32::from(h);
    let new = |op, rd: u32, rn: u32, rm: u32, imm| Inst::new(op, 1, rd as u8, rn as u8, rm as u8, imm);
    let s = if in_it { 0 } else { alu::S };
    let (d, n, m) = (h & 7, h >> 3 & 7, h >> 6 & 7);
    let imm5 = h >> 6 & 31;
    let (rd8, imm8) = (h >> 8 & 7, h & 0xff);
    let pc = (address + 4) & !3;
    match h >> 11 {
        0b00000 if in_it && imm5 != 0 => new(Op::LslImm, d, 0, n, imm5),
        0b00001 if in_it && imm5 != 0 => new(Op::LsrImm, d, 0, n, imm5),
        k @ 0b00000..=0b00010 => new(Op::AluShift, d, 15, n, shift(k, imm5)).ra(alu::MOV | s),
        0b00011 => {
            let (op, flagged, sub) = match h >> 9 & 3 {
                0 => (Op::AddReg, Op::AddsReg, false),
                1 => (Op::SubReg, Op::SubsReg, false),
                2 => (Op::AddImm, Op::AddsImm, false),
                _ => (Op::AddImm, Op::SubsImm, true),
            };
            if h >> 10 & 1 == 0 {
                new(if in_it { op } else { flagged }, d, n, m, 0)
            } else {
                immediate(new(op, d, n, 0, m), flagged, in_it, sub)
            }
        }
        0b00100 if in_it => new(Op::MovImm, rd8, 0, 0, imm8),
        0b00100 => new(Op::AluImm, rd8, 15, 0, imm8).ra(alu::MOV | s),
        0b00101 => new(Op::CmpImm, 0, rd8, 0, imm8),
        0b00110 => immediate(new(Op::AddImm, rd8, rd8, 0, imm8), Op::AddsImm, in_it, false),
        0b00111 => immediate(new(Op::AddImm, rd8, rd8, 0, imm8), Op::SubsImm, in_it, true),
        0b01000 if h >> 10 & 1 == 0 => {
            let reg = |op| new(Op::AluReg, d, d, n, 0).ra(op | s);
            let by = |kind: u8| new(Op::ShiftReg, d, d, n, 0).ra(kind | s);
            match h >> 6 & 15 {
                0 => reg(alu::AND),
                1 => reg(alu::EOR),
                2 => by(0),
                3 => by(1),
                4 => by(2),
                5 => reg(alu::ADC),
                6 => reg(alu::SBC),
                7 => by(3),
                8 => new(Op::AluReg, 0, d, n, 0).ra(alu::TST | alu::S),
                9 => new(Op::AluImm, d, n, 0, 0).ra(alu::RSB | s),
                10 => new(Op::CmpReg, 0, d, n, 0),
                11 => new(Op::AluReg, 0, d, n, 0).ra(alu::CMN | alu::S),
                12 => reg(alu::ORR),
                13 => new(Op::Mul, d, n, d, 0).ra(s),
                14 => reg(alu::BIC),
                _ => new(Op::AluReg, d, 15, n, 0).ra(alu::MVN | s),
            }
        }
        0b01000 => high(h, address),
        0b01001 => new(Op::LdrAbs, rd8, 0, 0, pc + imm8 * 4).ra(size::W),
        0b01010 | 0b01011 => {
            let op = match h >> 9 & 7 {
                0 => Op::StrR,
                1 => Op::StrhR,
                2 => Op::StrbR,
                3 => Op::LdrsbR,
                4 => Op::LdrR,
                5 => Op::LdrhR,
                6 => Op::LdrbR,
                _ => Op::LdrshR,
            };
            new(op, d, n, m, 0)
        }
        0b01100 => new(Op::Str, d, n, 0, imm5 * 4),
        0b01101 => new(Op::Ldr, d, n, 0, imm5 * 4),
        0b01110 => new(Op::Strb, d, n, 0, imm5),
        0b01111 => new(Op::Ldrb, d, n, 0, imm5),
        0b10000 => new(Op::Strh, d, n, 0, imm5 * 2),
        0b10001 => new(Op::Ldrh, d, n, 0, imm5 * 2),
        0b10010 => new(Op::Str, rd8, 13, 0, imm8 * 4),
        0b10011 => new(Op::Ldr, rd8, 13, 0, imm8 * 4),
        0b10100 => new(Op::MovImm, rd8, 0, 0, pc + imm8 * 4),
        0b10101 => new(Op::AddImm, rd8, 13, 0, imm8 * 4),
        0b10110 | 0b10111 => miscellaneous(h, address),
        0b11000 if imm8 == 0 => refuse(UNPREDICTABLE, 1),
        // A base that is stored must be the lowest of the list.
        0b11000 if imm8 >> rd8 & 1 != 0 && imm8.trailing_zeros() != rd8 => refuse(UNPREDICTABLE, 1),
        0b11000 => new(Op::Stm, 0, rd8, 0, imm8 | 1 << 16),
        0b11001 if imm8 == 0 => refuse(UNPREDICTABLE, 1),
        0b11001 => new(Op::Ldm, 0, rd8, 0, imm8 | u32::from(imm8 >> rd8 & 1 == 0) << 16),
        0b11010 | 0b11011 => match h >> 8 & 15 {
            14 => refuse(UNDEFINED, 1),
            15 => new(Op::Svc, 0, 0, 0, imm8),
            cond => Inst { cond: cond as u8, ..new(Op::Bcond, 0, 0, 0, target(address, sign(imm8, 8) * 2)) },
        },
        _ => new(Op::B, 0, 0, 0, target(address, sign(h & 0x7ff, 11) * 2)),
    }
}

/// An addition or subtraction of an immediate with or without flags.
fn immediate(i: Inst, flagged: Op, in_it: bool, sub: bool) -> Inst {
    if !in_it {
        Inst { op: flagged, ..i }
    } else if sub {
        Inst { imm: i.imm.wrapping_neg(), ..i }
    } else {
        i
    }
}

/// Operations on all registers, and branches to registers.
fn high(h: u32, address: u32) -> Inst {
    let (d, m) = (h & 7 | h >> 4 & 8, h >> 3 & 15);
    let pc = address + 4;
    let new = |op, rd: u32, rn: u32, rm: u32, imm| Inst::new(op, 1, rd as u8, rn as u8, rm as u8, imm);
    match h >> 8 & 3 {
        0 if d == 15 => refuse(UNPREDICTABLE, 1),
        0 if m == 15 => new(Op::AddImm, d, d, 0, pc),
        0 => new(Op::AddReg, d, d, m, 0),
        1 if d == 15 || m == 15 => refuse(UNPREDICTABLE, 1),
        1 => new(Op::CmpReg, 0, d, m, 0),
        2 if d == 15 && m == 15 => new(Op::B, 0, 0, 0, pc >> 1),
        // Without a change of state: bit 0 is not looked at.
        2 if d == 15 => new(Op::Bx, 0, 0, m, 1),
        2 if m == 15 => new(Op::MovImm, d, 0, 0, pc),
        2 => new(Op::MovReg, d, 0, m, 0),
        _ if m == 15 || h & 7 != 0 => refuse(UNPREDICTABLE, 1),
        _ if h >> 7 & 1 == 1 => new(Op::Blx, 0, 0, m, 0),
        _ => new(Op::Bx, 0, 0, m, 0),
    }
}

fn miscellaneous(h: u32, address: u32) -> Inst {
    let new = |op, rd: u32, rn: u32, rm: u32, imm| Inst::new(op, 1, rd as u8, rn as u8, rm as u8, imm);
    let (d, m) = (h & 7, h >> 3 & 7);
    match h >> 8 & 15 {
        0 if h >> 7 & 1 == 0 => new(Op::AddImm, 13, 13, 0, (h & 127) * 4),
        0 => new(Op::AddImm, 13, 13, 0, ((h & 127) * 4).wrapping_neg()),
        1 | 3 | 9 | 11 => {
            let offset = (h >> 3 & 31) << 1 | (h >> 9 & 1) << 6;
            new(if h >> 11 & 1 == 1 { Op::Cbnz } else { Op::Cbz }, 0, d, 0, target(address, offset as i32))
        }
        2 => new(Op::Extend, d, 15, m, 0).ra([0, 4, 1, 5][(h >> 6 & 3) as usize]),
        4 | 5 => {
            let list = h & 0xff | (h >> 8 & 1) << 14;
            if list == 0 { refuse(UNPREDICTABLE, 1) } else { new(Op::Stm, 0, 13, 0, list | 3 << 16) }
        }
        12 | 13 => {
            let list = h & 0xff | (h >> 8 & 1) << 15;
            if list == 0 { refuse(UNPREDICTABLE, 1) } else { new(Op::Ldm, 0, 13, 0, list | 1 << 16) }
        }
        10 => match h >> 6 & 3 {
            0 => new(Op::Rev, d, 0, m, 0),
            1 => new(Op::Rev16, d, 0, m, 0),
            3 => new(Op::Revsh, d, 0, m, 0),
            _ => refuse(UNDEFINED, 1),
        },
        14 => new(Op::Bkpt, 0, 0, 0, h & 0xff),
        // IT, which only changes what follows, or a hint.
        15 if h & 15 != 0 => new(Op::Nop, 0, 0, 0, 0),
        15 => match h >> 4 & 15 {
            2 | 3 => new(Op::Wait, 0, 0, 0, 0),
            _ => new(Op::Nop, 0, 0, 0, 0),
        },
        6 => refuse(STATE, 1),
        _ => refuse(UNDEFINED, 1),
    }
}
