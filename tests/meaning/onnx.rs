//! ONNX's own tests of operators, run by the `nc` binary. The tests are reference data that is not part of the repository;
//! skipped by name without them.

use nc_tests::{nc_binary, python, root, shared_data, skip};
use std::process::Command;

/// The classes of the suite that must pass whole: all operators, none of the whole networks.
const CLASSES: &str = "^(core|ext|niche)\\.";

/// Those of them that the interpreter, which is slow, is asked for.
const INTERPRETED: &str = "^(core\\.(elementwise|activation|gather|reduce|softmax)|niche)";

fn conformance(name: &str, target: &str, classes: &str) {
    let script = shared_data().and_then(|d| Some(d.parent()?.join("conformance/run.py"))).filter(|s| s.is_file());
    let Some(script) = script else {
        return skip(name, "no reference data (NC_SHARED names their folder)");
    };
    let Some(python) = python(&["numpy"]) else {
        return skip(name, "no Python with numpy (NC_PYTHON names one)");
    };
    let out = Command::new(python)
        .arg(script)
        .args(["--suite", "onnx", "--only", classes, "--target", target, "--nc"])
        .arg(nc_binary())
        .current_dir(root())
        .output()
        .expect("Python starts");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    assert!(out.status.success(), "{}\n{}", text(&out.stdout), text(&out.stderr));
}

#[test]
fn operators_of_onnx_on_the_interpreter() {
    conformance("operators_of_onnx_on_the_interpreter", "interp", INTERPRETED);
}

#[test]
fn operators_of_onnx_on_the_processor() {
    conformance("operators_of_onnx_on_the_processor", "cpu", CLASSES);
}
