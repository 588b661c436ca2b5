//! Max and average pooling over square windows. Padding takes no part: the maximum never sees it, the mean divides by
//! the taps inside the map (systems.md 2.1: `avg_pool_3x3`, padding not counted).

#[path = "pool_device.rs"]
pub(super) mod device;

use std::sync::Arc;

use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Gen, Planted, Refusal};
use crate::backend::host::by_float;
use crate::backend::host::depthwise::{Geometry, Layout};
pub use crate::backend::host::pool::Kind;
use crate::backend::host::pool::Plan;
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::portable::{Graph, Id, Kind as Known, Window};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op; operand `(N, C, H, W)`.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// Max or average.
    pub kind: Kind,
    /// Side of the window.
    pub k: usize,
    /// Step.
    pub stride: usize,
    /// Ring around the map, at most `k / 2`.
    pub padding: usize,
}

/// Largest value of each window; the first of equals takes the gradient.
///
/// # Errors
/// [`Code::Shape`] when the map would vanish, [`Code::Argument`] for a padding above half the window.
pub fn max_pool(x: &Var, k: usize, stride: usize, padding: usize) -> Result<Var> {
    x.tape().apply(
        Pool {
            kind: Kind::Max,
            k,
            stride,
            padding,
        },
        &[x],
    )
}

/// Mean of each window over the taps inside the map.
///
/// # Errors
/// As [`max_pool`].
pub fn avg_pool(x: &Var, k: usize, stride: usize, padding: usize) -> Result<Var> {
    x.tape().apply(
        Pool {
            kind: Kind::Average,
            k,
            stride,
            padding,
        },
        &[x],
    )
}

impl Pool {
    fn geometry(&self, x: &Shape) -> Result<Geometry> {
        let Pool {
            k, stride, padding, ..
        } = *self;
        let (_, _, h, w) = x.nchw("pool")?;
        if k == 0 || stride == 0 || 2 * padding > k {
            let m = format!(
                "pool: window {k}, stride {stride}, padding {padding}: padding must be at most half the window"
            );
            return Err(Error::new(Code::Argument, m));
        }
        if h + 2 * padding < k || w + 2 * padding < k {
            return Err(Error::new(
                Code::Shape,
                format!("pool: a map of {h}x{w} vanishes under a {k}x{k} window"),
            ));
        }
        let out = |s: usize| (s + 2 * padding - k) / stride + 1;
        Ok(Geometry {
            h,
            w,
            ho: out(h),
            wo: out(w),
            k,
            stride,
            padding,
            dilation: 1,
        })
    }

    /// Input indices of the window of output (oy, ox) within a plane, in row order.
    fn window(g: &Geometry, oy: usize, ox: usize) -> impl Iterator<Item = usize> + use<'_> {
        (0..g.k * g.k).filter_map(move |t| {
            let iy = (oy * g.stride + t / g.k)
                .checked_sub(g.padding)
                .filter(|&v| v < g.h)?;
            let ix = (ox * g.stride + t % g.k)
                .checked_sub(g.padding)
                .filter(|&v| v < g.w)?;
            Some(iy * g.w + ix)
        })
    }

    /// Calls `f(output index, input index, weight)` for every tap that passes a gradient.
    fn each_tap<S: Scalar>(&self, x: &Arr<S>, mut f: impl FnMut(usize, usize, f64)) {
        let g = self.geometry(&x.shape).expect("checked by infer");
        for p in 0..x.dim(0) * x.dim(1) {
            for oy in 0..g.ho {
                for ox in 0..g.wo {
                    let yi = (p * g.ho + oy) * g.wo + ox;
                    let base = p * g.h * g.w;
                    match self.kind {
                        Kind::Average => {
                            let count = Self::window(&g, oy, ox).count();
                            Self::window(&g, oy, ox)
                                .for_each(|i| f(yi, base + i, 1.0 / count as f64));
                        }
                        Kind::Max => {
                            let value = |i: usize| x.data[base + i].v();
                            let best = Self::window(&g, oy, ox)
                                .reduce(|a, b| if value(b) > value(a) { b } else { a });
                            f(yi, base + best.expect("a window has a tap inside"), 1.0);
                        }
                    }
                }
            }
        }
    }
}

impl Reference for Pool {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let mut y = Arr::zeros(self.infer(&[x[0].shape]).expect("checked by infer"));
        self.each_tap(&x[0], |yi, xi, w| y.data[yi] += x[0].data[xi] * S::c(w));
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let mut dx = Arr::zeros(x[0].shape);
        self.each_tap(&x[0], |yi, xi, w| dx.data[xi] += dy.data[yi] * S::c(w));
        vec![Some(dx)]
    }
}

/// Planes a thread handles with one scratch.
const PLANES: usize = 8;

