//! Everything in the order of the operands.

use std::ops::Range;

use super::halves::Found;
use super::walk::Walk;
use crate::backend::host::{Float, elementwise};
use crate::backend::threads::for_pieces;
use crate::ops::mixed_node::Candidate;
use crate::ops::mixed_node::plan::{EdgePlan, Plan};
use crate::tape::{Backward, Grad};
use crate::tensor::{Buffer, Shape, Tensor};

/// Everything in the order of the operands.
pub fn gradients<T: Float>(
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
        let stated = dx.is_some();
        all[e.x] = Some(match dx {
            Some(dx) => reaching(p, e, b.shapes[e.x], dx),
            None => Grad::Whole(scaled(w, beta, 0..p.a)),
        });
        if p.k > 1 && !(stated && e.stride == 1) {
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
        let each = halves.flatten().enumerate();
        for (at, g) in each {
            let t = p.units[u].own + at;
            let g = Tensor::from_buffer(b.shapes[t], Buffer::from_slice(&g));
            all[t] = Some(Grad::Whole(g));
        }
    }
    let needed = all.into_iter().zip(b.need);
    needed.map(|(g, &need)| g.filter(|_| need)).collect()
}

/// The gradient of a state of shape `x`.
fn reaching(p: &Plan, e: &EdgePlan, x: Shape, dx: Buffer) -> Grad {
    if p.reached(e) == e.channels {
        return Grad::Whole(Tensor::from_buffer(x, dx));
    }
    let d = x.dims();
    let dx = Tensor::from_buffer(Shape::new(&[d[0], p.a, d[2], d[3]]), dx);
    Grad::Channels { start: 0, dx }
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
