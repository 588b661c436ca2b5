//! Cityscapes for several tasks, as MTAN and AutoMTL have it (systems.md 8.10): `SPLIT/{image,depth,label_2,label_7,label_19}/N.npy`, 128 x 256 or
//! 256 x 512, or `cityscape.json` with lists of these files. What they call depth is a disparity, normalised: the nearer, the larger.

use std::path::Path;

use super::listing::Row;
use super::rows::{json_rows, npy_rows};
use super::target::Target;
use super::{Form, read};
use crate::annotation::{Annotation, Image};
use crate::data::class_map::CITYSCAPES_19;
use crate::error::Result;

/// The listing of AutoMTL, in the folder of the data set.
pub const LISTING: &str = "cityscape.json";
/// The folders, in the order of the listing.
const FOLDERS: [&str; 5] = ["image", "depth", "label_2", "label_7", "label_19"];

/// The lists of classes, the usual one first.
pub const LISTS: [(&str, &[&str]); 3] = [
    ("cityscapes-19", &CITYSCAPES_19),
    (
        "cityscapes-7",
        &[
            "flat",
            "construction",
            "object",
            "nature",
            "sky",
            "human",
            "vehicle",
        ],
    ),
    ("cityscapes-2", &["background", "foreground"]),
];

/// The list of classes whose labels are there, of all if none is: the largest one.
pub fn lists_of(root: &Path) -> Vec<String> {
    let there = |folder: &str| root.join("train").join(folder).is_dir();
    let found = ["label_19", "label_7", "label_2"]
        .iter()
        .position(|f| there(f));
    found.map_or(vec![], |i| vec![LISTS[i].0.to_string()])
}

/// The form.
#[derive(Debug, Clone, Copy)]
pub struct CityscapesNpy {
    /// Number of classes: 2, 7 or 19.
    pub classes: usize,
}

impl Form for CityscapesNpy {
    fn name(&self) -> &'static str {
        "cityscapes-npy"
    }
    fn targets(&self) -> &'static [Target] {
        &[Target::Segmentation, Target::Depth]
    }
    /// A split is a folder; where there is none of the name, a key of the listing (`train1`, `train2`, `test`).
    fn rows(&self, root: &Path, split: &str) -> Result<Vec<Row>> {
        let listing = root.join(LISTING);
        if !root.join(split).join(FOLDERS[0]).is_dir() && listing.is_file() {
            return json_rows(&listing, &[split], FOLDERS.len(), root, root);
        }
        npy_rows(root, split, &FOLDERS)
    }
    fn picture(&self, row: &Row) -> Result<Image> {
        read::picture_npy(&row.files[0])
    }
    fn file<'a>(&self, row: &'a Row, target: Target) -> &'a Path {
        match (target, self.classes) {
            (Target::Segmentation, 2) => &row.files[2],
            (Target::Segmentation, 7) => &row.files[3],
            (Target::Segmentation, _) => &row.files[4],
            _ => &row.files[1],
        }
    }
    fn read(&self, row: &Row, target: Target) -> Result<Annotation> {
        let file = self.file(row, target);
        Ok(match target {
            Target::Segmentation => Annotation::Labels(read::labels_npy(file, self.classes)?),
            _ => Annotation::Values(read::depth_npy(file)?),
        })
    }
}
