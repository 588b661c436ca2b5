//! Intersection over union from a confusion matrix over the whole set of images.

use serde::{Deserialize, Serialize};

use crate::annotation::{IGNORE, LabelMap};
use crate::error::{Code, Error, Result};

/// Which classes an average runs over. The figures differ, so every table names its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Average {
    /// Classes with at least one pixel in the ground truth (the evaluator released with MTNAS).
    PresentInGroundTruth,
    /// Classes with at least one right pixel (AutoMTL's code; optimistic, it forgets classes that are never found).
    NonZeroDiagonal,
    /// All classes; one that is neither in the ground truth nor predicted counts 0.
    AllClasses,
}

impl Average {
    /// All rules.
    pub const ALL: [Average; 3] = [
        Average::PresentInGroundTruth,
        Average::NonZeroDiagonal,
        Average::AllClasses,
    ];

    /// The name that tables use.
    pub fn name(self) -> &'static str {
        match self {
            Average::PresentInGroundTruth => "present-in-ground-truth",
            Average::NonZeroDiagonal => "non-zero-diagonal",
            Average::AllClasses => "all-classes",
        }
    }
}

/// Counts of (true class, predicted class) pairs; pixels whose true class is 255 are not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    /// An empty matrix. Errors: no class at all, or more than 255.
    pub fn new(classes: usize) -> Result<Confusion> {
        if classes == 0 || classes > IGNORE as usize {
            let message = format!("{classes} classes: labels are bytes and {IGNORE} means ignore");
            return Err(Error::new(Code::Argument, message).help("use 1 to 255 classes"));
        }
        Ok(Confusion {
            classes,
            counts: vec![0; classes * classes],
        })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Pixels of class `truth` that were predicted as `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.classes + predicted]
    }

    /// Adds one image. Errors: maps of different sizes, a class id outside the matrix (ground truth: other than 255;
    /// prediction: at a counted pixel); then nothing is added.
    pub fn add(&mut self, predicted: &LabelMap, truth: &LabelMap) -> Result<()> {
        let size = |m: &LabelMap| (m.height, m.width, m.data.len());
        let (h, w, n) = size(truth);
        if size(predicted) != size(truth) || n != h * w {
            let message = format!(
                "prediction of {}x{} against labels of {}x{} (height x width)",
                predicted.height, predicted.width, h, w
            );
            return Err(Error::new(Code::SizeMismatch, message)
                .help("resize the prediction to the labels' size first"));
        }
        let bad = |what: &str, id: u8, i: usize| {
            Error::new(
                Code::BadLabelId,
                format!("{what} {id} is outside the {} classes", self.classes),
            )
            .at(format!("pixel ({}, {})", i % w, i / w))
        };
        for (i, (&p, &t)) in predicted.data.iter().zip(&truth.data).enumerate() {
            if t == IGNORE {
                continue;
            }
            if t as usize >= self.classes {
                return Err(bad("label id", t, i)
                    .help("map raw ids to training ids first; 255 means ignore"));
            }
            if p as usize >= self.classes {
                return Err(bad("predicted id", p, i));
            }
        }
        for (&p, &t) in predicted.data.iter().zip(&truth.data) {
            if t != IGNORE {
                self.counts[t as usize * self.classes + p as usize] += 1;
            }
        }
        Ok(())
    }

    /// The rows, one for each true class.
    pub fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks_exact(self.classes)
    }

    /// Adds the counts of another matrix. Errors: another number of classes.
    pub fn merge(&mut self, other: &Confusion) -> Result<()> {
        if other.classes != self.classes {
            let message = format!(
                "confusion matrices of {} and {} classes",
                self.classes, other.classes
            );
            return Err(Error::new(Code::Argument, message));
        }
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(a, b)| *a += b);
        Ok(())
    }

    fn truth(&self, class: usize) -> u64 {
        (0..self.classes).map(|p| self.count(class, p)).sum()
    }

    fn predicted(&self, class: usize) -> u64 {
        (0..self.classes).map(|t| self.count(t, class)).sum()
    }

    /// Intersection over union of a class; `None` when it is neither in the ground truth nor predicted.
    pub fn iou(&self, class: usize) -> Option<f64> {
        let right = self.count(class, class);
        let union = self.truth(class) + self.predicted(class) - right;
        (union > 0).then(|| right as f64 / union as f64)
    }

    /// Mean intersection over union; `None` when the rule leaves no class or no pixel was counted.
    pub fn miou(&self, rule: Average) -> Option<f64> {
        if self.pixels() == 0 {
            return None;
        }
        super::ap::mean((0..self.classes).map(|c| match rule {
            Average::PresentInGroundTruth => self.iou(c).filter(|_| self.truth(c) > 0),
            Average::NonZeroDiagonal => self.iou(c).filter(|_| self.count(c, c) > 0),
            Average::AllClasses => Some(self.iou(c).unwrap_or(0.0)),
        }))
    }

    /// Number of counted pixels.
    pub fn pixels(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Share of right pixels; `None` without a counted pixel.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        let right: u64 = (0..self.classes).map(|c| self.count(c, c)).sum();
        (self.pixels() > 0).then(|| right as f64 / self.pixels() as f64)
    }
}

#[cfg(test)]
#[path = "segmentation_tests.rs"]
mod tests;
