//! What launches over several convolutions have in common: tiles by type and width, what kernels take, and gradients in chunks.

use crate::error::Result;
use crate::tape::Grad;
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Threads of a block, but of the wide tiles of bf16 maps, which have twice as many.
const THREADS: u32 = 128;
/// Channels that narrow tiles hold.
const NARROW: usize = 16;

/// One kernel for each width and type of map.
#[derive(Debug, Clone, Copy)]
pub struct ByWidth<K> {
    /// For f32, of more than 16 channels and of at most as many.
    pub f32: [K; 2],
    /// For bf16, likewise.
    pub bf16: [K; 2],
}

/// What a block computes.
#[derive(Debug, Clone, Copy)]
pub struct Tile {
    /// Channels of the result.
    pub channels: usize,
    /// Pixels; of gradients of weights the values of a channel.
    pub across: usize,
    /// Threads of the block.
    pub threads: u32,
}

impl<K: Copy> ByWidth<K> {
    /// The kernel that computes maps, or their gradients, of at most so many channels, and its tile.
    pub fn of_maps(&self, dtype: DType, channels: usize) -> (K, Tile) {
        let tile = |channels, across, threads| Tile {
            channels,
            across,
            threads,
        };
        match (dtype, channels <= NARROW) {
            (DType::F32, true) => (self.f32[1], tile(NARROW, 128, THREADS)),
            (DType::F32, false) => (self.f32[0], tile(64, 64, THREADS)),
            (_, true) => (self.bf16[1], tile(NARROW, 128, THREADS)),
            (_, false) => (self.bf16[0], tile(64, 128, 2 * THREADS)),
        }
    }

    /// The kernel that computes gradients of weights of at most so many channels, and its tile.
    pub fn of_weights(&self, dtype: DType, channels: usize) -> (K, Tile) {
        let tile = |channels, across| Tile {
            channels,
            across,
            threads: THREADS,
        };
        match (dtype, channels <= NARROW) {
            (DType::F32, true) => (self.f32[1], tile(NARROW, 32)),
            (DType::F32, false) => (self.f32[0], tile(64, 64)),
            (_, true) => (self.bf16[1], tile(NARROW, 64)),
            (_, false) => (self.bf16[0], tile(64, 64)),
        }
    }
}

/// Whether kernels take these, maps of one type and weights in f32, and have something to do.
pub fn fits<'a>(
    mut maps: impl Iterator<Item = &'a Tensor>,
    mut weights: impl Iterator<Item = &'a Tensor>,
) -> bool {
    let mut dtype = None;
    let known = |d: DType| matches!(d, DType::F32 | DType::Bf16);
    let one = |t: &Tensor| {
        t.numel() > 0 && known(t.dtype()) && *dtype.get_or_insert(t.dtype()) == t.dtype()
    };
    maps.all(one) && weights.all(|w| w.dtype() == DType::F32 && w.numel() > 0)
}

/// Where the sums of a gradient of this shape go: one chunk is the gradient itself.
///
/// # Errors
/// Those of the device.
pub fn sums(e: Engine, shape: &Shape, chunks: usize) -> Result<Tensor> {
    match chunks {
        1 => Tensor::scratch_on(e, *shape, DType::F32),
        _ => Tensor::scratch_on(e, [chunks, shape.numel()], DType::F32),
    }
}

/// The gradient of [`sums`].
pub fn summed(sums: Tensor, chunks: usize) -> Grad {
    match chunks {
        1 => Grad::Whole(sums),
        _ => Grad::Chunks(sums),
    }
}
