//! Hand-built models, each of which needs one way of lowering, agree with the interpreter to the bit in 1 and 3 parts.

mod agreement;

use agreement::disagreement;
use nc_ir::graph::{
    ConnId, Connectivity, CumulateKind, DelayLine, Graph, LineId, Method, Module, Op, Port, Probe, Real, Rule,
    ScatterKind, State, SynapseDelay, SynapseWeight, ValueId,
};
use nc_ir::tensor::Tensor;
use nc_ir::types::{DType, TensorType};

fn f32s(shape: &[usize], f: impl Fn(usize) -> f32) -> Tensor {
    let n = shape.iter().product();
    Tensor::from_vec(shape.to_vec(), (0..n).map(f).collect::<Vec<f32>>()).expect("as many as the shape says")
}

fn noise(seed: usize) -> f32 {
    let x = (seed.wrapping_mul(2654435761) >> 7) % 2001;
    x as f32 / 1000.0 - 1.0
}

fn spikes(t: u64, n: u64) -> Tensor {
    Tensor::from_bools(vec![n as usize], &(0..n).map(|k| noise((t * 977 + k * 13) as usize) > 0.7).collect::<Vec<_>>())
        .expect("as many as the shape says")
}

fn constant(m: &mut Module, data: Tensor) -> ValueId {
    let id = m.add_const("", data);
    m.builder().constant(id).expect("a constant")
}

fn input(m: &mut Module, name: &str, ty: TensorType) -> ValueId {
    let value = m.graph.add_param(ty, name);
    m.inputs.push(Port { name: name.into(), value });
    value
}

/// Adds a state; its next value is set later by [`commit`].
fn state(m: &mut Module, name: &str, ty: TensorType, init: Tensor) -> ValueId {
    let init = m.add_const(name, init);
    let read = m.graph.add_param(ty, name);
    m.states.push(State { name: name.into(), read, next: read, init });
    read
}

fn commit(m: &mut Module, name: &str, next: ValueId) {
    m.states.iter_mut().find(|s| s.name == name).expect("a state of that name").next = next;
}

fn output(m: &mut Module, name: &str, value: ValueId) {
    m.outputs.push(Port { name: name.into(), value });
}

/// `v += w` on scalars.
fn adds() -> Graph {
    let mut g = Graph::default();
    let w = g.add_param(TensorType::scalar(DType::F32), "w");
    let v = g.add_param(TensorType::scalar(DType::F32), "v");
    let sum = g.add_value(TensorType::scalar(DType::F32), "");
    g.nodes.push(nc_ir::graph::Node { op: Op::Add, args: vec![v, w], regions: vec![], results: vec![sum] });
    g.results = vec![sum];
    g
}

fn random_synapses(m: &mut Module, pre: u64, post: u64, weight: f32, delay: SynapseDelay) -> ConnId {
    let w = m.add_const("", Tensor::scalar_f32(weight));
    m.conns.push(Connectivity {
        name: format!("syn{}", m.conns.len()),
        pre_len: pre,
        post_len: post,
        pre: 0..pre,
        post: 0..post,
        rule: Rule::Random { p: Real(0.2), stream: 99 + m.conns.len() as u64 },
        weight: SynapseWeight::Scalar(w),
        delay,
    });
    ConnId(m.conns.len() as u32 - 1)
}

