//! Well-formed text in its one shape: `nc fmt`.
//!
//! The formatter works on raw tokens and changes blanks and line ends only, so it keeps every comment and the tree. It
//! keeps the author's line breaks and at most one blank line in a row. It guarantees `format(format(x)) == format(x)`.
//!
//! - Two blanks of indentation for each block, and for each bracket left open at the end of a line.
//! - Blanks around binary operators, `=`, `->` and `<-`; none around `^`, none in compound units or slices.
//! - A block written on one line stays on one line if that has at most [`MAX_WIDTH`] characters, and so do items
//!   separated by `;`; otherwise each item gets its own line.
//! - Comments at the ends of consecutive lines are aligned.

use crate::parse::parse;
use crate::token::{Kind, Token};
use nc_ir::Diagnostic;

/// The width beyond which one-line blocks are opened.
pub const MAX_WIDTH: usize = 100;

/// Formats a source text.
///
/// # Errors
///
/// A text with syntax errors is not touched; its diagnostics are returned.
pub fn format(src: &str) -> Result<String, Vec<Diagnostic>> {
    let parsed = parse(src, 0);
    if !parsed.is_ok() {
        return Err(parsed.diagnostics);
    }
    let mut open = open_blocks(&parsed.tokens);
    loop {
        let lines = Writer::new(src, &parsed.tokens, &open).lines();
        // Each round opens one more level of blocks, so that nesting bounds the number of rounds.
        let wide: Vec<usize> =
            lines.iter().filter(|l| l.width() > MAX_WIDTH).flat_map(|l| l.foldable.iter().copied()).collect();
        if wide.is_empty() {
            return Ok(join(&lines));
        }
        for at in wide {
            open_at(at, &parsed.tokens, &mut open);
        }
    }
}

