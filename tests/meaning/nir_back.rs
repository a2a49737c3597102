//! `nc convert` to `.nir`: the file computes what the model does, or what it cannot hold is named.

use super::files::{arrays, done};
use nc_ir::Tensor;
use nc_runtime::arrays::{NpzOptions, NpzWriter};
use nc_tests::{nc, python, root, skip};
use std::process::Command;

/// Presets whose step comes back from text to the bit.
const PRESETS: &[&str] = &[
    "euler",
    "snntorch",
    "snntorch,reset=subtract",
    "sinabs",
    "spikingjelly",
    "lava-float",
    "spyx",
    "nengo",
    "rockpool",
    "exact",
    "exact,recurrent_delay=3",
    "euler,clamp=-1:1,order=membrane-first",
];

#[test]
fn a_file_comes_back_from_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let data = root().join("tests/filetests/nir");
    let model = data.join("knobs.nir").display().to_string();
    let input = data.join("in.npz").display().to_string();
    for preset in PRESETS {
        let as_nir = ["--dt", "1e-3", "--discretise", preset];
        done(folder.path(), &[&["run", &model, "--input", &input, "--output", "a.npz"][..], &as_nir].concat());
        done(folder.path(), &[&["convert", &model, "k.nd"][..], &as_nir].concat());
        let said = done(folder.path(), &["convert", "k.nd", "b.nir", "--discretise", preset]);
        assert!(said.contains("to the bit") && said.contains(&format!("--discretise {preset}")), "{preset}: {said}");
        done(folder.path(), &[&["run", "b.nir", "--input", &input, "--output", "b.npz"][..], &as_nir].concat());
        assert_eq!(arrays(&at("a.npz")), arrays(&at("b.npz")), "{preset}");
        // The way back is the same file again: nothing is lost a second time.
        done(folder.path(), &[&["convert", "b.nir", "l.nd"][..], &as_nir].concat());
        done(folder.path(), &["convert", "l.nd", "c.nir", "--discretise", preset]);
        let bytes = |name: &str| std::fs::read(at(name)).expect("a file");
        assert_eq!(bytes("b.nir"), bytes("c.nir"), "{preset}");
    }
    // What these do to weights and biases is no node of NIR.
    for preset in ["norse", "spinnaker2"] {
        done(folder.path(), &["convert", &model, "k.nd", "--dt", "1e-3", "--discretise", preset]);
        let (code, _, err) = nc(folder.path(), ["convert", "k.nd", "d.nir", "--discretise", preset]);
        assert!(code == Some(0) && !err.contains("to the bit") || code == Some(1) && err.contains("E0947"), "{err}");
    }
}

/// Nets of `.nd` with an input `u` and an output `s`, the knobs that their files are read with, and whether the note says
/// that these give the same bits.
const NETS: &[(&str, &str, bool)] = &[
    // Forward Euler where every product is exact (powers of two), so that the order of operations cannot matter.
    (
        "neuron Lif {
  param tau: ms = 8 ms
  input x: mV
  state v: mV = 0 mV
  v' = (x - v) / tau
  threshold v > 0.5 mV
  reset { v = 0 mV }
  solve euler
}
net N {
  clock 1 ms
  input u: real[2]
  pop P: Lif[2]
  pop Q: Lif[2]
  P.x <- u * 4 mV
  connect P -> Q.x { rule = all(); weight = 2 mV; delay = 2 ms }
  output s = Q.spike
}
",
        "--discretise euler,if=dt",
        false,
    ),
    // A current and a membrane, solved exactly; the chain of the solver is another one than that of the preset.
    (
        "neuron Cuba {
  input x: mV
  state v: mV = 0 mV
  state i: mV = 0 mV
  v' = (i - v) / 10 ms
  i' = (x - i) / 5 ms
  threshold v > 0.25 mV
  reset { v = 0 mV }
}
net N {
  clock 1 ms
  input u: real[2]
  pop P: Cuba[2]
  P.x <- u * 8 mV
  output s = P.spike
}
",
        "--discretise exact,if=dt",
        false,
    ),
    // A step in discrete time with a recurrent connection, whose numbers are no binary fractions.
    (
        "fn number(x: real) -> real = x
net N {
  clock 1 ms
  file f = \"w.npz\"
  param W: real[2, 2] = f[\"W\"]
  param R: real[2, 2] = f[\"R\"]
  input u: real[2]
  state v: real[2] = 0
  state before: spike[2] = false
  let x = linear(u, W) + linear(number(before), R)
  let w = v + 0.1 * (x - v)
  let fires = w > 0.3
  next v = if fires then 0.05 else w
  next before = fires
  output s = fires
}
",
        "--discretise euler,",
        true,
    ),
    // Leaky integrators without spikes, a decay as a factor, an integrator.
    (
        "net N {
  clock 1 ms
  input u: real[2]
  state v: real[2] = 0
  state sum: real[2] = 0
  next v = 0.9 * v + 0.35 * u
  next sum = sum + 0.125 * u
  output s = v
  output t = sum
}
",
        "--discretise euler,form=decay",
        true,
    ),
];

