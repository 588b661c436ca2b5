//! Road users: what they look like, where they are.

use std::f32::consts::{FRAC_PI_2, PI};

use super::car::Car;
use super::cyclist::{self, any_cyclist};
use super::ground::Ground;
use super::light::Light;
use super::paint::Paint;
use super::person::any_person;
use super::render::{Camera, Face, v3};
use super::town::Town;
use crate::annotation::BBox;
use crate::rng::Rng;

/// A road user before drawing.
pub struct User {
    /// KITTI type.
    pub kind: &'static str,
    /// Height, width, length in metres.
    pub size: [f32; 3],
    /// Metres to the right of the camera.
    pub x: f32,
    /// Metres ahead.
    pub z: f32,
    /// Heading, radians; 0 is away from the camera, positive to the right.
    pub yaw: f32,
    body: Body,
}

enum Body {
    Car(Car),
    /// Paint and width of an upright face.
    Upright(Paint, f32),
}

/// A car or van.
pub fn any_car(rng: &mut Rng, town: &Town, dark: bool, van: bool) -> Car {
    let mut r = |lo: f64, hi: f64| rng.range(lo, hi) as f32;
    let (k, h) = (town.car_size.0 as f32, town.car_size.1 as f32);
    let (length, height) = if van {
        (r(4.8, 5.4), r(2.0, 2.3))
    } else {
        (r(3.7, 4.7) * k, r(1.42, 1.66) * h)
    };
    let boot = r(0.0, 1.0) < 0.5;
    let cabin = match (van, boot) {
        (true, _) => (0.01, r(0.86, 0.92)),
        (_, true) => (r(0.12, 0.2), r(0.7, 0.76)),
        _ => (r(0.02, 0.06), r(0.68, 0.76)),
    };
    Car {
        size: [length, r(1.68, 1.86), height],
        waist: if van { 1.15 } else { height * r(0.56, 0.62) },
        cabin,
        lean: (if van { 0.05 } else { r(0.2, 0.55) }, r(0.45, 0.8)),
        body: town.car(rng),
        glass: [0.05, 0.06, 0.07].map(|v: f32| v * rng.range(0.6, 2.2) as f32),
        lights: dark,
        wheel: rng.range(0.3, 0.35) as f32,
    }
}

impl User {
    /// Column range at a guess, as a box.
    fn guess(&self, camera: &Camera) -> BBox {
        let across = match &self.body {
            Body::Car(_) => self.size[1].max(self.size[2] * self.yaw.sin().abs()),
            Body::Upright(_, width) => *width,
        };
        let (k, h) = (camera.focal / self.z, self.size[0]);
        let (x, y) = (camera.cx + self.x * k, camera.cy + camera.up * k);
        BBox {
            x1: x - across * k / 2.0,
            y1: y - h * k,
            x2: x + across * k / 2.0,
            y2: y,
        }
    }

    /// Adds its faces.
    pub fn faces(&self, object: u16, faces: &mut Vec<Face>) {
        match &self.body {
            Body::Car(car) => car.faces(self.x, self.z, self.yaw, object, faces),
            Body::Upright(paint, width) => {
                let foot = v3(self.x, 0.0, self.z);
                faces.push(Face::upright(
                    foot,
                    *width,
                    self.size[0],
                    paint.clone(),
                    object,
                ));
            }
        }
    }

    /// Its soft shadow on the ground: (x, z, half width, half length).
    pub fn shadow(&self) -> [f32; 4] {
        match &self.body {
            Body::Car(_) => {
                let (s, c) = (self.yaw.sin().abs(), self.yaw.cos().abs());
                let (l, w) = (self.size[2] * 0.56, self.size[1] * 0.58);
                [self.x, self.z, l * s + w * c, l * c + w * s]
            }
            Body::Upright(_, width) => [self.x, self.z, width * 0.5, 0.3],
        }
    }
}

/// How far road users may be so that nobody is smaller than a few pixels.
fn farthest(camera: &Camera) -> f64 {
    let least = (camera.height as f32 / 20.0).max(11.5);
    (camera.focal * 1.6 / least).min(45.0) as f64
}

