//! Average precision of detections: protocols, checks of the input, the report.
//!
//! | protocol | match | curve | IoU | not counted |
//! |---|---|---|---|---|
//! | `mtnas-2020` | best-overlapping object only | all points | > 0.5, widths `x2 - x1 + 1` | scores <= 0.005; ignored objects are left out, what matches them is wrong |
//! | `voc10` | best-overlapping object only | all points | >= 0.5 | ignored objects and what matches them |
//! | `voc07` | best-overlapping object only | 11 points | >= 0.5 | ignored objects and what matches them |
//! | `coco` | best free object | 101 points | >= 0.50, 0.55 .. 0.95 | crowds; objects and boxes outside the area range |
//! | `kitti-r40`, `kitti-r11` | for each object, the best free detection | 40 (11) points | > 0.7 cars, > 0.5 others | see [`kitti`] |
//!
//! Sources: the evaluator released with MTNAS (2020), the PASCAL VOC development kit, pycocotools. VOC counts inclusive
//! pixel indices, so its `xmax - xmin + 1` is the `x2 - x1` of our boxes with half-open edges; the MTNAS evaluator adds 1 to
//! whatever it reads, so `mtnas-2020` adds it too. A constant shift of all coordinates changes nothing.

use serde::{Deserialize, Serialize};

use super::sets::{ClassSet, check};
use super::{coco, kitti, voc};
use crate::annotation::{Detection, Object};
use crate::error::{Code, Error, Result, nearest};

/// Rule by which detections are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// The evaluator released with MTNAS: strict IoU > 0.5, +1 widths, all-point interpolation, no ignored objects.
    #[serde(rename = "mtnas-2020")]
    Mtnas2020,
    /// PASCAL VOC since 2010: IoU >= 0.5, all-point interpolation.
    #[serde(rename = "voc10")]
    Voc10,
    /// PASCAL VOC 2007: IoU >= 0.5, 11-point interpolation.
    #[serde(rename = "voc07")]
    Voc07,
    /// COCO: mean over ten IoU thresholds, 101-point interpolation, at most 100 detections an image and class.
    #[serde(rename = "coco")]
    Coco,
    /// KITTI's official evaluation since October 2019: 40 recall points, three difficulties; the headline is moderate.
    #[serde(rename = "kitti-r40")]
    KittiR40,
    /// KITTI's official evaluation until then: 11 recall points.
    #[serde(rename = "kitti-r11")]
    KittiR11,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Protocol; 6] = [
        Protocol::Mtnas2020,
        Protocol::Voc10,
        Protocol::Voc07,
        Protocol::Coco,
        Protocol::KittiR40,
        Protocol::KittiR11,
    ];

    /// Does it want boxes in pixels of the pictures themselves, with the facts of KITTI labels?
    pub fn is_kitti(self) -> bool {
        matches!(self, Protocol::KittiR40 | Protocol::KittiR11)
    }

    /// The name that configurations and tables use.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Mtnas2020 => "mtnas-2020",
            Protocol::Voc10 => "voc10",
            Protocol::Voc07 => "voc07",
            Protocol::Coco => "coco",
            Protocol::KittiR40 => "kitti-r40",
            Protocol::KittiR11 => "kitti-r11",
        }
    }

    /// The protocol of that name. Errors: an unknown name, with the nearest known one.
    pub fn parse(name: &str) -> Result<Protocol> {
        if let Some(p) = Protocol::ALL.into_iter().find(|p| p.name() == name) {
            return Ok(p);
        }
        let names = Protocol::ALL.map(Protocol::name);
        let help = match nearest(name, names) {
            Some(n) => format!("did you mean `{n}`; known are {}", names.join(", ")),
            None => format!("known are {}", names.join(", ")),
        };
        Err(Error::new(
            Code::ConfigValue,
            format!("unknown detection protocol `{name}`"),
        )
        .help(help))
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One point of a precision-recall curve (raw, not the envelope).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PrPoint {
    /// Share of the objects that are found by detections of at least this score.
    pub recall: f64,
    /// Share of the detections of at least this score that are right.
    pub precision: f64,
    /// The score.
    pub score: f32,
}

/// Result for one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassAp {
    /// Name of the class.
    pub name: String,
    /// Objects that count.
    pub objects: usize,
    /// Objects that are set aside (crowd, difficult).
    pub ignored: usize,
    /// Detections that the protocol looks at (above its score threshold, within its limit per image).
    pub detections: usize,
    /// Average precision, the protocol's main figure; `None` without an object that counts.
    pub ap: Option<f64>,
    /// Average precision at the single IoU threshold 0.5.
    pub ap50: Option<f64>,
    /// Curve at IoU 0.5, one point for each true positive, at most [`CURVE_POINTS`], rising recall.
    pub curve: Vec<PrPoint>,
}

