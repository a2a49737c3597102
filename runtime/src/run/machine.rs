//! The face that everything that can run a model shows.

use super::frames::Frames;
use nc_ir::diag::Diagnostic;
use nc_ir::tensor::Tensor;
use nc_ir::types::DType;
use std::collections::{BTreeMap, HashSet};

/// An array that enters or leaves a model, frame by frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Name of the array.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents of one frame.
    pub shape: Vec<usize>,
    /// Ticks between frames: 1 for inputs and outputs.
    pub every: u64,
}

impl Port {
    /// Bytes of one frame; `u64::MAX` if the number does not fit.
    pub fn frame_bytes(&self) -> u64 {
        self.shape.iter().fold(self.dtype.size() as u64, |n, d| n.saturating_mul(*d as u64))
    }

    /// How many frames fall in the `ticks` ticks from `first` on: those whose number is a multiple of `every`.
    pub fn frames_in(&self, first: u64, ticks: u64) -> u64 {
        let every = self.every.max(1);
        first.saturating_add(ticks).div_ceil(every) - first.div_ceil(every)
    }
}

/// The arrays of a model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Face {
    /// Inputs.
    pub inputs: Vec<Port>,
    /// Outputs, one frame per tick.
    pub outputs: Vec<Port>,
    /// Probes, one frame in each tick that is a multiple of `every`.
    pub probes: Vec<Port>,
}

impl Face {
    /// Outputs, then probes: the order in which [`Machine::run`] gives them.
    pub fn results(&self) -> impl Iterator<Item = &Port> {
        self.outputs.iter().chain(&self.probes)
    }
}

/// The state between two ticks: under `state/NAME` each state of the model, under `line/NAME` the frames `[depth, ..]` of
/// each delay line, frame k - 1 from k ticks ago (zeros before the first tick).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Saved {
    /// Number of the tick that comes next.
    pub tick: u64,
    /// The tensors, by the names of [`entry_names`].
    pub entries: BTreeMap<String, Tensor>,
}

impl Saved {
    /// The entry of this name, of this type.
    ///
    /// # Errors
    /// E0651.
    pub fn expect(&self, name: &str, dtype: DType, shape: &[usize]) -> Result<&Tensor, Diagnostic> {
        let wrong = |text: String| Err(Diagnostic::error_nowhere("E0651", text));
        match self.entries.get(name) {
            None => wrong(format!("the saved state has no {name:?}")),
            Some(t) if t.dtype() != dtype || t.shape() != shape => wrong(format!(
                "{name:?} is {}{:?} in the saved state, the model has {dtype}{shape:?}",
                t.dtype(),
                t.shape()
            )),
            Some(t) => Ok(t),
        }
    }

    /// The states of all samples as one, with a leading axis of samples.
    pub fn stack(samples: &[Saved]) -> Saved {
        let Some(first) = samples.first() else { return Saved::default() };
        let stack = |(name, t): (&String, &Tensor)| {
            let shape = std::iter::once(samples.len()).chain(t.shape().iter().copied()).collect();
            let mut all = Tensor::zeros(t.dtype(), shape);
            let bytes = t.bytes().len();
            for (k, s) in samples.iter().enumerate() {
                if let Some(t) = s.entries.get(name).filter(|t| t.bytes().len() == bytes) {
                    all.bytes_mut()[k * bytes..(k + 1) * bytes].copy_from_slice(t.bytes());
                }
            }
            (name.clone(), all)
        };
        Saved { tick: first.tick, entries: first.entries.iter().map(stack).collect() }
    }

    /// The state of each of `samples` samples of a stacked state.
    ///
    /// # Errors
    /// E0651 if a tensor has not that many.
    pub fn unstack(&self, samples: usize) -> Result<Vec<Saved>, Diagnostic> {
        let mut each = vec![Saved { tick: self.tick, entries: BTreeMap::new() }; samples];
        for (name, t) in &self.entries {
            let Some((_, rest)) = t.shape().split_first().filter(|(n, _)| **n == samples && samples > 0) else {
                return Err(Diagnostic::error_nowhere(
                    "E0651",
                    format!("{name:?} has the shape {:?} in the saved state, {samples} samples are run", t.shape()),
                ));
            };
            let bytes = t.bytes().len() / samples;
            for (k, saved) in each.iter_mut().enumerate() {
                let part = Tensor::from_bytes(t.dtype(), rest.to_vec(), &t.bytes()[k * bytes..(k + 1) * bytes]);
                saved.entries.extend(part.map(|t| (name.clone(), t)));
            }
        }
        Ok(each)
    }
}

/// Something that runs one sample of a model and keeps its state from call to call.
pub trait Machine: Send {
    /// The arrays of the model.
    fn face(&self) -> &Face;

    /// Number of the next tick.
    fn tick(&self) -> u64;

    /// Goes back to the state before the first tick.
    fn reset(&mut self);

    /// Runs `ticks` ticks. `inputs` has the frames of each input, as many as ticks; `results` has one element for each
    /// of [`Face::results`], which becomes the frames of these ticks.
    ///
    /// # Errors
    /// E0650 without memory for the results; E0654 and what else an interpreter refuses. The state is then unspecified.
    fn run(&mut self, ticks: u64, inputs: &[Frames], results: &mut [Frames]) -> Result<(), Diagnostic>;

    /// The state. The same for all machines of a model, so that one can go on where another stopped.
    ///
    /// # Errors
    /// E0650.
    fn export(&self) -> Result<Saved, Diagnostic>;

    /// Takes a state over.
    ///
    /// # Errors
    /// E0651 if an entry is missing or of another type; the state is then unspecified.
    fn import(&mut self, saved: &Saved) -> Result<(), Diagnostic>;

    /// Bytes that a [`Machine::fork`] takes.
    fn fork_bytes(&self) -> u64;

    /// Another machine for the same model, before its first tick, for one thread.
    ///
    /// # Errors
    /// E0650.
    fn fork(&self) -> Result<Box<dyn Machine>, Diagnostic>;

    /// Whether there is a [`Machine::batch`]: it takes [`Machine::fork_bytes`] for each sample.
    fn batches(&self) -> bool {
        false
    }

    /// Another machine for the same model that runs so many samples in a call, before its first tick; none if there is no
    /// such machine. Its frames are `[ticks, samples, ..]`, and the tensors of its state have a leading axis of samples.
    ///
    /// # Errors
    /// E0650.
    fn batch(&self, _samples: usize) -> Result<Option<Box<dyn Machine>>, Diagnostic> {
        Ok(None)
    }

    /// Seconds that a device was at work in the last run, if there is one that measures it.
    fn device_seconds(&self) -> Option<f64> {
        None
    }
}

/// Names for the parts of a state under which they are saved: `prefix/NAME`, made unique and free of what a checkpoint
/// refuses. Depends on the names and their order alone.
pub fn entry_names<'a>(prefix: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for (k, name) in names.into_iter().enumerate() {
        let clean: String =
            name.chars().take(200).map(|c| if c.is_control() || c == '/' || c == '\\' { '_' } else { c }).collect();
        let mut entry = if matches!(clean.as_str(), "" | "." | "..") {
            format!("{prefix}/~{k}")
        } else {
            format!("{prefix}/{clean}")
        };
        // `~` begins no name of the language, so a number after it is free unless it was taken by this rule.
        while !seen.insert(entry.clone()) {
            entry.push_str(&format!("~{k}"));
        }
        out.push(entry);
    }
    out
}
