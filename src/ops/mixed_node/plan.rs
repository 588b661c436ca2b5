//! Which operand, map and statistic belongs to which candidate.

use std::ops::Range;

use super::{Candidate, MixedNode, Source};
use crate::backend::host::rearrange::shuffled_from;
use crate::tensor::{Shape, Tensor};

/// A candidate of an edge.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Edge that it is on.
    pub edge: usize,
    /// What it computes.
    pub candidate: Candidate,
    /// Index of its weight in alpha.
    pub alpha: usize,
    /// Its first operand.
    pub own: usize,
    /// Its maps before normalisations, in order.
    pub maps: Range<usize>,
}

/// An edge's operands.
#[derive(Debug, Clone)]
pub struct EdgePlan {
    /// State, or the mixed channels, and the channels of that operand.
    pub x: usize,
    pub channels: usize,
    /// Sides of the state over those of the node.
    pub stride: usize,
    /// Index of its weight in beta.
    pub beta: usize,
    /// Operand of the bypassing channels and the first of them.
    pub bypass: (usize, usize),
    /// Its candidates; empty when it is mixed already.
    pub units: Range<usize>,
}

/// Sizes and indices of a [`MixedNode`].
#[derive(Debug, Clone)]
pub struct Plan {
    /// Images.
    pub n: usize,
    /// Channels, and how many of them are mixed.
    pub c: usize,
    pub a: usize,
    pub h: usize,
    pub w: usize,
    /// h w
    pub plane: usize,
    pub k: usize,
    pub units: Vec<Unit>,
    pub edges: Vec<EdgePlan>,
    /// Operands of alpha and beta.
    pub alpha: usize,
    pub beta: usize,
    /// Maps before normalisations.
    pub maps: usize,
    /// How many of them are kept for the way back: all or none.
    pub kept: usize,
}

impl Plan {
    /// Of operands that [`crate::tape::Op::infer`] has checked.
    pub fn new(op: &MixedNode, x: &[Shape]) -> Plan {
        let operands: usize = op.edges.iter().map(|e| op.operands(e)).sum();
        let (mut at, mut own, mut maps) = (0, operands + 2, 0);
        let (mut units, mut edges) = (vec![], vec![]);
        let y = op.node_of(&op.edges[0], x).expect("operands that fit");
        let d = y.dims();
        let a = d[1] / op.k;
        for (edge, e) in op.edges.iter().enumerate() {
            let first = units.len();
            for &(candidate, alpha) in e.source.candidates() {
                units.push(Unit {
                    edge,
                    candidate,
                    alpha,
                    own,
                    maps: maps..maps + candidate.norms(),
                });
                own += candidate.operands();
                maps += candidate.norms();
            }
            let bypass = match e.source {
                Source::State(_) => (at, a),
                Source::Mixed { start } | Source::Halved { start, .. } => (at + 1, start),
            };
            edges.push(EdgePlan {
                x: at,
                channels: x[at].dims()[1],
                stride: e.source.stride(),
                beta: e.beta,
                bypass,
                units: first..units.len(),
            });
            at += op.operands(e);
        }
        Plan {
            n: d[0],
            c: a * op.k,
            a,
            h: d[2],
            w: d[3],
            plane: d[2] * d[3],
            k: op.k,
            units,
            edges,
            alpha: operands,
            beta: operands + 1,
            maps,
            kept: if op.recompute { 0 } else { maps },
        }
    }

    /// Among what the forward saves, where the mean of each normalisation is; the variance follows.
    pub fn statistics(&self) -> impl Iterator<Item = usize> + use<> {
        let kept = self.kept;
        (0..self.maps).map(move |m| kept + 2 * m)
    }

    /// Channel of `concat(mixed, bypass)` that the node's channel `d` is.
    pub fn source(&self, d: usize) -> usize {
        shuffled_from(d, self.c, self.k)
    }

    /// Channel of the node that channel `c` of `concat(mixed, bypass)` becomes.
    pub fn lands(&self, c: usize) -> usize {
        shuffled_from(c, self.c, self.c / self.k)
    }

    /// Elements of a channel of an edge's state.
    pub fn plane_of(&self, e: &EdgePlan) -> usize {
        self.plane * e.stride * e.stride
    }

    /// Channels of an edge's state that have a gradient by it: all, or the active ones where what bypasses is another operand.
    pub fn reached(&self, e: &EdgePlan) -> usize {
        match e.stride {
            1 => self.c,
            _ => self.a,
        }
    }

    /// Elements of the active channels of an image.
    pub fn active(&self) -> usize {
        self.a * self.plane
    }

    /// beta of each edge and beta alpha of each candidate.
    pub fn mixture(&self, alpha: &Tensor, beta: &Tensor) -> Mixture {
        let (alpha, beta) = (alpha.to_f64(), beta.to_f64());
        Mixture {
            edges: self.edges.iter().map(|e| beta[e.beta]).collect(),
            alpha: self.units.iter().map(|u| alpha[u.alpha]).collect(),
        }
    }
}

/// The weights in force.
#[derive(Debug, Clone)]
pub struct Mixture {
    /// beta, of each edge.
    pub edges: Vec<f64>,
    /// alpha, of each candidate.
    pub alpha: Vec<f64>,
}

impl Mixture {
    /// What the candidate's value is multiplied by in the node.
    pub fn weight(&self, u: usize, unit: &Unit) -> f64 {
        self.alpha[u] * self.edges[unit.edge]
    }
}
