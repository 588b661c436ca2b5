//! The second result of an operation that has two.

use std::sync::Arc;

use super::op::{Backward, Grad, Op, Output, Saves};
use crate::error::{Code, Error, Result};
use crate::tensor::{Engine, Shape, Tensor};

/// Hands out what the operation put aside; its operand is the first result.
#[derive(Debug)]
pub(super) struct Second(pub Arc<dyn Op>);

impl Op for Second {
    fn name(&self) -> &'static str {
        (*self.0).name()
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        Ok(x[0])
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, _x: &[Tensor]) -> Result<Output> {
        let gone = || Error::new(Code::Internal, format!("{}: no second result", self.name()));
        (*self.0).take_second().map(Output::from).ok_or_else(gone)
    }

    fn backward(&self, _b: &Backward) -> Result<Vec<Option<Grad>>> {
        unreachable!("the walk hands its gradients to the first result")
    }

    fn forward_device(&self, _e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let mut second = self.forward(x)?;
        second.y = second.y.cast(x[0].dtype());
        Ok(Some(second))
    }
}
