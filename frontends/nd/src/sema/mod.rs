//! Name resolution, unit and shape checks, and lowering to the model graph.
//!
//! A net is elaborated on demand: the outputs, probes, states and drives ask for the values that they need, so that
//! nodes come out in an order in which every operand is defined, and a cycle of zero-delay edges is found where it
//! closes. A value that is wrong is reported once and is poison from then on.
//!
//! Guarantees: no IO but through [`Loader`]; no panic on any tree; recursion, work and memory are bounded
//! ([`MAX_NESTING`], [`MAX_STEPS`], [`Options::max_elements`], [`Options::max_synapses`]).

mod actions;
mod arith;
mod body;
mod builtins;
mod calls;
pub mod codes;
mod connect;
mod emit;
mod expr;
mod fold;
mod handler;
mod instance;
mod load;
mod names;
mod net;
mod neuron;
mod params;
mod ports;
mod print;
mod probe;
mod quantity;
mod random;
mod rules;
mod sides;
mod storage;
mod synapse;
mod target;
mod types;
pub mod units;
mod value;

pub(crate) use calls::is_function;
pub use target::{Setting, SettingValue, TargetSettings, TargetSpec};

use crate::ast;
use nc_ir::graph::{ConstId, Module, ValueId};
use nc_ir::{DType, Diagnostic, Span, Tensor, TensorType};
use rustc_hash::{FxHashMap, FxHashSet};

/// The greatest nesting of expressions, functions and definitions that wait for one another.
pub const MAX_NESTING: usize = 700;

/// The greatest number of expressions that one model may evaluate.
pub const MAX_STEPS: u64 = 2_000_000;

/// The greatest number of diagnostics that one model gets.
pub const MAX_DIAGNOSTICS: usize = 200;

/// Files and arrays, as the driver supplies them.
pub trait Loader {
    /// The text of `import "path"`, written in source `importing`, with the number that its spans shall carry. Equal
    /// files must get equal numbers, however they are reached.
    ///
    /// # Errors
    /// If there is no such file or it is not text; the place is filled in by the caller.
    fn source(&mut self, path: &str, importing: u32) -> Result<(u32, String), Diagnostic>;

    /// One array of `file "path"`.
    ///
    /// # Errors
    /// If the file or the array cannot be read; the place is filled in by the caller.
    fn array(&mut self, file: &str, name: &str) -> Result<Tensor, Diagnostic>;

    /// Names and types of the arrays of `file "path"`.
    ///
    /// # Errors
    /// If the file cannot be read; the place is filled in by the caller.
    fn list(&mut self, file: &str) -> Result<Vec<(String, TensorType)>, Diagnostic>;
}

/// What the host chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// The net to compile; the last one of the main file that no other instantiates if absent.
    pub net: Option<String>,
    /// Parameters of the net: `--dim n=100`.
    pub dims: Vec<(String, i64)>,
    /// Further probes: `P.v`.
    pub probes: Vec<String>,
    /// Values of `param`s by their full name: `W`, `P.tau_m`, `l1.Wx`; numbers are in the declared unit.
    pub params: Vec<(String, Tensor)>,
    /// Takes the place of the net's `seed`.
    pub seed: Option<u64>,
    /// The backends of this build and the settings that they understand.
    pub targets: Vec<TargetSpec>,
    /// The greatest number of elements of one tensor.
    pub max_elements: u64,
    /// The greatest number of synapses of one `connect` that are enumerated at compile time.
    pub max_synapses: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            net: None,
            dims: Vec::new(),
            probes: Vec::new(),
            params: Vec::new(),
            seed: None,
            targets: Vec::new(),
            max_elements: 1 << 28,
            max_synapses: 1 << 30,
        }
    }
}

/// What [`lower`] makes of a file.
#[derive(Clone, Debug, Default)]
pub struct Lowered {
    /// The model, unless there are errors.
    pub module: Option<Module>,
    /// Errors, warnings and notes in the order of their places.
    pub diagnostics: Vec<Diagnostic>,
    /// What the `target` blocks ask for, in the order written.
    pub target_settings: Vec<TargetSettings>,
}

