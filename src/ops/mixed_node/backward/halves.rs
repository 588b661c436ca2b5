//! Candidates' halves, image by image: last ones, and first ones once the sums of the inner normalisations are known.

use std::ops::Range;

use super::walk::{Walk, slope};
use crate::backend::host::{Float, elementwise, norm};
use crate::backend::threads::tree_fold;
use crate::ops::mixed_node::Candidate;
use crate::ops::mixed_node::forward::by_group;
use crate::ops::mixed_node::half::Gradients;
use crate::ops::mixed_node::plan::Plan;
use crate::ops::mixed_node::tool::Tool;
use crate::tensor::Buffer;

/// What the way back found of a candidate over one shard, besides the maps that it wrote.
pub struct Found<T> {
    pub unit: usize,
    pub weights: Option<Gradients<T>>,
    /// Of a second half: `[sum g, sum g (z - mean)]` of each channel, behind the first half's normalisation.
    pub sums: Vec<[f64; 2]>,
}

/// Some images of an edge: the gradient of its state and the gradients at the output of its inner ReLUs.
pub struct Job<'a, T> {
    pub edge: usize,
    pub shards: &'a [Range<usize>],
    pub dx: &'a mut [T],
    pub g: Vec<(usize, &'a mut [T])>,
}

pub fn jobs<'a, T: Float>(
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

/// What the jobs found by candidate, summed over the shards by the fixed tree.
pub fn folded<T: Float>(p: &Plan, jobs: Vec<Vec<Found<T>>>) -> Vec<Option<Found<T>>> {
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
            for (a, b) in a.iter_mut().zip(b) {
                elementwise::add_assign(a, b);
            }
        }
        a
    };
    of.into_iter()
        .map(|parts| tree_fold(parts, merge))
        .collect()
}

/// What bypasses and skips, candidates of one half, second halves of separable convolutions.
pub fn last_halves<T: Float>(w: &Walk<T>, sums: &[Vec<[f64; 2]>], job: Job<T>) -> Vec<Found<T>> {
    let p = w.p;
    let (plane, row) = (p.plane, p.active());
    let e = &p.edges[job.edge];
    let (image, inside) = (e.channels * p.plane_of(e), p.a * p.plane_of(e));
    let own = p.reached(e) * p.plane_of(e);
    let first = job.shards.first().map_or(0, |r| r.start);
    let Job {
        shards, dx, mut g, ..
    } = job;
    untouched(w, job.edge, first, dx);
    let (mut dz, mut dr) = (vec![T::ZERO; row], vec![T::ZERO; inside]);
    let mut found = vec![];
    for u in e.units.clone() {
        let unit = &p.units[u];
        let inner = (unit.maps.len() == 2).then_some(unit.maps.start);
        let half = usize::from(inner.is_some());
        let Some(mut tool) = Tool::of(p, &w.x, u, half, true) else {
            continue;
        };
        let slopes = w.slopes(u, sums);
        let mut g = g.iter_mut().find(|g| g.0 == u).map(|g| &mut *g.1);
        for shard in shards {
            let mut grads = w.weights.then(|| tool.zeros());
            let mut sums = vec![[0.0; 2]; if inner.is_some() { p.a } else { 0 }];
            for i in shard.clone() {
                w.through(u, i, &slopes, &mut dz);
                let Some(m) = inner else {
                    let x = &w.x[e.x].data::<T>()[i * image..][..inside];
                    tool.load(x, |_| (T::ONE, T::ZERO));
                    tool.backward(&dz, grads.as_mut(), &mut dr);
                    let dx = &mut dx[(i - first) * own..][..inside];
                    elementwise::add_relu_bwd(x, &dr, dx);
                    continue;
                };
                let z = &w.maps[m][i * row..][..row];
                let norm = &w.norms[m];
                tool.load(z, |c| norm.affine(c));
                let g = g.as_mut().expect("one for each second half");
                let g = &mut g[(i - first) * row..][..row];
                tool.backward(&dz, grads.as_mut(), g);
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

/// What reaches a state without an operation: through the skip-connect and, at stride 1, past the candidates; zero elsewhere.
fn untouched<T: Float>(w: &Walk<T>, edge: usize, first: usize, dx: &mut [T]) {
    let p = w.p;
    let e = &p.edges[edge];
    if e.stride > 1 {
        return dx.fill(T::ZERO);
    }
    let beta = T::c(w.mixture.edges[edge]);
    let skips = e
        .units
        .clone()
        .filter(|&u| p.units[u].candidate == Candidate::Skip);
    let skip: f64 = skips.map(|u| w.mixture.weight(u, &p.units[u])).sum();
    for (i, dx) in (first..).zip(dx.chunks_mut(p.c * p.plane)) {
        for (c, dx) in dx.chunks_mut(p.plane).enumerate() {
            let factor = if c < p.a { T::c(skip) } else { beta };
            elementwise::scale(factor, w.dy(i, c), dx);
        }
    }
}

/// First halves of separable convolutions: the gradient at their inner ReLU has been put aside.
pub fn first_halves<T: Float>(
    w: &Walk<T>,
    last: &[Option<Found<T>>],
    job: Job<T>,
) -> Vec<Found<T>> {
    let p = w.p;
    let (plane, row) = (p.plane, p.active());
    let e = &p.edges[job.edge];
    let (image, inside) = (e.channels * p.plane_of(e), p.a * p.plane_of(e));
    let own = p.reached(e) * p.plane_of(e);
    let count = (p.n * plane) as f64;
    let first = job.shards.first().map_or(0, |r| r.start);
    let Job { shards, dx, g, .. } = job;
    let (mut dz, mut dr) = (vec![T::ZERO; row], vec![T::ZERO; inside]);
    let mut found = vec![];
    for (u, g) in g {
        let m = p.units[u].maps.start;
        let norm = &w.norms[m];
        let sums = &last[u].as_ref().expect("the second half came first").sums;
        let slope = |c: usize| slope::<T>(norm, c, 1.0, count, sums[c]);
        let slopes: Vec<_> = (0..p.a).map(slope).collect();
        let mut tool = Tool::of(p, &w.x, u, 0, true).expect("a convolution");
        for shard in shards {
            let mut grads = w.weights.then(|| tool.zeros());
            for i in shard.clone() {
                let z = &w.maps[m][i * row..][..row];
                let g = &g[(i - first) * row..][..row];
                for (c, s) in slopes.iter().enumerate() {
                    let at = c * plane..(c + 1) * plane;
                    let (z, g, dz) = (&z[at.clone()], &g[at.clone()], &mut dz[at]);
                    s.apply_rectified(z, norm.affine(c), g, dz);
                }
                let x = &w.x[e.x].data::<T>()[i * image..][..inside];
                tool.load(x, |_| (T::ONE, T::ZERO));
                tool.backward(&dz, grads.as_mut(), &mut dr);
                elementwise::add_relu_bwd(x, &dr, &mut dx[(i - first) * own..][..inside]);
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
