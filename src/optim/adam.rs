//! Adam with coupled L2 decay (Kingma, Ba 2015): `g += weight_decay p`, `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)`. Each parameter counts its own steps.

use super::config::AdamConfig;
use super::device::{Mirror, Rows, Setting, Teller, engine_of};
use super::sgd::{clip_factor, norm};
use crate::backend::driver::{self as k, Arg};
use crate::backend::host::by_float;
use crate::dual::Scalar;
use crate::error::Result;
use crate::nn::{ParamId, ParamSet};
use crate::tensor::{DType, DeviceBuffer, Engine, Tensor};

/// Moments of one parameter.
#[derive(Debug, Clone)]
pub struct Moments {
    /// First moment.
    pub m: Tensor,
    /// Second moment.
    pub v: Tensor,
    /// Steps taken.
    pub t: u64,
}

/// The optimiser's state.
#[derive(Debug, Clone, Default)]
pub struct Adam {
    /// By position in the parameter set; absent until a parameter's first gradient.
    pub moments: Vec<Option<Moments>>,
    table: Mirror,
    rates: Setting,
    teller: Teller,
}

/// Rate and root of the correction of the second moment in step `t` of a parameter.
fn rates(c: &AdamConfig, lr: f64, t: u64) -> [f64; 2] {
    let correct = |b: f64| 1.0 - b.powi(t as i32);
    [lr / correct(c.betas[0]), correct(c.betas[1]).sqrt()]
}

impl Adam {
    /// For a set of `n` parameters.
    pub fn new(n: usize) -> Adam {
        Adam {
            moments: vec![None; n],
            ..Adam::default()
        }
    }

    /// One step at rate `lr`; returns the norm of the raw gradients. On the device when they lie on one.
    ///
    /// # Errors
    /// Those of the device.
    pub fn step(
        &mut self,
        p: &mut ParamSet,
        grads: Vec<(ParamId, Tensor)>,
        c: &AdamConfig,
        lr: f64,
    ) -> Result<f64> {
        if let Some(e) = engine_of(p, &grads) {
            return self.step_on(e, p, &grads, c, lr);
        }
        let norm = norm(&grads);
        let factor = clip_factor(c.clip, norm);
        for (id, g) in grads {
            let zeros = || Tensor::zeros(*g.shape(), g.dtype());
            let s = self.moments[id.0].get_or_insert_with(|| Moments {
                m: zeros(),
                v: zeros(),
                t: 0,
            });
            s.t += 1;
            let [step, root] = rates(c, lr, s.t);
            by_float!(g.dtype(), T => {
                let (b1, b2) = (T::c(c.betas[0]), T::c(c.betas[1]));
                let (m, v) = (s.m.data_mut::<T>(), s.v.data_mut::<T>());
                let p = p.get_mut(id).data_mut::<T>();
                for (((p, &g), m), v) in p.iter_mut().zip(g.data::<T>()).zip(m).zip(v) {
                    let g = g * T::c(factor) + T::c(c.weight_decay) * *p;
                    *m = b1 * *m + T::c(1.0 - c.betas[0]) * g;
                    *v = b2 * *v + T::c(1.0 - c.betas[1]) * g * g;
                    *p -= T::c(step) * *m / (v.sqrt() / T::c(root) + T::c(c.eps));
                }
            });
        }
        Ok(norm)
    }

    /// [`Adam::step`] by three launches, the same arithmetic in f32.
    fn step_on(
        &mut self,
        e: Engine,
        p: &mut ParamSet,
        grads: &[(ParamId, Tensor)],
        c: &AdamConfig,
        lr: f64,
    ) -> Result<f64> {
        self.prepare(e, c, lr)?;
        self.teller.prepare(e)?;
        let rows = self.rows(e, p, grads)?;
        if rows.is_empty() {
            return Ok(0.0);
        }
        let table = self.table(e, &rows)?;
        let figures = self.teller.tell(e, &[], &rows, table, c.clip)?;
        self.launch(e, &rows, table, &figures.factor, c)?;
        self.count(grads.iter().map(|(id, _)| *id));
        let norm = figures.values.download().values::<f64>()[0];
        if !norm.is_finite() {
            self.teller.go_on(e)?;
        }
        Ok(norm)
    }