impl Op for Pool {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Max => "max_pool",
            Kind::Average => "avg_pool",
        }
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let g = self.geometry(&x[0])?;
        Ok(Shape::from([x[0].dims()[0], x[0].dims()[1], g.ho, g.wo]))
    }

    fn elementwise(&self, _x: &[Shape], y: &Shape) -> Elementwise {
        Elementwise {
            pool: (y.numel() * self.k * self.k) as u64,
            ..Elementwise::default()
        }
    }

    fn saves(&self) -> Saves {
        match self.kind {
            Kind::Max => Saves::INPUTS,
            Kind::Average => Saves::NOTHING,
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let g = self.geometry(x[0].shape())?;
        let shape = self.infer(&[*x[0].shape()])?;
        let mut y = Buffer::scratch(x[0].dtype(), shape.numel());
        let (ip, op) = (g.h * g.w, g.ho * g.wo);
        by_float!(x[0].dtype(), T => {
            let (src, plan) = (x[0].data::<T>(), Plan::<T>::new(self.kind, Layout::new(g)));
            for_pieces(y.values_mut::<T>(), op * PLANES, shape.numel() * g.k * g.k, |i, y| {
                let mut s = plan.scratch();
                for (j, y) in y.chunks_mut(op).enumerate() {
                    plan.forward(&src[(i * PLANES + j) * ip..][..ip], &mut s, y);
                }
            });
        });
        Ok(Tensor::from_buffer(shape, y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let g = self.geometry(&b.shapes[0])?;
        let mut dx = Buffer::scratch(b.dy.dtype(), b.shapes[0].numel());
        let (ip, op) = (g.h * g.w, g.ho * g.wo);
        by_float!(b.dy.dtype(), T => {
            let (dy, plan) = (b.dy.data::<T>(), Plan::<T>::new(self.kind, Layout::new(g)));
            let x = b.x[0].as_ref().map(|t| t.data::<T>());
            for_pieces(dx.values_mut::<T>(), ip * PLANES, dy.len() * g.k * g.k, |i, dx| {
                let mut s = plan.scratch();
                for (j, dx) in dx.chunks_mut(ip).enumerate() {
                    let p = i * PLANES + j;
                    let x = x.map_or(&[][..], |x| &x[p * ip..][..ip]);
                    plan.backward(x, &dy[p * op..][..op], &mut s, dx);
                }
            });
        });
        Ok(vec![Some(Grad::Whole(Tensor::from_buffer(
            b.shapes[0],
            dx,
        )))])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let window = Window {
            k: self.k,
            stride: self.stride,
            padding: self.padding,
        };
        let kind = match self.kind {
            Kind::Max => Known::MaxPool(window),
            Kind::Average => Known::AvgPool(window),
        };
        Some(g.node(kind, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        device::forward(self, e, &x[0])
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        device::backward(self, e, b)
    }
}

fn case(kind: Kind, g: &mut Gen) -> Case {
    // Half of them what kernels take 16 bytes at a time, in rows that mostly allow it.
    let often = [(3, 1, 1), (3, 2, 1), (2, 2, 0)];
    let (k, stride, padding) = match g.rng.coin(0.5) {
        true => g.pick(&often),
        false => (g.pick(&[2, 3]), g.int(1, 2), g.int(0, 1)),
    };
    let least = k - 2 * padding;
    let (tall, wide) = if g.side > 9 { (g.side, 300) } else { (7, 20) };
    let h = least.max(1) + g.int(0, tall);
    let w = match g.rng.coin(0.5) {
        true => g.pick(&[4, 8, 16]) * g.int(1, wide / 10),
        false => least.max(1) + g.int(0, wide),
    };
    let shape = [g.int(1, 2), g.int(1, 4), h, w];
    let x = if kind == Kind::Max {
        g.distinct(shape)
    } else {
        g.normal(shape)
    };
    Case {
        op: Arc::new(Pool {
            kind,
            k,
            stride,
            padding,
        }),
        x: vec![x],
    }
}

fn refusals(kind: Kind) -> Vec<Refusal> {
    let refuse = |k, stride, padding, shape: &[usize], expect| Refusal {
        op: Arc::new(Pool {
            kind,
            k,
            stride,
            padding,
        }) as Arc<dyn Op>,
        shapes: vec![Shape::new(shape)],
        expect,
    };
    vec![
        refuse(3, 1, 0, &[1, 1, 2, 5], "vanishes under a 3x3 window"),
        refuse(3, 1, 2, &[1, 1, 5, 5], "at most half the window"),
        refuse(3, 0, 1, &[1, 1, 5, 5], "stride 0"),
        refuse(3, 1, 1, &[5, 5], "expected (N, C, H, W)"),
    ]
}

const BORDER: Planted = Planted {
    what: "gradient of the first row lost",
    spoil: |c, _, g| {
        let [_, _, h, w] = *c.x[0].dims() else {
            return false;
        };
        let Some(t) = &mut g[0] else { return false };
        let mut hit = false;
        for plane in t.data_mut::<f64>().chunks_mut(h * w) {
            for v in &mut plane[..w] {
                hit |= *v != 0.0;
                *v = 0.0;
            }
        }
        hit
    },
};

/// Registry entry of max pooling.
pub static MAX: Entry = Entry {
    name: "max_pool",
    case: |g| case(Kind::Max, g),
    refusals: || refusals(Kind::Max),
    planted: &[FACTOR, BORDER],
};

/// Registry entry of average pooling.
pub static AVERAGE: Entry = Entry {
    name: "avg_pool",
    case: |g| case(Kind::Average, g),
    refusals: || refusals(Kind::Average),
    planted: &[
        FACTOR,
        BORDER,
        Planted {
            what: "padding counted: border gradients too small",
            spoil: |c, _, g| {
                let [_, _, h, w] = *c.x[0].dims() else {
                    return false;
                };
                let padded = format!("{:?}", c.op).contains("padding: 1");
                let Some(t) = &mut g[0] else { return false };
                let mut hit = false;
                for plane in t.data_mut::<f64>().chunks_mut(h * w).filter(|_| padded) {
                    hit |= plane[0] != 0.0;
                    plane[0] *= 4.0 / 9.0;
                }
                hit
            },
        },
    ],
};
