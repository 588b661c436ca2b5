//! Colour jitter of ImageNet (systems.md 2.6), as `ColorJitter` of torchvision computes it, on planes of 0 to 255. Values are not rounded
//! to whole numbers in between, as they are there for 8-bit pictures.

use super::{colour, coloured, scale};
use crate::rng::Rng;

/// Brightness, contrast and saturation change by up to this share.
const SHARE: f64 = 0.4;

/// The hue turns by up to this share of the circle.
const TURN: f64 = 0.2;

/// Sums run side by side, so that they can be vectorised; their order, and with it their bits, is the same on every machine.
const LANES: usize = 8;

/// One change of the colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Every channel times a factor.
    Brightness,
    /// Mixed with the mean of the grey picture.
    Contrast,
    /// Mixed with the grey of the pixel.
    Saturation,
    /// The hue of HSV turned.
    Hue,
}

/// The draws of one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct ColourJitter {
    /// Factor, 0.6 to 1.4.
    pub brightness: f32,
    /// Share of the picture, 0.6 to 1.4; the rest, negative from 1 on, is the mean of its grey.
    pub contrast: f32,
    /// Share of the pixel, 0.6 to 1.4; the rest is its grey.
    pub saturation: f32,
    /// Degrees added to the hue, -72 to 72; at most 360 either way.
    pub hue: f32,
    /// What comes when, each once.
    pub order: [Change; 4],
}

impl Default for ColourJitter {
    /// No change.
    fn default() -> Self {
        use Change::*;
        ColourJitter {
            brightness: 1.0,
            contrast: 1.0,
            saturation: 1.0,
            hue: 0.0,
            order: [Brightness, Contrast, Saturation, Hue],
        }
    }
}

impl ColourJitter {
    /// Draws all of it: always the same number of draws, in this order.
    pub fn draw(rng: &mut Rng) -> ColourJitter {
        let mut factor = || rng.range(1.0 - SHARE, 1.0 + SHARE) as f32;
        let (brightness, contrast, saturation) = (factor(), factor(), factor());
        let hue = (360.0 * rng.range(-TURN, TURN)) as f32;
        let (order, all) = (rng.permutation(4), ColourJitter::default().order);
        ColourJitter {
            brightness,
            contrast,
            saturation,
            hue,
            order: [0, 1, 2, 3].map(|i| all[order[i]]),
        }
    }

    /// The changes before that of the contrast, which needs the mean of what they make.
    #[inline(always)]
    fn early(&self) -> &[Change] {
        let at = self.order.iter().position(|c| *c == Change::Contrast);
        &self.order[..at.unwrap_or(0)]
    }

    /// Changes one pixel of a picture whose grey has this mean when the turn of the contrast comes. Values stay within 0 to 255.
    pub fn pixel(&self, p: [f32; 3], mean: f32) -> [f32; 3] {
        self.order.iter().fold(p, |p, c| self.changed(*c, p, mean))
    }

    /// One pixel as the contrast finds it.
    pub fn early_pixel(&self, p: [f32; 3]) -> [f32; 3] {
        self.early().iter().fold(p, |p, c| self.changed(*c, p, 0.0))
    }

    fn changed(&self, change: Change, p: [f32; 3], mean: f32) -> [f32; 3] {
        match change {
            Change::Brightness => p.map(|v| (v * self.brightness).clamp(0.0, 255.0)),
            Change::Contrast => p.map(|v| mixed(v, self.contrast, mean)),
            Change::Saturation => p.map(|v| mixed(v, self.saturation, grey(p))),
            Change::Hue => coloured(p, 1.0, self.hue),
        }
    }

    /// [`pixel`](Self::pixel) of every pixel of three rows, R, G and B, all of the same length. The same bits, faster.
    #[inline(always)]
    pub fn rows(&self, rows: [&mut [f32]; 3], mean: f32) {
        self.change(&self.order, rows, mean);
    }

    /// [`early_pixel`](Self::early_pixel) of every pixel of three rows.
    #[inline(always)]
    pub fn early_rows(&self, rows: [&mut [f32]; 3]) {
        self.change(self.early(), rows, 0.0);
    }

    #[inline(always)]
    fn change(&self, changes: &[Change], [r, g, b]: [&mut [f32]; 3], mean: f32) {
        for change in changes {
            match change {
                Change::Brightness => {
                    scale(r, self.brightness);
                    scale(g, self.brightness);
                    scale(b, self.brightness);
                }
                Change::Contrast => {
                    mix(r, self.contrast, mean);
                    mix(g, self.contrast, mean);
                    mix(b, self.contrast, mean);
                }
                Change::Saturation => saturate(r, g, b, self.saturation),
                Change::Hue => colour(r, g, b, 1.0, self.hue),
            }
        }
    }
}

/// The grey of a pixel (ITU-R BT.601).
#[inline(always)]
pub(crate) fn grey([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// The sum of the grey of three rows of the same length.
#[inline(always)]
pub(crate) fn grey_sum(r: &[f32], g: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (r, r_rest) = r.as_chunks::<LANES>();
    let (g, g_rest) = g.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for ((r, g), b) in r.iter().zip(g).zip(b) {
        for k in 0..LANES {
            lanes[k] += f64::from(grey([r[k], g[k], b[k]]));
        }
    }
    let mut sum = 0.0;
    for lane in lanes {
        sum += lane;
    }
    for ((r, g), b) in r_rest.iter().zip(g_rest).zip(b_rest) {
        sum += f64::from(grey([*r, *g, *b]));
    }
    sum
}

/// `share` of `v`, the rest of `with`: `v` itself, to the bit, for a share of 1.
#[inline(always)]
fn mixed(v: f32, share: f32, with: f32) -> f32 {
    (share * v + (1.0 - share) * with).clamp(0.0, 255.0)
}

#[inline(always)]
fn mix(row: &mut [f32], share: f32, with: f32) {
    for v in row {
        *v = mixed(*v, share, with);
    }
}

#[inline(always)]
fn saturate(r: &mut [f32], g: &mut [f32], b: &mut [f32], share: f32) {
    let n = r.len().min(g.len()).min(b.len());
    let (r, g, b) = (&mut r[..n], &mut g[..n], &mut b[..n]);
    for i in 0..n {
        let grey = grey([r[i], g[i], b[i]]);
        r[i] = mixed(r[i], share, grey);
        g[i] = mixed(g[i], share, grey);
        b[i] = mixed(b[i], share, grey);
    }
}

#[cfg(test)]
mod tests;
