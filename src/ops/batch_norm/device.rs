//! Batch normalisation by kernels (`kernels/norm.cu`): two launches forward, two backward, nothing comes back to the host.

use super::BatchNormParams;
use crate::backend::driver::{self as k, Arg, DevicePtr, Launch, Scalar};
use crate::error::Result;
use crate::ops::on_device::{int, long, pick, untouched};
use crate::tape::{Backward, Grad, Output};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Threads of a block of these kernels.
const THREADS: usize = 256;
/// Blocks that fill a large device.
const BLOCKS: usize = 1024;
/// The most chunks of a channel: one lane of a warp merges one.
const CHUNKS: usize = 32;
/// Values of a thread below which another chunk does not pay.
const VALUES: usize = 4;

/// Images, channels and values of a plane.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Sizes {
    pub images: usize,
    pub channels: usize,
    pub plane: usize,
}

impl Sizes {
    /// Of a map; asserts four dimensions (shape rules have checked it).
    pub fn of(s: &Shape) -> Sizes {
        let d = s.dims();
        Sizes {
            images: d[0],
            channels: d[1],
            plane: d[2] * d[3],
        }
    }

    /// The same of another number of images.
    pub fn of_images(self, images: usize) -> Sizes {
        Sizes { images, ..self }
    }

    /// True when there is no value.
    pub fn empty(self) -> bool {
        self.images * self.channels * self.plane == 0
    }

    /// Parts of a channel that blocks of their own take: the same on every device, so that the bits are.
    pub fn chunks(self) -> usize {
        let useful = (self.images * self.plane).div_ceil(THREADS * VALUES);
        let wanted = BLOCKS.div_ceil(self.channels.max(1));
        useful.min(wanted).clamp(1, CHUNKS)
    }

    /// Blocks (channels, chunks).
    pub fn grid(self) -> Launch {
        let grid = [self.channels as u32, self.chunks() as u32, 1];
        Launch::new(grid, [THREADS as u32, 1, 1])
    }

    /// As the kernels take them.
    pub fn args(self) -> [Arg; 3] {
        [long(self.images), int(self.channels), long(self.plane)]
    }
}

/// Statistics to normalise with; `rest`, `(2, C)`, is the low part of the mean and the count where they are of a batch.
pub(in crate::ops) struct Known<'a> {
    pub mean: &'a Tensor,
    pub var: &'a Tensor,
    pub rest: Option<&'a Tensor>,
}

impl Known<'_> {
    fn args(&self, e: Engine) -> Result<[Arg; 3]> {
        let mean = self.mean.arg(e)?;
        Ok([
            mean,
            self.var.arg(e)?,
            self.rest.map_or(Ok(mean), |r| r.arg(e))?,
        ])
    }
}

/// Scale and shift, or where there are none something for the kernel to leave alone.
fn affine(e: Engine, of: Option<[&Tensor; 2]>, other: Arg) -> Result<[Arg; 2]> {
    match of {
        Some([g, b]) => Ok([g.arg(e)?, b.arg(e)?]),
        None => Ok([other, other]),
    }
}

/// What kernels rectify (`NormRelu` of norm_maps.cuh), added up: the result; the map before it is normalised.
const BEHIND: usize = 1;
pub(super) const BEFORE: usize = 2;

/// What they rectify besides `before`.
fn rectified(p: BatchNormParams, before: usize) -> usize {
    before + if p.relu { BEHIND } else { 0 }
}

/// The flags and eps, in the order of the kernels.
fn flags(affine: bool, p: BatchNormParams, before: usize, batch: bool) -> [Arg; 4] {
    let eps = Arg::F32(p.eps as f32);
    [
        int(usize::from(affine)),
        int(rectified(p, before)),
        int(usize::from(batch)),
        eps,
    ]
}

/// Kernels compute in f32 and bf16 with f32 scale and shift.
pub(in crate::ops) fn supported(x: &[Tensor]) -> bool {
    [DType::F32, DType::Bf16].contains(&x[0].dtype())
        && x[1..].iter().all(|t| t.dtype() == DType::F32)
}

fn both(x: &[Tensor]) -> Option<[&Tensor; 2]> {
    match x {
        [_, g, b] => Some([g, b]),
        _ => None,
    }
}

/// Partial statistics of `s.images` images of `x` from `first` on, `(chunks, C, 3)`.
pub(in crate::ops) fn statistics(e: Engine, x: &Tensor, first: usize, s: Sizes) -> Result<Tensor> {
    statistics_of(e, x, 0, first, s)
}

fn statistics_of(e: Engine, x: &Tensor, before: usize, first: usize, s: Sizes) -> Result<Tensor> {
    let kernel = pick(x.dtype(), k::NORM_STATS_F32, k::NORM_STATS_BF16).expect("supported");
    let mut part = Tensor::scratch_on(e, [s.chunks(), s.channels, 3], DType::F32)?;
    let [n, c, plane] = s.args();
    let part_arg = part.arg_out(e)?;
    let args = [x.arg(e)?, part_arg, int(before), long(first), n, c, plane];
    e.launch(kernel, s.grid(), &args)?;
    Ok(part)
}

