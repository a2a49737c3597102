//! Runs compiled programs on memory of their own.

#![allow(dead_code)]

use nc_ir::kernel::Program;
use nc_ir::kernel::abi::{ALIGN, Code, Layout, RunContext};
use nc_ir::kernel::testing::{Case, Snapshot};
use nc_mlir::{Options, compile};
use std::ffi::c_void;
use std::sync::Barrier;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; ALIGN as usize]);

/// Bytes aligned as compiled code wants them.
pub struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    pub fn zeroed(len: usize) -> Aligned {
        Aligned { lines: vec![Line([0; ALIGN as usize]); len.div_ceil(ALIGN as usize).max(1)], len }
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the lines are `len` bytes or more, all initialised.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

unsafe extern "C" fn wait(barrier: *mut c_void) {
    // SAFETY: `run_parts` passes a barrier that outlives the threads.
    let barrier = unsafe { &*barrier.cast::<Barrier>() };
    barrier.wait();
}

/// Calls the entry point for every part at the same time.
pub fn run_parts(code: &dyn Code, context: &mut RunContext, parts: u32) {
    struct Shared(*const RunContext);
    // SAFETY: parts only read the context.
    unsafe impl Sync for Shared {}
    let barrier = Barrier::new(parts as usize);
    if parts > 0 {
        context.barrier = Some(wait);
        context.barrier_arg = std::ptr::from_ref(&barrier).cast_mut().cast();
    }
    let entry = code.entry();
    let shared = Shared(context);
    let shared = &shared;
    std::thread::scope(|s| {
        for part in 1..parts {
            s.spawn(move || {
                // SAFETY: all parts run at the same time with the same valid context.
                unsafe { entry(shared.0, u64::from(part)) }
            });
        }
        // SAFETY: as above.
        unsafe { entry(shared.0, 0) }
    });
}

/// A context without host arrays and barrier.
pub fn context(code: &dyn Code, arena: &mut Aligned, consts: &Aligned, first_tick: u64, ticks: u64) -> RunContext {
    RunContext {
        arena: arena.bytes_mut().as_mut_ptr(),
        consts: consts.bytes().as_ptr(),
        host: std::ptr::null(),
        first_tick,
        ticks,
        barrier: None,
        barrier_arg: std::ptr::null_mut(),
        data: code.data(),
    }
}

/// All ways to generate code.
pub const WAYS: [Options; 2] = [Options { small: false }, Options { small: true }];

/// Compiles and runs a case, its ticks cut into calls of `chunk` ticks.
pub fn run_case(case: &Case, chunk: u64, way: Options) -> Snapshot {
    let layout = Layout::of(&case.program).expect("a small program");
    let code = compile(&case.program, &layout, &way).expect("a supported program");
    run_code(&case.program, &layout, &code, case.ticks, &case.host, chunk)
}

/// Runs compiled code.
pub fn run_code(
    program: &Program,
    layout: &Layout,
    code: &dyn Code,
    ticks: u64,
    host: &[Vec<u8>],
    chunk: u64,
) -> Snapshot {
    let mut arena = Aligned::zeroed(layout.arena_bytes as usize);
    // Temporaries are unspecified at first.
    arena.bytes_mut().fill(0xa5);
    layout.reset(program, arena.bytes_mut());
    let mut consts = Aligned::zeroed(layout.const_bytes as usize);
    consts.bytes_mut().copy_from_slice(&layout.const_pool(program));
    // Vector code may read a little beyond the last frame.
    let mut arrays: Vec<Vec<u8>> = host.iter().map(|h| [h.as_slice(), &[0; 64]].concat()).collect();
    let mut tick = 0;
    while tick < ticks {
        let n = chunk.min(ticks - tick);
        let pointers: Vec<*mut u8> = arrays
            .iter_mut()
            .zip(&layout.host)
            .map(|(a, b)| {
                let b = &program.buffers[b.index()];
                let frames = match b.role {
                    nc_ir::kernel::Role::Probe { every } => tick.div_ceil(every),
                    _ => tick,
                };
                // SAFETY: the frames before this call lie inside the array.
                unsafe { a.as_mut_ptr().add((frames * b.len) as usize * b.elem.size()) }
            })
            .collect();
        let mut ctx = context(code, &mut arena, &consts, tick, n);
        ctx.host = pointers.as_ptr();
        run_parts(code, &mut ctx, program.parts);
        tick += n;
    }
    for (a, h) in arrays.iter_mut().zip(host) {
        assert!(a[h.len()..].iter().all(|b| *b == 0), "written beyond the end of a host array");
        a.truncate(h.len());
    }
    Snapshot::of(program, layout, arena.bytes(), &arrays)
}

/// How a program is run by teams of blocks of threads.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    pub threads: u32,
    pub samples: u64,
    pub teams: u32,
    /// Ticks of a launch.
    pub chunk: u64,
}

