//! Mean over 3x3 windows at stride 1 with a ring of one around the map: sums of three along rows, then of three rows. Padding adds
//! nothing; a sum is multiplied by the inverse number of its taps inside the map, on the way back before it is taken.

use super::{Float, simd};

/// Memory of one thread for planes of one width.
pub struct Scratch<T> {
    /// Sums along the rows above, at and below an output.
    sums: [Vec<T>; 3],
    /// A row of gradients times the inverse numbers of taps.
    scaled: Vec<T>,
}

impl<T: Float> Scratch<T> {
    /// For planes whose rows have `w` values.
    pub fn new(w: usize) -> Scratch<T> {
        let row = || vec![T::ZERO; w];
        Scratch {
            sums: [row(), row(), row()],
            scaled: row(),
        }
    }
}

/// Sums of three along a row.
#[inline(always)]
fn along<T: Float>(x: &[T], y: &mut [T]) {
    let (n, inner) = (x.len(), x.len().saturating_sub(2));
    if n == 1 {
        y[0] = x[0];
        return;
    }
    (y[0], y[n - 1]) = (x[0] + x[1], x[n - 2] + x[n - 1]);
    let (a, b, c) = (&x[..inner], &x[1..][..inner], &x[2..][..inner]);
    let y = &mut y[1..][..inner];
    for i in 0..inner {
        y[i] = a[i] + b[i] + c[i];
    }
}

/// Sums of three rows, into `y`.
#[inline(always)]
fn across<T: Float>(rows: &[Vec<T>; 3], y: &mut [T]) {
    let n = y.len();
    let (a, b, c) = (&rows[0][..n], &rows[1][..n], &rows[2][..n]);
    for i in 0..n {
        y[i] = a[i] + b[i] + c[i];
    }
}

#[inline(always)]
fn times<T: Float>(y: &mut [T], by: &[T]) {
    for (y, &by) in y.iter_mut().zip(by) {
        *y *= by;
    }
}

simd! {
    /// Pools a plane; `inverse`, of its size, are the inverse numbers of taps.
    pub fn forward[T](x: &[T], inverse: &[T], s: &mut Scratch<T>, y: &mut [T]) {
        let w = s.scaled.len();
        s.sums[1].fill(T::ZERO);
        along(&x[..w], &mut s.sums[2]);
        for (r, y) in y.chunks_exact_mut(w).enumerate() {
            s.sums.rotate_left(1);
            match x.get((r + 1) * w..(r + 2) * w) {
                Some(below) => along(below, &mut s.sums[2]),
                None => s.sums[2].fill(T::ZERO),
            }
            across(&s.sums, y);
            times(y, &inverse[r * w..][..w]);
        }
    }
}

simd! {
    /// Gradient of a plane.
    pub fn backward[T](dy: &[T], inverse: &[T], s: &mut Scratch<T>, dx: &mut [T]) {
        let w = s.scaled.len();
        s.sums[1].fill(T::ZERO);
        for r in 0..=dx.len() / w {
            let at = r * w..(r + 1) * w;
            match dy.get(at.clone()) {
                Some(below) => {
                    s.scaled.copy_from_slice(below);
                    times(&mut s.scaled, &inverse[at]);
                    along(&s.scaled, &mut s.sums[2]);
                }
                None => s.sums[2].fill(T::ZERO),
            }
            if r > 0 {
                across(&s.sums, &mut dx[(r - 1) * w..][..w]);
            }
            s.sums.rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Against loops over windows, twice with the same memory.
    #[test]
    fn agrees_with_windows() {
        let mut r = Rng::new(5, &[]);
        for (h, w) in [(1, 1), (1, 5), (4, 1), (2, 2), (5, 40), (7, 19)] {
            let mut draw = || (0..h * w).map(|_| r.normal()).collect::<Vec<f64>>();
            let (x, dy) = (draw(), draw());
            let near =
                |a: usize, b: usize| (a / w).abs_diff(b / w) < 2 && (a % w).abs_diff(b % w) < 2;
            let taps = |o: usize| (0..h * w).filter(move |&i| near(o, i));
            let inverse: Vec<f64> = (0..h * w).map(|o| 1.0 / taps(o).count() as f64).collect();
            let (mut y, mut dx) = (vec![0.0; h * w], vec![0.0; h * w]);
            let mut s = Scratch::new(w);
            for _ in 0..2 {
                forward(&x, &inverse, &mut s, &mut y);
                backward(&dy, &inverse, &mut s, &mut dx);
            }
            for o in 0..h * w {
                let mean: f64 = taps(o).map(|i| x[i] * inverse[o]).sum();
                let back: f64 = taps(o).map(|i| dy[i] * inverse[i]).sum();
                assert!((y[o] - mean).abs() < 1e-12, "{h}x{w}: {o}");
                assert!((dx[o] - back).abs() < 1e-12, "{h}x{w}: {o}");
            }
        }
    }
}
