//! Rules of the house that can be read off the sources.

use nc_tests::{files, root};
use std::path::Path;

/// Longest source file, in lines.
const LONGEST: usize = 900;

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The part of a source before its tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod").next().unwrap_or_default()
}

/// Sources of a room that are built into the product.
fn product(room: &str) -> Vec<std::path::PathBuf> {
    let tests = |p: &Path| p.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "testing");
    files(&root().join(room), &[".rs"]).into_iter().filter(|p| !tests(p) && !p.ends_with("tests.rs")).collect()
}

#[test]
fn no_source_is_too_long() {
    let long: Vec<String> = files(&root(), &[".rs", ".py", ".nd"])
        .iter()
        .filter_map(|p| {
            let n = read(p).lines().count();
            (n > LONGEST).then(|| format!("{}: {n} lines", relative(p)))
        })
        .collect();
    assert!(long.is_empty(), "more than {LONGEST} lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_undone_or_speaks_of_elsewhere() {
    // Written so that this file does not contain them.
    let words = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("/wo", "rk/"),
        concat!("/tm", "p/brief"),
    ];
    let mut wrong = Vec::new();
    for path in files(&root(), &[".rs", ".md", ".toml", ".nd", ".sh", ".py", ".lalrpop"]) {
        for (k, line) in read(&path).lines().enumerate() {
            if let Some(word) = words.iter().find(|w| line.contains(**w)) {
                wrong.push(format!("{}:{}: {word}", relative(&path), k + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn core_rooms_do_no_io() {
    let words = ["std::fs", "std::net", "std::process", "std::env::var", "std::thread", "println!"];
    let mut wrong = Vec::new();
    for room in ["ir/src", "frontends/nd/src", "compiler/src", "backends/cranelift/src", "backends/mlir/src"] {
        for path in product(room) {
            let text = read(&path);
            for (k, line) in without_tests(&text).lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if let Some(word) = words.iter().find(|w| code.contains(**w)) {
                    wrong.push(format!("{}:{}: {word}", relative(&path), k + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Blanks strings, character literals and comments, so that braces can be counted. Lengths and lines stay.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut k = 0;
    let blank =
        |out: &mut Vec<u8>, part: &[u8]| out.extend(part.iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
    while k < bytes.len() {
        let rest = &bytes[k..];
        let end = if rest.starts_with(b"//") {
            rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest[0] == b'"' {
            let mut n = 1;
            while n < rest.len() && rest[n] != b'"' {
                n += if rest[n] == b'\\' { 2 } else { 1 };
            }
            (n + 1).min(rest.len())
        } else if rest.starts_with(b"'{'") || rest.starts_with(b"'}'") {
            3
        } else {
            out.push(rest[0]);
            k += 1;
            continue;
        };
        blank(&mut out, &rest[..end]);
        k += end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The patterns of each `match` of a source: (line, patterns).
fn matches(code: &str) -> Vec<(usize, Vec<String>)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("match ") {
        if at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || matches!(bytes[at - 1], b'_' | b'.')) {
            continue;
        }
        let Some(open) = code[at..].find('{').map(|k| at + k) else { continue };
        let (mut depth, mut end) = (0i32, open);
        for (k, b) in bytes[open..].iter().enumerate() {
            match b {
                b'{' | b'(' | b'[' => depth += 1,
                b'}' | b')' | b']' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                end = open + k;
                break;
            }
        }
        let body = &code[open + 1..end.max(open + 1)];
        let mut patterns = Vec::new();
        let (mut depth, mut start) = (0i32, 0);
        let b = body.as_bytes();
        let mut k = 0;
        while k < b.len() {
            match b[k] {
                b'{' | b'(' | b'[' => depth += 1,
                b'}' | b')' | b']' => {
                    depth -= 1;
                    // An arm that is a block ends without a comma.
                    if depth == 0 && b[k] == b'}' && start == usize::MAX {
                        start = k + 1;
                    }
                }
                b',' if depth == 0 && start == usize::MAX => start = k + 1,
                b'=' if depth == 0 && b.get(k + 1) == Some(&b'>') && start != usize::MAX => {
                    patterns.push(body[start..k].trim().trim_start_matches(',').trim().to_owned());
                    start = usize::MAX;
                    k += 1;
                }
                _ => {}
            }
            k += 1;
        }
        found.push((code[..at].matches('\n').count() + 1, patterns));
    }
    found
}

#[test]
fn matches_are_read() {
    let text = "fn f(x: Op) {\n  match x {\n    Op::A { k: 1 } if y => 1,\n    Op::B | Op::C => { g(); 2 }\n    _ => 3,\n  }\n}";
    let want = ["Op::A { k: 1 } if y", "Op::B | Op::C", "_"].map(str::to_owned).to_vec();
    assert_eq!(matches(&code_only(text)), [(2, want)]);
    let text = "match a { \"{\" => b, // }\n _ => c }";
    assert_eq!(matches(&code_only(text))[0].1.len(), 2);
}

#[test]
fn backends_and_interpreters_notice_new_operations() {
    let kinds = ["Op::", "ScalarOp::", "Stmt::"];
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for room in ["backends/cranelift/src/emit", "backends/mlir/src/emit", "ir/src/interp", "ir/src/kernel/interp"] {
        for path in product(room) {
            let text = read(&path);
            for (line, patterns) in matches(&code_only(without_tests(&text))) {
                let over = |p: &String| kinds.iter().any(|k| p.starts_with(k) || p.contains(&format!(" {k}")));
                // Smaller ones pick out a few operations, such as the comparisons, and leave the rest to others.
                let dispatch = patterns.iter().filter(|p| over(p)).count() >= 10;
                seen += usize::from(dispatch);
                if dispatch && patterns.iter().any(|p| p == "_") {
                    wrong.push(format!("{}:{line}: a wildcard beside operations", relative(&path)));
                }
            }
        }
    }
    assert!(seen >= 3, "the matches over all operations were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
