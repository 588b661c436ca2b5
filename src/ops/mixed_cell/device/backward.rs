//! The way back, from the last node to the inputs. Of each node the sums of its gradient, and the second halves of separable convolutions
//! into it; then the gradients of the states that have all they wait for: a node's is whole before its own turn comes. In the end partial
//! sums of the weights' gradients, where weights want one, and all parameters' gradients.

mod maps;
mod parameters;
mod tiles;

use super::forward::{Maps, again};
use super::{Cell, GRADS, SLOPE, THREADS};
use crate::backend::driver::{Arg, Kernel, Launch};
use crate::error::Result;
use crate::ops::mixed_cell::MixedCell;
use crate::ops::mixed_cell::plan::Plan;
use crate::ops::on_device::{list, pick, stored};
use crate::tape::{Backward, Grad};
use crate::tensor::{DType, Engine, Tensor};
use tiles::Tiles;

/// Blocks that fill a large device.
const BLOCKS: usize = 1024;
/// The most blocks that share a sum: one lane or thread adds theirs.
const CHUNKS: usize = 64;
/// Channels of a group, taps of the largest filter, terms of a block of `node_sums`: as in `kernels/node_back.cuh`.
const GROUP: usize = 16;
const TAPS: usize = 25;
const TERMS: usize = 8;

/// What the launches have in common.
struct Back<'a> {
    cell: &'a Cell<'a>,
    b: &'a Backward<'a>,
    /// The cell's gradient, and those of its nodes but the last.
    dy: Tensor,
    nodes: Tensor,
    maps: Maps,
    /// Gradients at inner ReLUs, `(separable convolutions, N, C/k, H, W)`.
    aside: Tensor,
    /// Sums of the nodes' gradients, `(chunks, C, slots)`.
    sums: Part,
    /// Sums of inner normalisations, `(separable convolutions, chunks, C/k, 2)`.
    inner: Part,
    /// Gradients of alpha or beta are wanted; of weights.
    arch: bool,
    weights: bool,
}

/// Partial sums and how many there are of each.
struct Part {
    sums: Tensor,
    chunks: usize,
}

/// The gradients of the operands that need one; `None` where there are no kernels for these operands.
///
/// # Errors
/// Those of the device.
pub fn backward(
    e: Engine,
    op: &MixedCell,
    p: &Plan,
    b: &Backward,
) -> Result<Option<Vec<Option<Grad>>>> {
    let x = (0..b.x.len()).map(|i| b.input(i)).collect();
    let (Some(cell), Some(y)) = (Cell::new(e, op, p, x)?, b.y) else {
        return Ok(None);
    };
    if cell.empty() {
        let zeros = |(i, &need): (usize, &bool)| {
            let make = || Tensor::zeros_on(e, b.shapes[i], cell.x[i].dtype()).map(Grad::Whole);
            need.then(make).transpose()
        };
        let all: Result<Vec<_>> = b.need.iter().enumerate().map(zeros).collect();
        return all.map(Some);
    }
    let maps = match b.saved {
        [z, rest, taps, _] => Maps {
            z: z.clone(),
            rest: rest.clone(),
            taps: taps.clone(),
        },
        [_] => again(&cell, y)?,
        // Saved by the host.
        _ => return Ok(None),
    };
    let scratch = |first: usize, channels: usize| {
        Tensor::scratch_on(e, [first.max(1), channels, p.h, p.w], cell.dtype)
    };
    let weights = p.units.iter().flat_map(|u| u.own.clone());
    let part = |shape: [usize; 4], chunks: usize| -> Result<Part> {
        let sums = Tensor::scratch_on(e, shape, DType::F32)?;
        Ok(Part { sums, chunks })
    };
    let tiles = Tiles::new(p, true);
    let doubles =
        (0..p.nodes.len()).map(|n| p.candidates_of(n).filter(|&u| p.units[u].double()).count());
    let most = doubles.max().unwrap_or(0).max(1);
    let inner = launch(p, tiles, CHUNKS, most).grid[0] as usize;
    let terms = (0..p.nodes.len()).map(|n| p.candidates_of(n).len() + p.nodes[n].len());
    let eights = terms.max().unwrap_or(0).div_ceil(TERMS);
    let useful = (p.n * p.plane).div_ceil(THREADS * 16 / cell.dtype.size());
    let chunks = useful
        .min(BLOCKS.div_ceil(p.c * eights).min(CHUNKS / 2))
        .max(1);
    let back = Back {
        dy: stored(e, b.dy.clone(), cell.dtype)?,
        nodes: scratch(p.n, ((p.nodes.len() - 1) * p.c).max(1))?,
        maps,
        aside: scratch(p.doubles * p.n, p.a)?,
        sums: part([chunks, p.c, p.slots, 1], chunks)?,
        inner: part([p.doubles.max(1), inner, p.a, 2], inner)?,
        arch: b.need[p.alpha] || b.need[p.beta],
        weights: weights.into_iter().any(|i| b.need[i]),
        cell: &cell,
        b,
    };
    back.run(y).map(Some)
}

