//! Copies that change the order of elements: transposition of a matrix, interleaving of channels.

use super::Float;

/// Rows and columns of a tile whose two sides both stay in the first-level cache.
const TILE: usize = 32;

/// `y = x^T` of a `(rows, cols)` matrix.
pub fn transpose<T: Float>(x: &[T], rows: usize, cols: usize, y: &mut [T]) {
    for r0 in (0..rows).step_by(TILE) {
        let r1 = (r0 + TILE).min(rows);
        for c0 in (0..cols).step_by(TILE) {
            for c in c0..(c0 + TILE).min(cols) {
                let out = &mut y[c * rows..][r0..r1];
                for (k, v) in out.iter_mut().enumerate() {
                    *v = x[(r0 + k) * cols + c];
                }
            }
        }
    }
}

/// `y[i s + p] = parts[p][i]` for the `s` parts.
pub fn interleave<T: Float>(parts: &[&[T]], y: &mut [T]) {
    if let [a, b] = parts {
        let half = y.len() / 2;
        let mut pairs = y.chunks_exact_mut(2);
        for ((y, &a), &b) in (&mut pairs).zip(*a).zip(*b) {
            (y[0], y[1]) = (a, b);
        }
        if let [last] = pairs.into_remainder() {
            *last = a[half];
        }
        return;
    }
    for (i, y) in y.chunks_mut(parts.len()).enumerate() {
        for (y, part) in y.iter_mut().zip(parts) {
            *y = part[i];
        }
    }
}

/// Channel that lands at `to` when `channels` are viewed as `(groups, channels / groups)` and transposed.
pub fn shuffled_from(to: usize, channels: usize, groups: usize) -> usize {
    (to % groups) * (channels / groups) + to / groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_twice_is_the_same() {
        let x: Vec<f64> = (0..35 * 70).map(|i| i as f64).collect();
        let (mut y, mut z) = (x.clone(), x.clone());
        transpose(&x, 35, 70, &mut y);
        assert_eq!(y[1], x[70]);
        transpose(&y, 70, 35, &mut z);
        assert_eq!(x, z);
    }

    #[test]
    fn eight_channels_in_four_groups() {
        let order: Vec<usize> = (0..8).map(|c| shuffled_from(c, 8, 4)).collect();
        assert_eq!(order, [0, 2, 4, 6, 1, 3, 5, 7]);
    }
}
