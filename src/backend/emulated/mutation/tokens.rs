//! The words and signs of a kernel file.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name or keyword.
    Word,
    /// A number with its suffix.
    Number,
    /// An operator or bracket.
    Sign,
}

/// A word, number or sign.
#[derive(Debug, Clone)]
pub struct Token<'a> {
    /// Which of these.
    pub kind: Kind,
    /// Its text.
    pub text: &'a str,
    /// Where it begins.
    pub at: usize,
}

/// Longest first.
const SIGNS: &[&str] = &[
    "<<=", ">>=", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=", "/=", "++",
    "--", "->", "::",
];

/// The words and signs of the code; comments, strings and preprocessor lines other than `#define` are none.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut all, mut at) = (vec![], 0);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let until = |end: &str, more: usize| rest.find(end).map_or(rest.len(), |i| i + more);
        let run = |f: fn(char) -> bool| rest.find(|c| !f(c)).unwrap_or(rest.len());
        let (len, kind) = if rest.starts_with("//") {
            (until("\n", 0), None)
        } else if rest.starts_with("/*") {
            (until("*/", 2), None)
        } else if rest.starts_with("#define") {
            ("#define".len(), None)
        } else if c == '#' {
            (until("\n", 0), None)
        } else if c == '"' {
            (rest[1..].find('"').map_or(rest.len(), |i| i + 2), None)
        } else if c.is_ascii_digit() {
            let number = |c: char| c.is_ascii_alphanumeric() || c == '.';
            (run(number), Some(Kind::Number))
        } else if c.is_alphanumeric() || c == '_' {
            (run(|c| c.is_alphanumeric() || c == '_'), Some(Kind::Word))
        } else if c.is_whitespace() || c == '\\' {
            (c.len_utf8(), None)
        } else {
            let long = SIGNS.iter().find(|s| rest.starts_with(**s));
            (long.map_or(c.len_utf8(), |s| s.len()), Some(Kind::Sign))
        };
        if let Some(kind) = kind {
            let text = &rest[..len];
            all.push(Token { kind, text, at });
        }
        at += len;
    }
    all
}
