//! Pedestrians.

use super::paint::{Rgb, Texel, capsule, label, scale};
use super::town::Town;
use crate::rng::Rng;

/// Somebody walking or standing.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// Metres.
    pub height: f32,
    /// Width of the face that it is drawn on, metres.
    pub width: f32,
    /// Upper clothes.
    pub coat: Rgb,
    /// Trousers or skirt.
    pub legs: Rgb,
    /// Face and hands.
    pub skin: Rgb,
    /// Hair or hat.
    pub hair: Rgb,
    /// From foot to foot, metres; negative for the other leg in front.
    pub stride: f32,
    /// The coat reaches to the knees.
    pub long: bool,
    /// A bag at the side.
    pub bag: bool,
    /// Seen in front rather than from the side: the face shows.
    pub front: bool,
}

impl Person {
    /// Width of a face that holds a person of this height and stride.
    pub fn width_for(height: f32, stride: f32) -> f32 {
        (0.36 * height).max(stride.abs() + 0.22 * height)
    }

    /// The point at (u, v), in body heights.
    pub fn at(&self, u: f32, v: f32) -> Option<Texel> {
        let p = ((u - 0.5) * self.width / self.height, v);
        let part = |colour: Rgb, k: f32| Some(Texel::plain(scale(colour, k), label::PERSON));
        let s = self.stride / self.height;
        // Head: hair above and behind, face below.
        let (hx, hy) = (p.0 * 1.15, p.1 - 0.925);
        if hx * hx + hy * hy < 0.0052 {
            let face = hy < 0.02 && (self.front || hx * s.signum() > -0.015);
            return if face {
                part(self.skin, 1.0)
            } else {
                part(self.hair, 1.0)
            };
        }
        if capsule(p, (0.0, 0.84), (0.0, 0.88), 0.03) {
            return part(self.skin, 0.8);
        }
        let swing = 0.5 * s;
        if self.bag && capsule(p, (-0.15, 0.50), (-0.15, 0.56), 0.055) {
            return part(self.hair, 1.6);
        }
        // Arms swing against the legs.
        for (side, k) in [(-1.0f32, 0.8), (1.0, 0.92)] {
            let shoulder = (side * if self.front { 0.115 } else { 0.03 }, 0.79);
            let hand = (shoulder.0 - side * swing * 0.7 + side * 0.02, 0.50);
            let elbow = ((shoulder.0 + hand.0) / 2.0 + side * 0.02, 0.65);
            if capsule(p, shoulder, elbow, 0.034) || capsule(p, elbow, hand, 0.028) {
                return if p.1 < 0.515 {
                    part(self.skin, 0.9)
                } else {
                    part(self.coat, k)
                };
            }
        }
        let waist = if self.long { 0.32 } else { 0.50 };
        let wide = if self.front { 0.105 } else { 0.075 };
        let flare = if self.long {
            0.03 * (0.8 - p.1) / 0.4
        } else {
            0.0
        };
        if p.1 > waist
            && p.1 < 0.83
            && p.0.abs() < wide + flare - 0.02 * (p.1 - 0.65).max(0.0) * 5.0
        {
            return part(
                self.coat,
                0.85 + 0.3 * p.1 - 0.1 * p.0.signum() * p.0.abs() * 5.0,
            );
        }
        for (side, k) in [(-1.0f32, 0.75), (1.0, 1.0)] {
            let hip = (side * if self.front { 0.05 } else { 0.015 }, 0.50);
            let foot = (hip.0 + side * swing, 0.035);
            let knee = ((hip.0 + foot.0) / 2.0 + 0.02 * s.signum(), 0.27);
            if capsule(p, hip, knee, 0.055) || capsule(p, knee, foot, 0.038) {
                return part(self.legs, k);
            }
            if capsule(p, foot, (foot.0 + 0.05 * s.signum(), 0.02), 0.024) {
                return part([0.03, 0.03, 0.03], 1.0);
            }
        }
        None
    }
}

/// A pedestrian.
pub fn any_person(rng: &mut Rng, town: &Town) -> Person {
    let height = rng.range(1.5, 1.92) as f32;
    let front = rng.coin(0.5);
    let stride = rng.range(0.2, 0.75) as f32
        * if front { 0.4 } else { 1.0 }
        * if rng.coin(0.5) { 1.0 } else { -1.0 };
    let tone = rng.f32();
    Person {
        height,
        width: Person::width_for(height, stride),
        coat: town.cloth(rng),
        legs: scale(town.cloth(rng), 0.7),
        skin: [0.14 + 0.5 * tone, 0.08 + 0.36 * tone, 0.05 + 0.26 * tone],
        hair: scale(town.cloth(rng), 0.5),
        stride,
        long: rng.coin(0.25),
        bag: rng.coin(0.3),
        front,
    }
}
