//! 3x3 pooling with padding 1; the search network normalises its output.

use super::{Norms, Operation, Site, State};
use crate::error::Result;
use crate::nn::map::Window;
use crate::nn::{Affine, BatchNorm, Builder, Map, Pass};
use crate::ops::pool::Kind;
use crate::tape::Var;

/// What a window yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest value.
    Max,
    /// The mean of the values inside the map.
    Average,
}

impl PoolKind {
    /// As operations know it.
    pub fn of_op(self) -> Kind {
        match self {
            PoolKind::Max => Kind::Max,
            PoolKind::Average => Kind::Average,
        }
    }
}

/// `max_pool_3x3` and `avg_pool_3x3`.
#[derive(Debug)]
pub struct Pool {
    kind: PoolKind,
    stride: usize,
    norm: Option<BatchNorm>,
}

impl Pool {
    /// Declares a pooling; in a search network a normalisation without scale and shift follows.
    ///
    /// # Errors
    /// `MT0105` for an empty map.
    pub fn new(b: &mut Builder, site: Site, kind: PoolKind) -> Result<(Pool, Map)> {
        let window = Window {
            k: 3,
            stride: site.stride,
            padding: 1,
            dilation: 1,
        };
        let y = site.x.windowed(b.here(), window)?;
        let norm = (site.norms == Norms::Search).then(|| BatchNorm::new(b, "1", y, Affine::No));
        let op = Pool {
            kind,
            stride: site.stride,
            norm,
        };
        Ok((op, y))
    }
}

impl Operation for Pool {
    fn forward(&self, p: &Pass, x: &State) -> Result<Var> {
        let y = x.pool(self.kind, self.stride)?;
        match &self.norm {
            Some(norm) => norm.forward(p, &y),
            None => Ok(y),
        }
    }

    fn before_norm(
        &self,
        _p: &Pass,
        x: &State,
        _inner: Option<&Var>,
    ) -> Result<Option<(Var, &BatchNorm)>> {
        match &self.norm {
            Some(norm) => Ok(Some((x.pool(self.kind, self.stride)?, norm))),
            None => Ok(None),
        }
    }

    fn pooling(&self) -> Option<(PoolKind, &BatchNorm)> {
        self.norm.as_ref().map(|norm| (self.kind, norm))
    }
}
