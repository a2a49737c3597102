//! Programs for graphics processors: PTX or SPIR-V, and how a host launches it.
//!
//! One launch runs many ticks of many samples. A part of the program is a block of [`THREADS`] threads; the blocks of the
//! parts are a *team*, which runs one sample after another: block b is part `b % parts` of team `b / parts`, and team k of
//! n runs the samples k, k + n, and so on. The threads of a block work on its part together; results depend neither on how
//! many there are nor on how they are scheduled. Blocks of a team wait for each other where one needs what others wrote, so
//! that all blocks of a launch with more than one part must be on the processor at the same time (a cooperative launch).
//!
//! The arguments of the launch are 64-bit words, in this order:
//!
//! 1. the address of the arena of sample 0
//! 2. the address of the constant pool
//! 3. the address of a table: entry n is where frame 0 of sample 0 of host array n lies or would lie. Frames lie as
//!    `[frame, sample]`, so that frame f of sample s is `(f * samples + s)` frames further. Frames of a probe are numbered
//!    by tick / every
//! 4. the address of 64-bit counters, one for each team, [`COUNTER_BYTES`] apart, all zero before the first launch
//! 5. the first tick
//! 6. how many ticks
//! 7. how many samples
//! 8. bytes from the arena of a sample to the next one's
//!
//! In SPIR-V they are the push constants. There blocks cannot wait for each other. A program has one entry as above, or
//! an entry for each phase of its [`course`] ([`phased`]), which the host launches in order, tick by tick: it runs
//! the phase in the first tick, and takes the iterations of the loops around the phase after the arguments. Argument 4
//! is the address of a word that becomes 1 when a loop did not run to its end ([`Arithmetic::Portable`]). Addresses are
//! those that buffers have on the device.
//!
//! Nothing is contracted: `fma.rn` stands where the program has [`nc_ir::kernel::ScalarOp::Fma`], and sums and products
//! apart are `add.rn` and `mul.rn`, which assemblers of PTX must not fuse.
//!
//! [`Kernels`] is the same MLIR with its threads run on this processor.

use crate::Unsupported;
use crate::scratch::Scratch;
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::phases::Course;

/// Threads of a block.
pub const THREADS: u32 = 512;

/// Most loops around a phase.
pub const LOOPS: usize = 8;

/// Bytes that the threads of a block share, of a program of so many parts.
pub fn shared_bytes(parts: u32) -> u64 {
    Scratch::of(THREADS, parts.max(1)).bytes
}

/// The course of a program through Vulkan; `None` if the way through its steps depends on values.
pub fn course(program: &Program) -> Option<Course> {
    Course::of(program, LOOPS)
}

/// The [`course`] of a program whose code has an entry for each phase: if its blocks would wait for each other without, or
/// if a dispatch is to have few iterations, since the device may end loops early.
pub fn phased(program: &Program, arithmetic: Arithmetic) -> Option<Course> {
    course(program).filter(|_| program.parts > 1 || arithmetic == Arithmetic::Portable)
}

/// The entry of a phase.
pub fn phase(prefix: &str, n: usize) -> String {
    format!("{prefix}_phase{n}")
}

/// Bytes from the counter of a team to the next one's.
pub const COUNTER_BYTES: u64 = 128;

#[cfg(not(feature = "llvm"))]
pub use crate::absent::Kernels;
#[cfg(feature = "llvm")]
pub use crate::host::Kernels;

/// Processors that code is written for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Arch {
    /// NVIDIA, compute capability 8.0, as PTX.
    Sm80,
    /// NVIDIA, compute capability 9.0, as PTX.
    Sm90,
    /// Any, as SPIR-V for Vulkan 1.2.
    Vulkan(Arithmetic),
}

/// What a device is taken to compute right, of what Vulkan leaves open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Arithmetic {
    /// Sums, products, conversions and comparisons. Fused products are written out, and a loop that ended early is
    /// noted: Mesa's software device ends all when 65,535 iterations have run.
    Portable,
    /// Fused products as well, and that loops run to their ends.
    Fused,
}

impl Arch {
    /// Its name, for NVIDIA's the one that assemblers know.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Sm80 => "sm_80",
            Arch::Sm90 => "sm_90",
            Arch::Vulkan(Arithmetic::Portable) => "vulkan",
            Arch::Vulkan(Arithmetic::Fused) => "vulkan-fused",
        }
    }

    /// What names of files with its code end in.
    pub fn extension(self) -> &'static str {
        match self {
            Arch::Sm80 | Arch::Sm90 => "ptx",
            Arch::Vulkan(_) => "spv",
        }
    }
}

/// A program as a host launches it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Its entry in the PTX.
    pub symbol: String,
    /// Threads of a block.
    pub threads: u32,
}

/// How a program is launched.
pub fn launch(prefix: &str) -> Launch {
    Launch { symbol: format!("{prefix}_run"), threads: THREADS }
}

/// A stage on the way to PTX.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// MLIR as it is first written: `gpu`, `scf`, `arith`, `math`, and `llvm` for memory.
    Mlir,
    /// The dialects of LLVM and NVVM.
    Nvvm,
    /// LLVM's intermediate representation after its passes.
    Llvm,
    /// PTX.
    Ptx,
    /// The dialect of SPIR-V.
    Spirv,
}

/// A verified program at a stage on the way to the code of an architecture.
///
/// # Errors
/// [`Unsupported`] for a stage that is not on this way, if the prefix is no C identifier, if the layout is of another
/// program, or if MLIR or LLVM fail; always without the feature `llvm`.
pub fn text(program: &Program, layout: &Layout, prefix: &str, arch: Arch, stage: Stage) -> Result<String, Unsupported> {
    #[cfg(feature = "llvm")]
    return match arch {
        Arch::Vulkan(arithmetic) => crate::spirv::text((program, layout), prefix, arithmetic, stage),
        Arch::Sm80 | Arch::Sm90 => crate::ptx::text((program, layout), prefix, arch, stage),
    };
    #[cfg(not(feature = "llvm"))]
    {
        let _ = (program, layout, prefix, arch, stage);
        Err(crate::absent::missing())
    }
}

/// The code of a program: text of PTX, or words of SPIR-V with the least byte first.
///
/// # Errors
/// As [`text`]; for Vulkan also a program of more than one part that has no [`course`].
pub fn code(program: &Program, layout: &Layout, prefix: &str, arch: Arch) -> Result<Vec<u8>, Unsupported> {
    match arch {
        Arch::Sm80 | Arch::Sm90 => text(program, layout, prefix, arch, Stage::Ptx).map(String::into_bytes),
        #[cfg(feature = "llvm")]
        Arch::Vulkan(arithmetic) => crate::spirv::code((program, layout), prefix, arithmetic),
        #[cfg(not(feature = "llvm"))]
        Arch::Vulkan(_) => Err(crate::absent::missing()),
    }
}
