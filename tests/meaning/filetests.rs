//! Every model under `tests/filetests` computes what stands in it or beside it, on every target and with one and two
//! threads, or is refused with the codes that stand there.

use nc_tests::{files, nc, root};

fn folder(name: &str) {
    let folder = root().join("tests/filetests").join(name);
    let count = files(&folder, &[".nd", ".test"]).len();
    assert!(count > 0, "there are no tests in {}", folder.display());
    let (code, out, err) = nc(&root(), ["test".as_ref(), folder.as_os_str()]);
    assert_eq!(code, Some(0), "{out}\n{err}");
}

#[test]
fn neurons() {
    folder("neurons");
}

#[test]
fn solvers() {
    folder("solvers");
}

#[test]
fn connections() {
    folder("connections");
}

#[test]
fn plasticity() {
    folder("plasticity");
}

#[test]
fn functions() {
    folder("functions");
}

#[test]
fn pruned() {
    folder("pruned");
}

#[test]
fn storage() {
    folder("storage");
}

#[test]
fn nets() {
    folder("nets");
}

#[test]
fn nir() {
    folder("nir");
}

#[test]
fn onnx() {
    folder("onnx");
}

#[test]
fn refused() {
    folder("refused");
}

/// No file is left out of the folders above, and each says what it expects.
#[test]
fn every_file_is_run_and_expects_something() {
    let all = files(&root().join("tests/filetests"), &[".nd", ".test"]);
    let mut wrong = Vec::new();
    for path in all {
        let text = std::fs::read_to_string(&path).expect("a test file");
        let inside = path.strip_prefix(root().join("tests/filetests")).expect("below the folder");
        let known = [
            "neurons",
            "solvers",
            "connections",
            "plasticity",
            "functions",
            "storage",
            "nets",
            "nir",
            "onnx",
            "pruned",
            "refused",
        ];
        if !known.iter().any(|k| inside.starts_with(k)) {
            wrong.push(format!("{} is in no folder that is run", inside.display()));
        }
        let comment = |l: &&str| l.starts_with("# output ") || l.starts_with("# expect ");
        let own = |l: &&str| l.trim().starts_with("output ") || l.trim().starts_with("expect ");
        let parts = inside.starts_with("nets/parts");
        let test = path.extension().is_some_and(|e| e == "test");
        let says = if test { text.lines().any(|l| own(&l)) } else { text.lines().any(|l| comment(&l)) };
        if !says && !parts {
            wrong.push(format!("{} expects nothing", inside.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
