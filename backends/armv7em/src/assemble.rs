//! A small assembler for Thumb-2: what start-up code and a scheduler need, with labels.
//!
//! Nearly all instructions are written in their 32-bit encodings, so that every register and every offset is taken.
//! Encodings follow Arm's ARMv7-M Architecture Reference Manual, section A7.7; the tests run what is assembled.

/// A core register, r0 to r15.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct R(pub u8);

/// The stack pointer.
pub const SP: R = R(13);
/// The link register.
pub const LR: R = R(14);
/// The program counter, for lists of [`Assembler::pop`].
pub const PC: R = R(15);

/// Conditions of branches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Cond {
    /// Equal.
    Eq = 0,
    /// Not equal.
    Ne = 1,
    /// Unsigned higher or same.
    Hs = 2,
    /// Unsigned lower.
    Lo = 3,
    /// Unsigned higher.
    Hi = 8,
    /// Unsigned lower or same.
    Ls = 9,
}

/// A place in the code, perhaps one that is not yet reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(usize);

/// Size of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// One byte, zero-extended.
    Byte,
    /// Two bytes, zero-extended.
    Half,
    /// Four bytes.
    Word,
}

/// Why code could not be assembled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssembleError(pub String);

impl std::fmt::Display for AssembleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AssembleError {}

#[derive(Clone, Copy)]
enum Jump {
    Always,
    If(Cond),
    Call,
}

/// Code that is being written.
#[derive(Default)]
pub struct Assembler {
    code: Vec<u16>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Jump, Label)>,
    wrong: Option<String>,
}

/// The two halves of a `bl` at `from` to `to`, addresses of instructions. `None` if it is too far.
pub fn call(from: u32, to: u32) -> Option<[u16; 2]> {
    far(i64::from(to) - i64::from(from) - 4, 0xd000)
}

/// The two halves of a `b.w` at `from` to `to`. `None` if it is too far.
pub fn branch(from: u32, to: u32) -> Option<[u16; 2]> {
    far(i64::from(to) - i64::from(from) - 4, 0x9000)
}

fn far(by: i64, kind: u16) -> Option<[u16; 2]> {
    if by % 2 != 0 || !(-(1 << 24)..1 << 24).contains(&by) {
        return None;
    }
    let x = by as u32;
    let s = x >> 24 & 1;
    let j = |bit: u32| (!(x >> bit & 1) ^ s) & 1;
    let first = 0xf000 | s << 10 | x >> 12 & 0x3ff;
    let second = u32::from(kind) | j(23) << 13 | j(22) << 11 | x >> 1 & 0x7ff;
    Some([first as u16, second as u16])
}

/// The fields of a 16-bit immediate of `movw` and `movt`, to be or-ed into the two halves.
pub fn wide_immediate(x: u16) -> [u16; 2] {
    let x = u32::from(x);
    [(x >> 12 | (x >> 11 & 1) << 10) as u16, ((x >> 8 & 7) << 12 | x & 0xff) as u16]
}

impl Assembler {
    /// Nothing written yet.
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// Bytes written so far.
    pub fn at(&self) -> u32 {
        2 * self.code.len() as u32
    }

    /// A label for later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Says that a label is here.
    pub fn place(&mut self, l: Label) {
        self.labels[l.0] = Some(self.code.len());
    }

    /// A label for here.
    pub fn here(&mut self) -> Label {
        let l = self.label();
        self.place(l);
        l
    }

    fn long(&mut self, first: u16, second: u16) {
        self.code.extend([first, second]);
    }

    fn twelve(&mut self, x: u32) -> u16 {
        if x > 4095 {
            self.wrong = Some(format!("the offset {x} has more than 12 bits"));
        }
        (x & 0xfff) as u16
    }

    /// `rd = x`.
    pub fn constant(&mut self, rd: R, x: u32) {
        let [a, b] = wide_immediate(x as u16);
        self.long(0xf240 | a, b | u16::from(rd.0) << 8);
        if x >> 16 != 0 {
            let [a, b] = wide_immediate((x >> 16) as u16);
            self.long(0xf2c0 | a, b | u16::from(rd.0) << 8);
        }
    }

    /// `rd = rm`.
    pub fn mov(&mut self, rd: R, rm: R) {
        self.shift(0, rd, rm, 0);
    }

    /// `rd = rm << by`, by 0 to 31.
    pub fn lsl(&mut self, rd: R, rm: R, by: u8) {
        self.shift(0, rd, rm, by);
    }

