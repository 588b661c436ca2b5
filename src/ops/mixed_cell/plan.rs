//! Which operand, map, sum and gradient belongs to what of a cell.

use std::ops::Range;

use super::{Choice, INPUTS, MixedCell};
use crate::ops::mixed_node::Candidate;
use crate::ops::pool::Kind;
use crate::tensor::Shape;

/// A candidate of an edge.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Edge that it is on.
    pub edge: usize,
    /// What it computes.
    pub choice: Choice,
    /// Index of its weight in alpha.
    pub alpha: usize,
    /// Its operands.
    pub own: Range<usize>,
    /// Its maps before normalisations, in order; edges out of a state share those of its poolings.
    pub maps: Range<usize>,
    /// Where `<dy, z - mean>` of its last map is among the sums of `node_sums`.
    pub dot: usize,
    /// Of two maps: which gradient at an inner ReLU is its own; of a maximum: which taps.
    pub aside: usize,
}

impl Unit {
    /// Side and dilation of its depthwise convolutions.
    pub fn kernel(&self) -> Option<(usize, usize)> {
        match self.choice {
            Choice::Of(candidate) => candidate.kernel(),
            Choice::Pool(_) => None,
        }
    }

    /// Whether it is a factorised reduction.
    pub fn reduced(&self) -> bool {
        self.choice == Choice::Of(Candidate::Reduced)
    }

    /// Whether it is a separable convolution.
    pub fn double(&self) -> bool {
        self.maps.len() == 2
    }
}

/// An edge.
#[derive(Debug, Clone)]
pub struct Edge {
    /// State that it comes from, and node that it leads to.
    pub from: usize,
    pub node: usize,
    /// Index of its weight in beta.
    pub beta: usize,
    /// Its candidates.
    pub units: Range<usize>,
    /// Where the sum of dy of its node is among the sums of `node_sums`, and `<dy, bypass>`.
    pub total: usize,
    pub dot: usize,
}

/// Sizes and indices of a [`MixedCell`].
#[derive(Debug, Clone)]
pub struct Plan {
    /// Images.
    pub n: usize,
    /// Channels of a node, and how many of them are mixed.
    pub c: usize,
    pub a: usize,
    pub h: usize,
    pub w: usize,
    /// h w
    pub plane: usize,
    pub k: usize,
    /// Edges from inputs halve the map.
    pub halves: bool,
    pub units: Vec<Unit>,
    pub edges: Vec<Edge>,
    /// Edges of each node.
    pub nodes: Vec<Range<usize>>,
    /// Edges out of each state, in the order of their nodes.
    pub arms: Vec<Vec<usize>>,
    /// Operands of alpha and beta.
    pub alpha: usize,
    pub beta: usize,
    /// Maps; separable convolutions; poolings with taps; sums of `node_sums`.
    pub maps: usize,
    pub doubles: usize,
    pub maxima: usize,
    pub slots: usize,
}

impl Plan {
    /// Of operands that [`crate::tape::Op::infer`] has checked.
    pub fn new(op: &MixedCell, x: &[Shape]) -> Plan {
        let node = op.node(x).expect("operands that fit");
        let d = node.dims();
        let mut p = Plan {
            n: d[0],
            c: d[1],
            a: d[1] / op.k,
            h: d[2],
            w: d[3],
            plane: d[2] * d[3],
            k: op.k,
            halves: op.halves,
            units: vec![],
            edges: vec![],
            nodes: vec![],
            arms: vec![vec![]; INPUTS + op.nodes.len()],
            alpha: INPUTS,
            beta: INPUTS + 1,
            maps: 0,
            doubles: 0,
            maxima: 0,
            slots: 0,
        };
        // Maps of poolings, and their taps, by state.
        let mut pools: Vec<(usize, Kind, usize, usize)> = vec![];
        let mut own = INPUTS + 2;
        for (node, edges) in op.nodes.iter().enumerate() {
            let (first, total) = (p.edges.len(), p.slots);
            p.slots += 1;
            for e in edges {
                let units = p.units.len();
                for &(choice, alpha) in &e.candidates {
                    let unit = p.unit(e.from, choice, &mut pools);
                    let operands = own..own + choice.weights();
                    own = operands.end;
                    let edge = p.edges.len();
                    p.units.push(Unit {
                        edge,
                        alpha,
                        own: operands,
                        ..unit
                    });
                }
                p.arms[e.from].push(p.edges.len());
                p.edges.push(Edge {
                    from: e.from,
                    node,
                    beta: e.beta,
                    units: units..p.units.len(),
                    total,
                    dot: 0,
                });
            }
            for e in &mut p.edges[first..] {
                e.dot = p.slots;
                p.slots += 1;
            }
            p.nodes.push(first..p.edges.len());
        }
        p
    }

    /// A candidate's maps and places.
    fn unit(
        &mut self,
        from: usize,
        choice: Choice,
        pools: &mut Vec<(usize, Kind, usize, usize)>,
    ) -> Unit {
        let mut aside = 0;
        let maps = match choice {
            Choice::Pool(kind) => {
                let known = pools.iter().find(|p| (p.0, p.1) == (from, kind)).copied();
                let (.., map, taps) = known.unwrap_or_else(|| {
                    let new = (from, kind, self.maps, self.maxima);
                    self.maps += 1;
                    self.maxima += usize::from(kind == Kind::Max);
                    pools.push(new);
                    new
                });
                aside = taps;
                map..map + 1
            }
            Choice::Of(candidate) => {
                let first = self.maps;
                self.maps += candidate.norms();
                if candidate.norms() == 2 {
                    aside = self.doubles;
                    self.doubles += 1;
                }
                first..self.maps
            }
        };
        let dot = self.slots;
        self.slots += 1;
        Unit {
            edge: 0,
            choice,
            alpha: 0,
            own: 0..0,
            maps,
            dot,
            aside,
        }
    }

    /// Where the statistics are among what the forward saves: behind the maps, what bypasses and the taps, where those are kept.
    pub fn saved(&self, recompute: bool) -> usize {
        if recompute { 0 } else { 3 }
    }

    /// Values of what bypasses an input that is halved.
    pub fn rest(&self) -> usize {
        if self.halves {
            self.n * (self.c - self.a) * self.plane
        } else {
            0
        }
    }

    /// Values of a map of all images.
    pub fn values(&self) -> usize {
        self.n * self.a * self.plane
    }

    /// Sides of a state over those of the nodes.
    pub fn stride(&self, from: usize) -> usize {
        if self.halves && from < INPUTS { 2 } else { 1 }
    }

    /// The states that are there at a time, in order: both inputs, then each node but the last.
    pub fn levels(&self) -> Vec<Range<usize>> {
        let nodes = (INPUTS..INPUTS + self.nodes.len() - 1).map(|s| s..s + 1);
        std::iter::once(0..INPUTS).chain(nodes).collect()
    }

    /// The candidates of the edges out of some states; of poolings that several share the first.
    pub fn leaving(&self, states: Range<usize>) -> Vec<usize> {
        let mut seen = vec![false; self.maps];
        let arms = states.flat_map(|s| &self.arms[s]);
        let units = arms.flat_map(|&e| self.edges[e].units.clone());
        units
            .filter(|&u| {
                let maps = self.units[u].maps.clone();
                !maps.is_empty() && !std::mem::replace(&mut seen[maps.start], true)
            })
            .collect()
    }

    /// The candidates of the edges into a node.
    pub fn candidates_of(&self, node: usize) -> Range<usize> {
        let edges = &self.nodes[node];
        self.edges[edges.start].units.start..self.edges[edges.end - 1].units.end
    }
}
