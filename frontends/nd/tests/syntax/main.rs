//! Reading and formatting `.nd` text.

mod codes;
mod errors;
mod examples;
mod formatting;
mod hostile;
mod print;
mod properties;

use nc_nd::{Parsed, parse};

/// `CODE line:column` of every diagnostic, counted in characters from 1.
fn places(src: &str) -> Vec<String> {
    parse(src, 0)
        .diagnostics
        .iter()
        .map(|d| match d.span {
            None => d.code.to_string(),
            Some(span) => {
                let before = &src[..span.start as usize];
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
                format!("{} {line}:{column}", d.code)
            }
        })
        .collect()
}

fn parse_ok(src: &str) -> Parsed {
    let parsed = parse(src, 0);
    assert!(parsed.diagnostics.is_empty(), "{:#?}\nin\n{src}", parsed.diagnostics);
    parsed
}