/// LIF neurons with an exponential synapse and a refractory counter, recurrently connected with delay 1 and driven by an
/// input in the same tick.
fn recurrent(delay: SynapseDelay, depth: u32) -> Module {
    let (n, n_in) = (70u64, 20u64);
    let mut m = Module { name: "recurrent".into(), ..Module::default() };
    let vec = TensorType::new(DType::F32, [n]);
    let u = input(&mut m, "u", TensorType::new(DType::Bool, [n_in]));
    let v = state(&mut m, "P.v", vec.clone(), f32s(&[n as usize], |k| noise(k) * 0.5));
    let g = state(&mut m, "P.g", vec.clone(), Tensor::scalar_f32(0.0));
    let c = state(&mut m, "P.c", TensorType::new(DType::I32, [n]), Tensor::from_vec(vec![], vec![0i32]).expect("one"));
    m.lines.push(DelayLine { name: "P.spike".into(), source: v, ty: TensorType::new(DType::Bool, [n]), depth });
    let from_input = random_synapses(&mut m, n_in, n, 0.9, SynapseDelay::Ticks(0));
    let recurrent = random_synapses(&mut m, n, n, -0.3, delay);
    let g1 = m.builder().project(&[u], &[g], &[], from_input, None, 1, 1, adds()).expect("deliver")[0];
    let g2 = m.builder().project(&[], &[g1], &[], recurrent, Some(LineId(0)), 0, 1, adds()).expect("deliver")[0];
    let mut rhs = Graph::default();
    let (rv, rg) = (rhs.add_param(vec.clone(), "v"), rhs.add_param(vec, "g"));
    let (tau, tau_g) = (m.add_const("tau", Tensor::scalar_f32(20.0)), m.add_const("tau_g", Tensor::scalar_f32(5.0)));
    let mut b = nc_ir::graph::GraphBuilder::new(&mut rhs, m.pools());
    let (t1, t2) = (b.constant(tau).expect("c"), b.constant(tau_g).expect("c"));
    let d = b.sub(rg, rv).expect("sub");
    let dv = b.div(d, t1).expect("div");
    let ng = b.neg(rg).expect("neg");
    let dg = b.div(ng, t2).expect("div");
    rhs.results = vec![dv, dg];
    let next = m.builder().integrate(&[v, g2], &[], Method::Auto, Real(1.0), 1, 2, rhs).expect("integrate");
    let (zero, one, theta) = (
        constant(&mut m, Tensor::from_vec(vec![], vec![0i32]).expect("one")),
        constant(&mut m, Tensor::from_vec(vec![], vec![1i32]).expect("one")),
        constant(&mut m, Tensor::scalar_f32(0.15)),
    );
    let (rest, hold) = (
        constant(&mut m, Tensor::scalar_f32(0.0)),
        constant(&mut m, Tensor::from_vec(vec![], vec![3i32]).expect("one")),
    );
    let mut b = m.builder();
    let quiet = b.gt(c, zero).expect("gt");
    let held = b.select(quiet, v, next[0]).expect("select");
    let above = b.gt(held, theta).expect("gt");
    let free = b.not(quiet).expect("not");
    let fired = b.and(above, free).expect("and");
    let v1 = b.select(fired, rest, held).expect("select");
    let less = b.sub(c, one).expect("sub");
    let less = b.max(less, zero).expect("max");
    let c1 = b.select(fired, hold, less).expect("select");
    commit(&mut m, "P.v", v1);
    commit(&mut m, "P.g", next[1]);
    commit(&mut m, "P.c", c1);
    m.lines[0].source = fired;
    output(&mut m, "spikes", fired);
    m.probes.push(Probe { name: "v".into(), value: v1, every: 1 });
    m.probes.push(Probe { name: "g".into(), value: g2, every: 4 });
    m
}

fn check(m: &Module, ticks: u64) {
    for parts in [1, 3] {
        let r = disagreement(m, parts, ticks, |t, name, ty| {
            let n = ty.elements().expect("known");
            match ty.dtype {
                DType::Bool => spikes(t, n),
                DType::I64 => Tensor::from_vec(vec![], vec![(t * 5 % 7) as i64]).expect("one"),
                _ => {
                    let shape: Vec<usize> = ty.extents().expect("known").iter().map(|d| *d as usize).collect();
                    let at = name.len() + 31 * t as usize;
                    f32s(&shape, |k| if noise(k * 7 + at) > 0.2 { 0.0 } else { noise(k + at) })
                }
            }
        });
        assert_eq!(r, Ok(()), "{} in {parts} parts", m.name);
    }
}

#[test]
fn recurrent_network_with_one_delay() {
    check(&recurrent(SynapseDelay::Ticks(1), 1), 60);
}

