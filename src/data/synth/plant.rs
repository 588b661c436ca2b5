//! Trees and hedges: ragged outlines filled with leaves.

use super::noise::{cloudy, smooth};
use super::paint::{Rgb, Texel, label, scale};

/// A tree or a hedge on an upright face.
#[derive(Debug, Clone, Copy)]
pub struct Plant {
    /// Metres across.
    pub width: f32,
    /// Metres up.
    pub height: f32,
    /// Leaves.
    pub colour: Rgb,
    /// A crown on a trunk, or leaves from the ground on.
    pub tree: bool,
    /// Clusters of leaves a metre.
    pub grain: f32,
    /// Own pattern.
    pub seed: u32,
}

impl Plant {
    fn metres(&self, u: f32, v: f32) -> (f32, f32) {
        ((u - 0.5) * self.width, v * self.height)
    }

    fn trunk(&self, x: f32, y: f32) -> bool {
        let lean = 0.12 * (smooth(y * 0.7, 0.0, self.seed ^ 1) - 0.5);
        self.tree && y < self.height * 0.55 && (x - lean).abs() < 0.07 + 0.02 * self.height
    }

    fn crown(&self, x: f32, y: f32) -> bool {
        let ragged = cloudy(x * 1.3, y * 1.3, self.seed) - 0.5;
        if !self.tree {
            return y < self.height * (0.84 + 0.3 * ragged);
        }
        let (rx, ry) = (self.width * 0.42, self.height * 0.36);
        let d = ((x / rx).powi(2) + ((y - self.height * 0.62) / ry).powi(2)).sqrt();
        let gap = d > 0.55 && smooth(x * 3.0, y * 3.0, self.seed ^ 2) > 0.86;
        d + 0.75 * ragged < 1.0 && !gap
    }

    /// Is there leaf or wood at (u, v)?
    pub fn covers(&self, u: f32, v: f32) -> bool {
        let (x, y) = self.metres(u, v);
        self.crown(x, y) || self.trunk(x, y)
    }

    /// The point at (u, v).
    pub fn at(&self, u: f32, v: f32) -> Texel {
        let (x, y) = self.metres(u, v);
        if !self.crown(x, y) {
            let bark = 0.6 + 0.6 * smooth(x * 20.0, y * 4.0, self.seed ^ 3);
            return Texel::plain(scale([0.09, 0.07, 0.05], bark), label::VEGETATION);
        }
        let clusters = cloudy(x * self.grain, y * self.grain, self.seed ^ 4);
        let leaves = smooth(x * self.grain * 3.3, y * self.grain * 3.3, self.seed ^ 5);
        // Light comes from above: lower leaves are darker.
        let shade = 0.45 + 0.55 * (y / self.height);
        let k = (0.25 + 1.3 * clusters * clusters + 0.6 * (leaves - 0.4)).max(0.1);
        Texel::plain(scale(self.colour, 1.4 * k * shade), label::VEGETATION)
    }
}
