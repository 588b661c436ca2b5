//! Keys of the tasks: targets, losses, decoding and metrics.

use crate::annotation::NormalSpace;
use crate::metrics::{Average, PixelAverage, Protocol};
use crate::settings::{Describe, choice};
use crate::{choices, settings};

choices! {
    /// What a task predicts.
    pub enum TaskKind {
        /// Boxes with classes (SSD style).
        Detection = "detection",
        /// A class for each pixel.
        Segmentation = "segmentation",
        /// A class for each image.
        Classification = "classification",
        /// A distance for each pixel.
        Depth = "depth",
        /// A surface normal for each pixel.
        Normals = "normals",
        /// The strength of a keypoint for each pixel.
        Keypoints = "keypoints",
        /// The strength of a texture edge for each pixel.
        Edges = "edges",
    }
}

impl TaskKind {
    /// The name of its table `[tasks.NAME]`, and that which records and stages use.
    pub fn key(self) -> &'static str {
        match self {
            TaskKind::Detection => "det",
            TaskKind::Segmentation => "seg",
            TaskKind::Classification => "cls",
            values => values.name(),
        }
    }

    /// Planes that a head predicts of values for each pixel; `None` for the tasks of classes.
    pub fn planes(self) -> Option<usize> {
        match self {
            TaskKind::Detection | TaskKind::Segmentation | TaskKind::Classification => None,
            TaskKind::Normals => Some(3),
            TaskKind::Depth | TaskKind::Keypoints | TaskKind::Edges => Some(1),
        }
    }

    /// The tasks of values for each pixel.
    pub fn values() -> impl Iterator<Item = TaskKind> {
        TaskKind::ALL
            .iter()
            .copied()
            .filter(|k| k.planes().is_some())
    }
}

choices! {
    /// What the sum of pixel losses is divided by.
    pub enum SegDenominator {
        /// All pixels, ignored ones included (released code: the loss shrinks with the ignored share).
        AllPixels = "all-pixels",
        /// Pixels with a class.
        ValidPixels = "valid-pixels",
    }
}

impl Describe for Protocol {
    fn kind() -> String {
        choice(Protocol::ALL.map(Protocol::name))
    }
    fn choices() -> Vec<(&'static str, &'static str)> {
        vec![
            (
                "mtnas-2020",
                "The evaluator released with MTNAS: IoU > 0.5 with +1 widths, all-point interpolation.",
            ),
            (
                "voc10",
                "PASCAL VOC since 2010: IoU >= 0.5, all-point interpolation.",
            ),
            (
                "voc07",
                "PASCAL VOC 2007: IoU >= 0.5, 11-point interpolation.",
            ),
            (
                "coco",
                "Mean over ten IoU thresholds, 101-point interpolation.",
            ),
            (
                "kitti-r40",
                "KITTI's official evaluation, moderate objects (all difficulties are reported): IoU > 0.7 for cars, > 0.5 for others, 40 recall points, at the pictures' own size.",
            ),
            (
                "kitti-r11",
                "The same with 11 recall points, official until October 2019.",
            ),
        ]
    }
}

impl Describe for Average {
    fn kind() -> String {
        choice(Average::ALL.map(Average::name))
    }
    fn choices() -> Vec<(&'static str, &'static str)> {
        vec![
            (
                "present-in-ground-truth",
                "Classes with a pixel in the ground truth (MTNAS's evaluator).",
            ),
            (
                "non-zero-diagonal",
                "Classes with a right pixel (AutoMTL's code; optimistic).",
            ),
            ("all-classes", "All classes."),
        ]
    }
}

settings! {
    /// Prior boxes of the detection levels, in pixels of the network input. Empty lists mean the rows of the released table
    /// that belong to the frame's strides; `mtnas-peer` scales their sizes by width / 512.
    pub struct PriorConfig {
        /// Side of the small square prior of each level, in pixels (released: 10, 30, 60, 100, 160, 220, 280 from stride 4 on).
        pub min_sizes: Vec<f64> = vec![],
        /// The large square prior has side sqrt(min max), in pixels (released: 30, 60, 100, 160, 220, 280, 340).
        pub max_sizes: Vec<f64> = vec![],
        /// Distance of prior centres of each level, in pixels (released: 4, 8, 16, 32, 64, 128, 256).
        pub steps: Vec<f64> = vec![],
        /// Aspect ratios of each level beside 1; each r also gives 1/r (released: `[2, 3]` on six levels, `[2]` on the last).
        pub ratios: Vec<Vec<f64>> = vec![],
        /// What centre and size offsets are divided by (SSD: 0.1, 0.2).
        pub variances: [f64; 2] = [0.1, 0.2],
    }
}

