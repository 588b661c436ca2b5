//! One architecture step and one weight step with everything that an outsider needs to recompute them
//! (`docs/step-dump.md`; `tests/reference/step/check.py` is such an outsider).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bilevel::Learner;
use super::config::{Config, Precision, RunConfig};
use super::noise;
use super::step_compare::{Compared, Comparison};
use super::step_facts::{Setting, class_names, network_facts, setting, spec, step_facts};
use super::step_recorder::{Batch, Recorder};
use super::workbench::{Half, Workbench, activation_dtype, parameter_dtype, task_of};
use crate::annotation::Annotation;
use crate::error::{Code, Error, Result};
use crate::export::safetensors::TensorFile;
use crate::model::config::Frame;
use crate::model::network::Network;
use crate::rng::{Rng, word};
use crate::tape::Path;
use crate::task::Task;
use crate::task::config::TaskKind;

/// Which step.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Whose loss.
    pub task: TaskKind,
    /// f32 or f64 throughout; for a comparison also bf16.
    pub dtype: Precision,
    /// Images of each half; the configuration's without.
    pub batch: Option<usize>,
    /// Noise in place of the data set.
    pub noise: bool,
    /// Steps taken before the recorded one, so that the optimisers have a state.
    pub before: usize,
}

/// A recorded step.
#[derive(Debug)]
pub struct Dump {
    /// All tensors and the metadata.
    pub file: TensorFile,
    /// Loss of the architecture step.
    pub arch_loss: f64,
    /// Loss of the weight step.
    pub weight_loss: f64,
    /// L2 norm of the raw gradients of the weights.
    pub norm: f64,
}

/// The network, the task and the batches of a step.
fn recorder(c: &Config, r: &Request) -> Result<Recorder> {
    let s = setting(c, r.task)?;
    let n = r.batch.unwrap_or(s.batch);
    let (task, halves) = if r.noise {
        noisy(c, &s, n)?
    } else {
        from_data(c, &s, r, n)?
    };
    let spec = spec(c, &s, r.task, task.classes().len())?;
    let seed = c.run.seed;
    let (net, store) = Network::build(
        &spec,
        Rng::new(seed, &[word("step")]).u64(),
        parameter_dtype(r.dtype),
    )?;
    let settings = RunConfig {
        precision: r.dtype,
        ..c.run.clone()
    };
    Ok(Recorder {
        cx: settings.cx()?,
        net,
        task,
        kind: r.task,
        dtype: activation_dtype(r.dtype),
        halves,
        learner: Learner::new(store),
        order: c.search.order,
        epsilon: c.search.unroll_epsilon,
        weights: s.weights.clone(),
        alpha: s.alpha.clone(),
        tensors: BTreeMap::new(),
    })
}

/// Takes `steps` steps on the processor and each of them, from the processor's state, on the configuration's device.
///
/// # Errors
/// As [`dump`]; `Argument` when the configuration's device is the processor.
pub fn compare(c: &Config, r: &Request, steps: usize) -> Result<Vec<Compared>> {
    let run = recorder(c, r)?;
    if !matches!(run.cx.path, Path::Device(_)) {
        let text = "steps on the processor cannot be held against themselves";
        return Err(Error::new(Code::Argument, text).help("choose a device with --device"));
    }
    let comparison = Comparison {
        net: &run.net,
        task: &*run.task,
        dtype: run.dtype,
        halves: &run.halves,
        weights: &run.weights,
        alpha: &run.alpha,
    };
    comparison.run(run.learner.clone(), run.cx, c.run.seed, steps)
}

/// Takes the step that `r` asks for and notes everything about it.
///
/// # Errors
/// Those of the configuration, the data and the step.
pub fn dump(c: &Config, r: &Request) -> Result<Dump> {
    if r.dtype == Precision::Bf16 {
        return Err(Error::new(
            Code::Argument,
            "a step is recorded in f32 or f64",
        ));
    }
    let (mut run, seed) = (recorder(c, r)?, c.run.seed);
    let s = setting(c, r.task)?;
    let spec = spec(c, &s, r.task, run.task.classes().len())?;
    for _ in 0..r.before {
        run.step(seed)?;
    }
    run.tensors.clear();
    run.record_inputs()?;
    run.record_learner(
        "before",
        &[
            "w", "buffer", "alpha", "momentum", "adam_m", "adam_v", "adam_t",
        ],
    )?;
    let (arch_loss, weight_loss, norm) = run.step(seed)?;
    let metadata = [
        ("config", c.to_toml()),
        ("task", r.task.key().into()),
        (
            "frame",
            match (r.task, c.model.frame) {
                (TaskKind::Classification, _) | (_, Frame::Classification) => "classifier".into(),
                (_, Frame::MtnasRelease) => "mtnas-release".into(),
                (_, Frame::MtnasPeer) => "mtnas-peer".into(),
                (_, frame) => frame.to_string(),
            },
        ),
        ("dtype", r.dtype.to_string()),
        ("network", network_facts(c, &s, &spec)?.to_string()),
        ("step", step_facts(c, &s).to_string()),
    ];
    let metadata = metadata
        .into_iter()
        .map(|(k, v)| (k.to_string(), v))
        .collect();
    Ok(Dump {
        file: TensorFile {
            tensors: run.tensors,
            metadata,
        },
        arch_loss,
        weight_loss,
        norm,
    })
}

fn noisy(c: &Config, s: &Setting, n: usize) -> Result<(Arc<dyn Task>, [Batch; 2])> {
    let task = task_of(c, &s.table, class_names(c, &s.table)?, s.size)?;
    let half = |name: &str| {
        let rng = &mut Rng::new(c.run.seed, &[word("noise"), word(name)]);
        let images = noise::images(rng, n, s.size)?;
        let annotations = noise::of_task(rng, &*task, n, s.size);
        Ok(Batch {
            targets: task.targets(&annotations)?,
            images,
            annotations,
        })
    };
    let halves = [half("arch")?, half("weight")?];
    Ok((task, halves))
}

fn from_data(
    c: &Config,
    s: &Setting,
    r: &Request,
    n: usize,
) -> Result<(Arc<dyn Task>, [Batch; 2])> {
    let bench = match c.task(r.task) {
        Some((name, t)) => Workbench::open(c, name, t)?,
        None => Workbench::presearch(c)?,
    };
    if bench.source.train.dataset.labelled(0).is_some() {
        let what = "a step dump has no place for classes that a source does not label";
        return Err(Error::new(Code::Usage, what)
            .at(&s.table.data)
            .help("set `mixed.unlabelled = \"background\"`, or use --noise"));
    }
    let share = if s.presearch {
        c.search.presearch.weight_split
    } else {
        c.search.weight_split
    };
    let half = |half: Half| {
        let batch = bench.train(half, share, n, 0, 0)?.next_batch()?;
        let annotations: Vec<Annotation> =
            batch.annotations.into_iter().map(without_ignored).collect();
        Ok(Batch {
            targets: bench.task.targets(&annotations)?,
            images: batch.images,
            annotations,
        })
    };
    let halves = [half(Half::Arch)?, half(Half::Weight)?];
    Ok((bench.task.clone(), halves))
}

/// The format has no place for ignored objects: an audit leaves them out.
fn without_ignored(a: Annotation) -> Annotation {
    match a {
        Annotation::Objects(o) => {
            Annotation::Objects(o.into_iter().filter(|o| !o.ignore).collect())
        }
        other => other,
    }
}

#[cfg(test)]
#[path = "step_dump_tests.rs"]
mod tests;
