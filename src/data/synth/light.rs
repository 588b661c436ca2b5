//! Time of day and weather: how surfaces and sky are lit, and what the camera makes of it.

use super::noise::{cloudy, hash};
use super::paint::{Rgb, Texel, label, mix};
use super::render::{V3, v3};
use crate::annotation::Image;
use crate::rng::Rng;

/// Conditions of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hour {
    /// Clear or cloudy day.
    Day,
    /// The sun stands low, often in front.
    LowSun,
    /// Fog by day.
    Fog,
    /// Night, lamps on.
    Night,
}

/// The light of a scene and the settings of the camera.
#[derive(Debug, Clone, Copy)]
pub struct Light {
    /// Conditions.
    pub hour: Hour,
    /// Towards the sun or moon.
    sun: V3,
    direct: Rgb,
    ambient: Rgb,
    /// Own headlights.
    beam: f32,
    /// Share of clarity lost a metre.
    fog: f32,
    haze: Rgb,
    horizon: Rgb,
    zenith: Rgb,
    cloud: f32,
    glare: f32,
    exposure: f32,
    balance: Rgb,
    contrast: f32,
    grain: f32,
    seed: u32,
}

impl Light {
    /// Draws the conditions.
    pub fn draw(rng: &mut Rng) -> Light {
        let hour = match rng.f64() {
            p if p < 0.46 => Hour::Day,
            p if p < 0.62 => Hour::LowSun,
            p if p < 0.78 => Hour::Fog,
            _ => Hour::Night,
        };
        let mut r = |lo: f64, hi: f64| rng.range(lo, hi) as f32;
        let around = if hour == Hour::LowSun {
            r(-0.7, 0.7)
        } else {
            r(-3.1, 3.1)
        };
        let up: f32 = match hour {
            Hour::LowSun => r(0.06, 0.22),
            _ => r(0.5, 1.1),
        };
        let sun = v3(around.sin() * up.cos(), up.sin(), around.cos() * up.cos());
        let mut light = Light {
            hour,
            sun,
            direct: [0.0; 3],
            ambient: [0.0; 3],
            beam: 0.0,
            fog: r(0.0005, 0.003),
            haze: [0.0; 3],
            horizon: [0.0; 3],
            zenith: [0.0; 3],
            cloud: r(0.0, 1.0),
            glare: 0.0,
            exposure: r(0.8, 1.25),
            balance: [r(0.88, 1.12), r(0.94, 1.06), r(0.88, 1.12)],
            contrast: r(0.85, 1.15),
            grain: r(0.006, 0.02),
            seed: r(0.0, 1e6) as u32,
        };
        let grey = |k: f32| [k, k * 1.01, k * 1.04];
        match hour {
            Hour::Day => {
                let overcast = light.cloud;
                light.direct = mix([1.0, 0.94, 0.82], [0.12, 0.12, 0.12], overcast);
                light.ambient = mix([0.3, 0.34, 0.42], grey(r(0.5, 0.75)), overcast);
                light.horizon = mix([0.62, 0.72, 0.86], grey(r(0.38, 0.85)), overcast);
                light.zenith = mix([0.1, 0.24, 0.58], grey(r(0.28, 0.7)), overcast);
            }
            Hour::LowSun => {
                let warm = r(0.0, 1.0);
                light.direct = mix([1.1, 0.72, 0.4], [1.0, 0.5, 0.24], warm);
                light.ambient = mix([0.26, 0.25, 0.28], [0.2, 0.17, 0.2], warm);
                light.horizon = mix([0.9, 0.62, 0.36], [0.75, 0.34, 0.2], warm);
                light.zenith = mix([0.25, 0.36, 0.55], [0.2, 0.2, 0.36], warm);
                light.glare = r(0.5, 1.2);
                light.fog = r(0.002, 0.007);
            }
            Hour::Fog => {
                let tone = r(0.3, 0.7);
                light.direct = grey(0.08);
                light.ambient = grey(r(0.5, 0.7));
                light.horizon = [tone, tone * 1.0, tone * r(0.95, 1.08)];
                light.zenith = light.horizon.map(|v| v * 0.92);
                light.cloud = 0.0;
                light.fog = r(0.018, 0.045);
            }
            Hour::Night => {
                light.direct = [0.03, 0.035, 0.05];
                light.ambient = mix([0.05, 0.05, 0.07], [0.11, 0.085, 0.055], r(0.0, 1.0));
                light.beam = r(0.45, 0.9);
                let sky = r(0.012, 0.07);
                light.horizon = [sky * 1.5, sky * r(0.9, 1.3), sky * r(0.8, 1.6)];
                light.zenith = [sky * 0.4, sky * 0.45, sky * 0.7];
                light.exposure *= 1.25;
                light.grain *= 2.0;
            }
        }
        light.haze = light.horizon;
        light
    }

