//! Execution.

use crate::cpu::{Cpu, Flags};
use crate::decode::{MODE, NAMES};
use crate::inst::{Inst, Op, alu, size};
use crate::memory::{Bus, Write};
use crate::timing::{REFILL, division};
use crate::{Stop, fpu};

/// What keeps an instruction from completing, or ends the run behind it; turned into a [`Stop`] with its address.
/// Small enough for a register.
#[derive(Clone, Copy)]
enum Trap {
    /// The target of an access, and the number of what is wrong in [`WRONG`].
    Memory(u32, u8),
    /// The bus wants a stop after this instruction.
    Bus,
    Wait,
    Service(u8),
    Breakpoint(u8),
    /// Not implemented: a number of [`NAMES`].
    Name(u8),
}

const WRONG: [&str; 4] =
    ["nothing is there", "not aligned", "code cannot be written", "the address of a branch has bit 0 clear"];
const NOTHING: u8 = 0;
const ALIGN: u8 = 1;
const CODE: u8 = 2;
const EVEN: u8 = 3;

type Done<T = ()> = Result<T, Trap>;

/// A shift by a constant as [`Op::AluShift`] has it: result and carry.
#[inline]
fn shifted(x: u32, imm: u32, carry: u32) -> (u32, u32) {
    let n = imm & 0xff;
    match imm >> 8 {
        0 if n == 0 => (x, carry),
        0 => (x << n, x >> (32 - n) & 1),
        1 if n == 32 => (0, x >> 31),
        1 => (x >> n, x >> (n - 1) & 1),
        2 if n == 32 => ((x as i32 >> 31) as u32, x >> 31),
        2 => ((x as i32 >> n) as u32, x >> (n - 1) & 1),
        3 => (x.rotate_right(n), x >> (n - 1) & 1),
        _ => (x >> 1 | carry << 31, x & 1),
    }
}

/// A shift by a register.
#[inline]
fn shifted_by(kind: u8, x: u32, n: u32, carry: u32) -> (u32, u32) {
    match (kind, n) {
        (_, 0) => (x, carry),
        (0, 1..=31) => (x << n, x >> (32 - n) & 1),
        (0, 32) => (0, x & 1),
        (1, 1..=31) => (x >> n, x >> (n - 1) & 1),
        (1, 32) => (0, x >> 31),
        (0 | 1, _) => (0, 0),
        (2, 1..=31) => ((x as i32 >> n) as u32, x >> (n - 1) & 1),
        (2, _) => ((x as i32 >> 31) as u32, x >> 31),
        _ => {
            let r = x.rotate_right(n & 31);
            (r, r >> 31)
        }
    }
}

#[inline(always)]
fn add_with_carry(f: &mut Flags, x: u32, y: u32, c: u32) -> u32 {
    let wide = u64::from(x) + u64::from(y) + u64::from(c);
    let r = wide as u32;
    f.nz(r);
    f.c = (wide >> 32) as u32;
    f.v = ((x ^ r) & (y ^ r)) >> 31;
    r
}

fn half(x: u32, top: bool) -> i64 {
    i64::from((if top { x >> 16 } else { x }) as u16 as i16)
}

impl Cpu {
    #[inline(always)]
    fn read<const N: usize>(&self, address: u32) -> Option<[u8; N]> {
        let at = address as usize;
        self.memory.get(at..at + N).and_then(|b| b.try_into().ok())
    }

    #[inline(always)]
    fn load_at<B: Bus>(&self, bus: &mut B, address: u32, code: u8) -> Done<u32> {
        let inside = match code {
            size::B => self.read::<1>(address).map(|b| u32::from(b[0])),
            size::H => self.read(address).map(|b| u32::from(u16::from_le_bytes(b))),
            size::W => self.read(address).map(u32::from_le_bytes),
            size::SB => self.read::<1>(address).map(|b| i32::from(b[0] as i8) as u32),
            _ => self.read(address).map(|b| i32::from(i16::from_le_bytes(b)) as u32),
        };
        match inside {
            Some(x) => Ok(x),
            None => outside(bus, address, code),
        }
    }

