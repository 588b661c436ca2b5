//! From resized 8-bit pixels to normalised planes, in one pass over the picture: a row at a time, in loops that the compiler vectorises.
//! A colour jitter needs the mean of what it sees, and with it one more pass.

use super::input::Seen;
use super::normalise::Normalise;
use super::photometric::{ColourJitter, Photometric, grey_sum};
use super::transform::Shown;
use crate::backend::host::widest::{Plain, widest};

/// Fills `out`, `(3, H, W)` of `size` (height, width), with a shown part: distorted, normalised, mirrored; around it goes the border colour,
/// and the hole is the mean.
pub fn fill(n: &Normalise, seen: &Seen, shown: &Shown, size: (usize, usize), out: &mut [f32]) {
    let (height, width) = size;
    let (rows, columns) = (&shown.rows, &shown.columns);
    for (c, plane) in out.chunks_exact_mut(height * width).enumerate() {
        let outside = seen
            .border
            .map_or(0.0, |v| (v / 255.0 - n.mean[c]) / n.std[c]);
        plane[..rows.start * width].fill(outside);
        plane[rows.end * width..].fill(outside);
        for row in plane[rows.start * width..rows.end * width].chunks_exact_mut(width) {
            row[..columns.start].fill(outside);
            row[columns.end..].fill(outside);
        }
    }
    let (red, rest) = out.split_at_mut(height * width);
    let (green, blue) = rest.split_at_mut(height * width);
    let mut planes = [red, green, blue];
    widest(Paint {
        n,
        photometric: seen.photometric.as_ref(),
        jitter: seen.colour_jitter.as_ref(),
        shown,
        width,
        planes: planes.each_mut().map(|p| &mut **p),
    });
    if let Some([rows, columns]) = &seen.hole {
        for plane in planes {
            for y in rows.clone() {
                plane[y * width..][columns.clone()].fill(0.0);
            }
        }
    }
}

/// Paints the shown part.
struct Paint<'a> {
    n: &'a Normalise,
    photometric: Option<&'a Photometric>,
    jitter: Option<&'a ColourJitter>,
    shown: &'a Shown<'a>,
    width: usize,
    planes: [&'a mut [f32]; 3],
}

impl Plain for Paint<'_> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let Shown {
            pixels,
            rows,
            columns,
            ..
        } = self.shown;
        let order = self.photometric.and_then(|p| p.order);
        let order = order.unwrap_or([0, 1, 2]);
        let mut line = [(); 3].map(|()| vec![0.0f32; columns.len()]);
        let pixels = pixels.chunks_exact(3 * columns.len().max(1));
        let mean = match self.jitter {
            Some(j) => self.mean(j, &mut line),
            None => 0.0,
        };
        for (y, from) in rows.clone().zip(pixels) {
            let [r, g, b] = &mut line;
            split(from, r, g, b);
            if let Some(p) = self.photometric {
                p.rows([r, g, b]);
            }
            if let Some(j) = self.jitter {
                j.rows([r, g, b], mean);
            }
            let place = y * self.width + columns.start..y * self.width + columns.end;
            for c in 0..3 {
                let (mean, std) = (self.n.mean[c], self.n.std[c]);
                let to = &mut self.planes[c][place.clone()];
                normalised(&line[order[c]], mean, std, self.shown.flip, to);
            }
        }
    }
}

impl Paint<'_> {
    /// Mean of the grey of the shown part when the jitter comes to the contrast. What it has done by then is done again afterwards, which
    /// costs less than to keep it. The distortion of SSD goes with no jitter ([`Augmentation::check`](super::augment::Augmentation::check)).
    #[inline(always)]
    fn mean(&self, jitter: &ColourJitter, [r, g, b]: &mut [Vec<f32>; 3]) -> f32 {
        let (rows, columns) = (self.shown.rows.len(), self.shown.columns.len());
        let mut sum = 0.0;
        for from in self.shown.pixels.chunks_exact(3 * columns.max(1)) {
            split(from, r, g, b);
            jitter.early_rows([r, g, b]);
            sum += grey_sum(r, g, b);
        }
        (sum / (rows * columns).max(1) as f64) as f32
    }
}

