//! Code in memory, and texts of what stands on the way to it.

use crate::emit::Machine;
use crate::error::Unsupported;
use crate::llvm::{Form, Linked, Llvm, Relocation, TargetMachine};
use crate::module::Session;
use crate::{Options, Stage};
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::{Code, EntryPoint, Layout};

/// What code for this processor may use.
fn machine(options: &Options) -> Machine {
    Machine::Cpu { small: options.small }
}

/// Pipeline of LLVM for this processor.
const PASSES: &str = "default<O2>";

/// Machine code of a program and the memory it lives in, which is readable and executable but never writable and
/// executable at once.
pub struct JitCode {
    _linked: Linked,
    entry: EntryPoint,
}

// SAFETY: after `compile` returns nothing touches the linker until it is dropped; the code is immutable, and what it writes
// it is given by pointer through `RunContext`, whose sharing between threads is the caller's concern.
unsafe impl Send for JitCode {}
// SAFETY: as for `Send`: a shared `JitCode` only hands out the entry point.
unsafe impl Sync for JitCode {}

impl std::fmt::Debug for JitCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JitCode").field("entry", &(self.entry as *const ())).finish()
    }
}

impl Code for JitCode {
    fn entry(&self) -> EntryPoint {
        self.entry
    }
}

fn lower(program: &Program, layout: &Layout, options: &Options) -> Result<(TargetMachine, Llvm), Unsupported> {
    let target = TargetMachine::host(Relocation::Pic)?;
    let session = Session::new();
    let mut module = session.module((program, layout), "nc", machine(options), size_of::<usize>() as u64)?;
    session.to_llvm(&mut module)?;
    let llvm = Llvm::of(&module, &target)?;
    llvm.mark(false, "nc_k");
    llvm.optimize(&target, PASSES)?;
    Ok((target, llvm))
}

/// Compiles a verified program for the processor this runs on.
///
/// # Errors
/// [`Unsupported`] if the processor has no fused multiply-add or is not little-endian, or if MLIR or LLVM fail.
pub fn compile(program: &Program, layout: &Layout, options: &Options) -> Result<JitCode, Unsupported> {
    let (target, llvm) = lower(program, layout, options)?;
    let linked = Linked::new(&llvm.emit(&target, Form::Object)?)?;
    let address = linked.address("nc_run")?;
    if address == 0 {
        return Err(Unsupported::failed("LLVM's linker", "the entry point has no address"));
    }
    // SAFETY: `nc_run` was written with the signature of `EntryPoint`: a pointer and a 64-bit integer in the C calling
    // convention of this processor, no result.
    let entry = unsafe { std::mem::transmute::<usize, EntryPoint>(address as usize) };
    Ok(JitCode { _linked: linked, entry })
}

/// The program as it stands at a stage on the way to code for this processor.
///
/// # Errors
/// As for [`compile`].
pub fn text(program: &Program, layout: &Layout, stage: Stage) -> Result<String, Unsupported> {
    let options = Options::default();
    match stage {
        Stage::Mlir => {
            let session = Session::new();
            let module = session.module((program, layout), "nc", machine(&options), size_of::<usize>() as u64)?;
            Ok(format!("{}\n", module.as_operation()))
        }
        Stage::Llvm => Ok(lower(program, layout, &options)?.1.text()),
        Stage::Asm => {
            let (target, llvm) = lower(program, layout, &options)?;
            let bytes = llvm.emit(&target, Form::Text)?;
            String::from_utf8(bytes).map_err(|e| Unsupported::failed("LLVM's code generator", e))
        }
    }
}
