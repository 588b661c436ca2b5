//! One bi-level step: the architecture step, then the weight step (DARTS section 2.3; systems.md 2.5).
//!
//! First order: the architecture gradient is that of the loss on the architecture half at the current weights. Second
//! order: at the weights after a virtual step, minus a finite-difference Hessian-vector product. Neither touches the
//! running statistics; the weight step does.
//!
//! **Invariant:** architecture parameters and weights are two sets with two optimisers; neither step moves the other's.

use super::phase::{Phase, Update, scalar};
use crate::error::{Code, Error, Result};
use crate::nn::{Mode, ParamId, ParamSet, Pass, PassGrads, Store};
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::optim::device::{Mirror, Rows};
use crate::optim::{Adam, Sgd, Teller};
use crate::tape::{Cx, Path, Var};
use crate::tensor::{DType, Tensor};

/// A loss and the parts it is the sum of.
pub struct Loss {
    /// One number on the tape.
    pub total: Var,
    /// Named parts, one number each, for the log.
    pub parts: Vec<(&'static str, Tensor)>,
}

/// A loss of the network over one batch: what both steps minimise.
pub type LossFn<'a> = &'a dyn Fn(&Pass) -> Result<Loss>;

/// Everything that a search changes.
#[derive(Debug, Clone, Default)]
pub struct Learner {
    /// Weights, architecture parameters, running statistics.
    pub store: Store,
    /// Momentum of the weights.
    pub sgd: Sgd,
    /// Moments of the architecture parameters.
    pub adam: Adam,
    /// Rate of the dropout after skip-connects in the steps to come (P-DARTS); no state, a stage sets it anew.
    pub skip_dropout: f64,
    /// How a device tells losses and whether gradients are finite; no state.
    pub(super) teller: Teller,
    /// Tables of its launches; no state.
    gradients: Mirror,
    pub(super) statistics: Vec<Mirror>,
}

/// What a step saw.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepReport {
    /// The loss before the step.
    pub loss: f64,
    /// Its parts.
    pub parts: Vec<(&'static str, f64)>,
    /// L2 norm of the raw gradients.
    pub norm: f64,
}

/// What a weight step is about to change.
#[derive(Debug, Default)]
pub struct WeightUpdate {
    /// Raw gradients of the weights that the loss reaches.
    pub gradients: Vec<(ParamId, Tensor)>,
    /// New running statistics.
    pub statistics: Vec<(ParamId, Tensor)>,
}

/// How an architecture step sees the weights.
#[derive(Clone, Copy)]
pub enum Order<'a> {
    /// As they are.
    First,
    /// After a virtual weight step on `weight_loss` at rate `xi`.
    Second {
        /// The loss on the weight half.
        weight_loss: LossFn<'a>,
        /// Rate of the virtual step: the current one of the weights.
        xi: f64,
        /// Momentum and decay of the virtual step.
        weights: &'a SgdConfig,
        /// The finite difference moves the weights by `epsilon / ||v||`.
        epsilon: f64,
    },
}

const VIRTUAL_STEP: Mode = Mode {
    training: true,
    update_statistics: false,
    grad_weights: true,
    grad_arch: true,
    drop_path: 0.0,
    skip_dropout: 0.0,
};

impl Learner {
    /// A learner over freshly initialised parameters.
    pub fn new(store: Store) -> Learner {
        let (sgd, adam) = (Sgd::new(store.weights.len()), Adam::new(store.arch.len()));
        Learner {
            store,
            sgd,
            adam,
            skip_dropout: 0.0,
            teller: Teller::default(),
            gradients: Mirror::default(),
            statistics: vec![],
        }
    }

    /// Gradients of `loss`; a value that is not finite is an error that names the op where it arose.
    pub(super) fn gradients(
        &self,
        cx: Cx,
        mode: Mode,
        key: [u64; 3],
        loss: LossFn,
    ) -> Result<(StepReport, PassGrads, Vec<(ParamId, Tensor)>)> {
        let mode = self.mode_of(mode);
        let run = |cx: Cx| -> Result<_> {
            let mut p = Pass::new(&self.store, cx, mode);
            p.key = key;
            let l = loss(&p)?;
            let g = p.backward(&l.total)?;
            // Only now: a number of a device is waited for.
            let (report, finite) = self.report(cx, &l, &g)?;
            Ok((report, finite, g, p.take_statistics()?))
        };
        let (report, finite, g, statistics) = run(cx)?;
        if finite && report.loss.is_finite() {
            return Ok((report, g, statistics));
        }
        // The step is a pure function of its inputs: run it again, looking at every value, to name the culprit.
        match run(Cx {
            check_finite: true,
            ..cx
        }) {
            Err(e) => Err(e),
            Ok(_) => Err(Error::new(
                Code::Diverged,
                format!("the loss is {}", report.loss),
            )),
        }
    }

