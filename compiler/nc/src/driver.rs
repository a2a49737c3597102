//! From a file to a model: tells the kind of the file, reads it and what it names, and lowers it to the model graph.
//!
//! Each kind of model has a room of its own below this one, with one function of the same form ([`Frontend`]).

mod graph;
mod nd;
mod nir;
mod onnx;

pub use nir::read as read_nir;

use crate::args::{ChipArgs, ModelArgs};
use crate::cache::{Fingerprint, Summary};
use crate::render::{Reporter, Sources};
use crate::{Outcome, Stop};
use nc_compiler::prune;
use nc_ir::graph::Module;
use nc_ir::{Diagnostic, Severity};
use nc_nd::token::MAX_SOURCE;
use nc_onnx::Along;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Times of passes in the order they ran.
pub type Times = Vec<(String, Duration)>;

/// A model that was read and checked.
pub struct Loaded {
    /// What kind of file it came from.
    pub kind: ModelKind,
    /// The graph.
    pub module: Module,
    /// Tells this model from any other that computes something else: its words (comments and spacing aside), the values
    /// of its dimensions, and every array it read.
    pub fingerprint: Fingerprint,
    /// Times of the passes so far.
    pub times: Times,
    /// What a run of the model is.
    pub form: Form,
    /// What the model says about the chip that it is compiled for.
    pub chip: ChipArgs,
}

/// What a run of a model is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// Any number of ticks: arrays have a leading axis of ticks.
    #[default]
    Ticks,
    /// One tick: arrays have the shapes of inputs and outputs.
    Once {
        /// Inputs of the file that are constants of the module, whose arrays are no strays.
        bound: Vec<String>,
    },
    /// A tick is a step of sequences, which arrays hold as a whole.
    Sequence {
        /// As for [`Form::Once`].
        bound: Vec<String>,
        /// Where the steps stand in the array of each input, in order.
        inputs: Vec<Along>,
        /// Where the steps stand in the array of each output, in order; `None` for one that holds the value after the last
        /// step.
        outputs: Vec<Option<Along>>,
    },
}

impl Form {
    /// Inputs of the file that are constants of the module.
    pub fn bound(&self) -> &[String] {
        match self {
            Form::Ticks => &[],
            Form::Once { bound } | Form::Sequence { bound, .. } => bound,
        }
    }
}

/// What a frontend makes of a file.
#[derive(Default)]
pub struct Lowered {
    /// The module, unless there are errors.
    pub module: Option<Module>,
    /// As in [`Loaded`].
    pub fingerprint: Fingerprint,
    /// Times of the passes.
    pub times: Times,
    /// Errors, warnings and notes, in order.
    pub diagnostics: Vec<Diagnostic>,
    /// As in [`Loaded`].
    pub form: Form,
    /// As in [`Loaded`].
    pub chip: ChipArgs,
}

/// Reads and lowers the file `args.model`, and records `probes`.
pub type Frontend = fn(&ModelArgs, &[String], &mut Sources) -> Result<Lowered, Diagnostic>;

/// The kinds of files that are models.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModelKind {
    /// The model language.
    Nd,
    /// The text form of a model graph.
    Graph,
    /// The exchange format of networks.
    Onnx,
    /// Neurons in HDF5, without a time step.
    Nir,
}

impl ModelKind {
    /// Every kind with its extension and its frontend.
    pub const TABLE: &[(ModelKind, &str, Frontend)] = &[
        (ModelKind::Nd, "nd", nd::lower),
        (ModelKind::Graph, "graph", graph::lower),
        (ModelKind::Onnx, "onnx", onnx::lower),
        (ModelKind::Nir, "nir", nir::lower),
    ];

    /// The kind of a file by its name. A name without an extension is taken for a `.nd` file.
    ///
    /// # Errors
    /// E0802 for a file that is no model.
    pub fn of(path: &Path) -> Result<ModelKind, Diagnostic> {
        let Some(extension) = path.extension() else { return Ok(ModelKind::Nd) };
        match ModelKind::TABLE.iter().find(|(_, e, _)| extension == *e) {
            Some((kind, ..)) => Ok(*kind),
            None => {
                let known: Vec<String> = ModelKind::TABLE.iter().map(|(_, e, _)| format!(".{e}")).collect();
                Err(Diagnostic::error_nowhere("E0802", format!("{} is not a model", path.display()))
                    .with_hint(format!("models are {} files; arrays go in with --input", known.join(", "))))
            }
        }
    }
}

