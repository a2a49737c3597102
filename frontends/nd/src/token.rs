//! The lexer: from text to raw tokens, comments and line ends included.
//!
//! Raw tokens cover the text without overlap, leave out blanks only, and are what the formatter and editors work on.
//! The layout pass turns them into what the grammar reads.

use crate::sink::Sink;
use logos::Logos;

/// The greatest size of a source file, in bytes.
pub const MAX_SOURCE: usize = 16 << 20;
/// The greatest number of raw tokens in a source file.
pub const MAX_TOKENS: usize = 4 << 20;

/// What a token is.
#[derive(Logos, Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[logos(skip r"[ \t\r\f\u{feff}]+")]
#[allow(missing_docs)]
pub enum Kind {
    #[token("import")]
    Import,
    #[token("const")]
    Const,
    #[token("fn")]
    Fn,
    #[token("neuron")]
    Neuron,
    #[token("synapse")]
    Synapse,
    #[token("net")]
    Net,
    #[token("param")]
    Param,
    #[token("state")]
    State,
    #[token("input")]
    Input,
    #[token("output")]
    Output,
    #[token("on")]
    On,
    #[token("emit")]
    Emit,
    #[token("let")]
    Let,
    #[token("next")]
    Next,
    #[token("threshold")]
    Threshold,
    #[token("reset")]
    Reset,
    #[token("refractory")]
    Refractory,
    #[token("hold")]
    Hold,
    #[token("solve")]
    Solve,
    #[token("pop")]
    Pop,
    #[token("sub")]
    Sub,
    #[token("connect")]
    Connect,
    #[token("file")]
    File,
    #[token("probe")]
    Probe,
    #[token("every")]
    Every,
    #[token("clock")]
    Clock,
    #[token("seed")]
    Seed,
    #[token("target")]
    Target,
    #[token("if")]
    If,
    #[token("then")]
    Then,
    #[token("else")]
    Else,
    #[token("and")]
    And,
    #[token("or")]
    Or,
    #[token("not")]
    Not,
    #[token("true")]
    True,
    #[token("false")]
    False,

    #[regex(r"[A-Za-z_\u{b5}\u{3bc}][A-Za-z0-9_\u{b5}\u{3bc}]*")]
    Ident,
    #[regex(r"[0-9]+")]
    Int,
    #[regex(r"[0-9]+\.[0-9]+([eE][+-]?[0-9]+)?")]
    #[regex(r"[0-9]+[eE][+-]?[0-9]+")]
    Float,
    #[regex(r#""([^"\\\n]|\\[^\n])*""#)]
    Str,

    #[token("(")]
    LParen,
    #[token(")")]
    RParen,
    #[token("[")]
    LBrack,
    #[token("]")]
    RBrack,
    #[token("{")]
    LBrace,
    #[token("}")]
    RBrace,
    #[token(",")]
    Comma,
    #[token(":")]
    Colon,
    #[token(".")]
    Dot,
    #[token("'")]
    Prime,
    #[token("@")]
    At,
    #[token("=")]
    Assign,
    #[token("+=")]
    PlusAssign,
    #[token("-=")]
    MinusAssign,
    #[token("*=")]
    StarAssign,
    #[token("<-")]
    Drive,
    #[token("->")]
    Arrow,
    #[token("<")]
    Lt,
    #[token("<=")]
    Le,
    #[token(">")]
    Gt,
    #[token(">=")]
    Ge,
    #[token("==")]
    EqEq,
    #[token("!=")]
    Ne,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("^")]
    Caret,

    #[token(";")]
    Semi,
    /// One line end and the blank lines that follow it.
    #[regex(r"\n[ \t\r\f\n]*")]
    Newline,
    #[regex(r"#([^#\n][^\n]*)?", allow_greedy = true)]
    Comment,
    #[regex(r"##[^\n]*", allow_greedy = true)]
    Doc,

    /// A string without its closing quote, up to the end of the line.
    #[regex(r#""([^"\\\n]|\\[^\n])*\\?"#)]
    OpenStr,
    /// `1_000`, `.5`, `5.`
    #[regex(r"[0-9]+_[0-9_]*")]
    #[regex(r"\.[0-9]+([eE][+-]?[0-9]+)?")]
    #[regex(r"[0-9]+\.")]
    BadNumber,
    #[token("&&")]
    AmpAmp,
    #[token("||")]
    BarBar,
    #[token("!")]
    Bang,
    #[token("**")]
    StarStar,
    #[token("/=")]
    SlashAssign,
    /// A comment of another language.
    #[regex(r"//[^\n]*", allow_greedy = true)]
    SlashSlash,
    /// Characters that mean nothing here.
    Unknown,
    /// What separates items; only the layout pass makes it.
    Sep,
}

