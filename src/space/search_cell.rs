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
use crate::nn::{BatchNorm, Builder, Map, Pass};
use crate::ops::mixed_cell::{self, CellEdge, Choice};
use crate::ops::mixed_node::{Candidate, Edge, Source};
use crate::ops::{self, MixedCell, MixedNode, Term};
use crate::tape::{Path, Var};
use crate::tensor::{DType, Shape};

/// Edges and nodes of a search cell.
#[derive(Debug)]
pub struct SearchBody {
    edges: Vec<MixedOp>,
    nodes: usize,
    /// Channels that go through the operations: C / k.
    active: usize,
    k: usize,
    reduction: bool,
    /// Nodes compute on the way back what they would otherwise keep for it.
    recompute: bool,
}

/// What a cell's intermediate nodes are.
pub enum Nodes {
    /// Values of their own, first to last.
    Apart(Vec<Var>),
    /// Concatenated: where one operation computes them all.
    Joined(Var),
}

impl Nodes {
    /// One after the other.
    ///
    /// # Errors
    /// Those of the op.
    pub fn concat(&self) -> Result<Var> {
        match self {
            Nodes::Apart(nodes) => ops::concat(&nodes.iter().collect::<Vec<_>>()),
            Nodes::Joined(y) => Ok(y.clone()),
        }
    }
}

