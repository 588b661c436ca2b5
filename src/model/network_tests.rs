use super::*;
use crate::model::DetHead;
use crate::model::config::FrameConfig;
use crate::nn::{LayerKind, Mode, PassGrads};
use crate::ops;
use crate::rng::Rng;
use crate::space::random::{NoneDraws, one_hot, random_genotype};
use crate::space::{Genotype, NODES, Primitive, published};
use crate::tape::Cx;
use crate::tensor::Tensor;
use std::collections::BTreeSet;

const TASKS: [TaskKind; 2] = [TaskKind::Detection, TaskKind::Segmentation];

/// A small frame: 4 cells of 8 channels with reductions at 1, 2, 3, so that the last cell is one.
fn frame(frame: Frame) -> FrameConfig {
    FrameConfig {
        frame,
        channels: 8,
        cells: 4,
        partial_k: 2,
        reductions: (frame != Frame::Classification).then(|| vec![1, 2, 3]),
        fpn_width: 8,
        ..FrameConfig::default()
    }
}

fn spec(kind: Frame, backbone: Cells, levels: usize) -> NetworkSpec {
    NetworkSpec {
        det_head: Some(DetHead {
            classes: 3,
            anchors: NetworkSpec::release_anchors(levels),
        }),
        seg_classes: Some(5),
        ..NetworkSpec::new(&frame(kind), 64, 64, backbone)
    }
}

fn derived(g: &Genotype) -> NetworkSpec {
    NetworkSpec {
        det: Cells::Derived(g.clone()),
        seg: Cells::Derived(g.clone()),
        ..spec(Frame::MtnasRelease, Cells::Derived(g.clone()), 5)
    }
}

fn searched(kind: Frame, levels: usize) -> NetworkSpec {
    let frame = frame(kind);
    NetworkSpec {
        det: Cells::search("det", &frame),
        seg: Cells::search("seg", &frame),
        ..spec(kind, Cells::search("backbone", &frame), levels)
    }
}

fn classifier(backbone: Cells, channels: usize, size: usize) -> NetworkSpec {
    let frame = FrameConfig {
        channels,
        cells: 3,
        ..frame(Frame::Classification)
    };
    NetworkSpec {
        classes: Some(3),
        ..NetworkSpec::new(&frame, size, size, backbone)
    }
}

fn random(shape: [usize; 4], seed: u64, dtype: DType) -> Tensor {
    let mut rng = Rng::new(seed, &[77]);
    let v = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    Tensor::from_f64(shape, v).unwrap().cast(dtype)
}

fn vars(outputs: Outputs) -> Vec<Var> {
    match outputs {
        Outputs::Detection { loc, conf } => vec![loc, conf],
        Outputs::Segmentation(y) | Outputs::Values(y) => vec![y],
        Outputs::Classification { logits, auxiliary } => {
            [Some(logits), auxiliary].into_iter().flatten().collect()
        }
    }
}

/// `sum u y` over all outputs, with a fixed random u.
fn loss(outputs: Outputs) -> Var {
    let mut total: Option<Var> = None;
    for (i, y) in vars(outputs).into_iter().enumerate() {
        let mut rng = Rng::new(i as u64, &[3]);
        let u = (0..y.value().numel()).map(|_| rng.normal()).collect();
        let u = Tensor::from_f64(*y.shape(), u)
            .unwrap()
            .cast(y.value().dtype());
        let part = ops::sum(&ops::mul(&y, &y.tape().leaf(u)).unwrap()).unwrap();
        total = Some(match total {
            Some(t) => ops::add(&t, &part).unwrap(),
            None => part,
        });
    }
    total.unwrap()
}

fn step(
    net: &Network,
    store: &Store,
    image: &Tensor,
    task: TaskKind,
) -> (Vec<Vec<usize>>, PassGrads) {
    let mode = Mode {
        grad_arch: true,
        ..Mode::WEIGHT_STEP
    };
    let p = Pass::new(store, Cx::default(), mode);
    let y = net.forward(&p, &p.tape.leaf(image.clone()), task).unwrap();
    let dims = vars(y.clone()).iter().map(|v| v.dims().to_vec()).collect();
    (dims, p.backward(&loss(y)).unwrap())
}