/// Interleaved pixels to a row of each channel.
#[inline(always)]
fn split(from: &[u8], r: &mut [f32], g: &mut [f32], b: &mut [f32]) {
    let pixels = from.as_chunks::<3>().0;
    for (((p, r), g), b) in pixels.iter().zip(r).zip(g).zip(b) {
        (*r, *g, *b) = (p[0].into(), p[1].into(), p[2].into());
    }
}

/// Values of 0 to 255 normalised, from the other end if mirrored.
#[inline(always)]
fn normalised(from: &[f32], mean: f32, std: f32, flip: bool, to: &mut [f32]) {
    let norm = |v: f32| (v / 255.0 - mean) / std;
    match flip {
        false => to.iter_mut().zip(from).for_each(|(t, v)| *t = norm(*v)),
        true => (to.iter_mut().zip(from.iter().rev())).for_each(|(t, v)| *t = norm(*v)),
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::annotation::{Annotation, Image};
    use crate::data::photometric::grey;
    use crate::data::transform::{View, Window};
    use crate::rng::Rng;

    /// As it is defined: pixel by pixel.
    fn defined(
        n: &Normalise,
        seen: &Seen,
        (planes, [rows, columns]): (Vec<f32>, [Range<usize>; 2]),
        (height, width): (usize, usize),
    ) -> Vec<f32> {
        let mut out = planes;
        let plane = height * width;
        // Of what is shown alone, as the contrast finds it.
        let found = |j: &ColourJitter, y: usize, x: usize| {
            let at = |c: usize| out[c * plane + y * width + x];
            f64::from(grey(j.early_pixel([at(0), at(1), at(2)])))
        };
        let mean = seen.colour_jitter.as_ref().map(|j| {
            let all = rows
                .clone()
                .flat_map(|y| columns.clone().map(move |x| (y, x)));
            let sum: f64 = all.map(|(y, x)| found(j, y, x)).sum();
            (sum / (rows.len() * columns.len()).max(1) as f64) as f32
        });
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let i = y * width + x;
            let at = |c: usize| c * plane + i;
            let p = [out[at(0)], out[at(1)], out[at(2)]];
            let p = seen.photometric.as_ref().map_or(p, |d| d.pixel(p));
            let jitter = seen.colour_jitter.as_ref().zip(mean);
            let p = jitter.map_or(p, |(j, mean)| j.pixel(p, mean));
            let shown = rows.contains(&y) && columns.contains(&x);
            let hole = seen.hole.as_ref();
            let hole = hole.is_some_and(|[r, c]| r.contains(&y) && c.contains(&x));
            for c in 0..3 {
                let v = if shown { Some(p[c]) } else { seen.border };
                let v = v.map(|v| (v / 255.0 - n.mean[c]) / n.std[c]);
                out[at(c)] = v.filter(|_| !hole).unwrap_or(0.0);
            }
        }
        out
    }

    #[test]
    fn rows_have_the_bits_of_single_pixels() {
        let n = Normalise::default();
        for case in 0..400 {
            let mut r = Rng::new(case, &[]);
            let source = (1 + r.below(30), 1 + r.below(30));
            let size = (1 + r.below(20), 1 + r.below(20));
            let image = Image {
                height: source.0,
                width: source.1,
                data: (0..3 * source.0 * source.1)
                    .map(|_| r.below(256) as u8)
                    .collect(),
            };
            let window = Window {
                x: r.range(-20.0, 20.0),
                y: r.range(-20.0, 20.0),
                width: r.range(1.0, 40.0),
                height: r.range(1.0, 40.0),
                flip: r.coin(0.5),
            };
            // One of the two, or none.
            let which = r.below(5);
            let seen = Seen {
                view: View::new(&window, source, size),
                photometric: (which < 2).then(|| Photometric::draw(&mut r)),
                colour_jitter: (which > 2).then(|| ColourJitter::draw(&mut r)),
                border: r.coin(0.5).then_some(40.0),
                hole: r.coin(0.5).then_some([size.0 / 3..size.0, 0..size.1 / 2]),
                annotation: Annotation::Class(0),
            };
            let want = defined(&n, &seen, seen.view.planes(&image).unwrap(), size);
            let mut got = vec![f32::NAN; 3 * size.0 * size.1];
            fill(&n, &seen, &seen.view.shown(&image).unwrap(), size, &mut got);
            let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got), bits(&want), "case {case}");
        }
    }
}
