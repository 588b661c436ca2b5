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
use crate::{Code, Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

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
    /// `det`, `seg` or `cls`.
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
    /// Objects that count, by class.
    pub objects: Vec<usize>,
    /// The protocol whose mean is `mAP` in summaries; a key of `protocols`.
    pub main: String,
    /// Results by protocol id (`mtnas-2020`, `voc10`, `coco`).
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

/// `record` as one line of a log, newline included.
pub fn to_line<T: Serialize>(record: &T) -> String {
    let mut line = serde_json::to_string(record)
        .expect("records hold only strings, numbers, lists and string-keyed maps");
    line.push('\n');
    line
}

/// `record` as a JSON file: indented, newline at the end.
pub fn to_file<T: Serialize>(record: &T) -> String {
    let mut text = serde_json::to_string_pretty(record)
        .expect("records hold only strings, numbers, lists and string-keyed maps");
    text.push('\n');
    text
}

/// Reads a whole JSON file. Errors: [`Code::NotFound`], [`Code::Io`], and [`Code::BadLine`] with `path:line:column`.
pub fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Error::new(Code::BadLine, format!("not a record of this kind: {e}"))
            .at(format!("{}:{}:{}", path.display(), e.line(), e.column()))
            .help("restore the file, or delete it: what it held is then shown as not recorded")
    })
}

/// The records of a log, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines<T> {
    /// One a line.
    pub records: Vec<T>,
    /// Number of a last line that was cut off in the middle of a write (no newline) and left out.
    pub cut: Option<usize>,
    /// Numbers of the other lines that were left out, and why.
    pub damaged: Vec<(usize, String)>,
}

/// Reads a log of JSON lines and leaves out what does not parse. Errors: [`Code::NotFound`], [`Code::Io`].
pub fn read_lines_that_parse<T: DeserializeOwned>(path: &Path) -> Result<Lines<T>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let mut lines = Lines {
        records: Vec::new(),
        cut: None,
        damaged: Vec::new(),
    };
    let pieces: Vec<&[u8]> = bytes.split(|&b| b == b'\n').collect();
    for (i, line) in pieces.iter().enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(record) => lines.records.push(record),
            Err(_) if i + 1 == pieces.len() => lines.cut = Some(i + 1),
            Err(e) => lines.damaged.push((i + 1, e.to_string())),
        }
    }
    Ok(lines)
}

/// Reads a log of JSON lines. Blank lines are passed over, and so is a last line without newline that does not parse: the
/// trace of a killed process. Errors: [`Code::NotFound`], [`Code::Io`], and [`Code::BadLine`] with `path:line`.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Lines<T>> {
    let lines = read_lines_that_parse(path)?;
    match lines.damaged.first() {
        None => Ok(lines),
        Some((line, why)) => Err(Error::new(
            Code::BadLine,
            format!("not a record of this log: {why}"),
        )
        .at(format!("{}:{line}", path.display()))
        .help("remove the line, or restore the file from a copy")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(loss: f64) -> MetricRecord {
        MetricRecord {
            stage: "1-branch-det".into(),
            step: 3,
            steps: 10,
            task: "det".into(),
            kind: Phase::Arch,
            loss,
            parts: [("loc".to_string(), 0.1 + 0.2), ("conf".to_string(), 1e-300)].into(),
            lr: Some(6e-4),
            grad_norm: None,
            entropy: [("det.normal".to_string(), f64::INFINITY)].into(),
            skip_share: BTreeMap::new(),
            pool_share: BTreeMap::new(),
            scores: BTreeMap::new(),
        }
    }

    #[test]
    fn floats_come_back_with_the_same_bits() {
        for loss in [
            0.1 + 0.2,
            f64::MIN_POSITIVE,
            -0.0,
            1.0,
            f64::NAN,
            f64::NEG_INFINITY,
            f64::MAX,
            0.3f32 as f64,
        ] {
            let line = to_line(&metric(loss));
            assert_eq!(line.matches('\n').count(), 1);
            let back: MetricRecord = serde_json::from_str(&line).unwrap();
            assert_eq!(back.loss.to_bits(), loss.to_bits(), "{line}");
            assert_eq!(back.parts, metric(0.0).parts);
            assert_eq!(back.entropy, metric(0.0).entropy);
        }
    }

    #[test]
    fn empty_fields_are_left_out_and_unknown_ones_ignored() {
        let line = to_line(&metric(1.0));
        assert!(
            !line.contains("skip_share") && !line.contains("grad_norm"),
            "{line}"
        );
        let more = line.replacen('{', "{\"later\":[1],", 1);
        assert_eq!(
            serde_json::from_str::<MetricRecord>(&more).unwrap(),
            metric(1.0)
        );
    }

    #[test]
    fn nothing_measured_stays_nothing() {
        let r = ProtocolResult {
            ap: vec![Some(0.5), None, Some(f64::NAN)],
            mean: None,
            more: BTreeMap::new(),
        };
        let text = to_file(&r);
        let back: ProtocolResult = serde_json::from_str(&text).unwrap();
        assert_eq!((back.ap[0], back.ap[1], back.mean), (Some(0.5), None, None));
        assert!(back.ap[2].unwrap().is_nan());
    }

    #[test]
    fn damaged_lines_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let good = to_line(&metric(1.0));
        std::fs::write(&path, format!("{good}\n{good}{}", &good[..20])).unwrap();
        let lines = read_lines::<MetricRecord>(&path).unwrap();
        assert_eq!((lines.records.len(), lines.cut), (2, Some(4)));
        std::fs::write(&path, format!("{good}{}\n{good}", &good[..20])).unwrap();
        let e = read_lines::<MetricRecord>(&path).unwrap_err();
        assert_eq!(e.code(), Code::BadLine);
        assert!(e.place().unwrap().ends_with("metrics.jsonl:2"), "{e}");
        std::fs::write(
            &path,
            format!("{good}{}", good.replace("\"loss\":1.0", "\"loss\":\"one\"")),
        )
        .unwrap();
        let e = read_lines::<MetricRecord>(&path).unwrap_err();
        assert!(
            e.place().unwrap().ends_with(":2") && e.message().contains("\"one\""),
            "{e}"
        );
        assert_eq!(
            read_file::<EvalRecord>(&dir.path().join("none.json"))
                .unwrap_err()
                .code(),
            Code::NotFound
        );
        std::fs::write(&path, "{\n \"which\": \"best\"}").unwrap();
        let e = read_file::<EvalRecord>(&path).unwrap_err();
        assert!(e.place().unwrap().contains("metrics.jsonl:2:"), "{e}");
    }
}
