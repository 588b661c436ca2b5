//! What the stages of a configuration will need: memory and time, before anything runs. On a GPU a step of full size is put on a
//! device that only counts; on the processor steps of one and of two images are taken and extended in a straight line.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::bilevel::{Learner, Loss, Order};
use super::config::{Config, GraphMode, Method, Precision};
use super::graphs::{Graphs, StagedLoss, Step};
use super::networks::{Heads, Parts, spec};
use super::noise;
use super::phase::{Phase, Update};
use super::planned::{Planned, networks};
use super::step_facts::setting;
use super::workbench::{activation_dtype, parameter_dtype, task_of};
use crate::backend::record::{Record, Work};
use crate::backend::{peak_bytes, reset_peak};
use crate::error::{Code, Error, Result};
use crate::model::network::{Mixing, Network, Outputs};
use crate::model::{Cells, NetworkSpec};
use crate::nn::{Mode, Pass};
use crate::rng::{Rng, word};
use crate::space::published;
use crate::tape::{Cx, Path};
use crate::task::config::TaskKind;
use crate::task::{Targets, Task};
use crate::tensor::{Engine, Tensor};

/// What a GPU is taken for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpu {
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes a second of a copy, reads and writes together.
    pub bandwidth: f64,
    /// Seconds from one small kernel to the next.
    pub launch: f64,
}

/// Where the run would be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Where {
    /// The processor.
    Cpu,
    /// A GPU.
    Gpu(Gpu),
}

/// What a step launches of one kernel; copies and fills are listed like kernels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelWork {
    /// Its name.
    pub kernel: &'static str,
    /// Launches in a step.
    pub launches: u64,
    /// Bytes of the buffers that they read, all launches together.
    pub read: u64,
    /// Bytes of the buffers that they write.
    pub written: u64,
}

/// The work of a step by kernel, most launches first, of as many the most bytes.
fn by_kernel(work: BTreeMap<&'static str, Work>) -> Vec<KernelWork> {
    let row = |(kernel, w): (&'static str, Work)| KernelWork {
        kernel,
        launches: w.launches,
        read: w.read,
        written: w.written,
    };
    let mut all: Vec<KernelWork> = work.into_iter().map(row).collect();
    all.sort_by_key(|k| std::cmp::Reverse((k.launches, k.read + k.written)));
    all
}

/// One task's steps in one stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// Name of the stage.
    pub stage: &'static str,
    /// Whose loss.
    pub task: String,
    /// Images of each phase.
    pub batch: usize,
    /// Steps of this task.
    pub steps: usize,
    /// Seconds of a step.
    pub seconds: f64,
    /// The most bytes of tensors in use at one time.
    pub memory: u64,
    /// On a GPU: kernels launched in a step, and bytes they must move at least.
    pub launches: Option<u64>,
    /// As above.
    pub traffic: Option<u64>,
    /// Bytes that a step uploads: its batches, rates and keys.
    pub uploaded: Option<u64>,
    /// Phases of a step that are replayed as graphs.
    pub graphs: Option<u64>,
    /// Bytes that a step fetches from the GPU; operations that the host computes for lack of kernels.
    pub fetched: Option<u64>,
    /// As above.
    pub by_host: Vec<&'static str>,
    /// The kernels of a step, those that are launched most often first.
    pub kernels: Vec<KernelWork>,
    /// What is not yet known and what stands in its place.
    pub note: Option<&'static str>,
}

/// What a step of a task needs.
struct Workload<'a> {
    config: &'a Config,
    spec: &'a NetworkSpec,
    kind: TaskKind,
    /// There are architecture steps.
    searches: bool,
}

struct Half {
    images: Tensor,
    targets: Targets,
}

impl Half {
    /// What goes up, in other memory each time, as it comes from a loader.
    fn inputs(&self) -> Vec<Tensor> {
        let targets = self.targets.tensors.iter().map(|(_, t)| t);
        [&self.images]
            .into_iter()
            .chain(targets)
            .map(Tensor::detached)
            .collect()
    }
}

