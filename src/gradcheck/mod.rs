//! Gradient check: every op's backward against two independent derivatives, and the fast path against the reference.
//!
//! For an op `f`, operands `x`, a random direction `v` and a random output cotangent `u`, the backward must give
//! `b = <J^T u, v>` equal to `a = <u, J v>`, where `J v` comes from dual numbers (exact to rounding) and from differences of
//! fourth order. The error is `|a - b| / sum_i |u_i (J v)_i|`, so that cancellation between outputs does not blur it.
//!
//! A library user checks an op of their own in three lines:
//!
//! ```
//! use mtnas::gradcheck::{check, Cases};
//! use mtnas::tape::{Backward, Grad, Op, Output};
//! use mtnas::tensor::{Shape, Tensor};
//!
//! /// `y = x^2`, `dx = 2 x dy`.
//! #[derive(Debug, Clone)]
//! struct Square;
//!
//! fn product(a: &Tensor, b: &Tensor, factor: f64) -> mtnas::Result<Tensor> {
//!     let v = a.to_f64().iter().zip(b.to_f64()).map(|(a, b)| factor * a * b).collect();
//!     Ok(Tensor::from_f64(*a.shape(), v)?.cast(a.dtype()))
//! }
//!
//! impl Op for Square {
//!     fn name(&self) -> &'static str {
//!         "square"
//!     }
//!     fn infer(&self, x: &[Shape]) -> mtnas::Result<Shape> {
//!         Ok(x[0])
//!     }
//!     fn forward(&self, x: &[Tensor]) -> mtnas::Result<Output> {
//!         Ok(product(&x[0], &x[0], 1.0)?.into())
//!     }
//!     fn backward(&self, b: &Backward) -> mtnas::Result<Vec<Option<Grad>>> {
//!         Ok(vec![Some(Grad::Whole(product(b.input(0), b.dy, 2.0)?))])
//!     }
//! }
//!
//! // The three lines:
//! let summary = check(&Square, &[[2, 3, 4, 4]], Cases(100))?;
//! assert_eq!(summary.cases, 100);
//! assert!(summary.worst_difference < 1e-8);
//! # Ok::<(), mtnas::Error>(())
//! ```

mod agreement;
mod derivative;
mod device;
mod registry;
mod report;

use std::sync::Arc;

#[cfg(test)]
pub(crate) use derivative::pull;
pub use device::{DeviceOp, DeviceOptions, DeviceReport, agree, operands, run_on};
pub use registry::{Options, run};
pub use report::{OpReport, Report};

use crate::error::{Code, Error, Result};
use crate::ops::table::{Case, Gen};
use crate::rng::{Rng, word};
use crate::tape::Op;
use crate::tensor::Shape;

/// Largest error allowed against dual numbers.
pub const DUAL_TOLERANCE: f64 = 1e-12;
/// Largest error allowed against differences.
pub const DIFFERENCE_TOLERANCE: f64 = 1e-8;

/// How many random cases to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cases(pub usize);

/// What [`check`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Cases tried.
    pub cases: usize,
    /// Largest error against dual numbers, if the op has a forward over them.
    pub worst_dual: Option<f64>,
    /// Largest error against differences.
    pub worst_difference: f64,
}

/// Checks the backward of `op` on operands of these shapes with standard normal values kept 0.05 away from 0; both paths,
/// f64. An op without a forward over dual numbers is held against differences only.
///
/// # Errors
/// [`Code::CheckFailed`] names the first case that fails and by how much; errors of the op itself are passed on.
pub fn check<O, S>(op: &O, shapes: &[S], cases: Cases) -> Result<Summary>
where
    O: Op + Clone + 'static,
    S: Into<Shape> + Copy,
{
    let shared: Arc<dyn Op> = Arc::new(op.clone());
    let mut summary = Summary {
        cases: cases.0,
        worst_dual: None,
        worst_difference: 0.0,
    };
    for i in 0..cases.0 {
        let mut g = Gen::new(Rng::new(0, &[word(op.name()), i as u64]));
        let case = Case {
            op: shared.clone(),
            x: shapes.iter().map(|&s| g.off_zero(s)).collect(),
        };
        let found = derivative::errors(&case, &mut g.rng)?;
        if let Some(text) = found.complaint() {
            let text = format!("{}: case {i}: {text}", op.name());
            return Err(Error::new(Code::CheckFailed, text));
        }
        if let Some(d) = found.dual {
            summary.worst_dual = Some(summary.worst_dual.unwrap_or(0.0).max(d));
        }
        summary.worst_difference = summary.worst_difference.max(found.difference);
    }
    Ok(summary)
}
