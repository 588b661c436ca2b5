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
    for clip in [0.0, 5.0, 1e6] {
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
    let c = AdamConfig {
        clip: 3.0,
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

fn figures(e: Engine) {
    let f = Figures::default();
    let device = |v: f64| {
        on(e, vec![(ParamId(0), Tensor::scalar(DType::F32, v))])
            .remove(0)
            .1
    };
    let (loss, part) = (device(1.5), Tensor::scalar(DType::F64, 0.25));
    for (bad, finite) in [
        (1.0, true),
        (f32::MAX, true),
        (f32::NAN, false),
        (f32::INFINITY, false),
    ] {
        let mut all = grads(1);
        all[2].1.data_mut::<f32>()[8199] = bad;
        let all = on(e, all);
        let before = e.counts().downloaded;
        let got = f.fetch(e, &[&part, &loss], all.iter().map(|(_, g)| g));
        assert_eq!(got.unwrap(), (vec![0.25, 1.5], finite), "{bad}");
        assert_eq!(e.counts().downloaded - before, 16);
    }
    let none = f.fetch(e, &[&loss], std::iter::empty()).unwrap();
    assert_eq!(none, (vec![1.5], true));
}

/// What `kernels/optim.cu` computes; panics where it is not what the host does.
pub(crate) fn mutation_cases(e: Engine) {
    figures(e);
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
fn figures_come_in_one_piece_and_see_one_value_that_is_not_finite() {
    figures(Engine::emulated(2));
}
