//! The node by kernels (`kernels/node*.cu`): all candidates of all edges in a launch, nothing comes back to the host.
//!
//! Saved are the maps before each normalisation that are kept, in the order of `Plan` (a pooled map is the operand itself), and behind
//! them one tensor `stats (maps, 4, C/k)` in f32: mean, biased variance, low part of the mean, count.

pub mod backward;
mod forward;
mod maps;

use std::sync::Arc;

use super::plan::{Plan, Unit};
use super::{Candidate, MixedNode};
use crate::backend::driver::Arg;
use crate::backend::engine::DeviceBuffer;
use crate::error::Result;
use crate::tensor::{Buffer, DType, Engine, Tensor};
pub use backward::backward;
pub use forward::forward;

/// Edges of a node at most: this and the capacities below as in `kernels/node.cuh`.
pub const EDGES: usize = 8;
/// Candidates of all its edges.
pub const UNITS: usize = 64;
/// Maps before normalisations.
pub const MAPS: usize = 64;
/// Weights of all convolutions.
pub const WEIGHTS: usize = 96;
/// Channels that are mixed.
pub const CHANNELS: usize = 64;

/// Threads of a block of the kernels of a node.
pub const THREADS: usize = 256;

/// A candidate's number in the kernels; `None` for what they do not compute.
fn kind(c: Candidate) -> Option<i32> {
    Some(match c {
        Candidate::Skip => 0,
        Candidate::Pooled => 1,
        Candidate::Separable(3) => 2,
        Candidate::Separable(5) => 3,
        Candidate::Dilated(3) => 4,
        Candidate::Dilated(5) => 5,
        Candidate::Reduced => 6,
        Candidate::Separable(_) | Candidate::Dilated(_) => return None,
    })
}

/// Weights of a candidate.
fn weights(u: &Unit) -> usize {
    match u.candidate {
        Candidate::Skip | Candidate::Pooled => 0,
        other => other.operands(),
    }
}

impl MixedNode {
    /// Whether there are kernels for this node with `active` mixed channels: no more of anything than their parameters have room for.
    pub fn fits_device(&self, active: usize) -> bool {
        let candidates = || {
            let all = self.edges.iter().flat_map(|e| e.source.candidates());
            all.map(|c| c.0)
        };
        let sum = |of: fn(Candidate) -> usize| candidates().map(of).sum::<usize>();
        self.edges.len() <= EDGES
            && candidates().count() <= UNITS
            && sum(Candidate::norms) <= MAPS
            && sum(Candidate::operands) <= WEIGHTS
            && active <= CHANNELS
            && candidates().all(|c| kind(c).is_some())
    }
}

/// Whether an operand is a map: stored as the states are, where weights are f32.
fn is_map(p: &Plan, i: usize) -> bool {
    let pooled = |u: &Unit| u.candidate == Candidate::Pooled && u.own == i;
    i < p.alpha || p.units.iter().any(pooled)
}

/// Whether there are kernels for a node with operands of these types.
pub fn takes(op: &MixedNode, p: &Plan, dtypes: &[DType]) -> bool {
    let stored = |i: usize| if is_map(p, i) { dtypes[0] } else { DType::F32 };
    [DType::F32, DType::Bf16].contains(&dtypes[0])
        && (0..dtypes.len()).all(|i| dtypes[i] == stored(i))
        && op.fits_device(p.a)
}

/// What the launches have saved as the host's backward takes it: the maps that are kept, then mean and variance of each, all in `dtype`.
pub fn on_host(p: &Plan, saved: &[Tensor], dtype: DType) -> Vec<Tensor> {
    let stats = saved[p.kept].f32s();
    let row = |i: usize| {
        let values = Buffer::from_slice(&stats[i * p.a..][..p.a]);
        Tensor::from_buffer([p.a], values).cast(dtype)
    };
    let maps = saved[..p.kept].iter().map(|t| t.cast(dtype));
    maps.chain((0..p.maps).flat_map(|m| [row(4 * m), row(4 * m + 1)]))
        .collect()
}

