//! Kernels of batch normalisation over one plane, and the merge of statistics.

use super::lanes::V;
use super::{Float, LANES, by_hand, simd};

/// Count, mean and sum of squared deviations: merged by Chan's rule, never as `E[x^2] - E[x]^2`, which loses every digit
/// once the mean is large against the deviation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    /// Number of values.
    pub count: f64,
    /// Their mean.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub m2: f64,
}

impl Moments {
    /// Moments of both sets together (Chan, Golub, LeVeque 1979).
    pub fn merge(self, o: Moments) -> Moments {
        if self.count == 0.0 {
            return o;
        }
        if o.count == 0.0 {
            return self;
        }
        let count = self.count + o.count;
        let delta = o.mean - self.mean;
        let mean = self.mean + delta * (o.count / count);
        Moments {
            count,
            mean,
            m2: self.m2 + o.m2 + delta * delta * (self.count * o.count / count),
        }
    }
}

simd! {
    /// Sum of `x - shift` and of its square; the twin of [`by_hand::shifted_sums`].
    fn shifted_sums[T](x: &[T], shift: T) -> (T, T) {
        let (mut a, mut q) = ([V::splat(T::ZERO); 2], [V::splat(T::ZERO); 2]);
        let c = x.chunks_exact(2 * LANES);
        let (mut ta, mut tq) = (T::ZERO, T::ZERO);
        for &v in c.remainder() {
            let d = v - shift;
            ta += d;
            tq = d.mul_add(d, tq);
        }
        for v in c {
            for h in 0..2 {
                let mut d = V::load(&v[h * LANES..]);
                for l in 0..LANES {
                    d.0[l] -= shift;
                }
                a[h] = a[h].add(d);
                q[h] = q[h].fma(d, d);
            }
        }
        (a[0].add(a[1]).sum() + ta, q[0].add(q[1]).sum() + tq)
    }
}

/// Values whose two passes read the first-level cache.
const BLOCK: usize = 4096;

/// Moments of one plane, block by block.
pub fn plane_moments<T: Float>(x: &[T]) -> Moments {
    let blocks = x.chunks(BLOCK).map(block_moments);
    blocks.fold(Moments::default(), Moments::merge)
}

/// The mean first, then deviations from it, corrected for the rounding of the mean.
fn block_moments<T: Float>(x: &[T]) -> Moments {
    let n = x.len() as f64;
    let rough = T::c(super::elementwise::sum(x).v() / n);
    let (d, q) = by_hand::shifted_sums(x, rough).unwrap_or_else(|| shifted_sums(x, rough));
    let shift = d.v() / n;
    Moments {
        count: n,
        mean: rough.v() + shift,
        m2: (q.v() - d.v() * shift).max(0.0),
    }
}

simd! {
    /// `y = a x + b`, rectified if `relu`.
    pub fn affine[T](x: &[T], a: T, b: T, relu: bool, y: &mut [T]) {
        if relu {
            for (y, &x) in y.iter_mut().zip(x) {
                let v = x.mul_add(a, b);
                *y = if v <= T::ZERO { T::ZERO } else { v };
            }
        } else {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = x.mul_add(a, b);
            }
        }
    }
}

/// `(sum of dy, sum of dy * (x - mean))` over a plane; with `relu`, only where `a x + b > 0`.
pub fn gradient_sums<T: Float>(x: &[T], dy: &[T], mean: T, a: T, b: T, relu: bool) -> (T, T) {
    by_hand::gradient_sums(x, dy, [mean, a, b], relu)
        .unwrap_or_else(|| gradient_sums_portable(x, dy, mean, a, b, relu))
}

simd! {
    /// The twin of [`by_hand::gradient_sums`].
    fn gradient_sums_portable[T](x: &[T], dy: &[T], mean: T, a: T, b: T, relu: bool) -> (T, T) {
        let (mut s, mut q) = ([V::splat(T::ZERO); 2], [V::splat(T::ZERO); 2]);
        let whole = x.len() - x.len() % (2 * LANES);
        let mut at = 0;
        while at < whole {
            for h in 0..2 {
                let mut xv = V::load(&x[at + h * LANES..]);
                let mut g = V::load(&dy[at + h * LANES..]);
                for l in 0..LANES {
                    if relu {
                        g.0[l] = if xv.0[l].mul_add(a, b) > T::ZERO { g.0[l] } else { T::ZERO };
                    }
                    xv.0[l] -= mean;
                }
                s[h] = s[h].add(g);
                q[h] = q[h].fma(g, xv);
            }
            at += 2 * LANES;
        }
        let (mut ts, mut tq) = (s[0].add(s[1]).sum(), q[0].add(q[1]).sum());
        while at < x.len() {
            let on = !relu || x[at].mul_add(a, b) > T::ZERO;
            let g = if on { dy[at] } else { T::ZERO };
            ts += g;
            tq = g.mul_add(x[at] - mean, tq);
            at += 1;
        }
        (ts, tq)
    }
}

simd! {
    /// `dx = p dy + q x + r`, where with `relu` dy counts only where `a x + b > 0`.
    pub fn input_gradient[T](x: &[T], dy: &[T], p: T, q: T, r: T, a: T, b: T, relu: bool, dx: &mut [T]) {
        if relu {
            for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                let g = if x.mul_add(a, b) > T::ZERO { dy } else { T::ZERO };
                *dx = g.mul_add(p, x.mul_add(q, r));
            }
        } else {
            for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                *dx = dy.mul_add(p, x.mul_add(q, r));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn moments_survive_a_large_mean() {
        let mut r = Rng::new(3, &[]);
        for offset in [0.0, 10.0, 1000.0] {
            let x: Vec<f32> = (0..4096).map(|_| (offset + r.normal()) as f32).collect();
            let mean = x.iter().map(|&v| v as f64).sum::<f64>() / 4096.0;
            let m2 = x.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>();
            let got = x
                .chunks(512)
                .map(plane_moments)
                .fold(Moments::default(), Moments::merge);
            assert!(
                (got.mean - mean).abs() <= 1e-6 * mean.abs().max(1.0),
                "{offset}"
            );
            assert!(
                (got.m2 / m2 - 1.0).abs() <= 1e-6,
                "{offset} {}",
                got.m2 / m2 - 1.0
            );
        }
    }
}
