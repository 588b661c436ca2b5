//! What stands still: the ground, rows of houses, hedges, trees, signs.

use super::facade::Facade;
use super::ground::Ground;
use super::light::Light;
use super::paint::{Paint, Texel, label, scale};
use super::plant::Plant;
use super::render::{Face, V3, v3};
use super::sign::any_sign;
use super::town::Town;
use crate::rng::Rng;

/// Depth of a house, metres.
const HOUSE: f32 = 11.0;
/// Rows of houses end here.
const END: f32 = 95.0;

/// Draws the shape of a street.
pub fn ground(rng: &mut Rng, town: &Town, light: &Light, grass: bool) -> Ground {
    let mut r = |lo: f64, hi: f64| rng.range(lo, hi) as f32;
    let half = r(3.4, 4.8);
    let middle = -half / 2.0 + r(-0.7, 0.7);
    let walk = r(1.9, 3.2);
    let curve = r(-0.0018, 0.0018);
    let worn = r(0.35, 0.75);
    let shaded = match light.hour {
        super::light::Hour::Day | super::light::Hour::LowSun if r(0.0, 1.0) < 0.5 => {
            (if r(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 }, r(-3.0, 3.0))
        }
        _ => (0.0, 0.0),
    };
    let (stone, crossing) = (r(0.45, 0.9), (r(0.0, 1.0) < 0.2).then_some(r(5.0, 18.0)));
    Ground {
        middle,
        curve,
        half,
        walk,
        grass: if grass { r(0.8, 2.0) } else { 0.0 },
        asphalt: town.asphalt(rng),
        paving: town.paving(rng),
        lawn: scale(town.leaf(rng), 0.8),
        line: if rng.coin(0.8) {
            [worn; 3]
        } else {
            [worn, worn * 0.75, worn * 0.2]
        },
        stone,
        crossing,
        shadows: vec![],
        shaded,
        seed: rng.u32(),
    }
}

/// What else may stand there.
#[derive(Debug, Clone, Copy)]
pub struct Furniture {
    /// Number of traffic signs.
    pub signs: usize,
    /// Lamp posts, and sign posts labelled as poles rather than static.
    pub poles: bool,
}

/// Houses, plants and signs along the street. Shadows of trees are added to the ground.
pub fn build(
    rng: &mut Rng,
    town: &Town,
    light: &Light,
    g: &mut Ground,
    furniture: Furniture,
    faces: &mut Vec<Face>,
) {
    let lit = if light.dark() {
        rng.range(0.15, 0.6) as f32
    } else {
        0.0
    };
    for side in [-1.0f32, 1.0] {
        row(rng, town, side, g, lit, faces);
        trees(rng, town, side, g, faces);
    }
    backdrop(rng, town, g, lit, faces);
    for _ in 0..furniture.signs {
        sign(rng, g, furniture.poles, faces);
    }
    if furniture.poles {
        lamps(rng, g, faces);
    }
}

/// Distance of the house fronts from the middle of the road.
fn line(g: &Ground) -> f32 {
    g.half + g.walk + g.grass
}

fn wall(origin: V3, along: V3, facade: Facade) -> Face {
    Face::new(
        origin,
        along,
        v3(0.0, facade.height, 0.0),
        Paint::Facade(facade),
        0,
    )
}

fn row(rng: &mut Rng, town: &Town, side: f32, g: &Ground, lit: f32, faces: &mut Vec<Face>) {
    let mut z = rng.range(-6.0, 2.0) as f32;
    while z < END {
        let length = rng.range(7.0, 20.0) as f32;
        let x = g.middle_at((z + length / 2.0).min(60.0))
            + side * (line(g) + rng.range(0.0, 1.2) as f32);
        if rng.coin(0.27) {
            // A garden: a hedge along the street, something taller behind.
            let height = rng.range(1.3, 3.4) as f32;
            let plant = |rng: &mut Rng, width: f32, height: f32| Plant {
                width,
                height,
                colour: town.leaf(rng),
                tree: false,
                grain: rng.range(2.0, 4.5) as f32,
                seed: rng.u32(),
            };
            let hedge = plant(rng, length, height);
            let up = |h: f32| v3(0.0, h, 0.0);
            faces.push(Face::new(
                v3(x, 0.0, z),
                v3(0.0, 0.0, length),
                up(height),
                Paint::Plant(hedge),
                0,
            ));
            let tall = rng.range(4.0, 9.0) as f32;
            let (across, wood) = (v3(side * HOUSE, 0.0, 0.0), plant(rng, HOUSE, tall));
            faces.push(Face::new(
                v3(x, 0.0, z + length),
                across,
                up(tall),
                Paint::Plant(wood),
                0,
            ));
        } else {
            let front = town.facade(rng, length, lit);
            let gable = Facade {
                length: HOUSE,
                seed: front.seed ^ 77,
                ..front
            };
            faces.push(wall(v3(x, 0.0, z), v3(0.0, 0.0, length), front));
            faces.push(wall(v3(x, 0.0, z), v3(side * HOUSE, 0.0, 0.0), gable));
        }
        z += length
            + if rng.coin(0.3) {
                rng.range(0.5, 3.0) as f32
            } else {
                0.0
            };
    }
    // A tall hedge far behind closes the gaps.
    let height = rng.range(3.0, 7.0) as f32;
    let x = g.middle + side * (line(g) + HOUSE + 2.0);
    let far = Plant {
        width: 140.0,
        height,
        colour: town.leaf(rng),
        tree: false,
        grain: 1.5,
        seed: rng.u32(),
    };
    faces.push(Face::new(
        v3(x, 0.0, 0.0),
        v3(0.0, 0.0, 140.0),
        v3(0.0, height, 0.0),
        Paint::Plant(far),
        0,
    ));
}

