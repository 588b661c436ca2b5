//! Towns: each has its own colours and building habits. Training and held-out scenes lie in different towns.

use super::facade::{Facade, Wall};
use super::paint::{Rgb, mix, scale};
use crate::rng::{Rng, word};

/// Habits of a town.
#[derive(Debug, Clone)]
pub struct Town {
    /// For file names.
    pub name: &'static str,
    walls: Vec<Rgb>,
    leaves: Vec<Rgb>,
    cars: Vec<Rgb>,
    floor: f32,
    pitch: f32,
    window: (f32, f32),
    storeys: (f64, f64),
    shops: f64,
    bricks: f64,
    asphalt: Rgb,
    paving: Rgb,
    /// How much longer and higher cars are than usual.
    pub car_size: (f64, f64),
}

/// Names of the towns of the training scenes, then of the held-out ones.
pub const TRAIN_TOWNS: [&str; 5] = ["aldenau", "birkstadt", "corvin", "dunhaven", "elmsford"];
/// Towns that no training scene shows.
pub const VAL_TOWNS: [&str; 3] = ["falkenau", "grimsby", "harrow"];

/// A colour of any hue, with the brightness and saturation of painted things.
pub fn any_colour(rng: &mut Rng) -> Rgb {
    let hue = rng.range(0.0, 6.0);
    let (saturation, value) = (rng.f64().powi(2) * 0.85, rng.range(0.06, 0.8));
    let channel = |n: f64| {
        let k = (n + hue) % 6.0;
        let v = value * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0));
        v as f32
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

fn near_grey(rng: &mut Rng, lo: f64, hi: f64, tint: f64) -> Rgb {
    let k = rng.range(lo, hi);
    std::array::from_fn(|_| (k * rng.range(1.0 - tint, 1.0 + tint)) as f32)
}

impl Town {
    /// The town of this name, a function of the seed.
    pub fn new(name: &'static str, seed: u64) -> Town {
        let rng = &mut Rng::new(seed, &[word("town"), word(name)]);
        let walls = (0..7)
            .map(|i| {
                let c = any_colour(rng);
                // Some houses have the grey of the street, some the green of the trees.
                match i {
                    0 | 1 => near_grey(rng, 0.1, 0.6, 0.08),
                    2 => mix(c, [0.12, 0.2, 0.07], 0.6),
                    3 => mix(c, [0.45, 0.3, 0.2], 0.5),
                    _ => c,
                }
            })
            .collect();
        let season = rng.f64();
        let leaves = (0..4)
            .map(|_| {
                let green = [
                    rng.range(0.05, 0.16),
                    rng.range(0.13, 0.26),
                    rng.range(0.03, 0.08),
                ]
                .map(|v| v as f32);
                let autumn = [
                    rng.range(0.22, 0.4),
                    rng.range(0.12, 0.26),
                    rng.range(0.03, 0.07),
                ]
                .map(|v| v as f32);
                let dull = near_grey(rng, 0.08, 0.22, 0.15);
                mix(
                    mix(green, autumn, (season as f32 * 1.3 - 0.3).clamp(0.0, 1.0)),
                    dull,
                    rng.f32() * 0.45,
                )
            })
            .collect();
        let cars = (0..8)
            .map(|i| {
                if i < 3 {
                    near_grey(rng, 0.03, 0.75, 0.05)
                } else {
                    any_colour(rng)
                }
            })
            .collect();
        Town {
            name,
            walls,
            leaves,
            cars,
            floor: rng.range(2.8, 3.6) as f32,
            pitch: rng.range(2.1, 3.4) as f32,
            window: (rng.range(0.36, 0.62) as f32, rng.range(0.4, 0.62) as f32),
            storeys: {
                let low = rng.range(2.0, 3.2);
                (low, low + rng.range(1.5, 4.0))
            },
            shops: rng.range(0.1, 0.7),
            bricks: rng.range(0.0, 0.6),
            asphalt: near_grey(rng, 0.07, 0.34, 0.06),
            paving: mix(near_grey(rng, 0.14, 0.5, 0.05), any_colour(rng), 0.18),
            car_size: (rng.range(0.94, 1.06), rng.range(0.95, 1.08)),
        }
    }

    /// A house front.
    pub fn facade(&self, rng: &mut Rng, length: f32, lit: f32) -> Facade {
        let storeys = rng.range(self.storeys.0, self.storeys.1 + 1.0).floor() as f32;
        let wall = if rng.coin(self.bricks) {
            Wall::Brick
        } else if rng.coin(0.3) {
            Wall::Panel
        } else {
            Wall::Plaster
        };
        let base = self.walls[rng.below(self.walls.len())];
        let jitter = |rng: &mut Rng, v: f32, by: f64| v * rng.range(1.0 - by, 1.0 + by) as f32;
        let floor = jitter(rng, self.floor, 0.08);
        Facade {
            length,
            height: storeys * floor + 0.6,
            wall,
            colour: scale(base, rng.range(0.75, 1.25) as f32),
            trim: if rng.coin(0.6) {
                [0.62, 0.6, 0.56]
            } else {
                scale(base, 0.5)
            },
            glass: near_grey(rng, 0.05, 0.3, 0.15),
            floor,
            pitch: jitter(rng, self.pitch, 0.15),
            window: (
                jitter(rng, self.window.0, 0.12),
                jitter(rng, self.window.1, 0.12),
            ),
            shop: rng.coin(self.shops),
            lit,
            seed: rng.u32(),
        }
    }

    /// Colour of leaves.
    pub fn leaf(&self, rng: &mut Rng) -> Rgb {
        scale(
            self.leaves[rng.below(self.leaves.len())],
            rng.range(0.7, 1.3) as f32,
        )
    }

    /// Colour of a car: its own, or that of the surroundings, so that colour alone tells little.
    pub fn car(&self, rng: &mut Rng) -> Rgb {
        match rng.f64() {
            p if p < 0.25 => self.walls[rng.below(self.walls.len())],
            p if p < 0.35 => self.asphalt,
            p if p < 0.42 => self.leaf(rng),
            _ => self.cars[rng.below(self.cars.len())],
        }
    }

    /// Colour of clothes, likewise.
    pub fn cloth(&self, rng: &mut Rng) -> Rgb {
        match rng.f64() {
            p if p < 0.2 => self.walls[rng.below(self.walls.len())],
            p if p < 0.3 => self.leaf(rng),
            p if p < 0.4 => self.paving,
            p if p < 0.55 => near_grey(rng, 0.02, 0.12, 0.2),
            _ => any_colour(rng),
        }
    }

    /// Asphalt of a street.
    pub fn asphalt(&self, rng: &mut Rng) -> Rgb {
        scale(self.asphalt, rng.range(0.7, 1.35) as f32)
    }

    /// Paving of its sidewalks.
    pub fn paving(&self, rng: &mut Rng) -> Rgb {
        scale(self.paving, rng.range(0.7, 1.35) as f32)
    }
}
