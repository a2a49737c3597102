//! ONNX's own tests of operators, run by the `nc` binary. The tests are reference data that is not part of the repository;
//! skipped by name without them.

use nc_runtime::arrays::{ArrayFile, Limits};
use nc_tests::{nc, nc_binary, python, root, shared_data, skip};
use std::path::Path;
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

/// Models of sequences that training frameworks exported, with the arrays they run on. Their layers: scans of spiking
/// neurons, of images and of delays, gated units, state spaces, a language model of spikes, one GRU, one LSTM, and both in a
/// second exporter's form.
const SEQUENCES: &[&str] = &[
    "digits_snn/model",
    "dvs_conv_snn/model",
    "egru_lm/model",
    "gru_seq/model",
    "gru_seq/dynamo",
    "hd_delay/model",
    "lsm_digits/model",
    "lstm_seq/model",
    "lstm_seq/dynamo",
    "s4d_seq/model",
    "spikegpt_tiny/model",
];

#[test]
fn sequences_run_one_step_at_a_time() {
    let Some(data) = shared_data().map(|d| d.join("models")).filter(|d| d.is_dir()) else {
        return skip("sequences_run_one_step_at_a_time", "no reference data (NC_SHARED names their folder)");
    };
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let arrays =
        |path: &Path| ArrayFile::open(path, Limits::default()).and_then(|f| f.read_all()).expect("the arrays of a run");
    for name in SEQUENCES {
        let model = data.join(format!("{name}.onnx"));
        let input = match name.strip_suffix("/model") {
            Some(folder) => data.join(folder).join("in.npz"),
            None => data.join(format!("{name}_in.npz")),
        };
        let results: Vec<_> = [&[][..], &["--stream"]]
            .into_iter()
            .map(|more| {
                let out = folder.path().join("out.npz");
                let mut args = vec!["run".into(), model.clone().into_os_string(), "--input".into()];
                args.extend([input.clone().into_os_string(), "--output".into(), out.clone().into_os_string()]);
                args.extend(more.iter().map(|m| m.into()));
                let (code, _, err) = nc(&root(), &args);
                assert_eq!(code, Some(0), "{name}: {err}");
                arrays(&out)
            })
            .collect();
        assert!(!results[0].is_empty());
        assert!(results[0] == results[1], "{name}: the sequence as a whole and step by step differ");
    }
}
