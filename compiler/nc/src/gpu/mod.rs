//! Models on graphics processors: bundles made of compiled programs, and machines that run them.

mod command;
mod folder;

pub use command::compile;
pub use folder::{is_bundle, read};

use crate::args::Target;
use crate::machine::extents;
use nc_compiler::Compiled;
use nc_gpu::bundle::Bundle;
use nc_gpu::{Binary, Cuda, Driver, Grid, Launcher, Line, Plan, Port, State};
use nc_ir::{DType, Diagnostic};
use nc_mlir::gpu::{Arch, Launch, Stage, launches, text};
use nc_runtime::run::{Engine, Face, Image, LineHome, Machine, Parts, StateHome};
use std::sync::Arc;

/// Parts that programs are split into where none are asked for: threads that deliver events and fill event lists. More
/// would take longer to read each other's events, and tables of rows grow with them.
pub const PARTS: u32 = 128;

/// What kernels' names begin with.
const PREFIX: &str = "nc";

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

fn grid(l: Launch) -> Grid {
    Grid {
        symbol: l.symbol,
        shape: l.shape.name().to_owned(),
        blocks: l.blocks,
        threads: l.threads,
        every: l.every,
        iterations: l.iterations,
    }
}

/// The plan of a compiled model.
///
/// # Errors
/// E0503 for an extent that is not bound.
fn plan_of(compiled: &Compiled, face: &Face, dt: Option<f64>) -> Result<Plan, Diagnostic> {
    let kernels = launches(&compiled.program, PREFIX).into_iter().map(grid).collect();
    let mut plan = Plan::of(&compiled.program, &compiled.layout, kernels);
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
pub fn bundle_of(compiled: &Compiled, face: &Face, dt: Option<f64>, arches: &[Arch]) -> Result<Bundle, Diagnostic> {
    let (program, layout) = (&*compiled.program, &*compiled.layout);
    let mut plan = plan_of(compiled, face, dt)?;
    let mut code = Vec::new();
    for arch in arches {
        code.push(text(program, layout, PREFIX, *arch, Stage::Ptx).map_err(refused)?);
        plan.binaries.push(Binary { arch: arch.name().to_owned(), file: format!("kernels.{}.ptx", arch.name()) });
    }
    let mut arena = vec![0; layout.arena_bytes as usize];
    layout.reset(program, &mut arena);
    Ok(Bundle { plan, arena, consts: layout.const_pool(program), code })
}

/// What runs a compiled model on a graphics processor, or its kernels on this one.
///
/// # Errors
/// E0840 for what the target refuses, E0870 without a device, E0871 for what the driver refuses.
pub fn code(compiled: &Compiled, face: &Face, target: Target) -> Result<Arc<Launcher>, Diagnostic> {
    let (program, layout) = (&*compiled.program, &*compiled.layout);
    let plan = plan_of(compiled, face, None)?;
    if target == Target::GpuHost {
        let kernels = nc_mlir::gpu::Kernels::compile(program, layout).map_err(refused)?;
        // SAFETY: kernels and plan are of one program, whose memory the launcher names.
        let run = move |n: usize, grid: (u32, u32), arguments: &[u64]| unsafe { kernels.launch(n, grid, arguments) };
        // SAFETY: as above: the kernels keep to the memory of their program.
        let host = unsafe { nc_gpu::Host::new(run) };
        return Ok(Arc::new(Launcher::new(plan, Box::new(host)).map_err(fault)?));
    }
    if !nc_mlir::AVAILABLE {
        // Before a driver is looked for: without the feature there is nothing to run on it.
        text(program, layout, PREFIX, Arch::Sm80, Stage::Mlir).map_err(refused)?;
    }
    let mut cuda = Cuda::open(Driver::load()?)?;
    let arches = [Arch::Sm80, Arch::Sm90];
    let name = cuda.choose(&arches.map(Arch::name))?;
    let arch = arches.into_iter().find(|a| a.name() == name).unwrap_or(Arch::Sm80);
    cuda.take(&plan, &text(program, layout, PREFIX, arch, Stage::Ptx).map_err(refused)?)?;
    Ok(Arc::new(Launcher::new(plan, Box::new(cuda)).map_err(fault)?))
}

/// The name of the device that a model would run on.
///
/// # Errors
/// E0870.
pub fn device() -> Result<String, Diagnostic> {
    Cuda::open(Driver::load()?).map(|c| nc_gpu::Device::name(&c))
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
/// E0650, E0870, E0871, E0872.
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
    let mut cuda = Cuda::open(Driver::load()?)?;
    let arches: Vec<&str> = plan.binaries.iter().map(|b| b.arch.as_str()).collect();
    let chosen = cuda.choose(&arches)?;
    let code = plan.binaries.iter().zip(&bundle.code).find(|(b, _)| b.arch == chosen).map(|(_, c)| c.as_str());
    cuda.take(plan, code.ok_or_else(|| broken(format!("it has no code for {chosen}")))?)?;
    let code = Arc::new(Launcher::new(plan.clone(), Box::new(cuda)).map_err(broken)?);
    let (face, device) = (face_of_bundle(plan)?, code.device().to_owned());
    let engine = Engine::Code(code);
    let parts = Parts { face, program: Arc::new(program), layout: Arc::new(layout), engine, states, lines };
    Ok((Image::new(parts, max_memory)?.machine()?, device))
}
