//! Loss of the SSD head (systems.md 4.3). For every prior i with label t_i (0 background, 1.. an object, below 0 neither),
//! offsets o_i and a 0/1 mark u_i that says whether it counts for the classifier:
//! `y = (sum over t_i > 0 of sum_k s(l_ik - o_ik) + sum over u_i = 1 of (ln sum_c exp z_ic - z_i,t_i)) / d`, k = 0..4,
//! `s(x) = x^2 / 2` where |x| < 1, else |x| - 1/2; location values beyond the fourth do not count.
//! `dl_ik = clamp(l_ik - o_ik, -1, 1) dy / d`, `do = -dl`, `dz_ic = (p_ic - [c = t_i]) dy / d`; 0 where nothing counts.
//!
//! Which negatives count is chosen on the values, outside the op, and is a constant of the gradient.
//!
//! Over 300 lines because both paths, five operands and the registry entry stay together, as for every op.

use std::sync::Arc;

use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::backend::host::{Float, by_float};
use crate::backend::threads::{for_pieces, map, shards, tree_fold};
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::tape::{Backward, Grad, Op, Output, Saved, Var};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};

/// The op; operands are location values, class scores, labels, offsets and marks.
#[derive(Debug, Clone)]
pub struct Multibox {
    /// What the sum is divided by: the positives of the batch, at least 1. Not read when they are an operand.
    pub denominator: f64,
}

/// Operands of [`multibox`] besides the outputs of the head.
#[derive(Debug, Clone)]
pub struct MultiboxTargets {
    /// `(N, P)` i32: 0 background, 1.. an object's class + 1, below 0 neither.
    pub labels: Var,
    /// `(N, P, 4)`: centre x, centre y, width, height; read where the label is positive.
    pub offsets: Var,
    /// `(N, P)` i32, 0 or 1: whether the prior counts for the classifier. 1 only where the label is not below 0.
    pub used: Var,
    /// One i32: the positives of the batch, where a device counted them; the sum is divided by it, at least by 1.
    pub positives: Option<Var>,
}

/// Localisation plus confidence loss, a scalar. `loc` is `(N, P, L)` with L >= 4, `conf` is `(N, P, 1 + classes)`.
///
/// # Errors
/// [`Code::Shape`] for operands that do not fit; [`Code::DType`] when labels or marks are not i32; [`Code::Argument`] for a
/// label outside the classes, a mark other than 0 or 1, a mark on a label below 0, a denominator that is not positive.
pub fn multibox(loc: &Var, conf: &Var, targets: &MultiboxTargets, op: Multibox) -> Result<Var> {
    multibox_saving(loc, conf, targets, op).map(|(y, _)| y)
}

/// [`multibox`], and what a device's forward saved: second and third are the localisation and the confidence term.
///
/// # Errors
/// As [`multibox`].
pub fn multibox_saving(
    loc: &Var,
    conf: &Var,
    targets: &MultiboxTargets,
    op: Multibox,
) -> Result<(Var, Saved)> {
    let t = targets;
    let mut x = vec![loc, conf, &t.labels, &t.offsets, &t.used];
    x.extend(&t.positives);
    loc.tape().apply_saving(op, &x)
}

/// Sizes of the operands: priors of the batch, location values, classes with background.
#[derive(Clone, Copy)]
struct Sizes {
    images: usize,
    priors: usize,
    values: usize,
    classes: usize,
}

impl Sizes {
    fn of(loc: &[usize], conf: &[usize]) -> Sizes {
        Sizes {
            images: loc[0],
            priors: loc[1],
            values: loc[2],
            classes: conf[2],
        }
    }
}

/// Smooth L1 with beta 1 and its slope.
fn smooth<S: Scalar>(x: S) -> (S, S) {
    let half = S::c(0.5);
    match x.v() {
        v if v.abs() < 1.0 => (half * x * x, x),
        v if v > 0.0 => (x - half, S::c(1.0)),
        _ => (-x - half, S::c(-1.0)),
    }
}

/// `ln sum exp` of a row, maximum subtracted.
fn log_sum_exp<S: Scalar>(row: &[S]) -> S {
    let top = row.iter().map(|v| v.v()).fold(f64::NEG_INFINITY, f64::max);
    let mut sum = S::zero();
    for &v in row {
        sum += (v - S::c(top)).exp();
    }
    S::c(top) + sum.ln()
}

