//! Modules of graphics processors to PTX.

use crate::emit::{Blocks, Emitted, Side};
use crate::error::Unsupported;
use crate::gpu::{Arch, Stage, THREADS};
use crate::llvm::Llvm;
use crate::module::{Session, binary};
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;

/// To the dialects of LLVM and NVVM.
const TO_NVVM: &str = "builtin.module(canonicalize,cse,gpu.module(convert-scf-to-cf,convert-math-to-llvm,\
                       convert-gpu-to-nvvm{index-bitwidth=64},canonicalize,cse,reconcile-unrealized-casts))";

pub(crate) fn text(of: (&Program, &Layout), prefix: &str, arch: Arch, stage: Stage) -> Emitted<String> {
    crate::symbol::check(prefix)?;
    if stage == Stage::Spirv {
        return Err(Unsupported::new(format!("SPIR-V on the way to {}", arch.name()), "take the architecture vulkan"));
    }
    let session = Session::new();
    let mut module = session.team_module(of, prefix, Blocks { threads: THREADS, side: Side::Ptx })?;
    if stage == Stage::Mlir {
        return Ok(format!("{}\n", module.as_operation()));
    }
    session.pass(&mut module, TO_NVVM)?;
    if stage == Stage::Nvvm {
        return Ok(format!("{}\n", module.as_operation()));
    }
    let (chip, form) = (arch.name(), if stage == Stage::Llvm { "llvm" } else { "isa" });
    let pipeline = format!(
        "builtin.module(nvvm-attach-target{{chip={chip} features=+ptx80 O=3}},gpu-module-to-binary{{format={form}}})"
    );
    session.pass(&mut module, &pipeline)?;
    let bytes = binary(&module).ok_or_else(|| Unsupported::failed("MLIR", "no binary came out"))?;
    if stage == Stage::Llvm {
        return Llvm::parse(&bytes).map(|m| m.text());
    }
    let text = String::from_utf8(bytes).map_err(|e| Unsupported::failed("LLVM's code generator", e))?;
    Ok(text.trim_end_matches('\0').to_owned())
}
