//! The way back. One pass over `dy` and every candidate's last map gives the sums of the normalisations and the gradients of
//! alpha and beta; then last halves; then, once the sums of the inner normalisations are known, first halves.

use std::ops::Range;

use super::forward::{Norm, by_group, groups};
use super::half::{Gradients, Half, Weights};
use super::plan::{EdgePlan, Mixture, Plan};
use super::{Candidate, MixedNode};
use crate::backend::host::{Float, elementwise, norm};
use crate::backend::threads::{for_pieces, map, map_tasks, shards, tree_fold};
use crate::tape::{Backward, Grad};
use crate::tensor::{Buffer, Shape, Tensor};

/// `dz = p dy + q z + r` of one channel.
#[derive(Clone, Copy)]
struct Slope<T> {
    p: T,
    q: T,
    r: T,
}

/// The gradient through a normalisation of `count` values whose output's gradient is `weight dy`, with `s = sum dy` and
/// `q = sum dy (z - mean)`: `weight / std (dy - s / M - (z - mean) q / (var M))`.
fn slope<T: Float>(norm: &Norm, c: usize, weight: f64, count: f64, [s, q]: [f64; 2]) -> Slope<T> {
    let a = weight * norm.inverse[c];
    let slope = -a * q * norm.inverse[c] * norm.inverse[c] / count;
    Slope {
        p: T::c(a),
        q: T::c(slope),
        r: T::c(-a * s / count - slope * norm.mean[c]),
    }
}

impl<T: Float> Slope<T> {
    fn apply(self, z: &[T], dy: &[T], dz: &mut [T]) {
        norm::input_gradient(z, dy, self.p, self.q, self.r, T::ZERO, T::ZERO, false, dz);
    }

    /// [`Slope::apply`] where the normalised value `a z + b` is positive, zero elsewhere: through a ReLU.
    fn apply_rectified(self, z: &[T], (a, b): (T, T), dy: &[T], dz: &mut [T]) {
        norm::input_gradient(z, dy, self.p, self.q, self.r, a, b, true, dz);
    }
}

/// What the way back reads.
struct Walk<'a, T> {
    p: &'a Plan,
    x: Vec<&'a Tensor>,
    dy: &'a [T],
    /// The stored maps and their normalisations.
    maps: Vec<&'a [T]>,
    norms: Vec<Norm>,
    mixture: Mixture,
    /// Gradients of alpha or beta are wanted; of weights.
    arch: bool,
    weights: bool,
}

