//! Batch normalisation over several groups (devices, ranks) as one batch: every group gives (count, mean, M2) per channel,
//! these are merged by Chan's rule (Chan, Golub, LeVeque 1979), and the backward merges the groups' sums of `dy` and
//! `dy (x - mean)` by the same tree. Groups may be uneven or empty. Never as `E[x^2] - E[x]^2`, which loses every digit once
//! the mean is large against the deviation.
//!
//! `y = gamma (x - mean) / sqrt(var + eps) + beta`; with `xhat = (x - mean) / sqrt(var + eps)` and M values per channel
//! in all groups, `dx = gamma / sqrt(var + eps) (dy - sum(dy) / M - xhat sum(dy xhat) / M)`, `dgamma = sum dy xhat`,
//! `dbeta = sum dy`.
//!
//! Longer than 300 lines: the merge of groups, the backward and the test at large means belong together.

pub(crate) mod device;
mod ranks;

use std::ops::Range;
use std::sync::Arc;

use super::batch_norm::device::{Back, Known, Sizes, apply, supported};
use super::batch_norm::{BatchNorm, BatchNormParams, BatchStats, channel_moments, statistics};
use super::reference::{Arr, Reference};
use super::shape_rules::refuse;
use super::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::backend::host::norm::{self, Moments};
use crate::backend::host::{Float, by_float, sync_norm};
use crate::backend::threads::{for_pieces, map, tree_fold};
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};
pub use ranks::{RankBatchNorm, rank_batch_norm};

/// The op: images of each group in order, and what is added to the variance.
#[derive(Debug, Clone)]
pub struct SyncBatchNorm {
    /// Images of each group; their sum is N. A group may be empty.
    pub groups: Vec<usize>,
    /// Added to the variance.
    pub eps: f64,
}

/// Normalises `x (N, C, H, W)` with the statistics merged over the groups, and returns these.
/// `affine` is gamma and beta, `(C)` each.
///
/// # Errors
/// [`Code::Shape`] when the groups do not sum to N or gamma or beta do not fit; [`Code::Argument`] unless eps is positive.
pub fn sync_batch_norm(
    x: &Var,
    affine: Option<(&Var, &Var)>,
    op: SyncBatchNorm,
) -> Result<(Var, BatchStats)> {
    let mut operands = vec![x];
    operands.extend(affine.iter().flat_map(|(g, b)| [*g, *b]));
    let (y, saved) = x.tape().apply_saving(op, &operands)?;
    Ok((y, BatchStats::new(saved, x)))
}

/// Statistics of each channel of one group of images: what a device sends.
pub fn group_moments<T: Float>(
    x: &[T],
    images: usize,
    channels: usize,
    plane: usize,
) -> Vec<Moments> {
    channel_moments(images, channels, plane, x)
}

/// Merges the statistics of the groups, channel by channel, by a fixed tree.
pub fn merge_moments(groups: Vec<Vec<Moments>>) -> Vec<Moments> {
    let merge =
        |a: Vec<Moments>, b: Vec<Moments>| a.into_iter().zip(b).map(|(a, b)| a.merge(b)).collect();
    tree_fold(groups, merge).unwrap_or_default()
}

