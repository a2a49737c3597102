//! Dependencies between the rooms run one way.

use nc_tests::metadata;
use std::collections::BTreeSet;

/// Every crate of the house and the crates of the house that it may know.
const ALLOWED: &[(&str, &[&str])] = &[
    ("nc-ir", &[]),
    ("nc-nd", &["nc-ir"]),
    ("nc-nir", &["nc-ir"]),
    ("nc-onnx", &["nc-ir"]),
    ("nc-compiler", &["nc-ir"]),
    ("nc-cranelift", &["nc-ir"]),
    ("nc-mlir", &["nc-ir", "nc-armv7em", "nc-gpu"]),
    ("nc-gpu", &["nc-ir"]),
    ("nc-armv7em", &[]),
    ("nc-spinnaker2", &["nc-ir", "nc-armv7em"]),
    ("nc-runtime", &["nc-ir"]),
    (
        "nc",
        &[
            "nc-ir",
            "nc-nd",
            "nc-nir",
            "nc-onnx",
            "nc-compiler",
            "nc-cranelift",
            "nc-gpu",
            "nc-mlir",
            "nc-runtime",
            "nc-spinnaker2",
        ],
    ),
    (
        "nc-tests",
        &["nc-ir", "nc-nd", "nc-nir", "nc-onnx", "nc-compiler", "nc-cranelift", "nc-runtime", "nc-spinnaker2"],
    ),
];

#[test]
fn rooms_know_only_the_rooms_below() {
    let metadata = metadata();
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().expect("members").iter().filter_map(|m| m.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        if !members.contains(package["id"].as_str().unwrap_or_default()) {
            continue;
        }
        let name = package["name"].as_str().unwrap_or_default();
        seen.insert(name);
        let Some((_, allowed)) = ALLOWED.iter().find(|(n, _)| *n == name) else {
            wrong.push(format!("{name} is a new room: say in this test which rooms it may know"));
            continue;
        };
        // Dependencies of every kind: a room's tests, too, do without the rooms above.
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let other = dependency["name"].as_str().unwrap_or_default();
            if (other == "nc" || other.starts_with("nc-")) && !allowed.contains(&other) {
                wrong.push(format!("{name} must not depend on {other}"));
            }
        }
    }
    for (name, _) in ALLOWED {
        if !seen.contains(name) {
            wrong.push(format!("{name} is not a member of the workspace"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
