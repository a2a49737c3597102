//! `nc compile --target gpu`.

use super::{NVIDIA, PREFIX, Wanted, arches_of, bundle_of, lower, refused};
use crate::args::{CompileArgs, Emit, Target};
use crate::compile::{make_folder, write_all};
use crate::machine::face_of;
use crate::render::Reporter;
use crate::run::show_times;
use crate::{Outcome, driver, print, wishes};
use nc_ir::{Diagnostic, graph, kernel};
use nc_mlir::gpu::{Arch, Arithmetic, Stage, code, text};
use std::fmt::Write;

/// Compiles a model into a bundle, or shows stages on the way there.
///
/// # Errors
/// What is wrong with the model, what the target refuses, files that cannot be written.
pub fn compile(args: &CompileArgs, reporter: &mut Reporter) -> Outcome {
    let mut emit = args.emit.clone();
    if emit.is_empty() {
        emit.push(Emit::Ptx);
    }
    emit.sort();
    emit.dedup();
    let mut arches: Vec<Arch> = args.arch.iter().flat_map(|a| a.arches()).copied().collect();
    arches.sort();
    arches.dedup();
    check(&emit, &arches)?;
    let vulkan = emit.contains(&Emit::Spirv) || arches.iter().any(|a| matches!(a, Arch::Vulkan(_)));
    let loaded = driver::load(&args.model, &[], reporter)?;
    let (module, mut times) = (loaded.module, loaded.times);
    let stem = args.model.model.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let mut options = args.passes.options(Target::Gpu, args.model.max_memory);
    options.wishes = wishes::of(&args.wishes, Target::Gpu, &args.model.model, &loaded.fingerprint, reporter)?;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    if emit.contains(&Emit::Graph) {
        files.push((format!("{stem}.graph"), graph::text::print(&module).into_bytes()));
    }
    if emit.contains(&Emit::Solved) {
        let solved = nc_compiler::prepare(module.clone(), &nc_compiler::Options::reference(), &mut Vec::new())?;
        files.push((format!("{stem}.solved.graph"), graph::text::print(&solved).into_bytes()));
    }
    if emit.contains(&Emit::Saturated) {
        let saturated = nc_compiler::prepare(module.clone(), &options, &mut Vec::new())?;
        files.push((format!("{stem}.saturated.graph"), graph::text::print(&saturated).into_bytes()));
    }
    let (face, dt) = (face_of(&module)?, module.dt.map(|dt| dt.0));
    let wanted = Wanted::of(&args.gpu, args.samples);
    let compiled = lower(module, &options, &wanted, vulkan)?;
    if arches.is_empty() {
        arches = arches_of(&compiled.program);
    }
    times.extend(compiled.times.iter().map(|p| (p.pass.to_owned(), p.time)));
    let (program, layout) = (&*compiled.program, &*compiled.layout);
    let stage = |arch, stage| text(program, layout, PREFIX, arch, stage).map(String::into_bytes).map_err(refused);
    let mut report = String::new();
    for e in &emit {
        match e {
            Emit::Kernels => files.push((format!("{stem}.kernels"), kernel::text::print(program).into_bytes())),
            // These stages are the same for all of NVIDIA's.
            Emit::Mlir => {
                files.push((format!("{stem}.mlir"), stage(NVIDIA[0], Stage::Mlir)?));
                files.push((format!("{stem}.nvvm.mlir"), stage(NVIDIA[0], Stage::Nvvm)?));
            }
            Emit::Llvm => {
                for a in arches.iter().filter(|a| NVIDIA.contains(a)) {
                    files.push((format!("{stem}.{}.ll", a.name()), stage(*a, Stage::Llvm)?));
                }
            }
            Emit::Spirv => {
                let arch = Arch::Vulkan(Arithmetic::Portable);
                files.push((format!("{stem}.spirv.mlir"), stage(arch, Stage::Spirv)?));
                files.push((format!("{stem}.spv"), code(program, layout, PREFIX, arch).map_err(refused)?));
            }
            Emit::Ptx => {
                let bundle = bundle_of(&compiled, (&face, dt), &arches, wanted.shelf.as_ref())?;
                report = summary(&bundle.plan);
                files.extend(bundle.files()?);
            }
            _ => {}
        }
    }
    make_folder(&args.output)?;
    write_all(&args.output, &files)?;
    if args.time_passes {
        show_times(&times, reporter);
    }
    print(&report)
}

/// Refuses what this target has nothing of.
///
/// # Errors
/// E0861.
fn check(emit: &[Emit], arches: &[Arch]) -> Result<(), Diagnostic> {
    let known =
        [Emit::Graph, Emit::Solved, Emit::Saturated, Emit::Kernels, Emit::Mlir, Emit::Llvm, Emit::Ptx, Emit::Spirv];
    let wrong = |e: &Emit, of: &str, all: &[Emit]| {
        let name = |e: &Emit| format!("{e:?}").to_lowercase();
        let text = format!("{of} has nothing that --emit {} would write", name(e));
        let all = all.iter().map(name).collect::<Vec<_>>().join(", ");
        Err(Diagnostic::error_nowhere("E0861", text).with_hint(format!("it has {all}")))
    };
    if let Some(e) = emit.iter().find(|e| !known.contains(e)) {
        return wrong(e, "the target gpu", &known);
    }
    if emit.contains(&Emit::Llvm) && !arches.is_empty() && !arches.iter().any(|a| NVIDIA.contains(a)) {
        let all: Vec<Emit> = known.iter().filter(|e| **e != Emit::Llvm).cloned().collect();
        return wrong(&Emit::Llvm, "the way to Vulkan", &all);
    }
    Ok(())
}

/// What a bundle holds, for people.
fn summary(plan: &nc_gpu::Plan) -> String {
    let arches: Vec<&str> = plan.binaries.iter().map(|b| b.arch.as_str()).collect();
    let (kernels, blocks) = (plan.kernels.len(), plan.parts);
    let mut out = format!(
        "{}: {kernels} kernels for {}, {blocks} block{} of {} threads a sample, {} bytes of state, {} bytes of constants\n",
        plan.model,
        arches.join(", "),
        if blocks == 1 { "" } else { "s" },
        plan.threads,
        plan.arena_bytes,
        plan.const_bytes
    );
    for name in &plan.kernels {
        let _ = writeln!(out, "  {name}");
    }
    out
}
