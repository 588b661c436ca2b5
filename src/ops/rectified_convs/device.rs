//! Launches: `conv_rectified` of `kernels/conv_gather.cu`, `conv_rectified_bwd_w` of `kernels/conv_bwd_w.cu` and their twins for bf16.

use super::UNITS;
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::error::Result;
use crate::ops::conv2d::Conv2dParams;
use crate::ops::conv2d::sums::{MOST, chunks, grid};
use crate::ops::conv2d::tiles::{ByWidth, fits, summed, sums};
use crate::ops::on_device::{bytes, int, list, long};
use crate::tape::Grad;
use crate::tensor::{DType, Engine, Shape, Tensor};

/// What a backward is given of one result.
pub struct Part<'a> {
    pub x: &'a Tensor,
    pub w: &'a Tensor,
    /// The gradient of the result, where it has one.
    pub dy: Option<&'a Tensor>,
    /// What the gradient of the map is added to.
    pub so_far: Option<&'a Tensor>,
    /// Of the map and of the weight.
    pub need: &'a [bool],
}

/// A convolution, or one of its gradients, of a launch.
struct Unit<'a> {
    x: &'a Tensor,
    w: &'a Tensor,
    pointers: Vec<Arg>,
    /// Bytes read and written.
    touches: [u64; 2],
}

/// Runs a kernel over units with results of `shape`; `first` is what it is told before the sizes.
fn launch(
    e: Engine,
    (kernel, threads): (Kernel, u32),
    blocks: [usize; 2],
    units: &[Unit],
    first: &[Arg],
    (shape, params): (&Shape, Conv2dParams),
) -> Result<()> {
    let (d, x, side) = (shape.dims(), units[0].x.dims(), units[0].w.dims()[2]);
    let mut blocks = grid(blocks, MOST);
    blocks[2] = units.len() as u32;
    let mut launch = Launch::new(blocks, [threads, 1, 1]);
    launch.touches = Some([0, 1].map(|i| units.iter().map(|u| u.touches[i]).sum()));
    let mut args = vec![];
    for i in 0..units[0].pointers.len() {
        let all: Vec<Arg> = units.iter().map(|u| u.pointers[i]).collect();
        args.extend(list(&all, UNITS, all[0]));
    }
    args.extend(first);
    args.extend([d[0], d[1]].map(int));
    // A unit that a launch has no use for is like none.
    args.extend((0..UNITS).map(|i| int(units.get(i).map_or(0, |u| u.x.dims()[1]))));
    args.extend([x[2], x[3], side, params.padding, params.dilation].map(int));
    e.launch(kernel, launch, &args)
}

/// Runs `conv_rectified`: results of `shape`, or the gradients of their maps.
fn products(
    e: Engine,
    units: &[Unit],
    transposed: bool,
    dtype: DType,
    of: (&Shape, Conv2dParams),
) -> Result<()> {
    let d = of.0.dims();
    let rows = |u: &Unit| if transposed { u.x.dims()[1] } else { d[1] };
    let pixels = match transposed {
        true => d[0] * units[0].x.dims()[2] * units[0].x.dims()[3],
        false => d[0] * d[2] * d[3],
    };
    let most = units.iter().map(rows).max().expect("a unit");
    let kernels = ByWidth {
        f32: [k::CONV_RECTIFIED_F32, k::CONV_RECTIFIED_NARROW_F32],
        bf16: [k::CONV_RECTIFIED_BF16, k::CONV_RECTIFIED_NARROW_BF16],
    };
    let (kernel, tile) = kernels.of_maps(dtype, most);
    let blocks = [pixels.div_ceil(tile.across), most.div_ceil(tile.channels)];
    let first = [int(usize::from(transposed))];
    launch(e, (kernel, tile.threads), blocks, units, &first, of)
}

/// Results of `shape`; `None` when no kernel takes these operands.
///
/// # Errors
/// Those of the device.
pub fn forward(
    e: Engine,
    params: Conv2dParams,
    parts: &[(&Tensor, &Tensor)],
    shape: Shape,
) -> Result<Option<Vec<Tensor>>> {
    if !fits(parts.iter().map(|p| p.0), parts.iter().map(|p| p.1)) {
        return Ok(None);
    }
    let dtype = parts[0].0.dtype();
    let (mut units, mut all) = (vec![], vec![]);
    for &(x, w) in parts {
        let mut y = Tensor::scratch_on(e, shape, dtype)?;
        let from = x.arg(e)?;
        units.push(Unit {
            x,
            w,
            pointers: vec![from, w.arg(e)?, from.null(), from.null(), y.arg_out(e)?],
            touches: [bytes(x) + bytes(w), bytes(&y)],
        });
        all.push(y);
    }
    products(e, &units, false, dtype, (&shape, params))?;
    Ok(Some(all))
}