impl<T: Float> Walk<'_, T> {
    /// The part of `dy` that channel `c` of the concatenation takes, of image `i`.
    fn dy(&self, i: usize, c: usize) -> &[T] {
        &self.dy[(i * self.p.c + self.p.lands(c)) * self.p.plane..][..self.p.plane]
    }

    /// Channel `c` of operand `t`, of image `i`.
    fn channel(&self, t: usize, i: usize, c: usize) -> &[T] {
        let channels = self.x[t].dims()[1];
        &self.x[t].data::<T>()[(i * channels + c) * self.p.plane..][..self.p.plane]
    }

    /// How the gradient passes the last normalisation of candidate `u`, by channel.
    fn slopes(&self, u: usize, sums: &[Vec<[f64; 2]>]) -> Vec<Slope<T>> {
        let p = self.p;
        let m = self.last(u).expect("a normalised candidate");
        let weight = self.mixture.weight(u, &p.units[u]);
        let count = (p.n * p.plane) as f64;
        (0..p.a)
            .map(|c| slope(&self.norms[m], c, weight, count, sums[c][u]))
            .collect()
    }

    /// The gradient of the last map of candidate `u`, of image `i`.
    fn through(&self, u: usize, i: usize, slopes: &[Slope<T>], dz: &mut [T]) {
        let p = self.p;
        let z = self.maps[self.last(u).expect("a normalised candidate")];
        for (c, (dz, s)) in dz.chunks_mut(p.plane).zip(slopes).enumerate() {
            s.apply(&z[(i * p.a + c) * p.plane..][..p.plane], self.dy(i, c), dz);
        }
    }

    fn last(&self, u: usize) -> Option<usize> {
        let maps = &self.p.units[u].maps;
        maps.clone().next_back()
    }

    /// Sums over images of channel `c` of the concatenation: for an active one `[sum dy, sum dy (z - mean)]` of each candidate
    /// (`[_, sum dy x]` of a skip-connect and of a mixed edge), for a bypassing one that of each edge.
    fn sums(&self, c: usize, images: &Range<usize>) -> Vec<[f64; 2]> {
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

/// What the way back found of a candidate over one shard, besides the maps that it wrote.
struct Found<T> {
    unit: usize,
    weights: Option<Gradients<T>>,
    /// Of a second half: `[sum g, sum g (z - mean)]` of each channel, behind the first half's normalisation.
    sums: Vec<[f64; 2]>,
}

/// Some images of an edge: the gradient of its state and the gradients at the output of its inner ReLUs.
struct Job<'a, T> {
    edge: usize,
    shards: &'a [Range<usize>],
    dx: &'a mut [T],
    g: Vec<(usize, &'a mut [T])>,
}

fn jobs<'a, T: Float>(
    p: &Plan,
    groups: &'a [Vec<Range<usize>>],
    dx: &'a mut [Option<Buffer>],
    g: &'a mut [Option<Buffer>],
) -> Vec<Job<'a, T>> {
    let cut = |b: &'a mut Option<Buffer>| {
        let map: &mut [T] = b.as_mut().map(Buffer::values_mut).unwrap_or_default();
        by_group(map, p.n, groups)
    };
    let mut g: Vec<_> = g.iter_mut().map(cut).collect();
    let mut all = vec![];
    for (edge, (e, dx)) in p.edges.iter().zip(dx).enumerate() {
        if e.units.is_empty() {
            continue;
        }
        for (shards, dx) in groups.iter().zip(cut(dx)) {
            let double = e.units.clone().filter(|&u| p.units[u].maps.len() == 2);
            let take = |u: usize| (u, g[u].next().expect("a cut for each group"));
            let g = double.map(take).collect();
            all.push(Job {
                edge,
                shards,
                dx,
                g,
            });
        }
    }
    all
}

/// Gradients of the operands that need one.
pub fn run<T: Float>(op: &MixedNode, p: &Plan, b: &Backward) -> Vec<Option<Grad>> {
    let x: Vec<&Tensor> = (0..b.x.len()).map(|i| b.input(i)).collect();
    let norms = p
        .statistics()
        .map(|at| Norm::new(&b.saved[at..at + 2], op.eps));
    let walk = Walk {
        p,
        dy: b.dy.data::<T>(),
        maps: b.saved[..p.maps].iter().map(|t| t.data()).collect(),
        norms: norms.collect(),
        mixture: p.mixture(x[p.alpha], x[p.beta]),
        arch: b.need[p.alpha] || b.need[p.beta],
        weights: p
            .units
            .iter()
            .any(|u| u.candidate.kernel().is_some() && b.need[u.own]),
        x,
    };
    let runs: Vec<_> = shards(p.n).collect();
    let work = 200 * p.n * p.active() * p.units.len().max(1);
    let of_shards = map(runs.len() * p.c, work, |j| {
        walk.sums(j % p.c, &runs[j / p.c])
    });
    let add = |mut a: Vec<[f64; 2]>, b: Vec<[f64; 2]>| {
        for (a, b) in a.iter_mut().zip(b) {
            a[0] += b[0];
            a[1] += b[1];
        }
        a
    };
    let channel = |c: usize| {
        let parts = of_shards.iter().skip(c).step_by(p.c).cloned().collect();
        tree_fold(parts, add).unwrap_or_default()
    };
    let sums: Vec<Vec<[f64; 2]>> = (0..p.c).map(channel).collect();

    let row = p.n * p.active();
    let fused = |e: &EdgePlan| {
        (!e.units.is_empty()).then(|| Buffer::scratch(T::DTYPE, p.n * p.c * p.plane))
    };
    let mut dx: Vec<Option<Buffer>> = p.edges.iter().map(fused).collect();
    let double = |u: usize| (p.units[u].maps.len() == 2).then(|| Buffer::scratch(T::DTYPE, row));
    let mut g: Vec<Option<Buffer>> = (0..p.units.len()).map(double).collect();
    let edges = p.edges.iter().filter(|e| !e.units.is_empty()).count();
    let groups = groups(p.n, edges);
    let all = jobs(p, &groups, &mut dx, &mut g);
    let last = folded(
        p,
        map_tasks(all, work, |job| last_halves(&walk, &sums, job)),
    );
    let all = jobs(p, &groups, &mut dx, &mut g);
    let first = folded(
        p,
        map_tasks(all, work, |job| first_halves(&walk, &last, job)),
    );
    gradients(&walk, b, &sums, dx, first, last)
}

