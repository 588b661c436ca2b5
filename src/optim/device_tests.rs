//! Steps on the emulated device against those of the host.

use super::*;
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::optim::{Adam, Sgd};
use crate::rng::Rng;

const SHAPES: [&[usize]; 4] = [&[3], &[2, 4, 3, 3], &[8200], &[1]];

fn values(r: &mut Rng, shape: &[usize]) -> Tensor {
    let n = shape.iter().product();
    let v = (0..n).map(|_| r.normal() as f32).collect();
    Tensor::from_f32(shape, v).unwrap()
}

fn set(seed: u64) -> ParamSet {
    let (mut r, mut set) = (Rng::new(seed, &[]), ParamSet::default());
    for (i, s) in SHAPES.iter().enumerate() {
        set.add(format!("p{i}"), values(&mut r, s));
    }
    set
}

/// Gradients of a step; the last parameter is reached in every second one only.
fn grads(step: u64) -> Vec<(ParamId, Tensor)> {
    let mut r = Rng::new(9, &[step]);
    let reached = 3 + (step % 2) as usize;
    let all = SHAPES.iter().enumerate().take(reached);
    all.map(|(i, s)| (ParamId(i), values(&mut r, s))).collect()
}

fn on(e: Engine, grads: Vec<(ParamId, Tensor)>) -> Vec<(ParamId, Tensor)> {
    let up = |t: Tensor| {
        let d = DeviceBuffer::scratch(e, t.dtype(), t.numel()).unwrap();
        d.write(t.bytes()).unwrap();
        Tensor::from_device(*t.shape(), d)
    };
    grads.into_iter().map(|(id, t)| (id, up(t))).collect()
}

fn close(a: &Tensor, b: &Tensor, ulps: f32) {
    for (a, b) in a.f32s().iter().zip(b.f32s()) {
        let apart = (a - b).abs();
        assert!(apart <= ulps * f32::EPSILON * a.abs().max(1e-3), "{a} {b}");
    }
}

fn sgd(e: Engine) {
    // The last leaves nothing of the gradients: momentum and decay act all the same.
    for clip in [0.0, 0.5, 5.0, 1e6, 1e-45] {
        let c = SgdConfig {
            clip,
            ..SgdConfig::default()
        };
        let (mut host, mut device) = (set(1), set(1));
        let (mut a, mut b) = (Sgd::new(4), Sgd::new(4));
        for step in 0..5 {
            let lr = 0.1 / (step + 1) as f64;
            let norm = a.step(&mut host, grads(step), &c, lr).unwrap();
            let before = e.counts();
            let there = b.step(&mut device, on(e, grads(step)), &c, lr).unwrap();
            assert!((norm - there).abs() < 1e-6 * norm, "{norm} {there}");
            let now = e.counts();
            assert_eq!(now.launches - before.launches, 3);
            assert_eq!(now.downloaded - before.downloaded, 8);
        }
        assert!(device.get(ParamId(0)).only_on_device());
        for i in 0..4 {
            close(host.get(ParamId(i)), device.get(ParamId(i)), 4.0);
            let (a, b) = (a.momentum[i].as_ref(), b.momentum[i].as_ref());
            close(a.unwrap(), b.unwrap(), 16.0);
        }
    }
}

fn adam(e: Engine) {
    for clip in [3.0, 1e-45] {
        adam_clipped(e, clip);
    }
}

fn adam_clipped(e: Engine, clip: f64) {
    let c = AdamConfig {
        clip,
        ..AdamConfig::default()
    };
    let (mut host, mut device) = (set(2), set(2));
    let (mut a, mut b) = (Adam::new(4), Adam::new(4));
    for step in 0..5 {
        a.step(&mut host, grads(step), &c, 0.01).unwrap();
        b.step(&mut device, on(e, grads(step)), &c, 0.01).unwrap();
    }
    for i in 0..4 {
        close(host.get(ParamId(i)), device.get(ParamId(i)), 4.0);
        let (a, b) = (
            a.moments[i].as_ref().unwrap(),
            b.moments[i].as_ref().unwrap(),
        );
        assert_eq!((a.t, b.t), (if i < 3 { 5 } else { 2 }, a.t));
        close(&a.m, &b.m, 16.0);
        close(&a.v, &b.v, 16.0);
    }
}

