//! The COCO protocol for boxes, equal to pycocotools.
//!
//! Detections of one class in one image, by falling score, at most 100, each take the best free object; objects that do not
//! count come last and only for detections that found no other; a crowd takes any number, with the overlap measured over
//! the detection's own area. Detections without an object are ignored when their area is outside the range.

use super::ap::{AreaAp, ClassAp, CocoStats, mean};
use super::curve::{Curve, Verdict};
use super::sets::{ClassSet, ImageSet};

const MAX_DETECTIONS: [usize; 3] = [1, 10, 100];
const SMALL: f64 = 32.0 * 32.0;
const LARGE: f64 = 96.0 * 96.0;
/// Ranges of area, both ends included: all, small, medium, large.
const AREAS: [(f64, f64); 4] = [(0.0, 1e10), (0.0, SMALL), (SMALL, LARGE), (LARGE, 1e10)];

/// The ten IoU thresholds as numpy's `linspace(0.5, 0.95, 10)` rounds them.
fn thresholds() -> [f64; 10] {
    let step = (0.95 - 0.5) / 9.0;
    std::array::from_fn(|i| if i == 9 { 0.95 } else { 0.5 + i as f64 * step })
}

fn area(b: &[f64; 4]) -> f64 {
    (b[2] - b[0]) * (b[3] - b[1])
}

fn iou(d: &[f64; 4], g: &[f64; 4], crowd: bool) -> f64 {
    let w = d[2].min(g[2]) - d[0].max(g[0]);
    let h = d[3].min(g[3]) - d[1].max(g[1]);
    if w <= 0.0 || h <= 0.0 {
        return 0.0;
    }
    let i = w * h;
    i / if crowd {
        area(d)
    } else {
        area(d) + area(g) - i
    }
}

/// Verdicts of one image's detections (best first) at one threshold; `order` lists the objects, those that count first.
fn judge(
    image: &ImageSet,
    overlaps: &[Vec<f64>],
    order: &[usize],
    aside: &[bool],
    threshold: f64,
    range: (f64, f64),
) -> Vec<Verdict> {
    let outside = |b: &[f64; 4]| area(b) < range.0 || area(b) > range.1;
    let mut taken = vec![false; image.objects.len()];
    let mut verdicts = Vec::with_capacity(overlaps.len());
    for (d, row) in overlaps.iter().enumerate() {
        let mut best = threshold.min(1.0 - 1e-10);
        let mut found: Option<usize> = None;
        for &g in order {
            if taken[g] && !image.objects[g].1 {
                continue;
            }
            if aside[g] && found.is_some_and(|f| !aside[f]) {
                break;
            }
            if row[g] >= best {
                best = row[g];
                found = Some(g);
            }
        }
        verdicts.push(match found {
            Some(g) => {
                taken[g] = true;
                if aside[g] {
                    Verdict::Ignored
                } else {
                    Verdict::True
                }
            }
            None if outside(&image.detections[d].1) => Verdict::Ignored,
            None => Verdict::False,
        });
    }
    verdicts
}

/// Mean of the envelope at recall 0, 0.01 .. 1.
fn hundred_and_one_points(c: &Curve) -> f64 {
    let envelope = c.envelope();
    // Recall as the reference rounds it: a quotient in f64 against i * 0.01, not whole numbers.
    let recall: Vec<f64> = c.tp.iter().map(|&t| t as f64 / c.objects as f64).collect();
    let at = |i: usize| {
        let level = if i == 100 { 1.0 } else { i as f64 * 0.01 };
        envelope
            .get(recall.partition_point(|&r| r < level))
            .copied()
            .unwrap_or(0.0)
    };
    (0..=100).map(at).sum::<f64>() / 101.0
}

/// Figures of one class in one area range.
struct Figures {
    /// Average precision at each threshold, at most 100 detections.
    ap: Vec<f64>,
    /// Recall at each threshold, for each of [`MAX_DETECTIONS`].
    recall: [Vec<f64>; 3],
    curve50: Curve,
}