#[test]
fn layers_that_run_are_those_that_were_counted() {
    let specs = [
        derived(&published::by_name("MTNAS_backbone").unwrap()),
        searched(Frame::MtnasRelease, 5),
        searched(Frame::MtnasPeer, 4),
        spec(
            Frame::MtnasRelease,
            Cells::search("backbone", &frame(Frame::MtnasRelease)),
            5,
        ),
    ];
    for spec in specs {
        let (net, store) = Network::build(&spec, 1, DType::F32).unwrap();
        assert_eq!(store.weights.numel() as u64, net.cost().total().params);
        let mut ran = BTreeMap::new();
        for task in TASKS {
            let p = Pass::new(&store, Cx::default(), Mode::EVAL);
            let x = p.tape.leaf(random([1, 3, 64, 64], 0, DType::F32));
            net.forward(&p, &x, task).unwrap();
            for layer in p.layers() {
                ran.insert(
                    layer.name.clone(),
                    (layer.kind, layer.macs, layer.output[1..].to_vec()),
                );
            }
        }
        let counted: BTreeMap<_, _> = net
            .cost()
            .layers()
            .iter()
            .filter(|l| l.kind != LayerKind::Norm)
            .map(|l| {
                let out = match l.kind {
                    LayerKind::Linear => vec![l.output.c],
                    _ => vec![l.output.c, l.output.h, l.output.w],
                };
                (l.name.clone(), (l.kind.name(), l.macs, out))
            })
            .collect();
        assert_eq!(ran, counted);
    }
}

#[test]
fn all_published_genotypes_train() {
    for name in published::names() {
        let spec = derived(&published::by_name(name).unwrap());
        let (net, store) = Network::build(&spec, 5, DType::F32).unwrap();
        let image = random([2, 3, 64, 64], 1, DType::F32);
        let mut reached = BTreeSet::new();
        for task in TASKS {
            let (dims, grads) = step(&net, &store, &image, task);
            let priors = 6 * (16 * 16 + 8 * 8 + 4 * 4 + 2 * 2 + 1);
            match task {
                TaskKind::Detection => assert_eq!(dims, [vec![2, priors, 6], vec![2, priors, 4]]),
                _ => assert_eq!(dims, [vec![2, 5, 64, 64]]),
            }
            for (id, g) in &grads.weights {
                assert!(g.all_finite(), "{name} {}", store.weights.name(*id));
                reached.insert(store.weights.name(*id).to_string());
            }
        }
        assert_eq!(
            reached.len(),
            store.weights.len(),
            "{name}: some weights are never reached"
        );
    }
}

#[path = "network_joint_tests.rs"]
mod joint;

#[path = "network_gradient_tests.rs"]
mod gradients;

#[test]
fn a_network_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Network>();
    shared::<Store>();
}

#[test]
fn a_task_reaches_its_own_path_only() {
    let (net, store) = Network::build(&searched(Frame::MtnasRelease, 5), 5, DType::F32).unwrap();
    let image = random([2, 3, 64, 64], 1, DType::F32);
    let names = |task| {
        let grads = step(&net, &store, &image, task).1;
        let weights = grads
            .weights
            .iter()
            .map(|g| store.weights.name(g.0).to_string());
        let arch = grads.arch.iter().map(|g| store.arch.name(g.0).to_string());
        (weights.collect::<Vec<_>>(), arch.collect::<Vec<_>>())
    };
    let (det, det_arch) = names(TaskKind::Detection);
    let (seg, seg_arch) = names(TaskKind::Segmentation);
    let has = |names: &[String], prefix: &str| names.iter().any(|n| n.starts_with(prefix));
    for part in [
        "stem0",
        "cells.3",
        "seg.cells.2",
        "det.cells.0",
        "loc.4",
        "conf.0",
    ] {
        assert!(has(&det, part), "{part}");
    }
    assert!(has(&seg, "seg.cells.3") && has(&seg, "seg_out"));
    assert!(!has(&det, "seg.cells.3") && !has(&det, "seg_out"));
    assert!(!["det.", "loc.", "conf."].iter().any(|part| has(&seg, part)));
    // No segmentation cell is a reduction: its reduction alphas exist and are left alone.
    assert!(store.arch.find("seg.alpha_reduce").is_some() && !has(&det_arch, "seg.alpha_reduce"));
    assert_eq!(det_arch.len(), 8, "{det_arch:?}");
    assert_eq!(seg_arch.len(), 6, "{seg_arch:?}");
}

