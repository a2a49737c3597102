//! Example models against trained networks and against spikes recorded elsewhere. Needs a Python with numpy and the
//! reference data that is not part of the repository; skipped by name without them.

use nc_tests::{nc_binary, python, root, shared_data, skip};
use std::process::Command;

/// Runs a check of the examples, which exits with 0 if everything agrees.
fn check(name: &str, script: &str, data: &str, modules: &[&str]) {
    let path = root().join(script);
    assert!(path.is_file(), "{script} is not there");
    let Some(all) = shared_data() else {
        return skip(name, "no reference data (NC_SHARED names their folder)");
    };
    let Some(python) = python(modules) else {
        return skip(name, &format!("no Python with {} (NC_PYTHON names one)", modules.join(" and ")));
    };
    let out = Command::new(python)
        .arg(&path)
        .arg("--nc")
        .arg(nc_binary())
        .arg("--data")
        .arg(all.join(data))
        .current_dir(root())
        .output()
        .expect("Python starts");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    assert!(out.status.success(), "{}\n{}", text(&out.stdout), text(&out.stderr));
}

#[test]
fn recorded_spikes_of_five_simulators() {
    let modules = ["numpy", "h5py"];
    check("recorded_spikes_of_five_simulators", "examples/braille/check.py", "recordings/braille", &modules);
}

#[test]
fn trained_networks() {
    check("trained_networks", "examples/models/check.py", "models", &["numpy"]);
}
