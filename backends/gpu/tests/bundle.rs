//! Bundles: what is written reads back, and what is broken is refused before anything runs.

use nc_gpu::bundle::{ARENA, Bundle, CONSTS, MANIFEST};
use nc_gpu::{Binary, Plan};
use nc_ir::Diagnostic;
use nc_ir::kernel::abi::Layout;
use nc_ir::kernel::testing::Case;
use nc_ir::kernel::{Program, Role};
use std::collections::BTreeMap;

fn bundle(seed: u64) -> (Program, Layout, Bundle) {
    let program = Case::from_seed(seed).with_parts(3).program;
    let layout = Layout::of(&program).expect("small");
    let mut plan = Plan::of(&program, &layout, "nc_run", 256);
    plan.binaries.push(Binary { arch: "sm_80".to_owned(), file: "kernels.sm_80.ptx".to_owned() });
    let mut arena = vec![0; layout.arena_bytes as usize];
    layout.reset(&program, &mut arena);
    let consts = layout.const_pool(&program);
    (program, layout, Bundle { plan, arena, consts, code: vec!["ptx".to_owned()] })
}

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
    // Nesting without end is cut off by the reader.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    broken(&|f| drop(f.insert(MANIFEST.to_owned(), deep.clone().into_bytes())));
}