#[test]
fn recurrent_network_with_many_delays() {
    let mut m = recurrent(SynapseDelay::Ticks(1), 7);
    let mut g = Graph::default();
    let i = g.add_param(TensorType::scalar(DType::I64), "i");
    let j = g.add_param(TensorType { dtype: DType::I64, shape: vec![nc_ir::Dim::Sym("n".into())] }, "j");
    let seven = m.add_const("", Tensor::scalar_i64(7));
    let one = m.add_const("", Tensor::scalar_i64(1));
    let mut b = nc_ir::graph::GraphBuilder::new(&mut g, m.pools());
    let (seven, one) = (b.constant(seven).expect("c"), b.constant(one).expect("c"));
    let s = b.add(i, j).expect("add");
    let r = b.rem(s, seven).expect("rem");
    let d = b.add(r, one).expect("add");
    g.results = vec![d];
    m.conns[1].delay = SynapseDelay::Region { body: g, max: 7 };
    check(&m, 60);
}

#[test]
fn spikes_drive_products_through_events_and_dense_inputs_do_not() {
    let mut m = Module { name: "products".into(), ..Module::default() };
    let x = input(&mut m, "x", TensorType::new(DType::Bool, [50]));
    let a = input(&mut m, "a", TensorType::new(DType::F32, [50]));
    let w = constant(&mut m, f32s(&[70, 50], |k| noise(k * 3)));
    let bias = constant(&mut m, f32s(&[70], |k| noise(k * 11)));
    let mut b = m.builder();
    let xf = b.cast(x, DType::F32).expect("cast");
    let y = b.linear(xf, w, Some(bias)).expect("linear");
    let z = b.linear(a, w, None).expect("linear");
    let s = b.add(y, z).expect("add");
    let r = b.tanh(s).expect("tanh");
    output(&mut m, "y", y);
    output(&mut m, "z", z);
    output(&mut m, "r", r);
    let compiled = nc_compiler::compile(m.clone(), &nc_compiler::Options::default()).expect("compiles");
    assert!(compiled.report.iter().any(|l| l.contains("event-driven")), "{:?}", compiled.report);
    assert!(compiled.report.iter().any(|l| l.contains("dense")), "{:?}", compiled.report);
    check(&m, 8);
}

#[test]
fn products_with_values_that_are_mostly_zero_walk_them() {
    let mut m = Module { name: "graded".into(), ..Module::default() };
    let x = input(&mut m, "x", TensorType::new(DType::F32, [30]));
    let h = state(&mut m, "h", TensorType::new(DType::F32, [40]), Tensor::scalar_f32(0.0));
    let w = constant(&mut m, f32s(&[120, 30], |k| noise(k * 3)));
    let u = constant(&mut m, f32s(&[120, 40], |k| noise(k * 5) * 0.3));
    let theta = constant(&mut m, Tensor::scalar_f32(0.4));
    let mut b = m.builder();
    let a = b.linear(x, w, None).expect("linear");
    let r = b.linear(h, u, None).expect("linear");
    let s = b.add(a, r).expect("add");
    let part = |b: &mut nc_ir::graph::GraphBuilder<'_>, k: u64| {
        b.slice(s, vec![40 * k], vec![40 * k + 40], vec![1]).expect("slice")
    };
    let (z, g, o) = (part(&mut b, 0), part(&mut b, 1), part(&mut b, 2));
    let z = b.sigmoid(z).expect("sigmoid");
    let g = b.tanh(g).expect("tanh");
    let c = b.mul(z, g).expect("mul");
    let c = b.fma(o, z, c).expect("fma");
    let fire = b.gt(c, theta).expect("gt");
    let fire = b.cast(fire, DType::F32).expect("cast");
    let h1 = b.mul(c, fire).expect("mul");
    commit(&mut m, "h", h1);
    output(&mut m, "h", h1);
    m.sparse.push("x".into());
    let compiled = nc_compiler::compile(m.clone(), &nc_compiler::Options::default()).expect("compiles");
    assert_eq!(compiled.report.iter().filter(|l| l.contains("non-zero values")).count(), 2, "{:?}", compiled.report);
    check(&m, 20);
}

