//! Hard-negative mining: of the many background priors, only those that the classifier gets most wrong enter the loss.

/// Negatives for each positive in the paper.
pub const RATIO: f64 = 3.0;

/// Chooses which priors of one image enter the confidence loss: all positives (label > 0) and the `ratio` times as many,
/// rounded down, negatives (label 0) of the largest `loss`, ties to the lowest index. Labels below 0 never enter. An image without
/// positives gives no negatives.
///
/// A NaN loss ranks above all others, so that it reaches the sum and is noticed there instead of being hidden here.
/// Lengths must agree (a bug of the caller otherwise).
pub fn hard_negatives<T: Copy + PartialOrd>(labels: &[i32], loss: &[T], ratio: f64) -> Vec<bool> {
    assert_eq!(labels.len(), loss.len());
    let mut chosen: Vec<bool> = labels.iter().map(|&l| l > 0).collect();
    let positives = chosen.iter().filter(|&&c| c).count();
    let mut negatives: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == 0).collect();
    let wanted = ((positives as f64 * ratio) as usize).min(negatives.len());
    if wanted == 0 {
        return chosen;
    }
    let nan = |i: usize| loss[i].partial_cmp(&loss[i]).is_none();
    let worst_first = |&a: &usize, &b: &usize| {
        let by_loss = loss[b]
            .partial_cmp(&loss[a])
            .unwrap_or_else(|| nan(b).cmp(&nan(a)));
        by_loss.then(a.cmp(&b))
    };
    negatives.select_nth_unstable_by(wanted - 1, worst_first);
    for &i in &negatives[..wanted] {
        chosen[i] = true;
    }
    chosen
}

#[path = "mining_device.rs"]
pub(crate) mod device;

pub use device::{hard_negatives_on, mine_on};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_to_one_by_loss_with_ties_to_the_lowest_index() {
        let labels = [0, 2, 0, 0, 0, 0, 0];
        let loss = [0.5, 0.0, 0.9, 0.5, 0.5, 0.1, 0.5];
        let chosen = hard_negatives(&labels, &loss, RATIO);
        assert_eq!(chosen, [true, true, true, true, false, false, false]);
    }

    #[test]
    fn without_positives_nothing_and_never_more_than_there_are() {
        assert_eq!(
            hard_negatives(&[0, 0, -1], &[1.0, 2.0, 3.0], RATIO),
            [false; 3]
        );
        assert_eq!(
            hard_negatives(&[1, 0, 1, -1], &[0.0, 0.0, 0.0, 9.0], RATIO),
            [true, true, true, false]
        );
        assert_eq!(hard_negatives::<f32>(&[], &[], RATIO), [false; 0]);
        assert_eq!(hard_negatives(&[1, 0], &[0.0, 1.0], 0.9), [true, false]);
    }

    #[test]
    fn a_nan_loss_is_chosen_first() {
        let loss = [0.0, f64::INFINITY, 1.0, f64::NAN, f64::INFINITY];
        assert_eq!(
            hard_negatives(&[1, 0, 0, 0, 0], &loss, 1.0),
            [true, false, false, true, false]
        );
        assert_eq!(
            hard_negatives(&[1, 0, 0, 0, 0], &loss, 2.0),
            [true, true, false, true, false]
        );
    }

    proptest! {
        #[test]
        fn equals_a_full_sort(rows in proptest::collection::vec((-1i32..3, 0u8..6), 0..60), ratio in 0usize..5) {
            let labels: Vec<i32> = rows.iter().map(|r| r.0).collect();
            let loss: Vec<f32> = rows.iter().map(|r| r.1 as f32).collect();
            let mut order: Vec<usize> = (0..rows.len()).filter(|&i| labels[i] == 0).collect();
            order.sort_by(|&a, &b| loss[b].total_cmp(&loss[a])); // stable: ties by index
            order.truncate(ratio * labels.iter().filter(|&&l| l > 0).count());
            let want: Vec<bool> = (0..rows.len()).map(|i| labels[i] > 0 || order.contains(&i)).collect();
            prop_assert_eq!(hard_negatives(&labels, &loss, ratio as f64), want);
        }
    }
}
