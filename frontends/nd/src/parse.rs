//! From text to tree.
//!
//! [`parse`] never fails: it returns the tree of everything that could be read and a diagnostic for everything that
//! could not. Work and memory are bounded by the size of the text, recursion by [`MAX_DEPTH`].

use crate::ast::File;
use crate::grammar::FileParser;
use crate::layout::lay_out;
use crate::sink::Sink;
use crate::token::{Kind, Token, tokenize};
use crate::tree::{Builder, shorten};
use lalrpop_util::ParseError;
use nc_ir::Diagnostic;
use nc_ir::diag::nearest;
use std::cell::Cell;

/// The greatest depth of an expression's tree.
pub const MAX_DEPTH: usize = 256;

/// What [`parse`] makes of a text.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The tree. Parts that could not be read are `Error` nodes or missing.
    pub file: File,
    /// The raw tokens with comments and line ends, for formatters and editors.
    pub tokens: Vec<Token>,
    /// At most [`crate::MAX_ERRORS`] errors in the order of their places, and one that says so if there are more.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// True if the whole text was read.
    pub fn is_ok(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads a source text; `file` is the number that spans carry.
///
/// Each slip is reported once: where a line already has an error, what the parser says about the rest of it is left out.
pub fn parse(src: &str, file: u32) -> Parsed {
    let mut sink = Sink::new(file);
    let tokens = tokenize(src, &mut sink);
    let mut tree = File { tops: Vec::new(), span: sink.span(0, src.len().min(u32::MAX as usize)) };
    if !sink.stopped() {
        let laid = lay_out(src, &tokens, &mut sink);
        if !sink.stopped() {
            let stop = Cell::new(false);
            let mut builder = Builder::new(src, laid.docs, &mut sink, &stop);
            let stream = laid.tokens.iter().map_while(|t| (!stop.get()).then_some(Ok(*t)));
            let result = FileParser::new().parse(&mut builder, stream);
            let mut errors = std::mem::take(&mut builder.errors);
            match result {
                Ok(file) => tree.tops = file.tops,
                Err(error) => errors.push(error),
            }
            Words { src, raw: &tokens, laid: &laid.tokens }.report(errors, &mut sink);
        }
    }
    Parsed { file: tree, tokens, diagnostics: sink.finish() }
}

/// The keywords that begin a declaration, an item or a statement.
const LEADERS: [&str; 26] = [
    "import",
    "const",
    "fn",
    "neuron",
    "synapse",
    "net",
    "target",
    "param",
    "state",
    "input",
    "output",
    "on",
    "let",
    "next",
    "threshold",
    "reset",
    "refractory",
    "solve",
    "pop",
    "sub",
    "connect",
    "file",
    "probe",
    "clock",
    "seed",
    "emit",
];

/// Puts what the parser did not expect into words.
struct Words<'a> {
    src: &'a str,
    raw: &'a [Token],
    laid: &'a [(usize, Kind, usize)],
}

