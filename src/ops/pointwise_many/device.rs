//! Launches: `conv_many` and `conv_many_norm` of `kernels/conv_gather.cu`, `conv_many_bwd_w` of `kernels/conv_bwd_w.cu` and their twins for bf16.

use super::WEIGHTS;
use crate::backend::driver::{self as k, Arg, DevicePtr, Kernel, Launch};
use crate::error::Result;
use crate::ops::conv2d::sums::{MOST, Most, chunks, grid};
use crate::ops::conv2d::tiles::{ByWidth, fits, summed, sums};
use crate::ops::on_device::{bytes, int, list, long};
use crate::tape::Grad;
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Which pixels of its map a unit reads (`ManyPixels` of conv.cuh).
const ALL: usize = 0;
const EVEN: usize = 1;
const ODD: usize = 2;

/// What a backward is given of one result.
pub struct Part<'a> {
    pub x: &'a Tensor,
    pub w: Vec<&'a Tensor>,
    /// The gradient of the result, where it has one.
    pub dy: Option<&'a Tensor>,
    /// What the gradient of the map is added to.
    pub so_far: Option<&'a Tensor>,
    /// Of the map and of each weight.
    pub need: &'a [bool],
}

impl<'a> Part<'a> {
    /// The gradient of the result, where that of weight `i` is asked for.
    fn wanted(&self, i: usize) -> Option<&'a Tensor> {
        self.dy.filter(|_| self.need[1 + i])
    }
}

/// Results, and where they were asked for their partial statistics `(maps, C, blocks, 4)`.
pub struct Made {
    pub all: Vec<Tensor>,
    pub part: Option<Tensor>,
}

/// A convolution, or the gradient of a map, of a launch.
struct Unit {
    /// What is read, besides weights.
    from: [Arg; 2],
    second: Arg,
    /// Where gradients pass, and what they are added to.
    beside: [Arg; 2],
    to: Arg,
    /// Where partial statistics of what is written go.
    part: Option<Arg>,
    /// Channels of the map.
    depth: usize,
    /// Channels of what is written.
    rows: usize,
    pixels: usize,
}

/// `bytes` behind the first.
fn shifted(a: Arg, bytes: usize) -> Arg {
    match a {
        Arg::In(DevicePtr(at), of) => Arg::In(DevicePtr(at + bytes), of),
        Arg::Out(DevicePtr(at), of) => Arg::Out(DevicePtr(at + bytes), of),
        other => other,
    }
}

/// The pixels of convolution `i` of `n` of a map.
fn pixels(i: usize, n: usize) -> usize {
    match (i, n) {
        (_, 1) => ALL,
        (0, _) => EVEN,
        _ => ODD,
    }
}

/// Of all units, in order; the units that a launch has no use for are like none.
fn numbers(units: &[Unit], shape: &Shape) -> Vec<Arg> {
    let d = shape.dims();
    let padded = |of: &dyn Fn(&Unit) -> usize| {
        let all = (0..WEIGHTS).map(|i| int(units.get(i).map_or(0, of)));
        all.collect::<Vec<_>>()
    };
    let sizes = [d[0], d[1], d[2], d[3]].map(int);
    [&sizes[..], &padded(&|u| u.depth), &padded(&|u| u.pixels)].concat()
}

fn lists(units: &[Unit], of: impl Fn(&Unit) -> Arg) -> Vec<Arg> {
    let all: Vec<Arg> = units.iter().map(of).collect();
    list(&all, WEIGHTS, all[0])
}

/// Kernels that convolve, and those of them that gather statistics.
const KERNELS: ByWidth<[Kernel; 2]> = ByWidth {
    f32: [
        [k::CONV_MANY_F32, k::CONV_MANY_NORM_F32],
        [k::CONV_MANY_NARROW_F32, k::CONV_MANY_NORM_NARROW_F32],
    ],
    bf16: [
        [k::CONV_MANY_BF16, k::CONV_MANY_NORM_BF16],
        [k::CONV_MANY_NARROW_BF16, k::CONV_MANY_NORM_NARROW_BF16],
    ],
};

/// Blocks that share the pixels of a result where they gather its statistics, `most` at most, with as many tiles each: a function of the
/// sizes alone.
pub fn blocks(shape: &Shape, tile: usize, most: usize) -> usize {
    let d = shape.dims();
    let tiles = (d[0] * d[2] * d[3]).div_ceil(tile);
    tiles.div_ceil(tiles.div_ceil(most))
}

