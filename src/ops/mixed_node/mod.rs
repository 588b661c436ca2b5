//! A node of a search cell in one operation (DARTS section 2.2; PC-DARTS sections 3.1 to 3.3):
//! `y = shuffle_k(concat(sum_e beta_e sum_o alpha_eo op_eo(x_e[:C/k]), sum_e beta_e x_e[C/k:]))`.
//! Edges that halve the map take states of twice the sides, with the stride in a candidate's first convolution and what bypasses
//! as an operand, pooled already.
//!
//! The candidates are those of a search network: every one but the skip-connect ends in a batch normalisation without scale and
//! shift. What is computed in one go, image by image, while it is in the second-level cache: ReLU, depthwise and pointwise
//! convolution and the sums of the statistics; normalisation and ReLU on the next half's load; the last normalisation of a
//! candidate inside the weighted sum, which writes shuffled channels. Poolings come as operands, because all edges out of a state
//! share them. Stored are the maps before each normalisation, or where memory counts for more than time their statistics alone; ReLU,
//! normalisations and depthwise convolutions are computed again on the way back. There, one pass over `dy` and a candidate's map
//! gives both the sums that its normalisation needs and the gradient of its weight: `<dy, BN(z)>`.
//!
//! Its twin is the composition of primitive operations (`definition.rs`). On a device a whole cell is one operation
//! ([`super::MixedCell`]).

mod backward;
mod definition;
mod entry;
mod forward;
mod half;
mod plan;
mod reduce;
mod tool;

use super::batch_norm::BatchStats;
use super::shape_rules::{refuse, same};
use crate::backend::host::by_float;
use crate::error::Result;
use crate::tape::{Backward, Grad, Op, Output, Var};
use crate::tensor::{Shape, Tensor};
pub use entry::{ENTRY, far_from_kinks};
use plan::Plan;

/// A candidate operation, channels kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    /// The identity, at stride 1.
    Skip,
    /// The skip-connect at stride 2, a factorised reduction: ReLU, a pointwise convolution of every second row and column to half
    /// the channels, one of those between them to the other half, BN.
    Reduced,
    /// BN of a map that is there already: the state pooled.
    Pooled,
    /// (ReLU, depthwise KxK, pointwise, BN) twice.
    Separable(usize),
    /// ReLU, depthwise KxK of dilation 2, pointwise, BN.
    Dilated(usize),
}

impl Candidate {
    /// Operands besides the state: the pooled map, a depthwise and a pointwise weight for each half, or both pointwise weights of a
    /// reduction.
    pub fn operands(self) -> usize {
        match self {
            Candidate::Skip => 0,
            Candidate::Pooled => 1,
            Candidate::Separable(_) => 4,
            Candidate::Dilated(_) | Candidate::Reduced => 2,
        }
    }

    /// Normalisations.
    pub fn norms(self) -> usize {
        match self {
            Candidate::Skip => 0,
            Candidate::Pooled | Candidate::Dilated(_) | Candidate::Reduced => 1,
            Candidate::Separable(_) => 2,
        }
    }

    /// Whether it may stand on an edge of this stride.
    pub(super) fn goes_with(self, stride: usize) -> bool {
        match self {
            Candidate::Skip => stride == 1,
            Candidate::Reduced => stride == 2,
            _ => true,
        }
    }

    /// Side and dilation of its depthwise convolutions.
    pub(super) fn kernel(self) -> Option<(usize, usize)> {
        match self {
            Candidate::Skip | Candidate::Pooled | Candidate::Reduced => None,
            Candidate::Separable(k) => Some((k, 1)),
            Candidate::Dilated(k) => Some((k, 2)),
        }
    }
}

