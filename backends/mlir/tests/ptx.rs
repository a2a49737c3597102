//! Kernels for graphics processors: the PTX says what the program says, and assembles without spills.
//!
//! `ptxas` is looked for in `NC_PTXAS`; without it assembling is skipped by name. There is no graphics processor here:
//! what the threads of a launch do together is tested on this processor, in `generated.rs`.

#![cfg(feature = "llvm")]

use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::testing::Case;
use nc_ir::kernel::{Emit, Index, Kernel, KernelBuilder, Parallel, Program, Role, ScalarOp};
use nc_ir::{DType, Tensor};
use nc_mlir::gpu::{Arch, Stage, text};
use std::process::Command;

const ARCHES: [Arch; 2] = [Arch::Sm80, Arch::Sm90];

/// A step of leaky neurons, with the multiply-add fused or apart.
fn leaky(fused: bool) -> Program {
    let mut p = Program::new("leaky", 1);
    let n = 1000;
    let state = |p: &mut Program, name: &str| {
        p.add_buffer(name, DType::F32, n, Role::State(Tensor::zeros(DType::F32, vec![1])))
    };
    let v = state(&mut p, "v");
    let input = p.add_buffer("i", DType::F32, n, Role::Input);
    let mut k = KernelBuilder::new("leak", Some(Parallel { len: n, align: 1 }), 1);
    k.for_loop(Kernel::LO, Kernel::HI, true, |k, i| {
        let (x, y) = (k.load(v, DType::F32, Index::var(i)), k.load(input, DType::F32, Index::var(i)));
        let r = if fused {
            k.op(ScalarOp::Fma, &[x, y, x])
        } else {
            let m = k.op(ScalarOp::FMul, &[x, y]);
            k.op(ScalarOp::FAdd, &[m, x])
        };
        let r = k.op(ScalarOp::FDiv, &[r, y]);
        let r = k.op(ScalarOp::FSqrt, &[r]);
        k.store(v, Index::var(i), r);
    });
    p.push(k.finish());
    p
}

fn ptx(p: &Program, arch: Arch) -> String {
    let layout = Layout::of(p).expect("small");
    text(p, &layout, "m", arch, Stage::Ptx).expect("supported")
}

#[test]
fn multiply_add_is_fused_where_the_program_says_so() {
    for arch in ARCHES {
        let (fused, apart) = (ptx(&leaky(true), arch), ptx(&leaky(false), arch));
        assert!(fused.contains(&format!(".target {}", arch.name())), "{fused}");
        assert!(fused.contains(".entry m_run") && fused.contains(".func m_k0_leak"), "{fused}");
        assert!(fused.contains("fma.rn.f32"), "{fused}");
        assert!(!apart.contains("fma."), "{apart}");
        // Named roundings: an assembler must not contract these.
        assert!(apart.contains("mul.rn.f32") && apart.contains("add.rn.f32"), "{apart}");
        for t in [&fused, &apart] {
            assert!(t.contains("div.rn.f32") && t.contains("sqrt.rn.f32") && !t.contains(".ftz"), "{t}");
            // Nothing is called that is not there.
            assert!(!t.contains(".extern"), "{t}");
        }
    }
}

/// Two kernels that need nothing of each other, and one that needs both.
fn chain(parts: u32) -> Program {
    let mut p = Program::new("chain", parts);
    let n = 4096;
    let state = |p: &mut Program, name: &str| {
        p.add_buffer(name, DType::F32, n, Role::State(Tensor::zeros(DType::F32, vec![1])))
    };
    let (a, b) = (state(&mut p, "a"), state(&mut p, "b"));
    let mut add = |name: &str, from, to| {
        let mut k = KernelBuilder::new(name, Some(Parallel { len: n, align: 16 }), 1);
        k.for_loop(Kernel::LO, Kernel::HI, true, |k, i| {
            let x = k.load(from, DType::F32, Index::var(i));
            let y = k.op(ScalarOp::FAdd, &[x, x]);
            k.store(to, Index::var(i), y);
        });
        p.push(k.finish());
    };
    add("one", a, a);
    add("two", b, b);
    add("both", a, b);
    p
}

#[test]
fn blocks_meet_where_one_needs_what_others_wrote() {
    let alone = ptx(&chain(1), Arch::Sm90);
    assert!(!alone.contains("atom."), "{alone}");
    let team = ptx(&chain(8), Arch::Sm90);
    // Before the third kernel, and before the next tick's first, which overwrites what the third has read.
    assert_eq!(team.matches("atom.").count(), 2, "{team}");
    assert_eq!(team.matches("ld.acquire.gpu").count(), 2, "{team}");
    // What was written before is seen by whoever sees the arrival.
    assert_eq!(team.matches("fence.acq_rel.gpu").count(), 2, "{team}");
    // All threads of a warp have to come to the same instruction: none of the meetings may be written twice, as code for
    // the first thread and code for the others. After each kernel, two around each meeting of blocks, one at the start;
    // the two that follow each other are one.
    let entry = team.split(".entry").nth(1).expect("an entry");
    assert_eq!(entry.matches("bar.sync").count(), 3 + 2 * 2 + 1 - 1, "{team}");
}