impl Reference for Multibox {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let s = Sizes::of(x[0].shape.dims(), x[1].shape.dims());
        let mut sum = S::zero();
        for i in 0..s.images * s.priors {
            let t = x[2].data[i].v();
            if t > 0.0 {
                for k in 0..4 {
                    sum += smooth(x[0].data[i * s.values + k] - x[3].data[4 * i + k]).0;
                }
            }
            if x[4].data[i].v() != 0.0 {
                let z = &x[1].data[i * s.classes..][..s.classes];
                sum += log_sum_exp(z) - z[t as usize];
            }
        }
        Arr {
            shape: Shape::new(&[]),
            data: vec![sum / S::c(self.divisor(x.get(5).map(|n| n.data[0].v())))],
        }
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let s = Sizes::of(x[0].shape.dims(), x[1].shape.dims());
        let g = dy.data[0] / S::c(self.divisor(x.get(5).map(|n| n.data[0].v())));
        let (mut dl, mut dz) = (Arr::zeros(x[0].shape), Arr::zeros(x[1].shape));
        let mut offsets = Arr::zeros(x[3].shape);
        for i in 0..s.images * s.priors {
            let t = x[2].data[i].v();
            if t > 0.0 {
                for k in 0..4 {
                    let d = x[0].data[i * s.values + k] - x[3].data[4 * i + k];
                    dl.data[i * s.values + k] = smooth(d).1 * g;
                    offsets.data[4 * i + k] = -(smooth(d).1 * g);
                }
            }
            if x[4].data[i].v() != 0.0 {
                let z = &x[1].data[i * s.classes..][..s.classes];
                let all = log_sum_exp(z);
                for (c, &z) in z.iter().enumerate() {
                    let hit = S::c(if c == t as usize { 1.0 } else { 0.0 });
                    dz.data[i * s.classes + c] = ((z - all).exp() - hit) * g;
                }
            }
        }
        let mut all = vec![Some(dl), Some(dz), None, Some(offsets)];
        all.resize_with(x.len(), || None);
        all
    }
}

impl Multibox {
    /// What the sum is divided by, given the positives if they are an operand.
    fn divisor(&self, positives: Option<f64>) -> f64 {
        positives.map_or(self.denominator, |n| n.max(1.0))
    }

    fn check(&self, x: &[Tensor]) -> Result<()> {
        let counted = x.get(5).map(|n| ("positives", n));
        let ids = [("labels", &x[2]), ("marks", &x[4])];
        for (name, t) in ids.into_iter().chain(counted) {
            if t.dtype() != DType::I32 {
                let text = format!("multibox: {name} must be i32, got {}", t.dtype().name());
                return Err(Error::new(Code::DType, text));
            }
        }
        if x[2].only_on_device() || x[4].only_on_device() {
            return Ok(()); // made by the matching there
        }
        let (classes, priors) = (x[1].dims()[2] as i32, x[1].dims()[1]);
        for (i, (&t, &u)) in x[2].i32s().iter().zip(x[4].i32s()).enumerate() {
            let text = if t >= classes {
                format!("multibox: label {t} is not below {classes}")
            } else if !(0..=1).contains(&u) {
                format!("multibox: mark {u} is neither 0 nor 1")
            } else if u == 1 && t < 0 {
                format!("multibox: a prior of label {t} is marked")
            } else {
                continue;
            };
            let place = format!("image {}, prior {}", i / priors, i % priors);
            return Err(Error::new(Code::Argument, text).at(place));
        }
        Ok(())
    }

    /// The sum over the priors `range` (numbered through the batch).
    fn sum<T: Float>(&self, x: &[Tensor], s: Sizes, range: std::ops::Range<usize>) -> f64 {
        let (loc, conf, offsets) = (x[0].data::<T>(), x[1].data::<T>(), x[3].data::<T>());
        let (labels, used) = (x[2].i32s(), x[4].i32s());
        let mut sum = 0.0;
        for i in range {
            if labels[i] > 0 {
                let (l, o) = (&loc[i * s.values..][..4], &offsets[4 * i..][..4]);
                let terms = l.iter().zip(o).map(|(&l, &o)| smooth(l - o).0.v());
                sum += terms.sum::<f64>();
            }
            if used[i] == 1 {
                let z = &conf[i * s.classes..][..s.classes];
                sum += (log_sum_exp(z) - z[labels[i] as usize]).v();
            }
        }
        sum
    }

