//! Depthwise convolution of one plane, any stride and dilation.
//!
//! A plane is first copied into a zero-padded scratch whose columns are split by their phase modulo the stride, so that
//! every tap of a run of outputs is one contiguous run of the scratch. Narrow maps at stride 1 are handled as one flat run
//! over all rows (the few outputs between two rows are computed and thrown away), wide ones row by row.

// Only NaN differs from itself.
#![allow(clippy::eq_op)]

use super::lanes::V;
use super::{Float, LANES, simd};

/// Sizes of one plane's convolution; `ho`, `wo` are those of the output.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Geometry {
    pub h: usize,
    pub w: usize,
    pub ho: usize,
    pub wo: usize,
    pub k: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
}

/// Where the kernels read and write: derived from a [`Geometry`] once per batch.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The sizes.
    pub g: Geometry,
    /// Columns of one phase of a scratch row.
    columns: usize,
    /// Elements of the scratch.
    pub scratch_len: usize,
    /// Distance between output rows in the padded output.
    pub out_stride: usize,
    /// Elements of the padded output.
    pub out_len: usize,
    /// Number of runs, their length in lanes' multiples, and their steps in scratch and padded output.
    runs: usize,
    run_len: usize,
    run_in: usize,
    run_out: usize,
    /// Offset of each tap from the start of a run.
    taps: Vec<usize>,
}

impl Layout {
    /// The layout of `g`.
    pub fn new(g: Geometry) -> Layout {
        let reach = (g.k - 1) * g.dilation;
        let rows = (g.ho - 1) * g.stride + reach + 1;
        let padded = g.wo.next_multiple_of(LANES);
        // Flat runs waste `reach` outputs a row, rows waste the tail lanes.
        let flat = g.stride == 1 && g.wo + reach < padded;
        let columns = if flat {
            g.wo + reach
        } else {
            padded + reach / g.stride + 1
        };
        let row_len = columns * g.stride;
        let out_stride = if flat { columns } else { padded };
        let (runs, run_len) = if flat {
            (1, (g.ho * columns).next_multiple_of(LANES))
        } else {
            (g.ho, padded)
        };
        let tap = |t: usize| {
            let (y, x) = (t / g.k * g.dilation, t % g.k * g.dilation);
            y * row_len + (x % g.stride) * columns + x / g.stride
        };
        Layout {
            g,
            columns,
            scratch_len: rows * row_len + 2 * LANES + reach,
            out_stride,
            out_len: (g.ho * out_stride).next_multiple_of(LANES),
            runs,
            run_len,
            run_in: g.stride * row_len,
            run_out: out_stride,
            taps: (0..g.k * g.k).map(tap).collect(),
        }
    }

    /// Asserts that every access of a kernel over these buffers is inside them.
    fn check<T>(&self, s: &[T], out: &[T], taps: usize) {
        assert_eq!(self.taps.len(), taps);
        let last = self.taps.iter().max().copied().unwrap_or(0);
        assert!(
            (self.runs - 1) * self.run_in + self.run_len + last <= s.len(),
            "scratch too small"
        );
        assert!(
            (self.runs - 1) * self.run_out + self.run_len <= out.len(),
            "padded output too small"
        );
    }
}

simd! {
    /// Copies the plane `x` into a scratch; its border keeps what it held.
    pub fn pad_plane[T](l: &Layout, x: &[T], s: &mut [T]) {
        let g = &l.g;
        let (cs, row_len) = (l.columns, l.columns * g.stride);
        let rows = (g.ho - 1) * g.stride + (g.k - 1) * g.dilation + 1;
        for iy in 0..g.h.min(rows.saturating_sub(g.padding)) {
            let src = &x[iy * g.w..][..g.w];
            let row = &mut s[(iy + g.padding) * row_len..][..row_len];
            if g.stride == 1 {
                let n = g.w.min(cs.saturating_sub(g.padding));
                row[g.padding..][..n].copy_from_slice(&src[..n]);
            } else {
                for ph in 0..g.stride {
                    // First input column of this phase.
                    let first = (ph + g.stride - g.padding % g.stride) % g.stride;
                    let start = (first + g.padding) / g.stride;
                    if start < cs && first < g.w {
                        for (d, v) in row[ph * cs..][..cs][start..].iter_mut().zip(src[first..].iter().step_by(g.stride)) {
                            *d = *v;
                        }
                    }
                }
            }
        }
    }
}

