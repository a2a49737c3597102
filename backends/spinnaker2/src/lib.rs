//! Models on many-core neuromorphic chips of the SpiNNaker2 kind.
//!
//! Populations become vectors ([`mod@flatten`]), a model is split into pieces by targets ([`mod@split`]), pieces and what passes between them become tasks and streams
//! ([`plan`]), which get cores ([`place`]), keys ([`keys`]) and routes ([`route`]). Each core has an image ([`memory`],
//! [`scheduler`], [`elf`]); all that is known of a mapping stands in a [`bundle`]. Machines are data ([`machine`]).
//! [`mapping`] is the problem of which neurons share a core, by itself. [`check`] holds a bundle against the model, [`emulate`] runs it.

pub mod bundle;
pub mod check;
pub mod codes;
pub mod compile;
pub mod elf;
pub mod emulate;
pub mod flatten;
pub mod keys;
pub mod machine;
pub mod mapping;
pub mod memory;
pub mod place;
pub mod plan;
pub mod registers;
pub mod report;
pub mod route;
pub mod scheduler;
pub mod split;
