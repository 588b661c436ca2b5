//! Forward passes against PyTorch and torchvision, with weights that both sides make by a formula (`tests/reference/trunks.py`, which
//! printed the literals).

use std::collections::BTreeMap;

use crate::model::config::{Frame, FrameConfig, TrunkKind};
use crate::model::trunk::{Trunk, TrunkClassifier};
use crate::model::{Cells, DetHead, Network, NetworkSpec, Outputs};
use crate::nn::{Builder, Mode, ParamSet, Pass, Store};
use crate::tape::{Cx, Var};
use crate::task::config::TaskKind;
use crate::tensor::{DType, Tensor};

/// Class scores of one image of these rows and columns.
const SCORES: [(TrunkKind, [usize; 2], [f64; 5]); 6] = [
    (
        TrunkKind::Resnet18,
        [41, 53],
        [
            -1.369115174e+01,
            2.514835550e+01,
            2.452670442e+01,
            -3.327232924e+01,
            4.291654138e-01,
        ],
    ),
    (
        TrunkKind::Resnet34,
        [32, 32],
        [
            -2.302952996e+01,
            4.104546739e+01,
            1.224055134e+02,
            -6.804491686e+01,
            -6.125572171e+01,
        ],
    ),
    (
        TrunkKind::Resnet50,
        [41, 53],
        [
            8.492200586e+01,
            2.297041204e+02,
            -3.729572894e+02,
            -1.647442389e+02,
            1.156807985e+03,
        ],
    ),
    (
        TrunkKind::Vgg16,
        [32, 32],
        [
            1.240874734e+00,
            8.963061119e-02,
            -6.039951576e-01,
            -1.708566441e+00,
            -8.930936681e-01,
        ],
    ),
    (
        TrunkKind::Vgg16Deeplab,
        [36, 28],
        [
            -4.951054427e-01,
            -2.488080662e-01,
            3.520054213e-01,
            9.877755411e-02,
            2.303900751e-02,
        ],
    ),
    (
        TrunkKind::MobileNetV2,
        [41, 53],
        [
            7.166404058e-01,
            -6.080060000e+00,
            1.202434673e+00,
            3.962700468e+00,
            3.013774462e+00,
        ],
    ),
];

/// Three weighted sums of each output of the baseline with five levels, for an image of 64x128.
const BASELINE: [(&str, &[usize], [f64; 3]); 3] = [
    (
        "loc",
        &[1, 4092, 6],
        [-1.001288461e+04, -1.921703551e+04, -3.669248583e+03],
    ),
    (
        "conf",
        &[1, 4092, 4],
        [7.430123874e+03, -9.009905186e+02, -9.097546540e+03],
    ),
    (
        "seg",
        &[1, 4, 64, 128],
        [-3.693808420e+03, 3.600040561e+03, 5.800497229e+03],
    ),
];

/// Hidden width of the classifiers of VGG here: 4096 and 1024 would take a gigabyte.
const HIDDEN: usize = 8;

/// Uniform in half-units around 0, from the name alone.
fn uniform(name: &str, n: usize) -> Vec<f64> {
    let h = name.bytes().fold(2_166_136_261u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(16_777_619)
    });
    let one = |i: u32| {
        let x = (h ^ i.wrapping_mul(2_654_435_761)).wrapping_mul(1_103_515_245);
        f64::from(x.wrapping_add(12_345) >> 8) / 16_777_216.0 - 0.5
    };
    (0..n as u32).map(one).collect()
}

fn value(name: &str, dims: &[usize]) -> Vec<f64> {
    let n: usize = dims.iter().product();
    let by = |a: f64, b: f64| uniform(name, n).iter().map(|u| a + b * u).collect();
    match dims.len() {
        _ if name.ends_with("running_var") => by(1.0, 0.5),
        _ if name.ends_with("running_mean") => by(0.0, 0.2),
        1 => by(f64::from(u8::from(name.ends_with("weight"))), 0.2),
        _ => by(0.0, (24.0 / (n / dims[0]) as f64).sqrt()),
    }
}

