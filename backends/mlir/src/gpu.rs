//! Kernels for graphics processors: PTX, and how a host launches it.
//!
//! Each kernel of a program is one launch; launches follow each other in the order of the program's steps, and what a
//! step's loop or branch reads is read by the host between them. A kernel is given, in this order, the addresses of the
//! arena, of the constant pool and of a table of host arrays, the tick as a 64-bit number, and one more such number for
//! each iteration that the kernel asks for. Entry n of the table is where frame 0 of host array n lies or would lie:
//! kernels find the frame of their tick themselves, so that the table stays as it is from tick to tick. All threads of a
//! launch work on one kernel together, see [`Shape`]; results depend neither on how many there are nor on how they are
//! scheduled.
//!
//! Nothing is contracted: `fma.rn` stands where the program has [`nc_ir::kernel::ScalarOp::Fma`], and sums and products
//! apart are `add.rn` and `mul.rn`, which assemblers of PTX must not fuse.
//!
//! [`Kernels`] is the same MLIR with its threads run on this processor.

use crate::Unsupported;
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::{Block, BufId, Index, Kernel, Program, Stmt, Val};
use std::collections::BTreeSet;

/// Threads of a block that divide vector loops among them.
pub const BLOCK: u32 = 256;

/// Threads of a block where each runs a part of its own: few, so that parts spread over the processor.
pub const PARTS_BLOCK: u32 = 32;

#[cfg(not(feature = "llvm"))]
pub use crate::absent::Kernels;
#[cfg(feature = "llvm")]
pub use crate::host::Kernels;

/// Processors that PTX is written for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Arch {
    /// NVIDIA, compute capability 8.0.
    Sm80,
    /// NVIDIA, compute capability 9.0.
    Sm90,
}

impl Arch {
    /// The name that assemblers know.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Sm80 => "sm_80",
            Arch::Sm90 => "sm_90",
        }
    }
}

/// How the threads of a launch are arranged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Any number of blocks: the kernel's one effect is a vector loop, whose iterations all threads divide among them.
    Grid,
    /// A thread for each part of the program, on its own: no part reads what another writes.
    Parts,
    /// One block: all threads take the same way through the kernel, divide its vector loops, and meet wherever something is
    /// written; the first thread alone does what is not in a vector loop, and loops that push to a list.
    Block,
}

impl Shape {
    /// The shape of a kernel of a program of so many parts.
    pub fn of(kernel: &Kernel, parts: u32) -> Shape {
        let other = if parts > 1 && kernel.parallel.is_some() { Shape::Parts } else { Shape::Block };
        // The grid has no parts.
        if other == Shape::Parts && mentions(&kernel.body, Kernel::PART) {
            return other;
        }
        let mut stored = BTreeSet::new();
        stores(&kernel.body, &mut stored);
        let mut loops = 0;
        for s in &kernel.body.stmts {
            match s {
                Stmt::Const { .. } | Stmt::Op { .. } => {}
                Stmt::Load { buf, .. } if !stored.contains(buf) => {}
                Stmt::For { vector: true, body, .. } if !pushes(body) => loops += 1,
                _ => return other,
            }
        }
        if loops == 1 { Shape::Grid } else { other }
    }

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Grid => "grid",
            Shape::Parts => "parts",
            Shape::Block => "block",
        }
    }
}

