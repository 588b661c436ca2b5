//! Matching of ground truth to priors, and the offsets that the location head learns.
//!
//! Both sides are clamped to the image for the overlap (IoU). Every object claims the prior that it overlaps most, at any
//! IoU, a later object taking it from an earlier one; every other prior takes the object that it overlaps most if IoU >= 0.5;
//! the rest is background. Ties go to the lowest index. The clamped object is encoded against the unclamped prior:
//! (centre difference / prior size / 0.1, ln(size / prior size) / 0.2). All in f64: which prior is whose does not hang on rounding,
//! and an f64 search has f64 targets.

use super::priors::Priors;
use crate::annotation::{BBox, Object};
use crate::error::{Code, Error, Result};

/// Thresholds and scales of the matching.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatchConfig {
    /// A prior of at least this IoU with an object is positive.
    pub positive: f64,
    /// A background prior of which at least this share lies in an ignored object is neither positive nor negative. (Ours:
    /// the paper's data have no ignored objects.)
    pub ignore: f64,
    /// Scales of the centre and of the size offsets.
    pub variances: [f64; 2],
}

impl Default for MatchConfig {
    fn default() -> Self {
        MatchConfig {
            positive: 0.5,
            ignore: 0.5,
            variances: [0.1, 0.2],
        }
    }
}

/// Label of a prior that no loss looks at.
pub const NEITHER: i32 = -1;

/// What each prior of one image shall predict.
#[derive(Debug, Clone, PartialEq)]
pub struct Matched {
    /// 0 = background, 1 + class of the object, or [`NEITHER`]; one for each prior.
    pub labels: Vec<i32>,
    /// Four offsets a prior (centre x, centre y, width, height), 0 where the label is not positive.
    pub offsets: Vec<f64>,
}

impl Matched {
    /// Number of positive priors.
    pub fn positives(&self) -> usize {
        self.labels.iter().filter(|&&l| l > 0).count()
    }
}

/// A box relative to the image, edges x1 y1 x2 y2.
type Edges = [f64; 4];

/// Offsets of box `g` (edges, relative) against prior `p` (centre and size, relative).
pub fn encode(g: Edges, p: [f64; 4], variances: [f64; 2]) -> [f64; 4] {
    [
        ((g[0] + g[2]) / 2.0 - p[0]) / (variances[0] * p[2]),
        ((g[1] + g[3]) / 2.0 - p[1]) / (variances[0] * p[3]),
        ((g[2] - g[0]) / p[2]).ln() / variances[1],
        ((g[3] - g[1]) / p[3]).ln() / variances[1],
    ]
}

/// Largest size offset, times its variance, that [`decode`] follows: a box 22,000 times its prior is nowhere near an image,
/// and the exponential stays finite.
const MAX_LOG_SIZE: f64 = 10.0;

/// The inverse of [`encode`]: edges of the box that offsets `t` mean at prior `p`.
pub fn decode(t: [f64; 4], p: [f64; 4], variances: [f64; 2]) -> Edges {
    let (cx, cy) = (
        p[0] + t[0] * variances[0] * p[2],
        p[1] + t[1] * variances[0] * p[3],
    );
    let w = p[2] * (t[2] * variances[1]).min(MAX_LOG_SIZE).exp();
    let h = p[3] * (t[3] * variances[1]).min(MAX_LOG_SIZE).exp();
    [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0]
}

/// Clamps a box (pixels of an image of `size`) to the image, in relative edges, widened about its centre to one pixel of
/// the network's `input` where it is thinner: the logarithm of its size must exist.
fn relative(b: &BBox, size: (usize, usize), input: (usize, usize)) -> Edges {
    let axis = |lo: f32, hi: f32, side: usize, pixels: usize| {
        let (lo, hi) = (
            (lo as f64 / side as f64).clamp(0.0, 1.0),
            (hi as f64 / side as f64).clamp(0.0, 1.0),
        );
        let pixel = 1.0 / pixels as f64;
        if hi - lo >= pixel {
            return (lo, hi);
        }
        let lo = ((lo + hi - pixel) / 2.0).clamp(0.0, 1.0 - pixel);
        (lo, lo + pixel)
    };
    let (x1, x2) = axis(b.x1, b.x2, size.1, input.1);
    let (y1, y2) = axis(b.y1, b.y2, size.0, input.0);
    [x1, y1, x2, y2]
}

