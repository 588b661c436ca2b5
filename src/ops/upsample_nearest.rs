//! Nearest-neighbour enlargement by a whole factor f: `y[.., i, j] = x[.., i / f, j / f]`; `dx` sums f x f values of `dy`.

use std::sync::Arc;

use super::enlarge_device::{Between, Way, enlarge};
use super::on_device::{int, long, over_maps, pick};
use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver as k;
use crate::backend::host::{by_float, resample};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op with its factor.
#[derive(Debug, Clone)]
pub struct UpsampleNearest {
    /// Enlargement of height and width, at least 1.
    pub factor: usize,
}

/// `(N, C, H, W)` to `(N, C, H f, W f)`, every value repeated.
///
/// # Errors
/// [`Code::Shape`] unless `x` is `(N, C, H, W)`; [`Code::Argument`] for the factor 0.
pub fn upsample_nearest(x: &Var, factor: usize) -> Result<Var> {
    x.tape().apply(UpsampleNearest { factor }, &[x])
}

impl UpsampleNearest {
    fn out(&self, [n, c, h, w]: [usize; 4]) -> Shape {
        Shape::from([n, c, h * self.factor, w * self.factor])
    }

    /// On a device in one launch, `plus` added where there is one, of the type of `x`; `None` when no kernel takes these types.
    ///
    /// # Errors
    /// Those of the launch.
    pub(super) fn enlarged(
        &self,
        e: Engine,
        x: &Tensor,
        plus: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let kernel = pick(x.dtype(), k::NEAREST_F32, k::NEAREST_BF16);
        let Some(kernel) = kernel.filter(|_| plus.is_none_or(|p| p.dtype() == x.dtype())) else {
            return Ok(None);
        };
        let (n, c, h, w) = x.shape().nchw(self.name())?;
        let mut y = Tensor::scratch_on(e, self.out([n, c, h, w]), x.dtype())?;
        let over = [n * c, h * self.factor, w * self.factor];
        let first = [
            x.arg(e)?,
            plus.unwrap_or(x).arg(e)?,
            y.arg_out(e)?,
            int(usize::from(plus.is_some())),
        ];
        let how = (Between::Nearest, Way::Forward, self.factor);
        if !enlarge(e, how, x.dtype(), &first, [n * c, h, w])? {
            let sizes = [long(n * c), int(h), int(w), int(self.factor)];
            over_maps(e, kernel, over, &[&first[..], &sizes].concat())?;
        }
        Ok(Some(y))
    }
}

impl Reference for UpsampleNearest {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let [_, _, h, w] = x[0].nchw();
        let mut y = Arr::zeros(self.out(x[0].nchw()));
        let (hh, ww) = (h * self.factor, w * self.factor);
        for (k, y) in y.data.iter_mut().enumerate() {
            let (p, i, j) = (k / (hh * ww), k / ww % hh, k % ww);
            *y = x[0].data[(p * h + i / self.factor) * w + j / self.factor];
        }
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let [_, _, h, w] = x[0].nchw();
        let mut dx = Arr::zeros(x[0].shape);
        let (hh, ww) = (h * self.factor, w * self.factor);
        for (k, &g) in dy.data.iter().enumerate() {
            let (p, i, j) = (k / (hh * ww), k / ww % hh, k % ww);
            dx.data[(p * h + i / self.factor) * w + j / self.factor] += g;
        }
        vec![Some(dx)]
    }
}

