//! Connectivity: which synapses a `connect` statement makes, with their weights and delays.
//!
//! A rule is kept as written and expanded on demand, row by row, so that every backend and every partition builds the
//! same network. Random draws are keyed by (stream, pre, post) or, for `Random`, by (stream, pre, draw).

use super::{ConstId, Graph};
use std::ops::Range;

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
    /// The k-th source with the k-th target.
    OneToOne,
    /// Each pair independently with probability `p`, drawn by geometric gaps along each row: draw k of row i is uniform
    /// u = U(stream, i, k) and skips floor(log(1 - u) / log(1 - p)) targets (all in f64).
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
    /// A kernel `[cout, cin, ky, kx]` slid over the source `[cin, h, w]`, targets `[cout, oh, ow]`.
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
    /// An explicit list: two `i64[nnz]` constants, sorted by (pre, post).
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
    /// `f32[post, pre]` or `f32[pre, post]` of a full matrix: element picked by the pair.
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
