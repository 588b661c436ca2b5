//! The forward in three launches: first halves of all convolutions, second halves, the sum.

use super::maps::rows;
use super::{EDGES, MAPS, Node, THREADS, WEIGHTS};
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::error::Result;
use crate::ops::mixed_node::plan::{Plan, Unit};
use crate::ops::mixed_node::{Candidate, MixedNode};
use crate::ops::on_device::{int, list, long, pack_blocks, pick, untouched};
use crate::tape::Output;
use crate::tensor::{DType, Engine, Shape, Tensor};

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

/// How the maps of a node are cut into tiles: as `NodeMaps` of node.cuh.
#[derive(Debug, Clone, Copy)]
pub struct Tiling {
    /// Rows of a tile, even.
    pub rows: usize,
    /// Pixels of a row, a multiple of four.
    pub columns: usize,
    /// Channels that go through shared memory at a time.
    pub group: usize,
    /// Tiles of all images.
    pub tiles: usize,
    /// Sides of the largest states over those of the node.
    pub stride: usize,
}

/// Output channels with those that are there only to fill a thread's: as `node_padded` of node_half.cuh.
fn padded(a: usize) -> usize {
    a.next_multiple_of(4)
}

impl Tiling {
    /// Of the maps of a node that has values.
    pub fn new(p: &Plan) -> Tiling {
        let stride = p.edges.iter().map(|e| e.stride).max().unwrap_or(1);
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

    /// Chunks of the tiles where `units` candidates each have as many blocks. None is without values, 16 bytes at a time.
    fn chunks(self, p: &Plan, units: usize) -> usize {
        let wanted = BLOCKS.div_ceil(units.max(1)).min(CHUNKS);
        wanted.min(self.tiles).min(p.n * p.plane / 8).max(1)
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
    pub fn args(self, p: &Plan) -> [Arg; 6] {
        [p.n, p.a, p.h, p.w, self.rows, self.columns].map(int)
    }
}

/// The candidates that `take` holds for, those with the most work first, as a list for kernels.
fn work(p: &Plan, take: impl Fn(&Unit) -> bool) -> Vec<i32> {
    let mut all: Vec<usize> = (0..p.units.len()).filter(|&u| take(&p.units[u])).collect();
    all.sort_by_key(|&u| std::cmp::Reverse(p.units[u].candidate.kernel().map(|(k, _)| k)));
    all.into_iter().map(|u| u as i32).collect()
}

/// Pointers to maps, of the type of `of`: those that `take` names, null in place of the others.
fn of_maps(p: &Plan, of: Arg, take: impl Fn(usize) -> Option<Arg>) -> Vec<Arg> {
    let all: Vec<Arg> = (0..p.maps).map(|m| take(m).unwrap_or(of.null())).collect();
    list(&all, MAPS, of)
}

/// What a map is: pooled, of which half of a convolution, the last of its candidate.
struct Place {
    pooled: bool,
    half: usize,
    last: bool,
}

fn places(p: &Plan) -> Vec<Place> {
    let of = |u: &Unit| {
        let (pooled, count) = (u.candidate == Candidate::Pooled, u.maps.len());
        (0..count).map(move |half| Place {
            pooled,
            half,
            last: half + 1 == count,
        })
    };
    p.units.iter().flat_map(of).collect()
}

/// The forward; `None` where there are no kernels for these operands.
///
/// # Errors
/// Those of the device.
pub fn forward(e: Engine, op: &MixedNode, p: &Plan, x: &[Tensor]) -> Result<Option<Output>> {
    let Some(node) = Node::new(e, op, p, x.iter().collect())? else {
        return Ok(None);
    };
    if node.empty() {
        let shape = |channels| Shape::new(&[p.n, channels, p.h, p.w]);
        let mut saved = vec![Tensor::zeros_on(e, shape(p.a), node.dtype)?; p.kept];
        saved.push(Tensor::zeros_on(e, rows(p), DType::F32)?);
        let y = Tensor::zeros_on(e, shape(p.c), node.dtype)?;
        return Ok(Some(Output { y, saved }));
    }
    let halves = Halves::new(&node)?;
    let mut stats = Tensor::scratch_on(e, rows(p), DType::F32)?;
    let (mut maps, part) = halves.maps(&mut stats, op.eps)?;
    let y = halves.sum(&maps, &part, &mut stats, op.eps)?;
    maps.truncate(p.kept);
    maps.push(stats);
    Ok(Some(Output { y, saved: maps }))
}

/// The launches of the halves.
pub struct Halves<'a> {
    pub node: &'a Node<'a>,
    tiling: Tiling,
    pub chunks: usize,
    places: Vec<Place>,
    weights: Vec<Arg>,
}

impl<'a> Halves<'a> {
    pub fn new(node: &'a Node<'a>) -> Result<Halves<'a>> {
        let p = node.p;
        let tiling = Tiling::new(p);
        let busy = p.units.iter().filter(|u| !u.maps.is_empty()).count();
        let some = node.x[p.beta].arg(node.e)?;
        Ok(Halves {
            node,
            tiling,
            chunks: tiling.chunks(p, busy),
            places: places(p),
            weights: list(&node.weights()?, WEIGHTS, some),
        })
    }

