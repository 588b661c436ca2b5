//! Cityscapes semantic segmentation (systems.md 8.4):
//! `leftImg8bit/SPLIT/CITY/ID_leftImg8bit.png` with `gtFine/SPLIT/CITY/ID_gtFine_labelIds.png`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::class_map::{ClassMap, Coding};
use super::dataset::{Dataset, Kind, Sample};
use super::image_file::{read_image, read_labels};
use super::text_file::sorted_names;
use crate::annotation::{Annotation, LabelMap};
use crate::error::{Code, Error, Result};

/// End of the name of a picture.
pub const IMAGE_SUFFIX: &str = "_leftImg8bit.png";

/// Which classes, coded how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CityscapesConfig {
    /// `["cityscapes-19"]`, `["mixed-16"]`, or a list of class names; classes not named are ignored.
    pub classes: Vec<String>,
    /// Which label files to read.
    pub labels: Coding,
}

impl Default for CityscapesConfig {
    fn default() -> Self {
        CityscapesConfig {
            classes: vec!["cityscapes-19".into()],
            labels: Coding::LabelIds,
        }
    }
}

/// End of the name of a label file.
pub fn label_suffix(coding: Coding) -> &'static str {
    match coding {
        Coding::LabelIds => "_gtFine_labelIds.png",
        Coding::TrainIds => "_gtFine_labelTrainIds.png",
    }
}

/// A split of a Cityscapes data set.
#[derive(Debug, Clone)]
pub struct Cityscapes {
    name: String,
    root: PathBuf,
    split: String,
    /// (city, id)
    frames: Vec<(String, String)>,
    map: ClassMap,
    coding: Coding,
}

impl Cityscapes {
    /// Lists the pictures of a split (`train`, `val`, `test`): cities, then names, in alphabetical order.
    ///
    /// # Errors
    /// `NotFound` for a missing folder, `EmptyData` without pictures, `ConfigValue` for unknown classes.
    pub fn open(root: &Path, split: &str, config: &CityscapesConfig) -> Result<Cityscapes> {
        let map = ClassMap::new(&config.classes, config.labels)?;
        let base = root.join("leftImg8bit").join(split);
        if !base.is_dir() {
            return Err(Error::new(
                Code::NotFound,
                format!("no such folder: {}", base.display()),
            )
            .at(base.display())
            .help("give the folder that holds `leftImg8bit` and `gtFine`"));
        }
        let mut frames = vec![];
        for city in sorted_names(&base)? {
            if base.join(&city).is_dir() {
                for name in sorted_names(&base.join(&city))? {
                    frames.extend(
                        name.strip_suffix(IMAGE_SUFFIX)
                            .map(|id| (city.clone(), id.to_string())),
                    );
                }
            }
        }
        if frames.is_empty() {
            return Err(Error::new(
                Code::EmptyData,
                format!("no pictures named *{IMAGE_SUFFIX}"),
            )
            .at(base.display())
            .help("the pictures lie in one folder for each city"));
        }
        let name = format!("cityscapes/{split}");
        Ok(Cityscapes {
            name,
            root: root.into(),
            split: split.into(),
            frames,
            map,
            coding: config.labels,
        })
    }

    /// The file of a picture.
    pub fn image_path(&self, index: usize) -> PathBuf {
        let (city, id) = &self.frames[index];
        self.root
            .join("leftImg8bit")
            .join(&self.split)
            .join(city)
            .join(format!("{id}{IMAGE_SUFFIX}"))
    }

    /// The file of its labels, whether it exists or not.
    pub fn label_path(&self, index: usize) -> PathBuf {
        let (city, id) = &self.frames[index];
        self.root
            .join("gtFine")
            .join(&self.split)
            .join(city)
            .join(format!("{id}{}", label_suffix(self.coding)))
    }
}

/// Replaces file values by classes.
///
/// # Errors
/// `BadLabelId` at the first pixel whose value the map does not have.
pub fn map_labels(path: &Path, mut labels: LabelMap, map: &ClassMap) -> Result<LabelMap> {
    for i in 0..labels.data.len() {
        let id = labels.data[i];
        let Some(class) = map.get(id) else {
            let (x, y) = (i % labels.width, i / labels.width);
            return Err(Error::new(
                Code::BadLabelId,
                format!("label id {id} is outside the class map"),
            )
            .at(format!("{}, pixel ({x}, {y})", path.display()))
            .help("correct the pixel: label ids are 0 to 33 (train ids, with `labels = \"train-ids\"`, 0 to 18) and 255"));
        };
        labels.data[i] = class;
    }
    Ok(labels)
}

