//! A model split into pieces, so that together they compute it to the bit.
//!
//! Values that are computed row by row from each other form a population: element-wise chains, rows of products,
//! targets of synapses. A population is split by rows of its first axis that has more than one element, that is by
//! target and never by source, so every chain of arithmetic stays whole in one piece and keeps its order. Everything else that a row needs, such as
//! the input vector of a product, is a [`Signal`], which reaches a piece as a whole ([`Feed::Now`]); of the sources of synapses
//! it gets those that reach it (`reach`).
//!
//! There is no barrier between cores, so a tick has levels: a piece reads signals of this tick from lower levels only.
//! What a state held before the tick and what a delay line remembers are signals of the tick before ([`Feed::Late`]);
//! the ring buffer of a delay line stands where it is read. A piece is a [`Module`] of its own with the states of its
//! rows, so that the passes, both interpreters and every backend take it as it is.
//!
//! Ops that cannot be split by rows (regions over whole tensors, plastic synapses, some movements of data) are computed
//! whole, in one piece.

mod build;
pub(crate) mod facts;
mod pipeline;
mod reach;
mod run;
pub(crate) mod uses;

pub use build::{split, split_ordered};
pub use pipeline::{Pipelined, pipeline};
pub use run::Board;
pub(crate) use uses::{Use, axis_of, constant, for_rows, row_count, uses};

use nc_ir::Diagnostic;
use nc_ir::graph::{Module, ValueId};
use nc_ir::tensor::Tensor;
use nc_ir::types::TensorType;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A population of the model: what is split together.
#[derive(Clone, Debug)]
pub struct Population {
    /// Name of one of its values, for messages.
    pub name: String,
    /// Names of its values, as far as they have names, with the number of their elements.
    pub values: Vec<(String, u64)>,
    /// Number of rows; 1 if it cannot be split.
    pub rows: u64,
    /// False if it is computed whole.
    pub divisible: bool,
}

impl Population {
    /// The most elements in a row of those of its values that have this name, or are declared in the population or net
    /// of this name. `None` if there are none.
    pub fn row_of(&self, name: &str) -> Option<u64> {
        let of = |v: &str| v.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let named = self.values.iter().filter(|(v, _)| of(v));
        named.map(|(_, elements)| elements.div_ceil(self.rows.max(1))).max()
    }
}

/// A model in pieces.
#[derive(Clone, Debug)]
pub struct Split {
    /// The pieces; those of lower levels first.
    pub pieces: Vec<Piece>,
    /// The values that pass between pieces.
    pub signals: Vec<Signal>,
    /// Number of levels in a tick.
    pub levels: u32,
    /// Signals that are the model's outputs, in order.
    pub outputs: Vec<usize>,
    /// Signals that are the model's probes, in order.
    pub probes: Vec<usize>,
    /// The populations.
    pub populations: Vec<Population>,
}

/// A part of the model that runs on one core, once in a tick.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Name of its population.
    pub name: String,
    /// Number of its population.
    pub population: usize,
    /// Rows of the population, or `None` for all.
    pub rows: Option<Range<u64>>,
    /// The model's rows that these are, if they are dealt out in another order.
    pub order: Option<Vec<u32>>,
    /// When in a tick it runs.
    pub level: u32,
    /// What it computes; its inputs are `feeds`, its outputs `gives`.
    pub module: Module,
    /// Where each input comes from.
    pub feeds: Vec<Feed>,
    /// The signal that each output is `rows` of.
    pub gives: Vec<usize>,
}

/// A value of the model that passes between pieces.
#[derive(Clone, Debug)]
pub struct Signal {
    /// The value; those beyond the model's own are new names for values that leave it.
    pub value: ValueId,
    /// The value in the model.
    pub root: ValueId,
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
    /// The row of the model that each of its rows is, if they are in another order.
    pub order: Option<Arc<Vec<u32>>>,
}

/// Where an input of a piece comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Feed {
    /// An input of the model.
    Host {
        /// Its number.
        input: usize,
        /// Rows, or all.
        rows: Option<Range<u64>>,
    },
    /// A signal of this tick.
    Now {
        /// The signal.
        signal: usize,
        /// Rows, or all.
        rows: Option<Range<u64>>,
    },
    /// A signal of the tick before.
    Late {
        /// The signal.
        signal: usize,
        /// Rows, or all.
        rows: Option<Range<u64>>,
        /// What it is in the first tick: a tensor of the signal's shape or a scalar.
        init: Tensor,
    },
}

/// Why a model could not be split. A valid module whose extents are known and whose equations are solved always can, as
/// far as its synapses expand and the events of a connection come from one source, as the language makes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SplitError(pub String);

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SplitError {}

impl SplitError {
    /// For a user.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::error_nowhere("E0851", format!("the model cannot be split: {self}"))
            .with_hint("`nc compile --emit solved` shows the graph that is split")
    }
}
