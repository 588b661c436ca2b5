//! Tasks: what a head shall predict, its loss, how its outputs become annotations, and how those are scored.
//!
//! One file a task: [`detection`], [`segmentation`], [`classification`], and [`values`] for all that predict values for each pixel. The rest
//! are the pure functions of detection: [`priors`], [`matching`], [`mining`], [`unlabelled`], [`decode`], [`nms`].
//!
//! **Invariant:** a task sees outputs and annotations, never a network or a search space.

pub mod classification;
pub mod config;
pub mod decode;
pub mod detection;
pub mod matching;
pub mod mining;
pub mod nms;
pub mod priors;
pub mod segmentation;
pub mod unlabelled;
pub mod values;

pub use classification::ClassificationTask;
pub use detection::DetectionTask;
pub use segmentation::SegmentationTask;
pub use values::ValueTask;

use serde::{Deserialize, Serialize};

use crate::annotation::{Annotation, Detection, KittiTruth, LabelMap, Quantity, ValueMap};
use crate::error::{Code, Error, Result};
use crate::metrics::{ApReport, Average, Confusion, Figure, TopK};
use crate::tape::{Path, Var};
use crate::tensor::Tensor;
use config::TaskKind;

/// One task of a network. Outputs of the head come in a fixed order: `loc`, `conf` for detection, one tensor otherwise.
pub trait Task: Send + Sync {
    /// What it predicts.
    fn kind(&self) -> TaskKind;

    /// Names of the classes, without background; none for values.
    fn classes(&self) -> &[String];

    /// What its maps of values say; `None` for classes.
    fn quantity(&self) -> Option<Quantity> {
        None
    }

    /// Targets of a batch: one annotation an image, boxes in pixels of the network's input, label maps of its size.
    ///
    /// # Errors
    /// Annotations of another kind, or that do not fit the classes or the input; the place names the image of the batch.
    fn targets(&self, annotations: &[Annotation]) -> Result<Targets>;

    /// What of a batch goes up to where a pass on `path` runs: the targets, or what kernels make them of.
    ///
    /// # Errors
    /// As [`Task::targets`].
    fn inputs(&self, _path: Path, annotations: &[Annotation]) -> Result<Targets> {
        self.targets(annotations)
    }

    /// What says which classes are labelled in each image of a batch, by name; it goes up beside [`Task::inputs`]. `None` for a task that
    /// takes no notice.
    ///
    /// # Errors
    /// An image that speaks of another number of classes.
    fn labelled(&self, _images: &[&[bool]]) -> Result<Option<(&'static str, Tensor)>> {
        Ok(None)
    }

    /// Whether an annotation of the data set fits the task, for one that goes up whole and is looked at by kernels alone.
    ///
    /// # Errors
    /// As [`Task::targets`].
    fn check(&self, _annotation: &Annotation) -> Result<()> {
        Ok(())
    }

    /// [`Task::inputs`] where label maps of `pixels` pixels together are made on the device: what else goes up. `None` for a task
    /// without label maps.
    fn inputs_beside_maps(&self, _pixels: usize) -> Option<Targets> {
        None
    }

    /// The targets, of inputs that lie where the pass runs or go up by themselves.
    ///
    /// # Errors
    /// Those of the device.
    fn targets_of(&self, _path: Path, inputs: Targets) -> Result<Targets> {
        Ok(inputs)
    }

    /// [`Task::targets`] for a pass on `path`: what kernels can make lies on the device then.
    ///
    /// # Errors
    /// As [`Task::targets`]; those of the device.
    fn targets_on(&self, path: Path, annotations: &[Annotation]) -> Result<Targets> {
        self.targets_of(path, self.inputs(path, annotations)?)
    }

    /// The loss, a scalar on the tape of `outputs`.
    ///
    /// # Errors
    /// Outputs whose shapes do not fit the targets.
    fn loss(&self, outputs: &[Var], targets: &Targets) -> Result<Loss>;

    /// What the outputs mean, one prediction an image, at the sizes (height, width) given for the images.
    ///
    /// # Errors
    /// Outputs of the wrong shape; an output that is not finite.
    fn predict(&self, outputs: &[Tensor], sizes: &[(usize, usize)]) -> Result<Vec<Prediction>>;

    /// An empty scorer.
    fn meter(&self) -> Box<dyn Meter>;
}

/// What the outputs of a batch shall be.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Tensors under the names of the step dump: `label` and `offset` for detection (`labelled` besides, see [`unlabelled`]),
    /// `labels`, `class`, `values` and `weight`.
    pub tensors: Vec<(&'static str, Tensor)>,
    /// What the summed loss is divided by: positives, pixels or images, at least 1. A batch taken in several pieces keeps
    /// the one of the whole. Where a device counts, the tensor `positives` holds it and this is 1.
    pub denominator: f64,
}

impl Targets {
    /// The tensor of that name, if it is there.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        let found = self.tensors.iter().find(|t| t.0 == name);
        found.map(|t| &t.1)
    }

    /// The tensor of that name; asserts that it is there.
    pub fn get(&self, name: &str) -> &Tensor {
        self.find(name)
            .unwrap_or_else(|| panic!("no target tensor `{name}`"))
    }
}

