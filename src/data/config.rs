//! Keys of data sets, network input and loader.

use std::path::PathBuf;

use crate::{choices, settings};

choices! {
    /// How a data set lies on disk.
    pub enum Format {
        /// KITTI object: `image_2/ID.png`, `label_2/ID.txt`.
        Kitti = "kitti",
        /// Cityscapes: `leftImg8bit/SPLIT/CITY/*.png`, `gtFine/SPLIT/CITY/*_labelIds.png`.
        Cityscapes = "cityscapes",
        /// CIFAR-10 binary version: `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin`.
        Cifar10 = "cifar10",
        /// `train/CLASS/*`, `val/CLASS/*` with JPEG and PNG images.
        ImageFolder = "image-folder",
    }
}

choices! {
    /// What the pixels of a label image mean.
    pub enum LabelIds {
        /// The 34 raw Cityscapes ids, mapped to the 19 train ids.
        Raw = "raw",
        /// Train ids already.
        Train = "train",
    }
}

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

settings! {
    /// One data set on disk. `format` and `root` must be given.
    pub struct DataSetConfig {
        /// How it lies on disk.
        pub format: Format = Format::ImageFolder,
        /// Its folder; a relative path starts at the working directory.
        pub root: PathBuf = PathBuf::new(),
        /// File with one training image id a line, relative to `root`. Empty: the format's own split, or `val_fraction`.
        pub train_list: PathBuf = PathBuf::new(),
        /// File with one held-out image id a line, relative to `root`. Empty: as above.
        pub val_list: PathBuf = PathBuf::new(),
        /// Share of the images held out where neither lists nor the format define a split (KITTI), drawn with `split_seed`.
        /// The default comes near the common KITTI split of 3712 / 3769.
        pub val_fraction: f64 = 0.5,
        /// Seed of that draw; apart from `run.seed` so that all runs are judged on the same images.
        pub split_seed: u64 = 0,
        /// Share of the training images used, of each class where classes are folders, above 0 to 1 (PC-DARTS samples 12.5 % of ImageNet).
        pub fraction: f64 = 1.0,
        /// Largest number of images of a split; 0 for no limit.
        pub limit: usize = 0,
        /// Other names of classes in the label files, for example Van = "Car". Names that lead to no class of the task are
        /// ignored regions where the metric knows them, background otherwise.
        pub merge: std::collections::BTreeMap<String, String> = Default::default(),
        /// What the pixels of label images mean.
        pub label_ids: LabelIds = LabelIds::Raw,
        /// Random changes of training samples, in this order. Both halves of the bi-level split get them (as DARTS).
        pub augment: Vec<Augment> = vec![Augment::Flip],
        /// Mean of each channel (R, G, B in 0 to 1) instead of `input.mean`.
        pub mean: Option<[f64; 3]> = None,
        /// Standard deviation of each channel instead of `input.std`.
        pub std: Option<[f64; 3]> = None,
        /// Keep decoded and resized images in memory.
        pub cache: bool = false,
        /// What to do with a sample that cannot be read.
        pub on_corrupt: OnCorrupt = OnCorrupt::Error,
        /// Largest share of samples that `on_corrupt = "skip"` leaves out.
        pub max_corrupt: f64 = 0.001,
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

settings! {
    /// The threads that read ahead.
    pub struct LoaderConfig {
        /// Reader threads; 0: one for each core. The batches do not depend on it.
        pub threads: usize = 0,
        /// Batches kept ready.
        pub prefetch: usize = 2,
    }
}
