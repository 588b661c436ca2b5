//! The counts of systems.md 2.12, 3.4 and 3.5, which an independent count reproduced.

use super::*;
use crate::model::config::{Frame, FrameConfig, Stem};
use crate::model::preset::Preset;
use crate::model::{Cells, DetHead, Network, NetworkSpec};
use crate::space::{Genotype, published};

fn named(name: &str) -> Genotype {
    published::by_name(name).unwrap()
}

fn derived(name: &str) -> Cells {
    Cells::Derived(named(name))
}

fn cifar(name: &str) -> NetworkSpec {
    let frame = FrameConfig {
        frame: Frame::Classification,
        channels: 36,
        cells: 20,
        ..FrameConfig::default()
    };
    NetworkSpec {
        classes: Some(10),
        auxiliary: true,
        ..NetworkSpec::new(&frame, 32, 32, derived(name))
    }
}

fn imagenet(name: &str) -> NetworkSpec {
    let frame = FrameConfig {
        frame: Frame::Classification,
        stem: Stem::Imagenet,
        channels: 48,
        cells: 14,
        ..FrameConfig::default()
    };
    NetworkSpec {
        classes: Some(1000),
        auxiliary: true,
        ..NetworkSpec::new(&frame, 224, 224, derived(name))
    }
}

fn release(backbone: &str) -> NetworkSpec {
    NetworkSpec {
        det: derived("MTNAS_det"),
        seg: derived("MTNAS_seg"),
        det_head: Some(DetHead {
            classes: 3,
            anchors: NetworkSpec::release_anchors(7),
        }),
        seg_classes: Some(16),
        ..NetworkSpec::new(&FrameConfig::default(), 320, 512, derived(backbone))
    }
}

fn cost(spec: &NetworkSpec) -> Cost {
    Network::plan(spec).unwrap().cost().clone()
}

#[test]
fn classifiers() {
    let table = [
        ("DARTS_V2", 3_349_342, 528.4, 4_718_752, 529.9),
        ("PC_DARTS_cifar", 3_634_678, 556.7, 5_270_560, 571.1),
        ("MTNAS_backbone", 3_793_654, 586.9, 5_360_992, 590.9),
    ];
    for (name, params, mega, imagenet_params, imagenet_mega) in table {
        let c = cost(&cifar(name));
        let i = cost(&imagenet(name));
        let round = |n: Count| (n.macs as f64 / 1e5).round() / 10.0;
        assert_eq!(c.without_auxiliary().params, params, "{name}");
        assert_eq!(round(c.without_auxiliary()), mega, "{name}");
        assert_eq!(i.without_auxiliary().params, imagenet_params, "{name}");
        assert_eq!(round(i.without_auxiliary()), imagenet_mega, "{name}");
        assert_eq!(i.heads().params, 769 * 1000);
        assert_eq!(c.under("auxiliary_head").params, 476_426);
        assert_eq!(i.under("auxiliary_head").params, 1_260_776);
    }
    let v1 = cost(&cifar("DARTS_V1")).without_auxiliary().params;
    assert_eq!((v1 as f64 / 1e4).round() / 100.0, 3.17);
}

#[test]
fn released_network_cell_by_cell() {
    let cost = cost(&release("MTNAS_backbone"));
    let cells = [
        (19_200, 187_432_960),
        (22_272, 218_890_240),
        (25_344, 250_347_520),
        (25_344, 250_347_520),
        (25_344, 250_347_520),
        (25_344, 250_347_520),
        (59_136, 273_940_480),
        (83_456, 209_059_840),
        (91_648, 230_031_360),
        (216_576, 262_799_360),
        (314_368, 198_901_760),
        (347_136, 219_873_280),
        (826_368, 257_228_800),
        (1_218_560, 193_822_720),
    ];
    for (i, (params, macs)) in cells.into_iter().enumerate() {
        assert_eq!(
            cost.under(&format!("cells.{i}")),
            Count { params, macs },
            "cell {i}"
        );
    }
    assert_eq!(
        cost.total(),
        Count {
            params: 9_387_552,
            macs: 5_271_080_960
        }
    );
    let giga = |n: u64| (2.0 * n as f64 / 1e6).round() / 1e3;
    let part = |names: &[&str]| {
        let sum = names.iter().map(|n| cost.under(n));
        sum.fold((0.0, 0), |s, c| (s.0 + giga(c.macs), s.1 + c.params))
    };
    assert_eq!(part(&["stem0", "stem1"]).1, 14_416);
    assert_eq!(part(&["cells"]), (6.507, 3_300_096));
    assert_eq!(part(&["det"]), (0.247, 3_521_536));
    assert_eq!(part(&["seg"]), (0.435, 499_184));
    assert_eq!(part(&["seg_out"]), (0.042, 560));
    assert_eq!(part(&["loc", "conf"]).1, 2_051_760);
    assert_eq!(cost.heads().params, 2_051_760 + 560);
    assert_eq!(
        giga(cost.under("loc").macs + cost.under("conf").macs),
        2.710
    );
    assert_eq!(
        giga(cost.under("stem0").macs + cost.under("stem1").macs),
        0.602
    );
    let kinds = cost.kinds();
    let giga = |k: LayerKind| (kinds[&k].macs as f64 / 1e6).round() / 1e3;
    assert_eq!(giga(LayerKind::Depthwise), 0.369);
    assert_eq!(giga(LayerKind::Pointwise), 3.218);
    assert_eq!(giga(LayerKind::Conv), 1.684);
}