/// What the jobs found by candidate, summed over the shards by the fixed tree.
fn folded<T: Float>(p: &Plan, jobs: Vec<Vec<Found<T>>>) -> Vec<Option<Found<T>>> {
    let mut of: Vec<Vec<Found<T>>> = p.units.iter().map(|_| vec![]).collect();
    for f in jobs.into_iter().flatten() {
        of[f.unit].push(f);
    }
    let merge = |mut a: Found<T>, b: Found<T>| {
        for (a, b) in a.sums.iter_mut().zip(&b.sums) {
            a[0] += b[0];
            a[1] += b[1];
        }
        if let (Some(a), Some(b)) = (&mut a.weights, &b.weights) {
            elementwise::add_assign(&mut a.depthwise, &b.depthwise);
            elementwise::add_assign(&mut a.pointwise, &b.pointwise);
        }
        a
    };
    of.into_iter()
        .map(|parts| tree_fold(parts, merge))
        .collect()
}

/// What bypasses and skips, dilated convolutions, second halves of separable ones.
fn last_halves<T: Float>(w: &Walk<T>, sums: &[Vec<[f64; 2]>], job: Job<T>) -> Vec<Found<T>> {
    let p = w.p;
    let (plane, row, image) = (p.plane, p.active(), p.c * p.plane);
    let e = &p.edges[job.edge];
    let beta = T::c(w.mixture.edges[job.edge]);
    let skips = e
        .units
        .clone()
        .filter(|&u| p.units[u].candidate == Candidate::Skip);
    let skip: f64 = skips.map(|u| w.mixture.weight(u, &p.units[u])).sum();
    let first = job.shards.first().map_or(0, |r| r.start);
    let Job {
        shards, dx, mut g, ..
    } = job;
    for (i, dx) in (first..).zip(dx.chunks_mut(image)) {
        for (c, dx) in dx.chunks_mut(plane).enumerate() {
            let factor = if c < p.a { T::c(skip) } else { beta };
            elementwise::scale(factor, w.dy(i, c), dx);
        }
    }
    let (mut dz, mut dr) = (vec![T::ZERO; row], vec![T::ZERO; row]);
    let mut found = vec![];
    for u in e.units.clone() {
        let unit = &p.units[u];
        let Some(half) = Half::of(unit.candidate, p) else {
            continue;
        };
        let slopes = w.slopes(u, sums);
        let inner = (unit.maps.len() == 2).then_some(unit.maps.start);
        let weights = Weights::of(&w.x, unit, usize::from(inner.is_some()), p.a, true);
        let mut s = half.scratch(true);
        let mut g = g.iter_mut().find(|g| g.0 == u).map(|g| &mut *g.1);
        for shard in shards {
            let mut grads = w.weights.then(|| half.zeros());
            let mut sums = vec![[0.0; 2]; if inner.is_some() { p.a } else { 0 }];
            for i in shard.clone() {
                w.through(u, i, &slopes, &mut dz);
                let Some(m) = inner else {
                    let x = &w.x[e.x].data::<T>()[i * image..][..row];
                    half.load(x, |_| (T::ONE, T::ZERO), &mut s);
                    half.backward(&dz, &weights, grads.as_mut(), &mut s, &mut dr);
                    let dx = &mut dx[(i - first) * image..][..row];
                    elementwise::add_relu_bwd(x, &dr, dx);
                    continue;
                };
                let z = &w.maps[m][i * row..][..row];
                let norm = &w.norms[m];
                half.load(z, |c| norm.affine(c), &mut s);
                let g = g.as_mut().expect("one for each second half");
                let g = &mut g[(i - first) * row..][..row];
                half.backward(&dz, &weights, grads.as_mut(), &mut s, g);
                for (c, sum) in sums.iter_mut().enumerate() {
                    let (z, g) = (&z[c * plane..][..plane], &g[c * plane..][..plane]);
                    let (a, b) = norm.affine(c);
                    let (s, q) = norm::gradient_sums(z, g, T::c(norm.mean[c]), a, b, true);
                    sum[0] += s.v();
                    sum[1] += q.v();
                }
            }
            found.push(Found {
                unit: u,
                weights: grads,
                sums,
            });
        }
    }
    found
}

