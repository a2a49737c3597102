//! Random programs compute the same compiled as interpreted.

#![cfg(feature = "llvm")]

mod common;

use common::{Blocks, WAYS, cases, run_blocks, run_case};
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

/// Programs as a graphics processor is given them, the threads run one after another. Any number of threads, samples and
/// teams computes the same.
#[test]
fn teams_of_blocks_of_threads() {
    for seed in 0..cases(60) {
        let case = Case::from_seed(seed).with_parts([1, 3, 1, 2, 7][seed as usize % 5]);
        let want = case.run(Options::default()).expect("a generated program runs");
        let samples = 1 + seed % 3;
        let way = Blocks {
            threads: [4, 7, 33, 1][seed as usize % 4],
            samples,
            teams: 1 + (seed / 3 % samples) as u32,
            chunk: [u64::MAX, 2][seed as usize % 2],
        };
        for (sample, got) in run_blocks(&case, way).iter().enumerate() {
            if let Some(d) = want.difference(got) {
                panic!("seed {seed}, {way:?}, {} parts, sample {sample}: {d}", case.program.parts);
            }
        }
    }
}
