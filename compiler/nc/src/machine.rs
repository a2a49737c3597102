//! From a model to something that runs: machine code, the interpreter of kernels, or the interpreter of the graph.

use crate::Errors;
use crate::args::{ChipArgs, Target};
use crate::cache::CodeCache;
use crate::driver::Times;
use crate::{chip, gpu};
use nc_compiler::cost::Choice;
use nc_compiler::{Compiled, Level, compile};
use nc_ir::graph::Module;
use nc_ir::interp::Interpreter;
use nc_ir::kernel::abi::Code;
use nc_ir::kernel::interp::Interpreted;
use nc_ir::{Diagnostic, Tensor, TensorType};
use nc_runtime::run::{
    Engine, Face, Frames, Image, LineHome, Machine, Parts, Port, Saved, Session, StateHome, entry_names,
};
use nc_spinnaker2::bundle::Bundle;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A model made ready for a target.
pub struct Ready {
    /// What runs it.
    pub machine: Box<dyn Machine>,
    /// The module as given.
    pub module: Arc<Module>,
    /// How products are represented; none on the interpreter.
    pub products: Vec<Choice>,
    /// Where an emulated chip leaves the numbers of its runs.
    pub numbers: Option<Arc<Mutex<chip::Numbers>>>,
    /// The device that it runs on, if that is not this processor by itself.
    pub device: Option<String>,
}

/// Makes a model ready for an emulated chip, which takes as many threads as there are parts.
///
/// # Errors
/// What the passes, the mapping and the code generator refuse.
pub fn on_chip(
    module: Module,
    args: &ChipArgs,
    options: &nc_compiler::Options,
    times: &mut Times,
) -> Result<Ready, Errors> {
    let start = Instant::now();
    let mut tools = chip::Tools { passes: options.clone(), threads: options.parts, lean: false };
    let choices = chip::measured(chip::options(args)?, args, options);
    let bundle = chip::bundle(module.clone(), &choices, &mut tools)?;
    times.push(("map and compile".to_owned(), start.elapsed()));
    let ready = of_bundle(&bundle, options.parts)?;
    Ok(Ready { module: Arc::new(module), ..ready })
}

/// Makes a compiled bundle ready.
///
/// # Errors
/// E0857.
pub fn of_bundle(bundle: &Bundle, threads: u32) -> Result<Ready, Errors> {
    let machine = Box::new(chip::Chip::new(bundle, threads)?);
    let numbers = Some(machine.numbers());
    Ok(Ready { machine, module: Arc::default(), products: Vec::new(), numbers, device: None })
}

/// Makes a bundle of kernels for graphics processors ready.
///
/// # Errors
/// As [`gpu::of_bundle`].
pub fn of_kernels(bundle: &nc_gpu::bundle::Bundle, max_memory: u64, wanted: &gpu::Wanted) -> Result<Ready, Errors> {
    let (machine, device) = gpu::of_bundle(bundle, max_memory, wanted)?;
    Ok(Ready { machine, module: Arc::default(), products: Vec::new(), numbers: None, device: Some(device) })
}

