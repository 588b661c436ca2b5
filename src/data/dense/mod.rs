//! Data sets with a target for every pixel, often several for the same picture (systems.md 8.9 to 8.11): NYUv2 in its three published forms,
//! Cityscapes as arrays, Tiny-Taskonomy.
//!
//! A form says which files belong together ([`listing`]) and how each is read ([`read`]); everything else is [`DenseSet`]. What a
//! sample yields is chosen by [`target`]: one target is that annotation, several are a joint one.

pub mod cityscapes_npy;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod listing;
#[cfg(test)]
mod mutation_tests;
pub mod nyuv2_json;
pub mod nyuv2_lists;
pub mod nyuv2_npy;
pub mod read;
pub mod rows;
pub mod target;
pub mod taskonomy;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, DatasetConfig, Format, Kind, Sample};
use crate::annotation::{Annotation, Image, NormalSpace};
use crate::error::{Code, Error, Result};
use listing::Row;
use target::{Target, chosen, kind_of};

/// Keys of these formats.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DenseConfig {
    /// What each sample yields; empty: all that the format has.
    pub targets: Vec<Target>,
    /// A list of class names of the format, by the name of the list; empty: the usual one.
    pub classes: Vec<String>,
    /// How normals are coded.
    pub normal_space: NormalSpace,
    /// Taskonomy: pixels of uncertain class are ignored instead of class 0.
    pub ignore_uncertain: bool,
}

/// How the files of a format are read.
pub trait Form: Send + Sync {
    /// Name of the format.
    fn name(&self) -> &'static str;

    /// The targets that it has.
    fn targets(&self) -> &'static [Target];

    /// The samples of a split.
    ///
    /// # Errors
    /// `NotFound`, `EmptyData`, `BadLine`: those of [`listing`].
    fn rows(&self, root: &Path, split: &str) -> Result<Vec<Row>>;

    /// The picture of a sample.
    ///
    /// # Errors
    /// Those of its file.
    fn picture(&self, row: &Row) -> Result<Image>;

    /// The file of a target.
    fn file<'a>(&self, row: &'a Row, target: Target) -> &'a Path;

    /// One target of a sample.
    ///
    /// # Errors
    /// Those of its file.
    fn read(&self, row: &Row, target: Target) -> Result<Annotation>;
}

impl DatasetConfig {
    /// The form of a format of this kind and the names of its classes; `None` for other formats.
    ///
    /// # Errors
    /// `ConfigValue` for a list of classes that the format does not have.
    pub fn form(&self) -> Result<Option<(Box<dyn Form>, Vec<String>)>> {
        let c = &self.dense;
        let space = c.normal_space;
        const FORTY: Lists = &[("nyuv2-40", &nyuv2_json::CLASSES_40)];
        let names = |lists: Lists| class_list(&c.classes, lists);
        let form: (Box<dyn Form>, _) = match self.format {
            Format::Nyuv2Lists => {
                let wanted = c.targets.clone();
                (
                    Box::new(nyuv2_lists::Nyuv2Lists { space, wanted }),
                    names(FORTY)?,
                )
            }
            Format::Nyuv2Json => (Box::new(nyuv2_json::Nyuv2Json { space }), names(FORTY)?),
            Format::Nyuv2Npy => (
                Box::new(nyuv2_npy::Nyuv2Npy { space }),
                names(&[("nyuv2-13", &nyuv2_npy::CLASSES_13)])?,
            ),
            Format::CityscapesNpy => {
                let names = names(&cityscapes_npy::LISTS)?;
                let classes = names.len();
                (Box::new(cityscapes_npy::CityscapesNpy { classes }), names)
            }
            Format::Taskonomy => {
                let ignore_uncertain = c.ignore_uncertain;
                let form = taskonomy::Taskonomy {
                    space,
                    ignore_uncertain,
                };
                (
                    Box::new(form),
                    names(&[("taskonomy-17", &taskonomy::CLASSES_17)])?,
                )
            }
            _ => return Ok(None),
        };
        Ok(Some(form))
    }

    /// A split of a format of this kind.
    ///
    /// # Errors
    /// Those of [`DatasetConfig::open`].
    pub fn open_dense(&self, split: &str) -> Result<DenseSet> {
        let Some((form, classes)) = self.form()? else {
            let text = format!("{:?} is not a format of dense targets", self.format);
            return Err(Error::new(Code::Internal, text));
        };
        DenseSet::open(form, classes, &self.root, split, &self.dense)
    }
}

