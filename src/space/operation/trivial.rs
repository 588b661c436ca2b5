//! The identity and the zero.

use super::{Operation, Parts, Site, State};
use crate::error::Result;
use crate::nn::map::Window;
use crate::nn::{Builder, Map, Pass};
use crate::ops::mixed_node::Candidate;
use crate::tape::Var;
use crate::tensor::{Shape, Tensor};

/// `skip_connect` at stride 1.
#[derive(Debug)]
pub struct Identity;

impl Operation for Identity {
    fn forward(&self, _p: &Pass, x: &State) -> Result<Var> {
        Ok(x.value()?.clone())
    }

    fn parts(&self, _p: &Pass, _y: &Shape) -> Option<Parts<'_>> {
        Some(Parts {
            candidate: Candidate::Skip,
            operands: vec![],
            norms: vec![],
        })
    }

    fn is_identity(&self) -> bool {
        true
    }
}

/// `none`: zeros, `ceil(H / stride)` x `ceil(W / stride)`.
#[derive(Debug)]
pub struct Zero {
    stride: usize,
}

impl Zero {
    /// Declares one.
    ///
    /// # Errors
    /// `MT0105` for an empty map.
    pub fn new(b: &mut Builder, site: Site) -> Result<(Zero, Map)> {
        let stride = site.stride;
        let window = Window {
            k: 1,
            stride,
            padding: 0,
            dilation: 1,
        };
        let y = site.x.windowed(b.here(), window)?;
        Ok((Zero { stride }, y))
    }
}

impl Operation for Zero {
    fn forward(&self, p: &Pass, x: &State) -> Result<Var> {
        let x = x.value()?;
        let (n, c, h, w) = x.shape().nchw("none")?;
        let shape = [n, c, h.div_ceil(self.stride), w.div_ceil(self.stride)];
        let dtype = x.dtype();
        Ok(p.tape.leaf(Tensor::zeros(shape, dtype)))
    }
}
