//! Tokens of the text form.

use super::TextError;
use crate::diag::Span;

/// One token.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// A bare word.
    Word(String),
    /// An integer.
    Int(i128),
    /// A number with a point or an exponent.
    Real(f64),
    /// A quoted name.
    Str(String),
    /// `x"..."`.
    Bytes(Vec<u8>),
    /// `%7`.
    Value(u32),
    /// `{ } ( ) [ ] , : = ..` and `...`.
    Mark(&'static str),
    /// The end of the text.
    End,
}

impl Token {
    /// How a message calls the token.
    pub fn words(&self) -> String {
        match self {
            Token::Word(w) => format!("`{w}`"),
            Token::Int(x) => format!("`{x}`"),
            Token::Real(x) => format!("`{x:?}`"),
            Token::Str(_) => "a name in quotes".to_string(),
            Token::Bytes(_) => "bytes".to_string(),
            Token::Value(v) => format!("`%{v}`"),
            Token::Mark(m) => format!("`{m}`"),
            Token::End => "the end of the text".to_string(),
        }
    }
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    /// An error about the bytes `start..end`.
    pub fn error(&self, start: usize, end: usize, message: String) -> TextError {
        let before = self.text.get(..start).unwrap_or(self.text);
        let line = before.bytes().filter(|b| *b == b'\n').count();
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count());
        let span = Span::new(start, end);
        TextError { line: line as u32 + 1, column: column as u32 + 1, span, message }
    }

    /// The text between two places.
    pub fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or("")
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn take_while(&mut self, f: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while self.at < self.text.len() && f(self.peek(0)) {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or("")
    }

    /// The next token and where it begins and ends.
    pub fn next(&mut self) -> Result<(Token, usize, usize), TextError> {
        loop {
            self.take_while(|b| b.is_ascii_whitespace());
            if self.peek(0) != b'#' {
                break;
            }
            self.take_while(|b| b != b'\n');
        }
        let start = self.at;
        let token = self.token(start)?;
        Ok((token, start, self.at))
    }

    fn token(&mut self, start: usize) -> Result<Token, TextError> {
        if start >= self.text.len() {
            return Ok(Token::End);
        }
        for mark in ["...", "..", "{", "}", "(", ")", "[", "]", ",", ":", "="] {
            if self.text[start..].starts_with(mark) {
                self.at += mark.len();
                return Ok(Token::Mark(mark));
            }
        }
        match self.peek(0) {
            b'"' => self.string(start).map(Token::Str),
            b'x' if self.peek(1) == b'"' => self.bytes(start),
            b'%' => {
                self.at += 1;
                let digits = self.take_while(|b| b.is_ascii_digit());
                let id = digits.parse::<u32>();
                id.map(Token::Value)
                    .map_err(|_| self.error(start, self.at, "`%` needs a number of 32 bits".to_string()))
            }
            b if b.is_ascii_digit() || b == b'-' => self.number(start),
            b if b.is_ascii_alphabetic() || b == b'_' => {
                Ok(Token::Word(self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_').to_string()))
            }
            _ => {
                let c = self.text.get(start..).and_then(|t| t.chars().next()).unwrap_or(' ');
                Err(self.error(start, start + c.len_utf8(), format!("`{}` cannot stand here", c.escape_debug())))
            }
        }
    }

    fn number(&mut self, start: usize) -> Result<Token, TextError> {
        if self.peek(0) == b'-' {
            self.at += 1;
            if self.peek(0) == b'i' {
                let word = self.take_while(|b| b.is_ascii_alphabetic());
                return match word {
                    "inf" => Ok(Token::Real(f64::NEG_INFINITY)),
                    _ => Err(self.error(start, self.at, "`-` needs a number".to_string())),
                };
            }
        }
        if self.peek(0) == b'0' && self.peek(1) == b'x' {
            self.at += 2;
            let digits = self.take_while(|b| b.is_ascii_hexdigit());
            let value = u64::from_str_radix(digits, 16);
            return value
                .map(|x| Token::Int(i128::from(x)))
                .map_err(|_| self.error(start, self.at, "a hexadecimal number has 1 to 16 digits".to_string()));
        }
        self.take_while(|b| b.is_ascii_digit());
        let mut real = false;
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
            real = true;
            self.at += 1;
            self.take_while(|b| b.is_ascii_digit());
        }
        if matches!(self.peek(0), b'e' | b'E') {
            real = true;
            self.at += 1;
            if matches!(self.peek(0), b'-' | b'+') {
                self.at += 1;
            }
            self.take_while(|b| b.is_ascii_digit());
        }
        let text = self.text.get(start..self.at).unwrap_or("");
        let token = if real { text.parse().ok().map(Token::Real) } else { text.parse().ok().map(Token::Int) };
        token.ok_or_else(|| self.error(start, self.at, "this is not a number".to_string()))
    }

    fn string(&mut self, start: usize) -> Result<String, TextError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.text.get(self.at..).and_then(|t| t.chars().next()) else {
                return Err(self.error(start, self.at, "the closing quote is missing".to_string()));
            };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => match self.peek(0) {
                    b'n' => {
                        self.at += 1;
                        out.push('\n');
                    }
                    b @ (b'"' | b'\\') => {
                        self.at += 1;
                        out.push(char::from(b));
                    }
                    b'u' if self.peek(1) == b'{' => {
                        self.at += 2;
                        let digits = self.take_while(|b| b.is_ascii_hexdigit());
                        let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                        match c.filter(|_| self.peek(0) == b'}') {
                            Some(c) => out.push(c),
                            None => return Err(self.error(start, self.at, "`\\u{..}` names no character".to_string())),
                        }
                        self.at += 1;
                    }
                    _ => return Err(self.error(start, self.at, "an unknown escape in a name".to_string())),
                },
                c => out.push(c),
            }
        }
    }

    fn bytes(&mut self, start: usize) -> Result<Token, TextError> {
        self.at += 2;
        let digits = self.take_while(|b| b.is_ascii_hexdigit());
        if self.peek(0) != b'"' || !digits.len().is_multiple_of(2) {
            return Err(self.error(
                start,
                self.at,
                "bytes are an even number of hexadecimal digits in quotes".to_string(),
            ));
        }
        self.at += 1;
        let value = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
        Ok(Token::Bytes(digits.as_bytes().chunks_exact(2).map(|p| (value(p[0]) << 4) | value(p[1])).collect()))
    }
}
