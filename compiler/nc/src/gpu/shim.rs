//! What the code generator gives for the new launch.

use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;
use nc_mlir::Unsupported;

/// How a program is launched.
pub struct Launch {
    /// Its entry in the PTX.
    pub symbol: String,
    /// Threads of a block.
    pub threads: u32,
}

/// How a program is launched.
pub fn launch(_: &Program) -> Launch {
    Launch { symbol: "nc_run".to_owned(), threads: 256 }
}

/// The program on this processor.
pub struct Kernels(nc_mlir::gpu::Kernels);

impl Kernels {
    /// Compiles a program.
    pub fn compile(program: &Program, layout: &Layout) -> Result<Kernels, Unsupported> {
        nc_mlir::gpu::Kernels::compile(program, layout).map(Kernels)
    }

    /// Runs blocks of threads on arguments.
    pub unsafe fn launch(&self, _: (u32, u32), _: &[u64]) -> Result<(), String> {
        let _ = &self.0;
        Err("the code generator does not write this launch yet".to_owned())
    }
}
