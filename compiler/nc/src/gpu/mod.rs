//! Models on graphics processors: bundles made of compiled programs, and machines that run them.

mod blocks;
mod command;
mod device;
mod folder;
mod shelf;

pub use command::compile;
pub use device::Found;
pub use folder::{is_bundle, read};
pub use shelf::Shelf;

use crate::Errors;
use crate::args::GpuArgs;
use crate::machine::extents;
use nc_compiler::Compiled;
use nc_gpu::bundle::Bundle;
use nc_gpu::proof::Proof;
use nc_gpu::{Binary, Course, Launcher, Line, Plan, Port, ProofCode, State, VULKAN};
use nc_ir::graph::Module;
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;
use nc_ir::{DType, Diagnostic};
use nc_mlir::gpu::{Arch, Arithmetic, Kernels, code as code_from, course, launch, phase};
use nc_runtime::run::{Engine, Face, Image, LineHome, Machine, Parts, StateHome};
use std::sync::Arc;

/// What names in code begin with.
const PREFIX: &str = "nc";

/// Architectures of NVIDIA that code is written for.
const NVIDIA: [Arch; 2] = [Arch::Sm80, Arch::Sm90];

/// Code for Vulkan: which of them a device gets is proven when it runs.
const BOTH: [Arch; 2] = [Arch::Vulkan(Arithmetic::Portable), Arch::Vulkan(Arithmetic::Fused)];

/// The architectures that code of a program can be written for.
fn arches_of(program: &Program) -> Vec<Arch> {
    // Blocks of Vulkan cannot wait for each other: with several of them a host goes through the phases of a tick.
    let vulkan = program.parts == 1 || course(program).is_some();
    NVIDIA.into_iter().chain(BOTH.into_iter().filter(|_| vulkan)).collect()
}

/// How a model is made ready for a graphics processor.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Blocks of a sample; chosen by what a tick touches where nothing is said.
    pub blocks: Option<u32>,
    /// Samples of a run, if that is known.
    pub samples: Option<u64>,
    /// Where code is kept.
    pub shelf: Option<Shelf>,
    /// A part of the name of the device to run on.
    pub device: Option<String>,
}

impl Wanted {
    /// What the command line asks for.
    pub fn of(args: &GpuArgs, samples: Option<u64>) -> Wanted {
        let shelf = Shelf::of(args.kernel_cache.as_deref());
        Wanted { blocks: args.blocks, samples, shelf, device: device::wanted(args.device.as_deref()) }
    }

    /// The device to run models on.
    ///
    /// # Errors
    /// E0870.
    pub fn find(&self) -> Result<Found, Diagnostic> {
        device::find(self.device.as_deref(), &NVIDIA.map(Arch::name), true)
    }
}

/// Compiles a model into kernels for as many blocks as are wanted, or as suit it and, if so, Vulkan.
///
/// # Errors
/// What the passes refuse; E0873 for more than one block for Vulkan where values decide what runs.
pub fn lower(
    module: Module,
    options: &nc_compiler::Options,
    wanted: &Wanted,
    vulkan: bool,
) -> Result<Compiled, Errors> {
    let with = |parts, module| nc_compiler::compile(module, &nc_compiler::Options { parts, ..options.clone() });
    let refused = |compiled: &Compiled| vulkan && compiled.program.parts > 1 && course(&compiled.program).is_none();
    if let Some(blocks) = wanted.blocks {
        let compiled = with(blocks, module)?;
        if refused(&compiled) {
            let text = format!(
                "values decide which kernels of `{}` run, and the {blocks} blocks of a sample cannot wait for each other \
                 through Vulkan",
                compiled.program.name
            );
            return Err(Diagnostic::error_nowhere("E0873", text).with_hint("take --blocks 1").into());
        }
        return Ok(compiled);
    }
    let one = with(1, module.clone())?;
    let blocks = match vulkan {
        true if course(&one.program).is_none() => 1,
        true => blocks::blocks_of_vulkan(&one.program, wanted.samples),
        false => blocks::blocks(&one.program, wanted.samples),
    };
    Ok(match blocks {
        1 => one,
        several => with(several, module)?,
    })
}

