//! `metrics.json`: what one network scores on held-out data and what it costs.

use super::number;
use crate::metrics::Figure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which network an evaluation looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// The derived network of the search, finetuned.
    Searched,
    /// A network of a random genotype, with the same finetune.
    Random,
    /// The supernet at the end of the search, before derivation.
    Supernet,
    /// The derived network before any finetune (weights of the supernet where they fit).
    Derived,
    /// A given network (`mtnas train`).
    Given,
}

impl Which {
    /// The word in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Which::Searched => "searched",
            Which::Random => "random",
            Which::Supernet => "supernet",
            Which::Derived => "derived",
            Which::Given => "given",
        }
    }
}

/// `metrics.json`: one network evaluated on held-out data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Which network.
    pub which: Which,
    /// Its genotypes: `backbone`, `det`, `seg` to genotype text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub genotypes: BTreeMap<String, String>,
    /// Detection results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<DetectionEval>,
    /// Segmentation results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<SegmentationEval>,
    /// Classification results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<ClassificationEval>,
    /// Results of depth, normals, keypoints and edges, by the name of the task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, ValuesEval>,
    /// Against networks of one task each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<DeltaEval>,
    /// What the network costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// Detection results. Every number is a fraction of 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DetectionEval {
    /// Names of the classes, by index.
    pub classes: Vec<String>,
    /// Images evaluated.
    pub images: usize,
    /// Height and width at which boxes were compared; none when every image was compared at its own size, or by older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Objects that count, by class.
    pub objects: Vec<usize>,
    /// The protocol whose mean is `mAP` in summaries; a key of `protocols`.
    pub main: String,
    /// Results by protocol id (`mtnas-2020`, `voc10`, `coco`, `kitti-r40`).
    pub protocols: BTreeMap<String, ProtocolResult>,
    /// Precision over recall, one curve a class, of the main protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<PrCurve>,
}

/// AP under one protocol.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProtocolResult {
    /// AP by class; none for a class without a counted object.
    #[serde(with = "number")]
    pub ap: Vec<Option<f64>>,
    /// Mean over the classes that have one.
    #[serde(with = "number")]
    pub mean: Option<f64>,
    /// Further figures of the protocol (`AP50`, `AP75`, `AP-small`).
    #[serde(with = "number", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub more: BTreeMap<String, f64>,
}

/// Points of a precision-recall curve, in order of falling score.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PrCurve {
    /// Index of the class.
    pub class: usize,
    /// Recall, rising.
    #[serde(with = "number")]
    pub recall: Vec<f64>,
    /// Precision, raw (not the envelope).
    #[serde(with = "number")]
    pub precision: Vec<f64>,
    /// Score threshold of each point.
    #[serde(with = "number")]
    pub score: Vec<f64>,
}

/// Segmentation results. Every rate is a fraction of 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SegmentationEval {
    /// Names of the classes, by id.
    pub classes: Vec<String>,
    /// Images evaluated.
    pub images: usize,
    /// Height and width at which labels were compared; none when every image was compared at its own size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// IoU by class; none for a class that occurs in neither ground truth nor prediction.
    #[serde(with = "number")]
    pub iou: Vec<Option<f64>>,
    /// The averaging rule whose value is `mIoU` in summaries; a key of `miou`.
    pub main: String,
    /// Mean IoU by averaging rule (`miou`, `mtnas-2020`).
    #[serde(with = "number")]
    pub miou: BTreeMap<String, f64>,
    /// Share of the counted pixels with the right class.
    #[serde(with = "number")]
    pub pixel_accuracy: f64,
    /// Weights of the classes in the cross entropy; none where all are 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
    /// Further figures: the cross entropy, where the configuration compares it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Figure>,
    /// Pixel counts: row = ground truth, column = prediction.
    pub confusion: Vec<Vec<u64>>,
}

/// Classification results, fractions of 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClassificationEval {
    /// Images evaluated.
    pub images: usize,
    /// Share with the right class first.
    #[serde(with = "number")]
    pub top1: f64,
    /// Share with the right class among the first five.
    #[serde(with = "number")]
    pub top5: f64,
}

/// Results of a task of values for each pixel.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ValuesEval {
    /// Images evaluated.
    pub images: usize,
    /// Height and width at which values were compared; none when every image was compared at its own size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// The figures, the headline first.
    pub figures: Vec<Figure>,
}

/// Mean relative changes against networks of one task each, in percent, positive for better (systems.md 9.5).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DeltaEval {
    /// By task.
    #[serde(with = "number")]
    pub tasks: BTreeMap<String, f64>,
    /// Their mean.
    #[serde(with = "number")]
    pub mean: Option<f64>,
}

/// What one forward pass of one image costs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Trainable numbers.
    pub params: u64,
    /// Multiply-adds of convolution and linear layers.
    pub conv_macs: u64,
    /// 2 x `conv_macs` / 1e9.
    #[serde(with = "number")]
    pub gflops: f64,
    /// The same by part of the network, in order of the data flow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartCost>,
}

/// What one part of a network costs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PartCost {
    /// `stem`, `backbone`, `det cells`, `seg cells`, `det heads`, `seg head`, `classifier`.
    pub part: String,
    /// Trainable numbers.
    pub params: u64,
    /// Multiply-adds of convolution and linear layers.
    pub conv_macs: u64,
}
