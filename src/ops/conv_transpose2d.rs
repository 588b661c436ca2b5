//! Transposed convolution: the input gradient of a convolution taken as a forward.
//! `y[n, o, i s + u - p, j s + v - p] += w[c, o, u, v] x[n, c, i, j]`.

use std::sync::Arc;

use super::conv2d::{device, each_product};
use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::backend::host::by_float;
use crate::backend::host::conv::{self, ConvSizes};
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op; operands x `(N, C_in, H, W)`, w `(C_in, C_out, K, K)`, optionally b `(C_out)`.
#[derive(Debug, Clone, Copy)]
pub struct ConvTranspose2d {
    /// Step of the outputs per input.
    pub stride: usize,
    /// Rows and columns cut off on each side.
    pub padding: usize,
}

/// Transposed convolution, output sides `(H - 1) stride - 2 padding + K`.
///
/// # Errors
/// [`Code::Shape`] when the channels do not fit or the output would vanish.
pub fn conv_transpose2d(
    x: &Var,
    w: &Var,
    b: Option<&Var>,
    stride: usize,
    padding: usize,
) -> Result<Var> {
    let op = ConvTranspose2d { stride, padding };
    match b {
        Some(b) => x.tape().apply(op, &[x, w, b]),
        None => x.tape().apply(op, &[x, w]),
    }
}

impl ConvTranspose2d {
    /// Sizes of the convolution whose input gradient this is: it maps our output to our input.
    fn sizes(&self, x: &Shape, w: &Shape) -> Result<ConvSizes> {
        let (n, c, h, wi) = x.nchw("conv_transpose2d")?;
        let (wc, o, k, k2) = w.nchw("conv_transpose2d weight")?;
        if self.stride == 0 {
            return Err(Error::new(
                Code::Argument,
                "conv_transpose2d: stride must be at least 1",
            ));
        }
        if c != wc || k != k2 || k == 0 {
            return Err(Error::new(
                Code::Shape,
                format!("conv_transpose2d: weight {w} does not fit input {x}"),
            ));
        }
        let side = |s: usize| {
            ((s.max(1) - 1) * self.stride + k)
                .checked_sub(2 * self.padding)
                .filter(|&v| v > 0 && s > 0)
        };
        let (Some(ho), Some(wo)) = (side(h), side(wi)) else {
            return Err(Error::new(
                Code::Shape,
                format!(
                    "conv_transpose2d: padding {} leaves nothing of {x}",
                    self.padding
                ),
            ));
        };
        let (stride, padding) = (self.stride, self.padding);
        Ok(ConvSizes {
            n,
            c_in: o,
            h: ho,
            w: wo,
            c_out: c,
            ho: h,
            wo: wi,
            k,
            stride,
            padding,
            dilation: 1,
            groups: 1,
        })
    }
}

impl Reference for ConvTranspose2d {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let s = self
            .sizes(&x[0].shape, &x[1].shape)
            .expect("checked by infer");
        let mut y = Arr::zeros(Shape::from([s.n, s.c_in, s.h, s.w]));
        if let Some(b) = x.get(2) {
            for (i, v) in y.data.iter_mut().enumerate() {
                *v = b.data[i / (s.h * s.w) % s.c_in];
            }
        }
        each_product(&s, |xi, yi, wi| y.data[yi] += x[0].data[xi] * x[1].data[wi]);
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let s = self
            .sizes(&x[0].shape, &x[1].shape)
            .expect("checked by infer");
        let (mut dx, mut dw) = (Arr::zeros(x[0].shape), Arr::zeros(x[1].shape));
        each_product(&s, |xi, yi, wi| {
            dx.data[xi] += dy.data[yi] * x[1].data[wi];
            dw.data[wi] += dy.data[yi] * x[0].data[xi];
        });
        let mut all = vec![Some(dx), Some(dw)];
        if let Some(b) = x.get(2) {
            let mut db = Arr::zeros(b.shape);
            for (i, &v) in dy.data.iter().enumerate() {
                db.data[i / (s.h * s.w) % s.c_in] += v;
            }
            all.push(Some(db));
        }
        all
    }
}