#[test]
fn nets_of_the_language_become_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let draws: Vec<f32> = (0..80u32).map(|k| (k.wrapping_mul(2_654_435_761) >> 24) as f32 / 256.0).collect();
    let mut writer = NpzWriter::create(&at("in.npz"), NpzOptions::default()).expect("a file");
    writer.write("u", &Tensor::from_vec(vec![40, 2], draws).expect("a tensor")).expect("an array");
    writer.finish().expect("a file");
    let mut writer = NpzWriter::create(&at("w.npz"), NpzOptions::default()).expect("a file");
    for (name, w) in [("W", [1.7f32, 0.3, -0.2, 1.1]), ("R", [0.1, 0.7, 0.9, -0.3])] {
        writer.write(name, &Tensor::from_vec(vec![2, 2], w.to_vec()).expect("a tensor")).expect("an array");
    }
    writer.finish().expect("a file");
    for (text, how, exact) in NETS {
        std::fs::write(at("n.nd"), text).expect("a file");
        let said = done(folder.path(), &["convert", "n.nd", "n.nir"]);
        assert!(said.contains(how), "{text}{said}");
        assert_eq!(said.contains("to the bit"), *exact, "{text}{said}");
        let knobs = said.split("--discretise ").nth(1).and_then(|s| s.split(", the file").next()).expect("knobs");
        done(folder.path(), &["run", "n.nd", "--input", "in.npz", "--output", "nd.npz"]);
        let read = ["--dt", "1e-3", "--discretise", knobs];
        done(folder.path(), &[&["run", "n.nir", "--input", "in.npz", "--output", "nir.npz"][..], &read].concat());
        let (nd, nir) = (arrays(&at("nd.npz")), arrays(&at("nir.npz")));
        assert_eq!(nd, nir, "{text}");
        assert!(nd.iter().all(|(_, a)| (0..a.len()).any(|k| a.get_f64(k) != 0.0)), "{text} is silent");
        let Some(python) = python(&["numpy", "nir"]) else {
            skip("nets_of_the_language_become_files", "no Python with numpy and nir: what it reads is not checked");
            continue;
        };
        let script =
            "import nir, sys; g = nir.read(sys.argv[1]); print(sorted(type(n).__name__ for n in g.nodes.values()))";
        let out = Command::new(python).args(["-c", script]).arg(at("n.nir")).output().expect("Python starts");
        assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    }
}

