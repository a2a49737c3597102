//! Where the lexer, the layout pass and the parser put what they have to say.

use nc_ir::{Diagnostic, Span};

/// The greatest number of errors that one parse reports.
pub const MAX_ERRORS: usize = 100;

/// A bounded list of diagnostics about one file.
pub(crate) struct Sink {
    file: u32,
    diagnostics: Vec<Diagnostic>,
    fatal: bool,
    full: bool,
}

impl Sink {
    pub(crate) fn new(file: u32) -> Sink {
        Sink { file, diagnostics: Vec::new(), fatal: false, full: false }
    }

    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, ..Span::new(start, end) }
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < MAX_ERRORS {
            self.diagnostics.push(diagnostic);
        } else {
            self.full = true;
        }
    }

    pub(crate) fn error(
        &mut self,
        code: &'static str,
        start: usize,
        end: usize,
        message: impl Into<String>,
        label: &str,
        hint: Option<String>,
    ) {
        let mut diagnostic = Diagnostic::error(code, self.span(start, end), message).labelled(label);
        diagnostic.hint = hint;
        self.push(diagnostic);
    }

    /// Reports an error after which the text is not read any further.
    pub(crate) fn fatal(
        &mut self,
        code: &'static str,
        start: usize,
        end: usize,
        message: impl Into<String>,
        label: &str,
        hint: &str,
    ) {
        self.diagnostics.truncate(MAX_ERRORS - 1);
        self.error(code, start, end, message, label, Some(hint.into()));
        self.fatal = true;
    }

    /// True once reading on is of no use.
    pub(crate) fn stopped(&self) -> bool {
        self.fatal || self.full
    }

    /// True if there is a diagnostic whose main place begins in a range of bytes.
    pub(crate) fn any_in(&self, range: std::ops::Range<usize>) -> bool {
        self.diagnostics.iter().filter_map(|d| d.span).any(|s| range.contains(&(s.start as usize)))
    }

    /// The diagnostics in the order of their places, the last of them saying so if some are missing.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|d| d.span.map_or(0, |s| s.start));
        if self.full {
            let message = format!("too many errors: only the first {MAX_ERRORS} are shown");
            self.diagnostics.push(Diagnostic::error_nowhere("E0009", message));
        }
        self.diagnostics
    }
}
