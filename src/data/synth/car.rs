//! Cars and vans: boxes with slanted glass, wheels, lamps.

use super::paint::{Paint, Rgb, Texel, label, scale};
use super::render::{Face, V3, v3};

/// Sizes and colours of a car.
#[derive(Debug, Clone, Copy)]
pub struct Car {
    /// Length, width, height in metres.
    pub size: [f32; 3],
    /// Height of the lower body.
    pub waist: f32,
    /// Where the cabin begins and ends along the car, as shares of the length from the rear.
    pub cabin: (f32, f32),
    /// How far the rear and the front window lean, in metres.
    pub lean: (f32, f32),
    /// Paint.
    pub body: Rgb,
    /// Glass.
    pub glass: Rgb,
    /// Lamps are on.
    pub lights: bool,
    /// Radius of the wheels.
    pub wheel: f32,
}

/// Which side of a car a face is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Lower body, along the car from rear (u = 0) to front.
    Side,
    /// Lower body in front.
    Front,
    /// Lower body behind.
    Rear,
    /// Cabin, along the car.
    Window,
    /// Cabin, front or rear.
    Screen,
    /// Bonnet, boot, roof.
    Top,
}

/// A face of a car.
#[derive(Debug, Clone, Copy)]
pub struct CarPart {
    /// The car.
    pub car: Car,
    /// The side.
    pub part: Part,
}

impl Car {
    /// The faces of a car that stands with its middle at (x, z) and heads to `yaw` (0: away from the camera, along Z;
    /// positive turns right).
    pub fn faces(&self, x: f32, z: f32, yaw: f32, object: u16, faces: &mut Vec<Face>) {
        let (ahead, right) = (
            v3(yaw.sin(), 0.0, yaw.cos()),
            v3(yaw.cos(), 0.0, -yaw.sin()),
        );
        let [length, width, height] = self.size;
        let at = |along: f32, across: f32, up: f32| {
            v3(x, up, z) + ahead.times(along) + right.times(across)
        };
        let mut add = |origin: V3, a: V3, b: V3, part: Part, slant: (f32, f32)| {
            let paint = Paint::Car(CarPart { car: *self, part });
            faces.push(Face {
                origin,
                a,
                b,
                slant,
                paint,
                object,
            });
        };
        let (l, w) = (length / 2.0, width / 2.0);
        let up = v3(0.0, self.waist, 0.0);
        for side in [-w, w] {
            add(
                at(-l, side, 0.0),
                ahead.times(length),
                up,
                Part::Side,
                (0.0, 0.0),
            );
        }
        add(
            at(l, -w, 0.0),
            right.times(width),
            up,
            Part::Front,
            (0.0, 0.0),
        );
        add(
            at(-l, -w, 0.0),
            right.times(width),
            up,
            Part::Rear,
            (0.0, 0.0),
        );
        add(
            at(-l, -w, self.waist),
            ahead.times(length),
            right.times(width),
            Part::Top,
            (0.0, 0.0),
        );
        // The cabin is a little narrower than the body.
        let (from, to) = (-l + self.cabin.0 * length, -l + self.cabin.1 * length);
        let (run, rise, cw) = (to - from, height - self.waist, w * 0.9);
        let slant = (self.lean.0 / run, self.lean.1 / run);
        for side in [-cw, cw] {
            add(
                at(from, side, self.waist),
                ahead.times(run),
                v3(0.0, rise, 0.0),
                Part::Window,
                slant,
            );
        }
        let rear = ahead.times(self.lean.0) + v3(0.0, rise, 0.0);
        let front = ahead.times(-self.lean.1) + v3(0.0, rise, 0.0);
        add(
            at(from, -cw, self.waist),
            right.times(2.0 * cw),
            rear,
            Part::Screen,
            (0.04, 0.04),
        );
        add(
            at(to, -cw, self.waist),
            right.times(2.0 * cw),
            front,
            Part::Screen,
            (0.04, 0.04),
        );
        let roof = run - self.lean.0 - self.lean.1;
        add(
            at(from + self.lean.0, -cw, height),
            ahead.times(roof),
            right.times(2.0 * cw),
            Part::Top,
            (0.0, 0.0),
        );
    }
}

impl CarPart {
    /// Distance to the nearer wheel of a side, in wheel radii.
    fn wheel(&self, x: f32, y: f32) -> f32 {
        let (length, r) = (self.car.size[0], self.car.wheel);
        let d = |hub: f32| ((x - hub * length).powi(2) + (y - r).powi(2)).sqrt() / r;
        d(0.19).min(d(0.82))
    }

