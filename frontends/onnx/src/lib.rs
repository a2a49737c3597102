//! ONNX models: from the bytes of a file to the model graph.
//!
//! [`read()`] decodes the file, [`import()`] makes a module whose one tick is one inference. Shapes are known when a
//! model is imported: extents are numbers, are given by name, or are those of the arrays that the model will run on.
//! What can be computed from constants is computed at once, so that arithmetic on shapes leaves nothing behind.
//! Neurons that are written out in plain operators are found, so that what follows them runs by their spikes. Where a
//! shape depends on the *value* of an input, the import stops with [`Stop::Needs`], and can be repeated with that
//! value given.
//!
//! Guarantees: no IO (external data come through a [`Loader`]), no panic on any file, memory and recursion bounded
//! before they are taken, nothing ignored: an attribute or a result that an operator does not know is refused by name.

pub mod codes;
mod import;
mod lift;
mod measure;
pub mod ops;
pub mod proto;
mod read;
mod stream;
pub mod support;
pub mod tensor;

pub use import::{Call, Fault, Region, Results, Value};
pub use read::read;
pub use stream::{Along, Streamed};

use nc_ir::graph::Module;
use nc_ir::{DType, Diagnostic, Tensor};
use proto::ModelProto;
use std::collections::BTreeMap;

/// Gives the data of tensors that lie beside the model.
pub trait Loader {
    /// Exactly `bytes` bytes from `offset` on in the file `location`, a path relative to the model's folder that must
    /// not leave it. `what` names the tensor in messages. The caller has checked that so many bytes may be taken.
    ///
    /// # Errors
    /// E1007 for a path that is refused or a file that is too short, E0800 for one that cannot be read.
    fn external(&mut self, what: &str, location: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, Diagnostic>;
}

/// A loader for models without external data: refuses them.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLoader;

impl Loader for NoLoader {
    fn external(&mut self, what: &str, location: &str, _: u64, _: u64) -> Result<Vec<u8>, Diagnostic> {
        Err(Diagnostic::error_nowhere(codes::EXTERNAL, format!("{what}: the file {location:?} cannot be read here")))
    }
}

/// What is known of a run when a model is imported.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the module.
    pub name: String,
    /// Values of named extents.
    pub dims: BTreeMap<String, u64>,
    /// Element types and shapes of arrays that the model will run on, by input.
    pub inputs: BTreeMap<String, (DType, Vec<usize>)>,
    /// Values of inputs that are to be constants.
    pub values: BTreeMap<String, Tensor>,
    /// Most bytes that a tensor, and what is computed at once, may take.
    pub max_memory: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            name: "model".to_owned(),
            dims: BTreeMap::new(),
            inputs: BTreeMap::new(),
            values: BTreeMap::new(),
            max_memory: 8 << 30,
        }
    }
}

/// Why an import ends early.
#[derive(Clone, PartialEq, Debug)]
pub enum Stop {
    /// Something is wrong with the model or not supported.
    Wrong(Diagnostic),
    /// The values of some inputs must be known.
    Needs(Needs),
}

impl From<Diagnostic> for Stop {
    fn from(d: Diagnostic) -> Stop {
        Stop::Wrong(d)
    }
}

/// Inputs whose values must be known, since the shape of something depends on them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Needs {
    /// Names of the inputs; at least one.
    pub inputs: Vec<String>,
    /// The node that needs them, for example ``node `n1` (Reshape)``.
    pub node: String,
    /// What of it depends on them, for example `the shape`.
    pub why: String,
}

impl Needs {
    /// The refusal of a command that has no values to give.
    pub fn refusal(&self) -> Diagnostic {
        let names: Vec<String> = self.inputs.iter().map(|n| format!("`{n}`")).collect();
        let message = format!(
            "{} cannot be compiled for every value of {}: {} must be known",
            self.node,
            names.join(", "),
            self.why
        );
        Diagnostic::error_nowhere(codes::NEEDS, message)
            .with_hint("give the values with --bind FILE.npz, or use `nc run`, which takes them from its input")
    }
}

/// Makes a module of a model. Its inputs and outputs have the names, element types and shapes of the model's; inputs in
/// [`Options::values`] are constants, and so are those with a default for which [`Options::inputs`] has no array.
///
/// # Errors
/// [`Stop::Needs`] if a shape depends on values that are not given; else [`Stop::Wrong`] with one of the codes of
/// [`codes`], or what the graph's verifier and interpreter refuse.
pub fn import(model: &ModelProto, options: &Options, loader: &mut dyn Loader) -> Result<Module, Stop> {
    Ok(lifted(model, options, loader)?.module)
}

fn lifted(model: &ModelProto, options: &Options, loader: &mut dyn Loader) -> Result<import::Traced, Stop> {
    let mut traced = import::import(model, options, loader)?;
    lift::lift(&mut traced.module);
    Ok(traced)
}

/// Makes a module of a model of sequences whose tick is one step: what RNN, GRU, LSTM and Scan carry is its state.
/// After as many ticks as a sequence has steps its outputs are those of [`import()`], to the bit. Inputs that have no
/// axis of steps, such as initial states, must be in [`Options::values`]. The number of steps that the inputs have in
/// [`Options`], at least 2, does not matter.
///
/// # Errors
/// As for [`import()`]; [`Stop::Needs`] for inputs that are the same for all steps; E1011 for a model that needs
/// steps which are yet to come, or gone.
pub fn import_steps(model: &ModelProto, options: &Options, loader: &mut dyn Loader) -> Result<Streamed, Stop> {
    stream::stream(&lifted(model, options, loader)?)
}
