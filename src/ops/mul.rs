//! Product of two tensors of one shape: `y = a b`; `da = b dy`, `db = a dy`.

use std::sync::Arc;

use super::on_device;
use super::reference::{Arr, Reference};
use super::shape_rules::same;
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver as k;
use crate::backend::host::{by_float, combine};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op; it has no parameters.
#[derive(Debug, Clone)]
pub struct Mul;

/// `a * b` element by element, any shape, the same for both.
///
/// # Errors
/// [`crate::Code::Shape`] when the shapes differ.
pub fn mul(a: &Var, b: &Var) -> Result<Var> {
    a.tape().apply(Mul, &[a, b])
}

fn product<S: Scalar>(a: &Arr<S>, b: &Arr<S>) -> Arr<S> {
    Arr {
        shape: a.shape,
        data: a.data.iter().zip(&b.data).map(|(&a, &b)| a * b).collect(),
    }
}

impl Reference for Mul {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        product(&x[0], &x[1])
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        vec![Some(product(&x[1], dy)), Some(product(&x[0], dy))]
    }
}

/// Elements a thread takes at a time.
const PIECE: usize = 1 << 14;

fn fast_product(a: &Tensor, b: &Tensor) -> Tensor {
    let mut y = Buffer::scratch(a.dtype(), a.numel());
    by_float!(a.dtype(), T => {
        let (a, b) = (a.data::<T>(), b.data::<T>());
        for_pieces(y.values_mut::<T>(), PIECE, a.len(), |i, y| {
            let r = i * PIECE..i * PIECE + y.len();
            combine::mul(&a[r.clone()], &b[r], y);
        });
    });
    Tensor::from_buffer(*a.shape(), y)
}

/// The product by a launch; `None` when the types differ or have no kernel.
fn product_on(e: Engine, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
    let kernel = on_device::pick(a.dtype(), k::MUL_F32, k::MUL_BF16);
    let Some(kernel) = kernel.filter(|_| a.dtype() == b.dtype()) else {
        return Ok(None);
    };
    let mut y = Tensor::scratch_on(e, *a.shape(), a.dtype())?;
    let args = [a.arg(e)?, b.arg(e)?, y.arg_out(e)?];
    on_device::over_packs(e, kernel, a.dtype(), a.numel(), &args)?;
    Ok(Some(y))
}

impl Op for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        same("mul", &x[0], &x[1])?;
        Ok(x[0])
    }

    fn elementwise(&self, _x: &[Shape], y: &Shape) -> Elementwise {
        Elementwise {
            add: y.numel() as u64,
            ..Elementwise::default()
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        Ok(fast_product(&x[0], &x[1]).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let times = |i: usize| Grad::Whole(fast_product(b.input(i), b.dy));
        Ok(vec![
            b.need[0].then(|| times(1)),
            b.need[1].then(|| times(0)),
        ])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        Some(g.node(Kind::Mul, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        Ok(product_on(e, &x[0], &x[1])?.map(Output::from))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let mut all = vec![None, None];
        for (i, d) in all.iter_mut().enumerate().filter(|(i, _)| b.need[*i]) {
            match product_on(e, b.input(1 - i), b.dy)? {
                Some(g) => *d = Some(Grad::Whole(g)),
                None => return Ok(None),
            }
        }
        Ok(Some(all))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "mul",
    case: |g| {
        let s = g.map_shape();
        Case {
            op: Arc::new(Mul),
            x: vec![g.normal(s), g.normal(s)],
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(Mul),
            shapes: vec![[1, 2, 3, 3].into(), [2, 2, 3, 3].into()],
            expect: "expected operands of one shape, got (1, 2, 3, 3) and (2, 2, 3, 3)",
        }]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "the two gradients swapped",
            spoil: |c, _, g| {
                g.swap(0, 1);
                c.x[0] != c.x[1]
            },
        },
    ],
};
