//! Launches of the convolution kernels: `kernels/depthwise.cu` (see [`super::depthwise`]), `conv_gather.cu`
//! and `conv_bwd_w.cu` with their twins for bf16 on the tensor cores, `conv_sums.cu`. Transposed convolution and the fully
//! connected layer are convolutions here: an input gradient taken as a forward, and one over maps of a single pixel.

use super::depthwise::Fast;
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::backend::host::conv::ConvSizes;
use crate::error::Result;
use crate::ops::on_device;
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Threads of a block of the product kernels.
const THREADS: u32 = 128;
/// Most channels of a group that the narrow tiles hold; (channels, pixels) of a tile.
const NARROW: (usize, usize) = (16, 128);
const WIDE: (usize, usize) = (64, 64);
const WIDE_BF16: (usize, usize) = (64, 128);
/// Blocks that fill the largest device; sums are not cut into chunks shorter than this.
const FULL: usize = 1024;
const CHUNK: usize = 512;
/// Largest grid in y and z.
const GRID: usize = 65535;

pub(super) fn int(v: usize) -> Arg {
    Arg::I32(v as i32)
}

fn long(v: usize) -> Arg {
    Arg::I64(v as i64)
}

/// Maps are f32 or bf16, weights and biases f32.
fn fits(maps: &[&Tensor], parameters: &[&Tensor]) -> bool {
    let dtype = maps[0].dtype();
    let known = matches!(dtype, DType::F32 | DType::Bf16);
    known
        && maps.iter().all(|t| t.dtype() == dtype)
        && parameters.iter().all(|t| t.dtype() == DType::F32)
}

/// `y = conv(x, w) + b`, of the type of `x`, shape `shape` of `(N, C_out, H', W')` elements; `None` when no kernel takes these types.
///
/// # Errors
/// Those of the device.
pub fn forward(
    e: Engine,
    s: &ConvSizes,
    [x, w]: [&Tensor; 2],
    b: Option<&Tensor>,
    shape: Shape,
) -> Result<Option<Tensor>> {
    if let Some(fast) = Fast::new(s, x.dtype()).filter(|_| b.is_none() && fits(&[x], &[w])) {
        return fast.forward(e, [x, w], shape).map(Some);
    }
    gather(e, s, [x, w], b, shape, false)
}

/// `dx` of [`forward`], `(N, C_in, H, W)` elements, plus `b (C_in)` for a transposed convolution.
///
/// # Errors
/// Those of the device.
pub fn input_gradient(
    e: Engine,
    s: &ConvSizes,
    [dy, w]: [&Tensor; 2],
    b: Option<&Tensor>,
    shape: Shape,
) -> Result<Option<Tensor>> {
    if let Some(fast) = Fast::new(s, dy.dtype()).filter(|_| b.is_none() && fits(&[dy], &[w])) {
        return fast.input_gradient(e, [dy, w], shape).map(Some);
    }
    gather(e, s, [dy, w], b, shape, true)
}

fn gather(
    e: Engine,
    s: &ConvSizes,
    [x, w]: [&Tensor; 2],
    b: Option<&Tensor>,
    shape: Shape,
    transposed: bool,
) -> Result<Option<Tensor>> {
    let bias = b.unwrap_or(w);
    if !fits(&[x], &[w, bias]) {
        return Ok(None);
    }
    let mut y = Tensor::scratch_on(e, shape, x.dtype())?;
    if y.numel() == 0 {
        return Ok(Some(y));
    }
    let (rows, depth) = (s.c_out / s.groups, s.c_in / s.groups);
    let (there, here) = ([s.h, s.w], [s.ho, s.wo]);
    let (rows, depth, from, to, step) = match transposed {
        false => (rows, depth, there, here, 1),
        true => (depth, rows, here, there, s.stride),
    };
    let narrow = rows <= NARROW.0;
    let (kernel, tile) = match (x.dtype(), narrow) {
        (DType::F32, true) => (k::CONV_GATHER_NARROW_F32, NARROW),
        (DType::F32, false) => (k::CONV_GATHER_F32, WIDE),
        (_, true) => (k::CONV_GATHER_NARROW_BF16, NARROW),
        (_, false) => (k::CONV_GATHER_BF16, WIDE_BF16),
    };
    // Outputs that agree modulo the stride are a class of their own.
    let pixels = s.n * to[0].div_ceil(step) * to[1].div_ceil(step);
    let units = rows.div_ceil(tile.0) * s.groups * step * step;
    let args = [
        x.arg(e)?,
        w.arg(e)?,
        bias.arg(e)?,
        y.arg_out(e)?,
        int(usize::from(b.is_some())),
        int(s.n),
        int(s.groups),
        int(rows),
        int(depth),
        int(from[0]),
        int(from[1]),
        int(to[0]),
        int(to[1]),
        int(s.k),
        int(s.stride),
        int(s.padding),
        int(s.dilation),
        int(usize::from(transposed)),
    ];
    let grid = [pixels.div_ceil(tile.1) as u32, units.min(GRID) as u32, 1];
    let threads = THREADS * if tile == WIDE_BF16 { 2 } else { 1 };
    e.launch(kernel, Launch::new(grid, [threads, 1, 1]), &args)?;
    Ok(Some(y))
}

