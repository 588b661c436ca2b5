//! The tables of a cell as kernels read them: rows of `NodeUnit`, `NodeEdge` (node.cuh) and `NodeState` (node_arms.cuh).

use std::sync::Arc;

use super::super::INPUTS;
use super::super::plan::Plan;
use super::kind;
use crate::backend::driver::Arg;
use crate::backend::engine::DeviceBuffer;
use crate::error::Result;
use crate::tensor::{Engine, Tensor};

/// On the device.
pub struct Tables {
    units: Arc<DeviceBuffer>,
    edges: Arc<DeviceBuffer>,
    states: Arc<DeviceBuffer>,
    arms: Arc<DeviceBuffer>,
    bytes: u64,
}

/// Sizes of maps fit.
fn int(v: usize) -> i32 {
    i32::try_from(v).expect("sizes of maps fit")
}

impl Tables {
    /// Of a cell that fits.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(e: Engine, p: &Plan, x: &[&Tensor]) -> Result<Tables> {
        let (units, edges) = (units(p), edges(p, x));
        let (states, arms) = states(p, x);
        // A list of work has at most all candidates.
        let all = units.len() + edges.len() + states.len() + arms.len() + p.units.len();
        Ok(Tables {
            bytes: 4 * all as u64,
            units: e.constant(&units)?,
            edges: e.constant(&edges)?,
            states: e.constant(&states)?,
            arms: e.constant(&arms)?,
        })
    }

    /// Bytes of all, and of the list of work of a launch.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Candidates and edges.
    pub fn args(&self) -> [Arg; 2] {
        [self.units.arg(), self.edges.arg()]
    }

    /// States and their arms.
    pub fn states(&self) -> [Arg; 2] {
        [self.states.arg(), self.arms.arg()]
    }
}

fn units(p: &Plan) -> Vec<i32> {
    let (mut rows, mut weight) = (vec![], 0);
    for u in &p.units {
        rows.push(kind(u.choice).expect("a cell that fits"));
        let of = [
            u.edge,
            u.alpha,
            weight,
            u.maps.start,
            u.maps.len(),
            u.dot,
            u.aside,
        ];
        rows.extend(of.map(int));
        weight += u.own.len();
    }
    rows
}

/// A part of a tensor: which, its first channel, channels of the tensor.
struct Place {
    tensor: usize,
    from: usize,
    channels: usize,
}

/// Where a state is among the sources: the inputs, the nodes, what bypasses inputs that are halved.
fn place(p: &Plan, x: &[&Tensor], state: usize) -> Place {
    match state.checked_sub(INPUTS) {
        None => Place {
            tensor: state,
            from: 0,
            channels: x[state].dims()[1],
        },
        Some(node) => Place {
            tensor: p.alpha,
            from: node * p.c,
            channels: p.nodes.len() * p.c,
        },
    }
}

/// Where a node's gradient is: in the cell's (0) for the last, among those of the nodes (1) for the others.
fn gradient(p: &Plan, node: usize) -> Place {
    let last = p.nodes.len() - 1;
    Place {
        tensor: usize::from(node < last),
        from: node * p.c,
        channels: p.c * if node < last { last } else { last + 1 },
    }
}

fn edges(p: &Plan, x: &[&Tensor]) -> Vec<i32> {
    let mut rows = vec![];
    for e in &p.edges {
        let (state, d) = (place(p, x, e.from), gradient(p, e.node));
        let by = match p.stride(e.from) {
            // One input's after the other's.
            2 => Place {
                tensor: p.alpha + 1,
                from: e.from * p.n * (p.c - p.a),
                channels: p.c - p.a,
            },
            _ => Place {
                from: state.from + p.a,
                ..place(p, x, e.from)
            },
        };
        rows.extend([e.beta, e.units.start, e.units.end].map(int));
        rows.extend([state.tensor, state.from, state.channels].map(int));
        rows.extend([by.tensor, by.from, by.channels, p.stride(e.from)].map(int));
        rows.extend([d.tensor, d.from, d.channels, e.total, e.dot].map(int));
    }
    rows
}

/// Where the gradient of a state goes among those that are asked for: those of the inputs, then those of the nodes.
fn states(p: &Plan, x: &[&Tensor]) -> (Vec<i32>, Vec<i32>) {
    let (mut rows, mut arms) = (vec![], vec![]);
    for (s, of) in p.arms.iter().enumerate() {
        let state = place(p, x, s);
        let out = match s.checked_sub(INPUTS) {
            None => place(p, x, s),
            Some(node) if node + 1 < p.nodes.len() => Place {
                tensor: INPUTS,
                ..gradient(p, node)
            },
            // The last node has no arms.
            Some(_) => continue,
        };
        let first = arms.len();
        arms.extend(of.iter().map(|&e| int(e)));
        rows.extend([state.tensor, state.from, state.channels].map(int));
        rows.extend([out.tensor, out.from, out.channels].map(int));
        rows.extend([usize::from(s >= INPUTS), first, arms.len()].map(int));
    }
    // There is no constant of nothing.
    arms.resize(arms.len().max(1), 0);
    (rows, arms)
}
