//! The cell by kernels (`kernels/node*.cu`): all candidates of all edges that are ready in a launch, nothing comes back to the host.
//!
//! Saved are the maps before normalisations, one tensor `(maps N, C/k, H, W)`, what bypasses the inputs where those are halved, `(2 N, C - C/k,
//! H, W)`, the taps of maxima, one byte each, and behind them `stats (maps, 4, C/k)` in f32: mean, biased variance, low part of the mean, count. Where the maps are computed again on the way back,
//! only `stats` is saved.

mod backward;
mod forward;
mod tables;

use super::plan::Plan;
use super::{Choice, INPUTS, MixedCell};
use crate::backend::driver::Arg;
use crate::error::Result;
use crate::ops::mixed_node::Candidate;
use crate::ops::on_device::list;
use crate::ops::pool::Kind;
use crate::tensor::{DType, Engine, Tensor};
pub use backward::backward;
pub use forward::forward;
use tables::Tables;

/// Candidates of the edges into a node at most, and those edges: this and the capacities below as in `kernels/node.cuh`.
const UNITS: usize = 64;
const EDGES: usize = 8;
/// Channels that are mixed.
pub const CHANNELS: usize = 64;
/// Pointers to states and to what bypasses, to weights.
const SOURCES: usize = 8;
const WEIGHTS: usize = 192;
/// Gradients of nodes, and gradients that are asked for.
const GRADS: usize = 2;
const OUTS: usize = 3;
/// Floats of all slopes of a state's arms at most: 64 KiB leave room for tiles in shared memory.
const SLOPES: usize = 1 << 14;
/// Floats of a channel's slope: `NODE_SLOPE` of node_back.cuh.
const SLOPE: usize = 8;

/// Threads of a block of the kernels.
const THREADS: usize = 256;

/// A candidate's number in the kernels; `None` for what they do not compute.
fn kind(c: Choice) -> Option<i32> {
    Some(match c {
        Choice::Of(Candidate::Skip) => 0,
        Choice::Pool(Kind::Max) => 1,
        Choice::Of(Candidate::Separable(3)) => 2,
        Choice::Of(Candidate::Separable(5)) => 3,
        Choice::Of(Candidate::Dilated(3)) => 4,
        Choice::Of(Candidate::Dilated(5)) => 5,
        Choice::Of(Candidate::Reduced) => 6,
        Choice::Pool(Kind::Average) => 7,
        Choice::Of(_) => return None,
    })
}

impl MixedCell {
    /// Whether there are kernels for this cell with `active` mixed channels: no more of anything than they have room for.
    pub fn fits_device(&self, active: usize) -> bool {
        let edges = || self.nodes.iter().flatten();
        let candidates = || edges().flat_map(|e| &e.candidates);
        let of = |e: &[super::CellEdge]| e.iter().map(|e| e.candidates.len()).sum::<usize>();
        let leaving = |from: usize| {
            let arms = edges().filter(move |e| e.from == from);
            arms.map(|e| e.candidates.len()).sum::<usize>()
        };
        let arms = |from: usize| edges().filter(|e| e.from == from).count();
        let states = 0..INPUTS + self.nodes.len();
        active <= CHANNELS
            && candidates().all(|c| kind(c.0).is_some())
            && candidates().map(|c| c.0.weights()).sum::<usize>() <= WEIGHTS
            && self
                .nodes
                .iter()
                .all(|n| n.len() <= EDGES && of(n) <= UNITS)
            && states.clone().all(|s| arms(s) <= EDGES)
            && states.map(leaving).max().unwrap_or(0) * active * SLOPE <= SLOPES
    }
}

/// Whether there are kernels for a cell of maps and parameters of these types.
pub fn stored(maps: DType, mut parameters: impl Iterator<Item = DType>) -> bool {
    [DType::F32, DType::Bf16].contains(&maps) && parameters.all(|d| d == DType::F32)
}

/// What the launches of a cell, of either direction, have in common.
struct Cell<'a> {
    /// The device.
    e: Engine,
    /// What belongs to what.
    p: &'a Plan,
    /// The operands.
    x: Vec<&'a Tensor>,
    /// Of the maps.
    dtype: DType,
    eps: Arg,
    tables: Tables,
}

impl<'a> Cell<'a> {
    /// The tables on the device; `None` where there are no kernels for these operands.
    ///
    /// # Errors
    /// Those of the device.
    fn new(e: Engine, op: &MixedCell, p: &'a Plan, x: Vec<&'a Tensor>) -> Result<Option<Cell<'a>>> {
        let (maps, parameters) = x.split_at(p.alpha);
        let dtype = maps[0].dtype();
        let taken = stored(dtype, parameters.iter().map(|t| t.dtype()));
        if !taken || maps.iter().any(|t| t.dtype() != dtype) || !op.fits_device(p.a) {
            return Ok(None);
        }
        Ok(Some(Cell {
            e,
            p,
            dtype,
            eps: Arg::F32(op.eps as f32),
            tables: Tables::new(e, p, &x)?,
            x,
        }))
    }

    /// True when there is no value.
    fn empty(&self) -> bool {
        self.p.n * self.p.c * self.p.plane == 0
    }

    /// Depthwise and pointwise weights of all convolutions, where `NodeUnit::weight` counts them.
    fn weights(&self) -> Result<Vec<Arg>> {
        let operands = self.p.units.iter().flat_map(|u| u.own.clone());
        let all: Result<Vec<Arg>> = operands.map(|i| self.x[i].arg(self.e)).collect();
        Ok(list(&all?, WEIGHTS, self.x[self.p.beta].arg(self.e)?))
    }

    /// The inputs, the nodes in `y` and what bypasses: the sources that rows of the tables name.
    fn sources(&self, y: &Tensor, rest: &Tensor) -> Result<Vec<Arg>> {
        let operands = self.x[..INPUTS].iter().copied().chain([y, rest]);
        let all: Result<Vec<Arg>> = operands.map(|t| t.arg(self.e)).collect();
        let all = all?;
        Ok(list(&all, SOURCES, all[0]))
    }

    /// Alpha and beta.
    fn mixture(&self) -> Result<[Arg; 2]> {
        Ok([
            self.x[self.p.alpha].arg(self.e)?,
            self.x[self.p.beta].arg(self.e)?,
        ])
    }

    /// What a launch touches: bytes that it reads besides the tables, and that it writes.
    fn touches(&self, read: u64, written: u64) -> Option<[u64; 2]> {
        Some([read + self.tables.bytes(), written])
    }

    /// Bytes of `values` values of maps.
    fn bytes(&self, values: usize) -> u64 {
        (values * self.dtype.size()) as u64
    }

    /// Bytes of the weights of some candidates.
    fn weight_bytes(&self, units: impl Iterator<Item = usize>) -> u64 {
        let operands = units.flat_map(|u| self.p.units[u].own.clone());
        operands.map(|i| 4 * self.x[i].numel() as u64).sum()
    }

    /// Values of the active channels of a state, and of all of them.
    fn state(&self, from: usize) -> [usize; 2] {
        let plane = self.p.plane * self.p.stride(from) * self.p.stride(from);
        [self.p.n * self.p.a * plane, self.p.n * self.p.c * plane]
    }
}

#[cfg(test)]
pub mod tests;
