//! A tensor times a constant: `y = c x`; `dx = c dy`. Weights of losses.

use std::sync::Arc;

use super::on_device;
use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver::{self as k, Arg};
use crate::backend::host::{by_float, elementwise};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op with its constant.
#[derive(Debug, Clone)]
pub struct Scale(pub f64);

/// `factor * x`, any shape.
///
/// # Errors
/// [`Code::Argument`] when the factor is not finite.
pub fn scale(x: &Var, factor: f64) -> Result<Var> {
    x.tape().apply(Scale(factor), &[x])
}

impl Reference for Scale {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        x[0].map(|v| S::c(self.0) * v)
    }

    fn bwd<S: Scalar>(&self, _x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        vec![Some(dy.map(|v| S::c(self.0) * v))]
    }
}

/// Elements a thread takes at a time.
const PIECE: usize = 1 << 14;

impl Op for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        if !self.0.is_finite() {
            let text = format!("scale: the factor must be finite, got {}", self.0);
            return Err(Error::new(Code::Argument, text));
        }
        Ok(x[0])
    }

    fn elementwise(&self, _x: &[Shape], y: &Shape) -> Elementwise {
        Elementwise {
            add: y.numel() as u64,
            ..Elementwise::default()
        }
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let mut y = Buffer::scratch(x.dtype(), x.numel());
        by_float!(x.dtype(), T => {
            let (x, c) = (x.data::<T>(), T::c(self.0));
            for_pieces(y.values_mut::<T>(), PIECE, x.len(), |i, y| {
                elementwise::scale(c, &x[i * PIECE..][..y.len()], y);
            });
        });
        Ok(Tensor::from_buffer(*x.shape(), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let dx = self.forward(std::slice::from_ref(b.dy))?.y;
        Ok(vec![Some(Grad::Whole(dx))])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        Some(g.node(Kind::Scale(self.0), x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let x = &x[0];
        let Some(kernel) = on_device::pick(x.dtype(), k::SCALE_F32, k::SCALE_BF16) else {
            return Ok(None);
        };
        let mut y = Tensor::scratch_on(e, *x.shape(), x.dtype())?;
        let args = [x.arg(e)?, y.arg_out(e)?, Arg::F32(self.0 as f32)];
        on_device::over_packs(e, kernel, x.dtype(), x.numel(), &args)?;
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let dx = self.forward_device(e, std::slice::from_ref(b.dy))?;
        Ok(dx.map(|dx| vec![Some(Grad::Whole(dx.y))]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "scale",
    case: |g| {
        let s = g.map_shape();
        Case {
            op: Arc::new(Scale(g.rng.normal())),
            x: vec![g.normal(s)],
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(Scale(f64::NAN)),
            shapes: vec![[3].into()],
            expect: "the factor must be finite, got NaN",
        }]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "the factor left out",
            spoil: |_, dy, g| {
                g[0] = Some(dy.clone());
                true
            },
        },
    ],
};
