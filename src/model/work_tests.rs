use std::collections::BTreeSet;

use super::*;
use crate::model::config::{Frame, FrameConfig};
use crate::model::preset::Preset;
use crate::model::{Cells, NetworkSpec};
use crate::nn::LayerKind;
use crate::space::{Genotype, Primitive, published};

fn of(spec: &NetworkSpec) -> (Network, Elementwise) {
    let (net, store) = Network::blank(spec, DType::F32).unwrap();
    let work = elementwise(&net, &store).unwrap();
    (net, work)
}

fn derived(preset: &Preset) -> NetworkSpec {
    let cells = |name: &str| Cells::Derived(published::by_name(name).unwrap());
    let branch = |name: &str| match preset.frame.searched_branches() {
        true => cells(name),
        false => Cells::HandCrafted,
    };
    preset.spec(
        cells("MTNAS_backbone"),
        branch("MTNAS_det"),
        branch("MTNAS_seg"),
    )
}

/// Stem of 12 channels, one cell of one node over an 8x8 map, a classifier of 10 classes: counted by hand.
#[test]
fn a_network_of_one_cell() {
    let frame = FrameConfig {
        frame: Frame::Classification,
        channels: 4,
        cells: 1,
        nodes: 1,
        reductions: Some(vec![]),
        ..FrameConfig::default()
    };
    let cell = vec![(Primitive::MaxPool3, 0), (Primitive::Skip, 1)];
    let cells = Cells::Derived(Genotype::new(cell.clone(), cell));
    let spec = NetworkSpec {
        classes: Some(10),
        ..NetworkSpec::new(&frame, 8, 8, cells)
    };
    let pixels = 64;
    let expected = Elementwise {
        // The stem's, and those of both inputs of the cell.
        norm: 2 * (12 + 4 + 4) * pixels,
        // Both inputs of the cell.
        relu: 2 * 12 * pixels,
        pool: 9 * 4 * pixels + 4 * pixels,
        // The node; the classifier's bias.
        add: 4 * pixels + 10,
        upsample: 0,
    };
    assert_eq!(of(&spec).1, expected);
    assert_eq!(
        expected.without_norms(),
        24 * pixels + 40 * pixels + 4 * pixels + 10
    );
}

/// Every layer serves an image once, also where detection and segmentation share it.
#[test]
fn every_normalisation_is_counted_once() {
    let presets = [
        Preset::release(),
        Preset::peer(),
        Preset::cifar(false),
        Preset::imagenet(false),
    ];
    let specs = presets.iter().flat_map(|p| [derived(p), p.supernet()]);
    for spec in specs {
        let (net, work) = of(&spec);
        let layers = net.cost().layers().iter();
        let norms =
            layers.filter(|l| l.kind == LayerKind::Norm && !l.name.starts_with("auxiliary_head."));
        let values: u64 = norms.map(|l| l.output.numel() as u64).sum();
        assert_eq!(work.norm, 2 * values, "{:?}", spec.frame);
        assert!(work.relu > 0 && work.add > 0);
    }
}

/// Sums with enlarged maps of the top-down path, and the enlargement of the class scores.
#[test]
fn enlargements_of_the_released_network() {
    let (_, work) = of(&derived(&Preset::release()));
    let sums = 512 * 20 * 32 + 256 * 40 * 64 + 128 * 80 * 128 + 32 * 160 * 256;
    assert_eq!(work.upsample, sums + 16 * 320 * 512);
}

/// What counts for nothing only moves values, or makes mixing weights.
#[test]
fn what_is_no_work() {
    let mut names = BTreeSet::new();
    for spec in [derived(&Preset::release()), Preset::release().supernet()] {
        let (net, store) = Network::blank(&spec, DType::F32).unwrap();
        let p = Pass::new(&store, Cx::default(), Mode::EVAL);
        let x = (p.tape).leaf(Tensor::zeros([1, 3, spec.height, spec.width], DType::F32));
        for task in net.tasks() {
            let run = || net.forward_with(&p, &x, task, Mixing::Parameters);
            let (_, list) = p.tape.sketch(run).unwrap();
            let idle = list.iter().filter(|o| o.work == Elementwise::default());
            names.extend(idle.map(|o| o.name));
        }
    }
    let moves = [
        "channel_shuffle",
        "concat",
        "concat_shuffle",
        "conv2d",
        "edge_softmax",
        "reshape",
        "slice",
        "softmax",
        "subsample",
        "to_rows",
    ];
    let unexpected: Vec<_> = names.iter().filter(|n| !moves.contains(n)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}
