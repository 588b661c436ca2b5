//! Stochastic gradient descent with momentum, and clipping.
//!
//! The order is fixed (systems.md 15, row 2): clip the raw gradients by `clip / (norm + 1e-6)`, add `weight_decay * w` to
//! every one, `buffer = momentum * buffer + g` (the first time `buffer = g`), `w -= lr * buffer`. Parameters without a
//! gradient are left alone: no decay, no momentum.

use super::config::SgdConfig;
use super::device::{Mirror, Rows, Setting, Teller, engine_of};
use crate::backend::driver::{self as k, Arg};
use crate::backend::host::{by_float, elementwise};
use crate::dual::Scalar;
use crate::error::Result;
use crate::nn::{ParamId, ParamSet};
use crate::tensor::{DType, DeviceBuffer, Engine, Tensor};

/// Momentum buffers.
#[derive(Debug, Clone, Default)]
pub struct Sgd {
    /// By position in the parameter set; absent until a parameter's first gradient.
    pub momentum: Vec<Option<Tensor>>,
    table: Mirror,
    rate: Setting,
    teller: Teller,
}

/// L2 norm of all gradients together, summed tensor by tensor in order, in f64.
pub fn norm(grads: &[(ParamId, Tensor)]) -> f64 {
    grads
        .iter()
        .map(|(_, g)| by_float!(g.dtype(), T => elementwise::sum_of_squares::<T>(g.data())))
        .sum::<f64>()
        .sqrt()
}

/// What clipping multiplies gradients of this norm by; 1 when `clip` is 0.
pub fn clip_factor(clip: f64, norm: f64) -> f64 {
    if clip > 0.0 {
        (clip / (norm + 1e-6)).min(1.0)
    } else {
        1.0
    }
}

impl Sgd {
    /// For a set of `n` parameters.
    pub fn new(n: usize) -> Sgd {
        Sgd {
            momentum: vec![None; n],
            ..Sgd::default()
        }
    }

    /// One step at rate `lr`; returns the norm of the raw gradients. On the device when they lie on one.
    ///
    /// # Errors
    /// Those of the device.
    pub fn step(
        &mut self,
        w: &mut ParamSet,
        grads: Vec<(ParamId, Tensor)>,
        c: &SgdConfig,
        lr: f64,
    ) -> Result<f64> {
        if let Some(e) = engine_of(w, &grads) {
            return self.step_on(e, w, &grads, c, lr);
        }
        let norm = norm(&grads);
        let factor = clip_factor(c.clip, norm);
        for (id, g) in grads {
            let zeros = || Tensor::zeros(*g.shape(), g.dtype());
            let buffer = self.momentum[id.0].get_or_insert_with(zeros);
            by_float!(g.dtype(), T => elementwise::momentum_step::<T>(
                T::c(factor),
                T::c(c.weight_decay),
                T::c(c.momentum),
                T::c(lr),
                g.data(),
                buffer.data_mut(),
                w.get_mut(id).data_mut(),
            ));
        }
        Ok(norm)
    }

    /// [`Sgd::step`] by three launches, the same arithmetic in f32.
    fn step_on(
        &mut self,
        e: Engine,
        w: &mut ParamSet,
        grads: &[(ParamId, Tensor)],
        c: &SgdConfig,
        lr: f64,
    ) -> Result<f64> {
        self.prepare(e, lr)?;
        self.teller.prepare(e)?;
        let rows = self.rows(e, w, grads)?;
        if rows.is_empty() {
            return Ok(0.0);
        }
        let table = self.table(e, &rows)?;
        let figures = self.teller.tell(e, &[], &rows, table, c.clip)?;
        self.launch(e, &rows, table, &figures.factor, c)?;
        let norm = figures.values.download().values::<f64>()[0];
        if !norm.is_finite() {
            self.teller.go_on(e)?;
        }
        Ok(norm)
    }

    /// Sets the rate of the next step on `e`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn prepare(&self, e: Engine, lr: f64) -> Result<()> {
        self.rate.set(e, DType::F32, &(lr as f32).to_ne_bytes())
    }

    /// What a step over `grads` reads and changes.
    ///
    /// # Errors
    /// Those of the device.
    pub fn rows(
        &mut self,
        e: Engine,
        w: &mut ParamSet,
        grads: &[(ParamId, Tensor)],
    ) -> Result<Rows> {
        let mut rows = Rows::default();
        for (id, g) in grads {
            let buffer = &mut self.momentum[id.0];
            if buffer.is_none() {
                *buffer = Some(Tensor::zeros_on(e, *g.shape(), DType::F32)?);
            }
            let buffer = buffer.as_mut().expect("just made").on_mut(e)?;
            rows.add(g.on(e)?, id.0, &[buffer, w.get_mut(*id).on_mut(e)?]);
        }
        Ok(rows)
    }

    /// Their table on the device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn table(&self, e: Engine, rows: &Rows) -> Result<Arg> {
        rows.table(e, &self.table)
    }

    /// The step, clipped by `factor`, at the rate of [`Sgd::prepare`]; one launch.
    ///
    /// # Errors
    /// Those of the device.
    pub fn launch(
        &self,
        e: Engine,
        rows: &Rows,
        table: Arg,
        factor: &DeviceBuffer,
        c: &SgdConfig,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let args = [
            table,
            factor.arg(),
            self.rate.on().arg(),
            Arg::F32(c.weight_decay as f32),
            Arg::F32(c.momentum as f32),
        ];
        e.launch(k::SGD_STEP, rows.launch(), &args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_by_hand() {
        let mut w = ParamSet::default();
        let a = w.add("a".into(), Tensor::from_f64([1], vec![2.0]).unwrap());
        let b = w.add("b".into(), Tensor::from_f64([1], vec![1.0]).unwrap());
        let c = SgdConfig {
            momentum: 0.9,
            weight_decay: 0.1,
            clip: 5.0,
            ..SgdConfig::default()
        };
        let mut sgd = Sgd::new(2);
        let g = |v: f64| vec![(a, Tensor::from_f64([1], vec![v]).unwrap())];
        let norm = sgd.step(&mut w, g(10.0), &c, 0.5).unwrap();
        assert_eq!(norm, 10.0);
        let first = 10.0 * (5.0 / (10.0 + 1e-6)) + 0.1 * 2.0;
        let w1 = 2.0 - 0.5 * first;
        assert!((w.get(a).item() - w1).abs() < 1e-12);
        sgd.step(&mut w, g(1.0), &c, 0.5).unwrap();
        let w2 = w1 - 0.5 * (0.9 * first + 1.0 + 0.1 * w1);
        assert!((w.get(a).item() - w2).abs() < 1e-12);
        // b was never reached: no decay.
        assert_eq!(w.get(b).item(), 1.0);
        assert!(sgd.momentum[b.0].is_none());
    }
}
