//! Small faults planted in the text of a kernel file: what a tired author would write. A little over 300 lines: the kinds of faults are
//! one list.

use std::collections::BTreeSet;
use std::ops::Range;

use super::tokens::{Kind, Token, tokens};

/// A kernel file with one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// What was done, in words.
    pub what: &'static str,
    /// The file, and the line counted from 1.
    pub file: &'static str,
    /// As above.
    pub line: usize,
    /// That line before, trimmed.
    pub before: String,
    /// And after.
    pub after: String,
    /// The whole text.
    pub text: String,
}

struct Source<'a> {
    text: &'a str,
    t: Vec<Token<'a>>,
    words: BTreeSet<&'a str>,
    edits: Vec<(Range<usize>, String, &'static str)>,
}

impl<'a> Source<'a> {
    fn is(&self, i: usize, what: &str) -> bool {
        self.t.get(i).is_some_and(|t| t.text == what)
    }

    fn word(&self, i: usize) -> bool {
        self.t.get(i).is_some_and(|t| t.kind == Kind::Word)
    }

    fn end(&self, i: usize) -> usize {
        self.t[i].at + self.t[i].text.len()
    }

    fn put(&mut self, range: Range<usize>, with: impl Into<String>, what: &'static str) {
        self.edits.push((range, with.into(), what));
    }

    fn replace(&mut self, i: usize, with: impl Into<String>, what: &'static str) {
        self.put(self.t[i].at..self.end(i), with, what);
    }

    /// A sign between blanks: an operator with two sides, not a bracket of a template nor a star of a pointer.
    fn between_blanks(&self, i: usize) -> bool {
        let byte = |at: usize| self.text.as_bytes().get(at).copied();
        let blank = |b: Option<u8>| matches!(b, Some(b' ' | b'\n'));
        let (before, after) = (byte(self.t[i].at.wrapping_sub(1)), byte(self.end(i)));
        blank(before) && blank(after) && !(i > 0 && self.is(i - 1, "template"))
    }