/// Sets the flag of a `;`, or of a `{` and each `;` directly in its block.
fn open_at(at: usize, tokens: &[Token], open: &mut [bool]) {
    let mut depth = 0usize;
    for (token, flag) in tokens.iter().zip(open).skip(at) {
        match token.kind {
            Kind::LBrace => {
                *flag |= depth == 0;
                depth += 1;
            }
            Kind::RBrace => depth = depth.saturating_sub(1),
            Kind::Semi => *flag |= depth <= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// Flags for each token: a `{` whose block takes several lines, or a `;` that ends its line.
fn open_blocks(tokens: &[Token]) -> Vec<bool> {
    let mut open = vec![false; tokens.len()];
    // For each open brace: its index, and whether it holds a line end, a comment, anything else.
    let mut stack: Vec<(usize, bool, bool, bool)> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.kind == Kind::RBrace
            && let Some((start, newline, comment, other)) = stack.pop()
        {
            if let Some(flag) = open.get_mut(start) {
                *flag = comment || (newline && other);
            }
            if let Some(outer) = stack.last_mut() {
                *outer = (outer.0, outer.1 || newline, outer.2 || comment, true);
            }
            continue;
        }
        if let Some(top) = stack.last_mut() {
            match token.kind {
                Kind::Newline => top.1 = true,
                Kind::Comment | Kind::Doc => top.2 = true,
                _ => top.3 = true,
            }
        }
        if token.kind == Kind::LBrace {
            stack.push((at, false, false, false));
        }
    }
    open
}

/// One line of output.
struct Line {
    indent: usize,
    code: String,
    comment: String,
    blank_before: bool,
    /// Tokens that would break this line if their flag were set.
    foldable: Vec<usize>,
}

impl Line {
    fn width(&self) -> usize {
        self.indent * 2 + self.code.chars().count()
    }
}

struct Frame {
    kind: Kind,
    /// For brackets, and braces over several lines: the indentation of what is inside.
    inside: usize,
    /// True if a brace's block takes several lines.
    open: bool,
    /// True after `:` or `->`, where `*` and `/` belong to a unit.
    in_type: bool,
}

struct Writer<'a> {
    src: &'a str,
    tokens: &'a [Token],
    open: &'a [bool],
    lines: Vec<Line>,
    line: Line,
    stack: Vec<Frame>,
    previous: Kind,
    /// True if `previous` is a prefix operator.
    previous_is_prefix: bool,
    /// Line ends in the source since the last token or comment.
    newlines: usize,
    /// True if the next token begins a line whatever the source says.
    must_break: bool,
    /// A `;` that waits for the next item.
    semicolon: Option<usize>,
}

impl<'a> Writer<'a> {
    fn new(src: &'a str, tokens: &'a [Token], open: &'a [bool]) -> Writer<'a> {
        let bottom = Frame { kind: Kind::Sep, inside: 0, open: true, in_type: false };
        Writer {
            src,
            tokens,
            open,
            lines: Vec::new(),
            line: Line::empty(0),
            stack: vec![bottom],
            previous: Kind::Sep,
            previous_is_prefix: false,
            newlines: 0,
            must_break: false,
            semicolon: None,
        }
    }

    fn lines(mut self) -> Vec<Line> {
        for (at, token) in self.tokens.iter().enumerate() {
            match token.kind {
                Kind::Newline => self.newlines += token.text(self.src).bytes().filter(|b| *b == b'\n').count(),
                Kind::Comment | Kind::Doc => self.comment(*token),
                Kind::Semi => {
                    self.semicolon = Some(at);
                    self.must_break |= self.is_open(at);
                }
                _ => self.token(at, *token),
            }
        }
        self.flush(0);
        self.lines
    }

    fn is_open(&self, at: usize) -> bool {
        self.open.get(at).copied().unwrap_or(false)
    }

    fn top_kind(&self) -> Kind {
        self.stack.last().map_or(Kind::Sep, |f| f.kind)
    }

    fn in_bracket(&self) -> bool {
        matches!(self.top_kind(), Kind::LParen | Kind::LBrack)
    }

    /// True if the item before a line end goes on after it.
    fn continues(&self) -> bool {
        self.in_bracket()
            || !(self.previous.can_end_item()
                || matches!(self.previous, Kind::Sep | Kind::LBrace)
                || self.semicolon.is_some())
    }

    /// The indentation of the next line.
    fn indent(&self) -> usize {
        let inside = self.stack.last().map_or(0, |f| f.inside);
        inside + usize::from(!self.in_bracket() && self.continues())
    }

    /// Ends the current line; the next has this indentation.
    fn flush(&mut self, indent: usize) {
        let line = std::mem::replace(&mut self.line, Line::empty(indent));
        if !line.code.is_empty() || !line.comment.is_empty() {
            self.lines.push(line);
        }
        self.must_break = false;
    }

    /// Ends the current line and decides about a blank line before the next.
    fn break_line(&mut self, indent: usize, may_be_blank: bool) {
        let first = self.lines.is_empty() && self.line.code.is_empty() && self.line.comment.is_empty();
        let blank = may_be_blank && self.newlines > 1 && !first;
        self.flush(indent);
        self.line.blank_before = blank;
    }

    fn comment(&mut self, token: Token) {
        let text = token.text(self.src).trim_end();
        let own_line = self.newlines > 0 || self.line.code.is_empty();
        if own_line {
            let after_brace = self.previous == Kind::LBrace && self.line.code.ends_with('{');
            self.break_line(self.indent(), !after_brace && !self.continues());
        }
        self.line.comment = text.to_string();
        self.newlines = 0;
    }

    fn token(&mut self, at: usize, token: Token) {
        let kind = token.kind;
        let closes_block = kind == Kind::RBrace && self.stack.last().is_some_and(|f| f.open);
        let line_has_comment = !self.line.comment.is_empty();
        if closes_block {
            let outer = self.stack.iter().rev().nth(1).map_or(0, |f| f.inside);
            self.newlines = 0;
            self.break_line(outer, false);
        } else if kind == Kind::RBrace {
            // A block on one line, or an empty one.
        } else if self.must_break || self.newlines > 0 || line_has_comment {
            let indent = match kind {
                Kind::RParen | Kind::RBrack => self.stack.last().map_or(0, |f| f.inside.saturating_sub(1)),
                _ => self.indent(),
            };
            let after_brace = self.previous == Kind::LBrace && self.line.code.ends_with('{');
            self.break_line(indent, !after_brace && !self.continues());
            if !self.continues() {
                self.end_of_type();
            }
        } else if let Some(semi) = self.semicolon {
            self.line.code.push(';');
            // Inside a one-line block, it is the block that would be opened.
            if self.stack.last().is_some_and(|f| f.open) {
                self.line.foldable.push(semi);
            }
            self.end_of_type();
        }
        if self.semicolon.take().is_some() {
            self.end_of_type();
        }
        self.newlines = 0;
        if !self.line.code.is_empty() && self.blank_between(kind) {
            self.line.code.push(' ');
        }
        self.line.code.push_str(token.text(self.src));
        self.previous_is_prefix = kind == Kind::Minus && !self.previous.ends_operand();
        self.track(at, kind);
        self.previous = kind;
    }

    fn end_of_type(&mut self) {
        if let Some(top) = self.stack.last_mut() {
            top.in_type = false;
        }
    }

    /// Keeps the stack of brackets and braces.
    fn track(&mut self, at: usize, kind: Kind) {
        match kind {
            Kind::LParen | Kind::LBrack => {
                self.stack.push(Frame { kind, inside: self.line.indent + 1, open: false, in_type: false });
            }
            Kind::LBrace => {
                let open = self.is_open(at);
                let empty = self.tokens.get(at + 1).is_none_or(|t| t.kind == Kind::RBrace);
                if !open && !empty && self.stack.last().is_some_and(|f| f.open) {
                    self.line.foldable.push(at);
                }
                let outer = self.stack.last().map_or(0, |f| f.inside);
                self.end_of_type();
                self.stack.push(Frame { kind, inside: outer + 1, open, in_type: false });
                self.must_break = open;
            }
            Kind::RParen | Kind::RBrack | Kind::RBrace if self.stack.len() > 1 => {
                self.stack.pop();
            }
            Kind::Colon | Kind::Arrow => {
                let slice = self.top_kind() == Kind::LBrack;
                if let Some(top) = self.stack.last_mut() {
                    top.in_type = !slice;
                }
            }
            Kind::Assign | Kind::Comma => self.end_of_type(),
            _ => {}
        }
    }

    /// True if a blank belongs between the previous token and this one.
    fn blank_between(&self, kind: Kind) -> bool {
        use Kind::*;
        let previous = self.previous;
        if self.previous_is_prefix {
            return false;
        }
        let in_type = self.stack.last().is_some_and(|f| f.in_type);
        let unit_operator = |k: Kind| in_type && matches!(k, Star | Slash);
        match (previous, kind) {
            (LBrace, RBrace) => false,
            // `5 .x`: without the blank the point would belong to the number.
            (Int, Dot) => true,
            (LParen | LBrack | Dot | Caret | At, _) => false,
            (_, RParen | RBrack | Comma | Dot | Prime | Colon | Caret) => false,
            (Colon, _) => self.top_kind() != LBrack,
            (_, LParen | LBrack) => !previous.ends_operand(),
            _ => !unit_operator(previous) && !unit_operator(kind),
        }
    }
}

impl Line {
    fn empty(indent: usize) -> Line {
        Line { indent, code: String::new(), comment: String::new(), blank_before: false, foldable: Vec::new() }
    }
}

/// Writes the lines out, with comments at the ends of consecutive lines aligned.
fn join(lines: &[Line]) -> String {
    let trails = |l: &Line| !l.code.is_empty() && !l.comment.is_empty();
    let mut out = String::new();
    let mut column = 0;
    for (at, line) in lines.iter().enumerate() {
        if line.blank_before {
            out.push('\n');
        }
        out.extend(std::iter::repeat_n(' ', line.indent * 2));
        out.push_str(&line.code);
        if trails(line) {
            let goes_on = at.checked_sub(1).and_then(|i| lines.get(i)).is_some_and(trails) && !line.blank_before;
            if !goes_on {
                let rest = lines.get(at + 1..).unwrap_or_default();
                let run = rest.iter().take_while(|l| trails(l) && !l.blank_before);
                column = run.map(Line::width).fold(line.width(), usize::max) + 2;
            }
            out.extend(std::iter::repeat_n(' ', column.saturating_sub(line.width())));
        }
        out.push_str(&line.comment);
        out.push('\n');
    }
    out
}
