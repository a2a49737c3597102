//! Kernels for graphics processors: the PTX says what the program says, and assembles without spills.
//!
//! `ptxas` is looked for in `NC_PTXAS`; without it assembling is skipped by name. There is no graphics processor here:
//! what the threads of a launch do together is tested on this processor, in `generated.rs`.

#![cfg(feature = "llvm")]

use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::testing::Case;
use nc_ir::kernel::{Emit, Index, Kernel, KernelBuilder, Parallel, Program, Role, ScalarOp};
use nc_ir::{DType, Tensor};
use nc_mlir::gpu::{Arch, Shape, Stage, launches, text};
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
        assert!(fused.contains(".entry m_k0_leak"), "{fused}");
        assert!(fused.contains("fma.rn.f32"), "{fused}");
        assert!(!apart.contains("fma."), "{apart}");
        // Named roundings: an assembler must not contract these.
        assert!(apart.contains("mul.rn.f32") && apart.contains("add.rn.f32"), "{apart}");
        for t in [&fused, &apart] {
            assert!(t.contains("div.rn.f32") && t.contains("sqrt.rn.f32") && !t.contains(".ftz"), "{t}");
            assert!(!t.contains("call"), "{t}");
        }
    }
}

#[test]
fn launches_have_the_shape_of_their_kernels() {
    let all = launches(&leaky(true), "m");
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].symbol.as_str(), all[0].shape, all[0].blocks), ("m_k0_leak", Shape::Grid, 4));
    let p = events(100);
    let all = launches(&p, "m");
    assert_eq!(all.iter().map(|l| l.shape).collect::<Vec<_>>(), [Shape::Parts, Shape::Parts, Shape::Block]);
    // A thread for each of 100 parts.
    assert_eq!((all[0].blocks, all[0].threads), (4, 32));
    // With one part, the threads of a block share the work.
    let shapes: Vec<_> = launches(&events(1), "m").iter().map(|l| l.shape).collect();
    assert_eq!(shapes, [Shape::Block, Shape::Grid, Shape::Block]);
}

/// A kernel that pushes, one that reads a table by its part, a serial one.
fn events(parts: u32) -> Program {
    let mut p = Program::new("events", parts);
    let n = 500;
    let list = p.add_list("fired", n, 1, 1);
    let v = p.add_buffer("v", DType::F32, n, Role::State(Tensor::zeros(DType::F32, vec![1])));
    let w = p.add_buffer("w", DType::F32, parts.into(), Role::Const(Tensor::zeros(DType::F32, vec![parts as usize])));
    let sum = p.add_buffer("sum", DType::F32, 1, Role::State(Tensor::zeros(DType::F32, vec![1])));
    let parallel = Some(Parallel { len: n, align: 1 });
    let mut k = KernelBuilder::new("fire", parallel, 1);
    let slot = k.index(0);
    k.clear(list, slot);
    k.for_loop(Kernel::LO, Kernel::HI, true, |k, i| {
        let x = k.load(v, DType::F32, Index::var(i));
        let fires = k.op(ScalarOp::FGt, &[x, x]);
        k.push(list, slot, fires, i);
    });
    p.push(k.finish());
    let mut k = KernelBuilder::new("leak", parallel, 1);
    let by = k.load(w, DType::F32, Index::var(Kernel::PART));
    k.for_loop(Kernel::LO, Kernel::HI, true, |k, i| {
        let x = k.load(v, DType::F32, Index::var(i));
        let x = k.op(ScalarOp::FMul, &[x, by]);
        k.store(v, Index::var(i), x);
    });
    p.push(k.finish());
    let mut k = KernelBuilder::new("sum", None, 1);
    let x = k.load(v, DType::F32, Index::at(3));
    k.store(sum, Index::at(0), x);
    p.push(k.finish());
    p
}

/// What `ptxas` says about each entry: its registers, and bytes that are spilled.
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
            spilled = number(line, " bytes spill stores") + number(line, " bytes spill loads");
        } else if line.contains(" registers") {
            all.push((name.clone(), number(line, " registers"), spilled));
        }
    }
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
            assert_eq!(all.len(), p.kernels().count());
            for (name, registers, spilled) in all {
                assert!(registers <= 255 && spilled == 0, "{name}: {registers} registers, {spilled} bytes spilled");
            }
        }
    }
}
