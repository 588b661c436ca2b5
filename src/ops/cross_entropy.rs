//! Softmax cross entropy of class scores `x (N, C, ...)` and class ids `t (N, ...)`, max-stabilised:
//! `y = sum_i l_i / d`, `l_i = -(1 - e) w[t_i] ln p_i[t_i] - (e / C) sum_c w_c ln p_i[c]`, `p = softmax over C`;
//! ignored positions have `l_i = 0`. `dx_i = ((1 - e) w[t_i] (p_i - [c = t_i]) + (e / C) (p_i sum_c w_c - w_c)) dy / d`.
//!
//! Longer than 300 lines: the denominators, smoothing and weights multiply the branches and the refusals.

use std::sync::Arc;

use super::reference::{Arr, Reference};
use super::shape_rules::{Split, refuse, split};
use super::softmax::move_lines;
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::host::{Float, by_float, softmax as kernel};
use crate::backend::threads::{for_pieces, for_pieces2, map, shards, tree_fold};
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};

/// What the summed loss is divided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Denominator {
    /// The positions that are not ignored, each counted with its class weight; the loss is 0 where there is none.
    Valid,
    /// All positions, ignored ones included (the release of the hand-crafted network: the loss shrinks with their share).
    All,
    /// A given number: 1 for a sum, the matched priors for detection.
    Fixed(f64),
}

/// The op with its parameters.
#[derive(Debug, Clone)]
pub struct CrossEntropy {
    /// Class id that does not count.
    pub ignore: Option<i32>,
    /// What the sum is divided by.
    pub denominator: Denominator,
    /// Label smoothing e, in 0..1.
    pub smoothing: f64,
    /// One weight for each class; `None` is 1 for all.
    pub weights: Option<Vec<f64>>,
}

impl Default for CrossEntropy {
    /// Mean over the positions, nothing ignored, no smoothing, no weights.
    fn default() -> Self {
        CrossEntropy {
            ignore: None,
            denominator: Denominator::Valid,
            smoothing: 0.0,
            weights: None,
        }
    }
}

/// Cross entropy, a scalar. `x` is `(N, C)`, `(N, C, L)` or `(N, C, H, W)`; `targets` (i32) has its shape without `C`.
///
/// # Errors
/// [`Code::Shape`] for shapes that do not fit, [`Code::DType`] when the targets are not i32, [`Code::Argument`] for a
/// target outside `0..C` that is not ignored or parameters outside their range.
pub fn cross_entropy(x: &Var, targets: &Var, op: CrossEntropy) -> Result<Var> {
    x.tape().apply(op, &[x, targets])
}

impl CrossEntropy {
    fn weights(&self, classes: usize) -> Vec<f64> {
        self.weights.clone().unwrap_or(vec![1.0; classes])
    }

    fn ignored(&self, t: f64) -> bool {
        self.ignore.is_some_and(|i| i as f64 == t)
    }

    /// The denominator for these targets; 1 instead of 0, for there the sum is 0.
    fn denominator(&self, targets: impl Iterator<Item = f64>, w: &[f64]) -> f64 {
        let d = match self.denominator {
            Denominator::Fixed(d) => d,
            Denominator::All => targets.count() as f64,
            Denominator::Valid => targets
                .filter(|&t| !self.ignored(t))
                .map(|t| w[t as usize])
                .sum(),
        };
        if d == 0.0 { 1.0 } else { d }
    }

    fn check(&self, x: &[Tensor]) -> Result<()> {
        let (classes, t) = (x[0].dims()[1], &x[1]);
        if t.dtype() != DType::I32 {
            let text = format!(
                "cross_entropy: targets must be i32, got {}",
                t.dtype().name()
            );
            return Err(Error::new(Code::DType, text));
        }
        if t.only_on_device() {
            return Ok(()); // a target outside the classes makes the loss NaN there
        }
        let bad = |&t: &i32| Some(t) != self.ignore && !(0..classes as i32).contains(&t);
        if let Some(i) = t.i32s().iter().position(bad) {
            let text = format!(
                "cross_entropy: target {} is not in 0..{classes}",
                t.i32s()[i]
            );
            let mut place = vec![0; t.dims().len()];
            let mut rest = i;
            for (p, d) in place.iter_mut().zip(t.dims()).rev() {
                (*p, rest) = (rest % d, rest / d);
            }
            return Err(Error::new(Code::Argument, text).at(format!("targets{place:?}")));
        }
        Ok(())
    }

