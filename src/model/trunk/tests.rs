//! Counts of the published networks, and what their classifiers refuse.

use super::*;
use crate::error::Code;
use crate::model::config::{Frame, FrameConfig};
use crate::model::preset::Preset;
use crate::model::{Cells, Network, NetworkSpec};

/// Parameters as torchvision 0.26 counts them; multiply-adds of convolutions and linear layers at 224x224, counted by hooks on the modules
/// of its networks (`tests/reference/trunks.py --count`).
const PUBLISHED: [(TrunkKind, u64, u64, u64); 5] = [
    (TrunkKind::Resnet18, 11_689_512, 1_813_561_344, 512_000),
    (TrunkKind::Resnet34, 21_797_672, 3_663_249_408, 512_000),
    (TrunkKind::Resnet50, 25_557_032, 4_087_136_256, 2_048_000),
    (TrunkKind::Vgg16, 138_365_992, 15_346_630_656, 123_633_664),
    (TrunkKind::MobileNetV2, 3_504_872, 299_494_272, 1_280_000),
];

fn spec(kind: TrunkKind, size: [usize; 2], classes: usize) -> NetworkSpec {
    let frame = FrameConfig {
        frame: Frame::Trunk,
        trunk: kind,
        ..FrameConfig::default()
    };
    let mut s = NetworkSpec::new(&frame, size[0], size[1], Cells::HandCrafted);
    s.classes = Some(classes);
    s
}

#[test]
fn counts_are_those_of_torchvision() {
    for (kind, params, conv, linear) in PUBLISHED {
        let net = Network::plan(&spec(kind, [224, 224], 1000)).unwrap();
        let cost = net.cost();
        assert_eq!(cost.total().params, params, "{kind}");
        assert_eq!(cost.conv_macs(), conv, "{kind}");
        assert_eq!(cost.total().macs - conv, linear, "{kind}");
    }
}

/// VGG's convolutions and DeepLab's head, by their formulas; at an eighth of the image from the fourth block on.
#[test]
fn deeplab_keeps_an_eighth_of_the_image() {
    let kind = TrunkKind::Vgg16Deeplab;
    let net = Network::plan(&spec(kind, [224, 224], 1000)).unwrap();
    let last = net.backbone_maps()[0];
    assert_eq!((last.c, last.h, last.w), (512, 28, 28));
    // torchvision's convolutions and normalisations, then 3x3 and 1x1 of 1024 with normalisations, then 1x1 with bias.
    let features =
        138_365_992 - (25_088 * 4096 + 4096) - (4096 * 4096 + 4096) - (4096 * 1000 + 1000);
    let head = 512 * 9 * 1024 + 2048 + 1024 * 1024 + 2048 + 1024 * 1000 + 1000;
    assert_eq!(net.cost().total().params, features + head);
    let last: Vec<_> = (net.cost().layers().iter())
        .filter(|l| ["features.34", "features.37", "features.40"].contains(&l.name.as_str()))
        .map(|l| (l.input.h, l.output.h))
        .collect();
    assert_eq!(last, [(28, 28); 3]);
}

#[test]
fn any_size_will_do_but_for_vgg() {
    for kind in [
        TrunkKind::Resnet18,
        TrunkKind::MobileNetV2,
        TrunkKind::Vgg16Deeplab,
    ] {
        assert!(Network::plan(&spec(kind, [75, 41], 3)).is_ok(), "{kind}");
    }
    for side in [32, 224, 448] {
        assert!(Network::plan(&spec(TrunkKind::Vgg16, [side, side], 3)).is_ok());
    }
    let e = Network::plan(&spec(TrunkKind::Vgg16, [224, 256], 3)).unwrap_err();
    assert_eq!(e.code(), Code::NetworkDoesNotFit);
    assert!(e.render().contains("7x8") && e.render().contains("224x224"));
    let e = Network::plan(&spec(TrunkKind::Vgg16, [16, 16], 3)).unwrap_err();
    assert_eq!(e.code(), Code::NetworkDoesNotFit);
}

/// Systems.md 3.4 and 4.
#[test]
fn the_baseline_costs_what_was_counted() {
    let gflops = |name: &str| {
        let net = Network::plan(&Preset::hand(name).unwrap().supernet()).unwrap();
        let cost = net.cost();
        let g = 2.0 * cost.conv_macs() as f64 / 1e9;
        (
            (1000.0 * g).round() as u64,
            cost.total().params,
            cost.under("trunk"),
        )
    };
    let (g, params, trunk) = gflops("mtl-resnet18");
    assert_eq!((g, params, trunk.params), (13_648, 14_385_184, 11_176_512));
    assert_eq!((1000.0 * trunk.gflops()).round(), 11_844.0);
    assert_eq!(gflops("ssd-resnet18").0, 13_480);
    assert_eq!(gflops("fcn-resnet18").0, 12_137);
    assert!(Preset::hand("mtl-resnet50").is_none());
}

#[test]
fn what_a_frame_does_not_have_is_refused() {
    let refused = |s: &NetworkSpec, words: &str| {
        let e = Network::plan(s).unwrap_err();
        assert_eq!(e.code(), Code::NetworkDoesNotFit);
        assert!(e.render().contains(words), "{}", e.render());
    };
    let mut s = spec(TrunkKind::Resnet18, [64, 64], 3);
    s.seg_classes = Some(4);
    refused(&s, "mtl-resnet18");
    let mut s = Preset::hand("mtl-resnet18").unwrap().supernet();
    s.classes = Some(3);
    refused(&s, "frame trunk");
    let mut s = Preset::hand("mtl-resnet18").unwrap().supernet();
    s.det = Cells::search("det", &s.frame);
    refused(&s, "no cells");
    let mut s = Preset::hand("mtl-resnet18").unwrap().supernet();
    (s.height, s.width) = (256, 512);
    refused(&s, "det_levels = 6");
}

#[path = "reference_tests.rs"]
mod reference;
