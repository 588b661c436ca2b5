//! Bicycles with their riders, from the side or at an angle.

use super::paint::{Rgb, Texel, capsule, label, scale};
use super::town::Town;
use crate::rng::Rng;

/// Length of the face of a cyclist seen from the side, metres.
pub const LENGTH: f32 = 1.8;
/// Its height.
pub const HEIGHT: f32 = 1.76;

/// Somebody riding a bicycle to the right (u = 1 is in front) unless mirrored.
#[derive(Debug, Clone, Copy)]
pub struct Cyclist {
    /// Rides to the left.
    pub mirrored: bool,
    /// Frame of the bicycle.
    pub frame: Rgb,
    /// Upper clothes.
    pub coat: Rgb,
    /// Trousers.
    pub legs: Rgb,
    /// Face and hands.
    pub skin: Rgb,
    /// Helmet or hair.
    pub helmet: Rgb,
    /// Angle of the pedals, radians.
    pub pedal: f32,
    /// Lamps are on.
    pub lights: bool,
}

impl Cyclist {
    /// The point at (u, v), drawn in metres.
    pub fn at(&self, u: f32, v: f32) -> Option<Texel> {
        let u = if self.mirrored { 1.0 - u } else { u };
        let p = ((u - 0.5) * LENGTH, v * HEIGHT);
        self.rider(p).or_else(|| self.bicycle(p))
    }

    fn rider(&self, p: (f32, f32)) -> Option<Texel> {
        let part = |colour: Rgb, k: f32| Some(Texel::plain(scale(colour, k), label::RIDER));
        let head = (0.2f32, 1.6f32);
        let (hx, hy) = (p.0 - head.0, p.1 - head.1);
        if hx * hx + hy * hy < 0.0205 {
            return if hy > 0.02 || hx < -0.05 {
                part(self.helmet, 1.0)
            } else {
                part(self.skin, 1.0)
            };
        }
        let (hip, shoulder, hand) = ((-0.22, 0.98), (0.1, 1.42), (0.42, 1.04));
        let elbow = (0.22, 1.16);
        if capsule(p, shoulder, elbow, 0.065) || capsule(p, elbow, hand, 0.055) {
            return part(self.coat, 0.85);
        }
        if capsule(p, hip, shoulder, 0.15) {
            return part(self.coat, 1.0);
        }
        for (turn, k) in [(0.0, 1.0), (std::f32::consts::PI, 0.7)] {
            let (sin, cos) = (self.pedal + turn).sin_cos();
            let foot = (-0.02 + 0.17 * cos, 0.34 + 0.17 * sin);
            let knee = (0.16 + 0.05 * cos, 0.72 + 0.09 * sin);
            if capsule(p, hip, knee, 0.09) || capsule(p, knee, foot, 0.065) {
                return part(self.legs, k);
            }
            if capsule(p, foot, (foot.0 + 0.12, foot.1 - 0.02), 0.045) {
                return part([0.03; 3], 1.0);
            }
        }
        None
    }

    fn bicycle(&self, p: (f32, f32)) -> Option<Texel> {
        let part = |colour: Rgb| Some(Texel::plain(colour, label::BICYCLE));
        let (rear, front) = ((-0.54, 0.34), (0.54, 0.34));
        let (pedals, saddle, bar) = ((-0.03, 0.3), (-0.2, 0.86), (0.4, 0.92));
        let tubes = [
            (rear, pedals),
            (pedals, saddle),
            (pedals, bar),
            (saddle, bar),
            (rear, saddle),
            (bar, front),
        ];
        if tubes.iter().any(|&(a, b)| capsule(p, a, b, 0.032)) {
            return part(self.frame);
        }
        if capsule(p, (0.36, 1.0), (0.46, 1.02), 0.035)
            || capsule(p, (-0.3, 0.9), (-0.14, 0.9), 0.04)
        {
            return part([0.04; 3]);
        }
        if self.lights && capsule(p, (0.5, 0.86), (0.5, 0.86), 0.06) {
            return Some(Texel {
                colour: [1.0; 3],
                glow: [1.6, 1.5, 1.2],
                label: label::BICYCLE,
            });
        }
        for hub in [rear, front] {
            let (dx, dy) = (p.0 - hub.0, p.1 - hub.1);
            let d = (dx * dx + dy * dy).sqrt();
            if (0.265..0.345).contains(&d) {
                return part([0.025; 3]);
            }
            if d < 0.045
                || (d < 0.3
                    && (dy.atan2(dx) * 4.0 / std::f32::consts::PI + 0.5).rem_euclid(1.0) < 0.12)
            {
                return part([0.25; 3]);
            }
        }
        None
    }
}

/// A cyclist.
pub fn any_cyclist(rng: &mut Rng, town: &Town, dark: bool) -> Cyclist {
    let tone = rng.f32();
    Cyclist {
        mirrored: rng.coin(0.5),
        frame: town.cloth(rng),
        coat: town.cloth(rng),
        legs: scale(town.cloth(rng), 0.7),
        skin: [0.14 + 0.5 * tone, 0.08 + 0.36 * tone, 0.05 + 0.26 * tone],
        helmet: town.cloth(rng),
        pedal: rng.range(0.0, std::f64::consts::TAU) as f32,
        lights: dark,
    }
}
