//! Genotype text as the DARTS community writes it, read by a real parser and printed so that it reads back equal:
//!
//! ```text
//! DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=[2, 3, 4, 5])
//! ```
//!
//! Any white space, comments, either quote, tuples or lists, trailing commas and any order of the four fields are read. A
//! whole `genotypes.py` or a log is a [`Document`]: its entries are found, and only the one asked for has to be of our kind.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::genotype::{CellGenotype, Genotype, NetworkGenotype};
use super::genotype_document::{Document, is_name};
use super::genotype_json;
use super::published;
use crate::error::{Code, Error, Result, nearest};

/// Largest genotype file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

impl fmt::Display for Genotype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |f: &mut fmt::Formatter<'_>, cell: &CellGenotype| -> fmt::Result {
            for (i, (op, input)) in cell.iter().enumerate() {
                write!(f, "{}('{op}', {input})", if i == 0 { "[" } else { ", " })?;
            }
            f.write_str("]")
        };
        let concat = |f: &mut fmt::Formatter<'_>, nodes: &[usize]| -> fmt::Result {
            if nodes.len() > 1 && nodes.windows(2).all(|w| w[1] == w[0] + 1) {
                write!(f, "range({}, {})", nodes[0], nodes[nodes.len() - 1] + 1)
            } else {
                write!(f, "{nodes:?}")
            }
        };
        f.write_str("Genotype(normal=")?;
        cell(f, &self.normal)?;
        f.write_str(", normal_concat=")?;
        concat(f, &self.normal_concat)?;
        f.write_str(", reduce=")?;
        cell(f, &self.reduce)?;
        f.write_str(", reduce_concat=")?;
        concat(f, &self.reduce_concat)?;
        f.write_str(")")
    }
}

impl fmt::Display for NetworkGenotype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, g) in self.parts() {
            writeln!(f, "{name} = {g}")?;
        }
        Ok(())
    }
}

impl FromStr for Genotype {
    type Err = Error;

    /// Text with exactly one genotype, `name =` before it or not; or its JSON.
    ///
    /// # Errors
    /// `MT0209` with line and column.
    fn from_str(text: &str) -> Result<Genotype> {
        if genotype_json::is_json(text) {
            return genotype_json::genotype(text, "genotype text");
        }
        Document::new(text, "genotype text").only()
    }
}

impl Genotype {
    /// A genotype from what a user may write: a published name (`PC_DARTS_cifar`), the text itself, a file, or
    /// `file:NAME` for one of several in a file.
    ///
    /// # Errors
    /// `MT0209` for text that does not parse or a name that is unknown, `MT0301` if it looks like a file that is not there.
    pub fn resolve(what: &str) -> Result<Genotype> {
        if let Some(g) = published::by_name(what) {
            return Ok(g);
        }
        if what.contains('(') || genotype_json::is_json(what) {
            return what.parse();
        }
        let (path, name) = split_name(what);
        if !looks_like_path(path) {
            let e = Error::new(
                Code::BadGenotype,
                format!("no published genotype is named `{what}`"),
            );
            let help = match nearest(what, published::names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "use one of {}",
                    published::names().collect::<Vec<_>>().join(", ")
                ),
            };
            return Err(e.help(help));
        }
        let text = read(path)?;
        if genotype_json::is_json(&text) && name.is_none() {
            return genotype_json::genotype(&text, path);
        }
        let document = Document::new(&text, path);
        match name {
            Some(name) => document.named(name),
            None => document.only(),
        }
    }
}

impl FromStr for NetworkGenotype {
    type Err = Error;

    /// Lines `backbone = Genotype(...)`, `det = ...`, `seg = ...`; a single genotype of any name is a backbone. JSON too.
    ///
    /// # Errors
    /// `MT0209` with line and column.
    fn from_str(text: &str) -> Result<NetworkGenotype> {
        NetworkGenotype::parse(text, "genotype text")
    }
}

impl NetworkGenotype {
    /// Like `from_str`, with the name of the source (a path) for errors.
    ///
    /// # Errors
    /// `MT0209` with line and column.
    pub fn parse(text: &str, source: &str) -> Result<NetworkGenotype> {
        if genotype_json::is_json(text) {
            return genotype_json::network(text, source);
        }
        let document = Document::new(text, source);
        let optional = |name: &str| document.has(name).then(|| document.named(name)).transpose();
        if !document.has("backbone") {
            return Ok(NetworkGenotype {
                backbone: document.only()?,
                det: None,
                seg: None,
            });
        }
        Ok(NetworkGenotype {
            backbone: document.named("backbone")?,
            det: optional("det")?,
            seg: optional("seg")?,
        })
    }

    /// The genotypes of a file such as a run's `final/genotype.txt`.
    ///
    /// # Errors
    /// `MT0209` with file, line and column; `MT0301`, `MT0208`, `MT0207` for a file that is missing, too large or not text.
    pub fn from_file(path: &Path) -> Result<NetworkGenotype> {
        let path = path.to_string_lossy();
        NetworkGenotype::parse(&read(&path)?, &path)
    }

    /// A network genotype from `MTNAS`, a published name (a backbone), the text itself or a file.
    ///
    /// # Errors
    /// As [`Genotype::resolve`].
    pub fn resolve(what: &str) -> Result<NetworkGenotype> {
        if what.eq_ignore_ascii_case("mtnas") {
            return Ok(published::mtnas());
        }
        if !what.contains('(') && looks_like_path(what) && split_name(what).1.is_none() {
            return NetworkGenotype::parse(&read(what)?, what);
        }
        if genotype_json::is_json(what) || what.contains("backbone") && what.contains('(') {
            return what.parse();
        }
        Ok(NetworkGenotype {
            backbone: Genotype::resolve(what)?,
            det: None,
            seg: None,
        })
    }
}

fn looks_like_path(what: &str) -> bool {
    what.contains(['/', '\\', '.']) || Path::new(what).exists()
}

/// `file:NAME` into its parts; a drive letter or a path without a name stays whole.
fn split_name(what: &str) -> (&str, Option<&str>) {
    match what.rsplit_once(':') {
        Some((path, name)) if path.len() > 1 && is_name(name) => (path, Some(name)),
        _ => (what, None),
    }
}

fn read(path: &str) -> Result<String> {
    let size = std::fs::metadata(path)
        .map_err(|e| Error::io(path, e))?
        .len();
    if size > MAX_BYTES {
        return Err(Error::new(
            Code::TooLarge,
            format!("{size} bytes, a genotype file has at most {MAX_BYTES}"),
        )
        .at(path));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    String::from_utf8(bytes).map_err(|e| {
        Error::new(
            Code::BadFormat,
            format!(
                "not text: byte {} is not UTF-8",
                e.utf8_error().valid_up_to()
            ),
        )
        .at(path)
    })
}

#[cfg(test)]
#[path = "genotype_text_tests.rs"]
mod tests;