/// The code of a program for an architecture: kept, or made.
///
/// # Errors
/// What the target refuses; E0874, E0875 if it is kept wrong or not at all, and cannot be made.
fn code_of(program: &Program, layout: &Layout, arch: Arch, shelf: Option<&Shelf>) -> Result<Vec<u8>, Diagnostic> {
    let make = || code_from(program, layout, PREFIX, arch).map_err(refused);
    let Some(shelf) = shelf else {
        return make().map_err(|d| match nc_mlir::AVAILABLE {
            true => d,
            false => d.with_hint(
                "build nc with `--features mlir` where LLVM and MLIR 22 are installed, or name a folder where such a build \
                 kept the code of this model with --kernel-cache",
            ),
        });
    };
    let key = key_of(program, layout);
    if nc_mlir::AVAILABLE {
        return shelf.get_or_make(&key, arch, make);
    }
    shelf.get(&key, arch)?.ok_or_else(|| {
        let (file, model) = (shelf.file(&key, arch), &program.name);
        let text = format!("no code of `{model}` is kept as {}, and this build makes none", file.display());
        let more = if BOTH.contains(&arch) { " --arch vulkan" } else { "" };
        Diagnostic::error_nowhere("E0875", text).with_hint(format!(
            "fill it with a build that has the feature mlir: `nc compile MODEL --target gpu --kernel-cache DIR{more} -o OUT`, \
             with the options of this run"
        ))
    })
}

/// The code of the proof: kept, or made.
///
/// # Errors
/// As [`code_of`].
fn proof_of(proof: &Proof, arithmetic: Arithmetic, shelf: Option<&Shelf>) -> Result<Vec<u8>, Diagnostic> {
    code_of(&proof.program, &proof.layout, Arch::Vulkan(arithmetic), shelf)
}

fn key_of(program: &Program, layout: &Layout) -> String {
    let entry = launch(PREFIX);
    shelf::key(program, layout, &format!("{} {}", entry.symbol, entry.threads))
}

/// Threads of a block where this processor runs them: few, since they take turns, and not as many as anything has items.
const HOST_THREADS: u32 = 7;

/// What the target refuses, as a diagnostic.
pub fn refused(e: nc_mlir::Unsupported) -> Diagnostic {
    Diagnostic::error_nowhere("E0840", format!("the target gpu does not support {}", e.what)).with_hint(e.hint)
}

/// A fault in what this crate hands on.
fn fault(e: String) -> Diagnostic {
    Diagnostic::error_nowhere("E0653", e)
}

fn port(p: &nc_runtime::run::Port) -> Port {
    Port { name: p.name.clone(), elem: p.dtype.name().to_owned(), shape: p.shape.clone(), every: p.every }
}

/// How Vulkan runs a tick of a program in phases, if it can.
fn course_of(program: &Program) -> Option<Course> {
    course(program).map(|c| Course::of(&c, |n| phase(PREFIX, n)))
}

/// The plan of a compiled model.
///
/// # Errors
/// E0503 for an extent that is not bound.
fn plan_of(compiled: &Compiled, face: &Face, dt: Option<f64>) -> Result<Plan, Diagnostic> {
    let entry = launch(PREFIX);
    let mut plan = Plan::of(&compiled.program, &compiled.layout, &entry.symbol, entry.threads);
    plan.dt = dt;
    plan.course = course_of(&compiled.program);
    plan.inputs = face.inputs.iter().map(port).collect();
    plan.outputs = face.outputs.iter().map(port).collect();
    plan.probes = face.probes.iter().map(port).collect();
    for s in &compiled.states {
        let (elem, shape) = (s.ty.dtype.name().to_owned(), extents(&s.ty, &s.name)?);
        plan.states.push(State { name: s.name.clone(), elem, shape, buffer: s.buffer.0 });
    }
    for l in &compiled.lines {
        plan.lines.push(Line {
            name: l.name.clone(),
            elem: l.ty.dtype.name().to_owned(),
            shape: extents(&l.ty, &l.name)?,
            depth: l.depth,
            frames: l.frames.map(|b| b.0),
            events: l.events.map(|e| e.0),
        });
    }
    Ok(plan)
}

