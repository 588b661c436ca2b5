//! The layout that the released MTNAS code reads (systems.md 4.5): `SPLIT/SPLIT.txt` with ids, `SPLIT/images/ID.jpg`, and
//! `SPLIT/detection/ID.txt` (lines `image class x1 y1 x2 y2`) or `SPLIT/seg/ID.png`. The level `SPLIT` may be missing.

use std::path::{Path, PathBuf};

use super::box_set::{self, BoxSet, Fault, RawBox};
use super::class_map::{ClassMap, MIXED_16};
use super::class_rules::{ClassRules, ClassTable, Vocabulary};
use super::dataset::{Dataset, Kind, Sample};
use super::mask_set::{self, MaskSet};
use super::text_boxes;
use super::text_file::{ListEntry, at_line, read_list};
use crate::error::{Code, Error, Result};

/// Types of BDD100K and Waymo as converters write them, and what they count as in the mixed set (8.8): motorcycles and
/// bicycles are dropped, their riders are persons.
pub const VOCABULARY: Vocabulary = Vocabulary {
    format: "the MTNAS layout",
    types: &[
        "car",
        "vehicle",
        "truck",
        "bus",
        "person",
        "pedestrian",
        "rider",
        "cyclist",
        "sign",
        "traffic sign",
        "traffic light",
        "train",
        "motor",
        "bike",
        "motorcycle",
        "bicycle",
        "unknown",
    ],
    aliases: &[
        ("Vehicle", "vehicle"),
        ("Person", "person"),
        ("Sign", "sign"),
    ],
    classes: &["car", "sign", "person"],
    merge: &[
        ("vehicle", "car"),
        ("truck", "car"),
        ("bus", "car"),
        ("pedestrian", "person"),
        ("rider", "person"),
        ("cyclist", "person"),
        ("traffic sign", "sign"),
        ("traffic light", "sign"),
    ],
    ignore: &[],
    open: true,
};

/// A split of the layout: its folder, its list, its ids.
struct Part {
    name: String,
    base: PathBuf,
    list: PathBuf,
    ids: Vec<ListEntry>,
}

impl Part {
    fn open(root: &Path, split: &str) -> Result<Part> {
        let file = format!("{split}.txt");
        let places = [root.join(split).join(&file), root.join(&file)];
        let Some(list) = places.iter().find(|p| p.is_file()).cloned() else {
            let text = format!("no list of the split {split:?}");
            return Err(Error::new(Code::NotFound, text)
                .at(places[0].display())
                .help("write one id a line there, without folder and extension"));
        };
        let mut ids = read_list(&list)?;
        // Some lists have file names.
        ids.iter_mut()
            .for_each(|e| e.id = super::bdd_json::stem(&e.id).into());
        Ok(Part {
            name: format!("mtnas/{split}"),
            base: list.parent().unwrap_or(root).into(),
            list,
            ids,
        })
    }

    fn image_path(&self, index: usize) -> PathBuf {
        self.base.join(format!("images/{}.jpg", self.ids[index].id))
    }

    fn named_at(&self, index: usize) -> String {
        at_line(&self.list, self.ids[index].line)
    }
}

/// A split with boxes.
pub struct MtnasBoxes {
    part: Part,
    table: ClassTable,
}

impl MtnasBoxes {
    /// Reads the list of a split.
    ///
    /// # Errors
    /// `NotFound` for a missing list, `BadLine` and `EmptyData` in it, `ConfigValue` for unknown classes.
    pub fn open(root: &Path, split: &str, rules: &ClassRules) -> Result<MtnasBoxes> {
        Ok(MtnasBoxes {
            table: ClassTable::new(rules, &VOCABULARY)?,
            part: Part::open(root, split)?,
        })
    }
}

impl Dataset for MtnasBoxes {
    fn name(&self) -> &str {
        &self.part.name
    }
    fn kind(&self) -> Kind {
        Kind::Detection
    }
    fn classes(&self) -> &[String] {
        self.table.names()
    }
    fn len(&self) -> usize {
        self.part.ids.len()
    }
    fn id(&self, index: usize) -> String {
        self.part.ids[index].id.clone()
    }
    fn place(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    fn load(&self, index: usize) -> Result<Sample> {
        box_set::load(self, index)
    }
}

impl BoxSet for MtnasBoxes {
    fn table(&self) -> &ClassTable {
        &self.table
    }
    fn image_path(&self, index: usize) -> PathBuf {
        self.part.image_path(index)
    }
    fn label_path(&self, index: usize) -> PathBuf {
        let id = &self.part.ids[index].id;
        self.part.base.join(format!("detection/{id}.txt"))
    }
    fn named_at(&self, index: usize) -> String {
        self.part.named_at(index)
    }
    fn boxes(&self, index: usize, fault: &mut Fault) -> Result<Vec<RawBox>> {
        let path = self.label_path(index);
        let id = &self.part.ids[index].id;
        let read = text_boxes::read(&path, Some(id), &self.table, fault);
        read.map_err(|e| missing_label(e, &self.named_at(index)))
    }
}

/// Says who asked for a label file that is not there.
pub(super) fn missing_label(e: Error, named_at: &str) -> Error {
    match e.code() {
        Code::NotFound => e
            .note(format!("it is named in {named_at}"))
            .help("add the label: an empty file for a picture without objects"),
        _ => e,
    }
}

/// A split with label maps.
pub struct MtnasMasks {
    part: Part,
    map: ClassMap,
    values: String,
}

impl MtnasMasks {
    /// Reads the list of a split. `classes`: the 16 of the mixed set if empty or `["mixed-16"]`, or some of them.
    ///
    /// # Errors
    /// As [`MtnasBoxes::open`].
    pub fn open(root: &Path, split: &str, classes: &[String]) -> Result<MtnasMasks> {
        Ok(MtnasMasks {
            map: class_map(classes)?,
            part: Part::open(root, split)?,
            values: "values are 0 to 15 and 255".into(),
        })
    }
}

/// The classes of the label maps.
///
/// # Errors
/// `ConfigValue` for a class that is not one of the sixteen.
pub fn class_map(classes: &[String]) -> Result<ClassMap> {
    let all = MIXED_16.map(String::from);
    let own = if classes == ["mixed-16"] {
        &[]
    } else {
        classes
    };
    ClassMap::of_indices("the MTNAS layout", &all, own)
}

impl Dataset for MtnasMasks {
    fn name(&self) -> &str {
        &self.part.name
    }
    fn kind(&self) -> Kind {
        Kind::Segmentation
    }
    fn classes(&self) -> &[String] {
        self.map.names()
    }
    fn len(&self) -> usize {
        self.part.ids.len()
    }
    fn id(&self, index: usize) -> String {
        self.part.ids[index].id.clone()
    }
    fn place(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    fn load(&self, index: usize) -> Result<Sample> {
        mask_set::load(self, index)
    }
}

impl MaskSet for MtnasMasks {
    fn map(&self) -> &ClassMap {
        &self.map
    }
    fn image_path(&self, index: usize) -> PathBuf {
        self.part.image_path(index)
    }
    fn label_path(&self, index: usize) -> PathBuf {
        let id = &self.part.ids[index].id;
        self.part.base.join(format!("seg/{id}.png"))
    }
    fn named_at(&self, index: usize) -> String {
        self.part.named_at(index)
    }
    fn values(&self) -> &str {
        &self.values
    }
}
