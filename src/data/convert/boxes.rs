//! Boxes of any data set as pictures with named boxes.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::source::{Opened, Pixels, file_name, left_out, opened, stem, twice};
use crate::annotation::{Annotation, BBox};
use crate::data::dataset::{Dataset, DatasetConfig, Format, Kind};
use crate::data::image_file::read_size;
use crate::data::kitti::Kitti;
use crate::data::kitti_label::{KittiObject, read_label};
use crate::error::{Code, Error, Result};

/// One split.
pub struct Split {
    /// `train`, `val` or `all`.
    pub name: String,
    /// Not the training split.
    pub held_out: bool,
    /// The classes of the set in their order; none for KITTI, whose boxes have types.
    pub classes: Vec<String>,
    /// In the order of the split.
    pub pictures: Vec<Picture>,
}

/// A picture and its boxes.
pub struct Picture {
    /// File name without ending, unique in the set.
    pub id: String,
    /// Its pixels.
    pub pixels: Pixels,
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

/// Both splits of a data set of boxes; the split `all` of a KITTI folder without lists. Notes tell of a split that is not there.
///
/// # Errors
/// Those of the data set; `Usage` where it has no boxes, and where both splits would have one name.
pub fn read(config: &DatasetConfig, notes: &mut Vec<String>) -> Result<Vec<Split>> {
    let splits = match config.format {
        Format::Kitti => kitti(config, notes)?,
        _ => by_reader(config, notes)?,
    };
    if let [a, b] = &splits[..]
        && a.name == b.name
    {
        let text = format!("both splits would be called {:?}", a.name);
        return Err(Error::new(Code::Usage, text)
            .at(config.root.display())
            .help("give the lists that `train` and `val` name different file names"));
    }
    let mut places = BTreeMap::new();
    for p in splits.iter().flat_map(|s| &s.pictures) {
        twice(&mut places, &p.id, p.pixels.place())?;
    }
    Ok(splits)
}

/// Both splits, as any data set of boxes.
fn by_reader(config: &DatasetConfig, notes: &mut Vec<String>) -> Result<Vec<Split>> {
    let one = |split: Opened| {
        if split.set.kind() != Kind::Detection {
            let text = format!("{} has no boxes", split.set.name());
            return Err(Error::new(Code::Usage, text).at(config.root.display()).help(
                "boxes are written as kitti, voc, coco or list-boxes; label maps as label-ids, train-ids, palette or list-masks",
            ));
        }
        general(split)
    };
    opened(config, notes)?.into_iter().map(one).collect()
}

/// Any data set of boxes by its reader.
pub(super) fn general(split: Opened) -> Result<Split> {
    let set = split.set;
    let one = |index: usize| {
        let sample = set.load(index)?;
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
            id: file_name(&sample.id),
            pixels: Pixels::of(&set, index)?,
            height: sample.image.height,
            width: sample.image.width,
            boxes: boxes.collect(),
        })
    };
    Ok(Split {
        name: stem(&split.name),
        held_out: split.held_out,
        classes: set.classes().to_vec(),
        pictures: (0..set.len())
            .into_par_iter()
            .map(one)
            .collect::<Result<_>>()?,
    })
}

/// All types of KITTI, which its reader would merge into classes.
fn kitti(config: &DatasetConfig, notes: &mut Vec<String>) -> Result<Vec<Split>> {
    let open = |name: &str| Kitti::open(&config.root, name, &config.kitti);
    let (mut sets, mut absent) = (vec![], vec![]);
    for (name, held_out) in [(&config.train, false), (&config.val, true)] {
        match open(name) {
            Err(e) if e.code() == Code::NotFound => absent.push(left_out(name, &e)),
            set => sets.push((name.clone(), held_out, set?)),
        }
    }
    match sets.is_empty() {
        true => sets.push(("all".into(), false, open("all")?)),
        false => notes.append(&mut absent),
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
            pixels: Pixels::File(file),
            height,
            width,
            boxes: boxes.collect(),
        })
    };
    let splits = sets.iter().map(|(name, held_out, set)| {
        Ok(Split {
            name: stem(name),
            held_out: *held_out,
            classes: vec![],
            pictures: (0..set.len())
                .into_par_iter()
                .map(|i| one(set, i))
                .collect::<Result<_>>()?,
        })
    });
    splits.collect()
}
