//! What several edges that start at one node compute alike is computed once.

use std::cell::RefCell;

use super::PoolKind;
use crate::error::Result;
use crate::ops;
use crate::tape::Var;
use crate::tensor::Shape;

/// A node's value with the parameter-free intermediate results that operations on its outgoing edges share: rectified,
/// pooled, subsampled. Sharing changes no value: each is a pure function of the node.
pub struct State {
    x: Var,
    shared: RefCell<Vec<(Shared, Var)>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Shared {
    Relu,
    Pool(PoolKind, usize),
    Subsampled(usize),
}

impl State {
    /// The state of a node whose value is `x`, `(N, C, H, W)`.
    pub fn new(x: Var) -> State {
        State {
            x,
            shared: RefCell::default(),
        }
    }

    /// The value.
    pub fn x(&self) -> &Var {
        &self.x
    }

    /// Shape of what an operation of this stride makes of it, sides rounded up.
    pub fn strided(&self, stride: usize) -> Shape {
        let d = self.x.dims();
        Shape::new(&[d[0], d[1], d[2].div_ceil(stride), d[3].div_ceil(stride)])
    }

    /// `max(x, 0)`.
    ///
    /// # Errors
    /// Those of the op.
    pub fn relu(&self) -> Result<Var> {
        self.share(Shared::Relu, |s| ops::relu(&s.x))
    }

    /// The 3x3 pooling with padding 1.
    ///
    /// # Errors
    /// Those of the op.
    pub fn pool(&self, kind: PoolKind, stride: usize) -> Result<Var> {
        self.share(Shared::Pool(kind, stride), |s| match kind {
            PoolKind::Max => ops::max_pool(&s.x, 3, stride, 1),
            PoolKind::Average => ops::avg_pool(&s.x, 3, stride, 1),
        })
    }

    /// Every second row and column of the rectified value, from row and column `offset` on.
    ///
    /// # Errors
    /// Those of the op.
    pub fn subsampled_relu(&self, offset: usize) -> Result<Var> {
        self.share(Shared::Subsampled(offset), |s| {
            ops::subsample(&s.relu()?, 2, offset)
        })
    }

    fn share(&self, what: Shared, compute: impl FnOnce(&State) -> Result<Var>) -> Result<Var> {
        let found = self
            .shared
            .borrow()
            .iter()
            .find(|s| s.0 == what)
            .map(|s| s.1.clone());
        if let Some(y) = found {
            return Ok(y);
        }
        let y = compute(self)?;
        self.shared.borrow_mut().push((what, y.clone()));
        Ok(y)
    }
}
