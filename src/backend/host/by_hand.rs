//! f32 kernels written for AVX-512, where what the compiler makes of a portable loop falls short: stencils over several rows of outputs
//! at a time, each loaded vector feeding all of them, and sums of deviations. Every one has a portable twin beside its caller, which runs
//! where this module says that it has nothing.

use super::{Float, Isa, LANES, isa};
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
    T::DTYPE == DType::F32 && isa() == Isa::Avx512
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
#[allow(unsafe_code)]
pub fn correlate<T: Float>(g: &Grid, s: &[T], w: &[T], y: &mut [T]) -> bool {
    let Some(k) = side(w.len()).filter(|_| applies::<T>()) else {
        return false;
    };
    g.check(k, s, y);
    #[cfg(target_arch = "x86_64")]
    {
        use super::avx512::correlate;
        let (s, w) = (bytemuck::cast_slice(s), bytemuck::cast_slice(w));
        let y = bytemuck::cast_slice_mut(y);
        match k {
            // SAFETY: `applies` found AVX-512.
            3 => unsafe { correlate::<3>(g, s, w, y) },
            // SAFETY: as above.
            _ => unsafe { correlate::<5>(g, s, w, y) },
        }
    }
    true
}

/// `dw[t] += sum dy * s`; `dy` has zeros where its rows are longer than they count. False where there is no such kernel.
#[allow(unsafe_code)]
pub fn weight_gradient<T: Float>(g: &Grid, dy: &[T], s: &[T], dw: &mut [T]) -> bool {
    let Some(k) = side(dw.len()).filter(|_| applies::<T>()) else {
        return false;
    };
    g.check(k, s, dy);
    #[cfg(target_arch = "x86_64")]
    {
        use super::avx512::weight_gradient;
        let (dy, s) = (bytemuck::cast_slice(dy), bytemuck::cast_slice(s));
        let dw = bytemuck::cast_slice_mut(dw);
        match k {
            // SAFETY: `applies` found AVX-512.
            3 => unsafe { weight_gradient::<3>(g, dy, s, dw) },
            // SAFETY: as above.
            _ => unsafe { weight_gradient::<5>(g, dy, s, dw) },
        }
    }
    true
}

/// Sum of `x - shift` and of its square; `None` where there is no such kernel.
#[allow(unsafe_code)]
pub fn shifted_sums<T: Float>(x: &[T], shift: T) -> Option<(T, T)> {
    if !applies::<T>() {
        return None;
    }
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: `applies` found AVX-512.
        let of = |x: &[f32]| unsafe { super::avx512::shifted_sums(x, shift.v() as f32) };
        let (s, q) = of(bytemuck::cast_slice(x));
        return Some((T::c(s.into()), T::c(q.into())));
    }
    #[allow(unreachable_code)]
    None
}