/// A node's value, its active channels where an operation of its own needs them, and the pooled others where a reduction does.
struct Node {
    x: Var,
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
        b.note_searched(x, reduction);
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
        if let Some(y) = self.fused_cell(p, &states, mixture)? {
            return Ok(Nodes::Joined(y));
        }
        for node in 0..self.nodes {
            let x = self.sum(p, node, &states, mixture)?;
            states.push(Node::new(x, pools));
        }
        let nodes = states.into_iter().skip(INPUTS).map(|s| s.x);
        Ok(Nodes::Apart(nodes.collect()))
    }

    fn active<'a>(&self, node: &'a Node) -> Result<&'a State> {
        let part = || State::part(node.x.clone(), self.active, node.pools);
        Ok(node.active.get_or_init(part))
    }

    /// Whether an edge halves the map.
    fn halves(&self, from: usize) -> bool {
        self.reduction && from < INPUTS
    }

    /// Whether all candidates take part and are not dropped, in a training pass: what operations of whole nodes and cells compute.
    fn dense(&self, p: &Pass, mixture: &CellMixture) -> bool {
        p.mode.training && !mixture.is_sparse() && p.mode.skip_dropout == 0.0
    }

    /// Shape of what candidates make of a state.
    fn mixed(&self, state: &Node, from: usize) -> Shape {
        let d = state.x.dims();
        let stride = if self.halves(from) { 2 } else { 1 };
        Shape::new(&[d[0], self.active, d[2] / stride, d[3] / stride])
    }

    /// The whole cell as one operation on a device, where everything that it is made of has a part in [`ops::mixed_cell`].
    fn fused_cell(&self, p: &Pass, inputs: &[Node], mixture: &CellMixture) -> Result<Option<Var>> {
        if !self.dense(p, mixture) || !matches!(p.tape.cx().path, Path::Device(_)) {
            return Ok(None);
        }
        let y = self.mixed(&inputs[0], 0);
        let (mut nodes, mut own, mut norms) = (vec![], vec![], vec![]);
        for node in 0..self.nodes {
            let mut edges = vec![];
            for from in 0..node + INPUTS {
                let beta = edge_index(node, from);
                let mut candidates = vec![];
                for (alpha, op) in self.edges[beta].dense() {
                    if let Some((kind, norm)) = op.pooling() {
                        candidates.push((Choice::Pool(kind.of_op()), alpha));
                        norms.push(norm);
                        continue;
                    }
                    let Some(parts) = op.parts(p, &y) else {
                        return Ok(None);
                    };
                    candidates.push((Choice::Of(parts.candidate), alpha));
                    own.extend(parts.operands);
                    norms.extend(parts.norms);
                }
                if candidates.is_empty() {
                    return Ok(None);
                }
                edges.push(CellEdge {
                    from,
                    beta,
                    candidates,
                });
            }
            nodes.push(edges);
        }
        let Some(eps) = common_eps(&norms) else {
            return Ok(None);
        };
        let op = MixedCell {
            nodes,
            halves: self.reduction,
            k: self.k,
            eps,
            recompute: self.recompute,
        };
        let sources: Vec<&Var> = inputs.iter().map(|s| &s.x).collect();
        let arch = [&mixture.alpha, &mixture.beta];
        let maps = sources.iter().map(|v| v.dtype());
        let single = arch.into_iter().chain(&own).map(|v| v.dtype());
        let same = maps.clone().all(|d| d == sources[0].dtype());
        let taken = mixed_cell::device::stored(sources[0].dtype(), single);
        if !same || !taken || !op.fits_device(self.active) {
            return Ok(None);
        }
        let own: Vec<&Var> = own.iter().collect();
        let (y, stats) = ops::mixed_cell(op, &sources, arch, &own)?;
        for (norm, stats) in norms.into_iter().zip(stats) {
            norm.note(p, stats);
        }
        Ok(Some(y))
    }

    /// A node as one operation on the processor, where everything that it is made of has a part in [`ops::mixed_node`].
    fn fused(
        &self,
        p: &Pass,
        node: usize,
        states: &[Node],
        mixture: &CellMixture,
    ) -> Result<Option<Var>> {
        let edge = |from: usize| &self.edges[edge_index(node, from)];
        let takes =
            p.tape.cx().path == Path::Fast && states.iter().all(|s| s.x.dtype() != DType::Bf16);
        let alive = (0..states.len()).all(|from| edge(from).dense().next().is_some());
        if !self.dense(p, mixture) || !takes || !alive {
            return Ok(None);
        }
        let (mut edges, mut sources, mut own, mut norms) = (vec![], vec![], vec![], vec![]);
        for (from, state) in states.iter().enumerate() {
            let (beta, halves) = (edge_index(node, from), self.halves(from));
            let mut candidates = vec![];
            for (alpha, op) in edge(from).dense() {
                if let Some((kind, norm)) = op.pooling() {
                    let stride = if halves { 2 } else { 1 };
                    candidates.push((Candidate::Pooled, alpha));
                    own.push(self.active(state)?.pool(kind, stride)?);
                    norms.push(norm);
                    continue;
                }
                let Some(parts) = op.parts(p, &self.mixed(state, from)) else {
                    return Ok(None);
                };
                candidates.push((parts.candidate, alpha));
                own.extend(parts.operands);
                norms.extend(parts.norms);
            }
            sources.push(state.x.clone());
            let mut start = 0;
            if halves && self.k > 1 {
                let (x, first) = self.bypass(state, from)?;
                sources.push(x);
                start = first;
            }
            let source = match halves {
                true => Source::Halved { candidates, start },
                false => Source::State(candidates),
            };
            edges.push(Edge { beta, source });
        }
        let Some(eps) = common_eps(&norms) else {
            return Ok(None);
        };
        let op = MixedNode {
            edges,
            k: self.k,
            eps,
            recompute: self.recompute,
        };
        let sources: Vec<&Var> = sources.iter().collect();
        let own: Vec<&Var> = own.iter().collect();
        let (y, stats) = ops::mixed_node(op, &sources, [&mixture.alpha, &mixture.beta], &own)?;
        for (norm, stats) in norms.into_iter().zip(stats) {
            norm.note(p, stats);
        }
        Ok(Some(y))
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
    fn bypass(&self, state: &Node, from: usize) -> Result<(Var, usize)> {
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

/// What all these normalisations add to variances, where they have neither scale nor shift and agree on it.
fn common_eps(norms: &[&BatchNorm]) -> Option<f64> {
    let mut eps = norms.iter().map(|n| n.plain_eps());
    match eps.next() {
        None => Some(0.0),
        Some(first) => first.filter(|_| eps.all(|e| e == first)),
    }
}

#[cfg(test)]
#[path = "search_cell_tests.rs"]
mod tests;
