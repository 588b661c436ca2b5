//! List files of a mixed set: a line `SOURCE/ID` for each image, out of the `train` and `val` splits of the sources.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use super::Part;
use crate::data::dataset::DatasetConfig;
use crate::data::text_file::{at_line, read_text};
use crate::error::{Code, Error, Result};

/// A split that could not be opened: its source, and why. It matters only if a line names a picture that is nowhere else.
pub(super) struct Closed {
    source: String,
    split: String,
    why: Error,
}

/// The splits of a source, each once. One that is not there, as `val` of a set with training pictures alone, joins `closed`.
///
/// # Errors
/// Those of the first split where none is there; any other than `NotFound` and `EmptyData`.
pub(super) fn parts(
    name: &str,
    source: &DatasetConfig,
    closed: &mut Vec<Closed>,
) -> Result<Vec<Part>> {
    let mut splits = vec![&source.train, &source.val];
    splits.dedup();
    let mut parts = vec![];
    let mut absent = vec![];
    for split in splits {
        match Part::open(name, source, split) {
            Ok(part) => parts.push(part),
            Err(why) if matches!(why.code(), Code::NotFound | Code::EmptyData) => {
                let (source, split) = (name.to_string(), split.clone());
                absent.push(Closed { source, split, why });
            }
            Err(e) => return Err(e),
        }
    }
    if parts.is_empty() {
        return Err(absent.swap_remove(0).why);
    }
    closed.extend(absent);
    Ok(parts)
}

/// The samples (part, index in it) that a list names, in its order.
///
/// # Errors
/// With file and line: `BadLine` for an id that is named twice or that two pictures have, `NotFound` for one that no source has;
/// `EmptyData` for a list without ids; those of [`read_text`].
pub(super) fn read(parts: &[Part], list: &Path, closed: &[Closed]) -> Result<Vec<(usize, usize)>> {
    let place = |(part, i): (usize, usize)| parts[part].dataset.place(i);
    let mut known: HashMap<String, (usize, usize)> = HashMap::new();
    // Ids of another picture as well; one picture in two splits is no doubt.
    let mut again: HashMap<String, (usize, usize)> = HashMap::new();
    for (k, part) in parts.iter().enumerate() {
        for i in 0..part.dataset.len() {
            let id = format!("{}/{}", part.name, part.dataset.id(i));
            match known.entry(id) {
                Entry::Vacant(free) => _ = free.insert((k, i)),
                Entry::Occupied(first) if place(*first.get()) != place((k, i)) => {
                    again.insert(first.key().clone(), (k, i));
                }
                Entry::Occupied(_) => (),
            }
        }
    }
    let mut lines: HashMap<&str, usize> = HashMap::new();
    let text = read_text(list)?;
    let mut samples = vec![];
    for (number, line) in (1..).zip(text.lines()) {
        let id = line.trim();
        if id.is_empty() {
            continue;
        }
        let at = |e: Error| e.at(at_line(list, number));
        if let Some(first) = lines.insert(id, number) {
            let what = format!("the id {id:?} is already in line {first}");
            return Err(at(Error::new(Code::BadLine, what)).help("keep one of the two lines"));
        }
        let Some(&sample) = known.get(id) else {
            return Err(at(unknown(id, parts, closed)));
        };
        if let Some(&other) = again.get(id) {
            let (a, b) = (place(sample), place(other));
            let what = format!("the id {id:?} is that of two pictures, {a} and {b}");
            let help = "give `train` and `val` of the source the split that is meant, or rename one of the pictures";
            return Err(at(Error::new(Code::BadLine, what)).help(help));
        }
        samples.push(sample);
    }
    if samples.is_empty() {
        return Err(Error::new(Code::EmptyData, "the list has no ids")
            .at(list.display())
            .help("write one SOURCE/ID a line"));
    }
    Ok(samples)
}

/// The error of an id that is nowhere; with what could not be opened of its source.
fn unknown(id: &str, parts: &[Part], closed: &[Closed]) -> Error {
    let mut names: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
    names.dedup();
    let what = format!("no source has the sample {id:?}");
    let mut e = Error::new(Code::NotFound, what).help(format!(
        "a line is SOURCE/ID, with a source out of {}",
        names.join(", ")
    ));
    let own = |c: &&Closed| id.split('/').next() == Some(c.source.as_str());
    for c in closed.iter().filter(own) {
        e = e.note(format!(
            "the split {:?} of {:?} could not be opened: {}",
            c.split, c.source, c.why
        ));
    }
    e
}