/// Figures, the factor of clipping and whether a step halts.
fn figures(e: Engine) {
    let t = Teller::default();
    t.prepare(e).unwrap();
    let device = |v: f64| {
        on(e, vec![(ParamId(0), Tensor::scalar(DType::F32, v))])
            .remove(0)
            .1
    };
    let tell = |scalars: &[Tensor], grads: &[(ParamId, Tensor)], clip: f64| {
        let (mut rows, mirror) = (Rows::default(), Mirror::default());
        for (_, g) in grads {
            rows.add(g.on(e).unwrap(), 0, &[]);
        }
        let table = rows.table(e, &mirror).unwrap();
        let f = t.tell(e, scalars, &rows, table, clip).unwrap();
        let values = f.values.download().values::<f64>().to_vec();
        (values, f.factor.download().values::<f32>()[0])
    };
    let both = [device(1.5), device(0.25)];
    let norm = |all: &[(ParamId, Tensor)]| crate::optim::sgd::norm(all);
    for (bad, finite) in [
        (1.0, true),
        (1e15, true),
        (f32::NAN, false),
        (f32::INFINITY, false),
    ] {
        let mut all = grads(1);
        all[2].1.data_mut::<f32>()[8199] = bad;
        let want = norm(&all);
        let all = on(e, all);
        for (clip, factor) in [(0.0, 1.0), (2.0, 2.0 / (want + 1e-6)), (1e30, 1.0)] {
            let (values, got) = tell(&both, &all, clip);
            assert_eq!(values[..2], [1.5, 0.25]);
            let off = (values[2] - want).abs();
            assert!(!finite || off <= 1e-6 * want, "{} {want}", values[2]);
            assert_eq!(values[2].is_finite(), finite, "{bad}");
            let factor = if finite { factor as f32 } else { -1.0 };
            assert!((got - factor).abs() <= 1e-5 * factor.abs(), "{bad} {clip}");
        }
        // Until the host says so nothing goes on.
        let (_, after) = tell(&both, &on(e, grads(0)), 0.0);
        assert_eq!(after, if finite { 1.0 } else { -1.0 });
        t.go_on(e).unwrap();
    }
    for (loss, factor) in [(2.0, 1.0), (f64::NAN, -1.0)] {
        assert_eq!(tell(&[device(loss)], &[], 0.0).1, factor);
    }
    t.go_on(e).unwrap();
}

/// A step that halted changes nothing; running statistics move as one normalisation's do.
fn halts_and_moves(e: Engine) {
    let up = |t: Tensor| on(e, vec![(ParamId(0), t)]).remove(0).1;
    let v = |seed, n| values(&mut Rng::new(seed, &[]), &[n]);
    let counts = |n: usize| {
        let counts = (0..2 * n).map(|i| (1 + i % 3) as f32).collect();
        Tensor::from_f32([2, n], counts).unwrap()
    };
    // Mean and variance of the batch, running ones, counts.
    let norms = [(1, 70), (5, 3)].map(|(first, n)| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| v(first + i, n));
        ([a, b, c, d, counts(n)].map(up), first, n)
    });
    for factor in [-1.0, 0.0] {
        let to = up(Tensor::scalar(DType::F32, factor));
        let moving = norms
            .each_ref()
            .map(|([mean, var, old, old_var, rest], ..)| Moving {
                running: [old, old_var].map(|t| t.on(e).unwrap()),
                batch: [mean, var, rest].map(|t| t.on(e).unwrap().address()),
                momentum: 0.1,
            });
        move_statistics(e, &Mirror::default(), &moving, to.on(e).unwrap()).unwrap();
        for (tensors, first, n) in &norms {
            for i in 0..*n {
                let [m, s, old_m, old_s] = [0, 1, 2, 3].map(|k| v(first + k, *n).f32s()[i]);
                let count = (1 + (n + i) % 3) as f32;
                let s = s * (count / (count.max(2.0) - 1.0));
                let moved = |old: f32, new: f32| 0.1f32.mul_add(new - old, old);
                let want = match factor {
                    -1.0 => [old_m, old_s],
                    _ => [moved(old_m, m), moved(old_s, s)],
                };
                let now = |k: usize| tensors[k].on(e).unwrap().download().values::<f32>()[i];
                assert_eq!([now(2), now(3)], want);
            }
        }
    }
    let (mut w, mut sgd, mut adam) = (set(1), Sgd::new(4), Adam::new(4));
    let step = |w: &mut ParamSet, sgd: &mut Sgd, adam: &mut Adam, bad: f32| {
        for kind in 0..2 {
            let mut g = grads(1);
            g[0].1.data_mut::<f32>()[0] = bad;
            let g = on(e, g);
            match kind {
                0 => sgd.step(w, g, &SgdConfig::default(), 0.1),
                _ => adam.step(w, g, &AdamConfig::default(), 0.1),
            }
            .unwrap();
        }
        let state = sgd.momentum.iter().flatten();
        let state = state.chain(adam.moments.iter().flatten().flat_map(|m| [&m.m, &m.v]));
        let all = w.iter().map(|(_, _, t)| t).chain(state);
        all.map(Tensor::to_f32).collect::<Vec<_>>()
    };
    let before = step(&mut w, &mut sgd, &mut adam, 1.0);
    assert_eq!(step(&mut w, &mut sgd, &mut adam, f32::NAN), before);
    assert_ne!(step(&mut w, &mut sgd, &mut adam, 1.0), before);
}

/// What `kernels/optim.cu` computes; panics where it is not what the host does.
pub(crate) fn mutation_cases(e: Engine) {
    figures(e);
    halts_and_moves(e);
    adam(e);
    sgd(e);
}

#[test]
fn sgd_takes_the_steps_of_the_host() {
    sgd(Engine::emulated(2));
}

#[test]
fn adam_takes_the_steps_of_the_host() {
    adam(Engine::emulated(2));
}

#[test]
fn figures_see_one_value_that_is_not_finite() {
    figures(Engine::emulated(2));
}

#[test]
fn a_step_that_halts_changes_nothing() {
    halts_and_moves(Engine::emulated(2));
}