/// Convolutions and pools in front of cells become nodes of their own, and the file computes what the net does.
#[test]
fn convolutions_and_pools_become_nodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let draws = |n: u32| (0..n).map(|k| (k.wrapping_mul(2_654_435_761) >> 24) as f32 / 128.0 - 0.5).collect();
    let array = |shape: &[usize]| {
        Tensor::from_vec(shape.to_vec(), draws(shape.iter().product::<usize>() as u32)).expect("a tensor")
    };
    let file = |name: &str, arrays: &[(&str, Tensor)]| {
        let mut writer = NpzWriter::create(&at(name), NpzOptions::default()).expect("a file");
        arrays.iter().for_each(|(n, t)| writer.write(n, t).expect("an array"));
        writer.finish().expect("a file");
    };
    file("w.npz", &[("K", array(&[2, 1, 2, 2])), ("B", array(&[2]))]);
    file("in.npz", &[("u", array(&[40, 2, 4, 4]))]);
    let nets = [
        ("conv2d(u, K, B, stride = [1, 2], pad = [1, 0], groups = 2)", "2, 5, 2"),
        ("avg_pool(u, [2, 2], [2, 2], [0, 0])", "2, 2, 2"),
        ("sum_pool(conv2d(u, K, B, groups = 2), [3, 2], [1, 1], [1, 0])", "2, 3, 2"),
    ];
    for (x, shape) in nets {
        let text = format!(
            "net N {{\n  clock 1 ms\n  file f = \"w.npz\"\n  param K: real[2, 1, 2, 2] = f[\"K\"]\n  param B: real[2] = \
             f[\"B\"]\n  input u: real[2, 4, 4]\n  state v: real[{shape}] = 0\n  let x = {x}\n  let w = v + 0.1 * (x - \
             v)\n  let fires = w > 0.05\n  next v = if fires then 0.01 else w\n  output s = fires\n}}\n"
        );
        std::fs::write(at("n.nd"), &text).expect("a file");
        let said = done(folder.path(), &["convert", "n.nd", "n.nir"]);
        let knobs = said.split("--discretise ").nth(1).and_then(|s| s.split(", the file").next()).expect("knobs");
        done(folder.path(), &["run", "n.nd", "--input", "in.npz", "--output", "nd.npz"]);
        let run = ["run", "n.nir", "--dt", "1e-3", "--discretise", knobs, "--input", "in.npz", "--output", "nir.npz"];
        done(folder.path(), &run);
        let (nd, nir) = (arrays(&at("nd.npz")), arrays(&at("nir.npz")));
        assert_eq!(nd, nir, "{x}");
        assert!(nd.iter().all(|(_, a)| (0..a.len()).any(|k| a.get_f64(k) != 0.0)), "{x} is silent");
    }
}

