//! What searched cells are expected to cost: the mean over the architectures that the parameters stand for, as a function of them.
//!
//! An edge's operation is drawn with the probability `softmax(alpha)` over its candidates; a node keeps two of its edges, edge `e` with the
//! share `2 softmax(beta)_e`, or `2 / n` of n edges without edge normalisation. So for costs `c`
//!
//! `E = sum over edges, operations of 2 softmax(beta)_e softmax(alpha)_eo c_eo`.
//!
//! It is the expected latency of ProxylessNAS (Cai et al., ICLR 2019, section 3.3.1) for cells of two edges a node, linear in the
//! probabilities, so that costs that were counted or measured once give an exact gradient. `none` takes no part: a derivation never keeps
//! it, and a search that is charged for costs must not buy them with an operation that is not in the network.

use super::arch::{ArchGroup, softmaxes};
use super::genotype::{edge_range, nodes_of_edges};
use super::primitive::{PRIMITIVES, Primitive};
use crate::error::{Code, Error, Result};
use crate::nn::{Pass, Store};
use crate::ops;
use crate::tape::Var;
use crate::tensor::Tensor;

/// Edges that a node keeps.
const KEPT: f64 = 2.0;

/// Costs of the operations of one cell kind of a group, in any unit, summed over the cells that share its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct CellCosts {
    /// Of the reduction cells.
    pub reduction: bool,
    /// Edges x 8, row-major; what is no candidate is not read.
    pub costs: Vec<f64>,
}

impl CellCosts {
    /// Costs by edge that count in the expectation, each times what is constant of its edge's share; 0 for what cannot be chosen.
    fn weighed(&self, group: &ArchGroup) -> Result<Vec<f64>> {
        let candidates = group.candidates(self.reduction);
        let edges = candidates.edges();
        if self.costs.len() != edges * PRIMITIVES {
            let text = format!("{} costs for {edges} edges", self.costs.len());
            return Err(Error::new(Code::Argument, text));
        }
        let mut all = vec![0.0; self.costs.len()];
        for node in 0..nodes_of_edges(edges).expect("edges of a cell") {
            let of = edge_range(node);
            let share = match group.edge_norm() {
                true => KEPT,
                false => KEPT / of.len() as f64,
            };
            for edge in of {
                let ops = candidates.of(edge).filter(|&op| op != Primitive::Zero);
                for at in ops.map(|op| edge * PRIMITIVES + op.index()) {
                    all[at] = share * self.costs[at];
                }
            }
        }
        Ok(all)
    }
}

/// The expected cost of all cells on the tape of `p`, times `scale`: a scalar of the type of the parameters.
///
/// # Errors
/// `MT0403` for costs of another number of edges, or none at all; those of the ops.
pub fn expected(all: &[(&ArchGroup, &CellCosts)], scale: f64, p: &Pass) -> Result<Var> {
    let mut chosen = vec![];
    for (group, cell) in all {
        chosen.extend(group.chosen(cell.reduction, p)?);
    }
    let mut next = softmaxes(p, &chosen)?.into_iter();
    let mut next = || next.next().expect("weights of each");
    let mut sum: Option<Var> = None;
    for (group, cell) in all {
        let alpha = next();
        let costs = cell.weighed(group)?.into_iter().map(|c| scale * c);
        let costs = Tensor::from_f64(*alpha.shape(), costs.collect())?.cast(alpha.dtype());
        let mut of_cell = ops::mul(&alpha, &p.tape.constant(costs)?)?;
        if group.edge_norm() {
            of_cell = ops::scale_rows(&of_cell, &next())?;
        }
        let of_cell = ops::sum(&of_cell)?;
        sum = Some(match sum {
            None => of_cell,
            Some(sum) => ops::add(&sum, &of_cell)?,
        });
    }
    sum.ok_or_else(|| Error::new(Code::Argument, "no cell to expect a cost of"))
}

/// The expected cost of one cell kind at the values in `store`; with `None`, where all operations and all edges of a node are equal.
///
/// # Errors
/// As [`expected`].
pub fn expected_at(group: &ArchGroup, cell: &CellCosts, store: Option<&Store>) -> Result<f64> {
    let costs = cell.weighed(group)?;
    let candidates = group.candidates(cell.reduction);
    let values = store.map(|s| group.values(s));
    let kind = if cell.reduction { "reduce" } else { "normal" };
    let of = |what: &str| {
        let mut all = values.iter().flatten();
        let found = all.find(|(name, _)| name.ends_with(&format!("{what}_{kind}")));
        found.map(|(_, v)| v.as_slice())
    };
    let (alpha, beta) = (of("alpha"), of("beta"));
    let mut sum = 0.0;
    for node in 0..nodes_of_edges(candidates.edges()).expect("edges of a cell") {
        let edges: Vec<usize> = edge_range(node).collect();
        let weights = match group.edge_norm() {
            true => softmax(edges.iter().map(|&e| beta.map_or(0.0, |b| b[e]))),
            false => vec![1.0; edges.len()],
        };
        for (edge, weight) in edges.into_iter().zip(weights) {
            let ops = candidates.of(edge).filter(|&op| op != Primitive::Zero);
            let at: Vec<usize> = ops.map(|op| edge * PRIMITIVES + op.index()).collect();
            let probabilities = softmax(at.iter().map(|&i| alpha.map_or(0.0, |a| a[i])));
            let mean = at.iter().zip(probabilities).map(|(&i, p)| p * costs[i]);
            sum += weight * mean.sum::<f64>();
        }
    }
    Ok(sum)
}

fn softmax(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.collect();
    let most = values.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let all: Vec<f64> = values.iter().map(|v| (v - most).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.into_iter().map(|v| v / sum).collect()
}

#[cfg(test)]
#[path = "expected_tests.rs"]
mod tests;
