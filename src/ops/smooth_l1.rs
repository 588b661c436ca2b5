//! Smooth L1 loss (Girshick 2015, Fast R-CNN, equation 3): `y = (1 / q) sum_i m_i l(x_i - t_i)`,
//! `l(d) = d^2 / (2 b)` for `|d| < b`, else `|d| - b / 2`. With `s = clamp(d / b, -1, 1)`:
//! `dx = m s dy / q`, `dt = -dx`, `dm = l dy / q`. With `b = 0` it is L1, `l = |d|`, with the slope -1 at a difference of 0.

use std::sync::Arc;

use super::reference::{Arr, Reference};
use super::shape_rules::same;
use super::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::backend::host::{Float, by_float};
use crate::backend::threads::{map, shards, tree_fold};
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::tape::{Backward, Grad, Op, Output, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op; operands are predictions, targets and weights of one shape.
#[derive(Debug, Clone)]
pub struct SmoothL1 {
    /// Where the loss turns from quadratic to linear; 0 for L1.
    pub beta: f64,
    /// What the sum is divided by: 1 for a sum, the matched priors for detection.
    pub denominator: f64,
}

/// Weighted smooth L1 loss, a scalar; `x`, `target` and `weight` (0 where an element does not count) have one shape.
///
/// # Errors
/// [`Code::Shape`] when the shapes differ; [`Code::Argument`] unless `denominator` is positive and `beta` positive or 0.
pub fn smooth_l1(x: &Var, target: &Var, weight: &Var, op: SmoothL1) -> Result<Var> {
    x.tape().apply(op, &[x, target, weight])
}

impl SmoothL1 {
    /// `(l, s)` of a difference.
    fn parts<S: Scalar>(&self, d: S) -> (S, S) {
        let b = S::c(self.beta);
        let half = S::c(0.5);
        if d.v().abs() < self.beta {
            (half * d * d / b, d / b)
        } else if d.v() > 0.0 {
            (d - half * b, S::c(1.0))
        } else {
            (-d - half * b, S::c(-1.0))
        }
    }

    fn sum<T: Float>(&self, x: &[T], t: &[T], m: &[T]) -> f64 {
        let terms = x.iter().zip(t).zip(m);
        terms
            .map(|((&x, &t), &m)| (m * self.parts(x - t).0).v())
            .sum()
    }
}

impl Reference for SmoothL1 {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let mut sum = S::zero();
        for i in 0..x[0].data.len() {
            sum += x[2].data[i] * self.parts(x[0].data[i] - x[1].data[i]).0;
        }
        Arr {
            shape: Shape::new(&[]),
            data: vec![sum / S::c(self.denominator)],
        }
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let g = dy.data[0] / S::c(self.denominator);
        let mut dx = Arr::zeros(x[0].shape);
        let mut dm = Arr::zeros(x[0].shape);
        for i in 0..dx.data.len() {
            let (l, s) = self.parts(x[0].data[i] - x[1].data[i]);
            dx.data[i] = x[2].data[i] * s * g;
            dm.data[i] = l * g;
        }
        let dt = dx.map(|v| -v);
        vec![Some(dx), Some(dt), Some(dm)]
    }
}

