//! What several edges that start at one node compute alike is computed once.

use std::cell::{OnceCell, RefCell};

use super::PoolKind;
use crate::error::Result;
use crate::ops;
use crate::tape::{Path, Var};
use crate::tensor::DType;

/// A node's value with the parameter-free intermediate results that operations on its outgoing edges share: rectified,
/// pooled, subsampled. Sharing changes no value: each is a pure function of the node.
pub struct State {
    x: Value,
    shared: RefCell<Vec<(Shared, Var)>>,
}

enum Value {
    Own(Var),
    /// The first channels of a value.
    Part {
        whole: Var,
        channels: usize,
        /// Both poolings are asked for.
        pools: bool,
        cut: OnceCell<Var>,
    },
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
            x: Value::Own(x),
            shared: RefCell::default(),
        }
    }

    /// The state of the first channels of `whole`, cut out when an operation asks for them alone. `pools`: both poolings will be
    /// asked for, and may be computed together.
    pub fn part(whole: Var, channels: usize, pools: bool) -> State {
        State {
            x: Value::Part {
                whole,
                channels,
                pools,
                cut: OnceCell::new(),
            },
            shared: RefCell::default(),
        }
    }

    /// The value; asserts that it is no part of another.
    pub fn x(&self) -> &Var {
        match &self.x {
            Value::Own(x) => x,
            Value::Part { .. } => unreachable!("a part of a value has to be cut out"),
        }
    }

    /// The value, cut out where it is a part of another.
    ///
    /// # Errors
    /// Those of the op.
    pub fn value(&self) -> Result<&Var> {
        match &self.x {
            Value::Own(x) => Ok(x),
            Value::Part {
                whole,
                channels,
                cut,
                ..
            } => {
                if cut.get().is_none() {
                    let own = match *channels == whole.dims()[1] {
                        true => whole.clone(),
                        false => ops::slice(whole, 0, *channels)?,
                    };
                    let _ = cut.set(own);
                }
                Ok(cut.get().expect("just set"))
            }
        }
    }

    /// The value for operations that rectify it as they read it; `None` where no kernels do.
    ///
    /// # Errors
    /// Those of the op.
    pub fn unrectified(&self) -> Result<Option<&Var>> {
        let x = self.value()?;
        let on_device = matches!(x.tape().cx().path, Path::Device(_));
        let known = matches!(x.dtype(), DType::F32 | DType::Bf16);
        Ok((on_device && known).then_some(x))
    }

    /// `max(x, 0)`.
    ///
    /// # Errors
    /// Those of the op.
    pub fn relu(&self) -> Result<Var> {
        self.share(Shared::Relu, |s| ops::relu(s.value()?))
    }

    /// The 3x3 pooling with padding 1.
    ///
    /// # Errors
    /// Those of the op.
    pub fn pool(&self, kind: PoolKind, stride: usize) -> Result<Var> {
        self.pair(stride)?;
        self.share(Shared::Pool(kind, stride), |s| match kind {
            PoolKind::Max => ops::max_pool(s.value()?, 3, stride, 1),
            PoolKind::Average => ops::avg_pool(s.value()?, 3, stride, 1),
        })
    }

    /// Computes both poolings together, where both will be asked for and a device saves launches by it.
    fn pair(&self, stride: usize) -> Result<()> {
        let Value::Part {
            whole,
            channels,
            pools: true,
            ..
        } = &self.x
        else {
            return Ok(());
        };
        let max = Shared::Pool(PoolKind::Max, stride);
        let there = self.shared.borrow().iter().any(|s| s.0 == max);
        if !there && matches!(whole.tape().cx().path, Path::Device(_)) {
            let [maxima, means] = ops::pools(whole, *channels, stride)?;
            let average = Shared::Pool(PoolKind::Average, stride);
            self.shared
                .borrow_mut()
                .extend([(max, maxima), (average, means)]);
        }
        Ok(())
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
