//! Models on a many-core chip: what `nc-spinnaker2` is lent, and its emulator as a machine.

mod command;
mod folder;
mod machine;
pub mod settings;

pub use command::{compile, view};
pub use folder::{is_bundle, read};
pub use machine::{Chip, Numbers, face_of_bundle};

use crate::args::ChipArgs;
use crate::driver::Form;
use nc_compiler::cost::Repr;
use nc_ir::Diagnostic;
use nc_ir::graph::Module;
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::Layout;
use nc_spinnaker2::bundle::{Bundle, Place};
use nc_spinnaker2::compile::{Options, Toolchain};
use nc_spinnaker2::machine::{MACHINES, Machine};
use nc_spinnaker2::split::Pipelined;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the passes and threads of this program give to the crate that maps models.
pub struct Tools {
    /// Options of the passes.
    pub passes: nc_compiler::Options,
    /// Threads to use.
    pub threads: u32,
    /// Products take as little memory as they can, not as little time.
    pub lean: bool,
}

impl Toolchain for Tools {
    fn lower(&self, module: &Module) -> Result<Program, Vec<Diagnostic>> {
        let mut options = nc_compiler::Options { parts: 1, ..self.passes.clone() };
        // No instruction of a core picks among the elements of a register.
        options.wishes.costs.window = 0.0;
        let fast = nc_compiler::compile(module.clone(), &options)?;
        let program = std::sync::Arc::unwrap_or_clone(fast.program);
        let others = fast
            .products
            .iter()
            .filter(|c| c.chosen != Repr::Sparse && c.alternatives.iter().any(|a| a.repr == Repr::Sparse));
        options.wishes.force.extend(others.map(|c| (c.name.clone(), Repr::Sparse)));
        if !self.lean || options.wishes.force.is_empty() {
            return Ok(program);
        }
        let small = std::sync::Arc::unwrap_or_clone(nc_compiler::compile(module.clone(), &options)?.program);
        let bytes = |p: &Program| nc_spinnaker2::memory::tight(p).map_or(u64::MAX, |l| l.const_bytes + l.arena_bytes);
        Ok(if bytes(&small) < bytes(&program) { small } else { program })
    }

    fn object(&self, program: &Program, layout: &Layout) -> Result<Vec<u8>, Diagnostic> {
        object(program, layout)
    }

    fn execute(&self, n: usize, f: &(dyn Fn(usize) + Sync)) {
        execute(self.threads, n, f);
    }
}

fn object(program: &Program, layout: &Layout) -> Result<Vec<u8>, Diagnostic> {
    let options = nc_mlir::arm::Options::default();
    nc_mlir::arm::object(program, layout, &options).map_err(|e| {
        let text = format!("the target spinnaker2 does not support {}", e.what);
        let hint = "`--emit map` reports the mapping without code";
        Diagnostic::error_nowhere("E0850", text).with_hint(format!("{}; {hint}", e.hint))
    })
}

/// Calls `f` for each number below `n` on so many threads.
pub fn execute(threads: u32, n: usize, f: &(dyn Fn(usize) + Sync)) {
    let threads = (threads as usize).min(n);
    if threads <= 1 {
        return (0..n).for_each(f);
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..threads {
            s.spawn(|| {
                loop {
                    let k = next.fetch_add(1, Ordering::Relaxed);
                    if k >= n {
                        break;
                    }
                    f(k);
                }
            });
        }
    });
}

/// What the command line and the model say about the chip.
///
/// # Errors
/// E0859 for a machine, level or core that is not there; E0800 for a file that cannot be read.
pub fn options(args: &ChipArgs) -> Result<Options, Diagnostic> {
    let wrong = |text: String, hint: &str| Diagnostic::error_nowhere("E0859", text).with_hint(hint);
    let names = || MACHINES.iter().map(|m| m.0).collect::<Vec<_>>().join(", ");
    let name = args.machine.as_deref().unwrap_or("spinnaker2");
    let known = MACHINES.iter().any(|(n, _)| *n == name);
    let machine = if !known && name.ends_with(".toml") {
        let text = crate::driver::read_text(Path::new(name))?;
        Machine::parse(&text).map_err(|e| wrong(format!("{name}: {e}"), "see the machines that come with nc"))?
    } else {
        Machine::named(name).map_err(|e| wrong(e.to_string(), &format!("take one of {}, or a .toml file", names())))?
    };
    let mut options = Options::new(machine);
    if let Some(name) = &args.performance {
        let found = options.machine.level.iter().position(|l| l.name == *name);
        let levels: Vec<&str> = options.machine.level.iter().map(|l| l.name.as_str()).collect();
        let hint = format!("it has {}", levels.join(", "));
        let text = format!("{} has no performance level {name}", options.machine.name);
        options.level = Some(found.ok_or_else(|| wrong(text, &hint))?);
    }
    for (chip, core) in &args.dead {
        let m = &options.machine;
        if u64::from(*chip) >= m.chip_count() || *core >= m.core.usable.value {
            let text = format!("{} has no core {chip}:{core}", m.name);
            let hint = format!("chips are below {}, cores below {}", m.chip_count(), m.core.usable.value);
            return Err(wrong(text, &hint));
        }
        options.dead.push(Place { chip: *chip, core: *core });
    }
    options.parts = args.parts.unwrap_or(1);
    options.neurons.clone_from(&args.neurons);
    options.seed = args.placement.unwrap_or(options.seed);
    options.activity = args.activity.unwrap_or(options.activity);
    options.tick = args.tick.as_ref().map(|t| t.seconds);
    options.pipeline = args.pipeline.unwrap_or(false);
    options.arrange = args.arrange.unwrap_or(false);
    Ok(options)
}

