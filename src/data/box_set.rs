//! What data sets of boxes have in common: labels that are read one by one with their defects, and samples made of them.

use std::path::{Path, PathBuf};

use super::class_rules::ClassTable;
use super::dataset::{Dataset, Sample};
use super::image_file::read_image;
use super::kitti_label::clip_box;
use super::text_file::at_line;
use crate::annotation::{Annotation, BBox, Image};
use crate::error::{Code, Error, Result};

/// What to do with a defect of a label: [`stop`], or note it and read on (`mtnas data check`).
pub type Fault<'a> = dyn FnMut(Error) -> Result<()> + 'a;

/// The first defect ends reading.
///
/// # Errors
/// `e`, always.
pub fn stop(e: Error) -> Result<()> {
    Err(e)
}

/// One box as a label file has it: finite, not inverted, perhaps empty, perhaps outside the picture. 32 bytes, since the
/// largest sets have millions of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawBox {
    /// In pixels of the picture.
    pub bbox: BBox,
    /// Line of the label file, from 1.
    pub line: u32,
    /// How the file counts it: its index in the list of labels of its picture (BDD100K), its id (COCO).
    pub label: u64,
    /// Number of its type in the [`ClassTable`].
    pub kind: u16,
    /// Marked as crowd or difficult.
    pub ignore: bool,
}

/// One picture of an index that was read from a big JSON file.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRow {
    /// Its name as the file has it.
    pub name: Box<str>,
    /// Line of the file that ends its entry.
    pub line: u32,
    /// (width, height) as the file has it.
    pub size: Option<(u32, u32)>,
    /// Its boxes in [`BoxTable::boxes`].
    pub boxes: std::ops::Range<u32>,
}

/// All pictures and boxes of a JSON file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BoxTable {
    /// Pictures in the order of the file.
    pub images: Vec<ImageRow>,
    /// Their boxes, picture by picture.
    pub boxes: Vec<RawBox>,
}

impl BoxTable {
    /// Most boxes of a file: some forty times those of the largest published set.
    pub const MAX_BOXES: usize = 50_000_000;

    /// The boxes of a picture.
    pub fn of(&self, index: usize) -> &[RawBox] {
        let r = &self.images[index].boxes;
        &self.boxes[r.start as usize..r.end as usize]
    }
}

/// A data set of boxes.
pub trait BoxSet: Dataset {
    /// Types and classes.
    fn table(&self) -> &ClassTable;
    /// The file of a picture, whether it exists or not.
    fn image_path(&self, index: usize) -> PathBuf;
    /// The file that holds its labels.
    fn label_path(&self, index: usize) -> PathBuf;
    /// The line of a list or label file that names the picture.
    fn named_at(&self, index: usize) -> String;
    /// Its boxes; defects go to `fault`.
    ///
    /// # Errors
    /// A label file that cannot be read; whatever `fault` gives back.
    fn boxes(&self, index: usize, fault: &mut Fault) -> Result<Vec<RawBox>>;
    /// (width, height) that the labels are for, if they say so.
    fn said_size(&self, _index: usize) -> Option<(u32, u32)> {
        None
    }
    /// The folder whose pictures should all have labels, if there is one.
    fn folder(&self) -> Option<PathBuf> {
        None
    }
    /// A box in words, for messages.
    fn label_name(&self, _index: usize, _raw: &RawBox) -> Option<String> {
        None
    }
}

/// A defect of a box: what, where, whose.
pub fn box_error(set: &(impl BoxSet + ?Sized), index: usize, raw: &RawBox, what: &str) -> Error {
    let text = match set.label_name(index, raw) {
        Some(name) => format!("{name}: {what}"),
        None => what.to_string(),
    };
    Error::new(Code::BadBox, text).at(at_line(&set.label_path(index), raw.line as usize))
}

/// Refuses a picture that is not of the size that its labels are for.
///
/// # Errors
/// `SizeMismatch`.
pub fn check_size(set: &(impl BoxSet + ?Sized), index: usize, image: &Image) -> Result<()> {
    match set.said_size(index) {
        Some((w, h)) if (w as usize, h as usize) != (image.width, image.height) => {
            let text = format!(
                "the picture has {} x {} pixels, its labels are for {w} x {h}",
                image.width, image.height
            );
            Err(Error::new(Code::SizeMismatch, text)
                .at(set.image_path(index).display())
                .note(format!("the size is given in {}", set.named_at(index)))
                .help("fetch the picture again, or correct the size and the boxes"))
        }
        _ => Ok(()),
    }
}

/// A box outside its picture.
pub fn outside(set: &(impl BoxSet + ?Sized), index: usize, raw: &RawBox, image: &Image) -> Error {
    let b = raw.bbox;
    let text = format!(
        "the box ({}, {}, {}, {}) is outside the picture",
        b.x1, b.y1, b.x2, b.y2
    );
    box_error(set, index, raw, &text).help(format!(
        "the picture {} has {} x {} pixels: correct the box or remove it",
        set.image_path(index).display(),
        image.width,
        image.height
    ))
}

/// Reads a sample: boxes are clipped to the picture, boxes without area dropped (all published sets have a few). A picture
/// without objects is a valid sample.
///
/// # Errors
/// As [`Dataset::load`].
pub fn load(set: &(impl BoxSet + ?Sized), index: usize) -> Result<Sample> {
    let path = set.image_path(index);
    let image = read_image(&path).map_err(|e| absent(&path, &set.named_at(index), e))?;
    check_size(set, index, &image)?;
    let mut objects = vec![];
    for raw in set.boxes(index, &mut stop)? {
        if raw.bbox.x2 <= raw.bbox.x1 || raw.bbox.y2 <= raw.bbox.y1 {
            continue;
        }
        let Some(bbox) = clip_box(&raw.bbox, image.height, image.width) else {
            return Err(outside(set, index, &raw, &image));
        };
        set.table()
            .objects(raw.kind, bbox, raw.ignore, &mut objects);
    }
    Ok(Sample {
        id: set.id(index),
        image,
        annotation: Annotation::Objects(objects),
    })
}

/// Tells of a picture that is not there who asked for it.
pub fn absent(path: &Path, named_at: &str, e: Error) -> Error {
    match e.code() {
        Code::NotFound => e
            .at(path.display())
            .note(format!("it is named in {named_at}"))
            .help("add the picture, or take it out of the list"),
        _ => e,
    }
}

/// The folder that holds the pictures of an index: the first of `folders` that has one of its first pictures, else the first that exists.
pub fn picture_folder(folders: &[PathBuf], rows: &[ImageRow]) -> Option<PathBuf> {
    let has = |dir: &&PathBuf| rows.iter().take(20).any(|r| dir.join(&*r.name).is_file());
    let found = folders.iter().find(has);
    found
        .or_else(|| folders.iter().find(|d| d.is_dir()))
        .cloned()
}

/// The rows whose names come twice go to `fault`.
///
/// # Errors
/// Whatever `fault` gives back.
pub fn refuse_doubles(path: &Path, rows: &[ImageRow], fault: &mut Fault) -> Result<()> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| (&rows[*a].name, a).cmp(&(&rows[*b].name, b)));
    for pair in order.windows(2) {
        let (first, second) = (&rows[pair[0]], &rows[pair[1]]);
        if first.name == second.name {
            let text = format!(
                "the picture {:?} is already in line {}",
                second.name, first.line
            );
            fault(
                Error::new(Code::BadLine, text)
                    .at(at_line(path, second.line as usize))
                    .help("keep one of the two entries"),
            )?;
        }
    }
    Ok(())
}