impl Op for SmoothL1 {
    fn name(&self) -> &'static str {
        "smooth_l1"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        same(self.name(), &x[0], &x[1])?;
        same(self.name(), &x[0], &x[2])?;
        let refuse = |what: String| Err(Error::new(Code::Argument, format!("smooth_l1: {what}")));
        if !(self.beta.is_finite() && self.beta >= 0.0) {
            return refuse(format!("beta must be 0 or positive, got {}", self.beta));
        }
        if !(self.denominator.is_finite() && self.denominator > 0.0) {
            let got = self.denominator;
            return refuse(format!("the denominator must be positive, got {got}"));
        }
        Ok(Shape::new(&[]))
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let images = x[0].dims().first().copied().unwrap_or(1);
        let row = x[0].numel() / images.max(1);
        let ranges: Vec<_> = shards(images).collect();
        let parts = by_float!(x[0].dtype(), T => {
            let (p, t, m) = (x[0].data::<T>(), x[1].data::<T>(), x[2].data::<T>());
            map(ranges.len(), 4 * p.len(), |s| {
                let r = ranges[s].start * row..ranges[s].end * row;
                self.sum(&p[r.clone()], &t[r.clone()], &m[r])
            })
        });
        let sum = tree_fold(parts, |a, b| a + b).unwrap_or(0.0);
        Ok(Tensor::scalar(x[0].dtype(), sum / self.denominator).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let whole = |v| Some(Grad::Whole(Tensor::from_buffer(b.shapes[0], v)));
        by_float!(b.dy.dtype(), T => {
            let g = T::c(b.dy.item() / self.denominator);
            let (x, t, m) = (b.input(0).data::<T>(), b.input(1).data::<T>(), b.input(2).data::<T>());
            let fill = |f: &dyn Fn(usize) -> T| {
                let mut v = Buffer::scratch(b.dy.dtype(), x.len());
                v.values_mut::<T>().iter_mut().enumerate().for_each(|(i, v)| *v = f(i));
                v
            };
            let slope = |i: usize| m[i] * self.parts(x[i] - t[i]).1 * g;
            Ok(vec![
                if b.need[0] { whole(fill(&slope)) } else { None },
                if b.need[1] { whole(fill(&|i| -slope(i))) } else { None },
                if b.need[2] { whole(fill(&|i| self.parts(x[i] - t[i]).0 * g)) } else { None },
            ])
        })
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        self.launch_forward(e, x)
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        self.launch_backward(e, b)
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "smooth_l1",
    case: |g| {
        // More values than one block sums.
        let (s, rank) = match g.side > 9 {
            true => ([2, g.int(20, g.side), 8, 8], 4),
            false => (g.map_shape(), g.int(1, 4)),
        };
        let (beta, shape) = (g.pick(&[1.0, 0.5, 2.0, 0.0]), &s[..rank]);
        let target = g.normal(shape);
        let mut x = g.normal(shape);
        // Differences keep away from the kinks of the slope at beta and -beta.
        for (x, t) in x.data_mut::<f64>().iter_mut().zip(target.f64s()) {
            let d = *x - t;
            let away = (d.abs() - beta).abs();
            if away < 0.05 {
                *x += 0.1 * d.signum();
            }
        }
        let mut weight = g.normal(shape);
        for v in weight.data_mut::<f64>() {
            *v = if *v > 0.7 { 0.0 } else { v.abs() };
        }
        let denominator = g.pick(&[1.0, 3.0, 7.5]);
        Case {
            op: Arc::new(SmoothL1 { beta, denominator }),
            x: vec![x, target, weight],
        }
    },
    refusals: || {
        let op = |beta, denominator| Arc::new(SmoothL1 { beta, denominator });
        let s = Shape::from([2, 4]);
        vec![
            Refusal {
                op: op(1.0, 1.0),
                shapes: vec![s, [2, 3].into(), s],
                expect: "expected operands of one shape, got (2, 4) and (2, 3)",
            },
            Refusal {
                op: op(-0.5, 1.0),
                shapes: vec![s, s, s],
                expect: "beta must be 0 or positive, got -0.5",
            },
            Refusal {
                op: op(1.0, f64::NAN),
                shapes: vec![s, s, s],
                expect: "the denominator must be positive, got NaN",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "dt too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 1),
        },
        Planted {
            what: "the quadratic part never ends",
            spoil: |c, _, g| {
                let Some(dx) = g[0].as_mut() else {
                    return false;
                };
                let before = dx.f64s().to_vec();
                let (x, t) = (c.x[0].f64s(), c.x[1].f64s());
                // The slopes below 2 keep their sign and grow with the difference.
                for (d, (x, t)) in dx.data_mut::<f64>().iter_mut().zip(x.iter().zip(t)) {
                    *d *= (x - t).abs().max(2.0) / 2.0;
                }
                before != dx.f64s()
            },
        },
    ],
};

#[path = "smooth_l1_device.rs"]
mod device;