/// A split of such a data set.
pub struct DenseSet {
    name: String,
    form: Box<dyn Form>,
    classes: Vec<String>,
    targets: Vec<Target>,
    rows: Vec<Row>,
}

impl DenseSet {
    /// Lists the samples of a split. No picture or target is read.
    ///
    /// # Errors
    /// Those of [`Form::rows`]; `ConfigValue` for targets that the format does not have; `BadLine` for a picture that is listed twice.
    pub fn open(
        form: Box<dyn Form>,
        classes: Vec<String>,
        root: &Path,
        split: &str,
        config: &DenseConfig,
    ) -> Result<DenseSet> {
        let targets = chosen(&config.targets, form.targets(), form.targets())?;
        let rows = form.rows(root, split)?;
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for row in &rows {
            if let Some(first) = seen.insert(&row.id, &row.place) {
                let text = format!("the picture {:?} is already at {first}", row.id);
                return Err(Error::new(Code::BadLine, text)
                    .at(&row.place)
                    .help("keep one of the two"));
            }
        }
        Ok(DenseSet {
            name: format!("{}/{split}", form.name()),
            form,
            classes,
            targets,
            rows,
        })
    }

    /// What each sample yields.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The files of a sample, the picture first.
    pub fn row(&self, index: usize) -> &Row {
        &self.rows[index]
    }

    /// The picture of a sample.
    ///
    /// # Errors
    /// Those of its file.
    pub fn picture(&self, index: usize) -> Result<Image> {
        let row = &self.rows[index];
        self.form.picture(row).map_err(|e| listed(e, row))
    }

    /// One target of a sample, of the size (height, width) of its picture.
    ///
    /// # Errors
    /// Those of its file; `SizeMismatch`.
    pub fn target(&self, index: usize, target: Target, size: (usize, usize)) -> Result<Annotation> {
        let row = &self.rows[index];
        let file = self.form.file(row, target);
        let annotation = self.form.read(row, target).map_err(|e| listed(e, row))?;
        let got = match &annotation {
            Annotation::Labels(m) => (m.height, m.width),
            Annotation::Values(m) => (m.height, m.width),
            _ => size,
        };
        if got != size {
            let what = format!("the map of {target}");
            let e = read::other_size(&what, got, &row.files[0], size);
            return Err(listed(e.at(file.display()), row));
        }
        Ok(annotation)
    }

    /// The file of a target.
    pub fn file(&self, index: usize, target: Target) -> &Path {
        self.form.file(&self.rows[index], target)
    }
}

/// Whatever is wrong may be wrong in the listing, too.
fn listed(e: Error, row: &Row) -> Error {
    let e = e.note(format!("it belongs to the sample at {}", row.place));
    match e.code() {
        Code::NotFound => e.help("add the file, or take the sample out of the list"),
        _ => e,
    }
}

impl Dataset for DenseSet {
    fn name(&self) -> &str {
        &self.name
    }
    fn kind(&self) -> Kind {
        kind_of(&self.targets)
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn len(&self) -> usize {
        self.rows.len()
    }
    fn id(&self, index: usize) -> String {
        self.rows[index].id.clone()
    }
    fn place(&self, index: usize) -> String {
        self.rows[index].files[0].display().to_string()
    }
    fn load(&self, index: usize) -> Result<Sample> {
        let image = self.picture(index)?;
        let size = (image.height, image.width);
        let parts = self.targets.iter().map(|&t| self.target(index, t, size));
        let annotation = Annotation::of_parts(parts.collect::<Result<_>>()?);
        Ok(Sample {
            id: self.id(index),
            image,
            annotation,
        })
    }
}

/// Named lists of classes.
type Lists = &'static [(&'static str, &'static [&'static str])];

/// The names of a list that is chosen by its name: `classes` empty or `[name]`, of the lists that a format has, the usual one first.
///
/// # Errors
/// `ConfigValue` for another name.
fn class_list(classes: &[String], lists: Lists) -> Result<Vec<String>> {
    let found = match classes {
        [] => lists.first(),
        [one] => lists.iter().find(|(name, _)| name == one),
        _ => None,
    };
    let (_, list) = found.ok_or_else(|| {
        let known: Vec<String> = lists.iter().map(|l| format!("[{:?}]", l.0)).collect();
        Error::new(
            Code::ConfigValue,
            "`classes` names no list of classes of this format",
        )
        .help(format!("leave it out, or write {}", known.join(" or ")))
    })?;
    Ok(list.iter().map(|n| n.to_string()).collect())
}

#[cfg(test)]
#[path = "dense_tests.rs"]
mod tests;