    /// `rd = rm >> by`, by 1 to 31.
    pub fn lsr(&mut self, rd: R, rm: R, by: u8) {
        self.shift(1, rd, rm, by);
    }

    fn shift(&mut self, kind: u16, rd: R, rm: R, by: u8) {
        let by = u16::from(by & 31);
        self.long(0xea4f, (by >> 2) << 12 | u16::from(rd.0) << 8 | (by & 3) << 6 | kind << 4 | u16::from(rm.0));
    }

    /// `rd = rn >> rm`, logical.
    pub fn lsr_by(&mut self, rd: R, rn: R, rm: R) {
        self.long(0xfa20 | u16::from(rn.0), 0xf000 | u16::from(rd.0) << 8 | u16::from(rm.0));
    }

    /// `rd = rn << rm`.
    pub fn lsl_by(&mut self, rd: R, rn: R, rm: R) {
        self.long(0xfa00 | u16::from(rn.0), 0xf000 | u16::from(rd.0) << 8 | u16::from(rm.0));
    }

    fn three(&mut self, op: u16, rd: R, rn: R, rm: R) {
        self.long(op | u16::from(rn.0), u16::from(rd.0) << 8 | u16::from(rm.0));
    }

    /// `rd = rn + rm`.
    pub fn add(&mut self, rd: R, rn: R, rm: R) {
        self.three(0xeb00, rd, rn, rm);
    }

    /// `rd = rn - rm`.
    pub fn sub(&mut self, rd: R, rn: R, rm: R) {
        self.three(0xeba0, rd, rn, rm);
    }

    /// `rd = rn | rm`.
    pub fn or(&mut self, rd: R, rn: R, rm: R) {
        self.three(0xea40, rd, rn, rm);
    }

    /// `rd = rn + x`, 12 bits.
    pub fn add_imm(&mut self, rd: R, rn: R, x: u32) {
        self.immediate(0xf200, rd, rn, x);
    }

    /// `rd = rn - x`, 12 bits.
    pub fn sub_imm(&mut self, rd: R, rn: R, x: u32) {
        self.immediate(0xf2a0, rd, rn, x);
    }

    fn immediate(&mut self, op: u16, rd: R, rn: R, x: u32) {
        let x = self.twelve(x);
        self.long(op | (x >> 11) << 10 | u16::from(rn.0), (x >> 8 & 7) << 12 | u16::from(rd.0) << 8 | x & 0xff);
    }

    /// `rd = rn * rm`.
    pub fn mul(&mut self, rd: R, rn: R, rm: R) {
        self.three(0xfb00, rd, rn, rm);
        if let Some(last) = self.code.last_mut() {
            *last |= 0xf000;
        }
    }

    /// `rd = rn * rm + ra`.
    pub fn mla(&mut self, rd: R, rn: R, rm: R, ra: R) {
        self.three(0xfb00, rd, rn, rm);
        if let Some(last) = self.code.last_mut() {
            *last |= u16::from(ra.0) << 12;
        }
    }

    /// Compares two registers.
    pub fn cmp(&mut self, rn: R, rm: R) {
        self.long(0xebb0 | u16::from(rn.0), 0x0f00 | u16::from(rm.0));
    }

    /// Compares with 0 to 255.
    pub fn cmp_imm(&mut self, rn: R, x: u8) {
        self.long(0xf1b0 | u16::from(rn.0), 0x0f00 | u16::from(x));
    }

    /// `rt = [rn + offset]`.
    pub fn load(&mut self, size: Size, rt: R, rn: R, offset: u32) {
        let op = match size {
            Size::Byte => 0xf890,
            Size::Half => 0xf8b0,
            Size::Word => 0xf8d0,
        };
        let offset = self.twelve(offset);
        self.long(op | u16::from(rn.0), u16::from(rt.0) << 12 | offset);
    }

    /// `[rn + offset] = rt`.
    pub fn store(&mut self, size: Size, rt: R, rn: R, offset: u32) {
        let op = match size {
            Size::Byte => 0xf880,
            Size::Half => 0xf8a0,
            Size::Word => 0xf8c0,
        };
        let offset = self.twelve(offset);
        self.long(op | u16::from(rn.0), u16::from(rt.0) << 12 | offset);
    }

