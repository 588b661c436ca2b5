//! Errors of predicted values: depth (systems.md 9.4), keypoints and edges (6.5). Pixels that are not valid are not looked at.

use serde::{Deserialize, Serialize};

use super::pixel_mean::{PixelAverage, PixelMean};
use crate::annotation::ValueMap;
use crate::error::{Code, Error, Result};

/// Ground truth of at most this has no relative error (AutoMTL counts such depth as unknown).
pub const LEAST_DEPTH: f32 = 3e-5;

/// Checks a prediction, planes as in its ground truth, and gives every valid pixel to `each`.
pub(super) fn valid_pixels(
    image: usize,
    prediction: &[f32],
    truth: &ValueMap,
    mut each: impl FnMut(usize),
) -> Result<()> {
    let pixels = truth.height * truth.width;
    let planes = truth.quantity.planes();
    let sized = truth.data.len() == planes * pixels && truth.valid.len() == pixels;
    if prediction.len() != planes * pixels || !sized {
        let text = format!(
            "{} predicted values for {} of {}x{} (height x width)",
            prediction.len(),
            truth.quantity.name(),
            truth.height,
            truth.width
        );
        return Err(Error::new(Code::SizeMismatch, text)
            .at(format!("image {image} of the batch"))
            .help("resize the prediction to the size of the ground truth first"));
    }
    for i in (0..pixels).filter(|&i| truth.valid[i]) {
        for at in (0..planes).map(|p| p * pixels + i) {
            let what = match (prediction[at].is_finite(), truth.data[at].is_finite()) {
                (true, true) => continue,
                (false, _) => "prediction",
                _ => "ground truth",
            };
            let (x, y) = (i % truth.width, i / truth.width);
            let text = format!("a {what} of {} is not finite", truth.quantity.name());
            return Err(Error::new(Code::Argument, text)
                .at(format!("image {image} of the batch, pixel ({x}, {y})")));
        }
        each(i);
    }
    Ok(())
}

/// Mean absolute error of keypoints or edges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct AbsoluteError {
    mean: PixelMean,
}

impl AbsoluteError {
    /// Adds a batch of predictions with their ground truth.
    ///
    /// # Errors
    /// `SizeMismatch`; `Argument` for a value that is not finite, with its pixel. Then nothing is added.
    pub fn add(&mut self, batch: &[(&[f32], &ValueMap)]) -> Result<()> {
        let (mut sum, mut count) = (0.0, 0u64);
        for (image, &(p, t)) in batch.iter().enumerate() {
            let pixels = t.valid.len();
            valid_pixels(image, p, t, |i| {
                let planes = (0..t.quantity.planes()).map(|k| k * pixels + i);
                sum += planes
                    .map(|at| (p[at] as f64 - t.data[at] as f64).abs())
                    .sum::<f64>();
                count += t.quantity.planes() as u64;
            })?;
        }
        self.mean.add(sum, count as f64, batch.len() as u64);
        Ok(())
    }

    /// The error; `None` without a valid pixel.
    pub fn get(&self, rule: PixelAverage) -> Option<f64> {
        self.mean.get(rule)
    }
}

/// Errors of depth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DepthErrors {
    abs: PixelMean,
    rel: PixelMean,
    /// Pixels within 1.25, 1.25^2 and 1.25^3.
    near: [u64; 3],
}

impl DepthErrors {
    /// Adds a batch of predictions with their ground truth.
    ///
    /// # Errors
    /// As [`AbsoluteError::add`].
    pub fn add(&mut self, batch: &[(&[f32], &ValueMap)]) -> Result<()> {
        let (mut abs, mut all) = (0.0, 0u64);
        let (mut rel, mut positive) = (0.0, 0u64);
        let mut near = [0; 3];
        for (image, &(p, t)) in batch.iter().enumerate() {
            if t.quantity.planes() != 1 {
                let text = format!("expected depth, got {}", t.quantity.name());
                return Err(Error::new(Code::Argument, text));
            }
            valid_pixels(image, p, t, |i| {
                let (p, g) = (p[i] as f64, t.data[i] as f64);
                let error = (p - g).abs();
                abs += error;
                all += 1;
                if t.data[i] > LEAST_DEPTH {
                    rel += error / g;
                    positive += 1;
                    // A prediction that is not positive fails; published code counts a negative ratio as within.
                    let ratio = if p > 0.0 {
                        (p / g).max(g / p)
                    } else {
                        f64::INFINITY
                    };
                    for (k, n) in near.iter_mut().enumerate() {
                        *n += (ratio < 1.25f64.powi(k as i32 + 1)) as u64;
                    }
                }
            })?;
        }
        self.abs.add(abs, all as f64, batch.len() as u64);
        self.rel.add(rel, positive as f64, batch.len() as u64);
        (0..3).for_each(|k| self.near[k] += near[k]);
        Ok(())
    }

    /// Mean of `|p - g|`, in the unit of the ground truth; `None` without a valid pixel.
    pub fn abs(&self, rule: PixelAverage) -> Option<f64> {
        self.abs.get(rule)
    }

    /// Mean of `|p - g| / g`; `None` without a pixel of positive ground truth.
    pub fn rel(&self, rule: PixelAverage) -> Option<f64> {
        self.rel.get(rule)
    }

    /// Shares of pixels with `max(p / g, g / p)` below 1.25, 1.25^2 and 1.25^3, over all pixels of positive ground truth; a prediction of at
    /// most 0 is never within.
    pub fn within(&self) -> Option<[f64; 3]> {
        let n = self.rel.weight();
        (n > 0.0).then(|| self.near.map(|k| k as f64 / n))
    }
}

#[cfg(test)]
#[path = "values_tests.rs"]
pub(super) mod tests;
