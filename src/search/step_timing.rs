//! Times the two phases of a search step on made-up inputs: the workloads of `benches/peers/step.py`, size for size.

use std::cell::RefCell;
use std::time::Instant;

use serde_json::{Value, json};

use super::bilevel::{Learner, Loss, Order};
use super::noise;
use super::op_profile::Profile;
use super::workbench::prior_layout;
use crate::error::{Code, Error, Result};
use crate::model::config::{Frame, FrameConfig};
use crate::model::network::{Network, Outputs};
use crate::model::{Cells, DetHead, NetworkSpec};
use crate::nn::{Mode, Pass};
use crate::optim::config::{AdamConfig, SgdConfig};
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
        })
    }
}

/// Milliseconds of the timed steps of one task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times {
    /// `cls`, `det` or `seg`.
    pub task: &'static str,
    /// Architecture phase, wall clock.
    pub alpha: Vec<f64>,
    /// Weight phase, wall clock.
    pub weight: Vec<f64>,
    /// Both, wall clock.
    pub step: Vec<f64>,
    /// Both, processor time of all threads.
    pub step_cpu: Vec<f64>,
    /// Losses of the last step: architecture phase, weight phase.
    pub losses: [f64; 2],
}

/// Median of a list; the mean of the middle two of an even one.
pub fn median(ms: &[f64]) -> f64 {
    let mut v = ms.to_vec();
    v.sort_by(f64::total_cmp);
    match v.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => v[n / 2],
        n => (v[n / 2 - 1] + v[n / 2]) / 2.0,
    }
}

impl Times {
    /// `{"step": {"median": .., "samples": [..]}, ..}`.
    pub fn json(&self) -> Value {
        let one = |ms: &[f64]| {
            let (low, high) = ms
                .iter()
                .fold((f64::INFINITY, 0f64), |(l, h), &v| (l.min(v), h.max(v)));
            json!({"median": median(ms), "min": low, "max": high, "n": ms.len(), "samples": ms})
        };
        json!({"alpha": one(&self.alpha), "weight": one(&self.weight), "step": one(&self.step), "step_cpu": one(&self.step_cpu)})
    }
}

struct Phase {
    images: Tensor,
    targets: Targets,
}

struct Bench {
    name: &'static str,
    task: Box<dyn Task>,
    /// Architecture, weight.
    halves: [Phase; 2],
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

fn benches(w: &Workload, spec: &mut NetworkSpec) -> Result<Vec<Bench>> {
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
                TaskKind::Classification => (
                    Box::new(ClassificationTask::new(
                        names(classes),
                        &ClassificationConfig::default(),
                    )?),
                    0,
                ),
            };
            let half = |phase: &str| -> Result<Phase> {
                let rng = &mut Rng::new(w.seed, &[word("bench"), word(name), word(phase)]);
                let images = noise::images(rng, w.batch, w.size)?;
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

fn loss(net: &Network, task: &dyn Task, half: &Phase, p: &Pass) -> Result<Loss> {
    let x = p.tape.leaf(half.images.clone());
    let outputs = match net.forward(p, &x, task.kind())? {
        Outputs::Detection { loc, conf } => vec![loc, conf],
        Outputs::Segmentation(y) => vec![y],
        Outputs::Classification { logits, .. } => vec![logits],
    };
    let l = task.loss(&outputs, &half.targets)?;
    Ok(Loss {
        total: l.total,
        parts: l.parts,
    })
}

/// Builds the network, takes the warm-up steps and times the others, operation by operation where `profile` is given.
///
/// # Errors
/// Those of the network and the step.
pub fn time(w: &Workload, profile: Option<&RefCell<Profile>>) -> Result<Vec<Times>> {
    let f = &w.frame;
    let mut spec = NetworkSpec::new(f, w.size[0], w.size[1], Cells::search("backbone", f));
    (spec.det, spec.seg) = (Cells::search("det", f), Cells::search("seg", f));
    let benches = benches(w, &mut spec)?;
    let (net, store) = Network::build(&spec, w.seed, DType::F32)?;
    let mut learner = Learner::new(store);
    let sgd = SgdConfig {
        lr: 0.025,
        weight_decay: 3e-4,
        ..SgdConfig::default()
    };
    let adam = AdamConfig::default();
    let mut phase =
        |b: &Bench, half: usize, step: u64, profile: Option<&RefCell<Profile>>| -> Result<f64> {
            let (cx, key) = (
                Cx {
                    profile: profile.is_some(),
                    ..Cx::default()
                },
                [w.seed, 0, step],
            );
            let tape = RefCell::new(None);
            let of = |p: &Pass| {
                if profile.is_some() {
                    *tape.borrow_mut() = Some(p.tape.clone());
                }
                loss(&net, &*b.task, &b.halves[half], p)
            };
            let start = Instant::now();
            let report = match half {
                0 => learner.arch_step(cx, key, &of, Order::First, &adam, adam.lr)?,
                _ => learner.weight_step(cx, Mode::WEIGHT_STEP, key, &of, &sgd, sgd.lr)?,
            };
            if let (Some(profile), Some(tape)) = (profile, tape.take()) {
                profile
                    .borrow_mut()
                    .add(half, start.elapsed().as_secs_f64(), &tape);
            }
            Ok(report.loss)
        };
    let mut times: Vec<Times> = benches
        .iter()
        .map(|b| Times {
            task: b.name,
            ..Times::default()
        })
        .collect();
    for i in 0..w.warmup {
        for b in &benches {
            phase(b, 0, i as u64, None)?;
            phase(b, 1, i as u64, None)?;
        }
    }
    for i in 0..w.iters {
        let at = i % benches.len();
        let (start, cpu) = (Instant::now(), cpu_ms());
        let alpha_loss = phase(&benches[at], 0, i as u64, profile)?;
        let middle = Instant::now();
        let weight_loss = phase(&benches[at], 1, i as u64, profile)?;
        let t = &mut times[at];
        let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
        let end = Instant::now();
        t.alpha.push(ms(start, middle));
        t.weight.push(ms(middle, end));
        t.step.push(ms(start, end));
        t.step_cpu.push(cpu_ms() - cpu);
        t.losses = [alpha_loss, weight_loss];
    }
    times.retain(|t| !t.step.is_empty());
    Ok(times)
}

/// Processor time of the process in milliseconds, where the system tells (Linux, to a hundredth of a second or better);
/// 0 elsewhere.
fn cpu_ms() -> f64 {
    // Nanoseconds that each thread ran: finer than the clock ticks of `/proc/self/stat`.
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return 0.0;
    };
    let of = |path: std::path::PathBuf| -> Option<f64> {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    threads.flatten().filter_map(|t| of(t.path())).sum::<f64>() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even() {
        assert_eq!(
            (median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 3.0, 2.0])),
            (2.0, 2.5)
        );
    }

    #[test]
    fn tasks_take_turns() {
        let mut w = Workload::of_mode("mtnas-peer").unwrap();
        (w.batch, w.size, w.iters, w.warmup) = (2, [64, 64], 3, 0);
        (w.frame.channels, w.frame.cells) = (8, 4);
        let t = time(&w, None).unwrap();
        assert_eq!(
            t.iter().map(|t| (t.task, t.step.len())).collect::<Vec<_>>(),
            [("det", 2), ("seg", 1)]
        );
        assert!(
            t.iter()
                .all(|t| t.losses.iter().all(|l| l.is_finite() && *l > 0.0))
        );
        assert_eq!(Workload::of_mode("vgg").unwrap_err().code(), Code::Usage);
    }
}
