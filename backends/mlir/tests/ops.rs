//! Every operation on every type, and every pattern of the 16-bit floats, equals its definition.

#![cfg(feature = "llvm")]

mod common;
#[path = "common/operations.rs"]
mod operations;

use common::check;
use nc_ir::kernel::testing::Choices;

#[test]
fn every_operation() {
    let mut c = Choices::from_seed(7);
    let program = operations::program(200, &mut c);
    check(&program, 1, Vec::new());
}

#[test]
fn sixteen_bit_floats() {
    check(&operations::halves(), 1, Vec::new());
}
