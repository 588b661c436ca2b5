//! Separable convolution: (ReLU, depthwise KxK, pointwise, BN) twice, the stride in the first depthwise.

use super::{Operation, Parts, Site, State, depthwise};
use crate::error::Result;
use crate::nn::{BatchNorm, Bias, Builder, Conv2d, Map, Pass};
use crate::ops::Conv2dParams;
use crate::ops::mixed_node::Candidate;
use crate::tape::Var;
use crate::tensor::Shape;

/// `sep_conv_KxK`.
#[derive(Debug)]
pub struct SepConv {
    depthwise: [Conv2d; 2],
    pointwise: [Conv2d; 2],
    norm: [BatchNorm; 2],
    candidate: Candidate,
}

impl SepConv {
    /// Declares one with kernel side `k` (3 or 5).
    ///
    /// # Errors
    /// `MT0105` when it does not fit.
    pub fn new(b: &mut Builder, site: Site, k: usize) -> Result<(SepConv, Map)> {
        let c = site.x.c;
        let plain = Conv2dParams::default();
        b.scope("op", |b| {
            let mut half = |x: Map, stride: usize, names: [&str; 3]| -> Result<_> {
                let params = depthwise(c, k, stride, 1);
                let (dw, y) = Conv2d::new(b, names[0], x, c, k, params, Bias::None)?;
                let (pw, y) = Conv2d::new(b, names[1], y, c, 1, plain, Bias::None)?;
                Ok((
                    dw,
                    pw,
                    BatchNorm::new(b, names[2], y, site.norms.affine()),
                    y,
                ))
            };
            let (dw1, pw1, norm1, y) = half(site.x, site.stride, ["1", "2", "3"])?;
            let (dw2, pw2, norm2, y) = half(y, 1, ["5", "6", "7"])?;
            let op = SepConv {
                depthwise: [dw1, dw2],
                pointwise: [pw1, pw2],
                norm: [norm1, norm2],
                candidate: Candidate::Separable(k),
            };
            Ok((op, y))
        })
    }
}

impl SepConv {
    /// Both convolutions of a half.
    fn half(&self, p: &Pass, i: usize, x: &Var) -> Result<Var> {
        self.pointwise[i].forward(p, &self.depthwise[i].forward(p, x)?)
    }
}

impl Operation for SepConv {
    fn forward(&self, p: &Pass, x: &State) -> Result<Var> {
        let y = self.half(p, 0, &x.relu()?)?;
        let y = self.norm[0].forward_relu(p, &y)?;
        self.norm[1].forward(p, &self.half(p, 1, &y)?)
    }

    fn before_inner_norm(&self, p: &Pass, x: &State) -> Result<Option<(Var, &BatchNorm)>> {
        Ok(Some((self.half(p, 0, &x.relu()?)?, &self.norm[0])))
    }

    fn before_norm(
        &self,
        p: &Pass,
        _x: &State,
        inner: Option<&Var>,
    ) -> Result<Option<(Var, &BatchNorm)>> {
        let half = |y| Ok((self.half(p, 1, y)?, &self.norm[1]));
        inner.map(half).transpose()
    }

    fn parts(&self, p: &Pass, y: &Shape) -> Option<Parts<'_>> {
        let halves = self.depthwise.iter().zip(&self.pointwise);
        Some(Parts {
            candidate: self.candidate,
            operands: halves
                .flat_map(|(d, w)| [d.within(p, y), w.within(p, y)])
                .collect(),
            norms: self.norm.iter().collect(),
        })
    }
}
