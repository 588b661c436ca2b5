//! What every data set offers: a fixed order of samples, each with an id, a picture and its annotation.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::cifar::Cifar10;
use super::cityscapes::{Cityscapes, CityscapesConfig};
use super::dense::DenseConfig;
use super::image_folder::ImageFolder;
use super::kitti::{Kitti, KittiConfig};
use crate::annotation::{Annotation, Image};
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
    /// [`Annotation::Values`] of depth.
    Depth,
    /// [`Annotation::Values`] of normals.
    Normals,
    /// [`Annotation::Values`] of keypoints.
    Keypoints,
    /// [`Annotation::Values`] of edges.
    Edges,
    /// [`Annotation::Joint`].
    Joint,
}

impl Kind {
    /// Whether its annotations say something of every pixel.
    pub fn is_dense(self) -> bool {
        !matches!(self, Kind::Detection | Kind::Classification)
    }
}

/// One image of a data set with what is known of it, in the pixels of the original picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Unique in its data set; for files, the name without extension.
    pub id: String,
    /// The picture at its own size.
    pub image: Image,
    /// Boxes in pixels, a label map or values of the same size, a class, or several of these.
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
    /// NYUv2, lists of picture and label (5.7).
    Nyuv2Lists,
    /// NYUv2, JSON listing, PNG and arrays (8.9).
    Nyuv2Json,
    /// NYUv2, arrays (8.9).
    Nyuv2Npy,
    /// Cityscapes with several targets, arrays (8.10).
    CityscapesNpy,
    /// Tiny-Taskonomy (8.11).
    Taskonomy,
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
    /// Rules of the formats with a target for every pixel, Cityscapes included.
    pub dense: DenseConfig,
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
            dense: DenseConfig::default(),
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
            Format::Cityscapes => {
                let set = Cityscapes::open(&self.root, split, &self.cityscapes)?;
                Box::new(set.with_targets(&self.dense.targets)?)
            }
            Format::Cifar10 => Box::new(Cifar10::open(&self.root, split)?),
            Format::ImageFolder => Box::new(ImageFolder::open(&self.root, split)?),
            Format::Nyuv2Lists
            | Format::Nyuv2Json
            | Format::Nyuv2Npy
            | Format::CityscapesNpy
            | Format::Taskonomy => Box::new(self.open_dense(split)?),
        })
    }
}