/// Makes a model ready. What is wanted of a graphics processor says nothing to other targets.
///
/// # Errors
/// What the passes and the backend refuse; E0650 without memory.
pub fn build(
    module: Module,
    target: Target,
    options: &nc_compiler::Options,
    wanted: &gpu::Wanted,
    cache: &mut CodeCache,
    times: &mut Times,
) -> Result<Ready, Errors> {
    if target == Target::Spinnaker2 {
        return on_chip(module, &ChipArgs::default(), options, times);
    }
    let shown = Arc::new(module.clone());
    if target == Target::Interp {
        let mut passes = Vec::new();
        let module = Arc::new(nc_compiler::prepare(module, options, &mut passes)?);
        times.extend(passes.into_iter().map(|p| (p.pass.to_owned(), p.time)));
        let start = Instant::now();
        let machine = Box::new(Walker::new(module, options.max_memory)?);
        times.push(("expand synapses".to_owned(), start.elapsed()));
        return Ok(Ready { machine, module: shown, products: Vec::new(), numbers: None, device: None });
    }
    let face = face_of(&module)?;
    // How many blocks a sample gets depends on the device.
    let found = (target == Target::Gpu).then(|| wanted.find());
    let vulkan = matches!(&found, Some(Ok(found)) if found.is_vulkan());
    let compiled = match target.is_gpu() {
        true => gpu::lower(module, options, wanted, vulkan)?,
        false => compile(module, options)?,
    };
    times.extend(compiled.times.iter().map(|p| (p.pass.to_owned(), p.time)));
    let start = Instant::now();
    let mut device = None;
    let engine = if target.is_gpu() {
        let shelf = wanted.shelf.as_ref();
        let launcher = match found {
            Some(found) => gpu::code(&compiled, &face, found, shelf)?,
            None => gpu::on_host(&compiled, &face, shelf)?,
        };
        device = Some(launcher.device().to_owned());
        Engine::Remote(launcher)
    } else {
        Engine::Code(code_for(&compiled, target, cache)?)
    };
    let name = if target == Target::Kernels { "kernel interpreter" } else { "machine code" };
    times.push((name.to_owned(), start.elapsed()));
    let start = Instant::now();
    let machine = image_of(&compiled, face, engine, options.max_memory)?.machine()?;
    times.push(("place constants and state".to_owned(), start.elapsed()));
    Ok(Ready { machine, module: shown, products: compiled.products, numbers: None, device })
}

/// How code is generated at a level: without loops of our own making at level 0.
pub fn code_options(level: Level) -> nc_cranelift::Options {
    nc_cranelift::Options { eight: level > Level::O0, ..nc_cranelift::Options::default() }
}

/// Machine code that calls a function around every kernel.
///
/// # Errors
/// As [`build`].
pub fn watched(
    compiled: &Compiled,
    face: Face,
    watch: nc_cranelift::Watch,
    max_memory: u64,
) -> Result<Box<dyn Machine>, Errors> {
    let options = nc_cranelift::Options { watch: Some(watch), ..code_options(compiled.level) };
    let code = nc_cranelift::compile(&compiled.program, &compiled.layout, &options).map_err(unsupported)?;
    Ok(Box::new(Session::new(image_of(compiled, face, Engine::Code(Arc::new(code)), max_memory)?)?))
}

fn code_for(compiled: &Compiled, target: Target, cache: &mut CodeCache) -> Result<Arc<dyn Code>, Diagnostic> {
    let (program, layout) = (&*compiled.program, &*compiled.layout);
    match target {
        Target::Llvm => cache.get(program, (target, compiled.level), || {
            let code = nc_mlir::compile(program, layout, &nc_mlir::Options::default()).map_err(llvm_refused)?;
            Ok(Arc::new(code) as Arc<dyn Code>)
        }),
        Target::Cpu => cache.get(program, (target, compiled.level), || {
            let code = nc_cranelift::compile(program, layout, &code_options(compiled.level)).map_err(unsupported)?;
            Ok(Arc::new(code) as Arc<dyn Code>)
        }),
        Target::Kernels => match Interpreted::new(program, nc_ir::kernel::interp::Options::default()) {
            Ok(code) => Ok(Arc::new(code)),
            Err(e) => Err(Diagnostic::error_nowhere("E0654", format!("the program is not valid: {e}"))),
        },
        Target::Gpu | Target::GpuHost | Target::Interp | Target::Spinnaker2 => {
            Err(Diagnostic::error_nowhere("E0653", "this target has no code in memory"))
        }
    }
}

/// What the backend refuses, as a diagnostic.
pub fn unsupported(e: nc_cranelift::Unsupported) -> Diagnostic {
    Diagnostic::error_nowhere("E0840", format!("the target cpu does not support {}", e.what)).with_hint(e.hint)
}

/// What the way through LLVM refuses, as a diagnostic.
pub fn llvm_refused(e: nc_mlir::Unsupported) -> Diagnostic {
    Diagnostic::error_nowhere("E0840", format!("the target llvm does not support {}", e.what)).with_hint(e.hint)
}

