//! Running a model: memory, threads, streaming frames in and out, state that can be saved and moved.
//!
//! A [`Machine`] advances one sample tick by tick and keeps its state from call to call. [`Session`] is the machine for
//! compiled code; a program on a machine with memory of its own has another, which runs many samples in a call
//! ([`Image::machine`] gives the right one); other machines (an interpreter) implement the same trait elsewhere.
//! [`stream()`] drives machines over whole arrays in chunks of bounded size. Results do not depend on chunk sizes, on
//! the number of threads, or on how samples are spread over them.

mod codes;
mod frames;
mod image;
mod machine;
mod remote;
mod session;
mod state;
mod stream;
mod team;

#[cfg(test)]
mod tests;

pub use codes::CODES;
pub use frames::Frames;
pub use image::{Engine, Image, LineHome, Parts, StateHome};
pub use machine::{Face, Machine, Port, Saved, entry_names};
pub use session::Session;
pub use stream::{Finished, Plan, Sink, Source, stream};
