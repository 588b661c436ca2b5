//! The workloads of `benches/peers/step.py`, size for size: networks, made-up inputs and targets.

use super::bilevel::Loss;
use super::noise;
use super::workbench::prior_layout;
use crate::error::{Code, Error, Result};
use crate::model::config::{Frame, FrameConfig};
use crate::model::network::Network;
use crate::model::{DetHead, NetworkSpec};
use crate::nn::Pass;
use crate::rng::{Rng, word};
use crate::tape::Cx;
use crate::task::config::{
    ClassificationConfig, DetectionConfig, SegDenominator, SegmentationConfig, TaskKind,
};
use crate::task::{ClassificationTask, DetectionTask, SegmentationTask, Targets, Task};
use crate::tensor::{DType, Tensor};

/// Share of the priors that are positive in the made-up detection targets, as in the peer.
const POSITIVE: f64 = 0.01;

/// What is timed.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The network around the cells.
    pub frame: FrameConfig,
    /// Images of each phase.
    pub batch: usize,
    /// Height and width of the input in pixels.
    pub size: [usize; 2],
    /// Timed steps; tasks take turns.
    pub iters: usize,
    /// Steps of every task before.
    pub warmup: usize,
    /// Seed of weights and inputs.
    pub seed: u64,
    /// Storage of maps; parameters are f32.
    pub dtype: DType,
    /// Whether phases are replayed as graphs on a device.
    pub graphs: bool,
    /// How operations run.
    pub cx: Cx,
}

impl Workload {
    /// The peer's defaults for a mode: `cifar`, `mtnas-peer` or `mtnas-release`.
    ///
    /// # Errors
    /// `Usage` for another mode.
    pub fn of_mode(mode: &str) -> Result<Workload> {
        let frame = FrameConfig::default();
        let (frame, batch, size) = match mode {
            "cifar" => (
                FrameConfig {
                    frame: Frame::Classification,
                    channels: 16,
                    cells: 8,
                    ..frame
                },
                64,
                [32, 32],
            ),
            "mtnas-peer" => (
                FrameConfig {
                    frame: Frame::MtnasPeer,
                    channels: 16,
                    cells: 8,
                    ..frame
                },
                32,
                [320, 512],
            ),
            "mtnas-release" => (
                FrameConfig {
                    frame: Frame::MtnasRelease,
                    ..frame
                },
                32,
                [320, 512],
            ),
            other => {
                return Err(
                    Error::new(Code::Usage, format!("there is no mode {other:?}"))
                        .help("use cifar, mtnas-peer or mtnas-release"),
                );
            }
        };
        Ok(Workload {
            frame,
            batch,
            size,
            iters: 10,
            warmup: 2,
            seed: 0,
            dtype: DType::F32,
            graphs: true,
            cx: Cx::default(),
        })
    }
}

/// Inputs of one phase.
pub(super) struct Phase {
    pub images: Tensor,
    pub targets: Targets,
}

impl Phase {
    /// All tensors, in the order of [`loss`].
    pub fn inputs(&self) -> Vec<Tensor> {
        let targets = self.targets.tensors.iter().map(|(_, t)| t.clone());
        [self.images.clone()].into_iter().chain(targets).collect()
    }
}

/// One task of a workload.
pub(super) struct Bench {
    pub name: &'static str,
    pub task: Box<dyn Task>,
    /// Architecture, weight.
    pub halves: [Phase; 2],
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("class-{i}")).collect()
}

/// Random labels and offsets of every prior: no matching is timed or needed.
fn detection_targets(rng: &mut Rng, n: usize, priors: usize, classes: usize) -> Result<Targets> {
    let labels: Vec<i32> = (0..n * priors)
        .map(|_| {
            if rng.coin(POSITIVE) {
                1 + rng.below(classes) as i32
            } else {
                0
            }
        })
        .collect();
    let offsets = (0..4 * n * priors).map(|_| rng.normal()).collect();
    let positives = labels.iter().filter(|&&l| l > 0).count();
    Ok(Targets {
        tensors: vec![
            ("label", Tensor::from_i32([n, priors], labels)?),
            ("offset", Tensor::from_f64([n, priors, 4], offsets)?),
        ],
        denominator: positives.max(1) as f64,
    })
}

/// The tasks of a workload, and the heads that they want of the network.
pub(super) fn benches(w: &Workload, spec: &mut NetworkSpec) -> Result<Vec<Bench>> {
    let f = &w.frame;
    let mut kinds = vec![];
    if f.frame == Frame::Classification {
        spec.classes = Some(10);
        kinds.push((TaskKind::Classification, "cls", 10));
    } else {
        let (classes, levels) = (
            if f.frame == Frame::MtnasPeer { 4 } else { 3 },
            f.detection_levels(),
        );
        let anchors = if f.frame == Frame::MtnasPeer {
            vec![6; levels]
        } else {
            NetworkSpec::release_anchors(levels)
        };
        spec.det_head = Some(DetHead { classes, anchors });
        spec.seg_classes = Some(16);
        kinds.extend([
            (TaskKind::Detection, "det", classes),
            (TaskKind::Segmentation, "seg", 16),
        ]);
    }
    kinds
        .into_iter()
        .map(|(kind, name, classes)| {
            let (task, priors): (Box<dyn Task>, usize) = match kind {
                TaskKind::Detection => {
                    let t = DetectionTask::new(
                        names(classes),
                        prior_layout(f, w.size)?,
                        &DetectionConfig::default(),
                    )?;
                    let n = t.priors().len();
                    (Box::new(t), n)
                }
                TaskKind::Segmentation => {
                    let c = SegmentationConfig {
                        denominator: SegDenominator::ValidPixels,
                        ..SegmentationConfig::default()
                    };
                    (Box::new(SegmentationTask::new(names(classes), &c)?), 0)
                }
                // No workload has a task of values.
                _ => (
                    Box::new(ClassificationTask::new(
                        names(classes),
                        &ClassificationConfig::default(),
                    )?),
                    0,
                ),
            };
            let half = |phase: &str| -> Result<Phase> {
                let rng = &mut Rng::new(w.seed, &[word("bench"), word(name), word(phase)]);
                let images = noise::images(rng, w.batch, w.size)?.cast(w.dtype);
                let targets = match kind {
                    TaskKind::Detection => detection_targets(rng, w.batch, priors, classes)?,
                    _ => task.targets(&noise::annotations(rng, kind, w.batch, w.size, classes))?,
                };
                Ok(Phase { images, targets })
            };
            let halves = [half("arch")?, half("weight")?];
            Ok(Bench { name, task, halves })
        })
        .collect()
}

/// The loss of a phase whose tensors are `inputs`, wherever they lie.
pub(super) fn loss(
    net: &Network,
    task: &dyn Task,
    half: &Phase,
    inputs: &[Tensor],
    p: &Pass,
) -> Result<Loss> {
    let x = p.tape.leaf(inputs[0].clone());
    let names = half.targets.tensors.iter().map(|(name, _)| *name);
    let targets = Targets {
        tensors: names.zip(inputs[1..].iter().cloned()).collect(),
        denominator: half.targets.denominator,
    };
    let outputs = net.forward(p, &x, task.kind())?.vars();
    let l = task.loss(&outputs, &targets)?;
    Ok(Loss {
        total: l.total,
        parts: l.parts,
    })
}
