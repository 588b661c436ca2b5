//! What every data set offers: a fixed order of samples, each with an id, a picture and its annotation.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::cifar::Cifar10;
use super::cityscapes::{Cityscapes, CityscapesConfig};
use super::image_folder::ImageFolder;
use super::kitti::{Kitti, KittiConfig};
use crate::annotation::{Annotation, Image, KittiTruth};
use crate::error::Result;

/// Which kind of annotation a data set has, hence which task it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// [`Annotation::Objects`].
    Detection,
    /// [`Annotation::Labels`].
    Segmentation,
    /// [`Annotation::Class`].
    Classification,
}

/// One image of a data set with what is known of it, in the pixels of the original picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Unique in its data set; for files, the name without extension.
    pub id: String,
    /// The picture at its own size.
    pub image: Image,
    /// Boxes in pixels, a label map of the same size, or a class.
    pub annotation: Annotation,
}

/// An indexed data set. Reading never changes a file, and the order of samples is a function of the files alone.
pub trait Dataset: Send + Sync {
    /// Name for messages, for example `kitti/train`.
    fn name(&self) -> &str;
    /// Kind of annotation.
    fn kind(&self) -> Kind;
    /// Names of the classes, in the order of their indices; no entry for background or ignore.
    fn classes(&self) -> &[String];
    /// Number of samples; never 0 after a successful opening.
    fn len(&self) -> usize;
    /// True for a data set without samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Id of sample `index`.
    fn id(&self, index: usize) -> String;
    /// Picture file (and record) of sample `index`, for messages.
    fn place(&self, index: usize) -> String;
    /// Class of sample `index` without decoding its picture; `None` unless the set is for classification.
    ///
    /// # Errors
    /// `Io`, `BadLabelId`.
    fn class_of(&self, _index: usize) -> Result<Option<usize>> {
        Ok(None)
    }
    /// Annotation of sample `index` in pixels of its picture itself, also where [`load`](Self::load) gives a smaller picture.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    fn annotation(&self, index: usize) -> Result<Annotation> {
        Ok(self.load(index)?.annotation)
    }
    /// Height and width of the picture file of sample `index`, which [`load`](Self::load) gave as `loaded`.
    fn own_size(&self, _index: usize, loaded: (usize, usize)) -> (usize, usize) {
        loaded
    }
    /// The objects of sample `index` with the facts that the official KITTI evaluation asks for; `None` where the format has none.
    ///
    /// # Errors
    /// Those of its label file.
    fn kitti_truth(&self, _index: usize) -> Result<Option<Vec<KittiTruth>>> {
        Ok(None)
    }
    /// Reads sample `index`.
    ///
    /// # Errors
    /// Anything wrong with its files: `BadImage`, `BadLine`, `BadBox`, `BadLabelId`, `SizeMismatch`, `NotFound`, ... with
    /// file and line or pixel.
    fn load(&self, index: usize) -> Result<Sample>;
}

/// File formats of data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// KITTI object: PNG and `label_2` text (systems.md 8.3).
    #[default]
    Kitti,
    /// Cityscapes: `leftImg8bit` and `gtFine` label ids (8.4).
    Cityscapes,
    /// CIFAR-10, binary version (8.1).
    Cifar10,
    /// One folder for each class (8.2).
    ImageFolder,
}

/// Which data set to open, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatasetConfig {
    /// File format.
    pub format: Format,
    /// Its folder.
    pub root: PathBuf,
    /// Split to train on: a list file or name (KITTI), a folder (`cityscapes`, `image-folder`), `train` (CIFAR-10).
    pub train: String,
    /// Held-out split, likewise.
    pub val: String,
    /// Rules of the KITTI format.
    pub kitti: KittiConfig,
    /// Rules of the Cityscapes format.
    pub cityscapes: CityscapesConfig,
}

impl Default for DatasetConfig {
    fn default() -> Self {
        DatasetConfig {
            format: Format::Kitti,
            root: PathBuf::new(),
            train: "train".into(),
            val: "val".into(),
            kitti: KittiConfig::default(),
            cityscapes: CityscapesConfig::default(),
        }
    }
}

impl DatasetConfig {
    /// The training split.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_train(&self) -> Result<Box<dyn Dataset>> {
        self.open(&self.train)
    }

    /// The held-out split.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_val(&self) -> Result<Box<dyn Dataset>> {
        self.open(&self.val)
    }

    /// Any split.
    ///
    /// # Errors
    /// `NotFound` for a missing folder or list, `EmptyData` for a split without samples, `ConfigValue` for class names that
    /// the format does not have. No picture is decoded here.
    pub fn open(&self, split: &str) -> Result<Box<dyn Dataset>> {
        Ok(match self.format {
            Format::Kitti => Box::new(Kitti::open(&self.root, split, &self.kitti)?),
            Format::Cityscapes => Box::new(Cityscapes::open(&self.root, split, &self.cityscapes)?),
            Format::Cifar10 => Box::new(Cifar10::open(&self.root, split)?),
            Format::ImageFolder => Box::new(ImageFolder::open(&self.root, split)?),
        })
    }
}
