//! Matrix products of AVX2 behind [`super::products`], f32 only: the twin of [`super::avx512_products`] for sixteen registers of eight
//! values. The dispatcher has checked every extent.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx2::sum;
use super::avx512::unrolled;
use super::products::{Runs, TILE_ROWS};

/// Values of a vector.
const LANES: usize = 8;
/// Rows of a tile of C. Its twelve sums, three vectors of B and a value of A fill the registers.
const HALF: usize = TILE_ROWS / 2;
/// Vectors of a tile of C, and rows of B at a time in products along rows.
const WIDE: usize = 3;

/// The first `n` lanes, 1 to 8.
#[target_feature(enable = "avx2")]
#[inline]
#[allow(unsafe_code)]
fn first(n: usize) -> __m256i {
    const MASKS: [i32; 2 * LANES] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let from = &MASKS[LANES - n..][..LANES];
    // SAFETY: eight values from there on.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// `acc += a v`. Of three vectors in one piece that needs one register beside theirs: left to order these alone, the compiler takes two
/// where twelve sums leave one, and the sums go through memory.
#[target_feature(enable = "avx2,fma")]
#[inline]
#[allow(unsafe_code)]
fn add_multiple<const NV: usize>(acc: &mut [__m256; NV], a: &f32, v: &[__m256; NV]) {
    if let ([c0, c1, c2], [v0, v1, v2]) = (&mut acc[..], &v[..]) {
        // SAFETY: reads what is borrowed; the machine has AVX2 and FMA.
        unsafe {
            asm!(
                "vbroadcastss {x}, dword ptr [{a}]",
                "vfmadd231ps {c0}, {x}, {v0}",
                "vfmadd231ps {c1}, {x}, {v1}",
                "vfmadd231ps {c2}, {x}, {v2}",
                x = out(ymm_reg) _,
                a = in(reg) a,
                c0 = inout(ymm_reg) *c0,
                c1 = inout(ymm_reg) *c1,
                c2 = inout(ymm_reg) *c2,
                v0 = in(ymm_reg) *v0,
                v1 = in(ymm_reg) *v1,
                v2 = in(ymm_reg) *v2,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        return;
    }
    let x = _mm256_set1_ps(*a);
    for (c, v) in acc.iter_mut().zip(v) {
        *c = _mm256_fmadd_ps(x, *v, *c);
    }
}

/// Rows `FIRST` to `FIRST + 4` of the `STEP` that `a` holds column by column, by `NV` vectors; unless `WHOLE` the last counts where
/// `mask` says.
///
/// # Safety
/// Every row of B from `at` on and `rows` rows of C hold the vectors.
#[target_feature(enable = "avx2,fma")]
#[inline]
#[allow(unsafe_code)]
unsafe fn tile<const STEP: usize, const FIRST: usize, const NV: usize, const WHOLE: bool>(
    a: &[f32],
    offsets: &[usize],
    b: *const f32,
    c: *mut f32,
    ldc: usize,
    rows: usize,
    mask: __m256i,
    accumulate: bool,
) {
    let mut acc = [[_mm256_setzero_ps(); NV]; HALF];
    for (&offset, a) in offsets.iter().zip(a.chunks_exact(STEP)) {
        let mut v = [_mm256_setzero_ps(); NV];
        unrolled!(Q in 0 1 2 => {
            if Q < NV {
                // SAFETY: the caller says so.
                let at = unsafe { b.add(offset + Q * LANES) };
                v[Q % NV] = match WHOLE || Q + 1 < NV {
                    // SAFETY: as above.
                    true => unsafe { _mm256_loadu_ps(at) },
                    // SAFETY: as above.
                    false => unsafe { _mm256_maskload_ps(at, mask) },
                };
            }
        });
        unrolled!(R in 0 1 2 3 => {
            if R < STEP {
                let a = &a[(FIRST + R) % STEP];
                add_multiple(&mut acc[R], a, &v);
            }
        });
    }
    unrolled!(R in 0 1 2 3 => {
        if R < STEP && R < rows {
            unrolled!(Q in 0 1 2 => {
                if Q < NV {
                    let whole = WHOLE || Q + 1 < NV;
                    // SAFETY: as above.
                    unsafe {
                        let at = c.add(R * ldc + Q * LANES);
                        let mut v = acc[R][Q % NV];
                        if accumulate {
                            let was = match whole {
                                true => _mm256_loadu_ps(at),
                                false => _mm256_maskload_ps(at, mask),
                            };
                            v = _mm256_add_ps(v, was);
                        }
                        match whole {
                            true => _mm256_storeu_ps(at, v),
                            false => _mm256_maskstore_ps(at, mask, v),
                        }
                    }
                }
            });
        }
    });
}

/// Rows of C that `a`, packed for `STEP` of them, makes from its row `FIRST` on: of `len` columns from `b` and `c` on.
///
/// # Safety
/// As [`tile`], for `len` columns.
#[target_feature(enable = "avx2,fma")]
#[allow(unsafe_code)]
unsafe fn rows<const STEP: usize, const FIRST: usize>(
    a: &[f32],
    offsets: &[usize],
    b: *const f32,
    c: *mut f32,
    ldc: usize,
    count: usize,
    len: usize,
    accumulate: bool,
) {
    let vectors = len.div_ceil(LANES);
    let mask = first(len - (vectors - 1) * LANES);
    macro_rules! tile {
        ($nv:literal, $whole:literal) => {
            // SAFETY: the caller says so.
            unsafe {
                tile::<STEP, FIRST, $nv, $whole>(a, offsets, b, c, ldc, count, mask, accumulate)
            }
        };
    }
    match (vectors, len.is_multiple_of(LANES)) {
        (3, true) => tile!(3, true),
        (3, false) => tile!(3, false),
        (2, true) => tile!(2, true),
        (2, false) => tile!(2, false),
        (_, true) => tile!(1, true),
        (_, false) => tile!(1, false),
    }
}

/// `C = A B`, or `C += A B`, for `m` rows of C that are `ldc` apart; `a` is packed as [`super::products::pack`] does.
///
/// # Safety
/// Every run of every row of B lies in `b`, every run of every row of C in `c`.
#[target_feature(enable = "avx2,fma")]
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
                        1 => rows::<1, 0>(&a[at..][..k], offsets, b, c, ldc, 1, len, accumulate),
                        2..=4 => {
                            let a = &a[at..][..HALF * k];
                            rows::<HALF, 0>(a, offsets, b, c, ldc, count, len, accumulate);
                        }
                        _ => {
                            let a = &a[at..][..TILE_ROWS * k];
                            rows::<TILE_ROWS, 0>(a, offsets, b, c, ldc, HALF, len, accumulate);
                            let (c, rest) = (c.add(HALF * ldc), count - HALF);
                            rows::<TILE_ROWS, HALF>(a, offsets, b, c, ldc, rest, len, accumulate);
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
#[target_feature(enable = "avx2,fma")]
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
    let mut acc = [[_mm256_setzero_ps(); P]; M];
    let mut at = [0; P];
    at.copy_from_slice(&offsets[..P]);
    macro_rules! add {
        ($run:ident, $j:ident, $at:ident => $load:expr) => {{
            let mut v = [_mm256_setzero_ps(); P];
            unrolled!(Q in 0 1 2 => {
                if Q < P {
                    // SAFETY: the caller says so.
                    v[Q % P] = unsafe {
                        let $at = b.add(at[Q % P] + $run * g.b_step + $j);
                        $load
                    };
                }
            });
            unrolled!(R in 0 1 2 3 => {
                if R < M {
                    // SAFETY: as above.
                    let x = unsafe {
                        let $at = a.add(R * lda + $run * g.c_step + $j);
                        $load
                    };
                    unrolled!(Q in 0 1 2 => {
                        if Q < P {
                            acc[R % M][Q % P] = _mm256_fmadd_ps(x, v[Q % P], acc[R % M][Q % P]);
                        }
                    });
                }
            });
        }};
    }
    let whole = g.len - g.len % LANES;
    let mask = first((g.len - whole).max(1));
    for run in 0..g.runs {
        for j in (0..whole).step_by(LANES) {
            add!(run, j, at => _mm256_loadu_ps(at));
        }
        if whole < g.len {
            add!(run, whole, at => _mm256_maskload_ps(at, mask));
        }
    }
    unrolled!(R in 0 1 2 3 => {
        if R < M {
            unrolled!(Q in 0 1 2 => {
                if Q < P {
                    c[R * ldc + Q] += sum(acc[R % M][Q % P]);
                }
            });
        }
    });
}

/// `C (m x offsets) += A B^T`: rows of A are `lda` apart, those of C as long as there are offsets.
///
/// # Safety
/// As [`product`], with A in the place of C.
#[target_feature(enable = "avx2,fma")]
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
    let (n, b) = (offsets.len(), b.as_ptr());
    for i in (0..m).step_by(HALF) {
        let four = i + HALF <= m;
        for r in i..if four { i + 1 } else { m } {
            let mut p = 0;
            while p < n {
                let (of, c) = (&offsets[p..], &mut c[r * n + p..]);
                // SAFETY: the caller says so.
                unsafe {
                    let a = a.as_ptr().add(r * lda);
                    match (four, n - p) {
                        (true, 3..) => dots::<HALF, WIDE>(a, lda, b, of, g, c, n),
                        (true, 2) => dots::<HALF, 2>(a, lda, b, of, g, c, n),
                        (true, _) => dots::<HALF, 1>(a, lda, b, of, g, c, n),
                        (false, 3..) => dots::<1, WIDE>(a, lda, b, of, g, c, n),
                        (false, 2) => dots::<1, 2>(a, lda, b, of, g, c, n),
                        (false, _) => dots::<1, 1>(a, lda, b, of, g, c, n),
                    }
                }
                p += WIDE.min(n - p);
            }
        }
    }
}