/// The forward with the batch's own statistics, of the map or, with [`BEFORE`], of what is positive of it; saves `[mean, var, rest]`.
pub(super) fn forward(
    e: Engine,
    x: &[Tensor],
    p: BatchNormParams,
    before: usize,
) -> Result<Option<Output>> {
    if !supported(x) {
        return Ok(None);
    }
    let s = Sizes::of(x[0].shape());
    if s.empty() {
        let zeros = |of: &[usize]| Tensor::zeros_on(e, of, DType::F32);
        let c = s.channels;
        return Ok(Some(Output {
            y: Tensor::zeros_on(e, *x[0].shape(), x[0].dtype())?,
            saved: vec![zeros(&[c])?, zeros(&[c])?, zeros(&[2, c])?],
        }));
    }
    let part = statistics_of(e, &x[0], before, 0, s)?;
    let mut y = Tensor::scratch_on(e, *x[0].shape(), x[0].dtype())?;
    let mut mean = Tensor::scratch_on(e, [s.channels], DType::F32)?;
    let mut var = Tensor::scratch_on(e, [s.channels], DType::F32)?;
    let mut rest = Tensor::scratch_on(e, [2, s.channels], DType::F32)?;
    let kernel = pick(x[0].dtype(), k::NORM_FWD_F32, k::NORM_FWD_BF16).expect("supported");
    let [gamma, beta] = affine(e, both(x), part.arg(e)?)?;
    let [n, c, plane] = s.args();
    let [with_affine, relu, _, eps] = flags(x.len() == 3, p, before, true);
    let args = [
        x[0].arg(e)?,
        part.arg(e)?,
        gamma,
        beta,
        y.arg_out(e)?,
        mean.arg_out(e)?,
        var.arg_out(e)?,
        rest.arg_out(e)?,
        int(s.chunks()),
        n,
        c,
        plane,
        with_affine,
        relu,
        eps,
    ];
    e.launch(kernel, s.grid(), &args)?;
    Ok(Some(Output {
        y,
        saved: vec![mean, var, rest],
    }))
}

/// Normalises with known statistics.
pub(in crate::ops) fn apply(
    e: Engine,
    x: &[Tensor],
    known: &Known,
    p: BatchNormParams,
) -> Result<Option<Tensor>> {
    if !supported(x) {
        return Ok(None);
    }
    let mut y = Tensor::scratch_on(e, *x[0].shape(), x[0].dtype())?;
    let s = Sizes::of(x[0].shape());
    if s.empty() {
        return Ok(Some(y));
    }
    let kernel = pick(x[0].dtype(), k::NORM_APPLY_F32, k::NORM_APPLY_BF16).expect("supported");
    let stats = known.args(e)?;
    let scale = affine(e, both(x), stats[0])?;
    let flags = flags(x.len() == 3, p, 0, known.rest.is_some());
    let args = [&[x[0].arg(e)?][..], &stats, &scale, &[y.arg_out(e)?]];
    let args = [&args.concat()[..], &s.args(), &flags].concat();
    e.launch(kernel, s.grid(), &args)?;
    Ok(Some(y))
}

/// What a backward works with.
pub(in crate::ops) struct Back<'a> {
    /// The map.
    pub x: &'a Tensor,
    /// Scale, and shift where a rectifier asks for it.
    pub affine: Option<[&'a Tensor; 2]>,
    /// Gradient of the output.
    pub dy: &'a Tensor,
    /// Statistics of the forward.
    pub known: Known<'a>,
    /// Parameters of the forward.
    pub params: BatchNormParams,
    /// [`BEFORE`] where the forward rectified the map.
    pub before: usize,
}

