//! The official 2-D object protocol of KITTI (`evaluate_object` of its development kit, systems.md 8.3).
//!
//! A class is scored at three difficulties, which say which objects count:
//!
//! | | height of the box | occluded | truncated |
//! |---|---|---|---|
//! | easy | 40 pixels or more | 0 | up to 0.15 |
//! | moderate | 25 | up to 1 | up to 0.30 |
//! | hard | 25 | up to 2 | up to 0.50 |
//!
//! Objects of the class that do not count, and neighbour classes (`Van` for cars, `Person_sitting` for pedestrians), neither help nor
//! hurt; so do detections lower than the height limit, whatever they match, and detections whose area lies in `DontCare` regions by
//! more than the IoU limit (intersection over the detection's own area). IoU must exceed 0.7 for cars, 0.5 for all others.
//!
//! Two passes. The first gives every object its best-scored detection; the scores of these matches, thinned so that recall rises by
//! 1/40, are at most 41 thresholds. The second counts at each threshold, now with the best-overlapping detection for each object, and
//! precision becomes the best at this or a later threshold. `kitti-r40` is the mean over places 1 to 40 (official since October 2019),
//! `kitti-r11` over 0, 4 .. 40. A place without a threshold counts 0, so that even perfect detections of fewer than 40 objects stay
//! below 1, as in the original.
//!
//! Kept as the original has them: objects and detections go in the order of their lists; the height limit is asked before the class, so
//! a low detection of another class can be what an object finds. Copies of the kit differ in whether an object of exactly the height
//! limit counts; here it does, as the description of the benchmark says.

use serde::{Deserialize, Serialize};

use super::ap::{ApReport, ClassAp, PrPoint, Protocol, mean};
use super::sets::{check, edges};
use crate::annotation::{Detection, KittiRole, KittiTruth, Object};
use crate::error::Result;

/// Places of the precision curve.
const PLACES: usize = 41;

/// Which objects count.
struct Limits {
    height: f64,
    occluded: i32,
    truncated: f32,
}

/// Easy, moderate, hard.
const DIFFICULTIES: [Limits; 3] = [
    Limits {
        height: 40.0,
        occluded: 0,
        truncated: 0.15,
    },
    Limits {
        height: 25.0,
        occluded: 1,
        truncated: 0.3,
    },
    Limits {
        height: 25.0,
        occluded: 2,
        truncated: 0.5,
    },
];

/// AP of each class at the three difficulties; `None` where no object counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct KittiStats {
    /// Height 40 pixels or more, not occluded, truncated by at most 0.15.
    pub easy: Vec<Option<f64>>,
    /// Height 25 or more, at most partly occluded, truncated by at most 0.30. The figure by which KITTI ranks.
    pub moderate: Vec<Option<f64>>,
    /// Height 25 or more, at most largely occluded, truncated by at most 0.50.
    pub hard: Vec<Option<f64>>,
}

/// IoU that a match must exceed: 0.7 for the vehicles of KITTI, else 0.5.
pub fn least_overlap(class: &str) -> f64 {
    let vehicle = ["car", "van", "truck", "tram"];
    if vehicle.iter().any(|v| class.eq_ignore_ascii_case(v)) {
        0.7
    } else {
        0.5
    }
}

/// What the protocol needs of objects that come without the facts of a KITTI label: fully visible; ignored ones are neighbours.
pub fn visible(objects: &[Object]) -> Vec<KittiTruth> {
    let one = |o: &Object| KittiTruth {
        role: if o.ignore {
            KittiRole::Neighbour(o.class)
        } else {
            KittiRole::Object(o.class)
        },
        bbox: o.bbox,
        truncated: 0.0,
        occluded: 0,
    };
    objects.iter().map(one).collect()
}

