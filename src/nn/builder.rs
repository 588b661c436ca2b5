//! Creates parameters under dotted names, each initialised from its own random stream.

use std::fmt::Display;

use super::params::{ParamId, Store};
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

/// Creates the parameters of a network. A parameter's first value depends on the seed and its name only, so adding a
/// layer leaves the others as they were.
pub struct Builder {
    store: Store,
    prefix: String,
    seed: u64,
    dtype: DType,
}

impl Builder {
    /// `dtype` is that of weights and statistics: f32 or f64 (never bf16: masters are f32).
    pub fn new(seed: u64, dtype: DType) -> Builder {
        assert!(
            matches!(dtype, DType::F32 | DType::F64),
            "weights are f32 or f64"
        );
        Builder {
            store: Store::default(),
            prefix: String::new(),
            seed,
            dtype,
        }
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

    fn value(&self, name: &str, shape: Shape, init: Init) -> Tensor {
        let mut rng = Rng::new(self.seed, &[word("init"), word(name)]);
        let mut draw = || match init {
            Init::FanIn(n) => {
                let bound = 1.0 / (n as f64).sqrt();
                rng.range(-bound, bound)
            }
            Init::Normal(std) => std * rng.normal(),
            Init::Constant(c) => c,
        };
        let v: Vec<f64> = (0..shape.numel()).map(|_| draw()).collect();
        Tensor::from_f64(shape, v)
            .expect("as many values as the shape holds")
            .cast(self.dtype)
    }

    /// A weight.
    pub fn weight(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> ParamId {
        let name = self.path(name);
        let v = self.value(&name, shape.into(), init);
        self.store.weights.add(name, v)
    }

    /// An architecture parameter.
    pub fn arch(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> ParamId {
        let name = self.path(name);
        let v = self.value(&name, shape.into(), init);
        self.store.arch.add(name, v)
    }

    /// A buffer.
    pub fn buffer(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> ParamId {
        let name = self.path(name);
        let v = self.value(&name, shape.into(), init);
        self.store.buffers.add(name, v)
    }

    /// The finished sets.
    pub fn finish(self) -> Store {
        self.store
    }
}
