//! Matrix products of AVX-512 behind [`super::products`], f32 only. The dispatcher has checked every extent.

use std::arch::x86_64::*;

use super::LANES;
use super::avx512::unrolled;
use super::products::{Runs, TILE_ROWS};

/// Vectors of a tile of C.
const WIDE: usize = 3;
/// Rows of B at a time in products along rows.
const DOTS: usize = 6;

/// `M` rows of C by `NV` vectors, of which the last counts where `mask` says; `a` holds column by column.
///
/// # Safety
/// Every row of B from `at` on and `rows` rows of C hold the vectors.
#[target_feature(enable = "avx512f")]
#[inline]
#[allow(unsafe_code)]
unsafe fn tile<const M: usize, const NV: usize>(
    a: &[f32],
    offsets: &[usize],
    b: *const f32,
    c: *mut f32,
    ldc: usize,
    rows: usize,
    mask: __mmask16,
    accumulate: bool,
) {
    let mut acc = [[_mm512_setzero_ps(); NV]; M];
    for (&offset, a) in offsets.iter().zip(a.chunks_exact(M)) {
        let mut v = [_mm512_setzero_ps(); NV];
        unrolled!(Q in 0 1 2 => {
            if Q < NV {
                // SAFETY: the caller says so.
                let at = unsafe { b.add(offset + Q * LANES) };
                v[Q % NV] = match Q + 1 == NV {
                    // SAFETY: as above.
                    true => unsafe { _mm512_maskz_loadu_ps(mask, at) },
                    // SAFETY: as above.
                    false => unsafe { _mm512_loadu_ps(at) },
                };
            }
        });
        unrolled!(R in 0 1 2 3 4 5 6 7 => {
            if R < M {
                let x = _mm512_set1_ps(a[R % M]);
                unrolled!(Q in 0 1 2 => {
                    if Q < NV {
                        acc[R % M][Q % NV] = _mm512_fmadd_ps(x, v[Q % NV], acc[R % M][Q % NV]);
                    }
                });
            }
        });
    }
    unrolled!(R in 0 1 2 3 4 5 6 7 => {
        if R < M && R < rows {
            unrolled!(Q in 0 1 2 => {
                if Q < NV {
                    let mask = if Q + 1 == NV { mask } else { !0 };
                    // SAFETY: as above.
                    let at = unsafe { c.add(R * ldc + Q * LANES) };
                    let mut v = acc[R % M][Q % NV];
                    if accumulate {
                        // SAFETY: as above.
                        v = _mm512_add_ps(v, unsafe { _mm512_maskz_loadu_ps(mask, at) });
                    }
                    // SAFETY: as above.
                    unsafe { _mm512_mask_storeu_ps(at, mask, v) };
                }
            });
        }
    });
}

/// Rows of C that `a`, packed for them, makes: of `len` columns from `b` and `c` on.
///
/// # Safety
/// As [`tile`], for `len` columns.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
unsafe fn rows<const M: usize>(
    a: &[f32],
    offsets: &[usize],
    b: *const f32,
    c: *mut f32,
    ldc: usize,
    count: usize,
    len: usize,
    accumulate: bool,
) {
    let last = match len % LANES {
        0 => !0,
        n => (1 << n) - 1,
    };
    // SAFETY: the caller says so.
    unsafe {
        match len.div_ceil(LANES) {
            3 => tile::<M, 3>(a, offsets, b, c, ldc, count, last, accumulate),
            2 => tile::<M, 2>(a, offsets, b, c, ldc, count, last, accumulate),
            _ => tile::<M, 1>(a, offsets, b, c, ldc, count, last, accumulate),
        }
    }
}

