//! The expected cost against its definition, finite differences, and the search that it is part of.

use proptest::prelude::*;

use super::*;
use crate::nn::{Builder, Mode, ParamId};
use crate::rng::Rng;
use crate::space::genotype::edge_count;
use crate::space::{ArchOptions, Candidates};
use crate::tape::Cx;
use crate::tensor::DType;

/// Groups of random candidates and values, with random costs of both kinds.
struct Problem {
    groups: Vec<ArchGroup>,
    store: Store,
    costs: Vec<(usize, CellCosts)>,
}

impl Problem {
    fn new(seed: u64, nodes: usize, edge_norm: bool, groups: usize) -> Problem {
        let mut rng = Rng::new(seed, &[1]);
        let mut b = Builder::new();
        let (mut all, mut costs) = (vec![], vec![]);
        for g in 0..groups {
            let mut options = ArchOptions::new(nodes, edge_norm);
            options.init = 2.0;
            for kind in [&mut options.normal, &mut options.reduce] {
                for edge in 0..edge_count(nodes) {
                    let some: Vec<Primitive> = Primitive::ALL
                        .iter()
                        .copied()
                        .filter(|_| rng.below(4) > 0)
                        .collect();
                    if some.iter().any(|p| *p != Primitive::Zero) {
                        kind.restrict(edge, &some);
                    }
                }
            }
            all.push(ArchGroup::new(&mut b, &format!("g{g}"), &options));
            for reduction in [false, true] {
                let n = edge_count(nodes) * PRIMITIVES;
                let of = (0..n).map(|_| rng.range(0.0, 10.0)).collect();
                let of = CellCosts {
                    reduction,
                    costs: of,
                };
                costs.push((g, of));
            }
        }
        Problem {
            groups: all,
            store: b.finish(seed, DType::F64),
            costs,
        }
    }

    fn pairs(&self) -> Vec<(&ArchGroup, &CellCosts)> {
        let all = self.costs.iter();
        all.map(|(g, c)| (&self.groups[*g], c)).collect()
    }

    fn on_tape(&self, store: &Store) -> (f64, Vec<(ParamId, Tensor)>) {
        let p = Pass::new(store, Cx::default(), Mode::ARCH_STEP);
        let y = expected(&self.pairs(), 0.5, &p).unwrap();
        (y.value().item(), p.backward(&y).unwrap().arch)
    }

    fn plain(&self, store: Option<&Store>) -> f64 {
        let of = |(g, c): (&ArchGroup, &CellCosts)| expected_at(g, c, store).unwrap();
        self.pairs().into_iter().map(of).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_gradient_is_that_of_finite_differences(
        seed in 0u64..1000, nodes in 1usize..4, edge_norm: bool, groups in 1usize..3,
    ) {
        let mut problem = Problem::new(seed, nodes, edge_norm, groups);
        let (value, gradients) = problem.on_tape(&problem.store);
        let plain = 0.5 * problem.plain(Some(&problem.store));
        prop_assert!((value - plain).abs() <= 1e-12 * plain, "{value} {plain}");
        let (h, mut worst) = (1e-4, 0.0f64);
        for (id, g) in gradients {
            for i in 0..g.numel() {
                let now = problem.store.arch.get(id).clone();
                let mut at = |by: f64| {
                    let mut v = now.to_f64();
                    v[i] += by;
                    let moved = Tensor::from_f64(*now.shape(), v).unwrap();
                    problem.store.arch.set(id, moved);
                    0.5 * problem.plain(Some(&problem.store))
                };
                let d = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
                problem.store.arch.set(id, now);
                worst = worst.max((g.to_f64()[i] - d).abs() / value);
            }
        }
        prop_assert!(worst < 1e-9, "{worst}");
    }
}

/// One node with two edges, which it keeps: the expectation is over operations alone.
#[test]
fn sure_operations_cost_what_they_cost() {
    for edge_norm in [false, true] {
        let mut b = Builder::new();
        let mut options = ArchOptions::new(1, edge_norm);
        options.init = 0.0;
        let group = ArchGroup::new(&mut b, "g", &options);
        let mut store = b.finish(1, DType::F64);
        let costs = (0..2 * PRIMITIVES).map(|i| i as f64).collect();
        let cell = CellCosts {
            reduction: false,
            costs,
        };
        // All equal: the mean of 1 to 7 and the mean of 9 to 15; `none` is not among them.
        let uniform = expected_at(&group, &cell, None).unwrap();
        assert!((uniform - (4.0 + 12.0)).abs() < 1e-12, "{uniform}");
        let id = store.arch.find("g.alpha_normal").unwrap();
        let mut alpha = vec![0.0; 2 * PRIMITIVES];
        // `none` is sure on the first edge, and is not kept: among the others the skip-connect is.
        alpha[Primitive::Zero.index()] = 900.0;
        alpha[Primitive::Skip.index()] = 400.0;
        alpha[PRIMITIVES + Primitive::SepConv5.index()] = 400.0;
        store
            .arch
            .set(id, Tensor::from_f64([2, PRIMITIVES], alpha).unwrap());
        let sure = expected_at(&group, &cell, Some(&store)).unwrap();
        assert!((sure - (3.0 + 13.0)).abs() < 1e-12, "{sure}");
        let p = Pass::new(&store, Cx::default(), Mode::ARCH_STEP);
        let y = expected(&[(&group, &cell)], 2.0, &p).unwrap();
        assert!((y.value().item() - 32.0).abs() < 1e-9);
    }
}

#[test]
fn what_is_no_candidate_costs_nothing() {
    let mut b = Builder::new();
    let mut options = ArchOptions::new(2, true);
    options.normal = Candidates::named(5, &["none", "skip_connect", "sep_conv_3x3"]).unwrap();
    let group = ArchGroup::new(&mut b, "g", &options);
    let cell = |n: usize| CellCosts {
        reduction: false,
        costs: (0..n).map(|i| (i % PRIMITIVES) as f64).collect(),
    };
    // Two nodes of two edges, each the mean of 3 and 4.
    let uniform = expected_at(&group, &cell(5 * PRIMITIVES), None).unwrap();
    assert!((uniform - 14.0).abs() < 1e-12, "{uniform}");
    let wrong = expected_at(&group, &cell(2 * PRIMITIVES), None).unwrap_err();
    assert!(wrong.message().contains("16 costs for 5 edges"), "{wrong}");
}
