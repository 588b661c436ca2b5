//! Convolution: `y[n, o, i, j] = b[o] + sum_{c, u, v} w[o, c, u, v] x[n, c', i s + u d - p, j s + v d - p]`, where `c'` is
//! channel `c` of the group of `o`. Dense, grouped, depthwise, dilated, strided and pointwise are all this op.

use super::reference::{Arr, Reference};
use crate::backend::host::by_float;
use crate::backend::host::conv::{self, ConvSizes};
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

mod depthwise;
pub(crate) mod device;
mod entry;
pub(super) mod sums;
pub(super) mod tiles;

pub use entry::ENTRY;

/// Parameters of a convolution; the kernel is square and its size comes from the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dParams {
    /// Step between outputs, both directions.
    pub stride: usize,
    /// Zeros around the map.
    pub padding: usize,
    /// Step between taps.
    pub dilation: usize,
    /// Groups of channels; `C` for depthwise.
    pub groups: usize,
}

impl Default for Conv2dParams {
    fn default() -> Self {
        Conv2dParams {
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
        }
    }
}

/// The op; operands x `(N, C_in, H, W)`, w `(C_out, C_in / groups, K, K)` and, optionally, b `(C_out)`.
#[derive(Debug, Clone, Copy)]
pub struct Conv2d(pub Conv2dParams);

/// Convolution of `x` with `w`, plus `b`.
///
/// # Errors
/// [`Code::Shape`] when channels do not fit the groups, the kernel is not square or the map would vanish.
pub fn conv2d(x: &Var, w: &Var, b: Option<&Var>, params: Conv2dParams) -> Result<Var> {
    match b {
        Some(b) => x.tape().apply(Conv2d(params), &[x, w, b]),
        None => x.tape().apply(Conv2d(params), &[x, w]),
    }
}

/// The shape of a result.
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_shape(x: &Shape, w: &Shape, params: Conv2dParams) -> Result<Shape> {
    Conv2d(params).infer(&[*x, *w])
}

impl Conv2d {
    fn sizes(&self, x: &Shape, w: &Shape) -> Result<ConvSizes> {
        let Conv2dParams {
            stride,
            padding,
            dilation,
            groups,
        } = self.0;
        let (n, c_in, h, wi) = x.nchw("conv2d")?;
        let (c_out, c_group, k, k2) = w.nchw("conv2d weight")?;
        let bad = |m: String| Err(Error::new(Code::Shape, format!("conv2d: {m}")));
        if stride == 0 || dilation == 0 || groups == 0 || k == 0 {
            return Err(Error::new(
                Code::Argument,
                "conv2d: stride, dilation, groups and kernel must be at least 1",
            ));
        }
        if k != k2 {
            return bad(format!("the kernel must be square, got {w}"));
        }
        if c_in != c_group * groups || c_out % groups != 0 {
            return bad(format!(
                "weight {w} with {groups} groups does not fit input {x}"
            ));
        }
        let reach = (k - 1) * dilation + 1;
        if h + 2 * padding < reach || wi + 2 * padding < reach {
            return bad(format!(
                "a map of {h}x{wi} vanishes under a kernel that reaches {reach} with padding {padding}"
            ));
        }
        let out = |s: usize| (s + 2 * padding - reach) / stride + 1;
        Ok(ConvSizes {
            n,
            c_in,
            h,
            w: wi,
            c_out,
            ho: out(h),
            wo: out(wi),
            k,
            stride,
            padding,
            dilation,
            groups,
        })
    }
}

