//! Some rows of a convolution at a time: its input with zeros around it, and what is done to its output while that is in the cache.

use super::depthwise::Layout;
use super::{Float, simd};

/// Rectifiers after a convolution, as a number for [`finish`].
pub const PLAIN: u8 = 0;
/// `max(v, 0)`.
pub const RELU: u8 = 1;
/// `min(max(v, 0), 6)`.
pub const RELU6: u8 = 2;

simd! {
    fn finish_by<const ACT: u8>[T](bias: T, plus: &[T], y: &mut [T]) {
        let six = T::c(6.0);
        let act = |v: T| {
            let v = if ACT != PLAIN && v <= T::ZERO { T::ZERO } else { v };
            if ACT == RELU6 && v >= six { six } else { v }
        };
        if plus.is_empty() {
            y.iter_mut().for_each(|y| *y = act(*y + bias));
        } else {
            y.iter_mut().zip(plus).for_each(|(y, &p)| *y = act(*y + bias + p));
        }
    }
}

/// `y = act(y + bias + plus)`; an empty `plus` is none.
pub fn finish<T: Float>(act: u8, bias: T, plus: &[T], y: &mut [T]) {
    match act {
        RELU => finish_by::<T, RELU>(bias, plus, y),
        RELU6 => finish_by::<T, RELU6>(bias, plus, y),
        _ => finish_by::<T, PLAIN>(bias, plus, y),
    }
}

simd! {
    /// Rows of the plane `x` (`h` of them), rectified where `RECT` is 1, into the scratch of the layout of a tile. Row 0 of the scratch is row
    /// `first - padding` of the plane; what lies outside is zero. Writes every element of every row.
    pub fn pad_part<const RECT: u8>[T](l: &Layout, x: &[T], h: usize, first: usize, s: &mut [T]) {
        let g = &l.g;
        let (cs, row_len) = (l.columns, l.columns * g.stride);
        let rows = (g.ho - 1) * g.stride + (g.k - 1) * g.dilation + 1;
        let value = |v: T| if RECT == 1 && v <= T::ZERO { T::ZERO } else { v };
        for (q, row) in s.chunks_mut(row_len).take(rows).enumerate() {
            let at = (first + q).wrapping_sub(g.padding);
            if at >= h {
                row.fill(T::ZERO);
                continue;
            }
            let src = &x[at * g.w..][..g.w];
            if g.stride == 1 {
                let n = g.w.min(cs.saturating_sub(g.padding));
                let (left, rest) = row.split_at_mut(g.padding.min(cs));
                let (middle, right) = rest.split_at_mut(n);
                left.fill(T::ZERO);
                right.fill(T::ZERO);
                middle.iter_mut().zip(src).for_each(|(d, &v)| *d = value(v));
                continue;
            }
            row.fill(T::ZERO);
            if g.stride == 2 {
                let [even, odd] = l.halves(row);
                for (i, v) in src.chunks_exact(2).enumerate().take(even.len().min(odd.len())) {
                    (even[i], odd[i]) = (value(v[0]), value(v[1]));
                }
                if let (1, Some(last)) = (g.w % 2, even.get_mut(g.w / 2)) {
                    *last = value(src[g.w - 1]);
                }
                continue;
            }
            for ph in 0..g.stride {
                let from = (ph + g.stride - g.padding % g.stride) % g.stride;
                let start = (from + g.padding) / g.stride;
                if start < cs && from < g.w {
                    let of = src[from..].iter().step_by(g.stride);
                    row[ph * cs..][..cs][start..].iter_mut().zip(of).for_each(|(d, &v)| *d = value(v));
                }
            }
        }
    }
}

/// [`pad_part`], rectified or not.
pub fn pad<T: Float>(l: &Layout, rectify: bool, x: &[T], h: usize, first: usize, s: &mut [T]) {
    match rectify {
        true => pad_part::<T, 1>(l, x, h, first, s),
        false => pad_part::<T, 0>(l, x, h, first, s),
    }
}

simd! {
    /// `y = max(x, 0)` or a copy.
    pub fn copy_by<const RECT: u8>[T](x: &[T], y: &mut [T]) {
        y.iter_mut().zip(x).for_each(|(y, &v)| *y = if RECT == 1 && v <= T::ZERO { T::ZERO } else { v });
    }
}