    /// Probabilities, and the loss before the division.
    fn fast_forward<T: Float>(&self, x: &[T], t: &[i32], v: Split, p: &mut [T]) -> f64 {
        let (w, e) = (self.weights(v.len), self.smoothing);
        let mut lse = vec![T::ZERO; v.outer * v.inner];
        // Whole images, or many short rows at a time.
        let each = (1usize << 13).div_ceil(v.row().max(1));
        for_pieces2(
            p,
            each * v.row(),
            &mut lse,
            each * v.inner,
            16 * x.len(),
            |i, p, lse| {
                kernel::softmax(&x[i * each * v.row()..][..p.len()], v.len, v.inner, p, lse);
            },
        );
        let loss = |n: usize| -> f64 {
            let (x, lse, t) = (&x[n * v.row()..], &lse[n * v.inner..], &t[n * v.inner..]);
            let mut sum = 0.0;
            for (i, &t) in t[..v.inner].iter().enumerate() {
                if Some(t) == self.ignore {
                    continue;
                }
                let minus_ln_p = |c: usize| (lse[i] - x[c * v.inner + i]).v();
                sum += (1.0 - e) * w[t as usize] * minus_ln_p(t as usize);
                if e > 0.0 {
                    let all: f64 = (0..v.len).map(|c| w[c] * minus_ln_p(c)).sum();
                    sum += e / v.len as f64 * all;
                }
            }
            sum
        };
        let ranges: Vec<_> = shards(v.outer).collect();
        let parts = map(ranges.len(), 2 * x.len(), |s| {
            ranges[s].clone().map(loss).sum::<f64>()
        });
        tree_fold(parts, |a, b| a + b).unwrap_or(0.0)
    }

    /// `dx` for the loss gradient `g`, already divided.
    fn fast_backward<T: Float>(&self, p: &[T], t: &[i32], v: Split, g: f64, dx: &mut [T]) {
        let w: Vec<T> = self.weights(v.len).into_iter().map(T::c).collect();
        let smooth = T::c(g * self.smoothing / v.len as f64);
        let factor = |t: i32| T::c(g * (1.0 - self.smoothing)) * w[t as usize];
        for_pieces(dx, v.row(), 4 * p.len(), |n, dx| {
            let t = &t[n * v.inner..][..v.inner];
            let live = |t: i32| Some(t) != self.ignore;
            let a: Vec<T> = t
                .iter()
                .map(|&t| if live(t) { factor(t) } else { T::ZERO })
                .collect();
            let b: Vec<T> = t
                .iter()
                .map(|&t| if live(t) { smooth } else { T::ZERO })
                .collect();
            kernel::cross_entropy_bwd(&p[n * v.row()..][..v.row()], &a, &b, &w, dx);
            for (i, &t) in t.iter().enumerate().filter(|(_, t)| live(**t)) {
                let d = &mut dx[t as usize * v.inner + i];
                *d -= a[i];
            }
        });
    }
}

