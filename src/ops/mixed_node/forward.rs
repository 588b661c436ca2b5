//! The way there: first halves of every candidate, second halves, then the sum.

use std::ops::Range;

use super::plan::{Mixture, Plan};
use super::tool::Tool;
use super::{Candidate, MixedNode};
use crate::backend::host::norm::{Moments, plane_moments};
use crate::backend::host::{Float, combine};
use crate::backend::threads::{count, for_pieces, map_tasks, shards, tree_fold};
use crate::error::Result;
use crate::ops::batch_norm::{channel_moments, statistics};
use crate::tape::Output;
use crate::tensor::{Buffer, Shape, Tensor};

/// Mean and inverse deviation of each channel of a map.
pub struct Norm {
    pub mean: Vec<f64>,
    pub inverse: Vec<f64>,
}

impl Norm {
    /// From the mean and the biased variance.
    pub fn new(statistics: &[Tensor], eps: f64) -> Norm {
        let inverse = statistics[1].to_f64();
        let inverse = inverse.iter().map(|v| 1.0 / (v + eps).sqrt());
        Norm {
            mean: statistics[0].to_f64(),
            inverse: inverse.collect(),
        }
    }

    /// `(a, b)` with `normalised = a z + b` for channel `c`.
    pub fn affine<T: Float>(&self, c: usize) -> (T, T) {
        let a = self.inverse[c];
        (T::c(a), T::c(-self.mean[c] * a))
    }
}

/// The shards of the images in groups of neighbours, so many that `jobs` times as many tasks keep all threads busy. Sums are kept
/// by shard, so that how they are grouped changes no result.
pub fn groups(n: usize, jobs: usize) -> Vec<Vec<Range<usize>>> {
    let all: Vec<_> = shards(n).collect();
    let wanted = match count() {
        1 => 1,
        threads => (4 * threads).div_ceil(jobs.max(1)),
    };
    let each = all.len().div_ceil(wanted.clamp(1, all.len()));
    all.chunks(each).map(<[_]>::to_vec).collect()
}

/// Images of a group.
pub fn images(group: &[Range<usize>]) -> usize {
    group.iter().map(|r| r.len()).sum()
}

/// Cuts a map at the groups of its `n` images.
pub fn by_group<'a, T>(
    map: &'a mut [T],
    n: usize,
    groups: &[Vec<Range<usize>>],
) -> std::vec::IntoIter<&'a mut [T]> {
    let row = map.len() / n.max(1);
    let mut rest = map;
    let cut = |g: &Vec<Range<usize>>| {
        let part = rest.split_off_mut(..images(g) * row);
        part.expect("a map holds all its images")
    };
    groups.iter().map(cut).collect::<Vec<_>>().into_iter()
}

/// Some images of a candidate and where its map goes.
struct Job<'a, T> {
    unit: usize,
    shards: &'a [Range<usize>],
    out: &'a mut [T],
}

/// The map before a normalisation and its statistics (nothing where they are known), of each candidate that has one.
type Stored = Vec<Option<(Tensor, Vec<Tensor>)>>;

