//! Sum or mean over all elements, a scalar: `y = f sum x` with f = 1 or 1 / count; `dx = f dy` everywhere.

use std::sync::Arc;

use super::on_device::{self, THREADS};
use super::reference::{Arr, Reference};
use super::shape_rules::refuse;
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver::{self as k, Arg, Launch};
use crate::backend::host::{by_float, elementwise};
use crate::backend::threads::{map, shards, tree_fold};
use crate::dual::Scalar;
use crate::error::Result;
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{DType, DeviceBuffer, Engine, Shape, Tensor};

/// The op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduce {
    /// Sum of all elements.
    Sum,
    /// Their mean.
    Mean,
}

/// Sum of all elements, a scalar.
///
/// # Errors
/// None of its own.
pub fn sum(x: &Var) -> Result<Var> {
    x.tape().apply(Reduce::Sum, &[x])
}

/// Mean of all elements, a scalar.
///
/// # Errors
/// [`crate::Code::Shape`] when there is no element.
pub fn mean(x: &Var) -> Result<Var> {
    x.tape().apply(Reduce::Mean, &[x])
}

impl Reduce {
    fn factor(self, n: usize) -> f64 {
        match self {
            Reduce::Sum => 1.0,
            Reduce::Mean => 1.0 / n as f64,
        }
    }
}

impl Reference for Reduce {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let mut s = S::zero();
        for &v in &x[0].data {
            s += v;
        }
        Arr {
            shape: Shape::new(&[]),
            data: vec![s * S::c(self.factor(x[0].data.len()))],
        }
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let g = dy.data[0] * S::c(self.factor(x[0].data.len()));
        vec![Some(x[0].map(|_| g))]
    }
}

/// Elements summed in the working precision before the sum goes on in f64.
const PIECE: usize = 1 << 12;

impl Op for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        if *self == Reduce::Mean && x[0].numel() == 0 {
            return Err(refuse(
                "reduce",
                format!("the mean of {} has no element", x[0]),
            ));
        }
        Ok(Shape::new(&[]))
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let images = x.dims().first().copied().unwrap_or(1);
        let row = x.numel() / images.max(1);
        let ranges: Vec<_> = shards(images).collect();
        let parts = by_float!(x.dtype(), T => {
            let x = x.data::<T>();
            map(ranges.len(), x.len(), |s| {
                let r = &ranges[s];
                let pieces = x[r.start * row..r.end * row].chunks(PIECE);
                pieces.map(|p| elementwise::sum(p).v()).sum::<f64>()
            })
        });
        let sum = tree_fold(parts, |a, b| a + b).unwrap_or(0.0);
        Ok(Tensor::scalar(x.dtype(), sum * self.factor(x.numel())).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let s = b.shapes[0];
        let g = b.dy.item() * self.factor(s.numel());
        Ok(vec![Some(Grad::Whole(Tensor::full(s, b.dy.dtype(), g)))])
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let x = &x[0];
        let Some(kernel) = on_device::pick(x.dtype(), k::REDUCE_F32, k::REDUCE_BF16) else {
            return Ok(None);
        };
        let n = x.numel();
        let mut y = Tensor::zeros_on(e, Shape::new(&[]), DType::F32)?;
        if n > 0 {
            let blocks = on_device::sum_blocks(n);
            let part = DeviceBuffer::scratch(e, DType::F32, blocks)?;
            let launch = |blocks: usize| Launch::new([blocks as u32, 1, 1], [THREADS, 1, 1]);
            let args = [x.arg(e)?, part.arg_out(), Arg::I64(n as i64)];
            e.launch(kernel, launch(blocks), &args)?;
            let factor = Arg::F32(self.factor(n) as f32);
            let args = [part.arg(), y.arg_out(e)?, Arg::I32(blocks as i32), factor];
            e.launch(k::REDUCE_FINISH, launch(1), &args)?;
        }
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        if b.dy.dtype() != DType::F32 {
            return Ok(None);
        }
        // The operand is not kept, and with it its type: the tape stores the gradient in that.
        let mut dx = Tensor::scratch_on(e, b.shapes[0], DType::F32)?;
        let n = dx.numel();
        let factor = Arg::F32(self.factor(n) as f32);
        let args = [b.dy.arg(e)?, dx.arg_out(e)?, factor];
        on_device::over_packs(e, k::REDUCE_BWD_F32, DType::F32, n, &args)?;
        Ok(Some(vec![Some(Grad::Whole(dx))]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "reduce",
    case: |g| {
        // More values than one block sums.
        let (s, rank) = match g.side > 9 {
            true => ([2, g.int(20, g.side), 8, g.int(8, 15)], 4),
            false => (g.map_shape(), g.int(0, 4)),
        };
        Case {
            op: Arc::new(g.pick(&[Reduce::Sum, Reduce::Mean])),
            x: vec![g.normal(&s[..rank])],
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(Reduce::Mean),
            shapes: vec![[0, 3].into()],
            expect: "the mean of (0, 3) has no element",
        }]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "the count off by one",
            spoil: |c, _, g| {
                let n = c.x[0].numel() as f64;
                let Some(dx) = g[0].as_mut() else {
                    return false;
                };
                dx.data_mut::<f64>()
                    .iter_mut()
                    .for_each(|v| *v *= n / (n + 1.0));
                true
            },
        },
    ],
};
