//! Candidates and the mixed operation, as `benches/peers/primitives.py` has them ("tuned": no `none`, one shared ReLU).

use std::cell::{Cell, RefCell};

use burn_tensor::backend::AutodiffBackend;
use burn_tensor::module::{avg_pool2d, conv2d, max_pool2d};
use burn_tensor::ops::ConvOptions;
use burn_tensor::{Distribution, Tensor, activation};

pub type Map<B> = Tensor<B, 4>;

/// Candidates besides `none`.
pub const CANDIDATES: usize = 7;
const EPS: f64 = 1e-5;

/// Weights in the order in which a forward asks for them; the first forward makes them.
pub struct Weights<B: AutodiffBackend> {
    pub all: RefCell<Vec<Map<B>>>,
    at: Cell<usize>,
    device: B::Device,
}

impl<B: AutodiffBackend> Weights<B> {
    pub fn new(device: B::Device) -> Self {
        let (all, at) = (RefCell::default(), Cell::new(0));
        Weights { all, at, device }
    }

    /// A forward begins.
    pub fn restart(&self) {
        self.at.set(0);
    }

    fn next(&self, shape: [usize; 4]) -> Map<B> {
        let at = self.at.replace(self.at.get() + 1);
        let mut all = self.all.borrow_mut();
        if at == all.len() {
            let bound = 1.0 / ((shape[1] * shape[2] * shape[3]) as f64).sqrt();
            let uniform = Distribution::Uniform(-bound, bound);
            all.push(Tensor::random(shape, uniform, &self.device).require_grad());
        }
        all[at].clone()
    }

    pub fn conv(&self, x: Map<B>, out: usize, side: usize, stride: usize) -> Map<B> {
        let w = self.next([out, x.dims()[1], side, side]);
        conv2d(x, w, None, options(stride, side / 2, 1, 1))
    }

    pub fn depthwise(&self, x: Map<B>, side: usize, stride: usize, dilation: usize) -> Map<B> {
        let c = x.dims()[1];
        let w = self.next([c, 1, side, side]);
        conv2d(x, w, None, options(stride, dilation * (side / 2), dilation, c))
    }

    /// ReLU comes before: `x` is rectified.
    fn separable(&self, x: Map<B>, side: usize, stride: usize) -> Map<B> {
        let c = x.dims()[1];
        let h = self.conv(self.depthwise(x, side, stride, 1), c, 1, 1);
        let h = activation::relu(norm(h));
        norm(self.conv(self.depthwise(h, side, 1, 1), c, 1, 1))
    }

    fn dilated(&self, x: Map<B>, side: usize, stride: usize) -> Map<B> {
        let c = x.dims()[1];
        norm(self.conv(self.depthwise(x, side, stride, 2), c, 1, 1))
    }

    /// Two convolutions at stride 2 on shifted grids; `x` is rectified.
    pub fn halve(&self, x: Map<B>, out: usize) -> Map<B> {
        let [n, c, h, w] = x.dims();
        let shifted = x.clone().slice([0..n, 0..c, 1..h, 1..w]);
        let a = self.conv(x, out / 2, 1, 2);
        let b = self.conv(shifted, out - out / 2, 1, 2);
        norm(Tensor::cat(vec![a, b], 1))
    }

    /// The sum of the candidates on the first 1/k of the channels with `alpha` (1, 8), which is a softmax; the others bypass it; a
    /// shuffle over k groups.
    pub fn mixed(&self, x: Map<B>, alpha: &Tensor<B, 2>, stride: usize, k: usize) -> Map<B> {
        let [n, c, h, w] = x.dims();
        let active = c / k;
        let first = x.clone().slice([0..n, 0..active, 0..h, 0..w]);
        let r = activation::relu(first.clone());
        let skip = match stride {
            1 => first.clone(),
            _ => self.halve(r.clone(), active),
        };
        let all: [Map<B>; CANDIDATES] = [
            skip,
            norm(max_pool(first.clone(), 3, stride, 1)),
            norm(average_pool(first, stride)),
            self.separable(r.clone(), 3, stride),
            self.separable(r.clone(), 5, stride),
            self.dilated(r.clone(), 3, stride),
            self.dilated(r, 5, stride),
        ];
        let weigh = |(i, y): (usize, Map<B>)| {
            y * alpha.clone().slice([0..1, i + 1..i + 2]).reshape([1, 1, 1, 1])
        };
        let weighed = all.into_iter().enumerate().map(weigh);
        let y = weighed.reduce(|a, b| a + b).expect("candidates");
        let mut rest = x.slice([0..n, active..c, 0..h, 0..w]);
        if stride == 2 {
            rest = max_pool(rest, 2, 2, 0);
        }
        let (h, w) = (h / stride, w / stride);
        let all = Tensor::cat(vec![y, rest], 1).reshape([n, k, active, h, w]);
        all.swap_dims(1, 2).reshape([n, c, h, w])
    }
}

fn options(stride: usize, padding: usize, dilation: usize, groups: usize) -> ConvOptions<2> {
    ConvOptions::new([stride; 2], [padding; 2], [dilation; 2], groups)
}

pub fn max_pool<B: AutodiffBackend>(x: Map<B>, side: usize, stride: usize, padding: usize) -> Map<B> {
    max_pool2d(x, [side; 2], [stride; 2], [padding; 2], [1; 2], false)
}

pub fn average_pool<B: AutodiffBackend>(x: Map<B>, stride: usize) -> Map<B> {
    avg_pool2d(x, [3; 2], [stride; 2], [1; 2], false, false)
}

/// Batch normalisation without scale and shift: what burn's own layer does while it trains, running statistics apart.
pub fn norm<B: AutodiffBackend>(x: Map<B>) -> Map<B> {
    let [n, c, h, w] = x.dims();
    let mean = |x: Map<B>| {
        let rows = x.swap_dims(0, 1).reshape([c, n * h * w]);
        rows.mean_dim(1).reshape([1, c, 1, 1])
    };
    let centred = x.clone() - mean(x);
    let var = mean(centred.clone().powi_scalar(2));
    centred / (var + EPS).sqrt()
}
