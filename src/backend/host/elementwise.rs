//! Elementwise kernels and the accumulation of gradients.

use half::bf16;

use super::{Float, by_float, simd};
use crate::tensor::{DType, Tensor};

simd! {
    /// `a += b`.
    pub fn add_assign[T](a: &mut [T], b: &[T]) {
        for (a, &b) in a.iter_mut().zip(b) {
            *a += b;
        }
    }
}

simd! {
    /// `a += s * b`.
    pub fn axpy[T](s: T, b: &[T], a: &mut [T]) {
        for (a, &b) in a.iter_mut().zip(b) {
            *a = b.mul_add(s, *a);
        }
    }
}

simd! {
    /// `y = s * x`.
    pub fn scale[T](s: T, x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = s * x;
        }
    }
}

simd! {
    /// `y = max(x, 0)`; NaN stays NaN.
    pub fn relu[T](x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = if x <= T::ZERO { T::ZERO } else { x };
        }
    }
}

simd! {
    /// `dx = dy where y > 0, else 0`.
    pub fn relu_bwd[T](y: &[T], dy: &[T], dx: &mut [T]) {
        for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = if y > T::ZERO { dy } else { T::ZERO };
        }
    }
}

simd! {
    /// `y = min(max(x, 0), ceiling)`; NaN stays NaN.
    pub fn clip_relu[T](ceiling: T, x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            let x = if x <= T::ZERO { T::ZERO } else { x };
            *y = if x >= ceiling { ceiling } else { x };
        }
    }
}

simd! {
    /// `dx = dy where 0 < y < ceiling, else 0`.
    pub fn clip_relu_bwd[T](ceiling: T, y: &[T], dy: &[T], dx: &mut [T]) {
        for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = if y > T::ZERO && y < ceiling { dy } else { T::ZERO };
        }
    }
}

simd! {
    /// `dx += dy where y > 0`.
    pub fn add_relu_bwd[T](y: &[T], dy: &[T], dx: &mut [T]) {
        for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx += if y > T::ZERO { dy } else { T::ZERO };
        }
    }
}

simd! {
    /// `sum x_i y_i`, 32 lanes then in lane order.
    pub fn dot[T](x: &[T], y: &[T]) -> T {
        let mut acc = [T::ZERO; 32];
        let (xc, yc) = (x.chunks_exact(32), y.chunks_exact(32));
        let tail: T = xc.remainder().iter().zip(yc.remainder()).map(|(&a, &b)| a * b).sum();
        for (a, b) in xc.zip(yc) {
            for l in 0..32 {
                acc[l] = a[l].mul_add(b[l], acc[l]);
            }
        }
        let mut s = tail;
        for v in acc {
            s += v;
        }
        s
    }
}

simd! {
    /// `sum x_i`, 32 lanes then in lane order.
    pub fn sum[T](x: &[T]) -> T {
        let mut acc = [T::ZERO; 32];
        let c = x.chunks_exact(32);
        let tail: T = c.remainder().iter().copied().sum();
        for a in c {
            for l in 0..32 {
                acc[l] += a[l];
            }
        }
        let mut s = tail;
        for v in acc {
            s += v;
        }
        s
    }
}

simd! {
    /// A momentum step: `g' = factor g + decay w`, `b = momentum b + g'`, `w -= lr b`.
    pub fn momentum_step[T](factor: T, decay: T, momentum: T, lr: T, g: &[T], b: &mut [T], w: &mut [T]) {
        for ((&g, b), w) in g.iter().zip(b).zip(w) {
            *b = momentum.mul_add(*b, decay.mul_add(*w, factor * g));
            *w = (-lr).mul_add(*b, *w);
        }
    }
}

/// `sum x_i^2` in f64: short runs in the type of x, so that the error does not grow with the length.
pub fn sum_of_squares<T: Float>(x: &[T]) -> f64 {
    x.chunks(256).map(|x| dot::<T>(x, x).v()).sum()
}

/// `acc += t` for gradients; `acc` may be bf16 storage, `t` is f32 or f64.
pub fn add_into(acc: &mut Tensor, t: &Tensor) {
    debug_assert_eq!(acc.shape(), t.shape());
    if acc.dtype() == DType::Bf16 {
        let t = t.f32s();
        for (a, &b) in acc.data_mut::<bf16>().iter_mut().zip(t) {
            *a = bf16::from_f32(a.to_f32() + b);
        }
    } else {
        by_float!(acc.dtype(), T => add_assign::<T>(acc.data_mut(), t.data()));
    }
}

/// `acc[:, start.., ..] += t`; `acc` is `(N, C, H, W)` (possibly bf16), `t` is `(N, C', H, W)`.
pub fn add_channels_into(acc: &mut Tensor, start: usize, t: &Tensor) {
    let (ad, td) = (acc.dims().to_vec(), t.dims().to_vec());
    let plane: usize = ad[2..].iter().product();
    let (row_a, row_t) = (ad[1] * plane, td[1] * plane);
    if acc.dtype() == DType::Bf16 {
        let data = acc.data_mut::<bf16>();
        for (i, src) in t.f32s().chunks_exact(row_t.max(1)).enumerate() {
            for (a, &b) in data[i * row_a + start * plane..][..row_t]
                .iter_mut()
                .zip(src)
            {
                *a = bf16::from_f32(a.to_f32() + b);
            }
        }
        return;
    }
    by_float!(acc.dtype(), T => {
        let data = acc.data_mut::<T>();
        for (i, src) in t.data::<T>().chunks_exact(row_t.max(1)).enumerate() {
            add_assign::<T>(&mut data[i * row_a + start * plane..][..row_t], src);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_accumulate_in_place() {
        let mut a = Tensor::zeros([2, 3, 1, 2], DType::F64);
        let t = Tensor::from_f64([2, 1, 1, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        add_channels_into(&mut a, 1, &t);
        add_channels_into(&mut a, 1, &t);
        assert_eq!(
            a.f64s(),
            &[0.0, 0.0, 2.0, 4.0, 0.0, 0.0, 0.0, 0.0, 6.0, 8.0, 0.0, 0.0]
        );
    }

    #[test]
    fn dot_has_a_tail() {
        let x: Vec<f64> = (0..67).map(|i| i as f64).collect();
        assert_eq!(dot::<f64>(&x, &x), x.iter().map(|v| v * v).sum::<f64>());
    }
}