    /// The numbers of a loss, and whether its gradients are finite.
    fn report(&self, cx: Cx, l: &Loss, g: &PassGrads) -> Result<(StepReport, bool)> {
        let all = || g.weights.iter().chain(&g.arch).map(|(_, t)| t);
        let mut scalars = vec![l.total.value()];
        scalars.extend(l.parts.iter().map(|(_, t)| t));
        let (values, finite) = match cx.path {
            Path::Device(e) if all().all(|t| t.dtype() == DType::F32) => {
                let mut rows = Rows::default();
                for g in all() {
                    rows.add(g.on(e)?, 0, &[]);
                }
                self.teller.prepare(e)?;
                let scalars: Vec<Tensor> = scalars.iter().map(|t| scalar(t)).collect();
                let table = rows.table(e, &self.gradients)?;
                let told = self.teller.tell(e, &scalars, &rows, table, 0.0)?;
                let values = told.values.download().values::<f64>().to_vec();
                e.healthy()?;
                let finite = values[scalars.len()].is_finite();
                if !(finite && values[0].is_finite()) {
                    self.teller.go_on(e)?;
                }
                (values, finite)
            }
            _ => (
                scalars.iter().map(|t| t.item()).collect(),
                all().all(Tensor::all_finite),
            ),
        };
        let names = l.parts.iter().map(|(name, _)| *name);
        let report = StepReport {
            loss: values[0],
            parts: names.zip(values[1..].iter().copied()).collect(),
            norm: 0.0,
        };
        Ok((report, finite))
    }

    /// Gradients of an architecture step on `loss`, the loss over the architecture half. Second order moves the weights and puts
    /// them back; otherwise nothing changes.
    ///
    /// # Errors
    /// [`Code::Diverged`], naming the op, when a value is not finite.
    pub fn arch_gradients(
        &mut self,
        cx: Cx,
        key: [u64; 3],
        loss: LossFn,
        order: Order,
    ) -> Result<(StepReport, Vec<(ParamId, Tensor)>)> {
        match order {
            Order::First => {
                let (r, g, _) = self.gradients(cx, Mode::ARCH_STEP, key, loss)?;
                Ok((r, g.arch))
            }
            Order::Second {
                weight_loss,
                xi,
                weights,
                epsilon,
            } => self.unrolled(cx, key, loss, weight_loss, xi, weights, epsilon),
        }
    }

    /// Gradients of a weight step on `loss`, the loss over the weight half, and the running statistics after it. Nothing changes.
    ///
    /// # Errors
    /// As [`Learner::arch_gradients`].
    pub fn weight_gradients(
        &self,
        cx: Cx,
        mode: Mode,
        key: [u64; 3],
        loss: LossFn,
    ) -> Result<(StepReport, WeightUpdate)> {
        let (report, g, statistics) = self.gradients(cx, mode, key, loss)?;
        Ok((
            report,
            WeightUpdate {
                gradients: g.weights,
                statistics,
            },
        ))
    }

    /// Moves the architecture parameters; returns the norm of the raw gradients.
    ///
    /// # Errors
    /// Those of the device.
    pub fn apply_arch(
        &mut self,
        gradients: Vec<(ParamId, Tensor)>,
        c: &AdamConfig,
        lr: f64,
    ) -> Result<f64> {
        self.adam.step(&mut self.store.arch, gradients, c, lr)
    }

    /// Moves the weights and the running statistics; returns the norm of the raw gradients.
    ///
    /// # Errors
    /// Those of the device.
    pub fn apply_weights(&mut self, update: WeightUpdate, c: &SgdConfig, lr: f64) -> Result<f64> {
        for (id, value) in update.statistics {
            self.store.buffers.set(id, value);
        }
        self.sgd
            .step(&mut self.store.weights, update.gradients, c, lr)
    }

    /// One architecture step on `loss`, the loss over the architecture half.
    ///
    /// # Errors
    /// [`Code::Diverged`], naming the op, when a value is not finite; nothing has changed then.
    pub fn arch_step(
        &mut self,
        cx: Cx,
        key: [u64; 3],
        loss: LossFn,
        order: Order,
        c: &AdamConfig,
        lr: f64,
    ) -> Result<StepReport> {
        if let Order::First = order {
            let (mode, update) = (Mode::ARCH_STEP, Update::Arch(c));
            let phase = Phase {
                cx,
                mode,
                key,
                update,
                lr,
            };
            return self.take(&phase, loss);
        }
        let (mut report, gradients) = self.arch_gradients(cx, key, loss, order)?;
        report.norm = self.apply_arch(gradients, c, lr)?;
        Ok(report)
    }

    /// One weight step on `loss`, the loss over the weight half; running statistics move.
    ///
    /// # Errors
    /// As [`Learner::arch_step`].
    pub fn weight_step(
        &mut self,
        cx: Cx,
        mode: Mode,
        key: [u64; 3],
        loss: LossFn,
        c: &SgdConfig,
        lr: f64,
    ) -> Result<StepReport> {
        let update = Update::Weights(c);
        let phase = Phase {
            cx,
            mode,
            key,
            update,
            lr,
        };
        self.take(&phase, loss)
    }

