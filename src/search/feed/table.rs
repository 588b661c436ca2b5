//! What the kernels of `kernels/feed.cu` are told of a batch: a row an image, the same words as there.

use crate::data::input::Seen;
use crate::data::photometric::Photometric;
use crate::data::transform::Along;
use crate::error::{Code, Error, Result};
use crate::tensor::Tensor;

/// Words of a row.
pub const ROW: usize = 32;
const X: usize = 7;
const Y: usize = 13;
const HOLE: usize = 19;
const STEPS: usize = 23;
const ORDER: usize = 28;
const BORDER: usize = 29;

/// Steps that are taken.
const LIGHTER: i64 = 1;
const CONTRASTED: i64 = 2;
const CONTRAST_FIRST: i64 = 4;
const COLOURED: i64 = 8;
const REORDERED: i64 = 16;
const BORDERED: i64 = 32;

/// Where the pixels of a sample are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At this address.
    Resident(usize),
    /// From this byte on of those that come with the batch.
    Sent(usize),
}

fn float(v: f32) -> i64 {
    i64::from(v.to_bits())
}

fn double(v: f64) -> i64 {
    v.to_bits() as i64
}

/// Network pixels of one axis. A resizing to the same size from a whole position on is none, as for the host.
fn axis(row: &mut [i64], a: &Along) {
    let (first, past) = (a.to.start, a.to.end);
    (row[0], row[1]) = (first as i64, past as i64);
    row[2] = double(a.start);
    row[3] = double(scale(a));
    row[4] = double(a.start);
    row[5] = double(a.share);
}

/// Source pixels a network pixel; 0 where nothing is resampled.
fn scale(a: &Along) -> f64 {
    let n = (a.to.end - a.to.start) as f64;
    match n == a.extent && a.start == a.start.round() {
        true => 0.0,
        // The end as the resizer is told of it.
        false => ((a.start + a.extent) - a.start) / n,
    }
}

/// Source pixels that a network pixel is made of, at most.
pub fn taps(seen: &Seen) -> usize {
    let axes = seen.view.axes();
    let most = axes.iter().flatten().map(scale).fold(1.0, f64::max);
    2 * most.ceil() as usize + 1
}

/// That kernels can make an image: they change each pixel for itself.
///
/// # Errors
/// `ConfigValue` for `colour-jitter`, whose contrast needs the mean of the picture.
pub fn check(seen: &Seen) -> Result<()> {
    if seen.colour_jitter.is_none() {
        return Ok(());
    }
    let text = "no kernel makes images with the augmentation `colour-jitter`";
    Err(Error::new(Code::ConfigValue, text).help("set `loader.input_on = \"host\"`"))
}

/// The row of an image whose pixels are at `place`, its label map `labels` bytes behind them; `whose`: the row whose label map it has.
pub fn row(seen: &Seen, place: Place, labels: usize, whose: usize) -> [i64; ROW] {
    let mut r = [0; ROW];
    match place {
        Place::Resident(at) => r[0] = at as i64,
        Place::Sent(from) => r[1] = from as i64,
    }
    let (height, width) = seen.view.source();
    (r[2], r[3]) = (labels as i64, whose as i64);
    (r[4], r[5]) = (width as i64, height as i64);
    r[6] = i64::from(seen.view.flipped());
    if let Some([x, y]) = seen.view.axes() {
        axis(&mut r[X..Y], &x);
        axis(&mut r[Y..HOLE], &y);
    }
    if let Some([rows, columns]) = &seen.hole {
        let all = [rows.start, rows.end, columns.start, columns.end];
        r[HOLE..STEPS].copy_from_slice(&all.map(|v| v as i64));
    }
    if let Some(p) = &seen.photometric {
        colours(&mut r, p);
    }
    if let Some(v) = seen.border {
        r[STEPS] |= BORDERED;
        r[BORDER] = float(v);
    }
    r
}

fn colours(r: &mut [i64; ROW], p: &Photometric) {
    let steps = [
        (p.brightness.is_some(), LIGHTER),
        (p.contrast.is_some(), CONTRASTED),
        (p.contrast_first, CONTRAST_FIRST),
        (p.saturation.is_some() || p.hue.is_some(), COLOURED),
        (p.order.is_some(), REORDERED),
    ];
    r[STEPS] = steps.iter().filter(|s| s.0).map(|s| s.1).sum();
    let numbers = [
        p.brightness.unwrap_or(0.0),
        p.contrast.unwrap_or(1.0),
        p.saturation.unwrap_or(1.0),
        p.hue.unwrap_or(0.0),
    ];
    r[STEPS + 1..ORDER].copy_from_slice(&numbers.map(float));
    let order = p.order.unwrap_or([0, 1, 2]);
    r[ORDER] = order
        .iter()
        .enumerate()
        .map(|(c, &from)| (from as i64) << (2 * c))
        .sum();
}

/// Rows as they go up: words of 64 bits as pairs of i32.
///
/// # Errors
/// None: the shape is right.
pub fn tensor(rows: &[[i64; ROW]]) -> Result<Tensor> {
    let words = rows.iter().flatten();
    let halves = words.flat_map(|w| [*w as i32, (*w >> 32) as i32]);
    Tensor::from_i32([rows.len(), 2 * ROW], halves.collect())
}