/// Calls `f(output index, input index, weight index)` for every product of the convolution.
pub(super) fn each_product(s: &ConvSizes, mut f: impl FnMut(usize, usize, usize)) {
    let (gi, go) = (s.c_in / s.groups, s.c_out / s.groups);
    for n in 0..s.n {
        for o in 0..s.c_out {
            for oy in 0..s.ho {
                for ox in 0..s.wo {
                    let yi = ((n * s.c_out + o) * s.ho + oy) * s.wo + ox;
                    for c in 0..gi {
                        for ky in 0..s.k {
                            for kx in 0..s.k {
                                let (iy, ix) = (
                                    oy * s.stride + ky * s.dilation,
                                    ox * s.stride + kx * s.dilation,
                                );
                                if iy < s.padding
                                    || ix < s.padding
                                    || iy - s.padding >= s.h
                                    || ix - s.padding >= s.w
                                {
                                    continue;
                                }
                                let ci = o / go * gi + c;
                                let xi = ((n * s.c_in + ci) * s.h + iy - s.padding) * s.w + ix
                                    - s.padding;
                                f(yi, xi, ((o * gi + c) * s.k + ky) * s.k + kx);
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Reference for Conv2d {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let s = self
            .sizes(&x[0].shape, &x[1].shape)
            .expect("checked by infer");
        let mut y = Arr::zeros(Shape::from([s.n, s.c_out, s.ho, s.wo]));
        if let Some(b) = x.get(2) {
            for (i, v) in y.data.iter_mut().enumerate() {
                *v = b.data[i / (s.ho * s.wo) % s.c_out];
            }
        }
        each_product(&s, |yi, xi, wi| y.data[yi] += x[0].data[xi] * x[1].data[wi]);
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let s = self
            .sizes(&x[0].shape, &x[1].shape)
            .expect("checked by infer");
        let (mut dx, mut dw) = (Arr::zeros(x[0].shape), Arr::zeros(x[1].shape));
        each_product(&s, |yi, xi, wi| {
            dx.data[xi] += dy.data[yi] * x[1].data[wi];
            dw.data[wi] += dy.data[yi] * x[0].data[xi];
        });
        let mut all = vec![Some(dx), Some(dw)];
        if let Some(b) = x.get(2) {
            let mut db = Arr::zeros(b.shape);
            for (i, &v) in dy.data.iter().enumerate() {
                db.data[i / (s.ho * s.wo) % s.c_out] += v;
            }
            all.push(Some(db));
        }
        all
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let s = self.sizes(&x[0], &x[1])?;
        if let Some(b) = x.get(2)
            && b.dims() != [s.c_out]
        {
            return Err(Error::new(
                Code::Shape,
                format!("conv2d: bias {b} does not fit {} output channels", s.c_out),
            ));
        }
        Ok(Shape::from([s.n, s.c_out, s.ho, s.wo]))
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
        let shape = Shape::from([s.n, s.c_out, s.ho, s.wo]);
        let mut y = Buffer::scratch(x[0].dtype(), shape.numel());
        by_float!(x[0].dtype(), T => {
            let out = y.values_mut::<T>();
            conv::forward(&s, x[0].data::<T>(), x[1].data::<T>(), out);
            if let Some(b) = x.get(2) {
                conv::add_bias(b.data::<T>(), s.ho * s.wo, out);
            }
        });
        Ok(Tensor::from_buffer(shape, y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let s = self.sizes(&b.shapes[0], &b.shapes[1])?;
        let fresh = |i: usize| Buffer::scratch(b.dy.dtype(), b.shapes[i].numel());
        let whole = |i: usize, data| Some(Grad::Whole(Tensor::from_buffer(b.shapes[i], data)));
        by_float!(b.dy.dtype(), T => {
            let dy = b.dy.data::<T>();
            let mut all = vec![None, None];
            if b.need[0] {
                let mut dx = fresh(0);
                conv::input_gradient(&s, b.input(1).data::<T>(), dy, dx.values_mut());
                all[0] = whole(0, dx);
            }
            if b.need[1] {
                let mut dw = fresh(1);
                conv::weight_gradient(&s, b.input(0).data::<T>(), dy, dw.values_mut());
                all[1] = whole(1, dw);
            }
            if b.shapes.len() > 2 {
                all.push(b.need[2].then(|| {
                    let mut db = fresh(2);
                    conv::bias_gradient(s.n, s.c_out, s.ho * s.wo, dy, db.values_mut::<T>());
                    Grad::Whole(Tensor::from_buffer(b.shapes[2], db))
                }));
            }
            Ok(all)
        })
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let Conv2dParams {
            stride,
            padding,
            dilation,
            groups,
        } = self.0;
        let kind = Kind::Conv {
            stride,
            padding,
            dilation,
            groups,
        };
        Some(g.node(kind, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let s = self.sizes(x[0].shape(), x[1].shape())?;
        let shape = Shape::from([s.n, s.c_out, s.ho, s.wo]);
        device::apply(e, &s, false, x, shape)
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let s = self.sizes(&b.shapes[0], &b.shapes[1])?;
        device::gradients(e, &s, false, b)
    }
}
