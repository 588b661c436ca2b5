//! Who sees which sample when: disjoint halves for weight and architecture steps, and epoch orders.
//!
//! All of it is a pure function of (seed, stage, step), so a resumed run reads on at the very next sample.

use std::sync::Mutex;

use crate::error::{Code, Error, Result};
use crate::rng::{Rng, word};

/// The two disjoint parts of a training list that bi-level optimisation needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Indices for weight steps, ascending.
    pub weight_split: Vec<usize>,
    /// Indices for architecture steps, ascending.
    pub arch_split: Vec<usize>,
}

impl Split {
    fn sorted(mut weight_split: Vec<usize>, mut arch_split: Vec<usize>) -> Result<Split> {
        if weight_split.is_empty() || arch_split.is_empty() {
            let sizes = format!("{} and {}", weight_split.len(), arch_split.len());
            return Err(Error::new(
                Code::EmptyData,
                format!("weight and architecture halves have {sizes} samples"),
            )
            .help("both need at least one: use more samples or another share"));
        }
        weight_split.sort_unstable();
        arch_split.sort_unstable();
        Ok(Split {
            weight_split,
            arch_split,
        })
    }

    /// A random part of `n` samples, `round(n * weight_share)`, for the weights and the rest for the architecture.
    ///
    /// # Errors
    /// `EmptyData` if a half is empty, `Argument` for a share outside [0, 1].
    pub fn random(n: usize, weight_share: f64, seed: u64) -> Result<Split> {
        check_share("weight_share", weight_share)?;
        let order = Rng::new(seed, &[word("split")]).permutation(n);
        let (a, b) = order.split_at((n as f64 * weight_share).round() as usize);
        Split::sorted(a.to_vec(), b.to_vec())
    }

    /// A random sample of each class, disjoint: `floor(count * weight_share)` and `floor(count * arch_share)` of them.
    /// PC-DARTS searches ImageNet with 10 % and 2.5 %. `classes[i]` is the class of sample `i`.
    ///
    /// # Errors
    /// As [`Split::random`]; `Argument` if the shares sum to more than 1.
    pub fn per_class(
        classes: &[usize],
        weight_share: f64,
        arch_share: f64,
        seed: u64,
    ) -> Result<Split> {
        check_share("weight_share", weight_share)?;
        check_share("arch_share", arch_share)?;
        check_share(
            "weight_share + arch_share",
            weight_share + arch_share - 1e-12,
        )?;
        let mut members = vec![vec![]; classes.iter().max().map_or(0, |m| m + 1)];
        for (i, &c) in classes.iter().enumerate() {
            members[c].push(i);
        }
        let (mut weight, mut arch) = (vec![], vec![]);
        for (c, of_class) in members.iter().enumerate() {
            let count = |share: f64| (of_class.len() as f64 * share + 1e-9).floor() as usize;
            let order =
                Rng::new(seed, &[word("split-class"), c as u64]).permutation(of_class.len());
            let mut picked = order.into_iter().map(|k| of_class[k]);
            weight.extend(picked.by_ref().take(count(weight_share)));
            arch.extend(picked.take(count(arch_share)));
        }
        Split::sorted(weight, arch)
    }
}

fn check_share(name: &str, share: f64) -> Result<()> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(Error::new(
        Code::Argument,
        format!("{name} must be between 0 and 1, got {share}"),
    ))
}

/// Endless shuffled passes over a list: position p of the stream is entry `p % n` of the permutation of epoch `p / n`,
/// and batch t holds the positions from `t * batch`. No sample is left out at the end of an epoch.
#[derive(Debug)]
pub struct Epochs {
    indices: Vec<usize>,
    seed: u64,
    stage: u64,
    /// The last permutation used, so that a step of a large set does not shuffle it anew.
    last: Mutex<(u64, Vec<usize>)>,
}

impl Epochs {
    /// Passes over `indices`, keyed by (seed, stage).
    pub fn new(indices: Vec<usize>, seed: u64, stage: u64) -> Epochs {
        assert!(!indices.is_empty(), "an epoch needs samples");
        Epochs {
            indices,
            seed,
            stage,
            last: Mutex::new((u64::MAX, vec![])),
        }
    }

    /// Indices of batch `step`.
    pub fn batch(&self, step: u64, size: usize) -> Vec<usize> {
        let n = self.indices.len() as u64;
        let start = step * size as u64;
        let mut last = self.last.lock().unwrap_or_else(|e| e.into_inner());
        let positions = start..start + size as u64;
        let pick = |p: u64| {
            let epoch = p / n;
            if last.0 != epoch {
                let path = [word("epoch"), self.stage, epoch];
                *last = (epoch, Rng::new(self.seed, &path).permutation(n as usize));
            }
            self.indices[last.1[(p % n) as usize]]
        };
        positions.map(pick).collect()
    }

    /// Number of samples in a pass.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Never: a pass has at least one sample.
    pub fn is_empty(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn halves_are_disjoint_and_complete(n in 3usize..300, share in 0.2f64..0.8, seed: u64) {
            let s = Split::random(n, share, seed).unwrap();
            let mut all = [s.weight_split.clone(), s.arch_split].concat();
            all.sort();
            prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
            prop_assert_eq!(s.weight_split.len(), (n as f64 * share).round() as usize);
        }

        #[test]
        fn each_epoch_holds_every_sample_once(n in 1usize..40, size in 1usize..9, seed: u64) {
            let e = Epochs::new((100..100 + n).collect(), seed, 3);
            let stream: Vec<usize> = (0..(3 * n).div_ceil(size) as u64 + 3).flat_map(|t| e.batch(t, size)).collect();
            for pass in stream.chunks_exact(n).take(3) {
                let mut pass = pass.to_vec();
                pass.sort();
                prop_assert_eq!(pass, (100..100 + n).collect::<Vec<_>>());
            }
            // A fresh object that starts in the middle agrees: there is no hidden position.
            let again = Epochs::new((100..100 + n).collect(), seed, 3);
            prop_assert_eq!(again.batch(2, size), &stream[2 * size..][..size]);
        }
    }

    #[test]
    fn a_half_without_samples_is_refused() {
        for share in [0.2, 0.8] {
            let e = Split::random(2, share, 1).unwrap_err();
            assert_eq!(e.code(), Code::EmptyData, "{e}");
        }
    }

    #[test]
    fn seeds_and_stages_differ() {
        let e = |seed, stage| Epochs::new((0..50).collect(), seed, stage).batch(0, 50);
        assert_ne!(e(1, 1), e(2, 1));
        assert_ne!(e(1, 1), e(1, 2));
        assert_ne!(
            Split::random(50, 0.5, 1).unwrap(),
            Split::random(50, 0.5, 2).unwrap()
        );
    }

    #[test]
    fn per_class_shares() {
        let classes: Vec<usize> = (0..400).map(|i| i % 4).collect();
        let s = Split::per_class(&classes, 0.1, 0.025, 9).unwrap();
        assert_eq!((s.weight_split.len(), s.arch_split.len()), (40, 8));
        for c in 0..4 {
            assert_eq!(
                s.weight_split.iter().filter(|&&i| classes[i] == c).count(),
                10
            );
            assert_eq!(s.arch_split.iter().filter(|&&i| classes[i] == c).count(), 2);
        }
        assert!(s.weight_split.iter().all(|i| !s.arch_split.contains(i)));
        assert_eq!(
            Split::per_class(&classes, 0.9, 0.2, 9).unwrap_err().code(),
            Code::Argument
        );
        assert_eq!(
            Split::random(1, 0.5, 0).unwrap_err().code(),
            Code::EmptyData
        );
    }
}
