//! Batch normalisation: `y = gamma (x - mean) / sqrt(var + eps) + beta`, per channel over (N, H, W) (Ioffe, Szegedy 2015),
//! optionally rectified. Training mode uses the biased variance of the batch; evaluation mode given statistics.
//!
//! Backward, with `xhat = (x - mean) / sqrt(var + eps)` and M values per channel:
//! `dx = gamma / sqrt(var + eps) (dy - mean(dy) - xhat mean(dy xhat))`, `dgamma = sum dy xhat`, `dbeta = sum dy`.

mod definition;
pub(super) mod device;
mod entries;
pub(crate) mod many;
pub(crate) mod rectified;
pub(crate) mod rows;
mod rows_device;
mod stats;

use crate::backend::host::norm::{self, Moments};
use crate::backend::host::{Float, by_float};
use crate::backend::threads::{for_pieces, map, shards, tree_fold};
use crate::error::{Code, Error, Result};
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};
pub(in crate::ops) use entries::operands;
pub use entries::{ENTRY, EVAL, ROWS};
pub use many::{MAPS as NORMS, batch_norms};
pub use rectified::rectified_batch_norm;
pub use rows::{RowsBatchNorm, rows_batch_norm};
pub use stats::BatchStats;

/// Parameters of a batch normalisation.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormParams {
    /// Added to the variance.
    pub eps: f64,
    /// Rectify the output.
    pub relu: bool,
}

/// Batch normalisation with the batch's own statistics; operands x `(N, C, H, W)` and, if affine, gamma and beta `(C)`.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm(pub BatchNormParams);

/// Batch normalisation with given statistics.
#[derive(Debug, Clone)]
pub struct BatchNormEval {
    params: BatchNormParams,
    mean: Tensor,
    var: Tensor,
}

/// Normalises with the batch's statistics and returns them.
///
/// # Errors
/// [`Code::Shape`] when gamma or beta do not fit the channels.
pub fn batch_norm(
    x: &Var,
    affine: Option<(&Var, &Var)>,
    params: BatchNormParams,
) -> Result<(Var, BatchStats)> {
    let operands = match affine {
        Some((g, b)) => vec![x, g, b],
        None => vec![x],
    };
    let (y, saved) = x.tape().apply_saving(BatchNorm(params), &operands)?;
    Ok((y, BatchStats::new(saved, x)))
}

/// Normalises with `mean` and `var`, `(C)` each.
///
/// # Errors
/// As [`batch_norm`].
pub fn batch_norm_eval(
    x: &Var,
    mean: &Tensor,
    var: &Tensor,
    affine: Option<(&Var, &Var)>,
    params: BatchNormParams,
) -> Result<Var> {
    let op = BatchNormEval {
        params,
        mean: mean.clone(),
        var: var.clone(),
    };
    match affine {
        Some((g, b)) => x.tape().apply(op, &[x, g, b]),
        None => x.tape().apply(op, &[x]),
    }
}

fn moments_of(x: &Tensor) -> Vec<Moments> {
    let d = x.dims();
    by_float!(x.dtype(), T => channel_moments(d[0], d[1], d[2] * d[3], x.data::<T>()))
}

/// `[mean, biased variance]`, `(C)` each: what the backward and the running statistics read.
pub(in crate::ops) fn statistics(m: &[Moments], dtype: DType) -> Result<Vec<Tensor>> {
    let of = |f: fn(&Moments) -> f64| {
        Tensor::from_f64([m.len()], m.iter().map(f).collect()).map(|t| t.cast(dtype))
    };
    Ok(vec![of(|m| m.mean)?, of(|m| m.m2 / m.count.max(1.0))?])
}

/// Moments of each channel: image by image within a shard, shards by the fixed tree.
pub(in crate::ops) fn channel_moments<T: Float>(
    n: usize,
    c: usize,
    plane: usize,
    x: &[T],
) -> Vec<Moments> {
    let runs: Vec<_> = shards(n).collect();
    map(c, 3 * x.len(), |ch| {
        let shard = |r: &std::ops::Range<usize>| {
            r.clone()
                .map(|i| norm::plane_moments(&x[(i * c + ch) * plane..][..plane]))
                .fold(Moments::default(), Moments::merge)
        };
        tree_fold(runs.iter().map(shard).collect(), Moments::merge).unwrap_or_default()
    })
}

