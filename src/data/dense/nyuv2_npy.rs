//! NYUv2 as MTAN has it (systems.md 8.9): `SPLIT/{image,label,depth,normal}/N.npy`, 288 x 384, 13 classes.

use std::path::Path;

use super::listing::Row;
use super::rows::npy_rows;
use super::target::Target;
use super::{Form, read};
use crate::annotation::{Annotation, Image, NormalSpace};
use crate::error::Result;

/// The 13 classes, in the order of their ids.
pub const CLASSES_13: [&str; 13] = [
    "bed",
    "books",
    "ceiling",
    "chair",
    "floor",
    "furniture",
    "objects",
    "picture",
    "sofa",
    "table",
    "tv",
    "wall",
    "window",
];

/// The form.
#[derive(Debug, Clone, Copy)]
pub struct Nyuv2Npy {
    /// Coding of the normals.
    pub space: NormalSpace,
}

impl Form for Nyuv2Npy {
    fn name(&self) -> &'static str {
        "nyuv2-npy"
    }
    fn targets(&self) -> &'static [Target] {
        &[Target::Segmentation, Target::Normals, Target::Depth]
    }
    fn rows(&self, root: &Path, split: &str) -> Result<Vec<Row>> {
        npy_rows(root, split, &["image", "label", "normal", "depth"])
    }
    fn picture(&self, row: &Row) -> Result<Image> {
        read::picture_npy(&row.files[0])
    }
    fn file<'a>(&self, row: &'a Row, target: Target) -> &'a Path {
        match target {
            Target::Segmentation => &row.files[1],
            Target::Normals => &row.files[2],
            _ => &row.files[3],
        }
    }
    fn read(&self, row: &Row, target: Target) -> Result<Annotation> {
        let file = self.file(row, target);
        Ok(match target {
            Target::Segmentation => Annotation::Labels(read::labels_npy(file, CLASSES_13.len())?),
            Target::Normals => Annotation::Values(read::normals_npy(file, self.space)?),
            _ => Annotation::Values(read::depth_npy(file)?),
        })
    }
}
