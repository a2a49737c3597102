//! Messages on standard error: text with the lines of the model, or JSON for tools.

use crate::args::MessageFormat;
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use nc_ir::{Diagnostic, Severity, Span};
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::sync::Arc;

/// A text that messages can point into.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file as the user named it.
    pub name: String,
    /// Its text.
    pub text: Arc<str>,
}

/// The texts that were read, by the number that spans carry.
#[derive(Default, Debug)]
pub struct Sources(pub Vec<Source>);

/// A place as people count: from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Sources {
    /// Adds a text and gives its number.
    pub fn add(&mut self, name: impl Into<String>, text: &str) -> u32 {
        self.0.push(Source { name: name.into(), text: text.into() });
        self.0.len() as u32 - 1
    }

    /// The source of a span and its bytes, moved to boundaries of characters inside the text.
    fn locate(&self, span: Span) -> Option<(&Source, Range<usize>)> {
        let source = self.0.get(span.file as usize)?;
        let start = source.text.floor_char_boundary((span.start as usize).min(source.text.len()));
        let end = source.text.ceil_char_boundary((span.end as usize).clamp(start, source.text.len()));
        Some((source, start..end))
    }

    /// Line and column of the first byte of a span.
    pub fn position(&self, span: Span) -> Option<(&str, Position)> {
        let (source, range) = self.locate(span)?;
        Some((&source.name, position(&source.text, range.start)))
    }
}

