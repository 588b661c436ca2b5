//! Kernels of synchronised batch normalisation over one plane. Values are centred before they are scaled, so that a mean
//! a thousand times the deviation costs no digits.

use super::simd;

simd! {
    /// `y = a (x - mean) + b`.
    pub fn normalise[T](x: &[T], mean: T, a: T, b: T, y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = (x - mean).mul_add(a, b);
        }
    }
}

simd! {
    /// `dx = a (dy - s - q (x - mean))`.
    pub fn normalise_bwd[T](x: &[T], dy: &[T], mean: T, a: T, s: T, q: T, dx: &mut [T]) {
        for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
            *dx = a * (dy - s - q * (x - mean));
        }
    }
}
