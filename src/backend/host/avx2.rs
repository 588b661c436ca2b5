//! Kernels of AVX2 behind [`super::by_hand`], f32 only: the twin of [`super::avx512`] for sixteen registers of eight values.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx512::unrolled;
use super::by_hand::{Grid, ROWS};

/// Values of a vector.
const LANES: usize = 8;

/// The same pointer, of which the compiler does not know how it came about: loads around it stay one register and offsets, where the
/// compiler would keep a pointer for every tap, most of them in memory.
#[inline(always)]
#[allow(unsafe_code)]
#[allow(clippy::pointers_in_nomem_asm_block)] // nothing is read: there is no instruction
fn opaque(mut p: *const f32) -> *const f32 {
    // SAFETY: no instruction.
    unsafe { asm!("/* {p} */", p = inout(reg) p, options(pure, nomem, nostack, preserves_flags)) };
    p
}

/// The distance of two taps of a kernel: `D`, or any if that is 0.
fn dilation<const D: usize>(g: &Grid) -> usize {
    if D == 0 { g.dilation } else { D }
}

/// `R` rows of outputs that lie `dilation` apart, from `row` on, two vectors at a time: eight sums, as many as keep both units busy.
#[target_feature(enable = "avx2,fma")]
#[inline]
#[allow(unsafe_code)]
fn correlate_rows<const K: usize, const KK: usize, const D: usize, const R: usize>(
    g: &Grid,
    s: &[f32],
    taps: &[__m256; KK],
    row: usize,
    y: &mut [f32],
) {
    let d = dilation::<D>(g);
    let step = d * g.in_row;
    for o in (0..g.len).step_by(2 * LANES) {
        // SAFETY: the first tap of the first row; `Grid::check` bounds the last of the last.
        let base = opaque(unsafe { s.as_ptr().add(row * g.in_row + o) });
        let mut acc = [[_mm256_setzero_ps(); 2]; R];
        unrolled!(I in 0 1 2 3 4 5 6 7 => {
            if I < K + R - 1 {
                unrolled!(X in 0 1 2 3 4 => {
                    if X < K {
                        // SAFETY: as above.
                        let v = unsafe {
                            let at = base.add(I * step + X * d);
                            [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(LANES))]
                        };
                        unrolled!(Q in 0 1 2 3 => {
                            if Q < R && I.wrapping_sub(Q) < K {
                                let t = taps[(I.wrapping_sub(Q) * K + X) % KK];
                                acc[Q % R][0] = _mm256_fmadd_ps(v[0], t, acc[Q % R][0]);
                                acc[Q % R][1] = _mm256_fmadd_ps(v[1], t, acc[Q % R][1]);
                            }
                        });
                    }
                });
            }
        });
        for (q, [a, b]) in acc.into_iter().enumerate() {
            let to = (row + q * d) * g.out_row + o;
            debug_assert!(to + 2 * LANES <= y.len());
            // SAFETY: as above.
            unsafe {
                let at = y.as_mut_ptr().add(to);
                _mm256_storeu_ps(at, a);
                _mm256_storeu_ps(at.add(LANES), b);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn correlate_at<const K: usize, const KK: usize, const D: usize>(
    g: &Grid,
    s: &[f32],
    w: &[f32],
    y: &mut [f32],
) {
    let d = dilation::<D>(g);
    let mut taps = [_mm256_setzero_ps(); KK];
    for (t, &w) in taps.iter_mut().zip(&w[..K * K]) {
        *t = _mm256_set1_ps(w);
    }
    let mut row = 0;
    while row + ROWS * d <= g.rows {
        for row in row..row + d {
            correlate_rows::<K, KK, D, ROWS>(g, s, &taps, row, y);
        }
        row += ROWS * d;
    }
    for row in row..g.rows {
        correlate_rows::<K, KK, D, 1>(g, s, &taps, row, y);
    }
}

/// `y[o] = sum over taps of w * s`. The grid has been checked.
#[target_feature(enable = "avx2,fma")]
pub fn correlate<const K: usize, const KK: usize>(g: &Grid, s: &[f32], w: &[f32], y: &mut [f32]) {
    match g.dilation {
        1 => correlate_at::<K, KK, 1>(g, s, w, y),
        2 => correlate_at::<K, KK, 2>(g, s, w, y),
        _ => correlate_at::<K, KK, 0>(g, s, w, y),
    }
}

/// Adds `dy * s` of `R` rows to the sums of `G` rows of taps from `FIRST` on.
#[target_feature(enable = "avx2,fma")]
#[inline]
#[allow(unsafe_code)]
fn gradient_rows<
    const K: usize,
    const D: usize,
    const R: usize,
    const FIRST: usize,
    const G: usize,
>(
    g: &Grid,
    dy: &[f32],
    s: &[f32],
    row: usize,
    sums: &mut [[__m256; K]; G],
) {
    let d = dilation::<D>(g);
    let mut acc = *sums;
    let step = d * g.in_row;
    for o in (0..g.len).step_by(LANES) {
        // SAFETY: the first tap of the first row; `Grid::check` bounds the last of the last.
        let (base, from) = unsafe {
            let base = s.as_ptr().add((row + FIRST * d) * g.in_row + o);
            (opaque(base), dy.as_ptr().add(row * g.out_row + o))
        };
        let mut of = [_mm256_setzero_ps(); R];
        unrolled!(Q in 0 1 2 3 => {
            if Q < R {
                // SAFETY: as above.
                of[Q % R] = unsafe { _mm256_loadu_ps(from.add(Q * d * g.out_row)) };
            }
        });
        unrolled!(I in 0 1 2 3 4 5 => {
            if I < G + R - 1 {
                unrolled!(X in 0 1 2 3 4 => {
                    if X < K {
                        // SAFETY: as above.
                        let v = unsafe { _mm256_loadu_ps(base.add(I * step + X * d)) };
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
    *sums = acc;
}

/// [`weight_gradient`] of `G` rows of taps from `FIRST` on, whose sums stay in registers, `R` rows of outputs at a time.
#[target_feature(enable = "avx2,fma")]
fn gradient_at<
    const K: usize,
    const D: usize,
    const R: usize,
    const FIRST: usize,
    const G: usize,
>(
    g: &Grid,
    dy: &[f32],
    s: &[f32],
    dw: &mut [f32],
) {
    let d = dilation::<D>(g);
    let mut sums = [[_mm256_setzero_ps(); K]; G];
    let mut row = 0;
    while row + R * d <= g.rows {
        for row in row..row + d {
            gradient_rows::<K, D, R, FIRST, G>(g, dy, s, row, &mut sums);
        }
        row += R * d;
    }
    for row in row..g.rows {
        gradient_rows::<K, D, 1, FIRST, G>(g, dy, s, row, &mut sums);
    }
    for (dw, v) in dw[FIRST * K..].iter_mut().zip(sums.as_flattened()) {
        *dw += sum(*v);
    }
}

/// The nine sums of a 3x3 kernel at once, those of a 5x5 kernel in groups that fit the registers.
#[target_feature(enable = "avx2,fma")]
fn gradient_groups<const K: usize, const D: usize>(
    g: &Grid,
    dy: &[f32],
    s: &[f32],
    dw: &mut [f32],
) {
    if K == 3 {
        return gradient_at::<K, D, ROWS, 0, 3>(g, dy, s, dw);
    }
    gradient_at::<K, D, 2, 0, 2>(g, dy, s, dw);
    gradient_at::<K, D, 2, 2, 2>(g, dy, s, dw);
    gradient_at::<K, D, ROWS, 4, 1>(g, dy, s, dw);
}

/// `dw[t] += sum dy * s`. The grid has been checked.
#[target_feature(enable = "avx2,fma")]
pub fn weight_gradient<const K: usize>(g: &Grid, dy: &[f32], s: &[f32], dw: &mut [f32]) {
    match g.dilation {
        1 => gradient_groups::<K, 1>(g, dy, s, dw),
        2 => gradient_groups::<K, 2>(g, dy, s, dw),
        _ => gradient_groups::<K, 0>(g, dy, s, dw),
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

/// Sum of all lanes of four vectors.
#[target_feature(enable = "avx2")]
#[inline]
fn all(v: [__m256; 4]) -> f32 {
    let halves = [_mm256_add_ps(v[0], v[1]), _mm256_add_ps(v[2], v[3])];
    sum(_mm256_add_ps(halves[0], halves[1]))
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
            let d = _mm256_sub_ps(unsafe { _mm256_loadu_ps(x.as_ptr().add(o + H * LANES)) }, by);
            a[H] = _mm256_add_ps(a[H], d);
            q[H] = _mm256_fmadd_ps(d, d, q[H]);
        });
    }
    let (mut sums, mut squares) = (all(a), all(q));
    for v in &x[whole..] {
        sums += v - shift;
        squares = (v - shift).mul_add(v - shift, squares);
    }
    (sums, squares)
}

/// `(sum of dy, sum of dy (x - mean))`; with `RELU` only where `a x + b > 0`.
#[target_feature(enable = "avx2,fma")]
#[allow(unsafe_code)]
pub fn gradient_sums<const RELU: bool>(
    x: &[f32],
    dy: &[f32],
    mean: f32,
    a: f32,
    b: f32,
) -> (f32, f32) {
    assert_eq!(x.len(), dy.len());
    let by = _mm256_set1_ps(mean);
    let (av, bv) = (_mm256_set1_ps(a), _mm256_set1_ps(b));
    let (mut s, mut q) = ([_mm256_setzero_ps(); 4], [_mm256_setzero_ps(); 4]);
    let whole = x.len() - x.len() % (4 * LANES);
    for o in (0..whole).step_by(4 * LANES) {
        unrolled!(H in 0 1 2 3 => {
            let at = o + H * LANES;
            // SAFETY: `whole` ends inside both, which are of one length.
            let (v, mut g) = unsafe {
                (_mm256_loadu_ps(x.as_ptr().add(at)), _mm256_loadu_ps(dy.as_ptr().add(at)))
            };
            if RELU {
                let on = _mm256_fmadd_ps(v, av, bv);
                g = _mm256_and_ps(g, _mm256_cmp_ps::<_CMP_GT_OQ>(on, _mm256_setzero_ps()));
            }
            s[H] = _mm256_add_ps(s[H], g);
            q[H] = _mm256_fmadd_ps(g, _mm256_sub_ps(v, by), q[H]);
        });
    }
    let (mut sums, mut products) = (all(s), all(q));
    for (&x, &dy) in x[whole..].iter().zip(&dy[whole..]) {
        if !RELU || x.mul_add(a, b) > 0.0 {
            sums += dy;
            products = dy.mul_add(x - mean, products);
        }
    }
    (sums, products)
}
