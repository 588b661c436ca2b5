//! Few and small convolutions that between them reach every line of the product kernels: tails of channels, pixels and sums, several tiles
//! of one block, groups, images within a tile, every condition of a fast path broken alone.

use super::*;
use crate::backend::host::conv::add_bias;
use crate::ops::conv2d::entry::cancel;
use crate::ops::conv2d::sums::channel_sums;

/// Images, input and output channels of a group, groups; map; kernel, stride, padding, dilation.
type Numbers = ([usize; 4], [usize; 2], [usize; 4]);

#[allow(clippy::many_single_char_names)]
fn sizes(([n, depth, rows, groups], [h, w], [k, stride, padding, dilation]): Numbers) -> ConvSizes {
    let out = |v: usize| (v + 2 * padding - (k - 1) * dilation - 1) / stride + 1;
    ConvSizes {
        n,
        c_in: groups * depth,
        h,
        w,
        c_out: groups * rows,
        ho: out(h),
        wo: out(w),
        k,
        stride,
        padding,
        dilation,
        groups,
    }
}

/// What a case of maps is: the input gradient instead of the forward; with a bias; sums that almost cancel.
const BACK: u8 = 1;
const BIAS: u8 = 2;
const CANCELS: u8 = 4;

/// Maps, with the blocks at most.
const MAPS: &[(Numbers, Most, u8)] = &[
    // Two tiles of everything, all with tails; pixels one at a time, four and eight at a time.
    (([2, 20, 70, 1], [5, 9], [1, 1, 0, 1]), MOST, BIAS),
    (([3, 18, 20, 1], [4, 12], [1, 1, 0, 1]), [1, 1], 0),
    (([2, 4, 19, 1], [4, 8], [1, 1, 0, 1]), MOST, BACK),
    (([3, 2, 3, 2], [6, 9], [2, 1, 1, 1]), [1, 2], 0),
    // Fast paths: one condition at a time does not hold.
    (([1, 2, 3, 1], [4, 6], [3, 1, 0, 1]), MOST, 0),
    (([2, 2, 3, 1], [4, 8], [1, 2, 0, 1]), MOST, BIAS),
    (([1, 2, 3, 1], [2, 4], [1, 1, 1, 1]), MOST, 0),
    (([5, 17, 3, 1], [1, 1], [1, 1, 0, 1]), MOST, 0),
    (([2, 5, 17, 1], [4, 6], [3, 1, 1, 1]), MOST, BACK | BIAS),
    // Strides, dilations, groups; classes of outputs that have no tap, or no output.
    (([2, 3, 5, 2], [9, 12], [3, 2, 2, 2]), MOST, BIAS),
    (([1, 66, 2, 2], [5, 6], [3, 2, 1, 1]), [1, 3], BACK),
    (([2, 3, 2, 1], [2, 4], [2, 3, 1, 1]), MOST, BACK | BIAS),
    (([1, 3, 2, 1], [4, 8], [3, 2, 1, 2]), MOST, BACK),
    // The last bits of weights, by both tiles.
    (([1, 8, 17, 1], [3, 5], [1, 1, 0, 1]), MOST, CANCELS),
    (([1, 8, 4, 1], [3, 5], [1, 1, 0, 1]), MOST, CANCELS),
];