impl Op for UpsampleNearest {
    fn name(&self) -> &'static str {
        "upsample_nearest"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let (n, c, h, w) = x[0].nchw(self.name())?;
        if self.factor == 0 {
            let text = "upsample_nearest: the factor must be at least 1";
            return Err(Error::new(Code::Argument, text));
        }
        Ok(self.out([n, c, h, w]))
    }

    fn elementwise(&self, _x: &[Shape], y: &Shape) -> Elementwise {
        Elementwise {
            upsample: y.numel() as u64,
            ..Elementwise::default()
        }
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let (n, c, h, w) = x.shape().nchw(self.name())?;
        let shape = self.out([n, c, h, w]);
        let mut y = Buffer::scratch(x.dtype(), shape.numel());
        by_float!(x.dtype(), T => {
            let x = x.data::<T>();
            for_pieces(y.values_mut::<T>(), h * w * self.factor * self.factor, shape.numel(), |p, y| {
                resample::nearest(&x[p * h * w..][..h * w], w, self.factor, y);
            });
        });
        Ok(Tensor::from_buffer(shape, y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (_, _, h, w) = b.shapes[0].nchw(self.name())?;
        let plane = h * w * self.factor * self.factor;
        let mut dx = Buffer::scratch(b.dy.dtype(), b.shapes[0].numel());
        by_float!(b.dy.dtype(), T => {
            let dy = b.dy.data::<T>();
            for_pieces(dx.values_mut::<T>(), h * w, dy.len(), |p, dx| {
                resample::nearest_bwd(&dy[p * plane..][..plane], w, self.factor, dx);
            });
        });
        Ok(vec![Some(Grad::Whole(Tensor::from_buffer(
            b.shapes[0],
            dx,
        )))])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let factor = self.factor;
        Some(g.node(Kind::Nearest { factor }, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        Ok(self.enlarged(e, &x[0], None)?.map(Output::from))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let Some(kernel) = pick(b.dy.dtype(), k::NEAREST_BWD_F32, k::NEAREST_BWD_BF16) else {
            return Ok(None);
        };
        let (n, c, h, w) = b.shapes[0].nchw(self.name())?;
        let mut dx = Tensor::scratch_on(e, b.shapes[0], b.dy.dtype())?;
        let ends = [b.dy.arg(e)?, dx.arg_out(e)?];
        let how = (Between::Nearest, Way::Backward, self.factor);
        if enlarge(e, how, b.dy.dtype(), &ends, [n * c, h, w])? {
            return Ok(Some(vec![Some(Grad::Whole(dx))]));
        }
        let args = [
            ends[0],
            ends[1],
            long(n * c),
            int(h),
            int(w),
            int(self.factor),
        ];
        over_maps(e, kernel, [n * c, h, w], &args)?;
        Ok(Some(vec![Some(Grad::Whole(dx))]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "upsample_nearest",
    case: |g| {
        let [n, c, h, w] = g.map_shape();
        // Rows that kernels take 16 bytes at a time, in half of them.
        let w = if g.rng.coin(0.5) {
            w.div_ceil(8) * 8
        } else {
            w
        };
        let s = [n, c.min(7), h, w];
        Case {
            op: Arc::new(UpsampleNearest {
                factor: g.pick(&[1, 2, 2, 3, 4]),
            }),
            x: vec![g.normal(s)],
        }
    },
    refusals: || {
        vec![
            Refusal {
                op: Arc::new(UpsampleNearest { factor: 2 }),
                shapes: vec![[2, 3].into()],
                expect: "upsample_nearest: expected (N, C, H, W), got (2, 3)",
            },
            Refusal {
                op: Arc::new(UpsampleNearest { factor: 0 }),
                shapes: vec![[1, 1, 2, 2].into()],
                expect: "the factor must be at least 1",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "one of the repeated values left out",
            spoil: |c, dy, g| {
                // The last value of every output plane never reaches the input.
                let plane = dy.dims()[2] * dy.dims()[3];
                let small = c.x[0].dims()[2] * c.x[0].dims()[3];
                let Some(dx) = g[0].as_mut() else {
                    return false;
                };
                let data = dx.data_mut::<f64>();
                for p in 0..dy.numel() / plane {
                    data[(p + 1) * small - 1] -= dy.f64s()[(p + 1) * plane - 1];
                }
                true
            },
        },
    ],
};