/// Runs a case as a graphics processor would, the threads one after another on this one: what each sample comes to, all of
/// which are given the same.
pub fn run_blocks(case: &Case, way: Blocks) -> Vec<Snapshot> {
    let program = &case.program;
    let layout = Layout::of(program).expect("a small program");
    let kernels = nc_mlir::gpu::Kernels::compile(program, &layout, way.threads).expect("a supported program");
    let samples = way.samples as usize;
    let stride = layout.arena_bytes.next_multiple_of(ALIGN) as usize;
    let mut arena = Aligned::zeroed(stride * samples);
    // Temporaries are unspecified at first.
    arena.bytes_mut().fill(0xa5);
    for own in arena.bytes_mut().chunks_exact_mut(stride.max(1)) {
        layout.reset(program, &mut own[..layout.arena_bytes as usize]);
    }
    let mut consts = Aligned::zeroed(layout.const_bytes as usize);
    consts.bytes_mut().copy_from_slice(&layout.const_pool(program));
    let frame = |n: usize| {
        let b = &program.buffers[layout.host[n].index()];
        b.len as usize * b.elem.size()
    };
    // Frames of all samples side by side.
    let mut arrays: Vec<Vec<u8>> = Vec::new();
    for (n, h) in case.host.iter().enumerate() {
        let frames = h.chunks_exact(frame(n).max(1));
        arrays.push(frames.flat_map(|f| f.repeat(samples)).collect());
    }
    let table: Vec<u64> = arrays.iter_mut().map(|a| a.as_mut_ptr() as u64).collect();
    let barriers = vec![0u128; 8 * way.teams as usize];
    let mut tick = 0;
    while tick < case.ticks {
        let ticks = way.chunk.min(case.ticks - tick);
        let (memory, pool) = (arena.bytes_mut().as_mut_ptr() as u64, consts.bytes().as_ptr() as u64);
        let words =
            [memory, pool, table.as_ptr() as u64, barriers.as_ptr() as u64, tick, ticks, way.samples, stride as u64];
        // SAFETY: these are the arguments of a launch of this program, and all of it is allocated.
        unsafe { kernels.launch((way.teams * program.parts.max(1), way.threads), &words) }.expect("a launch");
        tick += ticks;
    }
    let own = |s: usize| {
        let bytes = &arena.bytes()[s * stride..][..layout.arena_bytes as usize];
        let arrays: Vec<Vec<u8>> = (arrays.iter().enumerate())
            .map(|(n, a)| a.chunks_exact(frame(n).max(1)).skip(s).step_by(samples).flatten().copied().collect())
            .collect();
        Snapshot::of(program, &layout, bytes, &arrays)
    };
    (0..samples).map(own).collect()
}

/// How many random cases to run; `NC_PROPTEST_CASES` raises it.
pub fn cases(default: u64) -> u64 {
    std::env::var("NC_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Runs a program compiled in every way and interpreted, and compares.
pub fn check(program: &Program, ticks: u64, host: Vec<Vec<u8>>) -> Snapshot {
    let case = Case { program: program.clone(), ticks, host };
    let options = nc_ir::kernel::interp::Options { check: true, ..Default::default() };
    let want = case.run(options).expect("a program that runs");
    for way in WAYS {
        let got = run_case(&case, u64::MAX, way);
        if let Some(d) = want.difference(&got) {
            panic!("{}, {way:?}: {d}", program.name);
        }
    }
    want
}
