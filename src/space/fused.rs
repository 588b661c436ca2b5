//! A search cell as one operation on a device, a node of it as one on the processor, where everything that they are made of has a part in
//! those operations.

use super::arch::CellMixture;
use super::genotype::{INPUTS, edge_index};
use super::search_cell::{Node, SearchBody};
use crate::error::Result;
use crate::nn::{BatchNorm, Pass};
use crate::ops::mixed_cell::{self, CellEdge, Choice};
use crate::ops::mixed_node::{Candidate, Edge, Source};
use crate::ops::{self, MixedCell, MixedNode};
use crate::tape::{Path, Var};
use crate::tensor::{DType, Shape};

impl SearchBody {
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
    pub(super) fn fused_cell(
        &self,
        p: &Pass,
        inputs: &[Node],
        mixture: &CellMixture,
    ) -> Result<Option<[Var; 2]>> {
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
        let (both, stats) = ops::mixed_cell(op, &sources, arch, &own)?;
        for (norm, stats) in norms.into_iter().zip(stats) {
            norm.note(p, stats);
        }
        Ok(Some(both))
    }

    /// A node as one operation on the processor, where everything that it is made of has a part in [`ops::mixed_node`].
    pub(super) fn fused(
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
}

/// What all these normalisations add to variances, where they have neither scale nor shift and agree on it.
fn common_eps(norms: &[&BatchNorm]) -> Option<f64> {
    let mut eps = norms.iter().map(|n| n.plain_eps());
    match eps.next() {
        None => Some(0.0),
        Some(first) => first.filter(|_| eps.all(|e| e == first)),
    }
}
