//! Matrix products: [`super::products`] where it has kernels; else one for small matrices over long rows, as of pointwise convolutions,
//! and a GEMM crate for the rest.

use super::lanes::V;
use super::{Float, LANES, products, simd};
use crate::tensor::DType;

/// Columns handled at a time, so that a tile of B stays in the second-level cache.
const TILE: usize = 1024;
/// Up to this many rows and inner size the small kernel is ahead of the crate (its packing costs more than it gains).
const SMALL: usize = 64;

/// `C = A B` (or `C += A B`): A is `m x k` with strides `(ras, cas)`, B is `k x n` row-major, C is `m x n` row-major.
pub fn gemm<T: Float>(
    m: usize,
    k: usize,
    n: usize,
    a: &[T],
    ras: usize,
    cas: usize,
    b: &[T],
    c: &mut [T],
    accumulate: bool,
) {
    gemm_part(m, k, n, a, ras, cas, b, n, c, n, accumulate);
}

/// [`gemm`] over `n` columns of matrices whose rows lie `ldb` and `ldc` apart.
#[allow(unsafe_code)]
pub fn gemm_part<T: Float>(
    m: usize,
    k: usize,
    n: usize,
    a: &[T],
    ras: usize,
    cas: usize,
    b: &[T],
    ldb: usize,
    c: &mut [T],
    ldc: usize,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(ldb >= n && ldc >= n && c.len() >= (m - 1) * ldc + n);
    assert!(k == 0 || (b.len() >= (k - 1) * ldb + n && a.len() > (m - 1) * ras + (k - 1) * cas));
    if products::gemm([m, k, n], a, [ras, cas], b, ldb, c, ldc, accumulate) {
        return;
    }
    if m <= SMALL && k <= SMALL {
        if (ras, cas) == (k, 1) {
            return small(m, k, n, a, b, ldb, c, ldc, accumulate);
        }
        let mut packed = Vec::with_capacity(m * k);
        for i in 0..m {
            packed.extend((0..k).map(|p| a[i * ras + p * cas]));
        }
        return small(m, k, n, &packed, b, ldb, c, ldc, accumulate);
    }
    let beta = if accumulate { T::ONE } else { T::ZERO };
    // SAFETY: the asserts above bound every access; T is f32 or f64 exactly as T::DTYPE says.
    unsafe {
        match T::DTYPE {
            DType::F32 => matrixmultiply::sgemm(
                m,
                k,
                n,
                1.0,
                a.as_ptr().cast(),
                ras as isize,
                cas as isize,
                b.as_ptr().cast(),
                ldb as isize,
                1,
                beta.v() as f32,
                c.as_mut_ptr().cast(),
                ldc as isize,
                1,
            ),
            _ => matrixmultiply::dgemm(
                m,
                k,
                n,
                1.0,
                a.as_ptr().cast(),
                ras as isize,
                cas as isize,
                b.as_ptr().cast(),
                ldb as isize,
                1,
                beta.v(),
                c.as_mut_ptr().cast(),
                ldc as isize,
                1,
            ),
        }
    }
}

/// `C (m x n) += A (m x k) B^T` with B `n x k`: both operands are read along their long rows (weight gradients).
pub fn gemm_bt<T: Float>(m: usize, n: usize, k: usize, a: &[T], b: &[T], c: &mut [T]) {
    gemm_bt_part(m, n, k, a, k, b, c);
}

/// [`gemm_bt`] over `k` columns of A, whose rows lie `lda` apart.
#[allow(unsafe_code)]
pub fn gemm_bt_part<T: Float>(
    m: usize,
    n: usize,
    k: usize,
    a: &[T],
    lda: usize,
    b: &[T],
    c: &mut [T],
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(lda >= k && a.len() >= (m - 1) * lda + k);
    assert!(b.len() >= n * k && c.len() >= m * n);
    if products::gemm_bt([m, n, k], a, lda, b, c) {
        return;
    }
    if m <= SMALL && n <= SMALL {
        return small_bt(m, n, k, a, lda, b, c);
    }
    // SAFETY: the assert above bounds every access; T is f32 or f64 exactly as T::DTYPE says.
    unsafe {
        match T::DTYPE {
            DType::F32 => matrixmultiply::sgemm(
                m,
                k,
                n,
                1.0,
                a.as_ptr().cast(),
                lda as isize,
                1,
                b.as_ptr().cast(),
                1,
                k as isize,
                1.0,
                c.as_mut_ptr().cast(),
                n as isize,
                1,
            ),
            _ => matrixmultiply::dgemm(
                m,
                k,
                n,
                1.0,
                a.as_ptr().cast(),
                lda as isize,
                1,
                b.as_ptr().cast(),
                1,
                k as isize,
                1.0,
                c.as_mut_ptr().cast(),
                n as isize,
                1,
            ),
        }
    }
}

