//! Mean of each channel over height and width: `y[n, c] = mean x[n, c, ..]`; `dx = dy / (H W)` on the whole plane.

use std::sync::Arc;

use super::on_device::{int, long, over_packs, pick};
use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver::{self as k, Launch};
use crate::backend::host::{by_float, elementwise};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op; it has no parameters.
#[derive(Debug, Clone)]
pub struct GlobalAvgPool;

/// `(N, C, H, W)` to `(N, C)`.
///
/// # Errors
/// [`Code::Shape`] unless `x` is a map with pixels.
pub fn global_avg_pool(x: &Var) -> Result<Var> {
    x.tape().apply(GlobalAvgPool, &[x])
}

impl Reference for GlobalAvgPool {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let [n, c, h, w] = x[0].nchw();
        let mut y = Arr::zeros(Shape::from([n, c]));
        for (i, &v) in x[0].data.iter().enumerate() {
            y.data[i / (h * w)] += v;
        }
        y.map(|v| v / S::c((h * w) as f64))
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let [_, _, h, w] = x[0].nchw();
        let mut dx = Arr::zeros(x[0].shape);
        for (i, d) in dx.data.iter_mut().enumerate() {
            *d = dy.data[i / (h * w)] / S::c((h * w) as f64);
        }
        vec![Some(dx)]
    }
}

/// Values of a plane that one warp of a device still sums by itself.
const WARP_PLANE: usize = 512;

impl Op for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let (n, c, h, w) = x[0].nchw(self.name())?;
        if h * w == 0 {
            let text = format!("global_avg_pool: {} has no pixel", x[0]);
            return Err(Error::new(Code::Shape, text));
        }
        Ok(Shape::from([n, c]))
    }

    fn elementwise(&self, x: &[Shape], _y: &Shape) -> Elementwise {
        Elementwise {
            pool: x[0].numel() as u64,
            ..Elementwise::default()
        }
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let (n, c, h, w) = x.shape().nchw(self.name())?;
        let mut y = Buffer::scratch(x.dtype(), n * c);
        by_float!(x.dtype(), T => {
            let x = x.data::<T>();
            for_pieces(y.values_mut::<T>(), 1, x.len(), |p, y| {
                y[0] = elementwise::sum(&x[p * h * w..][..h * w]) / (h * w) as T;
            });
        });
        Ok(Tensor::from_buffer([n, c], y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (_, _, h, w) = b.shapes[0].nchw(self.name())?;
        let mut dx = Buffer::scratch(b.dy.dtype(), b.shapes[0].numel());
        by_float!(b.dy.dtype(), T => {
            let dy = b.dy.data::<T>();
            for_pieces(dx.values_mut::<T>(), h * w, b.shapes[0].numel(), |p, dx| {
                dx.fill(dy[p] / (h * w) as T);
            });
        });
        Ok(vec![Some(Grad::Whole(Tensor::from_buffer(
            b.shapes[0],
            dx,
        )))])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        Some(g.node(Kind::GlobalAvgPool, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let x = &x[0];
        let Some(kernel) = pick(x.dtype(), k::GLOBAL_AVG_POOL_F32, k::GLOBAL_AVG_POOL_BF16) else {
            return Ok(None);
        };
        let (n, c, h, w) = x.shape().nchw(self.name())?;
        let mut y = Tensor::scratch_on(e, [n, c], x.dtype())?;
        let (planes, plane) = (n * c, h * w);
        if planes > 0 {
            // A block of eight warps for a large plane, for small ones a warp each.
            let wide = plane > WARP_PLANE;
            let blocks = if wide { planes } else { planes.div_ceil(8) };
            let launch = Launch::new([blocks as u32, 1, 1], [256, 1, 1]);
            let args = [
                x.arg(e)?,
                y.arg_out(e)?,
                long(planes),
                long(plane),
                int(usize::from(wide)),
            ];
            e.launch(kernel, launch, &args)?;
        }
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let dtype = b.dy.dtype();
        let kernel = pick(
            dtype,
            k::GLOBAL_AVG_POOL_BWD_F32,
            k::GLOBAL_AVG_POOL_BWD_BF16,
        );
        let Some(kernel) = kernel else {
            return Ok(None);
        };
        let (_, _, h, w) = b.shapes[0].nchw(self.name())?;
        let mut dx = Tensor::scratch_on(e, b.shapes[0], dtype)?;
        let args = [b.dy.arg(e)?, dx.arg_out(e)?, long(h * w)];
        over_packs(e, kernel, dtype, b.shapes[0].numel(), &args)?;
        Ok(Some(vec![Some(Grad::Whole(dx))]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "global_avg_pool",
    case: |g| {
        let mut s = g.map_shape();
        if g.rng.coin(0.25) {
            // Large planes are taken by a block each.
            s = [s[0], s[1].min(3), g.int(22, 26), g.int(24, 26)];
        }
        Case {
            op: Arc::new(GlobalAvgPool),
            x: vec![g.normal(s)],
        }
    },
    refusals: || {
        vec![
            Refusal {
                op: Arc::new(GlobalAvgPool),
                shapes: vec![[2, 3].into()],
                expect: "global_avg_pool: expected (N, C, H, W), got (2, 3)",
            },
            Refusal {
                op: Arc::new(GlobalAvgPool),
                shapes: vec![[2, 3, 0, 4].into()],
                expect: "(2, 3, 0, 4) has no pixel",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "the last column left out",
            spoil: |c, _, g| {
                let w = c.x[0].dims()[3];
                let Some(dx) = g[0].as_mut() else {
                    return false;
                };
                for row in dx.data_mut::<f64>().chunks_mut(w) {
                    row[w - 1] = 0.0;
                }
                true
            },
        },
    ],
};
