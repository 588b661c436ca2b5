//! The body of a search cell: a mixed operation on every edge, partial channels, edge normalisation (PC-DARTS sections 3.1 to 3.3).
//!
//! Per edge the definition is `beta_e shuffle_k(concat(mixed(x[:C/k]), bypass(x[C/k:])))`, summed over the edges of a node.
//! Concat and shuffle are linear and the same for every edge, so here the two parts are summed first and shuffled once:
//! equal, and one copy per node instead of one per edge. A test holds it against the definition.

use std::cell::OnceCell;

use super::arch::CellMixture;
use super::candidates::Candidates;
use super::genotype::{INPUTS, edge_index, nodes_of_edges};
use super::mixed_op::MixedOp;
use super::operation::{Norms, Site, State};
use super::primitive::Primitive;
use crate::error::{Code, Error, Result};
use crate::nn::{Builder, Map, Pass};
use crate::ops::{self, Term};
use crate::tape::Var;

/// Edges and nodes of a search cell.
#[derive(Debug)]
pub struct SearchBody {
    pub(super) edges: Vec<MixedOp>,
    pub(super) nodes: usize,
    /// Channels that go through the operations: C / k.
    pub(super) active: usize,
    pub(super) k: usize,
    pub(super) reduction: bool,
    /// Nodes compute on the way back what they would otherwise keep for it.
    pub(super) recompute: bool,
}

/// What a cell's intermediate nodes are.
pub enum Nodes {
    /// Values of their own, first to last.
    Apart(Vec<Var>),
    /// Concatenated, and that rectified: where one operation computes them all.
    Joined {
        /// The nodes.
        y: Var,
        /// max(y, 0).
        rectified: Var,
    },
}

impl Nodes {
    /// One after the other.
    ///
    /// # Errors
    /// Those of the op.
    pub fn concat(&self) -> Result<Var> {
        match self {
            Nodes::Apart(nodes) => ops::concat(&nodes.iter().collect::<Vec<_>>()),
            Nodes::Joined { y, .. } => Ok(y.clone()),
        }
    }
}

/// A node's value, its active channels where an operation of its own needs them, and the pooled others where a reduction does.
pub(super) struct Node {
    pub(super) x: Var,
    /// The active ones are pooled both ways.
    pools: bool,
    active: OnceCell<State>,
    pooled: OnceCell<Var>,
}

impl Node {
    fn new(x: Var, pools: bool) -> Node {
        Node {
            x,
            pools,
            active: OnceCell::new(),
            pooled: OnceCell::new(),
        }
    }
}

impl SearchBody {
    /// Declares the edges of a cell whose preprocessed inputs are `x` maps, as `ops.0` to `ops.13`; returns it with the map
    /// of a node. `candidates` gives the operations of each edge.
    ///
    /// # Errors
    /// `MT0105` when the width is not a multiple of `k` or an operation does not fit.
    pub fn new(
        b: &mut Builder,
        x: Map,
        reduction: bool,
        k: usize,
        candidates: &Candidates,
    ) -> Result<(SearchBody, Map)> {
        let nodes = nodes_of_edges(candidates.edges()).expect("edges of a cell");
        if k == 0 || x.c < k || !x.c.is_multiple_of(k) {
            let message = format!(
                "`{}` is {} channels wide, not a multiple of partial_k = {k}",
                b.here(),
                x.c
            );
            return Err(Error::new(Code::NetworkDoesNotFit, message)
                .help("use a larger number of initial channels or a smaller partial_k"));
        }
        let out = if reduction { x.halved(b.here())? } else { x };
        let active = x.c / k;
        let (mut edges, mut kept) = (vec![], 0);
        for node in 0..nodes {
            for from in 0..node + INPUTS {
                let stride = if reduction && from < INPUTS { 2 } else { 1 };
                let input = if from < INPUTS { x } else { out };
                let site = Site {
                    x: input.channels(active),
                    stride,
                    norms: Norms::Search,
                };
                let edge = edge_index(node, from);
                let name = format!("ops.{edge}");
                let (op, _) = b.scope(name, |b| MixedOp::new(b, edge, site, candidates))?;
                kept += op.maps(stride) * active * out.h * out.w;
                edges.push(op);
            }
        }
        let body = SearchBody {
            edges,
            nodes,
            active,
            k,
            reduction,
            recompute: b.block(kept),
        };
        Ok((body, out))
    }

    /// The intermediate nodes.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, inputs: [Var; 2], mixture: &CellMixture) -> Result<Nodes> {
        let mut states = vec![];
        let has = |e: &MixedOp, p: Primitive| e.operations.iter().any(|o| o.0 == p);
        let both = |e: &MixedOp| has(e, Primitive::MaxPool3) && has(e, Primitive::AvgPool3);
        let pools = !mixture.is_sparse() && self.edges.iter().all(both);
        for x in inputs {
            states.push(Node::new(x, pools));
        }
        if let Some([y, rectified]) = self.fused_cell(p, &states, mixture)? {
            return Ok(Nodes::Joined { y, rectified });
        }
        for node in 0..self.nodes {
            let x = self.sum(p, node, &states, mixture)?;
            states.push(Node::new(x, pools));
        }
        let nodes = states.into_iter().skip(INPUTS).map(|s| s.x);
        Ok(Nodes::Apart(nodes.collect()))
    }

    pub(super) fn active<'a>(&self, node: &'a Node) -> Result<&'a State> {
        let part = || State::part(node.x.clone(), self.active, node.pools);
        Ok(node.active.get_or_init(part))
    }

    /// Whether an edge halves the map.
    pub(super) fn halves(&self, from: usize) -> bool {
        self.reduction && from < INPUTS
    }

    fn sum(&self, p: &Pass, node: usize, states: &[Node], mixture: &CellMixture) -> Result<Var> {
        if let Some(y) = self.fused(p, node, states, mixture)? {
            return Ok(y);
        }
        let (mut mixed, mut bypass, mut weights, mut terms) = (vec![], vec![], vec![], vec![]);
        for (from, state) in states.iter().enumerate() {
            let edge = edge_index(node, from);
            if !mixture.keeps_edge(edge) {
                continue;
            }
            mixed.push(self.edges[edge].forward(p, self.active(state)?, mixture)?);
            weights.push(edge);
            if self.k > 1 {
                let (x, start) = self.bypass(state, from)?;
                bypass.push(x);
                terms.push(Term {
                    weight: edge,
                    start,
                });
            }
        }
        let mixed: Vec<&Var> = mixed.iter().collect();
        let mixed = ops::weighted_sum(&mixed, &mixture.beta, &weights)?;
        if self.k == 1 {
            return Ok(mixed);
        }
        let bypass: Vec<&Var> = bypass.iter().collect();
        let bypass = ops::weighted_sum_of(&bypass, &mixture.beta, terms)?;
        ops::concat_shuffle(&[&mixed, &bypass], self.k)
    }

    /// The channels that take no part, and where they start: through a 2x2 maximum pooling where the edge halves the map.
    pub(super) fn bypass(&self, state: &Node, from: usize) -> Result<(Var, usize)> {
        if !self.halves(from) {
            return Ok((state.x.clone(), self.active));
        }
        if let Some(pooled) = state.pooled.get() {
            return Ok((pooled.clone(), 0));
        }
        let rest = state.x.dims()[1] - self.active;
        let pooled = ops::max_pool(&ops::slice(&state.x, self.active, rest)?, 2, 2, 0)?;
        Ok((state.pooled.get_or_init(|| pooled).clone(), 0))
    }
}

#[cfg(test)]
#[path = "search_cell_tests.rs"]
mod tests;
