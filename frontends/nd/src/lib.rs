//! The `.nd` model language: from text to tree, tree to model graph, and text to well-formed text.

pub mod ast;
pub mod parse;
pub mod sema;