    /// Gradient of the location values, or with `sign` -1 and `width` 4 of the offsets.
    fn d_loc<T: Float>(&self, b: &Backward, s: Sizes, g: T, width: usize) -> Tensor {
        let (loc, offsets) = (b.input(0).data::<T>(), b.input(3).data::<T>());
        let labels = b.input(2).i32s();
        let mut d = Buffer::zeros(b.dy.dtype(), s.images * s.priors * width);
        for_pieces(d.values_mut::<T>(), s.priors * width, loc.len(), |n, d| {
            for (j, d) in d.chunks_exact_mut(width).enumerate() {
                let i = n * s.priors + j;
                if labels[i] > 0 {
                    for k in 0..4 {
                        d[k] = smooth(loc[i * s.values + k] - offsets[4 * i + k]).1 * g;
                    }
                }
            }
        });
        Tensor::from_buffer([s.images, s.priors, width], d)
    }

    fn d_conf<T: Float>(&self, b: &Backward, s: Sizes, g: T) -> Tensor {
        let conf = b.input(1).data::<T>();
        let (labels, used) = (b.input(2).i32s(), b.input(4).i32s());
        let mut d = Buffer::zeros(b.dy.dtype(), conf.len());
        for_pieces(
            d.values_mut::<T>(),
            s.priors * s.classes,
            4 * conf.len(),
            |n, d| {
                for (j, d) in d.chunks_exact_mut(s.classes).enumerate() {
                    let i = n * s.priors + j;
                    if used[i] == 1 {
                        let z = &conf[i * s.classes..][..s.classes];
                        let all = log_sum_exp(z);
                        d.iter_mut()
                            .zip(z)
                            .for_each(|(d, &z)| *d = (z - all).exp() * g);
                        let d = &mut d[labels[i] as usize];
                        *d -= g;
                    }
                }
            },
        );
        Tensor::from_buffer(b.shapes[1], d)
    }
}

