//! From resized 8-bit pixels to normalised planes, in one pass over the picture: colours change a row at a time, in loops that the compiler
//! vectorises.

use super::input::Seen;
use super::normalise::Normalise;
use super::photometric::Photometric;
use super::transform::Shown;

/// Fills `out`, `(3, H, W)` of `size` (height, width), with a shown part: distorted, normalised, mirrored; around it goes the border colour,
/// and the hole is the mean.
pub fn fill(n: &Normalise, seen: &Seen, shown: &Shown, size: (usize, usize), out: &mut [f32]) {
    let (height, width) = size;
    let norm = |v: f32, c: usize| (v / 255.0 - n.mean[c]) / n.std[c];
    let outside: [f32; 3] = std::array::from_fn(|c| seen.border.map_or(0.0, |v| norm(v, c)));
    let (rows, columns) = (&shown.rows, &shown.columns);
    let mut painter = match &seen.photometric {
        None => Painter::Table(Box::new(std::array::from_fn(|c| {
            std::array::from_fn(|v| norm(v as f32, c))
        }))),
        Some(p) => Painter::Rows(p, std::array::from_fn(|_| vec![0.0; columns.len()])),
    };
    for (c, plane) in out.chunks_exact_mut(height * width).enumerate() {
        plane[..rows.start * width].fill(outside[c]);
        plane[rows.end * width..].fill(outside[c]);
        for row in plane[rows.start * width..rows.end * width].chunks_exact_mut(width) {
            row[..columns.start].fill(outside[c]);
            row[columns.end..].fill(outside[c]);
        }
    }
    let (red, rest) = out.split_at_mut(height * width);
    let (green, blue) = rest.split_at_mut(height * width);
    let mut planes = [red, green, blue];
    for (y, line) in rows
        .clone()
        .zip(shown.pixels.chunks_exact(3 * columns.len().max(1)))
    {
        let place = y * width + columns.start..y * width + columns.end;
        let mut targets = planes.each_mut().map(|p| &mut p[place.clone()]);
        painter.row(n, line, shown.flip, &mut targets);
    }
    if let Some([rows, columns]) = &seen.hole {
        for plane in planes {
            for y in rows.clone() {
                plane[y * width..][columns.clone()].fill(0.0);
            }
        }
    }
}

/// How rows are made.
enum Painter<'a> {
    /// Every value of every channel, normalised.
    Table(Box<[[f32; 256]; 3]>),
    /// Distortion, and a row of each channel.
    Rows(&'a Photometric, [Vec<f32>; 3]),
}

impl Painter<'_> {
    /// One row of interleaved pixels to rows of planes.
    fn row(&mut self, n: &Normalise, line: &[u8], flip: bool, to: &mut [&mut [f32]; 3]) {
        match self {
            Painter::Table(table) => {
                let paint = |(pixel, i): (&[u8], usize)| {
                    for c in 0..3 {
                        to[c][i] = table[c][usize::from(pixel[c])];
                    }
                };
                each(line, flip, paint);
            }
            Painter::Rows(p, rows) => {
                let [r, g, b] = rows.each_mut().map(|row| row.as_mut_slice());
                let part = |(pixel, i): (&[u8], usize)| {
                    (r[i], g[i], b[i]) = (pixel[0].into(), pixel[1].into(), pixel[2].into());
                };
                each(line, flip, part);
                p.rows([&mut *r, &mut *g, &mut *b]);
                let order = p.order.unwrap_or([0, 1, 2]);
                for c in 0..3 {
                    let (mean, std) = (n.mean[c], n.std[c]);
                    for (t, v) in to[c].iter_mut().zip(&rows[order[c]]) {
                        *t = (v / 255.0 - mean) / std;
                    }
                }
            }
        }
    }
}

/// Every pixel of a line with its place, counted from the other end if it is mirrored.
fn each(line: &[u8], flip: bool, f: impl FnMut((&[u8], usize))) {
    let pixels = line.chunks_exact(3);
    let n = pixels.len();
    match flip {
        false => pixels.zip(0..n).for_each(f),
        true => pixels.zip((0..n).rev()).for_each(f),
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::annotation::{Annotation, Image};
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
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let i = y * width + x;
            let at = |c: usize| c * plane + i;
            let p = [out[at(0)], out[at(1)], out[at(2)]];
            let p = seen.photometric.as_ref().map_or(p, |d| d.pixel(p));
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
        for case in 0..200 {
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
            let seen = Seen {
                view: View::new(&window, source, size),
                photometric: r.coin(0.7).then(|| Photometric::draw(&mut r)),
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
