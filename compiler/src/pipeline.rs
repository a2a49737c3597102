//! The list of passes, in order, with the time each takes.

use crate::cost::{Choice, Counted, Wishes};
use crate::saturate::Region;
use crate::{Errors, fold, hoist, lower, saturate, solve, states, tables};
use nc_ir::Diagnostic;
use nc_ir::graph::Module;
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::{BufId, ListId, Program};
use nc_ir::types::TensorType;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much is done to make a model fast. None of it changes a bit of the result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Level {
    /// The model as it is written: equations solved, constants folded, every product dense. Code generators leave out
    /// what they do by hand.
    O0,
    /// Work is moved out of loops, and the element-wise part is simplified; what is sparse is read off the model by
    /// fixed rules.
    O1,
    /// Equality saturation with every rule, and representations chosen by their cost.
    #[default]
    O2,
}

/// Whether the order and the rounding of operations are those of the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Math {
    /// They are: the result is the interpreter's, to the bit.
    #[default]
    Strict,
    /// Rules that round differently may be used where they make the model cheaper.
    Fast,
}

/// What the caller may choose. Nothing but `math` changes a bit of the result.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much is done to make the model fast.
    pub level: Level,
    /// Whether rounding may change.
    pub math: Math,
    /// Keep every state of the model, for checkpoints and hosts that look at them. States that nothing shown depends on are
    /// dropped otherwise.
    pub keep_states: bool,
    /// Names of rewrite rules that are not used, to see what they do.
    pub without: Vec<String>,
    /// Find out which rules lead from what was written to what was taken, which takes time and memory and changes nothing.
    pub proofs: bool,
    /// Number of parts the parallel kernels are split into: one per thread.
    pub parts: u32,
    /// Refuse programs whose arena and constants take more bytes than this.
    pub max_memory: u64,
    /// Refuse more synapses than this in one `connect`.
    pub max_synapses: u64,
    /// What is known about the machine and about activity, and what the caller wants products to be.
    pub wishes: Wishes,
}

impl Options {
    /// The options of the reference: the model as it is written.
    pub fn reference() -> Options {
        Options { level: Level::O0, ..Options::default() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            level: Level::default(),
            math: Math::default(),
            keep_states: true,
            without: Vec::new(),
            proofs: false,
            parts: 1,
            max_memory: 8 << 30,
            max_synapses: 1 << 30,
            wishes: Wishes::default(),
        }
    }
}

/// How long a pass took.
#[derive(Clone, Debug)]
pub struct PassTime {
    /// Name of the pass.
    pub pass: &'static str,
    /// Wall-clock time.
    pub time: Duration,
}

/// Where a state of the model lives in the program: a buffer of the state's dtype and element count.
#[derive(Clone, Debug)]
pub struct StateHome {
    /// Name in the model.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
    /// The buffer.
    pub buffer: BufId,
}

/// Where a delay line lives: a ring of `depth + 1` frames. The frame of tick t is number `t mod (depth + 1)`.
#[derive(Clone, Debug)]
pub struct LineHome {
    /// Name in the model.
    pub name: String,
    /// Type of one frame.
    pub ty: TensorType,
    /// Past frames that can be read.
    pub depth: u32,
    /// The ring as dense frames `[depth + 1, ..]`, if some reader needs them.
    pub frames: Option<BufId>,
    /// The ring as event lists with `depth + 1` slots, if some reader needs them.
    pub events: Option<ListId>,
}

/// A model ready for a backend.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// How much was done to make it fast; code generators look at it too.
    pub level: Level,
    /// The solved graph the program was made from; the interpreter runs it.
    pub module: Arc<Module>,
    /// The kernels.
    pub program: Arc<Program>,
    /// Memory layout of the program.
    pub layout: Arc<Layout>,
    /// Homes of the model's states, in the model's order.
    pub states: Vec<StateHome>,
    /// Homes of the model's delay lines, in the model's order.
    pub lines: Vec<LineHome>,
    /// Choices of representation, for `nc check`.
    pub report: Vec<String>,
    /// How each product with weights is represented, and why.
    pub products: Vec<Choice>,
    /// What saturation did to the step function and to the bodies in it, inner ones first.
    pub saturation: Vec<Region>,
    /// Time per pass.
    pub times: Vec<PassTime>,
}

