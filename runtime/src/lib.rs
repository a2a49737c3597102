//! Running a compiled model on files: arrays in and out, checkpoints, atomic output.
//!
//! All file formats are read with hard limits: a declared size is checked against the limit and against the real size
//! of the file before memory is taken for it. What is wrong with a file is said with a code of [`codes::CODES`].

pub mod arrays;
pub mod atomic;
pub mod checkpoint;
pub mod codes;
mod fail;
pub mod run;
