//! The expected cost of a search network: what its searched operations cost where they stand, at the full width that a derived network
//! has them in, as a function of the architecture parameters ([`crate::space::expected`]).

use std::collections::BTreeMap;
use std::fmt;

use super::network::Network;
use super::spec::Cells;
use crate::error::{Code, Error, Result};
use crate::nn::{Builder, Map, Pass, SearchedCell, Store};
use crate::space::expected::{CellCosts, expected, expected_at};
use crate::space::genotype::{INPUTS, edge_index};
use crate::space::operation::{Norms, Site};
use crate::space::{ArchGroup, PRIMITIVES, Primitive};
use crate::tape::Var;

/// An operation where it stands in a derived network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// What it is.
    pub primitive: Primitive,
    /// What it reads, all channels.
    pub x: Map,
    /// 1, or 2 on the edges of a reduction cell that start at a cell input.
    pub stride: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} stride {}", self.primitive, self.x, self.stride)
    }
}

impl Place {
    /// Nothing is computed there: `none`, and a skip-connect that keeps the size.
    pub fn is_free(&self) -> bool {
        match self.primitive {
            Primitive::Zero => true,
            Primitive::Skip => self.stride == 1,
            _ => false,
        }
    }

    /// Multiply-adds of its convolutions for one image.
    ///
    /// # Errors
    /// `MT0105` when it does not fit the map.
    pub fn macs(&self) -> Result<u64> {
        let mut b = Builder::new();
        let site = Site {
            x: self.x,
            stride: self.stride,
            norms: Norms::Derived,
        };
        self.primitive.declare(&mut b, site)?;
        Ok(b.layers().iter().map(|l| l.macs).sum())
    }
}

/// The operations of a cell by edge, with the index of each in alpha.
fn places(cell: &SearchedCell, group: &ArchGroup) -> Vec<(usize, Place)> {
    let out = match cell.reduction {
        true => Map {
            h: cell.x.h / 2,
            w: cell.x.w / 2,
            ..cell.x
        },
        false => cell.x,
    };
    let candidates = group.candidates(cell.reduction);
    let mut all = vec![];
    for node in 0..group.nodes() {
        for from in 0..node + INPUTS {
            let edge = edge_index(node, from);
            let (x, stride) = match from < INPUTS {
                true => (cell.x, if cell.reduction { 2 } else { 1 }),
                false => (out, 1),
            };
            for primitive in candidates.of(edge) {
                let place = Place {
                    primitive,
                    x,
                    stride,
                };
                all.push((edge * PRIMITIVES + primitive.index(), place));
            }
        }
    }
    all
}

/// The search cells whose cost counts, each with its group. Not those of a host backbone that carries the cells of the branch that is
/// searched: they are not in the network that comes of it.
fn counted(net: &Network) -> Vec<(&SearchedCell, &ArchGroup)> {
    let spec = net.spec();
    let name = |cells: &Cells| match cells {
        Cells::Search { group, .. } => Some(group.clone()),
        _ => None,
    };
    let (backbone, det, seg) = (name(&spec.backbone), name(&spec.det), name(&spec.seg));
    let tied = backbone.is_some() && (backbone == det || backbone == seg);
    let of = |cell: &SearchedCell| match cell.name.split_once('.') {
        Some(("det", _)) => det.clone(),
        Some(("seg", _)) => seg.clone(),
        _ => backbone.clone().filter(|_| !tied),
    };
    let cells = net.searched().iter();
    cells
        .filter_map(|c| Some((c, net.group(&of(c)?)?)))
        .collect()
}

/// Every operation that a search of `net` chooses from, where it stands, `none` left out; each once.
pub fn searched_places(net: &Network) -> Vec<Place> {
    let all = counted(net).into_iter().flat_map(|(c, g)| places(c, g));
    let mut all: Vec<Place> = all.map(|(_, place)| place).collect();
    all.retain(|p| p.primitive != Primitive::Zero);
    all.sort();
    all.dedup();
    all
}

/// Costs of the searched operations of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedCost {
    /// By group.
    cells: Vec<(String, CellCosts)>,
    uniform: f64,
}

impl ExpectedCost {
    /// Of `net`, whose operations cost `cost` where they stand, in any unit.
    ///
    /// # Errors
    /// Those of `cost`; `MT0102` when nothing that is searched costs anything.
    pub fn new(net: &Network, cost: impl Fn(&Place) -> Result<f64>) -> Result<ExpectedCost> {
        let mut sums: BTreeMap<(String, bool), Vec<f64>> = BTreeMap::new();
        for (cell, group) in counted(net) {
            let values = group.candidates(cell.reduction).edges() * PRIMITIVES;
            let key = (group.name().to_string(), cell.reduction);
            let sum = sums.entry(key).or_insert_with(|| vec![0.0; values]);
            for (at, place) in places(cell, group) {
                if !place.is_free() {
                    sum[at] += cost(&place)?;
                }
            }
        }
        let of = |((group, reduction), costs)| (group, CellCosts { reduction, costs });
        let mut all = ExpectedCost {
            cells: sums.into_iter().map(of).collect(),
            uniform: 0.0,
        };
        all.uniform = all.sum(net, None)?;
        if all.uniform > 0.0 && all.uniform.is_finite() {
            return Ok(all);
        }
        let text = format!(
            "the operations that are searched over cost {} together",
            all.uniform
        );
        Err(Error::new(Code::ConfigValue, text)
            .help("search over operations of different costs, or leave `search.constraint` out"))
    }

    /// The expected cost of the architecture in which all operations, and all edges of a node, are equally likely.
    pub fn uniform(&self) -> f64 {
        self.uniform
    }

    /// The expected cost at the values in `store`.
    ///
    /// # Errors
    /// `MT0403` for another network.
    pub fn at(&self, net: &Network, store: &Store) -> Result<f64> {
        self.sum(net, Some(store))
    }

    /// The expected cost over [`ExpectedCost::uniform`], a scalar on the tape of `p`.
    ///
    /// # Errors
    /// `MT0403` for another network; those of the ops.
    pub fn share(&self, net: &Network, p: &Pass) -> Result<Var> {
        let mut all = vec![];
        for (name, costs) in &self.cells {
            all.push((group(net, name)?, costs));
        }
        expected(&all, 1.0 / self.uniform, p)
    }

    fn sum(&self, net: &Network, store: Option<&Store>) -> Result<f64> {
        let mut sum = 0.0;
        for (name, costs) in &self.cells {
            sum += expected_at(group(net, name)?, costs, store)?;
        }
        Ok(sum)
    }
}

fn group<'a>(net: &'a Network, name: &str) -> Result<&'a ArchGroup> {
    let missing = || Error::new(Code::Argument, format!("the network has no group `{name}`"));
    net.group(name).ok_or_else(missing)
}

#[cfg(test)]
#[path = "expected_tests.rs"]
mod tests;
