//! Dilated separable convolution: ReLU, depthwise KxK of dilation 2, pointwise, BN. A single block.

use super::{Operation, Parts, Site, State, depthwise};
use crate::error::Result;
use crate::nn::{BatchNorm, Bias, Builder, Conv2d, Map, Pass};
use crate::ops::Conv2dParams;
use crate::ops::mixed_node::Candidate;
use crate::tape::Var;
use crate::tensor::Shape;

/// `dil_conv_KxK`.
#[derive(Debug)]
pub struct DilConv {
    depthwise: Conv2d,
    pointwise: Conv2d,
    norm: BatchNorm,
    candidate: Candidate,
}

impl DilConv {
    /// Declares one with kernel side `k` (3 or 5); the padding is k - 1.
    ///
    /// # Errors
    /// `MT0105` when it does not fit.
    pub fn new(b: &mut Builder, site: Site, k: usize) -> Result<(DilConv, Map)> {
        let c = site.x.c;
        b.scope("op", |b| {
            let params = depthwise(c, k, site.stride, 2);
            let (depthwise, y) = Conv2d::new(b, "1", site.x, c, k, params, Bias::None)?;
            let plain = Conv2dParams::default();
            let (pointwise, y) = Conv2d::new(b, "2", y, c, 1, plain, Bias::None)?;
            let norm = BatchNorm::new(b, "3", y, site.norms.affine());
            let op = DilConv {
                depthwise,
                pointwise,
                norm,
                candidate: Candidate::Dilated(k),
            };
            Ok((op, y))
        })
    }
}

impl DilConv {
    fn convolved(&self, p: &Pass, x: &State) -> Result<Var> {
        let y = self.depthwise.forward(p, &x.relu()?)?;
        self.pointwise.forward(p, &y)
    }
}

impl Operation for DilConv {
    fn forward(&self, p: &Pass, x: &State) -> Result<Var> {
        self.norm.forward(p, &self.convolved(p, x)?)
    }

    fn before_norm(
        &self,
        p: &Pass,
        x: &State,
        _inner: Option<&Var>,
    ) -> Result<Option<(Var, &BatchNorm)>> {
        Ok(Some((self.convolved(p, x)?, &self.norm)))
    }

    fn parts(&self, p: &Pass, y: &Shape) -> Option<Parts<'_>> {
        Some(Parts {
            candidate: self.candidate,
            operands: vec![self.depthwise.within(p, y), self.pointwise.within(p, y)],
            norms: vec![&self.norm],
        })
    }
}
