//! Maximum over 3x3 windows at stride 1 with a ring of one around the map: along rows first, then across them, in loops over whole rows.
//!
//! On the way back every output names the row that its maximum came from, and what reached a row goes on to the column that each of its
//! maxima names: sums of whole rows, nothing is scattered. Three rows are held at a time, so that the map is read once.

use super::{Float, simd};

/// What is held of a row of the map.
struct Line<T> {
    /// Maxima along the row.
    max: Vec<T>,
    /// Which of the three each was, 0, 1 or 2, with an end of one on both sides.
    which: Vec<T>,
    /// Gradients of the maxima, with zeros at both ends.
    d: Vec<T>,
}

/// Memory of one thread for planes of one size.
pub struct Scratch<T> {
    w: usize,
    /// Maxima along rows, `(h + 2, w)`; the first and the last row are negative infinity.
    max: Vec<T>,
    /// On the way back: the rows above, at and below an output.
    lines: [Line<T>; 3],
}

impl<T: Float> Scratch<T> {
    /// For planes of `h` by `w`.
    pub fn new(h: usize, w: usize) -> Scratch<T> {
        let line = || Line {
            max: vec![T::NEG_INF; w],
            which: vec![T::ONE; w + 2],
            d: vec![T::ZERO; w + 2],
        };
        let max = vec![T::NEG_INF; (h + 2) * w];
        let lines = [line(), line(), line()];
        Scratch { w, max, lines }
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
    /// `dy` of a row of outputs goes to the first of the three rows that holds its maximum.
    fn spread[T](m: [&[T]; 3], dy: &[T], above: &mut [T], at: &mut [T], below: &mut [T]) {
        let n = dy.len();
        let [a, b, c] = m.map(|m| &m[..n]);
        let (above, at, below) = (&mut above[..n], &mut at[..n], &mut below[..n]);
        for i in 0..n {
            let (d, second) = (dy[i], b[i] > a[i]);
            let third = c[i] > if second { b[i] } else { a[i] };
            below[i] += if third { d } else { T::ZERO };
            let d = if third { T::ZERO } else { d };
            at[i] += if second { d } else { T::ZERO };
            above[i] += if second { T::ZERO } else { d };
        }
    }
}

simd! {
    /// What reached the maxima along a row, at the columns that they came from.
    fn gather[T](which: &[T], d: &[T], dx: &mut [T]) {
        let n = dx.len();
        let two = T::ONE + T::ONE;
        let (p, q, r) = (&which[..n], &which[1..][..n], &which[2..][..n]);
        let (a, b, c) = (&d[..n], &d[1..][..n], &d[2..][..n]);
        for i in 0..n {
            let left = if p[i] == two { a[i] } else { T::ZERO };
            let own = if q[i] == T::ONE { b[i] } else { T::ZERO };
            let right = if r[i] == T::ZERO { c[i] } else { T::ZERO };
            dx[i] = left + own + right;
        }
    }
}

/// Pools a plane.
pub fn forward<T: Float>(x: &[T], s: &mut Scratch<T>, y: &mut [T]) {
    let w = s.w;
    for (x, m) in x.chunks(w).zip(s.max[w..].chunks_mut(w)) {
        along(x, m);
    }
    for (r, y) in y.chunks_mut(w).enumerate() {
        across([0, 1, 2].map(|k| &s.max[(r + k) * w..][..w]), y);
    }
}

/// Gradient of a plane: the first of equals in row order takes it.
pub fn backward<T: Float>(x: &[T], dy: &[T], s: &mut Scratch<T>, dx: &mut [T]) {
    let w = s.w;
    s.lines[2].max.fill(T::NEG_INF);
    let (mut x, mut dx) = (x.chunks(w), dx.chunks_mut(w));
    let begin = |x: Option<&[T]>, l: &mut Line<T>| {
        l.d[1..=w].fill(T::ZERO);
        match x {
            Some(x) => along_named(x, &mut l.max, &mut l.which[1..=w]),
            None => l.max.fill(T::NEG_INF),
        }
    };
    s.lines.rotate_left(1);
    begin(x.next(), &mut s.lines[2]);
    for (r, dy) in dy.chunks(w).enumerate() {
        s.lines.rotate_left(1);
        begin(x.next(), &mut s.lines[2]);
        let [a, b, c] = &mut s.lines;
        let m = [&a.max[..], &b.max, &c.max];
        spread(m, dy, &mut a.d[1..=w], &mut b.d[1..=w], &mut c.d[1..=w]);
        // No output further down has a row two above it.
        if r > 0
            && let Some(dx) = dx.next()
        {
            gather(&a.which, &a.d, dx);
        }
    }
    if let Some(dx) = dx.next() {
        gather(&s.lines[1].which, &s.lines[1].d, dx);
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
