//! The page of operators, made from the op table.

use crate::ops::FAMILIES;
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
    out
}
