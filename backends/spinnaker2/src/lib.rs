//! The way to many-core neuromorphic chips of the SpiNNaker2 kind, as far as it is built: the split of a model into
//! pieces that run on cores and exchange values by packets ([`split`]), and machines as data ([`machine`]).

pub mod machine;
pub mod split;
