//! Head outputs to one row for each prior: `(N, A w, H, W)` to `(N, H W A, w)`, anchors innermost:
//! `y[n, (i W + j) A + a, k] = x[n, a w + k, i, j]`. The gradient goes the way back.

use std::sync::Arc;

use super::on_device;
use super::reference::{Arr, Reference};
use super::shape_rules::refuse;
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver::{self as k, Arg, Launch};
use crate::backend::host::{by_float, rearrange};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::Result;
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op with the length of a row.
#[derive(Debug, Clone)]
pub struct ToRows {
    /// Values of a row; divides the channels.
    pub width: usize,
}

/// One row of `width` values for every anchor at every position: rows outer, columns, anchors inner.
///
/// # Errors
/// [`crate::Code::Shape`] unless `x` is `(N, C, H, W)` with C a multiple of `width`.
pub fn to_rows(x: &Var, width: usize) -> Result<Var> {
    x.tape().apply(ToRows { width }, &[x])
}

impl ToRows {
    fn out(&self, s: &Shape) -> Shape {
        let d = s.dims();
        Shape::from([d[0], d[2] * d[3] * (d[1] / self.width), self.width])
    }
}

impl Reference for ToRows {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let [n, c, h, w] = x[0].nchw();
        let mut y = Arr::zeros(self.out(&x[0].shape));
        for i in 0..n {
            for ch in 0..c {
                for p in 0..h * w {
                    y.data[(i * h * w + p) * c + ch] = x[0].data[(i * c + ch) * h * w + p];
                }
            }
        }
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let [n, c, h, w] = x[0].nchw();
        let mut dx = Arr::zeros(x[0].shape);
        for i in 0..n {
            for ch in 0..c {
                for p in 0..h * w {
                    dx.data[(i * c + ch) * h * w + p] = dy.data[(i * h * w + p) * c + ch];
                }
            }
        }
        vec![Some(dx)]
    }
}

/// Side of the tile that a block of `transpose` turns.
const TILE: usize = 32;

/// The images of `x`, matrices of `rows` x `cols`, transposed, under another shape; `None` when the type has no kernel.
fn transposed(
    e: Engine,
    x: &Tensor,
    rows: usize,
    cols: usize,
    to: Shape,
) -> Result<Option<Tensor>> {
    let Some(kernel) = on_device::pick(x.dtype(), k::TRANSPOSE_F32, k::TRANSPOSE_BF16) else {
        return Ok(None);
    };
    let mut y = Tensor::scratch_on(e, to, x.dtype())?;
    if x.numel() > 0 {
        let images = x.numel() / (rows * cols);
        let tiles = images * rows.div_ceil(TILE) * cols.div_ceil(TILE);
        let launch = Launch::new([tiles.min(1 << 30) as u32, 1, 1], [TILE as u32, 8, 1]);
        let args = [
            x.arg(e)?,
            y.arg_out(e)?,
            Arg::I64(images as i64),
            Arg::I32(rows as i32),
            Arg::I32(cols as i32),
        ];
        e.launch(kernel, launch, &args)?;
    }
    Ok(Some(y))
}

impl Op for ToRows {
    fn name(&self) -> &'static str {
        "to_rows"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let (_, c, _, _) = x[0].nchw(self.name())?;
        if self.width == 0 || !c.is_multiple_of(self.width) {
            let text = format!("channels of {} are not rows of {}", x[0], self.width);
            return Err(refuse(self.name(), text));
        }
        Ok(self.out(&x[0]))
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let (_, c, h, w) = x.shape().nchw(self.name())?;
        let mut y = Buffer::scratch(x.dtype(), x.numel());
        by_float!(x.dtype(), T => {
            let x = x.data::<T>();
            for_pieces(y.values_mut::<T>(), c * h * w, x.len(), |i, y| {
                rearrange::transpose(&x[i * c * h * w..][..c * h * w], c, h * w, y);
            });
        });
        Ok(Tensor::from_buffer(self.out(x.shape()), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (_, c, h, w) = b.shapes[0].nchw(self.name())?;
        let mut dx = Buffer::scratch(b.dy.dtype(), b.dy.numel());
        by_float!(b.dy.dtype(), T => {
            let dy = b.dy.data::<T>();
            for_pieces(dx.values_mut::<T>(), c * h * w, dy.len(), |i, dx| {
                rearrange::transpose(&dy[i * c * h * w..][..c * h * w], h * w, c, dx);
            });
        });
        Ok(vec![Some(Grad::Whole(Tensor::from_buffer(
            b.shapes[0],
            dx,
        )))])
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let x = &x[0];
        let (_, c, h, w) = x.shape().nchw(self.name())?;
        let y = transposed(e, x, c, h * w, self.out(x.shape()))?;
        Ok(y.map(Output::from))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let (_, c, h, w) = b.shapes[0].nchw(self.name())?;
        let dx = transposed(e, b.dy, h * w, c, b.shapes[0])?;
        Ok(dx.map(|dx| vec![Some(Grad::Whole(dx))]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "to_rows",
    case: |g| {
        let mut s = g.map_shape();
        let (mut anchors, width) = (g.int(1, 6), g.int(1, 6));
        if g.rng.coin(0.25) {
            // More than a tile of 32 each way.
            anchors = 33usize.div_ceil(width) + g.int(0, 3);
            s = [s[0], 0, 5, g.int(7, 9)];
        }
        Case {
            op: Arc::new(ToRows { width }),
            x: vec![g.normal([s[0], anchors * width, s[2], s[3]])],
        }
    },
    refusals: || {
        vec![
            Refusal {
                op: Arc::new(ToRows { width: 6 }),
                shapes: vec![[1, 16, 2, 2].into()],
                expect: "channels of (1, 16, 2, 2) are not rows of 6",
            },
            Refusal {
                op: Arc::new(ToRows { width: 6 }),
                shapes: vec![[1, 12].into()],
                expect: "expected (N, C, H, W), got (1, 12)",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "not brought back to planes",
            spoil: |c, dy, g| {
                let Ok(wrong) = dy.reshape(*c.x[0].shape()) else {
                    return false;
                };
                let differs = g[0].as_ref() != Some(&wrong);
                g[0] = Some(wrong);
                differs
            },
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{Cx, Tape};

    #[test]
    fn anchors_are_innermost() {
        let tape = Tape::new(Cx::default());
        // Value = 10 * channel + position; two anchors of two values on a 1x3 map.
        let v = (0..12).map(|i| (10 * (i / 3) + i % 3) as f32).collect();
        let x = tape.leaf(Tensor::from_f32([1, 4, 1, 3], v).unwrap());
        let y = to_rows(&x, 2).unwrap();
        assert_eq!(y.dims(), [1, 6, 2]);
        assert_eq!(&y.value().f32s()[..6], &[0., 10., 20., 30., 1., 11.]);
    }
}