    #[inline(always)]
    fn store_at<B: Bus>(&mut self, bus: &mut B, address: u32, code: u8, x: u32) -> Done {
        let at = address as usize;
        let n = 1usize << (code & 3);
        match self.memory.get_mut(at..at + n) {
            Some(target) if address >= self.code_bytes => {
                target.copy_from_slice(&x.to_le_bytes()[..n]);
                Ok(())
            }
            Some(_) => Err(Trap::Memory(address, CODE)),
            None => {
                if !address.is_multiple_of(n as u32) {
                    return Err(Trap::Memory(address, ALIGN));
                }
                match bus.write_at(self.cycles, address, n as u8, x) {
                    Write::Done => Ok(()),
                    Write::Stop => Err(Trap::Bus),
                    Write::Refused => Err(Trap::Memory(address, NOTHING)),
                }
            }
        }
    }

    /// Runs at most `limit` instructions (a taken branch may be needed to notice the limit).
    pub fn run<B: Bus>(&mut self, bus: &mut B, limit: u64) -> Stop {
        let end = self.instructions.saturating_add(limit);
        while self.instructions < end {
            let Some(&inst) = self.code.get(self.at as usize) else {
                if self.reach(self.at) {
                    continue;
                }
                return Stop::Memory { address: self.pc(), target: self.pc(), what: "no code is there" };
            };
            if inst.op == Op::New {
                self.decode(self.at);
                continue;
            }
            let at = self.at;
            self.instructions += 1;
            self.at = at + u32::from(inst.len);
            if inst.cond != Inst::AL && !self.flags.hold(inst.cond) {
                self.cycles += 1;
                continue;
            }
            self.cycles += u64::from(inst.cycles);
            if let Err(trap) = self.step(bus, inst) {
                return self.stop(at, trap);
            }
        }
        Stop::Limit
    }

    #[cold]
    fn stop(&mut self, at: u32, trap: Trap) -> Stop {
        match trap {
            Trap::Bus => return Stop::Bus,
            Trap::Wait => return Stop::Wait,
            Trap::Service(n) => return Stop::Service(n),
            _ => self.at = at,
        }
        match trap {
            Trap::Memory(target, what) => Stop::Memory { address: at << 1, target, what: WRONG[usize::from(what & 3)] },
            Trap::Name(name) => self.unsupported(at, NAMES[usize::from(name) % NAMES.len()]),
            Trap::Breakpoint(n) => Stop::Breakpoint(n),
            Trap::Bus | Trap::Wait | Trap::Service(_) => Stop::Bus,
        }
    }

    #[inline(always)]
    fn go(&mut self, at: u32) {
        self.at = at;
        self.cycles += u64::from(REFILL);
    }

    /// Goes to an address whose bit 0 must say "Thumb".
    #[inline(always)]
    fn go_to(&mut self, address: u32) -> Done {
        if address & 1 == 0 {
            return Err(Trap::Memory(address, EVEN));
        }
        self.go(address >> 1);
        Ok(())
    }

    #[inline(always)]
    fn alu(&mut self, ra: u8, rd: u8, x: u32, y: u32, carry: u32) {
        let f = &mut self.flags;
        let s = ra & alu::S != 0;
        let r = match ra & 15 {
            alu::AND | alu::TST => x & y,
            alu::BIC => x & !y,
            alu::ORR => x | y,
            alu::ORN => x | !y,
            alu::EOR | alu::TEQ => x ^ y,
            alu::MOV => y,
            alu::MVN => !y,
            op => {
                let (x, y, c) = match op {
                    alu::ADD | alu::CMN => (x, y, 0),
                    alu::ADC => (x, y, f.c),
                    alu::SBC => (x, !y, f.c),
                    alu::SUB | alu::CMP => (x, !y, 1),
                    _ => (!x, y, 1),
                };
                let r = if s { add_with_carry(f, x, y, c) } else { x.wrapping_add(y).wrapping_add(c) };
                if ra & 15 < alu::TST {
                    self.regs[usize::from(rd & 15)] = r;
                }
                return;
            }
        };
        if s {
            f.nz(r);
            f.c = carry;
        }
        if ra & 15 < alu::TST {
            self.regs[usize::from(rd & 15)] = r;
        }
    }