/// Average precision over the objects of one range of areas.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct AreaAp {
    /// Areas below 32 x 32 pixels.
    pub small: Option<f64>,
    /// Areas from 32 x 32 to 96 x 96 pixels.
    pub medium: Option<f64>,
    /// Areas above 96 x 96 pixels.
    pub large: Option<f64>,
}

/// The twelve figures of the COCO evaluator; each is `None` where no object counts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct CocoStats {
    /// Mean over IoU .50:.05:.95.
    pub ap: Option<f64>,
    /// At IoU 0.50.
    pub ap50: Option<f64>,
    /// At IoU 0.75.
    pub ap75: Option<f64>,
    /// Mean over IoU .50:.05:.95, by area of the object.
    pub ap_area: AreaAp,
    /// Average recall with at most 1 detection an image and class.
    pub ar1: Option<f64>,
    /// Average recall with at most 10.
    pub ar10: Option<f64>,
    /// Average recall with at most 100.
    pub ar100: Option<f64>,
    /// Average recall with at most 100, by area of the object.
    pub ar_area: AreaAp,
}

/// Result of one protocol over a set of images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApReport {
    /// The rule.
    pub protocol: Protocol,
    /// Number of images.
    pub images: usize,
    /// Mean of the classes' `ap` over the classes with at least one object that counts.
    pub map: Option<f64>,
    /// Mean of the classes' `ap50` over the same classes.
    pub map50: Option<f64>,
    /// One entry for each class, in the order of the class list.
    pub classes: Vec<ClassAp>,
    /// The twelve figures of `coco`; `None` under the other protocols.
    pub coco: Option<CocoStats>,
    /// The three difficulties of `kitti-r40` and `kitti-r11`, whose main figure is the moderate one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kitti: Option<kitti::KittiStats>,
}

/// Most points that a curve keeps; AP itself is computed from the whole curve.
pub const CURVE_POINTS: usize = 400;

/// Mean of what is there; `None` of nothing.
pub(super) fn mean(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0u64);
    for v in values.into_iter().flatten() {
        sum += v;
        n += 1;
    }
    (n > 0).then(|| sum / n as f64)
}

/// Scores detections against objects.
///
/// `detections[i]` and `objects[i]` belong to image i; boxes are in pixels of that image; `classes` names the classes.
/// Equal scores keep the order of images and, within one, of the list. `kitti-r40` and `kitti-r11` want boxes in pixels of the
/// pictures themselves and take all objects as fully visible; with the facts of labels: [`kitti::evaluate`].
///
/// Errors: lists of different lengths, a class outside `classes`, a score or an edge that is not finite, an inverted box.
pub fn evaluate<D, O, S>(
    protocol: Protocol,
    detections: &[D],
    objects: &[O],
    classes: &[S],
) -> Result<ApReport>
where
    D: AsRef<[Detection]>,
    O: AsRef<[Object]>,
    S: AsRef<str>,
{
    if protocol.is_kitti() {
        let truth: Vec<_> = (objects.iter())
            .map(|o| kitti::visible(o.as_ref()))
            .collect();
        return kitti::evaluate(protocol, detections, &truth, classes);
    }
    check(detections, objects, classes.len())?;
    let sets: Vec<ClassSet> = (0..classes.len())
        .map(|c| ClassSet::of(c, detections, objects))
        .collect();
    let names = classes.iter().map(|s| s.as_ref().to_string());
    let (classes, coco) = match protocol {
        Protocol::Coco => {
            let (classes, stats) = coco::evaluate(&sets, names);
            (classes, Some(stats))
        }
        _ => (
            sets.iter()
                .zip(names)
                .map(|(s, n)| voc::evaluate(protocol, s, n))
                .collect(),
            None,
        ),
    };
    Ok(ApReport {
        protocol,
        images: detections.len(),
        map: mean(classes.iter().map(|c| c.ap)),
        map50: mean(classes.iter().map(|c| c.ap50)),
        classes,
        coco,
        kitti: None,
    })
}

#[cfg(test)]
#[path = "ap_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "ap_reference_tests.rs"]
mod reference_tests;
