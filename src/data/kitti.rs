//! KITTI object detection (systems.md 8.3): `training/image_2/ID.png` with `training/label_2/ID.txt`.

use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Kind, Sample};
use super::image_file::read_image;
pub use super::kitti_classes::KittiConfig;
use super::kitti_label::{clip_box, read_label};
use super::text_file::{at_line, first_existing, read_list, sorted_names};
use crate::annotation::{Annotation, KittiTruth};
use crate::error::{Code, Error, Result};

/// Folders of a KITTI data set; `root` may be the data set, or its `training` folder.
pub fn folders(root: &Path) -> Result<(PathBuf, PathBuf)> {
    let base =
        first_existing([root.join("training/image_2"), root.join("image_2")]).ok_or_else(|| {
            Error::new(
                Code::NotFound,
                format!(
                    "no KITTI data set: neither training/image_2 nor image_2 is in {}",
                    root.display()
                ),
            )
            .at(root.display())
            .help("give the folder that holds `training/image_2` and `training/label_2`")
        })?;
    let labels = base.with_file_name("label_2");
    Ok((base, labels))
}

/// The list file of a split: a path, or a name looked up as `ImageSets/NAME.txt` and `NAME.txt` under `root`.
///
/// # Errors
/// `NotFound` with the places looked at.
pub fn list_file(root: &Path, split: &str) -> Result<PathBuf> {
    let places = [
        root.join(format!("ImageSets/{split}.txt")),
        root.join(format!("{split}.txt")),
        root.join(split),
        split.into(),
    ];
    places.iter().find(|p| p.is_file()).cloned().ok_or_else(|| {
        Error::new(Code::NotFound, format!("no list of the split {split:?}"))
            .at(places[0].display())
            .help("write one id a line there, or use the split `all` for every picture")
    })
}

/// A split of a KITTI data set.
#[derive(Debug, Clone)]
pub struct Kitti {
    name: String,
    images: PathBuf,
    labels: PathBuf,
    /// Ids, each with the line of the list that names it; line 0 without a list.
    ids: Vec<(String, usize)>,
    list: Option<PathBuf>,
    config: KittiConfig,
}

impl Kitti {
    /// Opens the ids of `split` (a list file or its name; `all` for every PNG of `image_2`).
    ///
    /// # Errors
    /// `NotFound` for a missing folder or list; `BadLine` in the list; `EmptyData`; `ConfigValue`.
    pub fn open(root: &Path, split: &str, config: &KittiConfig) -> Result<Kitti> {
        config.check()?;
        let (images, labels) = folders(root)?;
        let list = match split {
            "all" => None,
            name => Some(list_file(root, name)?),
        };
        let ids: Vec<(String, usize)> = match &list {
            None => sorted_names(&images)?
                .iter()
                .filter_map(|n| Some((n.strip_suffix(".png")?.to_string(), 0)))
                .collect(),
            Some(list) => read_list(list)?
                .into_iter()
                .map(|e| (e.id, e.line))
                .collect(),
        };
        if ids.is_empty() {
            return Err(Error::new(Code::EmptyData, "no pictures")
                .at(images.display())
                .help("put PNG files there"));
        }
        let stem = Path::new(split)
            .file_stem()
            .map_or(split.into(), |s| s.to_string_lossy());
        Ok(Kitti {
            name: format!("kitti/{stem}"),
            images,
            labels,
            ids,
            list,
            config: config.clone(),
        })
    }

    /// The file of a picture, whether it exists or not.
    pub fn image_path(&self, index: usize) -> PathBuf {
        self.images.join(format!("{}.png", self.ids[index].0))
    }

    /// The file of its labels, whether it exists or not.
    pub fn label_path(&self, index: usize) -> PathBuf {
        self.labels.join(format!("{}.txt", self.ids[index].0))
    }
}

impl Dataset for Kitti {
    fn name(&self) -> &str {
        &self.name
    }
    fn kind(&self) -> Kind {
        Kind::Detection
    }
    fn classes(&self) -> &[String] {
        &self.config.classes
    }
    fn len(&self) -> usize {
        self.ids.len()
    }
    fn id(&self, index: usize) -> String {
        self.ids[index].0.clone()
    }
    fn place(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    fn kitti_truth(&self, index: usize) -> Result<Option<Vec<KittiTruth>>> {
        let mut truth = vec![];
        for (_, object) in read_label(&self.label_path(index))? {
            self.config.truth(&object, &mut truth);
        }
        Ok(Some(truth))
    }
    /// A picture without objects is a valid sample. Boxes are clipped to the picture.
    fn load(&self, index: usize) -> Result<Sample> {
        let picture = self.image_path(index);
        let path = self.label_path(index);
        let absent = |file: &Path, help: &str, e: Error| match (&self.list, file.exists()) {
            (_, true) => e,
            (None, _) => e.help(help),
            (Some(list), _) => {
                let place = at_line(list, self.ids[index].1);
                e.note(format!("the id is named in {place}")).help(help)
            }
        };
        let image = read_image(&picture).map_err(|e| {
            absent(
                &picture,
                "add the picture, or take the id out of the list",
                e,
            )
        })?;
        let lines = read_label(&path).map_err(|e| {
            let help = "add the label: an empty file for a picture without objects";
            absent(&path, help, e)
        })?;
        let mut objects = vec![];
        for (line, object) in lines {
            let Some(bbox) = clip_box(&object.bbox, image.height, image.width) else {
                let b = object.bbox;
                let what = format!(
                    "the box ({}, {}, {}, {}) is outside the picture",
                    b.x1, b.y1, b.x2, b.y2
                );
                return Err(Error::new(Code::BadBox, what)
                    .at(at_line(&path, line))
                    .help(format!(
                        "the picture {} has {} x {} pixels: correct the box or remove the line",
                        picture.display(),
                        image.width,
                        image.height
                    )));
            };
            self.config.objects(object.kind, bbox, &mut objects);
        }
        Ok(Sample {
            id: self.id(index),
            image,
            annotation: Annotation::Objects(objects),
        })
    }
}

#[cfg(test)]
#[path = "kitti_tests.rs"]
mod tests;
