//! Whole networks against finite differences.

use super::*;

/// `|analytic - numeric| / max(|analytic|, |numeric|)` along a random direction of weights and architecture parameters, by
/// 4th-order differences of step `h`. The step is small because a network of ReLUs and maxima has a kink nearby almost everywhere.
fn directional_error(
    net: &Network,
    store: &Store,
    image: &Tensor,
    task: TaskKind,
    seed: u64,
    h: f64,
) -> f64 {
    let (_, grads) = step(net, store, image, task);
    let mut rng = Rng::new(seed, &[55]);
    let mut direction = |grads: &[(crate::nn::ParamId, Tensor)]| -> Vec<Vec<f64>> {
        grads
            .iter()
            .map(|g| (0..g.1.numel()).map(|_| rng.normal()).collect())
            .collect()
    };
    let (vw, va) = (direction(&grads.weights), direction(&grads.arch));
    let mut analytic = 0.0;
    for (g, v) in grads
        .weights
        .iter()
        .chain(&grads.arch)
        .zip(vw.iter().chain(&va))
    {
        analytic += g.1.to_f64().iter().zip(v).map(|(g, v)| g * v).sum::<f64>();
    }
    let value = |t: f64| -> f64 {
        let mut moved = store.clone();
        let shift = |set: &mut crate::nn::ParamSet,
                     grads: &[(crate::nn::ParamId, Tensor)],
                     v: &[Vec<f64>]| {
            for ((id, _), v) in grads.iter().zip(v) {
                let x = set
                    .get(*id)
                    .to_f64()
                    .iter()
                    .zip(v)
                    .map(|(x, v)| x + t * v)
                    .collect();
                set.set(*id, Tensor::from_f64(*set.get(*id).shape(), x).unwrap());
            }
        };
        shift(&mut moved.weights, &grads.weights, &vw);
        shift(&mut moved.arch, &grads.arch, &va);
        let p = Pass::new(&moved, Cx::default(), Mode::ARCH_STEP);
        loss(net.forward(&p, &p.tape.leaf(image.clone()), task).unwrap())
            .value()
            .item()
    };
    let numeric = (8.0 * (value(h) - value(-h)) - (value(2.0 * h) - value(-2.0 * h))) / (12.0 * h);
    (analytic - numeric).abs() / analytic.abs().max(numeric.abs())
}

fn direction_holds(spec: &NetworkSpec, task: TaskKind, seed: u64) {
    let (net, store) = Network::build(spec, seed, DType::F64).unwrap();
    let image = random([2, 3, spec.height, spec.width], seed, DType::F64);
    // A kink inside the step shows as a disagreement that the next smaller step does not have.
    let mut errors = vec![];
    for h in [1e-6, 1e-7, 1e-8] {
        errors.push(directional_error(&net, &store, &image, task, seed, h));
        if errors.last().is_some_and(|e| *e <= 1e-8) {
            return;
        }
    }
    panic!("seed {seed} {task}: {errors:?}");
}

#[test]
fn whole_network_gradients_of_classifiers() {
    for seed in 0..6 {
        let g = random_genotype(&mut Rng::new(seed, &[]), 2, NoneDraws::Exclude);
        let mut spec = classifier(Cells::Derived(g), 4, 8);
        spec.frame.nodes = 2;
        spec.frame.partial_k = 2;
        if seed % 2 == 1 {
            spec.backbone = Cells::search("backbone", &spec.frame);
        }
        direction_holds(&spec, TaskKind::Classification, seed);
    }
}

#[test]
fn whole_network_gradients_of_both_frames() {
    for (seed, kind) in [(1, Frame::MtnasRelease), (2, Frame::MtnasPeer)] {
        let g = random_genotype(&mut Rng::new(seed, &[]), 2, NoneDraws::Exclude);
        let mut spec = NetworkSpec {
            det: Cells::Derived(g.clone()),
            ..spec(kind, Cells::Derived(g), 4)
        };
        (spec.height, spec.width) = (32, 64);
        spec.frame.channels = 4;
        // The last cell is a normal one here, so detection cell 0 reads two maps of one size.
        spec.frame.cells = 5;
        spec.frame.nodes = 2;
        spec.frame.partial_k = 2;
        spec.seg = Cells::search("seg", &spec.frame);
        for task in TASKS {
            direction_holds(&spec, task, seed);
        }
    }
}
