//! Models on graphics processors: bundles made of compiled programs, and machines that run them.

mod blocks;
mod command;
mod folder;
mod shelf;

pub use command::compile;
pub use folder::{is_bundle, read};
pub use shelf::Shelf;

use crate::Errors;
use crate::args::{GpuArgs, Target};
use crate::machine::extents;
use nc_compiler::Compiled;
use nc_gpu::bundle::Bundle;
use nc_gpu::{Binary, Cuda, Driver, Launcher, Line, Plan, Port, State};
use nc_ir::graph::Module;
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;
use nc_ir::{DType, Diagnostic};
use nc_mlir::gpu::{Arch, Kernels, Stage, launch, text};
use nc_runtime::run::{Engine, Face, Image, LineHome, Machine, Parts, StateHome};
use std::sync::{Arc, Mutex, PoisonError};

/// What names in code begin with.
const PREFIX: &str = "nc";

/// Architectures that code is written for.
const ARCHES: [Arch; 2] = [Arch::Sm80, Arch::Sm90];

/// How a model is made ready for a graphics processor.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Blocks of a sample; chosen by what a tick touches where nothing is said.
    pub blocks: Option<u32>,
    /// Samples of a run, if that is known.
    pub samples: Option<u64>,
    /// Where code is kept.
    pub shelf: Option<Shelf>,
}

impl Wanted {
    /// What the command line asks for.
    pub fn of(args: &GpuArgs, samples: Option<u64>) -> Wanted {
        Wanted { blocks: args.blocks, samples, shelf: Shelf::of(args.kernel_cache.as_deref()) }
    }
}

/// Compiles a model into kernels for as many blocks as are wanted.
///
/// # Errors
/// What the passes refuse.
pub fn lower(module: Module, options: &nc_compiler::Options, wanted: &Wanted) -> Result<Compiled, Errors> {
    let with = |parts, module| nc_compiler::compile(module, &nc_compiler::Options { parts, ..options.clone() });
    if let Some(blocks) = wanted.blocks {
        return Ok(with(blocks, module)?);
    }
    let one = with(1, module.clone())?;
    Ok(match blocks::blocks(&one.program, wanted.samples) {
        1 => one,
        several => with(several, module)?,
    })
}

/// The code of a program for an architecture: kept, or made.
///
/// # Errors
/// What the target refuses; E0874, E0875 if it is kept wrong or not at all, and cannot be made.
fn code_of(program: &Program, layout: &Layout, arch: Arch, shelf: Option<&Shelf>) -> Result<String, Diagnostic> {
    let make = || text(program, layout, PREFIX, arch, Stage::Ptx).map_err(refused);
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
        Diagnostic::error_nowhere("E0875", text).with_hint(
            "fill it with a build that has the feature mlir: `nc compile MODEL --target gpu --kernel-cache DIR -o OUT`, with \
             the options of this run",
        )
    })
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

/// The plan of a compiled model.
///
/// # Errors
/// E0503 for an extent that is not bound.
fn plan_of(compiled: &Compiled, face: &Face, dt: Option<f64>) -> Result<Plan, Diagnostic> {
    let entry = launch(PREFIX);
    let mut plan = Plan::of(&compiled.program, &compiled.layout, &entry.symbol, entry.threads);
    plan.dt = dt;
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
    let mut code = Vec::new();
    for arch in arches {
        code.push(code_of(program, layout, *arch, shelf)?);
        plan.binaries.push(Binary { arch: arch.name().to_owned(), file: format!("kernels.{}.ptx", arch.name()) });
    }
    let mut arena = vec![0; layout.arena_bytes as usize];
    layout.reset(program, &mut arena);
    Ok(Bundle { plan, arena, consts: layout.const_pool(program), code })
}