simd! {
    /// [`pad_plane`] of `max(a x + b, 0)`.
    pub fn pad_rectified[T](l: &Layout, x: &[T], a: T, b: T, s: &mut [T]) {
        let g = &l.g;
        let (cs, row_len) = (l.columns, l.columns * g.stride);
        let rows = (g.ho - 1) * g.stride + (g.k - 1) * g.dilation + 1;
        for iy in 0..g.h.min(rows.saturating_sub(g.padding)) {
            let src = &x[iy * g.w..][..g.w];
            let row = &mut s[(iy + g.padding) * row_len..][..row_len];
            if g.stride == 1 {
                let n = g.w.min(cs.saturating_sub(g.padding));
                for (d, &v) in row[g.padding..][..n].iter_mut().zip(src) {
                    let v = v.mul_add(a, b);
                    *d = if v <= T::ZERO { T::ZERO } else { v };
                }
                continue;
            }
            for ph in 0..g.stride {
                let first = (ph + g.stride - g.padding % g.stride) % g.stride;
                let start = (first + g.padding) / g.stride;
                if start < cs && first < g.w {
                    let from = src[first..].iter().step_by(g.stride);
                    for (d, &v) in row[ph * cs..][..cs][start..].iter_mut().zip(from) {
                        let v = v.mul_add(a, b);
                        *d = if v <= T::ZERO { T::ZERO } else { v };
                    }
                }
            }
        }
    }
}

simd! {
    /// Adds nothing: copies the scratch's interior onto the plane `dx`, the reverse of [`pad_plane`].
    pub fn unpad_plane[T](l: &Layout, s: &[T], dx: &mut [T]) {
        let g = &l.g;
        let (cs, row_len) = (l.columns, l.columns * g.stride);
        let rows = (g.ho - 1) * g.stride + (g.k - 1) * g.dilation + 1;
        for iy in 0..g.h {
            let dst = &mut dx[iy * g.w..][..g.w];
            if iy + g.padding >= rows {
                dst.fill(T::ZERO);
                continue;
            }
            let row = &s[(iy + g.padding) * row_len..][..row_len];
            if g.stride == 1 {
                let n = g.w.min(cs.saturating_sub(g.padding));
                dst[..n].copy_from_slice(&row[g.padding..][..n]);
                dst[n..].fill(T::ZERO);
                continue;
            }
            for ph in 0..g.stride {
                let first = (ph + g.stride - g.padding % g.stride) % g.stride;
                let start = ((first + g.padding) / g.stride).min(cs);
                let mut src = row[ph * cs + start..][..cs - start].iter();
                for d in dst.iter_mut().skip(first).step_by(g.stride) {
                    *d = src.next().copied().unwrap_or(T::ZERO);
                }
            }
        }
    }
}

simd! {
    /// `y[o] = sum over taps of w * s`, into a padded output. `KK` taps; 0 takes any number.
    fn correlate<const KK: usize>[T](l: &Layout, s: &[T], w: &[T], y: &mut [T]) {
        l.check(s, y, w.len());
        let taps: &[usize] = if KK == 0 { &l.taps } else { &l.taps[..KK] };
        let w: &[T] = if KK == 0 { w } else { &w[..KK] };
        for r in 0..l.runs {
            let (base, out) = (r * l.run_in, r * l.run_out);
            let mut o = 0;
            while o + 2 * LANES <= l.run_len {
                let (mut a, mut b) = (V::splat(T::ZERO), V::splat(T::ZERO));
                for t in 0..taps.len() {
                    let (at, wv) = (base + o + taps[t], V::splat(w[t]));
                    a = a.fma(V::at(s, at), wv);
                    b = b.fma(V::at(s, at + LANES), wv);
                }
                a.put(y, out + o);
                b.put(y, out + o + LANES);
                o += 2 * LANES;
            }
            while o < l.run_len {
                let mut a = V::splat(T::ZERO);
                for t in 0..taps.len() {
                    a = a.fma(V::at(s, base + o + taps[t]), V::splat(w[t]));
                }
                a.put(y, out + o);
                o += LANES;
            }
        }
    }
}

simd! {
    /// `s += w * dy` at every tap: the gradient of the padded input, for strides above 1. `dy` is a padded output.
    pub fn scatter[T](l: &Layout, dy: &[T], w: &[T], s: &mut [T]) {
        l.check(s, dy, w.len());
        for r in 0..l.runs {
            for (t, &tap) in l.taps.iter().enumerate() {
                let (base, wv) = (r * l.run_in + tap, V::splat(w[t]));
                let mut o = 0;
                while o < l.run_len {
                    V::at(s, base + o).fma(V::at(dy, r * l.run_out + o), wv).put(s, base + o);
                    o += LANES;
                }
            }
        }
    }
}

simd! {
    /// `dw[t] += sum dy * s` for `G` taps, whose accumulators stay in registers; `dy` is a padded output with zeros
    /// between rows.
    fn weight_gradient_taps<const G: usize>[T](l: &Layout, first: usize, dy: &[T], s: &[T], dw: &mut [T]) {
        let mut at = [0; G];
        at.copy_from_slice(&l.taps[first..first + G]);
        let mut acc = [V::splat(T::ZERO); G];
        for r in 0..l.runs {
            let (base, out) = (r * l.run_in, r * l.run_out);
            let mut o = 0;
            while o < l.run_len {
                let d = V::at(dy, out + o);
                for t in 0..G {
                    acc[t] = acc[t].fma(d, V::at(s, base + o + at[t]));
                }
                o += LANES;
            }
        }
        for t in 0..G {
            dw[first + t] += acc[t].sum();
        }
    }
}

