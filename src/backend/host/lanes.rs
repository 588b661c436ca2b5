//! A portable vector of 16 lanes; the compiler maps it to one or two registers inside a `simd!` kernel.

use super::{Float, LANES};

/// Sixteen values.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct V<T>(pub [T; LANES]);

impl<T: Float> V<T> {
    /// All `v`.
    #[inline(always)]
    pub fn splat(v: T) -> Self {
        V([v; LANES])
    }

    /// The first 16 values of `s`.
    #[inline(always)]
    pub fn load(s: &[T]) -> Self {
        let mut v = [T::ZERO; LANES];
        v.copy_from_slice(&s[..LANES]);
        V(v)
    }

    /// Sixteen values from `i` on, without a bounds check in release builds: the kernel asserts its extent once.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(super) fn at(s: &[T], i: usize) -> Self {
        debug_assert!(i + LANES <= s.len());
        // SAFETY: callers assert that every run they read ends inside `s`.
        V(unsafe { s.as_ptr().add(i).cast::<[T; LANES]>().read_unaligned() })
    }

    /// Writes sixteen values from `i` on; as [`V::at`].
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(super) fn put(self, s: &mut [T], i: usize) {
        debug_assert!(i + LANES <= s.len());
        // SAFETY: callers assert that every run they write ends inside `s`.
        unsafe {
            s.as_mut_ptr()
                .add(i)
                .cast::<[T; LANES]>()
                .write_unaligned(self.0)
        }
    }

    /// Stores all lanes.
    #[inline(always)]
    pub fn store(self, s: &mut [T]) {
        s[..LANES].copy_from_slice(&self.0);
    }

    /// `a * b + self`.
    #[inline(always)]
    pub fn fma(self, a: V<T>, b: V<T>) -> Self {
        let mut r = self.0;
        for l in 0..LANES {
            r[l] = a.0[l].mul_add(b.0[l], r[l]);
        }
        V(r)
    }

    /// Lane-wise sum.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)] // an operator would not be `inline(always)`
    pub fn add(self, a: V<T>) -> Self {
        let mut r = self.0;
        for l in 0..LANES {
            r[l] += a.0[l];
        }
        V(r)
    }

    /// Sum of the lanes by halving: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
    #[inline(always)]
    pub fn sum(self) -> T {
        let mut r = self.0;
        let mut n = LANES / 2;
        while n > 0 {
            for l in 0..n {
                r[l] += r[l + n];
            }
            n /= 2;
        }
        r[0]
    }
}