    /// Sets the rates of the next step on `e`, of every parameter.
    ///
    /// # Errors
    /// Those of the device.
    pub fn prepare(&self, e: Engine, c: &AdamConfig, lr: f64) -> Result<()> {
        let next = |s: &Option<Moments>| s.as_ref().map_or(0, |s| s.t) + 1;
        let all = self.moments.iter().flat_map(|s| rates(c, lr, next(s)));
        let bytes: Vec<u8> = all.flat_map(|r| (r as f32).to_ne_bytes()).collect();
        match bytes.is_empty() {
            true => Ok(()),
            false => self.rates.set(e, DType::F32, &bytes),
        }
    }

    /// What a step over `grads` reads and changes.
    ///
    /// # Errors
    /// Those of the device.
    pub fn rows(
        &mut self,
        e: Engine,
        p: &mut ParamSet,
        grads: &[(ParamId, Tensor)],
    ) -> Result<Rows> {
        let mut rows = Rows::default();
        for (id, g) in grads {
            let slot = &mut self.moments[id.0];
            if slot.is_none() {
                let zeros = || Tensor::zeros_on(e, *g.shape(), DType::F32);
                let (m, v) = (zeros()?, zeros()?);
                *slot = Some(Moments { m, v, t: 0 });
            }
            let s = slot.as_mut().expect("just made");
            let changes = [&*s.m.on_mut(e)?, s.v.on_mut(e)?, p.get_mut(*id).on_mut(e)?];
            rows.add(g.on(e)?, id.0, &changes);
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

    /// The step, clipped by `factor`, at the rates of [`Adam::prepare`]; one launch.
    ///
    /// # Errors
    /// Those of the device.
    pub fn launch(
        &self,
        e: Engine,
        rows: &Rows,
        table: Arg,
        factor: &DeviceBuffer,
        c: &AdamConfig,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let number = |v: f64| Arg::F32(v as f32);
        let args = [
            table,
            factor.arg(),
            self.rates.on().arg(),
            number(c.weight_decay),
            number(c.betas[0]),
            number(1.0 - c.betas[0]),
            number(c.betas[1]),
            number(1.0 - c.betas[1]),
            number(c.eps),
        ];
        e.launch(k::ADAM_STEP, rows.launch(), &args)
    }

    /// Takes the last count of these parameters back: their step halted.
    pub fn uncount(&mut self, ids: impl Iterator<Item = ParamId>) {
        for id in ids {
            if let Some(s) = &mut self.moments[id.0] {
                s.t -= 1;
            }
        }
    }

    /// Counts a step of these parameters.
    pub fn count(&mut self, ids: impl Iterator<Item = ParamId>) {
        for id in ids {
            if let Some(s) = &mut self.moments[id.0] {
                s.t += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_step_is_the_rate_in_the_direction_of_the_gradient() {
        let mut p = ParamSet::default();
        let a = p.add("a".into(), Tensor::from_f64([2], vec![1.0, -1.0]).unwrap());
        let c = AdamConfig {
            weight_decay: 0.0,
            ..AdamConfig::default()
        };
        let mut adam = Adam::new(1);
        adam.step(
            &mut p,
            vec![(a, Tensor::from_f64([2], vec![3.0, -0.2]).unwrap())],
            &c,
            0.01,
        )
        .unwrap();
        let v = p.get(a).f64s();
        assert!(
            (v[0] - 0.99).abs() < 1e-8 && (v[1] + 0.99).abs() < 1e-8,
            "{v:?}"
        );
    }

    #[test]
    fn second_step_by_hand() {
        let mut p = ParamSet::default();
        let a = p.add("a".into(), Tensor::from_f64([1], vec![0.5]).unwrap());
        let c = AdamConfig {
            weight_decay: 0.1,
            betas: [0.5, 0.999],
            ..AdamConfig::default()
        };
        let mut adam = Adam::new(1);
        let (mut w, mut m, mut v) = (0.5f64, 0.0, 0.0);
        for (t, g) in [(1, 2.0), (2, -1.0)] {
            adam.step(
                &mut p,
                vec![(a, Tensor::from_f64([1], vec![g]).unwrap())],
                &c,
                0.1,
            )
            .unwrap();
            let g = g + 0.1 * w;
            m = 0.5 * m + 0.5 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (mh, vh): (f64, f64) = (m / (1.0 - 0.5f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
            w -= 0.1 * mh / (vh.sqrt() + 1e-8);
        }
        assert!((p.get(a).item() - w).abs() < 1e-12);
    }
}
