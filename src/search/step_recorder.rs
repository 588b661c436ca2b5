//! Takes the two phases of a step and notes every tensor on the way, under the names of `docs/step-dump.md`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::bilevel::{Learner, Loss, Order};
use super::learner_io;
use crate::annotation::Annotation;
use crate::error::Result;
use crate::model::network::{Mixing, Network};
use crate::nn::{Mode, ParamId, ParamSet, Pass};
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::tape::{Cx, Var};
use crate::task::config::TaskKind;
use crate::task::{Targets, Task};
use crate::tensor::{DType, Tensor};

/// Images, annotations and targets of one half of a step.
pub(super) struct Batch {
    pub images: Tensor,
    pub annotations: Vec<Annotation>,
    pub targets: Targets,
}

/// A step being taken, noting what happens.
pub(super) struct Recorder {
    pub cx: Cx,
    pub net: Network,
    pub task: Arc<dyn Task>,
    pub kind: TaskKind,
    pub dtype: DType,
    /// Architecture, weight.
    pub halves: [Batch; 2],
    pub learner: Learner,
    pub order: u8,
    pub epsilon: f64,
    pub weights: SgdConfig,
    pub alpha: AdamConfig,
    pub tensors: BTreeMap<String, Tensor>,
}

/// Outputs and audit tensors of the last time that a loss was taken.
type Seen = RefCell<Vec<(String, Tensor)>>;

/// Loss of one half, noting what an outsider compares.
fn loss(
    net: &Network,
    task: &dyn Task,
    dtype: DType,
    half: &Batch,
    seen: &Seen,
    p: &Pass,
) -> Result<Loss> {
    use crate::model::network::Outputs;
    let x = p.tape.leaf(half.images.cast(dtype));
    let named: Vec<(&str, Var)> = match net.forward_with(p, &x, task.kind(), Mixing::Parameters)? {
        Outputs::Detection { loc, conf } => vec![("loc", loc), ("conf", conf)],
        Outputs::Segmentation(y) => vec![("logits", y)],
        Outputs::Values(y) => vec![("values", y)],
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

/// Loss of one half.
pub(super) fn plain_loss(
    net: &Network,
    task: &dyn Task,
    dtype: DType,
    half: &Batch,
    p: &Pass,
) -> Result<Loss> {
    loss(net, task, dtype, half, &Seen::default(), p)
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
    pub fn step(&mut self, seed: u64) -> Result<(f64, f64, f64)> {
        let (cx, key) = (self.cx, [seed, 0, 0]);
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
        self.learner.apply_arch(gradients, &alpha, alpha.lr)?;
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
        let norm = self.learner.apply_weights(update, &weights, weights.lr)?;
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

    /// Notes both batches.
    pub fn record_inputs(&mut self) -> Result<()> {
        for (i, phase) in ["arch", "weight"].into_iter().enumerate() {
            let half = &self.halves[i];
            let (name, target) = match self.kind {
                TaskKind::Detection => ("boxes", boxes(&half.annotations)?),
                TaskKind::Segmentation => ("labels", half.targets.get("labels").clone()),
                TaskKind::Classification => ("class", half.targets.get("class").clone()),
                _ => ("values", half.targets.get("values").clone()),
            };
            let images = half.images.clone();
            // Which pixels are known: of the values alone the loss cannot be computed.
            let weight = match name {
                "values" => Some(half.targets.get("weight").clone()),
                _ => None,
            };
            self.put(format!("input.{phase}.image"), images);
            self.put(format!("input.{phase}.{name}"), target);
            if let Some(weight) = weight {
                self.put(format!("input.{phase}.weight"), weight);
            }
        }
        Ok(())
    }

    /// The learner's tensors of these kinds under `prefix`.
    pub fn record_learner(&mut self, prefix: &str, kinds: &[&str]) -> Result<()> {
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