/// The map that half 0 or 1 of each convolution writes, where there is one; statistics where they are `measured`. `load` makes an
/// image the half's input.
///
/// # Errors
/// None; those of tensors that do not fit their shapes.
fn halves<T: Float>(
    p: &Plan,
    x: &[&Tensor],
    half: usize,
    measured: bool,
    load: impl Fn(usize, usize, &mut Tool<T>) + Sync + Send,
) -> Result<Stored> {
    let row = p.active();
    let has = |u: &usize| {
        let unit = &p.units[*u];
        unit.candidate != Candidate::Pooled && unit.maps.len() > half
    };
    let units: Vec<usize> = (0..p.units.len()).filter(has).collect();
    let groups = groups(p.n, units.len());
    let mut maps: Vec<Buffer> = units
        .iter()
        .map(|_| Buffer::scratch(T::DTYPE, p.n * row))
        .collect();
    let mut jobs = vec![];
    for (&unit, map) in units.iter().zip(&mut maps) {
        for (shards, out) in groups
            .iter()
            .zip(by_group(map.values_mut::<T>(), p.n, &groups))
        {
            jobs.push(Job { unit, shards, out });
        }
    }
    let work = 100 * p.n * row * units.len();
    let parts = map_tasks(jobs, work, |job| {
        let mut tool = Tool::of(p, x, job.unit, half, false).expect("a convolution");
        let mut out = job.out.chunks_mut(row.max(1));
        let shard = |images: &Range<usize>| {
            let mut moments = vec![Moments::default(); if measured { p.a } else { 0 }];
            for (i, z) in images.clone().zip(&mut out) {
                load(job.unit, i, &mut tool);
                tool.forward(z);
                add_moments(&mut moments, z, p.plane);
            }
            moments
        };
        job.shards.iter().map(shard).collect::<Vec<_>>()
    });
    let merge = |a: Vec<Moments>, b: Vec<Moments>| {
        let pairs = a.into_iter().zip(b);
        pairs.map(|(a, b)| a.merge(b)).collect()
    };
    let shape = Shape::new(&[p.n, p.a, p.h, p.w]);
    let mut all: Stored = vec![None; p.units.len()];
    let mut parts = parts.chunks(groups.len());
    for (&u, map) in units.iter().zip(maps) {
        let of_unit = parts.next().expect("every unit has its jobs").concat();
        let moments = tree_fold(of_unit, merge).unwrap_or_default();
        let map = Tensor::from_buffer(shape, map);
        all[u] = Some((map, statistics(&moments, T::DTYPE)?));
    }
    Ok(all)
}

fn add_moments<T: Float>(all: &mut [Moments], z: &[T], plane: usize) {
    for (m, z) in all.iter_mut().zip(z.chunks(plane)) {
        *m = m.merge(plane_moments(z));
    }
}

/// First halves, and the pooled maps.
fn first_halves<T: Float>(p: &Plan, x: &[&Tensor], measured: bool) -> Result<Stored> {
    let plain = |_: usize| (T::ONE, T::ZERO);
    let mut first = halves::<T>(p, x, 0, measured, |u, i, tool| {
        let e = &p.edges[p.units[u].edge];
        let (state, inside) = (x[e.x].data::<T>(), p.plane_of(e));
        tool.load(&state[i * e.channels * inside..][..p.a * inside], plain);
    })?;
    for (u, unit) in p.units.iter().enumerate() {
        if unit.candidate != Candidate::Pooled {
            continue;
        }
        let z = x[unit.own];
        let mut found = vec![];
        if measured {
            let moments = channel_moments(p.n, p.a, p.plane, z.data::<T>());
            found = statistics(&moments, T::DTYPE)?;
        }
        first[u] = Some((z.clone(), found));
    }
    Ok(first)
}

/// Second halves; `norm` is the normalisation of a candidate's first half.
fn second_halves<'a, T: Float>(
    p: &Plan,
    x: &[&Tensor],
    first: &Stored,
    norm: impl Fn(usize) -> &'a Norm + Sync + Send,
    measured: bool,
) -> Result<Stored> {
    let row = p.active();
    halves::<T>(p, x, 1, measured, |u, i, tool| {
        let (z, _) = first[u].as_ref().expect("first halves ran");
        let norm = norm(u);
        tool.load(&z.data::<T>()[i * row..][..row], |c| norm.affine(c));
    })
}

/// Maps and their statistics in the order of the plan.
fn in_order(first: Stored, second: Stored) -> impl Iterator<Item = (Tensor, Vec<Tensor>)> {
    let both = first.into_iter().zip(second);
    both.flat_map(|(a, b)| [a, b]).flatten()
}

/// The maps before the normalisations once more, bit by bit, for the way back; `norms` are those of the maps.
///
/// # Errors
/// None; those of tensors that do not fit their shapes.
pub fn maps_again<T: Float>(p: &Plan, x: &[&Tensor], norms: &[Norm]) -> Result<Vec<Tensor>> {
    let first = first_halves::<T>(p, x, false)?;
    let norm = |u: usize| &norms[p.units[u].maps.start];
    let second = second_halves::<T>(p, x, &first, norm, false)?;
    Ok(in_order(first, second).map(|(map, _)| map).collect())
}