/// A copy, rectified or not.
pub fn copy<T: Float>(rectify: bool, x: &[T], y: &mut [T]) {
    match rectify {
        true => copy_by::<T, 1>(x, y),
        false => y.copy_from_slice(x),
    }
}

simd! {
    /// `y[i] = x[i] + plus` or `max` of it: the sum of two maps, rectified where `ACT` says.
    fn sum_by<const ACT: u8>[T](a: &[T], b: &[T], y: &mut [T]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            let v = a + b;
            *y = if ACT == RELU && v <= T::ZERO { T::ZERO } else { v };
        }
    }
}

/// `y = act(a + b)` for [`PLAIN`] or [`RELU`].
pub fn sum<T: Float>(act: u8, a: &[T], b: &[T], y: &mut [T]) {
    match act {
        RELU => sum_by::<T, RELU>(a, b, y),
        _ => sum_by::<T, PLAIN>(a, b, y),
    }
}

simd! {
    /// A plane of rows of `w` values, each twice in both directions, added to `plus`.
    pub fn twice_plus[T](x: &[T], w: usize, plus: &[T], y: &mut [T]) {
        let wide = 2 * w;
        for ((x, y), plus) in x.chunks_exact(w).zip(y.chunks_exact_mut(2 * wide)).zip(plus.chunks_exact(2 * wide)) {
            for (y, plus) in y.chunks_exact_mut(wide).zip(plus.chunks_exact(wide)) {
                for ((y, plus), &x) in y.chunks_exact_mut(2).zip(plus.chunks_exact(2)).zip(x) {
                    (y[0], y[1]) = (x + plus[0], x + plus[1]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::host::depthwise::{Geometry, pad_rectified};
    use crate::rng::Rng;

    /// Parts of a plane are what the whole padded plane has there, whatever was in the scratch.
    #[test]
    fn parts_are_rows_of_the_whole() {
        let mut r = Rng::new(5, &[]);
        for (h, w, k, stride, padding, dilation) in [
            (9, 20, 3, 1, 1, 1),
            (9, 5, 5, 1, 4, 2),
            (10, 12, 3, 2, 1, 1),
            (11, 13, 5, 2, 4, 2),
            (9, 16, 3, 3, 1, 1),
            (6, 6, 3, 1, 0, 1),
        ] {
            let out = |n: usize| (n + 2 * padding - (k - 1) * dilation - 1) / stride + 1;
            let whole = Geometry {
                h,
                w,
                ho: out(h),
                wo: out(w),
                k,
                stride,
                padding,
                dilation,
            };
            let l = Layout::new(whole);
            let x: Vec<f32> = (0..h * w).map(|_| r.normal() as f32).collect();
            let mut all = vec![0.0; l.scratch_len];
            pad_rectified(&l, &x, 1.0, 0.0, &mut all);
            let row = l.columns * stride;
            for ho in 1..=whole.ho {
                let part = Layout::new(Geometry { ho, ..whole });
                for first in 0..=whole.ho - ho {
                    let mut s = vec![7.0; part.scratch_len];
                    pad(&part, true, &x, h, first * stride, &mut s);
                    let rows = (ho - 1) * stride + (k - 1) * dilation + 1;
                    assert_eq!(part.columns, l.columns);
                    let want = &all[first * stride * row..][..rows * row];
                    assert_eq!(&s[..rows * row], want, "{whole:?} {first} {ho}");
                }
            }
        }
    }

    #[test]
    fn sums_and_rectifiers() {
        let mut y = [-3.0f32, 1.0, 9.0];
        finish(RELU6, 1.0, &[], &mut y);
        assert_eq!(y, [0.0, 2.0, 6.0]);
        finish(PLAIN, -1.0, &[1.0, 2.0, 3.0], &mut y);
        assert_eq!(y, [0.0, 3.0, 8.0]);
        finish(RELU, -4.0, &[], &mut y);
        assert_eq!(y, [0.0, 0.0, 4.0]);
        sum(RELU, &[1.0, -2.0], &[1.0, 1.0], &mut y[..2]);
        assert_eq!(y, [2.0, 0.0, 4.0]);
        let mut y = [0.0; 8];
        twice_plus(
            &[1.0f32, 2.0],
            2,
            &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
            &mut y,
        );
        assert_eq!(y, [1.0, 2.0, 4.0, 5.0, 5.0, 6.0, 8.0, 9.0]);
    }
}
