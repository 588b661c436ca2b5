//! Expected costs against the cost of derived networks.

use super::*;
use crate::model::config::{Frame, FrameConfig};
use crate::model::{DetHead, NetworkSpec};
use crate::nn::Mode;
use crate::rng::Rng;
use crate::space::Genotype;
use crate::space::random::{NoneDraws, random_genotype};
use crate::tape::Cx;
use crate::tensor::{DType, Tensor};

/// All three parts of cells; a k-th of the channels takes part in the search.
fn spec(cells: impl Fn(&str, &FrameConfig) -> Cells) -> NetworkSpec {
    let frame = FrameConfig {
        frame: Frame::MtnasRelease,
        channels: 8,
        cells: 4,
        partial_k: 2,
        reductions: Some(vec![1, 2, 3]),
        ..FrameConfig::default()
    };
    NetworkSpec {
        det: cells("det", &frame),
        seg: cells("seg", &frame),
        det_head: Some(DetHead {
            classes: 3,
            anchors: NetworkSpec::release_anchors(6),
        }),
        seg_classes: Some(5),
        ..NetworkSpec::new(&frame, 192, 192, cells("backbone", &frame))
    }
}

fn macs(place: &Place) -> Result<f64> {
    Ok(place.macs()? as f64)
}

/// What the cells of a genotype cost beyond those of another one is what their operations do where they stand.
#[test]
fn places_are_those_of_derived_networks() {
    let net = Network::plan(&spec(Cells::search)).unwrap();
    let chosen = |g: &Genotype| -> u64 {
        let mut sum = 0;
        for (cell, group) in counted(&net) {
            let all = places(cell, group);
            for (i, (op, from)) in g.cell(cell.reduction).iter().enumerate() {
                let at = edge_index(i / 2, *from) * PRIMITIVES + op.index();
                let found = all.iter().find(|p| p.0 == at).unwrap();
                sum += found.1.macs().unwrap();
            }
        }
        sum
    };
    let whole = |g: &Genotype| {
        let derived = spec(|_, _| Cells::Derived(g.clone()));
        Network::plan(&derived).unwrap().cost().total().macs
    };
    let draw = |seed| random_genotype(&mut Rng::new(seed, &[3]), 4, NoneDraws::Exclude);
    let (first, mut differ) = (draw(0), 0);
    let rest = whole(&first) - chosen(&first);
    for seed in 1..30 {
        let g = draw(seed);
        assert_eq!(whole(&g), rest + chosen(&g), "{g}");
        differ += u32::from(chosen(&g) != chosen(&first));
    }
    assert!(differ > 20);
}

#[test]
fn the_share_of_the_uniform_architecture_is_one() {
    let (net, mut store) = Network::build(&spec(Cells::search), 1, DType::F64).unwrap();
    let cost = ExpectedCost::new(&net, macs).unwrap();
    let ids: Vec<_> = store
        .arch
        .iter()
        .map(|(id, _, t)| (id, *t.shape()))
        .collect();
    for (id, shape) in &ids {
        store.arch.set(*id, Tensor::zeros(*shape, DType::F64));
    }
    let share = |store: &Store| {
        let p = Pass::new(store, Cx::default(), Mode::ARCH_STEP);
        cost.share(&net, &p).unwrap().value().item()
    };
    assert!((share(&store) - 1.0).abs() < 1e-12);
    assert!((cost.at(&net, &store).unwrap() / cost.uniform() - 1.0).abs() < 1e-12);
    // All for one operation, everywhere.
    let sure = |op: Primitive, store: &mut Store| {
        for (id, shape) in &ids {
            if shape.dims().len() == 2 {
                let of = |i: usize| f64::from(u8::from(i % PRIMITIVES == op.index())) * 500.0;
                let v = (0..shape.numel()).map(of).collect();
                store.arch.set(*id, Tensor::from_f64(*shape, v).unwrap());
            }
        }
        (share(store), cost.at(&net, store).unwrap() / cost.uniform())
    };
    let (pool, at) = sure(Primitive::MaxPool3, &mut store);
    assert!(pool < 1e-100 && at < 1e-100);
    let (large, at) = sure(Primitive::SepConv5, &mut store);
    assert!(large > 2.0 && (large - at).abs() < 1e-12, "{large} {at}");
}

/// The host of a branch search carries the cells of the branch but is not what is searched for.
#[test]
fn a_tied_host_costs_nothing() {
    let of = |host: &'static str| {
        let s = spec(|part, frame| match part {
            "backbone" => Cells::search(host, frame),
            "det" => Cells::search("det", frame),
            _ => Cells::HandCrafted,
        });
        let net = Network::plan(&s).unwrap();
        let names: Vec<String> = counted(&net)
            .into_iter()
            .map(|c| c.0.name.clone())
            .collect();
        (names, ExpectedCost::new(&net, macs).unwrap().uniform())
    };
    let (tied, cost) = of("det");
    assert_eq!(tied, ["det.cells.0", "det.cells.1"]);
    let (own, more) = of("backbone");
    assert_eq!(own.len(), 4 + 2);
    assert!(more > cost);
}

#[test]
fn costs_of_nothing_are_refused() {
    let net = Network::plan(&spec(Cells::search)).unwrap();
    let e = ExpectedCost::new(&net, |_| Ok(0.0)).unwrap_err();
    assert_eq!(e.code(), Code::ConfigValue);
    let listed = searched_places(&net);
    assert!(listed.iter().all(|p| p.primitive != Primitive::Zero));
    assert!(listed.iter().any(|p| p.stride == 2 && !p.is_free()));
}
