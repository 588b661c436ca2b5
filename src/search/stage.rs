//! One stage of a run: steps until the budget or a stopping rule ends it, with logs, checkpoints, rollback and resume.
//!
//! Everything a stage does is a function of its plan, the seed and the step number, so a stage that is killed and taken up
//! again at a checkpoint ends in the same bits.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::bilevel::{Learner, Loss, Order, StepReport};
use super::checkpoint::Checkpoint;
use super::config::{Alternate, OnTrip};
use super::learner_io;
use super::progress::Figures;
use super::records_io::Lengths;
use super::session::Session;
use super::signals;
use super::stop::{Rule, Stopper};
use super::workbench::{Half, Workbench};
use crate::data::batch::Batch;
use crate::data::loader::Loader;
use crate::error::{Code, Error, Result};
use crate::model::{Mixing, Network, NetworkSpec};
use crate::nn::{Mode, Pass, Store};
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::optim::rate;
use crate::report::records::{
    AlphaRecord, AlphaSet, CellKind, EventRecord, MetricRecord, Phase, StageRecord, Status,
    TimingRecord,
};
use crate::rng::{Rng, word};
use crate::space::derive::learnable_ranking;
use crate::space::random::{NoneDraws, OneHot, one_hot, random_genotype};
use crate::space::{ArchGroup, PRIMITIVES};
use crate::task::Targets;
use crate::tensor::Tensor;

/// What the architecture side of a stage does.
#[derive(Debug, Clone)]
pub struct ArchPlan {
    /// Groups of architecture parameters that are searched and logged; the first decides when to stop.
    pub groups: Vec<String>,
    /// Optimiser.
    pub alpha: AdamConfig,
    /// Share of the steps before the first architecture step.
    pub warmup: f64,
    /// When to stop early.
    pub rule: Rule,
    /// Rate of the dropout after skip-connects at the first step, falling linearly to 0 over the stage (P-DARTS).
    pub skip_dropout: f64,
}

/// One stage.
#[derive(Clone)]
pub struct Plan {
    /// Directory under `stages/`: `1-branch-det`.
    pub name: String,
    /// Number of the stage: keys its random numbers.
    pub number: u64,
    /// The network.
    pub spec: NetworkSpec,
    /// Tasks whose losses train it, in turn.
    pub tasks: Vec<Rc<Workbench>>,
    /// Steps at most.
    pub steps: u64,
    /// Images of a step.
    pub batch: usize,
    /// Optimiser of the weights.
    pub weights: SgdConfig,
    /// Architecture steps, if any.
    pub arch: Option<ArchPlan>,
    /// Each step trains the weights, on their half, through one random architecture (weight-sharing random search).
    pub sample: Option<NoneDraws>,
    /// Which task's loss an iteration takes.
    pub alternate: Alternate,
    /// Share of the training data for weights, when there are architecture steps.
    pub weight_split: f64,
    /// Drop path at the end of the stage.
    pub drop_path: f64,
    /// Values to start from where name and shape agree.
    pub init: Option<Rc<Store>>,
}

/// A finished stage.
pub struct Outcome {
    /// The network.
    pub net: Network,
    /// Its values at the end.
    pub store: Rc<Store>,
    /// What stopped it, the genotypes.
    pub record: StageRecord,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Counters {
    step: u64,
    /// Batches taken, by task: for weights and for architecture.
    weight_batches: Vec<u64>,
    arch_batches: Vec<u64>,
    stopper: Stopper,
    rollbacks: u32,
    /// The end is in the log: a kill between the last checkpoint and `stage.json` must not log it twice.
    #[serde(default)]
    ended: bool,
}

struct Running<'a> {
    plan: &'a Plan,
    net: &'a Network,
    learner: Learner,
    counters: Counters,
    /// Architecture parameters at the last genotype within the skip limit.
    allowed: Option<Vec<Tensor>>,
    weight_loaders: Vec<Loader>,
    arch_loaders: Vec<Loader>,
}

