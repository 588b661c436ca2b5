//! The forward: for the states that are there at a time the first halves of all convolutions out of them with the poolings, and the second
//! halves; then the sum of the node that is next.

use std::ops::Range;

use super::{Cell, Choice, INPUTS, Kind, THREADS};
use crate::backend::driver::{self as k, Arg, Kernel, Launch, Scalar};
use crate::error::Result;
use crate::ops::mixed_cell::MixedCell;
use crate::ops::mixed_cell::plan::{Plan, Unit};
use crate::ops::on_device::{int, pack_blocks, pick};
use crate::tape::Output;
use crate::tensor::{DType, Engine, Tensor};

/// Blocks that fill a large device several times over.
const BLOCKS: usize = 2048;
/// The most parts that the tiles of a map are cut into: every one has statistics of its own.
const CHUNKS: usize = 64;
/// Values of the depthwise convolutions of a tile in shared memory.
const VALUES: usize = 8192;
/// Pixels of a tile at most.
const PIXELS: usize = 1024;
/// Pixels of a row of a tile at most; where few pixels make a tile, fewer, lest its rim be too large a part of it.
const WIDE: usize = 32;
const NARROW: usize = 16;
/// Outputs of a thread in a depthwise convolution.
const OUTPUTS: usize = 8;
/// Columns of a tile in shared memory on either side, and rows where they are most: as `NODE_MARGIN` of node.cuh.
const MARGIN: usize = 4;

/// How the maps of a cell are cut into tiles: as `NodeMaps` of node.cuh.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    /// Rows of a tile, even.
    rows: usize,
    /// Pixels of a row, a multiple of four.
    columns: usize,
    /// Channels that go through shared memory at a time.
    group: usize,
    /// Tiles of all images.
    tiles: usize,
    /// Sides of the states over those of the nodes.
    stride: usize,
}

/// Output channels with those that are there only to fill a thread's: as `node_padded` of node_half.cuh.
fn padded(a: usize) -> usize {
    a.next_multiple_of(4)
}

impl Tiling {
    /// Of the maps of a cell that has values.
    fn new(p: &Plan, stride: usize) -> Tiling {
        let most = (VALUES / padded(p.a) / stride).min(PIXELS);
        let widest = if most <= 8 * NARROW { NARROW } else { WIDE };
        let even = |size: usize, most: usize| size.div_ceil(size.div_ceil(most));
        let columns = even(p.w, widest).next_multiple_of(4);
        let rows = even(p.h, most / columns / 2 * 2).next_multiple_of(2);
        Tiling {
            rows,
            columns,
            group: (THREADS * OUTPUTS / (rows * columns)).clamp(1, p.a),
            tiles: p.n * p.h.div_ceil(rows) * p.w.div_ceil(columns),
            stride,
        }
    }

    /// Bytes of shared memory of a block: what `NodeShared` of node_half.cuh lays out.
    fn bytes(self, p: &Plan) -> u32 {
        let side = |size: usize| size * self.stride + 2 * MARGIN;
        let tile = side(self.rows) * side(self.columns);
        let (a, ap) = (p.a, padded(p.a));
        let floats = self.group * tile
            + self.stride * a * self.rows * self.columns
            + a * ap
            + 4 * ap
            + 2 * 3 * 4 * THREADS / 32
            + 25 * a;
        4 * floats as u32
    }

    /// Sizes of maps and tiles as the kernels take them.
    fn args(self, p: &Plan) -> [Arg; 7] {
        [p.n, p.a, p.h, p.w, self.rows, self.columns, self.group].map(int)
    }
}

/// Chunks of the tiles, the same for all maps of a cell. None is without values, 16 bytes at a time.
fn chunks(p: &Plan) -> usize {
    let units = p.levels().into_iter().map(|l| p.leaving(l).len()).max();
    let wanted = BLOCKS.div_ceil(units.unwrap_or(0).max(1)).min(CHUNKS);
    let strides = [1, if p.halves { 2 } else { 1 }];
    let tiles = strides.map(|s| Tiling::new(p, s).tiles);
    let fewest = tiles.into_iter().min().unwrap_or(1);
    wanted.min(fewest).min(p.n * p.plane / 8).max(1)
}

/// A buffer of bytes as kernels take it.
pub(super) fn bytes(a: Arg) -> Arg {
    match a {
        Arg::In(at, _) => Arg::In(at, Scalar::U8),
        Arg::Out(at, _) => Arg::Out(at, Scalar::U8),
        other => other,
    }
}

/// The maps before normalisations, what bypasses inputs that are halved, and the taps of maxima.
pub(super) struct Maps {
    pub z: Tensor,
    pub rest: Tensor,
    pub taps: Tensor,
}

