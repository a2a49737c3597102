//! `nc convert`: what is made of a model computes what the model does, to the bit.

use super::files::{arrays, done};
use nc_runtime::arrays::{NpzOptions, NpzWriter};
use nc_tests::{nc, root};
use std::path::Path;

const PRESETS: &[&str] = &[
    "euler",
    "snntorch",
    "snntorch,reset=subtract",
    "norse",
    "sinabs",
    "spikingjelly",
    "lava-float",
    "spinnaker2",
    "spyx",
    "nengo",
    "rockpool",
    "exact",
    "exact,recurrent_delay=3",
    "euler,clamp=-1:1,order=membrane-first",
];

/// The same arrays, of which those named `before` are called `after`.
fn renamed(from: &Path, to: &Path, before: &str, after: &str) {
    let mut writer = NpzWriter::create(to, NpzOptions::default()).expect("a file");
    for (name, array) in arrays(from) {
        writer.write(if name == before { after } else { &name }, &array).expect("an array");
    }
    writer.finish().expect("a file");
}

#[test]
fn text_made_of_nir_computes_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let data = root().join("tests/filetests/nir");
    let model = data.join("knobs.nir").display().to_string();
    let input = data.join("in.npz").display().to_string();
    // `input` and `output` are words of the language.
    renamed(&data.join("in.npz"), &at("in.npz"), "input", "input_");
    // The arrays of the text lie beside it, and not where an array file of the user may.
    std::fs::write(at("k.npz"), b"mine").expect("a file");
    for preset in PRESETS {
        let run = |args: &[&str]| done(folder.path(), args);
        let as_nir = ["--dt", "1e-3", "--discretise", preset];
        run(&[&["run", &model, "--input", &input, "--output", "nir.npz"][..], &as_nir].concat());
        let said = run(&[&["convert", &model, "k.nd"][..], &as_nir].concat());
        assert!(said.contains("`input` is called `input_`"), "{said}");
        run(&["fmt", "--check", "k.nd"]);
        run(&["run", "k.nd", "--input", "in.npz", "--output", "nd.npz"]);
        let (nir, nd) = (arrays(&at("nir.npz")), arrays(&at("nd.npz")));
        assert_eq!(nir.len(), nd.len(), "{preset}");
        for (name, a) in nir {
            let word = if name == "output" { "output_" } else { &name };
            let b = nd.iter().find(|(n, _)| n == word).map(|(_, b)| b);
            assert_eq!(Some(&a), b, "{preset}: {name}");
            assert!((0..a.len()).any(|k| a.get_f64(k) != 0.0), "{preset}: {name} is silent");
        }
    }
    assert_eq!(std::fs::read(at("k.npz")).expect("the file"), b"mine");
}

#[test]
fn what_the_language_cannot_say_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |args: &[&str], words: &[&str]| {
        let (code, _, err) = nc(folder.path(), args);
        assert_eq!(code, Some(1), "{args:?}: {err}");
        for w in words {
            assert!(err.contains(w), "{args:?}: {w} is not in {err}");
        }
        assert!(!folder.path().join("out.nd").exists() && !folder.path().join("out.weights.npz").exists(), "{args:?}");
    };
    // Integers of 64 bits are shifted.
    let whole = root().join("tests/filetests/nir/whole.nir").display().to_string();
    let lava = ["--dt", "1e-3", "--discretise", "lava-fixed"];
    refused(&[&["convert", &whole, "out.nd"][..], &lava].concat(), &["E0550", "`cast`"]);
    // Equations and synapses stay in the graph that a text is made into.
    let cuba = root().join("examples/cuba.nd").display().to_string();
    done(folder.path(), &["convert", &cuba, "cuba.graph"]);
    refused(&["convert", "cuba.graph", "out.nd"], &["E0550", "i32"]);
    refused(&["convert", &cuba, "out.nd"], &["E0946", "nc fmt"]);
    refused(&["convert", &cuba, "out.onnx"], &["E0946", "not written"]);
}
