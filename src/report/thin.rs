//! Fewer points of a long line, and its running mean.

/// Points of one line that are drawn; more are thinned, keeping the extremes.
const DRAWN: usize = 320;

/// At most [`DRAWN`] points: from each of equal runs of points the lowest, the highest and any that is not finite.
pub fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= DRAWN {
        return points.to_vec();
    }
    let run = points.len().div_ceil(DRAWN / 2);
    let mut out = Vec::with_capacity(DRAWN);
    for chunk in points.chunks(run) {
        let by = |i: &usize, j: &usize| chunk[*i].1.total_cmp(&chunk[*j].1);
        let (low, high) = (
            (0..chunk.len()).min_by(by).unwrap_or(0),
            (0..chunk.len()).max_by(by).unwrap_or(0),
        );
        out.push(chunk[low.min(high)]);
        if low != high {
            out.push(chunk[low.max(high)]);
        }
    }
    out
}

/// Centred mean over a twentieth of the line.
pub fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = (points.len() / 40).max(2);
    (0..points.len())
        .map(|i| {
            let near = &points[i.saturating_sub(half)..(i + half + 1).min(points.len())];
            let finite: Vec<f64> = near.iter().map(|p| p.1).filter(|y| y.is_finite()).collect();
            (
                points[i].0,
                if finite.is_empty() {
                    f64::NAN
                } else {
                    finite.iter().sum::<f64>() / finite.len() as f64
                },
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_survive_thinning() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|i| (i as f64, (i % 7) as f64)).collect();
        (points[4321].1, points[7950].1) = (99.0, -99.0);
        points[5000].1 = f64::NAN;
        let thin = thinned(&points);
        assert!(
            thin.len() <= DRAWN
                && thin.contains(&(4321.0, 99.0))
                && thin.contains(&(7950.0, -99.0))
        );
        assert!(thin.iter().any(|p| p.1.is_nan()) && thin.windows(2).all(|w| w[0].0 < w[1].0));
    }
}