/// The bundle of a compiled model, with code for these architectures.
///
/// # Errors
/// What the target refuses.
pub fn bundle_of(
    compiled: &Compiled,
    (face, dt): (&Face, Option<f64>),
    arches: &[Arch],
    shelf: Option<&Shelf>,
) -> Result<Bundle, Diagnostic> {
    let (program, layout) = (&*compiled.program, &*compiled.layout);
    let mut plan = plan_of(compiled, face, dt)?;
    let binary = |what: &str, arch: Arch| {
        let (arch, ending) = (arch.name(), arch.extension());
        Binary { arch: arch.to_owned(), file: format!("{what}.{arch}.{ending}") }
    };
    let (mut code, mut proofs) = (Vec::new(), Vec::new());
    for arch in arches {
        code.push(code_of(program, layout, *arch, shelf)?);
        plan.binaries.push(binary("kernels", *arch));
    }
    if plan.has_vulkan() {
        let proof = Proof::new().map_err(fault)?;
        let mut binaries = Vec::new();
        for arch in BOTH {
            proofs.push(code_of(&proof.program, &proof.layout, arch, shelf)?);
            binaries.push(binary("proof", arch));
        }
        plan.proof = Some(ProofCode { program: proof.summary(), binaries });
    }
    let mut arena = vec![0; layout.arena_bytes as usize];
    layout.reset(program, &mut arena);
    Ok(Bundle { plan, arena, consts: layout.const_pool(program), code, proofs })
}

/// What runs a compiled model on the kernels of a graphics processor, but on this one.
///
/// # Errors
/// E0840 for what the target refuses; those of the shelf, which is filled.
pub fn on_host(compiled: &Compiled, face: &Face, shelf: Option<&Shelf>) -> Result<Arc<Launcher>, Diagnostic> {
    let (program, layout) = (&*compiled.program, &*compiled.layout);
    let mut plan = plan_of(compiled, face, None)?;
    plan.threads = HOST_THREADS;
    let kernels = Kernels::compile(program, layout, HOST_THREADS).map_err(refused)?;
    if shelf.is_some() {
        for arch in arches_of(program) {
            code_of(program, layout, arch, shelf)?;
            if let Arch::Vulkan(arithmetic) = arch {
                proof_of(&Proof::new().map_err(fault)?, arithmetic, shelf)?;
            }
        }
    }
    // Two samples at a time, so that blocks take several one after another.
    let resident = 2 * u64::from(plan.parts);
    // SAFETY: kernels and plan are of one program, whose memory the launcher names.
    let run = move |grid: (u32, u32), arguments: &[u64]| unsafe { kernels.launch(grid, arguments) };
    // SAFETY: as above: the kernels keep to the memory of their program.
    let host = unsafe { nc_gpu::Host::new(resident, run) };
    launcher(plan, Box::new(host)).map_err(fault)?
}

/// What runs a compiled model on a graphics processor, if one was found.
///
/// # Errors
/// E0840 for what the target refuses, E0870 without a device, E0871 for what the driver refuses, E0873 for more blocks than
/// the device runs at a time, E0874 and E0875 for what is not kept, E0876 for a device that computes wrong.
pub fn code(
    compiled: &Compiled,
    face: &Face,
    found: Result<Found, Diagnostic>,
    shelf: Option<&Shelf>,
) -> Result<Arc<Launcher>, Diagnostic> {
    let (program, layout) = (&*compiled.program, &*compiled.layout);
    let plan = plan_of(compiled, face, None)?;
    let mut arches = match &found {
        Ok(Found::Cuda(..)) => NVIDIA.to_vec(),
        Ok(Found::Vulkan(_)) => BOTH.to_vec(),
        Err(_) => arches_of(program),
    };
    if !nc_mlir::AVAILABLE {
        // What is wrong with a device comes after: without code there is nothing to run on it.
        let mut wrong: Vec<Diagnostic> = Vec::new();
        arches.retain(|arch| code_of(program, layout, *arch, shelf).map_err(|e| wrong.push(e)).is_ok());
        if arches.is_empty() {
            // What is broken says more than what is absent.
            wrong.sort_by_key(|e| e.code != "E0874");
            return Err(wrong.swap_remove(0));
        }
    }
    match found? {
        Found::Cuda(mut cuda, _) => {
            let name = cuda.choose(&arches.iter().map(|a| a.name()).collect::<Vec<_>>())?;
            let arch = arches.into_iter().find(|a| a.name() == name).unwrap_or(NVIDIA[0]);
            cuda.take(&plan, &code_of(program, layout, arch, shelf)?)?;
            launcher(plan, Box::new(cuda)).map_err(fault)?
        }
        Found::Vulkan(mut named) => {
            let arithmetic = named.verdict(shelf, |proof, arithmetic| proof_of(proof, arithmetic, shelf))?;
            let arch = Arch::Vulkan(arithmetic);
            named.device.take(&plan, arch.name(), &code_of(program, layout, arch, shelf)?)?;
            launcher(plan, Box::new(named.device)).map_err(fault)?
        }
    }
}