/// `C = A B`, or `C += A B`, for `m` rows of C that are `ldc` apart; `a` is packed as [`super::products::pack`] does.
///
/// # Safety
/// Every run of every row of B lies in `b`, every run of every row of C in `c`.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
pub unsafe fn product(
    m: usize,
    a: &[f32],
    offsets: &[usize],
    b: &[f32],
    g: &Runs,
    c: &mut [f32],
    ldc: usize,
    accumulate: bool,
) {
    let k = offsets.len();
    for run in 0..g.runs {
        for j in (0..g.len).step_by(WIDE * LANES) {
            let len = (g.len - j).min(WIDE * LANES);
            // SAFETY: the caller says so.
            let b = unsafe { b.as_ptr().add(run * g.b_step + j) };
            for (block, i) in (0..m).step_by(TILE_ROWS).enumerate() {
                let (at, count) = (block * TILE_ROWS * k, (m - i).min(TILE_ROWS));
                // SAFETY: as above.
                unsafe {
                    let c = c.as_mut_ptr().add(i * ldc + run * g.c_step + j);
                    match count {
                        1 => rows::<1>(&a[at..][..k], offsets, b, c, ldc, 1, len, accumulate),
                        2..=4 => {
                            let a = &a[at..][..4 * k];
                            rows::<4>(a, offsets, b, c, ldc, count, len, accumulate);
                        }
                        _ => {
                            let a = &a[at..][..TILE_ROWS * k];
                            rows::<TILE_ROWS>(a, offsets, b, c, ldc, count, len, accumulate);
                        }
                    }
                }
            }
        }
    }
}

/// `C[r][p] += <row r of A, row p of B>` for `M` rows and `P` offsets.
///
/// # Safety
/// As [`product`], with A in the place of C.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
unsafe fn dots<const M: usize, const P: usize>(
    a: *const f32,
    lda: usize,
    b: *const f32,
    offsets: &[usize],
    g: &Runs,
    c: &mut [f32],
    ldc: usize,
) {
    let mut acc = [[_mm512_setzero_ps(); P]; M];
    let mut at = [0; P];
    at.copy_from_slice(&offsets[..P]);
    for run in 0..g.runs {
        for j in (0..g.len).step_by(LANES) {
            let mask = match g.len - j {
                n if n < LANES => (1 << n) - 1,
                _ => !0,
            };
            let mut x = [_mm512_setzero_ps(); M];
            unrolled!(R in 0 1 2 3 => {
                if R < M {
                    // SAFETY: the caller says so.
                    x[R % M] = unsafe {
                        _mm512_maskz_loadu_ps(mask, a.add(R * lda + run * g.c_step + j))
                    };
                }
            });
            unrolled!(Q in 0 1 2 3 4 5 => {
                if Q < P {
                    // SAFETY: as above.
                    let v = unsafe {
                        _mm512_maskz_loadu_ps(mask, b.add(at[Q % P] + run * g.b_step + j))
                    };
                    unrolled!(R in 0 1 2 3 => {
                        if R < M {
                            acc[R % M][Q % P] = _mm512_fmadd_ps(x[R % M], v, acc[R % M][Q % P]);
                        }
                    });
                }
            });
        }
    }
    unrolled!(R in 0 1 2 3 => {
        if R < M {
            unrolled!(Q in 0 1 2 3 4 5 => {
                if Q < P {
                    c[R * ldc + Q] += _mm512_reduce_add_ps(acc[R % M][Q % P]);
                }
            });
        }
    });
}

/// `C (m x offsets) += A B^T`: rows of A are `lda` apart, those of C as long as there are offsets.
///
/// # Safety
/// As [`product`], with A in the place of C.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
pub unsafe fn transposed(
    m: usize,
    a: &[f32],
    lda: usize,
    offsets: &[usize],
    b: &[f32],
    g: &Runs,
    c: &mut [f32],
) {
    let n = offsets.len();
    let (whole, b) = (n - n % DOTS, b.as_ptr());
    for i in (0..m).step_by(4) {
        let four = i + 4 <= m;
        for r in i..if four { i + 1 } else { m } {
            for p in (0..whole).step_by(DOTS) {
                let (of, c) = (&offsets[p..], &mut c[r * n + p..]);
                // SAFETY: the caller says so.
                unsafe {
                    let a = a.as_ptr().add(r * lda);
                    match four {
                        true => dots::<4, DOTS>(a, lda, b, of, g, c, n),
                        false => dots::<1, DOTS>(a, lda, b, of, g, c, n),
                    }
                }
            }
            for p in whole..n {
                let (of, c) = (&offsets[p..], &mut c[r * n + p..]);
                // SAFETY: as above.
                unsafe {
                    let a = a.as_ptr().add(r * lda);
                    match four {
                        true => dots::<4, 1>(a, lda, b, of, g, c, n),
                        false => dots::<1, 1>(a, lda, b, of, g, c, n),
                    }
                }
            }
        }
    }
}