/// An event loop over rows of weights: what the events of a tile add to a number is summed in a register.
#[test]
fn sums_over_events_are_in_registers() {
    let mut p = Program::new("sums", 1);
    let (n, m) = (64, 96);
    let list = p.add_list("fired", n, 1, 1);
    let zeros = |len: u64| Tensor::zeros(DType::F32, vec![len as usize]);
    let sum = p.add_buffer("sum", DType::F32, m, Role::State(Tensor::zeros(DType::F32, vec![1])));
    let w = p.add_buffer("w", DType::F32, n * m, Role::Const(zeros(n * m)));
    let mut k = KernelBuilder::new("rows", Some(Parallel { len: m, align: 16 }), 1);
    let slot = k.index(0);
    let body = |k: &mut KernelBuilder, events: &[nc_ir::kernel::Val]| {
        k.for_loop(Kernel::LO, Kernel::HI, true, |k, j| {
            let mut x = k.load(sum, DType::F32, Index::var(j));
            for e in events {
                let y = k.load(w, DType::F32, Index::var(j).plus(*e, m as i64));
                x = k.op(ScalarOp::FAdd, &[x, y]);
            }
            k.store(sum, Index::var(j), x);
        });
    };
    k.events(list, slot, 4, body);
    p.push(k.finish());
    let text = ptx(&p, Arch::Sm90);
    // 32 events at a time, and 16 of what is left: constants are read past any store, and sums are written once a tile.
    assert_eq!(text.matches("ld.global.nc.b32").count(), 32 + 16, "{text}");
    assert_eq!(text.matches("st.global.b32").count(), 1, "{text}");
}

/// The upper half of a product whose one factor is known to be small, as divisions by constants have it.
#[test]
fn upper_halves_of_products_are_one_instruction() {
    let mut p = Program::new("high", 1);
    let n = 2883;
    let out = p.add_buffer("out", DType::I64, n, Role::Output);
    let mut k = KernelBuilder::new("high", Some(Parallel { len: n, align: 1 }), 1);
    k.for_loop(Kernel::LO, Kernel::HI, true, |k, i| {
        let row = k.index(961);
        let part = k.op(ScalarOp::IDiv, &[i, row]);
        let part = k.op(ScalarOp::IMul, &[part, row]);
        let rest = k.op(ScalarOp::ISub, &[i, part]);
        let by = k.index(595056260442243601);
        let high = k.op(ScalarOp::UMulHi, &[rest, by]);
        k.store(out, Index::var(i), high);
    });
    p.push(k.finish());
    for arch in ARCHES {
        assert!(ptx(&p, arch).contains("mul.hi.u64"));
    }
}

/// What `ptxas` says about each entry: its registers, and bytes that it and its functions spill.
fn assembled(ptxas: &str, ptx: &str, arch: Arch) -> Vec<(String, u32, u32)> {
    let folder = std::env::temp_dir().join(format!("nc-ptx-{}-{}", std::process::id(), arch.name()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (from, to) = (folder.join("m.ptx"), folder.join("m.cubin"));
    std::fs::write(&from, ptx).expect("a file");
    let arch = format!("-arch={}", arch.name());
    let out = Command::new(ptxas).args([&arch, "-v"]).arg(&from).arg("-o").arg(&to).output().expect("ptxas runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    let number = |line: &str, before: &str| -> u32 {
        let words: Vec<&str> = line.split(before).next().unwrap_or_default().split_whitespace().collect();
        words.last().and_then(|w| w.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    let (mut all, mut name, mut spilled) = (Vec::new(), String::new(), 0);
    for line in said.lines() {
        if let Some(n) = line.split("Compiling entry function '").nth(1) {
            name = n.split('\'').next().unwrap_or_default().to_owned();
        } else if line.contains("bytes spill stores") {
            spilled += number(line, " bytes spill stores") + number(line, " bytes spill loads");
        } else if line.contains(" registers") {
            all.push((name.clone(), number(line, " registers"), 0));
        }
    }
    // Functions are told of after the entry that calls them.
    all.iter_mut().for_each(|(_, _, s)| *s = spilled);
    all
}

#[test]
fn kernels_assemble_without_spills() {
    let Ok(ptxas) = std::env::var("NC_PTXAS") else {
        eprintln!("skipped: kernels_assemble_without_spills: NC_PTXAS does not name the assembler of PTX");
        return;
    };
    for arch in ARCHES {
        let mut programs = vec![leaky(true), leaky(false)];
        programs.extend((0..8).map(|seed| Case::from_seed(seed).with_parts(1 + seed as u32 % 3).program));
        for p in programs {
            let all = assembled(&ptxas, &ptx(&p, arch), arch);
            assert_eq!(all.len(), 1);
            for (name, registers, spilled) in all {
                assert!(registers <= 128 && spilled == 0, "{name}: {registers} registers, {spilled} bytes spilled");
            }
        }
    }
}
