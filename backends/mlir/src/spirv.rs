//! Modules of graphics processors to SPIR-V.

use crate::emit::{Blocks, Emitted, Side};
use crate::error::Unsupported;
use crate::gpu::{Arithmetic, Stage, THREADS};
use crate::ir::spirv_globals;
use crate::module::{Session, binary};
use melior::Context;
use melior::ir::block::BlockLike;
use melior::ir::operation::{Operation, OperationBuilder, OperationLike, OperationMutLike};
use melior::ir::{Attribute, Block, Identifier, Location, Module, Region, RegionLike};
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;

/// To the dialect of SPIR-V.
const TO_SPIRV: &str =
    "builtin.module(canonicalize,cse,gpu.module(convert-scf-to-spirv,convert-arith-to-spirv,canonicalize,cse))";

/// What a device must be able to do: version, capabilities and extensions of SPIR-V.
pub(crate) const NEEDS: &str = "#spirv.vce<v1.5, [Shader, Int64, Int8, Int16, Float64, PhysicalStorageBufferAddresses, \
                                StorageBuffer8BitAccess, StorageBuffer16BitAccess, VulkanMemoryModel, RoundingModeRTE, \
                                SignedZeroInfNanPreserve], []>";

/// What is promised of arithmetic on floats of 32 and 64 bits.
const MODES: [&str; 2] = ["RoundingModeRTE", "SignedZeroInfNanPreserve"];

/// The module at a stage, ready to be written as bytes.
fn module<'s>(
    session: &'s Session,
    of: (&Program, &Layout),
    prefix: &str,
    arithmetic: Arithmetic,
    stage: Stage,
) -> Emitted<Module<'s>> {
    crate::symbol::check(prefix)?;
    let mut module = session.team_module(of, prefix, Blocks { threads: THREADS, side: Side::Spirv(arithmetic) })?;
    let environment = parsed(session.context(), &environment())?;
    module.as_operation_mut().set_attribute("spirv.target_env", environment);
    if stage == Stage::Mlir {
        return Ok(module);
    }
    session.pass(&mut module, TO_SPIRV)?;
    let entries = match crate::gpu::phased(of.0, arithmetic) {
        Some(course) => (0..course.phases.len()).map(|n| crate::gpu::phase(prefix, n)).collect(),
        None => vec![format!("{prefix}_run")],
    };
    enclose(session.context(), &mut module, &entries)?;
    session.verified(module)
}

/// What the device has, of what matters here.
fn environment() -> String {
    format!("#spirv.target_env<{NEEDS}, api=Vulkan, #spirv.resource_limits<>>")
}

/// An attribute by its text.
fn parsed<'c>(context: &'c Context, text: &str) -> Emitted<Attribute<'c>> {
    Attribute::parse(context, text).ok_or_else(|| Unsupported::failed("MLIR", format!("no attribute `{text}`")))
}

/// An operation by the texts of its attributes.
fn operation<'c>(
    context: &'c Context,
    name: &str,
    attributes: &[(&str, &str)],
    regions: Vec<Region<'c>>,
) -> Emitted<Operation<'c>> {
    let mut all = Vec::with_capacity(attributes.len());
    for (name, text) in attributes {
        all.push((Identifier::new(context, name), parsed(context, text)?));
    }
    OperationBuilder::new(name, Location::unknown(context))
        .add_attributes(&all)
        .add_regions_vec(regions)
        .build()
        .map_err(|e| Unsupported::failed("MLIR", e))
}

/// Puts what a module of a graphics processor holds into a module of SPIR-V inside of it, with the entry points.
fn enclose<'c>(context: &'c Context, module: &mut Module<'c>, entries: &[String]) -> Emitted<()> {
    let missing = || Unsupported::failed("MLIR", "no module of a graphics processor");
    let mut outer = module.body().first_operation_mut().ok_or_else(missing)?;
    let region = Region::new();
    let inside = region.append_block(Block::new(&[]));
    let body = outer.region(0).ok().and_then(|r| r.first_block()).ok_or_else(missing)?;
    while let Some(op) = body.first_operation_mut() {
        // SAFETY: the operation lies in this block; taken from it, it has no other owner.
        let op = unsafe {
            let raw = op.to_raw();
            mlir_sys::mlirOperationRemoveFromParent(raw);
            Operation::from_raw(raw)
        };
        inside.append_operation(op);
    }
    let interface: Vec<_> = spirv_globals().map(|g| format!("@{g}")).collect();
    let interface = format!("[{}]", interface.join(", "));
    let (model, size) = ("#spirv.execution_model<GLCompute>", format!("[{THREADS} : i32, 1 : i32, 1 : i32]"));
    let functions: Vec<_> = entries.iter().map(|e| format!("@{e}")).collect();
    for function in &functions {
        let attributes = [("fn", &**function), ("execution_model", model), ("interface", &*interface)];
        inside.append_operation(operation(context, "spirv.EntryPoint", &attributes, Vec::new())?);
    }
    let bits = ["[32 : i32]", "[64 : i32]"];
    let modes = MODES.iter().flat_map(|mode| bits.iter().map(move |bits| (*mode, *bits)));
    let modes: Vec<_> = std::iter::once(("LocalSize", &*size)).chain(modes).collect();
    for (function, (mode, values)) in functions.iter().flat_map(|f| modes.iter().map(move |m| (f, *m))) {
        let mode = format!("#spirv.execution_mode<{mode}>");
        let attributes = [("fn", &**function), ("execution_mode", &*mode), ("values", values)];
        inside.append_operation(operation(context, "spirv.ExecutionMode", &attributes, Vec::new())?);
    }
    let attributes = [
        ("addressing_model", "#spirv.addressing_model<PhysicalStorageBuffer64>"),
        ("memory_model", "#spirv.memory_model<Vulkan>"),
        ("vce_triple", NEEDS),
    ];
    body.append_operation(operation(context, "spirv.module", &attributes, vec![region])?);
    outer.set_attribute("targets", parsed(context, &format!("[{}]", environment()))?);
    Ok(())
}

/// The program at a stage.
pub(crate) fn text(of: (&Program, &Layout), prefix: &str, arithmetic: Arithmetic, stage: Stage) -> Emitted<String> {
    if !matches!(stage, Stage::Mlir | Stage::Spirv) {
        return Err(Unsupported::new(format!("{stage:?} on the way to Vulkan"), "it has MLIR and SPIR-V"));
    }
    let session = Session::new();
    let module = module(&session, of, prefix, arithmetic, stage)?;
    Ok(format!("{}\n", module.as_operation()))
}

/// The words of the program.
pub(crate) fn code(of: (&Program, &Layout), prefix: &str, arithmetic: Arithmetic) -> Emitted<Vec<u8>> {
    let session = Session::new();
    let mut module = module(&session, of, prefix, arithmetic, Stage::Spirv)?;
    session.pass(&mut module, "builtin.module(gpu-module-to-binary)")?;
    binary(&module).ok_or_else(|| Unsupported::failed("MLIR", "no words of SPIR-V came out"))
}
