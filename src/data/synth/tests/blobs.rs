//! Groups of pixels whose colour is typical of an object make no detector.

use super::colour::{BINS, bin, scenes};
use crate::annotation::{BBox, Image};
use crate::data::synth::SynthConfig;
use crate::data::synth::scene::Scene;
use crate::data::synth::write::{Half, kitti_scene};

const KINDS: [&str; 3] = ["Car", "Pedestrian", "Cyclist"];

/// Boxes of a kind; those of `DontCare` count for every kind, as ignored.
fn boxes(scene: &Scene, kind: &str) -> Vec<(BBox, bool)> {
    let neighbour = if kind == "Car" { "Van" } else { "DontCare" };
    let of = scene
        .objects
        .iter()
        .filter(|o| [kind, neighbour, "DontCare"].contains(&o.kind));
    of.map(|o| (o.bbox, o.kind != kind)).collect()
}

/// How much more frequent each colour is inside the boxes of a kind than elsewhere.
fn ratio(train: &[Scene], kind: &str) -> Vec<f32> {
    let mut inside = vec![1e-9f64; BINS * BINS * BINS];
    let mut outside = vec![1.0f64; BINS * BINS * BINS];
    for s in train {
        let boxes = boxes(s, kind);
        for (i, p) in s.image.data.chunks_exact(3).enumerate() {
            let (x, y) = (
                (i % s.image.width) as f32 + 0.5,
                (i / s.image.width) as f32 + 0.5,
            );
            let hit = boxes
                .iter()
                .any(|(b, _)| b.x1 < x && x < b.x2 && b.y1 < y && y < b.y2);
            if hit {
                inside[bin(p)] += 1.0
            } else {
                outside[bin(p)] += 1.0
            }
        }
    }
    let (a, b) = (inside.iter().sum::<f64>(), outside.iter().sum::<f64>());
    inside
        .iter()
        .zip(&outside)
        .map(|(i, o)| (i / a / (o / b)) as f32)
        .collect()
}

/// Connected groups of pixels whose colour speaks for the kind: (score, box).
fn blobs(image: &Image, ratio: &[f32], threshold: f32, least: usize) -> Vec<(f32, BBox)> {
    let (h, w) = (image.height, image.width);
    let value: Vec<f32> = image.data.chunks_exact(3).map(|p| ratio[bin(p)]).collect();
    let mut open: Vec<bool> = value.iter().map(|&v| v > threshold).collect();
    let mut found = vec![];
    for start in 0..h * w {
        if !open[start] {
            continue;
        }
        open[start] = false;
        let mut stack = vec![start];
        let (mut n, mut sum) = (0, 0.0);
        let mut b = [w, h, 0, 0];
        while let Some(i) = stack.pop() {
            let (x, y) = (i % w, i / w);
            n += 1;
            sum += value[i];
            b = [b[0].min(x), b[1].min(y), b[2].max(x + 1), b[3].max(y + 1)];
            let near = [
                (x > 0, i.wrapping_sub(1)),
                (x + 1 < w, i + 1),
                (y > 0, i.wrapping_sub(w)),
                (y + 1 < h, i + w),
            ];
            for (ok, j) in near {
                if ok && open[j] {
                    open[j] = false;
                    stack.push(j);
                }
            }
        }
        if n >= least {
            let bbox = BBox {
                x1: b[0] as f32,
                y1: b[1] as f32,
                x2: b[2] as f32,
                y2: b[3] as f32,
            };
            found.push((sum / n as f32, bbox));
        }
    }
    found
}

fn iou(a: &BBox, b: &BBox) -> f32 {
    let x = (a.x2.min(b.x2) - a.x1.max(b.x1)).max(0.0);
    let y = (a.y2.min(b.y2) - a.y1.max(b.y1)).max(0.0);
    x * y / (a.area() + b.area() - x * y)
}

/// All-point average precision at IoU 0.5; ignored boxes neither help nor harm.
fn average_precision(detections: &[Vec<(f32, BBox)>], truth: &[Vec<(BBox, bool)>]) -> f64 {
    let mut all: Vec<(f32, usize, &BBox)> = vec![];
    for (i, d) in detections.iter().enumerate() {
        all.extend(d.iter().map(|(s, b)| (*s, i, b)));
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives = truth.iter().flatten().filter(|t| !t.1).count() as f64;
    let mut taken: Vec<Vec<bool>> = truth.iter().map(|t| vec![false; t.len()]).collect();
    let (mut hits, mut misses, mut curve) = (0.0, 0.0, vec![]);
    for (_, i, b) in all {
        let best = (0..truth[i].len())
            .max_by(|&p, &q| iou(&truth[i][p].0, b).total_cmp(&iou(&truth[i][q].0, b)));
        match best.filter(|&k| iou(&truth[i][k].0, b) >= 0.5) {
            Some(k) if truth[i][k].1 => continue,
            Some(k) if !taken[i][k] => {
                taken[i][k] = true;
                hits += 1.0;
            }
            _ => misses += 1.0,
        }
        curve.push((hits / positives, hits / (hits + misses)));
    }
    let mut best = 0.0f64;
    let mut area = 0.0;
    for k in (0..curve.len()).rev() {
        best = best.max(curve[k].1);
        area += best * (curve[k].0 - if k > 0 { curve[k - 1].0 } else { 0.0 });
    }
    area
}

#[test]
fn coloured_blobs_are_no_detector() {
    let config = SynthConfig::default();
    let train = scenes(60, |i| kitti_scene(&config, Half::Train, i));
    let val = scenes(40, |i| kitti_scene(&config, Half::Val, i));
    let mut sum = 0.0;
    for kind in KINDS {
        let ratio = ratio(&train, kind);
        let score = |set: &[Scene], threshold: f32, least: usize| {
            let found: Vec<_> = set
                .iter()
                .map(|s| blobs(&s.image, &ratio, threshold, least))
                .collect();
            let truth: Vec<_> = set.iter().map(|s| boxes(s, kind)).collect();
            average_precision(&found, &truth)
        };
        let choices = [1.2f32, 1.6, 2.2, 3.0, 4.5, 7.0]
            .into_iter()
            .flat_map(|t| [8, 30, 90].map(|n| (t, n)));
        let fitted = choices
            .map(|(t, n)| (score(&train, t, n), t, n))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap();
        let held_out = score(&val, fitted.1, fitted.2);
        println!(
            "{kind}: blobs reach AP {:.3} in training, {held_out:.3} held out",
            fitted.0
        );
        sum += held_out / 3.0;
    }
    assert!(sum <= 0.10, "coloured blobs reach mAP {sum:.3}");
}

#[test]
fn the_scorer_knows_a_perfect_detector() {
    let config = SynthConfig::default();
    let val = scenes(10, |i| kitti_scene(&config, Half::Val, i));
    let truth: Vec<_> = val.iter().map(|s| boxes(s, "Car")).collect();
    let perfect: Vec<Vec<_>> = truth
        .iter()
        .map(|t| t.iter().map(|(b, _)| (1.0, *b)).collect())
        .collect();
    assert!((average_precision(&perfect, &truth) - 1.0).abs() < 1e-12);
}
