//! A simulator of one ARMv7E-M core with the single-precision floating-point extension (a Cortex-M4F), as a library
//! without IO.
//!
//! Code is decoded once, when control first reaches it, into [`Inst`]s: operands that the program counter decides are
//! resolved, and instructions of an IT block carry their condition. The encodings that compilers emit are implemented;
//! any other stops the core with its address and name ([`Stop::Unsupported`]), as do accesses outside memory, writes to
//! code, and settings of the floating-point unit that are not implemented (other roundings, flush to zero).
//!
//! There are no exceptions and no interrupts: `wfi`, `wfe`, `svc` and `bkpt` stop the core and tell so. Cycles are
//! estimated, see [`timing`].
//!
//! Source of the behaviour: Arm's ARMv7-M Architecture Reference Manual; a test beside the workspace holds every
//! implemented encoding against an independent emulator.

pub mod assemble;
mod cpu;
mod decode;
mod exec;
pub mod fpu;
mod inst;
mod memory;
pub mod timing;

pub use cpu::{Cpu, Flags};
pub use inst::{Inst, Op};
pub use memory::{Bus, NoBus, Write};

/// Why a core stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The limit of instructions was reached.
    Limit,
    /// `wfi` or `wfe`; the program counter is behind it.
    Wait,
    /// `svc` with its number; the program counter is behind it.
    Service(u8),
    /// `bkpt` with its number; the program counter is at it.
    Breakpoint(u8),
    /// The bus asked for it in answer to a write; the program counter is behind the write.
    Bus,
    /// An instruction that is not implemented.
    Unsupported {
        /// Where.
        address: u32,
        /// Its first two bytes, and the next two (0 for a short instruction).
        encoding: (u16, u16),
        /// Its name, or what is wrong with it.
        name: &'static str,
    },
    /// An access that memory does not take.
    Memory {
        /// Where the instruction stands.
        address: u32,
        /// What it accessed.
        target: u32,
        /// What is wrong.
        what: &'static str,
    },
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stop::Limit => write!(f, "the limit of instructions was reached"),
            Stop::Wait => write!(f, "the core waits"),
            Stop::Service(n) => write!(f, "svc #{n}"),
            Stop::Breakpoint(n) => write!(f, "bkpt #{n}"),
            Stop::Bus => write!(f, "the bus stopped the core"),
            Stop::Unsupported { address, encoding, name } => {
                write!(f, "{name} ({:04x} {:04x}) at {address:#x} is not implemented", encoding.0, encoding.1)
            }
            Stop::Memory { address, target, what } => {
                write!(f, "the instruction at {address:#x} accessed {target:#x}: {what}")
            }
        }
    }
}

/// Decodes one instruction that stands outside an IT block; `second` is not looked at for a short one.
pub fn decode_one(first: u16, second: Option<u16>, address: u32) -> Inst {
    decode::Block::default().next(first, second, address)
}
