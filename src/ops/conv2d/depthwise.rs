//! Launches of `kernels/depthwise.cu`: 3x3 and 5x5 filters of stride and dilation 1 or 2 that keep the size of the map.

use super::sums::{int, summed};
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::backend::host::conv::ConvSizes;
use crate::error::Result;
use crate::tape::Grad;
use crate::tensor::{DType, Engine, Shape, Tensor};

/// By filter, dilation, stride, as [`Fast::index`]; f32, bf16.
const FORWARD: [[Kernel; 2]; 8] = [
    [k::DEPTHWISE3_D1_S1_F32, k::DEPTHWISE3_D1_S1_BF16],
    [k::DEPTHWISE3_D1_S2_F32, k::DEPTHWISE3_D1_S2_BF16],
    [k::DEPTHWISE3_D2_S1_F32, k::DEPTHWISE3_D2_S1_BF16],
    [k::DEPTHWISE3_D2_S2_F32, k::DEPTHWISE3_D2_S2_BF16],
    [k::DEPTHWISE5_D1_S1_F32, k::DEPTHWISE5_D1_S1_BF16],
    [k::DEPTHWISE5_D1_S2_F32, k::DEPTHWISE5_D1_S2_BF16],
    [k::DEPTHWISE5_D2_S1_F32, k::DEPTHWISE5_D2_S1_BF16],
    [k::DEPTHWISE5_D2_S2_F32, k::DEPTHWISE5_D2_S2_BF16],
];
/// In the same order.
const BWD_W: [[Kernel; 2]; 8] = [
    [
        k::DEPTHWISE3_D1_S1_BWD_W_F32,
        k::DEPTHWISE3_D1_S1_BWD_W_BF16,
    ],
    [
        k::DEPTHWISE3_D1_S2_BWD_W_F32,
        k::DEPTHWISE3_D1_S2_BWD_W_BF16,
    ],
    [
        k::DEPTHWISE3_D2_S1_BWD_W_F32,
        k::DEPTHWISE3_D2_S1_BWD_W_BF16,
    ],
    [
        k::DEPTHWISE3_D2_S2_BWD_W_F32,
        k::DEPTHWISE3_D2_S2_BWD_W_BF16,
    ],
    [
        k::DEPTHWISE5_D1_S1_BWD_W_F32,
        k::DEPTHWISE5_D1_S1_BWD_W_BF16,
    ],
    [
        k::DEPTHWISE5_D1_S2_BWD_W_F32,
        k::DEPTHWISE5_D1_S2_BWD_W_BF16,
    ],
    [
        k::DEPTHWISE5_D2_S1_BWD_W_F32,
        k::DEPTHWISE5_D2_S1_BWD_W_BF16,
    ],
    [
        k::DEPTHWISE5_D2_S2_BWD_W_F32,
        k::DEPTHWISE5_D2_S2_BWD_W_BF16,
    ],
];
/// Of stride 2, otherwise in the same order.
const BWD_X: [[Kernel; 2]; 4] = [
    [
        k::DEPTHWISE3_D1_S2_BWD_X_F32,
        k::DEPTHWISE3_D1_S2_BWD_X_BF16,
    ],
    [
        k::DEPTHWISE3_D2_S2_BWD_X_F32,
        k::DEPTHWISE3_D2_S2_BWD_X_BF16,
    ],
    [
        k::DEPTHWISE5_D1_S2_BWD_X_F32,
        k::DEPTHWISE5_D1_S2_BWD_X_BF16,
    ],
    [
        k::DEPTHWISE5_D2_S2_BWD_X_F32,
        k::DEPTHWISE5_D2_S2_BWD_X_BF16,
    ],
];

/// Floats of shared memory that a tile may take, threads of a block, threads along a row: as in the kernels.
const TILE: usize = 6400;
const THREADS: usize = 256;
const ACROSS: usize = 32;
/// Blocks that fill a device of 132 processors twice; partial sums of a weight gradient in all.
const TWICE: usize = 264;
const FULL: usize = 1024;

/// A convolution that these kernels take.
pub struct Fast {
    s: ConvSizes,
    dtype: DType,
}

/// How a block covers a map: threads along a row and a column, planes at a time; tiles of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    tx: usize,
    ty: usize,
    planes: usize,
    across: usize,
    down: usize,
}

impl Fast {
    /// `None` for other shapes and types.
    pub fn new(s: &ConvSizes, dtype: DType) -> Option<Fast> {
        let depthwise = s.groups == s.c_in && s.c_out == s.c_in && s.c_in > 1;
        let known =
            matches!(s.k, 3 | 5) && matches!(s.stride, 1 | 2) && matches!(s.dilation, 1 | 2);
        let typed = matches!(dtype, DType::F32 | DType::Bf16);
        let fits = depthwise && known && typed && s.padding == s.k / 2 * s.dilation;
        fits.then_some(Fast { s: *s, dtype })
    }

    fn index(&self) -> usize {
        (self.s.k / 2 - 1) * 4 + (self.s.dilation - 1) * 2 + self.s.stride - 1
    }

    fn of_type(&self, pair: [Kernel; 2]) -> Kernel {
        pair[usize::from(self.dtype == DType::Bf16)]
    }

    /// Output rows of a thread.
    fn rows(&self) -> usize {
        if self.s.stride == 1 { 4 } else { 2 }
    }

    /// Floats of the tile of one plane; the same arithmetic as in the kernel.
    fn area(&self, tx: usize, ty: usize) -> usize {
        let ConvSizes {
            k,
            stride,
            dilation,
            padding,
            ..
        } = self.s;
        let vector = 16 / self.dtype.size();
        let shift = padding.next_multiple_of(vector) - padding;
        let reach = shift % 4 + 3 * stride + (k - 1) * dilation + 1;
        let width = (tx - 1) * 4 * stride + shift / 4 * 4 + reach.next_multiple_of(4);
        let height = (ty * self.rows() - 1) * stride + (k - 1) * dilation + 1;
        width.next_multiple_of(vector) * height
    }

