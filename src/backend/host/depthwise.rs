//! Depthwise convolution of one plane, any stride and dilation.
//!
//! A plane is first copied into a zero-padded scratch whose columns are split by their phase modulo the stride, so that
//! every tap of a row of outputs is one contiguous run. With stride 1 there is a single phase.

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

impl Geometry {
    /// Columns of one phase of a scratch row, tail lanes included.
    pub(super) fn columns(&self) -> usize {
        self.wo.next_multiple_of(LANES) + (self.k - 1) * self.dilation / self.stride + 1
    }

    fn rows(&self) -> usize {
        (self.ho - 1) * self.stride + (self.k - 1) * self.dilation + 1
    }

    /// Elements of the scratch for a padded input plane.
    pub fn scratch_len(&self) -> usize {
        self.rows() * self.stride * self.columns()
    }

    /// Elements of the scratch for an output plane with padded rows.
    pub fn padded_out_len(&self) -> usize {
        self.ho * self.wo.next_multiple_of(LANES)
    }

    /// Where tap column `kx` starts within a scratch row.
    #[inline(always)]
    pub(super) fn tap(&self, kx: usize) -> usize {
        let at = kx * self.dilation;
        (at % self.stride) * self.columns() + at / self.stride
    }
}

simd! {
    /// Copies the plane `x` into a scratch that was zero at first; the zero border stays between planes.
    pub fn pad_plane[T](g: &Geometry, x: &[T], s: &mut [T]) {
        let cs = g.columns();
        let row_len = cs * g.stride;
        for iy in 0..g.h {
            let r = iy + g.padding;
            if r >= g.rows() {
                break;
            }
            let src = &x[iy * g.w..][..g.w];
            let row = &mut s[r * row_len..][..row_len];
            if g.stride == 1 {
                let n = g.w.min(cs - g.padding.min(cs));
                row[g.padding..][..n].copy_from_slice(&src[..n]);
            } else {
                for ph in 0..g.stride {
                    // First input column of this phase.
                    let first = (ph + g.stride - g.padding % g.stride) % g.stride;
                    let start = (first + g.padding) / g.stride;
                    let phase = &mut row[ph * cs..][..cs];
                    if start < cs && first < g.w {
                        for (d, v) in phase[start..].iter_mut().zip(src[first..].iter().step_by(g.stride)) {
                            *d = *v;
                        }
                    }
                }
            }
        }
    }
}

simd! {
    /// Adds the scratch back onto the plane `dx`: the reverse of [`pad_plane`].
    pub fn unpad_plane[T](g: &Geometry, s: &[T], dx: &mut [T]) {
        let cs = g.columns();
        let row_len = cs * g.stride;
        for iy in 0..g.h {
            let r = iy + g.padding;
            if r >= g.rows() {
                dx[iy * g.w..][..g.w].fill(T::ZERO);
                continue;
            }
            let row = &s[r * row_len..][..row_len];
            for (ix, d) in dx[iy * g.w..][..g.w].iter_mut().enumerate() {
                let c = ix + g.padding;
                *d = row.get((c % g.stride) * cs + c / g.stride).copied().filter(|_| c / g.stride < cs).unwrap_or(T::ZERO);
            }
        }
    }
}

simd! {
    /// `y[oy, ox] = sum over taps of w * s`; `w` has `K * K` taps. `K = 0` takes the size from `g`.
    pub fn correlate<const K: usize>[T](g: &Geometry, s: &[T], w: &[T], y: &mut [T]) {
        let k = if K == 0 { g.k } else { K };
        let row_len = g.columns() * g.stride;
        for oy in 0..g.ho {
            let out = &mut y[oy * g.wo..][..g.wo];
            let base = oy * g.stride * row_len;
            let mut ox = 0;
            while ox < g.wo {
                let mut acc = V::splat(T::ZERO);
                for ky in 0..k {
                    let row = &s[base + ky * g.dilation * row_len..][..row_len];
                    for kx in 0..k {
                        acc = acc.fma(V::load(&row[g.tap(kx) + ox..]), V::splat(w[ky * k + kx]));
                    }
                }
                let n = LANES.min(g.wo - ox);
                out[ox..ox + n].copy_from_slice(&acc.0[..n]);
                ox += LANES;
            }
        }
    }
}

