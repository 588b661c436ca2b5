//! f32 kernels written for AVX-512 and for AVX2, where what the compiler makes of a portable loop falls short: stencils over several rows of
//! outputs at a time, each loaded vector feeding all of them, and sums of deviations. Every one has a portable twin beside its caller,
//! which runs where this module says that it has nothing.

use super::{Float, Isa, LANES, isa};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::tensor::DType;

/// Rows of outputs at a time.
pub const ROWS: usize = 4;

/// Output rows of whole vectors, and where they and their inputs lie. Tap `(ky, kx)` of the output at `(row, o)` is at
/// `(row + ky dilation) in_row + kx dilation + o`.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Grid {
    pub rows: usize,
    /// A multiple of 16.
    pub len: usize,
    pub in_row: usize,
    pub out_row: usize,
    pub dilation: usize,
}

impl Grid {
    /// Asserts that every access is inside the buffers.
    fn check<T>(&self, k: usize, s: &[T], out: &[T]) {
        let reach = (k - 1) * self.dilation;
        assert!(self.rows > 0 && self.dilation > 0 && self.len.is_multiple_of(LANES));
        assert!((self.rows - 1 + reach) * self.in_row + reach + self.len <= s.len());
        assert!((self.rows - 1) * self.out_row + self.len <= out.len());
    }
}

/// Whether these kernels may run on values of this type.
pub(super) fn applies<T: Float>() -> bool {
    T::DTYPE == DType::F32 && isa() != Isa::Baseline
}

/// The side of a kernel of so many taps, where it has been written.
pub(super) fn side(taps: usize) -> Option<usize> {
    match taps {
        9 => Some(3),
        25 => Some(5),
        _ => None,
    }
}

/// `y[o] = sum over taps of w * s`; false where there is no such kernel.
pub fn correlate<T: Float>(g: &Grid, s: &[T], w: &[T], y: &mut [T]) -> bool {
    let here = applies::<T>() && side(w.len()).is_some();
    if here {
        let (s, w) = (bytemuck::cast_slice(s), bytemuck::cast_slice(w));
        correlate_by(isa(), g, s, w, bytemuck::cast_slice_mut(y));
    }
    here
}

/// [`correlate`] by the kernels for `with`, which this machine has.
#[allow(unsafe_code)]
fn correlate_by(with: Isa, g: &Grid, s: &[f32], w: &[f32], y: &mut [f32]) {
    let k = side(w.len()).expect("a kernel of this size");
    g.check(k, s, y);
    #[cfg(target_arch = "x86_64")]
    match (with, k) {
        // SAFETY: the machine has AVX-512; `check` bounds every access.
        (Isa::Avx512, 3) => unsafe { avx512::correlate::<3>(g, s, w, y) },
        // SAFETY: as above.
        (Isa::Avx512, _) => unsafe { avx512::correlate::<5>(g, s, w, y) },
        // SAFETY: the machine has AVX2 and FMA; `check` bounds every access.
        (Isa::Avx2, 3) => unsafe { avx2::correlate::<3, 9>(g, s, w, y) },
        // SAFETY: as above.
        (Isa::Avx2, _) => unsafe { avx2::correlate::<5, 25>(g, s, w, y) },
        (Isa::Baseline, _) => unreachable!("no kernels"),
    }
}

/// `dw[t] += sum dy * s`; `dy` has zeros where its rows are longer than they count. False where there is no such kernel.
pub fn weight_gradient<T: Float>(g: &Grid, dy: &[T], s: &[T], dw: &mut [T]) -> bool {
    let here = applies::<T>() && side(dw.len()).is_some();
    if here {
        let (dy, s) = (bytemuck::cast_slice(dy), bytemuck::cast_slice(s));
        weight_gradient_by(isa(), g, dy, s, bytemuck::cast_slice_mut(dw));
    }
    here
}

/// [`weight_gradient`] by the kernels for `with`, which this machine has.
#[allow(unsafe_code)]
fn weight_gradient_by(with: Isa, g: &Grid, dy: &[f32], s: &[f32], dw: &mut [f32]) {
    let k = side(dw.len()).expect("a kernel of this size");
    g.check(k, s, dy);
    #[cfg(target_arch = "x86_64")]
    match (with, k) {
        // SAFETY: the machine has AVX-512; `check` bounds every access.
        (Isa::Avx512, 3) => unsafe { avx512::weight_gradient::<3>(g, dy, s, dw) },
        // SAFETY: as above.
        (Isa::Avx512, _) => unsafe { avx512::weight_gradient::<5>(g, dy, s, dw) },
        // SAFETY: the machine has AVX2 and FMA; `check` bounds every access.
        (Isa::Avx2, 3) => unsafe { avx2::weight_gradient::<3>(g, dy, s, dw) },
        // SAFETY: as above.
        (Isa::Avx2, _) => unsafe { avx2::weight_gradient::<5>(g, dy, s, dw) },
        (Isa::Baseline, _) => unreachable!("no kernels"),
    }
}

/// Sum of `x - shift` and of its square; `None` where there is no such kernel.
pub fn shifted_sums<T: Float>(x: &[T], shift: T) -> Option<(T, T)> {
    applies::<T>().then(|| {
        let (s, q) = shifted_sums_by(isa(), bytemuck::cast_slice(x), shift.v() as f32);
        (T::c(s.into()), T::c(q.into()))
    })
}

