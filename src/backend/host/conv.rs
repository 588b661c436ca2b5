//! Convolution of a batch and its two gradients: depthwise planes, pointwise products, [`super::conv_planes`] and,
//! where that has no kernels, im2col for the rest.
//!
//! The output and the input gradient are cut by image or plane; the weight gradient is summed over the logical shards of
//! the batch by a fixed tree, so the bits do not depend on the number of threads.

use std::ops::Range;

use super::depthwise::{self, Geometry, Layout};
use super::gemm::{gemm, gemm_bt, gemm_bt_part, gemm_part};
use super::{Float, conv_planes, elementwise};
use crate::backend::threads::{for_pieces, map, shards, tree_fold};

/// Sizes of a convolution; weights are `(c_out, c_in / groups, k, k)`.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct ConvSizes {
    pub n: usize,
    pub c_in: usize,
    pub h: usize,
    pub w: usize,
    pub c_out: usize,
    pub ho: usize,
    pub wo: usize,
    pub k: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
    pub groups: usize,
}

impl ConvSizes {
    fn depthwise(&self) -> bool {
        self.groups == self.c_in && self.c_out == self.c_in
    }

    fn pointwise(&self) -> bool {
        self.k == 1 && self.padding == 0 && self.groups == 1
    }

    fn in_plane(&self) -> usize {
        self.h * self.w
    }

    fn out_plane(&self) -> usize {
        self.ho * self.wo
    }

    fn macs(&self) -> usize {
        self.n * self.c_out * self.out_plane() * (self.c_in / self.groups) * self.k * self.k
    }

    /// Sizes of one plane.
    pub fn geometry(&self) -> Geometry {
        let ConvSizes {
            h,
            w,
            ho,
            wo,
            k,
            stride,
            padding,
            dilation,
            ..
        } = *self;
        Geometry {
            h,
            w,
            ho,
            wo,
            k,
            stride,
            padding,
            dilation,
        }
    }

    fn taps(&self) -> usize {
        self.c_in / self.groups * self.k * self.k
    }

    /// The output rows in runs whose columns of taps stay in the second-level cache.
    fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = (COLUMNS / (self.taps() * self.wo).max(1)).clamp(1, self.ho.max(1));
        let ho = self.ho;
        (0..ho).step_by(rows).map(move |r| r..(r + rows).min(ho))
    }

    /// Elements of the columns of the longest run.
    fn columns(&self) -> usize {
        let longest = self.runs().map(|r| r.len()).max();
        self.taps() * self.wo * longest.unwrap_or(0)
    }
}

/// Elements of columns at a time: 1 MiB of f32.
const COLUMNS: usize = 1 << 18;

/// Planes a thread handles with one scratch.
const PLANES: usize = 8;

/// `y = conv(x, w)`.
pub fn forward<T: Float>(s: &ConvSizes, x: &[T], w: &[T], y: &mut [T]) {
    let (ip, op) = (s.in_plane(), s.out_plane());
    if s.depthwise() {
        return depthwise_forward(&Layout::new(s.geometry()), s, x, w, y);
    }
    let direct = s.pointwise() && s.stride == 1;
    let planes = (!direct && conv_planes::takes::<T>(s)).then(|| conv_planes::Forward::new(s, w));
    for_pieces(y, s.c_out * op, s.macs(), |i, y| {
        let x = &x[i * s.c_in * ip..][..s.c_in * ip];
        if direct {
            return gemm(s.c_out, s.c_in, op, w, s.c_in, 1, x, y, false);
        }
        if let Some(planes) = &planes {
            return planes.run(x, y);
        }
        let (taps, per) = (s.taps(), s.c_out / s.groups);
        let mut col = vec![T::ZERO; s.columns()];
        for q in 0..s.groups {
            for rows in s.runs() {
                let (n, first) = (rows.len() * s.wo, rows.start * s.wo);
                let col = &mut col[..taps * n];
                im2col(s, &x[q * s.c_in / s.groups * ip..], rows, col);
                let y = &mut y[q * per * op + first..(q + 1) * per * op];
                gemm_part(
                    per,
                    taps,
                    n,
                    &w[q * per * taps..],
                    taps,
                    1,
                    col,
                    n,
                    y,
                    op,
                    false,
                );
            }
        }
    });
}