impl Maps {
    fn scratch(c: &Cell) -> Result<Maps> {
        let p = c.p;
        let taps = (p.maxima * p.values()).div_ceil(4).max(1);
        Ok(Maps {
            z: Tensor::scratch_on(c.e, [p.maps.max(1) * p.n, p.a, p.h, p.w], c.dtype)?,
            rest: Tensor::scratch_on(c.e, [(INPUTS * p.rest()).max(1)], c.dtype)?,
            taps: Tensor::scratch_on(c.e, [taps], DType::I32)?,
        })
    }
}

/// The forward; `None` where there are no kernels for these operands.
///
/// # Errors
/// Those of the device.
pub fn forward(e: Engine, op: &MixedCell, p: &Plan, x: &[Tensor]) -> Result<Option<Output>> {
    let Some(cell) = Cell::new(e, op, p, x.iter().collect())? else {
        return Ok(None);
    };
    let whole = [p.n, p.nodes.len() * p.c, p.h, p.w];
    let rows = [p.maps.max(1), 4, p.a];
    let keep = |maps: Maps, stats: Tensor| match op.recompute {
        true => vec![stats],
        false => vec![maps.z, maps.rest, maps.taps, stats],
    };
    if cell.empty() {
        let y = Tensor::zeros_on(e, whole, cell.dtype)?;
        let saved = keep(
            Maps::scratch(&cell)?,
            Tensor::zeros_on(e, rows, DType::F32)?,
        );
        return Ok(Some(Output { y, saved }));
    }
    let mut all = Forward::new(&cell, Tensor::scratch_on(e, rows, DType::F32)?)?;
    let mut y = Tensor::scratch_on(e, whole, cell.dtype)?;
    for (node, states) in p.levels().into_iter().enumerate() {
        all.halves(states, &y)?;
        all.sum(node, &mut y)?;
    }
    let saved = keep(all.maps, all.stats);
    Ok(Some(Output { y, saved }))
}

/// The maps of a cell whose nodes are known, as its forward has made them.
///
/// # Errors
/// Those of the device.
pub(super) fn again(cell: &Cell, y: &Tensor) -> Result<Maps> {
    let rows = [cell.p.maps.max(1), 4, cell.p.a];
    let mut all = Forward::new(cell, Tensor::scratch_on(cell.e, rows, DType::F32)?)?;
    for states in cell.p.levels() {
        all.halves(states, y)?;
    }
    Ok(all.maps)
}

/// What the launches fill.
struct Forward<'a> {
    cell: &'a Cell<'a>,
    chunks: usize,
    weights: Vec<Arg>,
    maps: Maps,
    stats: Tensor,
    /// Partial statistics `(maps, chunks, C/k, 4)`.
    part: Tensor,
}