impl Back<'_> {
    /// Whether kernels compute this.
    pub fn supported(&self) -> bool {
        self.dy.dtype() == self.x.dtype()
            && supported(std::slice::from_ref(self.x))
            && self
                .affine
                .is_none_or(|a| a.iter().all(|t| t.dtype() == DType::F32))
    }

    /// `(sum dy, sum dy (x - mean))` of `s.images` images from `first` on, `(chunks, C, 2)`.
    pub fn sums(&self, e: Engine, first: usize, s: Sizes) -> Result<Tensor> {
        let mut part = Tensor::scratch_on(e, [s.chunks(), s.channels, 2], DType::F32)?;
        let dtype = self.x.dtype();
        let kernel = pick(dtype, k::NORM_BWD_SUMS_F32, k::NORM_BWD_SUMS_BF16).expect("supported");
        let stats = self.known.args(e)?;
        let scale = affine(e, self.affine, stats[0])?;
        let flags = flags(
            self.affine.is_some(),
            self.params,
            self.before,
            self.known.rest.is_some(),
        );
        let maps = [self.x.arg(e)?, self.dy.arg(e)?];
        let to = [part.arg_out(e)?, long(first)];
        let args = [&maps[..], &stats, &scale, &to, &s.args(), &flags].concat();
        e.launch(kernel, s.grid(), &args)?;
        Ok(part)
    }

    /// The gradients that are wanted of x, gamma, beta, from the sums, `(parts, C, 2)`; without parts they count as 0.
    pub fn gradients(
        &self,
        e: Engine,
        sums: Option<&Tensor>,
        want: &[bool],
    ) -> Result<Vec<Option<Grad>>> {
        let s = Sizes::of(self.x.shape());
        let want_at = |i: usize| want.get(i).copied().unwrap_or(false);
        let new = |i: usize, shape: Shape, dtype| {
            let make = || Tensor::scratch_on(e, shape, dtype);
            want_at(i).then(make).transpose()
        };
        let mut dx = new(0, *self.x.shape(), self.x.dtype())?;
        let mut dgamma = new(1, [s.channels].into(), DType::F32)?;
        let mut dbeta = new(2, [s.channels].into(), DType::F32)?;
        let dtype = self.x.dtype();
        let kernel = pick(dtype, k::NORM_BWD_X_F32, k::NORM_BWD_X_BF16).expect("supported");
        let stats = self.known.args(e)?;
        let [gamma, beta] = affine(e, self.affine, stats[0])?;
        let [with_affine, relu, batch, eps] = flags(
            self.affine.is_some(),
            self.params,
            self.before,
            self.known.rest.is_some(),
        );
        let other = untouched(stats[0]);
        let out = |t: &mut Option<Tensor>, other: Arg| match t {
            Some(t) => t.arg_out(e),
            None => Ok(other),
        };
        let dy = self.dy.arg(e)?;
        let wanted = (0..3).map(|i| usize::from(want_at(i)) << i).sum();
        let head = [self.x.arg(e)?, dy];
        let middle = [
            sums.map_or(Ok(stats[0]), |t| t.arg(e))?,
            gamma,
            beta,
            out(&mut dx, untouched(dy))?,
            out(&mut dgamma, other)?,
            out(&mut dbeta, other)?,
            int(sums.map_or(0, |t| t.dims()[0])),
        ];
        let tail = [with_affine, relu, batch, int(wanted), eps];
        let args = [&head[..], &stats, &middle, &s.args(), &tail].concat();
        let mut launch = s.grid();
        if dx.is_none() {
            launch.grid[1] = 1;
        }
        e.launch(kernel, launch, &args)?;
        let grads = [dx, dgamma, dbeta].map(|t| t.map(Grad::Whole));
        Ok(grads.into_iter().take(want.len()).collect())
    }

    /// Zeros for what is wanted, of a batch without a value.
    pub fn nothing(&self, e: Engine, want: &[bool]) -> Result<Vec<Option<Grad>>> {
        let zeros = |(i, &want): (usize, &bool)| {
            let (shape, dtype) = match i {
                0 => (*self.x.shape(), self.x.dtype()),
                _ => ([self.x.dims()[1]].into(), DType::F32),
            };
            let make = || Tensor::zeros_on(e, shape, dtype).map(Grad::Whole);
            want.then(make).transpose()
        };
        want.iter().enumerate().map(zeros).collect()
    }
}

/// The backward; `known.rest` says whether the statistics depend on x.
pub(super) fn backward(
    e: Engine,
    b: &Backward,
    known: Known,
    params: BatchNormParams,
    before: usize,
) -> Result<Option<Vec<Option<Grad>>>> {
    let batch = known.rest.is_some();
    let back = Back {
        x: b.input(0),
        affine: (b.shapes.len() == 3).then(|| [b.input(1), b.input(2)]),
        dy: b.dy,
        known,
        params,
        before,
    };
    if !back.supported() {
        return Ok(None);
    }
    let s = Sizes::of(&b.shapes[0]);
    if s.empty() {
        return back.nothing(e, b.need).map(Some);
    }
    let sums = match batch || b.need[1..].contains(&true) {
        true => Some(back.sums(e, 0, s)?),
        false => None,
    };
    back.gradients(e, sums.as_ref(), b.need).map(Some)
}

/// New running statistics: `old + momentum (batch - old)`, of the batch's mean, variance and rest, f32; one launch.
pub(super) fn running(
    e: Engine,
    batch: [DevicePtr; 3],
    old: [&Tensor; 2],
    momentum: f64,
) -> Result<[Tensor; 2]> {
    let mut new = [
        Tensor::scratch_on(e, *old[0].shape(), DType::F32)?,
        Tensor::scratch_on(e, *old[1].shape(), DType::F32)?,
    ];
    let [mean, var, rest] = batch.map(|at| Arg::In(at, Scalar::F32));
    let args = [
        mean,
        var,
        rest,
        old[0].arg(e)?,
        old[1].arg(e)?,
        new[0].arg_out(e)?,
        new[1].arg_out(e)?,
        Arg::F32(momentum as f32),
    ];
    e.over(k::NORM_RUNNING_F32, old[0].numel(), &args)?;
    Ok(new)
}