/// What NIR cannot hold, each with the words that name it.
#[test]
fn what_nir_cannot_hold_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let neuron = |items: &str| {
        format!(
            "neuron N {{\n  input x: mV\n  state v: mV = 0 mV\n  v' = (x - v) / 10 ms\n  threshold v > 1 mV\n  reset {{ v = 0 mV \
             }}\n{items}}}\nnet M {{\n  clock 1 ms\n  input u: mV[3]\n  pop P: N[3]\n  P.x <- u\n  output s = P.spike\n}}\n"
        )
    };
    let plain = neuron("");
    let cases: Vec<(String, &str, bool)> = vec![
        (neuron("  refractory 2 ms\n"), "refractory", true),
        (plain.replace("v > 1 mV", "v >= 1 mV"), "`>=`", false),
        (plain.replace("v = 0 mV }", "v -= 1 mV }"), "subtraction", false),
        (plain.replace("state v: mV = 0 mV", "state v: mV = 0.5 mV"), "initial value", true),
        (plain.replace("output s = P.spike", "output s = P.spike\n  output v = P.v"), "the output `v`", true),
        (plain.replace("output s = P.spike", "output s = P.spike\n  probe P.v"), "probe", true),
        (plain.replace("(x - v) / 10 ms", "(x - v * v / 1 mV) / 10 ms"), "not linear", false),
        (plain.replace("P.x <- u", "P.x <- tanh(u / 1 mV) * 1 mV"), "`tanh`", false),
        (plain.replace("(x - v) / 10 ms", "(x + v) / 10 ms"), "does not decay", false),
        (plain.replace("input u", "input unused: real\n  input u"), "the input `unused`", true),
    ];
    for (text, words, lossy) in cases {
        std::fs::write(folder.path().join("m.nd"), &text).expect("a file");
        let (code, _, err) = nc(folder.path(), ["convert", "m.nd", "m.nir"]);
        assert_eq!(code, Some(1), "{words}: {err}");
        assert!(err.contains("E0947") && err.contains(words), "{words}: {err}");
        assert!(!folder.path().join("m.nir").exists(), "{words}");
        let (code, _, err) = nc(folder.path(), ["convert", "m.nd", "m.nir", "--lossy"]);
        assert_eq!(code, Some(i32::from(!lossy)), "{words}: {err}");
        if lossy {
            assert!(err.contains("W0948") && err.contains(words), "{words}: {err}");
            done(folder.path(), &["check", "m.nir", "--dt", "1e-3"]);
            std::fs::remove_file(folder.path().join("m.nir")).expect("a file");
        }
    }
    let cell = "neuron N {\n  input x: real\n  state v: real = 0\n  v' = (x - v) / 10 ms\n  threshold v > 1\n  reset { v = 0 }\n}\n";
    let jump = "neuron N {\n  state v: real = 0\n  on x(w: real) { v += w }\n  v' = -v / 10 ms\n  threshold v > 1\n  reset { v = 0 }\n}\n";
    let stdp = "synapse Plastic {\n  state w: real = 0.5\n  state y: real = 0\n  y' = -y / 10 ms\n  on pre { emit w; w = \
                max(0, w - 0.1 * y) }\n  on post { y += 1 }\n}\n";
    let joined = |first: &str, rule: &str| {
        format!(
            "{first}net M {{\n  clock 1 ms\n  file f = \"pairs.npz\"\n  param T: int[3, 2] = f[\"T\"]\n  input u: spike[2]\n  \
             pop P: N[2]\n  connect c: u -> P.x {{ {rule} }}\n  output s = P.spike\n}}\n"
        )
    };
    let between = |x: &str, shape: &str| {
        format!(
            "{cell}net M {{\n  clock 1 ms\n  input u: real[2, 4, 4]\n  pop P: N[{shape}]\n  P.x <- {x}\n  output s = P.spike\n}}\n"
        )
    };
    let mut writer = NpzWriter::create(&folder.path().join("pairs.npz"), NpzOptions::default()).expect("a file");
    let pairs = Tensor::from_vec(vec![3, 2], vec![0i64, 1, 1, 0, 0, 1]).expect("three pairs");
    writer.write("T", &pairs).expect("an array");
    writer.finish().expect("a file");
    let synapses = [
        (
            joined(&format!("{cell}{stdp}"), "rule = all(); model = Plastic; delay = 1 ms"),
            "the plastic synapses of `c`",
        ),
        (joined(jump, "rule = all(); weight = 0.5"), "events that change `P.v` at once"),
        (joined(cell, "rule = all(); weight = 2; delay = (1 + j) * 1 ms"), "the different delays of `c`"),
        (joined(cell, "rule = table(T); weight = 2"), "two synapses of `c` between the same two cells"),
        (between("max_pool(u, [2, 2], [2, 2], [0, 0])", "2, 2, 2"), "the op `pool`"),
        (between("softmax(u)", "2, 4, 4"), "the op `div`"),
    ];
    for (text, words) in synapses {
        std::fs::write(folder.path().join("m.nd"), &text).expect("a file");
        for more in [&[][..], &["--lossy"]] {
            let (code, _, err) = nc(folder.path(), [&["convert", "m.nd", "m.nir"], more].concat());
            assert!(code == Some(1) && err.contains("E0947") && err.contains(words), "{words}: {err}");
            assert!(!folder.path().join("m.nir").exists(), "{words}");
        }
    }
    let refused = |args: &[&str], words: &[&str]| {
        let (code, _, err) = nc(folder.path(), args);
        assert!(code == Some(1) && words.iter().all(|w| err.contains(w)), "{args:?}: {err}");
    };
    std::fs::write(folder.path().join("m.nd"), &plain).expect("a file");
    refused(&["convert", "m.nd", "m.graph", "--lossy"], &["E0806", "--lossy"]);
    refused(&["convert", "m.nd", "m.nir", "--dt", "1e-4"], &["E0806", "clock"]);
}
