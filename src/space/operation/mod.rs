//! The operations behind the primitives (DARTS, reference code; systems.md section 2.1), one file each.

mod dil_conv;
mod factorized_reduce;
mod pool;
mod relu_conv_bn;
mod sep_conv;
mod state;
mod trivial;

pub use dil_conv::DilConv;
pub use factorized_reduce::FactorizedReduce;
pub use pool::{Pool, PoolKind};
pub use relu_conv_bn::ReluConvBn;
pub use sep_conv::SepConv;
pub use state::State;
pub use trivial::{Identity, Zero};

use crate::error::Result;
use crate::nn::{Affine, BatchNorm, Builder, Conv2d, Map, Pass};
use crate::ops::Conv2dParams;
use crate::ops::mixed_node::Candidate;
use crate::tape::Var;
use crate::tensor::Shape;

/// An operation of an edge: `(N, C, H, W)` to `(N, C, H', W')`.
pub trait Operation: std::fmt::Debug + Send + Sync {
    /// Applies it to the state that its edge starts at.
    ///
    /// # Errors
    /// Those of its ops.
    fn forward(&self, p: &Pass, x: &State) -> Result<Var>;

    /// What an operation that computes a whole node or cell needs of this one where its result has the shape `y`; `None` when it is
    /// none of its candidates, or a pooling.
    fn parts(&self, _p: &Pass, _y: &Shape) -> Option<Parts<'_>> {
        None
    }

    /// What it is made of, where it is 1x1 convolutions of its rectified state and a normalisation: one of the whole map, or two that read
    /// every second pixel, as [`pointwise_many()`](crate::ops::pointwise_many()) has them.
    fn pointwise(&self) -> Option<(Vec<&Conv2d>, &BatchNorm)> {
        None
    }

    /// What it is made of, where it is a convolution of its rectified state and a normalisation.
    fn rectified(&self) -> Option<(&Conv2d, &BatchNorm)> {
        None
    }

    /// Of a pooling that is normalised its kind and the normalisation.
    fn pooling(&self) -> Option<(PoolKind, &BatchNorm)> {
        None
    }

    /// What it normalises and rectifies on the way, and the normalisation, where there is such a step.
    ///
    /// # Errors
    /// Those of its ops.
    fn before_inner_norm(&self, _p: &Pass, _x: &State) -> Result<Option<(Var, &BatchNorm)>> {
        Ok(None)
    }

    /// What it normalises last, and the normalisation, where that is its last step; `inner` is what the inner one gave.
    ///
    /// # Errors
    /// Those of its ops.
    fn before_norm(
        &self,
        _p: &Pass,
        _x: &State,
        _inner: Option<&Var>,
    ) -> Result<Option<(Var, &BatchNorm)>> {
        Ok(None)
    }

    /// True for the identity, which drop path leaves alone.
    fn is_identity(&self) -> bool {
        false
    }
}

/// A candidate of [`mod@crate::ops::mixed_node`].
pub struct Parts<'a> {
    /// What it computes.
    pub candidate: Candidate,
    /// Its operands besides the state.
    pub operands: Vec<Var>,
    /// Normalisations in the order of their use.
    pub norms: Vec<&'a BatchNorm>,
}

/// An operation with the map that it yields.
pub type Declared = (Box<dyn Operation>, Map);

/// Where an operation stands.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// What it reads.
    pub x: Map,
    /// 1, or 2 on the edges of a reduction cell that start at a cell input.
    pub stride: usize,
    /// How it normalises.
    pub norms: Norms,
}

/// Batch normalisation inside cells (DARTS, reference code).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// Search network: no scale and shift, and poolings are normalised too.
    Search,
    /// Derived network: scale and shift, nothing after poolings.
    Derived,
}

impl Norms {
    /// Whether normalisations have scale and shift.
    pub fn affine(self) -> Affine {
        match self {
            Norms::Search => Affine::No,
            Norms::Derived => Affine::Yes,
        }
    }
}

/// Parameters of a depthwise convolution of `c` channels that keeps the size at stride 1.
fn depthwise(c: usize, k: usize, stride: usize, dilation: usize) -> Conv2dParams {
    Conv2dParams {
        stride,
        padding: dilation * (k / 2),
        dilation,
        groups: c,
    }
}

/// `sep_conv_3x3` and `sep_conv_5x5`.
pub(super) fn sep_conv<const K: usize>(b: &mut Builder, site: Site) -> Result<Declared> {
    let (op, y) = SepConv::new(b, site, K)?;
    Ok((Box::new(op), y))
}

/// `dil_conv_3x3` and `dil_conv_5x5`.
pub(super) fn dil_conv<const K: usize>(b: &mut Builder, site: Site) -> Result<Declared> {
    let (op, y) = DilConv::new(b, site, K)?;
    Ok((Box::new(op), y))
}

/// `max_pool_3x3`.
pub(super) fn max_pool(b: &mut Builder, site: Site) -> Result<Declared> {
    let (op, y) = Pool::new(b, site, PoolKind::Max)?;
    Ok((Box::new(op), y))
}

/// `avg_pool_3x3`.
pub(super) fn avg_pool(b: &mut Builder, site: Site) -> Result<Declared> {
    let (op, y) = Pool::new(b, site, PoolKind::Average)?;
    Ok((Box::new(op), y))
}

/// `skip_connect`: the identity, or a factorised reduction at stride 2.
pub(super) fn skip(b: &mut Builder, site: Site) -> Result<Declared> {
    if site.stride == 1 {
        return Ok((Box::new(Identity), site.x));
    }
    let (op, y) = FactorizedReduce::new(b, site.x, site.x.c, site.norms)?;
    Ok((Box::new(op), y))
}

/// `none`.
pub(super) fn zero(b: &mut Builder, site: Site) -> Result<Declared> {
    let (op, y) = Zero::new(b, site)?;
    Ok((Box::new(op), y))
}