    /// The bracket that closes the one at `open`.
    fn close(&self, open: usize) -> Option<usize> {
        let mut depth = 0;
        for i in open..self.t.len() {
            match self.t[i].text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(i);
            }
        }
        None
    }

    /// Where the operand of `&&` or `||` at `i` ends, going forward or back.
    fn operand(&self, i: usize, forward: bool) -> Option<usize> {
        let (mut depth, mut at) = (0, i);
        loop {
            at = if forward { at + 1 } else { at.checked_sub(1)? };
            let text = self.t.get(at)?.text;
            let (opens, closes) = match forward {
                true => ("([{", ")]}"),
                false => (")]}", "([{"),
            };
            if depth == 0
                && (closes.contains(text)
                    || ["&&", "||", "?", ":", ";", ",", "=", "return"].contains(&text))
            {
                return Some(at);
            }
            depth += i32::from(opens.contains(text)) - i32::from(closes.contains(text));
        }
    }

    fn barriers(&mut self, i: usize) {
        if ["__syncthreads", "__syncwarp"].contains(&self.t[i].text)
            && let Some(last) = self.close(i + 1)
        {
            self.put(self.t[i].at..self.end(last), "", "drop a barrier");
        }
    }

    fn operators(&mut self, i: usize) {
        const OTHER: &[(&str, &str, &str)] = &[
            ("<", "<=", "`<` to `<=`"),
            ("<=", "<", "`<=` to `<`"),
            (">", ">=", "`>` to `>=`"),
            (">=", ">", "`>=` to `>`"),
            ("==", "!=", "`==` to `!=`"),
            ("!=", "==", "`!=` to `==`"),
            ("+", "-", "`+` to `-`"),
            ("-", "+", "`-` to `+`"),
            ("*", "+", "`*` to `+`"),
            ("/", "*", "`/` to `*`"),
            ("%", "/", "`%` to `/`"),
            ("+=", "-=", "`+=` to `-=`"),
            ("-=", "+=", "`-=` to `+=`"),
            ("&&", "||", "`&&` to `||`"),
            ("||", "&&", "`||` to `&&`"),
        ];
        if !self.between_blanks(i) {
            return;
        }
        let sign = self.t[i].text;
        if let Some((_, with, what)) = OTHER.iter().find(|o| o.0 == sign)
            && !self.chooses_between_its_sides(i)
        {
            self.replace(i, *with, what);
        }
        let neutral = match sign {
            "&&" => "true",
            "||" => "false",
            _ => return,
        };
        let (from, to) = (self.operand(i, false), self.operand(i, true));
        if let (Some(from), Some(to)) = (from, to) {
            let (left, right) = (self.t[from + 1].at..self.end(i - 1), self.t[i + 1].at);
            self.put(left, neutral, "drop a condition");
            self.put(right..self.end(to - 1), neutral, "drop a condition");
        }
    }

    /// Whether the comparison at `i` is that of a minimum or maximum, `a < b ? a : b`: of equal sides either is right.
    fn chooses_between_its_sides(&self, i: usize) -> bool {
        let ordered = ["<", "<=", ">", ">="].contains(&self.t[i].text);
        let of = |from: usize, to: usize| self.t[from + 1..to].iter().map(|t| t.text);
        let sides = || {
            let (from, ask) = (self.operand(i, false)?, self.operand(i, true)?);
            let colon = self.operand(ask, true)?;
            let end = self.operand(colon, true)?;
            let (left, right) = (of(from, i), of(i, ask));
            let (first, second) = (of(ask, colon), of(colon, end));
            let asks = self.is(ask, "?") && self.is(colon, ":");
            let in_order = left.clone().eq(first.clone()) && right.clone().eq(second.clone());
            let exchanged = left.eq(second) && right.eq(first);
            Some(asks && (in_order || exchanged))
        };
        ordered && sides().unwrap_or(false)
    }

    fn guards(&mut self, i: usize) {
        if !self.is(i, "if") || !self.is(i + 1, "(") {
            return;
        }
        let Some(last) = self.close(i + 1) else {
            return;
        };
        let leaves = ["continue", "return", "break"];
        let leaves = self
            .t
            .get(last + 1)
            .is_some_and(|t| leaves.contains(&t.text));
        let inside = self.end(i + 1)..self.t[last].at;
        self.put(
            inside,
            if leaves { "false" } else { "true" },
            "drop a guard",
        );
    }

    /// Whether the comma at `i` stands between two names that are declared.
    fn declares(&self, i: usize) -> bool {
        let (mut at, mut depth) = (i, 0);
        while at > 0 && (depth > 0 || ![";", "{", "(", "["].contains(&self.t[at - 1].text)) {
            at -= 1;
            depth += i32::from([")", "]", "}"].contains(&self.t[at].text));
            depth -= i32::from(["(", "[", "{"].contains(&self.t[at].text));
        }
        self.word(at) && self.word(at + 1) && !self.is(at, "return")
    }

    fn indices(&mut self, i: usize) {
        let declared = i > 0
            && match self.t[i - 1].kind {
                Kind::Word => !["return", "else"].contains(&self.t[i - 1].text),
                Kind::Number => false,
                Kind::Sign => {
                    self.is(i - 1, "*") && self.end(i - 1) == self.t[i].at
                        || self.is(i - 1, ",") && self.declares(i - 1)
                }
            };
        if self.word(i) && self.is(i + 1, "[") && !declared {
            let Some(last) = self.close(i + 1) else {
                return;
            };
            let inside = self.end(i + 1)..self.t[last].at;
            let with = format!("({}) + 1", &self.text[inside.clone()]);
            self.put(inside, with, "index + 1");
        }
    }

    /// One name for its partner in the other direction: `h` for `w`, `oy` for `ox`, `TILE_H` for `TILE_W`.
    fn partners(&mut self, i: usize) {
        const PAIRS: &[(char, char)] = &[('h', 'w'), ('H', 'W'), ('y', 'x')];
        let word: &str = if self.word(i) { self.t[i].text } else { "" };
        for (at, c) in word.char_indices() {
            let pair = PAIRS.iter().find(|p| p.0 == c || p.1 == c);
            let Some(&(a, b)) = pair else { continue };
            let with = if c == a { b } else { a };
            let other = format!("{}{with}{}", &word[..at], &word[at + 1..]);
            if self.words.contains(other.as_str()) {
                self.replace(i, other, "the other direction");
            }
        }
    }

    /// Two plain names side by side in a list.
    fn lists(&mut self, i: usize) {
        let open = i > 0
            && ["(", "{", ","].contains(&self.t[i - 1].text)
            && !(self.is(i - 1, ",") && self.declares(i - 1));
        let ends = [")", "}", ","].iter().any(|s| self.is(i + 3, s));
        if open && ends && self.word(i) && self.is(i + 1, ",") && self.word(i + 2) {
            let (a, b) = (self.t[i].text, self.t[i + 2].text);
            let with = format!("{b}, {a}");
            self.put(self.t[i].at..self.end(i + 2), with, "swap two arguments");
        }
    }

    fn sums(&mut self, i: usize) {
        let comma = |from| self.operand(from, true).filter(|&c| self.is(c, ","));
        if self.is(i, "fmaf")
            && let Some(second) = comma(i + 1).and_then(comma)
            && let Some(last) = self.close(i + 1)
        {
            let sum = self.end(second)..self.t[last].at;
            let alone = format!("({})", self.text[sum.clone()].trim());
            let all = self.t[i].at..self.end(last);
            self.put(all, alone, "drop a product");
            self.put(sum, " 0.0f", "drop the sum so far");
        }
        if self.is(i, "+=") {
            let mut from = i;
            while from > 0 && ![";", "{", "}", ")"].contains(&self.t[from - 1].text) {
                from -= 1;
            }
            if let Some(to) = self.operand(i, true).filter(|&to| self.is(to, ";")) {
                self.put(self.t[from].at..self.t[to].at, "", "drop a sum");
            }
        }
    }

    fn constants(&mut self, i: usize) {
        match self.t[i].text {
            "0.0f" => self.replace(i, "1.0f", "0 to 1"),
            "1.0f" => self.replace(i, "2.0f", "1 to 2"),
            "0" if self.is(i + 1, ";") && i > 0 && self.is(i - 1, "=") => {
                self.replace(i, "1", "0 to 1");
            }
            "1" if i > 0 && ["+", "-"].contains(&self.t[i - 1].text) => {
                self.replace(i, "0", "1 to 0");
            }
            _ => {}
        }
    }
}