/// Runs `conv_many`, or `conv_many_norm` where units have a `part`, over units of results, or gradients of results, of `shape`; `touches`
/// bytes.
fn products(
    e: Engine,
    units: &[Unit],
    transposed: bool,
    shape: &Shape,
    dtype: DType,
    touches: [u64; 2],
    most: Most,
) -> Result<()> {
    let d = shape.dims();
    let rows = units.iter().map(|u| u.rows).max().expect("a unit");
    let (kernels, tile) = KERNELS.of_maps(dtype, rows);
    // Transposed, pixels that agree modulo the step are a class of their own, as many as there are of a result.
    let classes = |u: &Unit| if transposed && u.pixels != ALL { 4 } else { 1 };
    let down = units
        .iter()
        .map(|u| u.rows.div_ceil(tile.channels) * classes(u))
        .max();
    let across = (d[0] * d[2] * d[3]).div_ceil(tile.across);
    let mut blocks = grid([across, down.expect("a unit")], most);
    blocks[2] = units.len() as u32;
    let mut launch = Launch::new(blocks, [tile.threads, 1, 1]);
    launch.touches = Some(touches);
    let [kernel, gathering] = kernels;
    if units[0].part.is_some() {
        let args = [
            lists(units, |u| u.from[0]),
            lists(units, |u| u.from[1]),
            lists(units, |u| u.to),
            lists(units, |u| u.part.expect("of all units")),
            numbers(units, shape),
        ];
        return e.launch(gathering, launch, &args.concat());
    }
    let args = [
        lists(units, |u| u.from[0]),
        lists(units, |u| u.from[1]),
        lists(units, |u| u.second),
        lists(units, |u| u.beside[0]),
        lists(units, |u| u.beside[1]),
        lists(units, |u| u.to),
        vec![int(usize::from(transposed))],
        numbers(units, shape),
    ];
    e.launch(kernel, launch, &args.concat())
}

/// Results of `shape`, and their statistics gathered by so many blocks at most where `gather` says so; `None` when no kernel takes these
/// operands.
///
/// # Errors
/// Those of the device.
pub fn forward(
    e: Engine,
    parts: &[(&Tensor, Vec<&Tensor>)],
    shape: Shape,
    gather: Option<usize>,
) -> Result<Option<Made>> {
    if !fits(
        parts.iter().map(|p| p.0),
        parts.iter().flat_map(|p| p.1.iter().copied()),
    ) {
        return Ok(None);
    }
    let dtype = parts[0].0.dtype();
    let (mut units, mut all, mut touches) = (vec![], vec![], [0; 2]);
    let most_rows = parts.iter().map(|p| p.1[0].dims()[0]).max();
    let (_, tile) = KERNELS.of_maps(dtype, most_rows.expect("a result"));
    let across = gather.map(|most| blocks(&shape, tile.across, most));
    // Bytes of the statistics of a channel.
    let row = across.unwrap_or(0) * 4 * DType::F32.size();
    let channels = shape.dims()[1];
    let of = |across| Tensor::scratch_on(e, [parts.len(), channels, across, 4], DType::F32);
    let mut part = across.map(of).transpose()?;
    touches[1] += part.as_ref().map_or(0, bytes);
    for (x, weights) in parts {
        let mut y = Tensor::scratch_on(e, shape, dtype)?;
        touches[0] += bytes(x);
        touches[1] += bytes(&y);
        let (rows, plane) = (weights[0].dims()[0], shape.dims()[2] * shape.dims()[3]);
        for (i, w) in weights.iter().enumerate() {
            touches[0] += bytes(w);
            let (x_arg, w) = (x.arg(e)?, w.arg(e)?);
            let first = all.len() * channels + i * rows;
            let part = part.as_mut().map(|p| p.arg_out(e)).transpose()?;
            units.push(Unit {
                from: [x_arg, w],
                second: w,
                beside: [x_arg.null(); 2],
                to: shifted(y.arg_out(e)?, i * rows * plane * dtype.size()),
                part: part.map(|p| shifted(p, first * row)),
                depth: x.dims()[1],
                rows,
                pixels: pixels(i, weights.len()),
            });
        }
        all.push(y);
    }
    let most = across.map_or(MOST, |across| [across, MOST[1]]);
    products(e, &units, false, &shape, dtype, touches, most)?;
    Ok(Some(Made { all, part }))
}

/// Gradients of all operands in order, each where it is needed and its result has one; `None` when no kernel takes these operands.
///
/// # Errors
/// Those of the device.
pub fn gradients(e: Engine, parts: &[Part]) -> Result<Option<Vec<Option<Grad>>>> {
    let maps = (parts.iter()).flat_map(|p| p.dy.into_iter().chain([p.x]).chain(p.so_far));
    if !fits(maps, parts.iter().flat_map(|p| p.w.iter().copied())) {
        return Ok(None);
    }
    let dx = of_maps(e, parts)?;
    let dw = of_weights(e, parts)?;
    let both = dx.into_iter().zip(dw);
    Ok(Some(
        both.flat_map(|(dx, dw)| [dx].into_iter().chain(dw))
            .collect(),
    ))
}

