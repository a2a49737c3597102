//! The commands of the README do what they say.

use nc_ir::Tensor;
use nc_runtime::arrays::{NpzOptions, NpzWriter};
use nc_tests::{nc, root};

fn plain_command() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let args = text.split("`cargo run --release -p nc -- ").nth(1).expect("the command that needs no LLVM");
    let args = args.split('`').next().expect("its end");
    args.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_command_without_llvm_draws_a_plot() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut args = plain_command();
    // The model lies in the repository, everything that is written in the folder.
    let model = args.iter().position(|a| a.ends_with(".nd")).expect("a model");
    args[model] = root().join(&args[model]).display().to_string();
    let plot = args.iter().position(|a| a == "--plot").map(|k| args[k + 1].clone()).expect("a plot");
    let (code, out, err) = nc(folder.path(), &args);
    assert_eq!(code, Some(0), "{out}\n{err}");
    let svg = std::fs::read_to_string(folder.path().join(plot)).expect("the plot was written");
    assert!(svg.starts_with("<svg") || svg.starts_with("<?xml"), "{}", &svg[..80.min(svg.len())]);
    assert!(svg.len() > 10_000, "a plot of {} bytes shows no spikes", svg.len());
}

#[test]
fn targets_that_are_not_there_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = root().join("examples/cuba.nd").display().to_string();
    for target in ["cuda", "tpu", "spinnaker3"] {
        let args = ["run", &model, "--steps", "1", "--target", target];
        let (code, _, err) = nc(folder.path(), args);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(target), "{err}");
    }
}

#[test]
fn formats_that_are_not_read_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["model.onnx", "model.nir"] {
        std::fs::write(folder.path().join(name), b"\x08\x07\x12\x00\xff\xfe").expect("a file");
        let (code, _, err) = nc(folder.path(), ["check", name]);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(name), "{err}");
    }
}

#[test]
fn a_system_that_its_solver_cannot_take_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = "neuron N {\n  state v: real = 0.5\n  v' = v * v / (1 ms)\n  solve exact\n}\n\n\
                 net A {\n  clock 1 ms\n  pop P: N[1]\n  output y = P.v\n}\n";
    std::fs::write(folder.path().join("a.nd"), model).expect("a file");
    for args in [&["check", "a.nd"][..], &["run", "a.nd", "--steps", "1"]] {
        let (code, _, err) = nc(folder.path(), args);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("E0701") && err.contains("solve auto"), "{err}");
    }
}

#[test]
fn pruning_says_what_is_left_and_what_it_does_to_the_outputs() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = "net M {\n  file f = \"a.npz\"\n  input x: real[3]\n  param W: real[2, 3] = f[\"W\"]\n  \
                 output y = linear(x, W)\n}\n";
    std::fs::write(folder.path().join("m.nd"), model).expect("a file");
    let mut file = NpzWriter::create(&folder.path().join("a.npz"), NpzOptions { deflate: false }).expect("a file");
    let tensor = |shape: Vec<usize>, data: Vec<f32>| Tensor::from_vec(shape, data).expect("as many");
    file.write("W", &tensor(vec![2, 3], vec![4.0, 0.25, 1.0, 0.5, 2.0, 3.0])).expect("an array");
    file.finish().expect("a file");
    let mut file = NpzWriter::create(&folder.path().join("x.npz"), NpzOptions { deflate: false }).expect("a file");
    file.write("x", &tensor(vec![1, 3], vec![1.0; 3])).expect("an array");
    file.finish().expect("a file");
    let (code, out, err) = nc(folder.path(), ["explain", "m.nd", "--prune", "keep=4", "--input", "x.npz"]);
    assert_eq!(code, Some(1), "{out}\n{err}");
    assert!(err.contains("E0707"), "{err}");
    let (code, out, err) = nc(folder.path(), ["explain", "m.nd", "--prune", "keep=50%", "--input", "x.npz"]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(err.contains("note[N0846]: `W`: 3 of 6 weights are left, of 6 that were not zero"), "{err}");
    // 1.25 and 0.5 are missing from 5.25 and 5.5.
    let says = "  y: 2 of 2 differ, by 0.8750 on average and 1.2500 at most; the largest is 5.5000\n";
    assert!(out.ends_with(says), "{out}");
}
