//! Modules of graphics processors to PTX.

use crate::emit::{Blocks, Emitted};
use crate::error::Unsupported;
use crate::gpu::{Arch, Stage, THREADS};
use crate::llvm::Llvm;
use crate::module::Session;
use melior::ir::block::BlockLike;
use melior::ir::operation::OperationLike;
use melior::ir::{AttributeLike, Module};
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;

/// To the dialects of LLVM and NVVM.
const TO_NVVM: &str = "builtin.module(canonicalize,cse,gpu.module(convert-scf-to-cf,convert-math-to-llvm,\
                       convert-gpu-to-nvvm{index-bitwidth=64},canonicalize,cse,reconcile-unrealized-casts))";

pub(crate) fn text(of: (&Program, &Layout), prefix: &str, arch: Arch, stage: Stage) -> Emitted<String> {
    crate::symbol::check(prefix)?;
    let session = Session::new();
    let mut module = session.team_module(of, prefix, Blocks { threads: THREADS, host: false })?;
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
    let bytes = object(&module).ok_or_else(|| Unsupported::failed("MLIR", "no binary came out"))?;
    if stage == Stage::Llvm {
        return Llvm::parse(&bytes).map(|m| m.text());
    }
    let text = String::from_utf8(bytes).map_err(|e| Unsupported::failed("LLVM's code generator", e))?;
    Ok(text.trim_end_matches('\0').to_owned())
}

/// The first binary of a module.
fn object(module: &Module<'_>) -> Option<Vec<u8>> {
    let mut op = module.body().first_operation();
    while let Some(o) = op {
        if o.name().as_string_ref().as_str() == Ok("gpu.binary") {
            let objects = o.attribute("objects").ok()?;
            // SAFETY: `objects` is an array with an element, which is an object attribute; it outlives the copy.
            let bytes = unsafe {
                let raw = objects.to_raw();
                if !mlir_sys::mlirAttributeIsAArray(raw) || mlir_sys::mlirArrayAttrGetNumElements(raw) < 1 {
                    return None;
                }
                let first = mlir_sys::mlirArrayAttrGetElement(raw, 0);
                if !mlir_sys::mlirAttributeIsAGPUObjectAttr(first) {
                    return None;
                }
                let s = mlir_sys::mlirGPUObjectAttrGetObject(first);
                std::slice::from_raw_parts(s.data.cast::<u8>(), s.length).to_vec()
            };
            return Some(bytes);
        }
        op = o.next_in_block();
    }
    None
}