    #[inline(always)]
    fn step<B: Bus>(&mut self, bus: &mut B, i: Inst) -> Done {
        macro_rules! r {
            ($f:ident) => {
                self.regs[usize::from(i.$f & 15)]
            };
        }
        macro_rules! s {
            ($f:ident) => {
                self.singles[usize::from(i.$f & 31)]
            };
        }
        macro_rules! load {
            ($code:expr, $address:expr) => {{
                let address = $address;
                let x = self.load_at(bus, address, $code)?;
                r!(rd) = x;
            }};
        }
        macro_rules! store {
            ($code:expr, $address:expr) => {{
                let (address, x) = ($address, r!(rd));
                self.store_at(bus, address, $code, x)?;
            }};
        }
        macro_rules! indexed {
            () => {
                r!(rn).wrapping_add(r!(rm) << i.imm)
            };
        }
        macro_rules! based {
            () => {
                r!(rn).wrapping_add(i.imm)
            };
        }
        match i.op {
            Op::MovImm => r!(rd) = i.imm,
            Op::MovReg => r!(rd) = r!(rm),
            Op::AddImm => r!(rd) = based!(),
            Op::AddReg => r!(rd) = r!(rn).wrapping_add(r!(rm)),
            Op::SubReg => r!(rd) = r!(rn).wrapping_sub(r!(rm)),
            Op::AddLsl => r!(rd) = r!(rn).wrapping_add(r!(rm) << i.imm),
            Op::AddsImm => r!(rd) = add_with_carry(&mut self.flags, r!(rn), i.imm, 0),
            Op::SubsImm => r!(rd) = add_with_carry(&mut self.flags, r!(rn), !i.imm, 1),
            Op::AddsReg => r!(rd) = add_with_carry(&mut self.flags, r!(rn), r!(rm), 0),
            Op::SubsReg => r!(rd) = add_with_carry(&mut self.flags, r!(rn), !r!(rm), 1),
            Op::CmpImm => drop(add_with_carry(&mut self.flags, r!(rn), !i.imm, 1)),
            Op::CmpReg => drop(add_with_carry(&mut self.flags, r!(rn), !r!(rm), 1)),
            Op::LslImm => r!(rd) = r!(rm) << i.imm,
            Op::LsrImm => r!(rd) = r!(rm) >> i.imm,
            Op::AluImm => {
                let carry = if i.ra & alu::C != 0 { i.imm >> 31 } else { self.flags.c };
                self.alu(i.ra, i.rd, r!(rn), i.imm, carry);
            }
            Op::AluReg => self.alu(i.ra, i.rd, r!(rn), r!(rm), self.flags.c),
            Op::AluShift => {
                let (y, carry) = shifted(r!(rm), i.imm, self.flags.c);
                self.alu(i.ra, i.rd, r!(rn), y, carry);
            }
            Op::ShiftReg => {
                let (y, carry) = shifted_by(i.ra & 15, r!(rn), r!(rm) & 0xff, self.flags.c);
                r!(rd) = y;
                if i.ra & alu::S != 0 {
                    self.flags.nz(y);
                    self.flags.c = carry;
                }
            }
            Op::Movt => r!(rd) = r!(rd) & 0xffff | i.imm << 16,
            Op::B => self.go(i.imm),
            Op::Bcond => self.go(i.imm),
            Op::Cbz => {
                if r!(rn) == 0 {
                    self.go(i.imm);
                }
            }
            Op::Cbnz => {
                if r!(rn) != 0 {
                    self.go(i.imm);
                }
            }
            Op::Bl => {
                self.regs[14] = self.at << 1 | 1;
                self.go(i.imm);
            }
            Op::Bx => self.go_to(r!(rm) | i.imm)?,
            Op::Blx => {
                let to = r!(rm);
                let back = self.at << 1 | 1;
                self.go_to(to)?;
                self.regs[14] = back;
            }
            Op::Ldr => load!(size::W, based!()),
            Op::Ldrh => load!(size::H, based!()),
            Op::Ldrb => load!(size::B, based!()),
            Op::Ldrsh => load!(size::SH, based!()),
            Op::Ldrsb => load!(size::SB, based!()),
            Op::Str => store!(size::W, based!()),
            Op::Strh => store!(size::H, based!()),
            Op::Strb => store!(size::B, based!()),
            Op::LdrR => load!(size::W, indexed!()),
            Op::LdrhR => load!(size::H, indexed!()),
            Op::LdrbR => load!(size::B, indexed!()),
            Op::LdrshR => load!(size::SH, indexed!()),
            Op::LdrsbR => load!(size::SB, indexed!()),
            Op::StrR => store!(size::W, indexed!()),
            Op::StrhR => store!(size::H, indexed!()),
            Op::StrbR => store!(size::B, indexed!()),
            Op::Vadd => s!(rd) = fpu::add(s!(rn), s!(rm), &mut self.fpscr),
            Op::Vsub => s!(rd) = fpu::sub(s!(rn), s!(rm), &mut self.fpscr),
            Op::Vmul => s!(rd) = fpu::mul(s!(rn), s!(rm), &mut self.fpscr),
            Op::Vfma => {
                let n = if i.ra & 1 != 0 { s!(rn) ^ 1 << 31 } else { s!(rn) };
                let d = if i.ra & 2 != 0 { s!(rd) ^ 1 << 31 } else { s!(rd) };
                s!(rd) = fpu::fma(d, n, s!(rm), &mut self.fpscr);
            }
            Op::Vldr if i.ra == 1 && i.rn != 15 => s!(rd) = self.load_word(bus, based!())?,
            Op::Vstr if i.ra == 1 => {
                let (address, x) = (based!(), s!(rd));
                self.store_word(bus, address, x)?;
            }
            Op::VmovReg => s!(rd) = s!(rm),
            Op::VmovImm => s!(rd) = i.imm,
            Op::VmovToCore => r!(rd) = s!(rn),
            Op::VmovFromCore => s!(rn) = r!(rd),
            Op::Vcmp => {
                let b = if i.ra & 2 != 0 { 0 } else { s!(rm) };
                let nzcv = fpu::compare(s!(rd), b, i.ra & 1 != 0, &mut self.fpscr);
                self.fpscr = self.fpscr & 0x0fff_ffff | nzcv;
            }
            Op::Vmrs if i.rd == 15 => {
                let q = self.flags.q;
                self.flags = Flags { q, ..Flags::from_bits(self.fpscr) };
            }
            _ => return self.rare(bus, i),
        }
        Ok(())
    }