/// The loss of a half whose tensors are `inputs`.
fn loss(net: &Network, task: &dyn Task, h: &Half, inputs: &[Tensor], p: &Pass) -> Result<Loss> {
    let x = p.tape.leaf(inputs[0].clone());
    let names = h.targets.tensors.iter().map(|(name, _)| *name);
    let staged = Targets {
        tensors: names.zip(inputs[1..].iter().cloned()).collect(),
        denominator: h.targets.denominator,
    };
    let targets = task.targets_of(p.tape.cx().path, staged)?;
    let outputs = match net.forward_with(p, &x, task.kind(), Mixing::Parameters)? {
        Outputs::Detection { loc, conf } => vec![loc, conf],
        Outputs::Segmentation(y) => vec![y],
        Outputs::Classification { logits, .. } => vec![logits],
    };
    let l = task.loss(&outputs, &targets)?;
    Ok(Loss {
        total: l.total,
        parts: l.parts,
    })
}

impl Workload<'_> {
    fn classes(&self) -> usize {
        let n = match self.kind {
            TaskKind::Detection => self.spec.det_head.as_ref().map(|h| h.classes),
            TaskKind::Segmentation => self.spec.seg_classes,
            TaskKind::Classification => self.spec.classes,
        };
        n.unwrap_or(1)
    }

    /// Takes steps and calls `after` at the end of each. The first one finds no memory to use again; on a device the third one is the
    /// first that is replayed.
    fn run(
        &self,
        cx: Cx,
        batch: usize,
        steps: u64,
        mut after: impl FnMut(&Graphs) -> Result<()>,
    ) -> Result<()> {
        let c = self.config;
        let s = setting(c, self.kind)?;
        let size = [self.spec.height, self.spec.width];
        let classes = (0..self.classes()).map(|i| format!("class-{i}")).collect();
        let task = task_of(c, &s.table, classes, size)?;
        let (net, store) = Network::build(self.spec, 1, parameter_dtype(c.run.precision))?;
        let half = |i: u64| -> Result<Half> {
            let rng = &mut Rng::new(1, &[word("forecast"), i]);
            let classes = task.classes().len();
            let all = noise::annotations(rng, self.kind, batch, size, classes);
            Ok(Half {
                images: noise::images(rng, batch, size)?.cast(activation_dtype(c.run.precision)),
                targets: task.inputs(cx.path, &all)?,
            })
        };
        let halves = [half(0)?, half(1)?];
        let mut learner = Learner::new(store);
        let mut graphs = Graphs::new(c.run.graphs == GraphMode::Off);
        for step in 0..steps {
            let inputs = halves.each_ref().map(Half::inputs);
            let of = |i: usize| {
                let (net, task, h) = (&net, &*task, &halves[i]);
                move |p: &Pass, x: &[Tensor]| loss(net, task, h, x, p)
            };
            let (arch, weight) = (of(0), of(1));
            let phase = |l: &mut Learner, graphs: &mut Graphs, update: Update, half: usize| {
                let (mode, lr) = match update {
                    Update::Arch(c) => (Mode::ARCH_STEP, c.lr),
                    Update::Weights(c) => (Mode::WEIGHT_STEP, c.lr),
                };
                let phase = Phase {
                    cx,
                    mode,
                    key: [1, 0, step],
                    update,
                    lr,
                };
                let one = Step {
                    of: &[halves[half].targets.denominator.to_bits()],
                    inputs: &inputs[half],
                    loss: [&arch as StagedLoss, &weight][half],
                    varies: None,
                };
                graphs.step(l, &phase, &one)
            };
            let (alpha, weights) = (&s.alpha, &s.weights);
            if self.searches && c.search.order != 2 {
                phase(&mut learner, &mut graphs, Update::Arch(alpha), 0)?;
            } else if self.searches {
                let order = Order::Second {
                    weight_loss: &|p| weight(p, &inputs[1]),
                    xi: weights.lr,
                    weights,
                    epsilon: c.search.unroll_epsilon,
                };
                let loss = |p: &Pass| arch(p, &inputs[0]);
                learner.arch_step(cx, [1, 0, step], &loss, order, alpha, alpha.lr)?;
            }
            phase(&mut learner, &mut graphs, Update::Weights(weights), 1)?;
            after(&graphs)?;
        }
        Ok(())
    }

    /// Memory, launches and traffic of a step by counting, and what it fetches.
    fn count(&self, gpu: Gpu, batch: usize, f: &mut Forecast) -> Result<()> {
        let (record, counted) = Record::new(gpu.memory);
        let engine = Engine::new(Box::new(record), false);
        let cx = Cx {
            path: Path::Device(engine),
            ..Cx::default()
        };
        let (mut work, mut kernels) = (Work::default(), BTreeMap::new());
        let (mut moved, mut replayed) = ([0; 2], 0);
        let (mut before, mut replays) = (engine.counts(), 0);
        self.run(cx, batch, 3, |graphs| {
            (work, kernels) = (counted.total(), counted.work());
            counted.reset();
            let now = engine.counts();
            moved = [
                now.uploaded - before.uploaded,
                now.downloaded - before.downloaded,
            ];
            replayed = graphs.replays() - replays;
            (before, replays) = (now, graphs.replays());
            Ok(())
        })?;
        let bytes = work.read + work.written;
        f.memory = engine.counts().peak;
        f.seconds = bytes as f64 / gpu.bandwidth + work.launches as f64 * gpu.launch;
        (f.launches, f.traffic) = (Some(work.launches), Some(bytes));
        (f.uploaded, f.fetched) = (Some(moved[0]), Some(moved[1]));
        f.graphs = Some(replayed);
        f.by_host = engine.fallbacks().into_keys().collect();
        f.kernels = by_kernel(kernels);
        Ok(())
    }

    /// Seconds and memory of a step by taking it.
    fn take(&self, batch: usize) -> Result<(f64, u64)> {
        reset_peak();
        let (mut last, mut seconds) = (Instant::now(), 0.0);
        self.run(Cx::default(), batch, 2, |_| {
            seconds = last.elapsed().as_secs_f64();
            last = Instant::now();
            Ok(())
        })?;
        Ok((seconds, peak_bytes() as u64))
    }
}

