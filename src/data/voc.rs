//! Pascal VOC detection (systems.md 8.7): `JPEGImages/ID.jpg` with `Annotations/ID.xml`, lists in `ImageSets/Main`.

use std::path::{Path, PathBuf};

use super::box_set::{self, BoxSet, Fault, RawBox};
use super::class_rules::{ClassRules, ClassTable, Vocabulary};
use super::dataset::{Dataset, Kind, Sample};
use super::text_file::{ListEntry, at_line, first_existing, read_list};
use super::voc_xml;
use crate::error::{Code, Error, Result};

/// The twenty classes in the order of the label maps, where background is 0 and they are 1 to 20.
pub const CLASSES: [&str; 20] = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// Its types. Own sets in this form may have others: what the configuration names is a type.
pub const VOCABULARY: Vocabulary = Vocabulary {
    format: "Pascal VOC",
    types: &CLASSES,
    aliases: &[],
    classes: &CLASSES,
    merge: &[],
    ignore: &[],
    open: true,
};

/// The folder that holds `JPEGImages`: `root`, or the year in it.
///
/// # Errors
/// `NotFound`.
pub fn base(root: &Path) -> Result<PathBuf> {
    let places = [
        "",
        "VOC2012",
        "VOCdevkit/VOC2012",
        "VOC2007",
        "VOCdevkit/VOC2007",
    ];
    let with = places.iter().map(|p| root.join(p));
    first_existing(with.map(|p| p.join("JPEGImages")))
        .and_then(|p| p.parent().map(PathBuf::from))
        .ok_or_else(|| {
            let text = format!("no folder JPEGImages in {}", root.display());
            Error::new(Code::NotFound, text)
                .at(root.display())
                .help("give the folder that holds `JPEGImages` and `ImageSets`, for example VOCdevkit/VOC2012")
        })
}

/// The list of a split in a folder of `ImageSets`: its name, or a path.
///
/// # Errors
/// `NotFound` with the place looked at.
pub fn list_file(base: &Path, folder: &str, split: &str) -> Result<PathBuf> {
    let usual = base.join(format!("ImageSets/{folder}/{split}.txt"));
    let places = [usual.clone(), base.join(split), split.into()];
    places.into_iter().find(|p| p.is_file()).ok_or_else(|| {
        Error::new(Code::NotFound, format!("no list of the split {split:?}"))
            .at(usual.display())
            .help("write one id a line there, or give the path of a list")
    })
}

/// A split of Pascal VOC with boxes.
pub struct Voc {
    name: String,
    base: PathBuf,
    list: PathBuf,
    ids: Vec<ListEntry>,
    table: ClassTable,
}

impl Voc {
    /// Reads the list of a split: `train`, `val`, `trainval`, or a path.
    ///
    /// # Errors
    /// `NotFound` for a missing folder or list, `BadLine` and `EmptyData` in the list, `ConfigValue` for unknown classes.
    pub fn open(root: &Path, split: &str, rules: &ClassRules) -> Result<Voc> {
        let table = ClassTable::new(rules, &VOCABULARY)?;
        let base = base(root)?;
        let list = list_file(&base, "Main", split)?;
        let stem = list.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Voc {
            name: format!("voc/{stem}"),
            ids: read_list(&list)?,
            base,
            list,
            table,
        })
    }
}

impl Dataset for Voc {
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
        self.ids.len()
    }
    fn id(&self, index: usize) -> String {
        self.ids[index].id.clone()
    }
    fn place(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    fn load(&self, index: usize) -> Result<Sample> {
        box_set::load(self, index)
    }
}

impl BoxSet for Voc {
    fn table(&self) -> &ClassTable {
        &self.table
    }
    fn image_path(&self, index: usize) -> PathBuf {
        let id = &self.ids[index].id;
        let named = |ending: &str| self.base.join(format!("JPEGImages/{id}.{ending}"));
        let usual = named("jpg");
        // Sets that were converted to this form keep their pictures as they are.
        match usual.is_file() {
            true => usual,
            false => Some(named("png")).filter(|p| p.is_file()).unwrap_or(usual),
        }
    }
    fn label_path(&self, index: usize) -> PathBuf {
        let id = &self.ids[index].id;
        self.base.join(format!("Annotations/{id}.xml"))
    }
    fn named_at(&self, index: usize) -> String {
        at_line(&self.list, self.ids[index].line)
    }
    fn boxes(&self, index: usize, fault: &mut Fault) -> Result<Vec<RawBox>> {
        let path = self.label_path(index);
        voc_xml::read(&path, &self.table, fault).map_err(|e| match e.code() {
            Code::NotFound => e
                .note(format!("it is named in {}", self.named_at(index)))
                .help("add the annotation, or take the id out of the list"),
            _ => e,
        })
    }
}

#[cfg(test)]
#[path = "voc_tests.rs"]
mod tests;
