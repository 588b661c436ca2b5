//! Rectifier: `y = max(x, 0)`; `dx = dy` where `y > 0`, else 0 (0 at the kink).

use std::sync::Arc;

use super::on_device;
use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver as k;
use crate::backend::host::{by_float, elementwise};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op; it has no parameters.
#[derive(Debug)]
pub struct Relu;

/// `max(x, 0)`, any shape.
///
/// # Errors
/// None of its own.
pub fn relu(x: &Var) -> Result<Var> {
    x.tape().apply(Relu, &[x])
}

impl Reference for Relu {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        x[0].map(|v| if v.v() > 0.0 { v } else { S::zero() })
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let mut dx = dy.clone();
        for (d, x) in dx.data.iter_mut().zip(&x[0].data) {
            if x.v() <= 0.0 {
                *d = S::zero();
            }
        }
        vec![Some(dx)]
    }
}

/// Elements a thread takes at a time.
const PIECE: usize = 1 << 14;

impl Op for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        Ok(x[0])
    }

    fn elementwise(&self, _x: &[Shape], y: &Shape) -> Elementwise {
        Elementwise {
            relu: y.numel() as u64,
            ..Elementwise::default()
        }
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUT
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let mut y = Buffer::scratch(x.dtype(), x.numel());
        by_float!(x.dtype(), T => {
            let x = x.data::<T>();
            for_pieces(y.values_mut::<T>(), PIECE, x.len(), |i, y| elementwise::relu(&x[i * PIECE..][..y.len()], y));
        });
        Ok(Tensor::from_buffer(*x.shape(), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let y = b.y.expect("saved");
        let mut dx = Buffer::scratch(y.dtype(), y.numel());
        by_float!(y.dtype(), T => {
            let (y, dy) = (y.data::<T>(), b.dy.data::<T>());
            for_pieces(dx.values_mut::<T>(), PIECE, y.len(), |i, dx| {
                let r = i * PIECE..i * PIECE + dx.len();
                elementwise::relu_bwd(&y[r.clone()], &dy[r], dx);
            });
        });
        Ok(vec![Some(Grad::Whole(Tensor::from_buffer(*y.shape(), dx)))])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        Some(g.node(Kind::Relu, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let x = &x[0];
        let Some(kernel) = on_device::pick(x.dtype(), k::RELU_F32, k::RELU_BF16) else {
            return Ok(None);
        };
        let mut y = Tensor::scratch_on(e, *x.shape(), x.dtype())?;
        e.over(kernel, x.numel(), &[x.arg(e)?, y.arg_out(e)?])?;
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let y = b.y.expect("saved");
        let Some(kernel) = on_device::pick(y.dtype(), k::RELU_BWD_F32, k::RELU_BWD_BF16) else {
            return Ok(None);
        };
        let mut dx = Tensor::scratch_on(e, *y.shape(), y.dtype())?;
        e.over(
            kernel,
            y.numel(),
            &[y.arg(e)?, b.dy.arg(e)?, dx.arg_out(e)?],
        )?;
        Ok(Some(vec![Some(Grad::Whole(dx))]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "relu",
    case: |g| {
        let s = g.map_shape();
        Case {
            op: Arc::new(Relu),
            x: vec![g.off_zero(s)],
        }
    },
    refusals: Vec::<Refusal>::new,
    planted: &[
        FACTOR,
        Planted {
            what: "passes the gradient of negative inputs",
            spoil: |_, dy, g| {
                let wrong = dy.clone();
                let differs = g[0].as_ref() != Some(&wrong);
                g[0] = Some(wrong);
                differs
            },
        },
    ],
};
