//! Batch normalisation by its definition, for every scalar.

use super::rows::RowsBatchNorm;
use super::{BatchNorm, BatchNormEval, BatchNormParams, moments_of, statistics};
use crate::dual::Scalar;
use crate::error::Result;
use crate::ops::reference::{Arr, Reference};
use crate::tensor::{Shape, Tensor};

/// Channel of element `i` of a map.
fn channel(shape: &Shape, i: usize) -> usize {
    let d = shape.dims();
    i / (d[2] * d[3]) % d[1]
}

/// `(mean, var)` per channel, by the definition.
pub(super) fn batch_statistics<S: Scalar>(x: &Arr<S>) -> (Vec<S>, Vec<S>) {
    let c = x.dim(1);
    let count = S::c((x.data.len() / c.max(1)) as f64);
    let (mut mean, mut var) = (vec![S::zero(); c], vec![S::zero(); c]);
    for (i, &v) in x.data.iter().enumerate() {
        mean[channel(&x.shape, i)] += v / count;
    }
    for (i, &v) in x.data.iter().enumerate() {
        let d = v - mean[channel(&x.shape, i)];
        var[channel(&x.shape, i)] += d * d / count;
    }
    (mean, var)
}

pub(super) fn reference_fwd<S: Scalar>(
    x: &[Arr<S>],
    mean: &[S],
    var: &[S],
    p: BatchNormParams,
) -> Arr<S> {
    let mut y = x[0].clone();
    for (i, v) in y.data.iter_mut().enumerate() {
        let c = channel(&x[0].shape, i);
        let xhat = (*v - mean[c]) / (var[c] + S::c(p.eps)).sqrt();
        *v = if x.len() == 3 {
            xhat * x[1].data[c] + x[2].data[c]
        } else {
            xhat
        };
        if p.relu && v.v() <= 0.0 {
            *v = S::zero();
        }
    }
    y
}

fn reference_bwd<S: Scalar>(
    x: &[Arr<S>],
    dy: &Arr<S>,
    mean: &[S],
    var: &[S],
    p: BatchNormParams,
    batch: bool,
) -> Vec<Option<Arr<S>>> {
    let shape = x[0].shape;
    let c = shape.dims()[1];
    let count = S::c((x[0].data.len() / c.max(1)) as f64);
    let y = reference_fwd(x, mean, var, p);
    let live = |i: usize| {
        if p.relu && y.data[i].v() <= 0.0 {
            S::zero()
        } else {
            dy.data[i]
        }
    };
    let std = |k: usize| (var[k] + S::c(p.eps)).sqrt();
    let xhat = |i: usize| (x[0].data[i] - mean[channel(&shape, i)]) / std(channel(&shape, i));
    let (mut s, mut q) = (vec![S::zero(); c], vec![S::zero(); c]);
    for i in 0..dy.data.len() {
        s[channel(&shape, i)] += live(i);
        q[channel(&shape, i)] += live(i) * xhat(i);
    }
    let mut dx = Arr::zeros(shape);
    for i in 0..dx.data.len() {
        let k = channel(&shape, i);
        let gamma = if x.len() == 3 {
            x[1].data[k]
        } else {
            S::c(1.0)
        };
        let centred = if batch {
            live(i) - s[k] / count - xhat(i) * q[k] / count
        } else {
            live(i)
        };
        dx.data[i] = gamma / std(k) * centred;
    }
    let mut all = vec![Some(dx)];
    if x.len() == 3 {
        all.push(Some(Arr {
            shape: x[1].shape,
            data: q,
        }));
        all.push(Some(Arr {
            shape: x[2].shape,
            data: s,
        }));
    }
    all
}

impl Reference for BatchNorm {
    fn saved(&self, x: &[Tensor]) -> Result<Vec<Tensor>> {
        statistics(&moments_of(&x[0]), x[0].dtype())
    }

    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let (mean, var) = batch_statistics(&x[0]);
        reference_fwd(x, &mean, &var, self.0)
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let (mean, var) = batch_statistics(&x[0]);
        reference_bwd(x, dy, &mean, &var, self.0, true)
    }
}

impl BatchNormEval {
    fn constants<S: Scalar>(&self) -> (Vec<S>, Vec<S>) {
        let of = |t: &Tensor| t.to_f64().into_iter().map(S::c).collect();
        (of(&self.mean), of(&self.var))
    }
}

impl Reference for BatchNormEval {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let (mean, var) = self.constants();
        reference_fwd(x, &mean, &var, self.params)
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let (mean, var) = self.constants();
        reference_bwd(x, dy, &mean, &var, self.params, false)
    }
}

impl RowsBatchNorm {
    /// Calls `f(level, value of its map (N, C, pixels, 1), value of the rows)` for every value.
    pub(super) fn each(&self, images: usize, mut f: impl FnMut(usize, usize, usize)) {
        let (total, first) = self.places();
        for (l, &[c, pixels]) in self.levels.iter().enumerate() {
            for i in 0..images * c * pixels {
                let (image, ch, p) = (i / (c * pixels), i / pixels % c, i % pixels);
                f(l, i, image * total + first[l] + p * c + ch);
            }
        }
    }

    /// The map of each level, in the place of the rows before its scale and shift.
    fn operands<S: Scalar>(&self, rows: &Arr<S>, x: &[Arr<S>]) -> Vec<Vec<Arr<S>>> {
        let images = rows.dim(0);
        let map = |&[c, pixels]: &[usize; 2]| Arr::zeros([images, c, pixels, 1].into());
        let mut maps: Vec<Arr<S>> = self.levels.iter().map(map).collect();
        self.each(images, |l, i, at| maps[l].data[i] = rows.data[at]);
        let with = |(l, map)| {
            let [gamma, beta] = Self::own(l).map(|i| x[i].clone());
            vec![map, gamma, beta]
        };
        maps.into_iter().enumerate().map(with).collect()
    }

    fn params(&self) -> BatchNormParams {
        let (eps, relu) = (self.eps, false);
        BatchNormParams { eps, relu }
    }
}

impl Reference for RowsBatchNorm {
    fn saved(&self, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let row = |l| {
            let map = self.map(&x[0], l);
            let all = statistics(&moments_of(&map), x[0].dtype())?;
            Self::row(&all[0], &all[1], map.dims()[0] * map.dims()[2])
        };
        (0..self.levels.len()).map(row).collect()
    }

    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let of = |x: &Vec<Arr<S>>| {
            let (mean, var) = batch_statistics(&x[0]);
            reference_fwd(x, &mean, &var, self.params())
        };
        let maps: Vec<Arr<S>> = self.operands(&x[0], x).iter().map(of).collect();
        let mut y = x[0].clone();
        self.each(x[0].dim(0), |l, i, at| y.data[at] = maps[l].data[i]);
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let mut all = vec![None];
        let mut maps = vec![];
        let dy_of = self.operands(dy, x);
        for (x, dy) in self.operands(&x[0], x).iter().zip(&dy_of) {
            let (mean, var) = batch_statistics(&x[0]);
            let mut of = reference_bwd(x, &dy[0], &mean, &var, self.params(), true).into_iter();
            maps.push(of.next().flatten().expect("dx"));
            all.extend(of);
        }
        let mut dx = Arr::zeros(x[0].shape);
        self.each(x[0].dim(0), |l, i, at| dx.data[at] = maps[l].data[i]);
        all[0] = Some(dx);
        all
    }
}
