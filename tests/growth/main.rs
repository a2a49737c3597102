//! No pass grows faster than n log n: each is timed on models of 1, 10 and 100 times a size.
//!
//! `cargo test --release -p nc-tests --test growth -- --nocapture` prints the table. Times are those that this thread
//! spent on a processor, so that a busy machine does not change them much; of several runs the shortest counts.

#![cfg(unix)]

use nc_compiler::cost::Counted;
use nc_compiler::{Options, compile, fold, hoist, lower, saturate, solve, tables};
use nc_ir::graph::Module;
use nc_ir::kernel::abi::Layout;
use nc_ir::{Diagnostic, Tensor, TensorType};
use nc_nd::sema::{self, Loader};
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write;

/// What a pass may take beyond n log n from the middle size to the large one: caches end in between. A pass that grows as
/// the square takes 7 times as much as n log n, and is caught.
const MARGIN: f64 = 3.0;

/// Seconds on the large model below which a pass is not looked at: neither the clock nor a user would tell.
const LEAST: f64 = 0.01;

/// Seconds that this thread has run.
fn clock() -> f64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

/// The models read no files.
struct NoFiles;

impl Loader for NoFiles {
    fn source(&mut self, path: &str, _importing: u32) -> Result<(u32, String), Diagnostic> {
        Err(Diagnostic::error_nowhere("E0800", format!("{path} is not there")))
    }

    fn array(&mut self, file: &str, _name: &str) -> Result<Tensor, Diagnostic> {
        Err(Diagnostic::error_nowhere("E0600", format!("{file} is not there")))
    }

    fn list(&mut self, file: &str) -> Result<Vec<(String, TensorType)>, Diagnostic> {
        Err(Diagnostic::error_nowhere("E0600", format!("{file} is not there")))
    }
}

/// A model as text, with the values of its `param`s.
struct Model {
    text: String,
    params: Vec<(String, Tensor)>,
}

/// A kind of model that can be had in any size.
struct Family {
    name: &'static str,
    /// What is counted, and the number of it in the small model.
    unit: &'static str,
    base: usize,
    make: fn(usize) -> Model,
}

const LIF: &str = "\
neuron Lif {
  state v: mV = 0 mV
  state g: mV = 0 mV
  on spike(w: mV) { g += w }
  v' = (g - v) / (20 ms)
  g' = -g / (5 ms)
  threshold v > 10 mV
  reset { v = 0 mV }
  refractory 2 ms hold v
}
";

/// One population whose neurons have a number of synapses each, by three rules, with draws for everything.
fn neurons(n: usize) -> Model {
    let text = format!(
        "{LIF}
net Neurons {{
  clock 0.1 ms
  pop P: Lif[{n}] {{ v = uniform(0 mV, 10 mV) }}
  connect P -> P.spike {{ rule = fixed_out(k = 10); weight = gamma(mean = 1 mV, cv = 0.5); delay = uniform(1 ms, 3 ms) }}
  connect P -> P.spike {{ rule = random(p = {}); weight = normal(0 mV, 1 mV); delay = 1 ms }}
  connect P -> P.spike {{ rule = fixed_in(k = 10); weight = 0.5 mV; delay = 0.1 ms }}
  output spikes = P.spike
}}
",
        10.0 / n as f64
    );
    Model { text, params: Vec::new() }
}

/// A chain of populations, each with a connection from the one before.
fn populations(n: usize) -> Model {
    let mut text = format!("{LIF}\nnet Populations {{\n  clock 0.1 ms\n  input x: spike[10]\n");
    let mut from = "x".to_owned();
    for k in 0..n {
        let _ = writeln!(text, "  pop P{k}: Lif[10]");
        let _ = writeln!(text, "  connect {from} -> P{k}.spike {{ rule = one_to_one; weight = 1 mV; delay = 1 ms }}");
        from = format!("P{k}");
    }
    let _ = writeln!(text, "  output spikes = {from}.spike\n}}");
    Model { text, params: Vec::new() }
}

