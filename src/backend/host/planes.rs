//! Planes with zeros around them, for depthwise convolutions, pools and products over taps.
//!
//! A plane is copied into a zero-padded scratch whose columns are split by their phase modulo the stride, so that every tap of a run
//! of outputs is one contiguous run of the scratch. Narrow maps at stride 1 are handled as one flat run over all rows (the few outputs
//! between two rows are computed and thrown away), wide ones row by row.

use std::ops::Range;

use super::by_hand::Grid;
use super::products::Runs;
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
    pub(super) columns: usize,
    /// Elements of the scratch.
    pub scratch_len: usize,
    /// Distance between output rows in the padded output.
    pub out_stride: usize,
    /// Elements of the padded output.
    pub out_len: usize,
    /// Number of runs, their length in lanes' multiples, and their steps in scratch and padded output.
    pub(super) runs: usize,
    pub(super) run_len: usize,
    pub(super) run_in: usize,
    pub(super) run_out: usize,
    /// Offset of each tap from the start of a run.
    pub(super) taps: Vec<usize>,
}

/// Some runs, and where they begin in a scratch and in a padded output.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Block {
    pub b: usize,
    pub c: usize,
    pub runs: Runs,
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

    /// The rows of a layout that goes row by row at stride 1.
    pub(super) fn grid(&self) -> Option<Grid> {
        (self.g.stride == 1 && self.runs == self.g.ho).then_some(Grid {
            rows: self.g.ho,
            len: self.run_len,
            in_row: self.columns,
            out_row: self.out_stride,
            dilation: self.g.dilation,
        })
    }

    /// Of a scratch row at stride 2, where input columns 0, 2, 4, ... and 1, 3, 5, ... lie.
    fn at_halves(&self) -> [Range<usize>; 2] {
        [0, 1].map(|first| {
            let (phase, start) = ((first + self.g.padding) % 2, (first + self.g.padding) / 2);
            let columns = self.columns;
            phase * columns + start.min(columns)..(phase + 1) * columns
        })
    }

    fn halves_of<'a, T>(&self, row: &'a [T]) -> [&'a [T]; 2] {
        self.at_halves().map(|r| &row[r])
    }

    pub(super) fn halves<'a, T>(&self, row: &'a mut [T]) -> [&'a mut [T]; 2] {
        let [a, b] = self.at_halves();
        row.get_disjoint_mut([a, b]).expect("a phase each")
    }

    /// Offset of each tap from the start of a run.
    pub fn taps(&self) -> &[usize] {
        &self.taps
    }

    /// The runs of a plane as a product sees them.
    pub fn product_runs(&self) -> Runs {
        Runs {
            runs: self.runs,
            len: self.run_len,
            b_step: self.run_in,
            c_step: self.run_out,
        }
    }

    /// [`Layout::product_runs`] in blocks of about so many columns.
    pub fn product_blocks(&self, columns: usize) -> Vec<Block> {
        let g = self.product_runs();
        if g.runs == 1 {
            let each = columns.next_multiple_of(LANES);
            let block = |at: usize| Block {
                b: at,
                c: at,
                runs: Runs::one(each.min(g.len - at)),
            };
            return (0..g.len).step_by(each).map(block).collect();
        }
        let each = (columns / g.len).max(1);
        let block = |r: usize| Block {
            b: r * g.b_step,
            c: r * g.c_step,
            runs: Runs {
                runs: each.min(g.runs - r),
                ..g
            },
        };
        (0..g.runs).step_by(each).map(block).collect()
    }

    /// Whether a plane of outputs is a padded output as it is.
    pub fn direct(&self) -> bool {
        self.out_len == self.g.ho * self.g.wo
    }

    /// Asserts that every access of a kernel over these buffers is inside them.
    pub(super) fn check<T>(&self, s: &[T], out: &[T], taps: usize) {
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
            } else if g.stride == 2 {
                let [even, odd] = l.halves(row);
                for (i, v) in src.chunks_exact(2).enumerate().take(even.len().min(odd.len())) {
                    (even[i], odd[i]) = (v[0], v[1]);
                }
                if let (1, Some(last)) = (g.w % 2, even.get_mut(g.w / 2)) {
                    *last = src[g.w - 1];
                }
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
        let rectified = |v: T| {
            let v = v.mul_add(a, b);
            if v <= T::ZERO { T::ZERO } else { v }
        };
        for iy in 0..g.h.min(rows.saturating_sub(g.padding)) {
            let src = &x[iy * g.w..][..g.w];
            let row = &mut s[(iy + g.padding) * row_len..][..row_len];
            if g.stride == 1 {
                let n = g.w.min(cs.saturating_sub(g.padding));
                for (d, &v) in row[g.padding..][..n].iter_mut().zip(src) {
                    *d = rectified(v);
                }
                continue;
            }
            if g.stride == 2 {
                let [even, odd] = l.halves(row);
                for (i, v) in src.chunks_exact(2).enumerate().take(even.len().min(odd.len())) {
                    (even[i], odd[i]) = (rectified(v[0]), rectified(v[1]));
                }
                if let (1, Some(last)) = (g.w % 2, even.get_mut(g.w / 2)) {
                    *last = rectified(src[g.w - 1]);
                }
                continue;
            }
            for ph in 0..g.stride {
                let first = (ph + g.stride - g.padding % g.stride) % g.stride;
                let start = (first + g.padding) / g.stride;
                if start < cs && first < g.w {
                    let from = src[first..].iter().step_by(g.stride);
                    for (d, &v) in row[ph * cs..][..cs][start..].iter_mut().zip(from) {
                        *d = rectified(v);
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
            if g.stride == 2 {
                let [even, odd] = l.halves_of(row);
                let n = even.len().min(odd.len()).min(g.w / 2);
                for ((d, &a), &b) in dst.chunks_exact_mut(2).zip(&even[..n]).zip(&odd[..n]) {
                    (d[0], d[1]) = (a, b);
                }
                for (i, d) in dst.iter_mut().enumerate().skip(2 * n) {
                    let of = if i % 2 == 0 { even } else { odd };
                    *d = of.get(i / 2).copied().unwrap_or(T::ZERO);
                }
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

/// Copies `dy` into the padded output; what lies between the rows keeps its zeros.
pub fn pad_rows<T: Float>(l: &Layout, dy: &[T], out: &mut [T]) {
    for (o, d) in out.chunks_mut(l.out_stride).zip(dy.chunks(l.g.wo)) {
        o[..d.len()].copy_from_slice(d);
    }
}

/// `dy` as a padded output: itself where rows need no padding, in `out` elsewhere.
pub fn padded_rows<'a, T: Float>(l: &Layout, dy: &'a [T], out: &'a mut [T]) -> &'a [T] {
    if l.direct() {
        return dy;
    }
    pad_rows(l, dy, out);
    out
}

/// Copies the rows of a padded output to `y`.
pub fn take_rows<T: Float>(l: &Layout, out: &[T], y: &mut [T]) {
    for (o, d) in out.chunks(l.out_stride).zip(y.chunks_mut(l.g.wo)) {
        d.copy_from_slice(&o[..d.len()]);
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
