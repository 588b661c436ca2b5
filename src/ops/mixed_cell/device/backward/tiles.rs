//! Pieces of maps that blocks take.

use super::super::THREADS;
use crate::backend::driver::Arg;
use crate::ops::mixed_cell::plan::{Plan, Unit};
use crate::ops::on_device::int;

/// Values of a lane's strip on the way back to a map: `NODE_ROWS` of `kernels/node_back.cuh`.
const STRIP: usize = 8;
/// Columns of a tile in shared memory on either side: `NODE_MARGIN` of `kernels/node.cuh`.
const MARGIN: usize = 4;

/// Tiles of a map: rows and columns.
#[derive(Debug, Clone, Copy)]
pub struct Tiles {
    pub rows: usize,
    pub columns: usize,
}

impl Tiles {
    /// Of 256 pixels, or twice as many where the map is large enough and `tall`.
    pub fn new(p: &Plan, tall: bool) -> Tiles {
        let columns = match p.w {
            17.. => 32,
            9..17 => 16,
            _ => 8,
        };
        let rows = THREADS / columns;
        let twice = tall && p.w > 16 && p.h > STRIP;
        Tiles {
            rows: if twice { 2 * rows } else { rows },
            columns,
        }
    }

    pub fn count(self, p: &Plan) -> usize {
        p.n * p.h.div_ceil(self.rows) * p.w.div_ceil(self.columns)
    }

    pub fn pixels(self) -> usize {
        self.rows * self.columns
    }

    /// Values of a tile in shared memory, with what a filter of `reach` pixels to each side reads around it.
    pub fn around(self, reach: usize) -> usize {
        (self.rows + 2 * reach) * (self.columns + 2 * MARGIN)
    }

    pub fn args(self, p: &Plan) -> [Arg; 7] {
        [p.n, p.a, p.k, p.h, p.w, self.rows, self.columns].map(int)
    }
}

/// Pixels that the filter of a candidate, or its pooling, reaches to each side.
pub fn reach(u: &Unit) -> usize {
    let pools = usize::from(matches!(u.choice, crate::ops::mixed_cell::Choice::Pool(_)));
    u.kernel().map_or(pools, |(k, d)| k / 2 * d)
}

/// Classes of the state's pixels, by odd or even row and column, that the first half of a candidate on an edge that halves the map meets,
/// and pixels of the node's map to each side of a tile: as `NodeHalved` of `kernels/node_halved.cuh`, and of a pooling.
pub fn halved(u: &Unit) -> (usize, usize) {
    match u.kernel() {
        Some((_, 1)) => (4, 1),
        Some((k, _)) => (1, k / 2),
        None => (0, reach(u)),
    }
}

/// Weights that a row of the table of halves has.
pub fn half_weights(u: &Unit, a: usize) -> usize {
    match u.kernel() {
        Some((k, _)) => a * k * k + a * a,
        None => a / 2 * a,
    }
}
