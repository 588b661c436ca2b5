//! Cosine distance of vectors that lie along dimension 1: `y = (1 / q) sum_i m_i (1 - c_i)`, `c = <x, t> / (|x| |t|)`. Lengths below
//! 1e-8 count as 1e-8. `dx = -(m / q) (t / |t| - c x / |x|) / |x| dy`, `dt` likewise with `x` and `t` exchanged, `dm = (1 - c) dy / q`.
//! The loss of surface normals (systems.md 5.5, 6.4).

use std::sync::Arc;

use super::reference::{Arr, Reference};
use super::shape_rules::{refuse, split};
use super::table::{Case, Entry, FACTOR, Gen, Planted, Refusal, scale_gradient};
use crate::backend::host::by_float;
use crate::backend::threads::{for_pieces, map, shards, tree_fold};
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::tape::{Backward, Grad, Op, Output, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op; operands are predictions and targets `(N, C, ...)`, weights `(N, ...)`.
#[derive(Debug, Clone)]
pub struct Cosine {
    /// What the sum is divided by, positive: 1 for a sum, the valid pixels for a mean.
    pub denominator: f64,
}

/// Weighted cosine distance, a scalar; `weight` is 0 where a vector does not count.
///
/// # Errors
/// [`Code::Shape`] when the shapes do not fit; [`Code::Argument`] unless the denominator is positive.
pub fn cosine(x: &Var, target: &Var, weight: &Var, op: Cosine) -> Result<Var> {
    x.tape().apply(op, &[x, target, weight])
}

/// Shorter vectors count as of this length: their direction is noise, and its gradient must stay finite.
const SHORTEST: f64 = 1e-8;

/// A pair of vectors.
struct Pair<S> {
    /// Lengths, at least [`SHORTEST`].
    lengths: [S; 2],
    /// Whether their own lengths count.
    long: [bool; 2],
    cosine: S,
}

impl<S: Scalar> Pair<S> {
    fn new(len: usize, x: impl Fn(usize) -> S, t: impl Fn(usize) -> S) -> Pair<S> {
        let (mut xx, mut tt, mut xt) = (S::zero(), S::zero(), S::zero());
        for c in 0..len {
            xx += x(c) * x(c);
            tt += t(c) * t(c);
            xt += x(c) * t(c);
        }
        let long = [xx, tt].map(|s| s.v() > SHORTEST * SHORTEST);
        // The root of 0 has no derivative.
        let root = |s: S, long: bool| if long { s.sqrt() } else { S::c(SHORTEST) };
        let lengths = [root(xx, long[0]), root(tt, long[1])];
        Pair {
            lengths,
            long,
            cosine: xt / (lengths[0] * lengths[1]),
        }
    }

    /// Derivative of the cosine by a component of vector `i`, which is `own`; the other vector has `other` there.
    fn slope(&self, i: usize, own: S, other: S) -> S {
        let (a, b) = (self.lengths[i], self.lengths[1 - i]);
        let along = if self.long[i] {
            self.cosine * own / a
        } else {
            S::zero()
        };
        (other / b - along) / a
    }
}

impl Reference for Cosine {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let v = split(&x[0].shape, 1);
        let mut sum = S::zero();
        for i in 0..x[2].data.len() {
            let at = |c: usize| i / v.inner * v.row() + c * v.inner + i % v.inner;
            let pair = Pair::new(v.len, |c| x[0].data[at(c)], |c| x[1].data[at(c)]);
            sum += x[2].data[i] * (S::c(1.0) - pair.cosine);
        }
        Arr {
            shape: Shape::new(&[]),
            data: vec![sum / S::c(self.denominator)],
        }
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let v = split(&x[0].shape, 1);
        let g = dy.data[0] / S::c(self.denominator);
        let [mut dx, mut dt, mut dm] = [0, 1, 2].map(|i| Arr::zeros(x[i].shape));
        for i in 0..dm.data.len() {
            let at = |c: usize| i / v.inner * v.row() + c * v.inner + i % v.inner;
            let pair = Pair::new(v.len, |c| x[0].data[at(c)], |c| x[1].data[at(c)]);
            let m = -(x[2].data[i] * g);
            for c in 0..v.len {
                let (p, t) = (x[0].data[at(c)], x[1].data[at(c)]);
                dx.data[at(c)] = m * pair.slope(0, p, t);
                dt.data[at(c)] = m * pair.slope(1, t, p);
            }
            dm.data[i] = g * (S::c(1.0) - pair.cosine);
        }
        vec![Some(dx), Some(dt), Some(dm)]
    }
}