/// Blocks: (of `tiles`, groups of channels, `of`), no more than `most` of the first.
fn launch(p: &Plan, tiles: Tiles, most: usize, of: usize) -> Launch {
    let groups = p.a.div_ceil(GROUP);
    let wanted = BLOCKS.div_ceil(groups * of).min(most);
    let grid = [tiles.count(p).min(wanted), groups, of].map(|v| v as u32);
    Launch::new(grid, [THREADS as u32, 1, 1])
}

impl Back<'_> {
    fn run(mut self, y: &Tensor) -> Result<Vec<Option<Grad>>> {
        let mut all: Vec<Option<Grad>> = self.b.need.iter().map(|_| None).collect();
        let inputs = &self.b.need[..self.cell.p.alpha];
        let inputs = inputs.iter().any(|&n| n);
        for (node, states) in self.cell.p.levels().into_iter().enumerate().rev() {
            self.node_sums(node, y)?;
            // Sums of alpha and beta need no more than the nodes' gradients.
            let first = node == 0;
            if !first || inputs || self.weights {
                self.last(node)?;
            }
            if !first || inputs {
                self.states(states, y, &mut all)?;
            }
        }
        let weights = self.weight_sums(y)?;
        self.gradients(weights.as_ref(), &mut all)?;
        Ok(all)
    }

    fn pick(&self, f32: Kernel, bf16: Kernel) -> Kernel {
        pick(self.cell.dtype, f32, bf16).expect("a cell that fits")
    }

    fn stats(&self) -> Result<Arg> {
        let stats = self.b.saved.last().expect("the statistics");
        stats.arg(self.cell.e)
    }

    /// The gradients that the rows of edges name.
    fn gradients_of_nodes(&self) -> Result<Vec<Arg>> {
        let e = self.cell.e;
        let all = [self.dy.arg(e)?, self.nodes.arg(e)?];
        Ok(list(&all, GRADS, all[0]))
    }

    /// Floats of the slopes of `units` candidates, of a block's weights, and of `of_channel` values of each channel of a group, in bytes.
    fn shared(&self, units: usize, of_channel: usize, more: usize) -> u32 {
        let a = self.cell.p.a;
        let floats = units * a * SLOPE + a * GROUP + TAPS * GROUP + more;
        4 * (floats + a.min(GROUP) * of_channel) as u32
    }

    /// Bytes of the sums and statistics that slopes of `units` candidates come from.
    fn slope_bytes(&self, units: usize) -> u64 {
        let p = self.cell.p;
        let each = 2 * self.sums.chunks.max(self.inner.chunks) + 4;
        (4 * units * p.a * each
            + 4 * self.cell.x[p.alpha].numel()
            + 4 * self.cell.x[p.beta].numel()) as u64
    }
}