    /// Of the candidates in `work` (a list of them), a block for each chunk.
    fn launch(&self, kernel: Kernel, work: usize, args: &[Arg]) -> Result<()> {
        let mut launch = Launch::new([work as u32, self.chunks as u32, 1], [THREADS as u32, 1, 1]);
        launch.shared = self.tiling.bytes(self.node.p);
        self.node.e.launch(kernel, launch, args)
    }

    /// First halves, and statistics of pooled maps.
    pub fn first(&self, maps: &mut [Tensor], part: &mut Tensor) -> Result<()> {
        let (e, p) = (self.node.e, self.node.p);
        let work = work(p, |u| !u.maps.is_empty());
        if work.is_empty() {
            return Ok(());
        }
        let mut args = self.weights.clone();
        let sources = self.node.sources()?;
        args.extend(list(&sources, EDGES, sources[0]));
        let (pooled, mut out) = (|m: &usize| self.places[*m].pooled, vec![]);
        let read = pointers(e, maps)?;
        args.extend(of_maps(p, sources[0], |m| {
            Some(read[m]).filter(|_| pooled(&m))
        }));
        for (m, z) in maps.iter_mut().enumerate() {
            let place = &self.places[m];
            let writes = !place.pooled && place.half == 0;
            out.push(if writes { Some(z.arg_out(e)?) } else { None });
        }
        args.extend(of_maps(p, untouched(sources[0]), |m| out[m]));
        let count = work.len();
        let work = e.constant(&work)?;
        args.extend([
            self.node.units(),
            self.node.edges(),
            work.arg(),
            part.arg_out(e)?,
        ]);
        args.extend(self.tiling.args(p));
        args.push(int(self.tiling.group));
        let [f32, bf16] = match self.tiling.stride {
            1 => [k::NODE_FIRST_F32, k::NODE_FIRST_BF16],
            _ => [k::NODE_FIRST_HALVED_F32, k::NODE_FIRST_HALVED_BF16],
        };
        let kernel = pick(self.node.dtype, f32, bf16);
        self.launch(kernel.expect("a node that fits"), count, &args)
    }

    /// Second halves, and the statistics of first halves that have one.
    pub fn second(
        &self,
        maps: &mut [Tensor],
        part: &mut Tensor,
        stats: &mut Tensor,
        eps: f64,
    ) -> Result<()> {
        let (e, p) = (self.node.e, self.node.p);
        let work = work(p, |u| u.maps.len() == 2);
        if work.is_empty() {
            return Ok(());
        }
        let source = self.node.x[p.edges[0].x].arg(e)?;
        let mut args = self.weights.clone();
        let read = pointers(e, maps)?;
        args.extend(of_maps(p, source, |m| {
            Some(read[m]).filter(|_| !self.places[m].last)
        }));
        let mut out = vec![];
        for (m, z) in maps.iter_mut().enumerate() {
            let writes = self.places[m].half == 1;
            out.push(if writes { Some(z.arg_out(e)?) } else { None });
        }
        args.extend(of_maps(p, untouched(source), |m| out[m]));
        let count = work.len();
        let work = e.constant(&work)?;
        args.extend([
            self.node.units(),
            work.arg(),
            part.arg_out(e)?,
            stats.arg_out(e)?,
        ]);
        args.extend(self.tiling.args(p));
        args.extend([int(self.tiling.group), Arg::F32(eps as f32)]);
        let kernel = pick(self.node.dtype, k::NODE_SECOND_F32, k::NODE_SECOND_BF16);
        self.launch(kernel.expect("a node that fits"), count, &args)
    }

    /// The node's value, and the statistics of last maps.
    fn sum(&self, maps: &[Tensor], part: &Tensor, stats: &mut Tensor, eps: f64) -> Result<Tensor> {
        let (node, e, p) = (self.node, self.node.e, self.node.p);
        let mut y = Tensor::scratch_on(e, [p.n, p.c, p.h, p.w], node.dtype)?;
        let (sources, bypasses) = (node.sources()?, node.bypasses()?);
        let mut args = list(&sources, EDGES, sources[0]);
        args.extend(list(&bypasses, EDGES, sources[0]));
        let read = pointers(e, maps)?;
        args.extend(of_maps(p, sources[0], |m| {
            Some(read[m]).filter(|_| self.places[m].last)
        }));
        args.extend(node.mixture()?);
        args.extend([node.units(), node.edges()]);
        args.extend([part.arg(e)?, stats.arg_out(e)?, y.arg_out(e)?]);
        args.extend([p.n, p.a, p.k].map(int));
        args.push(long(p.plane));
        args.extend([p.units.len(), p.edges.len(), self.chunks].map(int));
        args.push(Arg::F32(eps as f32));
        let blocks = pack_blocks(p.n * p.plane, node.dtype, BLOCKS.div_ceil(p.c));
        let launch = Launch::new([p.c as u32, blocks as u32, 1], [THREADS as u32, 1, 1]);
        let kernel = pick(node.dtype, k::NODE_SUM_F32, k::NODE_SUM_BF16);
        e.launch(kernel.expect("a node that fits"), launch, &args)?;
        Ok(y)
    }
}

/// To read maps.
fn pointers(e: Engine, maps: &[Tensor]) -> Result<Vec<Arg>> {
    maps.iter().map(|t| t.arg(e)).collect()
}
