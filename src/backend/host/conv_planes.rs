//! Dense and grouped convolutions as products over padded planes: row (c, ky, kx) of the right operand is channel c seen from tap
//! (ky, kx), so that no columns are made. Only where [`super::products`] has kernels; [`super::conv`] makes columns elsewhere.

use std::ops::Range;

use super::conv::ConvSizes;
use super::depthwise::{self, Geometry, Layout};
use super::products;
use super::{Float, rearrange};
use crate::tensor::Buffer;

/// Planes of an image, padded one behind the other.
struct Planes<'a> {
    l: &'a Layout,
    buffer: Buffer,
}

impl Planes<'_> {
    fn new<T: Float>(l: &Layout, channels: usize) -> Planes<'_> {
        let buffer = Buffer::zeros(T::DTYPE, channels * l.scratch_len);
        Planes { l, buffer }
    }

    fn load<T: Float>(&mut self, x: &[T]) {
        let plane = self.l.g.h * self.l.g.w;
        let planes = self.buffer.values_mut::<T>().chunks_mut(self.l.scratch_len);
        for (x, s) in x.chunks(plane).zip(planes) {
            depthwise::pad_plane(self.l, x, s);
        }
    }
}

/// Rows of the right operand: what the taps at these places of a window see of these channels.
fn rows(l: &Layout, channels: Range<usize>, taps: &[usize]) -> Vec<usize> {
    let of = |c: usize| taps.iter().map(move |&t| c * l.scratch_len + l.taps()[t]);
    channels.flat_map(of).collect()
}

/// Planes of outputs between whole rows, where they need that.
struct Out {
    buffer: Option<Buffer>,
}

impl Out {
    fn new<T: Float>(l: &Layout, planes: usize) -> Out {
        let buffer = (!l.direct()).then(|| Buffer::zeros(T::DTYPE, planes * l.out_len));
        Out { buffer }
    }

    /// Lets `f` write planes that are `out_len` apart, then puts what counts of them into `y`.
    fn write<T: Float>(&mut self, l: &Layout, y: &mut [T], f: impl FnOnce(&mut [T])) {
        let Some(buffer) = &mut self.buffer else {
            return f(y);
        };
        let all = &mut buffer.values_mut::<T>()[..y.len() / (l.g.ho * l.g.wo) * l.out_len];
        f(all);
        for (o, y) in all.chunks(l.out_len).zip(y.chunks_mut(l.g.ho * l.g.wo)) {
            depthwise::take_rows(l, o, y);
        }
    }
}

/// A product of one group over planes: weights packed, rows of the right operand.
struct Product<T> {
    weights: Vec<T>,
    rows: Vec<usize>,
}

/// A product for each group, whose weights `a(to, from within the group, tap)` gives.
pub struct Correlation<T> {
    groups: Vec<Product<T>>,
    per: usize,
}

impl<T: Float> Correlation<T> {
    fn new(
        l: &Layout,
        [groups, from, to]: [usize; 3],
        taps: &[usize],
        a: impl Fn(usize, usize, usize) -> T,
    ) -> Correlation<T> {
        let (from, per) = (from / groups, to / groups);
        let one = |q: usize| {
            let mut flat = Vec::with_capacity(per * from * taps.len());
            for o in q * per..(q + 1) * per {
                for c in q * from..(q + 1) * from {
                    flat.extend((0..taps.len()).map(|t| a(o, c, t)));
                }
            }
            let (k, mut weights) = (from * taps.len(), vec![]);
            products::pack(per, k, &flat, [k, 1], &mut weights);
            let rows = rows(l, q * from..(q + 1) * from, taps);
            Product { weights, rows }
        };
        Correlation {
            groups: (0..groups).map(one).collect(),
            per,
        }
    }

    /// Into planes that are `out_len` apart.
    fn run(&self, planes: &Planes, y: &mut [T]) {
        let l = planes.l;
        let (s, g) = (planes.buffer.values::<T>(), l.product_runs());
        for (p, y) in self.groups.iter().zip(y.chunks_mut(self.per * l.out_len)) {
            let (a, rows) = (&p.weights, &p.rows);
            assert!(products::product(
                self.per, a, rows, s, &g, y, l.out_len, false
            ));
        }
    }
}

