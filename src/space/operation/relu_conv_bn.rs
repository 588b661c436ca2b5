//! ReLU, convolution, BN: how a cell brings its inputs to its width.

use super::{Norms, Operation, State};
use crate::error::Result;
use crate::nn::{BatchNorm, Bias, Builder, Conv2d, Map, Pass};
use crate::ops::Conv2dParams;
use crate::tape::Var;

/// A preprocessing with a KxK window and no padding: 1x1 everywhere, 3x3 in the later detection cells of the released network.
#[derive(Debug)]
pub struct ReluConvBn {
    conv: Conv2d,
    window: usize,
    norm: BatchNorm,
}

impl ReluConvBn {
    /// Declares one from `x` to `c_out` channels.
    ///
    /// # Errors
    /// `MT0105` when the window does not fit.
    pub fn new(
        b: &mut Builder,
        x: Map,
        c_out: usize,
        k: usize,
        norms: Norms,
    ) -> Result<(ReluConvBn, Map)> {
        b.scope("op", |b| {
            let params = Conv2dParams::default();
            let (conv, y) = Conv2d::new(b, "1", x, c_out, k, params, Bias::None)?;
            let norm = BatchNorm::new(b, "2", y, norms.affine());
            let window = k;
            Ok((ReluConvBn { conv, window, norm }, y))
        })
    }
}

impl ReluConvBn {
    fn convolved(&self, p: &Pass, x: &State) -> Result<Var> {
        match x.unrectified()? {
            Some(x) => {
                let all = Conv2d::forward_rectified(&[&self.conv], p, &[x])?;
                Ok(all.into_iter().next().expect("a result"))
            }
            None => self.conv.forward(p, &x.relu()?),
        }
    }
}

impl Operation for ReluConvBn {
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

    fn rectified(&self) -> Option<(&Conv2d, &BatchNorm)> {
        Some((&self.conv, &self.norm))
    }

    fn pointwise(&self) -> Option<(Vec<&Conv2d>, &BatchNorm)> {
        (self.window == 1).then(|| (vec![&self.conv], &self.norm))
    }
}
