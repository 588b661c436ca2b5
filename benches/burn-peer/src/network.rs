//! The PC-DARTS supernet of `benches/peers/networks.py` (`CifarNet`).

use burn_tensor::backend::AutodiffBackend;
use burn_tensor::{Distribution, Tensor, activation};

use crate::layers::{Map, Weights, norm};

const NODES: usize = 4;
const EDGES: usize = 14;
const K: usize = 4;

/// Logits of the mixture: alphas (edges, 8) and betas (edges, 1) of normal and of reduction cells.
pub struct Arch<B: AutodiffBackend>(pub [Tensor<B, 2>; 4]);

impl<B: AutodiffBackend> Arch<B> {
    pub fn new(device: &B::Device) -> Self {
        let small = Distribution::Normal(0.0, 1e-3);
        let of = |columns| Tensor::random([EDGES, columns], small, device).require_grad();
        Arch([of(8), of(8), of(1), of(1)])
    }

    /// Softmax of each edge's row; softmax of the betas over the edges into each node.
    fn mixture(&self, reduce: bool) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let (alpha, beta) = (&self.0[usize::from(reduce)], &self.0[2 + usize::from(reduce)]);
        let (mut nodes, mut at) = (vec![], 0);
        for node in 0..NODES {
            let edges = beta.clone().slice([at..at + 2 + node, 0..1]);
            nodes.push(activation::softmax(edges, 0));
            at += 2 + node;
        }
        (activation::softmax(alpha.clone(), 1), Tensor::cat(nodes, 0))
    }
}

pub struct Sizes {
    pub channels: usize,
    pub cells: usize,
}

fn cell<B: AutodiffBackend>(
    w: &Weights<B>,
    [s0, s1]: [Map<B>; 2],
    width: usize,
    (alpha, beta): &(Tensor<B, 2>, Tensor<B, 2>),
    reduce: bool,
) -> Map<B> {
    let s0 = match s0.dims()[2] > s1.dims()[2] {
        true => w.halve(activation::relu(s0), width),
        false => norm(w.conv(activation::relu(s0), width, 1, 1)),
    };
    let mut states = vec![s0, norm(w.conv(activation::relu(s1), width, 1, 1))];
    let mut edge = 0;
    for _ in 0..NODES {
        let mut sum: Option<Map<B>> = None;
        for (from, x) in states.iter().enumerate() {
            let stride = if reduce && from < 2 { 2 } else { 1 };
            let row = alpha.clone().slice([edge..edge + 1, 0..8]);
            let b = beta.clone().slice([edge..edge + 1, 0..1]);
            let y = w.mixed(x.clone(), &row, stride, K) * b.reshape([1, 1, 1, 1]);
            sum = Some(match sum {
                None => y,
                Some(s) => s + y,
            });
            edge += 1;
        }
        states.extend(sum);
    }
    Tensor::cat(states.split_off(2), 1)
}

/// Logits `(N, 10)`.
pub fn forward<B: AutodiffBackend>(w: &Weights<B>, a: &Arch<B>, s: &Sizes, x: Map<B>) -> Tensor<B, 2> {
    w.restart();
    let stem = norm(w.conv(x, 3 * s.channels, 3, 1));
    let mixtures = [a.mixture(false), a.mixture(true)];
    let (mut s0, mut s1, mut width) = (stem.clone(), stem, s.channels);
    for i in 0..s.cells {
        let reduce = i == s.cells / 3 || i == 2 * s.cells / 3;
        width *= if reduce { 2 } else { 1 };
        let y = cell(w, [s0, s1.clone()], width, &mixtures[usize::from(reduce)], reduce);
        (s0, s1) = (s1, y);
    }
    let [n, _, _, _] = s1.dims();
    let pooled = s1.mean_dim(2).mean_dim(3);
    w.conv(pooled, 10, 1, 1).reshape([n, 10])
}
