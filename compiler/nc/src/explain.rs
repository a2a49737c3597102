//! `nc explain`: a page for each error code.

use crate::args::ExplainArgs;
use crate::render::Reporter;
use crate::{Outcome, decisions, print};
use nc_ir::Diagnostic;
use nc_ir::diag::nearest;
use std::fmt::Write;
use std::path::Path;

/// Code, title and text of a page.
pub type Page = (&'static str, &'static str, &'static str);

/// Every page, in the order of the codes.
pub fn pages() -> Vec<Page> {
    let rooms: [&[Page]; 12] = [
        nc_nd::codes::CODES,
        nc_nd::sema::codes::CODES,
        nc_nd::export::CODES,
        nc_nir::codes::CODES,
        nc_onnx::codes::CODES,
        nc_ir::codes::CODES,
        nc_compiler::codes::CODES,
        nc_gpu::CODES,
        nc_spinnaker2::codes::CODES,
        nc_runtime::codes::CODES,
        nc_runtime::run::CODES,
        crate::codes::CODES,
    ];
    let mut all: Vec<Page> = rooms.into_iter().flatten().copied().collect();
    all.sort_unstable();
    all
}

/// Runs the command.
///
/// # Errors
/// E0845 for a code without a page; what is wrong with a model.
pub fn explain(args: &ExplainArgs, reporter: &mut Reporter) -> Outcome {
    let all = pages();
    if let Some(what) = args.what.as_deref().filter(|w| Path::new(w).extension().is_some()) {
        return decisions::explain(what, args, reporter);
    }
    let Some(code) = args.what.as_deref() else {
        let list: String = all.iter().fold(String::new(), |mut s, (code, title, _)| {
            let _ = writeln!(s, "{code}  {title}");
            s
        });
        return print(&list);
    };
    let wanted = code.to_uppercase();
    match all.iter().find(|(c, ..)| *c == wanted) {
        Some((code, title, text)) => print(&format!("{code}: {title}\n\n{}\n", wrapped(text, 80))),
        None => {
            let d = Diagnostic::error_nowhere("E0845", format!("there is no error code {code}"));
            Err(match nearest(&wanted, all.iter().map(|p| p.0)) {
                Some(n) => d.with_hint(format!("did you mean {n}?")),
                None => d.with_hint("`nc explain` lists all codes"),
            }
            .into())
        }
    }
}

/// Text in lines of at most `width` characters. Lines that begin with a space stay as they are.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        if paragraph.starts_with(' ') {
            lines.push(paragraph.to_owned());
            continue;
        }
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn no_code_has_two_pages_and_none_is_empty() {
        let all = pages();
        for pair in all.windows(2) {
            assert_ne!(pair[0].0, pair[1].0, "{:?} and {:?}", pair[0].1, pair[1].1);
        }
        for (code, title, text) in &all {
            let letter = code.starts_with(['E', 'W', 'N']);
            assert!(letter && code.len() == 5 && !title.is_empty() && text.len() > 20, "{code}");
        }
    }

    /// Codes that a source text mentions in string literals.
    fn codes_in(text: &str, out: &mut BTreeSet<String>) {
        for (at, _) in text.match_indices('"') {
            if let Some(code) = text.get(at + 1..at + 6)
                && code.starts_with(['E', 'W', 'N'])
                && code[1..].bytes().all(|b| b.is_ascii_digit())
                && text.as_bytes().get(at + 6) == Some(&b'"')
            {
                out.insert(code.to_owned());
            }
        }
    }

    fn sources(dir: &Path, out: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() && name != "tests" {
                sources(&path, out);
            } else if path.is_file() && name.ends_with(".rs") && !name.contains("tests") {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                codes_in(text.split("#[cfg(test)]").next().unwrap_or_default(), out);
            }
        }
    }

    #[test]
    fn every_code_that_can_be_emitted_has_a_page() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut used = BTreeSet::new();
        for room in ["ir/src", "frontends", "compiler", "backends", "runtime/src"] {
            sources(&root.join(room), &mut used);
        }
        assert!(used.len() > 50, "the sources were not found");
        let known: BTreeSet<String> = pages().iter().map(|p| p.0.to_owned()).collect();
        let without: Vec<_> = used.difference(&known).collect();
        assert!(without.is_empty(), "no page for {without:?}");
    }

    #[test]
    fn pages_are_wrapped() {
        assert_eq!(wrapped("aa bb cc\n\n  code  stays", 5), "aa bb\ncc\n\n  code  stays");
    }
}
