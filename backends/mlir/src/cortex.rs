//! Objects for Arm Cortex-M cores with 32-bit floats.

use crate::arm::{Cpu, Options};
use crate::emit::Machine;
use crate::error::Unsupported;
use crate::llvm::{Form, Llvm, Relocation, TargetMachine};
use crate::module::Session;
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;

/// The target that code is generated for.
const TRIPLE: &str = "thumbv7em-none-eabihf";

/// Pipeline of LLVM: `Os` keeps loops as they are, since memory for code is small.
const PASSES: &str = "default<Os>";

pub(crate) fn lower(program: &Program, layout: &Layout, options: &Options, form: Form) -> Result<Vec<u8>, Unsupported> {
    crate::symbol::check(&options.prefix)?;
    let Cpu::CortexM4 = options.cpu;
    let target = TargetMachine::new(TRIPLE, "cortex-m4", "", Relocation::Static)?;
    let session = Session::new();
    let mut module = session.module((program, layout), &options.prefix, Machine::Cpu { small: true }, 4)?;
    session.to_llvm(&mut module)?;
    let llvm = Llvm::of(&module, &target)?;
    llvm.mark(true, &format!("{}_k", options.prefix));
    llvm.optimize(&target, PASSES)?;
    llvm.emit(&target, form)
}
