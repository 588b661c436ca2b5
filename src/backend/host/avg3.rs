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

simd! {
    fn along[T](x: &[T], y: &mut [T]) {
        let n = x.len();
        let (last, inner) = (n - 1, n.saturating_sub(2));
        if n == 1 {
            y[0] = x[0];
        } else {
            y[0] = x[0] + x[1];
            y[last] = x[last - 1] + x[last];
        }
        if inner > 0 {
            let (a, b, c) = (&x[..inner], &x[1..][..inner], &x[2..][..inner]);
            let y = &mut y[1..][..inner];
            for i in 0..inner {
                y[i] = a[i] + b[i] + c[i];
            }
        }
    }
}

simd! {
    fn across[T](x: [&[T]; 3], y: &mut [T]) {
        let n = y.len();
        let [a, b, c] = x.map(|x| &x[..n]);
        for i in 0..n {
            y[i] = a[i] + b[i] + c[i];
        }
    }
}

simd! {
    fn across_scaled[T](x: [&[T]; 3], by: &[T], y: &mut [T]) {
        let n = y.len();
        let ([a, b, c], by) = (x.map(|x| &x[..n]), &by[..n]);
        for i in 0..n {
            y[i] = (a[i] + b[i] + c[i]) * by[i];
        }
    }
}

simd! {
    fn scaled[T](x: &[T], by: &[T], y: &mut [T]) {
        let n = y.len();
        let (x, by) = (&x[..n], &by[..n]);
        for i in 0..n {
            y[i] = x[i] * by[i];
        }
    }
}

/// Calls `put` for every row with the sums along the rows above, at and below it; `take` sums along row `r`.
fn rows<T: Float>(
    h: usize,
    sums: &mut [Vec<T>; 3],
    mut take: impl FnMut(usize, &mut [T]),
    mut put: impl FnMut(usize, [&[T]; 3]),
) {
    sums[1].fill(T::ZERO);
    take(0, &mut sums[2]);
    for r in 0..h {
        sums.rotate_left(1);
        match r + 1 < h {
            true => take(r + 1, &mut sums[2]),
            false => sums[2].fill(T::ZERO),
        }
        put(r, [&sums[0], &sums[1], &sums[2]]);
    }
}

/// Pools a plane; `inverse`, of its size, are the inverse numbers of taps.
pub fn forward<T: Float>(x: &[T], inverse: &[T], s: &mut Scratch<T>, y: &mut [T]) {
    let w = s.scaled.len();
    let row = |r: usize| r * w..(r + 1) * w;
    rows(
        x.len() / w,
        &mut s.sums,
        |r, sums| along(&x[row(r)], sums),
        |r, sums| across_scaled(sums, &inverse[row(r)], &mut y[row(r)]),
    );
}

/// Gradient of a plane.
pub fn backward<T: Float>(dy: &[T], inverse: &[T], s: &mut Scratch<T>, dx: &mut [T]) {
    let w = s.scaled.len();
    let row = |r: usize| r * w..(r + 1) * w;
    let one = &mut s.scaled;
    rows(
        dy.len() / w,
        &mut s.sums,
        |r, sums| {
            scaled(&dy[row(r)], &inverse[row(r)], one);
            along(one, sums);
        },
        |r, sums| across(sums, &mut dx[row(r)]),
    );
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
