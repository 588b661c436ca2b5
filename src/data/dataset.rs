//! What every data set offers: a fixed order of samples, each with an id, a picture and its annotation.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::bdd100k;
use super::bdd100k_masks::Bdd100kMasks;
use super::cifar::Cifar10;
use super::cityscapes::{Cityscapes, CityscapesConfig};
use super::class_rules::ClassRules;
use super::coco;
use super::dense::DenseConfig;
use super::image_folder::ImageFolder;
use super::kitti::{Kitti, KittiConfig};
use super::listed::{ListBoxes, ListClasses, ListMasks};
use super::mixed::{Mixed, MixedRules};
use super::mtnas_layout::{MtnasBoxes, MtnasMasks};
use super::voc::Voc;
use super::voc_masks::VocMasks;
use super::waymo::Waymo;
use super::waymo_config::WaymoConfig;
use super::waymo_v2::WaymoV2;
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
    /// Which classes are labelled in sample `index`, where not all of them are in every sample and a loss shall know that; `None` for all
    /// samples of a set or for none.
    fn labelled(&self, _index: usize) -> Option<&[bool]> {
        None
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
    /// Waymo Open Dataset v1: TFRecord (8.6).
    WaymoV1,
    /// Waymo Open Dataset v2: Parquet (8.6).
    WaymoV2,
    /// Several data sets as one (8.8).
    Mixed,
    /// BDD100K, boxes of 2018 or 2020 (8.5).
    Bdd100k,
    /// BDD100K, semantic segmentation (8.5).
    Bdd100kMasks,
    /// COCO detection, `instances_*.json`.
    Coco,
    /// Pascal VOC, boxes (8.7).
    Voc,
    /// Pascal VOC, semantic segmentation, with SBD (8.7).
    VocMasks,
    /// Boxes in the layout of the released MTNAS code (4.5).
    MtnasBoxes,
    /// Label maps in that layout.
    MtnasMasks,
    /// A list of pictures with files of boxes.
    ListBoxes,
    /// A list of pictures with label maps.
    ListMasks,
    /// A list of pictures with classes.
    ListClasses,
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
    /// Which frames of Waymo Open Dataset.
    pub waymo: WaymoConfig,
    /// Of what a mixed set is made.
    pub mixed: MixedRules,
    /// Rules of the other formats with boxes; of those with label maps the classes.
    pub rules: ClassRules,
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
            waymo: WaymoConfig::default(),
            mixed: MixedRules::default(),
            rules: ClassRules::default(),
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
            Format::WaymoV1 => {
                let types = Waymo::types(&self.rules.classes, &self.rules.merge)?;
                Box::new(Waymo::open(&self.root, split, &self.waymo, types)?)
            }
            Format::Mixed => Box::new(Mixed::open(self, split)?),
            Format::WaymoV2 => {
                let types = Waymo::types(&self.rules.classes, &self.rules.merge)?;
                Box::new(WaymoV2::open(&self.root, split, &self.waymo, types)?)
            }
            Format::Bdd100k => Box::new(bdd100k::open(&self.root, split, &self.rules)?),
            Format::MtnasBoxes => Box::new(MtnasBoxes::open(&self.root, split, &self.rules)?),
            Format::MtnasMasks => {
                Box::new(MtnasMasks::open(&self.root, split, &self.rules.classes)?)
            }
            Format::ListBoxes => Box::new(ListBoxes::open(&self.root, split, &self.rules)?),
            Format::ListMasks => Box::new(ListMasks::open(&self.root, split, &self.rules)?),
            Format::ListClasses => Box::new(ListClasses::open(&self.root, split, &self.rules)?),
            Format::Coco => Box::new(coco::open(&self.root, split, &self.rules)?),
            Format::Voc => Box::new(Voc::open(&self.root, split, &self.rules)?),
            Format::VocMasks => Box::new(VocMasks::open(&self.root, split, &self.rules.classes)?),
            Format::Bdd100kMasks => {
                Box::new(Bdd100kMasks::open(&self.root, split, &self.rules.classes)?)
            }
            Format::Nyuv2Lists
            | Format::Nyuv2Json
            | Format::Nyuv2Npy
            | Format::CityscapesNpy
            | Format::Taskonomy => Box::new(self.open_dense(split)?),
        })
    }
}
