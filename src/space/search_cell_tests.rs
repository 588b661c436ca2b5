use super::*;
use crate::nn::{Mode, Store};
use crate::rng::Rng;
use crate::space::arch::{ArchGroup, ArchOptions};
use crate::space::genotype::{NODES, edge_count};
use crate::space::primitive::{PRIMITIVES, Primitive};
use crate::tape::Cx;
use crate::tensor::{DType, Tensor};

const MAP: Map = Map { c: 8, h: 6, w: 4 };

fn build(reduction: bool, k: usize, options: &ArchOptions) -> (SearchBody, ArchGroup, Store) {
    let mut b = Builder::new();
    let group = ArchGroup::new(&mut b, "backbone", options);
    let candidates = options.candidates(reduction);
    let (body, out) = SearchBody::new(&mut b, MAP, reduction, k, candidates).unwrap();
    assert_eq!(
        out,
        if reduction {
            MAP.halved("").unwrap()
        } else {
            MAP
        }
    );
    let mut store = b.finish(3, DType::F64);
    // Far from even mixing, so that every weight matters.
    for name in ["alpha_normal", "alpha_reduce", "beta_normal", "beta_reduce"] {
        if let Some(id) = store.arch.find(&format!("backbone.{name}")) {
            let shape = *store.arch.get(id).shape();
            store.arch.set(id, normal(shape.dims(), 5));
        }
    }
    (body, group, store)
}

fn normal(dims: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed, &[dims.len() as u64]);
    let v = (0..dims.iter().product()).map(|_| rng.normal()).collect();
    Tensor::from_f64(crate::tensor::Shape::new(dims), v).unwrap()
}

/// The definition, edge by edge, as the papers write it.
fn definition(body: &SearchBody, p: &Pass, inputs: [Var; 2], mixture: &CellMixture) -> Vec<Var> {
    let mut states = inputs.to_vec();
    for node in 0..body.nodes {
        let mut sum: Option<Var> = None;
        for (from, x) in states.iter().enumerate() {
            let edge = edge_index(node, from);
            let y = edge_by_definition(body, p, edge, from, x, mixture);
            let y = ops::scale_by(&y, &mixture.beta, edge).unwrap();
            sum = Some(match sum {
                Some(s) => ops::add(&s, &y).unwrap(),
                None => y,
            });
        }
        states.push(sum.unwrap());
    }
    states.split_off(2)
}

fn edge_by_definition(
    body: &SearchBody,
    p: &Pass,
    edge: usize,
    from: usize,
    x: &Var,
    mixture: &CellMixture,
) -> Var {
    let c = x.dims()[1];
    let active = ops::slice(x, 0, c / body.k).unwrap();
    let mut sum: Option<Var> = None;
    for (primitive, op) in &body.edges[edge].operations {
        // A state of its own for each operation: nothing is shared.
        let y = op.forward(p, &State::new(active.clone())).unwrap();
        let y = ops::scale_by(&y, &mixture.alpha, edge * PRIMITIVES + primitive.index()).unwrap();
        sum = Some(match sum {
            Some(s) => ops::add(&s, &y).unwrap(),
            None => y,
        });
    }
    let sum = sum.unwrap();
    if body.k == 1 {
        return sum;
    }
    let mut rest = ops::slice(x, c / body.k, c - c / body.k).unwrap();
    if body.reduction && from < 2 {
        rest = ops::max_pool(&rest, 2, 2, 0).unwrap();
    }
    ops::channel_shuffle(&ops::concat(&[&sum, &rest]).unwrap(), body.k).unwrap()
}

/// Values of the nodes and gradients of everything, by `forward`.
fn run(
    store: &Store,
    group: &ArchGroup,
    reduction: bool,
    forward: impl Fn(&Pass, [Var; 2], &CellMixture) -> Vec<Var>,
) -> Vec<Vec<f64>> {
    let mode = Mode {
        grad_arch: true,
        ..Mode::WEIGHT_STEP
    };
    let p = Pass::new(store, Cx::default(), mode);
    let dims = [2, MAP.c, MAP.h, MAP.w];
    let inputs = [11, 12].map(|seed| p.tape.param(normal(&dims, seed)));
    let mixture = group.mixture(&p).unwrap();
    let nodes = forward(&p, inputs, mixture.cell(reduction));
    let y = ops::concat(&nodes.iter().collect::<Vec<_>>()).unwrap();
    let u = p.tape.leaf(normal(y.dims(), 13));
    let loss = ops::sum(&ops::mul(&y, &u).unwrap()).unwrap();
    let grads = p.backward(&loss).unwrap();
    let mut all = vec![y.value().to_f64()];
    all.extend(
        grads
            .weights
            .iter()
            .chain(&grads.arch)
            .map(|g| g.1.to_f64()),
    );
    all
}

fn distance(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    assert_eq!(a.len(), b.len());
    let mut worst = 0.0f64;
    for (a, b) in a.iter().zip(b) {
        let scale = a.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
        worst = a
            .iter()
            .zip(b)
            .fold(worst, |w, (a, b)| w.max((a - b).abs() / scale));
    }
    worst
}

