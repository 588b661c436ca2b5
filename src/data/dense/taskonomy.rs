//! Tiny-Taskonomy as AutoMTL has it (systems.md 8.11): `taskonomy.json` lists picture, classes, normals, depth, keypoints and edges of each
//! sample; the files lie in a folder for each building and task, `point_P_view_V_domain_TASK.png`.

use std::path::Path;

use super::listing::Row;
use super::rows::json_rows;
use super::target::Target;
use super::{Form, read};
use crate::annotation::{Annotation, Image, NormalSpace, Quantity};
use crate::data::image_file::read_image;
use crate::error::Result;

/// The listing, in the folder of the data set.
pub const LISTING: &str = "taskonomy.json";

/// The classes: the background and the 16 kinds of objects, in the order of their ids less 1.
pub const CLASSES_17: [&str; 17] = [
    "background",
    "bottle",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
];

/// Keypoints and edges are clipped here, as shares of 65536.
const KEYPOINT_TOP: f32 = 0.005;
const EDGE_TOP: f32 = 0.08;

/// The form.
#[derive(Debug, Clone, Copy)]
pub struct Taskonomy {
    /// Coding of the normals.
    pub space: NormalSpace,
    /// Whether pixels of uncertain class are ignored.
    pub ignore_uncertain: bool,
}

impl Form for Taskonomy {
    fn name(&self) -> &'static str {
        "taskonomy"
    }
    fn targets(&self) -> &'static [Target] {
        &[
            Target::Segmentation,
            Target::Normals,
            Target::Depth,
            Target::Keypoints,
            Target::Edges,
        ]
    }
    /// Paths start at the folder of the data set or, as AutoMTL's do, at the folder of the split in it.
    fn rows(&self, root: &Path, split: &str) -> Result<Vec<Row>> {
        let (names, folder): (&[&str], &str) = match split {
            "val" => (&["val", "test"], "val"),
            "test" | "test_small" => (&[split], "test"),
            // AutoMTL's parts of the training split.
            "train1" | "train2" => (&[split], "train"),
            other => (&[other], other),
        };
        let inner = root.join(folder);
        let inner = if inner.is_dir() {
            inner
        } else {
            root.join("test")
        };
        json_rows(&root.join(LISTING), names, 6, root, &inner)
    }
    fn picture(&self, row: &Row) -> Result<Image> {
        read_image(&row.files[0])
    }
    fn file<'a>(&self, row: &'a Row, target: Target) -> &'a Path {
        match target {
            Target::Segmentation => &row.files[1],
            Target::Normals => &row.files[2],
            Target::Depth => &row.files[3],
            Target::Keypoints => &row.files[4],
            Target::Edges => &row.files[5],
        }
    }
    fn read(&self, row: &Row, target: Target) -> Result<Annotation> {
        let file = self.file(row, target);
        let values = match target {
            Target::Segmentation => {
                let n = CLASSES_17.len();
                return read::labels_taskonomy(file, n, self.ignore_uncertain)
                    .map(Annotation::Labels);
            }
            Target::Normals => read::normals_taskonomy(file, &row.files[3], self.space)?,
            Target::Depth => read::depth_taskonomy(file)?,
            Target::Keypoints => read::strength_png(file, Quantity::Keypoints, KEYPOINT_TOP)?,
            Target::Edges => read::strength_png(file, Quantity::Edges, EDGE_TOP)?,
        };
        Ok(Annotation::Values(values))
    }
}
