//! Bilinear resampling to a given size: `y = (1 - s) ((1 - t) x00 + t x01) + s ((1 - t) x10 + t x11)` between the four
//! neighbours of each output position (conventions in [`resample::taps`]); `dx` gathers the same shares of `dy`.

use std::sync::Arc;

use super::enlarge_device::{Between, Way, enlarge};
use super::on_device::{int, long, over_maps, pick};
use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Gen, Planted, Refusal};
use crate::backend::driver::{self as k, Arg};
use crate::backend::host::{by_float, resample, resample::Tap};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op with its size and convention.
#[derive(Debug, Clone)]
pub struct UpsampleBilinear {
    /// Height of the output.
    pub height: usize,
    /// Width of the output.
    pub width: usize,
    /// Outermost pixel centres coincide, instead of the outer borders of pixels.
    pub align_corners: bool,
}

/// `(N, C, H, W)` to `(N, C, height, width)`, larger or smaller (without averaging).
///
/// # Errors
/// [`Code::Shape`] unless `x` is a map with pixels; [`Code::Argument`] for an empty size.
pub fn upsample_bilinear(x: &Var, op: UpsampleBilinear) -> Result<Var> {
    x.tape().apply(op, &[x])
}

impl UpsampleBilinear {
    fn taps(&self, h: usize, w: usize) -> (Vec<Tap>, Vec<Tap>) {
        (
            resample::taps(h, self.height, self.align_corners),
            resample::taps(w, self.width, self.align_corners),
        )
    }

    /// Calls `f(output index, input index, share)` for all pairs that touch.
    fn each<F: FnMut(usize, usize, f64)>(&self, s: &Shape, mut f: F) {
        let (planes, h, w) = (s.dims()[0] * s.dims()[1], s.dims()[2], s.dims()[3]);
        let (rows, cols) = self.taps(h, w);
        for p in 0..planes {
            for (i, r) in rows.iter().enumerate() {
                for (j, c) in cols.iter().enumerate() {
                    let to = (p * self.height + i) * self.width + j;
                    let at = |y: usize, x: usize| (p * h + y) * w + x;
                    f(to, at(r.lo, c.lo), (1.0 - r.t) * (1.0 - c.t));
                    f(to, at(r.lo, c.hi), (1.0 - r.t) * c.t);
                    f(to, at(r.hi, c.lo), r.t * (1.0 - c.t));
                    f(to, at(r.hi, c.hi), r.t * c.t);
                }
            }
        }
    }

    /// Whether the exact fractions of the kernel fit 32 bits.
    fn fits(&self, s: &Shape) -> bool {
        let (d, most) = (s.dims(), 1 << 30);
        let axis = |size: usize, out: usize| 2 * (size + 1) * (out + 1) < most;
        axis(d[2], self.height) && axis(d[3], self.width)
    }

    /// By how much both sides of a map of this shape grow, where the outer borders coincide; 1 where they do not, or not alike.
    fn factor(&self, s: &Shape) -> usize {
        let d = s.dims();
        let by = self.height / d[2];
        let whole = (self.height, self.width) == (by * d[2], by * d[3]);
        if whole && !self.align_corners { by } else { 1 }
    }

    /// What the kernels take.
    fn args(&self, [x, y]: [Arg; 2], s: &Shape) -> [Arg; 8] {
        let d = s.dims();
        [
            x,
            y,
            long(d[0] * d[1]),
            int(d[2]),
            int(d[3]),
            int(self.height),
            int(self.width),
            int(usize::from(self.align_corners)),
        ]
    }

    fn out(&self, s: &Shape) -> Shape {
        Shape::from([s.dims()[0], s.dims()[1], self.height, self.width])
    }
}

impl Reference for UpsampleBilinear {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let mut y = Arr::zeros(self.out(&x[0].shape));
        self.each(&x[0].shape, |to, from, share| {
            y.data[to] += S::c(share) * x[0].data[from];
        });
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let mut dx = Arr::zeros(x[0].shape);
        self.each(&x[0].shape, |to, from, share| {
            dx.data[from] += S::c(share) * dy.data[to];
        });
        vec![Some(dx)]
    }
}