pub(super) fn check(name: &str, x: &[Shape], channels: Option<usize>) -> Result<Shape> {
    let (_, c, _, _) = x[0].nchw(name)?;
    for (s, what) in x[1..].iter().zip(["gamma", "beta"]) {
        if s.dims() != [c] {
            return Err(Error::new(
                Code::Shape,
                format!("{name}: {what} {s} does not fit {c} channels"),
            ));
        }
    }
    if let Some(have) = channels.filter(|&v| v != c) {
        return Err(Error::new(
            Code::Shape,
            format!("{name}: statistics of {have} channels for an input of {c}"),
        ));
    }
    Ok(x[0])
}

/// Sums of each channel over the batch and what they are made of: `y = scale (x - mean) + shift`.
#[derive(Clone, Copy)]
struct Channel<T> {
    mean: T,
    /// Multiplies x.
    a: T,
    /// Is added.
    b: T,
}

fn channels<T: Float>(
    mean: &[f64],
    var: &[f64],
    eps: f64,
    affine: Option<(&[T], &[T])>,
) -> Vec<Channel<T>> {
    (0..mean.len())
        .map(|c| {
            let (g, s) = affine.map_or((1.0, 0.0), |(g, s)| (g[c].v(), s[c].v()));
            let a = g / (var[c] + eps).sqrt();
            Channel {
                mean: T::c(mean[c]),
                a: T::c(a),
                b: T::c(s - mean[c] * a),
            }
        })
        .collect()
}

fn normalise<T: Float>(x: &[T], plane: usize, ch: &[Channel<T>], relu: bool, y: &mut [T]) {
    for_pieces(y, plane, 2 * x.len(), |p, y| {
        let c = &ch[p % ch.len()];
        norm::affine(&x[p * plane..][..plane], c.a, c.b, relu, y);
    });
}

fn forward<T: Float>(x: &[Tensor], mean: &[f64], var: &[f64], params: BatchNormParams) -> Tensor {
    let affine = (x.len() == 3).then(|| (x[1].data::<T>(), x[2].data::<T>()));
    let ch = channels::<T>(mean, var, params.eps, affine);
    let plane = x[0].dims()[2] * x[0].dims()[3];
    let mut y = Buffer::scratch(T::DTYPE, x[0].numel());
    normalise(x[0].data::<T>(), plane, &ch, params.relu, y.values_mut());
    Tensor::from_buffer(*x[0].shape(), y)
}

