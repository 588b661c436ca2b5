//! The fully connected layer.

use super::builder::{Builder, Init};
use super::layers::note;
use super::map::{LayerCost, LayerKind, Map};
use super::params::ParamId;
use super::pass::Pass;
use crate::error::Result;
use crate::ops;
use crate::tape::Var;

/// `(N, C_in)` to `(N, C_out)`, weight `(C_out, C_in)`, with bias.
#[derive(Debug, Clone)]
pub struct Linear {
    w: ParamId,
    b: ParamId,
}

impl Linear {
    /// Declares a linear layer of `c_in` to `c_out` values.
    pub fn new(b: &mut Builder, name: &str, c_in: usize, c_out: usize) -> Linear {
        b.count(LayerCost {
            name: name.into(),
            kind: LayerKind::Linear,
            input: Map::new(c_in, 1, 1),
            output: Map::new(c_out, 1, 1),
            k: 1,
            stride: 1,
            groups: 1,
            params: (c_in * c_out + c_out) as u64,
            macs: (c_in * c_out) as u64,
        });
        b.scope(name, |b| Linear {
            w: b.weight("weight", [c_out, c_in], Init::FanIn(c_in)),
            b: b.weight("bias", [c_out], Init::FanIn(c_in)),
        })
    }

    /// `x w^T + b`.
    ///
    /// # Errors
    /// Those of the op.
    pub fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        let w = p.weight(self.w);
        let y = ops::linear(x, &w, Some(&p.weight(self.b)))?;
        note(p, self.w, LayerKind::Linear, y.shape(), w.shape().numel());
        Ok(y)
    }
}