/// Every plane of `x` with the taps of its channel; `l` may be that of the flipped kernel.
fn depthwise_forward<T: Float>(l: &Layout, s: &ConvSizes, x: &[T], w: &[T], y: &mut [T]) {
    let (ip, op, kk) = (l.g.h * l.g.w, l.g.ho * l.g.wo, s.k * s.k);
    for_pieces(y, op * PLANES, s.macs(), |i, y| {
        let mut scratch = vec![T::ZERO; l.scratch_len];
        let mut out = vec![T::ZERO; l.out_len];
        for (j, y) in y.chunks_mut(op).enumerate() {
            let p = i * PLANES + j;
            let taps = &w[p % s.c_in * kk..][..kk];
            depthwise::forward(l, &x[p * ip..][..ip], taps, &mut scratch, &mut out, y);
        }
    });
}

/// `dx` from `dy`.
pub fn input_gradient<T: Float>(s: &ConvSizes, w: &[T], dy: &[T], dx: &mut [T]) {
    let (ip, op) = (s.in_plane(), s.out_plane());
    if s.depthwise() {
        let g = s.geometry();
        let kk = s.k * s.k;
        if let Some(f) = depthwise::flipped(&g) {
            let flipped: Vec<T> = w.chunks(kk).flat_map(|t| t.iter().rev().copied()).collect();
            return depthwise_forward(&Layout::new(f), s, dy, &flipped, dx);
        }
        let l = Layout::new(g);
        return for_pieces(dx, ip * PLANES, s.macs(), |i, dx| {
            let mut scratch = vec![T::ZERO; l.scratch_len];
            let mut rows = vec![T::ZERO; l.out_len];
            for (j, dx) in dx.chunks_mut(ip).enumerate() {
                let p = i * PLANES + j;
                scratch.fill(T::ZERO);
                let rows = depthwise::padded_rows(&l, &dy[p * op..][..op], &mut rows);
                depthwise::scatter(&l, rows, &w[p % s.c_in * kk..][..kk], &mut scratch);
                depthwise::unpad_plane(&l, &scratch, dx);
            }
        });
    }
    if s.pointwise() && s.stride == 1 {
        let mut transposed = Vec::with_capacity(w.len());
        for c in 0..s.c_in {
            transposed.extend((0..s.c_out).map(|o| w[o * s.c_in + c]));
        }
        return for_pieces(dx, s.c_in * ip, s.macs(), |i, dx| {
            let dy = &dy[i * s.c_out * op..][..s.c_out * op];
            gemm(s.c_in, s.c_out, op, &transposed, s.c_out, 1, dy, dx, false);
        });
    }
    let takes = conv_planes::takes::<T>(s);
    let planes = takes
        .then(|| conv_planes::InputGradient::new(s, w))
        .flatten();
    for_pieces(dx, s.c_in * ip, s.macs(), |i, dx| {
        let dy = &dy[i * s.c_out * op..][..s.c_out * op];
        if let Some(planes) = &planes {
            return planes.run(dy, dx);
        }
        let (taps, per) = (s.taps(), s.c_out / s.groups);
        let mut col = vec![T::ZERO; s.columns()];
        dx.fill(T::ZERO);
        for q in 0..s.groups {
            for rows in s.runs() {
                let (n, first) = (rows.len() * s.wo, rows.start * s.wo);
                let col = &mut col[..taps * n];
                let dy = &dy[q * per * op + first..(q + 1) * per * op];
                gemm_part(
                    taps,
                    per,
                    n,
                    &w[q * per * taps..],
                    1,
                    taps,
                    dy,
                    op,
                    col,
                    n,
                    false,
                );
                col2im(s, col, rows, &mut dx[q * s.c_in / s.groups * ip..]);
            }
        }
    });
}

