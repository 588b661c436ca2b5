//! Operations as the tape recorded them, for who wants to know what a network computes.

use std::sync::Arc;

use super::op::Op;
use crate::tensor::{Shape, Tensor};

/// An operand of a recorded operation.
#[derive(Debug, Clone)]
pub struct Operand {
    /// Which value of the tape it is.
    pub id: usize,
    /// The value, if it is known before anything runs: data and parameters.
    pub value: Option<Tensor>,
}

/// One operation that was applied and did not run.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The operation.
    pub op: Arc<dyn Op>,
    /// Its operands.
    pub x: Vec<Operand>,
    /// Which value of the tape is its result.
    pub y: usize,
    /// The shape of the result.
    pub shape: Shape,
}