    /// Is there metal, glass or rubber at (u, v)? The ground shows below the body.
    pub fn covers(&self, u: f32, v: f32) -> bool {
        let y = v * self.car.waist;
        match self.part {
            Part::Side => y > 0.24 || self.wheel(u * self.car.size[0], y) < 1.0,
            Part::Front | Part::Rear => {
                let x = (u - 0.5).abs() * self.car.size[1];
                y > 0.24 || (x - self.car.size[1] / 2.0 + 0.16).abs() < 0.11
            }
            _ => true,
        }
    }

    /// The point at (u, v).
    pub fn at(&self, u: f32, v: f32) -> Texel {
        let plain = |c: Rgb| Texel::plain(c, label::CAR);
        match self.part {
            Part::Side => self.side(u * self.car.size[0], v * self.car.waist),
            Part::Front | Part::Rear => self.end((u - 0.5) * self.car.size[1], v * self.car.waist),
            Part::Top => plain(scale(self.car.body, 1.05)),
            Part::Window => {
                let pillar = [0.06, 0.46, 0.94].iter().any(|&p: &f32| {
                    let shift = if p < 0.3 {
                        v * 0.22
                    } else {
                        -v * 0.22 * ((p > 0.9) as u8 as f32)
                    };
                    (u - p - shift).abs() < 0.035
                });
                if pillar || !(0.08..0.86).contains(&v) {
                    plain(self.car.body)
                } else {
                    plain(self.glass(u, v))
                }
            }
            Part::Screen => {
                let rim = (u - 0.5).abs() > 0.44 || !(0.06..0.88).contains(&v);
                if rim {
                    plain(self.car.body)
                } else {
                    plain(self.glass(u, v))
                }
            }
        }
    }

    fn glass(&self, u: f32, v: f32) -> Rgb {
        // A streak of sky crosses the pane.
        let streak = ((u * 1.6 + v - 1.0).abs() < 0.16) as u8 as f32;
        scale(self.car.glass, 0.55 + 0.7 * v + 0.5 * streak)
    }

    fn side(&self, x: f32, y: f32) -> Texel {
        let plain = |c: Rgb| Texel::plain(c, label::CAR);
        let wheel = self.wheel(x, y);
        if wheel < 1.0 {
            return plain(if wheel < 0.58 {
                [0.32, 0.32, 0.33]
            } else {
                [0.02; 3]
            });
        }
        let length = self.car.size[0];
        if wheel < 1.18 || y < 0.3 {
            return plain([0.03; 3]);
        }
        let top = self.car.waist - y;
        if (0.06..0.22).contains(&top) {
            if x > length - 0.2 {
                return self.lamp(true);
            }
            if x < 0.14 {
                return self.lamp(false);
            }
        }
        let seam = [0.34, 0.56, 0.74]
            .iter()
            .any(|s| (x - s * length).abs() < 0.016);
        let k = if seam {
            0.55
        } else {
            0.72 + 0.35 * y / self.car.waist
        };
        plain(scale(self.car.body, k))
    }

    fn end(&self, x: f32, y: f32) -> Texel {
        let plain = |c: Rgb| Texel::plain(c, label::CAR);
        let (half, front) = (self.car.size[1] / 2.0, self.part == Part::Front);
        let top = self.car.waist - y;
        if y < 0.24 {
            return plain([0.02; 3]);
        }
        if x.abs() > half - 0.36 && (0.08..0.27).contains(&top) {
            return self.lamp(front);
        }
        if x.abs() < 0.26 && (0.4..0.53).contains(&y) {
            return plain([0.6, 0.6, 0.52]);
        }
        if y < 0.4 {
            return plain(scale(self.car.body, 0.45));
        }
        if front && x.abs() < half - 0.4 && (0.1..0.27).contains(&top) {
            let bar = (y / 0.06).fract() < 0.4;
            return plain(if bar { [0.25; 3] } else { [0.03; 3] });
        }
        plain(scale(self.car.body, 0.75 + 0.3 * y / self.car.waist))
    }

    fn lamp(&self, front: bool) -> Texel {
        let (colour, glow) = match front {
            true => ([0.8, 0.8, 0.76], [3.2, 3.0, 2.5]),
            false => ([0.45, 0.03, 0.02], [1.5, 0.07, 0.04]),
        };
        Texel {
            colour,
            glow: if self.car.lights { glow } else { [0.0; 3] },
            label: label::CAR,
        }
    }
}