    /// `rt = [rn + (rm << by)]`, by 0 to 3.
    pub fn load_at(&mut self, size: Size, rt: R, rn: R, rm: R, by: u8) {
        let op = match size {
            Size::Byte => 0xf810,
            Size::Half => 0xf830,
            Size::Word => 0xf850,
        };
        self.long(op | u16::from(rn.0), u16::from(rt.0) << 12 | u16::from(by & 3) << 4 | u16::from(rm.0));
    }

    /// `[rn + (rm << by)] = rt`, by 0 to 3.
    pub fn store_at(&mut self, size: Size, rt: R, rn: R, rm: R, by: u8) {
        let op = match size {
            Size::Byte => 0xf800,
            Size::Half => 0xf820,
            Size::Word => 0xf840,
        };
        self.long(op | u16::from(rn.0), u16::from(rt.0) << 12 | u16::from(by & 3) << 4 | u16::from(rm.0));
    }

    /// Pushes registers, not the stack pointer.
    pub fn push(&mut self, list: &[R]) {
        let bits = list.iter().fold(0, |b, r| b | 1u16 << r.0);
        self.long(0xe92d, bits);
    }

    /// Pops registers, not the stack pointer.
    pub fn pop(&mut self, list: &[R]) {
        let bits = list.iter().fold(0, |b, r| b | 1u16 << r.0);
        self.long(0xe8bd, bits);
    }

    /// Goes to a label.
    pub fn b(&mut self, to: Label) {
        self.jump(Jump::Always, to);
    }

    /// Goes to a label if a condition holds.
    pub fn b_if(&mut self, cond: Cond, to: Label) {
        self.jump(Jump::If(cond), to);
    }

    /// Calls a label.
    pub fn bl(&mut self, to: Label) {
        self.jump(Jump::Call, to);
    }

    fn jump(&mut self, kind: Jump, to: Label) {
        self.jumps.push((self.code.len(), kind, to));
        self.long(0, 0);
    }

    /// Calls the address in a register, whose bit 0 is set.
    pub fn blx(&mut self, rm: R) {
        self.code.push(0x4780 | u16::from(rm.0) << 3);
    }

    /// Goes to the address in a register, whose bit 0 is set.
    pub fn bx(&mut self, rm: R) {
        self.code.push(0x4700 | u16::from(rm.0) << 3);
    }

    /// Waits for an event.
    pub fn wfi(&mut self) {
        self.code.push(0xbf30);
    }

    /// Stops with a number.
    pub fn bkpt(&mut self, n: u8) {
        self.code.push(0xbe00 | u16::from(n));
    }

    /// The code.
    ///
    /// # Errors
    /// A label that was never placed, a target or an offset that is too far.
    pub fn finish(mut self) -> Result<Vec<u8>, AssembleError> {
        for (at, kind, to) in &self.jumps {
            let Some(target) = self.labels[to.0] else {
                return Err(AssembleError("a label was never placed".into()));
            };
            let (from, to) = (2 * *at as u32, 2 * target as u32);
            let halves = match kind {
                Jump::Always => branch(from, to),
                Jump::Call => call(from, to),
                Jump::If(cond) => conditional(*cond, i64::from(to) - i64::from(from) - 4),
            };
            let Some([first, second]) = halves else {
                return Err(AssembleError(format!("a branch from {from:#x} to {to:#x} is too far")));
            };
            (self.code[*at], self.code[*at + 1]) = (first, second);
        }
        match self.wrong {
            Some(w) => Err(AssembleError(w)),
            None => Ok(self.code.iter().flat_map(|h| h.to_le_bytes()).collect()),
        }
    }
}

