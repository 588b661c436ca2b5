use prost::Message;

use super::*;
use crate::export::onnx::{Batch, Options, read::parse, to_onnx};
use crate::export::trace;
use crate::model::preset::Preset;
use crate::model::{Cells, Network};
use crate::space::published;
use crate::task::decode::DecodeConfig;
use crate::task::priors::{PriorLayout, Priors};
use crate::tensor::DType;

/// A small network of the release with its priors.
fn small() -> (Network, Store, Priors) {
    let cells = |name| Cells::Derived(published::by_name(name).unwrap());
    let mut preset = Preset::release();
    preset.size = [64, 64];
    (preset.frame.channels, preset.frame.cells) = (4, 5);
    preset.frame.det_levels = Some(4);
    let spec = preset.spec(
        cells("MTNAS_backbone"),
        cells("MTNAS_det"),
        cells("MTNAS_seg"),
    );
    let (net, store) = Network::build(&spec, 1, DType::F32).unwrap();
    let priors = PriorLayout::release(64, 64, 4).unwrap().priors().unwrap();
    (net, store, priors)
}

#[test]
fn a_wrong_weight_prior_or_limit_is_noticed() {
    let (net, store, priors) = small();
    let config = DecodeConfig {
        per_class: 20,
        ..DecodeConfig::default()
    };
    let decoding = Decoding {
        priors: &priors,
        config,
        classes: 3,
        size: [64, 64],
    };
    let options = Options {
        batch: Batch::Fixed(2),
        metadata: vec![],
        input_doc: String::new(),
        decoding: Some(decoding.clone()),
    };
    let bytes = to_onnx(&trace(&net, &store).unwrap(), &options);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let verify = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        onnx(&path, &net, &store, 2, Some(&decoding))
    };
    let v = verify(&bytes).unwrap();
    assert!(v.largest <= 1e-5 && v.reference, "{v:?}");
    assert!(v.detections.is_some_and(|n| n > 20), "{v:?}");

    let spoilt = |name: &str| {
        let mut model = parse(&bytes).unwrap();
        let graph = model.graph.as_mut().unwrap();
        let stored = graph
            .initializer
            .iter_mut()
            .find(|t| t.name() == name)
            .unwrap();
        let data = stored.raw_data.as_mut().unwrap();
        for v in data.as_chunks_mut::<4>().0 {
            *v = (f32::from_le_bytes(*v) * 1.5 + 0.01).to_le_bytes();
        }
        verify(&model.encode_to_vec()).unwrap_err()
    };
    for (name, output) in [
        ("stem0.0.weight", "loc"),
        ("conf.1.0.bias", "conf"),
        ("seg_out.1.running_mean", "seg"),
        ("priors.centre", "selected"),
        ("decode.iou", "selected"),
    ] {
        let e = spoilt(name);
        assert_eq!(e.code(), Code::CheckFailed, "{name}: {}", e.render());
        assert!(
            e.message().contains(&format!("`{output}`")),
            "{name}: {}",
            e.message()
        );
    }
}
