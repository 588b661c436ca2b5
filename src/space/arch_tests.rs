//! Mixing weights of several groups made together against the ops one by one.

use super::*;
use crate::nn::Mode;
use crate::rng::Rng;
use crate::space::genotype::NODES;
use crate::tape::Cx;
use crate::tensor::Engine;

/// Three groups: one with candidates struck, one without edge normalisation.
fn groups() -> (Vec<ArchGroup>, Store) {
    let mut b = Builder::new();
    let mut struck = ArchOptions::new(NODES, true);
    let kept = [Primitive::Zero, Primitive::Skip, Primitive::SepConv3];
    struck.normal = Candidates::only(edge_count(NODES), &kept).unwrap();
    struck.reduce.restrict(3, &kept[1..]);
    let all = [
        ("backbone", struck),
        ("det", ArchOptions::new(NODES, true)),
        ("seg", ArchOptions::new(NODES, false)),
    ];
    let groups = all.map(|(name, o)| ArchGroup::new(&mut b, name, &ArchOptions { init: 1.0, ..o }));
    (groups.to_vec(), b.finish(3, DType::F32))
}

/// Weights of all cell kinds, alpha and beta, then gradients of all parameters, where those of `seg` are not read.
fn run(path: Path, mode: Mode, make: impl Fn(&[&ArchGroup], &Pass) -> Vec<Mixture>) -> Vec<Tensor> {
    let (groups, store) = groups();
    let cx = Cx {
        path,
        ..Cx::default()
    };
    let p = Pass::new(&store, cx, mode);
    let groups: Vec<&ArchGroup> = groups.iter().collect();
    let made = p.deferred(|| Ok(make(&groups, &p))).unwrap();
    let cells = made.iter().flat_map(|m| [m.cell(false), m.cell(true)]);
    let weights: Vec<Var> = cells
        .flat_map(|c| [c.alpha.clone(), c.beta.clone()])
        .collect();
    let mut r = Rng::new(5, &[]);
    // Beside a parameter that is no softmax: a phase of weights has a gradient too.
    let mut loss = p.tape.param(Tensor::full([1], DType::F32, 1.0));
    for y in &weights[..8] {
        let by = (0..y.shape().numel()).map(|_| r.normal()).collect();
        let by = Tensor::from_f64(*y.shape(), by).unwrap().cast(DType::F32);
        let part = ops::sum(&ops::mul(y, &p.tape.leaf(by)).unwrap()).unwrap();
        let part = ops::reshape(&part, [1]).unwrap();
        loss = ops::add(&loss, &part).unwrap();
    }
    let grads = p.backward(&loss).unwrap();
    let mut all: Vec<Tensor> = weights.iter().map(|w| w.value().detached()).collect();
    all.extend(grads.arch.iter().map(|g| g.1.detached()));
    all
}

fn together(groups: &[&ArchGroup], p: &Pass) -> Vec<Mixture> {
    ArchGroup::mixtures(groups, p).unwrap()
}

fn one_by_one(groups: &[&ArchGroup], p: &Pass) -> Vec<Mixture> {
    let of = |c: &CellParams| {
        let all = c.unmixed(p, true).unwrap();
        let mut weights = all.iter().map(|s| softmax(s).unwrap());
        c.mixture(p, &mut || weights.next().unwrap()).unwrap()
    };
    let mixture = |g: &&ArchGroup| Mixture {
        normal: of(&g.normal),
        reduce: of(&g.reduce),
    };
    groups.iter().map(mixture).collect()
}

#[test]
fn groups_together_have_the_bits_of_each() {
    for mode in [Mode::ARCH_STEP, Mode::WEIGHT_STEP] {
        for path in [Path::Device(Engine::emulated(2)), Path::Fast] {
            let all = run(path, mode, together);
            assert_eq!(all, run(path, mode, one_by_one));
            // Alpha and beta of two kinds, of `backbone` and `det`.
            let gradients = if mode == Mode::ARCH_STEP { 8 } else { 0 };
            assert_eq!(all.len(), 12 + gradients);
        }
    }
}

#[test]
fn a_phase_takes_one_launch_each_way() {
    let launches = |mode, make: fn(&[&ArchGroup], &Pass) -> Vec<Mixture>| {
        let e = Engine::emulated(1);
        run(Path::Device(e), mode, make);
        e.counts().launches
    };
    let saved = |mode| launches(mode, one_by_one) - launches(mode, together);
    // Ten softmaxes and two sums with masks; gradients of eight.
    assert_eq!(saved(Mode::WEIGHT_STEP), 12 - 1);
    assert_eq!(saved(Mode::ARCH_STEP), 12 - 1 + 8 - 1);
}
