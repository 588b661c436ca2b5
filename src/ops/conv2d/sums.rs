//! Sums of two stages, `kernels/conv_sums.cu`: chunks of a long sum side by side, then the chunks in order, which the tape adds of many
//! gradients at a time. What the launches of all convolutions share.

use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::error::Result;
use crate::ops::on_device;
use crate::tape::Grad;
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Blocks that fill the largest device; sums are not cut into chunks shorter than this.
const FULL: usize = 1024;
const CHUNK: usize = 512;
/// Blocks of a launch in x and y at most. Kernels take any number, so that tests can give a block several tiles.
pub type Most = [usize; 2];
/// What every device takes.
pub const MOST: Most = [1 << 30, 65535];

/// A size as kernels take it.
pub fn int(v: usize) -> Arg {
    Arg::I32(v as i32)
}

/// A count that may exceed 32 bits.
pub fn long(v: usize) -> Arg {
    Arg::I64(v as i64)
}

/// The grid of so many blocks, `most` at most.
pub fn grid(blocks: [usize; 2], most: Most) -> [u32; 3] {
    let [x, y] = [0, 1].map(|i| blocks[i].min(most[i]) as u32);
    [x, y, 1]
}

/// Chunks of a sum of `terms`, when `tiles` blocks work on each, and their length: a function of the sizes alone.
pub fn chunks(terms: usize, tiles: usize) -> (usize, usize) {
    let most = terms.div_ceil(CHUNK).max(1);
    let length = terms.div_ceil((FULL / tiles.max(1)).clamp(1, most));
    let length = length.next_multiple_of(32).max(32);
    (terms.div_ceil(length).max(1), length)
}

/// Runs `launch` with what takes `(chunks, n)` partial sums: a gradient that is yet to be added up, or the whole one of a single chunk.
pub fn summed(
    e: Engine,
    shape: Shape,
    chunks: usize,
    launch: impl FnOnce(Arg) -> Result<()>,
) -> Result<Grad> {
    let n = shape.numel();
    if n == 0 || chunks == 1 {
        let mut sum = Tensor::scratch_on(e, shape, DType::F32)?;
        if n > 0 {
            launch(sum.arg_out(e)?)?;
        }
        return Ok(Grad::Whole(sum));
    }
    let mut part = Tensor::scratch_on(e, [chunks, n], DType::F32)?;
    launch(part.arg_out(e)?)?;
    Ok(Grad::Chunks(part))
}

/// The sum of `dy (N, C, plane)` over images and pixels, f32, in `shape (C)`.
pub fn bias_gradient(
    e: Engine,
    [n, c, plane]: [usize; 3],
    dy: &Tensor,
    shape: Shape,
) -> Result<Option<Grad>> {
    let picked = on_device::pick(dy.dtype(), k::CHANNEL_SUMS_F32, k::CHANNEL_SUMS_BF16);
    let Some(kernel) = picked else {
        return Ok(None);
    };
    let (count, length) = chunks(n * plane, c);
    let db = summed(e, shape, count, |part| {
        let blocks = grid([c, count], MOST);
        channel_sums(e, kernel, [n, c, plane], dy, part, [count, length], blocks)
    })?;
    Ok(Some(db))
}

/// The sums of `count` chunks of `length` values of each channel, `(count, c)`.
pub fn channel_sums(
    e: Engine,
    kernel: Kernel,
    [n, c, plane]: [usize; 3],
    dy: &Tensor,
    part: Arg,
    [count, length]: [usize; 2],
    blocks: [u32; 3],
) -> Result<()> {
    let args = [
        dy.arg(e)?,
        part,
        int(n),
        int(c),
        long(plane),
        int(count),
        long(length),
    ];
    e.launch(kernel, Launch::new(blocks, [256, 1, 1]), &args)
}

#[test]
fn sums_are_cut_into_chunks_that_cover_them() {
    for (terms, tiles) in [
        (0, 1),
        (1, 0),
        (511, 1),
        (513, 3),
        (327_680, 1),
        (327_680, 5000),
    ] {
        let (count, length) = chunks(terms, tiles);
        assert!(count >= 1 && count * length >= terms && length % 32 == 0);
        assert!(count == 1 || (count - 1) * length < terms);
        assert!(count <= FULL);
    }
}