impl Op for Multibox {
    fn name(&self) -> &'static str {
        "multibox"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let d: Vec<&[usize]> = x.iter().map(|s| s.dims()).collect();
        let fits = d[0].len() == 3
            && d[1].len() == 3
            && d[0][2] >= 4
            && d[1][2] >= 2
            && d[0][..2] == d[1][..2]
            && d[2] == &d[0][..2]
            && d[3] == [d[0][0], d[0][1], 4]
            && d[4] == d[2]
            && x.get(5).is_none_or(|n| n.numel() == 1);
        if !fits {
            let text = format!(
                "multibox: expected (N, P, 4 or more), (N, P, 2 or more), (N, P), (N, P, 4), (N, P), got {}, {}, {}, {}, {}",
                x[0], x[1], x[2], x[3], x[4]
            );
            return Err(Error::new(Code::Shape, text));
        }
        if !(self.denominator.is_finite() && self.denominator > 0.0) {
            let text = format!(
                "multibox: the denominator must be positive, got {}",
                self.denominator
            );
            return Err(Error::new(Code::Argument, text));
        }
        Ok(Shape::new(&[]))
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        self.check(x)?;
        let s = Sizes::of(x[0].dims(), x[1].dims());
        let ranges: Vec<_> = shards(s.images).collect();
        let priors = |n: usize| ranges[n].start * s.priors..ranges[n].end * s.priors;
        let parts = by_float!(x[0].dtype(), T => map(ranges.len(), x[1].numel(), |n| self.sum::<T>(x, s, priors(n))));
        let sum = tree_fold(parts, |a, b| a + b).unwrap_or(0.0);
        let divisor = self.divisor(x.get(5).map(Tensor::item));
        Ok(Tensor::scalar(x[0].dtype(), sum / divisor).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let s = Sizes::of(b.shapes[0].dims(), b.shapes[1].dims());
        let counted = (b.shapes.len() > 5).then(|| b.input(5).item());
        by_float!(b.dy.dtype(), T => {
            let g = T::c(b.dy.item() / self.divisor(counted));
            let whole = |need: bool, d: &dyn Fn() -> Tensor| need.then(|| Grad::Whole(d()));
            let mut all = vec![
                whole(b.need[0], &|| self.d_loc(b, s, g, s.values)),
                whole(b.need[1], &|| self.d_conf(b, s, g)),
                None,
                whole(b.need[3], &|| self.d_loc(b, s, -g, 4)),
            ];
            all.resize_with(b.need.len(), || None);
            Ok(all)
        })
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
    name: "multibox",
    case: |g| {
        let (n, p) = match g.side > 9 {
            true => (3, g.int(190, 230)),
            false => (g.int(1, 3), g.int(1, 12)),
        };
        let (values, classes) = (g.pick(&[4, 6]), g.int(2, 5));
        let labels: Vec<i32> = (0..n * p)
            .map(|_| g.rng.below(classes + 1) as i32 - 1)
            .collect();
        let used = labels
            .iter()
            .map(|&t| (t > 0 || (t == 0 && g.rng.coin(0.4))) as i32)
            .collect();
        let offsets = g.normal([n, p, 4]);
        let mut loc = g.normal([n, p, values]);
        // Differences keep away from the kinks of the slope at 1 and -1.
        for (i, v) in loc
            .data_mut::<f64>()
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| i % values < 4)
        {
            let d = *v - offsets.f64s()[i / values * 4 + i % values];
            if (d.abs() - 1.0).abs() < 0.05 {
                *v += 0.1 * d.signum();
            }
        }
        let ids = |v| Tensor::from_i32([n, p], v).expect("one for each prior");
        let denominator = g.pick(&[1.0, 3.0, 17.0]);
        let conf = g.normal([n, p, classes]);
        let mut x = vec![loc, conf, ids(labels), offsets, ids(used)];
        if g.rng.coin(0.3) {
            let positives = g.pick(&[0, 1, 6]);
            x.push(Tensor::from_i32([], vec![positives]).expect("one number"));
        }
        Case {
            op: Arc::new(Multibox { denominator }),
            x,
        }
    },
    refusals: || {
        let s = |d: &[usize]| Shape::new(d);
        let shapes = |priors: usize, offsets: usize| {
            vec![
                s(&[2, 5, 6]),
                s(&[2, priors, 3]),
                s(&[2, 5]),
                s(&[2, 5, offsets]),
                s(&[2, 5]),
            ]
        };
        let refuse = |denominator, shapes, expect| Refusal {
            op: Arc::new(Multibox { denominator }) as Arc<dyn Op>,
            shapes,
            expect,
        };
        vec![
            refuse(1.0, shapes(4, 4), "got (2, 5, 6), (2, 4, 3)"),
            refuse(
                1.0,
                shapes(5, 6),
                "got (2, 5, 6), (2, 5, 3), (2, 5), (2, 5, 6), (2, 5)",
            ),
            refuse(0.0, shapes(5, 4), "the denominator must be positive, got 0"),
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "dz too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 1),
        },
        Planted {
            what: "do too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 3),
        },
        Planted {
            what: "the denominator counts one prior more",
            spoil: |c, _, g| {
                let n = c.x[2].numel() as f64;
                let Some(d) = g[1].as_mut() else { return false };
                d.data_mut::<f64>()
                    .iter_mut()
                    .for_each(|v| *v *= n / (n + 1.0));
                d.f64s().iter().any(|v| *v != 0.0)
            },
        },
        Planted {
            what: "the first prior that does not count gets a gradient",
            spoil: |c, dy, g| {
                let Some(i) = c.x[4].i32s().iter().position(|&u| u == 0) else {
                    return false;
                };
                let Some(d) = g[1].as_mut() else { return false };
                let classes = c.x[1].dims()[2];
                d.data_mut::<f64>()[i * classes] += 0.1 * dy.item();
                true
            },
        },
    ],
};

#[path = "multibox_device.rs"]
mod device;

#[cfg(test)]
#[path = "multibox_tests.rs"]
mod tests;
