//! Maximum over 3x3 windows at stride 1 with a ring of one around the map: along rows first, then across them, in loops over whole rows.
//! On the way back every output names the tap that it came from, and every input gathers from the nine outputs that may have named it:
//! nothing is written twice.

use super::{Float, simd};

/// Memory of one thread for planes of one size.
pub struct Scratch<T> {
    w: usize,
    /// Maxima along rows, `(h + 2, w)`; the first and the last row are negative infinity.
    max: Vec<T>,
    /// Which of the three it was: 0, 1, 2.
    which: Vec<T>,
    /// Tap of each output, in row order, inside a ring of -1: `(h + 2, w + 2)`.
    taps: Vec<T>,
    /// Gradient of each output inside a ring of zeros.
    dy: Vec<T>,
}

impl<T: Float> Scratch<T> {
    /// For planes of `h` by `w`.
    pub fn new(h: usize, w: usize) -> Scratch<T> {
        let ring = (h + 2) * (w + 2);
        Scratch {
            w,
            max: vec![T::NEG_INF; (h + 2) * w],
            which: vec![T::ONE; (h + 2) * w],
            taps: vec![-T::ONE; ring],
            dy: vec![T::ZERO; ring],
        }
    }
}

/// The later of two where it is greater or NaN.
#[inline(always)]
#[allow(clippy::eq_op)] // only NaN differs from itself
fn above<T: Float>(m: T, v: T) -> T {
    if v > m || v != v { v } else { m }
}

/// The later of two, and its number, where it is greater.
#[inline(always)]
fn first_above<T: Float>((m, at): (T, T), v: T, number: T) -> (T, T) {
    if v > m { (v, number) } else { (m, at) }
}

simd! {
    fn along[T](x: &[T], y: &mut [T]) {
        let n = x.len();
        let (last, inner) = (n - 1, n.saturating_sub(2));
        y[0] = above(x[0], x[1.min(last)]);
        y[last] = above(x[last.saturating_sub(1)], x[last]);
        if inner > 0 {
            let (a, b, c) = (&x[..inner], &x[1..][..inner], &x[2..][..inner]);
            let y = &mut y[1..][..inner];
            for i in 0..inner {
                y[i] = above(above(a[i], b[i]), c[i]);
            }
        }
    }
}

simd! {
    fn across[T](x: [&[T]; 3], y: &mut [T]) {
        let n = y.len();
        let [a, b, c] = x.map(|x| &x[..n]);
        for i in 0..n {
            y[i] = above(above(a[i], b[i]), c[i]);
        }
    }
}

simd! {
    fn along_named[T](x: &[T], m: &mut [T], at: &mut [T]) {
        let n = x.len();
        let last = n - 1;
        let two = T::ONE + T::ONE;
        let ends = |i: usize| {
            let mut found = (T::NEG_INF, T::ONE);
            for (number, j) in [(T::ZERO, i.wrapping_sub(1)), (T::ONE, i), (two, i + 1)] {
                if j < n {
                    found = first_above(found, x[j], number);
                }
            }
            found
        };
        (m[0], at[0]) = ends(0);
        (m[last], at[last]) = ends(last);
        let inner = n.saturating_sub(2);
        if inner > 0 {
            let (a, b, c) = (&x[..inner], &x[1..][..inner], &x[2..][..inner]);
            let (m, at) = (&mut m[1..][..inner], &mut at[1..][..inner]);
            for i in 0..inner {
                let found = first_above((a[i], T::ZERO), b[i], T::ONE);
                (m[i], at[i]) = first_above(found, c[i], two);
            }
        }
    }
}

simd! {
    fn across_named[T](m: [&[T]; 3], at: [&[T]; 3], taps: &mut [T]) {
        let n = taps.len();
        let ([a, b, c], [p, q, r]) = (m.map(|m| &m[..n]), at.map(|at| &at[..n]));
        let three = T::ONE + T::ONE + T::ONE;
        for i in 0..n {
            let found = first_above((a[i], p[i]), b[i], q[i] + three);
            taps[i] = first_above(found, c[i], r[i] + three + three).1;
        }
    }
}