/// True for a word that cannot be a name.
pub fn is_keyword(word: &str) -> bool {
    matches!(Kind::lexer(word).next(), Some(Ok(kind)) if kind.is_keyword())
}

impl Kind {
    /// True for the words that cannot be names.
    pub fn is_keyword(self) -> bool {
        use Kind::*;
        matches!(
            self,
            Import
                | Const
                | Fn
                | Neuron
                | Synapse
                | Net
                | Param
                | State
                | Input
                | Output
                | On
                | Emit
                | Let
                | Next
                | Threshold
                | Reset
                | Refractory
                | Hold
                | Solve
                | Pop
                | Sub
                | Connect
                | File
                | Probe
                | Every
                | Clock
                | Seed
                | Target
                | If
                | Then
                | Else
                | And
                | Or
                | Not
                | True
                | False
        )
    }

    /// True for keywords that begin a declaration and nothing else.
    pub fn starts_top_only(self) -> bool {
        matches!(self, Kind::Import | Kind::Fn | Kind::Neuron | Kind::Synapse | Kind::Net | Kind::Target)
    }

    /// True for keywords that begin a declaration, an item or an action.
    pub fn starts_item(self) -> bool {
        use Kind::*;
        self.starts_top_only()
            || matches!(
                self,
                Const
                    | Param
                    | State
                    | Input
                    | Output
                    | On
                    | Emit
                    | Let
                    | Next
                    | Threshold
                    | Reset
                    | Refractory
                    | Solve
                    | Pop
                    | Sub
                    | Connect
                    | File
                    | Probe
                    | Clock
                    | Seed
            )
    }

    /// True for what can only continue an item, so that no line may begin with it.
    pub fn continues_item(self) -> bool {
        use Kind::*;
        matches!(
            self,
            Plus | Minus
                | Star
                | Slash
                | Percent
                | Caret
                | Lt
                | Le
                | Gt
                | Ge
                | EqEq
                | Ne
                | And
                | Or
                | Then
                | Else
                | Assign
                | PlusAssign
                | MinusAssign
                | StarAssign
                | Drive
                | Arrow
                | Comma
                | Colon
                | Dot
                | At
                | Every
                | Hold
                | LParen
                | LBrack
                | StarStar
                | AmpAmp
                | BarBar
                | SlashAssign
        )
    }

    /// True if a newline after this token ends an item.
    pub fn can_end_item(self) -> bool {
        use Kind::*;
        matches!(self, Ident | Int | Float | Str | True | False | RParen | RBrack | RBrace)
    }

    /// True if an operand may end here, so that `-` after it is a subtraction.
    pub fn ends_operand(self) -> bool {
        self.can_end_item() && self != Kind::RBrace
    }

    /// True for comments and line ends.
    pub fn is_trivia(self) -> bool {
        matches!(self, Kind::Newline | Kind::Comment | Kind::Doc | Kind::SlashSlash)
    }
}

/// A raw token; its text is `source[start..end]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Token {
    /// The text of the token in the source it was read from; empty for another source.
    pub fn text(self, src: &str) -> &str {
        src.get(self.start as usize..self.end as usize).unwrap_or("")
    }
}

