//! From a picture of any size to the input of a network: a window of it, resized, flipped.
//!
//! Geometry is one step: a [`Window`] of the source becomes the whole network input, so a crop and a resize cost one
//! resampling, and boxes and label maps follow by the same two numbers per axis.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

use fast_image_resize as fir;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;

use crate::annotation::{
    Annotation, BBox, IGNORE, Image, LabelMap, NormalSpace, Object, Quantity, ValueMap,
};
use crate::error::{Code, Error, Result};

/// Sides of an object below this many network pixels are too short to learn.
pub const LEAST_SIDE: f32 = 1.0;

/// A rectangle of a source picture, in its pixels; may reach outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width, positive.
    pub width: f64,
    /// Height, positive.
    pub height: f64,
    /// Mirror left and right.
    pub flip: bool,
}

impl Window {
    /// All of a picture.
    pub fn whole(height: usize, width: usize) -> Window {
        Window {
            x: 0.0,
            y: 0.0,
            width: width as f64,
            height: height as f64,
            flip: false,
        }
    }
}

/// One axis of the map from source to network pixels: the part of the source inside the picture, `[s0, s1]`, fills the
/// whole pixels `d0..d1` of the network input.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    s0: f64,
    s1: f64,
    d0: usize,
    d1: usize,
}

impl Axis {
    /// `None` if the window misses the picture.
    fn new(start: f64, extent: f64, source: usize, target: usize) -> Option<Axis> {
        let (s0, s1) = (start.max(0.0), (start + extent).min(source as f64));
        if s1 - s0 < 1e-6 {
            return None;
        }
        let scale = target as f64 / extent;
        let d0 = (((s0 - start) * scale).round() as usize).min(target - 1);
        let d1 = (((s1 - start) * scale).round() as usize).clamp(d0 + 1, target);
        Some(Axis { s0, s1, d0, d1 })
    }

    fn scale(&self) -> f64 {
        (self.d1 - self.d0) as f64 / (self.s1 - self.s0)
    }

    fn to_target(self, s: f64) -> f64 {
        self.d0 as f64 + (s - self.s0) * self.scale()
    }

    /// Source pixel of the centre of target pixel `d`, which must be in `d0..d1`.
    fn to_source(self, d: usize, source: usize) -> usize {
        let s = self.s0 + ((d - self.d0) as f64 + 0.5) / self.scale();
        (s as usize).min(source - 1)
    }
}

/// One axis of a [`View`]: from `start` on, `extent` source pixels fill the network pixels `to`, before mirroring.
#[derive(Debug, Clone, PartialEq)]
pub struct Along {
    /// First source position, not negative.
    pub start: f64,
    /// Source pixels.
    pub extent: f64,
    /// Network pixels.
    pub to: Range<usize>,
    /// Network pixels a source pixel.
    pub share: f64,
}

/// The part of a picture that a window shows, resized to network pixels.
#[derive(Debug, Clone)]
pub struct Shown<'a> {
    /// Its pixels, R G B, rows first, not mirrored.
    pub pixels: Cow<'a, [u8]>,
    /// Rows of the network input that it fills.
    pub rows: Range<usize>,
    /// Columns that it fills, once mirrored.
    pub columns: Range<usize>,
    /// Whether left and right are to be mirrored.
    pub flip: bool,
}

/// The map from a window of a source picture to the network input.
#[derive(Debug, Clone, Copy)]
pub struct View {
    axes: Option<(Axis, Axis)>,
    source: (usize, usize),
    size: (usize, usize),
    flip: bool,
}

impl View {
    /// `source` and `size` (of the network input) are (height, width).
    pub fn new(window: &Window, source: (usize, usize), size: (usize, usize)) -> View {
        let x = Axis::new(window.x, window.width, source.1, size.1);
        let y = Axis::new(window.y, window.height, source.0, size.0);
        View {
            axes: x.zip(y),
            source,
            size,
            flip: window.flip,
        }
    }

    /// The axes, x then y, for whoever resamples elsewhere; `None` if the window misses the picture.
    pub fn axes(&self) -> Option<[Along; 2]> {
        let along = |a: Axis| Along {
            start: a.s0,
            extent: a.s1 - a.s0,
            to: a.d0..a.d1,
            share: a.scale(),
        };
        self.axes.map(|(x, y)| [along(x), along(y)])
    }