/// Whether a block reads a value.
fn mentions(block: &Block, v: Val) -> bool {
    let indexed = |i: &Index| i.terms.iter().any(|(t, _)| *t == v);
    block.stmts.iter().any(|s| match s {
        Stmt::Const { .. } => false,
        Stmt::Op { args, .. } => args.contains(&v),
        Stmt::Load { index, .. } => indexed(index),
        Stmt::Store { index, value, .. } => indexed(index) || *value == v,
        Stmt::For { lo, hi, carried, body, .. } => {
            *lo == v || *hi == v || carried.iter().any(|c| c.init == v || c.next == v) || mentions(body, v)
        }
        Stmt::Events { slot, wide, one, .. } => {
            *slot == v || mentions(&one.body, v) || wide.as_ref().is_some_and(|w| mentions(&w.body, v))
        }
        Stmt::Clear { slot, .. } => *slot == v,
        Stmt::Push { slot, cond, index, .. } => [slot, cond, index].contains(&&v),
        Stmt::If { cond, then_body, else_body } => *cond == v || mentions(then_body, v) || mentions(else_body, v),
    })
}

/// Whether a block changes a list.
pub(crate) fn pushes(block: &Block) -> bool {
    block.stmts.iter().any(|s| match s {
        Stmt::Push { .. } | Stmt::Clear { .. } => true,
        Stmt::For { body, .. } => pushes(body),
        Stmt::Events { wide, one, .. } => pushes(&one.body) || wide.as_ref().is_some_and(|w| pushes(&w.body)),
        Stmt::If { then_body, else_body, .. } => pushes(then_body) || pushes(else_body),
        Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Load { .. } | Stmt::Store { .. } => false,
    })
}

/// The buffers that a block writes.
fn stores(block: &Block, found: &mut BTreeSet<BufId>) {
    for s in &block.stmts {
        match s {
            Stmt::Store { buf, .. } => drop(found.insert(*buf)),
            Stmt::For { body, .. } => stores(body, found),
            Stmt::Events { wide, one, .. } => {
                stores(&one.body, found);
                wide.iter().for_each(|w| stores(&w.body, found));
            }
            Stmt::If { then_body, else_body, .. } => {
                stores(then_body, found);
                stores(else_body, found);
            }
            Stmt::Const { .. } | Stmt::Op { .. } | Stmt::Load { .. } | Stmt::Clear { .. } | Stmt::Push { .. } => {}
        }
    }
}

/// A kernel as a host launches it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Its entry in the PTX.
    pub symbol: String,
    /// How its threads are arranged.
    pub shape: Shape,
    /// Blocks: as many as give each item of the kernel's extent a thread, or each part, or one.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// It runs in ticks that are multiples of this.
    pub every: u64,
    /// How many iterations of loops around it are among its arguments.
    pub iterations: usize,
}

/// Most blocks of a launch: a grid of fewer threads than items takes them in turns.
const MOST_BLOCKS: u64 = 1 << 16;

/// The kernels of a program in order.
pub fn launches(program: &Program, prefix: &str) -> Vec<Launch> {
    let launch = |(n, k): (usize, &Kernel)| {
        let shape = Shape::of(k, program.parts);
        let (items, threads) = match shape {
            Shape::Grid => (k.parallel.map_or(u64::from(BLOCK), |p| p.len), BLOCK),
            Shape::Parts => (program.parts.into(), PARTS_BLOCK),
            Shape::Block => (1, BLOCK),
        };
        let blocks = items.div_ceil(threads.into()).clamp(1, MOST_BLOCKS) as u32;
        let symbol = crate::symbol::kernel(prefix, n, k);
        Launch { symbol, shape, blocks, threads, every: k.every, iterations: k.iterations.len() }
    };
    program.kernels().enumerate().map(launch).collect()
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
}

/// The kernels of a verified program, at a stage.
///
/// # Errors
/// [`Unsupported`] if the prefix is no C identifier, if the layout is of another program, or if MLIR or LLVM fail; always
/// without the feature `llvm`.
pub fn text(program: &Program, layout: &Layout, prefix: &str, arch: Arch, stage: Stage) -> Result<String, Unsupported> {
    #[cfg(feature = "llvm")]
    return crate::ptx::text((program, layout), prefix, arch, stage);
    #[cfg(not(feature = "llvm"))]
    {
        let _ = (program, layout, prefix, arch, stage);
        Err(crate::absent::missing())
    }
}
