//! Keys of data sets, network input and loader.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::cityscapes::CityscapesConfig;
use super::class_map::Coding;
use super::class_rules::ClassRules;
use super::dataset::{DatasetConfig, Format, Kind};
use super::dense::DenseConfig;
use super::dense::target::{Target, kind_of};
use super::kitti_classes::KittiConfig;
use super::mixed::MixedRules;
use super::mixed_config::MixedConfig;
use super::waymo_config::WaymoConfig;
use crate::annotation::NormalSpace;
use crate::settings::{Describe, choice};
use crate::{choices, settings};

choices! {
    /// A random change of a training sample.
    pub enum Augment {
        /// Left-right mirror with probability 1/2.
        Flip = "flip",
        /// Brightness, contrast, saturation, hue and channel order (SSD).
        Photometric = "photometric",
        /// Expansion by up to 4 and random crop that keeps the boxes whose centre falls inside (the released variant of SSD).
        SsdCrop = "ssd-crop",
        /// 4 pixels of zeros on each side, then a random crop of the input size (CIFAR).
        PadCrop = "pad-crop",
        /// A random area and aspect ratio, resized to the input (ImageNet).
        ResizedCrop = "resized-crop",
        /// One square of zeros, 16 pixels wide (CIFAR).
        Cutout = "cutout",
        /// Scaled by 0.5 to 1.5, then cut to the input size at the picture's own resolution; what is smaller gets a black border (AutoMTL,
        /// MTL-NAS).
        ScaleCrop = "scale-crop",
        /// A part of the picture's aspect, 1, 1.2 or 1.5 times smaller, resized to the input (MTAN).
        ZoomCrop = "zoom-crop",
        /// Saturation and hue by up to 5 % (MTL-NAS).
        Jitter = "jitter",
        /// Brightness, contrast and saturation by up to 40 %, hue by up to 20 % of the circle, in random order (ImageNet of MTNAS and
        /// PC-DARTS; torchvision's `ColorJitter(0.4, 0.4, 0.4, 0.2)`); not beside `photometric` or `jitter`. The contrast needs the mean
        /// of the picture, so reader threads make such images, also for a GPU.
        ColourJitter = "colour-jitter",
    }
}

choices! {
    /// What to do with a sample that cannot be read.
    pub enum OnCorrupt {
        /// Stop with an error.
        Error = "error",
        /// Leave it out, up to `max_corrupt`.
        Skip = "skip",
    }
}

impl Describe for Format {
    fn kind() -> String {
        choice(Self::choices().into_iter().map(|c| c.0))
    }
    fn choices() -> Vec<(&'static str, &'static str)> {
        vec![
            ("kitti", "KITTI object, `image_2` and `label_2`."),
            ("cityscapes", "Cityscapes, `leftImg8bit` and `gtFine`."),
            ("cifar10", "CIFAR-10, binary version."),
            ("image-folder", "One folder for each class."),
            (
                "waymo-v1",
                "Waymo Open Dataset v1, TFRecord files with camera labels.",
            ),
            (
                "waymo-v2",
                "Waymo Open Dataset v2, Parquet files of the components `camera_image` and `camera_box`.",
            ),
            (
                "mixed",
                "Several data sets as one: `mixed.sources`; `root` is the folder of list files, if there are any.",
            ),
            ("bdd100k", "BDD100K, boxes of 2018 or 2020."),
            ("bdd100k-masks", "BDD100K, semantic segmentation."),
            ("coco", "COCO detection, `instances_*.json`."),
            ("voc", "Pascal VOC, boxes."),
            ("voc-masks", "Pascal VOC, semantic segmentation, with SBD."),
            (
                "mtnas-boxes",
                "Boxes in the layout of the released MTNAS code.",
            ),
            ("mtnas-masks", "Label maps in that layout."),
            ("list-boxes", "A list of pictures with files of boxes."),
            ("list-masks", "A list of pictures with label maps."),
            ("list-classes", "A list of pictures with classes."),
            (
                "nyuv2-lists",
                "NYUv2 of MTL-NAS: lists of picture and label; classes, normals.",
            ),
            (
                "nyuv2-json",
                "NYUv2 of AutoMTL: `nyu_v2_3task.json`; classes, normals, depth.",
            ),
            (
                "nyuv2-npy",
                "NYUv2 of MTAN: arrays; 13 classes, normals, depth.",
            ),
            (
                "cityscapes-npy",
                "Cityscapes of MTAN and AutoMTL: arrays; classes, disparity.",
            ),
            (
                "taskonomy",
                "Tiny-Taskonomy: `taskonomy.json`; classes, normals, depth, keypoints, edges.",
            ),
        ]
    }
}

