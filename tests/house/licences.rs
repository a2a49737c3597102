//! Everything that is built into `nc` has a permissive licence. `deny.toml` says the same to `cargo deny`.

use nc_tests::{metadata, root};

/// Licences that may be required. `LLVM-exception` is a permission beside Apache-2.0.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression can be met with allowed licences: `OR` offers, `AND` demands; `/` is an old `OR`.
fn permitted(expression: &str) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let result = any(&words, &mut at)?;
    (at == words.len()).then_some(result)
}

fn any(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut result = all(words, at)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        result |= all(words, at)?;
    }
    Some(result)
}

fn all(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut result = one(words, at)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= one(words, at)?;
    }
    Some(result)
}

fn one(words: &[&str], at: &mut usize) -> Option<bool> {
    let word = *words.get(*at)?;
    *at += 1;
    if word == "(" {
        let result = any(words, at)?;
        *at += 1;
        return (words.get(*at - 1) == Some(&")")).then_some(result);
    }
    if matches!(word, ")" | "OR" | "AND" | "WITH") {
        return None;
    }
    let mut name = word.to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1)?);
        *at += 2;
    }
    Some(ALLOWED.contains(&name.as_str()))
}

#[test]
fn expressions_are_read() {
    for (text, want) in [
        ("MIT", Some(true)),
        ("GPL-3.0", Some(false)),
        ("MIT OR GPL-3.0", Some(true)),
        ("MIT AND GPL-3.0", Some(false)),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", Some(true)),
        ("(MIT OR Apache-2.0) AND GPL-2.0", Some(false)),
        ("Apache-2.0 WITH LLVM-exception", Some(true)),
        ("GPL-2.0 WITH Classpath-exception-2.0", Some(false)),
        ("MIT/Apache-2.0", Some(true)),
        ("MIT OR", None),
        ("(MIT", None),
        ("", None),
    ] {
        assert_eq!(permitted(text), want, "{text}");
    }
}

#[test]
fn every_dependency_is_permissive_and_from_the_registry() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().unwrap_or_default();
        match package["license"].as_str().map(|l| (l, permitted(l))) {
            Some((_, Some(true))) => {}
            Some((l, _)) => wrong.push(format!("{name}: {l}")),
            None => wrong.push(format!("{name} names no licence")),
        }
        let source = package["source"].as_str();
        if !source.is_none_or(|s| s.starts_with("registry+https://github.com/rust-lang/crates.io-index")) {
            wrong.push(format!("{name} comes from {source:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn cargo_deny_is_told_the_same() {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    for licence in ALLOWED {
        assert!(text.contains(&format!("\"{licence}\"")), "deny.toml does not list {licence}");
    }
    let listed = text.split("allow = [").nth(1).and_then(|t| t.split(']').next()).unwrap_or_default();
    assert_eq!(listed.matches('"').count() / 2, ALLOWED.len(), "deny.toml allows other licences than this test");
}
