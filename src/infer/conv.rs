//! Convolutions some rows at a time: what is padded, the depthwise output between two convolutions and the rows that are written stay in
//! the second-level cache, and what follows is done to them there.

use std::cell::RefCell;
use std::ops::Range;

use super::step::{Body, Conv, DEPTH, Depthwise, Weight};
use crate::backend::host::conv::{self, ConvSizes};
use crate::backend::host::depthwise::{self, Geometry, Layout};
use crate::backend::host::gemm::gemm_part;
use crate::backend::host::products::{self, Runs, TILE_ROWS};
use crate::backend::host::tiles;
use crate::backend::threads::{count, for_pieces};

/// Elements that are held of what a product reads: 128 KiB.
const HELD: usize = 1 << 15;
/// Columns of a product at least, as far as there are so many.
const LEAST: usize = 96;

/// Elements of a cache line.
const LINE: usize = 16;

/// The distance of rows that hold so many elements: an odd number of cache lines, so that rows do not all fall on the same places of a
/// cache, as they would at the distance of two planes of a map.
fn apart(len: usize) -> usize {
    (len.div_ceil(LINE) | 1) * LINE
}

thread_local! {
    /// A padded plane and its output, of one thread.
    static PLANE: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((vec![], vec![])) };
}

/// Memory that steps share, one after the other.
#[derive(Debug, Default)]
pub struct Scratch(Vec<f32>);

impl Scratch {
    fn take(&mut self, n: usize) -> &mut [f32] {
        if self.0.len() < n {
            self.0.resize(n, 0.0);
        }
        &mut self.0[..n]
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.0.len() * size_of::<f32>()
    }
}

/// The image of a convolution's operand, what is added, and where the result goes.
pub struct Image<'a> {
    /// The operand.
    pub x: &'a [f32],
    /// What is added; `None` also where it is in `y` already.
    pub plus: Option<&'a [f32]>,
    /// Whether `y` holds what is added.
    pub in_place: bool,
    /// The result.
    pub y: &'a mut [f32],
}

/// Computes one image.
pub fn run(c: &Conv, image: Image, scratch: &mut Scratch) {
    match &c.body {
        Body::Pointwise { sizes, w } => pointwise(c, *sizes, w, image, scratch),
        Body::Separable { first, c_out, w } => separable(c, first, *c_out, w, image, scratch),
        Body::Depthwise(d) => alone(c, d, image),
        Body::Dense { sizes, w } => dense(c, sizes, w, image, scratch),
    }
}

/// Rows of a result that a thread makes of `m`.
fn share(m: usize) -> usize {
    m.div_ceil(count()).next_multiple_of(TILE_ROWS)
}

/// Rows of B from `b` on at `offsets`, `ldb` apart where products have no kernels; some columns of rows of the result, `ldc` apart.
struct Product<'a> {
    w: &'a Weight,
    group: usize,
    offsets: &'a [usize],
    ldb: usize,
    b: &'a [f32],
    runs: Runs,
    ldc: usize,
    accumulate: bool,
}

impl Product<'_> {
    /// Rows `first..first + rows` of the group's, the first of them at the start of `y`.
    fn write(&self, first: usize, rows: usize, y: &mut [f32]) {
        let k = self.offsets.len();
        if let Some(packed) = self.w.packed.get(self.group) {
            for (i, (a, at)) in packed.iter().zip(self.offsets.chunks(DEPTH)).enumerate() {
                let (a, b, ldc) = (&a[first * at.len()..], self.b, self.ldc);
                let add = self.accumulate || i > 0;
                let done = products::product(rows, a, at, b, &self.runs, y, ldc, add);
                assert!(done, "weights are packed where there are kernels");
            }
            return;
        }
        let a = &self.w.plain[first * k..];
        gemm_part(
            rows,
            k,
            self.runs.len,
            a,
            k,
            1,
            self.b,
            self.ldb,
            y,
            self.ldc,
            self.accumulate,
        );
    }
}

/// Bias, what is added and the rectifier for these columns of all rows of `y`; the first row is `first`.
fn finish(
    c: &Conv,
    plus: Option<&[f32]>,
    plane: usize,
    columns: Range<usize>,
    first: usize,
    y: &mut [f32],
) {
    for (r, y) in y.chunks_mut(plane).enumerate() {
        let at = (first + r) * plane;
        let plus = plus.map_or(&[][..], |p| &p[at + columns.start..at + columns.end]);
        tiles::finish(
            c.act.code(),
            c.bias[first + r],
            plus,
            &mut y[columns.clone()],
        );
    }
}

