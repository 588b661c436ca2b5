//! From architecture parameters to a genotype, and what a search watches on the way: entropy, rankings, skip limit.
//!
//! DARTS section 2.4; PC-DARTS section 3.3 for the edge normalisation; P-DARTS section 3.3.2 for the limit on skip-connects.
//! All functions take plain numbers: alpha is 14 x 8 row-major (edge, primitive), beta has 14 entries.

use super::genotype::{CellGenotype, EDGES, Genotype, KEPT, NODES, edge_range};
use super::primitive::{PRIMITIVES, Primitive};
use crate::error::{Code, Error, Result};

/// Architecture parameters of one cell kind, before any softmax.
#[derive(Debug, Clone, Copy)]
pub struct CellLogits<'a> {
    /// 14 x 8, row-major: one row an edge, one column a primitive.
    pub alpha: &'a [f64],
    /// One per edge, or `None` without edge normalisation.
    pub beta: Option<&'a [f64]>,
}

/// How strong each operation is: softmax of alpha over the eight primitives, times the edge's normalised beta.
#[derive(Debug, Clone, PartialEq)]
pub struct Strengths(Vec<[f64; PRIMITIVES]>);

impl Strengths {
    /// The strengths of a cell.
    ///
    /// # Errors
    /// `MT0403` for slices of the wrong length, `MT0602` for values that are not finite.
    pub fn new(cell: CellLogits) -> Result<Strengths> {
        check("alpha", cell.alpha, EDGES * PRIMITIVES)?;
        let mut rows: Vec<[f64; PRIMITIVES]> = vec![];
        for edge in cell.alpha.chunks_exact(PRIMITIVES) {
            let mut row = [0.0; PRIMITIVES];
            row.copy_from_slice(edge);
            softmax(&mut row);
            rows.push(row);
        }
        if let Some(beta) = cell.beta {
            for (row, weight) in rows.iter_mut().zip(edge_weights(beta)?) {
                row.iter_mut().for_each(|w| *w *= weight);
            }
        }
        Ok(Strengths(rows))
    }

    /// The two strongest edges of every node and the strongest operation of each (never `none`).
    ///
    /// Edges are ranked by their strongest operation; of equals the lower index wins, for edges and for operations.
    /// The two entries of a node are in rank order.
    pub fn derive(&self) -> CellGenotype {
        let mut cell = [(Primitive::Zero, 0); KEPT];
        for node in 0..NODES {
            let range = edge_range(node);
            let mut ranked: Vec<(usize, Primitive, f64)> = range
                .clone()
                .map(|edge| {
                    let (op, strength) = self.strongest(edge);
                    (edge - range.start, op, strength)
                })
                .collect();
            ranked.sort_by(|a, b| b.2.total_cmp(&a.2)); // stable: ties keep the lower index first
            for (slot, kept) in cell[2 * node..2 * node + 2].iter_mut().zip(ranked) {
                *slot = (kept.1, kept.0);
            }
        }
        cell
    }

