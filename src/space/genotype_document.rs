//! Finding the genotypes of a text: a file with one, a Python module with many, a log.

use super::genotype::Genotype;
use super::genotype_lexer::Lexer;
use super::genotype_parser::genotype;
use crate::error::{Code, Error, Result};

/// A text with any number of genotypes in it: the file of a search, a Python module, a log.
pub struct Document<'a> {
    source: &'a str,
    text: &'a str,
    /// Name before the `=` (empty if there is none) and byte offset of the word `Genotype`.
    entries: Vec<(&'a str, usize)>,
    /// `A = B` lines.
    aliases: Vec<(&'a str, &'a str)>,
}

impl<'a> Document<'a> {
    /// Finds the genotypes of `text`; `source` names it in errors. Nothing is parsed yet.
    pub fn new(text: &'a str, source: &'a str) -> Self {
        let (mut entries, mut aliases) = (vec![], vec![]);
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            let code = line.split('#').next().unwrap_or("");
            let mut from = 0;
            while let Some(at) = code[from..].find("Genotype").map(|i| from + i) {
                from = at + "Genotype".len();
                let before = code[..at].trim_end();
                let word = !before.ends_with(['\'', '"', '_'])
                    && !code[..at].ends_with(char::is_alphanumeric);
                if word && code[from..].trim_start().starts_with('(') {
                    entries.push((name_before(before), offset + at));
                }
            }
            if let Some((a, b)) = code.split_once('=')
                && is_name(a.trim())
                && is_name(b.trim())
            {
                aliases.push((a.trim(), b.trim()));
            }
            offset += line.len();
        }
        Document {
            source,
            text,
            entries,
            aliases,
        }
    }

    /// The names of the entries and aliases, in the order of the text.
    pub fn names(&self) -> Vec<&'a str> {
        self.entries
            .iter()
            .chain(&self.alias_entries())
            .map(|e| e.0)
            .filter(|n| !n.is_empty())
            .collect()
    }

    fn alias_entries(&self) -> Vec<(&'a str, usize)> {
        let target = |b: &str| self.entries.iter().rev().find(|e| e.0 == b).map(|e| e.1);
        self.aliases
            .iter()
            .filter_map(|&(a, b)| Some((a, target(b)?)))
            .collect()
    }

    /// True if an entry or alias has this name.
    pub fn has(&self, name: &str) -> bool {
        self.names().contains(&name)
    }

    /// The genotype of this name; of several, the last, as in Python.
    ///
    /// # Errors
    /// `MT0209` if there is none or it does not parse.
    pub fn named(&self, name: &str) -> Result<Genotype> {
        let found = self
            .entries
            .iter()
            .chain(&self.alias_entries())
            .rev()
            .find(|e| e.0 == name)
            .map(|e| e.1);
        match found {
            Some(offset) => self.genotype(offset),
            None => {
                let e = Error::new(Code::BadGenotype, format!("no genotype is named `{name}`"))
                    .at(self.source);
                Err(e.help(format!("the names are {}", self.names().join(", "))))
            }
        }
    }

    /// The genotype of a text that has exactly one.
    ///
    /// # Errors
    /// `MT0209` if there is none or there are several, or if it does not parse.
    pub fn only(&self) -> Result<Genotype> {
        match self.entries.as_slice() {
            [one] => self.genotype(one.1),
            [] => {
                let got = self.text.trim_start().chars().take(20).collect::<String>();
                let got = if got.is_empty() {
                    "an empty text".into()
                } else {
                    format!("`{}`", got.escape_debug())
                };
                Err(Error::new(
                    Code::BadGenotype,
                    format!("expected `Genotype(...)`, got {got}"),
                )
                .at(format!("{}:1:1", self.source)))
            }
            several => Err(Error::new(
                Code::BadGenotype,
                format!("expected one genotype, got {}", several.len()),
            )
            .at(self.source)
            .help(format!("name one of {}", self.names().join(", ")))),
        }
    }

    fn genotype(&self, offset: usize) -> Result<Genotype> {
        genotype(Lexer::new(self.text, offset, self.source))
    }
}

/// The name in `... name =`, or nothing.
fn name_before(before: &str) -> &str {
    let Some(rest) = before.strip_suffix('=') else {
        return "";
    };
    let rest = rest.trim_end();
    let start = rest.rfind(|c: char| !(c.is_alphanumeric() || c == '_'));
    let name = start.map_or(rest, |i| {
        rest[i..].trim_start_matches(|c: char| !(c.is_alphanumeric() || c == '_'))
    });
    if is_name(name) { name } else { "" }
}

/// True for an identifier.
pub(super) fn is_name(s: &str) -> bool {
    !s.is_empty()
        && !s.starts_with(|c: char| c.is_ascii_digit())
        && s.chars().all(|c| c.is_alphanumeric() || c == '_')
}
