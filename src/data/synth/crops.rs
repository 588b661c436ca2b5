//! Single objects and surfaces of the same world, for the classifier of the pre-search.

use super::cyclist::{self, any_cyclist};
use super::light::Light;
use super::paint::Paint;
use super::person::any_person;
use super::render::{Camera, Face, draw, v3};
use super::scene::floor;
use super::sign::{Shape, any_sign};
use super::street::{self, Furniture};
use super::town::Town;
use super::users::any_car;
use crate::annotation::Image;
use crate::rng::Rng;

/// The classes, in alphabetical order.
pub const CLASSES: [&str; 10] = [
    "car",
    "cyclist",
    "facade",
    "hedge",
    "pavement",
    "pedestrian",
    "road",
    "sign-disc",
    "sign-square",
    "sign-triangle",
];

/// One picture of class `class`, `side` pixels square.
pub fn crop(rng: &mut Rng, town: &Town, class: usize, side: usize) -> Image {
    let light = Light::draw(rng);
    let mut g = street::ground(rng, town, &light, false);
    let mut faces = vec![];
    street::build(
        rng,
        town,
        &light,
        &mut g,
        Furniture {
            signs: 0,
            poles: false,
        },
        &mut faces,
    );
    let name = CLASSES[class];
    let camera = match name {
        "facade" | "hedge" | "pavement" | "road" => {
            surface(rng, town, name, &mut g, &light, &mut faces, side)
        }
        _ => object(rng, town, name, &mut g, &light, &mut faces, side),
    };
    faces.push(floor(g));
    let drawing = draw(
        &camera,
        &faces,
        1,
        |t, n, d| light.shade(t, n, d),
        |ray| light.sky(ray),
    );
    light.expose(&drawing.colour, side, side)
}

/// A camera whose picture shows `metres` around a point at (x, y, z), moved at random by up to a tenth.
fn look_at(rng: &mut Rng, side: usize, at: (f32, f32, f32), metres: f32, up: f32) -> Camera {
    let s = side as f32;
    let focal = s / metres * at.2;
    let mut shift = || rng.range(-0.1, 0.1) as f32 * s;
    let cx = s / 2.0 - at.0 * focal / at.2 + shift();
    let cy = s / 2.0 - (up - at.1) * focal / at.2 + shift();
    Camera {
        height: side,
        width: side,
        focal,
        cx,
        cy,
        up,
    }
}

fn object(
    rng: &mut Rng,
    town: &Town,
    name: &str,
    g: &mut super::ground::Ground,
    light: &Light,
    faces: &mut Vec<Face>,
    side: usize,
) -> Camera {
    let z = rng.range(6.5, 14.0) as f32;
    let x = g.middle_at(z) + rng.range(-1.0, 1.0) as f32 * (g.half + g.walk * 0.6);
    let up = rng.range(1.4, 1.8) as f32;
    let foot = v3(x, 0.0, z);
    let (width, height, low) = match name {
        "car" => {
            let van = rng.coin(0.15);
            let car = any_car(rng, town, light.dark(), van);
            let yaw = rng.range(-std::f64::consts::PI, std::f64::consts::PI) as f32;
            car.faces(x, z, yaw, 1, faces);
            let across = car.size[1].max(car.size[0] * yaw.sin().abs());
            g.shadows.push([x, z, across * 0.55, 1.1]);
            (across, car.size[2], 0.0)
        }
        "cyclist" => {
            let turned = rng.range(0.62, 1.0) as f32;
            let width = cyclist::LENGTH * turned;
            let paint = Paint::Cyclist(any_cyclist(rng, town, light.dark()));
            faces.push(Face::upright(foot, width, cyclist::HEIGHT, paint, 1));
            (width, cyclist::HEIGHT, 0.0)
        }
        "pedestrian" => {
            let person = any_person(rng, town);
            faces.push(Face::upright(
                foot,
                person.width,
                person.height,
                Paint::Person(person),
                1,
            ));
            (person.width, person.height, 0.0)
        }
        _ => {
            let shape = match name {
                "sign-disc" => Shape::Disc,
                "sign-square" => Shape::Square,
                _ => Shape::Triangle,
            };
            let sign = any_sign(rng, Some(shape));
            faces.push(Face::upright(
                foot,
                sign.board,
                sign.height,
                Paint::Sign(sign),
                1,
            ));
            (sign.board, sign.board, sign.height - sign.board)
        }
    };
    let metres = width.max(height) * rng.range(1.1, 1.6) as f32;
    look_at(rng, side, (x, low + height / 2.0, z), metres, up)
}

fn surface(
    rng: &mut Rng,
    town: &Town,
    name: &str,
    g: &mut super::ground::Ground,
    light: &Light,
    faces: &mut Vec<Face>,
    side: usize,
) -> Camera {
    let z = rng.range(5.0, 11.0) as f32;
    let metres = rng.range(3.5, 6.5) as f32;
    let up = rng.range(1.4, 1.8) as f32;
    match name {
        "road" | "pavement" => {
            // Seen from above at a slant: low in the picture, a window of a wider view.
            faces.clear();
            let x = g.middle_at(z)
                + if name == "road" {
                    rng.range(-0.7, 0.7) as f32 * g.half
                } else {
                    g.half + 0.3 + g.walk / 2.0
                };
            if name == "pavement" {
                g.walk = g.walk.max(3.0);
            }
            let metres = metres * 0.6;
            Camera {
                cy: -0.15 * side as f32,
                ..look_at(rng, side, (x, 0.0, z), metres, up + 1.0)
            }
        }
        "facade" => {
            let lit = if light.dark() { 0.4 } else { 0.0 };
            let f = town.facade(rng, 26.0, lit);
            let x = rng.range(-2.0, 2.0) as f32;
            let back = z + 2.0;
            let slope = rng.range(-0.5, 0.5) as f32;
            let along = v3(1.0, 0.0, slope).unit().times(26.0);
            let origin = v3(x, 0.0, back) - along.times(0.5);
            faces.clear();
            faces.push(Face::new(
                origin,
                along,
                v3(0.0, f.height, 0.0),
                Paint::Facade(f),
                0,
            ));
            let y = rng.range(1.8, (f.height - 1.0).min(8.0) as f64) as f32;
            look_at(rng, side, (x, y, back), metres, up)
        }
        _ => {
            let height = rng.range(4.5, 8.0) as f32;
            let plant = super::plant::Plant {
                width: 30.0,
                height,
                colour: town.leaf(rng),
                tree: false,
                grain: rng.range(2.0, 4.5) as f32,
                seed: rng.u32(),
            };
            faces.push(Face::upright(
                v3(0.0, 0.0, z),
                30.0,
                height,
                Paint::Plant(plant),
                0,
            ));
            let y = rng.range(1.5, height as f64 * 0.75) as f32;
            let x = rng.range(-5.0, 5.0) as f32;
            look_at(rng, side, (x, y, z), metres * 0.8, up)
        }
    }
}
