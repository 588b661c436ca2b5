//! Steps of a task with made-up batches, taken to see what they need.

use std::collections::BTreeMap;
use std::time::Instant;

use super::figures::{Forecast, Gpu, by_kernel};
use crate::backend::record::{Record, Work};
use crate::backend::{peak_bytes, reset_peak};
use crate::data::config::{Augment, InputOn};
use crate::data::mixed_config::Unlabelled;
use crate::error::Result;
use crate::model::network::{Mixing, Network};
use crate::model::{Memory, NetworkSpec};
use crate::nn::{Mode, Pass};
use crate::rng::{Rng, word};
use crate::search::beside_floor::BesideFloor;
use crate::search::bilevel::{Learner, Loss, Order};
use crate::search::config::{Config, GraphMode};
use crate::search::constraint::Constraint;
use crate::search::feed::Plain;
use crate::search::floor::Floor;
use crate::search::graphs::{Graphs, StagedLoss, Step};
use crate::search::noise;
use crate::search::phase::{Phase, Update};
use crate::search::step_facts::setting;
use crate::search::workbench::{activation_dtype, parameter_dtype, task_of};
use crate::tape::{Cx, Path};
use crate::task::config::TaskKind;
use crate::task::{Targets, Task};
use crate::tensor::{Engine, Tensor};

/// What a step of a task needs.
pub struct Workload<'a> {
    /// What it is a part of.
    pub config: &'a Config,
    /// The network.
    pub spec: NetworkSpec,
    /// Whose loss.
    pub kind: TaskKind,
    /// There are architecture steps.
    pub searches: bool,
    /// Tasks of the stage.
    pub tasks: usize,
    /// Bytes that an earlier stage left in host memory.
    pub held: u64,
}

/// The images of a half, or what a device makes them of.
enum Pictures {
    Whole(Tensor),
    Made(Engine, Plain),
}

struct Half {
    pictures: Pictures,
    targets: Targets,
}

impl Half {
    /// What a step reads. What goes up is in other memory each time, as it comes from a loader.
    fn inputs(&self, path: Path) -> Vec<Tensor> {
        let targets = self.targets.tensors.iter().map(|(_, t)| t);
        let (Pictures::Whole(first) | Pictures::Made(_, Plain { table: first, .. })) =
            &self.pictures;
        let all = [first].into_iter().chain(targets);
        match path {
            Path::Device(_) => all.map(Tensor::detached).collect(),
            _ => all.cloned().collect(),
        }
    }
}

