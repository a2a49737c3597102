//! Code in memory.

use crate::error::Unsupported;
use crate::functions::{self, refused};
use crate::target::{self, Mode, Options};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::default_libcall_names;
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::{Code, EntryPoint, Layout};

/// Machine code of a program and the memory it lives in, which is readable and executable but never writable and
/// executable at once.
pub struct JitCode {
    module: Option<JITModule>,
    entry: EntryPoint,
}

// SAFETY: after `compile` returns nothing touches the module until it is dropped; the code itself is immutable, and what
// it writes it is given by pointer through `RunContext`, whose sharing between threads is the caller's concern.
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

impl Drop for JitCode {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the entry point is documented to be valid only as long as `self` lives, so nothing runs or points
            // into the code any more.
            unsafe { module.free_memory() };
        }
    }
}

/// Compiles a verified program for the processor this runs on.
///
/// # Errors
/// [`Unsupported`] if the processor has no fused multiply-add or is not little-endian, or if the code is too large.
pub fn compile(program: &Program, layout: &Layout, options: &Options) -> Result<JitCode, Unsupported> {
    let isa = target::host(options, false)?;
    let mode = Mode::of(&*isa, options);
    let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
    let run = functions::define(&mut module, program, layout, "nc", mode, false, None)
        .and_then(|run| module.finalize_definitions().map_err(|e| refused("placing the code", &e)).map(|()| run));
    let run = match run {
        Ok(run) => run,
        Err(e) => {
            // SAFETY: no address in the module's memory has been handed out.
            unsafe { module.free_memory() };
            return Err(e);
        }
    };
    let entry = module.get_finalized_function(run);
    // SAFETY: `run` was defined with the signature of `EntryPoint`: two 64-bit integers in the C calling convention of
    // the host, no result.
    let entry = unsafe { std::mem::transmute::<*const u8, EntryPoint>(entry) };
    Ok(JitCode { module: Some(module), entry })
}