#[test]
fn names_are_those_documented() {
    let (_, store) = Network::build(&searched(Frame::MtnasRelease, 5), 5, DType::F32).unwrap();
    for name in [
        "stem0.0.weight",
        "stem1.2.bias",
        "cells.0.preprocess0.conv_2.weight",
        "cells.0.preprocess1.op.1.weight",
        "cells.3.ops.5.ops.4.op.6.weight",
        "cells.1.ops.0.ops.3.conv_1.weight",
        "det.cells.0.ops.13.ops.7.op.2.weight",
        "seg.cells.3.ops.0.ops.5.op.1.weight",
        "loc.4.0.bias",
        "conf.0.1.weight",
        "seg_out.0.bias",
    ] {
        assert!(store.weights.find(name).is_some(), "{name}");
    }
    for name in [
        "cells.0.preprocess0.bn.running_var",
        "cells.2.ops.3.ops.1.1.running_mean",
    ] {
        assert!(store.buffers.find(name).is_some(), "{name}");
    }
    assert!(
        store
            .weights
            .find("cells.0.preprocess1.op.2.weight")
            .is_none(),
        "not affine"
    );
    let arch: Vec<_> = store
        .arch
        .iter()
        .map(|a| (a.1.to_string(), a.2.dims().to_vec()))
        .collect();
    assert_eq!(arch[0], ("backbone.alpha_normal".into(), vec![14, 8]));
    assert_eq!(arch[7], ("det.beta_reduce".into(), vec![14]));
    let g = random_genotype(&mut Rng::new(1, &[]), NODES, NoneDraws::Exclude);
    let spec = NetworkSpec {
        height: 320,
        width: 320,
        ..derived(&g)
    };
    let spec = NetworkSpec {
        det_head: Some(DetHead {
            classes: 3,
            anchors: NetworkSpec::release_anchors(6),
        }),
        ..spec
    };
    let names: Vec<_> = Network::plan(&spec)
        .unwrap()
        .cost()
        .layers()
        .iter()
        .map(|l| l.name.clone())
        .collect();
    for name in [
        "det.cells.1.preprocess0.0.conv_1",
        "det.cells.1.preprocess0.1.op.1",
        "det.cells.1.preprocess1.op.2",
    ] {
        assert!(names.contains(&name.to_string()), "{name}");
    }
}

#[test]
fn hand_crafted_branches_and_shared_groups_run() {
    let shared = frame(Frame::MtnasRelease);
    // Branch search of detection: backbone and detection cells share `det`, the top-down path is by hand, no segmentation.
    let det = NetworkSpec {
        det: Cells::search("det", &shared),
        seg: Cells::HandCrafted,
        seg_classes: None,
        ..spec(Frame::MtnasRelease, Cells::search("det", &shared), 5)
    };
    let (net, store) = Network::build(&det, 2, DType::F32).unwrap();
    assert_eq!(net.groups().len(), 1);
    assert_eq!(store.arch.len(), 4);
    assert!(
        store.weights.find("top.3.0.weight").is_none()
            && store.weights.find("top.2.0.bias").is_some()
    );
    let image = random([2, 3, 64, 64], 1, DType::F32);
    let (_, grads) = step(&net, &store, &image, TaskKind::Detection);
    assert_eq!(grads.weights.len(), store.weights.len());
    let p = Pass::new(&store, Cx::default(), Mode::EVAL);
    let e = net.forward(&p, &p.tape.leaf(image), TaskKind::Segmentation);
    assert_eq!(
        e.unwrap_err().to_string(),
        "the network has no segmentation head"
    );
}

