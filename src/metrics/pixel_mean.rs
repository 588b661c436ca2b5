//! Averages over the known pixels of many images, under both rules that published code uses (systems.md 9.4).

use serde::{Deserialize, Serialize};

/// How an error of pixels is averaged. The figures differ where images have different numbers of known pixels, so every table names its
/// rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PixelAverage {
    /// Every known pixel of the set counts alike, or by the weight of its class.
    Pixels,
    /// The mean of each batch, weighted by its number of images (AutoMTL). Depends on how images fall into batches. A batch without a
    /// known pixel, for which the published code gives NaN, does not count.
    BatchMeans,
}

impl PixelAverage {
    /// Both rules.
    pub const ALL: [PixelAverage; 2] = [PixelAverage::Pixels, PixelAverage::BatchMeans];

    /// The name that tables use.
    pub fn name(self) -> &'static str {
        match self {
            PixelAverage::Pixels => "pixels",
            PixelAverage::BatchMeans => "batch-means",
        }
    }
}

/// A mean under both rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PixelMean {
    sum: f64,
    weight: f64,
    weighted: f64,
    images: u64,
}

impl PixelMean {
    /// Adds a batch of so many images: the sum over its known pixels, and their number, or the sum of their weights.
    pub fn add(&mut self, sum: f64, weight: f64, images: u64) {
        if weight > 0.0 {
            self.sum += sum;
            self.weight += weight;
            self.weighted += sum / weight * images as f64;
            self.images += images;
        }
    }

    /// The mean; `None` without a known pixel.
    pub fn get(&self, rule: PixelAverage) -> Option<f64> {
        (self.weight > 0.0).then(|| match rule {
            PixelAverage::Pixels => self.sum / self.weight,
            PixelAverage::BatchMeans => self.weighted / self.images as f64,
        })
    }

    /// Known pixels so far, or the sum of their weights.
    pub fn weight(&self) -> f64 {
        self.weight
    }
}