impl Op for Cosine {
    fn name(&self) -> &'static str {
        "cosine"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let d = x[0].dims();
        let fits = d.len() >= 2 && d[1] > 0 && x[0] == x[1] && {
            let positions: Vec<usize> = [&d[..1], &d[2..]].concat();
            Shape::new(&positions) == x[2]
        };
        if !fits {
            let text = format!(
                "expected vectors (N, C, ...) twice and weights (N, ...), got {}, {} and {}",
                x[0], x[1], x[2]
            );
            return Err(refuse(self.name(), text));
        }
        if !(self.denominator.is_finite() && self.denominator > 0.0) {
            let got = self.denominator;
            let text = format!("cosine: the denominator must be positive, got {got}");
            return Err(Error::new(Code::Argument, text));
        }
        Ok(Shape::new(&[]))
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let v = split(x[0].shape(), 1);
        let ranges: Vec<_> = shards(v.outer).collect();
        let parts = by_float!(x[0].dtype(), T => {
            let (p, t, m) = (x[0].data::<T>(), x[1].data::<T>(), x[2].data::<T>());
            map(ranges.len(), 8 * p.len(), |s| {
                let r = &ranges[s];
                let mut sum = 0.0;
                for i in r.start * v.inner..r.end * v.inner {
                    let weight = m[i].v();
                    if weight != 0.0 {
                        let at = |c: usize| i / v.inner * v.row() + c * v.inner + i % v.inner;
                        let pair = Pair::new(v.len, |c| p[at(c)].v(), |c| t[at(c)].v());
                        sum += weight * (1.0 - pair.cosine);
                    }
                }
                sum
            })
        });
        let sum = tree_fold(parts, |a, b| a + b).unwrap_or(0.0);
        Ok(Tensor::scalar(x[0].dtype(), sum / self.denominator).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let v = split(&b.shapes[0], 1);
        let g = b.dy.item() / self.denominator;
        let dtype = b.input(0).dtype();
        let mut all = vec![];
        by_float!(dtype, T => {
            let (x, t, m) = (b.input(0).data::<T>(), b.input(1).data::<T>(), b.input(2).data::<T>());
            for k in 0..3 {
                if !b.need[k] {
                    all.push(None);
                    continue;
                }
                let mut d = Buffer::scratch(dtype, b.shapes[k].numel());
                let image = if k < 2 { v.row() } else { v.inner };
                for_pieces(d.values_mut::<T>(), image, 16 * x.len(), |n, d| {
                    let (x, t) = (&x[n * v.row()..][..v.row()], &t[n * v.row()..][..v.row()]);
                    for i in 0..v.inner {
                        let weight = m[n * v.inner + i].v();
                        let at = |c: usize| c * v.inner + i;
                        if weight == 0.0 && k < 2 {
                            (0..v.len).for_each(|c| d[at(c)] = T::c(0.0));
                            continue;
                        }
                        let pair = Pair::new(v.len, |c| x[at(c)].v(), |c| t[at(c)].v());
                        if k == 2 {
                            d[i] = T::c(g * (1.0 - pair.cosine));
                            continue;
                        }
                        for c in 0..v.len {
                            let (own, other) = if k == 0 { (x, t) } else { (t, x) };
                            let slope = pair.slope(k, own[at(c)].v(), other[at(c)].v());
                            d[at(c)] = T::c(-weight * g * slope);
                        }
                    }
                });
                all.push(Some(Grad::Whole(Tensor::from_buffer(b.shapes[k], d))));
            }
        });
        Ok(all)
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        self.launch_forward(e, x)
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        self.launch_backward(e, b)
    }
}

