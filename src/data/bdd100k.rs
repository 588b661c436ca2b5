//! BDD100K detection (systems.md 8.5): `images/100k/SPLIT/ID.jpg` with the labels of 2020 (`det_20/det_SPLIT.json`) or 2018 (merged,
//! or one file a picture).

use std::path::{Path, PathBuf};

use super::bdd_json::read;
use super::box_set::{self, BoxSet, BoxTable, Fault, RawBox, picture_folder, stop};
use super::class_rules::{ClassRules, ClassTable, Vocabulary};
use super::dataset::{Dataset, Kind, Sample};
use super::text_file::{at_line, first_existing, id_defect, sorted_names};
use crate::error::{Code, Error, Result};

/// The ten classes in the order of their ids, in the spelling of 2020.
pub const CLASSES: [&str; 10] = [
    "pedestrian",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
    "traffic light",
    "traffic sign",
];

/// Types of both generations. The ignored three are those of the official evaluation, and so are the spellings.
pub const VOCABULARY: Vocabulary = Vocabulary {
    format: "BDD100K",
    types: &[
        "pedestrian",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
        "traffic light",
        "traffic sign",
        "other person",
        "other vehicle",
        "trailer",
    ],
    aliases: &[
        ("person", "pedestrian"),
        ("motor", "motorcycle"),
        ("bike", "bicycle"),
        ("van", "car"),
        ("caravan", "car"),
    ],
    classes: &CLASSES,
    merge: &[],
    ignore: &[
        ("other person", "pedestrian"),
        ("other vehicle", "car"),
        ("trailer", "truck"),
    ],
    open: false,
};

/// The folder that holds `images` and `labels`: `root`, or `bdd100k` in it.
pub fn base(root: &Path) -> PathBuf {
    let inner = root.join("bdd100k");
    match inner.is_dir() && !root.join("images").is_dir() {
        true => inner,
        false => root.into(),
    }
}

/// Where the labels of a split are: a JSON file of all of them, or a folder of a JSON file a picture.
///
/// # Errors
/// `NotFound` with the places looked at.
pub fn label_source(root: &Path, split: &str) -> Result<PathBuf> {
    let base = base(root);
    let names = [
        format!("labels/det_20/det_{split}.json"),
        format!("det_20/det_{split}.json"),
        format!("labels/det_v2_{split}_release.json"),
        format!("labels/bdd100k_labels_images_{split}.json"),
        format!("bdd100k_labels_images_{split}.json"),
        format!("labels/bdd100k_labels_{split}.json"),
        format!("labels/100k/{split}"),
        format!("labels/{split}"),
    ];
    let named = split.ends_with(".json").then(|| root.join(split));
    let own = split.ends_with(".json").then(|| PathBuf::from(split));
    let places = names.iter().map(|n| base.join(n));
    first_existing(named.into_iter().chain(own).chain(places)).ok_or_else(|| {
        Error::new(
            Code::NotFound,
            format!("no BDD100K labels of the split {split:?}"),
        )
        .at(base.join("labels").display())
        .help(format!(
            "put {} or {} there, or the folder {}; or give the path of a JSON file as the split",
            names[0], names[3], names[6]
        ))
    })
}

enum Labels {
    /// One file for the split.
    Merged(PathBuf, BoxTable),
    /// A file a picture; its ids.
    Single(PathBuf, Vec<String>),
}

/// A split of BDD100K with boxes.
pub struct Bdd100k {
    name: String,
    images: PathBuf,
    labels: Labels,
    table: ClassTable,
}