/// Gradients of the maps.
fn of_maps(e: Engine, parts: &[Part]) -> Result<Vec<Option<Grad>>> {
    let (mut units, mut all, mut touches, mut shape) = (vec![], vec![], [0; 2], None);
    for p in parts {
        let (Some(dy), true) = (p.dy, p.need[0]) else {
            all.push(None);
            continue;
        };
        let mut dx = Tensor::scratch_on(e, *p.x.shape(), dy.dtype())?;
        let weights: u64 = p.w.iter().map(|w| bytes(w)).sum();
        touches[0] += bytes(dy) + weights + bytes(p.x) + p.so_far.map_or(0, bytes);
        let mask = p.x.arg(e)?;
        let plus = p.so_far.map_or(Ok(mask.null()), |t| t.arg(e))?;
        touches[1] += bytes(&dx);
        units.push(Unit {
            from: [dy.arg(e)?, p.w[0].arg(e)?],
            second: p.w[p.w.len() - 1].arg(e)?,
            beside: [mask, plus],
            to: dx.arg_out(e)?,
            part: None,
            depth: p.x.dims()[1],
            rows: p.x.dims()[1],
            pixels: pixels(0, p.w.len()),
        });
        shape = Some((*dy.shape(), dy.dtype()));
        all.push(Some(Grad::Whole(dx)));
    }
    if let Some((shape, dtype)) = shape {
        products(e, &units, true, &shape, dtype, touches, MOST)?;
    }
    Ok(all)
}

/// Gradients of the weights, of each part as many as it has.
fn of_weights(e: Engine, parts: &[Part]) -> Result<Vec<Vec<Option<Grad>>>> {
    let all = || {
        parts
            .iter()
            .flat_map(|p| (0..p.w.len()).map(move |i| (p, i)))
    };
    let some: Vec<_> = all()
        .filter_map(|(p, i)| Some((p, i, p.wanted(i)?)))
        .collect();
    let Some(&(_, _, dy)) = some.first() else {
        return Ok(parts
            .iter()
            .map(|p| p.w.iter().map(|_| None).collect())
            .collect());
    };
    let (shape, dtype) = (*dy.shape(), dy.dtype());
    let d = shape.dims();
    let rows = |p: &Part| p.w[0].dims()[0];
    let kernels = ByWidth {
        f32: [k::CONV_MANY_BWD_W_F32, k::CONV_MANY_BWD_W_NARROW_F32],
        bf16: [k::CONV_MANY_BWD_W_BF16, k::CONV_MANY_BWD_W_NARROW_BF16],
    };
    let most = some.iter().map(|s| rows(s.0)).max().expect("not empty");
    let (kernel, tile) = kernels.of_weights(dtype, most);
    let tiles = |p: &Part| rows(p).div_ceil(tile.channels) * p.x.dims()[1].div_ceil(tile.across);
    let tiles = some.iter().map(|s| tiles(s.0)).max().expect("not empty");
    let (count, length) = chunks(d[0] * d[2] * d[3], tiles);
    let (mut units, mut made, mut touches) = (vec![], vec![], [0; 2]);
    for &(p, i, dy) in &some {
        let mut part = sums(e, p.w[i].shape(), count)?;
        touches[0] += (bytes(dy) + bytes(p.x)) / p.w.len() as u64;
        touches[1] += bytes(&part);
        let behind = i * rows(p) * d[2] * d[3] * dtype.size();
        let dy = shifted(dy.arg(e)?, behind);
        units.push(Unit {
            from: [p.x.arg(e)?, dy],
            second: dy,
            beside: [dy.null(); 2],
            to: part.arg_out(e)?,
            part: None,
            depth: p.x.dims()[1],
            rows: rows(p),
            pixels: pixels(i, p.w.len()),
        });
        made.push(part);
    }
    let mut blocks = grid([tiles, count], MOST);
    blocks[2] = units.len() as u32;
    let mut launch = Launch::new(blocks, [tile.threads, 1, 1]);
    launch.touches = Some(touches);
    let args = [
        lists(&units, |u| u.from[0]),
        lists(&units, |u| u.from[1]),
        lists(&units, |u| u.to),
        vec![int(count), long(length)],
        numbers(&units, &shape),
    ];
    e.launch(kernel, launch, &args.concat())?;
    let mut made = made.into_iter();
    let mut of = |p: &Part, i: usize| {
        let part = p.wanted(i).and_then(|_| made.next())?;
        Some(summed(part, count))
    };
    let of_part = |p: &Part| (0..p.w.len()).map(|i| of(p, i)).collect();
    Ok(parts.iter().map(of_part).collect())
}