struct Done {
    tasks: Vec<usize>,
    weight: StepReport,
    arch: Option<StepReport>,
    lr: f64,
    images: u64,
}

/// Runs `plan`, or takes it up where it was, or returns its outcome if it is finished.
///
/// # Errors
/// `Interrupted` after a checkpoint when a stop was asked for; `Diverged` after the rollbacks allowed; those of data and
/// files.
pub fn run(session: &mut Session, plan: &Plan) -> Result<Outcome> {
    let (net, store) = Network::build(
        &plan.spec,
        session.seed_of(plan.number),
        session.parameter_dtype(),
    )?;
    let checkpoints = session
        .dir
        .checkpoints(&plan.name, session.config.checkpoint.keep);
    let mut r = Running {
        plan,
        net: &net,
        learner: Learner::new(store),
        counters: Counters {
            weight_batches: vec![0; plan.tasks.len()],
            arch_batches: vec![0; plan.tasks.len()],
            ..Counters::default()
        },
        allowed: None,
        weight_loaders: vec![],
        arch_loaders: vec![],
    };
    let loaded = checkpoints.load_latest()?;
    let finished = session.stage_record(&plan.name)?;
    match (&finished, loaded) {
        (_, Some(l)) => {
            for e in &l.skipped {
                session.progress.warn(&e.to_string());
            }
            let lengths = r.restore(&l.checkpoint)?;
            if let Some(record) = finished {
                session.lengths = lengths;
                return Ok(Outcome {
                    store: Rc::new(r.learner.store),
                    net,
                    record,
                });
            }
            session.logs.rewind(lengths)?;
        }
        (Some(_), None) => {
            let text = format!(
                "stage {} is marked as finished but has no checkpoint",
                plan.name
            );
            return Err(Error::new(Code::BadCheckpoint, text).at(session.dir.path().display()));
        }
        (None, None) => {
            session.logs.rewind(session.lengths)?;
            if let Some(init) = &plan.init {
                let taken = r.learner.store.weights.load_matching(&init.weights)
                    + r.learner.store.buffers.load_matching(&init.buffers)
                    + r.learner.store.arch.load_matching(&init.arch);
                let text = format!("{taken} tensors taken over from an earlier stage");
                session.logs.event(&event(plan, 0, "init", None, text))?;
            }
            session.save(&checkpoints, 0, |lengths| r.checkpoint(lengths))?;
        }
    }
    r.open_loaders()?;
    session
        .progress
        .stage(&plan.name, plan.steps, r.counters.step);
    while r.counters.step < plan.steps && r.counters.stopper.stopped.is_none() {
        if session.stop.requested() {
            session.save(&checkpoints, r.counters.step, |lengths| {
                r.checkpoint(lengths)
            })?;
            session.dir.set_status(Status::Interrupted)?;
            return Err(signals::interrupted(session.dir.path()));
        }
        match r.step(session) {
            Ok(done) => {
                r.counters.step += 1;
                r.log(session, &done)?;
            }
            Err(e) if e.code() == Code::Diverged => {
                let count = r.counters.rollbacks + 1;
                if count as usize > session.config.search.max_rollbacks {
                    session.dir.set_status(Status::Diverged)?;
                    return Err(e.note(format!("at {} step {}, after {} rollbacks", plan.name, r.counters.step, count - 1)).help(
                        "lower `search.weights.lr`, or look at the step with `mtnas step CFG --dump FILE.safetensors`",
                    ));
                }
                let at = r.counters.step;
                let good = checkpoints.load_latest()?.ok_or_else(|| e.clone())?;
                let lengths = r.restore(&good.checkpoint)?;
                session.logs.rewind(lengths)?;
                r.counters.rollbacks = count;
                let text = format!(
                    "step {at}: {}; back to step {}, learning rates halved",
                    e.message(),
                    r.counters.step
                );
                session.progress.warn(&text);
                session.logs.event(&event(
                    plan,
                    r.counters.step,
                    "rollback",
                    Some(e.code().id()),
                    text,
                ))?;
                session.save(&checkpoints, r.counters.step, |lengths| {
                    r.checkpoint(lengths)
                })?;
                r.open_loaders()?;
                continue;
            }
            Err(e) => {
                session.dir.set_status(Status::Failed)?;
                return Err(e);
            }
        }
        session.progress.tick(r.counters.step);
        if r.counters
            .step
            .is_multiple_of(session.config.checkpoint.every.max(1) as u64)
        {
            session.save(&checkpoints, r.counters.step, |lengths| {
                r.checkpoint(lengths)
            })?;
        }
    }
    r.finish(session)
}