/// The loss of a half whose tensors are `inputs`.
fn loss(net: &Network, task: &dyn Task, h: &Half, inputs: &[Tensor], p: &Pass) -> Result<Loss> {
    let (images, labels) = match &h.pictures {
        Pictures::Whole(_) => (inputs[0].clone(), None),
        Pictures::Made(e, plain) => plain.make(*e, &inputs[0])?,
    };
    let x = p.tape.leaf(images);
    let names = h.targets.tensors.iter().map(|(name, _)| *name);
    let made = labels.map(|l| ("labels", l));
    let staged = Targets {
        tensors: names.zip(inputs[1..].iter().cloned()).chain(made).collect(),
        denominator: h.targets.denominator,
    };
    let targets = task.targets_of(p.tape.cx().path, staged)?;
    let outputs = net
        .forward_with(p, &x, task.kind(), Mixing::Parameters)?
        .vars();
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
            _ => None,
        };
        n.unwrap_or(1)
    }

    /// Takes steps and calls `after` at the end of each. The first one finds no memory to use again; on a device the third one is the
    /// first that is replayed.
    ///
    /// # Errors
    /// Those of the network and of the steps.
    pub fn run(
        &self,
        cx: Cx,
        batch: usize,
        steps: u64,
        mut after: impl FnMut(&Learner, &Graphs) -> Result<()>,
    ) -> Result<()> {
        let c = self.config;
        let s = setting(c, self.kind)?;
        let size = [self.spec.height, self.spec.width];
        let classes = (0..self.classes()).map(|i| format!("class-{i}")).collect();
        let task = task_of(c, &s.table, classes, size)?;
        let (net, store) = Network::build(&self.spec, 1, parameter_dtype(c.run.precision))?;
        let constraint = match self.searches {
            true => Constraint::open(c, &net)?,
            false => None,
        };
        let data = c.data.get(&s.table.data);
        let masked = data.is_some_and(|d| d.mixed.unlabelled == Unlabelled::Mask);
        // As `Workbench::made_by_kernels` has it.
        let jitter = data.is_some_and(|d| d.augment.contains(&Augment::ColourJitter));
        let by_kernels = task.quantity().is_none() && !jitter;
        let every = vec![true; task.classes().len()];
        // Which classes are labelled, where the images of a batch may differ in that.
        let marked = |mut inputs: Targets| -> Result<Targets> {
            if masked {
                let marks = vec![every.as_slice(); batch];
                inputs.tensors.extend(task.labelled(&marks)?);
            }
            Ok(inputs)
        };
        let half = |i: u64| -> Result<Half> {
            let rng = &mut Rng::new(1, &[word("forecast"), i]);
            let all = noise::of_task(rng, &*task, batch, size);
            let dtype = activation_dtype(c.run.precision);
            let (path, on) = (cx.path, c.loader.input_on);
            if let (Path::Device(e), InputOn::Auto, true) = (path, on, by_kernels) {
                let beside = task.inputs_beside_maps(batch * size[0] * size[1]);
                return Ok(Half {
                    pictures: Pictures::Made(e, Plain::new(e, self.kind, batch, size, dtype)?),
                    targets: match beside {
                        Some(made) => made,
                        None => marked(task.inputs(cx.path, &all)?)?,
                    },
                });
            }
            Ok(Half {
                pictures: Pictures::Whole(noise::images(rng, batch, size)?.cast(dtype)),
                targets: marked(task.inputs(cx.path, &all)?)?,
            })
        };
        let halves = [half(0)?, half(1)?];
        let mut learner = Learner::new(store);
        if self.tasks > 1 && cx.path == Path::Fast {
            // The other tasks' steps leave momenta of weights that this one does not reach.
            let of = |(_, _, t): (_, _, &Tensor)| Some(Tensor::full(*t.shape(), t.dtype(), 0.0));
            learner.sgd.momentum = learner.store.weights.iter().map(of).collect();
        }
        let mut graphs = Graphs::new(c.run.graphs == GraphMode::Off);
        for step in 0..steps {
            let inputs = halves.each_ref().map(|h| h.inputs(cx.path));
            let of = |i: usize| {
                let (net, task, h) = (&net, &*task, &halves[i]);
                move |p: &Pass, x: &[Tensor]| loss(net, task, h, x, p)
            };
            let (plain, weight) = (of(0), of(1));
            let arch = |p: &Pass, x: &[Tensor]| {
                let loss = plain(p, x)?;
                match &constraint {
                    Some(c) => c.add(&net, p, loss),
                    None => Ok(loss),
                }
            };
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
            after(&learner, &graphs)?;
        }
        Ok(())
    }

    /// The same with another choice of what search cells keep.
    pub fn with(&self, memory: Memory) -> Workload<'_> {
        let mut spec = self.spec.clone();
        spec.memory = memory;
        Workload { spec, ..*self }
    }

    /// Memory, launches and traffic of a step by counting, and what it fetches.
    ///
    /// # Errors
    /// `OutOfMemory` where it does not fit.
    pub fn count(&self, gpu: Gpu, batch: usize, f: &mut Forecast) -> Result<()> {
        let (record, counted) = Record::new(gpu.memory);
        let engine = Engine::new(Box::new(record), false);
        let (mut work, mut kernels) = (Work::default(), BTreeMap::new());
        let (mut moved, mut replayed) = ([0; 2], 0);
        let (mut before, mut replays) = (engine.counts(), 0);
        let cx = Cx {
            path: Path::Device(engine),
            ..Cx::default()
        };
        self.run(cx, batch, 3, |_, graphs| {
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
        if self.config.loader.input_on == InputOn::Auto {
            f.resident = Some((gpu.memory as f64 * self.config.loader.resident) as u64);
        }
        f.by_host = engine.fallbacks().into_keys().collect();
        f.kernels = by_kernel(kernels);
        let phases = 1 + u64::from(self.searches);
        let size = activation_dtype(self.config.run.precision).size();
        f.floor = Floor::of(&self.spec, self.kind, batch).map(|floor| {
            let step = [bytes as f64, f.seconds];
            BesideFloor::new(&self.spec, &floor, phases, size, gpu.bandwidth, step)
        });
        Ok(())
    }

    /// Bytes of the images that loaders hold ready in host memory besides those of the step.
    pub fn ready(&self, batch: usize) -> u64 {
        let loaders = self.tasks * (1 + usize::from(self.searches));
        let image = 3 * self.spec.height * self.spec.width * size_of::<f32>();
        (self.config.loader.prefetch * loaders * batch * image) as u64
    }

    /// Seconds and memory of a step by taking it.
    ///
    /// # Errors
    /// Those of the step.
    pub fn take(&self, batch: usize) -> Result<(f64, u64)> {
        reset_peak();
        let (mut last, mut seconds) = (Instant::now(), 0.0);
        self.run(Cx::default(), batch, 2, |_, _| {
            seconds = last.elapsed().as_secs_f64();
            last = Instant::now();
            Ok(())
        })?;
        Ok((seconds, peak_bytes() as u64))
    }
}