/// First halves of separable convolutions: the gradient at their inner ReLU has been put aside.
fn first_halves<T: Float>(w: &Walk<T>, last: &[Option<Found<T>>], job: Job<T>) -> Vec<Found<T>> {
    let p = w.p;
    let (plane, row, image) = (p.plane, p.active(), p.c * p.plane);
    let e = &p.edges[job.edge];
    let count = (p.n * plane) as f64;
    let first = job.shards.first().map_or(0, |r| r.start);
    let Job { shards, dx, g, .. } = job;
    let (mut dz, mut dr) = (vec![T::ZERO; row], vec![T::ZERO; row]);
    let mut found = vec![];
    for (u, g) in g {
        let unit = &p.units[u];
        let (m, norm) = (unit.maps.start, &w.norms[unit.maps.start]);
        let sums = &last[u].as_ref().expect("the second half came first").sums;
        let slope = |c: usize| slope::<T>(norm, c, 1.0, count, sums[c]);
        let slopes: Vec<_> = (0..p.a).map(slope).collect();
        let half = Half::of(unit.candidate, p).expect("a convolution");
        let weights = Weights::of(&w.x, unit, 0, p.a, true);
        let mut s = half.scratch(true);
        for shard in shards {
            let mut grads = w.weights.then(|| half.zeros());
            for i in shard.clone() {
                let z = &w.maps[m][i * row..][..row];
                let g = &g[(i - first) * row..][..row];
                for (c, s) in slopes.iter().enumerate() {
                    let at = c * plane..(c + 1) * plane;
                    let (z, g, dz) = (&z[at.clone()], &g[at.clone()], &mut dz[at]);
                    s.apply_rectified(z, norm.affine(c), g, dz);
                }
                let x = &w.x[e.x].data::<T>()[i * image..][..row];
                half.load(x, |_| (T::ONE, T::ZERO), &mut s);
                half.backward(&dz, &weights, grads.as_mut(), &mut s, &mut dr);
                elementwise::add_relu_bwd(x, &dr, &mut dx[(i - first) * image..][..row]);
            }
            found.push(Found {
                unit: u,
                weights: grads,
                sums: vec![],
            });
        }
    }
    found
}

