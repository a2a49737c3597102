//! The layout rule: from raw tokens to what the grammar reads.
//!
//! `;` always separates items. A newline separates unless it stands inside `()` or `[]`, or after a token that cannot
//! end an item. On well-formed text this pass does nothing else. On other text it also
//!
//! - closes what was left open, at the first place where nothing inside could go on;
//! - joins lines that begin with an operator or a brace to the line before;
//! - replaces or drops what cannot be read, so that each slip is reported once and the rest of the tree survives.
//!
//! It guarantees to the parser: brackets and braces match, brackets hold no braces, and the number of constructs open
//! at once is at most [`MAX_NESTING`].

use crate::sink::Sink;
use crate::token::{Kind, Token};
use nc_ir::Diagnostic;
use rustc_hash::FxHashMap;

/// The greatest number of brackets, prefix operators, powers and `if`s that are open at one place.
pub const MAX_NESTING: usize = 128;
/// The greatest number of tokens in one item.
pub const MAX_ITEM_TOKENS: usize = 1 << 16;

/// What the grammar reads.
pub(crate) struct Laid {
    /// Tokens without comments, newlines turned into [`Kind::Sep`] where they separate. A token of no length was put in.
    pub(crate) tokens: Vec<(usize, Kind, usize)>,
    /// Documentation comments by the first byte of what they stand before, or of the line that they end.
    pub(crate) docs: FxHashMap<usize, String>,
}

struct Opener {
    kind: Kind,
    start: usize,
    /// Prefix `-` and `^` that wait for their operand.
    minuses: usize,
    /// `not`s that wait for their operand.
    nots: usize,
    /// `if`s that wait for their end.
    ifs: usize,
}

struct Layout<'a> {
    src: &'a str,
    raw: &'a [Token],
    sink: &'a mut Sink,
    out: Vec<(usize, Kind, usize)>,
    stack: Vec<Opener>,
    /// Everything open at this place, the sum over the stack.
    open: usize,
    item_tokens: usize,
    /// True from a newline to the next token that is not a comment.
    at_line_start: bool,
}

/// Applies the layout rule. The tokens are of no use once the sink says it has stopped.
pub(crate) fn lay_out(src: &str, raw: &[Token], sink: &mut Sink) -> Laid {
    let docs = collect_docs(src, raw);
    let bottom = Opener { kind: Kind::Sep, start: 0, minuses: 0, nots: 0, ifs: 0 };
    let mut layout = Layout {
        src,
        raw,
        sink,
        out: Vec::with_capacity(raw.len()),
        stack: vec![bottom],
        open: 0,
        item_tokens: 0,
        at_line_start: false,
    };
    for at in 0..raw.len() {
        layout.token(at);
        if layout.sink.stopped() {
            break;
        }
    }
    if !layout.sink.stopped() {
        layout.close_brackets(src.len());
        layout.close_braces(src.len());
    }
    Laid { tokens: layout.out, docs }
}

fn is_bracket(kind: Kind) -> bool {
    matches!(kind, Kind::LParen | Kind::LBrack)
}

fn closer(opener: Kind) -> Kind {
    match opener {
        Kind::LParen => Kind::RParen,
        Kind::LBrack => Kind::RBrack,
        _ => Kind::RBrace,
    }
}

fn sign(kind: Kind) -> char {
    match kind {
        Kind::LParen => '(',
        Kind::RParen => ')',
        Kind::LBrack => '[',
        Kind::RBrack => ']',
        Kind::LBrace => '{',
        _ => '}',
    }
}