fn place(
    rng: &mut Rng,
    town: &Town,
    light: &Light,
    g: &Ground,
    camera: &Camera,
    what: usize,
) -> User {
    let far = farthest(camera);
    let depth = |rng: &mut Rng, near: f64| 1.0 / rng.range(1.0 / far, 1.0 / near) as f32;
    let side = if rng.coin(0.6) { 1.0f32 } else { -1.0 };
    match what {
        0 => {
            let van = rng.coin(0.07);
            let car = any_car(rng, town, light.dark(), van);
            let z = depth(rng, 6.5);
            let wobble = rng.range(-0.08, 0.08) as f32;
            let lane = g.half / 2.0;
            let (x, yaw) = match rng.f64() {
                p if p < 0.3 => (lane, wobble),
                p if p < 0.55 => (-lane, PI + wobble),
                p if p < 0.8 => (
                    side * (g.half - 1.0),
                    if rng.coin(0.7) == (side > 0.0) {
                        wobble
                    } else {
                        PI + wobble
                    },
                ),
                _ => {
                    let reach = 0.35 * camera.width as f64 / camera.focal as f64 * z as f64;
                    let yaw = if rng.coin(0.5) { FRAC_PI_2 } else { -FRAC_PI_2 };
                    (
                        rng.range(-reach, reach) as f32 - g.middle_at(z),
                        yaw + 4.0 * wobble,
                    )
                }
            };
            let size = [car.size[2], car.size[1], car.size[0]];
            let kind = if van { "Van" } else { "Car" };
            User {
                kind,
                size,
                x: g.middle_at(z) + x,
                z,
                yaw,
                body: Body::Car(car),
            }
        }
        1 => {
            let person = any_person(rng, town);
            let z = depth(rng, 5.2);
            let x = if rng.coin(0.3) {
                rng.range(-1.0, 1.0) as f32 * g.half
            } else {
                side * (g.half + rng.range(0.3, g.walk as f64 - 0.3) as f32)
            };
            let size = [person.height, 0.6, 0.6 + person.stride.abs()];
            let yaw = match (person.front, person.stride > 0.0) {
                (true, _) => {
                    if rng.coin(0.5) {
                        0.0
                    } else {
                        PI
                    }
                }
                (false, ahead) => {
                    if ahead {
                        FRAC_PI_2
                    } else {
                        -FRAC_PI_2
                    }
                }
            };
            let width = person.width;
            User {
                kind: "Pedestrian",
                size,
                x: g.middle_at(z) + x,
                z,
                yaw,
                body: Body::Upright(Paint::Person(person), width),
            }
        }
        _ => {
            let rider = any_cyclist(rng, town, light.dark());
            let z = depth(rng, 5.8);
            let turned = rng.range(0.62, 1.0) as f32;
            let x = if rng.coin(0.4) {
                rng.range(-0.8, 0.8) as f32 * g.half
            } else {
                side * (g.half - rng.range(-0.4, 0.9) as f32)
            };
            let yaw = turned.asin() * if rider.mirrored { -1.0 } else { 1.0 };
            let size = [cyclist::HEIGHT, 0.6, cyclist::LENGTH];
            let body = Body::Upright(Paint::Cyclist(rider), cyclist::LENGTH * turned);
            User {
                kind: "Cyclist",
                size,
                x: g.middle_at(z) + x,
                z,
                yaw,
                body,
            }
        }
    }
}

/// Places as many road users as asked for, if they find room: on the ground two metres apart, in the picture not hidden.
pub fn populate(
    rng: &mut Rng,
    town: &Town,
    light: &Light,
    g: &Ground,
    camera: &Camera,
    cyclists: bool,
) -> Vec<User> {
    let mut wanted: Vec<usize> = vec![];
    wanted.extend(std::iter::repeat_n(0, 1 + rng.below(3)));
    wanted.extend(std::iter::repeat_n(1, [0, 1, 1, 2, 2, 3][rng.below(6)]));
    if cyclists {
        wanted.extend(std::iter::repeat_n(2, [0, 1, 1, 2][rng.below(4)]));
    }
    let mut users: Vec<User> = vec![];
    for what in wanted {
        for _ in 0..14 {
            let user = place(rng, town, light, g, camera, what);
            let b = user.guess(camera);
            let middle = (b.x1 + b.x2) / 2.0;
            let in_view =
                middle > 0.02 * camera.width as f32 && middle < 0.98 * camera.width as f32;
            let crowded = users.iter().any(|o| {
                let apart = ((o.x - user.x).powi(2) + (o.z - user.z).powi(2)).sqrt();
                apart < (o.size[2] + user.size[2]) / 2.0 + 0.3
                    || overlap(&o.guess(camera), &b) > 0.45
            });
            if in_view && !crowded {
                users.push(user);
                break;
            }
        }
    }
    // Far ones first, so that numbers follow depth.
    users.sort_by(|a, b| b.z.total_cmp(&a.z));
    users
}

/// Intersection as a share of the smaller box.
fn overlap(a: &BBox, b: &BBox) -> f32 {
    let x = a.x2.min(b.x2) - a.x1.max(b.x1);
    let y = a.y2.min(b.y2) - a.y1.max(b.y1);
    if x <= 0.0 || y <= 0.0 {
        0.0
    } else {
        x * y / a.area().min(b.area()).max(1e-6)
    }
}
