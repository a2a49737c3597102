//! Tests of what models mean: backends against the interpreter, file tests on every target, models against recordings.

mod chip;
mod commands;
mod convert;
mod differential;
mod elementwise;
mod files;
mod filetests;
mod levels;
mod nir;
mod nir_back;
mod onnx;
mod products;
mod reference;
mod retimed;