/// The nodes, which are apart on the processor.
fn nodes(body: &SearchBody, p: &Pass, x: [Var; 2], m: &CellMixture) -> Vec<Var> {
    match body.forward(p, x, m).unwrap() {
        Nodes::Apart(nodes) => nodes,
        Nodes::Joined(_) => panic!("one operation computed all nodes"),
    }
}

#[test]
fn equals_the_definition_edge_by_edge() {
    for reduction in [false, true] {
        for (k, edge_norm) in [(4, true), (2, false), (1, true), (1, false)] {
            let (body, group, store) = build(reduction, k, &ArchOptions::new(NODES, edge_norm));
            let ours = run(&store, &group, reduction, |p, x, m| nodes(&body, p, x, m));
            let theirs = run(&store, &group, reduction, |p, x, m| {
                definition(&body, p, x, m)
            });
            let d = distance(&ours, &theirs);
            assert!(d < 1e-11, "reduction {reduction} k {k}: {d:e}");
        }
    }
}

#[test]
fn the_comparison_notices_a_wrong_weight() {
    let (body, group, mut store) = build(true, 4, &ArchOptions::new(NODES, true));
    let ours = run(&store, &group, true, |p, x, m| nodes(&body, p, x, m));
    let id = store.arch.find("backbone.beta_reduce").unwrap();
    let mut beta = store.arch.get(id).to_f64();
    beta[7] += 1e-6;
    store.arch.set(id, Tensor::from_f64([14], beta).unwrap());
    let moved = run(&store, &group, true, |p, x, m| nodes(&body, p, x, m));
    assert!(distance(&ours, &moved) > 1e-9);
}

#[test]
fn struck_candidates_are_not_built_and_take_no_weight() {
    let ops = [Primitive::Zero, Primitive::Skip, Primitive::SepConv3];
    let mut options = ArchOptions::new(NODES, true);
    options.normal = Candidates::only(edge_count(NODES), &ops).unwrap();
    let (body, group, store) = build(false, 2, &options);
    assert!(body.edges.iter().all(|e| e.operations.len() == 3));
    assert!(store.weights.find("ops.0.ops.5.op.1.weight").is_none());
    let p = Pass::new(&store, Cx::default(), Mode::ARCH_STEP);
    let mixture = group.mixture(&p).unwrap();
    let alpha = mixture.cell(false).alpha.value().to_f64();
    for row in alpha.chunks(PRIMITIVES) {
        assert!((row[0] + row[3] + row[4] - 1.0).abs() < 1e-14);
        assert!([1, 2, 5, 6, 7].iter().all(|&c| row[c] == 0.0));
    }
    let g = group.genotype(&store, None).unwrap();
    assert!(g.normal.iter().all(|e| ops[1..].contains(&e.0)));
}

#[test]
fn an_edge_with_none_alone_passes_zeros() {
    let mut options = ArchOptions::new(1, true);
    options.normal.restrict(0, &[Primitive::Zero]);
    options.normal.restrict(1, &[Primitive::Skip]);
    let (body, group, store) = build(false, 2, &options);
    let p = Pass::new(&store, Cx::default(), Mode::ARCH_STEP);
    let mixture = group.mixture(&p).unwrap();
    let x = [1.0, 3.0].map(|v| p.tape.leaf(Tensor::full([1, 8, 6, 4], DType::F64, v)));
    let y = nodes(&body, &p, x, mixture.cell(false));
    let beta = mixture.cell(false).beta.value().to_f64();
    // Shuffled in two groups: even channels are active, odd ones bypass.
    let y = y[0].value().to_f64();
    assert!(
        (y[0] - 3.0 * beta[1]).abs() < 1e-12 && (y[24] - (beta[0] + 3.0 * beta[1])).abs() < 1e-12
    );
}

#[test]
fn dropout_after_skips_acts_in_training_only() {
    let mut options = ArchOptions::new(1, false);
    options.normal = Candidates::only(2, &[Primitive::Skip]).unwrap();
    let (body, group, store) = build(false, 1, &options);
    let run = |mode| {
        let p = Pass::new(&store, Cx::default(), mode);
        let mixture = group.mixture(&p).unwrap();
        let x = [0, 1].map(|_| p.tape.leaf(Tensor::full([1, 8, 6, 4], DType::F64, 1.0)));
        let y = nodes(&body, &p, x, mixture.cell(false));
        y[0].value().to_f64()
    };
    let dropped = Mode {
        skip_dropout: 0.5,
        ..Mode::WEIGHT_STEP
    };
    let y = run(dropped);
    // Each of the two edges passes 0 or 2.
    assert!(y.iter().all(|v| [0.0, 2.0, 4.0].contains(v)));
    assert!([0.0, 2.0, 4.0].iter().all(|v| y.contains(v)));
    assert!(run(Mode::WEIGHT_STEP).iter().all(|v| *v == 2.0));
    let off = Mode {
        training: false,
        ..dropped
    };
    assert!(run(off).iter().all(|v| *v == 2.0));
}
