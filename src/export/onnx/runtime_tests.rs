//! Exported networks and operations in another runtime.

use rten::{Model, Value, ValueOrView};
use rten_tensor::prelude::*;

use super::*;
use crate::export::{fold_norms, trace, trace::IMAGE, trace::outputs};
use crate::model::{Cells, Network, NetworkSpec, preset::Preset};
use crate::nn::{Mode, Pass, Store};
use crate::ops::table::{Gen, OPS};
use crate::portable::{Graph, Id};
use crate::rng::Rng;
use crate::space::random::{NoneDraws, random_genotype};
use crate::tape::Cx;
use crate::tensor::{DType, Tensor};

fn plain<'a>(batch: Batch) -> Options<'a> {
    Options {
        batch,
        metadata: vec![],
        input_doc: String::new(),
        decoding: None,
    }
}

/// Shapes and values of the outputs `names` for the inputs, by the other runtime.
fn run(bytes: Vec<u8>, inputs: &[(&str, &Tensor)], names: &[&str]) -> Vec<(Vec<usize>, Vec<f32>)> {
    let model = Model::load(bytes).unwrap();
    let inputs: Vec<_> = inputs
        .iter()
        .map(|(name, t)| {
            let v = Value::from_shape(t.dims(), t.to_f32()).unwrap();
            (model.node_id(name).unwrap(), ValueOrView::Value(v))
        })
        .collect();
    let ids: Vec<_> = names.iter().map(|n| model.node_id(n).unwrap()).collect();
    let values = model.run(inputs, &ids, None).unwrap();
    let values = values.into_iter().map(|v| v.into_tensor::<f32>().unwrap());
    values.map(|t| (t.shape().to_vec(), t.to_vec())).collect()
}

#[track_caller]
fn close(what: &str, got: &(Vec<usize>, Vec<f32>), want: &Tensor) {
    assert_eq!(got.0, want.dims(), "{what}");
    for (a, b) in got.1.iter().zip(want.to_f32()) {
        assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{what}: {a} {b}");
    }
}

/// Parameters and statistics that are nothing special.
fn scatter(store: &mut Store, rng: &mut Rng) {
    for set in [&mut store.weights, &mut store.buffers] {
        let ids: Vec<_> = set.iter().map(|(id, n, _)| (id, n.to_string())).collect();
        for (id, name) in ids {
            let positive = name.ends_with("var") || set.get(id).dims().len() == 1;
            for v in set.get_mut(id).data_mut::<f32>() {
                *v += match positive {
                    true => 0.5 * rng.range(0.0, 1.0) as f32,
                    false => 0.1 * rng.normal() as f32,
                };
            }
        }
    }
}

fn images(n: usize, size: [usize; 2], rng: &mut Rng) -> Tensor {
    let v = (0..n * 3 * size[0] * size[1]).map(|_| rng.normal() as f32);
    Tensor::from_f32([n, 3, size[0], size[1]], v.collect()).unwrap()
}

/// Holds the export of a network against the network itself, for fixed and open batches, with and without folding; the largest output.
fn check(what: &str, spec: &NetworkSpec, seed: u64, scattered: bool) -> f32 {
    let (net, mut store) = Network::build(spec, seed, DType::F32).unwrap();
    let mut rng = Rng::new(seed, &[9]);
    if scattered {
        scatter(&mut store, &mut rng);
    }
    let graph = trace(&net, &store).unwrap();
    let folded = fold_norms(&graph).unwrap();
    assert!(folded.nodes().len() < graph.nodes().len(), "{what}");
    let x = images(2, [spec.height, spec.width], &mut rng);
    let p = Pass::new(&store, Cx::default(), Mode::EVAL);
    let want = outputs(&net, &p, &p.tape.leaf(x.clone())).unwrap();
    let names: Vec<&str> = want.iter().map(|o| o.0).collect();
    for (graph, batch) in [
        (&graph, Batch::Fixed(2)),
        (&graph, Batch::Open),
        (&folded, Batch::Fixed(2)),
        (&folded, Batch::Open),
    ] {
        let got = run(to_onnx(graph, &plain(batch)), &[(IMAGE, &x)], &names);
        for ((name, want), got) in want.iter().zip(&got) {
            close(&format!("{what}, {batch:?}, {name}"), got, want.value());
        }
    }
    let values = want.iter().flat_map(|(_, v)| v.value().to_f32());
    values.fold(0.0, |most, v| most.max(v.abs()))
}

fn genotype(seed: u64, part: u64) -> Cells {
    let none = match seed % 4 {
        3 => NoneDraws::Include,
        _ => NoneDraws::Exclude,
    };
    Cells::Derived(random_genotype(&mut Rng::new(seed, &[part]), 4, none))
}