/// A loss and what is worth recording of it.
#[derive(Debug)]
pub struct Loss {
    /// The scalar to walk back from.
    pub total: Var,
    /// Its terms by name (`loc`, `conf`), one number each, on the device where the loss is; empty for a loss of one term.
    pub parts: Vec<(&'static str, Tensor)>,
    /// Tensors that an audit needs besides the targets (`used`: the priors that count for the classifier).
    pub audit: Vec<(&'static str, Tensor)>,
}

/// What the network says of one image.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// Boxes.
    Objects(Vec<Detection>),
    /// A class for each pixel.
    Labels(LabelMap),
    /// The same with the scores of all classes before any softmax, where a figure asks for them.
    ScoredLabels(LabelMap, ClassScores),
    /// A score for each class.
    Scores(Vec<f32>),
    /// Values for each pixel; all count as known.
    Values(ValueMap),
}

/// Scores of the classes for each pixel, at the size of the network's output.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassScores {
    /// Height and width.
    pub size: (usize, usize),
    /// (classes, height, width).
    pub data: Vec<f32>,
}

/// A picture at its own size, as far as a meter wants to know it.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Pixels of it that one pixel of prediction and truth stands for, down and across.
    pub scale: [f64; 2],
    /// Its objects with the facts of KITTI labels, in its own pixels; `None` where the format has none.
    pub kitti: Option<Vec<KittiTruth>>,
}

/// Gathers predictions beside the ground truth and scores them.
pub trait Meter: Send {
    /// Adds one image; prediction and truth are at the same size.
    ///
    /// # Errors
    /// A prediction or truth of another kind, size or class range; a score that is not finite.
    fn add(&mut self, prediction: Prediction, truth: &Annotation) -> Result<()>;

    /// As [`Meter::add`], with what is known of the picture itself. Protocols that look at heights in its pixels want that.
    ///
    /// # Errors
    /// As [`Meter::add`].
    fn add_seen(
        &mut self,
        prediction: Prediction,
        truth: &Annotation,
        _picture: &Picture,
    ) -> Result<()> {
        self.add(prediction, truth)
    }

    /// The images added since the last call were a batch: for averages over batches.
    ///
    /// # Errors
    /// As [`Meter::add`].
    fn end_batch(&mut self) -> Result<()> {
        Ok(())
    }

    /// All figures so far.
    ///
    /// # Errors
    /// Boxes that the protocols refuse (not finite, inverted).
    fn report(&self) -> Result<Report>;
}

/// All figures of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// One report a protocol, the headline first.
    Detection(Vec<ApReport>),
    /// Every averaging rule; `rule` is the headline.
    Segmentation {
        /// Averaging rule of the headline.
        rule: Average,
        /// Images scored.
        images: usize,
        /// Pixels by true and predicted class.
        counts: Confusion,
        /// Weights of the classes in the cross entropy of `more`; none where all are 1.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        weights: Vec<f64>,
        /// What is measured besides: the cross entropy where the configuration compares it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        more: Vec<Figure>,
    },
    /// Right images.
    Classification(TopK),
    /// Errors of values for each pixel.
    Values {
        /// What was predicted.
        task: TaskKind,
        /// Images scored.
        images: usize,
        /// Figures, the headline first.
        figures: Vec<Figure>,
    },
}

impl Report {
    /// The one figure that stands for the task, with the rule in its name: `mAP (voc10)`, `mIoU (present-in-ground-truth)`,
    /// `top-1`. `None` when nothing counts.
    pub fn headline(&self) -> (String, Option<f64>) {
        match self {
            Report::Detection(reports) => match reports.first() {
                Some(r) => (format!("mAP ({})", r.protocol), r.map),
                None => ("mAP".into(), None),
            },
            Report::Segmentation { rule, counts, .. } => {
                (format!("mIoU ({})", rule.name()), counts.miou(*rule))
            }
            Report::Classification(counts) => ("top-1".into(), counts.top1()),
            Report::Values { task, figures, .. } => match figures.first() {
                Some(f) => (format!("{task} {}", f.name), f.value),
                None => (task.to_string(), None),
            },
        }
    }

    /// The headline as something of which more is better: errors are negated.
    pub fn fitness(&self) -> Option<f64> {
        let sign = match self {
            Report::Values { figures, .. } if figures.first().is_some_and(|f| !f.higher) => -1.0,
            _ => 1.0,
        };
        self.headline().1.map(|v| sign * v)
    }
}

/// The error of an annotation or prediction of another kind than the task's.
fn wrong_kind(wanted: &str, got: &str) -> Error {
    Error::new(Code::Argument, format!("expected {wanted}, got {got}"))
        .help("check that the task and its data set are of the same kind")
}

fn annotation_kind(a: &Annotation) -> &'static str {
    match a {
        Annotation::Objects(_) => "boxes",
        Annotation::Labels(_) => "a label map",
        Annotation::Class(_) => "a class",
        Annotation::Values(m) => m.quantity.name(),
        Annotation::Joint(_) => "several targets",
    }
}

fn prediction_kind(p: &Prediction) -> &'static str {
    match p {
        Prediction::Objects(_) => "boxes",
        Prediction::Labels(_) | Prediction::ScoredLabels(..) => "a label map",
        Prediction::Scores(_) => "class scores",
        Prediction::Values(m) => m.quantity.name(),
    }
}

/// The error of a head that does not give `wanted`.
fn wrong_outputs<'a>(task: &str, wanted: &str, got: impl Iterator<Item = &'a [usize]>) -> Error {
    let got: Vec<String> = got.map(|d| format!("{d:?}")).collect();
    Error::new(
        Code::Shape,
        format!("{task}: expected outputs {wanted}, got {}", got.join(", ")),
    )
}
