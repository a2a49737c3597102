//! The `.nd` model language: from text to tree, tree to model graph, and text to well-formed text.
//!
//! - [`parse()`](parse::parse) makes a typed tree ([`ast`]) and diagnostics of any text; it never fails and never panics.
//! - [`token`] holds the raw tokens, comments included, that editors and the formatter work on.
//! - [`format()`](format::format) gives a text its one shape.
//! - [`export()`](export::export) writes a model graph as text.
//! - [`codes::CODES`] has a page for every error that reading a text can give.
//!
//! Reading does no IO. Hostile text costs bounded time, memory and recursion: see [`token::MAX_SOURCE`],
//! [`token::MAX_TOKENS`], [`MAX_NESTING`], [`MAX_ITEM_TOKENS`], [`parse::MAX_DEPTH`] and [`MAX_ERRORS`].

pub mod ast;
pub mod codes;
pub mod export;
pub mod format;
pub mod parse;
pub mod sema;
pub mod token;

mod layout;
mod sink;
mod tree;

#[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
mod grammar {
    include!(concat!(env!("OUT_DIR"), "/grammar.rs"));
}

pub use export::export;
pub use format::format;
pub use layout::{MAX_ITEM_TOKENS, MAX_NESTING};
pub use parse::{Parsed, parse};
pub use sink::MAX_ERRORS;
