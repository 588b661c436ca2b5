//! Top-1 and top-5 accuracy.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};

/// Counts of images whose class is first, or among the first five.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopK {
    /// Images seen.
    pub images: u64,
    /// Images whose class has the highest score.
    pub first: u64,
    /// Images whose class is among the five highest scores.
    pub among_five: u64,
}

impl TopK {
    /// Adds a batch: `scores` is (images, classes) row-major (logits or probabilities), `labels` one class an image.
    /// Among equal scores the lower class index ranks first.
    /// Errors: lengths that do not fit, a label outside the classes, a NaN score; then nothing is added.
    pub fn add(&mut self, scores: &[f32], classes: usize, labels: &[usize]) -> Result<()> {
        if classes == 0 || scores.len() != classes * labels.len() {
            let message = format!(
                "{} scores for {} images of {classes} classes",
                scores.len(),
                labels.len()
            );
            return Err(Error::new(Code::Argument, message));
        }
        let mut new = *self;
        for (i, (row, &label)) in scores.chunks_exact(classes).zip(labels).enumerate() {
            if label >= classes {
                let message = format!("class {label} is outside the {classes} classes");
                return Err(
                    Error::new(Code::BadLabelId, message).at(format!("image {i} of the batch"))
                );
            }
            if let Some(c) = row.iter().position(|s| s.is_nan()) {
                return Err(
                    Error::new(Code::Argument, format!("score of class {c} is NaN"))
                        .at(format!("image {i} of the batch"))
                        .help("the network's outputs are not finite: check its weights and input"),
                );
            }
            let ahead = |(c, &s): (usize, &f32)| s > row[label] || (s == row[label] && c < label);
            let rank = row.iter().enumerate().filter(|&x| ahead(x)).count();
            new.images += 1;
            new.first += (rank == 0) as u64;
            new.among_five += (rank < 5) as u64;
        }
        *self = new;
        Ok(())
    }

    /// Share of images whose class ranks first; `None` without an image.
    pub fn top1(&self) -> Option<f64> {
        (self.images > 0).then(|| self.first as f64 / self.images as f64)
    }

    /// Share of images whose class is among the first five (always 1 with five classes or fewer); `None` without an image.
    pub fn top5(&self) -> Option<f64> {
        (self.images > 0).then(|| self.among_five as f64 / self.images as f64)
    }

    /// Adds the counts of another set.
    pub fn merge(&mut self, other: &TopK) {
        self.images += other.images;
        self.first += other.first;
        self.among_five += other.among_five;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_by_hand() {
        let mut k = TopK::default();
        assert_eq!((k.top1(), k.top5()), (None, None));
        let row = [0.1, 0.6, 0.5, 0.4, 0.3, 0.2];
        let six: Vec<f32> = std::iter::repeat_n(row, 3).flatten().collect();
        k.add(&six, 6, &[1, 5, 0]).unwrap(); // ranks 0, 4, 5
        assert_eq!((k.top1(), k.top5()), (Some(1.0 / 3.0), Some(2.0 / 3.0)));
        let mut twice = k;
        twice.merge(&k);
        assert_eq!((twice.images, twice.top1()), (6, k.top1()));
    }

    #[test]
    fn ties_go_to_the_lowest_index() {
        let mut k = TopK::default();
        k.add(&[0.0; 6], 6, &[0]).unwrap();
        k.add(&[0.0; 6], 6, &[1]).unwrap();
        k.add(&[0.0; 6], 6, &[5]).unwrap();
        assert_eq!((k.first, k.among_five), (1, 2));
    }

    #[test]
    fn bad_input_adds_nothing() {
        let mut k = TopK::default();
        assert_eq!(
            k.add(&[0.0; 4], 2, &[0, 2]).unwrap_err().code(),
            Code::BadLabelId
        );
        let e = k.add(&[0.0, 1.0, f32::NAN, 0.0], 2, &[0, 1]).unwrap_err();
        assert_eq!(e.place(), Some("image 1 of the batch"));
        assert!(k.add(&[0.0; 3], 2, &[0]).is_err() && k.add(&[], 0, &[]).is_err());
        assert_eq!(k, TopK::default());
    }
}
