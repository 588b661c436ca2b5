//! NYUv2 as AdaShare and AutoMTL have it (systems.md 8.9): `nyu_v2_3task.json` lists picture, classes, normals and depth of each sample;
//! PNG but for the depth, which is an array in metres.
//!
//! AutoMTL counts a normal as unknown when its largest channel is 255; here, as in MTL-NAS, all three must be. The difference is a few
//! pixels that face an axis.

use std::path::Path;

use super::listing::Row;
use super::rows::json_rows;
use super::target::Target;
use super::{Form, read};
use crate::annotation::{Annotation, Image, NormalSpace};
use crate::data::image_file::read_image;
use crate::error::Result;

/// The listing, in the folder of the data set.
pub const LISTING: &str = "nyu_v2_3task.json";

/// The 40 classes, in the order of their ids.
pub const CLASSES_40: [&str; 40] = [
    "wall",
    "floor",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "door",
    "window",
    "bookshelf",
    "picture",
    "counter",
    "blinds",
    "desk",
    "shelves",
    "curtain",
    "dresser",
    "pillow",
    "mirror",
    "floor mat",
    "clothes",
    "ceiling",
    "books",
    "refrigerator",
    "television",
    "paper",
    "towel",
    "shower curtain",
    "box",
    "whiteboard",
    "person",
    "night stand",
    "toilet",
    "sink",
    "lamp",
    "bathtub",
    "bag",
    "other structure",
    "other furniture",
    "other prop",
];

/// The form.
#[derive(Debug, Clone, Copy)]
pub struct Nyuv2Json {
    /// Coding of the normals.
    pub space: NormalSpace,
}

impl Form for Nyuv2Json {
    fn name(&self) -> &'static str {
        "nyuv2-json"
    }
    fn targets(&self) -> &'static [Target] {
        &[Target::Segmentation, Target::Normals, Target::Depth]
    }
    /// `train1` and `train2` are AutoMTL's parts of `train` for network and policy; the held-out split is called `test` or `val`.
    fn rows(&self, root: &Path, split: &str) -> Result<Vec<Row>> {
        let names: &[&str] = match split {
            "val" => &["val", "test"],
            "test" => &["test", "val"],
            other => &[other],
        };
        json_rows(&root.join(LISTING), names, 4, root, root)
    }
    fn picture(&self, row: &Row) -> Result<Image> {
        read_image(&row.files[0])
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
            Target::Segmentation => Annotation::Labels(read::labels_png(file, CLASSES_40.len())?),
            Target::Normals => Annotation::Values(read::normals_png(file, self.space)?),
            _ => Annotation::Values(read::depth_npy(file)?),
        })
    }
}