    /// The layout for at least one plane of `ho x wo` outputs and at most `planes`, no more than `most` at a time unless a warp would be idle.
    fn layout(&self, planes: usize, most: usize) -> Layout {
        let quads = self.s.wo.div_ceil(4);
        let across = quads.div_ceil(ACROSS);
        // Tiles that begin inside of a row begin at a whole vector.
        let tx = match across {
            1 => quads,
            _ => quads.div_ceil(across).next_multiple_of(2),
        };
        let strips = self.s.ho.div_ceil(self.rows());
        let tallest = (1..=THREADS / tx)
            .rev()
            .find(|&ty| self.area(tx, ty) <= TILE);
        let down = strips.div_ceil(tallest.expect("one row of threads fits"));
        let ty = strips.div_ceil(down);
        let room = (THREADS / (tx * ty)).min(TILE / self.area(tx, ty));
        let wanted = most.max(32usize.div_ceil(tx * ty));
        Layout {
            tx,
            ty,
            planes: wanted.clamp(1, room).min(planes),
            across: self.s.wo.div_ceil(4 * tx),
            down: self.s.ho.div_ceil(self.rows() * ty),
        }
    }

    fn sizes(&self, [h, w]: [usize; 2], [ho, wo]: [usize; 2]) -> [Arg; 6] {
        let s = &self.s;
        [s.n * s.c_in, s.c_in, h, w, ho, wo].map(int)
    }

    /// `y`, of the type of `x`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn forward(&self, e: Engine, [x, w]: [&Tensor; 2], shape: Shape) -> Result<Tensor> {
        let s = &self.s;
        self.gather(
            e,
            [x, w],
            false,
            self.sizes([s.h, s.w], [s.ho, s.wo]),
            shape,
        )
    }

    fn gather(
        &self,
        e: Engine,
        [x, w]: [&Tensor; 2],
        flip: bool,
        sizes: [Arg; 6],
        shape: Shape,
    ) -> Result<Tensor> {
        let mut y = Tensor::scratch_on(e, shape, self.dtype)?;
        if y.numel() == 0 {
            return Ok(y);
        }
        let planes = self.s.n * self.s.c_in;
        let l = self.layout(planes, planes / TWICE);
        let args = [x.arg(e)?, w.arg(e)?, y.arg_out(e)?, int(usize::from(flip))];
        let args = [&args[..], &sizes, &[l.tx, l.ty, l.planes].map(int)].concat();
        let groups = planes.div_ceil(l.planes);
        let grid = [l.across, l.down.min(65535), groups.min(65535)].map(|v| v as u32);
        let block = [(l.tx * l.ty * l.planes) as u32, 1, 1];
        let kernel = self.of_type(FORWARD[self.index()]);
        e.launch(kernel, Launch::new(grid, block), &args)?;
        Ok(y)
    }

    /// `dx`, of the type of `dy`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn input_gradient(&self, e: Engine, [dy, w]: [&Tensor; 2], shape: Shape) -> Result<Tensor> {
        let s = &self.s;
        let sizes = self.sizes([s.h, s.w], [s.ho, s.wo]);
        if s.stride == 1 {
            return self.gather(e, [dy, w], true, sizes, shape);
        }
        let mut dx = Tensor::scratch_on(e, shape, self.dtype)?;
        if dx.numel() == 0 {
            return Ok(dx);
        }
        let args = [dy.arg(e)?, w.arg(e)?, dx.arg_out(e)?];
        let args = [&args[..], &sizes].concat();
        let groups = s.h.div_ceil(2) * s.w.div_ceil(4);
        let grid = [
            groups.div_ceil(THREADS) as u32,
            (s.n * s.c_in).min(65535) as u32,
            1,
        ];
        let kernel = self.of_type(BWD_X[self.index() / 2]);
        e.launch(kernel, Launch::new(grid, [THREADS as u32, 1, 1]), &args)?;
        Ok(dx)
    }

    /// `dw`, f32.
    ///
    /// # Errors
    /// Those of the device.
    pub fn weight_gradient(&self, e: Engine, [x, dy]: [&Tensor; 2], shape: Shape) -> Result<Grad> {
        let s = &self.s;
        if s.n == 0 {
            return Tensor::zeros_on(e, shape, DType::F32).map(Grad::Whole);
        }
        let l = self.layout(s.n, s.n.div_ceil(8));
        // A unit is one tile of some images; at least two of them a block, so that its sum over threads is worth it.
        let all = s.n.div_ceil(l.planes) * l.across * l.down;
        let units = all.div_ceil(all.div_ceil(2).min((FULL / s.c_in).max(1)));
        let chunks = all.div_ceil(units);
        summed(e, shape, chunks, |part| {
            let args = [x.arg(e)?, dy.arg(e)?, part, int(chunks), int(units)];
            let sizes = self.sizes([s.h, s.w], [s.ho, s.wo]);
            let args = [&args[..], &sizes, &[l.tx, l.ty, l.planes].map(int)].concat();
            let grid = [s.c_in.min(1 << 30) as u32, chunks.min(65535) as u32, 1];
            let threads = (l.tx * l.ty * l.planes).next_multiple_of(32);
            let kernel = self.of_type(BWD_W[self.index()]);
            e.launch(kernel, Launch::new(grid, [threads as u32, 1, 1]), &args)
        })
    }
}

#[cfg(test)]
#[path = "depthwise_tests.rs"]
mod tests;