/// Intersection over union, or over the area of `d` alone.
fn overlap(d: &[f64; 4], g: &[f64; 4], over_own: bool) -> f64 {
    let w = d[2].min(g[2]) - d[0].max(g[0]);
    let h = d[3].min(g[3]) - d[1].max(g[1]);
    if w <= 0.0 || h <= 0.0 {
        return 0.0;
    }
    let area = |b: &[f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let union = if over_own {
        area(d)
    } else {
        area(d) + area(g) - w * h
    };
    w * h / union
}

/// One image as one class sees it at one difficulty.
struct Scene {
    /// Objects of the class and its neighbours in list order: does it count, and which detections overlap it enough, by how much.
    truth: Vec<(bool, Vec<(usize, f64)>)>,
    /// Score of each detection that takes part.
    score: Vec<f32>,
    /// Is it below the height limit?
    low: Vec<bool>,
    /// Does it lie in a region that nobody labelled?
    excused: Vec<bool>,
}

/// Counts at one threshold.
#[derive(Default)]
struct Count {
    right: usize,
    wrong: usize,
    missed: usize,
}

impl Scene {
    fn new(
        class: usize,
        least: f64,
        limits: &Limits,
        detections: &[Detection],
        truth: &[KittiTruth],
    ) -> Scene {
        let low = |b: &[f64; 4]| b[3] - b[1] < limits.height;
        let taking_part: Vec<(f32, [f64; 4], bool)> = detections
            .iter()
            .map(|d| (d, edges(&d.bbox)))
            .filter(|(d, b)| d.class == class || low(b))
            .map(|(d, b)| (d.score, b, low(&b)))
            .collect();
        let region = |t: &&KittiTruth| t.role == KittiRole::DontCare;
        let regions: Vec<[f64; 4]> = (truth.iter().filter(region))
            .map(|t| edges(&t.bbox))
            .collect();
        let near = |g: &[f64; 4]| {
            let all = taking_part.iter().enumerate();
            all.map(|(i, d)| (i, overlap(&d.1, g, false)))
                .filter(|(_, o)| *o > least)
                .collect()
        };
        let mut objects = vec![];
        for t in truth {
            let b = edges(&t.bbox);
            let counts = match t.role {
                KittiRole::Object(c) if c == class => {
                    !low(&b) && t.occluded <= limits.occluded && t.truncated <= limits.truncated
                }
                KittiRole::Neighbour(c) if c == class => false,
                _ => continue,
            };
            objects.push((counts, near(&b)));
        }
        let excused = |d: &[f64; 4]| regions.iter().any(|r| overlap(d, r, true) > least);
        Scene {
            truth: objects,
            score: taking_part.iter().map(|d| d.0).collect(),
            low: taking_part.iter().map(|d| d.2).collect(),
            excused: taking_part.iter().map(|d| excused(&d.1)).collect(),
        }
    }

    /// First pass: scores of the matches that count, each object with its best-scored free detection.
    fn matches(&self, out: &mut Vec<f32>) {
        let mut taken = vec![false; self.score.len()];
        for (counts, near) in &self.truth {
            let mut best: Option<usize> = None;
            for &(d, _) in near.iter().filter(|(d, _)| !taken[*d]) {
                if best.is_none_or(|b| self.score[d] > self.score[b]) {
                    best = Some(d);
                }
            }
            let Some(d) = best else { continue };
            taken[d] = true;
            if *counts && !self.low[d] {
                out.push(self.score[d]);
            }
        }
    }

    /// Second pass: counts among the detections of at least this score, each object with the free one that overlaps it most; a low
    /// one only where there is no other.
    fn count(&self, threshold: f32, total: &mut Count) {
        let mut taken = vec![false; self.score.len()];
        for (counts, near) in &self.truth {
            let mut best: Option<(usize, f64)> = None;
            let free = |d: usize| !taken[d] && self.score[d] >= threshold;
            for &(d, o) in near.iter().filter(|(d, _)| free(*d)) {
                let better = match best {
                    None => true,
                    Some((b, most)) => !self.low[d] && (self.low[b] || o > most),
                };
                if better {
                    best = Some((d, o));
                }
            }
            match best {
                None => total.missed += usize::from(*counts),
                Some((d, _)) => {
                    taken[d] = true;
                    total.right += usize::from(*counts && !self.low[d]);
                }
            }
        }
        let wrong = |d: &usize| {
            let d = *d;
            !taken[d] && !self.low[d] && !self.excused[d] && self.score[d] >= threshold
        };
        total.wrong += (0..self.score.len()).filter(wrong).count();
    }
}

/// The scores of the matches, highest first, thinned so that recall rises by 1/40 from one to the next.
fn thresholds(mut scores: Vec<f32>, objects: usize) -> Vec<f32> {
    scores.sort_by(|a, b| b.total_cmp(a));
    let n = objects as f64;
    let (mut kept, mut recall) = (vec![], 0.0);
    for (i, &score) in scores.iter().enumerate() {
        let last = i + 1 == scores.len();
        let left = (i + 1) as f64 / n;
        let right = if last { left } else { (i + 2) as f64 / n };
        if right - recall < recall - left && !last {
            continue;
        }
        kept.push(score);
        recall += 1.0 / (PLACES as f64 - 1.0);
    }
    kept.truncate(PLACES);
    kept
}

/// Precision at the thresholds of one class at one difficulty.
struct Curve {
    objects: usize,
    points: Vec<PrPoint>,
}

impl Curve {
    fn new(scenes: &[Scene]) -> Curve {
        let counting = |s: &Scene| s.truth.iter().filter(|t| t.0).count();
        let objects = scenes.iter().map(counting).sum();
        let mut scores = vec![];
        scenes.iter().for_each(|s| s.matches(&mut scores));
        let share = |part: usize, rest: usize| part as f64 / ((part + rest) as f64).max(1.0);
        let point = |score: f32| {
            let mut c = Count::default();
            scenes.iter().for_each(|s| s.count(score, &mut c));
            PrPoint {
                recall: share(c.right, c.missed),
                precision: share(c.right, c.wrong),
                score,
            }
        };
        Curve {
            objects,
            points: thresholds(scores, objects).into_iter().map(point).collect(),
        }
    }

    /// `None` without an object that counts.
    fn ap(&self, protocol: Protocol) -> Option<f64> {
        let mut precision = [0.0; PLACES];
        for (place, p) in precision.iter_mut().zip(&self.points) {
            *place = p.precision;
        }
        for i in (1..PLACES).rev() {
            precision[i - 1] = f64::max(precision[i - 1], precision[i]);
        }
        let ap = match protocol {
            Protocol::KittiR11 => precision.iter().step_by(4).sum::<f64>() / 11.0,
            _ => precision[1..].iter().sum::<f64>() / 40.0,
        };
        (self.objects > 0).then_some(ap)
    }
}

/// Scores detections against objects, both in pixels of the pictures themselves: the limits of height are.
///
/// `detections[i]` and `truth[i]` belong to image i; `classes` names the classes, and so their limits of IoU. The AP of a class is that
/// of the moderate objects, the curve too.
///
/// # Errors
/// As [`evaluate`](super::evaluate).
pub fn evaluate<D, T, S>(
    protocol: Protocol,
    detections: &[D],
    truth: &[T],
    classes: &[S],
) -> Result<ApReport>
where
    D: AsRef<[Detection]>,
    T: AsRef<[KittiTruth]>,
    S: AsRef<str>,
{
    let as_object = |t: &KittiTruth| Object {
        class: match t.role {
            KittiRole::Object(c) | KittiRole::Neighbour(c) => c,
            KittiRole::DontCare => 0,
        },
        bbox: t.bbox,
        ignore: true,
    };
    let objects: Vec<Vec<Object>> = truth
        .iter()
        .map(|t| t.as_ref().iter().map(as_object).collect())
        .collect();
    check(detections, &objects, classes.len())?;
    let mut stats = KittiStats::default();
    let mut reports = vec![];
    for (class, name) in classes.iter().map(AsRef::as_ref).enumerate() {
        let least = least_overlap(name);
        let curves = DIFFICULTIES.each_ref().map(|limits| {
            let pairs = detections.iter().zip(truth);
            let scene = |(d, t): (&D, &T)| Scene::new(class, least, limits, d.as_ref(), t.as_ref());
            Curve::new(&pairs.map(scene).collect::<Vec<_>>())
        });
        let [easy, moderate, hard] = curves.each_ref().map(|c| c.ap(protocol));
        stats.easy.push(easy);
        stats.moderate.push(moderate);
        stats.hard.push(hard);
        let [_, curve, _] = curves;
        let of_class = |t: &&KittiTruth| matches!(t.role, KittiRole::Object(c) | KittiRole::Neighbour(c) if c == class);
        let all: usize = truth
            .iter()
            .map(|t| t.as_ref().iter().filter(of_class).count())
            .sum();
        let found = |d: &D| d.as_ref().iter().filter(|d| d.class == class).count();
        reports.push(ClassAp {
            name: name.to_string(),
            objects: curve.objects,
            ignored: all - curve.objects,
            detections: detections.iter().map(found).sum(),
            ap: moderate,
            ap50: None,
            curve: curve.points,
        });
    }
    Ok(ApReport {
        protocol,
        images: detections.len(),
        map: mean(reports.iter().map(|c| c.ap)),
        map50: None,
        classes: reports,
        coco: None,
        kitti: Some(stats),
    })
}

#[cfg(test)]
#[path = "kitti_tests.rs"]
mod tests;
