//! The way back in four or five launches: sums of `dy`; second halves of separable convolutions; gradients of states and of pooled
//! maps; partial sums of the weights' gradients, where weights want one; all parameters' gradients. With edges that halve the map one
//! more for their states, and one more for the weights of their first halves.

mod halved;
mod maps;
mod parameters;
mod tiles;

use super::maps::maps_again;
use super::{EDGES, MAPS, Node, THREADS, WEIGHTS, weights};
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::error::Result;
use crate::ops::mixed_node::MixedNode;
use crate::ops::mixed_node::plan::Plan;
use crate::ops::on_device::{int, list, pick, stored};
use crate::tape::{Backward, Grad};
use crate::tensor::{DType, Engine, Tensor};
use tiles::Tiles;

/// Blocks that fill a large device.
const BLOCKS: usize = 1024;
/// The most blocks that share a sum: one lane or thread adds theirs.
const CHUNKS: usize = 64;
/// Channels of a group, floats of a channel's slope, taps of the largest filter, terms of a block of `node_sums`: as in
/// `kernels/node_back.cuh`.
const GROUP: usize = 16;
const SLOPE: usize = 8;
const TAPS: usize = 25;
/// Floats of all slopes of an edge at most.
const SLOPES: usize = 1 << 13;
const TERMS: usize = 8;

/// What the launches have in common.
struct Back<'a> {
    node: &'a Node<'a>,
    b: &'a Backward<'a>,
    /// Maps before normalisations.
    maps: Vec<Tensor>,
    dy: Tensor,
    eps: Arg,
    /// Gradients of alpha or beta are wanted; of weights; of states.
    arch: bool,
    weights: bool,
    states: bool,
}

/// Partial sums and how many there are of each.
struct Part {
    sums: Option<Tensor>,
    chunks: usize,
}

impl Part {
    fn none() -> Part {
        Part {
            sums: None,
            chunks: 0,
        }
    }
}

/// Whether the slopes of an edge's candidates leave room for its tiles in shared memory.
fn slopes_fit(p: &Plan) -> bool {
    let units = p.edges.iter().map(|d| d.units.len()).max().unwrap_or(0);
    units * p.a * SLOPE <= SLOPES
}

/// The gradients of the operands that need one; `None` where there are no kernels for these operands.
///
/// # Errors
/// Those of the device.
pub fn backward(
    e: Engine,
    op: &MixedNode,
    p: &Plan,
    b: &Backward,
) -> Result<Option<Vec<Option<Grad>>>> {
    let x = (0..b.x.len()).map(|i| b.input(i)).collect();
    let node = match Node::new(e, op, p, x)? {
        Some(node) if b.saved.len() == p.kept + 1 && slopes_fit(p) => node,
        _ => return Ok(None),
    };
    if node.empty() {
        let zeros = |(i, &need): (usize, &bool)| {
            let make = || Tensor::zeros_on(e, b.shapes[i], node.x[i].dtype()).map(Grad::Whole);
            need.then(make).transpose()
        };
        let all: Result<Vec<_>> = b.need.iter().enumerate().map(zeros).collect();
        return all.map(Some);
    }
    let maps = match op.recompute {
        true => maps_again(&node, op.eps)?,
        false => b.saved[..p.maps].to_vec(),
    };
    let back = Back {
        node: &node,
        maps,
        dy: stored(e, b.dy.clone(), node.dtype)?,
        b,
        eps: Arg::F32(op.eps as f32),
        arch: b.need[p.alpha] || b.need[p.beta],
        weights: p
            .units
            .iter()
            .any(|u| (u.own..u.own + weights(u)).any(|i| b.need[i])),
        states: p.edges.iter().any(|d| b.need[d.x]),
    };
    back.run().map(Some)
}