/// Named values, each computed from the one before and from the inputs.
fn values(n: usize) -> Model {
    let mut text = "net Values {\n  input x: real[64]\n  input y: real[64]\n  let v0 = x\n".to_owned();
    for k in 1..=n {
        let before = k - 1;
        let e = match k % 4 {
            0 => format!("max(v{before}, y) - 0.5 * x"),
            1 => format!("v{before} * 0.75 + y"),
            2 => format!("if v{before} > y then v{before} - y else abs(v{before})"),
            _ => format!("v{before} + x * y - v{before} * y"),
        };
        let _ = writeln!(text, "  let v{k} = {e}");
    }
    let _ = writeln!(text, "  output v = v{n}\n}}");
    Model { text, params: Vec::new() }
}

/// A chain of dense layers.
fn layers(n: usize) -> Model {
    let mut text = "net Layers {\n  input x: real[16]\n  let x0 = x\n".to_owned();
    let mut params = Vec::new();
    for k in 0..n {
        let _ = writeln!(text, "  param W{k}: real[16, 16]\n  let x{} = tanh(linear(x{k}, W{k}))", k + 1);
        params.push((format!("W{k}"), weights(16, k)));
    }
    let _ = writeln!(text, "  output y = x{n}\n}}");
    Model { text, params }
}

/// A dense layer with this many outputs.
fn rows(n: usize) -> Model {
    let text = format!(
        "net Rows {{\n  param W: real[{n}, 256]\n  input x: real[256]\n  output y = sigmoid(linear(x, W))\n}}\n"
    );
    let data = (0..n * 256).map(|k| (k * 7 % 31) as f32 / 31.0 - 0.5).collect::<Vec<f32>>();
    let w = Tensor::from_vec(vec![n, 256], data).expect("as many as the shape has");
    Model { text, params: vec![("W".to_owned(), w)] }
}

fn weights(n: usize, k: usize) -> Tensor {
    let data = (0..n * n).map(|i| ((i + k) * 7 % 31) as f32 / 31.0 - 0.5).collect::<Vec<f32>>();
    Tensor::from_vec(vec![n, n], data).expect("as many as the shape has")
}

const FAMILIES: [Family; 5] = [
    Family { name: "neurons", unit: "neurons with 30 synapses each", base: 50, make: neurons },
    Family { name: "populations", unit: "populations and connections", base: 2, make: populations },
    Family { name: "values", unit: "named values in a chain", base: 5, make: values },
    Family { name: "layers", unit: "dense layers 16-16", base: 2, make: layers },
    Family { name: "rows", unit: "outputs of a dense layer with 256 inputs", base: 20, make: rows },
];