/// What sessions of a compiled model share.
///
/// # Errors
/// E0503 for an extent that is not bound; what [`Image::new`] refuses.
pub fn image_of(compiled: &Compiled, face: Face, engine: Engine, max_memory: u64) -> Result<Arc<Image>, Diagnostic> {
    let states = (compiled.states.iter())
        .map(|s| {
            let shape = extents(&s.ty, &s.name)?;
            Ok(StateHome { name: s.name.clone(), dtype: s.ty.dtype, shape, buffer: s.buffer })
        })
        .collect::<Result<Vec<_>, Diagnostic>>()?;
    let lines = (compiled.lines.iter())
        .map(|l| {
            Ok(LineHome {
                name: l.name.clone(),
                dtype: l.ty.dtype,
                shape: extents(&l.ty, &l.name)?,
                depth: l.depth,
                frames: l.frames,
                events: l.events,
            })
        })
        .collect::<Result<Vec<_>, Diagnostic>>()?;
    let (program, layout) = (compiled.program.clone(), compiled.layout.clone());
    Image::new(Parts { face, program, layout, engine, states, lines }, max_memory)
}

/// The extents of a type.
///
/// # Errors
/// E0503 if a named one is not bound.
pub fn extents(ty: &TensorType, name: &str) -> Result<Vec<usize>, Diagnostic> {
    ty.extents().map(|e| e.into_iter().map(|n| n as usize).collect()).ok_or_else(|| {
        Diagnostic::error_nowhere("E0503", format!("`{name}` has the type {ty}, whose named extents are not bound"))
            .with_hint("give it a value with --dim NAME=N")
    })
}

/// The arrays of a model.
///
/// # Errors
/// E0503 for an extent that is not bound.
pub fn face_of(module: &Module) -> Result<Face, Diagnostic> {
    let port = |name: &str, value, every| {
        let ty = module.graph.ty(value);
        Ok(Port { name: name.to_owned(), dtype: ty.dtype, shape: extents(ty, name)?, every })
    };
    Ok(Face {
        inputs: module.inputs.iter().map(|p| port(&p.name, p.value, 1)).collect::<Result<_, Diagnostic>>()?,
        outputs: module.outputs.iter().map(|p| port(&p.name, p.value, 1)).collect::<Result<_, Diagnostic>>()?,
        probes: module.probes.iter().map(|p| port(&p.name, p.value, p.every)).collect::<Result<_, Diagnostic>>()?,
    })
}

/// The graph interpreter as a machine.
struct Walker {
    interpreter: Interpreter,
    face: Face,
    max_memory: u64,
    bytes: u64,
}

impl Walker {
    fn new(module: Arc<Module>, max_memory: u64) -> Result<Walker, Diagnostic> {
        let face = face_of(&module)?;
        let bytes = module.graph.values.iter().filter_map(|v| v.ty.bytes()).fold(0u64, u64::saturating_add);
        Ok(Walker { interpreter: Interpreter::with_limit(module, max_memory)?, face, max_memory, bytes })
    }

    fn names(&self) -> (Vec<String>, Vec<String>) {
        let module = self.interpreter.module();
        (
            entry_names("state", module.states.iter().map(|s| s.name.as_str())),
            entry_names("line", module.lines.iter().map(|l| l.name.as_str())),
        )
    }
}

/// Appends the bytes of a frame at a cursor.
fn put(frames: &mut Frames, at: &mut usize, bytes: &[u8]) -> Result<(), Diagnostic> {
    match frames.bytes_mut().get_mut(*at..*at + bytes.len()) {
        Some(to) => to.copy_from_slice(bytes),
        None => return Err(Diagnostic::error_nowhere("E0653", "the interpreter gave a frame of another size")),
    }
    *at += bytes.len();
    Ok(())
}

impl Machine for Walker {
    fn face(&self) -> &Face {
        &self.face
    }

    fn tick(&self) -> u64 {
        self.interpreter.tick()
    }

    fn reset(&mut self) {
        self.interpreter.reset();
    }

