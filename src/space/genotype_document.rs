//! Parsing: finding the genotypes of a text, and recursive descent over one of them.

use super::genotype::{CellGenotype, Genotype, INPUTS, KEPT, NODES};
use super::genotype_lexer::{Kind, Lexer, Token};
use super::primitive::Primitive;
use crate::error::{Code, Error, Result, nearest};

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
        let mut p = Parser {
            lexer: Lexer::new(self.text, offset, self.source),
        };
        p.lexer.next()?; // the word `Genotype`, found before
        p.expect('(', "`(`")?;
        let (mut normal, mut normal_concat, mut reduce, mut reduce_concat) =
            (None, None, None, None);
        loop {
            let field = p.lexer.next()?;
            let name = match field.kind {
                Kind::Close(')') => break,
                Kind::Word(w) => w,
                _ => return Err(p.lexer.unexpected(&field, "a field name or `)`")),
            };
            p.expect('=', "`=`")?;
            let repeated = match name {
                "normal" => normal.replace(p.cell()?).is_some(),
                "reduce" => reduce.replace(p.cell()?).is_some(),
                "normal_concat" => normal_concat.replace(p.concat()?).is_some(),
                "reduce_concat" => reduce_concat.replace(p.concat()?).is_some(),
                _ => {
                    return Err(p
                        .lexer
                        .unexpected(&field, "normal, normal_concat, reduce or reduce_concat"));
                }
            };
            if repeated {
                return Err(p
                    .lexer
                    .error(&field, format!("field `{name}` is given twice")));
            }
            let token = p.lexer.next()?;
            match token.kind {
                Kind::Other(',') => {}
                Kind::Close(')') => break,
                _ => return Err(p.lexer.unexpected(&token, "`,` or `)`")),
            }
        }
        let end = p.lexer.here();
        let missing = |name: &str| p.lexer.error(&end, format!("field `{name}` is missing"));
        Ok(Genotype {
            normal: normal.ok_or_else(|| missing("normal"))?,
            normal_concat: normal_concat.ok_or_else(|| missing("normal_concat"))?,
            reduce: reduce.ok_or_else(|| missing("reduce"))?,
            reduce_concat: reduce_concat.ok_or_else(|| missing("reduce_concat"))?,
        })
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

struct Parser<'a> {
    lexer: Lexer<'a>,
}

