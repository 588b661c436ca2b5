//! NYUv2 as NDDR-CNN and MTL-NAS have it (systems.md 5.7): `list/training_seg.txt` and `list/training_normal_mask.txt`, each line a picture and
//! its label. Classes and normals are PNG; there is no depth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::listing::{Row, below, id_of, pairs};
use super::nyuv2_json::CLASSES_40;
use super::target::Target;
use super::{Form, read};
use crate::annotation::{Annotation, Image, NormalSpace};
use crate::data::image_file::read_image;
use crate::data::text_file::at_line;
use crate::error::{Code, Error, Result};

/// The form.
#[derive(Debug, Clone)]
pub struct Nyuv2Lists {
    /// Coding of the normals.
    pub space: NormalSpace,
    /// The targets wanted: the list of another one need not be there. Empty: both.
    pub wanted: Vec<Target>,
}

/// The list of a target.
pub fn list_file(root: &Path, split: &str, target: Target) -> PathBuf {
    let split = match split {
        "train" => "training",
        "val" | "test" => "testing",
        other => other,
    };
    let kind = match target {
        Target::Segmentation => "seg",
        _ => "normal_mask",
    };
    root.join("list").join(format!("{split}_{kind}.txt"))
}

/// Where the paths of the lists start: at the folder of the lists, or at the folder `nyu_train_val` in it.
fn base(root: &Path, picture: &str) -> PathBuf {
    let inner = root.join("nyu_train_val");
    match below(&inner, picture) {
        Ok(p) if p.is_file() => inner,
        _ => root.into(),
    }
}

impl Form for Nyuv2Lists {
    fn name(&self) -> &'static str {
        "nyuv2-lists"
    }
    fn targets(&self) -> &'static [Target] {
        &[Target::Segmentation, Target::Normals]
    }
    /// Both lists must name the same pictures; the order is that of the first.
    fn rows(&self, root: &Path, split: &str) -> Result<Vec<Row>> {
        let wanted = match self.wanted.as_slice() {
            [] => self.targets(),
            some => some,
        };
        let mut rows: Vec<Row> = vec![];
        for (k, &target) in wanted.iter().enumerate() {
            let path = list_file(root, split, target);
            let found = pairs(&path).map_err(|e| match e.code() {
                Code::NotFound => e.help(
                    "give the folder that holds `list`, with training_seg.txt, training_normal_mask.txt and the same of testing",
                ),
                _ => e,
            })?;
            let start = base(root, &found[0].1);
            let file = |line: usize, text: &str| {
                below(&start, text).map_err(|e| e.at(at_line(&path, line)))
            };
            if k == 0 {
                for (line, image, label) in &found {
                    let label = file(*line, label)?;
                    // One place for each target of the form.
                    let files = vec![file(*line, image)?, label.clone(), label];
                    rows.push(Row {
                        id: id_of(image),
                        place: at_line(&path, *line),
                        files,
                    });
                }
                continue;
            }
            let mut labels: BTreeMap<String, (usize, &str)> = BTreeMap::new();
            for (line, image, label) in &found {
                if let Some((first, _)) = labels.insert(id_of(image), (*line, label)) {
                    let text = format!("the picture {image:?} is already in line {first}");
                    return Err(Error::new(Code::BadLine, text)
                        .at(at_line(&path, *line))
                        .help("keep one of the two"));
                }
            }
            for row in &mut rows {
                let Some((line, label)) = labels.get(&row.id) else {
                    let text = format!("the picture {:?} is not in {}", row.id, path.display());
                    return Err(Error::new(Code::BadLine, text)
                        .at(&row.place)
                        .help("both lists must name the same pictures"));
                };
                row.files[column(target)] = file(*line, label)?;
                row.place += &format!(" and {}", at_line(&path, *line));
            }
            if labels.len() > rows.len() {
                let first = list_file(root, split, wanted[0]);
                let text = format!(
                    "{} pictures are not in {}",
                    labels.len() - rows.len(),
                    first.display()
                );
                return Err(Error::new(Code::BadLine, text)
                    .at(path.display())
                    .help("both lists must name the same pictures"));
            }
        }
        Ok(rows)
    }
    fn picture(&self, row: &Row) -> Result<Image> {
        read_image(&row.files[0])
    }
    fn file<'a>(&self, row: &'a Row, target: Target) -> &'a Path {
        &row.files[column(target)]
    }
    fn read(&self, row: &Row, target: Target) -> Result<Annotation> {
        let file = self.file(row, target);
        Ok(match target {
            Target::Segmentation => Annotation::Labels(read::labels_png(file, CLASSES_40.len())?),
            _ => Annotation::Values(read::normals_png(file, self.space)?),
        })
    }
}

fn column(target: Target) -> usize {
    match target {
        Target::Segmentation => 1,
        _ => 2,
    }
}
