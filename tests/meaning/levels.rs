//! No level changes a bit: models at `-O0`, `-O1` and `-O2` give the same arrays.

use nc_ir::Tensor;
use nc_ir::graph::testing::same;
use nc_runtime::arrays::{ArrayFile, Limits};
use nc_tests::{nc, root, shared_data, skip};
use std::path::Path;

#[test]
fn file_tests_hold_without_optimisation() {
    let (code, out, err) = nc(&root(), ["test", "-O0", "--target", "cpu", "tests/filetests", "examples"]);
    assert_eq!(code, Some(0), "{out}\n{err}");
}

/// What a model gives at a level.
fn outputs(model: &Path, input: &Path, level: &str) -> Vec<(String, Tensor)> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.npz");
    let args = ["run".as_ref(), model.as_os_str(), "--no-profile".as_ref(), level.as_ref()];
    let files = ["--input".as_ref(), input.as_os_str(), "--output".as_ref(), file.as_os_str()];
    let (code, out, err) = nc(&root(), args.into_iter().chain(files));
    assert_eq!(code, Some(0), "{} {level}\n{out}\n{err}", model.display());
    ArrayFile::open(&file, Limits::default()).and_then(|f| f.read_all()).expect("an array file")
}

#[test]
fn trained_models_are_the_same_at_every_level() {
    let Some(data) = shared_data() else {
        return skip("trained_models_are_the_same_at_every_level", "no reference data (NC_SHARED names their folder)");
    };
    let mut models = 0;
    for folder in std::fs::read_dir(data.join("models")).expect("a folder").filter_map(Result::ok) {
        for (model, input) in [("model.onnx", "in.npz"), ("step.onnx", "step_in.npz"), ("dynamo.onnx", "dynamo_in.npz")]
        {
            let (model, input) = (folder.path().join(model), folder.path().join(input));
            if !model.is_file() || !input.is_file() {
                continue;
            }
            models += 1;
            let want = outputs(&model, &input, "-O0");
            for level in ["-O1", "-O2"] {
                let got = outputs(&model, &input, level);
                let names = |all: &[(String, Tensor)]| all.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
                assert_eq!(names(&want), names(&got), "{} {level}", model.display());
                for ((name, w), (_, g)) in want.iter().zip(&got) {
                    assert!(same(w, g), "{name} of {} is another at {level}", model.display());
                }
            }
        }
    }
    assert!(models >= 10, "{models} models are there");
}
