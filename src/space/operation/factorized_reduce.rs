//! Factorised reduction: ReLU, two 1x1 convolutions of stride 2 with half the filters each, the second on the map shifted
//! by one row and column; concat; BN.

use super::{Norms, Operation, Parts, State};
use crate::error::{Code, Error, Result};
use crate::nn::{BatchNorm, Bias, Builder, Conv2d, Map, Pass};
use crate::ops::mixed_node::Candidate;
use crate::ops::shape_rules::with_dim;
use crate::ops::{self, Conv2dParams};
use crate::tape::Var;
use crate::tensor::Shape;

/// `skip_connect` at stride 2, and the first input of a cell that follows a reduction cell.
#[derive(Debug)]
pub struct FactorizedReduce {
    conv: [Conv2d; 2],
    norm: BatchNorm,
}

impl FactorizedReduce {
    /// Declares one from `x` to `c_out` channels at half the size.
    ///
    /// # Errors
    /// `MT0105` when a side of the map or the number of channels is odd.
    pub fn new(
        b: &mut Builder,
        x: Map,
        c_out: usize,
        norms: Norms,
    ) -> Result<(FactorizedReduce, Map)> {
        let y = x.halved(b.here())?.channels(c_out);
        if !c_out.is_multiple_of(2) {
            let message = format!(
                "`{}`: a factorised reduction to {c_out} channels, which must be even",
                b.here()
            );
            return Err(Error::new(Code::NetworkDoesNotFit, message)
                .help("use a larger number of initial channels or a smaller partial_k"));
        }
        // The map is subsampled first: a pointwise convolution of stride 2 reads only those pixels.
        let half = x.halved(b.here())?;
        let plain = Conv2dParams::default();
        let (first, _) = Conv2d::new(b, "conv_1", half, c_out / 2, 1, plain, Bias::None)?;
        let (second, _) = Conv2d::new(b, "conv_2", half, c_out / 2, 1, plain, Bias::None)?;
        let op = FactorizedReduce {
            conv: [first, second],
            norm: BatchNorm::new(b, "bn", y, norms.affine()),
        };
        Ok((op, y))
    }
}

impl FactorizedReduce {
    fn reduced(&self, p: &Pass, x: &State) -> Result<Var> {
        let a = self.conv[0].forward(p, &x.subsampled_relu(0)?)?;
        let b = self.conv[1].forward(p, &x.subsampled_relu(1)?)?;
        ops::concat(&[&a, &b])
    }
}

impl Operation for FactorizedReduce {
    fn forward(&self, p: &Pass, x: &State) -> Result<Var> {
        self.norm.forward(p, &self.reduced(p, x)?)
    }

    fn before_norm(
        &self,
        p: &Pass,
        x: &State,
        _inner: Option<&Var>,
    ) -> Result<Option<(Var, &BatchNorm)>> {
        Ok(Some((self.reduced(p, x)?, &self.norm)))
    }

    fn pointwise(&self) -> Option<(Vec<&Conv2d>, &BatchNorm)> {
        Some((self.conv.iter().collect(), &self.norm))
    }

    fn parts(&self, p: &Pass, y: &Shape) -> Option<Parts<'_>> {
        let y = with_dim(y, 1, y.dims()[1] / 2);
        Some(Parts {
            candidate: Candidate::Reduced,
            operands: self.conv.iter().map(|c| c.within(p, &y)).collect(),
            norms: vec![&self.norm],
        })
    }
}