impl Back<'_> {
    fn run(&self) -> Result<Vec<Option<Grad>>> {
        let part = self.sums()?;
        let (mut g, inner) = self.last(&part)?;
        let mut all: Vec<Option<Grad>> = self.b.need.iter().map(|_| None).collect();
        self.x(&part, &inner, &g, &mut all)?;
        self.halved_x(&part, &inner, &g, &mut all)?;
        let weights = self.weights(&part, &inner, &g)?;
        g.clear();
        self.gradients(&part, &weights, &mut all)?;
        Ok(all)
    }

    fn pick(&self, f32: Kernel, bf16: Kernel) -> Kernel {
        pick(self.node.dtype, f32, bf16).expect("a node that fits")
    }

    /// One value for each candidate and edge, and one more.
    fn slots(&self) -> usize {
        1 + self.node.p.units.len() + self.node.p.edges.len()
    }

    fn stats(&self) -> Result<Arg> {
        self.b.saved[self.node.p.kept].arg(self.node.e)
    }

    /// The maps before normalisations.
    fn maps(&self) -> Result<Vec<Arg>> {
        let e = self.node.e;
        let all: Result<Vec<Arg>> = self.maps.iter().map(|t| t.arg(e)).collect();
        Ok(list(&all?, MAPS, self.dy.arg(e)?))
    }

    fn weight_list(&self) -> Result<Vec<Arg>> {
        Ok(list(&self.node.weights()?, WEIGHTS, self.stats()?))
    }

    fn states(&self) -> Result<Vec<Arg>> {
        let all = self.node.sources()?;
        Ok(list(&all, EDGES, all[0]))
    }

    /// What was put aside for some maps, null for the others.
    fn aside(&self, g: &[Option<Tensor>]) -> Result<Vec<Arg>> {
        let none = self.dy.arg(self.node.e)?.null();
        let of = |t: &Option<Tensor>| t.as_ref().map_or(Ok(none), |t| t.arg(self.node.e));
        let all: Result<Vec<Arg>> = g.iter().map(of).collect();
        Ok(list(&all?, MAPS, none))
    }

    /// Partial sums; something that is not read in place of none.
    fn part(&self, part: &Part) -> Result<Arg> {
        match &part.sums {
            Some(t) => t.arg(self.node.e),
            None => self.stats(),
        }
    }

    /// Blocks: (of `tiles`, groups of channels, `of`), no more than `most` of the first.
    fn launch(&self, tiles: Tiles, most: usize, of: usize) -> Launch {
        let p = self.node.p;
        let groups = p.a.div_ceil(GROUP);
        let wanted = BLOCKS.div_ceil(groups * of).min(most);
        let grid = [tiles.count(p).min(wanted), groups, of].map(|v| v as u32);
        Launch::new(grid, [THREADS as u32, 1, 1])
    }

    /// Floats of the slopes of `units` candidates, of a block's weights, and of `of_channel` values of each channel of a group, in bytes.
    fn shared(&self, units: usize, of_channel: usize, more: usize) -> u32 {
        let p = self.node.p;
        let a = p.a;
        let floats = units * a * SLOPE + a * GROUP + TAPS * GROUP + more;
        4 * (floats + a.min(GROUP) * of_channel) as u32
    }

    /// Sums of `dy` and its products, `(chunks, channels, slots)`.
    fn sums(&self) -> Result<Part> {
        let (e, p) = (self.node.e, self.node.p);
        if !self.arch && p.maps == 0 {
            return Ok(Part::none());
        }
        let (channels, terms) = match self.arch {
            true => (p.c, p.units.len() + p.edges.len()),
            false => (p.a, p.units.len()),
        };
        let eights = terms.div_ceil(TERMS);
        let useful = (p.n * p.plane).div_ceil(THREADS * 16 / self.node.dtype.size());
        let wanted = BLOCKS.div_ceil(channels * eights).min(CHUNKS / 2);
        let chunks = useful.min(wanted).max(1);
        let mut sums = Tensor::scratch_on(e, [chunks, p.c, self.slots()], DType::F32)?;
        let bypasses = self.node.bypasses()?;
        let mut args = self.maps()?;
        args.extend(self.states()?);
        args.extend(list(&bypasses, EDGES, bypasses[0]));
        args.extend([self.dy.arg(e)?, self.stats()?, sums.arg_out(e)?]);
        args.extend([self.node.units(), self.node.edges()]);
        args.extend([p.units.len(), p.edges.len(), usize::from(self.arch)].map(int));
        args.extend([p.n, p.a, p.k, p.h, p.w].map(int));
        let grid = [channels, chunks, eights].map(|v| v as u32);
        let launch = Launch::new(grid, [THREADS as u32, 1, 1]);
        let kernel = self.pick(k::NODE_SUMS_F32, k::NODE_SUMS_BF16);
        e.launch(kernel, launch, &args)?;
        Ok(Part {
            sums: Some(sums),
            chunks,
        })
    }
}

#[cfg(test)]
pub mod tests;
