//! Launches: `conv_heads` and `conv_heads_bwd_x` of `kernels/conv_gather.cu`, `conv_heads_bwd_w` of `kernels/conv_bwd_w.cu` and their twins
//! for bf16.

use super::{EACH, HeadRows};
use crate::backend::driver::{self as k, Arg, DevicePtr, Launch};
use crate::error::Result;
use crate::ops::conv2d::sums::{MOST, chunks, grid};
use crate::ops::conv2d::tiles::{ByWidth, fits, summed, sums};
use crate::ops::on_device::{bytes, int, list, long};
use crate::tape::{Backward, Grad};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Levels of a launch (`HEAD_LEVELS` of conv.cuh).
const LEVELS: usize = 8;

/// Sizes of a level.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Channels of the result, and of the map.
    rows: usize,
    depth: usize,
    /// Of the map.
    h: usize,
    w: usize,
    /// Pixels of the result.
    plane: usize,
    /// Where its rows begin among the values of an image.
    first: usize,
}

/// What all launches of an operation have in common.
struct Plan<'a> {
    op: &'a HeadRows,
    images: usize,
    side: usize,
    /// Values of an image of the rows.
    image: usize,
    dtype: DType,
    levels: Vec<Sizes>,
}

impl<'a> Plan<'a> {
    /// `None` when no kernel takes these operands.
    fn new(op: &'a HeadRows, x: &[&Tensor]) -> Result<Option<Plan<'a>>> {
        let dtype = x[0].dtype();
        let each = || x.chunks(EACH);
        let parameters = each().flat_map(|x| x[1..].iter().copied());
        if !fits(each().map(|x| x[0]), parameters) {
            return Ok(None);
        }
        let shapes: Vec<Shape> = x.iter().map(|t| *t.shape()).collect();
        let (mut levels, mut image) = (vec![], 0);
        for (x, y) in shapes.chunks(EACH).zip(op.maps(&shapes)?) {
            let (d, y) = (x[0].dims(), y.dims());
            levels.push(Sizes {
                rows: y[1],
                depth: d[1],
                h: d[2],
                w: d[3],
                plane: y[2] * y[3],
                first: image,
            });
            image += y[1] * y[2] * y[3];
        }
        Ok(Some(Plan {
            op,
            images: shapes[0].dims()[0],
            side: shapes[1].dims()[2],
            image,
            dtype,
            levels,
        }))
    }

    /// The rows of a level: a pointer to them among those of all.
    fn rows(&self, all: Arg, level: usize) -> Arg {
        let by = self.levels[level].first * self.dtype.size();
        match all {
            Arg::In(DevicePtr(at), of) => Arg::In(DevicePtr(at + by), of),
            Arg::Out(DevicePtr(at), of) => Arg::Out(DevicePtr(at + by), of),
            other => other,
        }
    }

    /// Bytes of the rows of a level.
    fn row_bytes(&self, level: usize) -> u64 {
        let s = self.levels[level];
        (self.images * s.rows * s.plane * self.dtype.size()) as u64
    }

    /// What kernels are told besides pointers; `sums` are chunks and their length, of each level.
    fn launch(
        &self,
        e: Engine,
        kernel: k::Kernel,
        launch: Launch,
        units: &[Unit],
        sums: &[[usize; 2]],
    ) -> Result<()> {
        let numbers = |(u, sums): (&Unit, &[usize; 2])| {
            let s = self.levels[u.level];
            [s.rows, s.depth, s.h, s.w, sums[0], sums[1]].map(|v| v as i32)
        };
        let numbers: Vec<i32> = units.iter().zip(sums).flat_map(numbers).collect();
        let numbers = e.constant(&numbers)?;
        let mut args = vec![];
        for i in 0..units[0].pointers.len() {
            let all: Vec<Arg> = units.iter().map(|u| u.pointers[i]).collect();
            args.extend(list(&all, LEVELS, all[0]));
        }
        args.extend([
            numbers.arg(),
            int(self.images),
            long(self.image),
            int(self.side),
            int(self.op.params.padding),
            int(self.op.params.dilation),
        ]);
        e.launch(kernel, launch, &args)
    }

    /// Runs the products of some levels; `channels` and `pixels` are those of what is written.
    fn products(
        &self,
        e: Engine,
        kernels: ByWidth<k::Kernel>,
        units: &[Unit],
        channels: impl Fn(Sizes) -> usize,
        pixels: impl Fn(Sizes) -> usize,
    ) -> Result<()> {
        let sizes = || units.iter().map(|u| self.levels[u.level]);
        let most = sizes().map(&channels).max().expect("a level");
        // Gradients of maps have wide tiles only.
        let narrow = kernels.f32[0] != kernels.f32[1];
        let (kernel, tile) = kernels.of_maps(self.dtype, if narrow { most } else { usize::MAX });
        let down = most.div_ceil(tile.channels);
        let pixels = sizes().map(|s| self.images * pixels(s)).max();
        let across = pixels.expect("a level").div_ceil(tile.across);
        let mut blocks = grid([across, down], MOST);
        blocks[2] = units.len() as u32;
        let mut launch = Launch::new(blocks, [tile.threads, 1, 1]);
        launch.touches = Some(touched(units));
        let none = vec![[0, 0]; units.len()];
        self.launch(e, kernel, launch, units, &none)
    }
}

/// A level of a launch.
struct Unit {
    level: usize,
    pointers: Vec<Arg>,
    touches: [u64; 2],
}

fn touched(units: &[Unit]) -> [u64; 2] {
    [0, 1].map(|i| units.iter().map(|u| u.touches[i]).sum())
}

/// Rows in `shape`; `None` when no kernel takes these operands.
///
/// # Errors
/// Those of the device.
pub fn forward(e: Engine, op: &HeadRows, x: &[Tensor], shape: Shape) -> Result<Option<Tensor>> {
    let x: Vec<&Tensor> = x.iter().collect();
    let Some(p) = Plan::new(op, &x)? else {
        return Ok(None);
    };
    let mut y = Tensor::scratch_on(e, shape, p.dtype)?;
    let rows = y.arg_out(e)?;
    let mut units = vec![];
    for (level, x) in x.chunks(EACH).enumerate() {
        let [map, w, b] = [x[0].arg(e)?, x[1].arg(e)?, x[2].arg(e)?];
        units.push(Unit {
            level,
            pointers: vec![map, w, b, map.null(), p.rows(rows, level)],
            touches: [x.iter().map(|t| bytes(t)).sum(), p.row_bytes(level)],
        });
    }
    let kernels = ByWidth {
        f32: [k::CONV_HEADS_F32, k::CONV_HEADS_NARROW_F32],
        bf16: [k::CONV_HEADS_BF16, k::CONV_HEADS_NARROW_BF16],
    };
    for units in units.chunks(LEVELS) {
        p.products(e, kernels, units, |s| s.rows, |s| s.plane)?;
    }
    Ok(Some(y))
}

/// Gradients of all operands, each where it is needed; `None` when no kernel takes these operands.
///
/// # Errors
/// Those of the device.
pub fn gradients(e: Engine, op: &HeadRows, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
    let x: Vec<&Tensor> = (0..b.x.len()).map(|i| b.input(i)).collect();
    let Some(p) = Plan::new(op, &x)?.filter(|p| b.dy.dtype() == p.dtype) else {
        return Ok(None);
    };
    let mut all: Vec<Option<Grad>> = x.iter().map(|_| None).collect();
    of_maps(e, &p, &x, b, &mut all)?;
    of_weights(e, &p, &x, b, &mut all)?;
    Ok(Some(all))
}

/// Gradients of the maps.
fn of_maps(
    e: Engine,
    p: &Plan,
    x: &[&Tensor],
    b: &Backward,
    all: &mut [Option<Grad>],
) -> Result<()> {
    let mut units = vec![];
    for level in (0..p.levels.len()).filter(|l| b.need[l * EACH]) {
        let at = level * EACH;
        let so_far = b.so_far.get(at).and_then(Option::as_ref);
        let so_far = so_far.filter(|t| t.dtype() == p.dtype);
        let mut dx = Tensor::scratch_on(e, *x[at].shape(), p.dtype)?;
        let (dy, w) = (p.rows(b.dy.arg(e)?, level), x[at + 1]);
        let plus = so_far.map_or(Ok(dy.null()), |t| t.arg(e))?;
        let read = p.row_bytes(level) + bytes(w) + so_far.map_or(0, bytes);
        let w = w.arg(e)?;
        units.push(Unit {
            level,
            pointers: vec![dy, w, w.null(), plus, dx.arg_out(e)?],
            touches: [read, bytes(&dx)],
        });
        all[at] = Some(Grad::Whole(dx));
    }
    let kernels = ByWidth {
        f32: [k::CONV_HEADS_BWD_X_F32; 2],
        bf16: [k::CONV_HEADS_BWD_X_BF16; 2],
    };
    for units in units.chunks(LEVELS) {
        p.products(e, kernels, units, |s| s.depth, |s| s.h * s.w)?;
    }
    Ok(())
}

/// Gradients of weights and biases, in chunks that the tape adds up.
fn of_weights(
    e: Engine,
    p: &Plan,
    x: &[&Tensor],
    b: &Backward,
    all: &mut [Option<Grad>],
) -> Result<()> {
    let wanted = |l: &usize| b.need[l * EACH + 1] || b.need[l * EACH + 2];
    let levels: Vec<usize> = (0..p.levels.len()).filter(wanted).collect();
    let kernels = ByWidth {
        f32: [k::CONV_HEADS_BWD_W_F32, k::CONV_HEADS_BWD_W_NARROW_F32],
        bf16: [k::CONV_HEADS_BWD_W_BF16, k::CONV_HEADS_BWD_W_NARROW_BF16],
    };
    for levels in levels.chunks(LEVELS) {
        let rows = levels.iter().map(|&l| p.levels[l].rows).max();
        let (kernel, tile) = kernels.of_weights(p.dtype, rows.expect("a level"));
        let tiles = |s: Sizes| {
            s.rows.div_ceil(tile.channels) * (s.depth * p.side * p.side).div_ceil(tile.across)
        };
        let total = levels.iter().map(|&l| tiles(p.levels[l])).sum();
        let (mut units, mut cut, mut blocks) = (vec![], vec![], [0; 2]);
        for &level in levels {
            let (s, at) = (p.levels[level], level * EACH);
            let (count, length) = chunks(p.images * s.plane, total);
            blocks = [blocks[0].max(tiles(s)), blocks[1].max(count)];
            let part = |of: &Tensor| sums(e, of.shape(), count);
            let mut dw = part(x[at + 1])?;
            let mut db = b.need[at + 2].then(|| part(x[at + 2])).transpose()?;
            let to = dw.arg_out(e)?;
            let of_bias = db.as_mut().map_or(Ok(to.null()), |t| t.arg_out(e))?;
            let dy = p.rows(b.dy.arg(e)?, level);
            units.push(Unit {
                level,
                pointers: vec![x[at].arg(e)?, dy, to, of_bias],
                touches: [
                    p.row_bytes(level) + bytes(x[at]),
                    bytes(&dw) + db.as_ref().map_or(0, bytes),
                ],
            });
            cut.push([count, length]);
            all[at + 1] = b.need[at + 1].then(|| summed(dw, count));
            all[at + 2] = db.map(|db| summed(db, count));
        }
        let mut blocks = grid(blocks, MOST);
        blocks[2] = units.len() as u32;
        let mut launch = Launch::new(blocks, [tile.threads, 1, 1]);
        launch.touches = Some(touched(&units));
        p.launch(e, kernel, launch, &units, &cut)?;
    }
    Ok(())
}