/// Seconds per pass, in the order of the pipeline.
type Times = Vec<(&'static str, f64)>;

/// Runs every pass from the text to machine code.
fn passes(model: &Model) -> Times {
    let mut times = Times::new();
    let mut start = clock();
    let mut done = |pass| {
        let now = clock();
        times.push((pass, now - start));
        // What it takes to note this belongs to no pass.
        start = clock();
    };
    let parsed = nc_nd::parse(&model.text, 0);
    done("parse");
    let options = sema::Options { params: model.params.clone(), ..sema::Options::default() };
    let lowered = sema::lower(&parsed.file, &mut NoFiles, &options);
    done("check and lower");
    let errors: Vec<&Diagnostic> =
        parsed.diagnostics.iter().chain(&lowered.diagnostics).filter(|d| d.is_error()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let mut module: Module = lowered.module.expect("a model without errors");
    done("");
    fold::run(&mut module);
    done("fold");
    solve::run(&mut module).expect("linear equations");
    done("solve");
    fold::run(&mut module);
    done("fold again");
    saturate::run(&mut module, &Options::default(), &mut Counted::default()).expect("a well-typed graph");
    done("saturate");
    hoist::run(&mut module);
    done("hoist");
    tables::run(&mut module).expect("a well-typed graph");
    done("tables");
    fold::run(&mut module);
    done("fold last");
    nc_ir::graph::verify::verify(&module).expect("a valid graph");
    done("verify graph");
    let lowered = lower::lower(&module, &Options::default(), Counted::default()).expect("ops that have kernels");
    done("lower");
    nc_ir::kernel::verify::verify(&lowered.program).expect("valid kernels");
    done("verify kernels");
    let layout = Layout::of(&lowered.program).expect("a small program");
    done("plan");
    let code = nc_cranelift::compile(&lowered.program, &layout, &nc_cranelift::Options::default());
    done("machine code");
    code.expect("machine code");
    times.retain(|(pass, _)| !pass.is_empty());
    times
}

/// The shortest time of each pass over some runs.
fn shortest(model: &Model, runs: usize) -> Times {
    let mut best = passes(model);
    for _ in 1..runs {
        for ((_, b), (_, t)) in best.iter_mut().zip(passes(model)) {
            *b = b.min(t);
        }
    }
    best
}

/// By how much a pass that grows as n log n grows between two sizes.
fn fair(small: usize, large: usize) -> f64 {
    let cost = |n: usize| n as f64 * (n as f64).max(2.0).log2();
    cost(large) / cost(small)
}

fn too_fast(small: (usize, f64), large: (usize, f64)) -> bool {
    large.1 > LEAST && large.1 > MARGIN * fair(small.0, large.0) * small.1
}

#[test]
fn growth_is_told_from_n_log_n() {
    let cost = |power: f64| move |n: usize| (n, (n as f64).powf(power) * 1e-6);
    for (power, caught) in [(1.0, false), (1.2, false), (2.0, true), (3.0, true)] {
        let t = cost(power);
        assert_eq!(too_fast(t(500), t(5000)), caught, "n to the power of {power}");
    }
    assert!(!too_fast((500, 1e-5), (5000, 1e-3)), "too short to tell");
}

#[test]
fn the_passes_are_those_of_the_pipeline() {
    let model = neurons(10);
    let parsed = nc_nd::parse(&model.text, 0);
    let module = sema::lower(&parsed.file, &mut NoFiles, &sema::Options::default()).module.expect("a model");
    let compiled = compile(module, &Options::default()).expect("it compiles");
    // Rows that begin with a space are parts of the pass before them.
    let listed: Vec<&str> = compiled.times.iter().map(|p| p.pass).filter(|p| !p.starts_with(' ')).collect();
    let timed: Vec<&str> = passes(&model).iter().map(|(pass, _)| *pass).collect();
    assert_eq!(timed, [&["parse", "check and lower"], &listed[..], &["machine code"]].concat());
}

#[test]
fn no_pass_grows_faster_than_n_log_n() {
    let (mut wrong, mut table) = (Vec::new(), String::new());
    for family in FAMILIES {
        let sizes = [1, 10, 100].map(|k| k * family.base);
        let [a, b, mut c] = [(0, 5), (1, 5), (2, 2)].map(|(k, runs)| shortest(&(family.make)(sizes[k]), runs));
        let _ = writeln!(table, "\n{}: {sizes:?} {}", family.name, family.unit);
        for (k, (pass, small)) in a.iter().enumerate() {
            let middle = (sizes[1], b[k].1);
            // Once more before it is said: a long pass can be disturbed.
            if too_fast(middle, (sizes[2], c[k].1)) {
                let again = shortest(&(family.make)(sizes[2]), 2);
                c[k].1 = c[k].1.min(again[k].1);
            }
            let large = (sizes[2], c[k].1);
            let ms = |t: f64| format!("{:10.3}", t * 1e3);
            let _ = writeln!(table, "  {pass:16} {} {} {} ms", ms(*small), ms(middle.1), ms(large.1));
            if too_fast(middle, large) {
                wrong.push(format!("{}, {pass}: {:.1} times as long", family.name, large.1 / middle.1));
            }
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "faster than n log n from 10 to 100 times the size:\n{}\n{table}", wrong.join("\n"));
}
