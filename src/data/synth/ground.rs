//! The ground: asphalt with markings, kerbs, paved sidewalks, grass strips, and the shadows on them.

use super::noise::{cloudy, hash, smooth};
use super::paint::{Rgb, Texel, label, mix, scale};
use super::render::V3;

/// A street along Z, slightly curved.
#[derive(Debug, Clone)]
pub struct Ground {
    /// X of the middle of the road at Z = 0.
    pub middle: f32,
    /// The middle moves by this times Z squared.
    pub curve: f32,
    /// Half the width of the road, metres.
    pub half: f32,
    /// Width of each sidewalk.
    pub walk: f32,
    /// Width of the grass strips beyond the sidewalks; 0 for none.
    pub grass: f32,
    /// Asphalt.
    pub asphalt: Rgb,
    /// Paving stones.
    pub paving: Rgb,
    /// Grass.
    pub lawn: Rgb,
    /// Markings.
    pub line: Rgb,
    /// Side of a paving stone.
    pub stone: f32,
    /// Z of a pedestrian crossing, if there is one.
    pub crossing: Option<f32>,
    /// Soft shadows on the ground: (x, z, half width, half length).
    pub shadows: Vec<[f32; 4]>,
    /// Sunlight is blocked by houses on one side: -1 left, 1 right, 0 neither; up to this far from the middle.
    pub shaded: (f32, f32),
    /// Own pattern.
    pub seed: u32,
}

impl Ground {
    /// X of the middle of the road.
    pub fn middle_at(&self, z: f32) -> f32 {
        self.middle + self.curve * z * z
    }

    /// The point at a place of the plane Y = 0.
    pub fn at(&self, p: V3) -> Texel {
        let across = p.x - self.middle_at(p.z);
        let side = across.abs();
        let mut t = if side < self.half {
            Texel::plain(self.road(across, p), label::ROAD)
        } else if side < self.half + 0.22 {
            let grain = 0.9 + 0.2 * smooth(p.z * 1.1, p.x, self.seed ^ 7);
            Texel::plain(
                scale(mix(self.paving, [0.5; 3], 0.4), grain * 1.15),
                label::SIDEWALK,
            )
        } else if self.grass > 0.0
            && side > self.half + self.walk
            && side < self.half + self.walk + self.grass
        {
            let grain = 0.55 + 0.9 * cloudy(p.x * 5.0, p.z * 3.0, self.seed ^ 9);
            Texel::plain(scale(self.lawn, grain), label::TERRAIN)
        } else {
            Texel::plain(self.stones(p), label::SIDEWALK)
        };
        t.colour = scale(t.colour, self.light(across, p));
        t
    }

    fn road(&self, across: f32, p: V3) -> Rgb {
        let patch = cloudy(p.x * 0.35, p.z * 0.18, self.seed);
        let grain = smooth(p.x * 14.0, p.z * 9.0, self.seed ^ 1);
        let mut k = 0.72 + 0.4 * patch + 0.16 * (grain - 0.5);
        // Tyres polish two tracks of each lane.
        let lane = (across / (self.half / 2.0)).abs().fract();
        k -= 0.1 * (-((lane - 0.5).abs() - 0.25).powi(2) * 90.0).exp();
        if smooth(p.x * 1.3 + 9.0, p.z * 0.9, self.seed ^ 2) > 0.93 {
            k *= 0.75;
        }
        let asphalt = scale(self.asphalt, k);
        let worn = smooth(p.x * 6.0, p.z * 2.0, self.seed ^ 3);
        let paint = if self.marked(across, p.z) {
            0.95 - 0.5 * worn
        } else {
            0.0
        };
        mix(asphalt, self.line, paint * (1.0 - p.z / 120.0).max(0.2))
    }

    fn marked(&self, across: f32, z: f32) -> bool {
        if let Some(c) = self.crossing
            && (c - 0.8..c + 3.6).contains(&z)
        {
            return (c..c + 2.8).contains(&z) && (across / 0.5).rem_euclid(2.0) < 1.0;
        }
        let dash = z.rem_euclid(6.0) < 3.0;
        (across.abs() < 0.09 && dash) || (across.abs() - self.half + 0.35).abs() < 0.07
    }

    fn stones(&self, p: V3) -> Rgb {
        let (x, z) = (p.x / self.stone, p.z / self.stone);
        // Rows are shifted like bricks.
        let x = x + 0.5 * (z.floor() as i32 % 2) as f32;
        let (fx, fz) = (x - x.floor(), z - z.floor());
        let tone = 0.82 + 0.3 * hash(x.floor() as i32, z.floor() as i32, self.seed ^ 4);
        let joint = 0.05 / self.stone;
        let in_joint = fx < joint || fx > 1.0 - joint || fz < joint || fz > 1.0 - joint;
        let grain = 0.94 + 0.12 * smooth(p.x * 8.0, p.z * 8.0, self.seed ^ 5);
        // Far joints would only flicker.
        let k = if in_joint && p.z < 26.0 { 0.6 } else { 1.0 };
        scale(self.paving, tone * grain * k)
    }

    fn light(&self, across: f32, p: V3) -> f32 {
        let mut k = 1.0f32;
        for &[x, z, rx, rz] in &self.shadows {
            let d = ((p.x - x) / rx).powi(2) + ((p.z - z) / rz).powi(2);
            if d < 1.5 {
                k = k.min(0.25 + 0.75 * ((d - 0.5) / 1.0).clamp(0.0, 1.0));
            }
        }
        let (side, reach) = self.shaded;
        if side != 0.0 {
            let edge = reach + 1.2 * (hash((p.z / 9.0).floor() as i32, 0, self.seed ^ 6) - 0.5);
            if across * side > edge {
                k *= 0.55;
            }
        }
        k
    }
}