/// [`shifted_sums`] by the kernels for `with`, which this machine has.
#[allow(unsafe_code)]
fn shifted_sums_by(with: Isa, x: &[f32], shift: f32) -> (f32, f32) {
    #[cfg(target_arch = "x86_64")]
    match with {
        // SAFETY: the machine has AVX-512.
        Isa::Avx512 => return unsafe { avx512::shifted_sums(x, shift) },
        // SAFETY: the machine has AVX2 and FMA.
        Isa::Avx2 => return unsafe { avx2::shifted_sums(x, shift) },
        Isa::Baseline => {}
    }
    unreachable!("no kernels")
}

/// `(sum of dy, sum of dy (x - mean))` over values of one length; with `relu` only where `a x + b > 0`. `None` where there is no such
/// kernel: there is one for AVX2.
#[allow(unsafe_code)]
pub fn gradient_sums<T: Float>(
    x: &[T],
    dy: &[T],
    [mean, a, b]: [T; 3],
    relu: bool,
) -> Option<(T, T)> {
    #[cfg(target_arch = "x86_64")]
    if applies::<T>() && isa() == Isa::Avx2 {
        let (x, dy) = (bytemuck::cast_slice(x), bytemuck::cast_slice(dy));
        let [mean, a, b] = [mean, a, b].map(|v| v.v() as f32);
        // SAFETY: the machine has AVX2 and FMA.
        let (s, q) = unsafe {
            match relu {
                true => avx2::gradient_sums::<true>(x, dy, mean, a, b),
                false => avx2::gradient_sums::<false>(x, dy, mean, a, b),
            }
        };
        return Some((T::c(s.into()), T::c(q.into())));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Against loops, of every set that this machine has: rows in fours, what is left of them, dilation, rows apart in the output.
    #[test]
    fn stencils_and_sums() {
        // Whoever has the wider ones has the others too.
        let all = match isa() {
            Isa::Avx512 => vec![Isa::Avx512, Isa::Avx2],
            Isa::Avx2 => vec![Isa::Avx2],
            Isa::Baseline => vec![],
        };
        for with in all {
            for (k, rows, len, dilation) in [
                (3, 1, 16, 1),
                (3, 4, 48, 1),
                (3, 11, 32, 2),
                (5, 3, 16, 1),
                (5, 4, 32, 1),
                (5, 18, 48, 2),
            ] {
                stencils_by(with, k, rows, len, dilation);
            }
            for n in [1, 31, 64, 200] {
                sums_by(with, n);
            }
        }
        for n in [1, 31, 64, 200] {
            gradient_sums_of(n);
        }
    }

    fn stencils_by(with: Isa, k: usize, rows: usize, len: usize, dilation: usize) {
        let reach = (k - 1) * dilation;
        let g = Grid {
            rows,
            len,
            in_row: len + reach + 3,
            out_row: len + 5,
            dilation,
        };
        let mut r = Rng::new(k as u64, &[]);
        let mut random = |n: usize| -> Vec<f32> { (0..n).map(|_| r.normal() as f32).collect() };
        let (s, w) = (random((rows + reach) * g.in_row), random(k * k));
        let mut y = random(rows * g.out_row);
        let before = y.clone();
        let tap = |row: usize, o: usize, t: usize| {
            s[(row + t / k * dilation) * g.in_row + t % k * dilation + o]
        };
        correlate_by(with, &g, &s, &w, &mut y);
        for row in 0..rows {
            for o in 0..g.out_row {
                let is = y[row * g.out_row + o];
                if o < len {
                    let sum: f32 = (0..k * k).map(|t| w[t] * tap(row, o, t)).sum();
                    assert!((is - sum).abs() < 1e-4, "{with:?} {g:?} {row} {o}");
                } else {
                    assert_eq!(is, before[row * g.out_row + o], "{with:?} {g:?}");
                }
            }
        }
        let mut dw = vec![1.0; k * k];
        weight_gradient_by(with, &g, &before, &s, &mut dw);
        for (t, is) in dw.iter().enumerate() {
            let of = |i: usize| before[i / len * g.out_row + i % len] * tap(i / len, i % len, t);
            let sum: f32 = (0..rows * len).map(of).sum();
            assert!((is - 1.0 - sum).abs() < 1e-3, "{with:?} {g:?} {t}");
        }
    }

    fn sums_by(with: Isa, n: usize) {
        let x: Vec<f32> = (0..n).map(|i| (i % 7) as f32).collect();
        let of = |v: &f32| v - 2.0;
        let (sum, squares) = shifted_sums_by(with, &x, 2.0);
        assert_eq!(sum, x.iter().map(of).sum::<f32>(), "{with:?} {n}");
        let all: f32 = x.iter().map(|v| of(v) * of(v)).sum();
        assert_eq!(squares, all, "{with:?} {n}");
    }

    /// Values whose sums are exact; where x is 1 the rectifier is just off.
    fn gradient_sums_of(n: usize) {
        let x: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 3.0).collect();
        let dy: Vec<f32> = (0..n).map(|i| (i % 5) as f32 - 1.0).collect();
        for relu in [false, true] {
            let Some(is) = gradient_sums(&x, &dy, [0.5, -2.0, 2.0], relu) else {
                return;
            };
            let (mut s, mut q) = (0.0, 0.0);
            for (x, dy) in x.iter().zip(&dy) {
                if !relu || 2.0 - 2.0 * x > 0.0 {
                    (s, q) = (s + dy, q + dy * (x - 0.5));
                }
            }
            assert_eq!(is, (s, q), "{n} {relu}");
        }
    }
}