simd! {
    /// Of three rows of outputs inside their rings, the last first.
    fn gather[T](taps: [&[T]; 3], dy: [&[T]; 3], dx: &mut [T]) {
        let n = dx.len();
        for row in 0..3 {
            let (taps, dy) = (&taps[row][..n + 2], &dy[row][..n + 2]);
            let first = T::c(3.0 * row as f64);
            let numbers = [first, first + T::ONE, first + T::ONE + T::ONE];
            let (t0, t1, t2) = (&taps[2..], &taps[1..][..n], &taps[..n]);
            let (d0, d1, d2) = (&dy[2..], &dy[1..][..n], &dy[..n]);
            for i in 0..n {
                let mut sum = if row == 0 { T::ZERO } else { dx[i] };
                sum += if t0[i] == numbers[0] { d0[i] } else { T::ZERO };
                sum += if t1[i] == numbers[1] { d1[i] } else { T::ZERO };
                sum += if t2[i] == numbers[2] { d2[i] } else { T::ZERO };
                dx[i] = sum;
            }
        }
    }
}

/// Three rows of `n` from row `r` on.
fn rows<T>(all: &[T], n: usize, r: usize) -> [&[T]; 3] {
    [0, 1, 2].map(|k| &all[(r + k) * n..][..n])
}

/// Pools a plane.
pub fn forward<T: Float>(x: &[T], s: &mut Scratch<T>, y: &mut [T]) {
    let w = s.w;
    for (x, m) in x.chunks(w).zip(s.max[w..].chunks_mut(w)) {
        along(x, m);
    }
    for (r, y) in y.chunks_mut(w).enumerate() {
        across(rows(&s.max, w, r), y);
    }
}

/// Gradient of a plane: the first of equals in row order takes it.
pub fn backward<T: Float>(x: &[T], dy: &[T], s: &mut Scratch<T>, dx: &mut [T]) {
    let w = s.w;
    let named = s.max[w..].chunks_mut(w).zip(s.which[w..].chunks_mut(w));
    for (x, (m, at)) in x.chunks(w).zip(named) {
        along_named(x, m, at);
    }
    let inside = |r: usize| (r + 1) * (w + 2) + 1;
    for (r, dy) in dy.chunks(w).enumerate() {
        let (m, at) = (rows(&s.max, w, r), rows(&s.which, w, r));
        across_named(m, at, &mut s.taps[inside(r)..][..w]);
        s.dy[inside(r)..][..w].copy_from_slice(dy);
    }
    for (r, dx) in dx.chunks_mut(w).enumerate() {
        let ([a, b, c], [d, e, f]) = (rows(&s.taps, w + 2, r), rows(&s.dy, w + 2, r));
        gather([c, b, a], [f, e, d], dx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Against loops, with many equal values.
    #[test]
    fn agrees_with_windows() {
        let mut r = Rng::new(5, &[]);
        for (h, w) in [(1, 1), (1, 5), (4, 1), (2, 2), (5, 40), (7, 19)] {
            let x: Vec<f32> = (0..h * w).map(|_| r.below(4) as f32 - 2.0).collect();
            let dy: Vec<f32> = (0..h * w).map(|_| r.normal() as f32).collect();
            let (mut y, mut dx) = (vec![0.0; h * w], vec![0f32; h * w]);
            let mut want = vec![0f32; h * w];
            let mut s = Scratch::new(h, w);
            for _ in 0..2 {
                forward(&x, &mut s, &mut y);
                backward(&x, &dy, &mut s, &mut dx);
            }
            for (o, dy) in dy.iter().enumerate() {
                let (oy, ox) = (o / w, o % w);
                let near = |i: &usize| (i / w).abs_diff(oy) < 2 && (i % w).abs_diff(ox) < 2;
                let best = (0..h * w).filter(near);
                let best = best.reduce(|a, b| if x[b] > x[a] { b } else { a }).unwrap();
                assert_eq!(y[o], x[best], "{h}x{w}: {o}");
                want[best] += dy;
            }
            for (a, b) in dx.iter().zip(&want) {
                assert!((a - b).abs() < 1e-5, "{h}x{w}");
            }
        }
    }

    #[test]
    fn nan_wins_forward() {
        let mut x = [0f32; 25];
        x[12] = f32::NAN;
        let mut y = [0f32; 25];
        forward(&x, &mut Scratch::new(5, 5), &mut y);
        assert_eq!(y.iter().filter(|v| v.is_nan()).count(), 9);
    }
}
