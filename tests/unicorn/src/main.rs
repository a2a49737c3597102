//! Holds `nc-armv7em` against Unicorn (qemu's Cortex-M4): random instructions over every implemented encoding, random
//! registers, flags, singles and memory, to the bit, cumulative floating-point exceptions included.
//!
//! `cargo run --release -- [CASES] [SEED]`. Each case is one instruction. Encodings that the simulator refuses are
//! skipped and counted; what it decodes, Unicorn must execute in the same way.

use nc_armv7em::{Cpu, Flags, NoBus, Op, Stop};
use std::collections::BTreeMap;
use unicorn_engine::unicorn_const::{Arch, Mode, Prot};
use unicorn_engine::{ArmCpuModel, RegisterARM, Unicorn};

const MEMORY: usize = 0x20000;
const CODE: usize = 0x1000;
/// Where random pointers point to.
const DATA: u32 = 0x8000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) as u32
    }

    fn below(&mut self, n: u32) -> u32 {
        (u64::from(self.next()) * u64::from(n) >> 32) as u32
    }

    /// Words that matter to integer units.
    fn word(&mut self) -> u32 {
        const SPECIAL: [u32; 10] = [0, 1, 2, 31, 32, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x8000, 0x7fff_8000];
        match self.below(4) {
            0 => SPECIAL[self.below(10) as usize],
            1 => self.below(256),
            2 => DATA + self.below(0x800) * 4,
            _ => self.next(),
        }
    }

    /// Words that matter to the floating-point unit.
    fn single(&mut self) -> u32 {
        const SPECIAL: [u32; 16] = [
            0,
            0x8000_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0000,
            0x7f80_0001,
            0xffa1_2345,
            0xffc5_4321,
            0x0080_0000,
            0x007f_ffff,
            1,
            0x8000_0001,
            0x7f7f_ffff,
            0x3f80_0000,
            0x4f00_0000,
            0xcf00_0000,
        ];
        let sign = self.next() & 1 << 31;
        match self.below(8) {
            0 => SPECIAL[self.below(16) as usize],
            1 => sign | self.next() & 0x00ff_ffff,
            2 => sign | 0x3f80_0000 - 0x0080_0000 * self.below(4) | self.next() & 0x007f_f000,
            3 => sign | (100 + self.below(60)) << 23 | self.next() & 0x007f_ffff,
            4 => sign | (60 + self.below(10)) << 23 | self.next() & 0x0070_0000,
            5 => (self.below(2000) as f32 - 1000.0).to_bits(),
            6 => sign | (127 + self.below(40)) << 23 | self.next() & 0x007f_ffff,
            _ => self.next(),
        }
    }
}