fn gathered(e: Engine, s: &ConvSizes, dtype: DType, most: Most, how: u8) -> Result<()> {
    let r = &mut Rng::new(1, &[]);
    let back = how & BACK != 0;
    let (from, to) = ([s.n, s.c_in, s.h, s.w], [s.n, s.c_out, s.ho, s.wo]);
    let (from, to) = if back { (to, from) } else { (from, to) };
    let mut x = random(r, from, dtype);
    let mut w = random(r, [s.c_out, s.c_in / s.groups, s.k, s.k], DType::F32);
    if how & CANCELS != 0 {
        let (mut x64, mut w64) = (x.to_f64(), w.to_f64());
        let depth = s.c_in / s.groups;
        cancel(&mut x64, depth * s.h * s.w, &mut w64, depth * s.k * s.k);
        x = Tensor::from_f64(*x.shape(), x64)?.cast(dtype);
        w = Tensor::from_f64(*w.shape(), w64)?.cast(DType::F32);
    }
    let b = random(r, [to[1], 1, 1, 1], DType::F32);
    let b = (how & BIAS != 0).then_some(&b);
    let (x64, w64, b64) = (x.to_f64(), w.to_f64(), b.map(Tensor::to_f64));
    let of = |x: &[f64], w: &[f64], b: Option<&[f64]>| {
        let mut y = vec![0.0; to.iter().product()];
        match back {
            false => conv::forward(s, x, w, &mut y),
            true => conv::input_gradient(s, w, x, &mut y),
        }
        if let Some(b) = b {
            add_bias(b, to[2] * to[3], &mut y);
        }
        y
    };
    let want = of(&x64, &w64, b64.as_deref());
    let size = of(&abs(&x64), &abs(&w64), b64.as_deref().map(abs).as_deref());
    let y = gather(e, s, back, [&x, &w], b, to.into(), most)?.expect("kernels");
    let terms = from[1] / s.groups * s.k * s.k + 1;
    within(&format!("y of {s:?}"), &y, &want, &size, terms)
}

/// Cases of `conv_gather.cu` or, in bf16, `conv_gather_mma.cu`.
pub fn gather_cases(e: Engine, dtype: DType) -> Result<()> {
    for &(numbers, most, how) in MAPS {
        gathered(e, &sizes(numbers), dtype, most, how)?;
    }
    e.healthy()
}

/// Gradients of weights, with the blocks at most and the pixels of a chunk.
const WEIGHTS: &[(Numbers, Most, usize)] = &[
    // Two tiles of everything, all with tails.
    (([2, 70, 66, 1], [3, 5], [1, 1, 0, 1]), MOST, 32),
    (([3, 6, 20, 2], [4, 6], [1, 1, 0, 1]), [99, 1], 64),
    (([3, 35, 5, 1], [4, 6], [1, 1, 0, 1]), [1, 2], 32),
    (([1, 9, 17, 1], [4, 5], [3, 1, 1, 1]), [1, 1], 32),
    (([2, 4, 3, 2], [9, 12], [3, 2, 2, 2]), MOST, 32),
    // Fast paths: one condition at a time does not hold.
    (([1, 2, 3, 1], [4, 6], [3, 1, 0, 1]), MOST, 32),
    (([2, 2, 3, 1], [4, 8], [1, 2, 0, 1]), MOST, 32),
    (([1, 2, 3, 1], [2, 6], [1, 1, 1, 1]), MOST, 32),
    (([5, 3, 17, 1], [1, 1], [1, 1, 0, 1]), MOST, 32),
];

fn weights(e: Engine, s: &ConvSizes, dtype: DType, most: Most, length: usize) -> Result<()> {
    let r = &mut Rng::new(2, &[]);
    let x = random(r, [s.n, s.c_in, s.h, s.w], dtype);
    let dy = random(r, [s.n, s.c_out, s.ho, s.wo], dtype);
    let (x64, dy64) = (x.to_f64(), dy.to_f64());
    let (kernel, tiles) = weight_tiles(s, dtype);
    let pixels = s.n * s.ho * s.wo;
    let chunks = [pixels.div_ceil(length), length];
    let n = s.c_out * s.c_in / s.groups * s.k * s.k;
    let mut part = Tensor::scratch_on(e, [chunks[0], n], DType::F32)?;
    let blocks = grid([tiles, chunks[0]], most);
    weight_sums(e, s, [&x, &dy], part.arg_out(e)?, kernel, chunks, blocks)?;
    let part = part.to_f64();
    let sum = |i: usize| part.iter().skip(i).step_by(n).sum::<f64>();
    let dw = Tensor::from_f64([n], (0..n).map(sum).collect())?;
    let mut both = [vec![0.0; n], vec![0.0; n]];
    conv::weight_gradient(s, &x64, &dy64, &mut both[0]);
    conv::weight_gradient(s, &abs(&x64), &abs(&dy64), &mut both[1]);
    within(&format!("dw of {s:?}"), &dw, &both[0], &both[1], pixels)
}