simd! {
    /// `C = A B` (or `C += A B`) for packed row-major A: 4 rows by 32 columns in registers, columns in tiles.
    fn small[T](m: usize, k: usize, n: usize, a: &[T], b: &[T], ldb: usize, c: &mut [T], ldc: usize, accumulate: bool) {
        let mut t0 = 0;
        while t0 < n {
            let t1 = (t0 + TILE).min(n);
            let mut i = 0;
            while i + 4 <= m {
                let mut j = t0;
                while j + 2 * LANES <= t1 {
                    let mut acc = [[V::splat(T::ZERO); 2]; 4];
                    for p in 0..k {
                        let b0 = V::load(&b[p * ldb + j..]);
                        let b1 = V::load(&b[p * ldb + j + LANES..]);
                        for r in 0..4 {
                            let av = V::splat(a[(i + r) * k + p]);
                            acc[r][0] = acc[r][0].fma(av, b0);
                            acc[r][1] = acc[r][1].fma(av, b1);
                        }
                    }
                    for r in 0..4 {
                        let at = (i + r) * ldc + j;
                        if accumulate {
                            V::load(&c[at..]).add(acc[r][0]).store(&mut c[at..]);
                            V::load(&c[at + LANES..]).add(acc[r][1]).store(&mut c[at + LANES..]);
                        } else {
                            acc[r][0].store(&mut c[at..]);
                            acc[r][1].store(&mut c[at + LANES..]);
                        }
                    }
                    j += 2 * LANES;
                }
                while j + LANES <= t1 {
                    let mut acc = [V::splat(T::ZERO); 4];
                    for p in 0..k {
                        let b0 = V::load(&b[p * ldb + j..]);
                        for r in 0..4 {
                            acc[r] = acc[r].fma(V::splat(a[(i + r) * k + p]), b0);
                        }
                    }
                    for r in 0..4 {
                        let at = (i + r) * ldc + j;
                        if accumulate {
                            V::load(&c[at..]).add(acc[r]).store(&mut c[at..]);
                        } else {
                            acc[r].store(&mut c[at..]);
                        }
                    }
                    j += LANES;
                }
                if j < t1 {
                    let w = t1 - j;
                    let mut acc = [V::splat(T::ZERO); 4];
                    for p in 0..k {
                        let mut bt = [T::ZERO; LANES];
                        bt[..w].copy_from_slice(&b[p * ldb + j..][..w]);
                        for r in 0..4 {
                            acc[r] = acc[r].fma(V::splat(a[(i + r) * k + p]), V(bt));
                        }
                    }
                    for r in 0..4 {
                        for l in 0..w {
                            let at = (i + r) * ldc + j + l;
                            c[at] = if accumulate { c[at] + acc[r].0[l] } else { acc[r].0[l] };
                        }
                    }
                }
                i += 4;
            }
            while i < m {
                if !accumulate {
                    c[i * ldc + t0..i * ldc + t1].fill(T::ZERO);
                }
                for p in 0..k {
                    let av = a[i * k + p];
                    let (dst, src) = (&mut c[i * ldc + t0..i * ldc + t1], &b[p * ldb + t0..p * ldb + t1]);
                    for (d, &s) in dst.iter_mut().zip(src) {
                        *d = av.mul_add(s, *d);
                    }
                }
                i += 1;
            }
            t0 = t1;
        }
    }
}