impl SyncBatchNorm {
    /// The images of each group.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.groups.iter().scan(0, |from, &n| {
            *from += n;
            Some(*from - n..*from)
        })
    }

    fn moments(&self, x: &Tensor) -> Vec<Moments> {
        by_float!(x.dtype(), T => self.merged_moments::<T>(x.data(), x.dims()))
    }

    fn merged_moments<T: Float>(&self, x: &[T], d: &[usize]) -> Vec<Moments> {
        let (c, plane) = (d[1], d[2] * d[3]);
        let of = |r: Range<usize>| {
            group_moments(
                &x[r.start * c * plane..r.end * c * plane],
                r.len(),
                c,
                plane,
            )
        };
        merge_moments(self.ranges().map(of).collect())
    }

    fn fast_forward<T: Float>(&self, x: &[Tensor], m: &[Moments]) -> Tensor {
        let d = x[0].dims();
        let (c, plane) = (d[1], d[2] * d[3]);
        let mut y = Buffer::scratch(T::DTYPE, x[0].numel());
        let data = x[0].data::<T>();
        for_pieces(y.values_mut::<T>(), plane, 2 * data.len(), |p, y| {
            let (k, affine) = (p % c, x.len() == 3);
            let a = self.inverse_std(&m[k]) * if affine { x[1].data::<T>()[k].v() } else { 1.0 };
            let b = if affine { x[2].data::<T>()[k] } else { T::ZERO };
            sync_norm::normalise(&data[p * plane..][..plane], T::c(m[k].mean), T::c(a), b, y);
        });
        Tensor::from_buffer(*x[0].shape(), y)
    }

    fn inverse_std(&self, m: &Moments) -> f64 {
        1.0 / (m.m2 / m.count.max(1.0) + self.eps).sqrt()
    }

    /// `(sum dy, sum dy (x - mean))` of each channel: of each group first, groups by the tree.
    fn merged_sums<T: Float>(
        &self,
        x: &[T],
        dy: &[T],
        d: &[usize],
        m: &[Moments],
    ) -> Vec<(f64, f64)> {
        let (c, plane) = (d[1], d[2] * d[3]);
        let add = |a: (f64, f64), b: (f64, f64)| (a.0 + b.0, a.1 + b.1);
        map(c, 4 * x.len(), |k| {
            let of_image = |i: usize| {
                let at = (i * c + k) * plane;
                let (x, dy) = (&x[at..][..plane], &dy[at..][..plane]);
                let s = norm::gradient_sums(x, dy, T::c(m[k].mean), T::ONE, T::ZERO, false);
                (s.0.v(), s.1.v())
            };
            let of_group = |r: Range<usize>| r.map(of_image).fold((0.0, 0.0), add);
            tree_fold(self.ranges().map(of_group).collect(), add).unwrap_or_default()
        })
    }

    fn fast_backward<T: Float>(&self, b: &Backward, m: &[Moments]) -> Vec<Option<Grad>> {
        let d = b.shapes[0].dims();
        let (c, plane) = (d[1], d[2] * d[3]);
        let (x, dy) = (b.input(0).data::<T>(), b.dy.data::<T>());
        let sums = self.merged_sums(x, dy, d, m);
        let gamma = (b.shapes.len() == 3).then(|| b.input(1).data::<T>());
        let dx = b.need[0].then(|| {
            let mut dx = Buffer::scratch(T::DTYPE, x.len());
            for_pieces(dx.values_mut::<T>(), plane, 3 * x.len(), |p, dx| {
                let (k, r) = (p % c, p * plane..(p + 1) * plane);
                let (count, inv) = (m[k].count, self.inverse_std(&m[k]));
                let a = T::c(inv * gamma.map_or(1.0, |g| g[k].v()));
                let (s, q) = (T::c(sums[k].0 / count), T::c(sums[k].1 * inv * inv / count));
                sync_norm::normalise_bwd(&x[r.clone()], &dy[r], T::c(m[k].mean), a, s, q, dx);
            });
            Grad::Whole(Tensor::from_buffer(b.shapes[0], dx))
        });
        let per_channel = |f: &dyn Fn(usize) -> f64| {
            let v: Vec<T> = (0..c).map(|k| T::c(f(k))).collect();
            Grad::Whole(Tensor::from_buffer([c], Buffer::from_slice(&v)))
        };
        let mut all = vec![dx];
        if gamma.is_some() {
            all.push(b.need[1].then(|| per_channel(&|k| sums[k].1 * self.inverse_std(&m[k]))));
            all.push(b.need[2].then(|| per_channel(&|k| sums[k].0)));
        }
        all
    }

    /// The specification: one batch normalisation of all groups together.
    fn single(&self) -> BatchNorm {
        BatchNorm(BatchNormParams {
            eps: self.eps,
            relu: false,
        })
    }
}

impl Reference for SyncBatchNorm {
    fn saved(&self, x: &[Tensor]) -> Result<Vec<Tensor>> {
        statistics(&self.moments(&x[0]), x[0].dtype())
    }

    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        self.single().fwd(x)
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        self.single().bwd(x, dy)
    }
}

