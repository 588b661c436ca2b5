//! Angles between predicted and true normals (systems.md 9.3).

use serde::{Deserialize, Serialize};

use super::values::valid_pixels;
use crate::annotation::{NormalSpace, Quantity, ValueMap};
use crate::error::{Code, Error, Result};

/// Angles, in degrees, within which shares of pixels are reported.
pub const WITHIN: [f64; 3] = [11.25, 22.5, 30.0];

/// Classes of angles a degree, for the median: it is right to 0.0005 degrees, and memory does not grow with the set.
const PER_DEGREE: usize = 1000;

/// Angles of all valid pixels of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NormalErrors {
    space: NormalSpace,
    sum: f64,
    cosines: f64,
    pixels: u64,
    within: [u64; 3],
    /// Pixels by angle.
    counts: Vec<u64>,
}

impl NormalErrors {
    /// No angles yet; they are measured in `space`, whatever the maps are in. Angles in encoded space are far smaller: on NYUv2 a constant
    /// scores about 19 degrees instead of 50.
    pub fn new(space: NormalSpace) -> NormalErrors {
        NormalErrors {
            space,
            sum: 0.0,
            cosines: 0.0,
            pixels: 0,
            within: [0; 3],
            counts: vec![0; 180 * PER_DEGREE + 1],
        }
    }

    /// The space in which angles are measured.
    pub fn space(&self) -> NormalSpace {
        self.space
    }

    /// Adds one image. The prediction, of any length but in the space of the ground truth, has its three planes one after the other.
    ///
    /// # Errors
    /// `SizeMismatch`; `Argument` for a value that is not finite, with its pixel, and for ground truth that is not normals. Then
    /// nothing is added.
    pub fn add(&mut self, prediction: &[f32], truth: &ValueMap) -> Result<()> {
        let Quantity::Normals(given) = truth.quantity else {
            let text = format!("expected normals, got {}", truth.quantity.name());
            return Err(Error::new(Code::Argument, text));
        };
        let pixels = truth.valid.len();
        let mut found = vec![];
        valid_pixels(0, prediction, truth, |i| {
            let at = |v: &[f32]| [0, 1, 2].map(|c| v[c * pixels + i] as f64);
            let p = in_space(at(prediction), given, self.space);
            let t = in_space(at(&truth.data), given, self.space);
            found.push(cosine(p, t));
        })?;
        for cosine in found {
            let angle = cosine.acos().to_degrees();
            self.sum += angle;
            self.cosines += cosine;
            self.pixels += 1;
            for (n, limit) in self.within.iter_mut().zip(WITHIN) {
                *n += (angle <= limit) as u64;
            }
            self.counts[(angle * PER_DEGREE as f64) as usize] += 1;
        }
        Ok(())
    }

    fn mean_of(&self, sum: f64) -> Option<f64> {
        (self.pixels > 0).then(|| sum / self.pixels as f64)
    }

    /// Mean angle in degrees; `None` without a valid pixel.
    pub fn mean(&self) -> Option<f64> {
        self.mean_of(self.sum)
    }

    /// Median angle in degrees, of an even number of pixels the middle of the two; right to 0.0005 degrees.
    pub fn median(&self) -> Option<f64> {
        let at = |rank: u64| {
            let mut before = 0;
            let class = self.counts.iter().position(|&n| {
                before += n;
                before > rank
            });
            class.map(|c| (c as f64 + 0.5) / PER_DEGREE as f64)
        };
        let n = self.pixels;
        (n > 0).then(|| Some((at((n - 1) / 2)? + at(n / 2)?) / 2.0))?
    }

    /// Shares of pixels within 11.25, 22.5 and 30 degrees.
    pub fn within(&self) -> Option<[f64; 3]> {
        let n = self.pixels;
        (n > 0).then(|| self.within.map(|k| k as f64 / n as f64))
    }

    /// Mean cosine, which AutoMTL reports for Taskonomy.
    pub fn cosine(&self) -> Option<f64> {
        self.mean_of(self.cosines)
    }
}

fn length(v: [f64; 3]) -> f64 {
    v.iter().map(|c| c * c).sum::<f64>().sqrt()
}

/// A vector of the space `given` in the space `wanted`.
fn in_space(v: [f64; 3], given: NormalSpace, wanted: NormalSpace) -> [f64; 3] {
    match (given, wanted) {
        (NormalSpace::Encoded, NormalSpace::True) => v.map(|c| 2.0 * c - 1.0),
        // The code holds unit vectors; the length of a prediction says nothing.
        (NormalSpace::True, NormalSpace::Encoded) => {
            let n = length(v).max(1e-12);
            v.map(|c| (c / n + 1.0) / 2.0)
        }
        _ => v,
    }
}

/// Cosine of the angle of two vectors; 0 for one without length, as in the published code.
fn cosine(a: [f64; 3], b: [f64; 3]) -> f64 {
    let dot: f64 = (0..3).map(|c| a[c] * b[c]).sum();
    let lengths = length(a) * length(b);
    (dot / lengths.max(1e-12)).clamp(-1.0, 1.0)
}

#[cfg(test)]
#[path = "normals_tests.rs"]
mod tests;
