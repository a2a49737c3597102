//! The documents are true: their models compile, their links lead somewhere, their commands are those that CI runs, and
//! what is generated from declarations is up to date.
//!
//! A fenced block marked `nd` is a whole file that must be well formed, in the formatter's shape, and compile. `nd,fails=CODE`
//! must give that error; `nd,parse` is only read, since it names files that are not there.

use nc_ir::{Diagnostic, Tensor, TensorType};
use nc_nd::sema::{Loader, Options, lower};
use nc_tests::{files, root};
use std::path::{Path, PathBuf};
use std::process::Command;

fn documents() -> Vec<PathBuf> {
    let mut all = files(&root().join("docs"), &[".md"]);
    all.extend(["README.md", "CONTRIBUTING.md"].map(|f| root().join(f)));
    all
}

struct Block {
    place: String,
    info: String,
    text: String,
}

/// The fenced blocks of a document.
fn blocks(path: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let name = path.strip_prefix(root()).unwrap_or(path).display().to_string();
    let mut out: Vec<Block> = Vec::new();
    let mut open = false;
    for (k, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(info) if !open => {
                out.push(Block {
                    place: format!("{name}:{}", k + 1),
                    info: info.trim().to_owned(),
                    text: String::new(),
                });
                open = true;
            }
            Some(_) => open = false,
            None if open => {
                if let Some(b) = out.last_mut() {
                    b.text.push_str(line);
                    b.text.push('\n');
                }
            }
            None => {}
        }
    }
    assert!(!open, "{name}: a block is not closed");
    out
}

/// Imports come from the examples; there are no arrays.
struct Examples {
    known: Vec<String>,
}

impl Loader for Examples {
    fn source(&mut self, path: &str, _importing: u32) -> Result<(u32, String), Diagnostic> {
        let text = std::fs::read_to_string(root().join("examples").join(path))
            .map_err(|e| Diagnostic::error_nowhere("E0800", e.to_string()))?;
        let at = self.known.iter().position(|k| k == path).unwrap_or_else(|| {
            self.known.push(path.to_owned());
            self.known.len() - 1
        });
        Ok((at as u32 + 1, text))
    }

    fn array(&mut self, file: &str, _name: &str) -> Result<Tensor, Diagnostic> {
        Err(Diagnostic::error_nowhere("E0600", format!("{file} is not there")))
    }

    fn list(&mut self, file: &str) -> Result<Vec<(String, TensorType)>, Diagnostic> {
        Err(Diagnostic::error_nowhere("E0600", format!("{file} is not there")))
    }
}

/// What is wrong with a model in a document.
fn fault(text: &str, fails: Option<&str>, parse_only: bool) -> Option<String> {
    let parsed = nc_nd::parse(text, 0);
    let mut diagnostics = parsed.diagnostics.clone();
    if parsed.is_ok() {
        match nc_nd::format(text) {
            Ok(formatted) if formatted == text => {}
            Ok(formatted) => return Some(format!("not in the formatter's shape, which is\n{formatted}")),
            Err(_) => return Some("well formed, but not to the formatter".to_owned()),
        }
        if parse_only {
            return None;
        }
        let has_net = parsed.file.tops.iter().any(|t| matches!(t.kind, nc_nd::ast::TopKind::Net(_)));
        let lowered = lower(&parsed.file, &mut Examples { known: Vec::new() }, &Options::default());
        // A file without a net can be imported and is checked, but there is nothing to compile.
        diagnostics.extend(lowered.diagnostics.into_iter().filter(|d| has_net || d.code != "E0530"));
    }
    let errors: Vec<String> =
        diagnostics.iter().filter(|d| d.is_error()).map(|d| format!("{} ({:?})", d, d.label)).collect();
    match fails {
        None if errors.is_empty() => None,
        None => Some(errors.join("\n")),
        Some(code) if diagnostics.iter().any(|d| d.is_error() && d.code == code) => None,
        Some(code) => Some(format!("{code} was expected, found: {}", errors.join("\n"))),
    }
}