simd! {
    /// `C += A B^T`: 4 x 4 dot products at a time.
    fn small_bt[T](m: usize, n: usize, k: usize, a: &[T], lda: usize, b: &[T], c: &mut [T]) {
        let whole = k - k % LANES;
        let mut i = 0;
        while i < m {
            let mi = (m - i).min(4);
            let mut j = 0;
            while j < n {
                let nj = (n - j).min(4);
                let mut acc = [[V::splat(T::ZERO); 4]; 4];
                let mut p = 0;
                if mi == 4 && nj == 4 {
                    while p < whole {
                        let mut av = [V::splat(T::ZERO); 4];
                        for r in 0..4 {
                            av[r] = V::load(&a[(i + r) * lda + p..]);
                        }
                        for q in 0..4 {
                            let bv = V::load(&b[(j + q) * k + p..]);
                            for r in 0..4 {
                                acc[r][q] = acc[r][q].fma(av[r], bv);
                            }
                        }
                        p += LANES;
                    }
                } else {
                    while p < whole {
                        for r in 0..mi {
                            let av = V::load(&a[(i + r) * lda + p..]);
                            for q in 0..nj {
                                acc[r][q] = acc[r][q].fma(av, V::load(&b[(j + q) * k + p..]));
                            }
                        }
                        p += LANES;
                    }
                }
                for r in 0..mi {
                    for q in 0..nj {
                        let mut s = acc[r][q].sum();
                        for t in whole..k {
                            s = a[(i + r) * lda + t].mul_add(b[(j + q) * k + t], s);
                        }
                        c[(i + r) * n + j + q] += s;
                    }
                }
                j += 4;
            }
            i += 4;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn random(n: usize, seed: u64) -> Vec<f64> {
        let mut r = Rng::new(seed, &[]);
        (0..n).map(|_| r.normal()).collect()
    }

    #[test]
    fn products_agree_with_loops() {
        for (m, k, n) in [
            (1, 1, 1),
            (4, 4, 33),
            (5, 3, 50),
            (16, 16, 40),
            (7, 70, 19),
            (70, 9, 21),
            (3, 2, 1100),
        ] {
            let (a, b) = (random(m * k, 1), random(k * n, 2));
            let mut c = vec![1.0; m * n];
            gemm(m, k, n, &a, k, 1, &b, &mut c, true);
            let bt: Vec<f64> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
            let mut d = vec![1.0; m * n];
            gemm_bt(m, n, k, &a, &bt, &mut d);
            for i in 0..m {
                for j in 0..n {
                    let e: f64 = 1.0 + (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum::<f64>();
                    assert!((c[i * n + j] - e).abs() < 1e-12, "{m} {k} {n}");
                    assert!((d[i * n + j] - e).abs() < 1e-12, "{m} {k} {n}");
                }
            }
        }
    }

    #[test]
    fn parts_of_wider_matrices() {
        let (lda, ldb, ldc) = (90, 120, 130);
        for (m, k, n) in [(5, 7, 50), (8, 16, 33), (70, 80, 19)] {
            let (a, b, bt) = (random(m * lda, 1), random(k * ldb, 2), random(n * k, 3));
            let mut c = vec![1.0; m * ldc];
            gemm_part(m, k, n, &a, lda, 1, &b, ldb, &mut c, ldc, true);
            let mut d = vec![1.0; m * n];
            gemm_bt_part(m, n, k, &a, lda, &bt, &mut d);
            for at in 0..m * ldc {
                let (i, j) = (at / ldc, at % ldc);
                let row = |p: usize| a[i * lda + p];
                let e = if j < n {
                    (0..k).map(|p| row(p) * b[p * ldb + j]).sum::<f64>()
                } else {
                    0.0
                };
                assert!((c[at] - 1.0 - e).abs() < 1e-12, "{m} {k} {n}: {i} {j}");
                if j < n {
                    let e: f64 = (0..k).map(|p| row(p) * bt[j * k + p]).sum();
                    assert!(
                        (d[i * n + j] - 1.0 - e).abs() < 1e-12,
                        "{m} {k} {n}: {i} {j}"
                    );
                }
            }
        }
    }

    #[test]
    fn transposed_operand() {
        let (m, k, n) = (6, 5, 17);
        let (a, b) = (random(m * k, 1), random(k * n, 2));
        let mut c = vec![9.0; m * n];
        gemm(m, k, n, &a, 1, m, &b, &mut c, false);
        let e: f64 = (0..k).map(|p| a[p * m + 2] * b[p * n + 3]).sum();
        assert!((c[2 * n + 3] - e).abs() < 1e-12);
    }
}