    fn run(&mut self, ticks: u64, inputs: &[Frames], results: &mut [Frames]) -> Result<(), Diagnostic> {
        let first = self.tick();
        for (port, frames) in self.face.results().zip(results.iter_mut()) {
            frames.set_zeros(port.frame_bytes().saturating_mul(port.frames_in(first, ticks)), &port.name)?;
        }
        let mut at = vec![0; results.len()];
        for t in 0..ticks as usize {
            let mut frame = Vec::with_capacity(inputs.len());
            for (port, all) in self.face.inputs.iter().zip(inputs) {
                let bytes = port.frame_bytes() as usize;
                let own = all.bytes().get(t * bytes..(t + 1) * bytes);
                let tensor = own.and_then(|b| Tensor::from_bytes(port.dtype, port.shape.clone(), b));
                frame.push(tensor.ok_or_else(|| {
                    Diagnostic::error_nowhere("E0653", format!("{:?} has not the frames of {ticks} ticks", port.name))
                })?);
            }
            let out = self.interpreter.step(&frame)?;
            for (k, tensor) in out.outputs.iter().enumerate() {
                put(&mut results[k], &mut at[k], tensor.bytes())?;
            }
            for (k, tensor) in &out.probes {
                let k = self.face.outputs.len() + k;
                put(&mut results[k], &mut at[k], tensor.bytes())?;
            }
        }
        Ok(())
    }

    fn export(&self) -> Result<Saved, Diagnostic> {
        let (states, lines) = self.names();
        let mut saved = Saved { tick: self.tick(), ..Saved::default() };
        let values = self.interpreter.state();
        saved.entries.extend(states.into_iter().zip(values).map(|(name, (_, t))| (name, t.clone())));
        for (k, (name, line)) in lines.into_iter().zip(&self.interpreter.module().lines).enumerate() {
            let mut shape = vec![line.depth as usize];
            shape.extend(extents(&line.ty, &line.name)?);
            let mut all = Tensor::zeros(line.ty.dtype, shape);
            let bytes = all.bytes().len() / (line.depth as usize).max(1);
            for back in 1..=line.depth as usize {
                if let Some(frame) = self.interpreter.past(k, back) {
                    all.bytes_mut()[(back - 1) * bytes..back * bytes].copy_from_slice(frame.bytes());
                }
            }
            saved.entries.insert(name, all);
        }
        Ok(saved)
    }

    fn import(&mut self, saved: &Saved) -> Result<(), Diagnostic> {
        let (states, lines) = self.names();
        let module = self.interpreter.module().clone();
        for (entry, state) in states.iter().zip(&module.states) {
            let ty = module.graph.ty(state.read);
            let t = saved.expect(entry, ty.dtype, &extents(ty, &state.name)?)?;
            self.interpreter.set_state(&state.name, t.clone())?;
        }
        let mut past = Vec::with_capacity(lines.len());
        for (entry, line) in lines.iter().zip(&module.lines) {
            let frame = extents(&line.ty, &line.name)?;
            let mut shape = vec![line.depth as usize];
            shape.extend(&frame);
            // Compiled code has no home for a line that nobody reads, and so does not save it.
            let all = match saved.entries.get(entry) {
                Some(_) => saved.expect(entry, line.ty.dtype, &shape)?.clone(),
                None => Tensor::zeros(line.ty.dtype, shape),
            };
            let bytes = all.bytes().len() / (line.depth as usize).max(1);
            past.push(
                (0..line.depth as usize)
                    .filter_map(|k| {
                        Tensor::from_bytes(line.ty.dtype, frame.clone(), &all.bytes()[k * bytes..(k + 1) * bytes])
                    })
                    .collect(),
            );
        }
        self.interpreter.restore_lines(saved.tick, past)
    }

    fn fork_bytes(&self) -> u64 {
        self.bytes
    }

    fn fork(&self) -> Result<Box<dyn Machine>, Diagnostic> {
        Ok(Box::new(Walker::new(self.interpreter.module().clone(), self.max_memory)?))
    }
}
