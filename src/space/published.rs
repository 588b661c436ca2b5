//! The published genotypes, by the names that their authors gave them.
//!
//! DARTS (Liu et al., ICLR 2019), PC-DARTS (Xu et al., ICLR 2020), P-DARTS (Chen et al., ICCV 2019), MTNAS (Liu et al., ACCV 2020;
//! backbone, detection branch and segmentation branch of the released network).

use super::genotype::{CellGenotype, Genotype, NetworkGenotype};
use super::primitive::Primitive;

/// Name, normal cell, reduction cell; operations as `op input`, in the order of the nodes.
const TABLE: [(&str, &str, &str); 8] = [
    (
        "DARTS_V1",
        "sep3 1, sep3 0, skip 0, sep3 1, skip 0, sep3 1, sep3 0, skip 2",
        "max3 0, max3 1, skip 2, max3 0, max3 0, skip 2, skip 2, avg3 0",
    ),
    (
        "DARTS_V2",
        "sep3 0, sep3 1, sep3 0, sep3 1, sep3 1, skip 0, skip 0, dil3 2",
        "max3 0, max3 1, skip 2, max3 1, max3 0, skip 2, skip 2, max3 1",
    ),
    (
        "PC_DARTS_cifar",
        "sep3 1, skip 0, sep3 0, dil3 1, sep5 0, sep3 1, avg3 0, dil3 1",
        "sep5 1, max3 0, sep5 1, sep5 2, sep3 0, sep3 3, sep3 1, sep3 2",
    ),
    (
        "PC_DARTS_image",
        "skip 1, sep3 0, sep3 0, skip 1, sep3 1, sep3 3, sep3 1, dil5 4",
        "sep3 0, skip 1, dil5 2, max3 1, sep3 2, sep3 1, sep5 0, sep3 3",
    ),
    (
        "PDARTS",
        "skip 0, dil3 1, skip 0, sep3 1, sep3 1, sep3 3, sep3 0, dil5 4",
        "avg3 0, sep5 1, sep3 0, dil5 2, max3 0, dil3 1, dil3 1, dil5 3",
    ),
    (
        "MTNAS_backbone",
        "sep3 0, dil3 1, skip 0, sep3 1, sep3 1, sep3 3, sep3 0, dil5 4",
        "avg3 0, sep5 1, sep3 0, dil5 2, avg3 0, dil3 1, dil3 1, dil5 3",
    ),
    (
        "MTNAS_det",
        "skip 0, sep3 1, skip 0, sep3 2, sep3 1, skip 0, sep3 0, skip 1",
        "avg3 0, max3 1, max3 0, skip 2, avg3 0, dil5 3, skip 2, skip 3",
    ),
    (
        "MTNAS_seg",
        "dil3 1, sep5 0, dil3 0, skip 1, dil3 0, skip 1, dil3 0, skip 2",
        "dil3 0, skip 1, max3 2, avg3 0, dil3 0, skip 2, skip 2, max3 0",
    ),
];

/// Other names in use for entries of the table: the release of MTNAS, the last lines of the DARTS and PC-DARTS files.
const ALIASES: [(&str, &str); 6] = [
    ("DARTS", "DARTS_V2"),
    ("PCDARTS", "PC_DARTS_cifar"),
    ("PC_DARTS", "PC_DARTS_cifar"),
    ("DD3", "MTNAS_backbone"),
    ("DetDARTS", "MTNAS_det"),
    ("SegDARTS", "MTNAS_seg"),
];

/// The names that [`by_name`] knows, aliases left out.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|e| e.0)
}

/// The genotype published under `name`.
pub fn by_name(name: &str) -> Option<Genotype> {
    let name = ALIASES.iter().find(|a| a.0 == name).map_or(name, |a| a.1);
    let entry = TABLE.iter().find(|e| e.0 == name)?;
    Some(Genotype::new(cell(entry.1), cell(entry.2)))
}

/// The network that MTNAS released: its backbone, detection and segmentation genotypes.
pub fn mtnas() -> NetworkGenotype {
    let get = |name| by_name(name).expect("a name of the table");
    NetworkGenotype {
        backbone: get("MTNAS_backbone"),
        det: Some(get("MTNAS_det")),
        seg: Some(get("MTNAS_seg")),
    }
}

fn cell(text: &str) -> CellGenotype {
    let entry = |e: &str| {
        let (op, input) = e.split_once(' ').expect("an entry `op input`");
        (
            Primitive::from_name(op).expect("a primitive"),
            input.parse().expect("an input"),
        )
    };
    text.split(", ").map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_a_cell() {
        for name in names() {
            let g = by_name(name).unwrap();
            for reduction in [false, true] {
                assert_eq!(g.cell(reduction).len(), 8, "{name}");
                for (i, &(op, input)) in g.cell(reduction).iter().enumerate() {
                    assert!(
                        input < i / 2 + 2 && op != Primitive::Zero,
                        "{name} entry {i}"
                    );
                }
                for pair in g.cell(reduction).chunks(2) {
                    assert_ne!(pair[0].1, pair[1].1, "{name}");
                }
            }
        }
        assert!(
            ALIASES
                .iter()
                .all(|a| by_name(a.0) == by_name(a.1) && by_name(a.1).is_some())
        );
        assert_eq!(by_name("nobody"), None);
    }

    #[test]
    fn mtnas_backbone_differs_from_pdarts_in_two_operations() {
        let (a, b) = (by_name("PDARTS").unwrap(), by_name("DD3").unwrap());
        let differ =
            |x: &CellGenotype, y: &CellGenotype| x.iter().zip(y).filter(|(p, q)| p != q).count();
        assert_eq!(
            (differ(&a.normal, &b.normal), differ(&a.reduce, &b.reduce)),
            (1, 1)
        );
    }
}