/// Whether convolutions of this type and these groups go this way.
pub fn takes<T: Float>(s: &ConvSizes) -> bool {
    products::applies::<T>() && s.groups < s.c_in.max(2)
}

/// A convolution, or the input gradient of one at stride 1.
pub struct Forward<T> {
    l: Layout,
    c: Correlation<T>,
    from: usize,
    to: usize,
}

impl<T: Float> Forward<T> {
    /// `y = conv(x, w)`.
    pub fn new(s: &ConvSizes, w: &[T]) -> Forward<T> {
        let (kk, each) = (s.k * s.k, s.c_in / s.groups);
        let taps: Vec<usize> = (0..kk).collect();
        let l = Layout::new(s.geometry());
        let sizes = [s.groups, s.c_in, s.c_out];
        let weight = |o: usize, c: usize, t: usize| w[(o * each + c % each) * kk + t];
        Forward {
            c: Correlation::new(&l, sizes, &taps, weight),
            l,
            from: s.c_in,
            to: s.c_out,
        }
    }

    /// An image.
    pub fn run(&self, x: &[T], y: &mut [T]) {
        let mut planes = Planes::new::<T>(&self.l, self.from);
        planes.load(x);
        let mut out = Out::new::<T>(&self.l, self.to);
        out.write(&self.l, y, |y| self.c.run(&planes, y));
    }
}

/// One direction of a stride's phase: which taps write to rows `phase, phase + stride, ...` of the input, and how many output rows
/// before the row they read.
struct Phase {
    /// `(tap, row of a window of outputs)`.
    taps: Vec<(usize, usize)>,
}

/// The phases of a stride, and the window of outputs that all of them read: its side and how many of its rows come before.
fn phases(s: &ConvSizes) -> (Vec<Phase>, usize, usize) {
    let shift = |phase: usize| {
        (
            (phase + s.padding) / s.stride,
            (phase + s.padding) % s.stride,
        )
    };
    // Taps first, first + stride, ...: tap t reads the output `ahead - t`.
    let count = |first: usize| s.k.saturating_sub(first).div_ceil(s.stride);
    let all = (0..s.stride).map(shift);
    let before = all
        .clone()
        .map(|(ahead, first)| count(first).saturating_sub(ahead + 1));
    let before = before.max().unwrap_or(0);
    let most = all.clone().map(|(ahead, _)| ahead).max().unwrap_or(0);
    let one = |(ahead, first): (usize, usize)| Phase {
        taps: (0..count(first))
            .map(|t| (first + t * s.stride, before + ahead - t))
            .collect(),
    };
    (all.map(one).collect(), before + most + 1, before)
}

/// The input gradient of a convolution.
pub enum InputGradient<T> {
    /// At stride 1 a correlation with the flipped weights.
    Flipped(Forward<T>),
    /// Else one for each phase of the rows and columns.
    Phases {
        /// Sizes of the convolution.
        s: ConvSizes,
        /// Of a window of outputs that all phases read.
        l: Layout,
        /// By row phase, then column phase.
        all: Vec<Correlation<T>>,
    },
}

