//! Retimed models on the emulated chip: what comes out some ticks later is the model's, to the bit.

use super::chip::{Built, Tools, bytes, inputs, machine, result};
use nc_ir::Diagnostic;
use nc_ir::graph::Module;
use nc_ir::graph::testing::same;
use nc_ir::interp::Interpreter;
use nc_spinnaker2::check::check;
use nc_spinnaker2::compile::{Options, build, map};
use nc_spinnaker2::emulate::serial;
use nc_spinnaker2::flatten::flatten;
use nc_spinnaker2::split::{Pipelined, pipeline};
use std::sync::Arc;

const NEURONS: &str = "
neuron Lif {
  input i: real
  state v: real = 0.25
  on e(w: real) { v += w }
  next v = 0.875 * v + i + 0.0625
  threshold v > 1
  reset { v -= 1 }
}
synapse Trace {
  state w: real = 0.5
  state x: real = 0
  x' = -x / (10 ms)
  on pre { emit w; x += 1 }
  on post { w = min(1, w + 0.01 * x) }
}
";

/// Models with the ticks that their outputs come later, the slots of a tick, and those of the model as it is.
const MODELS: [(&str, &str, &[u64], usize, usize); 8] = [
    (
        "three layers",
        "net N { clock 1 ms; seed 1
          param A: real[24, 20] = uniform(-0.5, 0.75)
          param B: real[16, 24] = uniform(-0.5, 0.75)
          param C: real[12, 16] = uniform(-0.5, 0.75)
          input x: spike[20]
          pop P: Lif[24]; pop Q: Lif[16]; pop R: Lif[12]
          P.i <- linear(x, A); Q.i <- linear(P.spike, B); R.i <- linear(Q.spike, C)
          output p = P.spike
          output r = R.spike
          output v = R.v
          probe Q.v every 3 ms }",
        &[0, 2, 2],
        2,
        4,
    ),
    (
        "a layer that sees itself, and a way around it",
        "net N { clock 1 ms; seed 2
          param A: real[24, 20] = uniform(-0.5, 0.75)
          param H: real[24, 24] = uniform(-0.25, 0.25)
          param B: real[12, 24] = uniform(-0.5, 0.75)
          param D: real[12, 20] = uniform(-0.25, 0.25)
          input x: spike[20]
          state h: real[24] = 0.5
          next h = tanh(linear(x, A) + linear(h, H))
          pop R: Lif[12]
          R.i <- linear(h + 0, B) + linear(x, D)
          pop S: Lif[12]
          S.i <- R.v + 0.125 * R.v
          output r = S.spike }",
        &[2],
        2,
        3,
    ),
    (
        "a circle with a delay, and what reads it",
        "net N { clock 1 ms; seed 3
          param B: real[12, 24] = uniform(-0.5, 0.75)
          input x: real[24]
          pop P: Lif[24]; pop Q: Lif[24]; pop R: Lif[12]
          P.i <- x
          connect P -> Q.e { rule = random(p = 0.3); weight = 0.5 }
          connect Q -> P.e { rule = random(p = 0.3); weight = -0.25; delay = 1 ms }
          R.i <- linear(Q.spike, B)
          output q = Q.spike
          output r = R.spike }",
        &[0, 1],
        3,
        4,
    ),
    (
        "delays of their own",
        "net N { clock 1 ms; seed 4
          input x: real[24]
          pop P: Lif[24]; pop Q: Lif[16]; pop R: Lif[16]
          P.i <- x
          connect P -> Q.e { rule = random(p = 0.4); weight = uniform(0, 1); delay = uniform(1 ms, 5 ms) }
          connect P -> R.e { rule = fixed_in(k = 3); weight = 0.5; delay = 2 ms }
          connect Q -> R.e { rule = all(); weight = 0.25 }
          output r = R.spike
          output v = R.v }",
        &[1, 1],
        2,
        3,
    ),
    (
        "images",
        "net N { clock 1 ms; seed 5
          param K: real[4, 2, 3, 3] = uniform(-0.25, 0.75)
          param B: real[10, 36] = uniform(-0.5, 0.75)
          input x: spike[2, 8, 8]
          pop P: Lif[4, 6, 6]; pop R: Lif[10]
          P.i <- conv2d(x, K)
          R.i <- linear(flatten(max_pool(0 + P.v, size = [2, 2])), B)
          output r = R.spike }",
        &[1],
        2,
        3,
    ),
    (
        "gates side by side, and a way around them",
        "net N { clock 1 ms; seed 8
          param A: real[24, 20] = uniform(-0.5, 0.75)
          param B: real[36, 24] = uniform(-0.5, 0.75)
          input x: spike[20]
          pop P: Lif[24]
          P.i <- linear(x, A)
          state c: real[12] = 0.25
          let f, g, o = split(linear(P.spike, B), 3)
          let e, h = split(linear(x, A), 2)
          next c = sigmoid(f) * c + (1 - sigmoid(f)) * tanh(g) + 0.125 * e
          output k = 2 * c
          output y = tanh(o) * h }",
        &[3, 3],
        2,
        5,
    ),
    (
        "noise and the number of the tick",
        "net N { clock 1 ms; seed 6
          param A: real[24, 20] = uniform(-0.5, 0.75)
          param B: real[12, 24] = uniform(-0.5, 0.75)
          input x: spike[20]
          pop P: Lif[24]; pop Q: Lif[12]
          P.i <- linear(x, A) + noise(0.25, [24])
          Q.i <- linear(P.spike, B) + noise(0.25, [12])
          output q = Q.spike
          output w = 2 * Q.v }",
        &[1, 1],
        2,
        3,
    ),
    (
        "plastic synapses, which keep their tick, and what reads them",
        "net N { clock 1 ms; seed 7
          param B: real[6, 8] = uniform(0, 0.75)
          input x: spike[20]
          pop P: Lif[8]; pop R: Lif[6]
          connect s: x -> P.e { rule = all(); model = Trace(w = uniform(0, 0.5)) }
          R.i <- linear(P.spike, B)
          output p = P.spike
          output r = R.spike }",
        &[0, 1],
        2,
        3,
    ),
];

