//! In what two genotypes differ, node by node. The order of the two operations of a node is of no account: they are added.

use super::genotype::{Genotype, INPUTS};
use super::primitive::Primitive;

/// An operation and the source it reads.
pub type Edge = (Primitive, usize);

/// A node whose operations differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDifference {
    /// In the reduction cell, else in the normal one.
    pub reduction: bool,
    /// Number of the node, 0 the first.
    pub node: usize,
    /// Operations of the first genotype alone, by source.
    pub removed: Vec<Edge>,
    /// Operations of the second genotype alone, by source.
    pub added: Vec<Edge>,
}

/// Concatenations that differ, in members or order: channels come in that order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConcatDifference {
    /// Of the reduction cell, else of the normal one.
    pub reduction: bool,
    /// Nodes of the first, as genotypes number them (2 is node 0).
    pub removed: Vec<usize>,
    /// Nodes of the second.
    pub added: Vec<usize>,
}

/// All differences of two genotypes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Nodes, the normal cell first.
    pub nodes: Vec<NodeDifference>,
    /// Concatenations.
    pub concat: Vec<ConcatDifference>,
}

impl Difference {
    /// From `a` to `b`.
    pub fn between(a: &Genotype, b: &Genotype) -> Difference {
        let mut all = Difference::default();
        for reduction in [false, true] {
            let (x, y) = (a.cell(reduction), b.cell(reduction));
            for node in 0..(x.len() / 2).max(y.len() / 2) {
                let of = |cell: &[Edge]| -> Vec<Edge> {
                    let mut pair = cell.get(2 * node..2 * node + 2).unwrap_or(&[]).to_vec();
                    pair.sort_by_key(|e| (e.1, e.0.index()));
                    pair
                };
                let (removed, added) = (without(of(x), &of(y)), without(of(y), &of(x)));
                if !removed.is_empty() || !added.is_empty() {
                    all.nodes.push(NodeDifference {
                        reduction,
                        node,
                        removed,
                        added,
                    });
                }
            }
            let (x, y) = (a.concat(reduction), b.concat(reduction));
            if x != y {
                all.concat.push(ConcatDifference {
                    reduction,
                    removed: x.to_vec(),
                    added: y.to_vec(),
                });
            }
        }
        all
    }

    /// True when the genotypes compute the same function of the same weights.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.concat.is_empty()
    }

    /// Edges that differ: of each node the more of what was removed and added.
    pub fn edges(&self) -> usize {
        let of = |n: &NodeDifference| n.removed.len().max(n.added.len());
        self.nodes.iter().map(of).sum()
    }
}

/// `list` less the members of `other`, each as often as it is there.
fn without(mut list: Vec<Edge>, other: &[Edge]) -> Vec<Edge> {
    for e in other {
        if let Some(i) = list.iter().position(|x| x == e) {
            list.remove(i);
        }
    }
    list
}

/// Name of a source of edges in plain text: the cell before the last, the last, or a node.
pub fn source_text(source: usize) -> String {
    match source {
        0 => "c[k-2]".into(),
        1 => "c[k-1]".into(),
        node => format!("node {}", node - INPUTS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::published;

    #[test]
    fn the_released_backbone_is_two_operations_from_p_darts() {
        let get = |name| published::by_name(name).unwrap();
        let d = Difference::between(&get("PDARTS"), &get("MTNAS_backbone"));
        let [normal, reduce] = &d.nodes[..] else {
            panic!("{d:?}");
        };
        let node = |n: &NodeDifference| (n.reduction, n.node);
        assert_eq!((node(normal), node(reduce)), ((false, 0), (true, 2)));
        assert_eq!(normal.removed, [(Primitive::Skip, 0)]);
        assert_eq!(normal.added, [(Primitive::SepConv3, 0)]);
        assert_eq!(reduce.removed, [(Primitive::MaxPool3, 0)]);
        assert_eq!(reduce.added, [(Primitive::AvgPool3, 0)]);
        assert_eq!((d.edges(), d.concat.len()), (2, 0));
    }

    #[test]
    fn the_order_of_a_node_is_no_difference_that_of_channels_is() {
        let a = published::by_name("DARTS_V2").unwrap();
        let mut b = a.clone();
        b.normal.swap(2, 3);
        assert!(Difference::between(&a, &b).is_empty());
        b.reduce_concat.swap(0, 1);
        let d = Difference::between(&a, &b);
        assert!(d.nodes.is_empty() && d.concat[0].reduction && !d.is_empty());
        assert_eq!(d.concat[0].added, [3, 2, 4, 5]);
    }

    #[test]
    fn an_operation_that_comes_twice_is_told_from_one() {
        let twice = vec![(Primitive::Skip, 0), (Primitive::Skip, 0)];
        let once = vec![(Primitive::Skip, 0), (Primitive::Skip, 1)];
        let (a, b) = (
            Genotype::new(twice.clone(), twice.clone()),
            Genotype::new(once, twice),
        );
        let d = Difference::between(&a, &b);
        assert_eq!(d.nodes.len(), 1);
        assert_eq!(d.nodes[0].removed, [(Primitive::Skip, 0)]);
        assert_eq!(d.nodes[0].added, [(Primitive::Skip, 1)]);
    }

    #[test]
    fn nodes_that_one_lacks_are_told() {
        let a = published::by_name("DARTS_V2").unwrap();
        let b = Genotype::new(a.normal[..6].to_vec(), a.reduce.clone());
        let d = Difference::between(&a, &b);
        assert_eq!((d.nodes.len(), d.nodes[0].removed.len()), (1, 2));
        assert!(d.nodes[0].added.is_empty() && d.concat.len() == 1 && d.edges() == 2);
    }
}