impl<'a> Forward<'a> {
    fn new(cell: &'a Cell<'a>, stats: Tensor) -> Result<Forward<'a>> {
        let (p, chunks) = (cell.p, chunks(cell.p));
        let part = [p.maps.max(1), chunks, p.a, 4];
        Ok(Forward {
            cell,
            chunks,
            weights: cell.weights()?,
            maps: Maps::scratch(cell)?,
            stats,
            part: Tensor::scratch_on(cell.e, part, DType::F32)?,
        })
    }

    /// The candidates that `take` holds for, those with the most work first, as a list for kernels.
    fn work(&self, units: &[usize], take: impl Fn(&Unit) -> bool) -> Vec<i32> {
        let of = |u: &usize| &self.cell.p.units[*u];
        let mut all: Vec<usize> = units.iter().copied().filter(|u| take(of(u))).collect();
        all.sort_by_key(|u| std::cmp::Reverse(of(u).kernel().map(|(k, _)| k)));
        all.into_iter().map(|u| u as i32).collect()
    }

    /// A block for each of `work` and each chunk.
    fn launch(
        &self,
        kernels: [Kernel; 2],
        work: &[i32],
        t: Tiling,
        touches: Option<[u64; 2]>,
        args: &[Arg],
    ) -> Result<()> {
        let [f32, bf16] = kernels;
        let blocks = [work.len() as u32, self.chunks as u32, 1];
        let mut launch = Launch::new(blocks, [THREADS as u32, 1, 1]);
        launch.shared = t.bytes(self.cell.p);
        launch.touches = touches;
        let kernel = pick(self.cell.dtype, f32, bf16).expect("a cell that fits");
        self.cell.e.launch(kernel, launch, args)
    }

    /// Both halves of everything out of some states, of which the nodes lie in `y`.
    fn halves(&mut self, states: Range<usize>, y: &Tensor) -> Result<()> {
        let p = self.cell.p;
        let units = p.leaving(states.clone());
        let (c, stride) = (self.cell, p.stride(states.start));
        let mut first = self.work(&units, |_| true);
        let (candidates, halves) = (first.len(), stride == 2);
        let rests = if halves && p.k > 1 { states.len() } else { 0 };
        first.extend((0..rests).map(|i| (p.units.len() + i) as i32));
        if first.is_empty() {
            return Ok(());
        }
        let t = Tiling::new(p, stride);
        let table = c.e.constant(&first)?;
        let mut args = self.weights.clone();
        args.extend(c.sources(y, &self.maps.rest)?);
        let rest = self.maps.rest.arg_out(c.e)?;
        args.extend([self.maps.z.arg_out(c.e)?, rest]);
        args.push(bytes(self.maps.taps.arg_out(c.e)?));
        args.extend(c.tables.args());
        args.extend([table.arg(), self.part.arg_out(c.e)?]);
        args.extend(t.args(p));
        args.extend([p.units.len(), p.c].map(int));
        let alive = |s: &usize| !p.arms[*s].is_empty();
        let whole = usize::from(rests > 0);
        let read = states.filter(alive).map(|s| c.bytes(c.state(s)[whole]));
        let read: u64 = read.sum();
        let maxima = |u: &&i32| p.units[**u as usize].choice == Choice::Pool(Kind::Max);
        let taps = (first[..candidates].iter().filter(maxima).count() * p.values()) as u64;
        let weights = c.weight_bytes(units.iter().copied());
        let part = (16 * self.chunks * p.a) as u64;
        let maps = candidates as u64;
        let writes = maps * (c.bytes(p.values()) + part) + taps + c.bytes(rests * p.rest());
        let kernels = match stride {
            1 => [k::NODE_FIRST_F32, k::NODE_FIRST_BF16],
            _ => [k::NODE_FIRST_HALVED_F32, k::NODE_FIRST_HALVED_BF16],
        };
        let touches = c.touches(read + weights, writes);
        self.launch(kernels, &first, t, touches, &args)?;
        let second = self.work(&units, Unit::double);
        if second.is_empty() {
            return Ok(());
        }
        let t = Tiling::new(p, 1);
        let table = c.e.constant(&second)?;
        let mut args = self.weights.clone();
        args.push(self.maps.z.arg_out(c.e)?);
        args.extend([c.tables.args()[0], table.arg()]);
        args.extend([self.part.arg_out(c.e)?, self.stats.arg_out(c.e)?]);
        args.extend(t.args(p));
        args.push(c.eps);
        let each = c.bytes(p.values()) + part;
        let weights = c.weight_bytes(second.iter().map(|&u| u as usize));
        let maps = second.len() as u64;
        let touches = c.touches(maps * each + weights, maps * (each + 16 * p.a as u64));
        let kernels = [k::NODE_SECOND_F32, k::NODE_SECOND_BF16];
        self.launch(kernels, &second, t, touches, &args)
    }

    /// A node's value, and the statistics of last maps.
    fn sum(&mut self, node: usize, y: &mut Tensor) -> Result<()> {
        let (c, p) = (self.cell, self.cell.p);
        let (units, edges) = (p.candidates_of(node), p.nodes[node].clone());
        let mut args = c.sources(y, &self.maps.rest)?;
        args.push(self.maps.z.arg(c.e)?);
        args.extend(c.mixture()?);
        args.extend(c.tables.args());
        args.extend([
            self.part.arg(c.e)?,
            self.stats.arg_out(c.e)?,
            y.arg_out(c.e)?,
        ]);
        args.extend([p.n, p.a, p.h, p.w, p.k].map(int));
        args.extend([units.start, units.len(), edges.start, edges.len()].map(int));
        args.extend([node * p.c, p.nodes.len() * p.c, self.chunks].map(int));
        args.push(c.eps);
        let blocks = pack_blocks(p.n * p.plane, c.dtype, BLOCKS.div_ceil(p.c));
        let mut launch = Launch::new([p.c as u32, blocks as u32, 1], [THREADS as u32, 1, 1]);
        let last = p.units[units].iter().map(|u| !u.maps.is_empty());
        let maps = last.clone().filter(|&m| m).count();
        let skips = last.filter(|&m| !m).count();
        let bypass = edges.len() * p.n * (p.c - p.a) * p.plane;
        let part = (16 * self.chunks * p.a * maps) as u64;
        let tables = (4 * (c.x[p.alpha].numel() + c.x[p.beta].numel())) as u64;
        let read = c.bytes((maps + skips) * p.values() + bypass) + part + tables;
        let written = c.bytes(p.n * p.c * p.plane) + (16 * p.a * maps) as u64;
        launch.touches = c.touches(read, written);
        let kernel = pick(c.dtype, k::NODE_SUM_F32, k::NODE_SUM_BF16);
        c.e.launch(kernel.expect("a cell that fits"), launch, &args)
    }
}