impl Op for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let s = self.sizes(&x[0], &x[1])?;
        if let Some(b) = x.get(2)
            && b.dims() != [s.c_in]
        {
            return Err(Error::new(
                Code::Shape,
                format!(
                    "conv_transpose2d: bias {b} does not fit {} channels",
                    s.c_in
                ),
            ));
        }
        Ok(Shape::from([s.n, s.c_in, s.h, s.w]))
    }

    fn elementwise(&self, x: &[Shape], y: &Shape) -> Elementwise {
        Elementwise {
            add: if x.len() > 2 { y.numel() as u64 } else { 0 },
            ..Elementwise::default()
        }
    }

    fn saves(&self) -> Saves {
        Saves {
            inputs: 0b11,
            output: false,
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let s = self.sizes(x[0].shape(), x[1].shape())?;
        let shape = Shape::from([s.n, s.c_in, s.h, s.w]);
        let mut y = Buffer::scratch(x[0].dtype(), shape.numel());
        by_float!(x[0].dtype(), T => {
            let out = y.values_mut::<T>();
            conv::input_gradient(&s, x[1].data::<T>(), x[0].data::<T>(), out);
            if let Some(b) = x.get(2) {
                conv::add_bias(b.data::<T>(), s.h * s.w, out);
            }
        });
        Ok(Tensor::from_buffer(shape, y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let s = self.sizes(&b.shapes[0], &b.shapes[1])?;
        by_float!(b.dy.dtype(), T => {
            let dy = b.dy.data::<T>();
            let grad = |i: usize, fill: &dyn Fn(&mut [T])| {
                b.need[i].then(|| {
                    let mut out = Buffer::scratch(b.dy.dtype(), b.shapes[i].numel());
                    fill(out.values_mut());
                    Grad::Whole(Tensor::from_buffer(b.shapes[i], out))
                })
            };
            let mut all = vec![
                grad(0, &|dx| conv::forward(&s, dy, b.input(1).data::<T>(), dx)),
                grad(1, &|dw| conv::weight_gradient(&s, dy, b.input(0).data::<T>(), dw)),
            ];
            if b.shapes.len() > 2 {
                all.push(grad(2, &|db| conv::bias_gradient(s.n, s.c_in, s.h * s.w, dy, db)));
            }
            Ok(all)
        })
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let (stride, padding) = (self.stride, self.padding);
        Some(g.node(Kind::ConvTranspose { stride, padding }, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let s = self.sizes(x[0].shape(), x[1].shape())?;
        let shape = Shape::from([s.n, s.c_in, s.h, s.w]);
        device::apply(e, &s, true, x, shape)
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let s = self.sizes(&b.shapes[0], &b.shapes[1])?;
        device::gradients(e, &s, true, b)
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "conv_transpose2d",
    case: |g| {
        let (k, stride) = (g.int(1, 4), g.int(1, 3));
        let large = g.side / 9;
        let (h, w) = (g.int(1, 5 * large), g.int(1, 9 * large));
        let room = ((h.min(w) - 1) * stride + k - 1) / 2;
        let padding = g.int(0, room.min(k - 1));
        let (c, o) = (g.int(1, 4 * large), g.int(1, 4 * large));
        let n = g.int(1, 3);
        let mut x = vec![g.normal([n, c, h, w]), g.normal([c, o, k, k])];
        if g.rng.coin(0.5) {
            x.push(g.normal([o]));
        }
        Case {
            op: Arc::new(ConvTranspose2d { stride, padding }),
            x,
        }
    },
    refusals: || {
        let refuse = |stride, padding, shapes: &[&[usize]], expect| Refusal {
            op: Arc::new(ConvTranspose2d { stride, padding }) as Arc<dyn Op>,
            shapes: shapes.iter().map(|s| Shape::new(s)).collect(),
            expect,
        };
        vec![
            refuse(2, 0, &[&[1, 3, 4, 4], &[2, 3, 3, 3]], "does not fit input"),
            refuse(1, 3, &[&[1, 2, 2, 2], &[2, 3, 3, 3]], "leaves nothing"),
            refuse(0, 0, &[&[1, 2, 2, 2], &[2, 3, 3, 3]], "at least 1"),
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "dw too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 1),
        },
        Planted {
            what: "db too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 2),
        },
        Planted {
            what: "last column of dx missing",
            spoil: |c, _, g| {
                let w = c.x[0].dims()[3];
                let Some(t) = &mut g[0] else { return false };
                let last = t.data_mut::<f64>().iter_mut().skip(w - 1).step_by(w);
                last.fold(false, |hit, v| {
                    let was = *v != 0.0;
                    *v = 0.0;
                    hit | was
                })
            },
        },
    ],
};
