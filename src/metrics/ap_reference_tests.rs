//! The protocols against other programs: pycocotools, and a second writing of the `mtnas-2020` rule.

use super::*;
use crate::annotation::BBox;
use crate::rng::Rng;

fn object(class: usize, x1: f32, y1: f32, x2: f32, y2: f32) -> Object {
    Object {
        class,
        bbox: BBox { x1, y1, x2, y2 },
        ignore: false,
    }
}

/// Images with up to five objects of two classes; scores of detections on a coarse grid, so that ties occur.
fn random_set(seed: u64, images: usize) -> (Vec<Vec<Detection>>, Vec<Vec<Object>>) {
    let r = &mut Rng::new(seed, &[7]);
    let at = |r: &mut Rng, b: BBox, by: f64| {
        let mut e = |v: f32| (v as f64 + (r.range(-by, by) * 2.0).round() / 2.0) as f32;
        let (x1, y1, x2, y2) = (e(b.x1), e(b.y1), e(b.x2), e(b.y2));
        BBox {
            x1,
            y1,
            x2: x2.max(x1),
            y2: y2.max(y1),
        }
    };
    let mut all = (vec![], vec![]);
    for _ in 0..images {
        let objects: Vec<Object> = (0..r.below(6))
            .map(|_| {
                let (x, y) = (r.below(60) as f32, r.below(60) as f32);
                let (w, h) = (4.0 + r.below(30) as f32, 4.0 + r.below(30) as f32);
                Object {
                    ignore: r.coin(0.15),
                    ..object(r.below(2), x, y, x + w, y + h)
                }
            })
            .collect();
        let mut detections = vec![];
        for o in &objects {
            for _ in 0..r.below(4) {
                let class = if r.coin(0.9) { o.class } else { 1 - o.class };
                detections.push(Detection {
                    class,
                    score: r.below(40) as f32 / 40.0,
                    bbox: at(r, o.bbox, 5.0),
                });
            }
        }
        all.0.push(detections);
        all.1.push(objects);
    }
    all
}

/// The `mtnas-2020` rule written a second time, in the shape of the released script: sentinels, cumulative sums, an
/// integral over all changes of recall.
fn oracle(detections: &[Vec<Detection>], objects: &[Vec<Object>], class: usize) -> Option<f64> {
    let of = |i: usize| {
        objects[i]
            .iter()
            .filter(|o| o.class == class && !o.ignore)
            .map(|o| o.bbox)
            .collect::<Vec<_>>()
    };
    let truth: Vec<Vec<BBox>> = (0..objects.len()).map(of).collect();
    let positives: usize = truth.iter().map(Vec::len).sum();
    if positives == 0 {
        return None;
    }
    let mut list: Vec<(usize, Detection)> = vec![];
    for (i, ds) in detections.iter().enumerate() {
        list.extend(
            ds.iter()
                .filter(|d| d.class == class && d.score > 0.005)
                .map(|d| (i, *d)),
        );
    }
    list.sort_by(|a, b| b.1.score.partial_cmp(&a.1.score).unwrap());
    let mut used: Vec<(usize, usize)> = vec![];
    let (mut tp, mut n) = (0.0, 0.0);
    let (mut recall, mut precision) = (vec![0.0], vec![0.0]);
    for (i, d) in list {
        let side = |lo: f32, hi: f32| hi as f64 - lo as f64 + 1.0;
        let size = |b: &BBox| side(b.x1, b.x2) * side(b.y1, b.y2);
        let overlaps: Vec<f64> = truth[i]
            .iter()
            .map(|g| {
                let w = side(d.bbox.x1.max(g.x1), d.bbox.x2.min(g.x2)).max(0.0);
                let h = side(d.bbox.y1.max(g.y1), d.bbox.y2.min(g.y2)).max(0.0);
                w * h / (size(&d.bbox) + size(g) - w * h)
            })
            .collect();
        let top = overlaps.iter().cloned().fold(f64::NEG_INFINITY, f64::max);
        let key = (i, overlaps.iter().position(|&v| v == top).unwrap_or(0));
        if top > 0.5 && !used.contains(&key) {
            used.push(key);
            tp += 1.0;
        }
        n += 1.0;
        recall.push(tp / positives as f64);
        precision.push(tp / n);
    }
    recall.push(1.0);
    precision.push(0.0);
    for i in (1..precision.len()).rev() {
        precision[i - 1] = f64::max(precision[i - 1], precision[i]);
    }
    Some(
        (1..recall.len())
            .map(|i| (recall[i] - recall[i - 1]) * precision[i])
            .sum(),
    )
}

