//! Objects for Arm cores compute on the simulated core what the interpreter computes, to the bit.

#![cfg(feature = "llvm")]

mod core;
#[path = "common/operations.rs"]
mod operations;

use core::Image;
use nc_armv7em::{Cpu, NoBus, Stop};
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::interp;
use nc_ir::kernel::testing::{Case, Choices};

/// Runs a case on the simulator and compares; instructions executed.
fn same(name: &str, case: &Case) -> u64 {
    let want = case.run(interp::Options::default()).expect("a program that runs");
    let layout = Layout::of(&case.program).expect("small");
    let image = Image::of(case, &layout);
    let mut cpu = Cpu::new(image.memory.len(), image.code_bytes as usize);
    assert!(cpu.load(0, &image.memory));
    cpu.regs[0] = image.context;
    cpu.regs[13] = image.stack;
    cpu.regs[14] = 1;
    cpu.set_pc(image.entry);
    let stop = cpu.run(&mut NoBus, 4_000_000_000);
    assert_eq!(stop, Stop::Breakpoint(0), "{name}: {stop}");
    assert_eq!(cpu.regs[13], image.stack, "{name}: the stack");
    let got = image.results(cpu.memory(), case, &layout);
    if let Some(d) = want.difference(&got) {
        panic!("{name}: {d}");
    }
    cpu.instructions
}

fn cases(default: u64) -> u64 {
    std::env::var("NC_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn random_programs() {
    for seed in 0..cases(40) {
        same(&format!("seed {seed}"), &Case::from_seed(seed).with_parts(1));
    }
}

#[test]
fn every_operation() {
    let mut c = Choices::from_seed(7);
    let program = operations::program(300, &mut c);
    let case = Case { program, ticks: 1, host: Vec::new() };
    assert!(same("operations", &case) > 0);
}

/// Every 16-bit pattern as a float, and stores of every rounding case around them.
#[test]
fn sixteen_bit_floats() {
    let case = Case { program: operations::halves(), ticks: 1, host: Vec::new() };
    assert!(same("16-bit floats", &case) > 0);
}
