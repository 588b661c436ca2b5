//! The cell as the composition of its nodes and their poolings: its definition, for every scalar.

use super::{Choice, INPUTS, MixedCell};
use crate::dual::Scalar;
use crate::ops::concat::Concat;
use crate::ops::mixed_node::{Edge, MixedNode, Source};
use crate::ops::pool::{Kind, Pool};
use crate::ops::reference::{Arr, Reference, arr, tensor};
use crate::ops::shape_rules::with_dim;
use crate::ops::slice::Slice;
use crate::tensor::{Shape, Tensor};

/// Where an operand of a node comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// An operand of the cell.
    Given(usize),
    /// A state.
    State(usize),
    /// The active channels of a state, pooled.
    Pool(usize, Kind),
    /// The other channels of a state, halved by a maximum of windows of 2 x 2.
    Rest(usize),
}

/// A node as an operation of its own.
pub struct Node {
    pub op: MixedNode,
    operands: Vec<Operand>,
}

impl Node {
    /// The `node`-th.
    pub fn new(cell: &MixedCell, node: usize) -> Node {
        let (mut edges, mut operands, mut own) = (vec![], vec![], vec![]);
        let weights = |node: usize| cell.nodes[node].iter().flat_map(|e| &e.candidates);
        let before = (0..node).flat_map(weights).map(|c| c.0.weights());
        let mut next = INPUTS + 2 + before.sum::<usize>();
        for e in &cell.nodes[node] {
            operands.push(Operand::State(e.from));
            let candidates = e.candidates.iter().map(|&(c, at)| (c.of_node(), at));
            let candidates = candidates.collect();
            let source = match cell.halved(e.from) {
                true => Source::Halved {
                    candidates,
                    start: 0,
                },
                false => Source::State(candidates),
            };
            if cell.halved(e.from) && cell.k > 1 {
                operands.push(Operand::Rest(e.from));
            }
            edges.push(Edge {
                beta: e.beta,
                source,
            });
            for (choice, _) in &e.candidates {
                if let Choice::Pool(kind) = choice {
                    own.push(Operand::Pool(e.from, *kind));
                }
                own.extend((next..next + choice.weights()).map(Operand::Given));
                next += choice.weights();
            }
        }
        operands.extend([INPUTS, INPUTS + 1].map(Operand::Given));
        operands.extend(own);
        let op = MixedNode {
            edges,
            k: cell.k,
            eps: cell.eps,
            recompute: false,
        };
        Node { op, operands }
    }

    /// Shapes of its operands, of those of the cell, of the states before it and of a node.
    pub fn shapes(&self, x: &[Shape], states: &[Shape], node: &Shape) -> Vec<Shape> {
        let active = with_dim(node, 1, node.dims()[1] / self.op.k);
        let rest = with_dim(node, 1, node.dims()[1] - active.dims()[1]);
        let of = |from: &Operand| match *from {
            Operand::Given(i) => x[i],
            Operand::State(s) => states[s],
            Operand::Pool(..) => active,
            Operand::Rest(_) => rest,
        };
        self.operands.iter().map(of).collect()
    }
}

/// The channels cut out of a state, and the pooling of them, that an operand is; `None` where it is something else.
fn pooling(cell: &MixedCell, active: usize, operand: Operand) -> Option<(usize, Slice, Pool)> {
    let (from, kind, k, padding) = match operand {
        Operand::Pool(s, kind) => (s, kind, 3, 1),
        Operand::Rest(s) => (s, Kind::Max, 2, 0),
        Operand::Given(_) | Operand::State(_) => return None,
    };
    let (start, channels) = match operand {
        Operand::Rest(_) => (active, active * (cell.k - 1)),
        _ => (0, active),
    };
    let stride = if cell.halved(from) { 2 } else { 1 };
    let pool = Pool {
        kind,
        k,
        stride,
        padding,
    };
    Some((from, Slice { start, channels }, pool))
}

