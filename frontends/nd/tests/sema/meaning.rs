//! What lowered models compute, run by the reference interpreter.

use crate::support::{Memory, f32s, module, module_with, numbers, run};
use nc_ir::{DType, Tensor};
use nc_nd::sema::Options;

fn bools(v: &[bool]) -> Tensor {
    Tensor::from_bools(vec![v.len()], v).unwrap()
}

const LIF: &str = "
neuron Lif {
  param beta: real = 0.5
  param theta: real = 1.0
  input i: real
  state v: real = 0
  next v = beta * v + i
  threshold v > theta
  reset { v -= theta }
}
";

#[test]
fn a_neuron_runs_in_the_stated_order() {
    let m = module(&format!("{LIF} net N {{ input x: real[2]\n pop P: Lif[2]\n P.i <- x\n output v = P.v\n }}"));
    // 0.75; 0.375 + 0.75 = 1.125 fires and leaves 0.125; 0.0625 + 0.75.
    let out = run(m, 3, |_| vec![f32s(&[2], &[0.75, 0.0])]);
    assert_eq!(out.iter().map(|t| numbers(t)[0]).collect::<Vec<_>>(), [0.75, 0.125, 0.8125]);
    assert_eq!(numbers(&out[2])[1], 0.0);
}

#[test]
fn drives_add_up_in_the_order_of_statements() {
    let m = module(&format!(
        "{LIF} net N {{ input x: spike[3]\n param W: real[2, 3] = 0.25\n pop P: Lif[2]\n P.i <- linear(x, W)\n P.i <- 0.5\n output v = P.v }}"
    ));
    let out = run(m, 1, |_| vec![bools(&[true, false, true])]);
    assert_eq!(numbers(&out[0]), [1.0, 1.0]);
}

#[test]
fn refractory_holds_and_skips() {
    let text = "
neuron R {
  input i: real
  state v: real = 0
  state n: real = 0
  on hit(w: real) { v += w; n += w }
  next v = v + i
  threshold v > 1.5
  reset { v = 0 }
  refractory 2 hold v
}
net N {
  input x: spike[1]
  pop P: R[1]
  P.i <- 1
  connect x -> P.hit { rule = all(); weight = 0.25 }
  output v = concat(P.v, P.n)
}";
    let m = module(text);
    let out = run(m, 5, |_| vec![bools(&[true])]);
    let v: Vec<Vec<f64>> = out.iter().map(numbers).collect();
    // 1.25; 2.5 fires; two ticks held; then 1.25 again. `n` is not held.
    assert_eq!(v.iter().map(|p| p[0]).collect::<Vec<_>>(), [1.25, 0.0, 0.0, 0.0, 1.25]);
    assert_eq!(v.iter().map(|p| p[1]).collect::<Vec<_>>(), [0.25, 0.5, 0.75, 1.0, 1.25]);
}

#[test]
fn delays_break_cycles_and_arrive_in_time() {
    let text = "
neuron Relay {
  state v: real = 0
  on hit(w: real) { v += w }
  next v = v * 0
  threshold v > 0.5
}
neuron Now { state v: real = 0
  on hit(w: real) { v = w }
  threshold v > 0.5
  reset { v = 0 } }
net N {
  input x: spike[2]
  pop P: Now[2]
  pop Q: Now[2]
  connect x -> P.hit { rule = one_to_one(); weight = 1 }
  connect P -> Q.hit { rule = one_to_one(); weight = 1; delay = 2 }
  connect Q -> P.hit { rule = table([[0, 1]]); weight = 1; delay = 1 }
  output q = Q.spike
}";
    let text = text.replace("table([[0, 1]])", "where(i == 0 and j == 1)");
    let m = module(&text);
    let out = run(m, 6, |t| vec![bools(&[t == 0, false])]);
    let q: Vec<(bool, bool)> = out.iter().map(|t| (t.get_f64(0) != 0.0, t.get_f64(1) != 0.0)).collect();
    // x(0) -> P0 at once -> Q0 two later -> P1 one later -> Q1 two later.
    assert_eq!(q, [(false, false), (false, false), (true, false), (false, false), (false, false), (false, true)]);
}

