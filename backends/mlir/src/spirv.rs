//! Modules of graphics processors to SPIR-V.

use crate::emit::Emitted;
use crate::error::Unsupported;
use crate::gpu::Arithmetic;
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;

pub(crate) fn code(_of: (&Program, &Layout), _prefix: &str, _arithmetic: Arithmetic) -> Emitted<Vec<u8>> {
    Err(Unsupported::new("SPIR-V", "it is being written"))
}