/// Gradients of all operands in order, each where it is needed and its result has one; `None` when no kernel takes these operands.
///
/// # Errors
/// Those of the device.
pub fn gradients(
    e: Engine,
    params: Conv2dParams,
    parts: &[Part],
) -> Result<Option<Vec<Option<Grad>>>> {
    let maps = (parts.iter()).flat_map(|p| p.dy.into_iter().chain([p.x]).chain(p.so_far));
    if !fits(maps, parts.iter().map(|p| p.w)) {
        return Ok(None);
    }
    let dx = of_maps(e, params, parts)?;
    let dw = of_weights(e, params, parts)?;
    Ok(Some(
        dx.into_iter()
            .zip(dw)
            .flat_map(|(dx, dw)| [dx, dw])
            .collect(),
    ))
}

/// Gradients of the maps.
fn of_maps(e: Engine, params: Conv2dParams, parts: &[Part]) -> Result<Vec<Option<Grad>>> {
    let (mut units, mut all, mut shape) = (vec![], vec![], None);
    for p in parts {
        let Some(dy) = p.dy.filter(|_| p.need[0]) else {
            all.push(None);
            continue;
        };
        let mut dx = Tensor::scratch_on(e, *p.x.shape(), dy.dtype())?;
        let mask = p.x.arg(e)?;
        let plus = p.so_far.map_or(Ok(mask.null()), |t| t.arg(e))?;
        let read = bytes(dy) + bytes(p.w) + bytes(p.x) + p.so_far.map_or(0, bytes);
        units.push(Unit {
            x: p.x,
            w: p.w,
            pointers: vec![dy.arg(e)?, p.w.arg(e)?, mask, plus, dx.arg_out(e)?],
            touches: [read, bytes(&dx)],
        });
        shape = Some((*dy.shape(), dy.dtype()));
        all.push(Some(Grad::Whole(dx)));
    }
    if let Some((shape, dtype)) = shape {
        products(e, &units, true, dtype, (&shape, params))?;
    }
    Ok(all)
}

/// Gradients of the weights, in chunks that the tape adds up.
fn of_weights(e: Engine, params: Conv2dParams, parts: &[Part]) -> Result<Vec<Option<Grad>>> {
    let wanted = |p: &&Part| p.dy.is_some() && p.need[1];
    let mut all: Vec<Option<Grad>> = parts.iter().map(|_| None).collect();
    let Some(dy) = parts.iter().find(wanted).and_then(|p| p.dy) else {
        return Ok(all);
    };
    let (shape, dtype) = (*dy.shape(), dy.dtype());
    let d = shape.dims();
    let kernels = ByWidth {
        f32: [
            k::CONV_RECTIFIED_BWD_W_F32,
            k::CONV_RECTIFIED_BWD_W_NARROW_F32,
        ],
        bf16: [
            k::CONV_RECTIFIED_BWD_W_BF16,
            k::CONV_RECTIFIED_BWD_W_NARROW_BF16,
        ],
    };
    let (kernel, tile) = kernels.of_weights(dtype, d[1]);
    let tiles =
        |p: &Part| d[1].div_ceil(tile.channels) * (p.w.numel() / d[1]).div_ceil(tile.across);
    let each: Vec<usize> = parts.iter().filter(wanted).map(tiles).collect();
    let (count, length) = chunks(d[0] * d[2] * d[3], each.iter().sum());
    let mut units = vec![];
    for (p, slot) in parts.iter().zip(&mut all) {
        let Some(dy) = p.dy.filter(|_| p.need[1]) else {
            continue;
        };
        let mut part = sums(e, p.w.shape(), count)?;
        units.push(Unit {
            x: p.x,
            w: p.w,
            pointers: vec![p.x.arg(e)?, dy.arg(e)?, part.arg_out(e)?],
            touches: [bytes(p.x) + bytes(dy), bytes(&part)],
        });
        *slot = Some(summed(part, count));
    }
    let blocks = [each.into_iter().max().expect("a unit"), count];
    let first = [int(count), long(length)];
    launch(
        e,
        (kernel, tile.threads),
        blocks,
        &units,
        &first,
        (&shape, params),
    )?;
    Ok(all)
}
