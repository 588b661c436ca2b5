//! `data check`: walks a whole data set and names every defect with its file and line or pixel. Nothing is changed.

mod boxes;
mod cifar;
mod cityscapes;
mod content;
mod dense;
#[cfg(test)]
mod dense_tests;
mod detect;
mod image_folder;
pub mod kind;
mod kitti;
mod list_classes;
mod masks;
mod mixed;
#[cfg(test)]
mod mixed_tests;
mod named;
#[cfg(test)]
mod published_tests;
#[cfg(test)]
mod tests;
mod waymo;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::dataset::{DatasetConfig, Format};
use super::image_folder::is_picture;
use super::text_file::{at_line, id_defect, read_text};
use crate::error::{Error, Result};
use content::Digest;
pub use detect::detect;
pub use kind::Kind;

/// One defect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// What kind.
    pub kind: Kind,
    /// Stable error code, `MT0203` for example.
    pub code: &'static str,
    /// `file`, `file:line`, `file, pixel (x, y)` or `file, record n`.
    pub place: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

impl Defect {
    fn new(kind: Kind, place: impl std::fmt::Display, message: impl Into<String>) -> Defect {
        Defect {
            kind,
            code: kind.code().id(),
            place: place.to_string(),
            message: message.into(),
            help: kind.help().into(),
        }
    }

    fn of(e: &Error, place: impl std::fmt::Display) -> Defect {
        let kind = Kind::of(e);
        let place = e.place().map_or(place.to_string(), String::from);
        Defect {
            help: e.remedy().unwrap_or(kind.help()).into(),
            ..Defect::new(kind, place, e.message())
        }
    }
}

impl std::fmt::Display for Defect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.message, self.help)
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Data sets that were walked.
    pub sets: Vec<String>,
    /// Number of pictures read.
    pub images: usize,
    /// All defects, in the order of the walk.
    pub defects: Vec<Defect>,
    /// Things worth knowing that are no defects.
    pub notes: Vec<String>,
}

impl Report {
    fn join(&mut self, other: Report) {
        self.sets.extend(other.sets);
        self.images += other.images;
        self.defects.extend(other.defects);
        self.notes.extend(other.notes);
    }

    fn add(&mut self, kind: Kind, place: impl std::fmt::Display, message: impl Into<String>) {
        self.defects.push(Defect::new(kind, place, message));
    }
}

/// One picture as the walk found it.
struct Item {
    /// For messages.
    place: String,
    /// Digest of its pixels, if it could be read.
    digest: Option<Digest>,
    /// In which splits it is: training, held out.
    train: bool,
    val: bool,
}

/// Checks one data set; of a mixed one its sources, then what is made of them.
///
/// # Errors
/// Only if its folders cannot be listed at all, or for classes that it does not have; everything else is a [`Defect`].
pub fn check(config: &DatasetConfig) -> Result<Report> {
    check_all([config])
}

/// Checks several data sets; what is a source of two mixed ones is read once.
///
/// # Errors
/// As [`check`].
pub fn check_all<'a>(configs: impl IntoIterator<Item = &'a DatasetConfig>) -> Result<Report> {
    let mut all = Report::default();
    let mut read: Vec<&DatasetConfig> = vec![];
    for config in configs {
        let sources: Vec<&DatasetConfig> = match config.format {
            Format::Mixed => config.mixed.sources.iter().map(|(_, s)| s).collect(),
            _ => vec![config],
        };
        for source in sources {
            if !read.contains(&source) {
                read.push(source);
                all.join(walk(source)?);
            }
        }
        if config.format == Format::Mixed {
            mixed::walk(config, &mut all)?;
        }
    }
    Ok(all)
}

/// Reads everything of a data set that is not mixed.
fn walk(config: &DatasetConfig) -> Result<Report> {
    let mut report = Report {
        sets: vec![config.root.display().to_string()],
        ..Default::default()
    };
    let items = match config.format {
        Format::Kitti => kitti::walk(config, &mut report)?,
        Format::Cityscapes => cityscapes::walk(config, &mut report)?,
        Format::Cifar10 => cifar::walk(config, &mut report)?,
        Format::ImageFolder => image_folder::walk(config, &mut report)?,
        Format::WaymoV1 | Format::WaymoV2 => waymo::walk(config, &mut report)?,
        Format::Mixed => vec![],
        Format::Bdd100k | Format::Coco | Format::Voc | Format::MtnasBoxes | Format::ListBoxes => {
            boxes::walk(config, &mut report)?
        }
        Format::Bdd100kMasks | Format::VocMasks | Format::MtnasMasks | Format::ListMasks => {
            masks::walk(config, &mut report)?
        }
        Format::ListClasses => list_classes::walk(config, &mut report)?,
        Format::Nyuv2Lists
        | Format::Nyuv2Json
        | Format::Nyuv2Npy
        | Format::CityscapesNpy
        | Format::Taskonomy => dense::walk(config, &mut report)?,
    };
    report.images = items.len();
    content::compare(&items, &mut report);
    Ok(report)
}

/// Checks every data set that [`detect`] finds in a folder.
///
/// # Errors
/// As [`detect`] and [`check`].
pub fn check_folder(root: &Path) -> Result<Report> {
    check_all(&detect(root)?)
}

/// The splits of a set, each with whether it is for training; one that serves as both is walked once.
fn splits(config: &DatasetConfig) -> Vec<(&str, bool)> {
    let (train, val) = (config.train.as_str(), config.val.as_str());
    let mut all = vec![(train, true)];
    all.extend((train != val).then_some((val, false)));
    all
}

/// The pictures of a folder that are not among `named`, sorted.
fn unnamed(dir: &Path, named: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(vec![]);
    }
    let names = super::text_file::sorted_names(dir)?;
    let pictures = names.into_iter().filter(|n| is_picture(n));
    let paths = pictures.map(|n| dir.join(n));
    Ok(paths.filter(|p| !named.contains(p)).collect())
}

/// Runs `job` on every entry in threads; results and their defects in order.
fn each<T: Sync, R: Send>(
    all: &[T],
    job: impl Fn(&T, &mut Vec<Defect>) -> R + Sync + Send,
) -> (Vec<R>, Vec<Defect>) {
    let results: Vec<(R, Vec<Defect>)> = all
        .par_iter()
        .map(|item| {
            let mut defects = vec![];
            (job(item, &mut defects), defects)
        })
        .collect();
    let mut defects = vec![];
    let values = results
        .into_iter()
        .map(|(value, found)| {
            defects.extend(found);
            value
        })
        .collect();
    (values, defects)
}

/// Ids of a list with every defect of it; duplicates are given once.
fn list(path: &Path, report: &mut Report) -> Vec<(usize, String)> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(e) => {
            report.defects.push(Defect::of(&e, path.display()));
            return vec![];
        }
    };
    let mut seen = std::collections::BTreeMap::new();
    let mut ids = vec![];
    for (i, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        let (line, id) = (i + 1, line.trim());
        if let Some(defect) = id_defect(id) {
            report.add(
                Kind::BadId,
                at_line(path, line),
                format!("{defect}: {id:?}"),
            );
        } else if let Some(first) = seen.insert(id.to_string(), line) {
            report.add(
                Kind::DuplicateId,
                at_line(path, line),
                format!("the id {id:?} is already in line {first}"),
            );
        } else {
            ids.push((line, id.to_string()));
        }
    }
    if seen.is_empty() {
        report.add(Kind::EmptyList, path.display(), "the list has no ids");
    }
    ids
}
