//! Bundles: what is written reads back, and what is broken is refused before anything runs.

use nc_gpu::bundle::{ARENA, Bundle, CONSTS, MANIFEST};
use nc_gpu::{Binary, Course, Plan, ProofCode, Turn, VULKAN};
use nc_ir::Diagnostic;
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::testing::Case;
use nc_ir::kernel::{Program, Role};
use std::collections::BTreeMap;

fn bundle(seed: u64) -> (Program, Layout, Bundle) {
    let parts = 1 + 2 * (seed % 2) as u32;
    let program = Case::from_seed(seed).with_parts(parts).program;
    let layout = Layout::of(&program).expect("small");
    let mut plan = Plan::of(&program, &layout, "nc_run", 256);
    let binary = |arch: &str, file: &str| Binary { arch: arch.to_owned(), file: file.to_owned() };
    plan.binaries.push(binary("sm_80", "kernels.sm_80.ptx"));
    let (mut code, mut proofs) = (vec![b"ptx".to_vec()], Vec::new());
    if parts == 1 {
        let mut binaries = Vec::new();
        for (n, arch) in VULKAN.into_iter().enumerate() {
            plan.binaries.push(binary(arch, &format!("kernels.{arch}.spv")));
            code.push([SPIRV, &[n as u8, 0, 0xff, 0xfe]].concat());
            binaries.push(binary(arch, &format!("proof.{arch}.spv")));
            proofs.push([SPIRV, &[n as u8, 1, 0xff, 0xfe]].concat());
        }
        plan.proof = Some(ProofCode { program: "some".to_owned(), binaries });
    }
    let mut arena = vec![0; layout.arena_bytes as usize];
    layout.reset(&program, &mut arena);
    let consts = layout.const_pool(&program);
    (program, layout, Bundle { plan, arena, consts, code, proofs })
}

/// Loops so deep around the first phase.
fn nested(depth: u32) -> Vec<Turn> {
    (0..depth).fold(vec![Turn::Phase(0)], |body, _| vec![Turn::Loop { trips: 2, body }])
}

/// What code for Vulkan begins with, the least byte first.
const SPIRV: &[u8] = b"\x03\x02\x23\x07";

type Files = BTreeMap<String, Vec<u8>>;

fn read(files: &Files) -> Result<Bundle, Diagnostic> {
    Bundle::read(|name, most| {
        let all = files.get(name).ok_or_else(|| Diagnostic::error_nowhere("E0872", format!("no {name}")))?;
        Ok(all[..all.len().min(most as usize)].to_vec())
    })
}

#[test]
fn what_is_written_reads_back() {
    for seed in 0..30 {
        let (program, layout, b) = bundle(seed);
        let files: BTreeMap<_, _> = b.files().expect("files").into_iter().collect();
        let again = read(&files).expect("what was written");
        assert_eq!(again, b);
        let (p, l) = again.plan.memory(&again.arena, &again.consts).expect("a plan");
        assert_eq!(l, layout);
        assert_eq!((p.parts, &p.lists), (program.parts, &program.lists));
        for (a, b) in p.buffers.iter().zip(&program.buffers) {
            assert_eq!((&a.name, a.elem, a.len), (&b.name, b.elem, b.len));
            let same = match (&a.role, &b.role) {
                // One element for all may have become all of them.
                (Role::Const(_), Role::Const(_)) | (Role::State(_), Role::State(_)) => true,
                (a, b) => a == b,
            };
            assert!(same, "{:?} {:?}", a.role, b.role);
        }
        let mut arena = vec![0; l.arena_bytes as usize];
        l.reset(&p, &mut arena);
        assert_eq!((arena, l.const_pool(&p)), (b.arena, b.consts));
    }
}

#[test]
fn broken_bundles_are_refused() {
    let (_, _, b) = bundle(1);
    let whole: BTreeMap<_, _> = b.files().expect("files").into_iter().collect();
    let broken = |change: &dyn Fn(&mut Files)| {
        let mut files = whole.clone();
        change(&mut files);
        let e = read(&files).expect_err("a broken bundle");
        assert_eq!(e.code, "E0872");
        e.message
    };
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut plan = b.plan.clone();
        change(&mut plan);
        let text = serde_json::to_vec(&plan).expect("a plan");
        broken(&|f| drop(f.insert(MANIFEST.to_owned(), text.clone())))
    };
    for name in [MANIFEST, ARENA, CONSTS, "kernels.sm_80.ptx"] {
        broken(&|f| drop(f.remove(name)));
    }
    broken(&|f| f.get_mut(MANIFEST).expect("there").truncate(100));
    broken(&|f| f.get_mut(ARENA).expect("there").truncate(3));
    broken(&|f| drop(f.insert("kernels.sm_80.ptx".to_owned(), vec![0xff])));
    assert!(with(&|p| p.version = 99).contains("version 99"));
    assert!(with(&|p| p.binaries[0].file = "../x".to_owned()).contains("no name of a file"));
    assert!(with(&|p| p.buffers[0].elem = "f7".to_owned()).contains("no element type"));
    assert!(with(&|p| p.buffers[0].at = u64::MAX).contains("no room"));
    assert!(with(&|p| p.buffers[0].len = u64::MAX).contains("no room"));
    assert!(with(&|p| p.parts = 0).contains("0 parts"));
    assert!(with(&|p| p.threads = 4096).contains("cannot be launched"));
    assert!(with(&|p| p.threads = 0).contains("cannot be launched"));
    assert!(with(&|p| p.symbol.clear()).contains("cannot be launched"));
    let (_, _, b) = bundle(2);
    let whole: BTreeMap<_, _> = b.files().expect("files").into_iter().collect();
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut plan = b.plan.clone();
        change(&mut plan);
        let mut files = whole.clone();
        files.insert(MANIFEST.to_owned(), serde_json::to_vec(&plan).expect("a plan"));
        read(&files).expect_err("a broken bundle").message
    };
    let proof = |p: &mut Plan| p.proof.take().expect("a proof");
    assert!(with(&|p| p.binaries[0].file = "kernels.vulkan.spv".to_owned()).contains("there twice"));
    assert!(with(&|p| p.parts = 2).contains("without a course"));
    for order in [vec![Turn::Phase(1)], vec![Turn::Loop { trips: 1, body: vec![Turn::Phase(7)] }], nested(9)] {
        let course = Course { entries: vec!["nc_phase0".to_owned()], order };
        assert!(with(&|p| p.course = Some(course.clone())).contains("course is none"));
    }
    assert!(with(&|p| drop(proof(p))).contains("proof"));
    assert!(with(&|p| drop(p.binaries.pop())).contains("vulkan-fused"));
    assert!(with(&|p| p.binaries[2].arch = "vulkan".to_owned()).contains("once each"));
    assert!(with(&|p| p.proof.as_mut().expect("a proof").binaries[0].file = "..".to_owned()).contains("no name"));
    for (name, code) in [("kernels.vulkan.spv", &b"ptx"[..]), ("proof.vulkan-fused.spv", &SPIRV[..3])] {
        let mut files = whole.clone();
        files.insert(name.to_owned(), code.to_vec());
        let e = read(&files).expect_err("no code");
        assert!(e.code == "E0872" && e.message.contains("is no code for vulkan"), "{e:?}");
    }
    // Nesting without end is cut off by the reader.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    broken(&|f| drop(f.insert(MANIFEST.to_owned(), deep.clone().into_bytes())));
}
