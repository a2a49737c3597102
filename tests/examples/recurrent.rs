//! Times an LSTM as a scan against its products alone: `cargo run --release -p nc-tests --example recurrent`.
//!
//! Both run on one thread, over 100 rows of 128 inputs with 512 hidden units. Times are those that the processor spent on
//! this thread, the least of several runs.

use nc_ir::graph::{Graph, GraphBuilder, Module, OpError, Port, ValueId};
use nc_ir::kernel::abi::{ALIGN, Code, Layout, RunContext};
use nc_ir::{DType, Tensor, TensorType};
use std::time::Instant;

const ROWS: u64 = 100;
const INPUTS: u64 = 128;
const HIDDEN: u64 = 512;

fn float(shape: &[u64]) -> TensorType {
    TensorType::new(DType::F32, shape.iter().copied())
}

fn noise(m: &mut Module, shape: &[u64]) -> ValueId {
    let shape: Vec<usize> = shape.iter().map(|n| *n as usize).collect();
    let n: usize = shape.iter().product();
    let data: Vec<f32> =
        (0..n).map(|k| ((k.wrapping_mul(2_654_435_761) >> 7) % 2001) as f32 / 20_000.0 - 0.05).collect();
    let id = m.add_const("", Tensor::from_vec(shape, data).expect("as many as the shape says"));
    m.builder().constant(id).expect("a constant")
}

/// A scan over the rows of an input; the body maps (h, c, row, w, u, bias) to (h, c, output).
fn model(body: impl FnOnce(&mut GraphBuilder<'_>, &[ValueId]) -> Result<Vec<ValueId>, OpError>) -> Module {
    let mut m = Module { name: "recurrent".into(), ..Module::default() };
    let x = m.graph.add_param(float(&[ROWS, INPUTS]), "x");
    m.inputs.push(Port { name: "x".into(), value: x });
    let zero = noise(&mut m, &[HIDDEN]);
    let (w, u) = (noise(&mut m, &[4 * HIDDEN, INPUTS]), noise(&mut m, &[4 * HIDDEN, HIDDEN]));
    let bias = noise(&mut m, &[4 * HIDDEN]);
    let mut g = Graph::default();
    let shapes: [&[u64]; 6] =
        [&[HIDDEN], &[HIDDEN], &[INPUTS], &[4 * HIDDEN, INPUTS], &[4 * HIDDEN, HIDDEN], &[4 * HIDDEN]];
    let params: Vec<ValueId> = shapes.iter().map(|s| g.add_param(float(s), "")).collect();
    let results = body(&mut GraphBuilder::new(&mut g, m.pools()), &params).expect("a body");
    g.results = results;
    let out = m.builder().scan(&[zero, zero], &[x], &[w, u, bias], 2, 1, false, g).expect("a scan");
    m.outputs.push(Port { name: "h".into(), value: out[0] });
    m.outputs.push(Port { name: "all".into(), value: out[2] });
    m
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; ALIGN as usize]);

fn lines(bytes: u64) -> Vec<Line> {
    vec![Line([0; ALIGN as usize]); bytes.div_ceil(ALIGN) as usize + 1]
}

/// Seconds that the processor spent on this thread, where the system tells; wall clock otherwise.
fn clock() -> f64 {
    thread_local!(static START: Instant = Instant::now());
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat");
    let spent = spent.ok().and_then(|s| s.split(' ').next().and_then(|n| n.parse::<u64>().ok()));
    spent.map_or_else(|| START.with(|s| s.elapsed().as_secs_f64()), |ns| ns as f64 * 1e-9)
}

/// Seconds for one tick, which goes over all rows.
fn seconds(m: Module) -> f64 {
    let compiled = nc_compiler::compile(m, &nc_compiler::Options::default()).expect("compiled");
    let layout: &Layout = &compiled.layout;
    let code = nc_cranelift::compile(&compiled.program, layout, &nc_cranelift::Options::default()).expect("supported");
    let (mut arena, mut consts) = (lines(layout.arena_bytes), lines(layout.const_bytes));
    // SAFETY: both are as long as the layout says, in whole lines of bytes.
    let bytes =
        |l: &mut Vec<Line>, n: u64| unsafe { std::slice::from_raw_parts_mut(l.as_mut_ptr().cast::<u8>(), n as usize) };
    layout.reset(&compiled.program, bytes(&mut arena, layout.arena_bytes));
    layout.fill_consts(&compiled.program, bytes(&mut consts, layout.const_bytes));
    let size = |b: &nc_ir::kernel::BufId| {
        let b = &compiled.program.buffers[b.index()];
        b.len * b.elem.size() as u64
    };
    let mut hosts: Vec<Vec<Line>> = layout.host.iter().map(|b| lines(size(b) + ALIGN)).collect();
    let pointers: Vec<*mut u8> = hosts.iter_mut().map(|h| h.as_mut_ptr().cast()).collect();
    let mut best = f64::INFINITY;
    for _ in 0..40 {
        let context = RunContext {
            arena: arena.as_mut_ptr().cast(),
            consts: consts.as_ptr().cast(),
            host: pointers.as_ptr(),
            first_tick: 0,
            ticks: 1,
            barrier: None,
            barrier_arg: std::ptr::null_mut(),
            data: std::ptr::null(),
        };
        let start = clock();
        // SAFETY: the context is complete and the program has one part.
        unsafe { (code.entry())(&context, 0) };
        best = best.min(clock() - start);
    }
    best
}

fn main() {
    let lstm = seconds(model(|b, p| {
        let x = b.linear(p[2], p[3], Some(p[5]))?;
        let h = b.linear(p[0], p[4], None)?;
        let gates = b.add(x, h)?;
        let gate = |b: &mut GraphBuilder<'_>, k: u64| b.slice(gates, vec![k * HIDDEN], vec![(k + 1) * HIDDEN], vec![1]);
        let (i, f, g, o) = (gate(b, 0)?, gate(b, 1)?, gate(b, 2)?, gate(b, 3)?);
        let (i, f, g, o) = (b.sigmoid(i)?, b.sigmoid(f)?, b.tanh(g)?, b.sigmoid(o)?);
        let (old, new) = (b.mul(f, p[1])?, b.mul(i, g)?);
        let c = b.add(old, new)?;
        let t = b.tanh(c)?;
        let h = b.mul(o, t)?;
        Ok(vec![h, c, h])
    }));
    // The same products with nothing around: the next input of each is a part of its result.
    let products = seconds(model(|b, p| {
        let x = b.linear(p[2], p[3], Some(p[5]))?;
        let h = b.linear(p[0], p[4], None)?;
        let h = b.slice(h, vec![0], vec![HIDDEN], vec![1])?;
        let x = b.slice(x, vec![0], vec![HIDDEN], vec![1])?;
        Ok(vec![h, x, h])
    }));
    let flops = 2.0 * (ROWS * 4 * HIDDEN * (INPUTS + HIDDEN)) as f64;
    for (name, t) in [("LSTM", lstm), ("its products alone", products)] {
        println!("{name:20} {:8.3} ms for {ROWS} rows, {:6.2} GFLOP/s", 1e3 * t, flops / t * 1e-9);
    }
    println!("LSTM / products {:.3}", lstm / products);
}