impl Describe for Coding {
    fn kind() -> String {
        choice(["label-ids", "train-ids"])
    }
    fn choices() -> Vec<(&'static str, &'static str)> {
        vec![
            ("label-ids", "`*_gtFine_labelIds.png`, the ids 0 to 33."),
            (
                "train-ids",
                "`*_gtFine_labelTrainIds.png`, 0 to 18 and 255.",
            ),
        ]
    }
}

settings! {
    /// One data set on disk. `format` and `root` must be given.
    pub struct DataSetConfig {
        /// How it lies on disk.
        pub format: Format = Format::Kitti,
        /// Its folder; a relative path starts at the working directory.
        pub root: PathBuf = PathBuf::new(),
        /// Training split: a list file or its name, `all` for every picture (KITTI), or a folder (the others); docs/data.md has the names
        /// that each format takes.
        pub train: String = "train".into(),
        /// Held-out split, likewise.
        pub val: String = "val".into(),
        /// Class names in the order of their ids. Empty: those that the format defines (KITTI: car, pedestrian, cyclist; Cityscapes:
        /// the 19 train ids, also spelled ["cityscapes-19"]; ["mixed-16"] is the merged set of MTNAS; CIFAR-10: its ten; folder names
        /// in alphabetical order; mixed boxes: ["mixed-3"]; `cityscapes-npy`: also ["cityscapes-7"] and ["cityscapes-2"]; the others:
        /// docs/data.md).
        pub classes: Vec<String> = vec![],
        /// Object types that count as a class of another name, for example { Truck = "car" } (KITTI).
        pub merge: BTreeMap<String, String> = BTreeMap::new(),
        /// Object types that become ignored objects of a class (`*`: of every class), as the official evaluation does. The default is
        /// KITTI's; the other formats have their own.
        pub ignore: BTreeMap<String, String> = KittiConfig::default().ignore,
        /// Which label files of Cityscapes to read.
        pub labels: Coding = Coding::LabelIds,
        /// What a sample yields of all that the format has, in this order; one target serves one task. Empty: all (Cityscapes: segmentation).
        pub targets: Vec<Target> = vec![],
        /// How normals are coded (systems.md 9.3).
        pub normal_space: NormalSpace = NormalSpace::True,
        /// Taskonomy: ignore pixels whose class is uncertain; AutoMTL trains them as background.
        pub ignore_uncertain: bool = false,
        /// Divide depth by what a crop enlarges, as MTAN does and AutoMTL does not. Right for metres, wrong for disparities.
        pub divide_depth: bool = false,
        /// Random changes of training samples, at most one of the crops. Both halves of the bi-level split get them (as DARTS).
        pub augment: Vec<Augment> = vec![Augment::Flip],
        /// Images with a class, when they are not augmented: the side of the middle square that is seen, as a share of the shorter side, at
        /// most 1 (ImageNet: shorter side to 256, 224 cut out, 0.875); 0: the whole image, its aspect ratio not kept.
        pub centre: f64 = 0.0,
        /// Mean of each channel (R, G, B in 0 to 1) instead of `input.mean`.
        pub mean: Option<[f64; 3]> = None,
        /// Standard deviation of each channel instead of `input.std`.
        pub std: Option<[f64; 3]> = None,
        /// Share of the training images used, of each class where classes are folders, above 0 to 1 (PC-DARTS samples 12.5 % of ImageNet).
        pub fraction: f64 = 1.0,
        /// Largest number of images of a split; 0 for no limit.
        pub limit: usize = 0,
        /// Keep decoded and resized images in memory.
        pub cache: bool = false,
        /// What to do with a sample that cannot be read.
        pub on_corrupt: OnCorrupt = OnCorrupt::Error,
        /// Largest share of samples that `on_corrupt = "skip"` leaves out.
        pub max_corrupt: f64 = 0.001,
        /// Which frames of Waymo Open Dataset.
        pub waymo: WaymoConfig = WaymoConfig::default(),
        /// Of what a data set of `format = "mixed"` is made.
        pub mixed: MixedConfig = MixedConfig::default(),
        /// Folder for packed caches, one file a split: pictures are decoded once, at the first start, and come from there from then on, bit
        /// for bit the same; not inside the data set. Empty: none.
        pub packed: PathBuf = PathBuf::new(),
    }
}

