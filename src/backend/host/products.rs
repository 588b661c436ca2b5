//! Matrix products whose right operand is rows at offsets: a matrix, or the planes of a map seen through the taps of a convolution, of
//! which no copy is made. By hand for f32 on AVX-512 and on AVX2; elsewhere this module says that it has nothing, and the caller does it
//! another way.

use std::cell::RefCell;

use super::{Float, Isa, isa};
#[cfg(target_arch = "x86_64")]
use super::{avx2_products, avx512_products};
use crate::tensor::DType;

/// Rows of C that are packed together.
pub const TILE_ROWS: usize = 8;

/// Whether there are kernels for values of this type on this machine.
pub fn applies<T: Float>() -> bool {
    T::DTYPE == DType::F32 && isa() != Isa::Baseline
}

/// Runs of columns: run `r` is at `r b_step` of a row of B and at `r c_step` of a row of the other operand.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Runs {
    pub runs: usize,
    pub len: usize,
    pub b_step: usize,
    pub c_step: usize,
}

impl Runs {
    /// One run.
    pub fn one(len: usize) -> Runs {
        Runs {
            runs: 1,
            len,
            b_step: 0,
            c_step: 0,
        }
    }

    /// Asserts that B at these offsets and `m` rows that are `ldc` apart are inside their buffers.
    fn check<T>(&self, offsets: &[usize], b: &[T], m: usize, c: &[T], ldc: usize) {
        let end = |step: usize| (self.runs - 1) * step + self.len;
        assert!(self.runs > 0 && m > 0 && (m - 1) * ldc + end(self.c_step) <= c.len());
        let last = offsets.iter().max().copied().unwrap_or(0);
        assert!(offsets.is_empty() || last + end(self.b_step) <= b.len());
    }
}

/// A `(m, k)` with strides `(ras, cas)` as [`product`] reads it: eight rows at a time (the last four, or one), column by column.
pub fn pack<T: Float>(m: usize, k: usize, a: &[T], [ras, cas]: [usize; 2], out: &mut Vec<T>) {
    out.clear();
    for i in (0..m).step_by(TILE_ROWS) {
        let rows = (m - i).min(TILE_ROWS);
        let padded = match rows {
            1 => 1,
            2..=4 => 4,
            _ => TILE_ROWS,
        };
        for p in 0..k {
            out.extend((0..rows).map(|r| a[(i + r) * ras + p * cas]));
            out.extend((rows..padded).map(|_| T::ZERO));
        }
    }
}

/// `C = A B`, or `C += A B`: A `(m, offsets)` is [`pack`]ed, row p of B begins at `offsets[p]`, rows of C are `ldc` apart. False where
/// there is no such kernel.
pub fn product<T: Float>(
    m: usize,
    a: &[T],
    offsets: &[usize],
    b: &[T],
    g: &Runs,
    c: &mut [T],
    ldc: usize,
    accumulate: bool,
) -> bool {
    if applies::<T>() {
        let (a, b) = (bytemuck::cast_slice(a), bytemuck::cast_slice(b));
        let c = bytemuck::cast_slice_mut(c);
        product_by(isa(), m, a, offsets, b, g, c, ldc, accumulate);
    }
    applies::<T>()
}

/// [`product`] by the kernels for `with`, which this machine has.
#[allow(unsafe_code)]
fn product_by(
    with: Isa,
    m: usize,
    a: &[f32],
    offsets: &[usize],
    b: &[f32],
    g: &Runs,
    c: &mut [f32],
    ldc: usize,
    accumulate: bool,
) {
    g.check(offsets, b, m, c, ldc);
    #[cfg(target_arch = "x86_64")]
    match with {
        // SAFETY: the machine has AVX-512; `check` bounds every access; slices of A are cut with bounds.
        Isa::Avx512 => unsafe {
            avx512_products::product(m, a, offsets, b, g, c, ldc, accumulate);
        },
        // SAFETY: the machine has AVX2 and FMA; the rest as above.
        Isa::Avx2 => unsafe {
            avx2_products::product(m, a, offsets, b, g, c, ldc, accumulate);
        },
        Isa::Baseline => unreachable!("no kernels"),
    }
}

/// `C (m, offsets) += A B^T`, A `(m, runs)` with rows `lda` apart. False where there is no such kernel.
pub fn transposed<T: Float>(
    m: usize,
    a: &[T],
    lda: usize,
    offsets: &[usize],
    b: &[T],
    g: &Runs,
    c: &mut [T],
) -> bool {
    if applies::<T>() {
        let (a, b) = (bytemuck::cast_slice(a), bytemuck::cast_slice(b));
        let c = bytemuck::cast_slice_mut(c);
        transposed_by(isa(), m, a, lda, offsets, b, g, c);
    }
    applies::<T>()
}