/// What the launches of a node, of either direction, have in common.
pub struct Node<'a> {
    /// The device.
    pub e: Engine,
    /// What belongs to what.
    pub p: &'a Plan,
    /// The operands.
    pub x: Vec<&'a Tensor>,
    /// Of the maps.
    pub dtype: DType,
    /// Rows of `NodeUnit` and `NodeEdge`.
    units: Arc<DeviceBuffer>,
    edges: Arc<DeviceBuffer>,
}

impl<'a> Node<'a> {
    /// The tables on the device; `None` where there are no kernels for these operands.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(
        e: Engine,
        op: &MixedNode,
        p: &'a Plan,
        x: Vec<&'a Tensor>,
    ) -> Result<Option<Node<'a>>> {
        let dtypes: Vec<DType> = x.iter().map(|t| t.dtype()).collect();
        if !takes(op, p, &dtypes) {
            return Ok(None);
        }
        let int = |v: usize| i32::try_from(v).expect("sizes of maps fit");
        let (mut units, mut edges, mut first) = (vec![], vec![], 0);
        for u in &p.units {
            let kind = kind(u.candidate).expect("a node that fits");
            let of = [u.edge, u.alpha, first, u.maps.start, u.maps.len()];
            units.push(kind);
            units.extend(of.map(int));
            first += weights(u);
        }
        for (edge, d) in p.edges.iter().enumerate() {
            let at = Node::bypass_of(p, edge);
            let channels = [d.x, at].map(|i| x[i].dims()[1]);
            let (of, start) = (&d.units, d.bypass.1);
            edges.extend([d.beta, of.start, of.end, start].map(int));
            edges.extend([channels[0], channels[1], d.stride].map(int));
        }
        // There is no constant of nothing.
        units.resize(units.len().max(1), 0);
        Ok(Some(Node {
            e,
            p,
            dtype: dtypes[0],
            units: e.constant(&units)?,
            edges: e.constant(&edges)?,
            x,
        }))
    }

    /// Operand of the bypassing channels of an edge; its state where nothing bypasses.
    fn bypass_of(p: &Plan, edge: usize) -> usize {
        let e = &p.edges[edge];
        if p.k > 1 { e.bypass.0 } else { e.x }
    }

    /// True when there is no value.
    pub fn empty(&self) -> bool {
        self.p.n * self.p.c * self.p.plane == 0
    }

    /// Rows of `NodeUnit`.
    pub fn units(&self) -> Arg {
        self.units.arg()
    }

    /// Rows of `NodeEdge`.
    pub fn edges(&self) -> Arg {
        self.edges.arg()
    }

    /// Depthwise and pointwise weights of all convolutions, where `NodeUnit::weight` counts them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn weights(&self) -> Result<Vec<Arg>> {
        let of = |u: &Unit| u.own..u.own + weights(u);
        let all = self.p.units.iter().flat_map(of);
        all.map(|i| self.x[i].arg(self.e)).collect()
    }

    /// The state, or the mixed channels, of each edge.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sources(&self) -> Result<Vec<Arg>> {
        let all = self.p.edges.iter();
        all.map(|d| self.x[d.x].arg(self.e)).collect()
    }

    /// The operand of each edge's bypassing channels.
    ///
    /// # Errors
    /// Those of the device.
    pub fn bypasses(&self) -> Result<Vec<Arg>> {
        let all = 0..self.p.edges.len();
        let of = |i| self.x[Node::bypass_of(self.p, i)].arg(self.e);
        all.map(of).collect()
    }

    /// Alpha and beta.
    ///
    /// # Errors
    /// Those of the device.
    pub fn mixture(&self) -> Result<[Arg; 2]> {
        Ok([
            self.x[self.p.alpha].arg(self.e)?,
            self.x[self.p.beta].arg(self.e)?,
        ])
    }
}

#[cfg(test)]
mod again_tests;
#[cfg(test)]
pub mod tests;
