//! Mean cross entropy of scores for each pixel, every class with its weight: the figure "err" of AutoMTL on Taskonomy (systems.md 6.5).

use super::figure::{Figure, Unit};
use super::pixel_mean::{PixelAverage, PixelMean};
use crate::annotation::{IGNORE, LabelMap};
use crate::error::{Code, Error, Result};

/// The name of the figure, its averaging rule behind it.
const NAME: &str = "cross-entropy";

/// The mean over pixels of `-w[t] ln softmax(scores)[t]`, `t` the true class, divided by the mean of `w[t]` (`torch.nn.CrossEntropyLoss` with
/// weights); pixels whose true class is 255 do not count. Images come one by one; [`PixelCrossEntropy::end_batch`] closes a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelCrossEntropy {
    weights: Vec<f64>,
    mean: PixelMean,
    /// Loss, weight and images of the batch that has not ended.
    open: (f64, f64, u64),
}

impl PixelCrossEntropy {
    /// With a weight for each class.
    pub fn new(weights: Vec<f64>) -> PixelCrossEntropy {
        PixelCrossEntropy {
            weights,
            mean: PixelMean::default(),
            open: (0.0, 0.0, 0),
        }
    }

    /// Adds an image: `scores` is (classes, height, width) of `size`, before any softmax; a pixel of the truth at (y, x) takes the scores at
    /// (floor(y h / height), floor(x w / width)), as if they were enlarged to it (systems.md 6.4).
    ///
    /// # Errors
    /// `SizeMismatch`; `BadLabelId` for a true class without a weight; `Argument` for a score that is not finite at a pixel that counts. Then
    /// nothing is added.
    pub fn add(&mut self, scores: &[f32], size: (usize, usize), truth: &LabelMap) -> Result<()> {
        let (classes, pixels) = (self.weights.len(), size.0 * size.1);
        let whole = truth.data.len() == truth.height * truth.width;
        if scores.len() != classes * pixels || pixels == 0 || !whole {
            let text = format!(
                "{} scores for {classes} classes of {}x{} pixels and {} labels of {}x{} (height x width)",
                scores.len(),
                size.0,
                size.1,
                truth.data.len(),
                truth.height,
                truth.width
            );
            return Err(Error::new(Code::SizeMismatch, text));
        }
        let (mut sum, mut weight) = (0.0, 0.0);
        for (i, &t) in truth.data.iter().enumerate().filter(|p| *p.1 != IGNORE) {
            let (x, y) = (i % truth.width, i / truth.width);
            let at = || format!("pixel ({x}, {y})");
            let Some(w) = self.weights.get(t as usize) else {
                let text = format!("label id {t} is outside the {classes} classes");
                return Err(Error::new(Code::BadLabelId, text).at(at()));
            };
            let own = y * size.0 / truth.height * size.1 + x * size.1 / truth.width;
            let score = |c: usize| scores[c * pixels + own] as f64;
            if let Some(c) = (0..classes).find(|&c| !score(c).is_finite()) {
                let text = format!("the score of class {c} is {}", score(c));
                return Err(Error::new(Code::Argument, text).at(at()));
            }
            let top = (0..classes).map(score).fold(f64::NEG_INFINITY, f64::max);
            let all: f64 = (0..classes).map(|c| (score(c) - top).exp()).sum();
            sum += w * (all.ln() + top - score(t as usize));
            weight += w;
        }
        let open = &mut self.open;
        *open = (open.0 + sum, open.1 + weight, open.2 + 1);
        Ok(())
    }

    /// The images added since the last call were a batch.
    pub fn end_batch(&mut self) {
        let (sum, weight, images) = std::mem::take(&mut self.open);
        self.mean.add(sum, weight, images);
    }

    /// The mean; images of a batch that has not ended count as one. `None` if no pixel has a weight.
    pub fn get(&self, rule: PixelAverage) -> Option<f64> {
        let mut all = self.clone();
        all.end_batch();
        all.mean.get(rule)
    }

