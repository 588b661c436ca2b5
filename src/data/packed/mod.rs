//! The packed cache: one file a (data set, split, size) with decoded pictures and their annotations, mapped into memory, so that later
//! epochs and later runs decode nothing.
//!
//! It never changes a bit of any batch. Where training cuts windows out of pictures they are kept at their own size; where it always sees
//! them whole they are kept at network size, resized as the loader would have done it. [`layout`] says what the file looks like, [`coding`]
//! how annotations are written, [`mod@file`] reads it, [`mod@build`] makes it, [`mod@stamp`] says from what. A sample whose record is damaged is read
//! from its own files, as if there were no record, and the damage told: neither `on_corrupt` nor a bad disk makes other batches of it.

pub mod build;
pub mod coding;
pub mod file;
pub mod layout;
pub mod stamp;

use std::path::Path;
use std::sync::{Arc, Once};

use self::build::{NO_LEAST, Plan, build};
use self::file::PackFile;
use self::stamp::{Origin, check_place};
use super::batch::Stop;
use super::cached::at_size;
use super::config::{DataSetConfig, OnCorrupt};
use super::dataset::{Dataset, Kind, Sample};
use crate::annotation::{Annotation, KittiTruth};
use crate::data::augment::{Augmentation, Crop};
use crate::error::Result;
use crate::files::create_dir;

/// A data set whose pictures come from a packed cache.
pub struct Packed {
    inner: Arc<dyn Dataset>,
    file: PackFile,
    size: Option<(usize, usize)>,
    /// Damage is told once.
    told: Once,
}

/// The (height, width) at which the samples of a set are kept: the network input `size`, or `None`, as they are, where the network may see a
/// window of them.
///
/// # Errors
/// `ConfigValue` for two crops.
pub fn kept_size(config: &DataSetConfig, size: (usize, usize)) -> Result<Option<(usize, usize)>> {
    let whole = Augmentation::new(&config.augment)?.crop == Crop::None;
    let centred = config.centre > 0.0 && config.kind() == Kind::Classification;
    Ok((whole && !centred).then_some(size))
}

impl Packed {
    /// `inner`, which is `split` of `config`, from its file in `folder`; the file is made first where there is none, or one that was made
    /// from other files. `size` is the network input. `note` is told, in a line, what takes long and why; `stop` is asked every few samples.
    ///
    /// # Errors
    /// `BadFormat` for a damaged file; `ConfigValue` for a folder inside the data set; `Interrupted` when `stop` says yes; those of reading
    /// the samples and of writing.
    pub fn open(
        inner: Arc<dyn Dataset>,
        (config, split): (&DataSetConfig, &str),
        size: (usize, usize),
        folder: &Path,
        note: &mut dyn FnMut(&str),
        stop: Stop,
    ) -> Result<Packed> {
        let formats = config.dataset();
        let size = kept_size(config, size)?;
        let origin = Origin {
            config: &formats,
            split,
            size,
        };
        let (stamp, folders) = origin.stamp(inner.as_ref())?;
        check_place(folder, &folders)?;
        create_dir(folder)?;
        let path = folder.join(origin.file_name(inner.name()));
        let plan = Plan {
            set: inner.as_ref(),
            stamp,
            size,
            skip: config.on_corrupt == OnCorrupt::Skip,
            stop,
        };
        let file = match PackFile::open(&path) {
            Ok(file) if file.fits(&plan.stamp, inner.len()) => file,
            Ok(_) => {
                let name = inner.name();
                note(&format!(
                    "{name}: its files or settings changed since {} was packed; it is packed anew",
                    path.display()
                ));
                build(&path, &plan, note)?
            }
            Err(_) if !path.exists() => build(&path, &plan, note)?,
            Err(e) => return Err(e),
        };
        let file = file.with_classes(inner.classes().len());
        Ok(Packed {
            inner,
            file,
            size,
            told: Once::new(),
        })
    }

    /// A sample from its own files, as the record of it would be.
    fn unpacked(&self, index: usize) -> Result<Sample> {
        at_size(self.inner.load(index)?, self.size, NO_LEAST)
    }

    /// Height and width of a picture file without a record.
    fn unpacked_size(&self, index: usize) -> Option<(usize, usize)> {
        let image = self.inner.load(index).ok()?.image;
        Some(self.inner.own_size(index, (image.height, image.width)))
    }
}

impl Dataset for Packed {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn kind(&self) -> Kind {
        self.inner.kind()
    }
    fn classes(&self) -> &[String] {
        self.inner.classes()
    }
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn id(&self, index: usize) -> String {
        self.inner.id(index)
    }
    fn place(&self, index: usize) -> String {
        self.inner.place(index)
    }
    fn class_of(&self, index: usize) -> Result<Option<usize>> {
        self.inner.class_of(index)
    }
    fn annotation(&self, index: usize) -> Result<Annotation> {
        match self.size {
            None => Ok(self.load(index)?.annotation),
            Some(_) => self.inner.annotation(index),
        }
    }
    fn own_size(&self, index: usize, loaded: (usize, usize)) -> (usize, usize) {
        let packed = self.file.own_size(index);
        let size = packed.or_else(|| self.unpacked_size(index));
        size.unwrap_or(loaded)
    }
    fn labelled(&self, index: usize) -> Option<&[bool]> {
        self.inner.labelled(index)
    }
    fn kitti_truth(&self, index: usize) -> Result<Option<Vec<KittiTruth>>> {
        self.inner.kitti_truth(index)
    }
    fn load(&self, index: usize) -> Result<Sample> {
        match self.file.sample(index) {
            Ok(Some((image, annotation))) => Ok(Sample {
                id: self.inner.id(index),
                image,
                annotation,
            }),
            // It could not be read when the file was made; its own error says why.
            Ok(None) => self.unpacked(index),
            // Not an error of the sample, so that it is not left out either; but slow, and a sign of a bad disk.
            Err(damage) => {
                self.told.call_once(|| {
                    eprintln!("{damage}; until then such samples are read from their own files");
                });
                self.unpacked(index).map_err(|e| e.note(damage.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod change_tests;
#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;