simd! {
    /// `s += w * dy` at every tap: the gradient of the padded input, for strides above 1. `dy` has padded rows.
    pub fn scatter[T](g: &Geometry, dy: &[T], w: &[T], s: &mut [T]) {
        let row_len = g.columns() * g.stride;
        let ds = g.wo.next_multiple_of(LANES);
        for oy in 0..g.ho {
            for ky in 0..g.k {
                let row = &mut s[(oy * g.stride + ky * g.dilation) * row_len..][..row_len];
                for kx in 0..g.k {
                    let wv = V::splat(w[ky * g.k + kx]);
                    let at = g.tap(kx);
                    let mut ox = 0;
                    while ox < ds {
                        let d = &mut row[at + ox..at + ox + LANES];
                        V::load(d).fma(V::load(&dy[oy * ds + ox..]), wv).store(d);
                        ox += LANES;
                    }
                }
            }
        }
    }
}

simd! {
    /// `dw[ky, kx] += sum dy * s`; `dy` has padded rows. `K = 0` takes the size from `g`.
    pub fn weight_gradient<const K: usize>[T](g: &Geometry, dy: &[T], s: &[T], dw: &mut [T]) {
        let row_len = g.columns() * g.stride;
        let ds = g.wo.next_multiple_of(LANES);
        if K == 3 {
            let mut acc = [V::splat(T::ZERO); 9];
            for oy in 0..g.ho {
                let mut ox = 0;
                while ox < ds {
                    let d = V::load(&dy[oy * ds + ox..]);
                    for ky in 0..3 {
                        let row = &s[(oy * g.stride + ky * g.dilation) * row_len..][..row_len];
                        for kx in 0..3 {
                            acc[ky * 3 + kx] = acc[ky * 3 + kx].fma(d, V::load(&row[g.tap(kx) + ox..]));
                        }
                    }
                    ox += LANES;
                }
            }
            for (d, a) in dw.iter_mut().zip(acc) {
                *d += a.sum();
            }
            return;
        }
        let k = if K == 0 { g.k } else { K };
        // One row of taps at a time: k accumulators live in registers.
        for ky in 0..k {
            if K == 5 {
                let mut acc = [V::splat(T::ZERO); 5];
                for oy in 0..g.ho {
                    let row = &s[(oy * g.stride + ky * g.dilation) * row_len..][..row_len];
                    let mut ox = 0;
                    while ox < ds {
                        let d = V::load(&dy[oy * ds + ox..]);
                        for kx in 0..5 {
                            acc[kx] = acc[kx].fma(d, V::load(&row[g.tap(kx) + ox..]));
                        }
                        ox += LANES;
                    }
                }
                for (d, a) in dw[ky * 5..].iter_mut().zip(acc) {
                    *d += a.sum();
                }
                continue;
            }
            for kx in 0..k {
                let mut acc = V::splat(T::ZERO);
                for oy in 0..g.ho {
                    let row = &s[(oy * g.stride + ky * g.dilation) * row_len..][..row_len];
                    let mut ox = 0;
                    while ox < ds {
                        acc = acc.fma(V::load(&dy[oy * ds + ox..]), V::load(&row[g.tap(kx) + ox..]));
                        ox += LANES;
                    }
                }
                dw[ky * k + kx] += acc.sum();
            }
        }
    }
}

/// Copies `dy` into rows padded with zeros to a multiple of the lanes.
pub fn pad_rows<T: Float>(g: &Geometry, dy: &[T], out: &mut [T]) {
    let ds = g.wo.next_multiple_of(LANES);
    for oy in 0..g.ho {
        out[oy * ds..][..g.wo].copy_from_slice(&dy[oy * g.wo..][..g.wo]);
    }
}

/// `y = w * x` for one plane; `s` is a scratch of [`Geometry::scratch_len`] zeros, reusable for the next plane.
pub fn forward<T: Float>(g: &Geometry, x: &[T], w: &[T], s: &mut [T], y: &mut [T]) {
    pad_plane(g, x, s);
    match g.k {
        3 => correlate::<T, 3>(g, s, w, y),
        5 => correlate::<T, 5>(g, s, w, y),
        _ => correlate::<T, 0>(g, s, w, y),
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