/// Above this many weights, partial sums of shards are folded as they come instead of being kept side by side.
const KEEP_PARTIALS: usize = 1 << 16;

/// `dw` from `x` and `dy`.
pub fn weight_gradient<T: Float>(s: &ConvSizes, x: &[T], dy: &[T], dw: &mut [T]) {
    let (ip, op) = (s.in_plane(), s.out_plane());
    let shard = |images: Range<usize>| {
        let mut part = vec![T::ZERO; dw.len()];
        if s.depthwise() {
            let l = Layout::new(s.geometry());
            let kk = s.k * s.k;
            let mut scratch = vec![T::ZERO; l.scratch_len];
            let mut rows = vec![T::ZERO; l.out_len];
            for p in images.start * s.c_in..images.end * s.c_in {
                depthwise::pad_plane(&l, &x[p * ip..][..ip], &mut scratch);
                let dy = depthwise::padded_rows(&l, &dy[p * op..][..op], &mut rows);
                depthwise::weight_gradient(&l, dy, &scratch, &mut part[p % s.c_in * kk..][..kk]);
            }
            return part;
        }
        let direct = s.pointwise() && s.stride == 1;
        if !direct && conv_planes::takes::<T>(s) {
            let (x, dy) = (
                &x[images.start * s.c_in * ip..],
                &dy[images.start * s.c_out * op..],
            );
            let n = images.len();
            let (x, dy) = (&x[..n * s.c_in * ip], &dy[..n * s.c_out * op]);
            conv_planes::weight_gradient(s, x, dy, &mut part);
            return part;
        }
        let (taps, per) = (s.taps(), s.c_out / s.groups);
        let mut col = vec![T::ZERO; if direct { 0 } else { s.columns() }];
        for i in images {
            let x = &x[i * s.c_in * ip..][..s.c_in * ip];
            let dy = &dy[i * s.c_out * op..][..s.c_out * op];
            if direct {
                gemm_bt(s.c_out, s.c_in, op, dy, x, &mut part);
                continue;
            }
            for q in 0..s.groups {
                for rows in s.runs() {
                    let (n, first) = (rows.len() * s.wo, rows.start * s.wo);
                    let col = &mut col[..taps * n];
                    im2col(s, &x[q * s.c_in / s.groups * ip..], rows, col);
                    let dy = &dy[q * per * op + first..];
                    let part = &mut part[q * per * taps..][..per * taps];
                    gemm_bt_part(per, taps, n, dy, op, col, part);
                }
            }
        }
        part
    };
    let add = |mut a: Vec<T>, b: Vec<T>| {
        elementwise::add_assign(&mut a, &b);
        a
    };
    let runs: Vec<_> = shards(s.n).collect();
    let total = if dw.len() <= KEEP_PARTIALS {
        tree_fold(map(runs.len(), s.macs(), |i| shard(runs[i].clone())), add)
    } else {
        fold_as_they_come(runs.into_iter().map(shard), add)
    };
    if let Some(t) = total {
        dw.copy_from_slice(&t);
    }
}

/// The same tree as [`tree_fold`], keeping one partial sum per level only.
fn fold_as_they_come<T>(
    parts: impl Iterator<Item = T>,
    mut merge: impl FnMut(T, T) -> T,
) -> Option<T> {
    let mut stack: Vec<(usize, T)> = Vec::new();
    for part in parts {
        let mut top = (0, part);
        while let Some((level, left)) = stack.pop_if(|(level, _)| *level == top.0) {
            top = (level + 1, merge(left, top.1));
        }
        stack.push(top);
    }
    let mut last = stack.pop()?.1;
    while let Some((_, left)) = stack.pop() {
        last = merge(left, last);
    }
    Some(last)
}

/// The output columns whose input column `ox * stride + at - padding` lies inside 0..size.
fn inside(size: usize, out: usize, stride: usize, at: usize, padding: usize) -> Range<usize> {
    let lo = padding.saturating_sub(at).div_ceil(stride).min(out);
    let hi = if size + padding > at {
        ((size + padding - at - 1) / stride + 1).min(out)
    } else {
        0
    };
    lo..hi.max(lo)
}

