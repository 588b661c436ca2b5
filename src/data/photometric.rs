//! Random colours, on planes of 0 to 255. [`Photometric`]: the distortion of SSD (systems.md 4.4), each step with probability 1/2;
//! [`ColourJitter`]: that of ImageNet (2.6).

mod colour_jitter;

#[cfg(test)]
pub(crate) use colour_jitter::grey;
pub(crate) use colour_jitter::grey_sum;
pub use colour_jitter::{Change, ColourJitter};

use crate::rng::Rng;

/// The draws of one sample; `None` where a step is left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Photometric {
    /// Added, -32 to 32.
    pub brightness: Option<f32>,
    /// Factor, 0.5 to 1.5.
    pub contrast: Option<f32>,
    /// Contrast before the colour steps, or after them.
    pub contrast_first: bool,
    /// Factor on the saturation of HSV, 0.5 to 1.5.
    pub saturation: Option<f32>,
    /// Degrees added to the hue, -18 to 18; at most 360 either way.
    pub hue: Option<f32>,
    /// Channel `i` of the result is channel `order[i]`.
    pub order: Option<[usize; 3]>,
}

impl Photometric {
    /// Draws every step.
    pub fn draw(rng: &mut Rng) -> Photometric {
        let mut maybe = |lo: f64, hi: f64| {
            let (on, value) = (rng.coin(0.5), rng.range(lo, hi) as f32);
            on.then_some(value)
        };
        let brightness = maybe(-32.0, 32.0);
        let contrast = maybe(0.5, 1.5);
        let saturation = maybe(0.5, 1.5);
        let hue = maybe(-18.0, 18.0);
        let contrast_first = rng.coin(0.5);
        let order = rng.permutation(3);
        let order = rng.coin(0.5).then_some([order[0], order[1], order[2]]);
        Photometric {
            brightness,
            contrast,
            contrast_first,
            saturation,
            hue,
            order,
        }
    }

    /// The mild colours of MTL-NAS (systems.md 5.6): saturation by up to 5 %, hue by up to 5 % of the circle, always. Its saturation mixes with
    /// grey instead of scaling that of HSV; for so little the two are near.
    pub fn jitter(rng: &mut Rng) -> Photometric {
        Photometric {
            saturation: Some(rng.range(0.95, 1.05) as f32),
            hue: Some(rng.range(-18.0, 18.0) as f32),
            ..Default::default()
        }
    }

    /// Changes one pixel. Values stay within 0 to 255.
    pub fn pixel(&self, mut p: [f32; 3]) -> [f32; 3] {
        if let Some(b) = self.brightness {
            p = p.map(|v| (v + b).clamp(0.0, 255.0));
        }
        let contrast = |p: [f32; 3]| match self.contrast {
            Some(c) => p.map(|v| (v * c).clamp(0.0, 255.0)),
            None => p,
        };
        if self.contrast_first {
            p = contrast(p);
        }
        if self.saturation.is_some() || self.hue.is_some() {
            let (saturation, hue) = (self.saturation.unwrap_or(1.0), self.hue.unwrap_or(0.0));
            p = coloured(p, saturation, hue);
        }
        if !self.contrast_first {
            p = contrast(p);
        }
        match self.order {
            Some(o) => [p[o[0]], p[o[1]], p[o[2]]],
            None => p,
        }
    }

    /// [`pixel`](Self::pixel) of every pixel of three rows, R, G and B, but for the order of the channels. The same bits, faster.
    #[inline(always)]
    pub fn rows(&self, [r, g, b]: [&mut [f32]; 3]) {
        if let Some(add) = self.brightness {
            shift(r, add);
            shift(g, add);
            shift(b, add);
        }
        let early = self.contrast.filter(|_| self.contrast_first);
        let late = self.contrast.filter(|_| !self.contrast_first);
        if let Some(by) = early {
            scale(r, by);
            scale(g, by);
            scale(b, by);
        }
        if self.saturation.is_some() || self.hue.is_some() {
            let (saturation, hue) = (self.saturation.unwrap_or(1.0), self.hue.unwrap_or(0.0));
            colour(r, g, b, saturation, hue);
        }
        if let Some(by) = late {
            scale(r, by);
            scale(g, by);
            scale(b, by);
        }
    }
}

#[inline(always)]
fn shift(row: &mut [f32], add: f32) {
    for v in row {
        *v = (*v + add).clamp(0.0, 255.0);
    }
}

#[inline(always)]
fn scale(row: &mut [f32], by: f32) {
    for v in row {
        *v = (*v * by).clamp(0.0, 255.0);
    }
}

/// Changes saturation and hue of one pixel.
#[inline(always)]
fn coloured(p: [f32; 3], saturation: f32, hue: f32) -> [f32; 3] {
    let [h, s, v] = to_hsv(p);
    to_rgb([wrapped(h + hue, 360.0), (s * saturation).min(1.0), v])
}

/// [`coloured`] of rows.
#[inline(always)]
fn colour(r: &mut [f32], g: &mut [f32], b: &mut [f32], saturation: f32, hue: f32) {
    let n = r.len().min(g.len()).min(b.len());
    let (r, g, b) = (&mut r[..n], &mut g[..n], &mut b[..n]);
    for i in 0..n {
        [r[i], g[i], b[i]] = coloured([r[i], g[i], b[i]], saturation, hue);
    }
}

/// `v` modulo `by`, for -`by` <= `v` < 2 `by`; a remainder that needs no loop, so that it can be vectorised. The same bits.
#[inline(always)]
fn wrapped(v: f32, by: f32) -> f32 {
    let v = if v >= by { v - by } else { v };
    if v < 0.0 { v + by } else { v }
}

/// Hue in degrees, saturation 0 to 1, value in the units of the input. Without branches, for the same reason.
#[inline(always)]
fn to_hsv([r, g, b]: [f32; 3]) -> [f32; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let d = max - min;
    let (from, to, add) = if max == r {
        (g, b, 0.0)
    } else if max == g {
        (b, r, 2.0)
    } else {
        (r, g, 4.0)
    };
    let h = wrapped(((from - to) / d + add) * 60.0, 360.0);
    let s = d / max;
    // Of grey, black included, the quotients are none.
    if d > 0.0 {
        [h, s, max]
    } else {
        [0.0, 0.0, max]
    }
}

#[inline(always)]
fn to_rgb([h, s, v]: [f32; 3]) -> [f32; 3] {
    let channel = |n: f32| {
        let k = wrapped(n + h / 60.0, 6.0);
        v - v * s * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests;