impl<'a> Parser<'a> {
    fn expect(&mut self, wanted: char, name: &str) -> Result<Token<'a>> {
        let token = self.lexer.next()?;
        match token.kind {
            Kind::Open(c) | Kind::Close(c) | Kind::Other(c) if c == wanted => Ok(token),
            _ => Err(self.lexer.unexpected(&token, name)),
        }
    }

    /// `[` items `]` or `(` items `)`; a trailing comma is allowed.
    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self, Token<'a>) -> Result<T>,
    ) -> Result<(Token<'a>, Vec<T>)> {
        let open = self.lexer.next()?;
        let close = match open.kind {
            Kind::Open('[') => ']',
            Kind::Open('(') => ')',
            _ => return Err(self.lexer.unexpected(&open, "`[` or `(`")),
        };
        let mut items = vec![];
        loop {
            let token = self.lexer.next()?;
            if token.kind == Kind::Close(close) {
                return Ok((open, items));
            }
            items.push(item(self, token)?);
            let token = self.lexer.next()?;
            match token.kind {
                Kind::Close(c) if c == close => return Ok((open, items)),
                Kind::Other(',') => {}
                _ => return Err(self.lexer.unexpected(&token, &format!("`,` or `{close}`"))),
            }
        }
    }

    fn cell(&mut self) -> Result<CellGenotype> {
        let mut count = 0;
        let (open, entries) = self.list(|p, token| {
            count += 1;
            p.entry(token, count - 1)
        })?;
        let n = entries.len();
        entries.try_into().map_err(|_| {
            let e = self
                .lexer
                .error(&open, format!("expected {KEPT} operations, got {n}"));
            e.help(format!("a cell has {NODES} nodes with two operations each"))
        })
    }

    fn entry(&mut self, open: Token<'a>, at: usize) -> Result<(Primitive, usize)> {
        let close = match open.kind {
            Kind::Open('(') => ')',
            Kind::Open('[') => ']',
            _ => return Err(self.lexer.unexpected(&open, "`('operation', input)`")),
        };
        let token = self.lexer.next()?;
        let Kind::Text(name) = token.kind else {
            return Err(self
                .lexer
                .unexpected(&token, "the name of an operation in quotes"));
        };
        let Some(op) = Primitive::from_name(name) else {
            let e = self.lexer.error(
                &token,
                format!("unknown operation `{}`", name.escape_debug()),
            );
            return Err(
                match nearest(name, Primitive::ALL.iter().map(|p| p.name())) {
                    Some(near) => e.help(format!("did you mean `{near}`?")),
                    None => e.help(format!(
                        "one of {}",
                        Primitive::ALL
                            .iter()
                            .map(|p| p.name())
                            .collect::<Vec<_>>()
                            .join(", ")
                    )),
                },
            );
        };
        self.expect(',', "`,`")?;
        let token = self.lexer.next()?;
        let Kind::Int(input) = token.kind else {
            return Err(self.lexer.unexpected(&token, "the number of an input"));
        };
        let node = (at / 2).min(NODES - 1);
        if input >= node + INPUTS {
            let last = node + INPUTS - 1;
            return Err(self.lexer.error(
                &token,
                format!("node {node} reads inputs 0 to {last}, got {input}"),
            ));
        }
        let mut token = self.lexer.next()?;
        if token.kind == Kind::Other(',') {
            token = self.lexer.next()?;
        }
        if token.kind != Kind::Close(close) {
            return Err(self.lexer.unexpected(&token, &format!("`{close}`")));
        }
        Ok((op, input))
    }

    /// `range(a, b)`, `[2, 3, 4, 5]` or `(2, 3, 4, 5)`: distinct intermediate nodes, at least one.
    fn concat(&mut self) -> Result<Vec<usize>> {
        let first = self.lexer.here();
        let range = first.kind == Kind::Word("range");
        if range {
            self.lexer.next()?;
        }
        let (open, numbers) = self.list(|p, token| match token.kind {
            Kind::Int(n) => Ok((n, token)),
            _ => Err(p.lexer.unexpected(&token, "the number of a node")),
        })?;
        let nodes: Vec<(usize, Token)> = match (range, numbers.as_slice()) {
            (false, _) => numbers,
            (true, [(a, t), (b, _)]) => (*a..(*b).min(INPUTS + NODES + 1))
                .map(|n| (n, t.clone()))
                .collect(),
            (true, _) => {
                return Err(self.lexer.error(
                    &open,
                    format!("expected range(a, b), got {} numbers", numbers.len()),
                ));
            }
        };
        if nodes.is_empty() {
            return Err(self
                .lexer
                .error(&open, "expected at least one node, got none".into()));
        }
        let last = INPUTS + NODES - 1;
        for (i, (n, token)) in nodes.iter().enumerate() {
            if !(INPUTS..=last).contains(n) {
                let e = self
                    .lexer
                    .error(token, format!("expected nodes {INPUTS} to {last}, got {n}"));
                return Err(e.help("the concatenated nodes are usually range(2, 6)"));
            }
            if nodes[..i].iter().any(|m| m.0 == *n) {
                return Err(self.lexer.error(token, format!("node {n} is given twice")));
            }
        }
        Ok(nodes.into_iter().map(|n| n.0).collect())
    }
}

/// True for an identifier.
pub(super) fn is_name(s: &str) -> bool {
    !s.is_empty()
        && !s.starts_with(|c: char| c.is_ascii_digit())
        && s.chars().all(|c| c.is_alphanumeric() || c == '_')
}