/// A launcher whose device can run a sample: outside, what is wrong with the plan.
fn launcher(plan: Plan, device: Box<dyn nc_gpu::Device>) -> Result<Result<Arc<Launcher>, Diagnostic>, String> {
    let launcher = Launcher::new(plan, device)?;
    Ok(launcher.fits().map(|()| Arc::new(launcher)))
}

/// The name of the device that a model would run on.
///
/// # Errors
/// E0870.
pub fn device() -> Result<String, Diagnostic> {
    Wanted::of(&GpuArgs::default(), None).find().map(|found| found.name())
}

fn shape_of(elem: &str, name: &str) -> Result<DType, Diagnostic> {
    DType::from_name(elem).ok_or_else(|| Diagnostic::error_nowhere("E0872", format!("{name:?} has no type {elem:?}")))
}

/// The arrays of a bundle's model.
///
/// # Errors
/// E0872.
pub fn face_of_bundle(plan: &Plan) -> Result<Face, Diagnostic> {
    let ports = |list: &[Port]| {
        let port = |p: &Port| {
            let dtype = shape_of(&p.elem, &p.name)?;
            Ok(nc_runtime::run::Port { name: p.name.clone(), dtype, shape: p.shape.clone(), every: p.every })
        };
        list.iter().map(port).collect::<Result<Vec<_>, Diagnostic>>()
    };
    Ok(Face { inputs: ports(&plan.inputs)?, outputs: ports(&plan.outputs)?, probes: ports(&plan.probes)? })
}

/// Makes a bundle ready for the device that is wanted; also the name of that.
///
/// # Errors
/// E0650, E0870, E0871, E0872, E0873, E0876.
pub fn of_bundle(bundle: &Bundle, max_memory: u64, wanted: &Wanted) -> Result<(Box<dyn Machine>, String), Diagnostic> {
    let plan = &bundle.plan;
    let broken = |e: String| Diagnostic::error_nowhere("E0872", format!("the bundle cannot be used: {e}"));
    let (program, layout) = plan.memory(&bundle.arena, &bundle.consts).map_err(broken)?;
    let mut states = Vec::new();
    for s in &plan.states {
        let buffer = nc_ir::kernel::BufId(s.buffer);
        let dtype = shape_of(&s.elem, &s.name)?;
        states.push(StateHome { name: s.name.clone(), dtype, shape: s.shape.clone(), buffer });
    }
    let mut lines = Vec::new();
    for l in &plan.lines {
        lines.push(LineHome {
            name: l.name.clone(),
            dtype: shape_of(&l.elem, &l.name)?,
            shape: l.shape.clone(),
            depth: l.depth,
            frames: l.frames.map(nc_ir::kernel::BufId),
            events: l.events.map(nc_ir::kernel::ListId),
        });
    }
    let none = |arch: &str| broken(format!("it has no code for {arch}"));
    let arches: Vec<&str> = plan.binaries.iter().map(|b| b.arch.as_str()).filter(|a| !VULKAN.contains(a)).collect();
    if plan.binaries.is_empty() {
        return Err(none("anything"));
    }
    let code = match device::find(wanted.device.as_deref(), &arches, plan.has_vulkan())? {
        Found::Cuda(mut cuda, arch) => {
            cuda.take(plan, bundle.code_for(&arch).0.ok_or_else(|| none(&arch))?)?;
            launcher(plan.clone(), Box::new(cuda))
        }
        Found::Vulkan(mut named) => {
            let arithmetic = named.verdict(wanted.shelf.as_ref(), |proof, arithmetic| {
                let arch = Arch::Vulkan(arithmetic).name();
                let same = plan.proof.as_ref().is_some_and(|p| p.program == proof.summary());
                let code = bundle.code_for(arch).1.filter(|_| same);
                code.map(<[u8]>::to_vec).ok_or_else(|| {
                    broken("it has another version's proof of a device's arithmetic".to_owned())
                        .with_hint("write it anew with `nc compile MODEL --target gpu -o DIR`")
                })
            })?;
            let arch = Arch::Vulkan(arithmetic).name();
            named.device.take(plan, arch, bundle.code_for(arch).0.ok_or_else(|| none(arch))?)?;
            launcher(plan.clone(), Box::new(named.device))
        }
    };
    let code = code.map_err(broken)??;
    let (face, device) = (face_of_bundle(plan)?, code.device().to_owned());
    let engine = Engine::Remote(code);
    let parts = Parts { face, program: Arc::new(program), layout: Arc::new(layout), engine, states, lines };
    Ok((Image::new(parts, max_memory)?.machine()?, device))
}