impl Op for SyncBatchNorm {
    fn name(&self) -> &'static str {
        "sync_batch_norm"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let (n, c, _, _) = x[0].nchw(self.name())?;
        let total: usize = self.groups.iter().sum();
        if total != n {
            let text = format!("groups {:?} hold {total} images, got {}", self.groups, x[0]);
            return Err(refuse(self.name(), text));
        }
        if let Some(s) = x[1..].iter().find(|s| s.dims() != [c]) {
            let text = format!("gamma or beta {s} does not fit {c} channels");
            return Err(refuse(self.name(), text));
        }
        if !(self.eps.is_finite() && self.eps > 0.0) {
            let text = format!("sync_batch_norm: eps must be positive, got {}", self.eps);
            return Err(Error::new(Code::Argument, text));
        }
        Ok(x[0])
    }

    fn saves(&self) -> Saves {
        Saves {
            inputs: 0b011,
            output: false,
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let m = self.moments(&x[0]);
        let y = by_float!(x[0].dtype(), T => self.fast_forward::<T>(x, &m));
        // (count, mean, M2) in f64 whatever the dtype: the backward must not lose what the merge kept.
        let rows = m.iter().flat_map(|m| [m.count, m.mean, m.m2]).collect();
        let mut saved = statistics(&m, x[0].dtype())?;
        saved.push(Tensor::from_f64([m.len(), 3], rows)?);
        Ok(Output { y, saved })
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let m: Vec<Moments> = b.saved[2]
            .f64s()
            .chunks_exact(3)
            .map(|m| Moments {
                count: m[0],
                mean: m[1],
                m2: m[2],
            })
            .collect();
        Ok(by_float!(b.dy.dtype(), T => self.fast_backward::<T>(b, &m)))
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        if !supported(x) {
            return Ok(None);
        }
        let s = Sizes::of(x[0].shape());
        let mut moments = Tensor::scratch_on(e, [self.groups.len(), s.channels, 4], DType::F32)?;
        for (slot, r) in self.ranges().enumerate() {
            device::send(e, &x[0], r.start, s.of_images(r.len()), &mut moments, slot)?;
        }
        let saved = device::merge(e, &moments)?;
        let known = Known {
            mean: &saved[0],
            var: &saved[1],
            rest: Some(&saved[2]),
        };
        let y = apply(e, x, &known, self.single().0)?;
        Ok(y.map(|y| Output { y, saved }))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let [mean, var, rest] = b.saved else {
            return Ok(None);
        };
        if rest.dtype() != DType::F32 {
            return Ok(None);
        }
        // Without a rectifier the shift is not read: gamma stands in for it.
        let back = Back {
            x: b.input(0),
            affine: (b.shapes.len() == 3).then(|| [b.input(1), b.input(1)]),
            dy: b.dy,
            known: Known {
                mean,
                var,
                rest: Some(rest),
            },
            params: self.single().0,
            before: 0,
        };
        if !back.supported() {
            return Ok(None);
        }
        let s = Sizes::of(&b.shapes[0]);
        if s.empty() {
            return back.nothing(e, b.need).map(Some);
        }
        let mut sums = Tensor::scratch_on(e, [self.groups.len(), s.channels, 2], DType::F32)?;
        for (slot, r) in self.ranges().enumerate() {
            device::send_sums(e, &back, r.start, s.of_images(r.len()), &mut sums, slot)?;
        }
        back.gradients(e, Some(&sums), b.need).map(Some)
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "sync_batch_norm",
    case: |g| {
        let eps = g.pick(&[1e-5, 1e-3, 0.1]);
        let x = super::batch_norm::operands(g, false, eps);
        let mut left = x[0].dims()[0];
        let mut groups = Vec::new();
        for _ in 0..g.int(0, 4) {
            // Uneven, some empty.
            let n = g.int(0, left);
            groups.push(n);
            left -= n;
        }
        groups.push(left);
        Case {
            op: Arc::new(SyncBatchNorm { groups, eps }),
            x,
        }
    },
    refusals: || {
        let op = |groups: &[usize], eps| {
            Arc::new(SyncBatchNorm {
                groups: groups.to_vec(),
                eps,
            })
        };
        let map = Shape::from([3, 2, 4, 4]);
        vec![
            Refusal {
                op: op(&[1, 1], 1e-5),
                shapes: vec![map],
                expect: "groups [1, 1] hold 2 images, got (3, 2, 4, 4)",
            },
            Refusal {
                op: op(&[3], 1e-5),
                shapes: vec![map, [2].into(), [3].into()],
                expect: "gamma or beta (3) does not fit 2 channels",
            },
            Refusal {
                op: op(&[3], 0.0),
                shapes: vec![map],
                expect: "eps must be positive, got 0",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "dgamma too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 1),
        },
        Planted {
            what: "count off by one in the mean of dy",
            spoil: |c, dy, g| {
                let &[n, ch, h, w] = c.x[0].dims() else {
                    return false;
                };
                let (plane, m) = (h * w, (n * h * w) as f64);
                let Some(dx) = &mut g[0] else { return false };
                let mut sums = vec![0.0; ch];
                for (i, v) in dy.f64s().iter().enumerate() {
                    sums[i / plane % ch] += v;
                }
                for (i, v) in dx.data_mut::<f64>().iter_mut().enumerate() {
                    *v += sums[i / plane % ch] * (1.0 / m - 1.0 / (m + 1.0));
                }
                true
            },
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::tape::{Cx, Tape};

    /// Mean and biased variance by two passes in f64.
    fn exact(x: &[f32]) -> (f64, f64) {
        let n = x.len() as f64;
        let mean = x.iter().map(|&v| v as f64).sum::<f64>() / n;
        let var = x.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / n;
        (mean, var)
    }

    /// By `E[x^2] - E[x]^2` in the working precision.
    fn one_pass(x: &[f32]) -> f64 {
        let n = x.len() as f32;
        let (s, q) = x
            .iter()
            .fold((0.0f32, 0.0f32), |(s, q), v| (s + v, q + v * v));
        (q / n - (s / n) * (s / n)) as f64
    }

    #[test]
    fn statistics_keep_six_digits_up_to_a_mean_of_a_thousand_deviations() {
        let mut r = Rng::new(9, &[]);
        for mean in [0.0, 1.0, 30.0, 1000.0] {
            for groups in [vec![6], vec![1, 0, 4, 1], vec![0, 5, 1], vec![2, 2, 2]] {
                let v: Vec<f32> = (0..6 * 1024).map(|_| (mean + r.normal()) as f32).collect();
                let (want_mean, want_var) = exact(&v);
                let tape = Tape::new(Cx::default());
                let x = tape.leaf(Tensor::from_f32([6, 1, 32, 32], v.clone()).unwrap());
                let op = SyncBatchNorm { groups, eps: 1e-5 };
                let m = op.merged_moments::<f32>(&v, x.dims())[0];
                let scale = want_mean.abs().max(want_var.sqrt());
                assert!((m.mean - want_mean).abs() <= 1e-6 * scale, "{mean}");
                let off = |var: f64| (var / want_var - 1.0).abs();
                assert!(
                    off(m.m2 / m.count) <= 1e-6,
                    "{mean} {}",
                    off(m.m2 / m.count)
                );
                // The test can tell: the one-pass formula is far off where it matters.
                assert!(mean < 1000.0 || off(one_pass(&v)) > 1e-3);
                let (y, stats) = sync_batch_norm(&x, None, op).unwrap();
                assert_eq!(stats.count, 6 * 1024);
                let worst = y.value().f32s().iter().zip(&v).fold(0.0f64, |w, (y, v)| {
                    let want = (*v as f64 - want_mean) / (want_var + 1e-5).sqrt();
                    w.max((*y as f64 - want).abs())
                });
                assert!(worst <= 1e-4, "{mean}: {worst}");
            }
        }
    }

    #[test]
    fn one_group_is_batch_norm() {
        let mut r = Rng::new(2, &[]);
        let v: Vec<f64> = (0..3 * 2 * 20).map(|_| r.normal()).collect();
        let tape = Tape::new(Cx::default());
        let x = tape.param(Tensor::from_f64([3, 2, 4, 5], v).unwrap());
        let op = SyncBatchNorm {
            groups: vec![1, 2],
            eps: 1e-5,
        };
        let params = op.single().0;
        let (a, sa) = sync_batch_norm(&x, None, op).unwrap();
        let (b, sb) = super::super::batch_norm(&x, None, params).unwrap();
        for (a, b) in [
            (a.value(), b.value()),
            (&sa.mean(), &sb.mean()),
            (&sa.var(), &sb.var()),
        ] {
            for (a, b) in a.f64s().iter().zip(b.f64s()) {
                assert!((a - b).abs() <= 1e-13);
            }
        }
    }
}