    /// (height, width) of the source.
    pub fn source(&self) -> (usize, usize) {
        self.source
    }

    /// Whether left and right are mirrored.
    pub fn flipped(&self) -> bool {
        self.flip
    }

    /// What the window shows of a picture, resized (bilinear, antialiased).
    ///
    /// # Errors
    /// `Internal` if the resizer refuses.
    pub fn shown<'a>(&self, image: &'a Image) -> Result<Shown<'a>> {
        let (mut pixels, mut rows, mut columns) = (Cow::<[u8]>::Borrowed(&[]), 0..0, 0..0);
        if let Some((ax, ay)) = &self.axes {
            pixels = resize_part(image, ax, ay)?;
            let (left, right) = match self.flip {
                true => (self.size.1 - ax.d1, self.size.1 - ax.d0),
                false => (ax.d0, ax.d1),
            };
            (rows, columns) = (ay.d0..ay.d1, left..right);
        }
        Ok(Shown {
            pixels,
            rows,
            columns,
            flip: self.flip,
        })
    }

    /// The window as `(3, H, W)` planes of 0 to 255, mirrored if asked for, and the part of it that shows the picture as rows and columns; the
    /// rest is 0.
    ///
    /// # Errors
    /// As [`View::shown`].
    pub fn planes(&self, image: &Image) -> Result<(Vec<f32>, [Range<usize>; 2])> {
        let (height, width) = self.size;
        let mut out = vec![0.0; 3 * height * width];
        let shown = self.shown(image)?;
        let columns = shown.columns.len();
        for (r, y) in shown.rows.clone().enumerate() {
            let line = &shown.pixels[r * columns * 3..][..columns * 3];
            for c in 0..3 {
                let start = (c * height + y) * width + shown.columns.start;
                for (i, t) in out[start..start + columns].iter_mut().enumerate() {
                    let from = if self.flip { columns - 1 - i } else { i };
                    *t = line[from * 3 + c] as f32;
                }
            }
        }
        Ok((out, [shown.rows, shown.columns]))
    }

    /// Label map at network size, nearest neighbour; pixels outside the picture are ignored.
    pub fn labels(&self, labels: &LabelMap) -> LabelMap {
        let (height, width) = self.size;
        let mut data = vec![IGNORE; height * width];
        if let Some((ax, ay)) = self.axes {
            let columns: Vec<usize> = (ax.d0..ax.d1)
                .map(|d| ax.to_source(d, self.source.1))
                .collect();
            for d in ay.d0..ay.d1 {
                let line =
                    &labels.data[ay.to_source(d, self.source.0) * labels.width..][..labels.width];
                for (i, &s) in columns.iter().enumerate() {
                    let x = ax.d0 + i;
                    let x = if self.flip { width - 1 - x } else { x };
                    data[d * width + x] = line[s];
                }
            }
        }
        LabelMap {
            height,
            width,
            data,
        }
    }

    /// A map of values at network size, nearest neighbour; of pixels outside the picture nothing is known. A mirror turns the x of
    /// normals around; not of encoded ones, as the loaders of the papers do not (systems.md 9.3).
    pub fn values(&self, map: &ValueMap) -> ValueMap {
        let (height, width) = self.size;
        let mut out = ValueMap::unknown(map.quantity, height, width);
        let Some((ax, ay)) = self.axes else {
            return out;
        };
        let columns: Vec<usize> = (ax.d0..ax.d1)
            .map(|d| ax.to_source(d, self.source.1))
            .collect();
        let turned = self.flip && map.quantity == Quantity::Normals(NormalSpace::True);
        for d in ay.d0..ay.d1 {
            let row = ay.to_source(d, self.source.0) * map.width;
            for (i, &s) in columns.iter().enumerate() {
                let x = ax.d0 + i;
                let to = d * width + if self.flip { width - 1 - x } else { x };
                let from = row + s;
                out.valid[to] = map.valid[from];
                for plane in 0..map.quantity.planes() {
                    let v = map.data[plane * map.valid.len() + from];
                    let turn = turned && plane == 0;
                    out.data[plane * height * width + to] = if turn { -v } else { v };
                }
            }
        }
        out
    }

    /// A box in network pixels, clipped; `None` if less than one pixel of either side is left.
    pub fn bbox(&self, b: &BBox) -> Option<BBox> {
        self.bbox_from(b, LEAST_SIDE)
    }

    fn bbox_from(&self, b: &BBox, least: f32) -> Option<BBox> {
        let (ax, ay) = self.axes?;
        let fit = |v: f64, top: usize| v.clamp(0.0, top as f64) as f32;
        let (height, width) = self.size;
        let (mut x1, mut x2) = (
            fit(ax.to_target(b.x1 as f64), width),
            fit(ax.to_target(b.x2 as f64), width),
        );
        if self.flip {
            (x1, x2) = (width as f32 - x2, width as f32 - x1);
        }
        let (y1, y2) = (
            fit(ay.to_target(b.y1 as f64), height),
            fit(ay.to_target(b.y2 as f64), height),
        );
        (x2 - x1 >= least && y2 - y1 >= least).then_some(BBox { x1, y1, x2, y2 })
    }

    /// The annotation in network pixels. Objects with less than a pixel left are dropped.
    pub fn annotation(&self, annotation: &Annotation) -> Annotation {
        self.annotation_from(annotation, LEAST_SIDE)
    }

    /// The annotation in network pixels. Objects with less than `least` pixels of a side left are dropped.
    pub fn annotation_from(&self, annotation: &Annotation, least: f32) -> Annotation {
        match annotation {
            Annotation::Objects(objects) => {
                let kept = objects.iter().filter_map(|o| {
                    Some(Object {
                        bbox: self.bbox_from(&o.bbox, least)?,
                        ..*o
                    })
                });
                Annotation::Objects(kept.collect())
            }
            Annotation::Labels(labels) => Annotation::Labels(self.labels(labels)),
            Annotation::Class(c) => Annotation::Class(*c),
            Annotation::Values(map) => Annotation::Values(self.values(map)),
            Annotation::Joint(parts) => {
                let part = |p| self.annotation_from(p, least);
                Annotation::Joint(parts.iter().map(part).collect())
            }
        }
    }
}

