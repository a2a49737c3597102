//! Random programs compute the same compiled as interpreted.

#![cfg(feature = "llvm")]

mod common;

use common::{WAYS, cases, run_case, run_code};
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::interp::Options;
use nc_ir::kernel::testing::Case;
use nc_mlir::gpu::{Kernels, Shape};

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

/// Kernels as a graphics processor is given them, their threads run one after another, launched as a host does. Blocks
/// and grids of other sizes than those that are launched compute the same.
#[test]
fn threads_of_a_graphics_processor() {
    for seed in 0..cases(60) {
        let case = Case::from_seed(seed).with_parts(1 + (seed % 4) as u32 * 3);
        let want = case.run(Options::default()).expect("a generated program runs");
        let layout = Layout::of(&case.program).expect("small");
        let mut grids = Vec::new();
        for l in nc_mlir::gpu::launches(&case.program, "nc") {
            let shape = l.shape.name().to_owned();
            let threads = if l.shape == Shape::Parts { l.threads } else { [l.threads, 1, 7][seed as usize % 3] };
            let (blocks, every, iterations) = (l.blocks, l.every, l.iterations);
            grids.push(nc_gpu::Grid { symbol: l.symbol, shape, blocks, threads, every, iterations });
        }
        let plan = nc_gpu::Plan::of(&case.program, &layout, grids);
        let kernels = Kernels::compile(&case.program, &layout).expect("a supported program");
        // SAFETY: kernels and plan are of one program, whose memory the launcher names.
        let run = move |n: usize, grid: (u32, u32), arguments: &[u64]| unsafe { kernels.launch(n, grid, arguments) };
        // SAFETY: as above.
        let host = unsafe { nc_gpu::Host::new(run) };
        let launcher = nc_gpu::Launcher::new(plan, Box::new(host)).expect("a plan");
        let chunk = if seed % 2 == 0 { u64::MAX } else { 2 };
        let got = run_code(&case.program, (&layout, 0), &launcher, case.ticks, &case.host, chunk);
        assert!(nc_ir::kernel::abi::Code::take_failure(&launcher).is_none());
        if let Some(d) = want.difference(&got) {
            panic!("seed {seed}: {d}");
        }
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