fn model(name: &str, net: &str) -> Module {
    struct NoFiles;
    impl nc_nd::sema::Loader for NoFiles {
        fn source(&mut self, path: &str, _: u32) -> Result<(u32, String), Diagnostic> {
            Err(Diagnostic::error_nowhere("E0610", path.to_owned()))
        }
        fn array(&mut self, file: &str, _: &str) -> Result<nc_ir::Tensor, Diagnostic> {
            Err(Diagnostic::error_nowhere("E0610", file.to_owned()))
        }
        fn list(&mut self, file: &str) -> Result<Vec<(String, nc_ir::TensorType)>, Diagnostic> {
            Err(Diagnostic::error_nowhere("E0610", file.to_owned()))
        }
    }
    let parsed = nc_nd::parse(&format!("{NEURONS}{net}"), 0);
    let lowered = nc_nd::sema::lower(&parsed.file, &mut NoFiles, &nc_nd::sema::Options::default());
    let said: Vec<&String> = parsed.diagnostics.iter().chain(&lowered.diagnostics).map(|d| &d.message).collect();
    let module = lowered.module.unwrap_or_else(|| panic!("{name}: {said:?}"));
    let options = nc_compiler::Options::default();
    nc_compiler::prepare(module, &options, &mut Vec::new()).unwrap_or_else(|e| panic!("{name}: {}", e[0].message))
}

fn on_chip(name: &str, module: &Module, options: &Options) -> Built {
    let mapping = map(module, options, &Tools).unwrap_or_else(|e| panic!("{name}: {}", e[0].message));
    let bundle = build(module, &mapping, options, &Tools).unwrap_or_else(|e| panic!("{name}: {}", e[0].message));
    check(&bundle, module, 1 << 24, &Tools).unwrap_or_else(|e| panic!("{name}: {}", e[0].message));
    Built { mapping, bundle }
}

/// Runs the retimed model on the chip and the model in the interpreter. How many bytes of compared outputs are not zero.
fn compare(name: &str, meant: &Module, retimed: &Pipelined, chip: &Built) -> usize {
    let ticks = inputs(meant, 40, 11);
    let mut whole = Interpreter::new(Arc::new(meant.clone())).unwrap_or_else(|e| panic!("{name}: {}", e.message));
    let expected: Vec<_> =
        ticks.iter().map(|i| whole.step(i).unwrap_or_else(|e| panic!("{name}: {}", e.message))).collect();
    let mut emulator = chip.emulator();
    let m = &chip.bundle.manifest;
    let mut active = 0;
    for (t, i) in ticks.iter().enumerate() {
        let faults = emulator.tick(&bytes(i), &serial);
        assert!(faults.is_empty(), "{name}, tick {t}: {}", faults[0].describe(m));
        for (k, (port, late)) in m.outputs.iter().zip(&retimed.outputs).enumerate() {
            let got = result(&emulator, port.stream, &expected[0].outputs[k]);
            match t.checked_sub(*late as usize) {
                Some(then) => {
                    assert!(same(&expected[then].outputs[k], &got), "{name}, tick {t}, output {}", port.name);
                    active += got.bytes().iter().filter(|b| **b != 0).count();
                }
                None => assert!(got.bytes().iter().all(|b| *b == 0), "{name}, tick {t}, output {}", port.name),
            }
        }
        for (k, (port, late)) in m.probes.iter().zip(&retimed.probes).enumerate() {
            let Some(then) = t.checked_sub(*late as usize).filter(|_| (t as u64).is_multiple_of(port.every)) else {
                continue;
            };
            let meant = expected[then].probes.iter().find(|(p, _)| *p == k).expect("a frame of the probe");
            assert!(same(&meant.1, &result(&emulator, port.stream, &meant.1)), "{name}, tick {t}, probe {}", port.name);
        }
    }
    active
}

#[test]
fn retimed_models_give_the_model_s_outputs_later() {
    let mut found = Vec::new();
    for (name, net, ..) in MODELS {
        let module = model(name, net);
        let flat = flatten(&module).unwrap_or_else(|e| panic!("{name}: {e}"));
        let retimed = pipeline(&flat).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut slots = Vec::new();
        for parts in [1, 3] {
            let options = Options { parts, moves: 300, ..Options::new(machine("spinnaker2")) };
            let chip = on_chip(name, &retimed.module, &options);
            assert!(compare(name, &module, &retimed, &chip) > 0, "{name} is silent: the test sees nothing");
            slots = vec![chip.bundle.manifest.slots.len(), on_chip(name, &flat, &options).bundle.manifest.slots.len()];
        }
        found.push((name, retimed.outputs, slots));
    }
    let meant: Vec<_> = MODELS.iter().map(|(n, _, late, s, b)| (*n, late.to_vec(), vec![*s, *b])).collect();
    assert_eq!(found, meant);
}