impl Layout<'_> {
    fn top(&self) -> Kind {
        self.stack.last().map_or(Kind::Sep, |o| o.kind)
    }

    fn last(&self) -> Kind {
        self.out.last().map_or(Kind::Sep, |t| t.1)
    }

    fn end_of_last(&self) -> usize {
        self.out.last().map_or(0, |t| t.2)
    }

    fn emit(&mut self, start: usize, kind: Kind, end: usize) {
        self.out.push((start, kind, end));
        if matches!(kind, Kind::Sep | Kind::LBrace | Kind::RBrace) {
            self.item_tokens = 0;
            return;
        }
        self.item_tokens += 1;
        if self.item_tokens > MAX_ITEM_TOKENS {
            self.sink.fatal(
                "E0006",
                start,
                end,
                format!("this item has more than {MAX_ITEM_TOKENS} words and signs"),
                "reading stops here",
                "keep large tables in a `.npz` or `.safetensors` file",
            );
        }
    }

    /// The raw tokens from a place on, without comments and newlines.
    fn ahead(&self, at: usize) -> impl Iterator<Item = Token> + '_ {
        self.raw.get(at..).unwrap_or_default().iter().copied().filter(|t| !t.kind.is_trivia())
    }

    fn token(&mut self, at: usize) {
        let Some(&Token { kind, start, end }) = self.raw.get(at) else { return };
        let (start, end) = (start as usize, end as usize);
        if kind == Kind::Newline {
            // Of a run of newlines and comments only the first newline counts, which keeps looking ahead linear.
            if !self.at_line_start {
                self.at_line_start = true;
                self.newline(at, start, end);
            }
            return;
        }
        self.at_line_start &= kind.is_trivia();
        match kind {
            Kind::Comment | Kind::Doc | Kind::SlashSlash | Kind::Unknown | Kind::Newline => {}
            Kind::Semi => {
                self.close_brackets(start);
                self.emit(start, Kind::Sep, end);
                self.rest();
            }
            Kind::LParen | Kind::LBrack => {
                self.emit(start, kind, end);
                self.push(kind, start);
            }
            Kind::LBrace => {
                self.close_brackets(start);
                self.emit(start, kind, end);
                self.push(kind, start);
            }
            Kind::RParen | Kind::RBrack => self.close_bracket(kind, start, end),
            Kind::RBrace => {
                self.close_brackets(start);
                if self.top() == Kind::LBrace {
                    self.pop();
                    self.emit(start, kind, end);
                } else {
                    let hint = "remove it, or look for a brace that was closed too early above";
                    self.sink.error("E0104", start, end, "this `}` closes nothing", "", Some(hint.into()));
                }
            }
            Kind::OpenStr => self.emit(start, Kind::Str, end),
            Kind::BadNumber => self.emit(start, Kind::Float, end),
            Kind::AmpAmp => self.operator(start, Kind::And, end),
            Kind::BarBar => self.operator(start, Kind::Or, end),
            Kind::Bang => self.operator(start, Kind::Not, end),
            Kind::StarStar => self.operator(start, Kind::Caret, end),
            Kind::SlashAssign => self.emit(start, Kind::StarAssign, end),
            _ => self.operator(start, kind, end),
        }
    }

    /// Emits a token and keeps count of the operators that wait for an operand.
    fn operator(&mut self, start: usize, kind: Kind, end: usize) {
        let unary = !self.last().ends_operand();
        self.emit(start, kind, end);
        let Some(top) = self.stack.last_mut() else { return };
        let before = top.minuses + top.nots + top.ifs;
        match kind {
            Kind::Minus if unary => top.minuses += 1,
            Kind::Caret => top.minuses += 1,
            Kind::Not => top.nots += 1,
            Kind::If => top.ifs += 1,
            Kind::Plus
            | Kind::Minus
            | Kind::Star
            | Kind::Slash
            | Kind::Percent
            | Kind::Lt
            | Kind::Le
            | Kind::Gt
            | Kind::Ge
            | Kind::EqEq
            | Kind::Ne => top.minuses = 0,
            Kind::And | Kind::Or | Kind::Then | Kind::Else => (top.minuses, top.nots) = (0, 0),
            Kind::Comma => (top.minuses, top.nots, top.ifs) = (0, 0, 0),
            _ => return,
        }
        self.open = self.open + top.minuses + top.nots + top.ifs - before;
        self.check_depth(start, end);
    }

    fn check_depth(&mut self, start: usize, end: usize) {
        if self.open > MAX_NESTING {
            self.sink.fatal(
                "E0007",
                start,
                end,
                format!("brackets, prefix operators and `if`s nest more than {MAX_NESTING} deep"),
                "reading stops here",
                "name parts of the expression with `let`",
            );
        }
    }

    fn push(&mut self, kind: Kind, start: usize) {
        self.stack.push(Opener { kind, start, minuses: 0, nots: 0, ifs: 0 });
        self.open += 1;
        self.check_depth(start, start + 1);
    }

    fn pop(&mut self) {
        // The bottom of the stack is never popped: callers look at its kind first.
        if let Some(o) = self.stack.pop() {
            self.open -= 1 + o.minuses + o.nots + o.ifs;
            if o.kind == Kind::LBrace {
                self.rest();
            }
        }
    }

    /// Nothing waits for an operand at the end of an item.
    fn rest(&mut self) {
        if let Some(top) = self.stack.last_mut() {
            self.open -= top.minuses + top.nots + top.ifs;
            (top.minuses, top.nots, top.ifs) = (0, 0, 0);
        }
    }

    fn newline(&mut self, at: usize, start: usize, end: usize) {
        let mut ahead = self.ahead(at);
        let (next, after) = (ahead.next(), ahead.next());
        drop(ahead);
        let Some(next) = next else { return };
        let declares = next.kind.starts_top_only() && after.is_some_and(|t| matches!(t.kind, Kind::Ident | Kind::Str));
        if is_bracket(self.top()) {
            if !self.item_starts(at, next.kind, after) {
                return;
            }
            self.close_brackets(start);
        }
        if declares {
            self.close_braces(start);
        } else if self.in_inner_block() && !matches!(next.kind, Kind::Let | Kind::Emit) && next.kind.starts_item() {
            // Blocks inside a body hold no items, unless a keyword is used as a key.
            if after.is_some_and(|t| !matches!(t.kind, Kind::Assign | Kind::Dot))
                && let Some(open) = self.stack.last().map(|o| o.start)
            {
                self.unclosed(Kind::LBrace, open, start);
                self.pop();
                let place = self.end_of_last();
                self.emit(place, Kind::RBrace, place);
            }
        }
        if !self.last().can_end_item() {
            // An item that stops short ends before a line that can only begin another.
            if !matches!(self.last(), Kind::Sep | Kind::LBrace) && self.item_starts(at, next.kind, after) {
                self.emit(start, Kind::Sep, end);
                self.rest();
            }
            return;
        }
        let (from, to) = (next.start as usize, next.end as usize);
        if next.kind == Kind::LBrace {
            let hint = "a newline ends the line before; move the brace to its end";
            self.sink.error("E0105", from, to, "`{` stands on a line of its own", "", Some(hint.into()));
            return;
        }
        if next.kind.continues_item() {
            let text = next.text(self.src);
            let hint = format!("a newline ends an item; put `{text}` at the end of the line before");
            self.sink.error("E0106", from, to, format!("a line cannot begin with `{text}`"), "", Some(hint));
            return;
        }
        self.emit(start, Kind::Sep, end);
        self.rest();
    }

    /// True if the line after a newline can only begin an item: inside brackets, or where an item is unfinished, no
    /// well-formed text goes on like this.
    fn item_starts(&self, at: usize, next: Kind, after: Option<Token>) -> bool {
        if next.starts_item() {
            return after.is_none_or(|t| !matches!(t.kind, Kind::Assign | Kind::Comma | Kind::RParen | Kind::RBrack));
        }
        // In brackets, `name =` after a comma is an argument; after an operand it is not. Outside, nothing is set inside
        // an expression; `*`, `/` and `:` may also stand in a type, which `=` can follow.
        use Kind::*;
        let last = self.last();
        let in_expression = matches!(
            last,
            Assign
                | PlusAssign
                | MinusAssign
                | StarAssign
                | Drive
                | Plus
                | Minus
                | Percent
                | Lt
                | Le
                | Gt
                | Ge
                | EqEq
                | Ne
        );
        if next != Ident || (if is_bracket(self.top()) { !last.can_end_item() } else { !in_expression }) {
            return false;
        }
        let mut ahead = self.ahead(at).skip(1);
        loop {
            match ahead.next().map(|t| t.kind) {
                Some(Dot) => {
                    ahead.next();
                }
                Some(k) => {
                    return matches!(k, Assign | Prime | Drive | PlusAssign | MinusAssign | StarAssign);
                }
                None => return false,
            }
        }
    }

    /// True directly inside a block of an item of a body.
    fn in_inner_block(&self) -> bool {
        self.top() == Kind::LBrace && self.stack.iter().filter(|o| o.kind == Kind::LBrace).nth(1).is_some()
    }

    fn unclosed(&mut self, kind: Kind, start: usize, place: usize) {
        let (o, c) = (sign(kind), sign(closer(kind)));
        let span = self.sink.span(start, start + 1);
        let before = self.end_of_last();
        let near = self.sink.span(before.saturating_sub(1), before.max(1));
        let mut diagnostic = Diagnostic::error("E0103", span, format!("this `{o}` is never closed"))
            .labelled("opened here")
            .with_hint(format!("add `{c}`"));
        if self.src.get(start..place).is_some_and(|s| !s.contains('\n')) {
            diagnostic = diagnostic.with_label(near, format!("`{c}` expected after this"));
        }
        self.sink.push(diagnostic);
    }

    /// Closes brackets that were left open; one report for all of them.
    fn close_brackets(&mut self, place: usize) {
        if is_bracket(self.top())
            && let Some((kind, start)) = self.stack.last().map(|o| (o.kind, o.start))
        {
            self.unclosed(kind, start, place);
            self.close_while(is_bracket);
        }
    }

    /// Closes braces that were left open; one report for all of them.
    fn close_braces(&mut self, place: usize) {
        if self.top() == Kind::LBrace
            && let Some(start) = self.stack.last().map(|o| o.start)
        {
            self.unclosed(Kind::LBrace, start, place);
            self.close_while(|k| k == Kind::LBrace);
        }
    }

    /// Puts in closers, of no length, while the innermost opener is one of those.
    fn close_while(&mut self, which: impl Fn(Kind) -> bool) {
        let place = self.end_of_last();
        while which(self.top()) {
            let kind = closer(self.top());
            self.pop();
            self.emit(place, kind, place);
        }
    }

    fn close_bracket(&mut self, kind: Kind, start: usize, end: usize) {
        let inner: Vec<Kind> = self.stack.iter().rev().map(|o| o.kind).take_while(|k| is_bracket(*k)).collect();
        match inner.iter().position(|k| closer(*k) == kind) {
            Some(0) => {}
            Some(_) => {
                if let Some((opener, at)) = self.stack.last().map(|o| (o.kind, o.start)) {
                    self.unclosed(opener, at, start);
                }
                self.close_while(|k| closer(k) != kind);
            }
            None => {
                let c = sign(kind);
                let Some(open) = inner.first() else {
                    let hint = Some("remove it".into());
                    self.sink.error("E0104", start, end, format!("this `{c}` closes nothing"), "", hint);
                    return;
                };
                let (o, right) = (sign(*open), sign(closer(*open)));
                let message = format!("`{o}` is closed by `{c}`");
                self.sink.error("E0104", start, end, message, "", Some(format!("write `{right}`")));
                self.pop();
                self.emit(start, closer(*open), end);
                return;
            }
        }
        self.pop();
        self.emit(start, kind, end);
    }
}

