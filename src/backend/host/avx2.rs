//! Kernels of AVX2 behind [`super::by_hand`], f32 only: the twin of [`super::avx512`] for sixteen registers of eight values.

use std::arch::x86_64::*;

use super::avx512::unrolled;
use super::by_hand::{Grid, ROWS};

/// Values of a vector.
const LANES: usize = 8;

/// Eight values from `i` on.
///
/// # Safety
/// They are inside `s`.
#[target_feature(enable = "avx2")]
#[inline]
#[allow(unsafe_code)]
unsafe fn at(s: &[f32], i: usize) -> __m256 {
    debug_assert!(i + LANES <= s.len());
    // SAFETY: the caller says so.
    unsafe { _mm256_loadu_ps(s.as_ptr().add(i)) }
}

/// `R` rows of outputs that lie `dilation` apart, from `row` on, `NV` vectors at a time. The nine taps of a 3x3 kernel stay in registers
/// beside the sums of four rows; of the 25 of a 5x5 kernel each is loaded for two vectors.
#[target_feature(enable = "avx2,fma")]
#[inline]
#[allow(unsafe_code)]
fn correlate_rows<const K: usize, const KK: usize, const R: usize, const NV: usize>(
    g: &Grid,
    s: &[f32],
    taps: [__m256; KK],
    row: usize,
    y: &mut [f32],
) {
    let (d, step) = (g.dilation, g.dilation * g.in_row);
    for o in (0..g.len).step_by(NV * LANES) {
        let base = row * g.in_row + o;
        let mut acc = [[_mm256_setzero_ps(); NV]; R];
        unrolled!(I in 0 1 2 3 4 5 6 7 => {
            if I < K + R - 1 {
                unrolled!(X in 0 1 2 3 4 => {
                    if X < K {
                        let mut v = [_mm256_setzero_ps(); NV];
                        unrolled!(N in 0 1 => {
                            if N < NV {
                                // SAFETY: `Grid::check` bounds the last row and tap.
                                v[N % NV] = unsafe { at(s, base + I * step + X * d + N * LANES) };
                            }
                        });
                        unrolled!(Q in 0 1 2 3 => {
                            if Q < R && I.wrapping_sub(Q) < K {
                                let t = taps[(I.wrapping_sub(Q) * K + X) % KK];
                                unrolled!(N in 0 1 => {
                                    if N < NV {
                                        acc[Q % R][N % NV] = _mm256_fmadd_ps(v[N % NV], t, acc[Q % R][N % NV]);
                                    }
                                });
                            }
                        });
                    }
                });
            }
        });
        for (q, v) in acc.into_iter().enumerate() {
            for (n, v) in v.into_iter().enumerate() {
                let to = (row + q * d) * g.out_row + o + n * LANES;
                debug_assert!(to + LANES <= y.len());
                // SAFETY: as above.
                unsafe { _mm256_storeu_ps(y.as_mut_ptr().add(to), v) };
            }
        }
    }
}

/// `y[o] = sum over taps of w * s`. The grid has been checked.
#[target_feature(enable = "avx2,fma")]
pub fn correlate<const K: usize, const KK: usize>(g: &Grid, s: &[f32], w: &[f32], y: &mut [f32]) {
    let mut taps = [_mm256_setzero_ps(); KK];
    for (t, &w) in taps.iter_mut().zip(&w[..K * K]) {
        *t = _mm256_set1_ps(w);
    }
    let whole = g.rows - g.rows % (ROWS * g.dilation);
    for row in 0..g.rows {
        match (row >= whole, K) {
            (true, _) => correlate_rows::<K, KK, 1, 2>(g, s, taps, row, y),
            (false, _) if row % (ROWS * g.dilation) >= g.dilation => {}
            (false, 3) => correlate_rows::<K, KK, ROWS, 1>(g, s, taps, row, y),
            (false, _) => correlate_rows::<K, KK, ROWS, 2>(g, s, taps, row, y),
        }
    }
}