fn conditional(cond: Cond, by: i64) -> Option<[u16; 2]> {
    if !(-(1 << 20)..1 << 20).contains(&by) {
        return None;
    }
    let x = by as u32;
    let first = 0xf000 | (x >> 20 & 1) << 10 | (cond as u32) << 6 | x >> 12 & 0x3f;
    let second = 0x8000 | (x >> 18 & 1) << 13 | (x >> 19 & 1) << 11 | x >> 1 & 0x7ff;
    Some([first as u16, second as u16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, NoBus, Stop};

    fn run(write: impl FnOnce(&mut Assembler)) -> Cpu {
        let mut a = Assembler::new();
        write(&mut a);
        a.bkpt(1);
        let code = a.finish().expect("assembles");
        let mut cpu = Cpu::new(0x2000, 0x1000);
        assert!(cpu.load(0, &code));
        cpu.regs[13] = 0x2000;
        assert_eq!(cpu.run(&mut NoBus, 100_000), Stop::Breakpoint(1));
        cpu
    }

    #[test]
    fn arithmetic_computes() {
        let cpu = run(|a| {
            a.constant(R(0), 0xdead_beef);
            a.constant(R(1), 0x0000_1234);
            a.add(R(2), R(0), R(1));
            a.sub(R(3), R(0), R(1));
            a.lsl(R(4), R(1), 7);
            a.lsr(R(5), R(0), 20);
            a.add_imm(R(6), R(1), 4095);
            a.sub_imm(R(7), R(1), 2048);
            a.mul(R(8), R(0), R(1));
            a.mla(R(9), R(1), R(1), R(0));
            a.or(R(10), R(0), R(1));
            a.constant(R(11), 9);
            a.lsr_by(R(12), R(0), R(11));
            a.lsl_by(R(11), R(0), R(11));
        });
        let (x, y) = (0xdead_beefu32, 0x1234u32);
        let expected = [
            x.wrapping_add(y),
            x.wrapping_sub(y),
            y << 7,
            x >> 20,
            y + 4095,
            y - 2048,
            x.wrapping_mul(y),
            x.wrapping_add(y * y),
            x | y,
        ];
        assert_eq!(cpu.regs[2..11], expected);
        assert_eq!((cpu.regs[12], cpu.regs[11]), (x >> 9, x << 9));
    }

    #[test]
    fn memory_is_read_and_written_in_every_size() {
        let cpu = run(|a| {
            a.constant(R(0), 0x1800);
            a.constant(R(1), 0x8765_4321);
            a.store(Size::Word, R(1), R(0), 4);
            a.store(Size::Half, R(1), R(0), 8);
            a.store(Size::Byte, R(1), R(0), 12);
            a.load(Size::Word, R(2), R(0), 4);
            a.load(Size::Half, R(3), R(0), 6);
            a.load(Size::Byte, R(4), R(0), 7);
            a.constant(R(5), 3);
            a.store_at(Size::Word, R(1), R(0), R(5), 3);
            a.load_at(Size::Byte, R(6), R(0), R(5), 3);
            a.push(&[R(1), R(5), LR]);
            a.constant(R(1), 0);
            a.pop(&[R(1), R(5), LR]);
        });
        assert_eq!(cpu.regs[1..7], [0x8765_4321, 0x8765_4321, 0x8765, 0x87, 3, 0x21]);
        assert_eq!(cpu.memory()[0x1808..0x1810], [0x21, 0x43, 0, 0, 0x21, 0, 0, 0]);
        assert_eq!(cpu.regs[13], 0x2000);
    }

    #[test]
    fn branches_go_where_their_labels_are() {
        for x in [4u32, 5, 6] {
            // Below, at or above 5, told by each condition.
            let cpu = run(|a| {
                a.constant(R(0), x);
                a.constant(R(1), 0);
                a.cmp_imm(R(0), 5);
                for (bit, cond) in [(1, Cond::Lo), (2, Cond::Ls), (4, Cond::Eq), (8, Cond::Ne), (16, Cond::Hs)] {
                    let (yes, next) = (a.label(), a.label());
                    a.b_if(cond, yes);
                    a.b(next);
                    a.place(yes);
                    a.add_imm(R(1), R(1), bit);
                    a.place(next);
                }
                let (over, f) = (a.label(), a.label());
                a.b(over);
                a.place(f);
                a.add_imm(R(2), R(1), 100);
                a.bx(LR);
                a.place(over);
                a.bl(f);
            });
            let flags = u32::from(x < 5)
                + 2 * u32::from(x <= 5)
                + 4 * u32::from(x == 5)
                + 8 * u32::from(x != 5)
                + 16 * u32::from(x >= 5);
            assert_eq!((cpu.regs[1], cpu.regs[2]), (flags, flags + 100));
        }
    }

    #[test]
    fn calls_reach_16_mebibytes_and_no_further() {
        assert!(call(0, 4 + (1 << 24) - 2).is_some() && call(0, 4 + (1 << 24)).is_none());
        assert!(call(1 << 24, 4).is_some() && branch(0x100, 0x101).is_none());
        let mut a = Assembler::new();
        let l = a.label();
        a.b(l);
        assert!(a.finish().is_err());
        let mut a = Assembler::new();
        a.load(Size::Word, R(0), R(0), 4096);
        assert!(a.finish().is_err());
    }
}
