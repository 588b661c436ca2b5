//! How the forward cuts the maps of a cell into tiles.

use super::THREADS;
use crate::backend::driver::Arg;
use crate::ops::mixed_cell::plan::Plan;
use crate::ops::on_device::int;

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
pub struct Tiling {
    /// Rows of a tile, even.
    pub rows: usize,
    /// Pixels of a row, a multiple of four.
    pub columns: usize,
    /// Channels that go through shared memory at a time.
    pub group: usize,
    /// Tiles of all images.
    pub tiles: usize,
    /// Sides of the states over those of the nodes.
    pub stride: usize,
}

/// Output channels with those that are there only to fill a thread's: as `node_padded` of node_half.cuh.
fn padded(a: usize) -> usize {
    a.next_multiple_of(4)
}

impl Tiling {
    /// Of the maps of a cell that has values.
    pub fn new(p: &Plan, stride: usize) -> Tiling {
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
    pub fn bytes(self, p: &Plan) -> u32 {
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
    pub fn args(self, p: &Plan) -> [Arg; 7] {
        [p.n, p.a, p.h, p.w, self.rows, self.columns, self.group].map(int)
    }
}
