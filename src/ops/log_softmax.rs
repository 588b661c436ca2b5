//! Logarithm of the softmax over one dimension, max-stabilised: `y = x - m - ln sum e^(x - m)`;
//! `dx = dy - softmax(x) sum dy`.

use std::sync::Arc;

use super::on_device;
use super::reference::{Arr, Reference};
use super::shape_rules::{has_dim, split};
use super::softmax::{lines, operand, over_lines, piece};
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver as k;
use crate::backend::host::{by_float, softmax as kernel};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::Result;
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op: log-softmax over dimension `dim`.
#[derive(Debug, Clone)]
pub struct LogSoftmax {
    /// The dimension.
    pub dim: usize,
}

/// `ln(softmax(x))` over dimension `dim`, any shape.
///
/// # Errors
/// [`crate::Code::Shape`] when the tensor has no such dimension.
pub fn log_softmax(x: &Var, dim: usize) -> Result<Var> {
    x.tape().apply(LogSoftmax { dim }, &[x])
}

impl Reference for LogSoftmax {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let mut y = x[0].clone();
        for line in lines(split(&x[0].shape, self.dim)) {
            let max = line
                .clone()
                .map(|i| x[0].data[i].v())
                .fold(f64::NEG_INFINITY, f64::max);
            let mut sum = S::zero();
            for i in line.clone() {
                y.data[i] = x[0].data[i] - S::c(max);
                sum += y.data[i].exp();
            }
            for i in line {
                y.data[i] = y.data[i] - sum.ln();
            }
        }
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let y = self.fwd(x);
        let mut dx = dy.clone();
        for line in lines(split(&dy.shape, self.dim)) {
            let mut sum = S::zero();
            for i in line.clone() {
                sum += dy.data[i];
            }
            for i in line {
                dx.data[i] = dy.data[i] - y.data[i].exp() * sum;
            }
        }
        vec![Some(dx)]
    }
}

impl Op for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        has_dim(self.name(), &x[0], self.dim)?;
        Ok(x[0])
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUT
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let v = split(x.shape(), self.dim);
        let mut y = Buffer::scratch(x.dtype(), x.numel());
        by_float!(x.dtype(), T => {
            let x = x.data::<T>();
            let piece = piece(v);
            for_pieces(y.values_mut::<T>(), piece, 16 * x.len(), |i, y| {
                kernel::log_softmax(&x[i * piece..][..y.len()], v.len, v.inner, y);
            });
        });
        Ok(Tensor::from_buffer(*x.shape(), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let y = b.y.expect("saved");
        let v = split(y.shape(), self.dim);
        let mut dx = Buffer::scratch(y.dtype(), y.numel());
        by_float!(y.dtype(), T => {
            let (y, dy) = (y.data::<T>(), b.dy.data::<T>());
            let piece = piece(v);
            for_pieces(dx.values_mut::<T>(), piece, 16 * y.len(), |i, dx| {
                let r = i * piece..i * piece + dx.len();
                kernel::log_softmax_bwd(&y[r.clone()], &dy[r], v.len, v.inner, dx);
            });
        });
        Ok(vec![Some(Grad::Whole(Tensor::from_buffer(*y.shape(), dx)))])
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let x = &x[0];
        let Some(kernel) = on_device::pick(x.dtype(), k::LOG_SOFTMAX_F32, k::LOG_SOFTMAX_BF16)
        else {
            return Ok(None);
        };
        let y = over_lines(e, kernel, split(x.shape(), self.dim), &[x])?;
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let y = b.y.expect("saved");
        let kernel = on_device::pick(y.dtype(), k::LOG_SOFTMAX_BWD_F32, k::LOG_SOFTMAX_BWD_BF16);
        let Some(kernel) = kernel.filter(|_| b.dy.dtype() == y.dtype()) else {
            return Ok(None);
        };
        let dx = over_lines(e, kernel, split(y.shape(), self.dim), &[y, b.dy])?;
        Ok(Some(vec![Some(Grad::Whole(dx))]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "log_softmax",
    case: |g| {
        let (x, dim) = operand(g);
        Case {
            op: Arc::new(LogSoftmax { dim }),
            x: vec![x],
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(LogSoftmax { dim: 4 }),
            shapes: vec![[1, 3, 4, 4].into()],
            expect: "log_softmax: (1, 3, 4, 4) has no dimension 4",
        }]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "dy without the sum",
            spoil: |_, dy, g| {
                let differs = g[0].as_ref() != Some(dy);
                g[0] = Some(dy.clone());
                differs
            },
        },
    ],
};