/// `batch`: the statistics depend on x.
fn backward<T: Float>(
    b: &Backward,
    mean: &[f64],
    var: &[f64],
    params: BatchNormParams,
    batch: bool,
) -> Vec<Option<Grad>> {
    let (x, dy) = (b.input(0).data::<T>(), b.dy.data::<T>());
    let d = b.shapes[0].dims();
    let (n, c, plane) = (d[0], d[1], d[2] * d[3]);
    let affine = (b.shapes.len() == 3).then(|| (b.input(1).data::<T>(), b.input(2).data::<T>()));
    let ch = channels::<T>(mean, var, params.eps, affine);
    let sums = if batch || b.need[1..].contains(&true) {
        let runs: Vec<_> = shards(n).collect();
        map(c, 4 * x.len(), |k| {
            let Channel { mean, a, b } = ch[k];
            let shard = |r: &std::ops::Range<usize>| {
                r.clone().fold((0.0, 0.0), |(s, q), i| {
                    let at = (i * c + k) * plane;
                    let (ps, pq) = norm::gradient_sums(
                        &x[at..][..plane],
                        &dy[at..][..plane],
                        mean,
                        a,
                        b,
                        params.relu,
                    );
                    (s + ps.v(), q + pq.v())
                })
            };
            tree_fold(runs.iter().map(shard).collect(), |a, b| {
                (a.0 + b.0, a.1 + b.1)
            })
            .unwrap_or_default()
        })
    } else {
        vec![(0.0, 0.0); c]
    };
    let mut all: Vec<Option<Grad>> = vec![None];
    if b.need[0] {
        let m = (n * plane).max(1) as f64;
        let coefficients: Vec<(T, T, T)> = (0..c)
            .map(|k| {
                if !batch {
                    return (ch[k].a, T::ZERO, T::ZERO);
                }
                // dx = a (dy - s / M - (x - mean) q / (var + eps) / M)
                let (s, q) = sums[k];
                let slope = -ch[k].a.v() * q / (var[k] + params.eps) / m;
                (
                    ch[k].a,
                    T::c(slope),
                    T::c(-ch[k].a.v() * s / m - slope * mean[k]),
                )
            })
            .collect();
        let mut dx = Buffer::scratch(T::DTYPE, x.len());
        for_pieces(dx.values_mut::<T>(), plane, 3 * x.len(), |p, dx| {
            let (k, at) = (p % c, p * plane);
            let ((pp, q, r), Channel { a, b, .. }) = (coefficients[k], ch[k]);
            norm::input_gradient(
                &x[at..][..plane],
                &dy[at..][..plane],
                pp,
                q,
                r,
                a,
                b,
                params.relu,
                dx,
            );
        });
        all[0] = Some(Grad::Whole(Tensor::from_buffer(b.shapes[0], dx)));
    }
    if affine.is_some() {
        let per_channel = |f: &dyn Fn(usize) -> f64| {
            let v: Vec<T> = (0..c).map(|k| T::c(f(k))).collect();
            Grad::Whole(Tensor::from_buffer([c], Buffer::from_slice(&v)))
        };
        all.push(b.need[1].then(|| per_channel(&|k| sums[k].1 / (var[k] + params.eps).sqrt())));
        all.push(b.need[2].then(|| per_channel(&|k| sums[k].0)));
    }
    all
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        check("batch_norm", x, None)
    }

    fn saves(&self) -> Saves {
        Saves {
            inputs: 0b111,
            output: false,
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let m = moments_of(&x[0]);
        let mean: Vec<f64> = m.iter().map(|m| m.mean).collect();
        let var: Vec<f64> = m.iter().map(|m| m.m2 / m.count.max(1.0)).collect();
        let y = by_float!(x[0].dtype(), T => forward::<T>(x, &mean, &var, self.0));
        Ok(Output {
            y,
            saved: statistics(&m, x[0].dtype())?,
        })
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (mean, var) = (b.saved[0].to_f64(), b.saved[1].to_f64());
        Ok(by_float!(b.dy.dtype(), T => backward::<T>(b, &mean, &var, self.0, true)))
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        device::forward(e, x, self.0, 0)
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let [mean, var, rest] = b.saved else {
            return Ok(None);
        };
        let rest = Some(rest);
        device::backward(e, b, device::Known { mean, var, rest }, self.0, 0)
    }
}

impl BatchNormEval {
    fn known(&self) -> device::Known<'_> {
        device::Known {
            mean: &self.mean,
            var: &self.var,
            rest: None,
        }
    }
}

impl Op for BatchNormEval {
    fn name(&self) -> &'static str {
        "batch_norm_eval"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        check("batch_norm_eval", x, Some(self.mean.numel()))
    }

    fn elementwise(&self, _x: &[Shape], y: &Shape) -> Elementwise {
        let values = y.numel() as u64;
        Elementwise {
            norm: 2 * values,
            relu: if self.params.relu { values } else { 0 },
            ..Elementwise::default()
        }
    }

    fn saves(&self) -> Saves {
        Saves {
            inputs: 0b111,
            output: false,
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let (mean, var) = (self.mean.to_f64(), self.var.to_f64());
        Ok(by_float!(x[0].dtype(), T => forward::<T>(x, &mean, &var, self.params)).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (mean, var) = (self.mean.to_f64(), self.var.to_f64());
        Ok(by_float!(b.dy.dtype(), T => backward::<T>(b, &mean, &var, self.params, false)))
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let (mean, var) = (g.constant(&self.mean), g.constant(&self.var));
        let (scale, shift) = match x {
            [_, scale, shift] => (*scale, *shift),
            _ => {
                let all = |v| Tensor::full(*self.mean.shape(), DType::F32, v);
                (g.constant(&all(1.0)), g.constant(&all(0.0)))
            }
        };
        let eps = self.params.eps;
        let x = [x[0], scale, shift, mean, var];
        let normalised = g.node(Kind::BatchNorm { eps }, &x, y);
        Some(match self.params.relu {
            true => g.node(Kind::Relu, &[normalised], y),
            false => normalised,
        })
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        if [&self.mean, &self.var]
            .iter()
            .any(|t| t.dtype() != DType::F32)
        {
            return Ok(None);
        }
        Ok(device::apply(e, x, &self.known(), self.params)?.map(Output::from))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        if [&self.mean, &self.var]
            .iter()
            .any(|t| t.dtype() != DType::F32)
        {
            return Ok(None);
        }
        device::backward(e, b, self.known(), self.params, 0)
    }
}

#[cfg(test)]
pub(crate) mod tests;