/// Finds the documentation comments and what they belong to: the item after them or, at the end of a line, the innermost
/// item that has begun and whose block is not behind. Where an item takes several lines makes no difference.
fn collect_docs(src: &str, raw: &[Token]) -> FxHashMap<usize, String> {
    let mut docs: FxHashMap<usize, String> = FxHashMap::default();
    let mut pending = String::new();
    let mut own_line = true;
    let mut brackets = 0usize;
    // For each open brace, where the item that is being read began.
    let mut items: Vec<Option<usize>> = vec![None];
    let mut last = Kind::Sep;
    // An item ends at a line end, but a comment on its last line still belongs to it.
    let mut ended = false;
    for token in raw {
        match token.kind {
            Kind::Newline => {
                own_line = true;
                ended |= brackets == 0 && last.can_end_item();
                if token.text(src).bytes().filter(|b| *b == b'\n').count() > 1 {
                    pending.clear();
                }
                continue;
            }
            Kind::Comment => {
                pending.clear();
                continue;
            }
            Kind::Doc => {
                let text = token.text(src).trim_start_matches('#').trim();
                let item = items.iter().rev().find_map(|i| *i);
                let target = match item {
                    Some(start) if !own_line => docs.entry(start).or_default(),
                    _ if own_line => &mut pending,
                    _ => continue,
                };
                if !target.is_empty() {
                    target.push('\n');
                }
                target.push_str(text);
                continue;
            }
            Kind::Semi => ended = true,
            Kind::RBrace => {
                if items.len() > 1 {
                    items.pop();
                }
                (brackets, ended) = (0, false);
            }
            kind => {
                let start = token.start as usize;
                if let Some(item) = items.last_mut()
                    && (item.is_none() || std::mem::take(&mut ended))
                {
                    *item = Some(start);
                }
                if own_line && !pending.is_empty() {
                    docs.insert(start, std::mem::take(&mut pending));
                }
                match kind {
                    Kind::LBrace => {
                        items.push(None);
                        (brackets, ended) = (0, false);
                    }
                    Kind::LParen | Kind::LBrack => brackets += 1,
                    Kind::RParen | Kind::RBrack => brackets = brackets.saturating_sub(1),
                    _ => {}
                }
            }
        }
        pending.clear();
        own_line = false;
        last = token.kind;
    }
    docs
}