/// What runs a compiled model on a graphics processor, or its kernels on this one.
///
/// # Errors
/// E0840 for what the target refuses, E0870 without a device, E0871 for what the driver refuses, E0873 for more blocks than
/// the device runs at a time, E0874 and E0875 for what is not kept.
pub fn code(
    compiled: &Compiled,
    face: &Face,
    target: Target,
    shelf: Option<&Shelf>,
) -> Result<Arc<Launcher>, Diagnostic> {
    let (program, layout) = (&*compiled.program, &*compiled.layout);
    let mut plan = plan_of(compiled, face, None)?;
    if target == Target::GpuHost {
        plan.threads = HOST_THREADS;
        let kernels = Kernels::compile(program, layout, HOST_THREADS).map_err(refused)?;
        if shelf.is_some() {
            ARCHES.into_iter().try_for_each(|arch| code_of(program, layout, arch, shelf).map(drop))?;
        }
        // Two samples at a time, so that blocks take several one after another.
        let resident = 2 * u64::from(plan.parts);
        // SAFETY: kernels and plan are of one program, whose memory the launcher names.
        let run = move |grid: (u32, u32), arguments: &[u64]| unsafe { kernels.launch(grid, arguments) };
        // SAFETY: as above: the kernels keep to the memory of their program.
        let host = unsafe { nc_gpu::Host::new(resident, run) };
        return launcher(plan, Box::new(host)).map_err(fault)?;
    }
    let mut arches = ARCHES.to_vec();
    if !nc_mlir::AVAILABLE {
        // Before a driver is looked for: without code there is nothing to run on it.
        let mut wrong: Vec<Diagnostic> = Vec::new();
        arches.retain(|arch| code_of(program, layout, *arch, shelf).map_err(|e| wrong.push(e)).is_ok());
        if arches.is_empty() {
            // What is broken says more than what is absent.
            wrong.sort_by_key(|e| e.code != "E0874");
            return Err(wrong.swap_remove(0));
        }
    }
    let mut cuda = open()?;
    let name = cuda.choose(&arches.iter().map(|a| a.name()).collect::<Vec<_>>())?;
    let arch = arches.into_iter().find(|a| a.name() == name).unwrap_or(ARCHES[0]);
    cuda.take(&plan, &code_of(program, layout, arch, shelf)?)?;
    launcher(plan, Box::new(cuda)).map_err(fault)?
}

/// A launcher whose device can run a sample: outside, what is wrong with the plan.
fn launcher(plan: Plan, device: Box<dyn nc_gpu::Device>) -> Result<Result<Arc<Launcher>, Diagnostic>, String> {
    let launcher = Launcher::new(plan, device)?;
    Ok(launcher.fits().map(|()| Arc::new(launcher)))
}

/// The first device.
///
/// # Errors
/// E0870.
fn open() -> Result<Cuda, Diagnostic> {
    // Kept open: when the last that has a device gives it back, what the driver made for it is lost, and takes long to make
    // again.
    static KEPT: Mutex<Option<(Arc<Driver>, Cuda)>> = Mutex::new(None);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((driver, _)) = &*kept {
        return Cuda::open(driver.clone());
    }
    let driver = Driver::load()?;
    let first = Cuda::open(driver.clone())?;
    *kept = Some((driver.clone(), first));
    Cuda::open(driver)
}

/// The name of the device that a model would run on.
///
/// # Errors
/// E0870.
pub fn device() -> Result<String, Diagnostic> {
    open().map(|c| nc_gpu::Device::name(&c))
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

/// Makes a bundle ready; also the name of the device.
///
/// # Errors
/// E0650, E0870, E0871, E0872, E0873.
pub fn of_bundle(bundle: &Bundle, max_memory: u64) -> Result<(Box<dyn Machine>, String), Diagnostic> {
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
    let mut cuda = open()?;
    let arches: Vec<&str> = plan.binaries.iter().map(|b| b.arch.as_str()).collect();
    let chosen = cuda.choose(&arches)?;
    let code = plan.binaries.iter().zip(&bundle.code).find(|(b, _)| b.arch == chosen).map(|(_, c)| c.as_str());
    cuda.take(plan, code.ok_or_else(|| broken(format!("it has no code for {chosen}")))?)?;
    let code = launcher(plan.clone(), Box::new(cuda)).map_err(broken)??;
    let (face, device) = (face_of_bundle(plan)?, code.device().to_owned());
    let engine = Engine::Remote(code);
    let parts = Parts { face, program: Arc::new(program), layout: Arc::new(layout), engine, states, lines };
    Ok((Image::new(parts, max_memory)?.machine()?, device))
}