/// Cases of `conv_bwd_w.cu` or, in bf16, `conv_bwd_w_mma.cu`.
pub fn weight_cases(e: Engine, dtype: DType) -> Result<()> {
    for &(numbers, most, length) in WEIGHTS {
        weights(e, &sizes(numbers), dtype, most, length)?;
    }
    e.healthy()
}

/// Images, channels, plane, with the blocks at most and the values of a chunk: planes of whole loads and others, also of less than one; a
/// thread with one load and with several.
const CHANNELS: &[([usize; 3], Most, usize)] = &[
    ([4, 2, 360], MOST, 1120),
    ([8, 1, 360], [99, 1], 2112),
    ([9, 1, 35], MOST, 288),
    ([3, 2, 35], [1, 1], 64),
    ([2, 3, 12], [1, 1], 32),
    ([12, 3, 3], [1, 2], 32),
];

fn channels(e: Engine, size: [usize; 3], dtype: DType, most: Most, length: usize) -> Result<()> {
    let [n, c, plane] = size;
    let dy = random(&mut Rng::new(3, &[]), [n, c, 1, plane], dtype);
    let count = (n * plane).div_ceil(length);
    let mut part = Tensor::scratch_on(e, [count, c], DType::F32)?;
    let kernel = match dtype {
        DType::F32 => k::CHANNEL_SUMS_F32,
        _ => k::CHANNEL_SUMS_BF16,
    };
    let (out, blocks) = (part.arg_out(e)?, grid([c, count], most));
    channel_sums(e, kernel, size, &dy, out, [count, length], blocks)?;
    // Every chunk by itself.
    let mut both = [vec![0.0; count * c], vec![0.0; count * c]];
    for (i, v) in dy.to_f64().iter().enumerate() {
        let (image, channel, p) = (i / (c * plane), i / plane % c, i % plane);
        let at = (image * plane + p) / length * c + channel;
        both[0][at] += v;
        both[1][at] += v.abs();
    }
    within(
        &format!("sums of {size:?}"),
        &part,
        &both[0],
        &both[1],
        length,
    )
}

/// Several sums in a launch of so many blocks each at most.
fn chunks_added(e: Engine, sizes: &[[usize; 2]], most: usize) -> Result<()> {
    let mut r = Rng::new(4, &[]);
    let parts: Vec<Tensor> = (sizes.iter())
        .map(|&[count, n]| random(&mut r, [count, n, 1, 1], DType::F32))
        .collect();
    let mut on = vec![];
    for (part, [count, _]) in parts.iter().zip(sizes) {
        on.push((part.on(e)?, *count));
    }
    let sums = e.sum_chunks(&on, most)?;
    for ((part, [count, n]), y) in parts.iter().zip(sizes).zip(sums) {
        let part = part.to_f64();
        let of = |v: &[f64]| {
            let sum = |i: usize| v.iter().skip(i).step_by(*n).sum();
            (0..*n).map(sum).collect::<Vec<f64>>()
        };
        let y = Tensor::from_device([*n], y);
        within("chunks", &y, &of(&part), &of(&abs(&part)), *count)?;
    }
    Ok(())
}

/// Cases of `conv_sums.cu`.
pub fn sum_cases(e: Engine) -> Result<()> {
    chunks_added(e, &[[19, 70], [3, 40], [2, 5]], 1 << 16)?;
    chunks_added(e, &[[19, 70]], 1)?;
    // More than a launch takes.
    chunks_added(e, &[[2, 3]; 66], 1 << 16)?;
    for &(size, most, length) in CHANNELS {
        for dtype in [DType::F32, DType::Bf16] {
            channels(e, size, dtype, most, length)?;
        }
    }
    e.healthy()
}
