//! A search step on made-up images: an alpha step (Adam), then a weight step (SGD with momentum, clipping at 5), each on a batch of its
//! own, as `benches/peers/step.py` takes it.

use std::time::Instant;

use burn_tensor::backend::AutodiffBackend;
use burn_tensor::{Distribution, ElementConversion, Tensor, activation};
use serde_json::{Value, json};

use crate::Step;
use crate::clock::{cpu_ms, median};
use crate::layers::{Map, Weights};
use crate::network::{Arch, Sizes, forward};

const LR: f64 = 0.025;
const MOMENTUM: f64 = 0.9;
const DECAY: f64 = 3e-4;
const CLIP: f64 = 5.0;
const ALPHA_LR: f64 = 6e-4;
const ALPHA_DECAY: f64 = 1e-3;
const BETAS: [f64; 2] = [0.5, 0.999];

struct Batch<B: AutodiffBackend> {
    images: Map<B>,
    /// One-hot `(N, 10)`.
    labels: Tensor<B, 2>,
}

impl<B: AutodiffBackend> Batch<B> {
    fn new(a: &Step, device: &B::Device) -> Self {
        let shape = [a.batch, 3, a.height, a.width];
        let rows: Vec<f32> = (0..a.batch * 10).map(|i| f32::from(u8::from(i % 10 == i / 10 * 7 % 10))).collect();
        let labels: Tensor<B, 1> = Tensor::from_floats(rows.as_slice(), device);
        Batch {
            images: Tensor::random(shape, Distribution::Normal(0.0, 1.0), device),
            labels: labels.reshape([a.batch, 10]),
        }
    }
}

/// First and second moments.
type Moments<B> = Option<[Tensor<<B as AutodiffBackend>::InnerBackend, 2>; 2]>;

struct Searcher<B: AutodiffBackend> {
    sizes: Sizes,
    weights: Weights<B>,
    arch: Arch<B>,
    momentum: Vec<Option<Tensor<B::InnerBackend, 4>>>,
    moments: [Moments<B>; 4],
    steps: i32,
}

impl<B: AutodiffBackend> Searcher<B> {
    fn loss(&self, b: &Batch<B>) -> Tensor<B, 1> {
        let logits = forward(&self.weights, &self.arch, &self.sizes, b.images.clone());
        let n = b.labels.dims()[0] as f64;
        (activation::log_softmax(logits, 1) * b.labels.clone()).sum() / -n
    }

    fn alpha_step(&mut self, b: &Batch<B>) -> f64 {
        let loss = self.loss(b);
        let mut gradients = loss.backward();
        self.steps += 1;
        let correct = BETAS.map(|beta| 1.0 - beta.powi(self.steps));
        for (p, state) in self.arch.0.iter_mut().zip(&mut self.moments) {
            let Some(g) = p.grad_remove(&mut gradients) else {
                continue;
            };
            let value = p.clone().inner();
            let g = g + value.clone() * ALPHA_DECAY;
            let square = g.clone().powi_scalar(2);
            let [m, v] = match state.take() {
                None => [g * (1.0 - BETAS[0]), square * (1.0 - BETAS[1])],
                Some([m, v]) => [
                    m * BETAS[0] + g * (1.0 - BETAS[0]),
                    v * BETAS[1] + square * (1.0 - BETAS[1]),
                ],
            };
            let by = (m.clone() / correct[0]) / ((v.clone() / correct[1]).sqrt() + 1e-8);
            *p = Tensor::from_inner(value - by * ALPHA_LR).require_grad();
            *state = Some([m, v]);
        }
        loss.into_scalar().elem()
    }

    fn weight_step(&mut self, b: &Batch<B>) -> f64 {
        let loss = self.loss(b);
        let mut gradients = loss.backward();
        let mut all = self.weights.all.borrow_mut();
        let of: Vec<_> = all.iter().map(|p| p.grad_remove(&mut gradients)).collect();
        let square = |g: &Tensor<B::InnerBackend, 4>| -> f64 {
            g.clone().powi_scalar(2).sum().into_scalar().elem()
        };
        let norm = of.iter().flatten().map(square).sum::<f64>().sqrt();
        let share = (CLIP / (norm + 1e-6)).min(1.0);
        self.momentum.resize_with(all.len(), || None);
        for ((p, g), m) in all.iter_mut().zip(of).zip(&mut self.momentum) {
            let Some(g) = g else { continue };
            let value = p.clone().inner();
            let g = g * share + value.clone() * DECAY;
            let v = match m.take() {
                None => g,
                Some(m) => m * MOMENTUM + g,
            };
            *p = Tensor::from_inner(value - v.clone() * LR).require_grad();
            *m = Some(v);
        }
        drop(all);
        loss.into_scalar().elem()
    }
}

pub fn run<B: AutodiffBackend>(a: &Step) -> Value {
    let device = B::Device::default();
    let mut s = Searcher::<B> {
        sizes: Sizes {
            channels: a.channels,
            cells: a.cells,
        },
        weights: Weights::new(device.clone()),
        arch: Arch::new(&device),
        momentum: vec![],
        moments: [const { None }; 4],
        steps: 0,
    };
    let [valid, train] = [Batch::new(a, &device), Batch::new(a, &device)];
    let mut losses = vec![];
    for _ in 0..a.warmup {
        losses.push([s.alpha_step(&valid), s.weight_step(&train)]);
    }
    let (mut wall, mut cpu) = (vec![], vec![]);
    for _ in 0..a.iters {
        let (start, spent) = (Instant::now(), cpu_ms());
        losses.push([s.alpha_step(&valid), s.weight_step(&train)]);
        wall.push(start.elapsed().as_secs_f64() * 1e3);
        cpu.push(cpu_ms() - spent);
    }
    let one = |ms: &[f64]| json!({"median": median(ms), "samples": ms});
    let count: usize = s.weights.all.borrow().iter().map(|w| w.dims().iter().product::<usize>()).sum();
    json!({
        "config": {"mode": a.mode, "batch": a.batch}, "parameters": count,
        "ms": {"cls": {"step": one(&wall), "step_cpu": one(&cpu)}},
        "losses": {"cls": {"first": losses[0], "last": losses[losses.len() - 1]}},
    })
}
