use super::*;
use crate::export::verify;
use crate::model::preset::Preset;
use crate::model::{Cells, NetworkSpec};
use crate::nn::{Mode, Pass};
use crate::rng::Rng;
use crate::space::random::{NoneDraws, random_genotype};
use crate::space::{NODES, published};
use crate::tape::Cx;
use crate::tensor::DType;

/// The network of `spec` with running statistics that say something.
fn network(spec: &NetworkSpec) -> (Network, Store) {
    let (net, mut store) = Network::build(spec, 1, DType::F32).unwrap();
    let mut r = Rng::new(7, &[]);
    let ids: Vec<_> = store.buffers.iter().map(|(id, ..)| id).collect();
    for id in ids {
        let old = store.buffers.get(id).clone();
        let v = old.to_f32().iter().map(|v| v + 0.2 * r.f32()).collect();
        store
            .buffers
            .set(id, Tensor::from_f32(*old.shape(), v).unwrap());
    }
    (net, store)
}

/// Largest difference from the network, of a value to a share of itself or of 1.
fn difference(spec: &NetworkSpec, images: usize) -> (f64, Program) {
    let (net, store) = network(spec);
    let program = Program::new(&net, &store).unwrap();
    let x = verify::images(&net, images).unwrap();
    let want = verify::expected(&net, &store, &x).unwrap();
    let got = program.run(&x).unwrap();
    assert_eq!(want.len(), got.len());
    let mut largest = 0.0f64;
    for ((name, want), (of, got)) in want.iter().zip(&got) {
        assert_eq!((*name, want.dims()), (of.as_str(), got.dims()));
        for (a, b) in got.to_f64().into_iter().zip(want.to_f64()) {
            largest = largest.max((a - b).abs() / b.abs().max(1.0));
            assert!(a.is_finite());
        }
    }
    (largest, program)
}

fn small(mut preset: Preset, backbone: &str) -> NetworkSpec {
    preset.frame.channels = 8;
    preset.auxiliary = false;
    if preset.dense.is_some() {
        preset.size = [64, 96];
        preset.frame.det_levels = Some(4);
    }
    let cells = |name| Cells::Derived(published::by_name(name).unwrap());
    let (det, seg) = match preset.frame.searched_branches() {
        true => (cells("MTNAS_det"), cells("MTNAS_seg")),
        false => (Cells::HandCrafted, Cells::HandCrafted),
    };
    preset.spec(cells(backbone), det, seg)
}

#[test]
fn programs_say_what_networks_say() {
    for (preset, name) in [
        (Preset::release(), "MTNAS_backbone"),
        (Preset::sibling(), "DARTS_V2"),
        (Preset::peer(), "PC_DARTS_cifar"),
        (Preset::cifar(false), "PDARTS"),
    ] {
        let (d, program) = difference(&small(preset, name), 2);
        assert!(d < 1e-5, "{name}: {d}");
        assert!(program.steps().all(|s| !s.starts_with("norm")) || name == "PC_DARTS_cifar");
        assert!(
            program.arena_bytes() as f64 <= 1.2 * program.cut_bytes() as f64,
            "{name}"
        );
    }
}

#[test]
fn networks_made_by_hand_run_too() {
    for name in ["mtl-resnet18", "resnet50", "mobilenet-v2", "vgg16-deeplab"] {
        let mut preset = Preset::hand(name).unwrap();
        preset.size = [64, 64];
        preset.frame.det_levels = Some(5);
        let (d, program) = difference(&preset.supernet(), 1);
        assert!(d < 1e-5, "{name}: {d}");
        assert!(
            program.arena_bytes() as f64 <= 1.2 * program.cut_bytes() as f64,
            "{name}"
        );
    }
}

#[test]
fn random_genotypes_run() {
    for seed in 0..8 {
        let mut r = Rng::new(seed, &[3]);
        let mut draw = || Cells::Derived(random_genotype(&mut r, NODES, NoneDraws::Include));
        let mut preset = Preset::release();
        preset.frame.channels = 8;
        preset.frame.cells = 7;
        preset.frame.reductions = Some(vec![1, 3, 5]);
        preset.frame.det_levels = Some(5);
        preset.size = [64, 64];
        let (backbone, det, seg) = (draw(), draw(), draw());
        let (d, _) = difference(&preset.spec(backbone, det, seg), 2);
        assert!(d < 1e-5, "{seed}: {d}");
    }
}

#[test]
fn threads_change_no_bit() {
    let (net, store) = network(&small(Preset::release(), "MTNAS_backbone"));
    let program = Program::new(&net, &store).unwrap();
    let x = verify::images(&net, 2).unwrap();
    let with = |n: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build()
            .unwrap();
        let run = || program.run(&x).unwrap();
        pool.install(|| crate::backend::threads::always_parallel(run))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn the_cut_of_recorded_operations() {
    let (net, store) = network(&small(Preset::release(), "MTNAS_backbone"));
    let p = Pass::new(&store, Cx::default(), Mode::EVAL);
    let x = p.tape.leaf(verify::images(&net, 1).unwrap());
    let run = || crate::export::trace::outputs(&net, &p, &x);
    let (outputs, list) = p.tape.sketch(run).unwrap();
    let ids: Vec<usize> = outputs.iter().map(|o| o.1.id()).collect();
    let program = Program::new(&net, &store).unwrap();
    let own = largest_cut(&list, &ids) * 4;
    // Steps keep no rectified copies and no map between two convolutions.
    assert!(program.cut_bytes() <= own, "{} {own}", program.cut_bytes());
    // Of no operation more than everything, of the largest at least itself.
    let most = list.iter().map(|s| s.shape.numel()).max().unwrap();
    let all: usize = list.iter().map(|s| s.shape.numel()).sum();
    assert!(own >= 4 * most && own <= 4 * all);
}

#[test]
fn another_size_is_refused() {
    let (net, store) = network(&small(Preset::release(), "MTNAS_backbone"));
    let program = Program::new(&net, &store).unwrap();
    let x = Tensor::zeros([1, 3, 64, 64], DType::F32);
    assert_eq!(program.run(&x).unwrap_err().code(), crate::Code::Shape);
}
