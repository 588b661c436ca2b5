//! What the tape itself computes: casts between storage types, sums of gradients (`kernels/slabs.cu`,
//! `kernels/conv_sums.cu`).

use super::{DeviceBuffer, Engine};
use crate::backend::buffer::DType;
use crate::backend::driver::{self as k, Arg, Kernel, Launch, Scalar};
use crate::error::Result;

/// Threads of a block of a kernel with one value a thread.
const THREADS: u32 = 256;

/// Terms of a launch (`SLABS` of slabs.cu).
const SLABS: usize = 16;

/// Sums of a launch (`SUMS` of conv_sums.cu).
pub const SUMS: usize = 64;

/// A term of [`Engine::sum`]: of a buffer `(images, held, plane)` some channels.
#[derive(Debug, Clone, Copy)]
pub struct Slab<'a> {
    /// The buffer.
    pub x: &'a DeviceBuffer,
    /// Its channels.
    pub held: usize,
    /// The first of those that are added.
    pub from: usize,
    /// How many are added.
    pub channels: usize,
    /// The channel of the sum that the first is added to.
    pub to: usize,
}

impl<'a> Slab<'a> {
    /// All of a buffer, to a sum of as many channels.
    pub fn whole(x: &'a DeviceBuffer, channels: usize) -> Slab<'a> {
        Slab {
            x,
            held: channels,
            from: 0,
            channels,
            to: 0,
        }
    }
}

impl Engine {
    /// The values in another float type, f32 or bf16, rounded to nearest even.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn cast(&self, x: &DeviceBuffer, dtype: DType) -> Result<DeviceBuffer> {
        let kernel = match (x.dtype(), dtype) {
            (DType::F32, DType::Bf16) => k::CAST_F32_BF16,
            (DType::Bf16, DType::F32) => k::CAST_BF16_F32,
            _ => return x.duplicate(),
        };
        let y = DeviceBuffer::scratch(*self, dtype, x.len())?;
        self.over(kernel, x.len(), &[x.arg(), y.arg_out()])?;
        Ok(y)
    }

    /// The sum of `terms`, in their order and in f32, stored as they are: a buffer `(images, channels, plane)`, 0 where no term reaches.
    /// One launch for sixteen terms. Asserts that there is a term, that all are f32 or all bf16, and that they fit.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn sum(
        &self,
        [images, channels, plane]: [usize; 3],
        terms: &[Slab],
    ) -> Result<DeviceBuffer> {
        let dtype = terms[0].x.dtype();
        let fits = |t: &Slab| {
            t.x.dtype() == dtype
                && t.x.len() == images * t.held * plane
                && t.from + t.channels <= t.held
                && t.to + t.channels <= channels
        };
        assert!(terms.iter().all(fits), "terms that do not fit their sum");
        let n = images * channels * plane;
        let mut before: Option<DeviceBuffer> = None;
        let mut rest = terms;
        loop {
            let (now, later) = rest.split_at(rest.len().min(SLABS));
            let (kernel, stored) = match (dtype, later) {
                (DType::F32, _) => (k::SUM_SLABS_F32, DType::F32),
                (_, []) => (k::SUM_SLABS_BF16, dtype),
                _ => (k::SUM_SLABS_BF16_F32, DType::F32),
            };
            let y = DeviceBuffer::scratch(*self, stored, n)?;
            if n > 0 {
                let row = |t: &Slab| [t.to, t.channels, t.from, t.held].map(|v| v as i32);
                let rows: Vec<i32> = now.iter().flat_map(row).collect();
                let rows = self.constant(&rows)?;
                // In place of a pointer that is not looked at.
                let nothing = Arg::In(rows.address(), Scalar::F32);
                let mut args: Vec<Arg> = now.iter().map(|t| t.x.arg()).collect();
                args.resize(SLABS, args[0].null());
                args.extend([
                    rows.arg(),
                    before.as_ref().map_or(nothing, DeviceBuffer::arg),
                    y.arg_out(),
                    Arg::I32(now.len() as i32),
                    Arg::I32(i32::from(before.is_some())),
                    Arg::I32(channels as i32),
                    Arg::I64(plane as i64),
                    Arg::I64(n as i64),
                ]);
                let packs = n.div_ceil(16 / dtype.size());
                self.launch(kernel, Launch::over(packs, THREADS), &args)?;
            }
            if later.is_empty() {
                return Ok(y);
            }
            (before, rest) = (Some(y), later);
        }
    }

    /// Of each part `(chunks, n)`, given with the number of its chunks, the sum `(n)` over them, f32; one launch for 64, of so many blocks
    /// each at most.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn sum_chunks(
        &self,
        parts: &[(&DeviceBuffer, usize)],
        blocks: usize,
    ) -> Result<Vec<DeviceBuffer>> {
        let mut all = vec![];
        for parts in parts.chunks(SUMS) {
            let sizes: Vec<[usize; 2]> = (parts.iter())
                .map(|(p, chunks)| [*chunks, p.len() / chunks])
                .collect();
            let table: Vec<i32> = sizes.iter().flatten().map(|&v| v as i32).collect();
            let table = self.constant(&table)?;
            let mut from: Vec<Arg> = parts.iter().map(|(p, _)| p.arg()).collect();
            from.resize(SUMS, from[0].null());
            let mut to = vec![];
            for [_, n] in &sizes {
                let y = DeviceBuffer::scratch(*self, DType::F32, *n)?;
                to.push(y.arg_out());
                all.push(y);
            }
            to.resize(SUMS, to[0].null());
            let longest = sizes.iter().map(|s| s[1].div_ceil(32)).max().unwrap_or(1);
            let grid = [longest.clamp(1, blocks) as u32, 1, parts.len() as u32];
            let args = [&from[..], &to, &[table.arg()]].concat();
            self.launch(k::SUM_CHUNKS_F32, Launch::new(grid, [256, 1, 1]), &args)?;
        }
        Ok(all)
    }

    /// Launches a kernel with one value a thread, whose last parameter is the number of values (`long long`); none: no launch.
    ///
    /// # Errors
    /// As [`Engine::launch`].
    pub fn over(&self, kernel: Kernel, n: usize, args: &[Arg]) -> Result<()> {
        if n == 0 {
            return Ok(());
        }
        let args: Vec<Arg> = args.iter().copied().chain([Arg::I64(n as i64)]).collect();
        self.launch(kernel, Launch::over(n, THREADS), &args)
    }
}