    /// One phase, of first order: on a device as a whole, where it can be.
    ///
    /// # Errors
    /// As [`Learner::arch_step`].
    pub fn take(&mut self, phase: &Phase, loss: LossFn) -> Result<StepReport> {
        if let Some(e) = self.device_of(phase) {
            self.prepare(e, phase)?;
            let told = self.launch(e, phase, None, loss)?;
            let begun = self.begun(phase, &told)?;
            return self.end(phase, begun, loss);
        }
        let (mut report, g, statistics) = self.gradients(phase.cx, phase.mode, phase.key, loss)?;
        report.norm = match phase.update {
            Update::Arch(c) => self.apply_arch(g.arch, c, phase.lr)?,
            Update::Weights(c) => {
                let gradients = g.weights;
                let update = WeightUpdate {
                    gradients,
                    statistics,
                };
                self.apply_weights(update, c, phase.lr)?
            }
        };
        Ok(report)
    }

    /// `d_alpha - xi (g_plus - g_minus) / (2 R)` at the virtual weights, with `R = epsilon / ||v||`.
    fn unrolled(
        &mut self,
        cx: Cx,
        key: [u64; 3],
        loss: LossFn,
        weight_loss: LossFn,
        xi: f64,
        weights: &SgdConfig,
        epsilon: f64,
    ) -> Result<(StepReport, Vec<(ParamId, Tensor)>)> {
        // A copy, not a subtraction, restores the weights exactly.
        let kept = self.store.weights.clone();
        let result = self.unrolled_on(cx, key, loss, weight_loss, xi, weights, epsilon, &kept);
        self.store.weights = kept;
        result
    }

    fn unrolled_on(
        &mut self,
        cx: Cx,
        key: [u64; 3],
        loss: LossFn,
        weight_loss: LossFn,
        xi: f64,
        c: &SgdConfig,
        epsilon: f64,
        kept: &ParamSet,
    ) -> Result<(StepReport, Vec<(ParamId, Tensor)>)> {
        let weight_mode = Mode {
            update_statistics: false,
            ..Mode::WEIGHT_STEP
        };
        let (_, g, _) = self.gradients(cx, weight_mode, key, weight_loss)?;
        for (id, g) in &g.weights {
            let w = kept.get(*id);
            let momentum = self.sgd.momentum[id.0].as_ref().map(Tensor::to_f64);
            let step = |(i, (w, g)): (usize, (f64, f64))| {
                let m = momentum.as_ref().map_or(0.0, |m| c.momentum * m[i]);
                w - xi * (m + g + c.weight_decay * w)
            };
            let moved = w
                .to_f64()
                .into_iter()
                .zip(g.to_f64())
                .enumerate()
                .map(step)
                .collect();
            let moved = Tensor::from_f64(*w.shape(), moved)?.cast(w.dtype());
            self.store.weights.set(*id, moved);
        }
        let (report, at_virtual, _) = self.gradients(cx, VIRTUAL_STEP, key, loss)?;
        let norm = crate::optim::sgd::norm(&at_virtual.weights);
        if norm == 0.0 {
            return Ok((report, at_virtual.arch));
        }
        let r = epsilon / norm;
        let mut sides = vec![];
        for sign in [1.0, -1.0] {
            self.store.weights = kept.clone();
            for (id, v) in &at_virtual.weights {
                let w = kept.get(*id);
                let moved = w
                    .to_f64()
                    .iter()
                    .zip(v.to_f64())
                    .map(|(w, v)| w + sign * r * v)
                    .collect();
                self.store
                    .weights
                    .set(*id, Tensor::from_f64(*w.shape(), moved)?.cast(w.dtype()));
            }
            sides.push(
                self.gradients(cx, Mode::ARCH_STEP, key, weight_loss)?
                    .1
                    .arch,
            );
        }
        let side = |s: &[(ParamId, Tensor)], id: ParamId| {
            s.iter().find(|(i, _)| *i == id).map(|(_, t)| t.to_f64())
        };
        let mut all = vec![];
        for (id, d) in at_virtual.arch {
            let (plus, minus) = (side(&sides[0], id), side(&sides[1], id));
            let v = d.to_f64().into_iter().enumerate().map(|(i, d)| {
                let implicit =
                    plus.as_ref().map_or(0.0, |p| p[i]) - minus.as_ref().map_or(0.0, |m| m[i]);
                d - xi * implicit / (2.0 * r)
            });
            let g = Tensor::from_f64(*d.shape(), v.collect())?.cast(d.dtype());
            all.push((id, g));
        }
        Ok((report, all))
    }
}

#[cfg(test)]
#[path = "bilevel_tests.rs"]
mod tests;
