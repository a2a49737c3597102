//! Times compiled kernels against the same loops written by hand with AVX2 intrinsics: `cargo run --release --example
//! bench`. Prints nanoseconds per item and the ratio to the hand-written loop; `bench asm NAME` prints the code.

#[cfg(not(target_arch = "x86_64"))]
mod hand {
    pub fn lif(_: usize, _: usize) -> Option<f64> {
        None
    }

    pub fn event_rows(_: usize, _: usize, _: usize) -> Option<f64> {
        None
    }

    pub fn matvec(_: usize, _: usize, _: usize) -> Option<f64> {
        None
    }

    pub fn scatter(_: usize, _: usize, _: usize) -> Option<f64> {
        None
    }
}
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(target_arch = "x86_64")]
#[path = "bench/hand.rs"]
mod hand;
#[path = "bench/programs.rs"]
mod programs;

use common::Aligned;
use nc_cranelift::{JitCode, Options, asm, clif, compile};
use nc_ir::kernel::Program;
use nc_ir::kernel::abi::{Code, Layout};
use std::time::Instant;

/// A compiled program with memory.
pub struct Bench {
    program: Program,
    layout: Layout,
    code: JitCode,
    arena: Aligned,
    consts: Aligned,
}

impl Bench {
    fn new(program: Program) -> Bench {
        nc_ir::kernel::verify::verify(&program).expect("a valid program");
        let layout = Layout::of(&program).expect("a small program");
        let code = compile(&program, &layout, &Options { verify: false, ..Options::default() }).expect("supported");
        let mut arena = Aligned::zeroed(layout.arena_bytes as usize);
        layout.reset(&program, arena.bytes_mut());
        let mut consts = Aligned::zeroed(layout.const_bytes as usize);
        consts.bytes_mut().copy_from_slice(&layout.const_pool(&program));
        Bench { program, layout, code, arena, consts }
    }

    /// Seconds per tick, the least of several calls.
    fn time(&mut self, ticks: u64) -> f64 {
        let mut hosts: Vec<Vec<u8>> = self
            .layout
            .host
            .iter()
            .map(|b| {
                let b = &self.program.buffers[b.index()];
                vec![0u8; ticks as usize * b.len as usize * b.elem.size() + 64]
            })
            .collect();
        let pointers: Vec<*mut u8> = hosts.iter_mut().map(|h| h.as_mut_ptr()).collect();
        least(|| {
            let mut ctx = common::context(&self.code, &mut self.arena, &self.consts, 0, ticks);
            ctx.host = pointers.as_ptr();
            // SAFETY: the context is complete and the program has one part.
            unsafe { (self.code.entry())(&ctx, 0) }
        }) / ticks as f64
    }
}

/// Seconds that the processor spent on this thread, where the system tells; wall clock otherwise.
fn clock() -> f64 {
    thread_local!(static START: Instant = Instant::now());
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat");
    let spent = spent.ok().and_then(|s| s.split(' ').next().and_then(|n| n.parse::<u64>().ok()));
    spent.map_or_else(|| START.with(|s| s.elapsed().as_secs_f64()), |ns| ns as f64 * 1e-9)
}

/// Seconds of one call, the least of several measurements that each last long enough for the clock.
fn least(mut f: impl FnMut()) -> f64 {
    let mut calls = 1u32;
    let mut best = f64::INFINITY;
    let mut measured = 0;
    while measured < 5 {
        let t = clock();
        for _ in 0..calls {
            f();
        }
        let t = clock() - t;
        if t < 0.06 {
            calls *= 2;
        } else {
            best = best.min(t / f64::from(calls));
            measured += 1;
        }
    }
    best
}

fn report(name: &str, items: f64, ours: f64, hand: Option<f64>) {
    let ns = 1e9 * ours / items;
    match hand {
        Some(h) => println!("{name:28} {ns:8.3} ns/item   by hand {:8.3}   ratio {:.2}", 1e9 * h / items, ours / h),
        None => println!("{name:28} {ns:8.3} ns/item"),
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, what, name] = &args[..] {
        let program = programs::by_name(name).expect("a known program");
        println!(
            "{}",
            if what == "clif" { clif(&program, &Options::default()) } else { asm(&program, &Options::default()) }
                .expect("supported")
        );
        return;
    }
    let many = programs::many();
    let layout = Layout::of(&many).expect("a small program");
    let options = Options { verify: false, ..Options::default() };
    let t = least(|| drop(compile(&many, &layout, &options)));
    println!("compiling {} kernels: {:.2} ms", many.kernels().count(), 1e3 * t);
    for n in [4096u64, 1 << 16] {
        let mut b = Bench::new(programs::lif(n));
        let ours = b.time(200);
        let hand = hand::lif(n as usize, 200);
        report(&format!("population update, {n}"), n as f64, ours, hand);
    }
    let (rows, cols) = (512u64, 512u64);
    let mut b = Bench::new(programs::event_rows(rows, cols));
    let ours = b.time(200);
    let hand = hand::event_rows(rows as usize, cols as usize, 200);
    report("event rows, 26 of 512 x 512", (rows / 20 * cols) as f64, ours, hand);
    let mut b = Bench::new(programs::matvec(rows, cols));
    let ours = b.time(200);
    let hand = hand::matvec(rows as usize, cols as usize, 200);
    report("dense product, 512 x 512", (rows * cols) as f64, ours, hand);
    let (n, fan) = (4096u64, 100u64);
    let mut b = Bench::new(programs::scatter(n, fan));
    let ours = b.time(100);
    let hand = hand::scatter(n as usize, fan as usize, 100);
    report("scatter of sparse rows", (n / 20 * fan) as f64, ours, hand);
}
