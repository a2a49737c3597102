//! What the tests of the whole house share: where things are, the `nc` binary, and tests that cannot run here.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The folder of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Says on the terminal that a test, or a part of one, did not run. The test then passes.
pub fn skip(name: &str, why: &str) {
    // Not `eprintln!`, which the test harness keeps to itself.
    let _ = writeln!(std::io::stderr(), "skipped: {name}: {why}");
}

/// How many random cases a property test runs: `NC_PROPTEST_CASES`, or `usual`.
pub fn cases(usual: u32) -> u32 {
    std::env::var("NC_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// The folder of reference data that is not part of the repository: `NC_SHARED`, or `shared` beside the repository.
pub fn shared_data() -> Option<PathBuf> {
    let folder = match std::env::var_os("NC_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => root().parent()?.join("shared"),
    };
    folder.join("data").is_dir().then(|| folder.join("data"))
}

/// A Python that has these modules: `NC_PYTHON`, or `python3`.
pub fn python(modules: &[&str]) -> Option<String> {
    let python = std::env::var("NC_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = format!("import {}", modules.join(", "));
    let works = Command::new(&python).args(["-c", &import]).output().is_ok_and(|o| o.status.success());
    works.then_some(python)
}

/// What `cargo metadata` says of the workspace and all that it depends on.
///
/// # Panics
/// If cargo cannot be run.
pub fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let out = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("cargo metadata writes JSON")
}

/// Every file below a folder whose name ends in one of `ends`, in order; build outputs are left out.
pub fn files(folder: &Path, ends: &[&str]) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | ".venv" | "corpus" | "artifacts" | "__pycache__") {
                    left.push(path);
                }
            } else if ends.iter().any(|e| name.ends_with(e)) {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

fn newest_source() -> SystemTime {
    let rooms = ["ir", "frontends", "compiler", "backends", "runtime"];
    let times = rooms.iter().flat_map(|r| files(&root().join(r), &[".rs", ".lalrpop", "Cargo.toml"])).filter_map(|f| {
        let own_test = f.components().any(|c| matches!(c.as_os_str().to_str(), Some("tests" | "examples" | "benches")));
        if own_test { None } else { f.metadata().ok()?.modified().ok() }
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The `nc` binary of the profile under test: `NC_BIN`, or the one beside the test, built if it is not there or older
/// than a source.
///
/// # Panics
/// If it cannot be built.
pub fn nc_binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(find_binary).clone()
}

fn find_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("NC_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().nth(2).expect("tests lie in TARGET/PROFILE/deps").to_owned();
    let path = folder.join(format!("nc{}", std::env::consts::EXE_SUFFIX));
    let built = path.metadata().and_then(|m| m.modified()).ok();
    if built.is_some_and(|t| t >= newest_source()) {
        return path;
    }
    let profile = match folder.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "-p", "nc", "--profile", profile])
        .arg("--target-dir")
        .arg(folder.parent().expect("a profile lies in a target folder"))
        .current_dir(root())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "nc cannot be built");
    path
}

/// Runs `nc` in a folder and gives exit code, standard output and standard error.
///
/// # Panics
/// If it cannot be started.
pub fn nc<I: AsRef<std::ffi::OsStr>>(
    folder: &Path,
    args: impl IntoIterator<Item = I>,
) -> (Option<i32>, String, String) {
    let out = Command::new(nc_binary()).args(args).current_dir(folder).output().expect("nc can be started");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}
