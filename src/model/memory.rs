//! What a search network keeps from the way there for the way back.

use std::collections::BTreeSet;

use crate::choices;

choices! {
    /// What search cells keep for the way back. Results are the same bits.
    pub enum Memory {
        /// All maps before normalisations: the least time.
        Fast = "fast",
        /// Cells with the largest maps compute theirs once more, as few cells as halve what all of them keep.
        Balanced = "balanced",
        /// Every cell computes them once more: the least memory.
        Small = "small",
    }
}

impl Memory {
    /// Numbers of the cells that compute their maps once more, of cells that would keep so many values of an image each. A function of
    /// the network alone, so that a run that is taken up again chooses as before.
    pub fn recomputed(self, kept: &[usize]) -> BTreeSet<usize> {
        match self {
            Memory::Fast => BTreeSet::new(),
            Memory::Small => (0..kept.len()).collect(),
            Memory::Balanced => {
                let mut order: Vec<usize> = (0..kept.len()).collect();
                order.sort_by_key(|&i| (usize::MAX - kept[i], i));
                let (half, mut left) = (kept.iter().sum::<usize>() / 2, kept.iter().sum::<usize>());
                let wanted = |&i: &usize| {
                    let more = left > half;
                    left -= kept[i];
                    more
                };
                order.into_iter().take_while(wanted).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_go_first_and_no_more_than_needed() {
        let chosen =
            |m: Memory, kept: &[usize]| -> Vec<usize> { m.recomputed(kept).into_iter().collect() };
        let none: [usize; 0] = [];
        let kept = [40, 40, 30, 15, 15];
        assert_eq!(chosen(Memory::Fast, &kept), none);
        assert_eq!(chosen(Memory::Balanced, &kept), [0, 1]);
        assert_eq!(chosen(Memory::Small, &kept), [0, 1, 2, 3, 4]);
        assert_eq!(chosen(Memory::Balanced, &[1, 5, 7]), [2]);
        assert_eq!(chosen(Memory::Balanced, &[0, 0]), none);
        assert_eq!(chosen(Memory::Balanced, &[]), none);
    }

    proptest! {
        #[test]
        fn half_is_left_at_most(kept in prop::collection::vec(0usize..1000, 0..30)) {
            let chosen = Memory::Balanced.recomputed(&kept);
            let sum: usize = kept.iter().sum();
            let gone: usize = chosen.iter().map(|&i| kept[i]).sum();
            prop_assert!(2 * (sum - gone) <= sum + 1);
            // Without the smallest of them more than half would be left.
            if let Some(least) = chosen.iter().map(|&i| kept[i]).min() {
                prop_assert!(2 * (sum - gone + least) > sum);
                let others = (0..kept.len()).filter(|i| !chosen.contains(i));
                prop_assert!(others.map(|i| kept[i]).all(|k| k <= least));
            }
        }
    }
}
