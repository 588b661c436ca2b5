//! From the outputs of the SSD head to detections: softmax, score threshold, the best of each class, suppression.

use super::matching::decode as decode_box;
use super::nms::suppress;
use super::priors::Priors;
use crate::annotation::{BBox, Detection};
use crate::error::{Code, Error, Result};

/// Limits of the decoding; the defaults are those of the released network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeConfig {
    /// Detections must score more than this.
    pub score: f32,
    /// Of each class at most this many boxes enter suppression, the best-scored ones.
    pub per_class: usize,
    /// Boxes whose IoU with a better one of their class exceeds this are removed.
    pub iou: f32,
    /// At most this many detections of an image over all classes, best first; `None` for no limit. (The released code has
    /// a last step that means to do this and does nothing.)
    pub per_image: Option<usize>,
    /// Scales of the centre and of the size offsets, as in matching.
    pub variances: [f64; 2],
    /// Clip boxes to the image after suppression and drop those outside it, as the ground truth is clipped. The released
    /// code does not clip.
    pub clip: bool,
}

impl Default for DecodeConfig {
    fn default() -> Self {
        DecodeConfig {
            score: 0.01,
            per_class: 200,
            iou: 0.45,
            per_image: None,
            variances: [0.1, 0.2],
            clip: true,
        }
    }
}

/// Edges stay within this many image sides, so that areas stay finite whatever the network says.
const FAR: f32 = 1e5;

/// Probabilities of one row of logits, maximum subtracted.
fn softmax(row: &[f32], out: &mut [f32]) {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    out.iter_mut()
        .zip(row)
        .for_each(|(o, &x)| *o = (x - top).exp());
    let sum: f32 = out.iter().sum();
    out.iter_mut().for_each(|o| *o /= sum);
}

/// Detections of one image, in pixels of an image of `size` (height, width), class by class, best first.
///
/// `loc` is (priors, L) with L >= 4, the first four values being the offsets; `conf` is (priors, 1 + classes) logits with
/// the background first. Equal scores keep the order of the priors.
///
/// Errors: lengths that do not fit the priors; an output that is not finite, with its prior.
pub fn decode(
    priors: &Priors,
    loc: &[f32],
    conf: &[f32],
    classes: usize,
    size: (usize, usize),
    config: &DecodeConfig,
) -> Result<Vec<Detection>> {
    let n = priors.len();
    let width = loc.len().checked_div(n).unwrap_or(0);
    if n == 0 || width < 4 || loc.len() != n * width || conf.len() != n * (classes + 1) {
        let message = format!(
            "{} location and {} class values for {n} priors and {classes} classes besides background",
            loc.len(),
            conf.len()
        );
        return Err(Error::new(Code::Shape, message)
            .help("the head and the priors must have the same levels"));
    }
    let mut scores = vec![0f32; conf.len()];
    for (i, (row, out)) in conf
        .chunks_exact(classes + 1)
        .zip(scores.chunks_exact_mut(classes + 1))
        .enumerate()
    {
        let offsets = &loc[i * width..i * width + 4];
        if let Some(bad) = row.iter().chain(offsets).find(|v| !v.is_finite()) {
            return Err(not_finite(*bad, i));
        }
        softmax(row, out);
    }
    let (h, w) = (size.0 as f32, size.1 as f32);
    let mut all = vec![];
    for class in 0..classes {
        let score = |i: usize| scores[i * (classes + 1) + class + 1];
        let mut best: Vec<usize> = (0..n).filter(|&i| score(i) > config.score).collect();
        best.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
        best.truncate(config.per_class);
        let boxes: Vec<BBox> = best
            .iter()
            .map(|&i| {
                let t: [f64; 4] = std::array::from_fn(|k| loc[i * width + k] as f64);
                let edges = decode_box(t, priors.boxes()[i], config.variances);
                let [x1, y1, x2, y2] = edges.map(|e| (e as f32).clamp(-FAR, FAR));
                BBox {
                    x1: x1 * w,
                    y1: y1 * h,
                    x2: x2 * w,
                    y2: y2 * h,
                }
            })
            .collect();
        for k in suppress(&boxes, config.iou) {
            all.extend(kept(class, score(best[k]), boxes[k], (h, w), config));
        }
    }
    limit(&mut all, config);
    Ok(all)
}

/// The detection that a box which stays becomes; `None` outside an image of `h` x `w` when boxes are clipped.
fn kept(
    class: usize,
    score: f32,
    mut b: BBox,
    (h, w): (f32, f32),
    config: &DecodeConfig,
) -> Option<Detection> {
    if config.clip {
        let (x, y) = (|v: f32| v.clamp(0.0, w), |v: f32| v.clamp(0.0, h));
        b = BBox {
            x1: x(b.x1),
            y1: y(b.y1),
            x2: x(b.x2),
            y2: y(b.y2),
        };
        if b.area() == 0.0 {
            return None;
        }
    }
    let bbox = b;
    Some(Detection { class, score, bbox })
}

/// Leaves the best detections of an image, if there is a limit.
fn limit(all: &mut Vec<Detection>, config: &DecodeConfig) {
    if let Some(limit) = config.per_image {
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all.truncate(limit);
    }
}

/// The error of a prior whose values are not numbers.
fn not_finite(bad: f32, prior: usize) -> Error {
    Error::new(Code::Argument, format!("the detection head gave {bad}"))
        .at(format!("prior {prior}"))
        .help("the network's weights or input are not finite")
}

#[path = "decode_device.rs"]
pub(crate) mod device;

pub use device::decode_on;

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
