//! Enlarging planes: nearest neighbour by a whole factor, bilinear to any size.

use super::elementwise::{add_assign, axpy, scale};
use super::{Float, simd};

simd! {
    /// One row, every value `factor` times.
    fn repeat[T](x: &[T], factor: usize, y: &mut [T]) {
        if factor == 2 {
            for (y, &x) in y.chunks_exact_mut(2).zip(x) {
                (y[0], y[1]) = (x, x);
            }
        } else {
            for (y, &x) in y.chunks_exact_mut(factor).zip(x) {
                y.fill(x);
            }
        }
    }
}

simd! {
    /// `y[j] = sum of x[factor j ..][..factor]`.
    fn fold[T](x: &[T], factor: usize, y: &mut [T]) {
        if factor == 2 {
            for (y, x) in y.iter_mut().zip(x.chunks_exact(2)) {
                *y = x[0] + x[1];
            }
        } else {
            for (y, x) in y.iter_mut().zip(x.chunks_exact(factor)) {
                *y = x.iter().copied().sum();
            }
        }
    }
}

/// A plane of rows of `w` values, each value repeated `factor` times in both directions.
pub fn nearest<T: Float>(x: &[T], w: usize, factor: usize, y: &mut [T]) {
    let wide = w * factor;
    for (x, y) in x.chunks_exact(w).zip(y.chunks_exact_mut(wide * factor)) {
        let (first, rest) = y.split_at_mut(wide);
        repeat(x, factor, first);
        for r in rest.chunks_exact_mut(wide) {
            r.copy_from_slice(first);
        }
    }
}

/// The gradient of [`nearest`]: sums of `factor` x `factor` values, rows first.
pub fn nearest_bwd<T: Float>(dy: &[T], w: usize, factor: usize, dx: &mut [T]) {
    let wide = w * factor;
    let mut sum = vec![T::ZERO; wide];
    for (dy, dx) in dy.chunks_exact(wide * factor).zip(dx.chunks_exact_mut(w)) {
        sum.copy_from_slice(&dy[..wide]);
        for r in dy[wide..].chunks_exact(wide) {
            add_assign(&mut sum, r);
        }
        fold(&sum, factor, dx);
    }
}

/// Where an output position reads along one axis: `(1 - t) x[lo] + t x[hi]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tap {
    /// Lower neighbour.
    pub lo: usize,
    /// Upper neighbour; equal to `lo` at the border.
    pub hi: usize,
    /// Share of the upper one.
    pub t: f64,
}

/// The taps of an axis of `from` values read at `to` positions; with `align_corners` the outermost positions coincide,
/// otherwise pixel areas do and positions before the first centre read the first value.
pub fn taps(from: usize, to: usize, align_corners: bool) -> Vec<Tap> {
    (0..to)
        .map(|i| {
            let at = if align_corners {
                i as f64 * (from - 1) as f64 / (to - 1).max(1) as f64
            } else {
                ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0)
            };
            let lo = (at as usize).min(from - 1);
            Tap {
                lo,
                hi: (lo + 1).min(from - 1),
                t: at - lo as f64,
            }
        })
        .collect()
}

/// Bilinear resampling of a plane: two rows are blended, then columns.
pub fn bilinear<T: Float>(x: &[T], rows: &[Tap], cols: &[Tap], w: usize, y: &mut [T]) {
    let mut row = vec![T::ZERO; w];
    for (y, r) in y.chunks_exact_mut(cols.len()).zip(rows) {
        scale(T::c(1.0 - r.t), &x[r.lo * w..][..w], &mut row);
        axpy(T::c(r.t), &x[r.hi * w..][..w], &mut row);
        for (y, c) in y.iter_mut().zip(cols) {
            *y = row[c.hi].mul_add(T::c(c.t), row[c.lo] * T::c(1.0 - c.t));
        }
    }
}

/// The gradient of [`bilinear`].
pub fn bilinear_bwd<T: Float>(dy: &[T], rows: &[Tap], cols: &[Tap], w: usize, dx: &mut [T]) {
    let mut row = vec![T::ZERO; w];
    dx.fill(T::ZERO);
    for (dy, r) in dy.chunks_exact(cols.len()).zip(rows) {
        row.fill(T::ZERO);
        for (&g, c) in dy.iter().zip(cols) {
            row[c.lo] += g * T::c(1.0 - c.t);
            row[c.hi] += g * T::c(c.t);
        }
        axpy(T::c(1.0 - r.t), &row, &mut dx[r.lo * w..][..w]);
        axpy(T::c(r.t), &row, &mut dx[r.hi * w..][..w]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_of_both_conventions() {
        let t: Vec<f64> = taps(2, 4, false)
            .iter()
            .map(|t| t.lo as f64 + t.t)
            .collect();
        // The last position, 1.25, reads beyond the last centre: both neighbours are the last value.
        assert_eq!(t, [0.0, 0.25, 0.75, 1.25]);
        assert_eq!(taps(2, 4, false)[3].hi, 1);
        let t: Vec<f64> = taps(3, 5, true).iter().map(|t| t.lo as f64 + t.t).collect();
        assert_eq!(t, [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(
            taps(3, 1, true),
            [Tap {
                lo: 0,
                hi: 1,
                t: 0.0
            }]
        );
    }
}