/// A random architecture of every group of `net`: mixing weights that make its search cells compute one derived cell each.
pub fn sample(net: &Network, none: NoneDraws, rng: &mut Rng) -> BTreeMap<String, [OneHot; 2]> {
    let draw = |g: &ArchGroup, rng: &mut Rng| {
        let genotype = random_genotype(rng, g.nodes(), none);
        [one_hot(&genotype.normal), one_hot(&genotype.reduce)]
    };
    net.groups()
        .iter()
        .map(|g| (g.name().to_string(), draw(g, rng)))
        .collect()
}

/// The order of the learnable operations on every edge of both cells, as text.
fn ranking(group: &ArchGroup, store: &Store) -> Result<String> {
    let mut text = String::new();
    for (name, values) in group
        .values(store)
        .iter()
        .filter(|(n, _)| n.contains("alpha_"))
    {
        text += &format!("{name} {:?}\n", learnable_ranking(values)?);
    }
    Ok(text)
}

fn event(plan: &Plan, step: u64, event: &str, code: Option<&str>, message: String) -> EventRecord {
    EventRecord {
        stage: plan.name.clone(),
        step,
        event: event.into(),
        code: code.map(String::from),
        message,
    }
}

impl Running<'_> {
    fn open_loaders(&mut self) -> Result<()> {
        let (plan, c) = (self.plan, &self.counters);
        let half = if plan.arch.is_some() || plan.sample.is_some() {
            Half::Weight
        } else {
            Half::All
        };
        let open = |half: Half, starts: &[u64]| -> Result<Vec<Loader>> {
            let tasks = plan.tasks.iter().zip(starts);
            tasks
                .map(|(t, &start)| t.train(half, plan.weight_split, plan.batch, plan.number, start))
                .collect()
        };
        self.weight_loaders = open(half, &c.weight_batches)?;
        self.arch_loaders = if plan.arch.is_some() {
            open(Half::Arch, &c.arch_batches)?
        } else {
            vec![]
        };
        Ok(())
    }

    /// The tasks whose losses this step takes.
    fn tasks(&self, seed: u64) -> Vec<usize> {
        let (n, step) = (self.plan.tasks.len(), self.counters.step);
        let mut rng = Rng::new(seed, &[word("alternate"), self.plan.number, step]);
        match self.plan.alternate {
            Alternate::RoundRobin => vec![(step % n as u64) as usize],
            Alternate::Random => vec![rng.below(n)],
            Alternate::Proportional => {
                let sizes: Vec<usize> = self
                    .plan
                    .tasks
                    .iter()
                    .map(|t| t.source.train.indices.len())
                    .collect();
                let mut pick = rng.below(sizes.iter().sum());
                let mut task = 0;
                while pick >= sizes[task] {
                    pick -= sizes[task];
                    task += 1;
                }
                vec![task]
            }
            Alternate::Accumulate => (0..n).collect(),
        }
    }

    fn prepare(
        loaders: &mut [Loader],
        plan: &Plan,
        tasks: &[usize],
        used: &mut [u64],
    ) -> Result<Vec<(Rc<Workbench>, Batch, Targets)>> {
        tasks
            .iter()
            .map(|&t| {
                let batch = loaders[t].next_batch()?;
                used[t] += 1;
                let bench = plan.tasks[t].clone();
                let targets = bench.targets(&batch)?;
                Ok((bench, batch, targets))
            })
            .collect()
    }

    fn step(&mut self, session: &Session) -> Result<Done> {
        let plan = self.plan;
        let (c, dtype, cx) = (&session.config, session.activation_dtype(), session.cx);
        let step = self.counters.step;
        let tasks = self.tasks(c.run.seed);
        let slow = 0.5f64.powi(self.counters.rollbacks as i32);
        let lr = slow * rate(&plan.weights.schedule, plan.weights.lr, step, plan.steps);
        let key = [c.run.seed, plan.number, step];
        let net = self.net;
        let sampled = plan.sample.map(|none| {
            sample(
                net,
                none,
                &mut Rng::new(c.run.seed, &[word("sample"), plan.number, step]),
            )
        });
        let mixing = sampled.as_ref().map_or(Mixing::Parameters, Mixing::Fixed);
        let share = step as f64 / plan.steps.max(1) as f64;
        self.learner.skip_dropout = plan
            .arch
            .as_ref()
            .map_or(0.0, |a| a.skip_dropout * (1.0 - share));
        let total = |p: &Pass, batches: &[(Rc<Workbench>, Batch, Targets)]| -> Result<Loss> {
            let mut sum: Option<Loss> = None;
            for (bench, batch, targets) in batches {
                let l = bench.loss(net, p, batch, targets, dtype, mixing)?;
                sum = Some(match sum {
                    None => l,
                    Some(mut s) => {
                        s.total = crate::ops::add(&s.total, &l.total)?;
                        s.parts.extend(l.parts);
                        s
                    }
                });
            }
            Ok(sum.expect("a step has a task"))
        };
        let weight = Self::prepare(
            &mut self.weight_loaders,
            plan,
            &tasks,
            &mut self.counters.weight_batches,
        )?;
        let mut images: u64 = weight
            .iter()
            .map(|(_, b, _)| b.annotations.len() as u64)
            .sum();
        let warm = plan
            .arch
            .as_ref()
            .map_or(u64::MAX, |a| (a.warmup * plan.steps as f64).floor() as u64);
        let mut arch = None;
        if let Some(a) = plan.arch.as_ref().filter(|_| step >= warm) {
            let batches = Self::prepare(
                &mut self.arch_loaders,
                plan,
                &tasks,
                &mut self.counters.arch_batches,
            )?;
            images += batches
                .iter()
                .map(|(_, b, _)| b.annotations.len() as u64)
                .sum::<u64>();
            let alpha_lr = slow
                * rate(
                    &a.alpha.schedule,
                    a.alpha.lr,
                    step - warm,
                    plan.steps - warm,
                );
            let weight_loss = |p: &Pass| total(p, &weight);
            let order = match c.search.order {
                2 => Order::Second {
                    weight_loss: &weight_loss,
                    xi: lr,
                    weights: &plan.weights,
                    epsilon: c.search.unroll_epsilon,
                },
                _ => Order::First,
            };
            let report = self.learner.arch_step(
                cx,
                key,
                &|p| total(p, &batches),
                order,
                &a.alpha,
                alpha_lr,
            )?;
            arch = Some(report);
            let group = net
                .group(&a.groups[0])
                .ok_or_else(|| Error::new(Code::Internal, format!("no group {}", a.groups[0])))?;
            let genotype = group.genotype(&self.learner.store, None)?;
            let watched = match a.rule {
                Rule::StableRanking(_) => ranking(group, &self.learner.store)?,
                _ => genotype.to_string(),
            };
            if self.counters.stopper.check_watched(
                a.rule,
                &c.search.stop,
                &genotype,
                watched,
                plan.steps - warm,
            ) {
                self.allowed = Some(
                    self.learner
                        .store
                        .arch
                        .iter()
                        .map(|(_, _, t)| t.clone())
                        .collect(),
                );
            }
        }
        let mode = Mode {
            drop_path: plan.drop_path * share,
            ..Mode::WEIGHT_STEP
        };
        let weight =
            self.learner
                .weight_step(cx, mode, key, &|p| total(p, &weight), &plan.weights, lr)?;
        Ok(Done {
            tasks,
            weight,
            arch,
            lr,
            images,
        })
    }

    fn log(&mut self, session: &mut Session, done: &Done) -> Result<()> {
        let every = session.config.log.every.max(1) as u64;
        session.count(done.images);
        // Count by task, so that alternating tasks are all seen.
        let seen = done
            .tasks
            .iter()
            .map(|&t| self.counters.weight_batches[t])
            .max()
            .unwrap_or(0);
        if seen % every != 1 % every && self.counters.step != self.plan.steps {
            return Ok(());
        }
        let task = done
            .tasks
            .iter()
            .map(|&t| self.plan.tasks[t].name.as_str())
            .collect::<Vec<_>>()
            .join("+");
        let record = |kind, r: &StepReport| MetricRecord {
            stage: self.plan.name.clone(),
            step: self.counters.step,
            steps: self.plan.steps,
            task: task.clone(),
            kind,
            loss: r.loss,
            parts: r.parts.iter().map(|(n, v)| (n.to_string(), *v)).collect(),
            lr: None,
            grad_norm: Some(r.norm),
            entropy: BTreeMap::new(),
            skip_share: BTreeMap::new(),
            pool_share: BTreeMap::new(),
            scores: BTreeMap::new(),
        };
        let mut train = MetricRecord {
            lr: Some(done.lr),
            ..record(Phase::Train, &done.weight)
        };
        let mut figures = Figures {
            step: self.counters.step,
            loss: done.weight.loss,
            parts: done
                .weight
                .parts
                .iter()
                .map(|(n, v)| (n.to_string(), *v))
                .collect(),
            arch_loss: done.arch.as_ref().map(|a| a.loss),
            images: session.take_images(),
            ..Figures::default()
        };
        if let Some(a) = &self.plan.arch {
            for name in &a.groups {
                let Some(group) = self.net.group(name) else {
                    continue;
                };
                let genotype = group.genotype(&self.learner.store, None)?;
                let entropy = session.log_alpha(
                    self.plan,
                    self.counters.step,
                    group,
                    &self.learner.store,
                    &genotype,
                    done.arch.is_some(),
                )?;
                train.entropy.insert(name.clone(), entropy);
                train.skip_share.insert(name.clone(), genotype.skip_share());
                train.pool_share.insert(name.clone(), genotype.pool_share());
                let chosen = genotype.normal.len();
                figures.entropy.get_or_insert(entropy);
                figures
                    .skips
                    .get_or_insert((genotype.skips(crate::space::SkipRule::NormalCell), chosen));
            }
        }
        session.logs.metric(&train)?;
        if let Some(arch) = &done.arch {
            session.logs.metric(&record(Phase::Arch, arch))?;
        }
        let (seconds, images_per_s) = session.lap(figures.images);
        let (stage, step) = (self.plan.name.clone(), self.counters.step);
        session.logs.timing(&TimingRecord {
            stage,
            step,
            seconds,
            images_per_s,
        })?;
        session.progress.figures(&figures);
        Ok(())
    }

    fn checkpoint(&self, lengths: Lengths) -> Result<Checkpoint> {
        let mut tensors = learner_io::tensors(&self.learner);
        if let Some(allowed) = &self.allowed {
            for ((_, name, _), t) in self.learner.store.arch.iter().zip(allowed) {
                tensors.insert(format!("allowed.{name}"), t.clone());
            }
        }
        let state = json!({
            "counters": self.counters,
            "adam_steps": learner_io::adam_steps(&self.learner),
            "lengths": lengths,
        });
        Ok(Checkpoint { tensors, state })
    }

    fn restore(&mut self, c: &Checkpoint) -> Result<Lengths> {
        let bad = |e: serde_json::Error| {
            Error::new(Code::BadCheckpoint, format!("its state does not read: {e}"))
        };
        let field = |name: &str| c.state.get(name).cloned().unwrap_or_default();
        self.counters = serde_json::from_value(field("counters")).map_err(bad)?;
        let steps = serde_json::from_value(field("adam_steps")).map_err(bad)?;
        learner_io::load(&mut self.learner, &c.tensors, &steps)?;
        let names: Vec<String> = self
            .learner
            .store
            .arch
            .iter()
            .map(|(_, n, _)| format!("allowed.{n}"))
            .collect();
        let allowed: Vec<Tensor> = names
            .iter()
            .filter_map(|n| c.tensors.get(n).cloned())
            .collect();
        self.allowed = (!names.is_empty() && allowed.len() == names.len()).then_some(allowed);
        serde_json::from_value(field("lengths")).map_err(bad)
    }

    /// Settles the genotype, saves the last checkpoint and marks the stage as finished.
    fn finish(mut self, session: &mut Session) -> Result<Outcome> {
        let plan = self.plan;
        let reason = self.counters.stopper.stopped.clone();
        let tripped = plan
            .arch
            .as_ref()
            .is_some_and(|a| a.rule == Rule::SkipLimit)
            && reason.is_some();
        if tripped
            && session.config.search.stop.on_trip == OnTrip::LastAllowed
            && let Some(allowed) = self.allowed.take()
        {
            let ids: Vec<_> = self
                .learner
                .store
                .arch
                .iter()
                .map(|(id, _, _)| id)
                .collect();
            for (id, t) in ids.into_iter().zip(allowed) {
                self.learner.store.arch.set(id, t);
            }
        }
        let mut genotypes = BTreeMap::new();
        for group in self.net.groups() {
            genotypes.insert(
                group.name().to_string(),
                group.genotype(&self.learner.store, None)?.to_string(),
            );
        }
        let stopped = reason.unwrap_or_else(|| "budget".into());
        if !self.counters.ended {
            session.logs.event(&event(
                plan,
                self.counters.step,
                "stage-end",
                None,
                format!("ended after {} steps: {stopped}", self.counters.step),
            ))?;
            self.counters.ended = true;
        }
        let record = StageRecord {
            stage: plan.name.clone(),
            steps: self.counters.step,
            planned: plan.steps,
            stopped,
            genotypes: genotypes.clone(),
        };
        let last = session.dir.checkpoints(&plan.name, 1);
        session.save(&last, self.counters.step, |lengths| {
            self.checkpoint(lengths)
        })?;
        session.finish_stage(&plan.name, &record)?;
        session.progress.finish();
        let (net, _) = Network::build(
            &plan.spec,
            session.seed_of(plan.number),
            session.parameter_dtype(),
        )?;
        Ok(Outcome {
            store: Rc::new(self.learner.store),
            net,
            record,
        })
    }
}

/// The set and the parameters of a group for the log: alpha rows, betas.
pub(super) fn alpha_records(
    plan: &Plan,
    step: u64,
    values: &[(String, Vec<f64>)],
    group: &str,
    genotype: &str,
) -> Vec<AlphaRecord> {
    let set = match group {
        "det" => AlphaSet::Det,
        "seg" => AlphaSet::Seg,
        _ => AlphaSet::Backbone,
    };
    [CellKind::Normal, CellKind::Reduce]
        .into_iter()
        .map(|kind| {
            let get = |what: &str| {
                values
                    .iter()
                    .find(|(n, _)| n.ends_with(&format!("{what}_{}", kind.name())))
                    .map(|(_, v)| v.clone())
            };
            let alpha = get("alpha")
                .unwrap_or_default()
                .chunks(PRIMITIVES)
                .map(<[f64]>::to_vec)
                .collect();
            AlphaRecord {
                stage: plan.name.clone(),
                step,
                set,
                kind,
                alpha,
                beta: get("beta").unwrap_or_default(),
                genotype: genotype.into(),
            }
        })
        .collect()
}