/// [`transposed`] by the kernels for `with`, which this machine has.
#[allow(unsafe_code)]
fn transposed_by(
    with: Isa,
    m: usize,
    a: &[f32],
    lda: usize,
    offsets: &[usize],
    b: &[f32],
    g: &Runs,
    c: &mut [f32],
) {
    g.check(offsets, b, m, a, lda);
    assert!(c.len() >= m * offsets.len());
    #[cfg(target_arch = "x86_64")]
    match with {
        // SAFETY: the machine has AVX-512; `check` bounds every access; C is indexed with bounds.
        Isa::Avx512 => unsafe { avx512_products::transposed(m, a, lda, offsets, b, g, c) },
        // SAFETY: the machine has AVX2 and FMA; the rest as above.
        Isa::Avx2 => unsafe { avx2_products::transposed(m, a, lda, offsets, b, g, c) },
        Isa::Baseline => unreachable!("no kernels"),
    }
}

thread_local! {
    /// A packed left operand and the offsets of rows, kept for the next product.
    static SCRATCH: RefCell<(Vec<f32>, Vec<usize>)> = const { RefCell::new((vec![], vec![])) };
}

/// `C = A B`, or `C += A B`, of matrices: A `(m, k)` with strides, rows of B `ldb` and of C `ldc` apart, `n` columns. False where there
/// is no such kernel.
pub fn gemm<T: Float>(
    [m, k, n]: [usize; 3],
    a: &[T],
    strides: [usize; 2],
    b: &[T],
    ldb: usize,
    c: &mut [T],
    ldc: usize,
    accumulate: bool,
) -> bool {
    applies::<T>()
        && SCRATCH.with_borrow_mut(|(packed, offsets)| {
            pack(m, k, bytemuck::cast_slice(a), strides, packed);
            offsets.clear();
            offsets.extend((0..k).map(|p| p * ldb));
            let c: &mut [f32] = bytemuck::cast_slice_mut(c);
            let (b, g) = (bytemuck::cast_slice(b), Runs::one(n));
            product(m, packed, offsets, b, &g, c, ldc, accumulate)
        })
}

/// Elements of A that stay in the second-level cache while all rows of B pass.
const KEPT: usize = 1 << 18;

/// Columns at a time of a product along rows of which one operand has `m`.
pub fn columns(m: usize) -> usize {
    (KEPT / m.max(1)).max(512)
}

/// `C (m, n) += A B^T` over `k` columns, rows of A `lda` and of B `k` apart. False where there is no such kernel.
pub fn gemm_bt<T: Float>([m, n, k]: [usize; 3], a: &[T], lda: usize, b: &[T], c: &mut [T]) -> bool {
    applies::<T>()
        && SCRATCH.with_borrow_mut(|(_, offsets)| {
            offsets.clear();
            offsets.extend((0..n).map(|p| p * k));
            let each = columns(m);
            (0..k).step_by(each).all(|j| {
                let g = Runs::one(each.min(k - j));
                transposed(m, &a[j..], lda, offsets, &b[j..], &g, c)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Windows of a row as rows of B, in two runs, against loops.
    #[test]
    fn windows_of_a_row() {
        // Whoever has the wider ones has the others too.
        let all = match isa() {
            Isa::Avx512 => vec![Isa::Avx512, Isa::Avx2],
            Isa::Avx2 => vec![Isa::Avx2],
            Isa::Baseline => vec![],
        };
        all.into_iter().for_each(windows_by);
    }

    fn windows_by(with: Isa) {
        let mut r = Rng::new(1, &[]);
        let mut random = |n: usize| -> Vec<f32> { (0..n).map(|_| r.normal() as f32).collect() };
        for (m, k, len) in [
            (1, 1, 1),
            (4, 3, 16),
            (5, 2, 7),
            (7, 9, 50),
            (8, 7, 48),
            (13, 20, 131),
        ] {
            let g = Runs {
                runs: 2,
                len,
                b_step: len + 3,
                c_step: len + 1,
            };
            let ldc = 2 * len + 1;
            let offsets: Vec<usize> = (0..k).map(|p| 5 * p % 11).collect();
            let (a, b) = (random(m * k), random(2 * len + 20));
            let mut packed = vec![];
            pack(m, k, &a, [k, 1], &mut packed);
            let mut c = vec![1.0; m * ldc];
            product_by(with, m, &packed, &offsets, &b, &g, &mut c, ldc, true);
            let long = random(m * ldc);
            let mut t = vec![2.0; m * k];
            transposed_by(with, m, &long, ldc, &offsets, &b, &g, &mut t);
            for i in 0..m {
                for at in 0..ldc {
                    let (run, j) = (at / g.c_step, at % g.c_step);
                    let of = |p: usize| a[i * k + p] * b[offsets[p] + run * g.b_step + j];
                    let inside = run < 2 && j < len;
                    let sum = if inside { (0..k).map(of).sum() } else { 0.0 };
                    assert!(
                        (c[i * ldc + at] - 1.0 - sum).abs() < 1e-4,
                        "{with:?} {m} {k} {len}"
                    );
                }
                for p in 0..k {
                    let of = |(run, j): (usize, usize)| {
                        long[i * ldc + run * g.c_step + j] * b[offsets[p] + run * g.b_step + j]
                    };
                    let sum: f32 = (0..2 * len).map(|n| of((n / len, n % len))).sum();
                    assert!(
                        (t[i * k + p] - 2.0 - sum).abs() < 1e-3,
                        "{with:?} {m} {k} {len}"
                    );
                }
            }
        }
    }
}
