//! The page of operators, made from the op table.

use crate::ops::FAMILIES;
use crate::ops::absent::ABSENT;
use std::fmt::Write;

/// docs/onnx.md from its first generated heading on.
pub fn page() -> String {
    let mut out = String::new();
    for (title, rows) in FAMILIES {
        let _ = writeln!(out, "### {title}\n\n| operator | versions | first operand | refused |\n|---|---|---|---|");
        for r in *rows {
            let since: Vec<String> = r.since.iter().map(i64::to_string).collect();
            let name = if r.domain.is_empty() { r.name.to_owned() } else { format!("{}.{}", r.domain, r.name) };
            let _ = writeln!(out, "| `{name}` | {} | {} | {} |", since.join(", "), r.types.words(), r.refused);
        }
        out.push('\n');
    }
    out.push_str("### Not supported\n\n| operators | why |\n|---|---|\n");
    for a in ABSENT {
        let names = match (a.names, a.domain) {
            ([], domain) => format!("all of `{domain}`"),
            (names, _) => names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "),
        };
        let _ = writeln!(out, "| {names} | {} |", a.why);
    }
    out
}