/// Every mutant of a file, in the order of the text.
pub fn mutants(file: &'static str, text: &str) -> Vec<Mutant> {
    let t = tokens(text);
    let words = t.iter().filter(|t| t.kind == Kind::Word);
    let mut s = Source {
        text,
        words: words.map(|t| t.text).collect(),
        t,
        edits: vec![],
    };
    for i in 0..s.t.len() {
        s.barriers(i);
        s.operators(i);
        s.guards(i);
        s.indices(i);
        s.partners(i);
        s.lists(i);
        s.sums(i);
        s.constants(i);
    }
    let line_at = |text: &str, at: usize| {
        let from = text[..at].rfind('\n').map_or(0, |i| i + 1);
        let to = text[at..].find('\n').map_or(text.len(), |i| at + i);
        text[from..to].trim().to_string()
    };
    let mut seen = BTreeSet::new();
    s.edits
        .iter()
        .filter_map(|(range, with, what)| {
            let mutated = format!("{}{with}{}", &text[..range.start], &text[range.end..]);
            let new = mutated != text && seen.insert(mutated.clone());
            new.then(|| Mutant {
                what,
                file,
                line: text[..range.start].matches('\n').count() + 1,
                before: line_at(text, range.start),
                after: line_at(&mutated, range.start),
                text: mutated,
            })
        })
        .collect()
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
