//! COCO detection: `annotations/instances_SPLIT.json` with the pictures in `SPLIT` or `images/SPLIT`. Own data sets use the form too.

use std::path::{Path, PathBuf};

use super::box_set::{self, BoxSet, BoxTable, Fault, RawBox, picture_folder, stop};
use super::class_rules::{ClassRules, ClassTable};
use super::coco_json::read;
use super::dataset::{Dataset, Kind, Sample};
use super::text_file::at_line;
use crate::error::{Code, Error, Result};

/// The file of a split: a path, or a name such as `train2017` (`train` finds `instances_train2017.json` too).
///
/// # Errors
/// `NotFound` with the places looked at.
pub fn label_file(root: &Path, split: &str) -> Result<PathBuf> {
    let names = [
        split.to_string(),
        format!("annotations/instances_{split}.json"),
        format!("annotations/instances_{split}2017.json"),
        format!("annotations/instances_{split}2014.json"),
        format!("annotations/{split}.json"),
        format!("{split}.json"),
        format!("{split}/_annotations.coco.json"),
    ];
    let mut places = names.iter().map(|n| root.join(n));
    places.find(|p| p.is_file()).ok_or_else(|| {
        Error::new(
            Code::NotFound,
            format!("no COCO file of the split {split:?}"),
        )
        .at(root.join(&names[1]).display())
        .help("put it there, or give its path as the split")
    })
}

/// Where the pictures of a file may be.
fn folders(root: &Path, file: &Path) -> Vec<PathBuf> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let part = stem.strip_prefix("instances_").unwrap_or(&stem);
    let mut all = vec![
        root.join(part),
        root.join("images").join(part),
        root.join("images"),
    ];
    all.extend(file.parent().map(PathBuf::from));
    all.push(root.into());
    all
}

/// A COCO file with its pictures.
pub struct Coco {
    name: String,
    images: PathBuf,
    labels: PathBuf,
    index: BoxTable,
    table: ClassTable,
}

impl Coco {
    /// Reads the file of a split.
    ///
    /// # Errors
    /// `NotFound` for a missing file or folder, `EmptyData` without pictures, `ConfigValue` for unknown classes; those of [`read`].
    pub fn open(root: &Path, split: &str, rules: &ClassRules, fault: &mut Fault) -> Result<Coco> {
        let labels = label_file(root, split)?;
        let (index, table) = read(&labels, rules, fault)?;
        if index.images.is_empty() {
            return Err(Error::new(Code::EmptyData, "the file has no pictures")
                .at(labels.display())
                .help("fetch the file again"));
        }
        let images = picture_folder(&folders(root, &labels), &index.images);
        let images = images.unwrap_or_else(|| root.into());
        let stem = labels.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Coco {
            name: format!("coco/{}", stem.trim_start_matches("instances_")),
            images,
            labels,
            index,
            table,
        })
    }
}

/// The split, where the first bad entry ends reading.
///
/// # Errors
/// As [`Coco::open`].
pub fn open(root: &Path, split: &str, rules: &ClassRules) -> Result<Coco> {
    Coco::open(root, split, rules, &mut stop)
}

impl Dataset for Coco {
    fn name(&self) -> &str {
        &self.name
    }
    fn kind(&self) -> Kind {
        Kind::Detection
    }
    fn classes(&self) -> &[String] {
        self.table.names()
    }
    fn len(&self) -> usize {
        self.index.images.len()
    }
    fn id(&self, index: usize) -> String {
        super::bdd_json::stem(&self.index.images[index].name).into()
    }
    fn place(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    fn load(&self, index: usize) -> Result<Sample> {
        box_set::load(self, index)
    }
}

impl BoxSet for Coco {
    fn table(&self) -> &ClassTable {
        &self.table
    }
    fn image_path(&self, index: usize) -> PathBuf {
        self.images.join(&*self.index.images[index].name)
    }
    fn label_path(&self, _index: usize) -> PathBuf {
        self.labels.clone()
    }
    fn named_at(&self, index: usize) -> String {
        at_line(&self.labels, self.index.images[index].line as usize)
    }
    fn boxes(&self, index: usize, _fault: &mut Fault) -> Result<Vec<RawBox>> {
        Ok(self.index.of(index).to_vec())
    }
    fn said_size(&self, index: usize) -> Option<(u32, u32)> {
        self.index.images[index].size
    }
    fn label_name(&self, _index: usize, raw: &RawBox) -> Option<String> {
        Some(format!("annotation {}", raw.label))
    }
}

#[cfg(test)]
#[path = "coco_tests.rs"]
mod tests;