/// The machine-independent front half: folds constants and solves ODEs, and from level 1 on empties loops and saturates.
/// With [`Options::reference`] it gives what the interpreter runs.
///
/// # Errors
/// An ODE system that its solver cannot take; `E0799` if a pass wrote a graph that breaks a constraint.
pub fn prepare(module: Module, options: &Options, times: &mut Vec<PassTime>) -> Result<Module, Errors> {
    Ok(optimise(module, options, times, &mut Counted::default())?.0)
}

/// As [`prepare`], with what saturation did to each graph.
fn optimise(
    mut module: Module,
    options: &Options,
    times: &mut Vec<PassTime>,
    counted: &mut Counted,
) -> Result<(Module, Vec<Region>), Errors> {
    timed(times, "fold", || fold::run(&mut module));
    timed(times, "solve", || solve::run(&mut module))?;
    timed(times, "fold again", || fold::run(&mut module));
    let mut regions = Vec::new();
    if options.level > Level::O1 && !options.keep_states {
        timed(times, "states", || states::run(&mut module));
    }
    if options.level > Level::O0 {
        regions = timed(times, "saturate", || saturate::run(&mut module, options, counted))?;
        timed(times, "hoist", || hoist::run(&mut module));
        timed(times, "tables", || tables::run(&mut module))?;
        timed(times, "fold last", || fold::run(&mut module));
    }
    timed(times, "verify graph", || nc_ir::graph::verify::verify(&module))
        .map_err(|e| vec![broken("the graph", &module.name, &e)])?;
    Ok((module, regions))
}

/// A violated constraint after a pass: what the passes wrote is wrong, whatever the model.
fn broken(what: &str, model: &str, e: &dyn std::fmt::Display) -> Diagnostic {
    Diagnostic::error_nowhere("E0799", format!("the passes broke {what} of {model}: {e}"))
        .with_hint("this is a bug of nc: please report the model")
}

/// The row for a part of the pass before it.
const PACKING: &str = "  of that, packing weights";

/// The whole pipeline.
///
/// # Errors
/// As [`prepare`]; an op that has no kernels, by name; a program over the memory limit; `E0799` if the lowering wrote
/// a program that breaks a constraint.
pub fn compile(module: Module, options: &Options) -> Result<Compiled, Errors> {
    let mut times = Vec::new();
    let mut counted = Counted::default();
    let (module, saturation) = optimise(module, options, &mut times, &mut counted)?;
    counted.keep(module.consts.iter().map(|c| &c.data));
    let lowered = timed(&mut times, "lower", || lower::lower(&module, options, counted))?;
    times.push(PassTime { pass: PACKING, time: lowered.packing });
    timed(&mut times, "verify kernels", || nc_ir::kernel::verify::verify(&lowered.program)).map_err(|errors| {
        let fault = |e: &dyn std::fmt::Display| broken("the kernels", &module.name, e);
        errors.iter().map(|e| fault(e)).collect::<Errors>()
    })?;
    let layout = timed(&mut times, "plan", || Layout::of(&lowered.program));
    let too_large = |bytes: u64| {
        let (need, limit) = (bytes >> 20, options.max_memory >> 20);
        vec![
            Diagnostic::error_nowhere(
                "E0704",
                format!("the program needs {need} MiB of memory, the limit is {limit} MiB"),
            )
            .with_hint("raise `--max-memory`, or use a smaller model"),
        ]
    };
    let layout = layout.ok_or_else(|| too_large(u64::MAX))?;
    let bytes = layout.arena_bytes.saturating_add(layout.const_bytes);
    if bytes > options.max_memory {
        return Err(too_large(bytes));
    }
    Ok(Compiled {
        level: options.level,
        module: Arc::new(module),
        program: Arc::new(lowered.program),
        layout: Arc::new(layout),
        states: lowered.states,
        lines: lowered.lines,
        report: saturation.iter().flat_map(|r| &r.left).cloned().chain(lowered.report).collect(),
        saturation,
        products: lowered.products,
        times,
    })
}

fn timed<T>(times: &mut Vec<PassTime>, pass: &'static str, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = f();
    times.push(PassTime { pass, time: start.elapsed() });
    result
}
