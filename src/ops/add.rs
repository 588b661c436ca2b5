//! Sum of two tensors of one shape: `y = a + b`; `da = db = dy`.

use std::sync::Arc;

use super::on_device::{self, pick};
use super::reference::{Arr, Reference};
use super::shape_rules::same;
use super::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::backend::driver as k;
use crate::backend::host::{by_float, combine};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op; it has no parameters.
#[derive(Debug, Clone)]
pub struct Add;

/// `a + b`, any shape, the same for both.
///
/// # Errors
/// [`crate::Code::Shape`] when the shapes differ.
pub fn add(a: &Var, b: &Var) -> Result<Var> {
    a.tape().apply(Add, &[a, b])
}

impl Reference for Add {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let mut y = x[0].clone();
        for (y, &b) in y.data.iter_mut().zip(&x[1].data) {
            *y += b;
        }
        y
    }

    fn bwd<S: Scalar>(&self, _x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        vec![Some(dy.clone()), Some(dy.clone())]
    }
}

/// Elements a thread takes at a time.
const PIECE: usize = 1 << 14;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        same("add", &x[0], &x[1])?;
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
        let mut y = Buffer::scratch(x[0].dtype(), x[0].numel());
        by_float!(x[0].dtype(), T => {
            let (a, b) = (x[0].data::<T>(), x[1].data::<T>());
            for_pieces(y.values_mut::<T>(), PIECE, a.len(), |i, y| {
                let r = i * PIECE..i * PIECE + y.len();
                combine::add(&a[r.clone()], &b[r], y);
            });
        });
        Ok(Tensor::from_buffer(*x[0].shape(), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        Ok(b.need
            .iter()
            .map(|&n| n.then(|| Grad::Whole(b.dy.clone())))
            .collect())
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        Some(g.node(Kind::Add, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let kernel = pick(x[0].dtype(), k::ADD_F32, k::ADD_BF16);
        let Some(kernel) = kernel.filter(|_| on_device::one_type(x)) else {
            return Ok(None);
        };
        let mut y = Tensor::scratch_on(e, *x[0].shape(), x[0].dtype())?;
        let args = [x[0].arg(e)?, x[1].arg(e)?, y.arg_out(e)?];
        on_device::over_packs(e, kernel, x[0].dtype(), x[0].numel(), &args)?;
        Ok(Some(y.into()))
    }

    fn backward_device(&self, _e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        self.backward(b).map(Some)
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "add",
    case: |g| {
        let s = g.map_shape();
        Case {
            op: Arc::new(Add),
            x: vec![g.normal(s), g.normal(s)],
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(Add),
            shapes: vec![[1, 2, 3, 3].into(), [1, 2, 3, 4].into()],
            expect: "expected operands of one shape, got (1, 2, 3, 3) and (1, 2, 3, 4)",
        }]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "db too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 1),
        },
    ],
};