#[test]
fn released_maps() {
    let n = Network::plan(&release("MTNAS_backbone")).unwrap();
    let sizes: Vec<_> = n.levels().iter().map(|m| (m.h, m.w)).collect();
    assert_eq!(
        sizes,
        [
            (80, 128),
            (40, 64),
            (20, 32),
            (10, 16),
            (5, 8),
            (3, 6),
            (1, 4)
        ]
    );
    let channels: Vec<_> = n.levels().iter().map(|m| m.c).collect();
    assert_eq!(channels, [128, 256, 512, 1024, 1024, 512, 512]);
    let last = n.backbone_maps()[13];
    assert_eq!((last.c, last.h, last.w), (1024, 10, 16));
}

#[test]
fn other_backbones_in_the_released_frame() {
    let gflops = |spec: &NetworkSpec| (cost(spec).total().gflops() * 1e3).round() / 1e3;
    let by_hand = |name: &str| NetworkSpec {
        det: Cells::HandCrafted,
        seg: Cells::HandCrafted,
        ..release(name)
    };
    let table = [
        ("DARTS_V1", 9.330, 9.858),
        ("DARTS_V2", 9.605, 10.133),
        ("PC_DARTS_cifar", 10.498, 11.026),
        ("PC_DARTS_image", 10.524, 11.053),
        ("PDARTS", 9.991, 10.519),
        ("MTNAS_backbone", 10.542, 11.070),
    ];
    for (name, searched, hand) in table {
        assert_eq!(
            (gflops(&release(name)), gflops(&by_hand(name))),
            (searched, hand),
            "{name}"
        );
    }
    let shallow = NetworkSpec {
        frame: FrameConfig {
            cells: 11,
            reductions: Some(vec![3, 6, 9]),
            ..FrameConfig::default()
        },
        ..release("MTNAS_backbone")
    };
    assert_eq!((gflops(&shallow) * 1e2).round() / 1e2, 9.04);
}

#[test]
fn parts_add_up_to_the_whole() {
    let cost = cost(&release("PDARTS"));
    let parts = cost.parts();
    let sum = parts.iter().fold(Count::default(), |s, p| Count {
        params: s.params + p.1.params,
        macs: s.macs + p.1.macs,
    });
    assert_eq!(sum, cost.total());
    let names: Vec<_> = parts.iter().map(|p| p.0.as_str()).collect();
    assert_eq!(names[..3], ["stem0", "stem1", "cells.0"]);
    assert!(
        names.contains(&"det.cells.2") && names.contains(&"seg.cells.3") && names.contains(&"conf")
    );
}

/// Sections 3.5 and 4: heads of the baseline read 64 to 512 channels with six priors, the last 256 with four.
#[test]
fn heads_of_networks_made_by_hand() {
    let heads = |name: &str| {
        let preset = Preset::hand(name).unwrap();
        let net = Network::plan(&preset.supernet()).unwrap();
        net.cost().heads().params
    };
    assert_eq!(heads("resnet18"), 513 * 1000);
    // Convolution, bias, scale and shift of ten values a prior.
    let level = |c: u64, priors: u64| 10 * priors * (9 * c + 3);
    let boxes = [64, 128, 256, 512, 512, 256].map(|c| level(c, 6));
    let labels = 16 * (64 + 3);
    let want = boxes.iter().sum::<u64>() + level(256, 4) + labels;
    assert_eq!(heads("mtl-resnet18"), want);
}
