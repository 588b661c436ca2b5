//! Every s-th pixel: `y[n, c, i, j] = x[n, c, o + s i, o + s j]`. A strided 1x1 convolution is this and a product; the
//! second half of a factorized reduction starts at `o = 1` (systems.md 2.1).

use std::sync::Arc;

use super::on_device::{int, long, over_maps, pick};
use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver as k;
use crate::backend::host::by_float;
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};

/// The op; operand `(N, C, H, W)`.
#[derive(Debug, Clone, Copy)]
pub struct Subsample {
    /// Step.
    pub stride: usize,
    /// First row and column.
    pub offset: usize,
}

/// Rows and columns `offset`, `offset + stride`, ...
///
/// # Errors
/// [`Code::Shape`] when nothing is left.
pub fn subsample(x: &Var, stride: usize, offset: usize) -> Result<Var> {
    x.tape().apply(Subsample { stride, offset }, &[x])
}

impl Subsample {
    /// Pairs (output index, input index).
    fn each(&self, x: &Shape, mut f: impl FnMut(usize, usize)) {
        let d = x.dims();
        let (s, o) = (self.stride, self.offset);
        let mut yi = 0;
        for p in 0..d[0] * d[1] {
            for iy in (o..d[2]).step_by(s) {
                let row = (p * d[2] + iy) * d[3];
                for ix in (o..d[3]).step_by(s) {
                    f(yi, row + ix);
                    yi += 1;
                }
            }
        }
    }
}

/// Copies between a map and its pixels that are taken, by the kernel of `dtype`.
struct Copy {
    op: Subsample,
    map: Shape,
    taken: Shape,
}

impl Copy {
    fn run(&self, e: Engine, x: &Tensor, y: &mut Tensor, forward: bool) -> Result<bool> {
        let of = |dtype: DType| match forward {
            true => pick(dtype, k::SUBSAMPLE_F32, k::SUBSAMPLE_BF16),
            false => pick(dtype, k::SUBSAMPLE_BWD_F32, k::SUBSAMPLE_BWD_BF16),
        };
        let Some(kernel) = of(x.dtype()) else {
            return Ok(false);
        };
        let (d, t) = (self.map.dims(), self.taken.dims());
        let planes = d[0] * d[1];
        let args = [
            x.arg(e)?,
            y.arg_out(e)?,
            long(planes),
            int(d[2]),
            int(d[3]),
            int(t[2]),
            int(t[3]),
            int(self.op.stride),
            int(self.op.offset),
        ];
        let over = if forward { t } else { d };
        over_maps(e, kernel, [planes, over[2], over[3]], &args)?;
        Ok(true)
    }
}

impl Reference for Subsample {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let mut y = Arr::zeros(self.infer(&[x[0].shape]).expect("checked by infer"));
        self.each(&x[0].shape, |yi, xi| y.data[yi] = x[0].data[xi]);
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let mut dx = Arr::zeros(x[0].shape);
        self.each(&x[0].shape, |yi, xi| dx.data[xi] = dy.data[yi]);
        vec![Some(dx)]
    }
}

impl Op for Subsample {
    fn name(&self) -> &'static str {
        "subsample"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let (n, c, h, w) = x[0].nchw("subsample")?;
        if self.stride == 0 {
            return Err(Error::new(
                Code::Argument,
                "subsample: stride must be at least 1",
            ));
        }
        if h <= self.offset || w <= self.offset {
            return Err(Error::new(
                Code::Shape,
                format!(
                    "subsample: nothing of {} is left at offset {}",
                    x[0], self.offset
                ),
            ));
        }
        let out = |s: usize| (s - self.offset).div_ceil(self.stride);
        Ok(Shape::from([n, c, out(h), out(w)]))
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let shape = self.infer(&[*x[0].shape()])?;
        let mut y = Buffer::scratch(x[0].dtype(), shape.numel());
        by_float!(x[0].dtype(), T => {
            let (src, dst) = (x[0].data::<T>(), y.values_mut::<T>());
            self.each(x[0].shape(), |yi, xi| dst[yi] = src[xi]);
        });
        Ok(Tensor::from_buffer(shape, y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let mut dx = Buffer::zeros(b.dy.dtype(), b.shapes[0].numel());
        by_float!(b.dy.dtype(), T => {
            let (dy, dst) = (b.dy.data::<T>(), dx.values_mut::<T>());
            self.each(&b.shapes[0], |yi, xi| dst[xi] = dy[yi]);
        });
        Ok(vec![Some(Grad::Whole(Tensor::from_buffer(
            b.shapes[0],
            dx,
        )))])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let (stride, offset) = (self.stride, self.offset);
        Some(g.node(Kind::Subsample { stride, offset }, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let (op, map) = (*self, *x[0].shape());
        let taken = self.infer(&[map])?;
        let mut y = Tensor::scratch_on(e, taken, x[0].dtype())?;
        let done = Copy { op, map, taken }.run(e, &x[0], &mut y, true)?;
        Ok(done.then(|| y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let (op, map, taken) = (*self, b.shapes[0], *b.dy.shape());
        let mut dx = Tensor::scratch_on(e, map, b.dy.dtype())?;
        let done = Copy { op, map, taken }.run(e, b.dy, &mut dx, false)?;
        Ok(done.then(|| vec![Some(Grad::Whole(dx))]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "subsample",
    case: |g| {
        let op = Subsample {
            stride: g.int(1, 3),
            offset: g.int(0, 1),
        };
        // Rows longer than a block.
        let wide = if g.side > 9 { 300 } else { g.side };
        let shape = [g.int(1, 2), g.int(1, 3), g.int(2, 9), g.int(2, wide)];
        Case {
            op: Arc::new(op),
            x: vec![g.normal(shape)],
        }
    },
    refusals: || {
        let refuse = |stride, offset, expect| Refusal {
            op: Arc::new(Subsample { stride, offset }) as Arc<dyn Op>,
            shapes: vec![Shape::from([1, 1, 1, 4])],
            expect,
        };
        vec![
            refuse(2, 1, "nothing of (1, 1, 1, 4) is left"),
            refuse(0, 0, "at least 1"),
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "offset off by one",
            spoil: |c, _, g| {
                let Some(t) = &mut g[0] else { return false };
                let w = c.x[0].dims()[3];
                let old = t.clone();
                for (row, from) in t.data_mut::<f64>().chunks_mut(w).zip(old.f64s().chunks(w)) {
                    row[1..].copy_from_slice(&from[..w - 1]);
                    row[0] = 0.0;
                }
                *t != old
            },
        },
    ],
};
