//! Names against those of torchvision and timm (`tests/reference/trunks.py`), and files that do not fit.

use sha2::{Digest, Sha256};

use super::*;
use crate::model::Cells;
use crate::model::config::FrameConfig;
use crate::model::preset::Preset;
use crate::space::published;
use crate::tensor::DType;

fn hand(name: &str) -> NetworkSpec {
    Preset::hand(name).unwrap().supernet()
}

fn wanted(spec: &NetworkSpec) -> BTreeMap<String, Shape> {
    Network::tensors(spec).unwrap().into_iter().collect()
}

fn dims(shape: &Shape) -> String {
    let words: Vec<String> = shape.dims().iter().map(usize::to_string).collect();
    words.join(",")
}

/// A small ResNet-18 that a test can hold twice: five classes, and zeros.
fn small() -> (NetworkSpec, BTreeMap<String, Tensor>) {
    let mut spec = hand("resnet18");
    spec.classes = Some(5);
    let zeros = wanted(&spec).into_iter();
    let file = zeros.map(|(n, s)| (n, Tensor::zeros(s, DType::F32)));
    let file = file.collect();
    (spec, file)
}

#[test]
fn names_and_shapes_are_those_of_torchvision() {
    for (name, count, hash) in [
        (
            "resnet18",
            102,
            "09ce7e9e01846250ca72a3be9e335bb7f6905b89a11905e73f4f584127a7c0fa",
        ),
        (
            "resnet34",
            182,
            "bc79fc43acd9f853011263fdc971785e0f8d1badc7d63f8670c0d18b93d32ee2",
        ),
        (
            "resnet50",
            267,
            "c67ecaef75aaf0f7ff01240e17727e9642664d14f9f2337cd070db9f0a218e26",
        ),
        (
            "vgg16",
            84,
            "cadfea32ace3820c8f42d8d6bdc32a00c715a9383a9786ca319d9567f35626b1",
        ),
        (
            "mobilenet-v2",
            262,
            "9d75a56bf145f32f8faca753d7beb2b877229be102f50ce3ab4780f5355ba355",
        ),
    ] {
        let all = wanted(&hand(name));
        let text: String = all
            .iter()
            .map(|(n, s)| format!("{n} {}\n", dims(s)))
            .collect();
        let sum: String = Sha256::digest(&text)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!((all.len(), sum.as_str()), (count, hash), "{name}\n{text}");
    }
}

#[test]
fn timms_names_are_mapped() {
    let list = include_str!("../../tests/reference/timm_mobilenetv2_100.txt");
    let spec = hand("mobilenet-v2");
    let mut mapped = BTreeMap::new();
    for line in list.lines() {
        let (name, dims) = line.split_once(' ').unwrap();
        let dims: Vec<usize> = dims.split(',').map(|d| d.parse().unwrap()).collect();
        let shape = Shape::new(&dims);
        mapped.insert(ours(&spec, name, &shape), shape);
    }
    assert_eq!(mapped, wanted(&spec));
    let vgg = hand("vgg16");
    for (theirs, own, dims) in [
        (
            "pre_logits.fc1.weight",
            "classifier.0.weight",
            [4096, 512, 7, 7],
        ),
        (
            "pre_logits.fc2.weight",
            "classifier.3.weight",
            [4096, 4096, 1, 1],
        ),
        ("head.fc.weight", "classifier.6.weight", [1000, 4096, 1, 1]),
    ] {
        assert_eq!(ours(&vgg, theirs, &Shape::new(&dims)), own);
    }
    // Its first layers are convolutions over the whole map.
    let conv = Tensor::from_f32([2, 3, 2, 2], (0..24).map(|i| i as f32).collect()).unwrap();
    let linear = fitted(&conv, &Shape::new(&[2, 12])).unwrap();
    assert_eq!(
        (linear.dims(), linear.to_f32()),
        (&[2, 12][..], conv.to_f32())
    );
    assert!(fitted(&conv, &Shape::new(&[4, 6])).is_none());
    assert!(fitted(&conv, &Shape::new(&[2, 3, 4, 1])).is_none());
}