#[test]
fn twenty_random_genotypes_run_elsewhere() {
    for seed in 0..20 {
        let (preset, what) = match seed % 3 {
            0 => (Preset::release(), "release"),
            1 => (Preset::peer(), "peer"),
            _ => (Preset::cifar(true), "cifar"),
        };
        let mut preset = preset;
        (preset.frame.channels, preset.frame.cells) = (8, 5);
        (preset.size, preset.frame.det_levels) = match (what, seed) {
            // Six levels: a detection cell whose windows have no padding.
            ("release", 0) => ([192, 192], Some(6)),
            ("release", _) => ([64, 128], Some(5)),
            ("peer", _) => ([64, 96], Some(4)),
            _ => (preset.size, None),
        };
        let hand = || Cells::HandCrafted;
        let (det, seg) = match (what, seed % 2) {
            ("release", 0) => (genotype(seed, 2), genotype(seed, 3)),
            _ => (hand(), hand()),
        };
        let spec = preset.spec(genotype(seed, 1), det, seg);
        check(&format!("{what} {seed}"), &spec, seed, true);
    }
}

/// At their first values: scattered ones make the scores of deep residual networks explode, and with them what rounding does.
#[test]
fn networks_made_by_hand_run_elsewhere() {
    for (name, levels) in [
        ("resnet18", None),
        ("mobilenet-v2", None),
        ("mtl-resnet18", Some(4)),
    ] {
        let mut preset = Preset::hand(name).unwrap();
        (preset.size, preset.frame.det_levels) = ([64, 96], levels);
        let most = check(name, &preset.supernet(), 1, false);
        assert!((1e-3..100.0).contains(&most), "{name}: {most}");
    }
}

/// Every operation that says what it is elsewhere computes there what it computes here.
#[test]
fn every_operation_that_others_know_agrees() {
    let mut told = vec![];
    for entry in OPS {
        let mut known = 0;
        for case in 0..12 {
            let mut g = Gen::new(Rng::new(case, &[5]));
            let c = (entry.case)(&mut g);
            if c.x.iter().any(|t| t.dtype() != DType::F64) {
                continue;
            }
            let x: Vec<Tensor> = c.x.iter().map(|t| t.cast(DType::F32)).collect();
            let shapes: Vec<_> = x.iter().map(|t| *t.shape()).collect();
            let y = c.op.infer(&shapes).unwrap();
            let mut graph = Graph::default();
            let own = |i: usize| format!("x{i}");
            let ids: Vec<Id> = (0..x.len())
                .map(|i| graph.input(&own(i), shapes[i]))
                .collect();
            let Some(id) = c.op.portable(&mut graph, &ids, y) else {
                continue;
            };
            known += 1;
            graph.output("y", id);
            assert_eq!(*graph.shape(id), y, "{}", entry.name);
            let n = y.dims()[0];
            // Weights are inputs here: their first dimension is not that of a batch.
            let mut model = write::model(&graph, &plain(Batch::Fixed(n)));
            for (info, t) in model.graph.as_mut().unwrap().input.iter_mut().zip(&x) {
                let mut b = builder::Builder::default();
                let dims: Vec<_> = t.dims().iter().map(|&d| builder::Dim::Is(d)).collect();
                b.input(info.name(), &dims, "");
                *info = b.finish("", "").input.remove(0);
            }
            let named: Vec<String> = (0..x.len()).map(own).collect();
            let inputs: Vec<_> = named.iter().map(String::as_str).zip(&x).collect();
            let got = run(prost::Message::encode_to_vec(&model), &inputs, &["y"]);
            let want = c.op.forward(&x).unwrap().y;
            close(
                &format!("{} {case}: {:?}", entry.name, c.op),
                &got[0],
                &want,
            );
        }
        if known > 0 {
            told.push(entry.name);
        }
    }
    let least = [
        "add",
        "avg_pool",
        "batch_norm_eval",
        "concat",
        "conv2d",
        "max_pool",
        "to_rows",
    ];
    assert!(least.iter().all(|n| told.contains(n)), "{told:?}");
    assert!(told.len() >= 20, "{told:?}");
}

#[test]
fn a_search_network_is_refused_by_the_name_of_its_operation() {
    let (net, store) = Network::build(&Preset::cifar(true).supernet(), 0, DType::F32).unwrap();
    let e = trace(&net, &store).unwrap_err();
    assert!(
        e.message().contains("cannot be exported"),
        "{}",
        e.message()
    );
    assert!(e.remedy().is_some_and(|r| r.contains("derived network")));
}
