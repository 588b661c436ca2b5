//! Launches of the convolution kernels: `kernels/depthwise.cu` (see [`super::depthwise`]), `conv_gather.cu`
//! and `conv_bwd_w.cu` with their twins for bf16 on the tensor cores, `conv_sums.cu`. Transposed convolution and the fully
//! connected layer are convolutions here: an input gradient taken as a forward, and one over maps of a single pixel.

use super::depthwise::Fast;
use super::sums::{MOST, Most, bias_gradient, chunks, grid, int, long, summed};
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::backend::host::conv::ConvSizes;
use crate::error::Result;
use crate::tape::{Backward, Grad, Output};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Threads of a block of the product kernels.
const THREADS: u32 = 128;
/// Most channels of a group that the narrow tiles hold; (channels, pixels) of a tile.
const NARROW: (usize, usize) = (16, 128);
const WIDE: (usize, usize) = (64, 64);
const WIDE_BF16: (usize, usize) = (64, 128);

/// Maps are f32 or bf16, weights and biases f32.
fn fits(maps: &[&Tensor], parameters: &[&Tensor]) -> bool {
    let dtype = maps[0].dtype();
    let known = matches!(dtype, DType::F32 | DType::Bf16);
    known
        && maps.iter().all(|t| t.dtype() == dtype)
        && parameters.iter().all(|t| t.dtype() == DType::F32)
}

/// The op on its operands x, w and maybe b: the convolution of `s` or, if `transposed`, its input gradient taken as a forward. Of the type
/// of x, in `shape`; `None` when no kernel takes these types.
///
/// # Errors
/// Those of the device.
pub fn apply(
    e: Engine,
    s: &ConvSizes,
    transposed: bool,
    x: &[Tensor],
    shape: Shape,
) -> Result<Option<Output>> {
    let y = map(e, s, transposed, [&x[0], &x[1]], x.get(2), shape)?;
    Ok(y.map(Output::from))
}

/// Gradients of [`apply`] in the order x, w, b, each where `need` asks for it; `None` when one of them has no kernel.
///
/// # Errors
/// Those of the device.
pub fn gradients(
    e: Engine,
    s: &ConvSizes,
    transposed: bool,
    b: &Backward,
) -> Result<Option<Vec<Option<Grad>>>> {
    let (x, w, dy) = (b.input(0), b.input(1), b.dy);
    let (maps, sides) = match transposed {
        false => ([x, dy], [s.n, s.c_out, s.ho * s.wo]),
        true => ([dy, x], [s.n, s.c_in, s.h * s.w]),
    };
    let mut all = Vec::with_capacity(b.need.len());
    for (i, &need) in b.need.iter().enumerate() {
        let g = match i {
            _ if !need => None,
            0 => map(e, s, !transposed, [dy, w], None, b.shapes[0])?.map(Grad::Whole),
            1 => weight_gradient(e, s, maps, b.shapes[1])?,
            _ => bias_gradient(e, sides, dy, b.shapes[2])?,
        };
        if need && g.is_none() {
            return Ok(None);
        }
        all.push(g);
    }
    Ok(Some(all))
}

/// `conv(x, w) + b` or, if `transposed`, `dx` of that from `dy` for `x`; of the type of `x`, in `shape`.
fn map(
    e: Engine,
    s: &ConvSizes,
    transposed: bool,
    [x, w]: [&Tensor; 2],
    b: Option<&Tensor>,
    shape: Shape,
) -> Result<Option<Tensor>> {
    let fast = Fast::new(s, x.dtype()).filter(|_| b.is_none() && fits(&[x], &[w]));
    match (fast, transposed) {
        (Some(fast), false) => fast.forward(e, [x, w], shape).map(Some),
        (Some(fast), true) => fast.input_gradient(e, [x, w], shape).map(Some),
        (None, _) => gather(e, s, transposed, [x, w], b, shape, MOST),
    }
}

fn gather(
    e: Engine,
    s: &ConvSizes,
    transposed: bool,
    [x, w]: [&Tensor; 2],
    b: Option<&Tensor>,
    shape: Shape,
    most: Most,
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
    let blocks = grid([pixels.div_ceil(tile.1), units], most);
    let threads = THREADS * if tile == WIDE_BF16 { 2 } else { 1 };
    e.launch(kernel, Launch::new(blocks, [threads, 1, 1]), &args)?;
    Ok(Some(y))
}

/// `dw` of the convolution, f32, in `shape`.
fn weight_gradient(
    e: Engine,
    s: &ConvSizes,
    [x, dy]: [&Tensor; 2],
    shape: Shape,
) -> Result<Option<Grad>> {
    if !fits(&[x, dy], &[]) {
        return Ok(None);
    }
    if let Some(fast) = Fast::new(s, x.dtype()) {
        return fast.weight_gradient(e, [x, dy], shape).map(Some);
    }
    let (kernel, tiles) = weight_tiles(s, x.dtype());
    let (count, length) = chunks(s.n * s.ho * s.wo, tiles);
    let dw = summed(e, shape, count, |part| {
        let blocks = grid([tiles, count], MOST);
        weight_sums(e, s, [x, dy], part, kernel, [count, length], blocks)
    })?;
    Ok(Some(dw))
}

/// The kernel of a weight gradient, and its tiles.
fn weight_tiles(s: &ConvSizes, dtype: DType) -> (Kernel, usize) {
    let (rows, depth) = (s.c_out / s.groups, s.c_in / s.groups);
    let narrow = rows <= NARROW.0;
    let (kernel, tile) = match (dtype, narrow) {
        (DType::F32, true) => (k::CONV_BWD_W_NARROW_F32, (16, 32)),
        (DType::F32, false) => (k::CONV_BWD_W_F32, (64, 64)),
        (_, true) => (k::CONV_BWD_W_NARROW_BF16, (16, 64)),
        (_, false) => (k::CONV_BWD_W_BF16, (64, 64)),
    };
    let tiles = s.groups * rows.div_ceil(tile.0) * (depth * s.k * s.k).div_ceil(tile.1);
    (kernel, tiles)
}

/// The sums of `count` chunks of `length` pixels each, `(count, dw)`.
fn weight_sums(
    e: Engine,
    s: &ConvSizes,
    [x, dy]: [&Tensor; 2],
    part: Arg,
    kernel: Kernel,
    [count, length]: [usize; 2],
    blocks: [u32; 3],
) -> Result<()> {
    let args = [
        x.arg(e)?,
        dy.arg(e)?,
        part,
        int(count),
        long(length),
        int(s.n),
        int(s.groups),
        int(s.c_out / s.groups),
        int(s.c_in / s.groups),
        int(s.h),
        int(s.w),
        int(s.ho),
        int(s.wo),
        int(s.k),
        int(s.stride),
        int(s.padding),
        int(s.dilation),
    ];
    e.launch(kernel, Launch::new(blocks, [THREADS, 1, 1]), &args)
}

#[cfg(test)]
#[path = "device_tests.rs"]
pub(crate) mod tests;