fn figures(set: &ClassSet, overlaps: &[Vec<Vec<f64>>], range: (f64, f64)) -> Option<Figures> {
    let aside: Vec<Vec<bool>> = set
        .images
        .iter()
        .map(|i| {
            i.objects
                .iter()
                .map(|(b, crowd)| *crowd || area(b) < range.0 || area(b) > range.1)
                .collect()
        })
        .collect();
    let objects = aside.iter().flatten().filter(|a| !**a).count();
    if objects == 0 {
        return None;
    }
    let orders: Vec<Vec<usize>> = aside
        .iter()
        .map(|a| {
            let mut order: Vec<usize> = (0..a.len()).collect();
            order.sort_by_key(|&g| a[g]);
            order
        })
        .collect();
    let mut out = Figures {
        ap: vec![],
        recall: Default::default(),
        curve50: Curve::new([], objects),
    };
    for (t, threshold) in thresholds().into_iter().enumerate() {
        let verdicts: Vec<Vec<Verdict>> = (0..set.images.len())
            .map(|i| {
                judge(
                    &set.images[i],
                    &overlaps[i],
                    &orders[i],
                    &aside[i],
                    threshold,
                    range,
                )
            })
            .collect();
        for (m, &limit) in MAX_DETECTIONS.iter().enumerate() {
            let mut ranked: Vec<(f32, Verdict)> = vec![];
            for (image, v) in set.images.iter().zip(&verdicts) {
                ranked.extend(
                    image
                        .detections
                        .iter()
                        .zip(v)
                        .take(limit)
                        .map(|(d, &v)| (d.0, v)),
                );
            }
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
            let curve = Curve::new(ranked, objects);
            out.recall[m].push(curve.tp.last().map_or(0.0, |&t| t as f64 / objects as f64));
            if limit == 100 {
                out.ap.push(hundred_and_one_points(&curve));
                if t == 0 {
                    out.curve50 = curve;
                }
            }
        }
    }
    Some(out)
}

/// All classes, and the twelve summary figures.
pub(super) fn evaluate(
    sets: &[ClassSet],
    names: impl Iterator<Item = String>,
) -> (Vec<ClassAp>, CocoStats) {
    let by_class: Vec<[Option<Figures>; 4]> = sets
        .iter()
        .map(|set| {
            let overlaps: Vec<Vec<Vec<f64>>> = set
                .images
                .iter()
                .map(|i| {
                    let rows = i.detections.iter().take(100);
                    rows.map(|d| {
                        i.objects
                            .iter()
                            .map(|(g, crowd)| iou(&d.1, g, *crowd))
                            .collect()
                    })
                    .collect()
                })
                .collect();
            AREAS.map(|range| figures(set, &overlaps, range))
        })
        .collect();
    let of = |v: &[f64]| mean(v.iter().map(|&x| Some(x)));
    let over = |range: usize, pick: &dyn Fn(&Figures) -> Option<f64>| {
        mean(by_class.iter().map(|c| c[range].as_ref().and_then(pick)))
    };
    let areas = |pick: &dyn Fn(&Figures) -> Option<f64>| AreaAp {
        small: over(1, pick),
        medium: over(2, pick),
        large: over(3, pick),
    };
    let stats = CocoStats {
        ap: over(0, &|f| of(&f.ap)),
        ap50: over(0, &|f| Some(f.ap[0])),
        ap75: over(0, &|f| Some(f.ap[5])),
        ap_area: areas(&|f| of(&f.ap)),
        ar1: over(0, &|f| of(&f.recall[0])),
        ar10: over(0, &|f| of(&f.recall[1])),
        ar100: over(0, &|f| of(&f.recall[2])),
        ar_area: areas(&|f| of(&f.recall[2])),
    };
    let classes = sets
        .iter()
        .zip(names)
        .zip(&by_class)
        .map(|((set, name), figures)| {
            let (objects, ignored) = set.counts();
            let all = figures[0].as_ref();
            ClassAp {
                name,
                objects,
                ignored,
                detections: set.images.iter().map(|i| i.detections.len().min(100)).sum(),
                ap: all.and_then(|f| of(&f.ap)),
                ap50: all.map(|f| f.ap[0]),
                curve: all.map_or(vec![], |f| f.curve50.points()),
            }
        })
        .collect();
    (classes, stats)
}
