//! Connectivity: which synapses a `connect` statement makes, with their weights and delays.
//!
//! A rule is kept as written and expanded on demand by [`expand()`], so that every backend and every partition builds
//! the same network. Sources and targets are named by their flat indices in the whole population, in regions, tables
//! and draws alike; draws are keyed by (stream, row, number of the draw).
//!
//! Regions have the parameters i (`i64`) and j (`i64[n]`, with a named extent). A row of targets may be handed over in
//! pieces: what a region gives for one target must not depend on the others.

mod expand;
mod gaps;

#[cfg(test)]
mod tests;

pub use expand::expand;
pub(crate) use expand::row_region;

use super::{ConstId, Graph};
use std::ops::Range;

/// The synapses of one connectivity, row by row: a row per source, its targets ascending.
#[derive(Clone, PartialEq, Debug)]
pub struct SynapseTable {
    /// Row i holds synapses `pre_ptr[i]..pre_ptr[i + 1]`; one entry more than there are sources.
    pub pre_ptr: Vec<u64>,
    /// Target of each synapse.
    pub post: Vec<u32>,
    /// Payloads.
    pub weight: Weights,
    /// Delays.
    pub delay: Delays,
}

/// Payloads of synapses; none is NaN.
#[derive(Clone, PartialEq, Debug)]
pub enum Weights {
    /// One for all.
    Scalar(f32),
    /// One per synapse.
    Per(Vec<f32>),
}

impl Weights {
    /// The weight of a synapse.
    ///
    /// # Panics
    /// If there is no such synapse.
    pub fn at(&self, synapse: usize) -> f32 {
        match self {
            Weights::Scalar(w) => *w,
            Weights::Per(v) => v[synapse],
        }
    }
}

/// Delays of synapses in ticks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delays {
    /// One for all.
    Uniform(u32),
    /// One per synapse.
    Per(Vec<u32>),
}

impl Delays {
    /// The delay of a synapse.
    ///
    /// # Panics
    /// If there is no such synapse.
    pub fn at(&self, synapse: usize) -> u32 {
        match self {
            Delays::Uniform(d) => *d,
            Delays::Per(v) => v[synapse],
        }
    }
}

impl SynapseTable {
    /// Number of sources.
    pub fn pre_len(&self) -> usize {
        self.pre_ptr.len().saturating_sub(1)
    }

    /// Number of synapses.
    pub fn len(&self) -> usize {
        self.post.len()
    }

    /// True if there is no synapse.
    pub fn is_empty(&self) -> bool {
        self.post.is_empty()
    }

    /// The synapses of a source.
    ///
    /// # Panics
    /// If there is no such source.
    pub fn row(&self, pre: usize) -> Range<usize> {
        self.pre_ptr[pre] as usize..self.pre_ptr[pre + 1] as usize
    }

    /// The longest delay of any synapse; 0 if there is none.
    pub fn max_delay(&self) -> u32 {
        match &self.delay {
            _ if self.is_empty() => 0,
            Delays::Uniform(d) => *d,
            Delays::Per(v) => v.iter().copied().max().unwrap_or(0),
        }
    }

    /// The shortest delay of any synapse; 0 if there is none.
    pub fn min_delay(&self) -> u32 {
        match &self.delay {
            _ if self.is_empty() => 0,
            Delays::Uniform(d) => *d,
            Delays::Per(v) => v.iter().copied().min().unwrap_or(0),
        }
    }
}

/// The synapses of one `connect` statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connectivity {
    /// Name of the statement.
    pub name: String,
    /// Number of elements of the source.
    pub pre_len: u64,
    /// Number of elements of the target.
    pub post_len: u64,
    /// Flat indices of the source that take part.
    pub pre: Range<u64>,
    /// Flat indices of the target that take part.
    pub post: Range<u64>,
    /// Which pairs are connected.
    pub rule: Rule,
    /// The payload of an event at each synapse.
    pub weight: SynapseWeight,
    /// The delay of each synapse.
    pub delay: SynapseDelay,
}

/// Which (pre, post) pairs are connected. Rows list targets in ascending order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Every pair.
    All,
    /// The k-th source with the k-th target; there must be as many of both.
    OneToOne,
    /// Each pair independently with probability `p`, drawn by geometric gaps along each row: draw k of row i is a
    /// uniform u of 53 bits and skips `floor(log(1 - u) / log1p(-p))` targets (all in f64, with the functions of
    /// [`crate::math`]). Draws 2d and 2d + 1 are the lower and the upper half of the block at (stream, i, d).
    Random {
        /// Probability in [0, 1].
        p: super::Real,
        /// Key of the draws.
        stream: u64,
    },
    /// The pairs for which the region gives true. Parameters: i (`i64`), j (`i64[n]`, one row of candidates); result
    /// `bool[n]`.
    Predicate(Graph),
    /// Each target gets `k` distinct sources.
    FixedIn {
        /// Sources per target.
        k: u64,
        /// Key of the draws.
        stream: u64,
    },
    /// Each source gets `k` distinct targets.
    FixedOut {
        /// Targets per source.
        k: u64,
        /// Key of the draws.
        stream: u64,
    },
    /// A kernel `[cout, cin, ky, kx]` slid over the source `[cin, h, w]`, targets `[cout, oh, ow]`: the ranges that
    /// take part, row-major.
    Conv2d {
        /// Source extents `[cin, h, w]`.
        input: [u64; 3],
        /// Target extents `[cout, oh, ow]`.
        output: [u64; 3],
        /// Kernel extents `[ky, kx]`.
        size: [u64; 2],
        /// Strides `[y, x]`.
        stride: [u64; 2],
        /// Zero padding `[y, x]` on both sides.
        pad: [u64; 2],
    },
    /// An explicit list: two `i64[nnz]` constants, sorted by (pre, post); a pair may stand more than once.
    Table {
        /// Source of each synapse.
        pre: ConstId,
        /// Target of each synapse.
        post: ConstId,
    },
}

/// The payload that an event carries through each synapse.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SynapseWeight {
    /// One scalar constant for all.
    Scalar(ConstId),
    /// `f32[nnz]`, row-major by (pre, post).
    PerSynapse(ConstId),
    /// `f32[cout, cin, ky, kx]` of a `Conv2d` rule.
    Kernel(ConstId),
    /// A region of i (`i64`) and j (`i64[n]`) that gives `f32[n]`.
    Region(Graph),
    /// `f32[post, pre]` or `f32[pre, post]` over the ranges that take part: element picked by the pair.
    Matrix {
        /// The matrix.
        data: ConstId,
        /// True if rows are sources.
        pre_major: bool,
    },
}

/// The delay of each synapse in ticks, at least 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SynapseDelay {
    /// One delay for all.
    Ticks(u32),
    /// `i64[nnz]`, row-major by (pre, post).
    PerSynapse(ConstId),
    /// `i64[cout, cin, ky, kx]` of a `Conv2d` rule.
    Kernel(ConstId),
    /// A region of i (`i64`) and j (`i64[n]`) that gives `i64[n]`, and the largest value it can take.
    Region {
        /// The region.
        body: Graph,
        /// Upper bound in ticks.
        max: u32,
    },
}
