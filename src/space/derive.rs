//! From architecture parameters to a genotype, and what a search watches on the way: entropy, rankings, skip limit.
//!
//! DARTS section 2.4; PC-DARTS section 3.3 for the edge normalisation; P-DARTS section 3.3.2 for the limit on skip-connects.
//! All functions take plain numbers: alpha is edges x 8, row-major, beta has one entry per edge; a cell of 4 nodes has 14 edges.

use super::candidates::Candidates;
use super::genotype::{CellGenotype, Genotype, edge_range, nodes_of_edges};
use super::primitive::{PRIMITIVES, Primitive};
use crate::error::{Code, Error, Result};

/// Architecture parameters of one cell kind, before any softmax.
#[derive(Debug, Clone, Copy)]
pub struct CellLogits<'a> {
    /// Edges x 8, row-major: one row an edge, one column a primitive.
    pub alpha: &'a [f64],
    /// One per edge, or `None` without edge normalisation.
    pub beta: Option<&'a [f64]>,
    /// The operations that are searched over; `None` means all.
    pub candidates: Option<&'a Candidates>,
}

/// How strong each operation is: softmax of alpha over the candidates of the edge, times the edge's normalised beta.
#[derive(Debug, Clone, PartialEq)]
pub struct Strengths {
    rows: Vec<[f64; PRIMITIVES]>,
    nodes: usize,
}

/// The strength of an operation that is not a candidate: below every probability.
const OUT: f64 = -1.0;

impl Strengths {
    /// The strengths of a cell.
    ///
    /// # Errors
    /// `MT0403` for slices of the wrong length, `MT0602` for values that are not finite.
    pub fn new(cell: CellLogits) -> Result<Strengths> {
        let edges = cell.alpha.len() / PRIMITIVES;
        let nodes = check("alpha", cell.alpha, PRIMITIVES)?;
        let all = Candidates::all(edges);
        let candidates = cell.candidates.unwrap_or(&all);
        if candidates.edges() != edges {
            let message = format!("{} candidate sets for {edges} edges", candidates.edges());
            return Err(Error::new(Code::Argument, message));
        }
        let mut rows = vec![[OUT; PRIMITIVES]; edges];
        for (edge, row) in rows.iter_mut().enumerate() {
            let ops: Vec<usize> = candidates.of(edge).map(|op| op.index()).collect();
            let mut values: Vec<f64> = ops
                .iter()
                .map(|o| cell.alpha[edge * PRIMITIVES + o])
                .collect();
            softmax(&mut values);
            ops.iter().zip(values).for_each(|(&o, v)| row[o] = v);
        }
        if let Some(beta) = cell.beta {
            if beta.len() != edges {
                let message = format!("beta has {} values, expected {edges}", beta.len());
                return Err(Error::new(Code::Argument, message));
            }
            for (row, weight) in rows.iter_mut().zip(edge_weights(beta)?) {
                row.iter_mut()
                    .filter(|w| **w > 0.0)
                    .for_each(|w| *w *= weight);
            }
        }
        Ok(Strengths { rows, nodes })
    }

    /// The strength of an operation on an edge; negative if it is not a candidate.
    pub fn of(&self, edge: usize, op: Primitive) -> f64 {
        self.rows[edge][op.index()]
    }

    /// The two strongest edges of every node and the strongest operation of each (`none` only where there is no other).
    ///
    /// Edges are ranked by their strongest operation; of equals the lower index wins, for edges and for operations.
    /// The two entries of a node are in rank order.
    pub fn derive(&self) -> CellGenotype {
        let mut cell = vec![];
        for node in 0..self.nodes {
            let range = edge_range(node);
            let mut ranked: Vec<(usize, Primitive, f64)> = range
                .clone()
                .map(|edge| {
                    let (op, strength) = self.strongest(edge);
                    (edge - range.start, op, strength)
                })
                .collect();
            ranked.sort_by(|a, b| b.2.total_cmp(&a.2)); // stable: ties keep the lower index first
            cell.extend(ranked[..2].iter().map(|kept| (kept.1, kept.0)));
        }
        cell
    }

    fn strongest(&self, edge: usize) -> (Primitive, f64) {
        let mut best = (Primitive::Zero, OUT);
        for &op in Primitive::ALL.iter().filter(|&&op| op != Primitive::Zero) {
            if self.of(edge, op) > best.1 {
                best = (op, self.of(edge, op));
            }
        }
        best
    }