/// Value and, in what is saved: the maps that are kept, then mean and variance of each.
///
/// # Errors
/// None; those of tensors that do not fit their shapes.
pub fn run<T: Float>(op: &MixedNode, p: &Plan, x: &[Tensor]) -> Result<Output> {
    let x: Vec<&Tensor> = x.iter().collect();
    let first = first_halves::<T>(p, &x, true)?;
    let norms = |stored: &Stored| -> Vec<Option<Norm>> {
        let of = |s: &Option<(Tensor, Vec<Tensor>)>| s.as_ref().map(|s| Norm::new(&s.1, op.eps));
        stored.iter().map(of).collect()
    };
    let first_norms = norms(&first);
    let norm = |u: usize| first_norms[u].as_ref().expect("first halves ran");
    let second = second_halves::<T>(p, &x, &first, norm, true)?;
    let second_norms = norms(&second);

    let last: Vec<Option<(&[T], &Norm)>> = (0..p.units.len())
        .map(|u| {
            let (stored, norms) = match p.units[u].maps.len() {
                2 => (&second, &second_norms),
                _ => (&first, &first_norms),
            };
            Some((stored[u].as_ref()?.0.data(), norms[u].as_ref()?))
        })
        .collect();
    let shape = Shape::new(&[p.n, p.c, p.h, p.w]);
    let mut y = Buffer::scratch(T::DTYPE, shape.numel());
    let mixture = p.mixture(x[p.alpha], x[p.beta]);
    sum::<T>(p, &x, &last, &mixture, y.values_mut());

    let (mut saved, stats): (Vec<_>, Vec<_>) = in_order(first, second).unzip();
    saved.truncate(p.kept);
    saved.extend(stats.into_iter().flatten());
    let y = Tensor::from_buffer(shape, y);
    Ok(Output { y, saved })
}

/// Every plane of the node: candidates normalised and weighted, or what bypasses them.
fn sum<T: Float>(
    p: &Plan,
    x: &[&Tensor],
    last: &[Option<(&[T], &Norm)>],
    mixture: &Mixture,
    y: &mut [T],
) {
    let plane = p.plane;
    // What is the same for all images: shift and weights of each active channel.
    let weights = |c: usize| {
        let (mut shift, mut w) = (0.0, vec![]);
        for (e, &beta) in p.edges.iter().zip(&mixture.edges) {
            if e.units.is_empty() {
                w.push(T::c(beta));
            }
            for u in e.units.clone() {
                let mut weight = mixture.weight(u, &p.units[u]);
                if let Some((_, norm)) = last[u] {
                    weight *= norm.inverse[c];
                    shift -= weight * norm.mean[c];
                }
                w.push(T::c(weight));
            }
        }
        (T::c(shift), w)
    };
    let active: Vec<(T, Vec<T>)> = (0..p.a).map(weights).collect();
    let bypass: Vec<T> = mixture.edges.iter().map(|&b| T::c(b)).collect();
    let channel = |t: usize, i: usize, c: usize| -> &[T] {
        let channels = x[t].dims()[1];
        &x[t].data::<T>()[(i * channels + c) * plane..][..plane]
    };
    let work = 2 * y.len() * p.units.len().max(p.edges.len());
    for_pieces(y, plane, work, |at, y| {
        let (i, c) = (at / p.c, p.source(at % p.c));
        if c >= p.a {
            let rest = |(t, start): (usize, usize)| channel(t, i, start + c - p.a);
            let parts: Vec<&[T]> = p.edges.iter().map(|e| rest(e.bypass)).collect();
            return combine::weighted_sum(&bypass, &parts, y);
        }
        let (shift, w) = &active[c];
        let mut parts = Vec::with_capacity(w.len());
        for e in &p.edges {
            if e.units.is_empty() {
                parts.push(channel(e.x, i, c));
            }
            parts.extend(e.units.clone().map(|u| match last[u] {
                Some((z, _)) => &z[(i * p.a + c) * plane..][..plane],
                None => channel(e.x, i, c),
            }));
        }
        combine::weighted_sum_plus(*shift, w, &parts, y);
    });
}
