//! One stage of a run: steps until the budget or a stopping rule ends it, with logs, checkpoints, rollback and resume.
//!
//! Everything a stage does is a function of its plan, the seed and the step number, so a stage that is killed and taken up
//! again at a checkpoint ends in the same bits. A little over 300 lines: what a stage is, and its loop.

mod fed;
mod log;
mod readers;
mod state;
mod step;

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::bilevel::{Learner, StepReport};
use super::config::{Alternate, GraphMode};
use super::constraint::Constraint;
use super::feed::PictureStore;
use super::graphs::Graphs;
use super::session::Session;
use super::signals;
use super::stop::{Rule, Stopper};
use super::workbench::Workbench;
use crate::error::{Code, Error, Result};
use crate::model::{Network, NetworkSpec};
use crate::nn::Store;
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::report::records::{EventRecord, StageRecord, Status};
use crate::rng::Rng;
use crate::space::ArchGroup;
use crate::space::random::{NoneDraws, OneHot, one_hot, random_genotype};
use crate::tensor::Tensor;
pub(super) use log::alpha_records;
use readers::Reader;

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
    weight_loaders: Vec<Reader>,
    arch_loaders: Vec<Reader>,
    /// Pictures of each task on a device that makes its images itself.
    stores: Vec<PictureStore>,
    told_of_room: bool,
    graphs: Graphs,
    /// What the architecture may cost.
    constraint: Option<Rc<Constraint>>,
    outstanding: Option<step::Outstanding>,
}

struct Done {
    tasks: Vec<usize>,
    /// Known where it is logged.
    weight: Option<StepReport>,
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
    let outcome = run_or_load(session, plan)?;
    session.logs.stage_ended(outcome.record.steps);
    Ok(outcome)
}

fn run_or_load(session: &mut Session, plan: &Plan) -> Result<Outcome> {
    session.reset_peak();
    let (net, store) = Network::build(
        &plan.spec,
        session.seed_of(plan.number),
        session.parameter_dtype(),
    )?;
    let constraint = match plan.arch {
        Some(_) => Constraint::open(&session.config, &net)?.map(Rc::new),
        None => None,
    };
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
        stores: vec![],
        told_of_room: false,
        graphs: Graphs::new(session.config.run.graphs == GraphMode::Off),
        constraint,
        outstanding: None,
    };
    let loaded = checkpoints.load_latest()?;
    let finished = session.stage_record(&plan.name)?;
    match (&finished, loaded) {
        (_, Some(l)) => {
            for e in &l.skipped {
                session.progress.warn(&e.to_string());
            }
            let lengths = r
                .restore(&l.checkpoint)
                .map_err(|e| e.at(checkpoints.manifest_path(l.step).display()))?;
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
    r.open_loaders(session)?;
    session
        .progress
        .stage(&plan.name, plan.steps, r.counters.step);
    r.say_what_recomputes(session);
    r.say_what_cost_is(session);
    while r.counters.step < plan.steps && r.counters.stopper.stopped.is_none() {
        let stopping = session.stop.requested();
        if stopping && r.outstanding.is_none() {
            session.save(&checkpoints, r.counters.step, |lengths| {
                r.checkpoint(lengths)
            })?;
            session.dir.set_status(Status::Interrupted)?;
            return Err(signals::interrupted(session.dir.path()));
        }
        let done = match stopping {
            true => r.settle(session).map(|()| None),
            false => r.step(session).map(Some),
        };
        match done {
            Ok(None) => continue,
            Ok(Some(done)) => {
                r.counters.step += 1;
                if let Some(why) = r.graphs.reason() {
                    let text = format!("{}: steps are launched kernel by kernel: {why}", plan.name);
                    session.progress.warn(&text);
                }
                if let Some(text) = r.no_room() {
                    session.progress.say(&format!("{}: {text}", plan.name));
                }
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
                r.outstanding = None;
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
                r.open_loaders(session)?;
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

fn event(plan: &Plan, step: u64, event: &str, code: Option<&str>, message: String) -> EventRecord {
    EventRecord {
        stage: plan.name.clone(),
        step,
        event: event.into(),
        code: code.map(String::from),
        message,
    }
}
