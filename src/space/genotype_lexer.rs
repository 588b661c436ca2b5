//! The words of genotype text, each with its line and column.

use crate::error::{Code, Error, Result};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// An identifier.
    Word(&'a str),
    /// A quoted string, without its quotes.
    Text(&'a str),
    /// A number without sign.
    Int(usize),
    /// `(` or `[`.
    Open(char),
    /// `)` or `]`.
    Close(char),
    /// Any other character.
    Other(char),
    /// The end of the text.
    End,
}

/// A token and where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub kind: Kind<'a>,
    offset: usize,
}

/// Cuts a text into tokens; `#` starts a comment.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    source: &'a str,
}

impl<'a> Lexer<'a> {
    /// A lexer that starts at byte `offset` of `text`.
    pub fn new(text: &'a str, offset: usize, source: &'a str) -> Self {
        Lexer {
            text,
            at: offset,
            source,
        }
    }

    /// The next token.
    ///
    /// # Errors
    /// A string without its closing quote, a number that does not fit.
    pub fn next(&mut self) -> Result<Token<'a>> {
        let (token, end) = self.scan()?;
        self.at = end;
        Ok(token)
    }

    /// The next token, not consumed; a broken one reads as the end of the text.
    pub fn here(&self) -> Token<'a> {
        self.scan().map(|t| t.0).unwrap_or(Token {
            kind: Kind::End,
            offset: self.at,
        })
    }

    fn scan(&self) -> Result<(Token<'a>, usize)> {
        let offset = self.skip_blank();
        let rest = &self.text[offset..];
        let Some(c) = rest.chars().next() else {
            return Ok((
                Token {
                    kind: Kind::End,
                    offset,
                },
                offset,
            ));
        };
        let run = |keep: fn(char) -> bool| rest.find(|c| !keep(c)).unwrap_or(rest.len());
        let (kind, length) = match c {
            '(' | '[' => (Kind::Open(c), 1),
            ')' | ']' => (Kind::Close(c), 1),
            '\'' | '"' => {
                let body = &rest[1..];
                let stop = body.find([c, '\n']).filter(|&i| body[i..].starts_with(c));
                let Some(stop) = stop else {
                    let token = Token {
                        kind: Kind::Other(c),
                        offset,
                    };
                    return Err(self.error(
                        &token,
                        format!("expected a closing {c}, got the end of the line"),
                    ));
                };
                (Kind::Text(&body[..stop]), stop + 2)
            }
            '0'..='9' => {
                let n = run(|c| c.is_ascii_digit());
                let token = Token {
                    kind: Kind::Other(c),
                    offset,
                };
                let value = rest[..n]
                    .parse()
                    .map_err(|_| self.error(&token, "number too large".into()))?;
                (Kind::Int(value), n)
            }
            c if c.is_alphabetic() || c == '_' => {
                let n = run(|c| c.is_alphanumeric() || c == '_');
                (Kind::Word(&rest[..n]), n)
            }
            c => (Kind::Other(c), c.len_utf8()),
        };
        Ok((Token { kind, offset }, offset + length))
    }

    fn skip_blank(&self) -> usize {
        let mut at = self.at;
        loop {
            let rest = &self.text[at..];
            let blank = rest.len() - rest.trim_start().len();
            at += blank;
            if !self.text[at..].starts_with('#') {
                return at;
            }
            at += self.text[at..].find('\n').unwrap_or(self.text.len() - at);
        }
    }

    /// `expected ..., got ...` at the token.
    pub fn unexpected(&self, token: &Token, expected: &str) -> Error {
        let got = match token.kind {
            Kind::Word(w) => format!("`{w}`"),
            Kind::Text(t) => format!("'{}'", t.escape_debug()),
            Kind::Int(n) => format!("{n}"),
            Kind::Open(c) | Kind::Close(c) | Kind::Other(c) => format!("`{}`", c.escape_debug()),
            Kind::End => "the end of the text".into(),
        };
        self.error(token, format!("expected {expected}, got {got}"))
    }

    /// An error at the token, with its line shown.
    pub fn error(&self, token: &Token, message: String) -> Error {
        let before = &self.text[..token.offset];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let column = before[start..].chars().count() + 1;
        let whole = self.text[start..].lines().next().unwrap_or("");
        // Genotype lines are long: show a window around the place.
        let skip = (column - 1).saturating_sub(30);
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let shown: String = whole.chars().skip(skip).take(72).map(visible).collect();
        let pad = " ".repeat(column - 1 - skip);
        Error::new(Code::BadGenotype, message)
            .at(format!("{}:{line}:{column}", self.source))
            .snippet(format!("   | {shown}\n   | {pad}^\n"))
    }
}