impl Words<'_> {
    fn report(&self, errors: Vec<ParseError<usize, Kind, ()>>, sink: &mut Sink) {
        for error in errors {
            let (start, kind, end, expected) = match error {
                ParseError::UnrecognizedToken { token: (start, kind, end), expected } => {
                    (start, Some(kind), end, expected)
                }
                ParseError::ExtraToken { token: (start, kind, end) } => (start, Some(kind), end, Vec::new()),
                ParseError::UnrecognizedEof { location, expected } => (location, None, location, expected),
                ParseError::InvalidToken { location } => (location, None, location, Vec::new()),
                ParseError::User { .. } => continue,
            };
            // Tokens of no length were put in by the layout pass, which has said why.
            if kind.is_some() && start == end {
                continue;
            }
            let at = self.laid.partition_point(|t| t.2 <= start);
            let before = at.checked_sub(1).and_then(|i| self.laid.get(i)).copied();
            let first_on_line = before.is_none_or(|b| self.src.get(b.2..start).is_some_and(|s| s.contains('\n')));
            let (from, to) = match before {
                Some(b) if first_on_line || matches!(kind, Some(Kind::Sep) | None) => (b.2, b.2),
                _ => (start, end),
            };
            if sink.any_in(self.segment(from)) {
                continue;
            }
            sink.push(self.diagnostic(sink, kind, (start, end), (from, to), at, &Expected(&expected)));
        }
    }

    /// The bytes around a place up to the nearest newlines or `;`.
    fn segment(&self, place: usize) -> std::ops::Range<usize> {
        let ends = |t: &&Token| matches!(t.kind, Kind::Newline | Kind::Semi);
        let at = self.raw.partition_point(|t| (t.end as usize) <= place);
        let (left, right) = self.raw.split_at(at.min(self.raw.len()));
        let from = left.iter().rev().find(ends).map_or(0, |t| t.end as usize);
        let to = right.iter().find(ends).map_or(self.src.len() + 1, |t| t.start as usize + 1);
        from..to
    }

    fn diagnostic(
        &self,
        sink: &Sink,
        kind: Option<Kind>,
        token: (usize, usize),
        place: (usize, usize),
        at: usize,
        expected: &Expected<'_>,
    ) -> Diagnostic {
        let span = sink.span(place.0, place.1);
        let text = self.src.get(token.0..token.1).unwrap_or("");
        let found = match kind {
            None => "the end of the file".to_string(),
            Some(Kind::Sep) if text == ";" => "`;`".to_string(),
            Some(Kind::Sep) => "the end of the line".to_string(),
            Some(_) => format!("`{}`", shorten(text)),
        };
        let wanted = expected.text();
        let label = if wanted.is_empty() { String::new() } else { format!("{wanted} expected here") };
        let plain = |message: String| Diagnostic::error("E0101", span, message).labelled(label.clone());
        let message = if wanted.is_empty() {
            format!("{found} is unexpected")
        } else {
            format!("expected {wanted}, found {found}")
        };
        let Some(kind) = kind else { return plain(message) };
        match kind {
            Kind::EqEq if expected.has("=") => {
                return Diagnostic::error("E0107", span, "`==` compares; to set a value write `=`")
                    .labelled("`=` expected here")
                    .with_hint("write `=`");
            }
            Kind::Assign if expected.has("==") => {
                return Diagnostic::error("E0107", span, "`=` sets a value; to compare write `==`")
                    .labelled("`==` expected here")
                    .with_hint("write `==`");
            }
            Kind::Drive if expected.has("<") => {
                return plain("`<-` drives a port and cannot stand inside an expression".into())
                    .labelled("not a comparison")
                    .with_hint("to compare with a negative value write `< -`, with a blank between");
            }
            _ => {}
        }
        let infix = matches!(kind, Kind::Then | Kind::Else | Kind::And | Kind::Or | Kind::Every | Kind::Hold);
        if kind.is_keyword() && expected.has("IDENT") && !infix && !expected.has("param") && !expected.has("neuron") {
            return Diagnostic::error("E0102", span, format!("`{text}` is a keyword and cannot be a name"))
                .labelled(label)
                .with_hint(format!("choose another name, such as `{text}_`"));
        }
        let diagnostic = plain(message);
        match self.hint(kind, at, expected) {
            Some(hint) => diagnostic.with_hint(hint),
            None => diagnostic,
        }
    }

    /// Advice for usual slips; `at` is the index of the unexpected token.
    fn hint(&self, kind: Kind, at: usize, expected: &Expected<'_>) -> Option<String> {
        let back = |n: usize| at.checked_sub(n).and_then(|i| self.laid.get(i)).copied();
        let is = |n: usize, k: Kind| back(n).is_some_and(|t| t.1 == k);
        let text = |n: usize| back(n).and_then(|t| self.src.get(t.0..t.2)).unwrap_or("");
        // A misspelt keyword: the first word of an item, followed by what cannot follow a name.
        if kind == Kind::Ident && (expected.has("neuron") || expected.has("param")) {
            return nearest(self.word(at), LEADERS).map(|k| format!("did you mean `{k}`?"));
        }
        if is(1, Kind::Ident) && back(2).is_none_or(|t| matches!(t.1, Kind::Sep | Kind::LBrace)) {
            return nearest(text(1), LEADERS).map(|k| format!("did you mean `{k}`?"));
        }
        if matches!(kind, Kind::Lt | Kind::Le | Kind::Gt | Kind::Ge | Kind::EqEq | Kind::Ne) && expected.has("and") {
            return Some("comparisons do not chain: write `a < b and b < c`".into());
        }
        if expected.has("{") && kind == Kind::Sep {
            return Some("a block begins with `{` on the same line".into());
        }
        if !expected.has("+") {
            return match kind {
                Kind::Star | Kind::Slash | Kind::Plus | Kind::Percent | Kind::Caret if expected.has("INT") => {
                    Some("an operator stands between two values".into())
                }
                _ => None,
            };
        }
        // A whole value came before.
        let number = |n: usize| is(n, Kind::Int) || is(n, Kind::Float);
        match kind {
            Kind::Ident if is(1, Kind::Ident) && number(2) => Some(format!(
                "a compound quantity is arithmetic, as in `5 mV / 1 ms`: write `{} {} * 1 {}`",
                text(2),
                text(1),
                self.word(at)
            )),
            Kind::Ident | Kind::Int | Kind::Float | Kind::Str | Kind::True | Kind::False => {
                Some("two values need an operator between them; multiplication is written `*`".into())
            }
            Kind::Assign => Some("only a name can be set".into()),
            _ => None,
        }
    }

    fn word(&self, at: usize) -> &str {
        self.laid.get(at).and_then(|t| self.src.get(t.0..t.2)).unwrap_or("")
    }
}