/// Extends figures of one and of two images to `n`.
fn extend(one: f64, two: f64, n: usize) -> f64 {
    one + (two - one).max(0.0) * (n as f64 - 1.0)
}

/// The tasks that a network's heads serve.
fn tasks(spec: &NetworkSpec) -> Vec<TaskKind> {
    let all = [
        (spec.det_head.is_some(), TaskKind::Detection),
        (spec.seg_classes.is_some(), TaskKind::Segmentation),
        (spec.classes.is_some(), TaskKind::Classification),
    ];
    all.into_iter()
        .filter_map(|(there, kind)| there.then_some(kind))
        .collect()
}

const STAND_IN: &str = "with a published genotype in place of those that the search will find";

/// The network of the finetune: what the search will find is not known, published cells stand in its place.
fn finetuned(c: &Config, heads: &Heads) -> Result<Planned> {
    let cells = || {
        let g = published::by_name("PC_DARTS_cifar").expect("a published genotype");
        Cells::Derived(g)
    };
    let branch = |there: bool| match there && c.model.searched_branches() {
        true => cells(),
        false => Cells::HandCrafted,
    };
    let parts = Parts {
        backbone: cells(),
        det: branch(heads.det.is_some()),
        seg: branch(heads.seg.is_some()),
    };
    Ok(Planned {
        stage: "5-finetune",
        spec: spec(c, &parts, heads)?,
        note: Some(STAND_IN),
    })
}

/// Images of a phase and steps of a stage.
fn budget(c: &Config, stage: &str) -> (usize, usize) {
    let s = &c.search;
    match stage {
        "1-branch-det" | "2-branch-seg" => (s.batch, s.iters.branch),
        "3-presearch" => (s.presearch.batch, s.iters.presearch),
        "5-finetune" => (c.finetune.batch, c.finetune.iters),
        _ => (s.batch, s.iters.backbone),
    }
}

