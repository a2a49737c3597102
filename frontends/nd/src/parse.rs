//! From text to tree.

/// The greatest depth of an expression.
pub const MAX_DEPTH: usize = 256;
