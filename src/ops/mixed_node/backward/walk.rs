//! What the way back reads, and how a gradient passes a normalisation.

use std::ops::Range;

use crate::backend::host::{Float, elementwise, norm};
use crate::ops::mixed_node::forward::Norm;
use crate::ops::mixed_node::plan::{Mixture, Plan};
use crate::tensor::Tensor;

/// `dz = p dy + q z + r` of one channel.
#[derive(Clone, Copy)]
pub struct Slope<T> {
    p: T,
    q: T,
    r: T,
}

/// The gradient through a normalisation of `count` values whose output's gradient is `weight dy`, with `s = sum dy` and
/// `q = sum dy (z - mean)`: `weight / std (dy - s / M - (z - mean) q / (var M))`.
pub fn slope<T: Float>(
    norm: &Norm,
    c: usize,
    weight: f64,
    count: f64,
    [s, q]: [f64; 2],
) -> Slope<T> {
    let a = weight * norm.inverse[c];
    let slope = -a * q * norm.inverse[c] * norm.inverse[c] / count;
    Slope {
        p: T::c(a),
        q: T::c(slope),
        r: T::c(-a * s / count - slope * norm.mean[c]),
    }
}

impl<T: Float> Slope<T> {
    pub fn apply(self, z: &[T], dy: &[T], dz: &mut [T]) {
        norm::input_gradient(z, dy, self.p, self.q, self.r, T::ZERO, T::ZERO, false, dz);
    }

    /// [`Slope::apply`] where the normalised value `a z + b` is positive, zero elsewhere: through a ReLU.
    pub fn apply_rectified(self, z: &[T], (a, b): (T, T), dy: &[T], dz: &mut [T]) {
        norm::input_gradient(z, dy, self.p, self.q, self.r, a, b, true, dz);
    }
}

/// What the way back reads.
pub struct Walk<'a, T> {
    pub p: &'a Plan,
    pub x: Vec<&'a Tensor>,
    pub dy: &'a [T],
    /// The stored maps and their normalisations.
    pub maps: Vec<&'a [T]>,
    pub norms: Vec<Norm>,
    pub mixture: Mixture,
    /// Gradients of alpha or beta are wanted; of weights.
    pub arch: bool,
    pub weights: bool,
}

impl<T: Float> Walk<'_, T> {
    /// The part of `dy` that channel `c` of the concatenation takes, of image `i`.
    pub fn dy(&self, i: usize, c: usize) -> &[T] {
        &self.dy[(i * self.p.c + self.p.lands(c)) * self.p.plane..][..self.p.plane]
    }

    /// Channel `c` of operand `t`, of image `i`.
    pub fn channel(&self, t: usize, i: usize, c: usize) -> &[T] {
        let channels = self.x[t].dims()[1];
        &self.x[t].data::<T>()[(i * channels + c) * self.p.plane..][..self.p.plane]
    }

    /// How the gradient passes the last normalisation of candidate `u`, by channel.
    pub fn slopes(&self, u: usize, sums: &[Vec<[f64; 2]>]) -> Vec<Slope<T>> {
        let p = self.p;
        let m = self.last(u).expect("a normalised candidate");
        let weight = self.mixture.weight(u, &p.units[u]);
        let count = (p.n * p.plane) as f64;
        (0..p.a)
            .map(|c| slope(&self.norms[m], c, weight, count, sums[c][u]))
            .collect()
    }

    /// The gradient of the last map of candidate `u`, of image `i`.
    pub fn through(&self, u: usize, i: usize, slopes: &[Slope<T>], dz: &mut [T]) {
        let p = self.p;
        let z = self.maps[self.last(u).expect("a normalised candidate")];
        for (c, (dz, s)) in dz.chunks_mut(p.plane).zip(slopes).enumerate() {
            s.apply(&z[(i * p.a + c) * p.plane..][..p.plane], self.dy(i, c), dz);
        }
    }

    pub fn last(&self, u: usize) -> Option<usize> {
        let maps = &self.p.units[u].maps;
        maps.clone().next_back()
    }

    /// Sums over images of channel `c` of the concatenation: for an active one `[sum dy, sum dy (z - mean)]` of each candidate
    /// (`[_, sum dy x]` of a skip-connect and of a mixed edge), for a bypassing one that of each edge.
    pub fn sums(&self, c: usize, images: &Range<usize>) -> Vec<[f64; 2]> {
        let p = self.p;
        let plain = |i: usize, x: &[T]| [0.0, elementwise::dot(self.dy(i, c), x).v()];
        let add = |all: &mut [f64; 2], v: [f64; 2]| {
            all[0] += v[0];
            all[1] += v[1];
        };
        let mut all = vec![[0.0; 2]; p.units.len() + p.edges.len()];
        let (units, edges) = all.split_at_mut(p.units.len());
        for i in images.clone() {
            for (e, sum) in p.edges.iter().zip(edges.iter_mut()) {
                if !self.arch {
                    continue;
                }
                if c >= p.a {
                    let (t, start) = e.bypass;
                    add(sum, plain(i, self.channel(t, i, start + c - p.a)));
                } else if e.units.is_empty() {
                    add(sum, plain(i, self.channel(e.x, i, c)));
                }
            }
            if c >= p.a {
                continue;
            }
            for (u, sum) in units.iter_mut().enumerate() {
                match self.last(u) {
                    Some(m) => {
                        let z = &self.maps[m][(i * p.a + c) * p.plane..][..p.plane];
                        let mean = T::c(self.norms[m].mean[c]);
                        let zero = T::ZERO;
                        let (s, q) = norm::gradient_sums(z, self.dy(i, c), mean, zero, zero, false);
                        add(sum, [s.v(), q.v()]);
                    }
                    None if self.arch => {
                        let x = self.channel(p.edges[p.units[u].edge].x, i, c);
                        add(sum, plain(i, x));
                    }
                    None => {}
                }
            }
        }
        all
    }
}
