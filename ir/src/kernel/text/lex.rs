//! Tokens, one at a time.

use super::ParseError;
use std::fmt;

/// A piece of the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token<'a> {
    /// Letters, digits and `_`, with dots between letters: a keyword, an operation, a value, a type.
    Word(&'a str),
    /// Begins with a digit.
    Number(&'a str),
    /// The unescaped content of a string.
    Text(String),
    /// `..`
    Range,
    /// One of `{ } [ ] ( ) , = * + - :`
    Mark(char),
    /// The end of the text.
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(w) | Token::Number(w) => write!(f, "`{}`", shortened(w)),
            Token::Text(_) => f.write_str("a string"),
            Token::Range => f.write_str("`..`"),
            Token::Mark(c) => write!(f, "`{c}`"),
            Token::End => f.write_str("the end of the text"),
        }
    }
}

/// At most 40 characters, for messages.
fn shortened(w: &str) -> String {
    if w.chars().count() > 40 { w.chars().take(37).chain("...".chars()).collect() } else { w.to_string() }
}

/// Where a token begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct At {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl At {
    pub(super) fn error<T>(self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError { line: self.line, column: self.column, message: message.into() })
    }
}

pub(super) struct Lexer<'a> {
    rest: &'a str,
    at: At,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { rest: text, at: At { line: 1, column: 1 } }
    }

    fn peek(&self, n: usize) -> Option<char> {
        self.rest.chars().nth(n)
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.at = At { line: self.at.line.saturating_add(1), column: 1 };
        } else {
            self.at.column = self.at.column.saturating_add(1);
        }
        Some(c)
    }

    /// Takes characters while `more` holds of the part before, the character and the one after it.
    fn take(&mut self, more: impl Fn(char, char, Option<char>) -> bool) -> &'a str {
        let start = self.rest;
        let mut before = '\0';
        while let Some(c) = self.peek(0)
            && more(before, c, self.peek(1))
        {
            before = c;
            self.bump();
        }
        &start[..start.len() - self.rest.len()]
    }

    /// The next token and where it begins.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, At), ParseError> {
        loop {
            match self.peek(0) {
                Some(c) if c.is_whitespace() => {
                    self.bump();
                }
                Some(';') => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.bump();
                    }
                }
                _ => break,
            }
        }
        let at = self.at;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let token = match self.peek(0) {
            None => Token::End,
            Some('"') => self.string()?,
            Some('.') if self.peek(1) == Some('.') => {
                self.bump();
                self.bump();
                Token::Range
            }
            Some(c) if c.is_ascii_digit() => {
                let hex = self.rest.starts_with("0x");
                Token::Number(self.take(|before, c, after| {
                    let exponent = !hex && matches!(before, 'e' | 'E') && matches!(c, '+' | '-');
                    word(c) || exponent || (c == '.' && after.is_some_and(|a| a.is_ascii_digit()))
                }))
            }
            Some(c) if word(c) => Token::Word(
                self.take(|_, c, after| word(c) || (c == '.' && after.is_some_and(|a| a.is_ascii_alphabetic()))),
            ),
            Some(c) if "{}[](),=*+-:".contains(c) => {
                self.bump();
                Token::Mark(c)
            }
            Some(c) => return at.error(format!("{c:?} begins nothing")),
        };
        Ok((token, at))
    }

    fn string(&mut self) -> Result<Token<'a>, ParseError> {
        let start = self.at;
        self.bump();
        let mut text = String::new();
        loop {
            let at = self.at;
            match self.bump() {
                None | Some('\n') => return start.error("the string does not end on its line"),
                Some('"') => return Ok(Token::Text(text)),
                Some('\\') => text.push(match self.bump() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('0') => '\0',
                    Some(c @ ('"' | '\\' | '\'')) => c,
                    Some('u') if self.bump() == Some('{') => {
                        let digits = self.take(|_, c, _| c.is_ascii_hexdigit());
                        let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                        match (c, self.bump()) {
                            (Some(c), Some('}')) => c,
                            _ => return at.error("an escape that names no character"),
                        }
                    }
                    _ => return at.error("an unknown escape"),
                }),
                Some(c) => text.push(c),
            }
        }
    }
}