/// A search network whose mixing weights are one-hot computes the derived network: at the start scale and shift of the
/// derived normalisations are 1 and 0. Without poolings, which only the search network normalises.
#[test]
fn one_hot_supernet_is_the_derived_network() {
    let ops = [
        Primitive::Skip,
        Primitive::SepConv3,
        Primitive::SepConv5,
        Primitive::DilConv3,
        Primitive::DilConv5,
    ];
    let mut rng = Rng::new(6, &[]);
    let mut g = random_genotype(&mut rng, NODES, NoneDraws::Exclude);
    for cell in [&mut g.normal, &mut g.reduce] {
        cell.iter_mut()
            .for_each(|e| e.0 = ops[rng.below(ops.len())]);
    }
    let mut search = classifier(Cells::Derived(g.clone()), 4, 8);
    search.frame.partial_k = 1;
    search.backbone = Cells::search("backbone", &search.frame);
    let (net, store) = Network::build(&search, 3, DType::F64).unwrap();
    let (small, mut own) =
        Network::build(&classifier(Cells::Derived(g.clone()), 4, 8), 4, DType::F64).unwrap();
    // Cells 1 and 2 of 3 are reductions.
    let ids: Vec<_> = own.weights.iter().map(|w| (w.0, w.1.to_string())).collect();
    let mut taken = 0;
    for (id, name) in ids {
        let mut words: Vec<String> = name.split('.').map(String::from).collect();
        if words[0] == "cells" && words[2] == "ops" {
            let entry: usize = words[3].parse().unwrap();
            let (op, from) = g.cell(words[1] != "0")[entry];
            let edge = crate::space::genotype::edge_index(entry / 2, from);
            words.splice(
                3..4,
                [edge.to_string(), "ops".into(), op.index().to_string()],
            );
        }
        if let Some(source) = store.weights.find(&words.join(".")) {
            own.weights.set(id, store.weights.get(source).clone());
            taken += 1;
        }
    }
    assert!(taken > 30, "{taken}");
    let image = random([2, 3, 8, 8], 9, DType::F64);
    let mixing = BTreeMap::from([(
        "backbone".to_string(),
        [one_hot(&g.normal), one_hot(&g.reduce)],
    )]);
    let run = |net: &Network, store: &Store, mixing| {
        let p = Pass::new(store, Cx::default(), Mode::WEIGHT_STEP);
        let y = net.forward_with(
            &p,
            &p.tape.leaf(image.clone()),
            TaskKind::Classification,
            mixing,
        );
        vars(y.unwrap())[0].value().to_f64()
    };
    let a = run(&net, &store, Mixing::Fixed(&mixing));
    let b = run(&small, &own, Mixing::Parameters);
    assert!(
        a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-10),
        "{a:?} {b:?}"
    );
    assert!(
        a.iter()
            .zip(&run(&net, &store, Mixing::Parameters))
            .any(|(a, b)| (a - b).abs() > 1e-3)
    );
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let g = published::by_name("MTNAS_backbone").unwrap();
    let base = derived(&g);
    let levels = |n| {
        Some(DetHead {
            classes: 3,
            anchors: NetworkSpec::release_anchors(n),
        })
    };
    let with = |change: fn(&mut NetworkSpec)| {
        let mut spec = base.clone();
        change(&mut spec);
        Network::plan(&spec).map(|_| ()).unwrap_err().to_string()
    };
    let small = |n, h, w| {
        let spec = NetworkSpec {
            det_head: levels(n),
            height: h,
            width: w,
            ..base.clone()
        };
        Network::plan(&spec).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(
        small(6, 64, 128),
        "detection cell 1 would get a 0x0 map from the 1x2 map of cell 0, because its 3x3 windows have no padding; use det_levels = 5 or a larger input"
    );
    assert_eq!(
        small(7, 256, 448),
        "detection cell 2 would get a 0x3 map from the 2x5 map of cell 1, because its 3x3 windows have no padding; use det_levels = 6 or a larger input"
    );
    assert_eq!(
        small(5, 96, 128),
        "detection cell 0 halves the 3x4 map of the backbone, whose sides must be even; use det_levels = 4 or a larger input"
    );
    assert_eq!(
        small(4, 80, 128),
        "segmentation cell 0 enlarges a 3x4 map, but its tap is 5x8; use an input whose sides are multiples of 32"
    );
    assert_eq!(
        with(|s| s.frame.channels = 7),
        "the stem needs an even number of initial channels, got 7; use an even `channels`"
    );
    assert_eq!(
        with(|s| s.frame.reductions = Some(vec![0, 2, 3])),
        "mtnas-release taps the cell before each of three reductions, got reductions [0, 2, 3]; set `reductions` to three rising indices, the first at least 1"
    );
    assert_eq!(
        with(|s| s.frame.reductions = Some(vec![2, 1])),
        "reductions [2, 1] of 4 cells: they must rise and be below 4; set `reductions` to rising indices of cells"
    );
    assert_eq!(
        with(|s| {
            s.frame.partial_k = 4;
            s.seg = Cells::search("seg", &s.frame)
        }),
        "segmentation cell 3 is 2 channels wide, not a multiple of partial_k = 4; use `channels` a multiple of 16, or a smaller partial_k"
    );
    assert_eq!(
        with(|s| s.backbone = Cells::HandCrafted),
        "the backbone is made of cells, it cannot be hand-crafted; give it a genotype or search it"
    );
    assert_eq!(
        with(|s| {
            s.frame.frame = Frame::MtnasPeer;
            s.frame.fpn_width = 6
        }),
        "fpn_width = 6 is not a multiple of 4; use a multiple of 4"
    );
    assert_eq!(
        with(|s| s.frame.frame = Frame::MtnasPeer),
        "5 detection levels, mtnas-peer has 3 or 4; use det_levels = 3 or 4"
    );
}
