//! Objects for Arm cores.
//!
//! The core is an ARMv7E-M with a floating-point unit for `f32`, the target `thumbv7em-none-eabihf`. An object has the
//! functions of a program and nothing else: no data, no start-up code, no undefined symbols. Everything that the core
//! cannot do by an instruction, such as the division of 64-bit integers, is part of the object.
//!
//! # Calling convention
//!
//! `<prefix>_run` is the [`nc_ir::kernel::abi::EntryPoint`] by the rules of AAPCS: `r0` points to a
//! [`nc_ir::kernel::abi::RunContext`] as C lays it out with 32-bit pointers ([`context`] writes one), `r2` and `r3` hold the
//! 64-bit number of the part. It must be called in Thumb state with the floating-point unit on, rounding to nearest,
//! without flush-to-zero and default-NaN (FPSCR = 0), with `sp` a multiple of 8. The arena, the constant pool and the host
//! arrays lie at multiples of 8; nothing is read or written beyond what [`nc_ir::kernel::abi::Layout`] says.

use crate::Unsupported;
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;

/// Cores that code is generated for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Cpu {
    /// Cortex-M4 with a floating-point unit.
    #[default]
    CortexM4,
}

/// How objects are made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The core.
    pub cpu: Cpu,
    /// What the names of symbols begin with: a C identifier.
    pub prefix: String,
}

impl Default for Options {
    fn default() -> Options {
        Options { cpu: Cpu::default(), prefix: "nc".to_owned() }
    }
}

/// A relocatable ELF object for a verified program, with the global symbol `<prefix>_run`. Its code is in sections that
/// begin with `.text`, its constants in sections that begin with `.rodata`; tables for unwinding in `.ARM.exidx` need not be
/// loaded. Relocations are among `R_ARM_ABS32`, `R_ARM_THM_CALL`, `R_ARM_THM_JUMP24`, `R_ARM_THM_MOVW_ABS_NC`,
/// `R_ARM_THM_MOVT_ABS`, and `R_ARM_PREL31` in tables for unwinding.
///
/// Arithmetic on `f64`, which the core does not have, is written out in integers: exact, and slow.
///
/// # Errors
/// [`Unsupported`] if the prefix is no C identifier, if the layout is of another program, or if MLIR or LLVM fail; always
/// without the feature `llvm`.
pub fn object(program: &Program, layout: &Layout, options: &Options) -> Result<Vec<u8>, Unsupported> {
    #[cfg(feature = "llvm")]
    return crate::cortex::lower(program, layout, options, crate::llvm::Form::Object);
    #[cfg(not(feature = "llvm"))]
    {
        let _ = (program, layout, options);
        Err(crate::absent::missing())
    }
}

/// The same code in assembly language.
///
/// # Errors
/// As for [`object`].
pub fn asm(program: &Program, layout: &Layout, options: &Options) -> Result<String, Unsupported> {
    #[cfg(feature = "llvm")]
    {
        let text = crate::cortex::lower(program, layout, options, crate::llvm::Form::Text)?;
        String::from_utf8(text).map_err(|e| Unsupported::failed("LLVM's code generator", e))
    }
    #[cfg(not(feature = "llvm"))]
    {
        let _ = (program, layout, options);
        Err(crate::absent::missing())
    }
}

/// Addresses that a [`context`] holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Addresses {
    /// The arena.
    pub arena: u32,
    /// The constant pool.
    pub consts: u32,
    /// The table of host arrays: one 32-bit address for each.
    pub host: u32,
    /// What parts call between kernels, with its lowest bit set for Thumb state; 0 with one part.
    pub barrier: u32,
    /// What it is given in `r0`.
    pub barrier_arg: u32,
}

/// Bytes of a [`context`].
pub const CONTEXT_BYTES: usize = 48;

/// A [`nc_ir::kernel::abi::RunContext`] in the memory of an Arm core, to lie at a multiple of 8.
pub fn context(at: Addresses, first_tick: u64, ticks: u64) -> [u8; CONTEXT_BYTES] {
    let mut bytes = [0; CONTEXT_BYTES];
    let mut put = |offset: usize, data: &[u8]| bytes[offset..offset + data.len()].copy_from_slice(data);
    put(0, &at.arena.to_le_bytes());
    put(4, &at.consts.to_le_bytes());
    put(8, &at.host.to_le_bytes());
    put(16, &first_tick.to_le_bytes());
    put(24, &ticks.to_le_bytes());
    put(32, &at.barrier.to_le_bytes());
    put(36, &at.barrier_arg.to_le_bytes());
    bytes
}