    /// Lamps and lit windows.
    pub fn dark(&self) -> bool {
        self.hour == Hour::Night
    }

    /// Light from a surface point with this normal at this depth.
    pub fn shade(&self, t: Texel, normal: V3, depth: f32) -> Rgb {
        let facing = normal.dot(self.sun).max(0.0);
        let beam = self.beam / (1.0 + (depth / 9.0).powi(2));
        let clear = (-depth * self.fog).exp();
        std::array::from_fn(|i| {
            let lit = t.colour[i] * (self.ambient[i] + self.direct[i] * facing + beam) + t.glow[i];
            lit * clear + self.haze[i] * (1.0 - clear)
        })
    }

    /// Light from a direction of the sky.
    pub fn sky(&self, ray: V3) -> Texel {
        let up = ray.y.max(0.0);
        let mut c = mix(self.horizon, self.zenith, up.powf(0.55).min(1.0));
        let (x, y) = (ray.x / (up + 0.12) * 1.6, 1.3 / (up + 0.12));
        let clouds =
            (cloudy(x + 40.0, y, self.seed) * 2.2 - 1.25 + self.cloud * 0.6).clamp(0.0, 1.0);
        let bright = [0.86f32, 0.86, 0.88]
            .map(|v| v * (self.ambient[0] * 1.6 + self.direct[0] * 0.3).min(1.0));
        c = mix(
            c,
            bright,
            clouds * 0.75 * (1.0 - (self.fog * 25.0).min(1.0)),
        );
        let sun = ray.dot(self.sun).max(0.0);
        let glow = self.glare * (sun.powi(24) * 0.7 + sun.powi(400) * 3.0);
        c = std::array::from_fn(|i| c[i] + self.direct[i] * glow);
        Texel {
            colour: c,
            glow: [0.0; 3],
            label: label::SKY,
        }
    }

    /// Light as the camera records it: bloom, exposure, white balance, vignette, sensor noise, 8 bits.
    pub fn expose(&self, colour: &[Rgb], height: usize, width: usize) -> Image {
        let bloom = bloom(colour, height, width);
        let mut data = Vec::with_capacity(height * width * 3);
        for y in 0..height {
            for x in 0..width {
                let i = y * width + x;
                let (dx, dy) = (
                    x as f32 / width as f32 - 0.5,
                    y as f32 / height as f32 - 0.5,
                );
                let vignette = 1.0 - 0.35 * (dx * dx + dy * dy);
                for c in 0..3 {
                    let light = (colour[i][c] + 0.35 * bloom[i][c])
                        * self.exposure
                        * self.balance[c]
                        * vignette;
                    // A soft shoulder keeps lamps from clipping at once; the square root is the display's gamma.
                    let v = (light / (1.0 + 0.22 * light * light)).max(0.0).sqrt();
                    let v = 0.5 + (v - 0.5) * self.contrast;
                    let at = |k: u32| hash(x as i32, y as i32, self.seed ^ (c as u32 * 7 + k));
                    let noise = at(11) + at(12) + at(13) - 1.5;
                    data.push(
                        ((v + noise * self.grain * 2.0) * 255.0)
                            .round()
                            .clamp(0.0, 255.0) as u8,
                    );
                }
            }
        }
        Image {
            height,
            width,
            data,
        }
    }
}

/// Light above full white, spread over its neighbourhood: two box blurs.
fn bloom(colour: &[Rgb], height: usize, width: usize) -> Vec<Rgb> {
    let mut over: Vec<Rgb> = colour
        .iter()
        .map(|c| c.map(|v| (v - 0.9).max(0.0)))
        .collect();
    if over.iter().all(|c| c.iter().all(|&v| v == 0.0)) {
        return over;
    }
    let radius = (height / 28).max(1);
    for _ in 0..2 {
        over = blur(&over, height, width, radius, width, 1);
        over = blur(&over, width, height, radius, 1, width);
    }
    over
}

/// Box blur along lines of `n` values `step` apart; there are `lines` of them `stride` apart.
fn blur(v: &[Rgb], lines: usize, n: usize, radius: usize, stride: usize, step: usize) -> Vec<Rgb> {
    let mut out = v.to_vec();
    for line in 0..lines {
        let at = |i: usize| v[line * stride + i * step];
        let mut sum = [0.0f32; 3];
        (0..radius.min(n)).for_each(|i| (0..3).for_each(|c| sum[c] += at(i)[c]));
        for i in 0..n {
            for c in 0..3 {
                if i + radius < n {
                    sum[c] += at(i + radius)[c];
                }
                if i > radius {
                    sum[c] -= at(i - radius - 1)[c];
                }
                out[line * stride + i * step][c] = sum[c].max(0.0) / (2 * radius + 1) as f32;
            }
        }
    }
    out
}
