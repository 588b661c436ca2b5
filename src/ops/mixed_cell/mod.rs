//! The body of a search cell in one operation (DARTS section 2.2; PC-DARTS sections 3.1 to 3.3): its nodes, one after the other,
//! `y_j = shuffle_k(concat(sum_e beta_e sum_o alpha_eo op_eo(x_e[:C/k]), sum_e beta_e x_e[C/k:]))` over the edges e from both inputs and
//! all nodes before, and of them the concatenation.
//!
//! It has a schedule of its own on a device (`device`): whatever is ready is one launch. The candidates of all edges out of a state are
//! computed together, its poolings once; a node is summed when all its edges are there. The way back goes the other way about: what reaches
//! a state over all edges out of it is added and written once. So a cell of four nodes takes 12 launches forward and 13 or 14 back.
//!
//! On the processor a cell is node by node [`super::MixedNode`], which works image by image; this operation computes there by its
//! definition (`definition.rs`), the composition of those nodes and poolings.

mod definition;
pub mod device;
mod entry;
mod plan;

use super::batch_norm::BatchStats;
use super::mixed_node::Candidate;
use super::pool::Kind;
use super::shape_rules::{refuse, same, with_dim};
use crate::error::Result;
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Engine, Shape, Tensor};
pub use entry::ENTRY;
use plan::Plan;

/// Inputs of a cell.
pub const INPUTS: usize = 2;

/// A candidate of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// A pooling of windows of 3 x 3 with padding 1, then BN.
    Pool(Kind),
    /// What has no operand but the state and weights ([`Candidate::Pooled`] has).
    Of(Candidate),
}

impl Choice {
    /// As a candidate of a node, whose poolings are operands.
    fn of_node(self) -> Candidate {
        match self {
            Choice::Pool(_) => Candidate::Pooled,
            Choice::Of(candidate) => candidate,
        }
    }

    /// Weights.
    pub fn weights(self) -> usize {
        match self {
            Choice::Pool(_) => 0,
            Choice::Of(candidate) => candidate.operands(),
        }
    }
}

/// An edge into a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellEdge {
    /// The state that it comes from: 0 and 1 are the inputs, 2 the first node.
    pub from: usize,
    /// Index of its weight in beta.
    pub beta: usize,
    /// Its candidates, each with the row-major index of its weight in alpha.
    pub candidates: Vec<(Choice, usize)>,
}

/// The op. Operands: both inputs, `(N, C, H, W)`, where edges halve the map `(N, C, 2 H, 2 W)`; alpha, beta; the weights of each node's
/// edges' candidates in order, as [`super::MixedNode`] has them. Of inputs that are halved, what bypasses goes through a maximum of windows
/// of 2 x 2 (PC-DARTS, section 3.1).
#[derive(Debug, Clone)]
pub struct MixedCell {
    /// The edges of each node, at least one.
    pub nodes: Vec<Vec<CellEdge>>,
    /// Edges from inputs halve the map.
    pub halves: bool,
    /// One k-th of the channels is mixed.
    pub k: usize,
    /// Added to variances.
    pub eps: f64,
    /// The maps before normalisations are not kept for the way back but computed again there.
    pub recompute: bool,
}

/// The nodes concatenated, `(N, nodes C, H, W)`, and the statistics of the normalisations in the order of the candidates,
/// those of a separable convolution's first half first.
///
/// # Errors
/// [`crate::Code::Shape`] when operands do not fit each other; on a device [`device::stored`] and
/// [`MixedCell::fits_device`] hold.
pub fn mixed_cell(
    op: MixedCell,
    inputs: &[&Var],
    [alpha, beta]: [&Var; 2],
    weights: &[&Var],
) -> Result<(Var, Vec<BatchStats>)> {
    let operands = [inputs, &[alpha, beta], weights].concat();
    let shapes: Vec<Shape> = operands.iter().map(|v| *v.shape()).collect();
    op.infer(&shapes)?;
    let plan = Plan::new(&op, &shapes);
    let rows: Vec<usize> = plan.units.iter().flat_map(|u| u.maps.clone()).collect();
    let (count, stats) = (plan.n * plan.plane, plan.saved(op.recompute));
    let (y, saved) = alpha.tape().apply_saving(op, &operands)?;
    let of = |map| BatchStats::row(saved.clone(), [stats, map], &y, count);
    let stats = rows.into_iter().map(of).collect();
    Ok((y, stats))
}

impl MixedCell {
    /// Whether an edge from this state halves the map.
    pub fn halved(&self, from: usize) -> bool {
        self.halves && from < INPUTS
    }

    /// Shape of a node.
    fn node(&self, x: &[Shape]) -> Result<Shape> {
        let name = self.name();
        let (n, c, h, w) = x[0].nchw(name)?;
        if !c.is_multiple_of(self.k) {
            let text = format!("{c} channels are not a multiple of k = {}", self.k);
            return Err(refuse(name, text));
        }
        same(name, &x[0], &x[1])?;
        if self.halves && h % 2 + w % 2 > 0 {
            return Err(refuse(name, format!("{} has an odd side", x[0])));
        }
        let side = if self.halves { 2 } else { 1 };
        Ok(Shape::new(&[n, c, h / side, w / side]))
    }
}

impl Op for MixedCell {
    fn name(&self) -> &'static str {
        "mixed_cell"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let name = self.name();
        let candidates = || self.nodes.iter().flatten().flat_map(|e| &e.candidates);
        let weights: usize = candidates().map(|c| c.0.weights()).sum();
        let fixed = INPUTS + 2;
        if self.k == 0 || self.nodes.is_empty() || x.len() != fixed + weights {
            let text = format!(
                "expected {INPUTS} inputs, alpha, beta and {weights} weights, got {}",
                x.len()
            );
            return Err(refuse(name, text));
        }
        if candidates().any(|c| c.0 == Choice::Of(Candidate::Pooled)) {
            return Err(refuse(name, "a candidate with an operand of its own"));
        }
        let node = self.node(x)?;
        let mut states = vec![x[0], x[1]];
        for (j, edges) in self.nodes.iter().enumerate() {
            if edges.is_empty() || edges.iter().any(|e| e.from >= INPUTS + j) {
                return Err(refuse(
                    name,
                    format!("node {j} has no edge, or one from itself"),
                ));
            }
            let composed = definition::Node::new(self, j);
            let y = composed.op.infer(&composed.shapes(x, &states, &node))?;
            same(name, &node, &y)?;
            states.push(y);
        }
        Ok(with_dim(&node, 1, node.dims()[1] * self.nodes.len()))
    }

    fn saves(&self) -> Saves {
        Saves {
            output: true,
            ..Saves::INPUTS
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        self.forward_reference(x)
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        self.backward_reference(b)
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        device::forward(e, self, &Plan::new(self, &shapes), x)
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        device::backward(e, self, &Plan::new(self, b.shapes), b)
    }

    crate::reference_path!();
}
