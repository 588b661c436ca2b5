//! Declares parameters under dotted names and counts layers; allocates everything at the end, each parameter from its own
//! random stream.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::map::{LayerCost, Map};
use super::params::{ParamId, ParamSet, Store};
use crate::rng::{Rng, word};
use crate::tensor::{DType, Shape, Tensor};

/// How a parameter starts.
#[derive(Debug, Clone, Copy)]
pub enum Init {
    /// Uniform in ±1 / sqrt(fan_in): PyTorch's default for convolutions and linear layers, weight and bias.
    FanIn(usize),
    /// Normal with this standard deviation.
    Normal(f64),
    /// This value everywhere.
    Constant(f64),
}

/// Constants of every batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormOptions {
    /// Added to the variance.
    pub eps: f64,
    /// Share of the batch in the running statistics: `running += momentum * (batch - running)`.
    pub momentum: f64,
}

impl Default for BatchNormOptions {
    /// The framework defaults that all sources use (1e-5, 0.1).
    fn default() -> Self {
        BatchNormOptions {
            eps: 1e-5,
            momentum: 0.1,
        }
    }
}

/// A cell of mixed operations, as it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchedCell {
    /// Its full name: `cells.3`, `det.cells.0`.
    pub name: String,
    /// The map of both its inputs at the cell's width, all channels.
    pub x: Map,
    /// The edges from its inputs halve the map.
    pub reduction: bool,
}

struct Declared {
    name: String,
    shape: Shape,
    init: Init,
}

/// Declares a network. A parameter's first value depends on the seed and its name only, so adding a layer leaves the
/// others as they were; nothing is allocated before [`Builder::finish`].
#[derive(Default)]
pub struct Builder {
    weights: Vec<Declared>,
    arch: Vec<Declared>,
    buffers: Vec<Declared>,
    layers: Vec<LayerCost>,
    blocks: Vec<usize>,
    searched: Vec<SearchedCell>,
    prefix: String,
    /// Constants of the batch normalisations declared from here on.
    pub batch_norm: BatchNormOptions,
    /// Numbers of the blocks that compute on the way back what they would otherwise keep for it ([`Builder::block`]).
    pub recomputed: BTreeSet<usize>,
}

impl Builder {
    /// Nothing declared.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Runs `f` with `name.` before every name.
    pub fn scope<R>(&mut self, name: impl Display, f: impl FnOnce(&mut Builder) -> R) -> R {
        let len = self.prefix.len();
        self.prefix.push_str(&format!("{name}."));
        let r = f(self);
        self.prefix.truncate(len);
        r
    }

    /// The full name of `name` here.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The full name of this scope, for messages.
    pub fn here(&self) -> &str {
        self.prefix.trim_end_matches('.')
    }

    /// A weight.
    pub fn weight(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> ParamId {
        let name = self.path(name);
        declare(&mut self.weights, name, shape.into(), init)
    }

    /// An architecture parameter.
    pub fn arch(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> ParamId {
        let name = self.path(name);
        declare(&mut self.arch, name, shape.into(), init)
    }

    /// A buffer.
    pub fn buffer(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> ParamId {
        let name = self.path(name);
        declare(&mut self.buffers, name, shape.into(), init)
    }

    /// Notes a layer for the cost table; `layer.name` is relative to this scope.
    pub fn count(&mut self, mut layer: LayerCost) {
        layer.name = self.path(&layer.name);
        self.layers.push(layer);
    }

    /// The layers declared so far.
    pub fn layers(&self) -> &[LayerCost] {
        &self.layers
    }

    /// Notes a block that keeps `values` values of each image for the way back and could compute them there once more. True when it is
    /// to.
    pub fn block(&mut self, values: usize) -> bool {
        self.blocks.push(values);
        self.recomputed.contains(&(self.blocks.len() - 1))
    }

    /// What each block declared so far keeps of an image, or would keep.
    pub fn blocks(&self) -> &[usize] {
        &self.blocks
    }

    /// Notes that this scope is a cell of mixed operations over inputs of the map `x`.
    pub fn note_searched(&mut self, x: Map, reduction: bool) {
        let name = self.here().to_string();
        self.searched.push(SearchedCell { name, x, reduction });
    }

    /// The cells of mixed operations declared so far.
    pub fn searched(&self) -> &[SearchedCell] {
        &self.searched
    }

    /// Names and shapes of the weights and buffers declared so far.
    pub fn tensors(&self) -> Vec<(String, Shape)> {
        let all = self.weights.iter().chain(&self.buffers);
        all.map(|d| (d.name.clone(), d.shape)).collect()
    }

    /// Allocates and initialises everything declared. `dtype` is that of weights and statistics: f32 or f64 (never bf16:
    /// masters are f32).
    pub fn finish(self, seed: u64, dtype: DType) -> Store {
        assert!(
            matches!(dtype, DType::F32 | DType::F64),
            "weights are f32 or f64"
        );
        self.allocate(|d| d.value(seed, dtype))
    }

    /// Allocates everything declared and leaves it 0: for what depends on shapes alone.
    pub fn blank(self, dtype: DType) -> Store {
        self.allocate(|d| Tensor::zeros(d.shape, dtype))
    }

    fn allocate(self, value: impl Fn(&Declared) -> Tensor) -> Store {
        let all = |declared: Vec<Declared>| {
            let mut set = ParamSet::default();
            for d in declared {
                let first = value(&d);
                set.add(d.name, first);
            }
            set
        };
        Store {
            weights: all(self.weights),
            arch: all(self.arch),
            buffers: all(self.buffers),
        }
    }
}

fn declare(set: &mut Vec<Declared>, name: String, shape: Shape, init: Init) -> ParamId {
    set.push(Declared { name, shape, init });
    ParamId(set.len() - 1)
}

impl Declared {
    fn value(&self, seed: u64, dtype: DType) -> Tensor {
        let mut rng = Rng::new(seed, &[word("init"), word(&self.name)]);
        let mut draw = || match self.init {
            Init::FanIn(n) => {
                let bound = 1.0 / (n as f64).sqrt();
                rng.range(-bound, bound)
            }
            Init::Normal(std) => std * rng.normal(),
            Init::Constant(c) => c,
        };
        let v: Vec<f64> = (0..self.shape.numel()).map(|_| draw()).collect();
        Tensor::from_f64(self.shape, v)
            .expect("as many values as the shape holds")
            .cast(dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(order: &[&str]) -> Store {
        let mut b = Builder::new();
        for name in order {
            b.scope(name, |b| b.weight("weight", [3, 2], Init::FanIn(4)));
        }
        b.finish(7, DType::F64)
    }

    #[test]
    fn values_depend_on_seed_and_name_only() {
        let (a, b) = (build(&["x", "y"]), build(&["y", "z", "x"]));
        let value = |s: &Store, n: &str| s.weights.get(s.weights.find(n).unwrap()).to_f64();
        assert_eq!(value(&a, "x.weight"), value(&b, "x.weight"));
        assert_ne!(value(&a, "x.weight"), value(&a, "y.weight"));
        assert!(value(&a, "x.weight").iter().all(|v| v.abs() <= 0.5));
    }
}