impl Dataset for Cityscapes {
    fn name(&self) -> &str {
        &self.name
    }
    fn kind(&self) -> Kind {
        Kind::Segmentation
    }
    fn classes(&self) -> &[String] {
        self.map.names()
    }
    fn len(&self) -> usize {
        self.frames.len()
    }
    fn id(&self, index: usize) -> String {
        self.frames[index].1.clone()
    }
    fn place(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    fn load(&self, index: usize) -> Result<Sample> {
        let path = self.image_path(index);
        let image = read_image(&path)?;
        let label_path = self.label_path(index);
        let labels = read_labels(&label_path).map_err(|e| match e.code() {
            Code::NotFound => e.note(format!("it belongs to {}", path.display())).help(
                "add the label map, or take the picture away; `labels` says how label files are named",
            ),
            _ => e,
        })?;
        if (labels.height, labels.width) != (image.height, image.width) {
            let sizes = format!(
                "{} x {}, its picture {} x {}",
                labels.width, labels.height, image.width, image.height
            );
            return Err(
                Error::new(Code::SizeMismatch, format!("the label map is {sizes}"))
                    .at(label_path.display())
                    .help(format!(
                        "label and picture {} must have the same size",
                        path.display()
                    )),
            );
        }
        let labels = map_labels(&label_path, labels, &self.map)?;
        Ok(Sample {
            id: self.id(index),
            image,
            annotation: Annotation::Labels(labels),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::{IGNORE, Image};
    use crate::data::image_file::{encode_labels, encode_png};

    fn set(labels: LabelMap) -> (tempfile::TempDir, Cityscapes) {
        let dir = tempfile::tempdir().unwrap();
        for d in ["leftImg8bit/train/ulm", "gtFine/train/ulm"] {
            std::fs::create_dir_all(dir.path().join(d)).unwrap();
        }
        let image = Image {
            height: 2,
            width: 3,
            data: vec![1; 18],
        };
        let id = "ulm_000001_000019";
        let base = dir.path();
        std::fs::write(
            base.join(format!("leftImg8bit/train/ulm/{id}{IMAGE_SUFFIX}")),
            encode_png(&image).unwrap(),
        )
        .unwrap();
        let label = base.join(format!("gtFine/train/ulm/{id}_gtFine_labelIds.png"));
        std::fs::write(label, encode_labels(&labels).unwrap()).unwrap();
        let c = Cityscapes::open(base, "train", &CityscapesConfig::default()).unwrap();
        (dir, c)
    }

    #[test]
    fn ids_become_classes() {
        let (_dir, c) = set(LabelMap {
            height: 2,
            width: 3,
            data: vec![7, 8, 26, 0, 33, 255],
        });
        let s = c.load(0).unwrap();
        assert_eq!(s.id, "ulm_000001_000019");
        let expect = LabelMap {
            height: 2,
            width: 3,
            data: vec![0, 1, 13, IGNORE, 18, IGNORE],
        };
        assert_eq!(s.annotation, Annotation::Labels(expect));
        assert_eq!(c.classes().len(), 19);
    }

    #[test]
    fn defects_are_named() {
        let (_dir, c) = set(LabelMap {
            height: 2,
            width: 3,
            data: vec![7, 8, 26, 0, 34, 7],
        });
        let e = c.load(0).unwrap_err();
        assert!(
            e.code() == Code::BadLabelId && e.to_string().contains("labelIds.png, pixel (1, 1)"),
            "{e}"
        );
        let (_dir, c) = set(LabelMap {
            height: 3,
            width: 3,
            data: vec![7; 9],
        });
        assert_eq!(c.load(0).unwrap_err().code(), Code::SizeMismatch);
        std::fs::remove_file(c.label_path(0)).unwrap();
        assert_eq!(c.load(0).unwrap_err().code(), Code::NotFound);
        let open = |split: &str| Cityscapes::open(_dir.path(), split, &CityscapesConfig::default());
        assert_eq!(open("val").unwrap_err().code(), Code::NotFound);
        std::fs::remove_file(c.image_path(0)).unwrap();
        assert_eq!(open("train").unwrap_err().code(), Code::EmptyData);
    }
}