#[test]
fn models_in_documents_compile() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for document in documents() {
        for block in blocks(&document) {
            let mut words = block.info.split(',').map(str::trim);
            if words.next() != Some("nd") {
                continue;
            }
            count += 1;
            let (mut fails, mut parse_only) = (None, false);
            for word in words {
                match word.split_once('=') {
                    Some(("fails", code)) => fails = Some(code.to_owned()),
                    None if word == "parse" => parse_only = true,
                    _ => wrong.push(format!("{}: `{word}` says nothing", block.place)),
                }
            }
            if let Some(text) = fault(&block.text, fails.as_deref(), parse_only) {
                wrong.push(format!("{}: {text}", block.place));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count >= 8, "only {count} models were found");
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document");
        for part in text.split("](").skip(1) {
            let link = part.split([')', '#']).next().unwrap_or_default();
            if link.is_empty() || link.contains("://") {
                continue;
            }
            if !document.parent().expect("a folder").join(link).exists() {
                wrong.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The commands of the README that stand under "Two commands".
fn readme_commands() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let part = text.split("## Two commands").nth(1).expect("the heading");
    let part = part.split("\n## ").next().unwrap_or_default();
    let mut open = false;
    let mut out = Vec::new();
    for line in part.lines() {
        if line.starts_with("```") {
            open = line == "```sh";
        } else if open {
            out.push(line.to_owned());
        }
    }
    out
}

#[test]
fn ci_runs_the_test_command_of_the_readme() {
    let commands = readme_commands();
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert!(commands[0].starts_with("examples/") && root().join(&commands[0]).is_file(), "{}", commands[0]);
    let first = std::fs::read_to_string(root().join(&commands[0])).expect("a script");
    assert!(first.starts_with("#!/usr/bin/env bash\n") && first.contains("\nset -euo pipefail\n"));
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    let last = ci.lines().rfind(|l| !l.trim().is_empty()).unwrap_or_default();
    assert_eq!(last, format!("exec {}", commands[1]));
    assert!(root().join(commands[1].split(' ').next().unwrap_or_default()).is_file());
}

/// What an example program of a crate prints.
fn printed_by(package: &str, example: &str) -> String {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().nth(2).expect("tests lie in TARGET/PROFILE/deps");
    let built = folder.join("examples").join(format!("{example}{}", std::env::consts::EXE_SUFFIX));
    let mut command = if built.is_file() {
        Command::new(built)
    } else {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        cargo.args(["run", "--quiet", "--locked", "-p", package, "--example", example]);
        cargo
    };
    let out = command.current_dir(root()).output().expect("an example runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

#[test]
fn the_page_of_operations_is_up_to_date() {
    let page = std::fs::read_to_string(root().join("docs/ops.md")).expect("docs/ops.md");
    assert_eq!(page, printed_by("nc-ir", "op_table"), "print it again as its second line says");
    for op in nc_ir::graph::TABLE {
        // A row begins with the op, or with the results that it gives.
        let row = |l: &str| {
            let call = l.strip_prefix("| `").map(|l| l.strip_prefix("results.. = ").unwrap_or(l));
            call.and_then(|l| l.strip_prefix(op.name)).is_some_and(|l| l.starts_with(['(', '{', '[']))
        };
        assert!(page.lines().any(row), "no row for {}", op.name);
    }
}

/// The words between backquotes in the first column of the tables of a section.
fn first_column(document: &str, heading: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).expect("a document");
    let part = text.split(&format!("{heading}\n")).nth(1).unwrap_or_else(|| panic!("{document} has no {heading}"));
    let level = heading.split(' ').next().unwrap_or_default().len();
    let ends = |l: &str| (1..=level).any(|k| l.starts_with(&format!("{} ", "#".repeat(k))));
    let rows = part.lines().take_while(|l| !ends(l)).filter(|l| l.starts_with("| `"));
    rows.flat_map(|l| l.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_language_reference_names_every_solver_and_distribution() {
    let solvers = first_column("docs/language.md", "### Solvers");
    for m in nc_ir::graph::Method::ALL {
        assert!(solvers.iter().any(|s| s.split('(').next() == Some(m.name())), "no row for the solver {}", m.name());
    }
}

#[test]
fn every_function_in_the_language_reference_exists() {
    let functions = first_column("docs/language.md", "## Functions");
    assert!(functions.len() > 30, "{functions:?}");
    for f in functions {
        let name = f.split('(').next().unwrap_or_default();
        // Called without arguments, a function that exists complains about them, or about its place.
        let text = format!("net A {{\n  clock 1 ms\n  output y = {name}()\n}}\n");
        let parsed = nc_nd::parse(&text, 0);
        let lowered = lower(&parsed.file, &mut Examples { known: Vec::new() }, &Options::default());
        let codes: Vec<&str> = lowered.diagnostics.iter().map(|d| d.code).collect();
        assert!(!codes.is_empty() && !codes.contains(&"E0206"), "{name}: {codes:?}");
    }
}
