//! One line of each log of a run directory, and the JSON files beside them. Who writes a run uses these types, and so
//! does who reads it; there is no second description of the format.
//!
//! | file | one line (or the file) is |
//! |---|---|
//! | `run.json` | [`RunRecord`] |
//! | `metrics.jsonl` | [`MetricRecord`] |
//! | `alpha.jsonl` | [`AlphaRecord`] |
//! | `events.jsonl` | [`EventRecord`] |
//! | `timing.jsonl` | [`TimingRecord`]: the only file with wall-clock figures, so that all others can be compared byte for byte |
//! | `stages/<n>-<stage>/stage.json` | [`StageRecord`] |
//! | `stages/<n>-<stage>/metrics.json`, `final/metrics.json` | [`EvalRecord`] |
//!
//! Maps are ordered, floats come back with the same bits (not finite ones as `"NaN"`, `"inf"`, `"-inf"`), and empty
//! fields are left out. Unknown fields are ignored, so that an older program reads a newer run.

use super::number;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use super::lines::{Lines, read_file, read_lines, read_lines_that_parse, to_file, to_line};
pub use super::results::{
    ClassificationEval, Cost, DeltaEval, DetectionEval, EvalRecord, PartCost, PrCurve,
    ProtocolResult, SegmentationEval, ValuesEval, Which,
};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A process works on it, or one was killed without notice.
    #[default]
    Running,
    /// All stages are done.
    Done,
    /// Stopped on request with a checkpoint saved.
    Interrupted,
    /// Ended by an error.
    Failed,
    /// The loss was not finite, also after going back to earlier checkpoints.
    Diverged,
}

impl Status {
    /// The word in files.
    pub fn name(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Done => "done",
            Status::Interrupted => "interrupted",
            Status::Failed => "failed",
            Status::Diverged => "diverged",
        }
    }
}

/// `run.json`: what made this run. It holds no wall-clock time and no path, so that two equal runs have equal files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of the program.
    #[serde(default)]
    pub version: String,
    /// Where the run stands.
    #[serde(default)]
    pub status: Status,
    /// The seed of everything.
    #[serde(default)]
    pub seed: u64,
    /// Instruction set of the arithmetic (`avx2+fma`): another one gives other bits.
    #[serde(default)]
    pub instruction_set: String,
    /// The command that repeats the run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// What was searched, for people: pairs of a name and a text (`network`: `mtnas-release, 8 cells, C 16`), in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<(String, String)>,
    /// Whatever else the writer wants to keep.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// What a metric record was measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A weight step, on `weight_split`.
    Train,
    /// An architecture step, on `arch_split`.
    Arch,
    /// An evaluation on held-out data.
    Eval,
}

/// Which searched set of architecture parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlphaSet {
    /// The backbone's.
    Backbone,
    /// The detection branch's.
    Det,
    /// The segmentation branch's.
    Seg,
}

impl AlphaSet {
    /// The word in files: `backbone`, `det`, `seg`.
    pub fn name(self) -> &'static str {
        match self {
            AlphaSet::Backbone => "backbone",
            AlphaSet::Det => "det",
            AlphaSet::Seg => "seg",
        }
    }
}

/// Which kind of cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellKind {
    /// Stride 1.
    Normal,
    /// Stride 2 on the edges from the cell's inputs.
    Reduce,
}

impl CellKind {
    /// The word in files: `normal`, `reduce`.
    pub fn name(self) -> &'static str {
        match self {
            CellKind::Normal => "normal",
            CellKind::Reduce => "reduce",
        }
    }
}

/// A line of `metrics.jsonl`: the mean over the steps since the line before of the same stage, task and phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// Folder name of the stage: `1-branch-det`.
    pub stage: String,
    /// Steps done in this stage.
    pub step: u64,
    /// Steps planned in this stage.
    pub steps: u64,
    /// `det`, `seg`, `cls`, or the name of a task of values (`depth`).
    pub task: String,
    /// Weight step, architecture step or evaluation.
    pub kind: Phase,
    /// The loss that was minimised.
    #[serde(with = "number")]
    pub loss: f64,
    /// Its terms by name: `loc`, `conf` for detection.
    #[serde(with = "number", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
    /// Learning rate of the parameters that this phase moves.
    #[serde(with = "number", default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Norm of the gradient before clipping.
    #[serde(with = "number", default, skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f64>,
    /// What the searched operations are expected to cost with `search.constraint`: multiply-adds or microseconds.
    #[serde(with = "number", default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Mean entropy of the softmax over primitives, in nats, by set and cell kind (`backbone.normal`).
    #[serde(with = "number", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub entropy: BTreeMap<String, f64>,
    /// Share of `skip_connect` among the chosen operations of the derived cell, 0 to 1, by set and cell kind.
    #[serde(with = "number", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skip_share: BTreeMap<String, f64>,
    /// Share of pooling among the chosen operations of the derived cell, 0 to 1, by set and cell kind.
    #[serde(with = "number", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pool_share: BTreeMap<String, f64>,
    /// Results of an evaluation by name (`mAP`, `mIoU`, `top1`), as fractions of 1.
    #[serde(with = "number", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, f64>,
}

/// A line of `alpha.jsonl`: the architecture parameters of one cell kind at one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlphaRecord {
    /// Folder name of the stage.
    pub stage: String,
    /// Architecture steps done in this stage.
    pub step: u64,
    /// Whose cells.
    pub set: AlphaSet,
    /// Which kind of cell.
    pub kind: CellKind,
    /// Logits, one row an edge (14 for four nodes; node-major, predecessor-minor), one column a primitive (8, in table
    /// order); `-inf` where the primitive is no candidate of the edge.
    #[serde(with = "number")]
    pub alpha: Vec<Vec<f64>>,
    /// Logits of the edge normalisation, one an edge; empty without it.
    #[serde(with = "number", default, skip_serializing_if = "Vec::is_empty")]
    pub beta: Vec<f64>,
    /// Text of the genotype that the set's parameters (both kinds) derive to at this step.
    pub genotype: String,
}

/// A line of `events.jsonl`: stage changes, stops, rollbacks, warnings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Folder name of the stage.
    pub stage: String,
    /// Steps done in this stage.
    pub step: u64,
    /// What happened, one word: `start`, `stop`, `derive`, `rollback`, `warning`, `genotype`.
    pub event: String,
    /// Code of the error behind it (`MT0602`), where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What happened, in a sentence.
    pub message: String,
}

/// A line of `timing.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimingRecord {
    /// Folder name of the stage.
    pub stage: String,
    /// Steps done in this stage.
    pub step: u64,
    /// Wall-clock seconds since the timing line before, or since the process started: their sum is the time of a stage,
    /// also over resumes.
    #[serde(with = "number")]
    pub seconds: f64,
    /// Images a second over that time.
    #[serde(with = "number", default, skip_serializing_if = "Option::is_none")]
    pub images_per_s: Option<f64>,
    /// The most bytes of tensors in use at one time since the stage began in this process, where operations run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// `stages/<n>-<stage>/stage.json`: how a stage ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Folder name of the stage.
    pub stage: String,
    /// Steps done.
    pub steps: u64,
    /// Steps planned.
    pub planned: u64,
    /// Why it ended: `budget`, `stable` (genotype unchanged for K checks), `skips` (more than T skip-connects), `done`.
    pub stopped: String,
    /// The genotypes known at its end: `backbone`, `det`, `seg` to genotype text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub genotypes: BTreeMap<String, String>,
}