fn trees(rng: &mut Rng, town: &Town, side: f32, g: &mut Ground, faces: &mut Vec<Face>) {
    if !rng.coin(0.6) {
        return;
    }
    let gap = rng.range(7.0, 16.0) as f32;
    let mut z = rng.range(6.0, 6.0 + gap as f64) as f32;
    while z < 60.0 {
        let height = rng.range(4.2, 7.5) as f32;
        let tree = Plant {
            width: height * rng.range(0.6, 0.9) as f32,
            height,
            colour: town.leaf(rng),
            tree: true,
            grain: rng.range(2.2, 4.5) as f32,
            seed: rng.u32(),
        };
        let x = g.middle_at(z) + side * (g.half + g.walk * rng.range(0.55, 0.95) as f32);
        faces.push(Face::upright(
            v3(x, 0.0, z),
            tree.width,
            height,
            Paint::Plant(tree),
            0,
        ));
        g.shadows.push([x, z, 0.5, 0.35]);
        z += gap * rng.range(0.8, 1.3) as f32;
    }
}

fn backdrop(rng: &mut Rng, town: &Town, g: &Ground, lit: f32, faces: &mut Vec<Face>) {
    let mut x = -70.0f32;
    while x < 70.0 {
        let width = rng.range(9.0, 22.0) as f32;
        let z = END + rng.range(0.0, 12.0) as f32;
        let left = v3(x + g.middle_at(60.0), 0.0, z);
        match rng.f64() {
            p if p < 0.45 => {
                faces.push(wall(
                    left,
                    v3(width, 0.0, 0.0),
                    town.facade(rng, width, lit),
                ));
            }
            p if p < 0.85 => {
                let height = rng.range(6.0, 14.0) as f32;
                let wood = Plant {
                    width,
                    height,
                    colour: town.leaf(rng),
                    tree: false,
                    grain: 0.9,
                    seed: rng.u32(),
                };
                faces.push(Face::new(
                    left,
                    v3(width, 0.0, 0.0),
                    v3(0.0, height, 0.0),
                    Paint::Plant(wood),
                    0,
                ));
            }
            _ => {
                let height = rng.range(2.0, 4.0) as f32;
                let hedge = Plant {
                    width,
                    height,
                    colour: town.leaf(rng),
                    tree: false,
                    grain: 1.2,
                    seed: rng.u32(),
                };
                faces.push(Face::new(
                    left,
                    v3(width, 0.0, 0.0),
                    v3(0.0, height, 0.0),
                    Paint::Plant(hedge),
                    0,
                ));
            }
        }
        x += width;
    }
}

fn sign(rng: &mut Rng, g: &Ground, poles: bool, faces: &mut Vec<Face>) {
    let mut sign = any_sign(rng, None);
    sign.post = if poles { label::POLE } else { label::STATIC };
    let z = 1.0 / rng.range(1.0 / 19.0, 1.0 / 7.0) as f32;
    let side = if rng.coin(0.7) { 1.0 } else { -1.0 };
    let x = g.middle_at(z) + side * (g.half + rng.range(0.4, 1.0) as f32);
    faces.push(Face::upright(
        v3(x, 0.0, z),
        sign.board,
        sign.height,
        Paint::Sign(sign),
        0,
    ));
}

fn lamps(rng: &mut Rng, g: &Ground, faces: &mut Vec<Face>) {
    let side = if rng.coin(0.5) { 1.0 } else { -1.0 };
    let mut z = rng.range(6.0, 14.0) as f32;
    while z < 50.0 {
        let x = g.middle_at(z) + side * (g.half + 0.35);
        let post = Paint::Flat(Texel::plain([0.2, 0.21, 0.21], label::POLE));
        faces.push(Face::upright(v3(x, 0.0, z), 0.16, 5.5, post.clone(), 0));
        faces.push(Face::new(
            v3(x - side * 1.4, 5.4, z),
            v3(1.4 * side, 0.0, 0.0),
            v3(0.0, 0.14, 0.0),
            post,
            0,
        ));
        z += rng.range(14.0, 20.0) as f32;
    }
}