    /// As [`Strengths::derive`], but with at most `limit` skip-connects: while the cell has more, the weakest kept one is
    /// struck out and the cell derived again (P-DARTS, which does so for the normal cell with a limit of 2).
    pub fn derive_with_skip_limit(&self, limit: usize) -> CellGenotype {
        let mut strengths = self.clone();
        loop {
            let cell = strengths.derive();
            let skips: Vec<usize> = (0..cell.len())
                .filter(|&i| cell[i].0 == Primitive::Skip)
                .map(|i| edge_range(i / 2).start + cell[i].1)
                .collect();
            if skips.len() <= limit {
                return cell;
            }
            let of = |edge: &usize| strengths.of(*edge, Primitive::Skip);
            let weakest = skips
                .into_iter()
                .min_by(|a, b| of(a).total_cmp(&of(b)))
                .expect("more skips than the limit");
            strengths.rows[weakest][Primitive::Skip.index()] = OUT; // each edge loses its skip at most once
        }
    }
}

/// The genotype of a pair of cells.
///
/// # Errors
/// As [`Strengths::new`].
pub fn derive(normal: CellLogits, reduce: CellLogits) -> Result<Genotype> {
    let normal = Strengths::new(normal)?.derive();
    Ok(Genotype::new(normal, Strengths::new(reduce)?.derive()))
}

/// The genotype of a pair of cells with at most `limit` skip-connects in the normal cell (P-DARTS).
///
/// # Errors
/// As [`Strengths::new`].
pub fn derive_with_skip_limit(
    normal: CellLogits,
    reduce: CellLogits,
    limit: usize,
) -> Result<Genotype> {
    let normal = Strengths::new(normal)?.derive_with_skip_limit(limit);
    Ok(Genotype::new(normal, Strengths::new(reduce)?.derive()))
}

/// Softmax of beta over the incoming edges of each node (groups of 2, 3, 4, ...), one number per edge.
///
/// # Errors
/// As [`Strengths::new`].
pub fn edge_weights(beta: &[f64]) -> Result<Vec<f64>> {
    let nodes = check("beta", beta, 1)?;
    let mut weights = beta.to_vec();
    for node in 0..nodes {
        softmax(&mut weights[edge_range(node)]);
    }
    Ok(weights)
}

/// Mean over the edges of the entropy of their mixing weights, in nats: ln 8 = 2.08 at the start, 0 when decided.
///
/// # Errors
/// As [`Strengths::new`].
pub fn alpha_entropy(alpha: &[f64], candidates: Option<&Candidates>) -> Result<f64> {
    let s = Strengths::new(CellLogits {
        alpha,
        beta: None,
        candidates,
    })?;
    Ok(s.rows.iter().map(|r| entropy(r)).sum::<f64>() / s.rows.len() as f64)
}

/// Mean over the nodes of the entropy of their edge weights, in nats.
///
/// # Errors
/// As [`Strengths::new`].
pub fn beta_entropy(beta: &[f64]) -> Result<f64> {
    let nodes = check("beta", beta, 1)?;
    let weights = edge_weights(beta)?;
    let sum: f64 = (0..nodes).map(|n| entropy(&weights[edge_range(n)])).sum();
    Ok(sum / nodes as f64)
}

/// For every edge the operations with weights, strongest first: the second stopping rule of DARTS+ asks that this stays equal.
///
/// # Errors
/// As [`Strengths::new`].
pub fn learnable_ranking(alpha: &[f64]) -> Result<Vec<Vec<Primitive>>> {
    check("alpha", alpha, PRIMITIVES)?;
    let rank = |row: &[f64]| {
        let mut ops = Primitive::ALL.to_vec();
        ops.retain(|p| p.has_weights());
        ops.sort_by(|a, b| row[b.index()].total_cmp(&row[a.index()]));
        ops
    };
    Ok(alpha.chunks_exact(PRIMITIVES).map(rank).collect())
}

/// The number of nodes whose edges have `width` values each.
fn check(name: &str, values: &[f64], width: usize) -> Result<usize> {
    let n = values.len();
    let nodes = if n.is_multiple_of(width) {
        nodes_of_edges(n / width)
    } else {
        None
    };
    let Some(nodes) = nodes else {
        let message = format!(
            "{name} has {n} values, which fits no cell (four nodes: {})",
            14 * width
        );
        return Err(Error::new(Code::Argument, message));
    };
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(Error::new(Code::Diverged, format!("{name}[{i}] is {}", values[i]))
            .help("architecture parameters must be finite; lower the learning rate of the architecture")),
        None => Ok(nodes),
    }
}

fn softmax(values: &mut [f64]) {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.iter_mut().for_each(|v| *v = (*v - max).exp());
    let sum: f64 = values.iter().sum();
    values.iter_mut().for_each(|v| *v /= sum);
}

fn entropy(p: &[f64]) -> f64 {
    p.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

#[cfg(test)]
#[path = "derive_tests.rs"]
mod tests;