fn pointwise(c: &Conv, [k, m, n]: [usize; 3], w: &Weight, image: Image, scratch: &mut Scratch) {
    let Image {
        x,
        plus,
        in_place,
        y,
    } = image;
    let each = (HELD / k).max(LEAST).min(n).max(1);
    let held = scratch.take(k * apart(each));
    for at in (0..n).step_by(each) {
        let len = each.min(n - at);
        let ldb = apart(len);
        for (x, held) in x.chunks(n).zip(held.chunks_mut(ldb)) {
            tiles::copy(c.rectify, &x[at..at + len], &mut held[..len]);
        }
        let offsets: Vec<usize> = (0..k).map(|p| p * ldb).collect();
        let product = Product {
            w,
            group: 0,
            offsets: &offsets,
            ldb,
            b: held,
            runs: Runs::one(len),
            ldc: n,
            accumulate: in_place,
        };
        let rows = share(m);
        for_pieces(y, rows * n, k * m * len, |i, y| {
            product.write(i * rows, y.len() / n, &mut y[at..]);
            finish(c, plus, n, at..at + len, i * rows, y);
        });
    }
}

/// Rows of a tile, and the layouts of a whole one and of the last.
struct Tiles {
    sizes: ConvSizes,
    rows: usize,
    whole: Layout,
    last: Layout,
}

impl Tiles {
    fn new(s: &ConvSizes, rows: usize) -> Tiles {
        let rows = rows.clamp(1, s.ho);
        let of = |ho: usize| Layout::new(Geometry { ho, ..s.geometry() });
        let left = (s.ho - 1) % rows + 1;
        Tiles {
            sizes: *s,
            rows,
            whole: of(rows),
            last: of(left),
        }
    }

    /// First row of the output, its rows, the layout.
    fn all(&self) -> impl Iterator<Item = (usize, usize, &Layout)> {
        (0..self.sizes.ho).step_by(self.rows).map(|first| {
            let rows = self.rows.min(self.sizes.ho - first);
            let l = if rows == self.rows {
                &self.whole
            } else {
                &self.last
            };
            (first, rows, l)
        })
    }
}

/// A channel of a tile of a depthwise convolution.
fn channel(
    d: &Depthwise,
    l: &Layout,
    rectify: bool,
    x: &[f32],
    first: usize,
    ch: usize,
    y: &mut [f32],
) {
    let s = &d.sizes;
    let plane = &x[ch * s.h * s.w..][..s.h * s.w];
    PLANE.with_borrow_mut(|(padded, out)| {
        if padded.len() < l.scratch_len {
            padded.resize(l.scratch_len, 0.0);
        }
        if out.len() < l.out_len {
            out.resize(l.out_len, 0.0);
        }
        let padded = &mut padded[..l.scratch_len];
        tiles::pad(l, rectify, plane, s.h, first * s.stride, padded);
        let (taps, out) = (
            &d.taps[ch * s.k * s.k..][..s.k * s.k],
            &mut out[..l.out_len],
        );
        depthwise::from_padded(l, padded, taps, out, y);
    });
}

fn separable(c: &Conv, d: &Depthwise, m: usize, w: &Weight, image: Image, scratch: &mut Scratch) {
    let Image {
        x,
        plus,
        in_place,
        y,
    } = image;
    let (s, k) = (&d.sizes, d.sizes.c_in);
    let plane = s.ho * s.wo;
    let tiles = Tiles::new(s, (HELD / (k * s.wo)).max(LEAST.div_ceil(s.wo)));
    let plain = d.act.code() == tiles::PLAIN && d.bias.iter().all(|&b| b == 0.0);
    let between = scratch.take(k * apart(tiles.rows * s.wo));
    for (first, rows, l) in tiles.all() {
        let len = rows * s.wo;
        let ldb = apart(len);
        let between = &mut between[..k * ldb];
        for_pieces(between, ldb, k * len * s.k * s.k, |ch, y| {
            let y = &mut y[..len];
            channel(d, l, c.rectify, x, first, ch, y);
            if !plain {
                tiles::finish(d.act.code(), d.bias[ch], &[], y);
            }
        });
        let offsets: Vec<usize> = (0..k).map(|p| p * ldb).collect();
        let product = Product {
            w,
            group: 0,
            offsets: &offsets,
            ldb,
            b: between,
            runs: Runs::one(len),
            ldc: plane,
            accumulate: in_place,
        };
        let (each, at) = (share(m), first * s.wo);
        for_pieces(y, each * plane, k * m * len, |i, y| {
            product.write(i * each, y.len() / plane, &mut y[at..]);
            finish(c, plus, plane, at..at + len, i * each, y);
        });
    }
}

