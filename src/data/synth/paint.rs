//! What a face looks like at a point: colour, light of its own, label.

use super::car::CarPart;
use super::cyclist::Cyclist;
use super::facade::Facade;
use super::ground::Ground;
use super::person::Person;
use super::plant::Plant;
use super::render::V3;
use super::sign::Sign;

/// A colour as shares of full R, G, B light (linear).
pub type Rgb = [f32; 3];

/// Cityscapes label ids that the scenes use.
pub mod label {
    /// Not one of the training classes.
    pub const STATIC: u8 = 4;
    /// Road and its markings.
    pub const ROAD: u8 = 7;
    /// Pavement and kerb.
    pub const SIDEWALK: u8 = 8;
    /// Facades.
    pub const BUILDING: u8 = 11;
    /// Lamp and sign posts.
    pub const POLE: u8 = 17;
    /// Traffic signs.
    pub const SIGN: u8 = 20;
    /// Trees and hedges.
    pub const VEGETATION: u8 = 21;
    /// Grass.
    pub const TERRAIN: u8 = 22;
    /// Sky.
    pub const SKY: u8 = 23;
    /// Pedestrians.
    pub const PERSON: u8 = 24;
    /// People on bicycles.
    pub const RIDER: u8 = 25;
    /// Cars and vans.
    pub const CAR: u8 = 26;
    /// Bicycles.
    pub const BICYCLE: u8 = 33;
}

/// One visible point.
#[derive(Debug, Clone, Copy, Default)]
pub struct Texel {
    /// Share of light that is reflected.
    pub colour: Rgb,
    /// Light that is sent out.
    pub glow: Rgb,
    /// Label id.
    pub label: u8,
}

impl Texel {
    /// A surface that sends out no light.
    pub fn plain(colour: Rgb, label: u8) -> Texel {
        Texel {
            colour,
            glow: [0.0; 3],
            label,
        }
    }
}

/// The looks of a face.
#[derive(Debug, Clone)]
pub enum Paint {
    /// Street and pavement.
    Ground(Box<Ground>),
    /// Wall of a house.
    Facade(Facade),
    /// Tree or hedge.
    Plant(Plant),
    /// One side of a car.
    Car(CarPart),
    /// Pedestrian.
    Person(Person),
    /// Bicycle with its rider.
    Cyclist(Cyclist),
    /// Traffic sign with its post.
    Sign(Sign),
    /// One colour.
    Flat(Texel),
}

impl Paint {
    /// Is there something at (u, v)?
    pub fn covers(&self, u: f32, v: f32) -> bool {
        match self {
            Paint::Ground(_) | Paint::Facade(_) | Paint::Flat(_) => true,
            Paint::Plant(p) => p.covers(u, v),
            Paint::Car(c) => c.covers(u, v),
            Paint::Person(p) => p.at(u, v).is_some(),
            Paint::Cyclist(c) => c.at(u, v).is_some(),
            Paint::Sign(s) => s.at(u, v).is_some(),
        }
    }

    /// The point at (u, v), which is at `place` in the world; `None` where nothing is.
    pub fn at(&self, u: f32, v: f32, place: V3) -> Option<Texel> {
        match self {
            Paint::Ground(g) => Some(g.at(place)),
            Paint::Facade(f) => Some(f.at(u, v)),
            Paint::Plant(p) => Some(p.at(u, v)),
            Paint::Car(c) => Some(c.at(u, v)),
            Paint::Person(p) => p.at(u, v),
            Paint::Cyclist(c) => c.at(u, v),
            Paint::Sign(s) => s.at(u, v),
            Paint::Flat(t) => Some(*t),
        }
    }
}

/// `a` at 0, `b` at 1.
pub fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

/// Brighter or darker.
pub fn scale(a: Rgb, k: f32) -> Rgb {
    a.map(|v| v * k)
}

/// Is (x, y) within `r` of the segment from `a` to `b`? Limbs, frames and tyres are made of these.
pub fn capsule((x, y): (f32, f32), a: (f32, f32), b: (f32, f32), r: f32) -> bool {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let t = (((x - a.0) * dx + (y - a.1) * dy) / (dx * dx + dy * dy).max(1e-9)).clamp(0.0, 1.0);
    let (ex, ey) = (x - a.0 - t * dx, y - a.1 - t * dy);
    ex * ex + ey * ey <= r * r
}