/// Reads a text file of bounded size.
///
/// # Errors
/// E0800 if it cannot be read or is too large, E0801 if it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Diagnostic> {
    let shown = path.display();
    let unread = |e: std::io::Error| {
        let d = Diagnostic::error_nowhere("E0800", format!("{shown} cannot be read: {e}"));
        match (e.kind(), path.extension()) {
            (std::io::ErrorKind::NotFound, None) => d.with_hint("the name of a model ends in .nd"),
            _ => d,
        }
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    // One byte more than a source may have, so that a larger one is refused as such.
    file.take(MAX_SOURCE as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > MAX_SOURCE {
        return Err(Diagnostic::error_nowhere("E0800", format!("{shown} has more than {MAX_SOURCE} bytes"))
            .with_hint("keep large tables in a .npz or .safetensors file"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let before = &e.as_bytes()[..at];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        Diagnostic::error_nowhere("E0801", format!("{shown} is not UTF-8: line {line}, byte {at}"))
            .with_hint("save the file as UTF-8")
    })
}

/// Reads, checks and lowers a model. Errors and warnings go to the reporter.
///
/// # Errors
/// [`Stop`] if there is an error.
pub fn load(args: &ModelArgs, probes: &[String], reporter: &mut Reporter) -> Outcome<Loaded> {
    let Lowered { module, fingerprint, times, diagnostics, form, chip } = lower(args, probes, &mut reporter.sources)?;
    for d in &diagnostics {
        reporter.report(d);
    }
    match module {
        Some(module) => Ok(Loaded { kind: ModelKind::of(&args.model)?, module, fingerprint, times, form, chip }),
        None => {
            reporter.summary();
            Err(Stop::Said)
        }
    }
}

/// Reads, checks and lowers a model of any kind without reporting.
///
/// # Errors
/// E0802 for a file that is no model; E0800 and E0801 for one that cannot be read; E0806 for values that it cannot take.
pub fn lower(args: &ModelArgs, probes: &[String], sources: &mut Sources) -> Result<Lowered, Diagnostic> {
    let kind = ModelKind::of(&args.model)?;
    if kind != ModelKind::Nd && (args.seed.is_some() || !args.settings.is_empty()) {
        let what = format!("--set and --seed are for .nd models, and {} is none", args.model.display());
        return Err(Diagnostic::error_nowhere("E0806", what)
            .with_hint("a .graph file holds the values and draws of the model that it was made from"));
    }
    if kind != ModelKind::Nir {
        let given =
            [("--dt", args.dt.is_some()), ("--discretise", args.discretise.is_some()), ("--repair", args.repair)];
        if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
            let text = format!("{option} is for .nir models, and {} is none", args.model.display());
            return Err(Diagnostic::error_nowhere("E0806", text)
                .with_hint("a .nd model has its clock and its solvers in the text"));
        }
    }
    if kind != ModelKind::Onnx && args.stream {
        let text = format!("--stream is for .onnx models, and {} is none", args.model.display());
        return Err(Diagnostic::error_nowhere("E0806", text).with_hint("models of other kinds run tick by tick anyway"));
    }
    let frontend = ModelKind::TABLE.iter().find(|(k, ..)| *k == kind).map_or(nd::lower as Frontend, |(.., f)| *f);
    let mut lowered = frontend(args, probes, sources)?;
    if let Some(module) = lowered.module.as_mut().filter(|_| !args.prune.is_empty()) {
        for p in prune::run(module, &args.prune)? {
            let text = format!(
                "`{}`: {} of {} weights are left, of {} that were not zero",
                p.name, p.after, p.weights, p.before
            );
            lowered
                .diagnostics
                .push(Diagnostic { severity: Severity::Note, ..Diagnostic::error_nowhere("N0846", text) });
        }
        let mut pruned = Summary::default();
        pruned.bytes(&lowered.fingerprint);
        pruned.bytes(format!("{:?}", args.prune).as_bytes());
        lowered.fingerprint = pruned.finish();
    }
    Ok(lowered)
}