/// A random instruction that starts with bits of some class, so that all classes get their share.
fn instruction(r: &mut Random) -> (u16, Option<u16>) {
    let x = r.next();
    let (a, b) = ((x >> 16) as u16, x as u16);
    match r.below(10) {
        0..=2 => {
            let a = a % 0xe800;
            (a, None)
        }
        3 => (0xe800 | a & 0x07ff, Some(b)),
        4 => (0xf000 | a & 0x07ff, Some(b & 0x7fff)),
        5 => (0xf800 | a & 0x01ff, Some(b)),
        6 => {
            let b = if r.below(2) == 0 { b | 0xf000 } else { b };
            (0xfa00 | a & 0x01ff, Some(if r.below(2) == 0 { b & 0xff3f | 0x80 } else { b & 0xff0f }))
        }
        7 => (0xee00 | a & 0xff, Some(b & 0xf0ff | 0x0a00)),
        8 => (0xeeb0 | a & 0x4f, Some(b & 0xf0ff | 0x0a40)),
        _ => (0xec00 | a & 0x01ff, Some(b & 0xf1ff | 0x0a00)),
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>().expect("a number"));
    let cases = arguments.next().unwrap_or(1_000_000);
    let mut r = Random(arguments.next().unwrap_or(1));
    let mut uc = Unicorn::new(Arch::ARM, Mode::MCLASS | Mode::THUMB).expect("unicorn");
    uc.ctl_set_cpu_model(ArmCpuModel::CORTEX_M4 as i32).expect("model");
    uc.mem_map(0, MEMORY as u64, Prot::ALL).expect("memory");
    let regs = [
        RegisterARM::R0,
        RegisterARM::R1,
        RegisterARM::R2,
        RegisterARM::R3,
        RegisterARM::R4,
        RegisterARM::R5,
        RegisterARM::R6,
        RegisterARM::R7,
        RegisterARM::R8,
        RegisterARM::R9,
        RegisterARM::R10,
        RegisterARM::R11,
        RegisterARM::R12,
        RegisterARM::SP,
        RegisterARM::LR,
    ];
    let single = |k: usize| RegisterARM::S0 as i32 + k as i32;
    // The first floating-point instruction makes a context and with it a new fpscr: vmov.f32 s0, s0.
    uc.mem_write(0, &0x0a40_eeb0u32.to_le_bytes()).expect("write");
    uc.emu_start(1, 4, 0, 1).expect("a first instruction");
    let mut cpu = Cpu::new(MEMORY, CODE);
    let (mut counts, mut refused, mut traps, mut bad) = (BTreeMap::<String, u64>::new(), 0u64, 0u64, 0u64);
    for _ in 0..cases {
        let (first, second) = instruction(&mut r);
        // A yield stops Unicorn.
        if first == 0xbf10 || (first == 0xf3af && second == Some(0x8001)) {
            continue;
        }
        // Inside an IT block, sometimes.
        let condition = (r.below(5) == 0).then(|| r.below(14) as u16);
        let mut code: Vec<u16> = Vec::new();
        code.extend(condition.map(|c| 0xbf08 | c << 4));
        code.push(first);
        code.extend(second);
        code.extend([0xbf00; 6]);
        let start = 0x400u32;
        let bytes: Vec<u8> = code.iter().flat_map(|h| h.to_le_bytes()).collect();
        cpu.load(start, &bytes);
        for reg in &mut cpu.regs[..15] {
            *reg = r.word();
        }
        cpu.regs[13] = DATA + 0x1000;
        for s in &mut cpu.singles {
            *s = r.single();
        }
        cpu.flags = Flags::from_bits(r.next());
        cpu.fpscr = r.next() & 0xf000_001f;
        let data: Vec<u8> = (0..0x40).flat_map(|_| r.single().to_le_bytes()).collect();
        let near = cpu.regs[(first & 7) as usize];
        for at in [near & !3, DATA + 0xf80] {
            if (CODE as u32..MEMORY as u32 - 0x200).contains(&at) {
                cpu.load(at, &data);
            }
        }
        // The same state to the other one.
        for (k, reg) in regs.iter().enumerate() {
            uc.reg_write(*reg, u64::from(cpu.regs[k])).expect("write");
        }
        for k in 0..32 {
            uc.reg_write(single(k), u64::from(cpu.singles[k])).expect("write");
        }
        uc.reg_write(RegisterARM::XPSR, u64::from(cpu.flags.bits() | 1 << 24)).expect("write");
        uc.reg_write(RegisterARM::FPSCR, u64::from(cpu.fpscr)).expect("write");
        let before = cpu.memory().to_vec();
        let (regs_before, singles_before, flags_before, fpscr_before) = (cpu.regs, cpu.singles, cpu.flags, cpu.fpscr);
        cpu.set_pc(start);
        let steps = 1 + u64::from(condition.is_some());
        let stop = cpu.run(&mut NoBus, steps);
        match stop {
            // A branch into memory that is not there is not followed.
            Stop::Limit if cpu.pc() == start || cpu.pc() < 16 || cpu.pc() as usize >= MEMORY - 0x100 => continue,
            Stop::Limit => {}
            Stop::Unsupported { .. } => {
                refused += 1;
                continue;
            }
            _ => {
                traps += 1;
                continue;
            }
        }
        uc.mem_write(0, &before).expect("write");
        // Unicorn keeps translated code.
        uc.ctl_remove_cache(0, MEMORY as u64).expect("cache");
        // One more at most: an instruction whose condition does not hold may not be counted.
        let result = uc.emu_start(u64::from(start) | 1, u64::from(cpu.pc()), 0, steps as usize + 1);
        let name = format!("{:?}", decoded(first, second));
        *counts.entry(name.clone()).or_default() += 1;
        let mut wrong = Vec::new();
        if let Err(e) = result {
            wrong.push(format!("unicorn says {e:?}"));
        }
        let pc = uc.reg_read(RegisterARM::PC).expect("read") as u32 & !1;
        if pc != cpu.pc() {
            wrong.push(format!("pc {:#x}, not {pc:#x}", cpu.pc()));
        }
        for (k, reg) in regs.iter().enumerate() {
            let x = uc.reg_read(*reg).expect("read") as u32;
            if x != cpu.regs[k] {
                wrong.push(format!("r{k} {:#x}, not {x:#x}", cpu.regs[k]));
            }
        }
        for k in 0..32 {
            let x = uc.reg_read(single(k)).expect("read") as u32;
            if x != cpu.singles[k] {
                wrong.push(format!("s{k} {:#x}, not {x:#x} (was {:#x})", cpu.singles[k], singles_before[k]));
            }
        }
        let flags = uc.reg_read(RegisterARM::XPSR).expect("read") as u32 & 0xf800_0000;
        if flags != cpu.flags.bits() {
            wrong.push(format!("flags {:#x}, not {flags:#x}", cpu.flags.bits()));
        }
        let fpscr = uc.reg_read(RegisterARM::FPSCR).expect("read") as u32;
        if fpscr != cpu.fpscr {
            wrong.push(format!("fpscr {:#x}, not {fpscr:#x}", cpu.fpscr));
        }
        let memory = uc.mem_read_as_vec(0, MEMORY).expect("read");
        if memory != cpu.memory() {
            let at = memory.iter().zip(cpu.memory()).position(|(a, b)| a != b).unwrap_or(0);
            wrong.push(format!("memory at {at:#x}"));
        }
        if !wrong.is_empty() {
            bad += 1;
            println!("{first:04x} {:04x} {name} cond {condition:?}: {}", second.unwrap_or(0), wrong.join(", "));
            println!("   before: {regs_before:x?} flags {:#x} fpscr {fpscr_before:#x}", flags_before.bits());
            if bad >= 20 {
                break;
            }
        }
    }
    println!(
        "{cases} cases: {refused} refused, {traps} trapped, {} compared, {bad} differ",
        counts.values().sum::<u64>()
    );
    for (name, n) in &counts {
        println!("  {name} {n}");
    }
    std::process::exit(i32::from(bad > 0));
}

/// What the simulator takes an instruction for.
fn decoded(first: u16, second: Option<u16>) -> Op {
    nc_armv7em::decode_one(first, second, 0x400).op
}