impl DataSetConfig {
    /// What the readers need of it.
    pub fn dataset(&self) -> DatasetConfig {
        let mut kitti = KittiConfig {
            merge: self.merge.clone(),
            ignore: self.ignore.clone(),
            ..KittiConfig::default()
        };
        let mut cityscapes = CityscapesConfig {
            labels: self.labels,
            ..CityscapesConfig::default()
        };
        if !self.classes.is_empty() {
            kitti.classes = self.classes.clone();
            cityscapes.classes = self.classes.clone();
        }
        let dense = DenseConfig {
            targets: self.targets.clone(),
            classes: self.classes.clone(),
            normal_space: self.normal_space,
            ignore_uncertain: self.ignore_uncertain,
        };
        DatasetConfig {
            dense,
            format: self.format,
            root: self.root.clone(),
            train: self.train.clone(),
            val: self.val.clone(),
            kitti,
            cityscapes,
            waymo: self.waymo.clone(),
            mixed: MixedRules {
                config: self.mixed.clone(),
                sources: self.mixed_sources(),
            },
            rules: ClassRules {
                classes: self.classes.clone(),
                merge: self.merge.clone(),
                // The default is KITTI's: the other formats have their own.
                ignore: (self.ignore != KittiConfig::default().ignore).then(|| self.ignore.clone()),
            },
        }
    }

    /// Is it made of other data sets?
    pub fn is_mixed(&self) -> bool {
        self.format == Format::Mixed
    }

    /// The sources of a mixed set; those with label maps have its classes unless they name their own.
    fn mixed_sources(&self) -> Vec<(String, DatasetConfig)> {
        let one = |(name, table): &(String, DataSetConfig)| {
            let mut table = table.clone();
            if table.classes.is_empty() && table.kind() == Kind::Segmentation {
                table.classes = self.classes.clone();
            }
            (name.clone(), table.dataset())
        };
        self.mixed.sources.tables.iter().map(one).collect()
    }

    /// Kind of annotation that the format carries.
    pub fn kind(&self) -> Kind {
        match self.format {
            Format::Kitti | Format::WaymoV1 | Format::WaymoV2 => Kind::Detection,
            Format::Mixed => {
                let first = self.mixed.sources.tables.first();
                first.map_or(Kind::Detection, |(_, t)| t.kind())
            }
            Format::Cityscapes if self.targets.is_empty() => Kind::Segmentation,
            Format::Cifar10 | Format::ImageFolder => Kind::Classification,
            Format::Bdd100k => Kind::Detection,
            Format::Bdd100kMasks => Kind::Segmentation,
            Format::Coco | Format::Voc => Kind::Detection,
            Format::VocMasks => Kind::Segmentation,
            Format::MtnasBoxes | Format::ListBoxes => Kind::Detection,
            Format::MtnasMasks | Format::ListMasks => Kind::Segmentation,
            Format::ListClasses => Kind::Classification,
            // With none named they have several.
            Format::Cityscapes
            | Format::Nyuv2Lists
            | Format::Nyuv2Json
            | Format::Nyuv2Npy
            | Format::CityscapesNpy
            | Format::Taskonomy => kind_of(&self.targets),
        }
    }
}

settings! {
    /// What the network sees.
    pub struct InputConfig {
        /// Height and width in pixels, multiples of 32 for the dense frames (MTNAS: 320 x 512). The aspect ratio of images is not kept.
        pub size: [usize; 2] = [320, 512],
        /// Mean of each channel, R, G, B in 0 to 1 (ImageNet's).
        pub mean: [f64; 3] = [0.485, 0.456, 0.406],
        /// Standard deviation of each channel (ImageNet's).
        pub std: [f64; 3] = [0.229, 0.224, 0.225],
    }
}

choices! {
    /// Who makes network input of pictures where a GPU computes.
    pub enum InputOn {
        /// Kernels: 8-bit pictures lie on the GPU, or go up. The same numbers.
        Auto = "auto",
        /// The reader threads.
        Host = "host",
    }
}

settings! {
    /// The threads that read ahead, and what they leave to a GPU.
    pub struct LoaderConfig {
        /// Reader threads; 0: one for each core. The batches do not depend on it.
        pub threads: usize = 0,
        /// Batches kept ready. Where there are more threads than that, several make the images of one batch.
        pub prefetch: usize = 2,
        /// Who crops, resizes, mirrors, distorts and normalises training images where a GPU computes: its kernels (`auto`), or the reader
        /// threads. The numbers are the same. With `colour-jitter`, and for maps of values, it is always the reader threads.
        pub input_on: InputOn = InputOn::Auto,
        /// Share of the GPU's memory that is free when a stage begins, at most, in which decoded images stay from their first use on, 0 to
        /// 0.9; those beyond it are decoded and go up anew for each batch.
        pub resident: f64 = 0.5,
    }
}

impl LoaderConfig {
    /// Number of reader threads: as many as cores for 0.
    pub fn reader_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        }
    }
}