fn check(objects: &[Object], size: (usize, usize), classes: usize) -> Result<()> {
    if size.0 == 0 || size.1 == 0 {
        return Err(Error::new(
            Code::BadImage,
            format!("an image of {}x{} pixels", size.0, size.1),
        ));
    }
    for (k, o) in objects.iter().enumerate() {
        let b = o.bbox;
        let place = format!("object {k}");
        if o.class >= classes && !o.ignore {
            let message = format!("class {} is outside the {classes} classes", o.class);
            return Err(Error::new(Code::BadLabelId, message).at(place));
        }
        let finite = [b.x1, b.y1, b.x2, b.y2].iter().all(|v| v.is_finite());
        let inside = b.x2 >= 0.0 && b.y2 >= 0.0 && b.x1 <= size.1 as f32 && b.y1 <= size.0 as f32;
        if !finite || b.x1 > b.x2 || b.y1 > b.y2 || !inside {
            let message = format!(
                "box ({}, {}, {}, {}) is not finite, inverted, or outside its image of {}x{} (height x width)",
                b.x1, b.y1, b.x2, b.y2, size.0, size.1
            );
            return Err(Error::new(Code::BadBox, message)
                .at(place)
                .help("run `mtnas data check` on the data set"));
        }
    }
    Ok(())
}

/// Priors with what every image needs of them: clamped edges in columns, so that the overlap loop vectorises.
#[derive(Debug, Clone)]
pub struct Matcher {
    priors: Priors,
    edges: [Vec<f64>; 4],
    config: MatchConfig,
}

impl Matcher {
    /// Prepares `priors`.
    pub fn new(priors: Priors, config: MatchConfig) -> Matcher {
        let column = |f: &dyn Fn(&[f64; 4]) -> f64| {
            priors
                .boxes()
                .iter()
                .map(|b| f(b).clamp(0.0, 1.0))
                .collect()
        };
        let edges = [
            column(&|b| b[0] - b[2] / 2.0),
            column(&|b| b[1] - b[3] / 2.0),
            column(&|b| b[0] + b[2] / 2.0),
            column(&|b| b[1] + b[3] / 2.0),
        ];
        Matcher {
            priors,
            edges,
            config,
        }
    }

    /// The priors.
    pub fn priors(&self) -> &Priors {
        &self.priors
    }

    /// The configuration.
    pub fn config(&self) -> &MatchConfig {
        &self.config
    }

    /// Intersection with box `g` and area of each prior, both clamped.
    fn overlaps<'a>(&'a self, g: &'a Edges) -> impl Iterator<Item = (f64, f64)> + 'a {
        let [x1, y1, x2, y2] = &self.edges;
        (0..self.priors.len()).map(move |i| {
            let w = (x2[i].min(g[2]) - x1[i].max(g[0])).max(0.0);
            let h = (y2[i].min(g[3]) - y1[i].max(g[1])).max(0.0);
            (w * h, (x2[i] - x1[i]) * (y2[i] - y1[i]))
        })
    }

    /// Targets of one image: `objects` with boxes in pixels of an image of `size` (height, width), `classes` classes.
    ///
    /// Errors: an empty image; a class outside the classes; a box that is not finite, inverted or outside its image.
    pub fn targets(
        &self,
        objects: &[Object],
        size: (usize, usize),
        classes: usize,
    ) -> Result<Matched> {
        check(objects, size, classes)?;
        let n = self.priors.len();
        let boxes: Vec<Edges> = objects
            .iter()
            .map(|o| relative(&o.bbox, size, self.priors.input()))
            .collect();
        let mut best = vec![(0f64, usize::MAX); n];
        let mut claims = vec![];
        for (k, g) in boxes
            .iter()
            .enumerate()
            .filter(|(k, _)| !objects[*k].ignore)
        {
            let area = (g[2] - g[0]) * (g[3] - g[1]);
            let (mut top, mut claim) = (0f64, None);
            for (i, (common, prior)) in self.overlaps(g).enumerate() {
                let iou = common / (area + prior - common);
                if iou > top {
                    (top, claim) = (iou, Some(i));
                }
                if iou > best[i].0 {
                    best[i] = (iou, k);
                }
            }
            claims.extend(claim.map(|i| (i, k)));
        }
        for (i, k) in claims {
            best[i] = (f64::INFINITY, k);
        }
        let mut out = Matched {
            labels: vec![0; n],
            offsets: vec![0.0; 4 * n],
        };
        for (i, &(iou, k)) in best.iter().enumerate() {
            if k != usize::MAX && iou >= self.config.positive {
                out.labels[i] = 1 + objects[k].class as i32;
                let t = encode(boxes[k], self.priors.boxes()[i], self.config.variances);
                out.offsets[4 * i..4 * i + 4].copy_from_slice(&t);
            }
        }
        for (_, g) in boxes.iter().enumerate().filter(|(k, _)| objects[*k].ignore) {
            for (i, (common, area)) in self.overlaps(g).enumerate() {
                if out.labels[i] == 0 && common > 0.0 && common >= self.config.ignore * area {
                    out.labels[i] = NEITHER;
                }
            }
        }
        Ok(out)
    }
}

#[path = "matching_device.rs"]
pub(crate) mod device;

pub use device::MatchedOn;

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