#[test]
fn cells_have_the_names_of_darts() {
    let g = published::by_name("DARTS_V2").unwrap();
    let mut preset = Preset::cifar(false);
    (preset.frame.channels, preset.frame.cells) = (4, 3);
    let spec = preset.spec(Cells::Derived(g), Cells::HandCrafted, Cells::HandCrafted);
    let file: BTreeMap<String, Tensor> = wanted(&spec)
        .into_iter()
        .map(|(n, s)| (n.replace(".ops.", "._ops."), Tensor::zeros(s, DType::F32)))
        .collect();
    // As `NetworkCIFAR` of the DARTS repository names them.
    for name in [
        "stem.0.weight",
        "cells.0._ops.0.op.1.weight",
        "cells.0.preprocess0.op.1.weight",
        "cells.2.preprocess0.conv_2.weight",
        "auxiliary_head.features.2.weight",
        "auxiliary_head.classifier.bias",
        "classifier.weight",
    ] {
        assert!(file.contains_key(name), "{name}");
    }
    let taken = take(&spec, file.clone()).unwrap();
    assert!(
        taken.notes.is_empty()
            && taken
                .store
                .weights
                .find("cells.0.ops.0.op.1.weight")
                .is_some()
    );
    // Saved by a wrapper, with counters; the network has no auxiliary head.
    let mut wrapped: BTreeMap<String, Tensor> = file
        .into_iter()
        .map(|(n, t)| (format!("module.{n}"), t))
        .collect();
    let counter = Tensor::from_i32([0; 0], vec![7]).unwrap();
    wrapped.insert("module.stem.1.num_batches_tracked".into(), counter);
    let plain = NetworkSpec {
        auxiliary: false,
        ..spec
    };
    let taken = take(&plain, wrapped).unwrap();
    assert_eq!(taken.notes.len(), 1);
    assert!(
        taken.notes[0].contains("auxiliary head"),
        "{:?}",
        taken.notes
    );
    assert_eq!(
        taken.store.weights.len() + taken.store.buffers.len(),
        wanted(&plain).len()
    );
}

#[test]
fn every_tensor_that_does_not_fit_is_listed() {
    let (spec, mut file) = small();
    assert!(take(&spec, file.clone()).unwrap().notes.is_empty());
    file.remove("layer1.0.conv1.weight");
    file.remove("bn1.running_var");
    file.insert("layer5.0.weight".into(), Tensor::zeros([2, 3], DType::F32));
    file.insert("fc.weight".into(), Tensor::zeros([1000, 512], DType::F32));
    file.insert("fc.bias".into(), Tensor::from_i32([5], vec![0; 5]).unwrap());
    let e = take(&spec, file).unwrap_err();
    assert_eq!(e.code(), Code::BadCheckpoint);
    let text = e.render();
    for line in [
        "5 tensors do not fit the network",
        "missing: layer1.0.conv1.weight (64, 64, 3, 3)",
        "missing: bn1.running_var (64)",
        "left over: layer5.0.weight (2, 3)",
        "shape: fc.weight is (1000, 512) f32, expected (5, 512)",
        "shape: fc.bias is (5) i32, expected (5)",
        "leaves that to chance",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_classifier_may_be_left_out() {
    let (spec, mut file) = small();
    file.retain(|n, _| !n.starts_with("fc."));
    let taken = take(&spec, file.clone()).unwrap();
    assert_eq!(taken.notes, ["the file has no `fc`: it starts at random"]);
    // Half of one is no classifier.
    file.insert("fc.bias".into(), Tensor::zeros([5], DType::F32));
    let e = take(&spec, file).unwrap_err().render();
    assert!(
        e.contains("a tensor does not fit") && e.contains("missing: fc.weight (5, 512)"),
        "{e}"
    );
}

#[test]
fn the_baseline_takes_a_resnet_for_its_trunk() {
    let (_, mut file) = small();
    let frame = FrameConfig {
        det_levels: Some(4),
        ..hand("mtl-resnet18").frame
    };
    let mut spec = NetworkSpec::new(&frame, 64, 64, Cells::HandCrafted);
    spec.seg_classes = Some(3);
    let taken = take(&spec, file.clone()).unwrap();
    assert_eq!(taken.notes.len(), 2, "{:?}", taken.notes);
    assert!(
        taken
            .notes
            .iter()
            .any(|n| n.contains("2 tensors of a classifier"))
    );
    assert!(taken.notes.iter().any(|n| n.contains("trunk alone")));
    assert!(
        taken
            .store
            .weights
            .find("trunk.layer4.1.conv2.weight")
            .is_some()
    );
    assert_eq!(taken.store.weights.len() + taken.store.buffers.len(), 100);
    file.remove("layer4.1.bn2.bias");
    let e = take(&spec, file).unwrap_err().render();
    assert!(
        e.contains("missing: trunk.layer4.1.bn2.bias (512)") && !e.contains("seg_out"),
        "{e}"
    );
    // Its own weights are whole or refused.
    let mut own: BTreeMap<String, Tensor> = wanted(&spec)
        .into_iter()
        .map(|(n, s)| (n, Tensor::zeros(s, DType::F32)))
        .collect();
    assert!(take(&spec, own.clone()).unwrap().notes.is_empty());
    own.remove("seg_out.0.bias");
    assert!(
        take(&spec, own)
            .unwrap_err()
            .render()
            .contains("seg_out.0.bias")
    );
}

#[test]
fn deeplab_takes_the_convolutions_of_vgg() {
    let spec = hand("vgg16-deeplab");
    let file = wanted(&hand("vgg16")).into_iter();
    let small = |(n, s): (String, Shape)| {
        let linear = n.starts_with("classifier.") && s.rank() == 2;
        let shape = if linear { Shape::new(&[1, 1]) } else { s };
        (n, Tensor::zeros(shape, DType::Bf16))
    };
    let taken = take(&spec, file.map(small).collect()).unwrap();
    let notes = taken.notes.join("\n");
    assert!(
        notes.contains("no `classifier`") && notes.contains("6 tensors"),
        "{notes}"
    );
}
