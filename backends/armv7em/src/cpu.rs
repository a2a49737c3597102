//! The state of a core.

use crate::Stop;
use crate::decode;
use crate::inst::{Inst, Op};

/// The flags of `apsr`. N is bit 31 of `n`, Z says that `z` is zero; carry, overflow and saturation are 0 or 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags {
    pub(crate) n: u32,
    pub(crate) z: u32,
    pub(crate) c: u32,
    pub(crate) v: u32,
    pub(crate) q: u32,
}

impl Flags {
    /// From bits 31 (N), 30 (Z), 29 (C), 28 (V) and 27 (Q).
    pub fn from_bits(x: u32) -> Flags {
        Flags { n: x, z: u32::from(x >> 30 & 1 == 0), c: x >> 29 & 1, v: x >> 28 & 1, q: x >> 27 & 1 }
    }

    /// As bits 31..27.
    pub fn bits(self) -> u32 {
        (self.n & 1 << 31) | u32::from(self.z == 0) << 30 | self.c << 29 | self.v << 28 | self.q << 27
    }

    /// Sets N and Z from a result.
    #[inline(always)]
    pub(crate) fn nz(&mut self, r: u32) {
        (self.n, self.z) = (r, r);
    }

    /// True if a condition holds.
    #[inline(always)]
    pub(crate) fn hold(self, cond: u8) -> bool {
        let n = self.n >> 31;
        let yes = match cond >> 1 {
            0 => self.z == 0,
            1 => self.c != 0,
            2 => n != 0,
            3 => self.v != 0,
            4 => self.c != 0 && self.z != 0,
            5 => n == self.v,
            6 => n == self.v && self.z != 0,
            _ => return true,
        };
        yes != (cond & 1 == 1)
    }
}

/// Halfwords by which decoded code grows.
const STEP: usize = 512;

/// One core with its memory, which lies at address 0.
#[derive(Clone, Debug)]
pub struct Cpu {
    /// r0 to r14; what stands at 15 has no meaning, see [`Cpu::pc`].
    pub regs: [u32; 16],
    /// s0 to s31 as bits.
    pub singles: [u32; 32],
    /// Flags.
    pub flags: Flags,
    /// Flags (31..28) and cumulative exceptions (7, 4..0) of the floating-point unit.
    pub fpscr: u32,
    /// Instructions executed.
    pub instructions: u64,
    /// Cycles, estimated.
    pub cycles: u64,
    /// Memory from address 0 on.
    pub(crate) memory: Vec<u8>,
    /// Bytes at the start of memory that hold code and cannot be written by the core.
    pub(crate) code_bytes: u32,
    /// Decoded code, one for each halfword, as far as some was needed.
    pub(crate) code: Vec<Inst>,
    /// Program counter in halfwords.
    pub(crate) at: u32,
}

impl Cpu {
    /// A core with so many bytes of memory, all zero, of which the first `code_bytes` hold code.
    pub fn new(bytes: usize, code_bytes: usize) -> Cpu {
        let code_bytes = code_bytes.min(bytes);
        Cpu {
            regs: [0; 16],
            singles: [0; 32],
            flags: Flags::from_bits(0),
            fpscr: 0,
            instructions: 0,
            cycles: 0,
            memory: vec![0; bytes],
            code_bytes: code_bytes as u32,
            code: Vec::new(),
            at: 0,
        }
    }

    /// The memory.
    pub fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// Writes memory from outside; code that is written is decoded anew. False if it does not lie in memory.
    pub fn load(&mut self, address: u32, bytes: &[u8]) -> bool {
        let start = address as usize;
        let Some(target) = self.memory.get_mut(start..).and_then(|m| m.get_mut(..bytes.len())) else { return false };
        target.copy_from_slice(bytes);
        if !bytes.is_empty() && address < self.code_bytes {
            // What stands before may be an IT instruction that reaches in, or a long instruction's first half.
            self.code.clear();
        }
        true
    }

    /// Makes room for the decoded form of a halfword. False if it is no code.
    pub(crate) fn reach(&mut self, at: u32) -> bool {
        let (at, all) = (at as usize, self.code_bytes.div_ceil(2) as usize);
        if at < all && at >= self.code.len() {
            self.code.resize((at + 1).next_multiple_of(STEP).min(all), Inst::new(Op::New, 1, 0, 0, 0, 0));
        }
        at < all
    }

    /// The program counter.
    pub fn pc(&self) -> u32 {
        self.at << 1
    }

    /// Sets the program counter; bit 0 is ignored.
    pub fn set_pc(&mut self, address: u32) {
        self.at = address >> 1;
    }

    /// Decodes from a halfword on to the end of its block.
    pub(crate) fn decode(&mut self, at: u32) {
        let mut at = at as usize;
        let mut block = decode::Block::default();
        let all = self.code_bytes.div_ceil(2) as usize;
        while at < all {
            self.reach(at as u32);
            let half = |k: usize| match self.memory.get(2 * k..2 * k + 2) {
                Some(b) => u16::from_le_bytes([b[0], b[1]]),
                None => 0,
            };
            // A long instruction may not reach beyond the code.
            let next = if at + 1 < all { Some(half(at + 1)) } else { None };
            let inst = block.next(half(at), next, (at as u32) << 1);
            // Inside an IT block the first decoding counts, which began at the IT instruction.
            if self.code[at].op != Op::New {
                break;
            }
            self.code[at] = inst;
            if block.ends() {
                break;
            }
            at += usize::from(inst.len);
        }
    }

    /// The stop for an instruction that is not implemented.
    pub(crate) fn unsupported(&self, at: u32, name: &'static str) -> Stop {
        let half = |k: usize| self.memory.get(2 * k..2 * k + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
        let first = half(at as usize);
        let second = if decode::is_long(first) { half(at as usize + 1) } else { 0 };
        Stop::Unsupported { address: at << 1, encoding: (first, second), name }
    }
}