fn alone(c: &Conv, d: &Depthwise, image: Image) {
    let s = &d.sizes;
    let l = Layout::new(s.geometry());
    let plane = s.ho * s.wo;
    for_pieces(image.y, plane, s.c_in * plane * s.k * s.k, |ch, y| {
        channel(d, &l, c.rectify, image.x, 0, ch, y);
        tiles::finish(c.act.code(), c.bias[ch], &[], y);
    });
}

fn dense(c: &Conv, s: &ConvSizes, w: &Weight, image: Image, scratch: &mut Scratch) {
    let Image {
        x,
        plus,
        in_place,
        y,
    } = image;
    if w.packed.is_empty() {
        return by_columns(
            c,
            s,
            w,
            Image {
                x,
                plus,
                in_place,
                y,
            },
            scratch,
        );
    }
    let plane = s.ho * s.wo;
    let reach = (s.k - 1) * s.dilation;
    // Two of what other steps hold: the rows that windows share are copied once for each tile.
    let lines = 2 * HELD / (s.c_in * (s.w + reach));
    let rows = (lines.saturating_sub(reach) / s.stride).max(LEAST.div_ceil(s.wo));
    let tiles = Tiles::new(s, rows);
    let padded = scratch.take(s.c_in * tiles.whole.scratch_len.max(tiles.last.scratch_len));
    let (per, from) = (s.c_out / s.groups, s.c_in / s.groups);
    for (first, rows, l) in tiles.all() {
        let padded = &mut padded[..s.c_in * l.scratch_len];
        for_pieces(padded, l.scratch_len, padded_work(s, l), |ch, p| {
            let x = &x[ch * s.h * s.w..][..s.h * s.w];
            tiles::pad(l, c.rectify, x, s.h, first * s.stride, p);
        });
        let runs = Runs {
            runs: rows,
            len: s.wo,
            b_step: l.product_runs().b_step,
            c_step: s.wo,
        };
        let at = first * s.wo;
        let columns = at..at + rows * s.wo;
        // A piece lies within a group.
        let each = if s.groups == 1 { share(per) } else { per };
        let work = rows * s.wo * s.c_out * from * s.k * s.k;
        for_pieces(y, each * plane, work, |i, y| {
            let group = i * each / per;
            let of = |ch: usize| l.taps().iter().map(move |t| ch * l.scratch_len + t);
            let offsets: Vec<usize> = (group * from..(group + 1) * from).flat_map(of).collect();
            let product = Product {
                w,
                group,
                offsets: &offsets,
                ldb: 0,
                b: padded,
                runs,
                ldc: plane,
                accumulate: in_place,
            };
            product.write(i * each - group * per, y.len() / plane, &mut y[at..]);
            finish(c, plus, plane, columns.clone(), i * each, y);
        });
    }
}

fn padded_work(s: &ConvSizes, l: &Layout) -> usize {
    s.c_in * l.scratch_len
}

/// Where products have no kernels.
fn by_columns(c: &Conv, s: &ConvSizes, w: &Weight, image: Image, scratch: &mut Scratch) {
    let Image {
        x,
        plus,
        in_place,
        y,
    } = image;
    let plane = s.ho * s.wo;
    let read = if c.rectify { x.len() } else { 0 };
    let made = if in_place { y.len() } else { 0 };
    let (rectified, own) = scratch.take(read + made).split_at_mut(read);
    let x = match c.rectify {
        true => {
            tiles::copy(true, x, rectified);
            &*rectified
        }
        false => x,
    };
    if in_place {
        conv::forward(s, x, &w.plain, own);
        y.iter_mut().zip(&*own).for_each(|(y, o)| *y += o);
    } else {
        conv::forward(s, x, &w.plain, y);
    }
    finish(c, plus, plane, 0..plane, 0, y);
}
