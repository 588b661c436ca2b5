//! Softmax over `len` of each `(len, inner)` block, its logarithm and their gradients. Max-stabilised.
//!
//! A kernel takes any number of blocks one after the other. A NaN is kept: it must show in the loss.

use super::exp::exp;
use super::{Float, simd};

/// Columns handled together: their maxima and sums stay in registers or the first-level cache.
const WIDTH: usize = 64;

/// Maximum of each of the columns `from..from + m.len()`.
#[inline(always)]
fn maxima<T: Float>(x: &[T], inner: usize, from: usize, m: &mut [T]) {
    m.fill(T::NEG_INF);
    for x in x.chunks_exact(inner) {
        for (m, &x) in m.iter_mut().zip(&x[from..]) {
            *m = if x <= *m { *m } else { x };
        }
    }
}

simd! {
    /// `y[c, i] = e^(x[c, i] - m_i) / s_i`, and `lse[i] = m_i + ln s_i`, over `c`; `m` the maximum, `s` the sum.
    pub fn softmax[T](x: &[T], len: usize, inner: usize, y: &mut [T], lse: &mut [T]) {
        let row = len * inner;
        let blocks = x.chunks_exact(row).zip(y.chunks_exact_mut(row)).zip(lse.chunks_exact_mut(inner));
        let (mut m, mut s) = ([T::ZERO; WIDTH], [T::ZERO; WIDTH]);
        for ((x, y), lse) in blocks {
            for from in (0..inner).step_by(WIDTH) {
                let w = WIDTH.min(inner - from);
                let (m, s) = (&mut m[..w], &mut s[..w]);
                maxima(x, inner, from, m);
                s.fill(T::ZERO);
                for (x, y) in x.chunks_exact(inner).zip(y.chunks_exact_mut(inner)) {
                    let (x, y) = (&x[from..from + w], &mut y[from..from + w]);
                    for i in 0..w {
                        let e = exp(x[i] - m[i]);
                        y[i] = e;
                        s[i] += e;
                    }
                }
                for (i, l) in lse[from..from + w].iter_mut().enumerate() {
                    *l = m[i] + s[i].ln();
                    s[i] = T::ONE / s[i];
                }
                for y in y.chunks_exact_mut(inner) {
                    for (y, &s) in y[from..from + w].iter_mut().zip(&*s) {
                        *y *= s;
                    }
                }
            }
        }
    }
}

simd! {
    /// `dx = y (dy - sum_c y dy)`.
    pub fn softmax_bwd[T](y: &[T], dy: &[T], len: usize, inner: usize, dx: &mut [T]) {
        let row = len * inner;
        let blocks = y.chunks_exact(row).zip(dy.chunks_exact(row)).zip(dx.chunks_exact_mut(row));
        let mut s = [T::ZERO; WIDTH];
        for ((y, dy), dx) in blocks {
            for from in (0..inner).step_by(WIDTH) {
                let w = WIDTH.min(inner - from);
                let s = &mut s[..w];
                s.fill(T::ZERO);
                for (y, g) in y.chunks_exact(inner).zip(dy.chunks_exact(inner)) {
                    for ((s, &y), &g) in s.iter_mut().zip(&y[from..]).zip(&g[from..]) {
                        *s = y.mul_add(g, *s);
                    }
                }
                for c in 0..len {
                    let at = c * inner + from..c * inner + from + w;
                    let (y, g) = (&y[at.clone()], &dy[at.clone()]);
                    for (i, d) in dx[at].iter_mut().enumerate() {
                        *d = y[i] * (g[i] - s[i]);
                    }
                }
            }
        }
    }
}

simd! {
    /// `y[c, i] = (x[c, i] - m_i) - ln s_i`.
    pub fn log_softmax[T](x: &[T], len: usize, inner: usize, y: &mut [T]) {
        let row = len * inner;
        let (mut m, mut s) = ([T::ZERO; WIDTH], [T::ZERO; WIDTH]);
        for (x, y) in x.chunks_exact(row).zip(y.chunks_exact_mut(row)) {
            for from in (0..inner).step_by(WIDTH) {
                let w = WIDTH.min(inner - from);
                let (m, s) = (&mut m[..w], &mut s[..w]);
                maxima(x, inner, from, m);
                s.fill(T::ZERO);
                for x in x.chunks_exact(inner) {
                    let x = &x[from..from + w];
                    for i in 0..w {
                        s[i] += exp(x[i] - m[i]);
                    }
                }
                for s in s.iter_mut() {
                    *s = s.ln();
                }
                for (x, y) in x.chunks_exact(inner).zip(y.chunks_exact_mut(inner)) {
                    let x = &x[from..from + w];
                    for (i, y) in y[from..from + w].iter_mut().enumerate() {
                        *y = (x[i] - m[i]) - s[i];
                    }
                }
            }
        }
    }
}

simd! {
    /// `dx = dy - e^y sum_c dy`; `y` is the log-softmax.
    pub fn log_softmax_bwd[T](y: &[T], dy: &[T], len: usize, inner: usize, dx: &mut [T]) {
        let row = len * inner;
        let blocks = y.chunks_exact(row).zip(dy.chunks_exact(row)).zip(dx.chunks_exact_mut(row));
        let mut s = [T::ZERO; WIDTH];
        for ((y, dy), dx) in blocks {
            for from in (0..inner).step_by(WIDTH) {
                let w = WIDTH.min(inner - from);
                let s = &mut s[..w];
                s.fill(T::ZERO);
                for g in dy.chunks_exact(inner) {
                    for (s, &g) in s.iter_mut().zip(&g[from..]) {
                        *s += g;
                    }
                }
                for c in 0..len {
                    let at = c * inner + from..c * inner + from + w;
                    let (y, g) = (&y[at.clone()], &dy[at.clone()]);
                    for (i, d) in dx[at].iter_mut().enumerate() {
                        *d = g[i] - exp(y[i]) * s[i];
                    }
                }
            }
        }
    }
}

simd! {
    /// Cross-entropy gradient of one block from its probabilities, but for `-a_i` at the target's class:
    /// `dx[c, i] = p[c, i] (a_i + b_i sum w) - b_i w_c`; `a` and `b` are the factors of the hard and the smoothed part of
    /// each position (0 where it is ignored), `w` the class weights.
    pub fn cross_entropy_bwd[T](p: &[T], a: &[T], b: &[T], w: &[T], dx: &mut [T]) {
        let inner = a.len();
        let sum: T = w.iter().copied().sum();
        for ((p, dx), &w) in p.chunks_exact(inner).zip(dx.chunks_exact_mut(inner)).zip(w) {
            for i in 0..inner {
                dx[i] = p[i] * b[i].mul_add(sum, a[i]) - b[i] * w;
            }
        }
    }
}
