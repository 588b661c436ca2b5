//! Rows of a matrix times one factor each: `y[r, k] = s[r] x[r, k]`: the weights of a mixed operation times the normalised
//! weight of its edge. `dx = s dy`, `ds[r] = sum_k dy x`.

use std::sync::Arc;

use super::on_device;
use super::reference::{Arr, Reference};
use super::shape_rules::refuse;
use super::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::backend::driver::{self as k, Arg, Launch};
use crate::backend::host::{by_float, combine, elementwise};
use crate::dual::Scalar;
use crate::error::Result;
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Var};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};

/// The op; it has no parameters.
#[derive(Debug, Clone)]
pub struct ScaleRows;

/// `s[r] * x[r, ..]` for `x (R, ...)` and `s (R)`.
///
/// # Errors
/// [`crate::Code::Shape`] when `s` is not a vector as long as `x` has rows.
pub fn scale_rows(x: &Var, s: &Var) -> Result<Var> {
    x.tape().apply(ScaleRows, &[x, s])
}

/// Elements of one row.
fn row(x: &Shape) -> usize {
    x.dims()[1..].iter().product()
}

impl Reference for ScaleRows {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let mut y = x[0].clone();
        let k = row(&y.shape);
        for (i, y) in y.data.iter_mut().enumerate() {
            *y = x[1].data[i / k] * *y;
        }
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let (mut dx, mut ds) = (dy.clone(), Arr::zeros(x[1].shape));
        let k = row(&dy.shape);
        for (i, &g) in dy.data.iter().enumerate() {
            dx.data[i] = x[1].data[i / k] * g;
            ds.data[i / k] += g * x[0].data[i];
        }
        vec![Some(dx), Some(ds)]
    }
}

impl Op for ScaleRows {
    fn name(&self) -> &'static str {
        "scale_rows"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        if x[0].rank() == 0 || x[1].dims() != &x[0].dims()[..1] {
            let text = format!("expected (R, ...) and (R), got {} and {}", x[0], x[1]);
            return Err(refuse(self.name(), text));
        }
        Ok(x[0])
    }

    fn elementwise(&self, _x: &[Shape], y: &Shape) -> Elementwise {
        Elementwise {
            add: y.numel() as u64,
            ..Elementwise::default()
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let (x, s) = (&x[0], &x[1]);
        let k = row(x.shape());
        let mut y = Buffer::scratch(x.dtype(), x.numel());
        by_float!(x.dtype(), T => {
            let rows = y.values_mut::<T>().chunks_mut(k.max(1)).zip(x.data::<T>().chunks(k.max(1)));
            for ((y, x), &s) in rows.zip(s.data::<T>()) {
                elementwise::scale(s, x, y);
            }
        });
        Ok(Tensor::from_buffer(*x.shape(), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (x, s) = (b.input(0), b.input(1));
        let k = row(x.shape());
        let mut dx = Buffer::scratch(x.dtype(), x.numel());
        let mut ds = Buffer::zeros(x.dtype(), s.numel());
        by_float!(x.dtype(), T => {
            let (x, dy, s) = (x.data::<T>(), b.dy.data::<T>(), s.data::<T>());
            let rows = dx.values_mut::<T>().chunks_mut(k.max(1)).zip(ds.values_mut::<T>());
            for (r, (dx, ds)) in rows.enumerate() {
                let at = r * k..(r + 1) * k;
                *ds = combine::scale_dot(s[r], &dy[at.clone()], &x[at], dx);
            }
        });
        let done = |i: usize, g| Some(Grad::Whole(Tensor::from_buffer(b.shapes[i], g)));
        Ok(vec![done(0, dx), done(1, ds)])
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let (x, s) = (&x[0], &x[1]);
        let kernel = on_device::pick(x.dtype(), k::SCALE_ROWS_F32, k::SCALE_ROWS_BF16);
        let Some(kernel) = kernel.filter(|_| s.dtype() == DType::F32) else {
            return Ok(None);
        };
        let mut y = Tensor::scratch_on(e, *x.shape(), x.dtype())?;
        let row = Arg::I64(row(x.shape()) as i64);
        e.over(
            kernel,
            x.numel(),
            &[x.arg(e)?, s.arg(e)?, y.arg_out(e)?, row],
        )?;
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let (x, s) = (b.input(0), b.input(1));
        let kernel = on_device::pick(x.dtype(), k::SCALE_ROWS_BWD_F32, k::SCALE_ROWS_BWD_BF16);
        let Some(kernel) = kernel.filter(|_| s.dtype() == DType::F32 && b.dy.dtype() == x.dtype())
        else {
            return Ok(None);
        };
        let mut dx = Tensor::scratch_on(e, *x.shape(), x.dtype())?;
        let mut ds = Tensor::zeros_on(e, *s.shape(), DType::F32)?;
        let (rows, row) = (s.numel(), row(x.shape()));
        if x.numel() > 0 {
            let (grid, block) = (
                rows.min(1 << 20) as u32,
                row.next_multiple_of(32).min(256) as u32,
            );
            let args = [
                x.arg(e)?,
                s.arg(e)?,
                b.dy.arg(e)?,
                dx.arg_out(e)?,
                ds.arg_out(e)?,
                Arg::I64(rows as i64),
                Arg::I64(row as i64),
            ];
            e.launch(kernel, Launch::new([grid, 1, 1], [block, 1, 1]), &args)?;
        }
        Ok(Some(vec![Some(Grad::Whole(dx)), Some(Grad::Whole(ds))]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "scale_rows",
    case: |g| {
        // A row of one warp, of several, of more values than a block has threads.
        let (r, most) = (g.int(1, 14), g.pick(&[9, 70, 300]));
        let k = g.int(1, most);
        let x = if g.rng.coin(0.2) {
            g.normal([r])
        } else {
            g.normal([r, k])
        };
        Case {
            op: Arc::new(ScaleRows),
            x: vec![x, g.normal([r])],
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(ScaleRows),
            shapes: vec![[14, 8].into(), [8].into()],
            expect: "expected (R, ...) and (R), got (14, 8) and (8)",
        }]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "ds too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 1),
        },
    ],
};
