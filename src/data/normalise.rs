//! Mean and standard deviation of the network input.

use crate::annotation::Image;
use crate::error::{Code, Error, Result};

/// Per-channel mean and standard deviation of R, G, B in 0 to 1. The same order in training and evaluation (4.4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalise {
    /// Subtracted.
    pub mean: [f32; 3],
    /// Divided by.
    pub std: [f32; 3],
}

impl Default for Normalise {
    /// ImageNet's.
    fn default() -> Self {
        Normalise {
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }
}

impl Normalise {
    /// From configured values.
    ///
    /// # Errors
    /// As [`Normalise::check`].
    pub fn new(mean: [f64; 3], std: [f64; 3]) -> Result<Normalise> {
        let n = Normalise {
            mean: mean.map(|v| v as f32),
            std: std.map(|v| v as f32),
        };
        n.check().map(|()| n)
    }

    /// # Errors
    /// `ConfigValue` for a standard deviation that is not positive or a value that is not finite.
    pub fn check(&self) -> Result<()> {
        let finite = self.mean.iter().chain(&self.std).all(|v| v.is_finite());
        if finite && self.std.iter().all(|&s| s > 0.0) {
            return Ok(());
        }
        let text = format!(
            "mean {:?} and std {:?} must be finite, std positive",
            self.mean, self.std
        );
        Err(Error::new(Code::ConfigValue, text)
            .help("they are shares of 255, for example 0.485 and 0.229"))
    }

    /// The inverse for pictures: a `(3, H, W)` slice back to 8-bit RGB.
    pub fn to_image(&self, chw: &[f32], height: usize, width: usize) -> Image {
        let plane = height * width;
        let byte = |c: usize, i: usize| {
            ((chw[c * plane + i] * self.std[c] + self.mean[c]) * 255.0).round()
        };
        let data = (0..plane)
            .flat_map(|i| [byte(0, i) as u8, byte(1, i) as u8, byte(2, i) as u8])
            .collect();
        Image {
            height,
            width,
            data,
        }
    }
}