/// Everything in the order of the operands.
fn gradients<T: Float>(
    w: &Walk<T>,
    b: &Backward,
    sums: &[Vec<[f64; 2]>],
    dx: Vec<Option<Buffer>>,
    first: Vec<Option<Found<T>>>,
    last: Vec<Option<Found<T>>>,
) -> Vec<Option<Grad>> {
    let p = w.p;
    let mut all: Vec<Option<Grad>> = (0..b.need.len()).map(|_| None).collect();
    for ((e, dx), &beta) in p.edges.iter().zip(dx).zip(&w.mixture.edges) {
        if let Some(dx) = dx {
            all[e.x] = Some(Grad::Whole(Tensor::from_buffer(b.shapes[e.x], dx)));
            continue;
        }
        all[e.x] = Some(Grad::Whole(scaled(w, beta, 0..p.a)));
        if p.k > 1 {
            let (t, start) = e.bypass;
            let dx = scaled(w, beta, p.a..p.c);
            all[t] = Some(match start {
                0 => Grad::Whole(dx),
                start => Grad::Channels { start, dx },
            });
        }
    }
    if w.arch {
        let (alpha, beta) = arch(w, sums, b);
        all[p.alpha] = Some(Grad::Whole(alpha));
        all[p.beta] = Some(Grad::Whole(beta));
    }
    for (u, unit) in p.units.iter().enumerate() {
        if unit.candidate == Candidate::Pooled && b.need[unit.own] {
            let shape = b.shapes[unit.own];
            let mut dz = Buffer::scratch(T::DTYPE, shape.numel());
            let slopes = w.slopes(u, sums);
            for_pieces(
                dz.values_mut::<T>(),
                p.active(),
                3 * shape.numel(),
                |i, dz| {
                    w.through(u, i, &slopes, dz);
                },
            );
            all[unit.own] = Some(Grad::Whole(Tensor::from_buffer(shape, dz)));
        }
    }
    for (u, (first, last)) in first.into_iter().zip(last).enumerate() {
        let halves = [first, last]
            .into_iter()
            .flatten()
            .filter_map(|f| f.weights);
        let each = halves.flat_map(|g| [g.depthwise, g.pointwise]).enumerate();
        for (at, g) in each {
            let t = p.units[u].own + at;
            let g = Tensor::from_buffer(b.shapes[t], Buffer::from_slice(&g));
            all[t] = Some(Grad::Whole(g));
        }
    }
    let needed = all.into_iter().zip(b.need);
    needed.map(|(g, &need)| g.filter(|_| need)).collect()
}

/// `beta dy` of some channels of the concatenation.
fn scaled<T: Float>(w: &Walk<T>, beta: f64, channels: Range<usize>) -> Tensor {
    let p = w.p;
    let shape = Shape::new(&[p.n, channels.len(), p.h, p.w]);
    let mut dx = Buffer::scratch(T::DTYPE, shape.numel());
    for (at, dx) in dx.values_mut::<T>().chunks_mut(p.plane.max(1)).enumerate() {
        let (i, c) = (at / channels.len(), channels.start + at % channels.len());
        elementwise::scale(T::c(beta), w.dy(i, c), dx);
    }
    Tensor::from_buffer(shape, dx)
}

/// Gradients of alpha and beta: `<dy, value>` of every candidate and of what bypasses.
fn arch<T: Float>(w: &Walk<T>, sums: &[Vec<[f64; 2]>], b: &Backward) -> (Tensor, Tensor) {
    let p = w.p;
    let mut alpha = vec![0.0; b.shapes[p.alpha].numel()];
    let mut beta = vec![0.0; b.shapes[p.beta].numel()];
    for (u, unit) in p.units.iter().enumerate() {
        let scale = |c: usize| w.last(u).map_or(1.0, |m| w.norms[m].inverse[c]);
        let dot: f64 = (0..p.a).map(|c| sums[c][u][1] * scale(c)).sum();
        alpha[unit.alpha] += w.mixture.edges[unit.edge] * dot;
        beta[p.edges[unit.edge].beta] += w.mixture.alpha[u] * dot;
    }
    for (edge, e) in p.edges.iter().enumerate() {
        let of_edge = |c: usize| sums[c][p.units.len() + edge][1];
        beta[e.beta] += (0..p.c).map(of_edge).sum::<f64>();
    }
    let tensor = |i: usize, v: Vec<f64>| {
        Tensor::from_buffer(b.shapes[i], Buffer::from_slice(&v)).cast(b.dy.dtype())
    };
    (tensor(p.alpha, alpha), tensor(p.beta, beta))
}
