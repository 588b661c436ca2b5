//! Walls of houses: plaster, brick or panels, rows of windows, shops on the ground floor.

use super::noise::{hash, smooth};
use super::paint::{Rgb, Texel, label, mix, scale};

/// What a wall is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    /// Even, a little stained.
    Plaster,
    /// Rows of bricks.
    Brick,
    /// Large plates with joints.
    Panel,
}

/// A wall.
#[derive(Debug, Clone, Copy)]
pub struct Facade {
    /// Metres along.
    pub length: f32,
    /// Metres up.
    pub height: f32,
    /// Material.
    pub wall: Wall,
    /// Its colour.
    pub colour: Rgb,
    /// Frames, sills and cornices.
    pub trim: Rgb,
    /// Window panes.
    pub glass: Rgb,
    /// Height of a floor.
    pub floor: f32,
    /// From window to window.
    pub pitch: f32,
    /// Width and height of a window as shares of pitch and floor.
    pub window: (f32, f32),
    /// Shop windows on the ground floor.
    pub shop: bool,
    /// Share of lit windows.
    pub lit: f32,
    /// Own pattern.
    pub seed: u32,
}

impl Facade {
    /// The point at (u, v).
    pub fn at(&self, u: f32, v: f32) -> Texel {
        let (x, y) = (u * self.length, v * self.height);
        if y > self.height - 0.35 {
            return self.plain(scale(self.trim, 0.85));
        }
        if self.shop && y < 3.2 {
            return self.shop_front(x, y);
        }
        let (i, j) = ((x / self.pitch).floor(), (y / self.floor).floor());
        let (fx, fy) = (x / self.pitch - i - 0.5, y / self.floor - j - 0.52);
        let (w, h) = (self.window.0 / 2.0, self.window.1 / 2.0);
        let top = (j + 1.0) * self.floor > self.height - 0.3;
        if !top && fx.abs() < w + 0.035 && fy.abs() < h + 0.035 {
            let frame = fx.abs() > w || fy.abs() > h || (fx.abs() < 0.02 && h > 0.15);
            return if frame {
                self.plain(self.trim)
            } else {
                self.pane(i as i32, j as i32, fx / w, fy / h)
            };
        }
        if !top && fx.abs() < w + 0.07 && (fy + h + 0.06).abs() < 0.03 {
            return self.plain(scale(self.trim, 1.1));
        }
        self.plain(self.wall_colour(x, y))
    }

    fn plain(&self, colour: Rgb) -> Texel {
        Texel::plain(colour, label::BUILDING)
    }

    fn wall_colour(&self, x: f32, y: f32) -> Rgb {
        let stain = 0.88 + 0.22 * smooth(x * 0.5, y * 0.3, self.seed);
        let k = match self.wall {
            Wall::Plaster => 0.95 + 0.1 * smooth(x * 5.0, y * 5.0, self.seed ^ 1),
            Wall::Brick => {
                let row = (y / 0.22).floor();
                let brick = x / 0.5 + 0.5 * (row as i32 % 2) as f32;
                let joint = (y / 0.22).fract() < 0.16 || brick.fract() < 0.08;
                if joint {
                    1.25
                } else {
                    0.78 + 0.4 * hash(brick.floor() as i32, row as i32, self.seed)
                }
            }
            Wall::Panel => {
                let joint = (x / self.pitch).fract() < 0.03 || (y / self.floor).fract() < 0.035;
                if joint {
                    0.6
                } else {
                    0.93 + 0.14 * hash((x / self.pitch) as i32, (y / self.floor) as i32, self.seed)
                }
            }
        };
        // Splash water and exhaust darken the foot.
        scale(self.colour, stain * k * (0.75 + 0.25 * (y / 2.0).min(1.0)))
    }

    fn pane(&self, i: i32, j: i32, fx: f32, fy: f32) -> Texel {
        let h = hash(i, j, self.seed ^ 2);
        let reflection = 0.6 + 0.5 * h + 0.35 * (fx * 0.5 + fy).clamp(-1.0, 1.0);
        let mut t = self.plain(scale(self.glass, reflection));
        if hash(i, j, self.seed ^ 3) < 0.3 {
            // Curtains.
            t.colour = mix(t.colour, [0.5, 0.48, 0.42], 0.5);
        }
        if h < self.lit {
            let warm = 0.45 + 0.5 * hash(i, j, self.seed ^ 4);
            t.glow = scale([1.0, 0.72, 0.38], warm);
        }
        t
    }

    fn shop_front(&self, x: f32, y: f32) -> Texel {
        let i = (x / 4.5).floor() as i32;
        let fx = x / 4.5 - i as f32;
        let board = |c: u32| 0.12 + 0.6 * hash(i, c as i32, self.seed ^ 5);
        if y > 2.55 {
            // The board above a shop, with something like letters.
            let letters = (0.2..0.8).contains(&fx)
                && (2.72..3.02).contains(&y)
                && hash((x / 0.16) as i32, 1, self.seed) < 0.6;
            let colour = [board(0), board(1), board(2)];
            let mut t = self.plain(if letters { [0.8, 0.8, 0.75] } else { colour });
            t.glow = scale(colour, self.lit * 0.8);
            return t;
        }
        if !(0.06..0.94).contains(&fx) || y < 0.35 {
            return self.plain(scale(self.wall_colour(x, y), 0.9));
        }
        if (fx - 0.72).abs() < 0.012 || (y - 2.5).abs() < 0.05 {
            return self.plain(self.trim);
        }
        let goods = smooth(x * 2.0, y * 2.0, self.seed ^ 6);
        let mut t = self.plain(scale(self.glass, 0.5 + 0.9 * goods));
        t.glow = scale([1.0, 0.85, 0.6], self.lit * 1.2 * goods);
        t
    }
}
