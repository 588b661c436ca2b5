//! Sums and products of several slices: the arithmetic of add, mul, the mixed operation and their gradients.

use super::simd;

/// Elements that stay in the first-level cache while several inputs are added to them.
pub const BLOCK: usize = 2048;

simd! {
    /// `y = a + b`.
    pub fn add[T](a: &[T], b: &[T], y: &mut [T]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a + b;
        }
    }
}

simd! {
    /// `y = a * b`.
    pub fn mul[T](a: &[T], b: &[T], y: &mut [T]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a * b;
        }
    }
}

simd! {
    /// `y += w0 x0 + w1 x1 + w2 x2 + w3 x3`, one fused multiply-add after the other.
    fn axpy4[T](w: [T; 4], x: [&[T]; 4], y: &mut [T]) {
        let n = y.len();
        let [x0, x1, x2, x3] = x.map(|x| &x[..n]);
        for i in 0..n {
            let s = x0[i].mul_add(w[0], y[i]);
            let s = x1[i].mul_add(w[1], s);
            let s = x2[i].mul_add(w[2], s);
            y[i] = x3[i].mul_add(w[3], s);
        }
    }
}

/// `y = sum_i w_i x_i` in the order of the inputs; every `x_i` is as long as `y`.
pub fn weighted_sum<T: super::Float>(w: &[T], x: &[&[T]], y: &mut [T]) {
    blocks(w, x, y, |x, y| super::elementwise::scale(w[0], x, y));
}

/// `y = shift + sum_i w_i x_i`, as [`weighted_sum`].
pub fn weighted_sum_plus<T: super::Float>(shift: T, w: &[T], x: &[&[T]], y: &mut [T]) {
    blocks(w, x, y, |x, y| {
        super::norm::affine(x, w[0], shift, false, y)
    });
}

/// The sum block by block, `first` for the first input.
fn blocks<T: super::Float>(w: &[T], x: &[&[T]], y: &mut [T], first: impl Fn(&[T], &mut [T])) {
    for (b, y) in y.chunks_mut(BLOCK).enumerate() {
        let n = y.len();
        let at = |i: usize| -> &[T] { &x[i][b * BLOCK..][..n] };
        first(at(0), y);
        let mut i = 1;
        while i + 4 <= x.len() {
            axpy4(
                [w[i], w[i + 1], w[i + 2], w[i + 3]],
                [at(i), at(i + 1), at(i + 2), at(i + 3)],
                y,
            );
            i += 4;
        }
        for i in i..x.len() {
            super::elementwise::axpy(w[i], at(i), y);
        }
    }
}

simd! {
    /// `dx = w dy`; returns `sum dy_i x_i`, 32 lanes then in lane order.
    pub fn scale_dot[T](w: T, dy: &[T], x: &[T], dx: &mut [T]) -> T {
        let n = dx.len();
        let (dy, x) = (&dy[..n], &x[..n]);
        let mut acc = [T::ZERO; 32];
        let whole = n / 32 * 32;
        for i in (0..whole).step_by(32) {
            let (g, v, d) = (&dy[i..i + 32], &x[i..i + 32], &mut dx[i..i + 32]);
            for l in 0..32 {
                d[l] = w * g[l];
                acc[l] = g[l].mul_add(v[l], acc[l]);
            }
        }
        let mut s = T::ZERO;
        for i in whole..n {
            dx[i] = w * dy[i];
            s += dy[i] * x[i];
        }
        for v in acc {
            s += v;
        }
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_of_nine_inputs_with_a_tail() {
        let x: Vec<Vec<f64>> = (0..9)
            .map(|k| (0..2101).map(|i| (k * 3 + i) as f64).collect())
            .collect();
        let w: Vec<f64> = (0..9).map(|k| k as f64 - 3.0).collect();
        let mut y = vec![0.0; 2101];
        weighted_sum(&w, &x.iter().map(|v| &v[..]).collect::<Vec<_>>(), &mut y);
        for i in [0, 2047, 2048, 2100] {
            assert_eq!(y[i], (0..9).map(|k| w[k] * x[k][i]).sum::<f64>());
        }
    }

    #[test]
    fn scale_dot_counts_the_tail() {
        let x: Vec<f64> = (0..67).map(|i| i as f64).collect();
        let mut dx = vec![0.0; 67];
        let s = scale_dot(2.0, &x, &x, &mut dx);
        assert_eq!(s, x.iter().map(|v| v * v).sum::<f64>());
        assert!(dx.iter().zip(&x).all(|(d, v)| *d == 2.0 * v));
    }
}