#[test]
fn states_that_swap_and_shift_keep_their_old_values_until_read() {
    let mut m = Module { name: "swap".into(), ..Module::default() };
    let ty = TensorType::new(DType::F32, [5]);
    let x = input(&mut m, "x", ty.clone());
    let a = state(&mut m, "a", ty.clone(), f32s(&[5], |k| k as f32));
    let b_ = state(&mut m, "b", ty.clone(), f32s(&[5], |k| -(k as f32)));
    let c = state(&mut m, "c", ty, Tensor::scalar_f32(9.0));
    commit(&mut m, "a", b_);
    commit(&mut m, "b", a);
    commit(&mut m, "c", x);
    let mut b = m.builder();
    let s = b.add(a, b_).expect("add");
    let s = b.mul(s, c).expect("mul");
    output(&mut m, "s", s);
    output(&mut m, "c", c);
    check(&m, 6);
}

#[test]
fn reductions_and_movements() {
    let mut m = Module { name: "moves".into(), ..Module::default() };
    let x = input(&mut m, "x", TensorType::new(DType::F32, [3, 37]));
    let q = input(&mut m, "k", TensorType::scalar(DType::I64));
    use nc_ir::graph::ReduceKind;
    let mut outs = Vec::new();
    let mut b = m.builder();
    for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod] {
        for axes in [vec![0], vec![1], vec![0, 1]] {
            outs.push(b.reduce(x, kind, axes, false).expect("reduce"));
        }
    }
    let t = b.transpose(x, vec![1, 0]).expect("transpose");
    let s = b.slice(x, vec![0, 1], vec![3, 30], vec![2, 3]).expect("slice");
    let row = b.gather(x, q, 0).expect("gather");
    let wide = b.broadcast(row, vec![3, 37]).expect("broadcast");
    let d = b.sub(x, wide).expect("sub");
    let cat = b.concat(&[x, d], 1).expect("concat");
    let best = b.argmax(x, 1, false, false).expect("argmax");
    let e = b.reduce(cat, ReduceKind::Max, vec![1], true).expect("reduce");
    let e = b.broadcast(e, vec![3, 74]).expect("broadcast");
    let e = b.sub(cat, e).expect("sub");
    let soft = b.exp(e).expect("exp");
    let p = b.matmul(t, x).expect("matmul");
    outs.extend([t, s, row, d, cat, best, soft, p]);
    for (k, v) in outs.into_iter().enumerate() {
        output(&mut m, &format!("y{k}"), v);
    }
    check(&m, 7);
}

/// One element of an input is the same for all elements of a loop, wherever in the input it stands.
#[test]
fn an_element_of_an_input_serves_every_element() {
    let mut m = Module::default();
    let x = input(&mut m, "x", TensorType::new(DType::F32, [40]));
    let pair = input(&mut m, "pair", TensorType::new(DType::F32, [2]));
    let zero = constant(&mut m, Tensor::scalar_f32(0.0));
    let mut b = m.builder();
    let c = b.gt(x, zero).expect("fits");
    let mut one = |start: u64| {
        let part = b.slice(pair, vec![start], vec![start + 1], vec![1]).expect("fits");
        b.reshape(part, vec![]).expect("fits")
    };
    let (off, on) = (one(0), one(1));
    let y = b.select(c, on, off).expect("fits");
    output(&mut m, "y", y);
    check(&m, 2);
}

#[test]
fn convolution_and_pooling() {
    let mut m = Module { name: "conv".into(), ..Module::default() };
    let x = input(&mut m, "x", TensorType::new(DType::F32, [4, 9, 11]));
    let w = constant(&mut m, f32s(&[6, 2, 3, 3], |k| noise(k * 3)));
    let w1 = constant(&mut m, f32s(&[5, 4, 3, 2], |k| noise(k * 17)));
    let bias = constant(&mut m, f32s(&[6], noise));
    use nc_ir::graph::PoolKind;
    let mut b = m.builder();
    let y = b.conv(x, w, Some(bias), vec![2, 1], vec![1, 2, 1, 0], vec![1, 2], 2).expect("conv");
    let z = b.conv(x, w1, None, vec![1, 1], vec![0, 0, 0, 0], vec![1, 1], 1).expect("conv");
    let mut outs = vec![y, z];
    for kind in [PoolKind::Sum, PoolKind::Avg, PoolKind::Max] {
        outs.push(b.pool(x, kind, vec![2, 3], vec![2, 2], vec![1, 1, 0, 1], vec![1, 1]).expect("pool"));
    }
    for (k, v) in outs.into_iter().enumerate() {
        output(&mut m, &format!("y{k}"), v);
    }
    check(&m, 3);
}