/// Checks a file and lowers its main net to the model graph.
pub fn lower(file: &ast::File, loader: &mut dyn Loader, options: &Options) -> Lowered {
    let mut diags = Diagnostics::default();
    let sources = names::gather(file, loader, &mut diags);
    let mut elab = Elab {
        sources: &sources,
        loader,
        options,
        diags,
        m: Module::default(),
        frames: Vec::new(),
        frame_count: 0,
        step_consts: FxHashMap::default(),
        literals: FxHashMap::default(),
        lists: FxHashMap::default(),
        insts: Vec::new(),
        pops: Vec::new(),
        conns: Vec::new(),
        lines: Vec::new(),
        demands: Vec::new(),
        calls: Vec::new(),
        nesting: 0,
        steps: 0,
        stream_names: FxHashMap::default(),
        states: FxHashMap::default(),
        used_dims: FxHashSet::default(),
        used_params: FxHashSet::default(),
        dry: false,
    };
    elab.run();
    let target_settings = elab.targets();
    let Elab { m, diags, .. } = elab;
    let failed = diags.list.iter().any(Diagnostic::is_error);
    Lowered { module: (!failed).then_some(m), diagnostics: diags.finish(), target_settings }
}

/// A bounded list without repetitions.
#[derive(Default)]
struct Diagnostics {
    list: Vec<Diagnostic>,
    seen: FxHashSet<(&'static str, Option<Span>, String)>,
}

impl Diagnostics {
    fn push(&mut self, d: Diagnostic) {
        // Two messages of one code at one place are one mistake; without a place they differ by what they say.
        let words = if d.span.is_none() { d.message.clone() } else { String::new() };
        if self.list.len() < MAX_DIAGNOSTICS && self.seen.insert((d.code, d.span, words)) {
            self.list.push(d);
        }
    }

    fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|d| d.span.map_or((u32::MAX, 0), |s| (s.file, s.start)));
        self.list
    }
}

/// The state of elaboration.
struct Elab<'a> {
    sources: &'a names::Sources,
    loader: &'a mut dyn Loader,
    options: &'a Options,
    diags: Diagnostics,
    m: Module,
    /// Regions that are being written, outermost first; empty while the step function is written.
    frames: Vec<emit::Frame>,
    frame_count: u32,
    /// Constants that the step function has already read.
    step_consts: FxHashMap<ConstId, ValueId>,
    literals: FxHashMap<(DType, u64), ConstId>,
    /// What each file contains.
    lists: FxHashMap<String, Option<Vec<(String, TensorType)>>>,
    insts: Vec<net::Inst<'a>>,
    pops: Vec<neuron::Pop<'a>>,
    conns: Vec<connect::Conn<'a>>,
    lines: Vec<ports::Line>,
    /// Definitions that wait for one another, outermost first.
    demands: Vec<net::Demand>,
    /// Functions that are being expanded, outermost first.
    calls: Vec<String>,
    nesting: usize,
    steps: u64,
    /// How often each name was used for a stream of random numbers.
    stream_names: FxHashMap<String, u32>,
    /// Where each state of the module stands.
    states: FxHashMap<String, usize>,
    used_dims: FxHashSet<String>,
    used_params: FxHashSet<String>,
    /// True while something is only checked: arrays are not read and nothing is kept.
    dry: bool,
}

impl Elab<'_> {
    fn report(&mut self, d: Diagnostic) {
        self.diags.push(d);
    }

    fn choice(&mut self, subject: impl Into<String>, text: impl Into<String>) {
        self.m.choices.push(nc_ir::graph::Choice { subject: subject.into(), text: text.into() });
    }

    /// Enters one more level of recursion; false (and one report) when there are too many.
    fn enter(&mut self, span: Span) -> bool {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            self.report(
                Diagnostic::error_nowhere(codes::TOO_LARGE, "the model takes too many steps to expand")
                    .with_hint("functions and nets that use each other many times multiply their sizes"),
            );
            return false;
        }
        if self.nesting >= MAX_NESTING {
            self.report(
                Diagnostic::error(codes::TOO_LARGE, span, "definitions are nested too deeply")
                    .labelled("too many definitions wait for one another here")
                    .with_hint("write definitions before their uses, or split the expression"),
            );
            return false;
        }
        self.nesting += 1;
        true
    }

    fn leave(&mut self) {
        self.nesting = self.nesting.saturating_sub(1);
    }
}
