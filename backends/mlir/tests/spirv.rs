//! Kernels for Vulkan: the words are a module that SPIR-V's own checker takes.
//!
//! `spirv-val` is looked for in `NC_SPIRV_VAL` and on the path; without it checking is skipped by name. What the kernels
//! compute is tested where there is a device, in `nc`'s tests of graphics processors.

#![cfg(feature = "llvm")]

use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::testing::Case;
use nc_ir::kernel::{Emit, Index, Kernel, KernelBuilder, Parallel, Program, Role, ScalarOp};
use nc_ir::{DType, Tensor};
use nc_mlir::gpu::{Arch, Arithmetic, code, course};
use std::path::PathBuf;
use std::process::Command;

/// A step with all that is written out.
fn written_out(elem: DType) -> Program {
    let mut p = Program::new("all", 1);
    let v = p.add_buffer("v", elem, 1000, Role::State(Tensor::zeros(elem, vec![1])));
    let input = p.add_buffer("i", elem, 1000, Role::Input);
    let mut k = KernelBuilder::new("all", Some(Parallel { len: 1000, align: 1 }), 1);
    k.for_loop(Kernel::LO, Kernel::HI, true, |k, i| {
        let (x, y) = (k.load(v, elem, Index::var(i)), k.load(input, elem, Index::var(i)));
        let r = k.op(ScalarOp::Fma, &[x, y, x]);
        let r = k.op(ScalarOp::FDiv, &[r, y]);
        let r = k.op(ScalarOp::FSqrt, &[r]);
        k.store(v, Index::var(i), r);
    });
    p.push(k.finish());
    p
}

/// The checker of SPIR-V, if it is here.
fn checker() -> Option<PathBuf> {
    let named = std::env::var_os("NC_SPIRV_VAL").map_or_else(|| PathBuf::from("spirv-val"), PathBuf::from);
    match Command::new(&named).arg("--version").output() {
        Ok(_) => Some(named),
        Err(e) => {
            eprintln!("skipped: SPIR-V is not checked without spirv-val: {e}");
            None
        }
    }
}

fn checked(what: &str, words: &[u8]) {
    assert_eq!(words.get(..4), Some(&0x0723_0203u32.to_le_bytes()[..]), "{what}");
    let Some(checker) = checker() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("m.spv");
    std::fs::write(&file, words).expect("written");
    let said = Command::new(checker).args(["--target-env", "vulkan1.2"]).arg(&file).output().expect("runs");
    assert!(said.status.success(), "{what}: {}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn random_programs_are_modules() {
    for seed in 0..40 {
        let mut case = Case::from_seed(seed).with_parts(1 + seed as u32 % 3);
        if course(&case.program).is_none() {
            case = case.with_parts(1);
        }
        let layout = Layout::of(&case.program).expect("small");
        let how = if seed % 4 == 0 { Arithmetic::Fused } else { Arithmetic::Portable };
        let words = code(&case.program, &layout, "m", Arch::Vulkan(how)).expect("supported");
        checked(&format!("seed {seed}"), &words);
    }
}

#[test]
fn several_parts_where_values_decide_are_refused_with_a_hint() {
    let text = "program \"p\" parts 2\n\nbuffer b0 \"a\" bool[8] state bool[1] { true }\n\n\
                if b0[0] {\nkernel \"k\" parallel 8 align 1 {\n v5 = load b0[v2]\n}\n}\n";
    let p = nc_ir::kernel::text::parse(text).expect("a program");
    let layout = Layout::of(&p).expect("small");
    let e = code(&p, &layout, "m", Arch::Vulkan(Arithmetic::Portable)).expect_err("refused");
    assert!(e.what.contains("values decide") && e.hint.contains("--blocks 1"), "{e:?}");
}

#[test]
fn what_nests_too_deep_is_refused_by_name() {
    let of = |depth: usize| {
        let open: String = (0..depth).map(|n| format!("for v{} in v4..v5 {{\n", n + 7)).collect();
        let text = format!(
            "program \"p\" parts 1\n\nbuffer b0 \"a\" f32[8] temp\n\nkernel \"k\" serial {{\nv4 = const.i64 0\n\
             v5 = const.i64 1\nv6 = const.f32 1.0\n{open}store b0[v4], v6\n{}}}\n",
            "}\n".repeat(depth)
        );
        let p = nc_ir::kernel::text::parse(&text).expect("a program");
        let layout = Layout::of(&p).expect("small");
        code(&p, &layout, "m", Arch::Vulkan(Arithmetic::Portable))
    };
    checked("twenty deep", &of(20).expect("supported"));
    let e = of(61).expect_err("refused");
    assert!(e.what.contains("more than 60 deep") && e.hint.contains("--target cpu"), "{e:?}");
}

#[test]
fn the_checker_takes_what_is_written() {
    for elem in [DType::F32, DType::F64] {
        let p = written_out(elem);
        let layout = Layout::of(&p).expect("small");
        for how in [Arithmetic::Portable, Arithmetic::Fused] {
            let words = code(&p, &layout, "m", Arch::Vulkan(how)).expect("supported");
            checked(&format!("{elem}, {how:?}"), &words);
        }
    }
}
