//! The VOC family: a detection is judged by the object that it overlaps most, and by no other.

use super::ap::{ClassAp, Protocol};
use super::curve::{Curve, Verdict};
use super::sets::ClassSet;

/// What tells the members of the family apart.
struct Rule {
    /// Added to widths and heights.
    extra: f64,
    /// Detections up to this score are dropped.
    floor: f32,
    /// True: IoU must exceed 0.5; false: reach it.
    strict: bool,
    /// True: ignored objects are left out of the ground truth, so that what matches them is wrong.
    leave_out: bool,
    eleven_points: bool,
}

impl Rule {
    fn of(protocol: Protocol) -> Rule {
        let voc = Rule {
            extra: 0.0,
            floor: f32::NEG_INFINITY,
            strict: false,
            leave_out: false,
            eleven_points: false,
        };
        match protocol {
            // Its text files cannot mark an object as ignored (a "difficult" column is read and never used).
            Protocol::Mtnas2020 => Rule {
                extra: 1.0,
                floor: 0.005,
                strict: true,
                leave_out: true,
                ..voc
            },
            Protocol::Voc07 => Rule {
                eleven_points: true,
                ..voc
            },
            Protocol::Voc10 | Protocol::Coco | Protocol::KittiR40 | Protocol::KittiR11 => voc,
        }
    }
}

fn iou(a: &[f64; 4], b: &[f64; 4], extra: f64) -> f64 {
    let w = a[2].min(b[2]) - a[0].max(b[0]) + extra;
    let h = a[3].min(b[3]) - a[1].max(b[1]) + extra;
    if w <= 0.0 || h <= 0.0 {
        return 0.0;
    }
    let area = |r: &[f64; 4]| (r[2] - r[0] + extra) * (r[3] - r[1] + extra);
    w * h / (area(a) + area(b) - w * h)
}

/// One class under `protocol`.
pub(super) fn evaluate(protocol: Protocol, set: &ClassSet, name: String) -> ClassAp {
    let rule = Rule::of(protocol);
    let mut ranked: Vec<(f32, usize, [f64; 4])> = vec![];
    for (i, image) in set.images.iter().enumerate() {
        ranked.extend(
            image
                .detections
                .iter()
                .filter(|d| d.0 > rule.floor)
                .map(|d| (d.0, i, d.1)),
        );
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut hit: Vec<Vec<bool>> = set
        .images
        .iter()
        .map(|i| vec![false; i.objects.len()])
        .collect();
    let verdicts: Vec<_> = ranked
        .iter()
        .map(|(score, i, b)| {
            let objects = &set.images[*i].objects;
            let mut best: Option<(f64, usize)> = None;
            for (k, o) in objects.iter().enumerate() {
                if o.1 && rule.leave_out {
                    continue;
                }
                let v = iou(b, &o.0, rule.extra);
                if best.is_none_or(|(top, _)| v > top) {
                    best = Some((v, k));
                }
            }
            let verdict = match best {
                Some((v, k)) if v > 0.5 || (v == 0.5 && !rule.strict) => {
                    if objects[k].1 {
                        Verdict::Ignored
                    } else if std::mem::replace(&mut hit[*i][k], true) {
                        Verdict::False
                    } else {
                        Verdict::True
                    }
                }
                _ => Verdict::False,
            };
            (*score, verdict)
        })
        .collect();
    let (objects, ignored) = set.counts();
    let detections = verdicts.len();
    let curve = Curve::new(verdicts, objects);
    let ap = (objects > 0).then(|| {
        if rule.eleven_points {
            eleven_points(&curve)
        } else {
            all_points(&curve)
        }
    });
    ClassAp {
        name,
        objects,
        ignored,
        detections,
        ap,
        ap50: ap,
        curve: if objects > 0 { curve.points() } else { vec![] },
    }
}

/// Area under the envelope: each true positive adds 1 / objects of recall at its envelope precision.
fn all_points(c: &Curve) -> f64 {
    let envelope = c.envelope();
    let mut found = 0;
    let mut sum = 0.0;
    for (&tp, p) in c.tp.iter().zip(envelope) {
        if tp > found {
            found = tp;
            sum += p;
        }
    }
    sum / c.objects as f64
}

/// Mean of the envelope at recall 0, 0.1 .. 1; recall is compared in whole numbers, so 0.3 means 3/10.
fn eleven_points(c: &Curve) -> f64 {
    let envelope = c.envelope();
    let at = |tenth: u64| {
        let i =
            c.tp.partition_point(|&tp| tp * 10 < tenth * c.objects as u64);
        envelope.get(i).copied().unwrap_or(0.0)
    };
    (0..=10).map(at).sum::<f64>() / 11.0
}