#[test]
fn delay_and_expscan_remember() {
    let m = module(
        "net N { clock 1 ms\n input x: real[1]\n let d = delay(x, 2 ms)\n let e = expscan(x, tau = 1 ms)\n output y = concat(d, e) }",
    );
    let out = run(m, 3, |t| vec![f32s(&[1], &[t as f32 + 1.0])]);
    let a = (-1f64).exp() as f32;
    let e1 = a.mul_add(1.0, 2.0);
    let e2 = a.mul_add(e1, 3.0);
    assert_eq!(numbers(&out[2]), [1.0, f64::from(e2)]);
    assert_eq!(numbers(&out[1]), [0.0, f64::from(e1)]);
}

#[test]
fn recurrence_by_delay_of_a_population() {
    let m = module(&format!(
        "{LIF} net N {{ input x: real[1]\n param W: real[1, 1] = 2\n pop P: Lif[1]\n P.i <- x + linear(delay(P.spike, 1), W)\n output s = P.v }}"
    ));
    let out = run(m, 2, |t| vec![f32s(&[1], &[if t == 0 { 1.5 } else { 0.0 }])]);
    // Fires in tick 0 with 0.5 left; tick 1: 0.25 + 2 = 2.25 fires, 1.25 left.
    assert_eq!(numbers(&out[1]), [1.25]);
}

#[test]
fn quantised_weights_are_what_they_store() {
    let mut memory = Memory::default().array("f", "w", f32s(&[2, 2], &[1.0, 0.5, -0.2, 0.1]));
    let m = module_with(
        "net N { file f = \"f\"\n param W: real[2, 2] @i8(axis = 0) = f[\"w\"]\n input x: real[2]\n output y = linear(x, W) }",
        &mut memory,
        &Options::default(),
    );
    let c = m.consts.iter().find(|c| c.name == "W").unwrap();
    // Rows scaled by 1/127 and 0.2/127; 63.5 goes to the even 64.
    assert_eq!(c.data.as_slice::<i8>(), [127, 64, -127, 64]);
    let scale = (1.0f64 / 127.0) as f32;
    let out = run(m, 1, |_| vec![f32s(&[2], &[0.0, 1.0])]);
    assert_eq!(numbers(&out[0])[0], f64::from(64.0 * scale));
}

#[test]
fn stored_states_are_rounded_every_tick() {
    let m = module("net N { input x: real\n state s: real @fix(16, 8) = 0\n next s = s + x\n output y = s }");
    assert_eq!(m.graph.ty(m.states[0].read).dtype, DType::I16);
    let out = run(m, 3, |_| vec![Tensor::scalar_f32(0.3)]);
    // 0.3 is 76.8 steps of 1/256: 77, then 77 + 76.8 = 153.8: 154.
    assert_eq!((out[1].get_f64(0), out[2].get_f64(0)), (77.0 / 256.0, 154.0 / 256.0));
}

#[test]
fn units_are_erased_to_the_coherent_system() {
    let m = module(
        "net N { clock 0.5 ms\n param a: V = 2 mV\n param r: Hz = 5 Hz\n param c: nS/cm^2 = 1 nS / (1 cm * 1 cm)\n output y = a * r }",
    );
    let c = |n: &str| m.consts.iter().find(|c| c.name == n).unwrap().data.as_slice::<f32>()[0];
    assert_eq!((c("a"), c("r"), c("c")), (2.0, 0.005, 1e-8));
}

#[test]
fn arrays_are_in_the_declared_unit() {
    let mut memory = Memory::default().array("f", "t", f32s(&[2], &[0.02, 0.005]));
    let m = module_with(
        "net N { file f = \"f\"\n param t: s[2] = f[\"t\"]\n output y = t }",
        &mut memory,
        &Options::default(),
    );
    let out = run(m, 1, |_| vec![]);
    assert_eq!(out[0].as_slice::<f32>(), [20.0, 5.0]);
}

