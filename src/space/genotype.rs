//! Genotypes: the plain-data result of a search, and all that a derived network is built from.
//!
//! Text form and parser are in [`super::genotype_text`] and [`super::genotype_document`], the JSON form in `genotype_json`; the
//! published ones are in [`super::published`].

use serde::{Deserialize, Serialize};

use super::genotype_json::Raw;
use super::primitive::Primitive;

/// Intermediate nodes of a cell in DARTS, PC-DARTS and MTNAS; other numbers are a choice of the search space.
pub const NODES: usize = 4;
/// Most intermediate nodes that genotype text may have.
pub const MAX_NODES: usize = 16;
/// Inputs of a cell: the outputs of the two cells before it.
pub const INPUTS: usize = 2;
/// Edges of a search cell of four nodes: 2 + 3 + 4 + 5, node-major and predecessor-minor.
pub const EDGES: usize = 14;

/// Two (operation, predecessor) pairs per node: entries `2j` and `2j + 1` feed node `j`, whose index as a predecessor is `j + 2`.
pub type CellGenotype = Vec<(Primitive, usize)>;

/// Edges of a search cell with `nodes` intermediate nodes: 2 + 3 + ... + (nodes + 1).
pub fn edge_count(nodes: usize) -> usize {
    nodes * (nodes + 3) / 2
}

/// The number of nodes of a search cell with `edges` edges; `None` if there is no such cell.
pub fn nodes_of_edges(edges: usize) -> Option<usize> {
    (1..=MAX_NODES).find(|&n| edge_count(n) == edges)
}

/// The index of the edge from `predecessor` (0..j+2) to node `j` among the edges of a cell.
pub fn edge_index(node: usize, predecessor: usize) -> usize {
    assert!(
        predecessor < node + INPUTS,
        "no edge from {predecessor} to node {node}"
    );
    edge_range(node).start + predecessor
}

/// The edges that end at node `j`: 0..2, 2..5, 5..9, 9..14.
pub fn edge_range(node: usize) -> std::ops::Range<usize> {
    let start = edge_count(node);
    start..start + node + INPUTS
}

/// A normal and a reduction cell (DARTS, section 2.4). Its JSON is described in `genotype_json`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Genotype {
    /// Operations of the normal cell.
    pub normal: CellGenotype,
    /// Nodes (2.. as predecessors are numbered) whose outputs are concatenated, in order.
    pub normal_concat: Vec<usize>,
    /// Operations of the reduction cell: predecessors 0 and 1 are read with stride 2.
    pub reduce: CellGenotype,
    /// Nodes of the reduction cell that are concatenated.
    pub reduce_concat: Vec<usize>,
}

impl Genotype {
    /// A genotype whose cells concatenate all intermediate nodes, as every searched one does.
    pub fn new(normal: CellGenotype, reduce: CellGenotype) -> Self {
        Genotype {
            normal_concat: (INPUTS..INPUTS + normal.len() / 2).collect(),
            reduce_concat: (INPUTS..INPUTS + reduce.len() / 2).collect(),
            normal,
            reduce,
        }
    }

    /// The operations of one cell kind.
    pub fn cell(&self, reduction: bool) -> &[(Primitive, usize)] {
        if reduction {
            &self.reduce
        } else {
            &self.normal
        }
    }

    /// The concatenated nodes of one cell kind.
    pub fn concat(&self, reduction: bool) -> &[usize] {
        if reduction {
            &self.reduce_concat
        } else {
            &self.normal_concat
        }
    }

    /// Skip-connects under `rule`.
    pub fn skips(&self, rule: SkipRule) -> usize {
        let count =
            |cell: &[(Primitive, usize)]| cell.iter().filter(|e| e.0 == Primitive::Skip).count();
        match rule {
            SkipRule::NormalCell => count(&self.normal),
            SkipRule::BothCells => count(&self.normal) + count(&self.reduce),
        }
    }

    /// Share of skip-connects among the operations of both cells, in 0..=1.
    pub fn skip_share(&self) -> f64 {
        self.share(|p| p == Primitive::Skip)
    }

    /// Share of poolings among the operations of both cells, in 0..=1.
    pub fn pool_share(&self) -> f64 {
        self.share(Primitive::is_pool)
    }

    fn share(&self, wanted: impl Fn(Primitive) -> bool) -> f64 {
        let n = self
            .normal
            .iter()
            .chain(&self.reduce)
            .filter(|e| wanted(e.0))
            .count();
        n as f64 / (self.normal.len() + self.reduce.len()) as f64
    }
}

/// Which skip-connects count towards T (paper section 3.1; the text does not say, so it is a configuration key).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SkipRule {
    /// The operations of the derived normal cell (eight of four nodes).
    #[default]
    NormalCell,
    /// The operations of both cells.
    BothCells,
}

/// The searched cells of a whole multi-task network; a branch that is hand-crafted has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkGenotype {
    /// Cells of the backbone.
    pub backbone: Genotype,
    /// Cells of the detection branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub det: Option<Genotype>,
    /// Cells of the segmentation branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seg: Option<Genotype>,
}

impl NetworkGenotype {
    /// The searched parts and their names: `backbone`, `det`, `seg`.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Genotype)> {
        let all = [
            ("backbone", Some(&self.backbone)),
            ("det", self.det.as_ref()),
            ("seg", self.seg.as_ref()),
        ];
        all.into_iter().filter_map(|(n, g)| Some((n, g?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::published;

    #[test]
    fn edges_run_node_major() {
        assert_eq!(edge_range(0), 0..2);
        assert_eq!(edge_range(3), 9..EDGES);
        assert_eq!(
            (edge_count(NODES), edge_count(1), edge_count(5)),
            (EDGES, 2, 20)
        );
        assert_eq!(
            (nodes_of_edges(14), nodes_of_edges(5), nodes_of_edges(8)),
            (Some(4), Some(2), None)
        );
        assert_eq!(edge_index(3, 4), 13);
        let all: Vec<_> = (0..NODES)
            .flat_map(|n| (0..n + 2).map(move |p| edge_index(n, p)))
            .collect();
        assert_eq!(all, (0..EDGES).collect::<Vec<_>>());
    }

    #[test]
    fn skips_and_shares() {
        let v1 = published::by_name("DARTS_V1").unwrap();
        assert_eq!(v1.skips(SkipRule::NormalCell), 3);
        assert_eq!(v1.skips(SkipRule::BothCells), 6);
        assert_eq!(v1.skip_share(), 6.0 / 16.0);
        assert_eq!(v1.pool_share(), 5.0 / 16.0);
    }
}
