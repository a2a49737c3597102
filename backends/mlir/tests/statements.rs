//! Programs written by hand for each statement and each kind of memory access, compared with the interpreter.

#![cfg(feature = "llvm")]

mod common;

#[path = "../../../tests/shared/statements.rs"]
mod statements;