impl<T: Float> InputGradient<T> {
    /// `None` where taps do not lie side by side and the stride is above 1.
    pub fn new(s: &ConvSizes, w: &[T]) -> Option<InputGradient<T>> {
        let (each, kk) = (s.c_in / s.groups, s.k * s.k);
        let weight = |c: usize, o: usize, t: usize| w[(o * each + c % each) * kk + t];
        let sizes = [s.groups, s.c_out, s.c_in];
        if let Some(flipped) = depthwise::flipped(&s.geometry()) {
            let taps: Vec<usize> = (0..kk).collect();
            let l = Layout::new(flipped);
            let c = Correlation::new(&l, sizes, &taps, |c, o, t| weight(c, o, kk - 1 - t));
            let (from, to) = (s.c_out, s.c_in);
            return Some(InputGradient::Flipped(Forward { l, c, from, to }));
        }
        if s.dilation != 1 {
            return None;
        }
        let (phases, side, before) = phases(s);
        let l = Layout::new(Geometry {
            h: s.ho,
            w: s.wo,
            ho: s.h.div_ceil(s.stride),
            wo: s.w.div_ceil(s.stride),
            k: side,
            stride: 1,
            padding: before,
            dilation: 1,
        });
        let mut all = vec![];
        for y in &phases {
            for x in &phases {
                let pairs = y
                    .taps
                    .iter()
                    .flat_map(|y| x.taps.iter().map(move |x| (y, x)));
                let pairs: Vec<(usize, usize)> = pairs
                    .map(|(y, x)| (y.0 * s.k + x.0, y.1 * side + x.1))
                    .collect();
                let taps: Vec<usize> = pairs.iter().map(|p| p.1).collect();
                all.push(Correlation::new(&l, sizes, &taps, |c, o, t| {
                    weight(c, o, pairs[t].0)
                }));
            }
        }
        Some(InputGradient::Phases { s: *s, l, all })
    }

    /// An image.
    pub fn run(&self, dy: &[T], dx: &mut [T]) {
        let (s, l, all) = match self {
            InputGradient::Flipped(f) => return f.run(dy, dx),
            InputGradient::Phases { s, l, all } => (s, l, all),
        };
        let mut planes = Planes::new::<T>(l, s.c_out);
        planes.load(dy);
        let one = s.c_in * l.out_len;
        let mut out = Buffer::scratch(T::DTYPE, s.stride * one);
        let out = out.values_mut::<T>();
        for (y, row) in all.chunks(s.stride).enumerate() {
            for (c, out) in row.iter().zip(out.chunks_mut(one)) {
                c.run(&planes, out);
            }
            for (c, dx) in dx.chunks_mut(s.h * s.w).enumerate() {
                for (i, dx) in dx.chunks_mut(s.w).skip(y).step_by(s.stride).enumerate() {
                    let at = c * l.out_len + i * l.out_stride;
                    let part = |p: usize| &out[p * one + at..][..l.g.wo];
                    match s.stride {
                        2 => rearrange::interleave(&[part(0), part(1)], dx),
                        n => rearrange::interleave(&(0..n).map(part).collect::<Vec<_>>(), dx),
                    }
                }
            }
        }
    }
}

/// Adds the weight's gradient of some images to `dw`.
pub fn weight_gradient<T: Float>(s: &ConvSizes, x: &[T], dy: &[T], dw: &mut [T]) {
    let l = &Layout::new(s.geometry());
    let mut planes = Planes::new::<T>(l, s.c_in);
    let (from, per, kk) = (s.c_in / s.groups, s.c_out / s.groups, s.k * s.k);
    let taps: Vec<usize> = (0..kk).collect();
    let rows: Vec<Vec<usize>> = (0..s.groups)
        .map(|q| self::rows(l, q * from..(q + 1) * from, &taps))
        .collect();
    let mut padded = (!l.direct()).then(|| Buffer::zeros(T::DTYPE, s.c_out * l.out_len));
    let plane = s.ho * s.wo;
    for (x, dy) in x.chunks(s.c_in * s.h * s.w).zip(dy.chunks(s.c_out * plane)) {
        planes.load(x);
        let mut dy = dy;
        if let Some(padded) = &mut padded {
            let out = padded.values_mut::<T>();
            for (dy, out) in dy.chunks(plane).zip(out.chunks_mut(l.out_len)) {
                depthwise::pad_rows(l, dy, out);
            }
            dy = out;
        }
        let x = planes.buffer.values::<T>();
        for part in l.product_blocks(products::columns(per)) {
            for (q, rows) in rows.iter().enumerate() {
                let dy = &dy[q * per * l.out_len + part.c..];
                let dw = &mut dw[q * per * from * kk..][..per * from * kk];
                let x = &x[part.b..];
                assert!(products::transposed(
                    per, dy, l.out_len, rows, x, &part.runs, dw
                ));
            }
        }
    }
}
