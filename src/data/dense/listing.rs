//! Which files belong together: lists of two paths a line (MTL-NAS), JSON lists of several paths a sample (AutoMTL).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::data::text_file::{MAX_LINES, MAX_TEXT, at_line, read_limited, read_text};
use crate::error::{Code, Error, Result};

/// One sample: its files, the picture first, and where it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Unique in its split: the path of the picture without its extension, from the root on.
    pub id: String,
    /// `file:line`, or file and number of the sample.
    pub place: String,
    /// The files, as many as the format has columns.
    pub files: Vec<PathBuf>,
}

/// What a list file says about where its picture lies, as a path below `root`. Lists begin paths with a slash.
///
/// # Errors
/// `BadLine` for a path that is empty or leaves the data set.
pub fn below(root: &Path, text: &str) -> Result<PathBuf> {
    let relative = text.trim_start_matches('/');
    let part_is_bad = |p: &str| p.is_empty() || p == "." || p == "..";
    if relative.contains(['\\', '\0', ':']) || relative.split('/').any(part_is_bad) {
        return Err(Error::new(
            Code::BadLine,
            format!("{text:?} is not a path inside the data set"),
        )
        .help("write paths that start at the folder of the data set, without `..`"));
    }
    Ok(root.join(relative))
}

/// The path without slashes in front and extension behind.
pub fn id_of(text: &str) -> String {
    let text = text.trim_start_matches('/');
    match text.rsplit_once('.') {
        Some((stem, end)) if !stem.is_empty() && !end.contains('/') => stem.into(),
        _ => text.into(),
    }
}

/// Lines of a picture and a label, as (line, picture, label).
///
/// # Errors
/// Those of [`read_text`]; `BadLine` for a line without two paths; `EmptyData`.
pub fn pairs(path: &Path) -> Result<Vec<(usize, String, String)>> {
    let text = read_text(path)?;
    let mut found = vec![];
    for (i, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [image, label] => found.push((i + 1, image.to_string(), label.to_string())),
            _ => {
                let text = format!(
                    "expected 2 fields, picture and label, found {}",
                    words.len()
                );
                return Err(Error::new(Code::BadLine, text)
                    .at(at_line(path, i + 1))
                    .help("write two paths without spaces in a line"));
            }
        }
    }
    if found.is_empty() {
        return Err(Error::new(Code::EmptyData, "the list has no lines")
            .at(path.display())
            .help("write picture and label of a sample in each line"));
    }
    Ok(found)
}

/// The samples of the first of `names` that is a key of a JSON file `{"train": [["image", "label", ...], ...], ...}`, each with the
/// `columns` files that it lists. The other keys are read over.
///
/// # Errors
/// Those of [`read_limited`]; `BadLine` with line and column for what is not such a file; `NotFound` without any of the keys, `EmptyData` without
/// samples, `TooLarge` for too many.
pub fn json(path: &Path, names: &[&str], columns: usize) -> Result<Vec<Vec<String>>> {
    let bytes = read_limited(path, MAX_TEXT)?;
    let seed = Splits { names, columns };
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let found = seed
        .deserialize(&mut reader)
        .and_then(|f| reader.end().map(|()| f));
    let (keys, rows) = found.map_err(|e| {
        let code = if e.to_string().contains(TOO_MANY) {
            Code::TooLarge
        } else {
            Code::BadLine
        };
        Error::new(code, format!("not a list of samples: {e}"))
            .at(at_line(path, e.line()))
            .help(format!("each split is a list of lists of {columns} paths"))
    })?;
    let Some((_, rows)) = rows else {
        let text = format!("there is no split {:?}", names[0]);
        return Err(Error::new(Code::NotFound, text)
            .at(path.display())
            .help(format!("it has {}", keys.join(", "))));
    };
    if rows.is_empty() {
        return Err(Error::new(
            Code::EmptyData,
            format!("the split {:?} is empty", names[0]),
        )
        .at(path.display())
        .help("list some samples"));
    }
    Ok(rows)
}

const TOO_MANY: &str = "too many samples";

/// Reads the one split that is wanted, and the names of all.
struct Splits<'a> {
    names: &'a [&'a str],
    columns: usize,
}

/// Names of the splits, and the rows of one with its place in the order of preference.
type Found = (Vec<String>, Option<(usize, Vec<Vec<String>>)>);

impl<'de> DeserializeSeed<'de> for Splits<'_> {
    type Value = Found;
    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        d: D,
    ) -> std::result::Result<Found, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Splits<'_> {
    type Value = Found;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of splits")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Found, A::Error> {
        let (mut keys, mut best): (Vec<String>, Option<(usize, _)>) = (vec![], None);
        while let Some(key) = map.next_key::<String>()? {
            let rank = self.names.iter().position(|n| *n == key);
            match rank {
                Some(r) if best.as_ref().is_none_or(|(b, _)| r < *b) => {
                    best = Some((r, map.next_value_seed(Samples(self.columns))?));
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            if keys.len() < 20 {
                keys.push(key);
            }
        }
        Ok((keys, best))
    }
}

/// A list of samples of so many columns.
struct Samples(usize);

impl<'de> DeserializeSeed<'de> for Samples {
    type Value = Vec<Vec<String>>;
    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        d: D,
    ) -> std::result::Result<Self::Value, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Samples {
    type Value = Vec<Vec<String>>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of samples")
    }
    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut seq: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut rows = vec![];
        while let Some(row) = seq.next_element_seed(Paths(self.0))? {
            if rows.len() == MAX_LINES {
                return Err(serde::de::Error::custom(TOO_MANY));
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

/// The paths of a sample.
struct Paths(usize);

impl<'de> DeserializeSeed<'de> for Paths {
    type Value = Vec<String>;
    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        d: D,
    ) -> std::result::Result<Self::Value, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Paths {
    type Value = Vec<String>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a list of {} paths", self.0)
    }
    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut seq: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut row = Vec::with_capacity(self.0);
        while let Some(path) = seq.next_element::<String>()? {
            if row.len() == self.0 {
                return Err(serde::de::Error::invalid_length(self.0 + 1, &self));
            }
            row.push(path);
        }
        match row.len() == self.0 {
            true => Ok(row),
            false => Err(serde::de::Error::invalid_length(row.len(), &self)),
        }
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
