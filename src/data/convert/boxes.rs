//! Boxes of any data set as pictures with named boxes.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::annotation::{Annotation, BBox};
use crate::data::dataset::{Dataset, DatasetConfig, Format, Kind};
use crate::data::image_file::read_size;
use crate::data::kitti::Kitti;
use crate::data::kitti_label::{KittiObject, read_label};
use crate::data::text_file::id_defect;
use crate::error::{Code, Error, Result};

/// One split.
pub struct Split {
    /// `train`, `val` or `all`.
    pub name: String,
    /// In the order of the split.
    pub pictures: Vec<Picture>,
}

/// A picture and its boxes.
pub struct Picture {
    /// File name without ending, unique in the set.
    pub id: String,
    /// Its file.
    pub file: PathBuf,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// All of them, also those that metrics leave aside.
    pub boxes: Vec<Named>,
}

/// A box with the name of its class.
pub struct Named {
    /// Class, or object type where the format has more of them than classes.
    pub class: String,
    /// Pixels of the picture, half open, as the source says.
    pub bbox: BBox,
    /// Not counted by metrics: VOC `difficult`, COCO crowd, KITTI `DontCare`.
    pub ignore: bool,
    /// The label line, where the source is KITTI.
    pub kitti: Option<KittiObject>,
}

/// Both splits of a data set of boxes; the split `all` of a KITTI folder without lists.
///
/// # Errors
/// Those of the data set; `Usage` where it has no boxes.
pub fn read(config: &DatasetConfig) -> Result<Vec<Split>> {
    if config.format == Format::Kitti {
        return kitti(config);
    }
    let mut splits: Vec<Split> = vec![];
    for name in [&config.train, &config.val] {
        let set = match config.open(name) {
            // A set may have one of them only.
            Err(e)
                if matches!(e.code(), Code::NotFound | Code::EmptyData)
                    && name == &config.val
                    && !splits.is_empty() =>
            {
                continue;
            }
            other => other?,
        };
        if set.kind() != Kind::Detection {
            let text = format!("{} has no boxes", set.name());
            return Err(Error::new(Code::Usage, text).at(config.root.display()).help(
                "boxes are written as kitti, voc or coco; label maps as label-ids, train-ids or palette",
            ));
        }
        splits.push(general(name, set.as_ref())?);
    }
    Ok(splits)
}

/// Any data set of boxes by its reader.
pub(super) fn general(name: &str, set: &dyn Dataset) -> Result<Split> {
    let one = |index: usize| {
        let sample = set.load(index)?;
        let file = PathBuf::from(set.place(index));
        if !file.is_file() || id_defect(&sample.id).is_some() {
            let text = "its pictures are no files of their own, which cannot be converted";
            return Err(Error::new(Code::BadFormat, text)
                .at(set.place(index))
                .help("convert a set with one file a picture"));
        }
        let Annotation::Objects(objects) = sample.annotation else {
            return Err(Error::new(Code::Internal, "no boxes in a set of boxes"));
        };
        let boxes = objects.iter().map(|o| Named {
            class: set.classes()[o.class].clone(),
            bbox: o.bbox,
            ignore: o.ignore,
            kitti: None,
        });
        Ok(Picture {
            id: sample.id,
            file,
            height: sample.image.height,
            width: sample.image.width,
            boxes: boxes.collect(),
        })
    };
    let stem = Path::new(name).file_stem().unwrap_or_default();
    Ok(Split {
        name: stem.to_string_lossy().into_owned(),
        pictures: (0..set.len())
            .into_par_iter()
            .map(one)
            .collect::<Result<_>>()?,
    })
}

/// All types of KITTI, which its reader would merge into classes.
fn kitti(config: &DatasetConfig) -> Result<Vec<Split>> {
    let open = |name: &str| Kitti::open(&config.root, name, &config.kitti);
    let mut sets = vec![];
    for name in [&config.train, &config.val] {
        match open(name) {
            Err(e) if e.code() == Code::NotFound => {}
            set => sets.push((name.clone(), set?)),
        }
    }
    if sets.is_empty() {
        sets.push(("all".into(), open("all")?));
    }
    let one = |set: &Kitti, index: usize| {
        let file = set.image_path(index);
        let (height, width) = read_size(&file)?;
        let lines = read_label(&set.label_path(index))?;
        let boxes = lines.into_iter().map(|(_, o)| Named {
            class: o.kind.into(),
            bbox: o.bbox,
            ignore: o.kind == "DontCare",
            kitti: Some(o),
        });
        Ok(Picture {
            id: set.id(index),
            file,
            height,
            width,
            boxes: boxes.collect(),
        })
    };
    let splits = sets.iter().map(|(name, set)| {
        let stem = Path::new(name).file_stem().unwrap_or_default();
        Ok(Split {
            name: stem.to_string_lossy().into_owned(),
            pictures: (0..set.len())
                .into_par_iter()
                .map(|i| one(set, i))
                .collect::<Result<_>>()?,
        })
    });
    splits.collect()
}