/// Adds `dy * s` of `R` rows at `G` rows of taps from `FIRST` on to their sums.
#[target_feature(enable = "avx2,fma")]
#[inline]
#[allow(unsafe_code)]
fn gradient_rows<const K: usize, const R: usize, const FIRST: usize, const G: usize>(
    g: &Grid,
    dy: &[f32],
    s: &[f32],
    row: usize,
    sums: &mut [[__m256; K]; K],
) {
    let (d, step) = (g.dilation, g.dilation * g.in_row);
    let mut acc = [[_mm256_setzero_ps(); K]; G];
    acc.copy_from_slice(&sums[FIRST..FIRST + G]);
    for o in (0..g.len).step_by(LANES) {
        let base = (row + FIRST * d) * g.in_row + o;
        let mut of = [_mm256_setzero_ps(); R];
        unrolled!(Q in 0 1 2 3 => {
            if Q < R {
                // SAFETY: `Grid::check` bounds the last row.
                of[Q % R] = unsafe { at(dy, (row + Q * d) * g.out_row + o) };
            }
        });
        unrolled!(I in 0 1 2 3 4 5 => {
            if I < G + R - 1 {
                unrolled!(X in 0 1 2 3 4 => {
                    if X < K {
                        // SAFETY: as above, and the last tap.
                        let v = unsafe { at(s, base + I * step + X * d) };
                        unrolled!(Q in 0 1 2 3 => {
                            if Q < R && I.wrapping_sub(Q) < G {
                                let t = &mut acc[I.wrapping_sub(Q) % G][X % K];
                                *t = _mm256_fmadd_ps(v, of[Q % R], *t);
                            }
                        });
                    }
                });
            }
        });
    }
    sums[FIRST..FIRST + G].copy_from_slice(&acc);
}

/// [`gradient_rows`] of every row of taps: the nine sums of a 3x3 kernel at once, those of a 5x5 kernel in groups that fit the registers.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn gradient_groups<const K: usize, const R: usize>(
    g: &Grid,
    dy: &[f32],
    s: &[f32],
    row: usize,
    sums: &mut [[__m256; K]; K],
) {
    if K == 3 {
        return gradient_rows::<K, R, 0, 3>(g, dy, s, row, sums);
    }
    gradient_rows::<K, R, 0, 2>(g, dy, s, row, sums);
    gradient_rows::<K, R, 2, 2>(g, dy, s, row, sums);
    gradient_rows::<K, R, 4, 1>(g, dy, s, row, sums);
}

/// `dw[t] += sum dy * s`. The grid has been checked.
#[target_feature(enable = "avx2,fma")]
pub fn weight_gradient<const K: usize>(g: &Grid, dy: &[f32], s: &[f32], dw: &mut [f32]) {
    let mut sums = [[_mm256_setzero_ps(); K]; K];
    let whole = g.rows - g.rows % (ROWS * g.dilation);
    for row in 0..g.rows {
        if row >= whole {
            gradient_groups::<K, 1>(g, dy, s, row, &mut sums);
        } else if row % (ROWS * g.dilation) < g.dilation {
            gradient_groups::<K, ROWS>(g, dy, s, row, &mut sums);
        }
    }
    for (dw, v) in dw[..K * K].iter_mut().zip(sums.as_flattened()) {
        *dw += sum(*v);
    }
}

/// Sum of the lanes by halving.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn sum(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
}

/// Sum of `x - shift` and of its square.
#[target_feature(enable = "avx2,fma")]
#[allow(unsafe_code)]
pub fn shifted_sums(x: &[f32], shift: f32) -> (f32, f32) {
    let by = _mm256_set1_ps(shift);
    let (mut a, mut q) = ([_mm256_setzero_ps(); 4], [_mm256_setzero_ps(); 4]);
    let whole = x.len() - x.len() % (4 * LANES);
    for o in (0..whole).step_by(4 * LANES) {
        unrolled!(H in 0 1 2 3 => {
            // SAFETY: `whole` ends inside x.
            let d = _mm256_sub_ps(unsafe { at(x, o + H * LANES) }, by);
            a[H] = _mm256_add_ps(a[H], d);
            q[H] = _mm256_fmadd_ps(d, d, q[H]);
        });
    }
    let all = |v: [__m256; 4]| {
        let halves = [_mm256_add_ps(v[0], v[1]), _mm256_add_ps(v[2], v[3])];
        sum(_mm256_add_ps(halves[0], halves[1]))
    };
    let (mut sums, mut squares) = (all(a), all(q));
    for v in &x[whole..] {
        sums += v - shift;
        squares = (v - shift).mul_add(v - shift, squares);
    }
    (sums, squares)
}
