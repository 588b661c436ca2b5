//! Adam with coupled L2 decay (Kingma, Ba 2015): `g += weight_decay p`, `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)`. Each parameter counts its own steps.

use super::config::AdamConfig;
use super::sgd::{clip_factor, norm};
use crate::backend::host::by_float;
use crate::dual::Scalar;
use crate::nn::{ParamId, ParamSet};
use crate::tensor::Tensor;

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
}

impl Adam {
    /// For a set of `n` parameters.
    pub fn new(n: usize) -> Adam {
        Adam {
            moments: vec![None; n],
        }
    }

    /// One step at rate `lr`; returns the norm of the raw gradients.
    pub fn step(
        &mut self,
        p: &mut ParamSet,
        grads: Vec<(ParamId, Tensor)>,
        c: &AdamConfig,
        lr: f64,
    ) -> f64 {
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
            let correct = |b: f64| 1.0 - b.powi(s.t as i32);
            let (step, root) = (lr / correct(c.betas[0]), correct(c.betas[1]).sqrt());
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
        norm
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
        );
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
            );
            let g = g + 0.1 * w;
            m = 0.5 * m + 0.5 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (mh, vh): (f64, f64) = (m / (1.0 - 0.5f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
            w -= 0.1 * mh / (vh.sqrt() + 1e-8);
        }
        assert!((p.get(a).item() - w).abs() < 1e-12);
    }
}