/// `dw += ` the gradient of one plane, from its padded scratch and its padded output gradient.
pub fn weight_gradient<T: Float>(l: &Layout, dy: &[T], s: &[T], dw: &mut [T]) {
    l.check(s, dy, dw.len());
    let mut t = 0;
    while t < dw.len() {
        // Groups of five and four: 25 taps are 5 fives, 9 are a five and a four.
        t += match dw.len() - t {
            n if n >= 5 => {
                weight_gradient_taps::<T, 5>(l, t, dy, s, dw);
                5
            }
            4 => {
                weight_gradient_taps::<T, 4>(l, t, dy, s, dw);
                4
            }
            _ => {
                weight_gradient_taps::<T, 1>(l, t, dy, s, dw);
                1
            }
        };
    }
}

/// Copies `dy` into the padded output; what lies between the rows keeps its zeros.
pub fn pad_rows<T: Float>(l: &Layout, dy: &[T], out: &mut [T]) {
    for (o, d) in out.chunks_mut(l.out_stride).zip(dy.chunks(l.g.wo)) {
        o[..d.len()].copy_from_slice(d);
    }
}

/// Copies the rows of a padded output to `y`.
pub fn take_rows<T: Float>(l: &Layout, out: &[T], y: &mut [T]) {
    for (o, d) in out.chunks(l.out_stride).zip(y.chunks_mut(l.g.wo)) {
        d.copy_from_slice(&o[..d.len()]);
    }
}

/// `y = w * x` for one plane; `s` and `out` are scratches of the layout's lengths, `s` zero at first.
pub fn forward<T: Float>(l: &Layout, x: &[T], w: &[T], s: &mut [T], out: &mut [T], y: &mut [T]) {
    pad_plane(l, x, s);
    from_padded(l, s, w, out, y);
}

/// [`forward`] of a plane that is in its scratch already.
pub fn from_padded<T: Float>(l: &Layout, s: &[T], w: &[T], out: &mut [T], y: &mut [T]) {
    let direct = l.out_len == y.len();
    let into: &mut [T] = if direct { &mut *y } else { &mut *out };
    match w.len() {
        9 => correlate::<T, 9>(l, s, w, into),
        25 => correlate::<T, 25>(l, s, w, into),
        _ => correlate::<T, 0>(l, s, w, into),
    }
    if !direct {
        take_rows(l, out, y);
    }
}

/// The sizes with which the input gradient of a stride-1 convolution is itself a correlation of `dy` with the flipped kernel.
pub fn flipped(g: &Geometry) -> Option<Geometry> {
    let reach = (g.k - 1) * g.dilation;
    (g.stride == 1 && g.padding <= reach).then(|| Geometry {
        h: g.ho,
        w: g.wo,
        ho: g.h,
        wo: g.w,
        padding: reach - g.padding,
        ..*g
    })
}

simd! {
    /// `y[o] = max over taps of s` (NaN wins), into a padded output.
    pub fn max_taps[T](l: &Layout, s: &[T], y: &mut [T]) {
        l.check(s, y, l.taps.len());
        for r in 0..l.runs {
            let mut o = 0;
            while o < l.run_len {
                let mut m = V::splat(T::NEG_INF);
                for &t in &l.taps {
                    let v = V::at(s, r * l.run_in + o + t);
                    for i in 0..LANES {
                        m.0[i] = if v.0[i] > m.0[i] || v.0[i] != v.0[i] { v.0[i] } else { m.0[i] };
                    }
                }
                m.put(y, r * l.run_out + o);
                o += LANES;
            }
        }
    }
}

simd! {
    /// Gives each output's gradient to the first tap (in row order) that equals its maximum; adds into the scratch `d`.
    pub fn max_scatter[T](l: &Layout, s: &[T], dy: &[T], d: &mut [T]) {
        l.check(s, dy, l.taps.len());
        l.check(d, dy, l.taps.len());
        for r in 0..l.runs {
            let mut o = 0;
            while o < l.run_len {
                let base = r * l.run_in + o;
                let mut m = V::splat(T::NEG_INF);
                for &t in &l.taps {
                    let v = V::at(s, base + t);
                    for i in 0..LANES {
                        m.0[i] = if v.0[i] > m.0[i] { v.0[i] } else { m.0[i] };
                    }
                }
                // What is still to be given; outputs between rows have none.
                let mut left = V::at(dy, r * l.run_out + o);
                for &t in &l.taps {
                    let v = V::at(s, base + t);
                    let mut g = V::at(d, base + t);
                    for i in 0..LANES {
                        let hit = v.0[i] == m.0[i];
                        g.0[i] += if hit { left.0[i] } else { T::ZERO };
                        left.0[i] = if hit { T::ZERO } else { left.0[i] };
                    }
                    g.put(d, base + t);
                }
                o += LANES;
            }
        }
    }
}