/// Chunks of a sum of `terms`, when `tiles` blocks work on each, and their length: a function of the sizes alone.
fn chunks(terms: usize, tiles: usize) -> (usize, usize) {
    let most = terms.div_ceil(CHUNK).max(1);
    let length = terms.div_ceil((FULL / tiles.max(1)).clamp(1, most));
    let length = length.next_multiple_of(32).max(32);
    (terms.div_ceil(length).max(1), length)
}

/// Runs `launch` with what takes `(chunks, n)` partial sums, and adds them up.
pub(super) fn summed(
    e: Engine,
    shape: Shape,
    chunks: usize,
    launch: impl FnOnce(Arg) -> Result<()>,
) -> Result<Tensor> {
    let mut sum = Tensor::scratch_on(e, shape, DType::F32)?;
    let n = sum.numel();
    if n == 0 {
        return Ok(sum);
    }
    if chunks == 1 {
        launch(sum.arg_out(e)?)?;
        return Ok(sum);
    }
    let mut part = Tensor::scratch_on(e, [chunks, n], DType::F32)?;
    launch(part.arg_out(e)?)?;
    let args = [part.arg(e)?, sum.arg_out(e)?, int(chunks), long(n)];
    let grid = [n.div_ceil(32).min(1 << 20) as u32, 1, 1];
    e.launch(k::SUM_CHUNKS_F32, Launch::new(grid, [256, 1, 1]), &args)?;
    Ok(sum)
}

/// `dw` of [`forward`], f32, in `shape`.
///
/// # Errors
/// Those of the device.
pub fn weight_gradient(
    e: Engine,
    s: &ConvSizes,
    [x, dy]: [&Tensor; 2],
    shape: Shape,
) -> Result<Option<Tensor>> {
    if !fits(&[x, dy], &[]) {
        return Ok(None);
    }
    if let Some(fast) = Fast::new(s, x.dtype()) {
        return fast.weight_gradient(e, [x, dy], shape).map(Some);
    }
    let (rows, depth) = (s.c_out / s.groups, s.c_in / s.groups);
    let narrow = rows <= 16;
    let (kernel, tile) = match (x.dtype(), narrow) {
        (DType::F32, true) => (k::CONV_BWD_W_NARROW_F32, (16, 32)),
        (DType::F32, false) => (k::CONV_BWD_W_F32, (64, 64)),
        (_, true) => (k::CONV_BWD_W_NARROW_BF16, (16, 64)),
        (_, false) => (k::CONV_BWD_W_BF16, (64, 64)),
    };
    let tiles = s.groups * rows.div_ceil(tile.0) * (depth * s.k * s.k).div_ceil(tile.1);
    let (count, length) = chunks(s.n * s.ho * s.wo, tiles);
    let dw = summed(e, shape, count, |part| {
        let args = [
            x.arg(e)?,
            dy.arg(e)?,
            part,
            int(count),
            long(length),
            int(s.n),
            int(s.groups),
            int(rows),
            int(depth),
            int(s.h),
            int(s.w),
            int(s.ho),
            int(s.wo),
            int(s.k),
            int(s.stride),
            int(s.padding),
            int(s.dilation),
        ];
        let grid = [tiles.min(1 << 30) as u32, count.min(GRID) as u32, 1];
        e.launch(kernel, Launch::new(grid, [THREADS, 1, 1]), &args)
    })?;
    Ok(Some(dw))
}

/// The sum of `dy (N, C, plane)` over images and pixels, f32, in `shape (C)`.
///
/// # Errors
/// Those of the device.
pub fn bias_gradient(
    e: Engine,
    [n, c, plane]: [usize; 3],
    dy: &Tensor,
    shape: Shape,
) -> Result<Option<Tensor>> {
    let picked: Option<Kernel> =
        on_device::pick(dy.dtype(), k::CHANNEL_SUMS_F32, k::CHANNEL_SUMS_BF16);
    let Some(kernel) = picked else {
        return Ok(None);
    };
    let (count, length) = chunks(n * plane, c);
    let db = summed(e, shape, count, |part| {
        let args = [
            dy.arg(e)?,
            part,
            int(n),
            int(c),
            long(plane),
            int(count),
            long(length),
        ];
        let grid = [c.min(1 << 30) as u32, count.min(GRID) as u32, 1];
        e.launch(kernel, Launch::new(grid, [256, 1, 1]), &args)
    })?;
    Ok(Some(db))
}

/// Gradients in the order x, w, b, each where `need` asks for it; `None` when one of them has no kernel.
///
/// # Errors
/// Those of the device.
pub fn gradients(
    need: &[bool],
    each: &[&dyn Fn() -> Result<Option<Tensor>>],
) -> Result<Option<Vec<Option<crate::tape::Grad>>>> {
    let mut all = Vec::with_capacity(need.len());
    for (&need, make) in need.iter().zip(each) {
        all.push(match need {
            false => None,
            true => match make()? {
                Some(g) => Some(crate::tape::Grad::Whole(g)),
                None => return Ok(None),
            },
        });
    }
    Ok(Some(all))
}

#[cfg(test)]
#[path = "device_tests.rs"]
pub(crate) mod tests;