/// What every stage will need, task by task.
///
/// # Errors
/// Those of the configuration's networks; `OutOfMemory` when a step does not fit the GPU.
pub fn forecast(
    c: &Config,
    heads: &Heads,
    presearch: Option<usize>,
    at: Where,
) -> Result<Vec<Forecast>> {
    if c.run.precision == Precision::F64 && at != Where::Cpu {
        let text = "precision f64 is there on the processor only";
        return Err(Error::new(Code::ConfigValue, text).at("run.precision"));
    }
    let mut stages = networks(c, heads, presearch.or(Some(10)))?;
    if stages.iter().all(|p| p.stage != "5-finetune") {
        stages.push(finetuned(c, heads)?);
    }
    let mut all = vec![];
    for p in &stages {
        let (batch, steps) = budget(c, p.stage);
        let kinds = tasks(&p.spec);
        for &kind in &kinds {
            let w = Workload {
                config: c,
                spec: &p.spec,
                kind,
                searches: p.stage != "5-finetune" && c.search.method != Method::Given,
            };
            let mut f = Forecast {
                stage: p.stage,
                task: kind.to_string(),
                batch,
                steps: steps.div_ceil(kinds.len()),
                seconds: 0.0,
                memory: 0,
                launches: None,
                traffic: None,
                uploaded: None,
                graphs: None,
                fetched: None,
                by_host: vec![],
                kernels: vec![],
                note: p.note,
            };
            match at {
                Where::Gpu(gpu) => w.count(gpu, batch, &mut f)?,
                Where::Cpu => {
                    let ((t1, m1), (t2, m2)) = (w.take(1)?, w.take(2)?);
                    f.seconds = extend(t1, t2, batch);
                    f.memory = extend(m1 as f64, m2 as f64, batch) as u64;
                }
            }
            all.push(f);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> (Config, Heads) {
        let mut c =
            Config::from_toml(include_str!("../../configs/demo.toml"), "demo.toml").unwrap();
        c.input.size = [64, 96];
        c.search.presearch.size = [32, 32];
        let heads = Heads {
            det: Some(3),
            seg: Some(8),
            cls: None,
        };
        (c, heads)
    }

    #[test]
    fn a_gpu_is_planned_for_by_counting() {
        let (c, heads) = demo();
        let gpu = |memory| {
            Where::Gpu(Gpu {
                memory,
                bandwidth: 1e12,
                launch: 2e-6,
            })
        };
        let all = forecast(&c, &heads, Some(4), gpu(64 << 30)).unwrap();
        let stages: Vec<&str> = all.iter().map(|f| f.stage).collect();
        assert!(
            stages.contains(&"1-branch-det") && stages.contains(&"5-finetune"),
            "{stages:?}"
        );
        for f in &all {
            assert!(
                f.launches.unwrap() > 100 && f.traffic.unwrap() > 1 << 20,
                "{f:?}"
            );
            assert!(f.memory > 1 << 20 && f.seconds > 0.0, "{f:?}");
            // Losses, their parts and the norms come back, nothing else; every operation has kernels.
            assert!(f.fetched.unwrap() <= 256, "{f:?}");
            assert!(f.by_host.is_empty(), "{f:?}");
            // Kernel by kernel it is the same step.
            let sum = |of: fn(&KernelWork) -> u64| f.kernels.iter().map(of).sum::<u64>();
            assert_eq!(Some(sum(|k| k.launches)), f.launches);
            assert_eq!(Some(sum(|k| k.read + k.written)), f.traffic);
            assert!(f.kernels.windows(2).all(|p| p[0].launches >= p[1].launches));
            // What goes up is little more than the images; every phase is a graph.
            let phases = 1 + u64::from(f.stage != "5-finetune");
            let pixels = match f.stage {
                "3-presearch" => 32 * 32,
                _ => 64 * 96,
            };
            let images = phases * 3 * 4 * (f.batch * pixels) as u64;
            let up = f.uploaded.unwrap();
            assert!(up >= images && up < images + images / 2, "{f:?} {images}");
            assert_eq!(f.graphs, Some(phases), "{f:?}");
        }
        let e = forecast(&c, &heads, Some(4), gpu(4 << 20)).unwrap_err();
        assert_eq!(e.code(), Code::OutOfMemory);
        assert!(e.render().contains("largest holders"), "{}", e.render());
    }

    #[test]
    fn figures_are_extended_in_a_straight_line() {
        assert_eq!(extend(3.0, 5.0, 4), 9.0);
        assert_eq!(extend(3.0, 2.9, 4), 3.0);
    }

    #[test]
    fn heads_name_their_tasks() {
        let (c, heads) = demo();
        let s = finetuned(&c, &heads).unwrap().spec;
        assert_eq!(tasks(&s), [TaskKind::Detection, TaskKind::Segmentation]);
        assert_eq!(
            budget(&c, "5-finetune"),
            (c.finetune.batch, c.finetune.iters)
        );
    }
}
