//! NIR files against Python's nir, and against spikes that were recorded on simulators and chips. Needs a Python with numpy
//! and nir; skipped by name without.

use nc_tests::{nc_binary, python, root, shared_data, skip};
use std::process::Command;

#[test]
fn nir_files_are_read_and_written_as_python_does() {
    let name = "nir_files_are_read_and_written_as_python_does";
    let Some(python) = python(&["numpy", "nir"]) else {
        return skip(name, "no Python with numpy and nir (NC_PYTHON names one)");
    };
    let mut command = Command::new(python);
    command.arg(root().join("tests/meaning/nir_check.py")).arg("--nc").arg(nc_binary());
    match shared_data() {
        Some(data) => {
            command.arg("--data").arg(data);
        }
        None => skip(name, "no reference data (NC_SHARED names their folder): only graphs made by the test"),
    }
    match std::env::var_os("NC_NIR_SOURCES") {
        Some(folder) => {
            command.arg("--own").arg(folder);
        }
        None => skip(name, "no sources of nir (NC_NIR_SOURCES names their folder): no graphs of its own tests"),
    }
    let out = command.current_dir(root()).output().expect("Python starts");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    assert!(out.status.success(), "{}\n{}", text(&out.stdout), text(&out.stderr));
}