#[test]
fn nets_inside_nets_share_nothing_but_ports() {
    let text = "
fn twice(x: real) -> real = 2 * x
net Inner(n: int) {
  param g: real = 1
  input x: real[n]
  state s: real[n] = 0
  next s = s + x
  output y: real[n] = g * (s + x)
}
net Outer {
  input x: real[2]
  sub a: Inner(2) { g = 3 }
  sub b: Inner(n = 2)
  a.x <- x
  b.x <- twice(a.y)
  output y = b.y
}";
    let m = module(text);
    assert_eq!(m.name, "Outer");
    let out = run(m, 2, |_| vec![f32s(&[2], &[1.0, 2.0])]);
    // a: 3, 6; b: 6, then 6 + 12.
    assert_eq!(numbers(&out[0]), [6.0, 12.0]);
    assert_eq!(numbers(&out[1]), [18.0, 36.0]);
}

#[test]
fn a_table_may_come_in_any_order() {
    let mut memory = Memory::default()
        .array("f", "t", Tensor::from_vec(vec![3, 2], vec![1i64, 0, 0, 1, 0, 0]).unwrap())
        .array("f", "w", f32s(&[3], &[4.0, 2.0, 1.0]));
    let text = "
neuron Sum { state v: real = 0
  on hit(w: real) { v += w } }
net N {
  file f = \"f\"
  input x: spike[2]
  pop P: Sum[2]
  connect x -> P.hit { rule = table(f[\"t\"]); weight = f[\"w\"] }
  output v = P.v
}";
    let m = module_with(text, &mut memory, &Options::default());
    let out = run(m.clone(), 1, |_| vec![bools(&[true, false])]);
    assert_eq!(numbers(&out[0]), [1.0, 2.0]);
    let out = run(m, 1, |_| vec![bools(&[false, true])]);
    assert_eq!(numbers(&out[0]), [4.0, 0.0]);
}

#[test]
fn matrices_connect_as_linear_does() {
    let mut memory = Memory::default().array("f", "w", f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let text = "
neuron Sum { input i: real
  state v: real = 0
  next v = i }
net N {
  file f = \"f\"
  param W: real[2, 3] = f[\"w\"]
  input x: spike[3]
  pop P: Sum[2]
  connect x -> P.i { rule = all(); weight = W }
  output v = P.v - linear(x, W)
}";
    let m = module_with(text, &mut memory, &Options::default());
    let out = run(m, 1, |_| vec![bools(&[true, false, true])]);
    assert_eq!(numbers(&out[0]), [0.0, 0.0]);
}

#[test]
fn lazy_synapses_decay_between_events() {
    let text = "
synapse Fading {
  param tau: ms = 2 ms
  state x: real = 0
  x' = -x / tau
  on pre { x += 1; emit x }
}
neuron Sum { state v: real = 0
  on hit(w: real) { v += w } }
net N {
  clock 1 ms
  input x: spike[1]
  pop P: Sum[1]
  connect s: x -> P.hit { rule = all(); model = Fading }
  output v = P.v
}";
    let m = module(text);
    let out = run(m, 4, |t| vec![bools(&[t == 0 || t == 3])]);
    let v = numbers(&out[3])[0];
    let want = 1.0 + 1.0 + (-1.5f64).exp();
    assert!((v - want).abs() < 1e-6, "{v} {want}");
    assert_eq!(numbers(&out[2]), [1.0]);
}

#[test]
fn host_values_and_extra_probes() {
    let options = Options {
        params: vec![("P.beta".into(), Tensor::scalar_f32(0.25))],
        probes: vec!["P.v".into(), "P".into()],
        ..Options::default()
    };
    let text = format!("{LIF} net N {{ pop P: Lif[2]\n P.i <- 1\n output v = P.v }}");
    let m = module_with(&text, &mut Memory::default(), &options);
    assert_eq!(m.probes.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["P.v", "P"]);
    let out = run(m, 2, |_| vec![]);
    assert_eq!(numbers(&out[1]), [0.25, 0.25]);
}

#[test]
fn the_same_text_makes_the_same_network() {
    let text = "
neuron S { state v: real = 0
  on hit(w: real) { v += w } }
net N { seed 7
  input x: spike[20]
  pop P: S[30] { v = normal(0, 1) }
  connect x -> P.hit { rule = random(0.3 * exp(-dist / 10)); weight = gamma(1, 0.5) }
  connect x -> P.hit { rule = fixed_in(3); weight = uniform(0, 1) * i }
  output v = P.v }";
    assert_eq!(module(text), module(text));
    let other = module(&text.replace("seed 7", "seed 8"));
    assert_ne!(module(text), other);
    let seeded = Options { seed: Some(8), ..Options::default() };
    assert_eq!(module_with(text, &mut Memory::default(), &seeded), other);
    assert_eq!(module_with(&text.replace("seed 7", ""), &mut Memory::default(), &seeded), other);
}

/// The first output of one tick of a net with the input `x`.
fn value(expr: &str, shape: &[usize], x: &[f32]) -> Vec<f64> {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    let m = module(&format!("net N {{ input x: real[{}]\n output y = {expr} }}", dims.join(", ")));
    let out = run(m, 1, |_| vec![f32s(shape, x)]);
    (0..out[0].len()).map(|k| out[0].get_f64(k)).collect()
}

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len(), "{a:?} {b:?}");
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() <= 1e-5 * (1.0 + y.abs()), "{a:?} is not {b:?}");
    }
}

#[test]
fn functions_compute_what_they_say() {
    let x = [1.0f32, -2.0, 3.0, 0.5];
    let f = |e: &str| value(e, &[4], &x);
    let m = |e: &str| value(e, &[2, 2], &x);
    close(&f("relu(x)"), &[1.0, 0.0, 3.0, 0.5]);
    close(&f("step(x) * 2"), &[2.0, 0.0, 2.0, 2.0]);
    close(&f("clip(x, -1, 1)"), &[1.0, -1.0, 1.0, 0.5]);
    close(&f("max(x, 0.75)"), &[1.0, 0.75, 3.0, 0.75]);
    close(&f("min(x)"), &[-2.0]);
    close(&f("sum(x)"), &[2.5]);
    close(&f("mean(x)"), &[0.625]);
    close(&f("argmax(x)"), &[2.0]);
    close(&f("abs(x) ^ 0.5"), &[1.0, 2f64.sqrt(), 3f64.sqrt(), 0.5f64.sqrt()]);
    close(&f("x ^ 2 - x * x"), &[0.0; 4]);
    close(&f("if x > 0 then x else -x"), &[1.0, 2.0, 3.0, 0.5]);
    close(&f("gelu(x)"), &[0.841_344_7, -0.045_500_3, 2.995_950_3, 0.345_731_2]);
    let e: Vec<f64> = x.iter().map(|x| f64::from(*x).exp()).collect();
    let s: f64 = e.iter().sum();
    close(&f("softmax(x)"), &e.iter().map(|e| e / s).collect::<Vec<_>>());
    close(&f("log_softmax(x)"), &e.iter().map(|e| (e / s).ln()).collect::<Vec<_>>());
    let rows = [e[0] + e[1], e[2] + e[3]];
    close(&m("softmax(x)"), &[e[0] / rows[0], e[1] / rows[0], e[2] / rows[1], e[3] / rows[1]]);
    let mean = 0.625;
    let var = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / 4.0;
    close(&f("layernorm(x)"), &x.iter().map(|x| (f64::from(*x) - mean) / (var + 1e-5).sqrt()).collect::<Vec<_>>());
    let square = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 4.0;
    close(&f("rmsnorm(x, 2)"), &x.iter().map(|x| 2.0 * f64::from(*x) / (square + 1e-6).sqrt()).collect::<Vec<_>>());
    close(&m("transpose(x)"), &[1.0, 3.0, -2.0, 0.5]);
    close(&m("matmul(x, x)"), &[-5.0, -3.0, 4.5, -5.75]);
    close(&m("matmul(x, x[0])"), &[5.0, 2.0]);
    close(&m("matmul(x[0], x)"), &[-5.0, -3.0]);
    close(&m("concat(x[0], x[1, 0:1])"), &[1.0, -2.0, 3.0]);
    close(&f("reshape(x, [2, 2])[1]"), &[3.0, 0.5]);
    close(&value("sum_pool(x, size = 2)", &[1, 2, 2], &x), &[2.5]);
    close(&value("avg_pool(x, size = [1, 2])", &[1, 2, 2], &x), &[-0.5, 1.75]);
    close(
        &value("max_pool(x, size = [2, 1], pad = [1, 0], stride = 1)", &[1, 2, 2], &x),
        &[1.0, -2.0, 3.0, 0.5, 3.0, 0.5],
    );
    close(&f("x % 2"), &[1.0, 0.0, 1.0, 0.5]);
    close(&f("exp(2 * 0.5) + 0 * x"), &[1f64.exp(); 4]);
}

#[test]
fn draws_have_their_moments() {
    let moments = |e: &str| {
        let m = module(&format!("net N {{ seed 3\n param w: real[20000] = {e}\n output y = w }}"));
        let w = m.consts.iter().find(|c| c.name == "w").unwrap().data.as_slice::<f32>().to_vec();
        let mean = w.iter().map(|x| f64::from(*x)).sum::<f64>() / w.len() as f64;
        let var = w.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / w.len() as f64;
        (mean, var.sqrt())
    };
    let near = |(m, s): (f64, f64), (wm, ws): (f64, f64)| {
        assert!((m - wm).abs() < 0.04 * ws && (s - ws).abs() < 0.05 * ws, "{m} {s}, not {wm} {ws}");
    };
    near(moments("uniform(2, 4)"), (3.0, 2.0 / 12f64.sqrt()));
    near(moments("normal(-1, 3)"), (-1.0, 3.0));
    near(moments("gamma(2, 0.7)"), (2.0, 1.4));
    near(moments("gamma(2, 1.25)"), (2.0, 2.5));
}

#[test]
fn noise_is_drawn_in_every_tick() {
    let m =
        module("neuron A { state v: real = 0\n next v = noise(2) }\nnet N { seed 5\n pop P: A[3]\n output v = P.v }");
    let out = run(m, 2, |_| vec![]);
    let (a, b) = (numbers(&out[0]), numbers(&out[1]));
    assert!(a[0] != a[1] && a[0] != b[0] && a.iter().chain(&b).all(|x| x.abs() < 12.0), "{a:?} {b:?}");
}

#[test]
fn parameters_of_the_ends_are_known_in_connections() {
    let text = "
neuron Cell { param k: real = 0
  input i: real
  state v: real = 0
  on hit(w: real) { v += w }
  next v = v + i
  threshold v > 100 }
net N {
  input x: spike[4]
  pop P: Cell[2, 3] { k = uniform(1, 2) }
  connect x[1:3] -> P[2:6].hit { rule = where(i % 2 == 1 or post.pos[1] == 0); weight = 10 * i + j + post.pos[0] + 0 * post.k }
  output v = P.v
}";
    let m = module(text);
    let out = run(m, 1, |_| vec![bools(&[true; 4])]);
    // Source 1 reaches 2..6; source 2 reaches the one target there with column 0, element 3.
    assert_eq!(numbers(&out[0]), [0.0, 0.0, 12.0, 14.0 + 24.0, 15.0, 16.0]);
}
