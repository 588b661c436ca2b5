//! Several tasks in one figure: the mean relative change against networks of one task (systems.md 9.5; AutoMTL).

/// A figure of a multi-task network beside that of a network of the task alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// Of the multi-task network.
    pub value: f64,
    /// Of the reference.
    pub reference: f64,
    /// Whether more is better (mIoU, shares within a threshold) or less (errors, angles).
    pub higher_is_better: bool,
}

impl Compared {
    /// A figure of which more is better.
    pub fn higher(value: f64, reference: f64) -> Compared {
        Compared {
            value,
            reference,
            higher_is_better: true,
        }
    }

    /// A figure of which less is better.
    pub fn lower(value: f64, reference: f64) -> Compared {
        Compared {
            higher_is_better: false,
            ..Compared::higher(value, reference)
        }
    }

    /// The relative change, positive for better; `None` for a reference of 0 and values that are not finite.
    pub fn change(self) -> Option<f64> {
        let change = (self.value - self.reference) / self.reference;
        let sign = if self.higher_is_better { 1.0 } else { -1.0 };
        change.is_finite().then_some(sign * change)
    }
}

/// Mean relative change of a task in percent: every metric counts alike. `None` without metrics, or if one has no change.
pub fn delta_task(metrics: &[Compared]) -> Option<f64> {
    let changes: Option<Vec<f64>> = metrics.iter().map(|m| m.change()).collect();
    let changes = changes.filter(|c| !c.is_empty())?;
    Some(100.0 * changes.iter().sum::<f64>() / changes.len() as f64)
}

/// Delta_m, in percent: every task counts alike, however many metrics it has. `None` without tasks, or if one of them has none.
pub fn delta_m(tasks: &[&[Compared]]) -> Option<f64> {
    let deltas: Option<Vec<f64>> = tasks.iter().map(|t| delta_task(t)).collect();
    let deltas = deltas.filter(|d| !d.is_empty())?;
    Some(deltas.iter().sum::<f64>() / deltas.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: Option<f64>, b: f64) {
        assert!((a.unwrap() - b).abs() < 1e-9, "{a:?}, not {b}");
    }

    #[test]
    fn tasks_count_alike_whatever_their_metrics() {
        let seg = [Compared::higher(0.44, 0.40), Compared::higher(0.72, 0.80)];
        let depth = [Compared::lower(0.018, 0.02)];
        near(delta_task(&seg), 0.0);
        near(delta_task(&depth), 10.0);
        near(delta_m(&[&seg, &depth]), 5.0);
        assert_eq!(delta_m(&[]), None);
        assert_eq!(delta_m(&[&seg, &[]]), None);
        assert_eq!(delta_task(&[Compared::higher(1.0, 0.0)]), None);
        assert_eq!(delta_task(&[Compared::higher(f64::NAN, 1.0)]), None);
    }

    /// AutoMTL's single-task Cityscapes (systems.md 6.5) against a network with mIoU .428, accuracy .75, depth .020, .30, 70, 87, 94:
    /// ((.428-.365)/.365 + (.75-.738)/.738)/2 and
    /// ((.026-.02)/.026 + (.38-.3)/.38 + (70-57.5)/57.5 + (87-76.9)/76.9 + (94-87)/87)/5, in NumPy 9.443145116 and 17.409720457 %.
    #[test]
    fn cityscapes_of_automtl() {
        let seg = [
            Compared::higher(0.428, 0.365),
            Compared::higher(0.75, 0.738),
        ];
        let depth = [
            Compared::lower(0.020, 0.026),
            Compared::lower(0.30, 0.38),
            Compared::higher(70.0, 57.5),
            Compared::higher(87.0, 76.9),
            Compared::higher(94.0, 87.0),
        ];
        let (a, b) = (delta_task(&seg).unwrap(), delta_task(&depth).unwrap());
        assert!(
            (a - 9.443145116382672).abs() < 1e-9 && (b - 17.409720456840382).abs() < 1e-9,
            "{a} {b}"
        );
        near(delta_m(&[&seg, &depth]), (a + b) / 2.0);
    }
}