/// Sizes slots by a profile, unless an activity is asked for.
pub fn measured(options: Options, args: &ChipArgs, passes: &nc_compiler::Options) -> Options {
    match args.activity {
        Some(_) => options,
        None => {
            // Values without a name are numbered, in each graph in another way.
            let named = passes.wishes.values.iter().filter(|(name, _)| !name.starts_with('%'));
            Options { measured: named.map(|(name, rate)| (name.clone(), *rate)).collect(), ..options }
        }
    }
}

/// Refuses to retime what does not run tick by tick: its only frames would come too late.
///
/// # Errors
/// E0865.
pub fn timed(args: &ChipArgs, form: &Form) -> Result<(), Diagnostic> {
    let what = match form {
        Form::Once { .. } => "a run of the model is one inference",
        Form::Sequence { .. } => "a run of the model is a whole sequence",
        Form::Ticks => return Ok(()),
    };
    match args.pipeline {
        Some(true) => Err(Diagnostic::error_nowhere("E0865", format!("the model cannot be retimed: {what}"))
            .with_hint("compile it without `pipeline`")),
        _ => Ok(()),
    }
}

/// The module that is split: its equations solved, its populations vectors, retimed if that is asked for.
///
/// # Errors
/// What the passes refuse; E0851.
pub fn prepare(module: Module, options: &Options, tools: &Tools) -> Result<Pipelined, Vec<Diagnostic>> {
    let module = nc_compiler::prepare(module, &tools.passes, &mut Vec::new())?;
    let module = nc_spinnaker2::flatten::flatten(&module).map_err(|e| vec![e.diagnostic()])?;
    match options.pipeline {
        true => nc_spinnaker2::split::pipeline(&module).map_err(|e| vec![e.diagnostic()]),
        false => Ok(Pipelined::unchanged(module)),
    }
}

/// Most nodes of loops that are written out for a model that does not fit with them.
const MAX_UNROLLED: usize = 20_000;

/// A module whose loops are written out, so that their iterations are split like all else, if it has any.
///
/// # Errors
/// What the passes refuse.
pub fn unrolled(module: &Module, tools: &Tools) -> Result<Option<Module>, Vec<Diagnostic>> {
    // Folded, so that the number of iterations is known where it can be.
    let reference = nc_compiler::Options { max_memory: tools.passes.max_memory, ..nc_compiler::Options::reference() };
    let mut module = nc_compiler::prepare(module.clone(), &reference, &mut Vec::new())?;
    let failed = |e: nc_ir::graph::OpError| vec![Diagnostic::error_nowhere("E0851", format!("a loop: {e}"))];
    Ok((nc_compiler::unroll::run(&mut module, MAX_UNROLLED).map_err(failed)? > 0).then_some(module))
}

/// True for what a model is refused for that may be too large for a core.
fn too_large(e: &[Diagnostic]) -> bool {
    e.iter().any(|d| matches!(d.code, "E0852" | "E0854"))
}

/// Does something with these tools, and again with products as small as they can be if it does not fit the machine.
///
/// # Errors
/// As `f`.
pub fn fitted<T>(tools: &mut Tools, f: impl Fn(&Tools) -> Result<T, Vec<Diagnostic>>) -> Result<T, Vec<Diagnostic>> {
    match f(tools) {
        Err(e) if !tools.lean && e.iter().any(|d| matches!(d.code, "E0852" | "E0853")) => {
            tools.lean = true;
            f(tools)
        }
        done => done,
    }
}

/// Compiles a module for a chip, and checks the bundle.
///
/// # Errors
/// What the passes, the mapping and the code generator refuse.
pub fn bundle(module: Module, options: &Options, tools: &mut Tools) -> Result<Bundle, Vec<Diagnostic>> {
    let whole = bundle_of(module.clone(), options, tools);
    match whole {
        // A loop is computed whole, on one core, as long as it fits there.
        Err(e) if too_large(&e) => match unrolled(&module, tools)? {
            Some(module) => bundle_of(module, options, tools),
            None => Err(e),
        },
        done => done,
    }
}

fn bundle_of(module: Module, options: &Options, tools: &mut Tools) -> Result<Bundle, Vec<Diagnostic>> {
    let pipelined = prepare(module, options, tools)?;
    let module = &pipelined.module;
    fitted(tools, |tools| {
        let mut bundle = nc_spinnaker2::compile::compile(module, options, tools)?;
        pipelined.note(&mut bundle.manifest);
        nc_spinnaker2::check::check(&bundle, module, options.max_synapses, tools)?;
        Ok(bundle)
    })
}
