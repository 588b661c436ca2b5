//! One random change of a genotype, as regularised evolution makes it (Real et al., AAAI 2019, section 3.2): another operation on an
//! edge, or another input.

use super::genotype::{Genotype, INPUTS};
use super::primitive::Primitive;
use super::random::NoneDraws;
use crate::rng::Rng;

/// What was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutation {
    /// In the reduction cell, else in the normal one.
    pub reduction: bool,
    /// Entry of the cell; its node is the half of it.
    pub entry: usize,
    /// Operation and input before.
    pub before: (Primitive, usize),
    /// Operation and input after: one of the two is another.
    pub after: (Primitive, usize),
}

/// Changes one entry of `g`: one of the two cells, operation or input, and the entry all with equal chances; the new operation is any
/// other one, the new input any other earlier one that the node does not read yet. An input changes only where there is another: the
/// first node of a cell reads both there are.
pub fn mutate(rng: &mut Rng, g: &mut Genotype, none: NoneDraws) -> Mutation {
    let reduction = rng.coin(0.5);
    let cell = match reduction {
        true => &mut g.reduce,
        false => &mut g.normal,
    };
    let free: Vec<usize> = (0..cell.len())
        .filter(|&i| !others(cell, i).is_empty())
        .collect();
    let input = rng.coin(0.5) && !free.is_empty();
    let entry = match input {
        true => free[rng.below(free.len())],
        false => rng.below(cell.len()),
    };
    let before = cell[entry];
    let after = match input {
        true => {
            let all = others(cell, entry);
            (before.0, all[rng.below(all.len())])
        }
        false => {
            let allowed = |p: &&Primitive| {
                **p != before.0 && (none == NoneDraws::Include || **p != Primitive::Zero)
            };
            let all: Vec<&Primitive> = Primitive::ALL.iter().filter(allowed).collect();
            (*all[rng.below(all.len())], before.1)
        }
    };
    cell[entry] = after;
    Mutation {
        reduction,
        entry,
        before,
        after,
    }
}

/// Inputs that the node of an entry could read in its place.
fn others(cell: &[(Primitive, usize)], entry: usize) -> Vec<usize> {
    let node = entry / 2;
    let read = [cell[2 * node].1, cell[2 * node + 1].1];
    (0..node + INPUTS).filter(|i| !read.contains(i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::genotype_diff::Difference;
    use crate::space::random::random_genotype;

    #[test]
    fn a_mutation_changes_one_edge_and_leaves_a_cell() {
        for seed in 0..2000 {
            let mut rng = Rng::new(seed, &[3]);
            let nodes = 1 + rng.below(5);
            let before = random_genotype(&mut rng, nodes, NoneDraws::Exclude);
            let mut after = before.clone();
            let m = mutate(&mut rng, &mut after, NoneDraws::Exclude);
            let d = Difference::between(&before, &after);
            assert_eq!((d.edges(), d.nodes.len(), d.concat.len()), (1, 1, 0));
            assert_eq!(
                (d.nodes[0].reduction, d.nodes[0].node),
                (m.reduction, m.entry / 2)
            );
            assert_eq!(d.nodes[0].removed, [m.before]);
            assert_eq!(d.nodes[0].added, [m.after]);
            // It is either.
            assert!((m.before.0 == m.after.0) != (m.before.1 == m.after.1));
            assert_eq!(after.to_string().parse::<Genotype>().unwrap(), after);
            for cell in [&after.normal, &after.reduce] {
                assert!(cell.chunks(2).all(|pair| pair[0].1 != pair[1].1));
                assert!(cell.iter().all(|e| e.0 != Primitive::Zero));
            }
        }
    }

    #[test]
    fn both_cells_both_kinds_and_all_that_is_allowed_come() {
        let start = random_genotype(&mut Rng::new(1, &[]), 4, NoneDraws::Exclude);
        let (mut kinds, mut inputs, mut none) = ([[0; 2]; 2], [0; 8], 0);
        for seed in 0..4000 {
            let m = mutate(
                &mut Rng::new(seed, &[4]),
                &mut start.clone(),
                NoneDraws::Include,
            );
            let input = m.before.1 != m.after.1;
            kinds[usize::from(m.reduction)][usize::from(input)] += 1;
            inputs[m.entry] += usize::from(input);
            none += usize::from(m.after.0 == Primitive::Zero);
        }
        // A quarter each.
        assert!(
            kinds.iter().flatten().all(|n| (850..1150).contains(n)),
            "{kinds:?}"
        );
        // The first node reads both inputs there are; of the others one entry is as likely as another.
        assert_eq!(inputs[..2], [0, 0]);
        assert!(
            inputs[2..].iter().all(|n| (270..400).contains(n)),
            "{inputs:?}"
        );
        // One of the seven other operations of half the mutations.
        assert!((220..350).contains(&none), "{none}");
    }

    #[test]
    fn a_cell_of_one_node_changes_operations_alone() {
        let mut g = random_genotype(&mut Rng::new(1, &[]), 1, NoneDraws::Exclude);
        for seed in 0..50 {
            let m = mutate(&mut Rng::new(seed, &[5]), &mut g, NoneDraws::Exclude);
            assert_eq!(m.before.1, m.after.1);
        }
    }
}
