use super::*;
use crate::rng::Rng;
use crate::space::genotype::{EDGES, NODES};

fn random(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = Rng::new(seed, &[n as u64]);
    (0..n).map(|_| rng.normal()).collect()
}

fn cell(alpha: &[f64]) -> CellLogits<'_> {
    CellLogits {
        alpha,
        beta: None,
        candidates: None,
    }
}

#[test]
fn ties_take_the_lowest_edges_and_the_first_operation() {
    let (alpha, beta) = (vec![0.0; EDGES * PRIMITIVES], vec![0.0; EDGES]);
    for beta in [None, Some(beta.as_slice())] {
        let c = CellLogits {
            alpha: &alpha,
            beta,
            candidates: None,
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
        candidates: None,
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
            candidates: None,
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
        s.rows
            .iter()
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
    assert!((alpha_entropy(&[0.0; EDGES * PRIMITIVES], None).unwrap() - 8f64.ln()).abs() < 1e-12);
    let mut alpha = vec![0.0; EDGES * PRIMITIVES];
    alpha
        .iter_mut()
        .step_by(PRIMITIVES)
        .for_each(|a| *a = 800.0);
    assert_eq!(alpha_entropy(&alpha, None).unwrap(), 0.0);
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
        (
            Code::Argument,
            "alpha has 7 values, which fits no cell (four nodes: 112)"
        )
    );
    let mut alpha = vec![0.0; EDGES * PRIMITIVES];
    alpha[5] = f64::NAN;
    assert_eq!(
        Strengths::new(cell(&alpha)).unwrap_err().message(),
        "alpha[5] is NaN"
    );
}

#[test]
fn struck_candidates_are_never_derived() {
    let alpha = random(8, EDGES * PRIMITIVES);
    let ops = [Primitive::Zero, Primitive::AvgPool3, Primitive::DilConv3];
    let candidates = Candidates::only(EDGES, &ops).unwrap();
    let logits = CellLogits {
        alpha: &alpha,
        beta: None,
        candidates: Some(&candidates),
    };
    let s = Strengths::new(logits).unwrap();
    assert!(s.derive().iter().all(|e| ops[1..].contains(&e.0)));
    let three = s
        .rows
        .iter()
        .map(|r| r.iter().filter(|v| **v > 0.0).sum::<f64>());
    assert!(three.into_iter().all(|sum| (sum - 1.0).abs() < 1e-15));
    assert!(alpha_entropy(&alpha, Some(&candidates)).unwrap() < 3f64.ln());
}

#[test]
fn an_edge_left_with_none_ranks_last() {
    let alpha = vec![0.0; EDGES * PRIMITIVES];
    let mut candidates = Candidates::all(EDGES);
    candidates.restrict(0, &[Primitive::Zero]);
    candidates.restrict(2, &[Primitive::Zero]);
    let logits = CellLogits {
        alpha: &alpha,
        beta: None,
        candidates: Some(&candidates),
    };
    let cell = Strengths::new(logits).unwrap().derive();
    assert_eq!(cell[..2], [(Primitive::MaxPool3, 1), (Primitive::Zero, 0)]);
    assert_eq!(
        cell[2..4],
        [(Primitive::MaxPool3, 1), (Primitive::MaxPool3, 2)]
    );
}