thread_local! {
    /// Keeps its buffers from picture to picture.
    static RESIZER: RefCell<fir::Resizer> = RefCell::new(fir::Resizer::new());
}

/// The source rectangle of two axes, resized to their target pixels, interleaved RGB.
fn resize_part<'a>(image: &'a Image, ax: &Axis, ay: &Axis) -> Result<Cow<'a, [u8]>> {
    let (rows, columns) = (ay.d1 - ay.d0, ax.d1 - ax.d0);
    let whole =
        ax.s0 == 0.0 && ay.s0 == 0.0 && ax.s1 == image.width as f64 && ay.s1 == image.height as f64;
    if whole && (rows, columns) == (image.height, image.width) {
        return Ok(Cow::Borrowed(&image.data));
    }
    let failed = |e: String| Error::new(Code::Internal, format!("resizing failed: {e}"));
    // Typed views: the crate's other entry compiles every pixel format it knows, a fifth of this library's code.
    let source =
        TypedImageRef::<U8x3>::from_buffer(image.width as u32, image.height as u32, &image.data)
            .map_err(|e| failed(e.to_string()))?;
    let mut data = vec![0; 3 * rows * columns];
    let mut target = TypedImage::<U8x3>::from_buffer(columns as u32, rows as u32, &mut data)
        .map_err(|e| failed(e.to_string()))?;
    let options = fir::ResizeOptions::new()
        .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear))
        .crop(ax.s0, ay.s0, ax.s1 - ax.s0, ay.s1 - ay.s0);
    RESIZER
        .with_borrow_mut(|r| r.resize_typed(&source, &mut target, &options))
        .map_err(|e| failed(e.to_string()))?;
    Ok(Cow::Owned(data))
}

/// A picture resized to (height, width), bilinear with antialiasing; the aspect is not kept.
///
/// # Errors
/// `Internal` if the resizer refuses.
pub fn resize(image: &Image, height: usize, width: usize) -> Result<Image> {
    let axis = |source: usize, target: usize| {
        let a = Axis::new(0.0, source as f64, source, target);
        a.ok_or_else(|| Error::new(Code::Internal, "cannot resize a picture without pixels"))
    };
    let data = resize_part(
        image,
        &axis(image.width, width)?,
        &axis(image.height, height)?,
    )?;
    Ok(Image {
        height,
        width,
        data: data.into_owned(),
    })
}

#[cfg(test)]
mod tests;