settings! {
    /// Targets, loss and decoding of a detection task.
    pub struct DetectionConfig {
        /// Prior boxes.
        pub priors: PriorConfig = PriorConfig::default(),
        /// A prior is positive from this IoU with an object on (SSD: 0.5).
        pub match_iou: f64 = 0.5,
        /// Hard negatives for each positive of an image (SSD: 3).
        pub negative_ratio: f64 = 3.0,
        /// Detections below this score are dropped before suppression (released: 0.01).
        pub score_threshold: f64 = 0.01,
        /// A box that overlaps a better one of its class by more than this IoU is suppressed (released: 0.45).
        pub nms_iou: f64 = 0.45,
        /// Boxes kept for each class of an image, before and after suppression (released: 200).
        pub top_k: usize = 200,
        /// Boxes kept for each image over all classes; 0 for no limit (the released code means to cap but does not).
        pub max_boxes: usize = 0,
        /// Average-precision protocols to report; the first one is the task's headline.
        pub protocols: Vec<Protocol> = vec![Protocol::Voc10, Protocol::Mtnas2020, Protocol::Coco],
    }
}

settings! {
    /// Loss and metric of a segmentation task.
    pub struct SegmentationConfig {
        /// What the sum of pixel losses is divided by (the default is the released loss).
        pub denominator: SegDenominator = SegDenominator::AllPixels,
        /// Which classes the headline mIoU averages over; all rules are reported (default: the MTNAS evaluator's).
        pub miou: Average = Average::PresentInGroundTruth,
        /// A weight for each class, in their order (AutoMTL on Taskonomy: `semseg_prior_factor.npy`); "valid-pixels" then divides by the
        /// weights of the pixels. Absent: all 1.
        pub class_weights: Option<Vec<f64>> = None,
        /// What relative changes look at (`mtnas eval --baseline`).
        pub compare: ComparedLabels = ComparedLabels::Labels,
        /// How the compared cross entropy is averaged; both rules are reported.
        pub average: PixelAverage = PixelAverage::Pixels,
    }
}

choices! {
    /// Which figures of segmentation relative changes look at.
    pub enum ComparedLabels {
        /// mIoU and the share of right pixels (AutoMTL on NYUv2 and Cityscapes).
        Labels = "labels",
        /// The cross entropy of the held-out pixels with `class_weights`, which is reported too then (AutoMTL's "err" on Taskonomy).
        CrossEntropy = "cross-entropy",
    }
}

settings! {
    /// Loss of a classification task.
    pub struct ClassificationConfig {
        /// Label smoothing, 0 to below 1 (DARTS on ImageNet: 0.1; CIFAR: 0).
        pub label_smoothing: f64 = 0.0,
        /// Weight of the loss of an auxiliary head over the second reduction cell, which a derived network then has while it is trained
        /// (DARTS and PC-DARTS: 0.4); 0: none. Images of 32x32, or 224x224 with the ImageNet stem.
        pub auxiliary_weight: f64 = 0.0,
    }
}

impl Describe for PixelAverage {
    fn kind() -> String {
        choice(PixelAverage::ALL.map(PixelAverage::name))
    }
    fn choices() -> Vec<(&'static str, &'static str)> {
        vec![
            (
                "pixels",
                "Every known pixel of the set counts alike, or by the weight of its class.",
            ),
            (
                "batch-means",
                "The mean of each batch, weighted by its images (AutoMTL's code; depends on `eval.batch`).",
            ),
        ]
    }
}

choices! {
    /// Which figures of a task of values relative changes look at (`mtnas eval --baseline`).
    pub enum ComparedFigures {
        /// Depth: absolute and relative error and the shares; normals: angles and shares (AutoMTL on NYUv2 and Cityscapes).
        All = "all",
        /// The absolute error; of normals the cosine (AutoMTL on Taskonomy).
        One = "one",
    }
}

settings! {
    /// Metrics of a task of values for each pixel: depth, normals, keypoints, edges. Their losses have no keys: the papers agree on L1 over
    /// the known pixels, and on 1 minus the cosine for normals.
    pub struct ValuesConfig {
        /// How the headline errors of depth, keypoints and edges are averaged; both rules are reported.
        pub average: PixelAverage = PixelAverage::Pixels,
        /// Normals only: the space in which angles are measured. Absent: that of the data set's `normal_space`.
        pub angles: Option<NormalSpace> = None,
        /// What relative changes look at.
        pub compare: ComparedFigures = ComparedFigures::All,
    }
}

settings! {
    /// One task. `kind` and `data` must be given.
    pub struct TaskConfig {
        /// What it predicts.
        pub kind: TaskKind = TaskKind::Detection,
        /// Name of its data set, a table `[data.NAME]`.
        pub data: String = String::new(),
        /// Weight of its loss (MTNAS: 1).
        pub loss_weight: f64 = 1.0,
        /// Detection only.
        pub detection: Option<DetectionConfig> = None,
        /// Segmentation only.
        pub segmentation: Option<SegmentationConfig> = None,
        /// Classification only.
        pub classification: Option<ClassificationConfig> = None,
        /// Depth, normals, keypoints and edges only.
        pub values: Option<ValuesConfig> = None,
    }
}
