//! Where each key of a configuration was given: line and column of the file, an override, or a default.

use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::Override;
use crate::error::Error;

/// Widest line of a snippet, in characters; longer lines show the surroundings of the mark.
const WIDTH: usize = 100;

/// A configuration text and what was said on top of it.
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub text: &'a str,
    pub overrides: &'a [Override],
}

impl Source<'_> {
    /// `error` at the place where `key` was given; for a default, at the file.
    pub fn place_of(&self, error: Error, key: &str, label: &str) -> Error {
        let within =
            |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|r| r.starts_with('.'));
        let said = self
            .overrides
            .iter()
            .rev()
            .find(|o| within(key, &o.key) || within(&o.key, key));
        match (said, self.find(key)) {
            (Some(o), _) => error.at(format!("{}, {}", self.path.display(), o.label)),
            (None, Some(span)) => self.locate(error, &span, label),
            (None, None) => error
                .at(self.path.display())
                .note(format!("`{key}` is not in the file: its default stands")),
        }
    }

    /// Adds `path:line:column` and the marked line.
    pub fn locate(&self, error: Error, span: &Range<usize>, label: &str) -> Error {
        let (line, column, snippet) = snippet(self.text, span, label);
        error
            .at(format!("{}:{line}:{column}", self.path.display()))
            .snippet(snippet)
    }

    /// Where the value of a dotted key stands; for a table, its name; for a key that is absent, the table around it.
    fn find(&self, key: &str) -> Option<Range<usize>> {
        let parsed = DeTable::parse(self.text).ok()?;
        let (mut table, mut last) = (parsed.get_ref(), None);
        for part in key.split('.') {
            let Some((k, v)) = table.iter().find(|(k, _)| k.get_ref() == part) else {
                break;
            };
            match v.get_ref() {
                DeValue::Table(t) => (table, last) = (t, Some(k.span())),
                _ => return Some(v.span()),
            }
        }
        last
    }

    /// The dotted path of the key whose name is at `at`, or whose value holds it.
    pub fn path_of(&self, at: &Range<usize>) -> Option<String> {
        fn walk(table: &DeTable, at: &Range<usize>, path: &str) -> Option<String> {
            table.iter().find_map(|(k, v)| {
                let (key, value) = (k.span(), v.span());
                let path = format!("{path}{}", k.get_ref());
                match v.get_ref() {
                    _ if key == *at => Some(path),
                    DeValue::Table(t) => walk(t, at, &format!("{path}.")),
                    _ => (value.start <= at.start && at.end <= value.end).then_some(path),
                }
            })
        }
        walk(DeTable::parse(self.text).ok()?.get_ref(), at, "")
    }
}

/// Line and column (from 1, in characters) of a byte range, and that line with a mark below it.
fn snippet(text: &str, span: &Range<usize>, label: &str) -> (usize, usize, String) {
    let floor = |mut i: usize| {
        i = i.min(text.len());
        while !text.is_char_boundary(i) {
            i -= 1;
        }
        i
    };
    let (start, end) = (floor(span.start), floor(span.end));
    let begin = text[..start].rfind('\n').map_or(0, |i| i + 1);
    let number = text[..start].matches('\n').count() + 1;
    let line: Vec<char> = text[begin..].lines().next().unwrap_or("").chars().collect();
    let column = text[begin..start].chars().count();
    let marked = text[start..end.max(start)]
        .lines()
        .next()
        .unwrap_or("")
        .chars()
        .count();
    let from = column.saturating_sub(WIDTH / 2).min(line.len());
    let shown: String = line[from..line.len().min(from + WIDTH)]
        .iter()
        .map(|&c| if c.is_control() { ' ' } else { c })
        .collect();
    let mark = "^".repeat(marked.clamp(1, (WIDTH + from).saturating_sub(column).max(1)));
    let (gutter, pad) = (
        " ".repeat(number.to_string().len()),
        " ".repeat(column - from),
    );
    let marker = format!("{gutter} | {pad}{mark} {label}");
    (
        number,
        column + 1,
        format!("{gutter} |\n{number} | {shown}\n{}\n", marker.trim_end()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_under_their_words() {
        let text = "a = 1\nå = \"grün\" # b\nc = 3";
        let at = text.find("\"grün\"").unwrap();
        let (line, column, s) = snippet(text, &(at..at + 7), "here");
        assert_eq!((line, column), (2, 5));
        assert_eq!(s, "  |\n2 | å = \"grün\" # b\n  |     ^^^^^^ here\n");
        let (line, column, s) = snippet(text, &(999..1000), "");
        assert_eq!(
            (line, column, s.as_str()),
            (3, 6, "  |\n3 | c = 3\n  |      ^\n")
        );
        let long = format!("x = \"{}\" y", "z".repeat(500));
        let (_, column, s) = snippet(&long, &(507..508), "far");
        assert_eq!(column, 508);
        assert!(
            s.lines().all(|l| l.chars().count() < 120) && s.contains("y\n"),
            "{s}"
        );
    }
}