#[test]
fn mtnas_2020_equals_the_oracle() {
    for seed in 0..300 {
        let (d, mut o) = random_set(seed, 1 + seed as usize % 7);
        if seed % 3 == 0 {
            o.iter_mut().flatten().for_each(|o| o.class = 1);
        }
        let r = evaluate(Protocol::Mtnas2020, &d, &o, &["a", "b"]).unwrap();
        for c in 0..2 {
            match (r.classes[c].ap, oracle(&d, &o, c)) {
                (Some(x), Some(y)) => assert!(
                    (x - y).abs() < 1e-12,
                    "seed {seed}, class {c}: {x} against {y}"
                ),
                (x, y) => assert_eq!(x, y, "seed {seed}, class {c}"),
            }
        }
    }
}

#[test]
fn equals_pycocotools() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/coco_ap.json");
    let file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let rows =
        |v: &serde_json::Value| -> Vec<Vec<f32>> { serde_json::from_value(v.clone()).unwrap() };
    let sets = file["sets"].as_array().unwrap();
    assert!(sets.len() >= 30);
    for (n, set) in sets.iter().enumerate() {
        let (mut d, mut o) = (vec![], vec![]);
        for image in set["images"].as_array().unwrap() {
            let e = |r: &[f32]| BBox {
                x1: r[0] / 4.0,
                y1: r[1] / 4.0,
                x2: r[2] / 4.0,
                y2: r[3] / 4.0,
            };
            let objects = rows(&image["objects"]);
            o.push(Vec::from_iter(objects.iter().map(|r| Object {
                class: r[0] as usize,
                bbox: e(&r[1..5]),
                ignore: r[5] == 1.0,
            })));
            let detections = rows(&image["detections"]);
            d.push(Vec::from_iter(detections.iter().map(|r| Detection {
                class: r[0] as usize,
                score: r[1] / 4096.0,
                bbox: e(&r[2..6]),
            })));
        }
        let names: Vec<String> = (0..set["classes"].as_u64().unwrap())
            .map(|k| k.to_string())
            .collect();
        let r = evaluate(Protocol::Coco, &d, &o, &names).unwrap();
        let c = r.coco.unwrap();
        let (p, q) = (c.ap_area, c.ar_area);
        let stats = [
            c.ap, c.ap50, c.ap75, p.small, p.medium, p.large, c.ar1, c.ar10, c.ar100, q.small,
            q.medium, q.large,
        ];
        let same = |what: &str, ours: &[Option<f64>], theirs: &serde_json::Value| {
            let theirs: Vec<f64> = serde_json::from_value(theirs.clone()).unwrap();
            assert_eq!(ours.len(), theirs.len());
            for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                assert!(
                    (a.unwrap_or(-1.0) - b).abs() < 1e-9,
                    "set {n}, {what}[{i}]: {a:?} against {b}"
                );
            }
        };
        same("stats", &stats, &set["stats"]);
        same(
            "ap",
            &Vec::from_iter(r.classes.iter().map(|c| c.ap)),
            &set["ap"],
        );
        same(
            "ap50",
            &Vec::from_iter(r.classes.iter().map(|c| c.ap50)),
            &set["ap50"],
        );
        assert_eq!((r.map, r.map50), (c.ap, c.ap50));
    }
}
