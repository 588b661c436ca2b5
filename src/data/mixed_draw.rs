//! Which samples of its sources a mixed set takes (systems.md 8.8): draws that hang on their own seed.

use std::collections::BTreeMap;

use super::mixed_classes::wrong;
use super::mixed_config::MixedConfig;
use crate::error::Result;
use crate::rng::{Rng, word};

/// Split of the images that were drawn out of the training splits.
pub const HELD_OUT: &str = "held-out";

/// All samples of the parts (name and size), or as many as `take` says of a name: (part, index in it).
///
/// # Errors
/// `ConfigValue` for more than there are.
pub(super) fn drawn(
    parts: &[(&str, usize)],
    take: &BTreeMap<String, usize>,
    seed: u64,
    which: &str,
) -> Result<Vec<(usize, usize)>> {
    let mut samples = vec![];
    for (k, &(name, n)) in parts.iter().enumerate() {
        let mut picked: Vec<usize> = match take.get(name) {
            None => (0..n).collect(),
            Some(&wanted) if wanted > n => {
                let what = format!("{wanted} images of {name:?}, which has {n}");
                return Err(wrong(
                    what,
                    "lower the number in `mixed.take` or `take_val`",
                ));
            }
            Some(&wanted) => {
                let path = [word("mixed"), word(which), word(name)];
                let mut order = Rng::new(seed, &path).permutation(n);
                order.truncate(wanted);
                order
            }
        };
        picked.sort_unstable();
        samples.extend(picked.into_iter().map(|i| (k, i)));
    }
    Ok(samples)
}

/// The samples that are held out, or the others.
///
/// # Errors
/// `ConfigValue` where nothing or everything is held out.
pub(super) fn held_out(
    all: Vec<(usize, usize)>,
    config: &MixedConfig,
    held: bool,
) -> Result<Vec<(usize, usize)>> {
    let n = config.held_out;
    if n >= all.len() && n > 0 {
        let what = format!("{n} images held out of {}", all.len());
        return Err(wrong(what, "lower `mixed.held_out`"));
    }
    if held && n == 0 {
        let what = format!("the split {HELD_OUT:?} is empty");
        return Err(wrong(what, "set `mixed.held_out` to a number of images"));
    }
    let path = [word("mixed"), word(HELD_OUT)];
    let order = Rng::new(config.seed, &path).permutation(all.len());
    let mut out = vec![false; all.len()];
    order[..n].iter().for_each(|&i| out[i] = true);
    let kept = all.into_iter().zip(out).filter(|(_, out)| *out == held);
    Ok(kept.map(|(sample, _)| sample).collect())
}