    /// A word, which must be aligned.
    #[inline(always)]
    fn load_word<B: Bus>(&self, bus: &mut B, address: u32) -> Done<u32> {
        if address & 3 != 0 {
            return Err(Trap::Memory(address, ALIGN));
        }
        self.load_at(bus, address, size::W)
    }

    #[inline(always)]
    fn store_word<B: Bus>(&mut self, bus: &mut B, address: u32, x: u32) -> Done {
        if address & 3 != 0 {
            return Err(Trap::Memory(address, ALIGN));
        }
        self.store_at(bus, address, size::W, x)
    }

    /// What is executed less often.
    #[inline(never)]
    fn rare<B: Bus>(&mut self, bus: &mut B, i: Inst) -> Done {
        macro_rules! r {
            ($f:ident) => {
                self.regs[usize::from(i.$f & 15)]
            };
        }
        macro_rules! s {
            ($f:ident) => {
                self.singles[usize::from(i.$f & 31)]
            };
        }
        let addend = |cpu: &Cpu| if i.ra == 15 { 0 } else { i64::from(cpu.regs[usize::from(i.ra & 15)] as i32) };
        let pair =
            |cpu: &Cpu| u64::from(cpu.regs[usize::from(i.ra & 15)]) << 32 | u64::from(cpu.regs[usize::from(i.rd)]);
        match i.op {
            Op::Nop => {}
            Op::Wait => return Err(Trap::Wait),
            Op::Svc => return Err(Trap::Service(i.imm as u8)),
            Op::Bkpt => return Err(Trap::Breakpoint(i.imm as u8)),
            Op::Unsupported => return Err(Trap::Name(i.imm as u8)),
            Op::Ubfx => r!(rd) = r!(rn) >> i.imm & (((1u64 << i.ra) - 1) as u32),
            Op::Sbfx => r!(rd) = ((r!(rn) << (32 - i.imm - u32::from(i.ra))) as i32 >> (32 - i.ra)) as u32,
            Op::Bfi => {
                let mask = (((1u64 << i.ra) - 1) << i.imm) as u32;
                r!(rd) = r!(rd) & !mask | r!(rn) << i.imm & mask;
            }
            Op::Bfc => r!(rd) &= !((((1u64 << i.ra) - 1) << i.imm) as u32),
            Op::Ssat | Op::Usat => {
                let x = i64::from(shifted(r!(rn), i.imm, 0).0 as i32);
                let (low, high) = match i.op {
                    Op::Ssat => (-(1i64 << (i.ra - 1)), (1i64 << (i.ra - 1)) - 1),
                    _ => (0, (1i64 << i.ra) - 1),
                };
                let y = x.clamp(low, high);
                self.flags.q |= u32::from(x != y);
                r!(rd) = y as u32;
            }
            Op::Extend => {
                let x = r!(rm).rotate_right(i.imm);
                let x = match i.ra {
                    0 => i32::from(x as u16 as i16) as u32,
                    1 => x & 0xffff,
                    2 => i32::from(x as u8 as i8) as u32 & 0xffff | (i32::from((x >> 16) as u8 as i8) as u32) << 16,
                    3 => x & 0x00ff_00ff,
                    4 => i32::from(x as u8 as i8) as u32,
                    _ => x & 0xff,
                };
                r!(rd) = match (i.rn, i.ra) {
                    (15, _) => x,
                    // Halves are added apart.
                    (_, 2 | 3) => {
                        let n = r!(rn);
                        n.wrapping_add(x) & 0xffff | (n & 0xffff_0000).wrapping_add(x & 0xffff_0000)
                    }
                    _ => r!(rn).wrapping_add(x),
                };
            }
            Op::Clz => r!(rd) = r!(rm).leading_zeros(),
            Op::Rbit => r!(rd) = r!(rm).reverse_bits(),
            Op::Rev => r!(rd) = r!(rm).swap_bytes(),
            Op::Rev16 => r!(rd) = r!(rm).swap_bytes().rotate_left(16),
            Op::Revsh => r!(rd) = i32::from((r!(rm) as u16).swap_bytes() as i16) as u32,
            Op::Pkh => {
                let y = shifted(r!(rm), i.imm, 0).0;
                r!(rd) = if i.ra == 1 { r!(rn) & 0xffff_0000 | y & 0xffff } else { y & 0xffff_0000 | r!(rn) & 0xffff };
            }
            Op::Mul => {
                let x = r!(rn).wrapping_mul(r!(rm));
                r!(rd) = x;
                if i.ra & alu::S != 0 {
                    self.flags.nz(x);
                }
            }
            Op::Mla => r!(rd) = r!(ra).wrapping_add(r!(rn).wrapping_mul(r!(rm))),
            Op::Mls => r!(rd) = r!(ra).wrapping_sub(r!(rn).wrapping_mul(r!(rm))),
            Op::SmulXy => {
                let x = half(r!(rn), i.imm & 2 != 0) * half(r!(rm), i.imm & 1 != 0) + addend(self);
                self.flags.q |= u32::from(i.ra != 15 && x != i64::from(x as i32));
                r!(rd) = x as u32;
            }
            Op::SmulW => {
                let x = ((i64::from(r!(rn) as i32) * half(r!(rm), i.imm & 1 != 0)) >> 16) + addend(self);
                self.flags.q |= u32::from(i.ra != 15 && x != i64::from(x as i32));
                r!(rd) = x as u32;
            }
            Op::Smuad => {
                let y = if i.imm & 1 != 0 { r!(rm).rotate_left(16) } else { r!(rm) };
                let (low, high) = (half(r!(rn), false) * half(y, false), half(r!(rn), true) * half(y, true));
                let x = if i.imm & 2 != 0 { low - high } else { low + high } + addend(self);
                self.flags.q |= u32::from(x != i64::from(x as i32));
                r!(rd) = x as u32;
            }
            Op::Smmul => {
                let product = i64::from(r!(rn) as i32).wrapping_mul(i64::from(r!(rm) as i32));
                let acc = addend(self) << 32;
                let x = if i.imm & 2 != 0 { acc.wrapping_sub(product) } else { acc.wrapping_add(product) };
                let x = if i.imm & 1 != 0 { x.wrapping_add(1 << 31) } else { x };
                r!(rd) = (x >> 32) as u32;
            }
            Op::Umull | Op::Smull | Op::Umlal | Op::Smlal | Op::Umaal | Op::SmlalXy => {
                let (n, m) = (r!(rn), r!(rm));
                let unsigned = u64::from(n) * u64::from(m);
                let signed = (i64::from(n as i32) * i64::from(m as i32)) as u64;
                let x = match i.op {
                    Op::Umull => unsigned,
                    Op::Smull => signed,
                    Op::Umlal => pair(self).wrapping_add(unsigned),
                    Op::Smlal => pair(self).wrapping_add(signed),
                    Op::Umaal => unsigned + u64::from(r!(ra)) + u64::from(r!(rd)),
                    _ => {
                        let product = half(n, i.imm & 2 != 0) * half(m, i.imm & 1 != 0);
                        pair(self).wrapping_add(product as u64)
                    }
                };
                r!(rd) = x as u32;
                r!(ra) = (x >> 32) as u32;
            }
            Op::Sdiv => {
                let (n, m) = (r!(rn) as i32, r!(rm) as i32);
                r!(rd) = if m == 0 { 0 } else { n.wrapping_div(m) as u32 };
                self.cycles += division(n.unsigned_abs(), m.unsigned_abs());
            }
            Op::Udiv => {
                let (n, m) = (r!(rn), r!(rm));
                r!(rd) = n.checked_div(m).unwrap_or(0);
                self.cycles += division(n, m);
            }
            Op::Qadd => {
                let (n, m) = (i64::from(r!(rn) as i32), i64::from(r!(rm) as i32));
                let doubled = if i.ra & 2 != 0 { saturated(2 * n) } else { n };
                self.flags.q |= u32::from(i.ra & 2 != 0 && doubled != 2 * n);
                let x = if i.ra & 1 != 0 { m - doubled } else { m + doubled };
                self.flags.q |= u32::from(saturated(x) != x);
                r!(rd) = saturated(x) as u32;
            }
            Op::Tb => {
                let base = if i.rn == 15 { i.imm } else { r!(rn) };
                let halves = i.ra == 1;
                let address = base.wrapping_add(r!(rm) << u32::from(halves));
                let x = self.load_at(bus, address, if halves { size::H } else { size::B })?;
                self.go((i.imm >> 1).wrapping_add(x));
            }
            Op::LdrAbs => r!(rd) = self.load_at(bus, i.imm, i.ra)?,
            Op::Index => {
                let (base, moved) = (r!(rn), r!(rn).wrapping_add(i.imm));
                let address = if i.ra & size::POST != 0 { base } else { moved };
                if i.ra & size::LOAD != 0 {
                    let x = self.load_at(bus, address, i.ra & 7)?;
                    r!(rn) = moved;
                    r!(rd) = x;
                } else {
                    let x = r!(rd);
                    let done = self.store_at(bus, address, i.ra & 7, x);
                    if !matches!(done, Err(Trap::Memory(..))) {
                        r!(rn) = moved;
                    }
                    done?;
                }
            }
            Op::LdrPc => {
                let base = if i.rn == 15 { 0 } else { r!(rn) };
                let moved = base.wrapping_add(i.imm);
                let x = self.load_word(bus, if i.ra & size::POST != 0 { base } else { moved })?;
                self.go_to(x)?;
                if i.ra != 0 {
                    r!(rn) = moved;
                }
            }
            Op::Ldrd | Op::Strd | Op::IndexD | Op::LdrdAbs => self.double(bus, i)?,
            Op::Ldm | Op::Stm => self.multiple(bus, i)?,
            Op::Mrs => r!(rd) = self.flags.bits(),
            Op::Msr => {
                if i.imm & 1 != 0 {
                    self.flags = Flags::from_bits(r!(rn));
                }
            }
            Op::Vnmul => s!(rd) = fpu::mul(s!(rn), s!(rm), &mut self.fpscr) ^ 1 << 31,
            Op::Vmla => {
                let product = fpu::mul(s!(rn), s!(rm), &mut self.fpscr);
                let product = if i.ra & 1 != 0 { product ^ 1 << 31 } else { product };
                let d = if i.ra & 2 != 0 { s!(rd) ^ 1 << 31 } else { s!(rd) };
                s!(rd) = fpu::add(d, product, &mut self.fpscr);
            }
            Op::Vdiv => s!(rd) = fpu::div(s!(rn), s!(rm), &mut self.fpscr),
            Op::Vsqrt => s!(rd) = fpu::sqrt(s!(rm), &mut self.fpscr),
            Op::Vabs => s!(rd) = s!(rm) & !(1 << 31),
            Op::Vneg => s!(rd) = s!(rm) ^ 1 << 31,
            Op::VmovD => {
                let at = usize::from(i.rm & 30);
                let two = [self.singles[at], self.singles[at + 1]];
                self.singles[usize::from(i.rd & 30)..][..2].copy_from_slice(&two);
            }
            Op::VcvtInt => {
                s!(rd) = fpu::to_int(s!(rm), i.ra & 1 != 0, 32, 0, i.ra & 2 != 0, &mut self.fpscr);
            }
            Op::VcvtFloat => {
                let x = if i.ra & 1 != 0 { i64::from(s!(rm) as i32) } else { i64::from(s!(rm)) };
                s!(rd) = fpu::from_int(x, 0, &mut self.fpscr);
            }
            Op::VcvtToFixed => {
                let bits = if i.ra & 2 != 0 { 16 } else { 32 };
                let x = fpu::to_int(s!(rd), i.ra & 1 != 0, bits, i.imm, false, &mut self.fpscr);
                s!(rd) = if bits == 16 && i.ra & 1 != 0 { i32::from(x as i16) as u32 } else { x };
            }
            Op::VcvtFixed => {
                let x = match i.ra & 3 {
                    0 => i64::from(s!(rd)),
                    1 => i64::from(s!(rd) as i32),
                    2 => i64::from(s!(rd) as u16),
                    _ => i64::from(s!(rd) as u16 as i16),
                };
                s!(rd) = fpu::from_int(x, i.imm, &mut self.fpscr);
            }
            Op::VcvtFromHalf => {
                let h = (s!(rm) >> (16 * u32::from(i.ra))) as u16;
                s!(rd) = fpu::from_half(h, &mut self.fpscr);
            }
            Op::VcvtToHalf => {
                let h = u32::from(fpu::to_half(s!(rm), &mut self.fpscr));
                s!(rd) = if i.ra == 1 { s!(rd) & 0xffff | h << 16 } else { s!(rd) & 0xffff_0000 | h };
            }
            Op::VmovToCore2 => {
                r!(rd) = s!(rm);
                r!(ra) = self.singles[usize::from((i.rm + 1) & 31)];
            }
            Op::VmovFromCore2 => {
                s!(rm) = r!(rd);
                self.singles[usize::from((i.rm + 1) & 31)] = r!(ra);
            }
            Op::Vldr | Op::Vldm | Op::Vstr | Op::Vstm => self.singles_in_memory(bus, i)?,
            Op::Vmrs => r!(rd) = self.fpscr,
            Op::Vmsr => {
                let x = r!(rd);
                if x & 0x07c0_0000 != 0 {
                    return Err(Trap::Name(MODE as u8));
                }
                self.fpscr = x & 0xf000_009f;
            }
            // Dealt with before.
            _ => return Err(Trap::Name(0)),
        }
        Ok(())
    }

