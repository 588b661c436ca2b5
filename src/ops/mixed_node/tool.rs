//! What computes one half of a candidate over an image's channels: sizes, weights and the memory of one thread.

use super::Candidate;
use super::half::{self, Gradients, Half};
use super::plan::Plan;
use super::reduce::{self, Reduce};
use crate::backend::host::Float;
use crate::tensor::Tensor;

/// One of the two kinds.
pub enum Tool<'a, T> {
    Convolution(Box<Half>, half::Weights<'a, T>, half::Scratch<T>),
    Reduction(Reduce, reduce::Weights<'a, T>, reduce::Scratch<T>),
}

impl<'a, T: Float> Tool<'a, T> {
    /// Half 0 or 1 of candidate `u`, where it has one; `back` prepares the way back.
    pub fn of(p: &Plan, x: &[&'a Tensor], u: usize, half: usize, back: bool) -> Option<Self> {
        let unit = &p.units[u];
        let stride = if half == 0 {
            p.edges[unit.edge].stride
        } else {
            1
        };
        if unit.candidate == Candidate::Reduced && half == 0 {
            let tool = Reduce::of(p);
            let scratch = tool.scratch(back);
            let weights = reduce::Weights::of(x, unit, p.a, back);
            return Some(Tool::Reduction(tool, weights, scratch));
        }
        if unit.maps.len() <= half {
            return None;
        }
        let tool = Box::new(Half::of(unit.candidate, stride, p)?);
        let scratch = tool.scratch(back);
        let weights = half::Weights::of(x, unit, half, p.a, back);
        Some(Tool::Convolution(tool, weights, scratch))
    }

    /// Takes `max(a x + b, 0)` of an image's channels as the input; `affine` gives a and b of a channel (a reduction has none).
    pub fn load(&mut self, x: &[T], affine: impl Fn(usize) -> (T, T)) {
        match self {
            Tool::Convolution(tool, _, s) => tool.load(x, affine, s),
            Tool::Reduction(tool, _, s) => tool.load(x, s),
        }
    }

    /// The map before normalisation.
    pub fn forward(&mut self, z: &mut [T]) {
        match self {
            Tool::Convolution(tool, w, s) => tool.forward(w, s, z),
            Tool::Reduction(tool, w, s) => tool.forward(w, s, z),
        }
    }

    /// Gradients of the weights before anything is added.
    pub fn zeros(&self) -> Gradients<T> {
        match self {
            Tool::Convolution(tool, ..) => tool.zeros(),
            Tool::Reduction(tool, ..) => tool.zeros(),
        }
    }

    /// The gradient of the rectified input, and the weights' gradients added where wanted.
    pub fn backward(&mut self, dz: &[T], grads: Option<&mut Gradients<T>>, dr: &mut [T]) {
        match self {
            Tool::Convolution(tool, w, s) => tool.backward(dz, w, grads, s, dr),
            Tool::Reduction(tool, w, s) => tool.backward(dz, w, grads, s, dr),
        }
    }
}
