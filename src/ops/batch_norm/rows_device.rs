//! Normalisation of rows by kernels (`kernels/norm_rows.cu`).

use std::sync::Arc;

use super::device::supported;
use super::rows::RowsBatchNorm;
use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::Result;
use crate::ops::on_device::{int, list, long, pick, untouched};
use crate::tape::{Backward, Grad, Output};
use crate::tensor::{DType, DeviceBuffer, Engine, Shape, Tensor};

/// Threads of a block, which are also its channels at most.
const THREADS: usize = 256;
/// Levels of a launch (`NORM_LEVELS` of norm_rows.cu).
const LEVELS: usize = 8;
/// The most chunks of a level, all of which every block of the second launch merges for its channels.
const CHUNKS: usize = 128;
/// The most blocks of a level.
const BLOCKS: usize = 1024;
/// Values of a thread below which another chunk does not pay.
const VALUES: usize = 32;
/// Blocks that a chunk is cut into where it is written.
const SPREAD: u32 = 2;

/// Some levels, as their launches take them.
struct Part {
    /// The first of them, and the one after the last.
    first: usize,
    end: usize,
    table: Arc<DeviceBuffer>,
    launch: Launch,
    images: usize,
    /// Values of an image, of all levels.
    total: usize,
    /// Values of the batch, channels, and sums of channels over chunks, of these levels.
    values: usize,
    channels: usize,
    sums: usize,
}

impl Part {
    /// Of all levels, as many in each as a launch takes.
    fn all(e: Engine, op: &RowsBatchNorm, images: usize) -> Result<Vec<Part>> {
        let firsts = (0..op.levels.len()).step_by(LEVELS);
        firsts.map(|l| Part::of(e, op, images, l)).collect()
    }

    fn of(e: Engine, op: &RowsBatchNorm, images: usize, first: usize) -> Result<Part> {
        let (total, places) = op.places();
        let end = op.levels.len().min(first + LEVELS);
        let (mut table, mut blocks, mut sums) = (vec![], 0, 0);
        let (mut values, mut channels) = (0, 0);
        for ([c, pixels], place) in op.levels[first..end].iter().zip(&places[first..]) {
            let tiles = c.div_ceil(THREADS);
            let width = c.div_ceil(tiles);
            // The same on every device, so that the bits are.
            let useful = (images * pixels).div_ceil(THREADS / width * VALUES);
            let chunks = useful.min(BLOCKS / tiles).clamp(1, CHUNKS);
            let row = [*place, *c, *pixels, width, blocks, chunks, sums];
            table.extend(row.map(|v| v as i32));
            blocks += tiles * chunks;
            sums += chunks * c;
            values += images * c * pixels;
            channels += c;
        }
        Ok(Part {
            first,
            end,
            table: e.constant(&table)?,
            launch: Launch::new([blocks as u32, 1, 1], [THREADS as u32, 1, 1]),
            images,
            total,
            values,
            channels,
            sums,
        })
    }

    /// The levels, how many, and sizes: the last arguments of all kernels but for their parameters.
    fn args(&self) -> [Arg; 4] {
        let levels = int(self.end - self.first);
        [
            self.table.arg(),
            levels,
            long(self.images),
            long(self.total),
        ]
    }

    /// Launches with the bytes that it reads besides the table, and writes.
    fn launch(
        &self,
        e: Engine,
        kernel: k::Kernel,
        spread: u32,
        touches: [usize; 2],
        args: &[&[Arg]],
    ) -> Result<()> {
        let mut launch = self.launch;
        launch.grid[1] = spread;
        let read = touches[0] + self.table.len() * DType::I32.size();
        launch.touches = Some([read as u64, touches[1] as u64]);
        e.launch(kernel, launch, &args.concat())
    }

    /// Bytes of `each` floats of every channel.
    fn of_channels(&self, each: usize) -> usize {
        each * self.channels * DType::F32.size()
    }

    /// Bytes of `each` floats of every channel of every chunk.
    fn of_sums(&self, each: usize) -> usize {
        each * self.sums * DType::F32.size()
    }

    /// A pointer of each level as a parameter.
    fn list(&self, of: impl Fn(usize) -> Result<Arg>) -> Result<Vec<Arg>> {
        let all = (self.first..self.end).map(of).collect::<Result<Vec<_>>>()?;
        Ok(list(&all, LEVELS, all[0]))
    }

    /// The same of outputs, where there are any.
    fn outputs(&self, e: Engine, of: &mut [Option<Tensor>], none: Arg) -> Result<Vec<Arg>> {
        let own = of[self.first..self.end].iter_mut();
        let arg = |t: &mut Option<Tensor>| t.as_mut().map_or(Ok(none), |t| t.arg_out(e));
        let all = own.map(arg).collect::<Result<Vec<_>>>()?;
        Ok(list(&all, LEVELS, none))
    }
}

/// True when some level has no value.
fn empty(op: &RowsBatchNorm, x: &Shape) -> bool {
    x.numel() == 0 || op.levels.iter().any(|[c, pixels]| c * pixels == 0)
}

