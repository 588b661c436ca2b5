//! Plain lists, the formats `list-boxes`, `list-masks` and `list-classes`: what any data set of boxes, label maps or classes can become.
//! The lists are `train.txt` and `val.txt` whatever the splits are called.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;

use super::boxes;
use super::source::{Pixels, file_name, opened, twice};
use super::{Job, Summary, To};
use crate::annotation::Annotation;
use crate::data::dataset::{Dataset, DatasetConfig};
use crate::data::image_file::encode_labels;
use crate::data::text_file::MAX_LINES;
use crate::error::{Code, Error, Result};

/// The name of a list.
fn role(held_out: bool) -> &'static str {
    if held_out { "val" } else { "train" }
}

/// A line of a list; the tab leaves spaces to both sides.
fn line(picture: &str, label: &str) -> String {
    format!("{picture}\t{label}\n")
}

/// A list that its reader would refuse is not begun.
fn fits(pictures: usize) -> Result<()> {
    match pictures <= MAX_LINES {
        true => Ok(()),
        false => {
            let text = format!("{pictures} pictures are more than the {MAX_LINES} of a list");
            Err(Error::new(Code::TooLarge, text).help("convert a part of them"))
        }
    }
}

/// Writes `classes.txt`, a name a line.
///
/// # Errors
/// `EmptyData` without a name, `BadFormat` for one that a line cannot hold; those of writing.
fn write_classes(job: &Job, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Err(Error::new(Code::EmptyData, "not one class is used")
            .help("name the classes in a configuration of the data set"));
    }
    for name in names {
        let plain: Vec<&str> = name.split_whitespace().collect();
        if plain.is_empty() || plain.join(" ") != *name {
            let what = format!("the class {name:?} cannot be written as a line of a list");
            return Err(Error::new(Code::BadFormat, what)
                .help("rename it, with `classes` and `merge` of a configuration"));
        }
    }
    let text: String = names.iter().map(|n| format!("{n}\n")).collect();
    job.file("classes.txt", text.as_bytes())
}

/// Adds names that are not there yet.
fn join(all: &mut Vec<String>, names: impl IntoIterator<Item = String>) {
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
}

/// `labels/ID.txt` with a line `class x1 y1 x2 y2` a box, lists, `classes.txt` with the classes of the set, then the types that only its boxes
/// have; returns how many boxes were written, and notes.
///
/// # Errors
/// As [`super::convert`].
pub fn of_boxes(job: &Job, splits: &[boxes::Split]) -> Result<(usize, Vec<String>)> {
    let all = || splits.iter().flat_map(|s| &s.pictures);
    let mut names = vec![];
    splits
        .iter()
        .for_each(|s| join(&mut names, s.classes.iter().cloned()));
    let counted = all().flat_map(|p| &p.boxes).filter(|b| !b.ignore);
    let types: BTreeSet<String> = counted.map(|b| b.class.clone()).collect();
    join(&mut names, types);
    write_classes(job, &names)?;
    let (mut written, mut left, mut named) = (0, 0, BTreeMap::new());
    for split in splits {
        fits(split.pictures.len())?;
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
                        written += 1;
                        text += &format!("{} {} {} {} {}\n", b.class, e.x1, e.y1, e.x2, e.y2);
                    }
                }
            }
            job.file(&label, text.as_bytes())?;
        }
        job.file(&format!("{}.txt", role(split.held_out)), list.as_bytes())?;
    }
    let named: Vec<(Pixels, String)> = named.into_iter().map(|(name, p)| (p, name)).collect();
    job.pictures(&named, false)?;
    let note = format!("{left} boxes that metrics leave aside are left out: lists have none");
    Ok((written, (left > 0).then_some(note).into_iter().collect()))
}

/// Label maps as `labels/SPLIT/ID.png` with indices of `classes.txt`, or the names of classes in the lists; pictures are read one by one.
///
/// # Errors
/// As [`super::convert`].
pub fn convert(job: &Job, config: &DatasetConfig, to: To) -> Result<Summary> {
    let mut summary = Summary::default();
    let splits = opened(config, &mut summary.notes)?;
    let (mut places, mut names) = (BTreeMap::new(), vec![]);
    for split in &splits {
        let set = &split.set;
        let refuse = |text: String, help: &str| {
            Err(Error::new(Code::Usage, text)
                .at(config.root.display())
                .help(help))
        };
        if set.kind() != to.kind() {
            let what = match to {
                To::ListMasks => "label maps",
                _ => "classes of pictures",
            };
            let help = "boxes become `list-boxes`, label maps `list-masks`, classes `list-classes`; of several targets choose one by `targets`";
            return refuse(format!("{} is no set of {what}", set.name()), help);
        }
        if to == To::ListMasks && !names.is_empty() && names != set.classes() {
            let help = "name its classes in a configuration";
            return refuse("its splits have different classes".into(), help);
        }
        join(&mut names, set.classes().iter().cloned());
        fits(set.len())?;
        for i in 0..set.len() {
            let id = format!("{}/{}", role(split.held_out), file_name(&set.id(i)));
            twice(&mut places, &id, set.place(i))?;
        }
    }
    write_classes(job, &names)?;
    let mut inside = false;
    for split in &splits {
        let (name, set) = (role(split.held_out), &split.set);
        let lines: Vec<(String, bool)> = (0..set.len())
            .into_par_iter()
            .map(|i| sample(job, name, set, i))
            .collect::<Result<_>>()?;
        inside |= lines.iter().any(|l| l.1);
        let list: String = lines.into_iter().map(|l| l.0).collect();
        job.file(&format!("{name}.txt"), list.as_bytes())?;
    }
    job.tell_of_records(inside, &mut summary);
    (summary.pictures, summary.labels) = (places.len(), places.len());
    Ok(summary)
}

/// Writes a sample; its line, and whether its picture is no file of its own.
fn sample(job: &Job, split: &str, set: &Arc<dyn Dataset>, index: usize) -> Result<(String, bool)> {
    let pixels = Pixels::of(set, index)?;
    let id = file_name(&set.id(index));
    let picture = format!("images/{split}/{id}.{}", pixels.ending());
    // A class is known without decoding the picture.
    let class = match set.class_of(index)? {
        Some(class) => Some(class),
        None => match set.load(index)?.annotation {
            Annotation::Class(class) => Some(class),
            Annotation::Labels(map) => {
                job.file(&format!("labels/{split}/{id}.png"), &encode_labels(&map)?)?;
                None
            }
            _ => return Err(Error::new(Code::Internal, "neither label map nor class")),
        },
    };
    job.picture(&pixels, &picture, false)?;
    let label = match class {
        Some(class) => set.classes()[class].clone(),
        None => format!("labels/{split}/{id}.png"),
    };
    let inside = matches!(pixels, Pixels::Sample(..));
    Ok((line(&picture, &label), inside))
}