fn fill(store: &mut Store, dtype: DType) {
    let fill = |set: &mut ParamSet| {
        let all: Vec<_> = set
            .iter()
            .map(|(id, n, t)| (id, n.to_string(), *t.shape()))
            .collect();
        for (id, name, shape) in all {
            let t = Tensor::from_f64(shape, value(&name, shape.dims())).unwrap();
            set.set(id, t.cast(dtype));
        }
    };
    fill(&mut store.weights);
    fill(&mut store.buffers);
}

fn image(p: &Pass, [h, w]: [usize; 2], dtype: DType) -> Var {
    let v = uniform("image", 3 * h * w).into_iter().map(|u| 4.0 * u);
    let t = Tensor::from_f64([1, 3, h, w], v.collect()).unwrap();
    p.tape.leaf(t.cast(dtype))
}

/// As the reference's, up to the digits that it prints in f64, to 1e-5 of the largest in f32.
fn check(what: &str, got: &[f64], want: &[f64], dtype: DType) {
    let most = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let bound = if dtype == DType::F64 { 1e-8 } else { 1e-5 } * most;
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= bound, "{what} {dtype:?}: {g} against {w}");
    }
}

#[test]
fn classifiers_give_the_scores_of_torchvision() {
    for (kind, size, want) in SCORES {
        for dtype in [DType::F64, DType::F32] {
            let mut b = Builder::new();
            let (trunk, maps) = Trunk::new(&mut b, kind, size).unwrap();
            let last = *maps.last().unwrap();
            let classifier = match kind {
                TrunkKind::Vgg16 => TrunkClassifier::vgg(&mut b, last, HIDDEN, 5),
                TrunkKind::Vgg16Deeplab => TrunkClassifier::deeplab(&mut b, last, HIDDEN, 5),
                _ => TrunkClassifier::new(&mut b, kind, last, 5),
            };
            let mut store = b.finish(1, dtype);
            fill(&mut store, dtype);
            let p = Pass::new(&store, Cx::default(), Mode::EVAL);
            let maps = trunk.forward(&p, &image(&p, size, dtype)).unwrap();
            let y = classifier
                .unwrap()
                .forward(&p, maps.last().unwrap())
                .unwrap();
            check(&kind.to_string(), &y.value().to_f64(), &want, dtype);
        }
    }
}

#[test]
fn the_baseline_gives_the_outputs_of_its_reference() {
    let frame = FrameConfig {
        frame: Frame::MtlResnet18,
        det_levels: Some(5),
        ..FrameConfig::default()
    };
    let mut spec = NetworkSpec::new(&frame, 64, 128, Cells::HandCrafted);
    let anchors = NetworkSpec::anchors(&frame);
    spec.det_head = Some(DetHead {
        classes: 3,
        anchors,
    });
    spec.seg_classes = Some(4);
    for dtype in [DType::F64, DType::F32] {
        let (net, mut store) = Network::build(&spec, 1, dtype).unwrap();
        fill(&mut store, dtype);
        let p = Pass::new(&store, Cx::default(), Mode::EVAL);
        let x = image(&p, [64, 128], dtype);
        let mut got = BTreeMap::new();
        for task in [TaskKind::Detection, TaskKind::Segmentation] {
            match net.forward(&p, &x, task).unwrap() {
                Outputs::Detection { loc, conf } => {
                    got.insert("loc", loc);
                    got.insert("conf", conf);
                }
                Outputs::Segmentation(y) => _ = got.insert("seg", y),
                _ => unreachable!("not asked for"),
            }
        }
        for (name, dims, want) in BASELINE {
            let y = got[name].value();
            assert_eq!(y.dims(), dims, "{name}");
            let v = y.to_f64();
            let probe = |k| -> f64 {
                let u = uniform(&format!("probe {k}"), v.len());
                v.iter().zip(u).map(|(v, u)| v * u).sum()
            };
            check(name, &[0, 1, 2].map(probe), &want, dtype);
        }
    }
}
