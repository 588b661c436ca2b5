use super::*;
use crate::model::preset::Preset;
use crate::model::{Cells, Memory, NetworkSpec};
use crate::space::published;

/// A classifier of three small cells, derived or searched.
fn classifier(searched: bool, memory: Memory) -> NetworkSpec {
    let mut preset = Preset::cifar(true);
    (preset.frame.channels, preset.frame.cells) = (8, 3);
    preset.size = [16, 16];
    let mut spec = preset.supernet();
    if !searched {
        spec.backbone = Cells::Derived(published::by_name("PC_DARTS_cifar").unwrap());
    }
    spec.memory = memory;
    spec
}

/// The memory that the pool of the device has in use after the forward pass, class by class of sizes.
fn live(net: &Network, store: &Store, images: usize) -> u64 {
    let engine = Engine::new(Box::new(Record::new(MEMORY).0), false);
    let cx = Cx {
        path: Path::Device(engine),
        ..Cx::default()
    };
    // Values on another device than before.
    let mut own = store.clone();
    for set in [&mut own.weights, &mut own.buffers, &mut own.arch] {
        for i in 0..set.len() {
            let t = set.get_mut(crate::nn::ParamId(i));
            *t = Tensor::zeros(*t.shape(), t.dtype());
        }
    }
    let p = Pass::new(&own, cx, Mode::WEIGHT_STEP);
    let shape = [images, 3, net.spec().height, net.spec().width];
    let x = (p.tape).leaf(Tensor::zeros_on(engine, shape, DType::F32).unwrap());
    let y = net.forward_with(&p, &x, TaskKind::Classification, Mixing::Parameters);
    drop((x, y.unwrap()));
    engine.counts().live
}

/// What is counted tensor by tensor is what the device holds; its sizes are rounded up by a quarter at most.
#[test]
fn the_device_holds_what_is_counted() {
    for searched in [false, true] {
        let spec = classifier(searched, Memory::Fast);
        let (net, store) = Network::blank(&spec, DType::F32).unwrap();
        let [one] = kept(&net, &store).unwrap()[..] else {
            panic!("one task");
        };
        let held = live(&net, &store, 33) - live(&net, &store, 1);
        let counted = 32 * one.f32;
        assert!(
            counted * 98 / 100 <= held && held <= counted * 5 / 4,
            "{held} {counted}"
        );
        assert!(one.bf16 * 2 >= one.f32 && one.bf16 < one.f32, "{one:?}");
    }
}

#[test]
fn cells_that_compute_again_keep_less() {
    let of = |memory| {
        let (net, store) = Network::blank(&classifier(true, memory), DType::F32).unwrap();
        kept(&net, &store).unwrap()[0].f32
    };
    let [fast, balanced, small] = [Memory::Fast, Memory::Balanced, Memory::Small].map(of);
    assert!(
        small < balanced && balanced < fast,
        "{small} {balanced} {fast}"
    );
}