    fn strongest(&self, edge: usize) -> (Primitive, f64) {
        let mut best = (Primitive::Zero, f64::NEG_INFINITY);
        for &op in Primitive::ALL.iter().filter(|&&op| op != Primitive::Zero) {
            let strength = self.0[edge][op.index()];
            if strength > best.1 {
                best = (op, strength);
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
            let skips: Vec<usize> = (0..KEPT)
                .filter(|&i| cell[i].0 == Primitive::Skip)
                .map(|i| edge_range(i / 2).start + cell[i].1)
                .collect();
            if skips.len() <= limit {
                return cell;
            }
            let of = |edge: &usize| strengths.0[*edge][Primitive::Skip.index()];
            let weakest = skips
                .into_iter()
                .min_by(|a, b| of(a).total_cmp(&of(b)))
                .expect("more skips than the limit");
            // Below every probability, so that each edge loses its skip at most once and the loop ends.
            strengths.0[weakest][Primitive::Skip.index()] = -1.0;
        }
    }
}

/// The genotype of a pair of cells.
///
/// # Errors
/// As [`Strengths::new`].
pub fn derive(normal: CellLogits, reduce: CellLogits) -> Result<Genotype> {
    Ok(Genotype::new(
        Strengths::new(normal)?.derive(),
        Strengths::new(reduce)?.derive(),
    ))
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

/// Softmax of beta over the incoming edges of each node (groups of 2, 3, 4, 5), 14 numbers.
///
/// # Errors
/// As [`Strengths::new`].
pub fn edge_weights(beta: &[f64]) -> Result<Vec<f64>> {
    check("beta", beta, EDGES)?;
    let mut weights = beta.to_vec();
    for node in 0..NODES {
        softmax(&mut weights[edge_range(node)]);
    }
    Ok(weights)
}

/// Mean over the edges of the entropy of their eight mixing weights, in nats: ln 8 = 2.08 at the start, 0 when decided.
///
/// # Errors
/// As [`Strengths::new`].
pub fn alpha_entropy(alpha: &[f64]) -> Result<f64> {
    let rows = Strengths::new(CellLogits { alpha, beta: None })?.0;
    Ok(rows.iter().map(|r| entropy(r)).sum::<f64>() / EDGES as f64)
}

/// Mean over the nodes of the entropy of their edge weights, in nats.
///
/// # Errors
/// As [`Strengths::new`].
pub fn beta_entropy(beta: &[f64]) -> Result<f64> {
    let weights = edge_weights(beta)?;
    Ok((0..NODES)
        .map(|n| entropy(&weights[edge_range(n)]))
        .sum::<f64>()
        / NODES as f64)
}

/// For every edge the operations with weights, strongest first: the second stopping rule of DARTS+ asks that this stays equal.
///
/// # Errors
/// As [`Strengths::new`].
pub fn learnable_ranking(alpha: &[f64]) -> Result<Vec<Vec<Primitive>>> {
    check("alpha", alpha, EDGES * PRIMITIVES)?;
    let rank = |row: &[f64]| {
        let mut ops: Vec<Primitive> = Primitive::ALL
            .iter()
            .copied()
            .filter(|p| p.has_weights())
            .collect();
        ops.sort_by(|a, b| row[b.index()].total_cmp(&row[a.index()]));
        ops
    };
    Ok(alpha.chunks_exact(PRIMITIVES).map(rank).collect())
}

fn check(name: &str, values: &[f64], length: usize) -> Result<()> {
    if values.len() != length {
        return Err(Error::new(
            Code::Argument,
            format!("{name} has {} values, expected {length}", values.len()),
        ));
    }
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(Error::new(Code::Diverged, format!("{name}[{i}] is {}", values[i]))
            .help("architecture parameters must be finite; lower the learning rate of the architecture")),
        None => Ok(()),
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
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn random(seed: u64, n: usize) -> Vec<f64> {
        let mut rng = Rng::new(seed, &[n as u64]);
        (0..n).map(|_| rng.normal()).collect()
    }

    fn cell(alpha: &[f64]) -> CellLogits<'_> {
        CellLogits { alpha, beta: None }
    }

    #[test]
    fn ties_take_the_lowest_edges_and_the_first_operation() {
        let (alpha, beta) = (vec![0.0; EDGES * PRIMITIVES], vec![0.0; EDGES]);
        for beta in [None, Some(beta.as_slice())] {
            let c = CellLogits {
                alpha: &alpha,
                beta,
            };
            let g = derive(c, c).unwrap();
            for (i, entry) in g.normal.iter().chain(&g.reduce).enumerate() {
                assert_eq!(*entry, (Primitive::MaxPool3, i % 2));
            }
        }
    }

    #[test]
    fn a_planted_cell_comes_back_in_rank_order() {
        let mut alpha = random(3, EDGES * PRIMITIVES);
        for row in alpha.chunks_exact_mut(PRIMITIVES) {
            row[Primitive::Zero.index()] = 6.0; // strongest everywhere, never kept
        }
        let planted = [
            (Primitive::Skip, 1),
            (Primitive::DilConv5, 0),
            (Primitive::SepConv3, 2),
            (Primitive::SepConv5, 0),
        ];
        for (i, &(op, input)) in planted.iter().enumerate() {
            alpha[(edge_range(i / 2).start + input) * PRIMITIVES + op.index()] = 20.0 - i as f64;
        }
        assert_eq!(Strengths::new(cell(&alpha)).unwrap().derive()[..4], planted);
    }

    #[test]
    fn betas_overrule_alphas_between_edges_only() {
        let mut alpha = vec![0.0; EDGES * PRIMITIVES];
        alpha[2 * PRIMITIVES + Primitive::SepConv3.index()] = 0.5; // node 1, input 0
        let mut beta = vec![0.0; EDGES];
        beta[3] = 3.0;
        beta[4] = 2.0;
        let c = Strengths::new(CellLogits {
            alpha: &alpha,
            beta: Some(&beta),
        })
        .unwrap()
        .derive();
        assert_eq!(
            c[2..4],
            [(Primitive::MaxPool3, 1), (Primitive::MaxPool3, 2)]
        );
        let c = Strengths::new(cell(&alpha)).unwrap().derive();
        assert_eq!(
            c[2..4],
            [(Primitive::SepConv3, 0), (Primitive::MaxPool3, 1)]
        );
    }

    #[test]
    fn none_never_appears_and_predecessors_differ() {
        for seed in 0..200 {
            let (alpha, beta) = (random(seed, EDGES * PRIMITIVES), random(seed + 1000, EDGES));
            let c = Strengths::new(CellLogits {
                alpha: &alpha,
                beta: Some(&beta),
            })
            .unwrap()
            .derive();
            for (node, pair) in c.chunks(2).enumerate() {
                assert!(
                    pair[0].1 != pair[1].1
                        && pair
                            .iter()
                            .all(|e| e.0 != Primitive::Zero && e.1 < node + 2)
                );
            }
        }
    }

    #[test]
    fn weights_sum_to_one() {
        let beta = edge_weights(&random(1, EDGES)).unwrap();
        for node in 0..NODES {
            assert!((beta[edge_range(node)].iter().sum::<f64>() - 1.0).abs() < 1e-15);
        }
        let s = Strengths::new(cell(&random(2, EDGES * PRIMITIVES))).unwrap();
        assert!(
            s.0.iter()
                .all(|r| (r.iter().sum::<f64>() - 1.0).abs() < 1e-15)
        );
    }

    #[test]
    fn skip_limit_strikes_the_weakest() {
        let mut alpha = vec![0.0; EDGES * PRIMITIVES];
        // Skips on inputs 0 and 1 of nodes 0 and 1, ever stronger; sep_conv_3x3 is second everywhere.
        for (i, edge) in [0, 1, 2, 3].into_iter().enumerate() {
            alpha[edge * PRIMITIVES + Primitive::Skip.index()] = 3.0 + i as f64;
            alpha[edge * PRIMITIVES + Primitive::SepConv3.index()] = 1.0;
        }
        let s = Strengths::new(cell(&alpha)).unwrap();
        let skips = |c: &CellGenotype| c.iter().filter(|e| e.0 == Primitive::Skip).count();
        assert_eq!(skips(&s.derive()), 4);
        let c = s.derive_with_skip_limit(2);
        assert_eq!(skips(&c), 2);
        assert_eq!(c[..2], [(Primitive::SepConv3, 0), (Primitive::SepConv3, 1)]);
        assert_eq!(c[2..4], [(Primitive::Skip, 1), (Primitive::Skip, 0)]);
        assert_eq!(skips(&s.derive_with_skip_limit(0)), 0);
    }

    #[test]
    fn entropy_of_even_and_decided_weights() {
        assert!((alpha_entropy(&[0.0; EDGES * PRIMITIVES]).unwrap() - 8f64.ln()).abs() < 1e-12);
        let mut alpha = vec![0.0; EDGES * PRIMITIVES];
        alpha
            .iter_mut()
            .step_by(PRIMITIVES)
            .for_each(|a| *a = 800.0);
        assert_eq!(alpha_entropy(&alpha).unwrap(), 0.0);
        let even = [2f64, 3.0, 4.0, 5.0].map(f64::ln).iter().sum::<f64>() / 4.0;
        assert!((beta_entropy(&[0.3; EDGES]).unwrap() - even).abs() < 1e-12);
    }

    #[test]
    fn ranking_reads_the_learnable_operations_only() {
        let mut alpha = vec![0.0; EDGES * PRIMITIVES];
        alpha[Primitive::Skip.index()] = 9.0;
        alpha[Primitive::DilConv5.index()] = 1.0;
        let r = learnable_ranking(&alpha).unwrap();
        assert_eq!(
            r[0],
            [
                Primitive::DilConv5,
                Primitive::SepConv3,
                Primitive::SepConv5,
                Primitive::DilConv3
            ]
        );
        assert_eq!(r.len(), EDGES);
    }

    #[test]
    fn bad_values_are_errors() {
        let short = derive(cell(&[0.0; 7]), cell(&[0.0; 7])).unwrap_err();
        assert_eq!(
            (short.code(), short.message()),
            (Code::Argument, "alpha has 7 values, expected 112")
        );
        let mut alpha = vec![0.0; EDGES * PRIMITIVES];
        alpha[5] = f64::NAN;
        assert_eq!(
            Strengths::new(cell(&alpha)).unwrap_err().message(),
            "alpha[5] is NaN"
        );
    }
}
