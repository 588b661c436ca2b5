//! Random architectures: the baseline every search has to beat (Li and Talwalkar, UAI 2019).

use super::genotype::{CellGenotype, Genotype, INPUTS, edge_count, edge_index};
use super::primitive::{PRIMITIVES, Primitive};
use crate::rng::Rng;

/// Whether `none` may be drawn; with it a cell can have dead edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoneDraws {
    /// Operations are drawn from the seven others.
    #[default]
    Exclude,
    /// Operations are drawn from all eight.
    Include,
}

/// A random genotype of `nodes` nodes per cell: every node gets two distinct predecessors and two operations, all uniform.
pub fn random_genotype(rng: &mut Rng, nodes: usize, none: NoneDraws) -> Genotype {
    let normal = random_cell(rng, nodes, none);
    Genotype::new(normal, random_cell(rng, nodes, none))
}

fn random_cell(rng: &mut Rng, nodes: usize, none: NoneDraws) -> CellGenotype {
    let mut cell = vec![];
    for node in 0..nodes {
        let inputs = node + INPUTS;
        let first = rng.below(inputs);
        // Uniform among the others: draw from one fewer and step over the first.
        let second = rng.below(inputs - 1);
        let second = if second >= first { second + 1 } else { second };
        cell.push((random_primitive(rng, none), first));
        cell.push((random_primitive(rng, none), second));
    }
    cell
}

fn random_primitive(rng: &mut Rng, none: NoneDraws) -> Primitive {
    let all = match none {
        NoneDraws::Exclude => &Primitive::ALL[1..],
        NoneDraws::Include => Primitive::ALL,
    };
    all[rng.below(all.len())]
}

/// Mixing weights that make a search cell compute one derived cell, used in place of softmax(alpha) and softmax(beta).
#[derive(Debug, Clone, PartialEq)]
pub struct OneHot {
    /// Edges x 8, row-major: 1 at the kept operation of each kept edge.
    pub alpha: Vec<f64>,
    /// One per edge: 1 on the kept edges. Without it the bypass channels of a partial-channel edge would still pass.
    pub beta: Vec<f64>,
}

/// The one-hot weights of a cell; an edge named twice keeps both operations.
pub fn one_hot(cell: &[(Primitive, usize)]) -> OneHot {
    let edges = edge_count(cell.len() / 2);
    let mut weights = OneHot {
        alpha: vec![0.0; edges * PRIMITIVES],
        beta: vec![0.0; edges],
    };
    for (i, &(op, input)) in cell.iter().enumerate() {
        let edge = edge_index(i / 2, input);
        weights.alpha[edge * PRIMITIVES + op.index()] = 1.0;
        weights.beta[edge] = 1.0;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::genotype::NODES;

    #[test]
    fn draws_are_uniform_and_distinct() {
        let mut ops = [0usize; PRIMITIVES];
        let mut pairs = [[0usize; 5]; 5];
        for seed in 0..2000 {
            let g = random_genotype(&mut Rng::new(seed, &[]), NODES, NoneDraws::Exclude);
            for entry in g.normal.iter().chain(&g.reduce) {
                ops[entry.0.index()] += 1;
            }
            pairs[g.normal[6].1][g.normal[7].1] += 1;
        }
        assert_eq!(ops[0], 0);
        let expected = 2000.0 * 16.0 / 7.0;
        assert!(
            ops[1..]
                .iter()
                .all(|&n| (n as f64 / expected - 1.0).abs() < 0.06),
            "{ops:?}"
        );
        for a in 0..5 {
            for b in 0..5 {
                let n = pairs[a][b] as f64;
                assert!(
                    if a == b {
                        n == 0.0
                    } else {
                        (n / 100.0 - 1.0).abs() < 0.4
                    },
                    "{pairs:?}"
                );
            }
        }
    }

    #[test]
    fn none_only_on_request() {
        let none = |n| {
            (0..200).any(|s| {
                random_genotype(&mut Rng::new(s, &[]), NODES, n)
                    .normal
                    .iter()
                    .any(|e| e.0 == Primitive::Zero)
            })
        };
        assert!(none(NoneDraws::Include) && !none(NoneDraws::Exclude));
    }

    #[test]
    fn one_hot_weights_name_the_cell() {
        let g = random_genotype(&mut Rng::new(5, &[]), NODES, NoneDraws::Exclude);
        let w = one_hot(&g.reduce);
        assert_eq!(
            (w.alpha.iter().sum::<f64>(), w.beta.iter().sum::<f64>()),
            (8.0, 8.0)
        );
        let (op, input) = g.reduce[5];
        assert_eq!(w.alpha[edge_index(2, input) * PRIMITIVES + op.index()], 1.0);
    }
}
