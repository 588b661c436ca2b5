//! Plain lists, the formats `list-boxes`, `list-masks` and `list-classes`: what any data set of boxes, label maps or classes can become.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use super::boxes::{self, Pixels, file_name, twice};
use super::{Images, Job, Summary, To};
use crate::annotation::Annotation;
use crate::data::dataset::{Dataset, DatasetConfig};
use crate::data::image_file::encode_labels;
use crate::error::{Code, Error, Result};

/// A line of a list; the tab leaves spaces to both sides.
fn line(picture: &str, label: &str) -> String {
    format!("{picture}\t{label}\n")
}

/// One class a line, as readers of lists want them.
///
/// # Errors
/// `BadFormat` for a name that a line cannot hold.
fn class_lines<'a>(names: impl Iterator<Item = &'a str>) -> Result<String> {
    let mut text = String::new();
    for name in names {
        let plain: Vec<&str> = name.split_whitespace().collect();
        if plain.is_empty() || plain.join(" ") != name {
            let what = format!("the class {name:?} cannot be written as a line of a list");
            return Err(Error::new(Code::BadFormat, what)
                .help("rename it, with `classes` and `merge` of a configuration"));
        }
        text += name;
        text.push('\n');
    }
    Ok(text)
}

/// `labels/ID.txt` with a line `class x1 y1 x2 y2` a box, lists, `classes.txt`; returns notes.
///
/// # Errors
/// As [`super::convert`].
pub fn of_boxes(job: &Job, splits: &[boxes::Split]) -> Result<Vec<String>> {
    let all = || splits.iter().flat_map(|s| &s.pictures);
    let mut names: Vec<&str> = all()
        .flat_map(|p| &p.boxes)
        .filter(|b| !b.ignore)
        .map(|b| &b.class[..])
        .collect();
    names.sort_unstable();
    names.dedup();
    job.file("classes.txt", class_lines(names.into_iter())?.as_bytes())?;
    let (mut left, mut named) = (0, BTreeMap::new());
    for split in splits {
        let mut list = String::new();
        for p in &split.pictures {
            let picture = format!("images/{}.{}", p.id, p.pixels.ending());
            let label = format!("labels/{}.txt", p.id);
            list += &line(&picture, &label);
            if named.insert(picture, p.pixels.clone()).is_some() {
                continue; // written for the other split
            }
            let mut text = String::new();
            for b in &p.boxes {
                let e = b.bbox;
                match b.ignore {
                    true => left += 1,
                    false => {
                        text += &format!("{} {} {} {} {}\n", b.class, e.x1, e.y1, e.x2, e.y2);
                    }
                }
            }
            job.file(&label, text.as_bytes())?;
        }
        job.file(&format!("{}.txt", split.name), list.as_bytes())?;
    }
    let named: Vec<(Pixels, String)> = named.into_iter().map(|(name, p)| (p, name)).collect();
    job.pictures(&named, false)?;
    let note = format!("{left} boxes that metrics leave aside are left out: lists have none");
    Ok((left > 0).then_some(note).into_iter().collect())
}

/// Label maps as `labels/SPLIT/ID.png` with indices of `classes.txt`, or the names of classes in the lists; pictures are read one by one.
///
/// # Errors
/// As [`super::convert`].
pub fn convert(job: &Job, config: &DatasetConfig, to: To) -> Result<Summary> {
    let (mut summary, mut places) = (Summary::default(), BTreeMap::new());
    for (name, set) in boxes::opened(config)? {
        let name = boxes::stem(name);
        if set.kind() != to.kind() {
            let what = match to {
                To::ListMasks => "label maps",
                _ => "classes of pictures",
            };
            let text = format!("{} has no {what} alone", set.name());
            return Err(Error::new(Code::Usage, text)
                .at(config.root.display())
                .help("boxes become `list-boxes`, label maps `list-masks`, classes `list-classes`; of several targets choose one by `targets`"));
        }
        let text = class_lines(set.classes().iter().map(String::as_str))?;
        job.file("classes.txt", text.as_bytes())?;
        let lines: Vec<(String, bool, String)> = (0..set.len())
            .into_par_iter()
            .map(|i| sample(job, &name, &set, i))
            .collect::<Result<_>>()?;
        let mut list = String::new();
        for (i, (text, in_records, id)) in lines.into_iter().enumerate() {
            list += &text;
            twice(&mut places, &format!("{name}/{id}"), set.place(i))?;
            summary.labels += 1;
            let note = "pictures out of larger files are written as PNG, without loss";
            if in_records && job.images == Images::Copy && summary.notes.is_empty() {
                summary.notes.push(note.into());
            }
        }
        job.file(&format!("{name}.txt"), list.as_bytes())?;
    }
    summary.pictures = places.len();
    Ok(summary)
}

/// Writes a sample; its line, whether its picture is no file of its own, and its name.
fn sample(
    job: &Job,
    split: &str,
    set: &Arc<dyn Dataset>,
    index: usize,
) -> Result<(String, bool, String)> {
    let file = PathBuf::from(set.place(index));
    let pixels = match file.is_file() {
        true => Pixels::File(file),
        false => Pixels::Sample(set.clone(), index),
    };
    // A class is known without decoding the picture.
    let (id, class) = match set.class_of(index)? {
        Some(class) => (set.id(index), Some(class)),
        None => {
            let read = set.load(index)?;
            match read.annotation {
                Annotation::Class(class) => (read.id, Some(class)),
                Annotation::Labels(map) => {
                    let label = format!("labels/{split}/{}.png", file_name(&read.id));
                    job.file(&label, &encode_labels(&map)?)?;
                    (read.id, None)
                }
                _ => return Err(Error::new(Code::Internal, "neither label map nor class")),
            }
        }
    };
    let id = file_name(&id);
    let picture = format!("images/{split}/{id}.{}", pixels.ending());
    job.picture(&pixels, &picture, false)?;
    let label = match class {
        Some(class) => set.classes()[class].clone(),
        None => format!("labels/{split}/{id}.png"),
    };
    let in_records = matches!(pixels, Pixels::Sample(..));
    Ok((line(&picture, &label), in_records, id))
}