/// Line and column of a byte.
fn position(text: &str, at: usize) -> Position {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |k| k + 1);
    Position {
        line: before.bytes().filter(|b| *b == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// Where messages go.
pub struct Reporter {
    format: MessageFormat,
    renderer: Renderer,
    /// The texts that messages point into.
    pub sources: Sources,
    errors: usize,
    warnings: usize,
}

impl Reporter {
    /// A reporter to standard error, with colours if that is a terminal and NO_COLOR is not set.
    pub fn new(format: MessageFormat) -> Reporter {
        let terminal = std::io::stderr().is_terminal();
        let styled = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let decor = if terminal { DecorStyle::Unicode } else { DecorStyle::Ascii };
        let renderer = renderer.decor_style(decor).term_width(100);
        Reporter { format, renderer, sources: Sources::default(), errors: 0, warnings: 0 }
    }

    /// Whether messages are for people.
    pub fn is_human(&self) -> bool {
        self.format == MessageFormat::Human
    }

    /// Writes a message.
    pub fn report(&mut self, d: &Diagnostic) {
        match d.severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
            Severity::Note => {}
        }
        let text = match self.format {
            MessageFormat::Human => human(d, &self.sources, &self.renderer),
            MessageFormat::Json => json(d, &self.sources).to_string(),
        };
        say(&text);
    }

    /// Writes a line of information that is no finding about the model: a time, a file that was written.
    pub fn info(&mut self, text: &str) {
        match self.format {
            MessageFormat::Human => say(text),
            MessageFormat::Json => say(&serde_json::json!({ "severity": "info", "message": text }).to_string()),
        }
    }

    /// Closes a list of errors with their number.
    pub fn summary(&mut self) {
        let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        if self.format == MessageFormat::Human && self.errors > 1 {
            let warnings =
                if self.warnings > 0 { format!(", {}", plural(self.warnings, "warning")) } else { String::new() };
            say(&format!("{}{warnings}", plural(self.errors, "error")));
        }
    }
}

/// Writes a line to standard error. Nobody can be told when that fails.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Longest stretch of source shown around a place, in bytes; a line that is longer is cut.
const WINDOW: usize = 4096;

/// One message as text.
pub fn human(d: &Diagnostic, sources: &Sources, renderer: &Renderer) -> String {
    let level = match d.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = Group::with_title(level.primary_title(d.message.as_str()).id(d.code));
    let main = d.span.map(|s| (s, AnnotationKind::Primary, d.label.as_str()));
    let others = d.labels.iter().map(|l| (l.span, AnnotationKind::Context, l.text.as_str()));
    let mut places: Vec<_> = main.into_iter().chain(others).collect();
    while !places.is_empty() {
        // The places in the file of the first one that fit in one window with it go into one snippet.
        let (first, ..) = places[0];
        let Some((source, range)) = sources.locate(first) else {
            places.remove(0);
            continue;
        };
        let text = &source.text;
        let mut window = lines_around(text, &range);
        let mut here = Vec::new();
        places.retain(|(span, kind, label)| {
            let Some((_, r)) = sources.locate(*span).filter(|_| span.file == first.file) else { return true };
            let lines = lines_around(text, &r);
            let both = window.start.min(lines.start)..window.end.max(lines.end);
            if both.len() > WINDOW && *span != first {
                return true;
            }
            if *span != first {
                window = both;
            }
            here.push((r, *kind, *label));
            false
        });
        let mut snippet = Snippet::source(&text[window.clone()])
            .path(source.name.as_str())
            .line_start(text[..window.start].bytes().filter(|b| *b == b'\n').count() + 1)
            .fold(true);
        for (r, kind, label) in here {
            let start = r.start.clamp(window.start, window.end) - window.start;
            let end = r.end.clamp(window.start, window.end) - window.start;
            let annotation = kind.span(start..end);
            snippet = snippet.annotation(if label.is_empty() { annotation } else { annotation.label(label) });
        }
        group = group.element(snippet);
    }
    if let Some(hint) = &d.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    renderer.render(&[group])
}

/// The whole lines of a range, cut where they are too long to show.
fn lines_around(text: &str, range: &Range<usize>) -> Range<usize> {
    let start = text[..range.start].rfind('\n').map_or(0, |k| k + 1);
    let end = text[range.end..].find('\n').map_or(text.len(), |k| range.end + k);
    if end - start <= WINDOW {
        return start..end;
    }
    let from = text.floor_char_boundary(range.start.saturating_sub(60)).max(start);
    let to = text.floor_char_boundary((range.start + 200).min(end)).max(range.start);
    from..to
}

/// One message as JSON.
pub fn json(d: &Diagnostic, sources: &Sources) -> serde_json::Value {
    let place = |span: Span| {
        let (source, range) = sources.locate(span)?;
        let (from, to) = (position(&source.text, range.start), position(&source.text, range.end));
        Some(serde_json::json!({
            "file": source.name,
            "line": from.line,
            "column": from.column,
            "end_line": to.line,
            "end_column": to.column,
            "start_byte": range.start,
            "end_byte": range.end,
        }))
    };
    let labels: Vec<_> =
        (d.labels.iter()).map(|l| serde_json::json!({ "place": place(l.span), "text": l.text })).collect();
    serde_json::json!({
        "severity": match d.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        },
        "code": d.code,
        "message": d.message,
        "place": d.span.and_then(place),
        "label": d.label,
        "labels": labels,
        "hint": d.hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(d: &Diagnostic, sources: &Sources) -> String {
        human(d, sources, &Renderer::plain().decor_style(DecorStyle::Ascii))
    }

    #[test]
    fn a_message_shows_its_lines_and_hint() {
        let mut sources = Sources::default();
        sources.add("m.nd", "net A {\n  output y = x\n  let x = 1\n}\n");
        let d = Diagnostic::error("E0203", Span::new(21, 22), "there is no `x` yet")
            .labelled("used here")
            .with_label(Span::new(29, 30), "defined here")
            .with_hint("move it up");
        let text = plain(&d, &sources);
        for part in ["error[E0203]: there is no `x` yet", "m.nd:2:14", "used here", "defined here", "help: move it up"]
        {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        let j = json(&d, &sources);
        assert_eq!(j["place"]["line"], 2);
        assert_eq!(j["place"]["column"], 14);
        assert_eq!(j["labels"][0]["place"]["line"], 3);
    }

    #[test]
    fn long_lines_and_places_outside_do_no_harm() {
        let mut sources = Sources::default();
        sources.add("long.nd", &format!("a\n{}é{}", "x".repeat(10 << 20), "y".repeat(1 << 20)));
        let at = 2 + (10 << 20) + 1;
        let text = plain(&Diagnostic::error("E0001", Span::new(at, at + 9), "inside a character"), &sources);
        assert!(text.len() < 4000, "{} bytes", text.len());
        let nowhere = Span { file: 7, ..Span::new(1, 2) };
        assert!(plain(&Diagnostic::error("E0001", nowhere, "lost"), &sources).contains("lost"));
        let beyond = Span { start: u32::MAX - 1, end: 3, file: 0 };
        assert!(plain(&Diagnostic::error("E0001", beyond, "beyond"), &sources).contains("beyond"));
    }
}