/// Two launches for every eight levels.
pub(super) fn forward(e: Engine, op: &RowsBatchNorm, x: &[Tensor]) -> Result<Option<Output>> {
    if !supported(x) || empty(op, x[0].shape()) {
        return Ok(None);
    }
    let dtype = x[0].dtype();
    let statistics = pick(dtype, k::NORM_ROWS_STATS_F32, k::NORM_ROWS_STATS_BF16);
    let normalise = pick(dtype, k::NORM_ROWS_FWD_F32, k::NORM_ROWS_FWD_BF16);
    let mut y = Tensor::scratch_on(e, *x[0].shape(), dtype)?;
    let mut stats = vec![];
    for &[c, _] in &op.levels {
        stats.push(Some(Tensor::scratch_on(e, [1, 4, c], DType::F32)?));
    }
    let rows = x[0].arg(e)?;
    for p in Part::all(e, op, x[0].dims()[0])? {
        let bytes = p.values * dtype.size();
        let mut part = Tensor::scratch_on(e, [p.sums, 3], DType::F32)?;
        let args = [&[rows, part.arg_out(e)?][..], &p.args()];
        let touches = [bytes, p.of_sums(3)];
        p.launch(e, statistics.expect("supported"), 1, touches, &args)?;
        let [gamma, beta] = [0, 1].map(|i| p.list(|l| x[RowsBatchNorm::own(l)[i]].arg(e)));
        let none = untouched(part.arg(e)?).null();
        let args = [
            &[rows, part.arg(e)?][..],
            &gamma?,
            &beta?,
            &[y.arg_out(e)?],
            &p.outputs(e, &mut stats, none)?,
            &p.args(),
            &[Arg::F32(op.eps as f32)],
        ];
        let touches = [
            bytes + p.of_sums(3) + p.of_channels(2),
            bytes + p.of_channels(4),
        ];
        p.launch(e, normalise.expect("supported"), SPREAD, touches, &args)?;
    }
    Ok(Some(Output {
        y,
        saved: stats.into_iter().flatten().collect(),
    }))
}

/// Two launches for every eight levels; gradients of parameters are whole.
pub(super) fn backward(
    e: Engine,
    op: &RowsBatchNorm,
    b: &Backward,
) -> Result<Option<Vec<Option<Grad>>>> {
    let (x, dtype) = (b.input(0), b.dy.dtype());
    let sums = pick(dtype, k::NORM_ROWS_BWD_SUMS_F32, k::NORM_ROWS_BWD_SUMS_BF16);
    let to_x = pick(dtype, k::NORM_ROWS_BWD_X_F32, k::NORM_ROWS_BWD_X_BF16);
    let (Some(sums), Some(to_x)) = (sums, to_x) else {
        return Ok(None);
    };
    let operands: Vec<Tensor> = b.x.iter().flatten().cloned().collect();
    let on_device = b.saved.iter().all(|t| t.dtype() == DType::F32);
    if !supported(&operands) || x.dtype() != dtype || !on_device || empty(op, x.shape()) {
        return Ok(None);
    }
    let mut dx = match b.need[0] {
        true => Some(Tensor::scratch_on(e, b.shapes[0], dtype)?),
        false => None,
    };
    let parameters = |i: usize| -> Result<Vec<Option<Tensor>>> {
        let of = |l| RowsBatchNorm::own(l)[i];
        let make = |i: usize| Tensor::scratch_on(e, b.shapes[i], DType::F32);
        let all = (0..op.levels.len()).map(|l| b.need[of(l)].then(|| make(of(l))).transpose());
        all.collect()
    };
    let (mut dgamma, mut dbeta) = (parameters(0)?, parameters(1)?);
    let maps = [x.arg(e)?, b.dy.arg(e)?];
    for p in Part::all(e, op, x.dims()[0])? {
        let bytes = p.values * dtype.size();
        let stats = p.list(|l| b.saved[l].arg(e))?;
        let mut part = Tensor::scratch_on(e, [p.sums, 2], DType::F32)?;
        let args = [&maps[..], &stats, &[part.arg_out(e)?], &p.args()];
        let touches = [2 * bytes + p.of_channels(3), p.of_sums(2)];
        p.launch(e, sums, 1, touches, &args)?;
        let gamma = p.list(|l| b.input(RowsBatchNorm::own(l)[0]).arg(e))?;
        let none = untouched(stats[0]).null();
        let to = dx
            .as_mut()
            .map_or(Ok(untouched(maps[1])), |t| t.arg_out(e))?;
        let want = usize::from(b.need[0]);
        let args = [
            &maps[..],
            &stats,
            &[part.arg(e)?],
            &gamma,
            &[to],
            &p.outputs(e, &mut dgamma, none)?,
            &p.outputs(e, &mut dbeta, none)?,
            &p.args(),
            &[int(want), Arg::F32(op.eps as f32)],
        ];
        let own = [&dgamma, &dbeta].map(|all| all[p.first..p.end].iter().flatten());
        let parameters: usize = own.into_iter().flatten().map(Tensor::numel).sum();
        let touches = [
            want * (2 * bytes + p.of_channels(1)) + p.of_channels(3) + p.of_sums(2),
            want * bytes + parameters * DType::F32.size(),
        ];
        // Without rows to write one block of a chunk is enough.
        let spread = if b.need[0] { SPREAD } else { 1 };
        p.launch(e, to_x, spread, touches, &args)?;
    }
    let own = dgamma.into_iter().zip(dbeta).flat_map(|(g, b)| [g, b]);
    let all = [dx].into_iter().chain(own);
    Ok(Some(all.map(|t| t.map(Grad::Whole)).collect()))
}