/// Where an edge comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A state `(N, C, H, W)`; its first C / k channels go through the candidates, each with the row-major index of its weight in
    /// alpha.
    State(Vec<(Candidate, usize)>),
    /// A state `(N, C', 2 H, 2 W)`, C' >= C / k, of which the candidates make `(N, C / k, H, W)`; for k > 1 another operand has the
    /// bypassing channels at the node's size, from channel `start` on.
    Halved {
        /// As those of a state.
        candidates: Vec<(Candidate, usize)>,
        /// First channel.
        start: usize,
    },
    /// Mixed already, as edges that halve the map are: operands are the mixed active channels `(N, C / k, H, W)` and, for k > 1,
    /// the bypassing ones, from channel `start` of the operand on.
    Mixed {
        /// First channel.
        start: usize,
    },
}

/// An edge into the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Index of its weight in beta.
    pub beta: usize,
    /// Where it comes from.
    pub source: Source,
}

/// The op. Operands: those of each edge in order, alpha, beta, then those of each edge's candidates in order: a pooled map
/// `(N, C/k, H, W)`, or depthwise `(C/k, 1, K, K)` and pointwise `(C/k, C/k, 1, 1)` weights of each half, or both pointwise
/// `(C/k / 2, C/k, 1, 1)` weights of a reduction. Where every edge halves, the first bypassing operand tells C; with k = 1 C is that
/// of the first state.
#[derive(Debug, Clone)]
pub struct MixedNode {
    /// At least one.
    pub edges: Vec<Edge>,
    /// One k-th of the channels is mixed.
    pub k: usize,
    /// Added to variances.
    pub eps: f64,
    /// Keeps the statistics alone for the way back, which computes the maps before the normalisations once more: the same bits for
    /// less memory.
    pub recompute: bool,
}

/// The node's value `(N, C, H, W)` and the statistics of its normalisations, in the order of the candidates, those of a separable
/// convolution's first half first.
///
/// # Errors
/// [`crate::Code::Shape`] when operands do not fit each other.
pub fn mixed_node(
    op: MixedNode,
    sources: &[&Var],
    [alpha, beta]: [&Var; 2],
    candidates: &[&Var],
) -> Result<(Var, Vec<BatchStats>)> {
    let operands = [sources, &[alpha, beta], candidates].concat();
    let shapes: Vec<Shape> = operands.iter().map(|v| *v.shape()).collect();
    op.infer(&shapes)?;
    let plan = Plan::new(&op, &shapes);
    let order: Vec<usize> = plan.statistics().collect();
    let count = plan.n * plan.plane;
    let (y, saved) = alpha.tape().apply_saving(op, &operands)?;
    let of = |at| BatchStats::at(saved.clone(), at, &y, count);
    Ok((y.clone(), order.into_iter().map(of).collect()))
}

impl Op for MixedNode {
    fn name(&self) -> &'static str {
        "mixed_node"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let name = self.name();
        let operands: usize = self.edges.iter().map(|e| self.operands(e)).sum();
        let candidates = self.edges.iter().flat_map(|e| {
            let stride = e.source.stride();
            let own = e.source.candidates().iter();
            own.map(move |&(candidate, index)| (candidate, index, stride))
        });
        let own: usize = candidates.clone().map(|c| c.0.operands()).sum();
        if operands == 0 || self.k == 0 || x.len() != operands + 2 + own {
            let text = format!(
                "expected {operands} operands of edges, alpha, beta and {own} of candidates, got {}",
                x.len()
            );
            return Err(refuse(name, text));
        }
        let (alpha, beta) = (&x[operands], &x[operands + 1]);
        let mut at = 0;
        let mut y: Option<Shape> = None;
        for e in &self.edges {
            if e.source.candidates().is_empty() && !matches!(e.source, Source::Mixed { .. }) {
                return Err(refuse(name, format!("no candidate over {}", x[at])));
            }
            let whole = self.node_of(e, &x[at..])?;
            same(name, y.get_or_insert(whole), &whole)?;
            if e.beta >= beta.numel() {
                return Err(refuse(name, format!("no weight {} in beta {beta}", e.beta)));
            }
            at += self.operands(e);
        }
        let y = y.expect("an edge");
        let a = y.dims()[1] / self.k;
        let mut own = &x[operands + 2..];
        for (candidate, index, stride) in candidates {
            if index >= alpha.numel() {
                return Err(refuse(name, format!("no weight {index} in alpha {alpha}")));
            }
            if !candidate.goes_with(stride)
                || (candidate == Candidate::Reduced && !a.is_multiple_of(2))
            {
                let text = format!("{candidate:?} of {a} channels on an edge of stride {stride}");
                return Err(refuse(name, text));
            }
            if candidate == Candidate::Reduced {
                for w in &own[..2] {
                    same(name, &Shape::new(&[a / 2, a, 1, 1]), w)?;
                }
            }
            if let Some((k, _)) = candidate.kernel() {
                for pair in own[..candidate.operands()].chunks(2) {
                    same(name, &Shape::new(&[a, 1, k, k]), &pair[0])?;
                    same(name, &Shape::new(&[a, a, 1, 1]), &pair[1])?;
                }
            }
            if candidate == Candidate::Pooled {
                let [n, _, h, w] = y.dims().try_into().expect("a map");
                same(name, &Shape::new(&[n, a, h, w]), &own[0])?;
            }
            own = &own[candidate.operands()..];
        }
        Ok(y)
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let plan = Plan::new(self, &shapes);
        by_float!(x[0].dtype(), T => forward::run::<T>(self, &plan, x))
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let plan = Plan::new(self, b.shapes);
        by_float!(b.dy.dtype(), T => backward::run::<T>(self, &plan, b))
    }

    crate::reference_path!();
}

