//! KITTI object detection (systems.md 8.3): `training/image_2/ID.png` with `training/label_2/ID.txt`.

use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Kind, Sample};
use super::image_file::read_image;
pub use super::kitti_classes::KittiConfig;
use super::kitti_label::{clip_box, read_label};
use super::text_file::{at_line, first_existing, read_list, sorted_names};
use crate::annotation::Annotation;
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
    ids: Vec<String>,
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
        let ids: Vec<String> = if split == "all" {
            let names = sorted_names(&images)?;
            names
                .iter()
                .filter_map(|n| n.strip_suffix(".png"))
                .map(String::from)
                .collect()
        } else {
            read_list(&list_file(root, split)?)?
                .into_iter()
                .map(|e| e.id)
                .collect()
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
            config: config.clone(),
        })
    }

    /// The file of a picture, whether it exists or not.
    pub fn image_path(&self, index: usize) -> PathBuf {
        self.images.join(format!("{}.png", self.ids[index]))
    }

    /// The file of its labels, whether it exists or not.
    pub fn label_path(&self, index: usize) -> PathBuf {
        self.labels.join(format!("{}.txt", self.ids[index]))
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
        self.ids[index].clone()
    }
    fn place(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    /// A picture without objects is a valid sample. Boxes are clipped to the picture.
    fn load(&self, index: usize) -> Result<Sample> {
        let image = read_image(&self.image_path(index))?;
        let path = self.label_path(index);
        let mut objects = vec![];
        for (line, object) in read_label(&path)? {
            let Some(bbox) = clip_box(&object.bbox, image.height, image.width) else {
                let b = object.bbox;
                let what = format!(
                    "the box ({}, {}, {}, {}) is outside the picture",
                    b.x1, b.y1, b.x2, b.y2
                );
                return Err(Error::new(Code::BadBox, what)
                    .at(at_line(&path, line))
                    .help(format!(
                        "the picture has {} x {} pixels",
                        image.width, image.height
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
mod tests {
    use super::*;
    use crate::annotation::{BBox, Image};
    use crate::data::image_file::encode_png;
    use crate::data::kitti_label::TYPES;

    fn set(lines: &str) -> (tempfile::TempDir, Result<Sample>) {
        let dir = tempfile::tempdir().unwrap();
        for d in ["training/image_2", "training/label_2", "ImageSets"] {
            std::fs::create_dir_all(dir.path().join(d)).unwrap();
        }
        let image = Image {
            height: 20,
            width: 30,
            data: vec![9; 1800],
        };
        std::fs::write(
            dir.path().join("training/image_2/000007.png"),
            encode_png(&image).unwrap(),
        )
        .unwrap();
        std::fs::write(dir.path().join("training/label_2/000007.txt"), lines).unwrap();
        std::fs::write(dir.path().join("ImageSets/train.txt"), "000007\n").unwrap();
        let sample =
            Kitti::open(dir.path(), "train", &KittiConfig::default()).and_then(|k| k.load(0));
        (dir, sample)
    }

    #[test]
    fn types_become_objects_ignored_objects_or_nothing() {
        let rest = "0 0 0 1 2 8.5 40 1 1 1 1 1 1 0";
        let text: String = TYPES.iter().map(|t| format!("{t} {rest}\n")).collect();
        let (_dir, sample) = set(&text);
        let Annotation::Objects(objects) = sample.unwrap().annotation else {
            panic!("boxes expected")
        };
        let got: Vec<(usize, bool)> = objects.iter().map(|o| (o.class, o.ignore)).collect();
        let dont_care = [(0, true), (1, true), (2, true)];
        assert_eq!(
            got,
            [
                &[(0, false), (0, true), (1, false), (1, true), (2, false)][..],
                &dont_care
            ]
            .concat()
        );
        assert_eq!(
            objects[0].bbox,
            BBox {
                x1: 1.0,
                y1: 2.0,
                x2: 8.5,
                y2: 20.0
            },
            "clipped to the picture"
        );
    }

    #[test]
    fn bad_lines_are_named() {
        for (line, code, word) in [
            ("Car 0 0 0 1 2 3 4 1 1 1 1 1 1", Code::BadLine, "found 14"),
            (
                "car 0 0 0 1 2 3 4 1 1 1 1 1 1 0",
                Code::BadLine,
                "did you mean \"Car\"",
            ),
            (
                "Car 0 0 0 1 2 x 4 1 1 1 1 1 1 0",
                Code::BadLine,
                "`right` is not a number",
            ),
            (
                "Car 0 0 0 NaN 2 3 4 1 1 1 1 1 1 0",
                Code::BadBox,
                "not finite",
            ),
            ("Car 0 0 0 3 2 1 4 1 1 1 1 1 1 0", Code::BadBox, "inverted"),
            ("Car 0 0 0 3 2 3 4 1 1 1 1 1 1 0", Code::BadBox, "empty"),
            (
                "Car 0 0 0 31 2 33 4 1 1 1 1 1 1 0",
                Code::BadBox,
                "outside the picture",
            ),
            (
                "Car 0 0 inf 1 2 3 4 1 1 1 1 1 1 0",
                Code::BadLine,
                "not finite",
            ),
        ] {
            let (_dir, sample) = set(&format!("Car 0 0 0 1 2 8 9 1 1 1 1 1 1 0\n{line}\n"));
            let e = sample.unwrap_err();
            assert_eq!(e.code(), code, "{e}");
            assert!(
                e.to_string().contains(word) && e.place().unwrap().ends_with("000007.txt:2"),
                "{e}"
            );
        }
    }

    #[test]
    fn classes_are_configurable_and_checked() {
        let (dir, _) = set("Truck 0 0 0 1 2 8 9 1 1 1 1 1 1 0\n");
        let mut config = KittiConfig {
            merge: [("Truck".into(), "car".into())].into(),
            ..Default::default()
        };
        let sample = Kitti::open(dir.path(), "train", &config)
            .unwrap()
            .load(0)
            .unwrap();
        assert!(
            matches!(&sample.annotation, Annotation::Objects(o) if o.len() == 1 && o[0].class == 0)
        );
        config.classes.push("cyclits".into());
        let e = Kitti::open(dir.path(), "train", &config).unwrap_err();
        assert!(
            e.code() == Code::ConfigValue && e.to_string().contains("\"cyclist\""),
            "{e}"
        );
    }

    #[test]
    fn missing_things_are_named() {
        let (dir, _) = set("");
        let k = |split: &str| Kitti::open(dir.path(), split, &KittiConfig::default());
        assert_eq!(k("all").unwrap().len(), 1);
        assert_eq!(k("test").unwrap_err().code(), Code::NotFound);
        std::fs::remove_file(dir.path().join("training/label_2/000007.txt")).unwrap();
        let e = k("train").unwrap().load(0).unwrap_err();
        assert!(
            e.code() == Code::NotFound && e.to_string().contains("000007.txt"),
            "{e}"
        );
        assert_eq!(
            Kitti::open(&dir.path().join("x"), "all", &KittiConfig::default())
                .unwrap_err()
                .code(),
            Code::NotFound
        );
    }
}