    fn double<B: Bus>(&mut self, bus: &mut B, i: Inst) -> Done {
        let n = usize::from(i.rn & 15);
        let (t, t2) = (usize::from(i.rd & 15), usize::from(i.ra & 15));
        let (base, moved) = (self.regs[n], self.regs[n].wrapping_add(i.imm));
        let (address, load) = match i.op {
            Op::LdrdAbs => (i.imm, true),
            Op::IndexD => (if i.rm & 1 != 0 { base } else { moved }, i.rm & 2 != 0),
            op => (moved, op == Op::Ldrd),
        };
        if load {
            let x = self.load_word(bus, address)?;
            let y = self.load_word(bus, address.wrapping_add(4))?;
            (self.regs[t], self.regs[t2]) = (x, y);
        } else {
            self.store_word(bus, address, self.regs[t])?;
            self.store_word(bus, address.wrapping_add(4), self.regs[t2])?;
        }
        if i.op == Op::IndexD {
            self.regs[n] = moved;
        }
        Ok(())
    }

    fn multiple<B: Bus>(&mut self, bus: &mut B, i: Inst) -> Done {
        let n = usize::from(i.rn & 15);
        let bytes = 4 * (i.imm & 0xffff).count_ones();
        let base = self.regs[n];
        let below = i.imm >> 17 & 1 == 1;
        let mut address = if below { base.wrapping_sub(bytes) } else { base };
        let moved = if below { address } else { base.wrapping_add(bytes) };
        if address & 3 != 0 {
            return Err(Trap::Memory(address, ALIGN));
        }
        let mut pc = None;
        let mut loaded = self.regs;
        for k in (0..16).filter(|k| i.imm >> k & 1 == 1) {
            if i.op == Op::Stm {
                self.store_word(bus, address, self.regs[k])?;
            } else {
                let x = self.load_word(bus, address)?;
                if k == 15 { pc = Some(x) } else { loaded[k] = x }
            }
            address = address.wrapping_add(4);
        }
        if let Some(x) = pc {
            self.go_to(x)?;
        }
        self.regs = loaded;
        if i.imm >> 16 & 1 == 1 {
            self.regs[n] = moved;
        }
        Ok(())
    }