/// Channels of the states that are mixed.
fn active(cell: &MixedCell, x: &[Shape]) -> usize {
    cell.node(x).expect("operands that fit").dims()[1] / cell.k
}

fn operands<S: Scalar>(
    cell: &MixedCell,
    node: &Node,
    x: &[Arr<S>],
    states: &[Arr<S>],
) -> Vec<Arr<S>> {
    let active = active(cell, &x.iter().map(|x| x.shape).collect::<Vec<_>>());
    let of = |from: &Operand| match (*from, pooling(cell, active, *from)) {
        (Operand::Given(i), _) => x[i].clone(),
        (_, Some((s, cut, pool))) => pool.fwd(&[cut.fwd(std::slice::from_ref(&states[s]))]),
        (Operand::State(s) | Operand::Pool(s, _) | Operand::Rest(s), None) => states[s].clone(),
    };
    node.operands.iter().map(of).collect()
}

/// `to += x`.
fn add<S: Scalar>(to: &mut Arr<S>, x: &Arr<S>) {
    for (to, &x) in to.data.iter_mut().zip(&x.data) {
        *to += x;
    }
}

/// The states: both inputs, then the nodes.
fn states<S: Scalar>(cell: &MixedCell, x: &[Arr<S>]) -> Vec<Arr<S>> {
    let mut states = vec![x[0].clone(), x[1].clone()];
    for node in 0..cell.nodes.len() {
        let node = Node::new(cell, node);
        let y = node.op.fwd(&operands(cell, &node, x, &states));
        states.push(y);
    }
    states
}

/// Each node as an operation of its own with its operands.
pub fn nodes(cell: &MixedCell, x: &[Tensor]) -> Vec<(MixedNode, Vec<Tensor>)> {
    let x: Vec<Arr<f64>> = x.iter().map(arr).collect();
    let states = states(cell, &x);
    let of = |node| {
        let node = Node::new(cell, node);
        let operands = operands(cell, &node, &x, &states).into_iter().map(tensor);
        let operands = operands.collect();
        (node.op, operands)
    };
    (0..cell.nodes.len()).map(of).collect()
}

impl Reference for MixedCell {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let states = states(self, x);
        Concat.fwd(&states[INPUTS..])
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let shapes: Vec<Shape> = x.iter().map(|x| x.shape).collect();
        let (states, active) = (states(self, x), active(self, &shapes));
        let mut all: Vec<Arr<S>> = x.iter().map(|x| Arr::zeros(x.shape)).collect();
        let mut behind: Vec<Arr<S>> = states.iter().map(|x| Arr::zeros(x.shape)).collect();
        let parts = Concat.bwd(&states[INPUTS..], dy);
        for (to, part) in behind[INPUTS..].iter_mut().zip(parts) {
            add(to, &part.expect("of a node"));
        }
        for j in (0..self.nodes.len()).rev() {
            let node = Node::new(self, j);
            let x = operands(self, &node, x, &states[..INPUTS + j]);
            let gradients = node.op.bwd(&x, &behind[INPUTS + j]);
            for (from, g) in node.operands.iter().zip(gradients) {
                let Some(g) = g else { continue };
                match (*from, pooling(self, active, *from)) {
                    (Operand::Given(i), _) => add(&mut all[i], &g),
                    (_, Some((s, cut, pool))) => {
                        let state = std::slice::from_ref(&states[s]);
                        let mut g = pool.bwd(&[cut.fwd(state)], &g);
                        let g = g.pop().flatten().expect("of a map");
                        let mut g = cut.bwd(state, &g);
                        add(&mut behind[s], &g.pop().flatten().expect("of a map"));
                    }
                    (Operand::State(s) | Operand::Pool(s, _) | Operand::Rest(s), None) => {
                        add(&mut behind[s], &g);
                    }
                }
            }
        }
        for (to, x) in all.iter_mut().zip(&behind[..INPUTS]) {
            add(to, x);
        }
        all.into_iter().map(Some).collect()
    }
}
