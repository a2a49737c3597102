//! Random programs compute on a Vulkan device what the interpreter computes.
//!
//! Any device will do, Mesa's software device as well: `NC_GPU_DEVICE` names it, llvmpipe by default. Without it the tests are
//! skipped by name.

#![cfg(feature = "llvm")]

mod common;

use common::cases;
use nc_gpu::{Course, Launcher, Plan, VULKAN, Vulkan};
use nc_ir::Diagnostic;
use nc_ir::kernel::Role;
use nc_ir::kernel::abi::{ALIGN, Array, Batch, Layout, Remote};
use nc_ir::kernel::interp::Options;
use nc_ir::kernel::testing::{Case, Snapshot};
use nc_mlir::gpu::{Arch, Arithmetic, code, course, launch, phase, shared_bytes};

/// The device, if it is here.
fn device() -> Option<Vulkan> {
    let wanted = std::env::var("NC_GPU_DEVICE").unwrap_or_else(|_| "llvmpipe".to_owned());
    Vulkan::open(Some(&wanted)).map_err(|e| eprintln!("skipped: nothing runs through Vulkan: {}", e.message)).ok()
}

/// Runs a case for so many samples, `chunk` ticks in a launch: what each comes to, all of which are given the same.
fn run(device: Vulkan, case: &Case, samples: u64, chunk: u64) -> Vec<Snapshot> {
    tried(device, case, samples, chunk).expect("a run")
}

/// The same, or why it failed.
fn tried(mut device: Vulkan, case: &Case, samples: u64, chunk: u64) -> Result<Vec<Snapshot>, Diagnostic> {
    let program = &case.program;
    let layout = Layout::of(program).expect("a small program");
    let entry = launch("m");
    let mut plan = Plan::of(program, &layout, &entry.symbol, entry.threads);
    plan.course = course(program).map(|c| Course::of(&c, |n| phase("m", n)));
    let words = code(program, &layout, "m", Arch::Vulkan(Arithmetic::Portable)).expect("supported");
    device.take(&plan, VULKAN[0], &words).expect("code");
    let launcher = Launcher::new(plan, Box::new(device)).expect("a plan");
    let stride = layout.arena_bytes.next_multiple_of(ALIGN);
    // Temporaries are unspecified at first.
    let mut arenas = vec![0xa5; (stride * samples) as usize];
    for own in arenas.chunks_exact_mut(stride.max(1) as usize) {
        layout.reset(program, &mut own[..layout.arena_bytes as usize]);
    }
    let consts = layout.const_pool(program);
    let buffer = |n: usize| &program.buffers[layout.host[n].index()];
    let frame = |n: usize| (buffer(n).len as usize * buffer(n).elem.size()).max(1);
    let mut arrays: Vec<Vec<u8>> = Vec::new();
    for (n, h) in case.host.iter().enumerate() {
        arrays.push(h.chunks_exact(frame(n)).flat_map(|f| f.repeat(samples as usize)).collect());
    }
    let mut tick = 0;
    while tick < case.ticks {
        let ticks = chunk.min(case.ticks - tick);
        let mut host = Vec::new();
        for (n, a) in arrays.iter_mut().enumerate() {
            let every = if let Role::Probe { every } = buffer(n).role { every } else { 1 };
            let (from, to) = (tick.div_ceil(every), (tick + ticks).div_ceil(every));
            let row = frame(n) * samples as usize;
            let now = &mut a[from as usize * row..to as usize * row];
            host.push(if buffer(n).role == Role::Input { Array::Read(now) } else { Array::Written(now) });
        }
        let changed = tick == 0;
        let (arenas, consts, host) = (&arenas[..], &consts[..], &mut host[..]);
        let batch = Batch { owner: 1, changed, arenas, stride, samples, consts, host, first_tick: tick, ticks };
        launcher.run(batch)?;
        tick += ticks;
    }
    launcher.fetch(1, &mut arenas).expect("the state");
    let own = |s: usize| {
        let bytes = &arenas[s * stride as usize..][..layout.arena_bytes as usize];
        let arrays: Vec<Vec<u8>> = (arrays.iter().enumerate())
            .map(|(n, a)| a.chunks_exact(frame(n)).skip(s).step_by(samples as usize).flatten().copied().collect())
            .collect();
        Snapshot::of(program, &layout, bytes, &arrays)
    };
    Ok((0..samples as usize).map(own).collect())
}

#[test]
fn random_programs() {
    let Some(first) = device() else { return };
    for seed in 0..cases(40) {
        let mut case = Case::from_seed(seed).with_parts([1, 3, 1, 2, 7][seed as usize % 5]);
        if course(&case.program).is_none() {
            case = case.with_parts(1);
        }
        let want = case.run(Options::default()).expect("a generated program runs");
        let (samples, chunk) = (1 + seed % 3, [u64::MAX, 2][seed as usize % 2]);
        let device = first.again().expect("the device once more");
        for (sample, got) in run(device, &case, samples, chunk).iter().enumerate() {
            if let Some(d) = want.difference(got) {
                panic!(
                    "seed {seed}, {} parts, {samples} samples, launches of {chunk} ticks, sample {sample}: {d}",
                    case.program.parts
                );
            }
        }
    }
}

#[test]
fn what_threads_share_fits_devices() {
    assert!(shared_bytes(1024) <= nc_gpu::vulkan::SHARED_BYTES.into());
}

/// Some devices end loops early. What they computed is then no result, and is not taken for one.
#[test]
fn a_loop_is_run_to_its_end_or_the_run_fails() {
    let Some(first) = device() else { return };
    let text = "program \"long\" parts 1\n\nbuffer b0 \"n\" i64[8] state i64[1] { 0 }\n\n\
                kernel \"count\" parallel 8 align 1 {\n\
                for.vector v4 in v2..v3 {\nv5 = const.i64 0\nv6 = const.i64 TRIPS\nv7 = const.i64 1\n\
                for v8 in v5..v6 {\nv9 = load b0[v4]\nv10 = iadd v9, v7\nstore b0[v4], v10\n}\n}\n}\n";
    for trips in [1_000, 60_000, 200_000] {
        let program = nc_ir::kernel::text::parse(&text.replace("TRIPS", &trips.to_string())).expect("a program");
        let case = Case { program, ticks: 3, host: Vec::new() };
        let want = case.run(Options::default()).expect("a program that runs");
        match tried(first.again().expect("the device once more"), &case, 1, u64::MAX) {
            Ok(got) => assert_eq!(want.difference(&got[0]), None, "{trips} iterations"),
            Err(e) => {
                assert!(e.code == "E0871" && e.message.contains("a loop ended before its end"), "{e:?}");
                assert!(trips > 60_000, "{trips} iterations are few: {e:?}");
            }
        }
    }
}
