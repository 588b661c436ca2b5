//! What data sets of label maps have in common: a picture and its map, checked against each other.

use std::path::{Path, PathBuf};

use super::box_set::absent;
use super::class_map::ClassMap;
use super::dataset::{Dataset, Sample};
use super::image_file::{read_image, read_labels};
use crate::annotation::{Annotation, Image, LabelMap};
use crate::error::{Code, Error, Result};

/// A data set of label maps.
pub trait MaskSet: Dataset {
    /// From the values of the files to classes.
    fn map(&self) -> &ClassMap;
    /// The file of a picture, whether it exists or not.
    fn image_path(&self, index: usize) -> PathBuf;
    /// The file of its label map, whether it exists or not.
    fn label_path(&self, index: usize) -> PathBuf;
    /// The list or folder that names the picture.
    fn named_at(&self, index: usize) -> String;
    /// Which values the files may have, in words.
    fn values(&self) -> &str;
    /// The folder whose pictures should all have label maps, if there is one.
    fn folder(&self) -> Option<PathBuf> {
        None
    }
    /// The values of a file.
    ///
    /// # Errors
    /// As [`read_labels`].
    fn raw(&self, path: &Path) -> Result<LabelMap> {
        read_labels(path)
    }
}

/// Refuses a label map of another size than its picture.
///
/// # Errors
/// `SizeMismatch`.
pub fn check_size(path: &Path, labels: &LabelMap, picture: &Path, image: &Image) -> Result<()> {
    if (labels.height, labels.width) == (image.height, image.width) {
        return Ok(());
    }
    let text = format!(
        "the label map is {} x {}, its picture {} x {}",
        labels.width, labels.height, image.width, image.height
    );
    let picture = picture.display();
    Err(Error::new(Code::SizeMismatch, text)
        .at(path.display())
        .help(format!(
            "label and picture {picture} must have the same size"
        )))
}

/// Replaces the values of a file by classes.
///
/// # Errors
/// `BadLabelId` at the first pixel whose value the format does not have.
pub fn to_classes(
    path: &Path,
    mut labels: LabelMap,
    map: &ClassMap,
    values: &str,
) -> Result<LabelMap> {
    for (i, value) in labels.data.iter_mut().enumerate() {
        let Some(class) = map.get(*value) else {
            let (x, y) = (i % labels.width, i / labels.width);
            let text = format!("label id {value} is outside the class map");
            return Err(Error::new(Code::BadLabelId, text)
                .at(format!("{}, pixel ({x}, {y})", path.display()))
                .help(format!("correct the pixel: {values}")));
        };
        *value = class;
    }
    Ok(labels)
}

/// Reads a sample.
///
/// # Errors
/// As [`Dataset::load`].
pub fn load(set: &(impl MaskSet + ?Sized), index: usize) -> Result<Sample> {
    let picture = set.image_path(index);
    let image = read_image(&picture).map_err(|e| absent(&picture, &set.named_at(index), e))?;
    let path = set.label_path(index);
    let labels = set.raw(&path).map_err(|e| match e.code() {
        Code::NotFound => e
            .note(format!("it belongs to {}", picture.display()))
            .note(format!("that is named in {}", set.named_at(index)))
            .help("add the label map, or take the picture out of the list"),
        _ => e,
    })?;
    check_size(&path, &labels, &picture, &image)?;
    Ok(Sample {
        id: set.id(index),
        image,
        annotation: Annotation::Labels(to_classes(&path, labels, set.map(), set.values())?),
    })
}
