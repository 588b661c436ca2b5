//! Results of an operation besides the first.

use std::sync::{Arc, Mutex, PoisonError};

use super::op::{Backward, Grad, Op, Output, Saves};
use crate::error::{Code, Error, Result};
use crate::tensor::{Engine, Shape, Tensor};

/// What a forward puts aside for the records of its further results.
#[derive(Debug, Default)]
pub struct Aside(Mutex<Vec<Option<Tensor>>>);

impl Aside {
    /// Puts all but the first result aside.
    pub fn put(&self, all: Vec<Tensor>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = all.into_iter().map(Some).collect();
    }

    /// Hands result `i` out, once; the first is 0 and not here.
    pub fn take(&self, i: usize) -> Option<Tensor> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_mut(i.checked_sub(1)?)?.take()
    }
}

/// Hands out a result that the operation put aside; its operand is the first one.
#[derive(Debug)]
pub(super) struct Further {
    pub of: Arc<dyn Op>,
    pub result: usize,
    pub shape: Shape,
}

impl Op for Further {
    fn name(&self) -> &'static str {
        (*self.of).name()
    }

    fn infer(&self, _x: &[Shape]) -> Result<Shape> {
        Ok(self.shape)
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, _x: &[Tensor]) -> Result<Output> {
        let taken = (*self.of).aside().and_then(|a| a.take(self.result));
        taken.map(Output::from).ok_or_else(|| {
            let text = format!("{}: there is no result {}", self.name(), self.result);
            Error::new(Code::Internal, text)
        })
    }

    fn backward(&self, _b: &Backward) -> Result<Vec<Option<Grad>>> {
        unreachable!("the walk hands its gradients to the first result")
    }

    fn forward_device(&self, _e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let mut out = self.forward(x)?;
        out.y = out.y.cast(x[0].dtype());
        Ok(Some(out))
    }
}