impl Bdd100k {
    /// Reads the merged labels of a split, or lists its label files. `split` is `train` or `val`, or the path of a merged
    /// file, whose name then says which pictures it is for.
    ///
    /// # Errors
    /// `NotFound` for missing labels or pictures, `ConfigValue` for unknown classes, `EmptyData`; those of
    /// [`read`].
    pub fn open(root: &Path, split: &str, rules: &ClassRules, fault: &mut Fault) -> Result<Self> {
        let table = ClassTable::new(rules, &VOCABULARY)?;
        let source = label_source(root, split)?;
        let part = part_of(split);
        let base = base(root);
        let folders = [
            base.join("images/100k").join(part),
            base.join("images").join(part),
            base.join(part),
        ];
        let (labels, empty) = if source.is_dir() {
            let names = sorted_names(&source)?;
            let ids: Vec<String> = names
                .iter()
                .filter_map(|n| n.strip_suffix(".json"))
                .filter(|id| id_defect(id).is_none())
                .map(String::from)
                .collect();
            let empty = ids.is_empty();
            (Labels::Single(source.clone(), ids), empty)
        } else {
            let index = read(&source, &table, fault)?;
            let empty = index.images.is_empty();
            (Labels::Merged(source.clone(), index), empty)
        };
        if empty {
            return Err(Error::new(Code::EmptyData, "no labelled pictures")
                .at(source.display())
                .help("fetch the labels again"));
        }
        let images = picture_folder(&folders, &[]).ok_or_else(|| {
            let text = format!("no such folder: {}", folders[0].display());
            Error::new(Code::NotFound, text)
                .at(folders[0].display())
                .help("give the folder that holds `images/100k` and `labels`")
        })?;
        Ok(Bdd100k {
            name: format!("bdd100k/{part}"),
            images,
            labels,
            table,
        })
    }
}

/// `train`, `val` or `test` of a split or the name of its file.
fn part_of(split: &str) -> &str {
    if !split.ends_with(".json") {
        return split;
    }
    let name = split.rsplit(['/', '\\']).next().unwrap_or(split);
    let parts = ["train", "val", "test"];
    parts.into_iter().find(|p| name.contains(p)).unwrap_or(name)
}

impl Dataset for Bdd100k {
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
        match &self.labels {
            Labels::Merged(_, index) => index.images.len(),
            Labels::Single(_, ids) => ids.len(),
        }
    }
    fn id(&self, index: usize) -> String {
        match &self.labels {
            Labels::Merged(_, all) => all.images[index].name.to_string(),
            Labels::Single(_, ids) => ids[index].clone(),
        }
    }
    fn place(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    fn load(&self, index: usize) -> Result<Sample> {
        box_set::load(self, index)
    }
}

impl BoxSet for Bdd100k {
    fn table(&self) -> &ClassTable {
        &self.table
    }
    fn image_path(&self, index: usize) -> PathBuf {
        self.images.join(format!("{}.jpg", self.id(index)))
    }
    fn label_path(&self, index: usize) -> PathBuf {
        match &self.labels {
            Labels::Merged(path, _) => path.clone(),
            Labels::Single(dir, ids) => dir.join(format!("{}.json", ids[index])),
        }
    }
    fn named_at(&self, index: usize) -> String {
        let path = self.label_path(index);
        match &self.labels {
            Labels::Merged(_, all) => at_line(&path, all.images[index].line as usize),
            Labels::Single(..) => path.display().to_string(),
        }
    }
    fn boxes(&self, index: usize, fault: &mut Fault) -> Result<Vec<RawBox>> {
        match &self.labels {
            Labels::Merged(_, all) => Ok(all.of(index).to_vec()),
            Labels::Single(..) => {
                let path = self.label_path(index);
                let one = read(&path, &self.table, fault)?;
                match one.images.len() {
                    1 => Ok(one.boxes),
                    n => {
                        let text = format!("expected one frame, found {n}");
                        fault(
                            Error::new(Code::BadFormat, text)
                                .at(path.display())
                                .help("fetch the file again"),
                        )?;
                        Ok(one.boxes)
                    }
                }
            }
        }
    }
    fn folder(&self) -> Option<PathBuf> {
        Some(self.images.clone())
    }
    fn label_name(&self, index: usize, raw: &RawBox) -> Option<String> {
        Some(format!("label {} of {}", raw.label, self.id(index)))
    }
}

/// The split, where the first bad label ends reading.
///
/// # Errors
/// As [`Bdd100k::open`].
pub fn open(root: &Path, split: &str, rules: &ClassRules) -> Result<Bdd100k> {
    Bdd100k::open(root, split, rules, &mut stop)
}

#[cfg(test)]
#[path = "bdd100k_tests.rs"]
mod tests;
