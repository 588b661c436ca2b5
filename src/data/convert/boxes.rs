//! Boxes of any data set as pictures with named boxes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::annotation::{Annotation, BBox};
use crate::data::dataset::{Dataset, DatasetConfig, Format, Kind};
use crate::data::image_file::read_size;
use crate::data::image_folder::is_picture;
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

/// Where a picture is.
#[derive(Clone)]
pub enum Pixels {
    /// A file of its own.
    File(PathBuf),
    /// Sample of a set whose files hold many pictures (Waymo Open Dataset).
    Sample(Arc<dyn Dataset>, usize),
}

impl Pixels {
    /// Ending of the file that it becomes where the target leaves pictures as they are; that of a sample is PNG.
    pub fn ending(&self) -> String {
        let Pixels::File(path) = self else {
            return "png".into();
        };
        let own = path.extension().unwrap_or_default().to_string_lossy();
        match own.to_lowercase().as_str() {
            "jpeg" => "jpg".into(),
            other => other.into(),
        }
    }

    /// For messages, and to tell pictures apart.
    pub fn place(&self) -> String {
        match self {
            Pixels::File(path) => path.display().to_string(),
            Pixels::Sample(set, index) => set.place(*index),
        }
    }
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

/// Both splits of a data set of boxes; the split `all` of a KITTI folder without lists.
///
/// # Errors
/// Those of the data set; `Usage` where it has no boxes.
pub fn read(config: &DatasetConfig) -> Result<Vec<Split>> {
    let splits = match config.format {
        Format::Kitti => kitti(config)?,
        _ => by_reader(config)?,
    };
    let mut places = BTreeMap::new();
    for p in splits.iter().flat_map(|s| &s.pictures) {
        twice(&mut places, &p.id, p.pixels.place())?;
    }
    Ok(splits)
}

/// Notes where the picture of a name is.
///
/// # Errors
/// `BadFormat` where another picture has the name.
pub(super) fn twice(places: &mut BTreeMap<String, String>, id: &str, place: String) -> Result<()> {
    match places.insert(id.to_string(), place.clone()) {
        Some(other) if other != place => {
            let text = format!("two pictures would be called {id:?}");
            Err(Error::new(Code::BadFormat, text)
                .at(place)
                .note(format!("the other one is {other}"))
                .help("rename one of them"))
        }
        _ => Ok(()),
    }
}

/// Both splits, as any data set of boxes.
fn by_reader(config: &DatasetConfig) -> Result<Vec<Split>> {
    let mut splits = vec![];
    for (name, set) in opened(config)? {
        if set.kind() != Kind::Detection {
            let text = format!("{} has no boxes", set.name());
            return Err(Error::new(Code::Usage, text).at(config.root.display()).help(
                "boxes are written as kitti, voc, coco or list-boxes; label maps as label-ids, train-ids, palette or list-masks",
            ));
        }
        splits.push(general(name, set)?);
    }
    Ok(splits)
}

/// The name of a split of which the configuration may give the path of a list.
pub(super) fn stem(split: &str) -> String {
    let stem = Path::new(split).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// The splits of a data set as the configuration calls them, one where training and held-out split are the same.
pub(super) fn opened(config: &DatasetConfig) -> Result<Vec<(&str, Arc<dyn Dataset>)>> {
    let mut sets: Vec<(&str, Arc<dyn Dataset>)> = vec![];
    let once = config.train == config.val;
    let names = [&config.train, &config.val];
    for name in &names[usize::from(once)..] {
        let set = match config.open(name) {
            // A set may have one of them only.
            Err(e)
                if matches!(e.code(), Code::NotFound | Code::EmptyData)
                    && *name == &config.val
                    && !sets.is_empty() =>
            {
                continue;
            }
            other => other?,
        };
        sets.push((name, set.into()));
    }
    Ok(sets)
}

/// A file name made of the id of a sample, which may be a path: `images/two words.jpg` becomes `images_two_words`.
pub(super) fn file_name(id: &str) -> String {
    let stem = match id.rsplit_once('.') {
        Some((stem, _)) if is_picture(id) => stem,
        _ => id,
    };
    let plain = |c: char| match c {
        '/' | '\\' | '\0' => '_',
        c if c.is_whitespace() => '_',
        c => c,
    };
    let name: String = stem.chars().map(plain).collect();
    match id_defect(&name) {
        None => name,
        Some(_) => format!("_{name}"),
    }
}

/// Any data set of boxes by its reader.
pub(super) fn general(name: &str, set: Arc<dyn Dataset>) -> Result<Split> {
    let one = |index: usize| {
        let sample = set.load(index)?;
        let file = PathBuf::from(set.place(index));
        let pixels = match file.is_file() {
            true => Pixels::File(file),
            false => Pixels::Sample(set.clone(), index),
        };
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
            pixels,
            height: sample.image.height,
            width: sample.image.width,
            boxes: boxes.collect(),
        })
    };
    Ok(Split {
        name: stem(name),
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
            pixels: Pixels::File(file),
            height,
            width,
            boxes: boxes.collect(),
        })
    };
    let splits = sets.iter().map(|(name, set)| {
        Ok(Split {
            name: stem(name),
            pictures: (0..set.len())
                .into_par_iter()
                .map(|i| one(set, i))
                .collect::<Result<_>>()?,
        })
    });
    splits.collect()
}