    fn singles_in_memory<B: Bus>(&mut self, bus: &mut B, i: Inst) -> Done {
        let n = usize::from(i.rn & 15);
        let bytes = 4 * u32::from(i.ra);
        let base = if i.rn == 15 { 0 } else { self.regs[n] };
        let many = matches!(i.op, Op::Vldm | Op::Vstm);
        let mut address = match many {
            false => base.wrapping_add(i.imm),
            true if i.imm & 2 != 0 => base.wrapping_sub(bytes),
            true => base,
        };
        let moved = if i.imm & 2 != 0 { address } else { base.wrapping_add(bytes) };
        for k in usize::from(i.rd)..usize::from(i.rd) + usize::from(i.ra) {
            if matches!(i.op, Op::Vldr | Op::Vldm) {
                self.singles[k & 31] = self.load_word(bus, address)?;
            } else {
                self.store_word(bus, address, self.singles[k & 31])?;
            }
            address = address.wrapping_add(4);
        }
        if many && i.imm & 1 != 0 {
            self.regs[n] = moved;
        }
        Ok(())
    }
}

fn saturated(x: i64) -> i64 {
    x.clamp(i64::from(i32::MIN), i64::from(i32::MAX))
}

#[cold]
fn outside<B: Bus>(bus: &mut B, address: u32, code: u8) -> Done<u32> {
    let n = 1u8 << (code & 3);
    if !address.is_multiple_of(u32::from(n)) {
        return Err(Trap::Memory(address, ALIGN));
    }
    match bus.read(address, n) {
        Some(x) => Ok(match code {
            size::B => x & 0xff,
            size::H => x & 0xffff,
            size::SB => i32::from(x as u8 as i8) as u32,
            size::SH => i32::from(x as u16 as i16) as u32,
            _ => x,
        }),
        None => Err(Trap::Memory(address, NOTHING)),
    }
}