impl Source {
    /// Its candidates, none where it is mixed already.
    fn candidates(&self) -> &[(Candidate, usize)] {
        match self {
            Source::State(candidates) | Source::Halved { candidates, .. } => candidates,
            Source::Mixed { .. } => &[],
        }
    }

    /// Of the edge's candidates.
    fn stride(&self) -> usize {
        match self {
            Source::Halved { .. } => 2,
            _ => 1,
        }
    }
}

impl MixedNode {
    /// Operands of an edge.
    fn operands(&self, e: &Edge) -> usize {
        match e.source {
            Source::Mixed { .. } | Source::Halved { .. } if self.k > 1 => 2,
            _ => 1,
        }
    }

    /// The node's shape as the edge whose operands come first in `x` has it.
    fn node_of(&self, e: &Edge, x: &[Shape]) -> Result<Shape> {
        let name = self.name();
        let (n, c, h, w) = x[0].nchw(name)?;
        // Channels of an operand of what bypasses, from `start` on.
        let bypassing = |start: usize| -> Result<usize> {
            let have = x[1].nchw(name)?.1;
            match have.checked_sub(start) {
                Some(rest) if rest > 0 && rest.is_multiple_of(self.k - 1) => {
                    Ok(rest / (self.k - 1))
                }
                _ => {
                    let text = format!(
                        "{} has no {} parts of what bypasses from channel {start} on",
                        x[1],
                        self.k - 1
                    );
                    Err(refuse(name, text))
                }
            }
        };
        let (active, start, [h, w]) = match e.source {
            Source::State(_) if !c.is_multiple_of(self.k) => {
                let text = format!("{c} channels are not a multiple of k = {}", self.k);
                return Err(refuse(name, text));
            }
            Source::State(_) => return Ok(x[0]),
            Source::Mixed { start } => (c, start, [h, w]),
            Source::Halved { .. } if h % 2 + w % 2 > 0 => {
                return Err(refuse(name, format!("{} has an odd side", x[0])));
            }
            Source::Halved { start, .. } => {
                let active = if self.k == 1 { c } else { bypassing(start)? };
                if active > c {
                    let text = format!("{} has no {active} channels to mix", x[0]);
                    return Err(refuse(name, text));
                }
                (active, start, [h / 2, w / 2])
            }
        };
        if self.k > 1 {
            let rest = Shape::new(&[n, start + active * (self.k - 1), h, w]);
            same(name, &rest, &x[1])?;
        }
        Ok(Shape::new(&[n, active * self.k, h, w]))
    }
}

#[cfg(test)]
#[path = "again_tests.rs"]
mod again_tests;
