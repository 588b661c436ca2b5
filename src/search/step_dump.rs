//! One architecture step and one weight step with everything that an outsider needs to recompute them
//! (`docs/step-dump.md`; `tests/reference/step/check.py` is such an outsider).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::bilevel::{Learner, Loss, Order};
use super::config::{Config, Precision};
use super::learner_io;
use super::noise;
use super::step_facts::{Setting, class_names, network_facts, setting, spec, step_facts};
use super::workbench::{Half, Workbench, activation_dtype, parameter_dtype, task_of};
use crate::annotation::Annotation;
use crate::error::{Code, Error, Result};
use crate::export::safetensors::TensorFile;
use crate::model::config::Frame;
use crate::model::network::{Mixing, Network};
use crate::nn::{Mode, ParamId, ParamSet, Pass};
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::rng::{Rng, word};
use crate::tape::{Cx, Var};
use crate::task::config::TaskKind;
use crate::task::{Targets, Task};
use crate::tensor::{DType, Tensor};

/// Which step.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Whose loss.
    pub task: TaskKind,
    /// f32 or f64 throughout.
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

/// Images and annotations of one half of a step.
struct Half2 {
    images: Tensor,
    annotations: Vec<Annotation>,
    targets: Targets,
}

/// Takes the steps and records them.
///
/// # Errors
/// `ConfigValue` for a task that the configuration lacks or a precision other than f32 and f64; those of the data, the network
/// and the step.
pub fn dump(c: &Config, r: &Request) -> Result<Dump> {
    if r.dtype == Precision::Bf16 {
        return Err(Error::new(
            Code::Argument,
            "a step is recorded in f32 or f64",
        ));
    }
    let s = setting(c, r.task)?;
    let n = r.batch.unwrap_or(s.batch);
    let (task, halves) = if r.noise {
        noisy(c, &s, r, n)?
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
    let mut run = Recorder {
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
    };
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
        (
            "task",
            match r.task {
                TaskKind::Detection => "det".into(),
                TaskKind::Segmentation => "seg".into(),
                TaskKind::Classification => "cls".into(),
            },
        ),
        (
            "frame",
            match (r.task, c.model.frame) {
                (TaskKind::Classification, _) | (_, Frame::Classification) => "classifier".into(),
                (_, Frame::MtnasRelease) => "mtnas-release".into(),
                (_, Frame::MtnasPeer) => "mtnas-peer".into(),
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

fn noisy(c: &Config, s: &Setting, r: &Request, n: usize) -> Result<(Arc<dyn Task>, [Half2; 2])> {
    let task = task_of(c, &s.table, class_names(c, &s.table)?, s.size)?;
    let half = |name: &str| {
        let rng = &mut Rng::new(c.run.seed, &[word("noise"), word(name)]);
        let images = noise::images(rng, n, s.size)?;
        let annotations = noise::annotations(rng, r.task, n, s.size, task.classes().len());
        Ok(Half2 {
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
) -> Result<(Arc<dyn Task>, [Half2; 2])> {
    let bench = match c.task(r.task) {
        Some((name, t)) => Workbench::open(c, name, t)?,
        None => Workbench::presearch(c)?,
    };
    let share = if s.presearch {
        c.search.presearch.weight_split
    } else {
        c.search.weight_split
    };
    let half = |half: Half| {
        let batch = bench.train(half, share, n, 0, 0)?.next_batch()?;
        let annotations: Vec<Annotation> =
            batch.annotations.into_iter().map(without_ignored).collect();
        Ok(Half2 {
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

struct Recorder {
    net: Network,
    task: Arc<dyn Task>,
    kind: TaskKind,
    dtype: DType,
    /// Architecture, weight.
    halves: [Half2; 2],
    learner: Learner,
    order: u8,
    epsilon: f64,
    weights: SgdConfig,
    alpha: AdamConfig,
    tensors: BTreeMap<String, Tensor>,
}

/// Outputs and audit tensors of the last time that a loss was taken.
type Seen = RefCell<Vec<(String, Tensor)>>;

/// Loss of one half, noting what an outsider compares.
fn loss(
    net: &Network,
    task: &dyn Task,
    dtype: DType,
    half: &Half2,
    seen: &Seen,
    p: &Pass,
) -> Result<Loss> {
    use crate::model::network::Outputs;
    let x = p.tape.leaf(half.images.cast(dtype));
    let named: Vec<(&str, Var)> = match net.forward_with(p, &x, task.kind(), Mixing::Parameters)? {
        Outputs::Detection { loc, conf } => vec![("loc", loc), ("conf", conf)],
        Outputs::Segmentation(y) => vec![("logits", y)],
        Outputs::Classification { logits, .. } => vec![("logits", logits)],
    };
    let outputs: Vec<Var> = named.iter().map(|(_, v)| v.clone()).collect();
    let l = task.loss(&outputs, &half.targets)?;
    let mut seen = seen.borrow_mut();
    seen.clear();
    seen.extend(
        named
            .iter()
            .map(|(n, v)| (format!("output.{n}"), v.value().clone())),
    );
    seen.extend(
        l.audit
            .iter()
            .map(|(n, t)| (format!("target.{n}"), t.clone())),
    );
    Ok(Loss {
        total: l.total,
        parts: l.parts,
    })
}

impl Recorder {
    fn put(&mut self, name: String, t: Tensor) {
        let t = if t.dtype() == DType::I32 {
            t
        } else {
            t.cast(self.dtype)
        };
        self.tensors.insert(name, t);
    }

    fn put_scalar(&mut self, name: &str, v: f64) {
        self.put(name.into(), Tensor::full([1], self.dtype, v));
    }

    fn put_gradients(
        &mut self,
        prefix: &str,
        set: fn(&Learner) -> &ParamSet,
        gradients: &[(ParamId, Tensor)],
    ) {
        for (id, g) in gradients {
            let name = format!("{prefix}.grad.{}", set(&self.learner).name(*id));
            self.put(name, g.clone());
        }
    }

    /// One architecture step and one weight step; returns both losses and the norm of the weights' gradients.
    fn step(&mut self, seed: u64) -> Result<(f64, f64, f64)> {
        let (cx, key) = (Cx::default(), [seed, 0, 0]);
        let (task, net, dtype) = (self.task.clone(), &self.net, self.dtype);
        let [a, w] = &self.halves;
        let (seen, ignored) = (Seen::default(), Seen::default());
        let arch_loss = |p: &Pass| loss(net, &*task, dtype, a, &seen, p);
        let virtual_loss = |p: &Pass| loss(net, &*task, dtype, w, &ignored, p);
        let order = match self.order {
            2 => Order::Second {
                weight_loss: &virtual_loss,
                xi: self.weights.lr,
                weights: &self.weights,
                epsilon: self.epsilon,
            },
            _ => Order::First,
        };
        let (arch, gradients) = self.learner.arch_gradients(cx, key, &arch_loss, order)?;
        self.put_gradients("arch", |l| &l.store.arch, &gradients);
        self.put_seen("arch", 0, seen.take());
        self.put_scalar("arch.loss", arch.loss);
        let alpha = self.alpha.clone();
        self.learner.apply_arch(gradients, &alpha, alpha.lr);
        self.record_learner("after_arch", &["alpha", "adam_m", "adam_v", "adam_t"])?;

        let (task, net, w) = (self.task.clone(), &self.net, &self.halves[1]);
        let weight_loss = |p: &Pass| loss(net, &*task, dtype, w, &seen, p);
        let (weight, update) =
            self.learner
                .weight_gradients(cx, Mode::WEIGHT_STEP, key, &weight_loss)?;
        self.put_gradients("weight", |l| &l.store.weights, &update.gradients);
        self.put_seen("weight", 1, seen.take());
        self.put_scalar("weight.loss", weight.loss);
        let weights = self.weights.clone();
        let norm = self.learner.apply_weights(update, &weights, weights.lr);
        self.put_scalar("weight.grad_norm", norm);
        self.record_learner("after", &["w", "momentum", "buffer"])?;
        Ok((arch.loss, weight.loss, norm))
    }

    fn put_seen(&mut self, phase: &str, half: usize, seen: Vec<(String, Tensor)>) {
        for (name, t) in seen {
            self.put(format!("{phase}.{name}"), t);
        }
        if self.kind == TaskKind::Detection {
            for name in ["label", "offset"] {
                self.put(
                    format!("{phase}.target.{name}"),
                    self.halves[half].targets.get(name).clone(),
                );
            }
        }
    }

    fn record_inputs(&mut self) -> Result<()> {
        for (i, phase) in ["arch", "weight"].into_iter().enumerate() {
            let half = &self.halves[i];
            let (name, target) = match self.kind {
                TaskKind::Detection => ("boxes", boxes(&half.annotations)?),
                TaskKind::Segmentation => ("labels", half.targets.get("labels").clone()),
                TaskKind::Classification => ("class", half.targets.get("class").clone()),
            };
            let images = half.images.clone();
            self.put(format!("input.{phase}.image"), images);
            self.put(format!("input.{phase}.{name}"), target);
        }
        Ok(())
    }

    /// The learner's tensors of these kinds under `prefix`.
    fn record_learner(&mut self, prefix: &str, kinds: &[&str]) -> Result<()> {
        for (name, t) in learner_io::tensors(&self.learner) {
            if kinds.iter().any(|k| name.split('.').next() == Some(k)) {
                self.put(format!("{prefix}.{name}"), t);
            }
        }
        if kinds.contains(&"adam_t") {
            for (name, t) in learner_io::adam_steps(&self.learner) {
                self.put(
                    format!("{prefix}.adam_t.{name}"),
                    Tensor::from_i32([1], vec![t as i32])?,
                );
            }
        }
        Ok(())
    }
}

/// Rows (image, class, x1, y1, x2, y2).
fn boxes(all: &[Annotation]) -> Result<Tensor> {
    let mut rows: Vec<f64> = vec![];
    for (i, a) in all.iter().enumerate() {
        if let Annotation::Objects(objects) = a {
            for o in objects {
                let b = o.bbox;
                rows.extend([
                    i as f64,
                    o.class as f64,
                    b.x1.into(),
                    b.y1.into(),
                    b.x2.into(),
                    b.y2.into(),
                ]);
            }
        }
    }
    Tensor::from_f64([rows.len() / 6, 6], rows)
}
