//! Tests of the house: which crate knows which, what others' licences are, how long and how clean the sources are, and
//! whether the documents tell the truth.

mod architecture;
mod docs;
mod licences;
mod sources;