/// The terminals that the grammar would have accepted.
struct Expected<'a>(&'a [String]);

impl Expected<'_> {
    fn has(&self, terminal: &str) -> bool {
        self.0.iter().any(|t| t.trim_matches('"') == terminal)
    }

    /// A few words for what was expected; empty if nothing useful can be said.
    fn text(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let value = self.has("INT") && self.has("STR") && self.has("IDENT");
        let operator = self.has("+") && self.has("*");
        if self.has("neuron") {
            parts.push("a declaration such as `neuron`, `net` or `const`".into());
        } else if self.has("param") {
            parts.push("an item such as `param`, `state` or `v' = ...`".into());
        } else if self.has("emit") {
            parts.push("a statement such as `v = 0` or `emit w`".into());
        } else if value {
            parts.push("a value".into());
        } else {
            for (terminal, words) in [("IDENT", "a name"), ("INT", "a whole number"), ("STR", "a string in quotes")] {
                // After a number, a name would be its unit.
                if self.has(terminal) && !operator {
                    parts.push(words.into());
                }
            }
            let assigns = ["+=", "-=", "*="].iter().any(|a| self.has(a));
            for terminal in ["=", ":", "->", "<-", "'", "{", "then", "else", "hold", "every", ",", ")", "]"] {
                let noise = (terminal == "'" || terminal == "<-") && self.has("=");
                if self.has(terminal) && !noise && !(terminal == "=" && operator) {
                    parts.push(format!("`{terminal}`"));
                }
            }
            if assigns && !self.has("=") {
                parts.push("`=`".into());
            }
            if parts.is_empty() && operator {
                parts.push("an operator".into());
            }
            if self.has("SEP") && parts.len() < 2 {
                parts.push("the end of the line".into());
            }
        }
        parts.truncate(4);
        match parts.split_last() {
            None => String::new(),
            Some((only, [])) => only.clone(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        }
    }
}
