//! No level changes a bit: models at `-O0`, `-O1` and `-O2` give the same arrays.

use nc_ir::Tensor;
use nc_ir::graph::testing::same;
use nc_runtime::arrays::{ArrayFile, Limits};
use nc_tests::{nc, root, shared_data, skip};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn file_tests_hold_without_optimisation() {
    let (code, out, err) = nc(&root(), ["test", "-O0", "--target", "cpu", "tests/filetests", "examples"]);
    assert_eq!(code, Some(0), "{out}\n{err}");
}

/// What a model gives at a level, or the code of the error that refuses it.
fn given(model: &Path, input: &Path, level: &str) -> Result<Vec<(String, Tensor)>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.npz");
    let args = ["run".as_ref(), model.as_os_str(), "--no-profile".as_ref(), level.as_ref()];
    let files = ["--input".as_ref(), input.as_os_str(), "--output".as_ref(), file.as_os_str()];
    let (code, _, err) = nc(&root(), args.into_iter().chain(files));
    if code == Some(0) {
        return Ok(ArrayFile::open(&file, Limits::default()).and_then(|f| f.read_all()).expect("an array file"));
    }
    let refused = err.split_once("error[").and_then(|(_, e)| e.get(..5));
    Err(refused.unwrap_or_else(|| panic!("{} {level}: {err}", model.display())).to_owned())
}

/// What a model gives at a level.
fn outputs(model: &Path, input: &Path, level: &str) -> Vec<(String, Tensor)> {
    given(model, input, level).unwrap_or_else(|code| panic!("{} {level}: {code}", model.display()))
}

/// Folders of ONNX's own tests that are small enough to run twice.
fn onnx_tests(data: &Path) -> Vec<PathBuf> {
    const MOST: u64 = 1 << 20;
    let within = |f: &Path| std::fs::read_dir(f).into_iter().flatten().filter_map(Result::ok).map(|e| e.path());
    let mut all: Vec<PathBuf> =
        within(&data.join("onnx")).flat_map(|suite| within(&suite).collect::<Vec<_>>()).collect();
    all.retain(|f| f.join("in.npz").is_file() && f.join("model.onnx").metadata().is_ok_and(|m| m.len() <= MOST));
    all.sort();
    all
}

#[test]
fn operators_of_onnx_are_the_same_at_every_level() {
    let Some(data) = shared_data() else {
        return skip(
            "operators_of_onnx_are_the_same_at_every_level",
            "no reference data (NC_SHARED names their folder)",
        );
    };
    let all = onnx_tests(&data);
    assert!(all.len() > 1000, "{} tests are there", all.len());
    let next = AtomicUsize::new(0);
    let (ran, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|s| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            s.spawn(|| {
                while let Some(folder) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (model, input) = (folder.join("model.onnx"), folder.join("in.npz"));
                    match (given(&model, &input, "-O0"), given(&model, &input, "-O2")) {
                        (Ok(want), Ok(got)) => {
                            assert_same(&want, &got, &model, "-O2");
                            ran.fetch_add(1, Ordering::Relaxed);
                        }
                        (Err(want), Err(got)) => {
                            assert_eq!(want, got, "{}", model.display());
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        (want, got) => panic!("{}: {:?} {:?}", model.display(), want.err(), got.err()),
                    }
                }
            });
        }
    });
    assert!(ran.into_inner() > 5 * refused.into_inner(), "most are refused");
}

fn assert_same(want: &[(String, Tensor)], got: &[(String, Tensor)], model: &Path, level: &str) {
    let names = |all: &[(String, Tensor)]| all.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(want), names(got), "{} {level}", model.display());
    for ((name, w), (_, g)) in want.iter().zip(got) {
        assert!(same(w, g), "{name} of {} is another at {level}", model.display());
    }
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
                assert_same(&want, &outputs(&model, &input, level), &model, level);
            }
        }
    }
    assert!(models >= 10, "{models} models are there");
}