/// Vectors of a length of about 1 at least, so that differences of their directions are smooth.
fn vectors(g: &mut Gen, shape: &[usize]) -> Tensor {
    let mut x = g.normal(shape);
    let v = split(x.shape(), 1);
    let data = x.data_mut::<f64>();
    for i in 0..v.outer * v.inner {
        let at = |c: usize| i / v.inner * v.row() + c * v.inner + i % v.inner;
        let length = (0..v.len).map(|c| data[at(c)].powi(2)).sum::<f64>().sqrt();
        if length < 0.5 {
            (0..v.len).for_each(|c| data[at(c)] *= 0.8 / length);
        }
    }
    x
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "cosine",
    case: |g| {
        let s = g.map_shape();
        let shape = [s[0], g.pick(&[2, 3, 3, 5]), s[2], s[3]];
        let rank = g.int(2, 4);
        let positions = [&shape[..1], &shape[2..rank]].concat();
        let (x, target) = (vectors(g, &shape[..rank]), vectors(g, &shape[..rank]));
        let mut weight = g.normal(&positions[..]);
        for v in weight.data_mut::<f64>() {
            *v = if *v > 0.7 { 0.0 } else { v.abs() };
        }
        let denominator = g.pick(&[1.0, 3.0, 7.5]);
        Case {
            op: Arc::new(Cosine { denominator }),
            x: vec![x, target, weight],
        }
    },
    refusals: || {
        let op = |denominator| Arc::new(Cosine { denominator });
        let s = Shape::from([2, 3, 4]);
        vec![
            Refusal {
                op: op(1.0),
                shapes: vec![s, [2, 2, 4].into(), [2, 4].into()],
                expect: "expected vectors (N, C, ...) twice and weights (N, ...), got (2, 3, 4), (2, 2, 4) and (2, 4)",
            },
            Refusal {
                op: op(1.0),
                shapes: vec![s, s, s],
                expect: "expected vectors (N, C, ...) twice and weights (N, ...)",
            },
            Refusal {
                op: op(0.0),
                shapes: vec![s, s, [2, 4].into()],
                expect: "the denominator must be positive, got 0",
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
            what: "the length of the prediction is taken for a constant",
            spoil: |c, _, g| {
                let Some(dx) = g[0].as_mut() else {
                    return false;
                };
                let before = dx.f64s().to_vec();
                let (x, t, m) = (c.x[0].f64s(), c.x[1].f64s(), c.x[2].f64s());
                let v = split(c.x[0].shape(), 1);
                let data = dx.data_mut::<f64>();
                for i in 0..m.len() {
                    let at = |c: usize| i / v.inner * v.row() + c * v.inner + i % v.inner;
                    let pair = Pair::new(v.len, |c| x[at(c)], |c| t[at(c)]);
                    let a = pair.lengths[0];
                    for c in 0..v.len {
                        data[at(c)] -= m[i] * pair.cosine * x[at(c)] / (a * a);
                    }
                }
                before != dx.f64s()
            },
        },
    ],
};

#[path = "cosine_device.rs"]
mod device;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{Cx, Path, Tape};

    /// Angles of 0, 90 and 180 degrees have distances of 0, 1 and 2, whatever the lengths.
    #[test]
    fn distances_by_hand() {
        for path in [Path::Fast, Path::Reference] {
            let tape = Tape::new(Cx {
                path,
                ..Cx::default()
            });
            let leaf = |v: Vec<f64>, s: &[usize]| tape.leaf(Tensor::from_f64(s, v).unwrap());
            let x = leaf(vec![2.0, 0.0, -3.0, 0.0, 5.0, 0.0], &[1, 2, 3]);
            let t = leaf(vec![1.0, 4.0, 0.5, 0.0, 0.0, 0.0], &[1, 2, 3]);
            let y = |m: [f64; 3]| {
                let m = leaf(m.to_vec(), &[1, 3]);
                let op = Cosine { denominator: 2.0 };
                cosine(&x, &t, &m, op).unwrap().value().item()
            };
            assert_eq!(y([1.0, 0.0, 0.0]), 0.0);
            assert_eq!(y([0.0, 1.0, 0.0]), 0.5);
            assert_eq!(y([0.0, 0.0, 1.0]), 1.0);
            assert_eq!(y([1.0, 2.0, 1.0]), 2.0);
        }
    }

    #[test]
    fn vectors_without_length_have_finite_gradients() {
        let tape = Tape::new(Cx::default());
        let x = tape.param(Tensor::from_f32([1, 3, 1, 1], vec![0.0; 3]).unwrap());
        let t = tape.leaf(Tensor::from_f32([1, 3, 1, 1], vec![0.0, 0.0, 1.0]).unwrap());
        let m = tape.leaf(Tensor::from_f32([1, 1, 1], vec![1.0]).unwrap());
        let y = cosine(&x, &t, &m, Cosine { denominator: 1.0 }).unwrap();
        assert_eq!(y.value().item(), 1.0);
        let g = tape.backward(&y).unwrap();
        assert!(g.get(&x).unwrap().all_finite());
    }
}
