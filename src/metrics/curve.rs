//! Precision over recall of one class at one threshold.

use super::ap::{CURVE_POINTS, PrPoint};

/// What became of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    True,
    False,
    /// Matched an object that does not count: neither rewarded nor punished.
    Ignored,
}

/// Cumulated true and false positives of one class at one threshold, by falling score, ignored ones left out.
pub(super) struct Curve {
    pub tp: Vec<u64>,
    pub fp: Vec<u64>,
    pub score: Vec<f32>,
    pub objects: usize,
}

impl Curve {
    /// From verdicts by falling score.
    pub fn new(ranked: impl IntoIterator<Item = (f32, Verdict)>, objects: usize) -> Curve {
        let mut c = Curve {
            tp: vec![],
            fp: vec![],
            score: vec![],
            objects,
        };
        let (mut tp, mut fp) = (0, 0);
        for (score, verdict) in ranked {
            match verdict {
                Verdict::True => tp += 1,
                Verdict::False => fp += 1,
                Verdict::Ignored => continue,
            }
            c.tp.push(tp);
            c.fp.push(fp);
            c.score.push(score);
        }
        c
    }

    /// Precision of each point and, to its right, the best of itself and all later ones.
    pub fn envelope(&self) -> Vec<f64> {
        let mut p: Vec<f64> = self
            .tp
            .iter()
            .zip(&self.fp)
            .map(|(&t, &f)| t as f64 / (t + f) as f64)
            .collect();
        for i in (1..p.len()).rev() {
            p[i - 1] = p[i - 1].max(p[i]);
        }
        p
    }

    /// Points for the report: those where recall rises, thinned evenly, first and last kept.
    pub fn points(&self) -> Vec<PrPoint> {
        let rises: Vec<usize> = (0..self.tp.len())
            .filter(|&i| self.tp[i] > if i == 0 { 0 } else { self.tp[i - 1] })
            .collect();
        let keep = rises.len().min(CURVE_POINTS);
        (0..keep)
            .map(|k| {
                let i = if keep < 2 {
                    rises[k]
                } else {
                    rises[k * (rises.len() - 1) / (keep - 1)]
                };
                let (tp, fp) = (self.tp[i] as f64, self.fp[i] as f64);
                PrPoint {
                    recall: tp / self.objects as f64,
                    precision: tp / (tp + fp),
                    score: self.score[i],
                }
            })
            .collect()
    }
}