/// Splits a text into raw tokens and reports what no token can be made of.
///
/// Returns no tokens for a text beyond [`MAX_SOURCE`] or [`MAX_TOKENS`].
pub(crate) fn tokenize(src: &str, sink: &mut Sink) -> Vec<Token> {
    if src.len() > MAX_SOURCE {
        let message = format!("the file has {} bytes; at most {MAX_SOURCE} are read", src.len());
        sink.fatal("E0006", 0, 0, message, "", "keep large tables in a `.npz` or `.safetensors` file");
        return Vec::new();
    }
    let mut out: Vec<Token> = Vec::new();
    for (kind, span) in Kind::lexer(src).spanned() {
        let kind = kind.unwrap_or(Kind::Unknown);
        let (start, end) = (span.start as u32, span.end as u32);
        if kind == Kind::Unknown
            && let Some(last) = out.last_mut()
            && last.kind == Kind::Unknown
            && last.end == start
        {
            last.end = end;
            continue;
        }
        if out.len() == MAX_TOKENS {
            let message = format!("the file has more than {MAX_TOKENS} words and signs");
            sink.fatal(
                "E0006",
                span.start,
                span.end,
                message,
                "",
                "keep large tables in a `.npz` or `.safetensors` file",
            );
            return Vec::new();
        }
        out.push(Token { kind, start, end });
    }
    for token in &out {
        complain(src, *token, sink);
    }
    out
}

/// Reports what is wrong with a token by itself.
fn complain(src: &str, token: Token, sink: &mut Sink) {
    let (start, end) = (token.start as usize, token.end as usize);
    let text = token.text(src);
    let (code, message, label, hint): (_, String, _, String) = match token.kind {
        Kind::Unknown => {
            let shown: String = text.chars().take(8).flat_map(char::escape_debug).collect();
            let hint = if text.starts_with(['“', '”', '„']) {
                "strings are written between straight quotes `\"`"
            } else if text.starts_with(['−', '–', '—']) {
                "write minus as `-`"
            } else if text.starts_with(['×', '·']) {
                "write multiplication as `*`"
            } else if text.chars().any(char::is_alphabetic) {
                "names are made of the letters `A`-`Z`, `a`-`z`, `µ`, digits and `_`"
            } else {
                "remove it"
            };
            ("E0001", format!("`{shown}` means nothing here"), "not part of the language", hint.into())
        }
        Kind::OpenStr => (
            "E0002",
            "this string has no closing quote".into(),
            "opened here",
            "a string ends on the line it begins".into(),
        ),
        Kind::Str => return escapes(src, token, sink),
        Kind::BadNumber => {
            let hint = if text.contains('_') {
                format!("digits are not grouped: write `{}`", text.replace('_', ""))
            } else if text.starts_with('.') {
                format!("write `0{text}`")
            } else {
                format!("write `{text}0`")
            };
            ("E0005", format!("`{text}` is not a number"), "a number has digits on both sides of its point", hint)
        }
        Kind::AmpAmp => ("E0008", "there is no operator `&&`".into(), "", "write `and`".into()),
        Kind::BarBar => ("E0008", "there is no operator `||`".into(), "", "write `or`".into()),
        Kind::Bang => ("E0008", "there is no operator `!`".into(), "", "write `not`".into()),
        Kind::StarStar => ("E0008", "there is no operator `**`".into(), "", "write `^`".into()),
        Kind::SlashSlash => ("E0008", "`//` does not begin a comment".into(), "", "write `#`".into()),
        Kind::SlashAssign => ("E0008", "there is no operator `/=`".into(), "", "write `x = x / y`".into()),
        _ => return,
    };
    sink.error(code, start, end, message, label, Some(hint));
}

/// Reports unknown escapes of a string literal.
fn escapes(src: &str, token: Token, sink: &mut Sink) {
    let mut chars = token.text(src).char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '\\' {
            continue;
        }
        if let Some((next, e)) = chars.next()
            && !matches!(e, '"' | '\\' | 'n' | 't')
        {
            let start = token.start as usize;
            sink.error(
                "E0003",
                start + at,
                start + next + e.len_utf8(),
                format!("`\\{}` is not an escape", e.escape_debug()),
                "",
                Some("write `\\\\` for a backslash; the others are `\\\"`, `\\n` and `\\t`".into()),
            );
        }
    }
}

/// The text that a string literal stands for.
pub(crate) fn unescape(literal: &str) -> String {
    let inner = literal.strip_prefix('"').unwrap_or(literal);
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(c) => out.push(c),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}
