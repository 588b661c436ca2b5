//! Kernels of AVX-512 behind [`super::by_hand`], f32 only.

use std::arch::x86_64::*;

use super::LANES;
use super::by_hand::{Grid, ROWS};

/// The block once for each number, a constant in it: loops whose arrays have to stay in registers.
macro_rules! unrolled {
    ($i:ident in $($n:literal)* => $b:block) => { $({ const $i: usize = $n; $b })* };
}
pub(super) use unrolled;

/// Sixteen values from `i` on.
///
/// # Safety
/// They are inside `s`.
#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
unsafe fn at(s: &[f32], i: usize) -> __m512 {
    debug_assert!(i + LANES <= s.len());
    // SAFETY: the caller says so.
    unsafe { _mm512_loadu_ps(s.as_ptr().add(i)) }
}

/// Writes sixteen values from `i` on.
///
/// # Safety
/// As [`at`].
#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
unsafe fn put(s: &mut [f32], i: usize, v: __m512) {
    debug_assert!(i + LANES <= s.len());
    // SAFETY: the caller says so.
    unsafe { _mm512_storeu_ps(s.as_mut_ptr().add(i), v) }
}

/// `R` rows of outputs that lie `dilation` apart, from `row` on.
#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn correlate_rows<const K: usize, const R: usize>(
    g: &Grid,
    s: &[f32],
    taps: &[__m512; 25],
    row: usize,
    y: &mut [f32],
) {
    let (d, step) = (g.dilation, g.dilation * g.in_row);
    for o in (0..g.len).step_by(LANES) {
        let base = row * g.in_row + o;
        let mut acc = [_mm512_setzero_ps(); R];
        unrolled!(I in 0 1 2 3 4 5 6 7 => {
            if I < K + R - 1 {
                unrolled!(X in 0 1 2 3 4 => {
                    if X < K {
                        // SAFETY: `Grid::check` bounds the last row and tap.
                        let v = unsafe { at(s, base + I * step + X * d) };
                        unrolled!(Q in 0 1 2 3 => {
                            if Q < R && I.wrapping_sub(Q) < K {
                                let t = (I.wrapping_sub(Q) * K + X) % 25;
                                acc[Q % R] = _mm512_fmadd_ps(v, taps[t], acc[Q % R]);
                            }
                        });
                    }
                });
            }
        });
        for (q, v) in acc.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { put(y, (row + q * d) * g.out_row + o, v) };
        }
    }
}

/// `y[o] = sum over taps of w * s`. The grid has been checked.
#[target_feature(enable = "avx512f")]
pub fn correlate<const K: usize>(g: &Grid, s: &[f32], w: &[f32], y: &mut [f32]) {
    let mut taps = [_mm512_setzero_ps(); 25];
    for (t, &w) in taps.iter_mut().zip(&w[..K * K]) {
        *t = _mm512_set1_ps(w);
    }
    let whole = g.rows - g.rows % (ROWS * g.dilation);
    for row in 0..g.rows {
        if row >= whole {
            correlate_rows::<K, 1>(g, s, &taps, row, y);
        } else if row % (ROWS * g.dilation) < g.dilation {
            correlate_rows::<K, ROWS>(g, s, &taps, row, y);
        }
    }
}

/// Adds `dy * s` of `R` rows at every tap to `sums`.
#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
fn gradient_rows<const K: usize, const R: usize>(
    g: &Grid,
    dy: &[f32],
    s: &[f32],
    row: usize,
    sums: &mut [__m512; 25],
) {
    let (d, step) = (g.dilation, g.dilation * g.in_row);
    let mut acc = *sums;
    for o in (0..g.len).step_by(LANES) {
        let base = row * g.in_row + o;
        let mut of = [_mm512_setzero_ps(); R];
        unrolled!(Q in 0 1 2 3 => {
            if Q < R {
                // SAFETY: `Grid::check` bounds the last row.
                of[Q % R] = unsafe { at(dy, (row + Q * d) * g.out_row + o) };
            }
        });
        unrolled!(I in 0 1 2 3 4 5 6 7 => {
            if I < K + R - 1 {
                unrolled!(X in 0 1 2 3 4 => {
                    if X < K {
                        // SAFETY: as above, and the last tap.
                        let v = unsafe { at(s, base + I * step + X * d) };
                        unrolled!(Q in 0 1 2 3 => {
                            if Q < R && I.wrapping_sub(Q) < K {
                                let t = (I.wrapping_sub(Q) * K + X) % 25;
                                acc[t] = _mm512_fmadd_ps(v, of[Q % R], acc[t]);
                            }
                        });
                    }
                });
            }
        });
    }
    *sums = acc;
}

/// `dw[t] += sum dy * s`. The grid has been checked.
#[target_feature(enable = "avx512f")]
pub fn weight_gradient<const K: usize>(g: &Grid, dy: &[f32], s: &[f32], dw: &mut [f32]) {
    let mut sums = [_mm512_setzero_ps(); 25];
    let whole = g.rows - g.rows % (ROWS * g.dilation);
    for row in 0..g.rows {
        if row >= whole {
            gradient_rows::<K, 1>(g, dy, s, row, &mut sums);
        } else if row % (ROWS * g.dilation) < g.dilation {
            gradient_rows::<K, ROWS>(g, dy, s, row, &mut sums);
        }
    }
    for (dw, sum) in dw[..K * K].iter_mut().zip(sums) {
        *dw += _mm512_reduce_add_ps(sum);
    }
}

/// Sum of `x - shift` and of its square.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
pub fn shifted_sums(x: &[f32], shift: f32) -> (f32, f32) {
    let by = _mm512_set1_ps(shift);
    let (mut a, mut q) = ([_mm512_setzero_ps(); 4], [_mm512_setzero_ps(); 4]);
    let whole = x.len() - x.len() % (4 * LANES);
    for o in (0..whole).step_by(4 * LANES) {
        unrolled!(H in 0 1 2 3 => {
            // SAFETY: `whole` ends inside x.
            let d = _mm512_sub_ps(unsafe { at(x, o + H * LANES) }, by);
            a[H] = _mm512_add_ps(a[H], d);
            q[H] = _mm512_fmadd_ps(d, d, q[H]);
        });
    }
    let all = |v: [__m512; 4]| {
        let halves = [_mm512_add_ps(v[0], v[1]), _mm512_add_ps(v[2], v[3])];
        _mm512_reduce_add_ps(_mm512_add_ps(halves[0], halves[1]))
    };
    let (mut sum, mut squares) = (all(a), all(q));
    for v in &x[whole..] {
        sum += v - shift;
        squares = (v - shift).mul_add(v - shift, squares);
    }
    (sum, squares)
}