impl Reference for CrossEntropy {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let (x, t) = (&x[0], &x[1]);
        let v = split(&x.shape, 1);
        let (w, e) = (self.weights(v.len), self.smoothing);
        let mut sum = S::zero();
        for (i, t) in t
            .data
            .iter()
            .enumerate()
            .filter(|(_, t)| !self.ignored(t.v()))
        {
            let at = |c: usize| x.data[i / v.inner * v.row() + c * v.inner + i % v.inner];
            let max = (0..v.len)
                .map(|c| at(c).v())
                .fold(f64::NEG_INFINITY, f64::max);
            let mut s = S::zero();
            for c in 0..v.len {
                s += (at(c) - S::c(max)).exp();
            }
            let ln_p = |c: usize| at(c) - S::c(max) - s.ln();
            let t = t.v() as usize;
            sum += S::c(-(1.0 - e) * w[t]) * ln_p(t);
            for c in 0..v.len {
                sum += S::c(-e / v.len as f64 * w[c]) * ln_p(c);
            }
        }
        let d = self.denominator(t.data.iter().map(|t| t.v()), &w);
        Arr {
            shape: Shape::new(&[]),
            data: vec![sum / S::c(d)],
        }
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let (x, t) = (&x[0], &x[1]);
        let v = split(&x.shape, 1);
        let (w, e) = (self.weights(v.len), self.smoothing);
        let total: f64 = w.iter().sum();
        let d = self.denominator(t.data.iter().map(|t| t.v()), &w);
        let g = dy.data[0] / S::c(d);
        let mut dx = Arr::zeros(x.shape);
        for (i, t) in t
            .data
            .iter()
            .enumerate()
            .filter(|(_, t)| !self.ignored(t.v()))
        {
            let at = |c: usize| i / v.inner * v.row() + c * v.inner + i % v.inner;
            let max = (0..v.len)
                .map(|c| x.data[at(c)].v())
                .fold(f64::NEG_INFINITY, f64::max);
            let mut s = S::zero();
            for c in 0..v.len {
                s += (x.data[at(c)] - S::c(max)).exp();
            }
            let t = t.v() as usize;
            for c in 0..v.len {
                let p = (x.data[at(c)] - S::c(max)).exp() / s;
                let hit = if c == t { 1.0 } else { 0.0 };
                let hard = S::c((1.0 - e) * w[t]) * (p - S::c(hit));
                let soft = S::c(e / v.len as f64) * (p * S::c(total) - S::c(w[c]));
                dx.data[at(c)] = g * (hard + soft);
            }
        }
        vec![Some(dx), None]
    }
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let (s, t) = (x[0].dims(), x[1]);
        let positions: Vec<usize> = s
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != 1)
            .map(|(_, d)| *d)
            .collect();
        if s.len() < 2 || s[1] == 0 || Shape::new(&positions) != t {
            let text = format!(
                "expected scores (N, C, ...) and targets (N, ...), got {} and {t}",
                x[0]
            );
            return Err(refuse(self.name(), text));
        }
        let argument =
            |text: String| Err(Error::new(Code::Argument, format!("cross_entropy: {text}")));
        if !(0.0..1.0).contains(&self.smoothing) {
            return argument(format!("smoothing must be in 0..1, got {}", self.smoothing));
        }
        if let Some(w) = &self.weights
            && (w.len() != s[1] || w.iter().any(|w| !(w.is_finite() && *w >= 0.0)))
        {
            return argument(format!(
                "expected {} class weights, finite and not negative, got {w:?}",
                s[1]
            ));
        }
        if let Denominator::Fixed(d) = self.denominator
            && !(d.is_finite() && d > 0.0)
        {
            return argument(format!("the denominator must be positive, got {d}"));
        }
        Ok(Shape::new(&[]))
    }

    fn saves(&self) -> Saves {
        Saves {
            inputs: 0b10,
            output: false,
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        self.check(x)?;
        let (x, t) = (&x[0], x[1].i32s());
        let v = split(x.shape(), 1);
        let mut p = Buffer::scratch(x.dtype(), x.numel());
        let sum = by_float!(x.dtype(), T => self.fast_forward::<T>(x.data(), t, v, p.values_mut()));
        let d = self.denominator(t.iter().map(|&t| t as f64), &self.weights(v.len));
        Ok(Output {
            y: Tensor::scalar(x.dtype(), sum / d),
            saved: vec![Tensor::from_buffer(*x.shape(), p)],
        })
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (p, t) = (&b.saved[0], b.input(1).i32s());
        let v = split(p.shape(), 1);
        let d = self.denominator(t.iter().map(|&t| t as f64), &self.weights(v.len));
        let mut dx = Buffer::scratch(p.dtype(), p.numel());
        by_float!(p.dtype(), T => self.fast_backward::<T>(p.data(), t, v, b.dy.item() / d, dx.values_mut()));
        Ok(vec![
            Some(Grad::Whole(Tensor::from_buffer(*p.shape(), dx))),
            None,
        ])
    }

    crate::reference_path!(check);

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        self.check(x)?;
        self.launch_forward(e, x)
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        self.launch_backward(e, b)
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "cross_entropy",
    case: |g| {
        // More positions than threads, and than one block sums.
        let large = g.side > 9;
        let s = match large {
            true => [3, 1, g.int(28, g.side), g.int(28, g.side)],
            false => g.map_shape(),
        };
        let rank = if large { 4 } else { g.pick(&[2, 3, 4]) };
        let c = g.int(2, 7);
        let (shape, ignore) = ([s[0], c, s[2], s[3]], g.pick(&[None, Some(255), Some(-1)]));
        let positions: Vec<usize> = [s[0], s[2], s[3]][..rank - 1].to_vec();
        let denominator = g.pick(&[
            Denominator::Valid,
            Denominator::Valid,
            Denominator::All,
            Denominator::Fixed(3.5),
        ]);
        let smoothing = g.pick(&[0.0, 0.0, 0.1]);
        let weights = g
            .rng
            .coin(0.3)
            .then(|| (0..c).map(|_| g.rng.range(0.2, 2.0)).collect());
        let mut x = g.normal(&shape[..rank]);
        move_lines(g, &mut x, 1);
        Case {
            op: Arc::new(CrossEntropy {
                ignore,
                denominator,
                smoothing,
                weights,
            }),
            x: vec![x, g.classes(&positions[..], c, ignore)],
        }
    },
    refusals: || {
        let op = |f: fn(&mut CrossEntropy)| {
            let mut op = CrossEntropy::default();
            f(&mut op);
            Arc::new(op)
        };
        let shapes = || vec![[2, 3].into(), [2].into()];
        vec![
            Refusal {
                op: op(|_| {}),
                shapes: vec![[2, 3, 4, 4].into(), [2, 4, 5].into()],
                expect: "expected scores (N, C, ...) and targets (N, ...), got (2, 3, 4, 4) and (2, 4, 5)",
            },
            Refusal {
                op: op(|op| op.smoothing = 1.0),
                shapes: shapes(),
                expect: "smoothing must be in 0..1, got 1",
            },
            Refusal {
                op: op(|op| op.weights = Some(vec![1.0, -1.0, 1.0])),
                shapes: shapes(),
                expect: "expected 3 class weights, finite and not negative",
            },
            Refusal {
                op: op(|op| op.denominator = Denominator::Fixed(0.0)),
                shapes: shapes(),
                expect: "the denominator must be positive, got 0",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "the count off by one",
            spoil: |c, _, g| {
                let n = c.x[1].numel() as f64;
                let Some(dx) = g[0].as_mut() else {
                    return false;
                };
                dx.data_mut::<f64>()
                    .iter_mut()
                    .for_each(|v| *v *= n / (n + 1.0));
                dx.f64s().iter().any(|v| *v != 0.0)
            },
        },
        Planted {
            what: "no gradient at the target's class",
            spoil: |c, _, g| {
                let v = split(c.x[0].shape(), 1);
                let Some(dx) = g[0].as_mut() else {
                    return false;
                };
                let before = dx.f64s().to_vec();
                let data = dx.data_mut::<f64>();
                for (i, &t) in c.x[1].i32s().iter().enumerate() {
                    if (0..v.len as i32).contains(&t) {
                        data[i / v.inner * v.row() + t as usize * v.inner + i % v.inner] = 0.0;
                    }
                }
                before != dx.f64s()
            },
        },
    ],
};

#[path = "cross_entropy_device.rs"]
mod device;

#[cfg(test)]
#[path = "cross_entropy_tests.rs"]
mod tests;