    /// The figure under both rules, that of `main` first; relative changes look at it alone.
    pub fn figures(&self, main: PixelAverage) -> Vec<Figure> {
        let mut rules = PixelAverage::ALL;
        rules.sort_by_key(|r| *r != main);
        let figure = |rule: PixelAverage| {
            let name = format!("{NAME} ({})", rule.name());
            let f = Figure::error(name, self.get(rule), Unit::Plain);
            if rule == main { f } else { f.beside() }
        };
        rules.into_iter().map(figure).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use PixelAverage::{BatchMeans, Pixels};

    fn map(width: usize, data: &[u8]) -> LabelMap {
        LabelMap {
            height: data.len() / width,
            width,
            data: data.to_vec(),
        }
    }

    fn near(a: Option<f64>, b: f64) {
        assert!((a.unwrap() - b).abs() < 1e-12, "{a:?}, not {b}");
    }

    /// Two classes with weights 1 and 3. First batch: pixels of class 0 with scores (0, 0), of class 1 with (0, ln 3), one ignored:
    /// ln 2 and 3 ln(4/3), weights 4. Second batch of two images: one pixel of class 1 with (ln 3, 0): 3 ln 4, weight 3; none that counts.
    #[test]
    fn both_averages_by_hand() {
        let l3 = 3f32.ln();
        let mut m = PixelCrossEntropy::new(vec![1.0, 3.0]);
        assert_eq!(m.get(Pixels), None);
        let scores = [0.0, 0.0, 9.0, 0.0, l3, -9.0];
        m.add(&scores, (1, 3), &map(3, &[0, 1, 255])).unwrap();
        let first = 2f64.ln() + 3.0 * (4.0 / 3.0f64).ln();
        let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-6, "{a:?}, {b}");
        close(m.get(Pixels), first / 4.0);
        m.end_batch();
        m.add(&[l3, 0.0], (1, 1), &map(1, &[1])).unwrap();
        m.add(&[0.0, 0.0], (1, 1), &map(1, &[255])).unwrap();
        let second = 3.0 * 4f64.ln();
        close(m.get(Pixels), (first + second) / 7.0);
        close(m.get(BatchMeans), (first / 4.0 + 2.0 * second / 3.0) / 3.0);
        let figures = m.figures(BatchMeans);
        let told: Vec<(&str, bool)> = figures
            .iter()
            .map(|f| (&f.name[..], f.compared && !f.higher))
            .collect();
        let names = ["cross-entropy (batch-means)", "cross-entropy (pixels)"];
        assert_eq!(told, [(names[0], true), (names[1], false)]);
    }

    /// Scores of any size give a finite figure, the same for scores that are all moved by as much.
    #[test]
    fn large_scores_do_not_overflow() {
        let mut m = PixelCrossEntropy::new(vec![1.0; 2]);
        m.add(&[1000.0, -1000.0], (1, 1), &map(1, &[1])).unwrap();
        near(m.get(Pixels), 2000.0);
    }

    /// Scores of 1x2 pixels beside labels of 2x4: each stands for a square of four.
    #[test]
    fn scores_of_another_size_are_enlarged() {
        let scores = [1.0, 2.0, 3.0, 4.0];
        let wide = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0];
        let wide = [wide, wide.map(|v| v + 2.0)].concat();
        let truth = map(4, &[0, 1, 1, 0, 0, 0, 1, 1]);
        let of = |scores: &[f32], size| {
            let mut m = PixelCrossEntropy::new(vec![1.0, 2.0]);
            m.add(scores, size, &truth).unwrap();
            m.get(Pixels).unwrap()
        };
        assert_eq!(of(&scores, (1, 2)), of(&wide, (2, 4)));
    }

    #[test]
    fn misfits_are_errors_and_leave_nothing() {
        let mut m = PixelCrossEntropy::new(vec![1.0; 2]);
        let mut code = |scores: &[f32], data: &[u8]| {
            let e = m.add(scores, (1, 2), &map(2, data)).unwrap_err();
            (e.code(), e.place().map(str::to_string))
        };
        assert_eq!(code(&[0.0; 3], &[0, 1]).0, Code::SizeMismatch);
        let at = Some("pixel (1, 0)".to_string());
        assert_eq!(code(&[0.0; 4], &[0, 2]), (Code::BadLabelId, at.clone()));
        let bad = [0.0, f32::NAN, 0.0, 0.0];
        assert_eq!(code(&bad, &[0, 1]), (Code::Argument, at));
        assert_eq!(m, PixelCrossEntropy::new(vec![1.0; 2]));
    }
}