impl Op for UpsampleBilinear {
    fn name(&self) -> &'static str {
        "upsample_bilinear"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let (_, _, h, w) = x[0].nchw(self.name())?;
        if h == 0 || w == 0 {
            let text = format!("upsample_bilinear: {} has no pixel", x[0]);
            return Err(Error::new(Code::Shape, text));
        }
        if self.height == 0 || self.width == 0 {
            let text = format!(
                "upsample_bilinear: cannot make a map of {}x{} pixels",
                self.height, self.width
            );
            return Err(Error::new(Code::Argument, text));
        }
        Ok(self.out(&x[0]))
    }

    fn elementwise(&self, _x: &[Shape], y: &Shape) -> Elementwise {
        Elementwise {
            upsample: 7 * y.numel() as u64,
            ..Elementwise::default()
        }
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let (_, _, h, w) = x.shape().nchw(self.name())?;
        let (rows, cols) = self.taps(h, w);
        let shape = self.out(x.shape());
        let mut y = Buffer::scratch(x.dtype(), shape.numel());
        by_float!(x.dtype(), T => {
            let x = x.data::<T>();
            for_pieces(y.values_mut::<T>(), self.height * self.width, 4 * shape.numel(), |p, y| {
                resample::bilinear(&x[p * h * w..][..h * w], &rows, &cols, w, y);
            });
        });
        Ok(Tensor::from_buffer(shape, y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (_, _, h, w) = b.shapes[0].nchw(self.name())?;
        let (rows, cols) = self.taps(h, w);
        let plane = self.height * self.width;
        let mut dx = Buffer::scratch(b.dy.dtype(), b.shapes[0].numel());
        by_float!(b.dy.dtype(), T => {
            let dy = b.dy.data::<T>();
            for_pieces(dx.values_mut::<T>(), h * w, 4 * dy.len(), |p, dx| {
                resample::bilinear_bwd(&dy[p * plane..][..plane], &rows, &cols, w, dx);
            });
        });
        Ok(vec![Some(Grad::Whole(Tensor::from_buffer(
            b.shapes[0],
            dx,
        )))])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let kind = Kind::Bilinear {
            height: self.height,
            width: self.width,
            align_corners: self.align_corners,
        };
        Some(g.node(kind, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let x = &x[0];
        let kernel = pick(x.dtype(), k::BILINEAR_F32, k::BILINEAR_BF16);
        let Some(kernel) = kernel.filter(|_| self.fits(x.shape())) else {
            return Ok(None);
        };
        let shape = self.out(x.shape());
        let mut y = Tensor::scratch_on(e, shape, x.dtype())?;
        let ends = [x.arg(e)?, y.arg_out(e)?];
        let planes = shape.dims()[0] * shape.dims()[1];
        let how = (Between::Bilinear, Way::Forward, self.factor(x.shape()));
        let small = [planes, x.shape().dims()[2], x.shape().dims()[3]];
        if enlarge(e, how, x.dtype(), &ends, small)? {
            return Ok(Some(y.into()));
        }
        let over = [planes, self.height, self.width];
        over_maps(e, kernel, over, &self.args(ends, x.shape()))?;
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let s = &b.shapes[0];
        let kernel = pick(b.dy.dtype(), k::BILINEAR_BWD_F32, k::BILINEAR_BWD_BF16);
        let Some(kernel) = kernel.filter(|_| self.fits(s)) else {
            return Ok(None);
        };
        let mut dx = Tensor::scratch_on(e, *s, b.dy.dtype())?;
        let ends = [b.dy.arg(e)?, dx.arg_out(e)?];
        let d = s.dims();
        let small = [d[0] * d[1], d[2], d[3]];
        let how = (Between::Bilinear, Way::Backward, self.factor(s));
        if !enlarge(e, how, b.dy.dtype(), &ends, small)? {
            over_maps(e, kernel, small, &self.args(ends, s))?;
        }
        Ok(Some(vec![Some(Grad::Whole(dx))]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "upsample_bilinear",
    case: |g| {
        let mut s = g.map_shape();
        if g.rng.coin(0.4) {
            // What kernels take 16 bytes at a time.
            let factor = g.pick(&[2, 2, 4]);
            s[1] = s[1].min(7);
            s[3] = s[3].div_ceil(8) * 8;
            let op = UpsampleBilinear {
                height: factor * s[2],
                width: factor * s[3],
                align_corners: g.rng.coin(0.1),
            };
            let x = vec![g.normal(s)];
            return Case {
                op: Arc::new(op),
                x,
            };
        }
        let to = |g: &mut Gen, from: usize| match g.rng.coin(0.5) {
            true => (from * g.int(2, 3)).min(30),
            false => g.int(1, 12),
        };
        Case {
            op: Arc::new(UpsampleBilinear {
                height: to(g, s[2]),
                width: to(g, s[3]),
                align_corners: g.rng.coin(0.5),
            }),
            x: vec![g.normal(s)],
        }
    },
    refusals: || {
        let op = |height, width| {
            Arc::new(UpsampleBilinear {
                height,
                width,
                align_corners: false,
            })
        };
        vec![
            Refusal {
                op: op(4, 0),
                shapes: vec![[1, 1, 2, 2].into()],
                expect: "cannot make a map of 4x0 pixels",
            },
            Refusal {
                op: op(4, 4),
                shapes: vec![[1, 1, 0, 2].into()],
                expect: "(1, 1, 0, 2) has no pixel",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "the last output row left out",
            spoil: |c, dy, g| {
                let (oh, ow) = (dy.dims()[2], dy.dims()[3]);
                let mut cut = dy.clone();
                for plane in cut.data_mut::<f64>().chunks_mut(oh * ow) {
                    plane[(oh - 1) * ow..].fill(0.0);
                }
                let b = Backward {
                    x: &[None],
                    shapes: &[*c.x[0].shape()],
                    y: None,
                    saved: &[],
                    dy: &cut,
                    terms: &[vec![cut.clone()]],
                    so_far: &[],
                    need: &[true],
                };
                let Ok(mut wrong) = c.op.backward(&b) else {
                    return false;
                };
                let Some(Some(Grad::Whole(dx))) = wrong.pop() else {
                    return false;
                };
                let differs = g[0].as_ref() != Some(&dx);
                g[0] = Some(dx);
                differs
            },
        },
    ],
};
