//! `data check`: walks a whole data set and names every defect with its file and line or pixel. Nothing is changed.

mod cifar;
mod cityscapes;
mod content;
mod image_folder;
mod kitti;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::dataset::{DatasetConfig, Format};
use super::text_file::{at_line, id_defect, read_text};
use crate::error::{Code, Error, Result};
use content::Digest;

/// What kind of defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A picture that neither exists nor has a label, named by a list.
    AbsentId,
    /// A label whose picture is missing.
    MissingImage,
    /// A picture whose label is missing.
    MissingLabel,
    /// A file that is not a picture, or damaged.
    Undecodable,
    /// A picture that is cut off.
    Truncated,
    /// A label map of the wrong depth or kind.
    WrongFormat,
    /// Beyond the limits that protect memory.
    TooLarge,
    /// Label map and picture of different sizes.
    SizeMismatch,
    /// A label id outside the class map.
    LabelId,
    /// A box that reaches outside its picture.
    BoxOutside,
    /// A box whose edges are exchanged.
    BoxInverted,
    /// A box without area.
    BoxEmpty,
    /// A box with NaN or infinity.
    BoxNotFinite,
    /// A label line with a wrong number of fields.
    FieldCount,
    /// A field that is not a number, or outside its range.
    BadNumber,
    /// An object type that the format does not have.
    UnknownType,
    /// An id that a list names twice.
    DuplicateId,
    /// A list line that is not a plain id.
    BadId,
    /// A list without ids.
    EmptyList,
    /// A file that is not UTF-8 text.
    NotText,
    /// A class without examples in the training split.
    EmptyClass,
    /// A folder of a class that training does not know.
    UnknownClass,
    /// The same picture in training and held-out split.
    Leakage,
    /// The same picture twice in one split.
    DuplicateImage,
    /// A file that does not belong there.
    StrayFile,
    /// A binary file that ends inside a record.
    RecordSize,
    /// Anything that the system refuses to read.
    Unreadable,
}

impl Kind {
    /// The error code that a run would stop with.
    pub fn code(self) -> Code {
        match self {
            Kind::AbsentId | Kind::MissingImage | Kind::MissingLabel => Code::NotFound,
            Kind::Undecodable | Kind::Truncated => Code::BadImage,
            Kind::WrongFormat | Kind::UnknownClass | Kind::StrayFile | Kind::RecordSize => {
                Code::BadFormat
            }
            Kind::TooLarge => Code::TooLarge,
            Kind::SizeMismatch => Code::SizeMismatch,
            Kind::LabelId => Code::BadLabelId,
            Kind::BoxOutside | Kind::BoxInverted | Kind::BoxEmpty | Kind::BoxNotFinite => {
                Code::BadBox
            }
            Kind::FieldCount | Kind::BadNumber | Kind::UnknownType => Code::BadLine,
            Kind::DuplicateId | Kind::BadId | Kind::NotText => Code::BadLine,
            Kind::EmptyList => Code::EmptyData,
            Kind::EmptyClass => Code::EmptyClass,
            Kind::Leakage | Kind::DuplicateImage => Code::CheckFailed,
            Kind::Unreadable => Code::Io,
        }
    }

    /// The kind of a reader's error.
    fn of(e: &Error) -> Kind {
        let says = |word: &str| e.message().contains(word);
        match e.code() {
            Code::BadImage if says("cut off") => Kind::Truncated,
            Code::BadImage => Kind::Undecodable,
            Code::BadFormat => Kind::WrongFormat,
            Code::TooLarge => Kind::TooLarge,
            Code::BadLabelId => Kind::LabelId,
            Code::SizeMismatch => Kind::SizeMismatch,
            Code::BadBox if says("not finite") => Kind::BoxNotFinite,
            Code::BadBox if says("inverted") => Kind::BoxInverted,
            Code::BadBox if says("empty") => Kind::BoxEmpty,
            Code::BadBox => Kind::BoxOutside,
            Code::BadLine if says("UTF-8") => Kind::NotText,
            Code::BadLine if says("unknown object type") => Kind::UnknownType,
            Code::BadLine if says("fields") => Kind::FieldCount,
            Code::BadLine => Kind::BadNumber,
            _ => Kind::Unreadable,
        }
    }
}

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
}

impl Defect {
    fn new(kind: Kind, place: impl std::fmt::Display, message: impl Into<String>) -> Defect {
        Defect {
            kind,
            code: kind.code().id(),
            place: place.to_string(),
            message: message.into(),
        }
    }

    fn of(e: &Error, place: impl std::fmt::Display) -> Defect {
        let kind = Kind::of(e);
        Defect::new(
            kind,
            e.place().map_or(place.to_string(), String::from),
            e.message(),
        )
    }
}

impl std::fmt::Display for Defect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
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

/// The data sets in a folder: itself, or those of its subfolders (as the generator writes them).
///
/// # Errors
/// `NotFound` if there is none.
pub fn detect(root: &Path) -> Result<Vec<DatasetConfig>> {
    let format_of = |dir: &Path| {
        let has = |p: &str| dir.join(p).is_dir();
        let binary = || super::cifar::files_of(dir, "train").is_ok_and(|f| !f.is_empty());
        let classes =
            || super::image_folder::class_folders(&dir.join("train")).is_ok_and(|c| !c.is_empty());
        match () {
            _ if has("training/image_2") || has("image_2") => Some(Format::Kitti),
            _ if has("leftImg8bit") => Some(Format::Cityscapes),
            _ if binary() => Some(Format::Cifar10),
            _ if classes() => Some(Format::ImageFolder),
            _ => None,
        }
    };
    let config = |dir: PathBuf| {
        let format = format_of(&dir)?;
        Some(DatasetConfig {
            format,
            root: dir,
            ..Default::default()
        })
    };
    if let Some(one) = config(root.into()) {
        return Ok(vec![one]);
    }
    let names = super::text_file::sorted_names(root)?;
    let found: Vec<_> = names
        .into_iter()
        .filter_map(|n| config(root.join(n)))
        .collect();
    if found.is_empty() {
        return Err(Error::new(Code::NotFound, "no data set of a known format is here")
            .at(root.display())
            .help("expected training/image_2, leftImg8bit, data_batch_1.bin, or train/CLASS/ folders"));
    }
    Ok(found)
}

/// Checks one data set.
///
/// # Errors
/// Only if its folders cannot be listed at all; everything else is a [`Defect`].
pub fn check(config: &DatasetConfig) -> Result<Report> {
    let mut report = Report {
        sets: vec![config.root.display().to_string()],
        ..Default::default()
    };
    let items = match config.format {
        Format::Kitti => kitti::walk(config, &mut report)?,
        Format::Cityscapes => cityscapes::walk(config, &mut report)?,
        Format::Cifar10 => cifar::walk(config, &mut report)?,
        Format::ImageFolder => image_folder::walk(config, &mut report)?,
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
    let mut all = Report::default();
    for config in detect(root)? {
        let one = check(&config)?;
        all.sets.extend(one.sets);
        all.images += one.images;
        all.defects.extend(one.defects);
        all.notes.extend(one.notes);
    }
    Ok(all)
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
