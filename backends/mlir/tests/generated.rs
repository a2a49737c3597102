//! Random programs compute the same compiled as interpreted.

#![cfg(feature = "llvm")]

mod common;

use common::{WAYS, cases, run_case};
use nc_ir::kernel::interp::Options;
use nc_ir::kernel::testing::Case;

fn same(seed: u64, parts: u32, chunk: u64) {
    let case = Case::from_seed(seed).with_parts(parts);
    let want = case.run(Options::default()).expect("a generated program runs");
    let way = WAYS[seed as usize % WAYS.len()];
    let got = run_case(&case, chunk, way);
    if let Some(d) = want.difference(&got) {
        panic!("seed {seed}, {parts} parts, calls of {chunk} ticks, {way:?}: {d}");
    }
}

#[test]
fn one_part() {
    for seed in 0..cases(40) {
        same(seed, 1, u64::MAX);
    }
}

#[test]
fn several_parts_on_threads() {
    for seed in 0..cases(30) {
        same(seed, 2 + (seed % 4) as u32, u64::MAX);
    }
}

#[test]
fn ticks_in_several_calls() {
    for seed in 0..cases(20) {
        same(seed, 1 + (seed % 3) as u32, 1 + seed % 3);
    }
}

/// The threads of a block or grid divide vector loops among them, and nothing else is done twice.
#[test]
fn threads_that_run_kernels_together() {
    for seed in 0..cases(12) {
        let case = Case::from_seed(seed).with_parts(1);
        let want = case.run(Options::default()).expect("a generated program runs");
        let way = nc_mlir::Options { threads: 2 + (seed % 4) as u32, ..Default::default() };
        let got = run_case(&case, u64::MAX, way);
        if let Some(d) = want.difference(&got) {
            panic!("seed {seed}, {way:?}: {d}");
        }
    }
}
