//! Recursive descent over one `Genotype(...)`.

use super::genotype::{CellGenotype, Genotype, INPUTS, MAX_NODES};
use super::genotype_lexer::{Kind, Lexer, Token};
use super::primitive::Primitive;
use crate::error::{Result, nearest};

/// Parses `Genotype(...)`; the lexer stands on the word `Genotype`.
///
/// # Errors
/// `MT0209` with line and column.
pub(super) fn genotype(lexer: Lexer) -> Result<Genotype> {
    let mut p = Parser { lexer };
    p.lexer.next()?; // the word `Genotype`, found before
    p.expect('(', "`(`")?;
    let (mut normal, mut normal_concat, mut reduce, mut reduce_concat) = (None, None, None, None);
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
    let normal = normal.ok_or_else(|| missing("normal"))?;
    let normal_concat = normal_concat.ok_or_else(|| missing("normal_concat"))?;
    let reduce = reduce.ok_or_else(|| missing("reduce"))?;
    let reduce_concat = reduce_concat.ok_or_else(|| missing("reduce_concat"))?;
    Ok(Genotype {
        normal_concat: p.nodes(normal_concat, &normal)?,
        reduce_concat: p.nodes(reduce_concat, &reduce)?,
        normal,
        reduce,
    })
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
        if n == 0 || n % 2 == 1 || n > 2 * MAX_NODES {
            let e = self
                .lexer
                .error(&open, format!("expected two operations per node, got {n}"));
            return Err(e.help("a DARTS cell has 8 operations, two for each of 4 nodes"));
        }
        Ok(entries)
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
        let node = at / 2;
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

    /// `range(a, b)`, `[2, 3, 4, 5]` or `(2, 3, 4, 5)`, at least one number.
    fn concat(&mut self) -> Result<Vec<(usize, Token<'a>)>> {
        let first = self.lexer.here();
        let range = first.kind == Kind::Word("range");
        if range {
            self.lexer.next()?;
        }
        let (open, numbers) = self.list(|p, token| match token.kind {
            Kind::Int(n) => Ok((n, token)),
            _ => Err(p.lexer.unexpected(&token, "the number of a node")),
        })?;
        // One past the largest node is kept, so that the check of the nodes finds it.
        let end = INPUTS + MAX_NODES + 1;
        let nodes: Vec<_> = match (range, numbers.as_slice()) {
            (false, _) => numbers,
            (true, [(a, t), (b, _)]) => (*a..(*b).min(end)).map(|n| (n, t.clone())).collect(),
            (true, _) => {
                let message = format!("expected range(a, b), got {} numbers", numbers.len());
                return Err(self.lexer.error(&open, message));
            }
        };
        if nodes.is_empty() {
            let message = "expected at least one node, got none".into();
            return Err(self.lexer.error(&open, message));
        }
        Ok(nodes)
    }

    /// Checks that concatenated nodes are intermediate nodes of `cell`, each given once.
    fn nodes(&self, nodes: Vec<(usize, Token)>, cell: &[(Primitive, usize)]) -> Result<Vec<usize>> {
        let last = INPUTS + cell.len() / 2 - 1;
        for (i, (n, token)) in nodes.iter().enumerate() {
            if !(INPUTS..=last).contains(n) {
                let message = format!("expected nodes {INPUTS} to {last}, got {n}");
                let help = format!("all nodes of this cell are range(2, {})", last + 1);
                return Err(self.lexer.error(token, message).help(help));
            }
            if nodes[..i].iter().any(|m| m.0 == *n) {
                let message = format!("node {n} is given twice");
                return Err(self.lexer.error(token, message));
            }
        }
        Ok(nodes.into_iter().map(|n| n.0).collect())
    }
}