/// Rows of taps `(c, ky, kx)`, columns of output positions in `rows`; the first `c_in / groups` planes of `x`.
fn im2col<T: Float>(s: &ConvSizes, x: &[T], rows: Range<usize>, col: &mut [T]) {
    for (t, row) in col.chunks_mut(rows.len() * s.wo).enumerate() {
        let (c, ky, kx) = (t / (s.k * s.k), t / s.k % s.k, t % s.k);
        let plane = &x[c * s.in_plane()..][..s.in_plane()];
        let cols = inside(s.w, s.wo, s.stride, kx * s.dilation, s.padding);
        for (dst, oy) in row.chunks_mut(s.wo).zip(rows.clone()) {
            let iy = oy * s.stride + ky * s.dilation;
            if iy < s.padding || iy - s.padding >= s.h || cols.is_empty() {
                dst.fill(T::ZERO);
                continue;
            }
            dst[..cols.start].fill(T::ZERO);
            dst[cols.end..].fill(T::ZERO);
            let first =
                (iy - s.padding) * s.w + cols.start * s.stride + kx * s.dilation - s.padding;
            if s.stride == 1 {
                dst[cols.clone()].copy_from_slice(&plane[first..][..cols.len()]);
            } else {
                for (d, v) in dst[cols.clone()]
                    .iter_mut()
                    .zip(plane[first..].iter().step_by(s.stride))
                {
                    *d = *v;
                }
            }
        }
    }
}

/// Adds the columns back onto the planes: the reverse of [`im2col`].
fn col2im<T: Float>(s: &ConvSizes, col: &[T], rows: Range<usize>, dx: &mut [T]) {
    for (t, row) in col.chunks(rows.len() * s.wo).enumerate() {
        let (c, ky, kx) = (t / (s.k * s.k), t / s.k % s.k, t % s.k);
        let plane = &mut dx[c * s.in_plane()..][..s.in_plane()];
        let cols = inside(s.w, s.wo, s.stride, kx * s.dilation, s.padding);
        for (src, oy) in row.chunks(s.wo).zip(rows.clone()) {
            let iy = oy * s.stride + ky * s.dilation;
            if iy < s.padding || iy - s.padding >= s.h || cols.is_empty() {
                continue;
            }
            let src = &src[cols.clone()];
            let first =
                (iy - s.padding) * s.w + cols.start * s.stride + kx * s.dilation - s.padding;
            if s.stride == 1 {
                elementwise::add_assign(&mut plane[first..][..src.len()], src);
            } else {
                for (d, v) in plane[first..].iter_mut().step_by(s.stride).zip(src) {
                    *d += *v;
                }
            }
        }
    }
}

/// Adds `b[c]` to every value of channel c of `y`, `(N, C, plane)`.
pub fn add_bias<T: Float>(b: &[T], plane: usize, y: &mut [T]) {
    for (i, p) in y.chunks_mut(plane).enumerate() {
        let v = b[i % b.len()];
        for y in p {
            *y += v;
        }
    }
}

/// `db[c]`: the sum of `dy` over images and plane, by shards.
pub fn bias_gradient<T: Float>(n: usize, c: usize, plane: usize, dy: &[T], db: &mut [T]) {
    let runs: Vec<_> = shards(n).collect();
    let parts = runs.into_iter().map(|images| {
        let mut part = vec![T::ZERO; c];
        for p in images.start * c..images.end * c {
            part[p % c] += elementwise::sum(&dy[p * plane..][..plane]);
        }
        part
    });
    let total = tree_fold(parts.collect(), |mut a: Vec<T>, b| {
        elementwise::add_assign(&mut a, &b);
        a
    });
    if let Some(t) = total {
        db.copy_from_slice(&t);
    }
}

#[cfg(test)]
#[path = "conv_tests.rs"]
mod tests;