#[test]
fn delayed_spikes_drive_products_and_delayed_values_are_read() {
    let mut m = Module { name: "delayed".into(), ..Module::default() };
    let x = input(&mut m, "x", TensorType::new(DType::Bool, [33]));
    let a = input(&mut m, "a", TensorType::new(DType::F32, [33]));
    m.lines.push(DelayLine { name: "x".into(), source: x, ty: TensorType::new(DType::Bool, [33]), depth: 3 });
    m.lines.push(DelayLine { name: "a".into(), source: a, ty: TensorType::new(DType::F32, [33]), depth: 2 });
    let w = constant(&mut m, f32s(&[20, 33], |k| noise(k * 3)));
    let mut b = m.builder();
    let d3 = b.delayed(LineId(0), 3).expect("delayed");
    let f = b.cast(d3, DType::F32).expect("cast");
    let y = b.linear(f, w, None).expect("linear");
    let a2 = b.delayed(LineId(1), 2).expect("delayed");
    let a1 = b.delayed(LineId(1), 1).expect("delayed");
    let s = b.sub(a2, a1).expect("sub");
    let d1 = b.delayed(LineId(0), 1).expect("delayed");
    let s = b.select(d1, s, a).expect("select");
    output(&mut m, "y", y);
    output(&mut m, "s", s);
    check(&m, 12);
}

#[test]
fn random_modules_agree() {
    use nc_ir::graph::testing::Case;
    let count: u64 = std::env::var("NC_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let first: u64 = std::env::var("NC_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let (mut lowered, mut failed) = (0, Vec::new());
    for seed in first..first + count {
        let case = Case::from_seed(seed);
        if let Err(errors) = nc_compiler::compile(case.module.clone(), &nc_compiler::Options::default()) {
            // What has no kernels is refused by name; anything else is a bug.
            assert!(errors.iter().all(|e| e.code == "E0702"), "seed {seed}: {errors:?}");
            continue;
        }
        lowered += 1;
        let ticks = case.ticks.len() as u64;
        for parts in [1, 3] {
            let r = disagreement(&case.module, parts, ticks, |t, name, _| {
                let k = case.module.inputs.iter().position(|p| p.name == name).expect("an input of that name");
                case.ticks[t as usize][k].clone()
            });
            if let Err(e) = r {
                failed.push(format!("seed {seed}, {parts} parts: {e}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {lowered}:\n{}", failed.len(), failed.join("\n"));
    assert!(lowered > 0 || count < 10, "no module was lowered");
}

#[test]
fn scattered_cumulated_and_sorted_elements() {
    let mut m = Module { name: "in order".into(), ..Module::default() };
    let x = input(&mut m, "x", TensorType::new(DType::F32, [5, 13, 3]));
    let index = Tensor::from_vec(vec![40], (0..40).map(|k| (k * 37 % 230) - 12).collect::<Vec<i64>>()).expect("count");
    let (index, updates) = (constant(&mut m, index), constant(&mut m, f32s(&[40], |k| noise(k * 5))));
    let mut b = m.builder();
    let mut results: Vec<ValueId> = Vec::new();
    for kind in ScatterKind::ALL {
        results.push(b.scatter(x, index, updates, *kind).expect("scatter"));
    }
    for axis in 0..3 {
        for (kind, flag) in [(CumulateKind::Sum, true), (CumulateKind::Prod, false)] {
            results.push(b.cumulate(x, kind, axis, flag, axis == 1).expect("cumulate"));
            results.push(b.argsort(x, axis, flag).expect("argsort"));
        }
    }
    for (k, v) in results.into_iter().enumerate() {
        output(&mut m, &format!("y{k}"), v);
    }
    check(&m, 4);
}
