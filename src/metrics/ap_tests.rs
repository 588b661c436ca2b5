use super::*;
use crate::rng::Rng;

fn object(class: usize, x1: f32, y1: f32, x2: f32, y2: f32) -> Object {
    Object {
        class,
        bbox: BBox { x1, y1, x2, y2 },
        ignore: false,
    }
}

fn detection(class: usize, score: f32, x1: f32, y1: f32, x2: f32, y2: f32) -> Detection {
    Detection {
        class,
        score,
        bbox: BBox { x1, y1, x2, y2 },
    }
}

fn found(score: f32, o: &Object) -> Detection {
    Detection {
        class: o.class,
        score,
        bbox: o.bbox,
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

/// Three images, one without objects, 40 to 100 pixel boxes.
fn scene() -> Vec<Vec<Object>> {
    vec![
        vec![
            object(0, 10.0, 20.0, 50.0, 100.0),
            object(1, 60.0, 10.0, 160.0, 70.0),
        ],
        vec![],
        vec![
            object(0, 5.0, 5.0, 45.0, 60.0),
            object(0, 100.0, 30.0, 150.0, 110.0),
        ],
    ]
}

fn with(protocol: Protocol, change: impl Fn(Detection) -> Vec<Detection>) -> ApReport {
    let objects = scene();
    let d: Vec<Vec<Detection>> = objects
        .iter()
        .map(|os| os.iter().flat_map(|o| change(found(0.9, o))).collect())
        .collect();
    evaluate(protocol, &d, &objects, &["car", "person", "absent"]).unwrap()
}

#[test]
fn a_perfect_detector_scores_1() {
    for p in Protocol::ALL {
        let r = with(p, |d| vec![d]);
        assert_eq!((r.map, r.map50), (Some(1.0), Some(1.0)), "{p}");
        assert_eq!((r.classes[2].ap, r.classes[2].curve.len()), (None, 0));
        let last = r.classes[0].curve.last().unwrap();
        assert_eq!(
            (last.recall, last.precision, r.classes[0].curve.len()),
            (1.0, 1.0, 3)
        );
    }
}

#[test]
fn a_duplicate_is_a_false_positive() {
    for p in Protocol::ALL {
        // All six detections tie: right, wrong, right, wrong ... in each image.
        let r = with(p, |d| vec![d, d]);
        let precision: Vec<f64> = r.classes[0].curve.iter().map(|q| q.precision).collect();
        assert_eq!(precision, [1.0, 2.0 / 3.0, 3.0 / 5.0], "{p}");
        assert!(r.classes[0].ap.unwrap() < 0.8);
    }
}

#[test]
fn a_second_object_saves_the_duplicate_under_coco_only() {
    // The better-scored box lies on both objects but nearer to the first; the second box too, nearer to the first as well.
    let objects = [vec![
        object(0, 0.0, 0.0, 100.0, 100.0),
        object(0, 20.0, 0.0, 120.0, 100.0),
    ]];
    let d = [vec![
        detection(0, 0.9, 1.0, 0.0, 101.0, 100.0),
        detection(0, 0.8, 2.0, 0.0, 102.0, 100.0),
    ]];
    let ap50 = |p| evaluate(p, &d, &objects, &["car"]).unwrap().map50.unwrap();
    assert_eq!(ap50(Protocol::Coco), 1.0);
    assert_eq!(ap50(Protocol::Voc10), 0.5);
    assert_eq!(ap50(Protocol::Mtnas2020), 0.5);
}

#[test]
fn swapped_axes_are_caught() {
    let swap = |d: Detection| {
        let b = d.bbox;
        vec![Detection {
            bbox: BBox {
                x1: b.y1,
                y1: b.x1,
                x2: b.y2,
                y2: b.x2,
            },
            ..d
        }]
    };
    for p in Protocol::ALL {
        assert!(with(p, swap).map.unwrap() < 0.5, "{p}");
    }
}

#[test]
fn a_width_off_by_one_is_caught() {
    // 10 x 10 against its left 5 columns: IoU exactly 0.5, with +1 widths 66/121.
    let objects = [vec![object(0, 0.0, 0.0, 10.0, 10.0)]];
    let half = [vec![detection(0, 0.9, 0.0, 0.0, 5.0, 10.0)]];
    let ap = |p, d: &[Vec<Detection>]| evaluate(p, d, &objects, &["car"]).unwrap().map50.unwrap();
    assert_eq!(ap(Protocol::Voc10, &half), 1.0);
    assert_eq!(ap(Protocol::Voc07, &half), 1.0);
    assert_eq!(ap(Protocol::Coco, &half), 1.0);
    assert_eq!(ap(Protocol::Mtnas2020, &half), 1.0);
    // 9.5 x 5 of it: 0.475, with +1 widths 10.5 * 6 / 121 = 0.5207.
    let less = [vec![detection(0, 0.9, 0.0, 0.0, 5.0, 9.5)]];
    assert_eq!(ap(Protocol::Voc10, &less), 0.0);
    assert_eq!(ap(Protocol::Mtnas2020, &less), 1.0);
    // 7 x 7 object against 7 x 3: with +1 widths 32/64, exactly one half, which mtnas-2020 refuses.
    let objects = [vec![object(0, 0.0, 0.0, 7.0, 7.0)]];
    let half = [vec![detection(0, 0.9, 0.0, 0.0, 7.0, 3.0)]];
    assert_eq!(
        evaluate(Protocol::Mtnas2020, &half, &objects, &["car"])
            .unwrap()
            .map,
        Some(0.0)
    );
}

#[test]
fn ignored_objects_neither_help_nor_hurt() {
    let mut objects = scene();
    objects[2][1].ignore = true;
    let perfect: Vec<Vec<Detection>> = objects
        .iter()
        .map(|os| os.iter().map(|o| found(0.9, o)).collect())
        .collect();
    let mut without = perfect.clone();
    without[2].pop();
    for p in [Protocol::Voc10, Protocol::Voc07, Protocol::Coco] {
        for d in [&perfect, &without] {
            let r = evaluate(p, d, &objects, &["car", "person"]).unwrap();
            assert_eq!(
                (r.map, r.classes[0].objects, r.classes[0].ignored),
                (Some(1.0), 2, 1),
                "{p}"
            );
        }
    }
    // Left out by mtnas-2020: the detection on it is wrong, and ranks first here.
    objects[2][1].ignore = false;
    objects[0][0].ignore = true;
    let r = evaluate(Protocol::Mtnas2020, &perfect, &objects, &["car", "person"]).unwrap();
    assert_eq!(
        (r.classes[0].ap, r.classes[0].objects),
        (Some(2.0 / 3.0), 2)
    );
}

#[test]
fn equal_overlaps_go_to_the_first_object() {
    let o = object(0, 0.0, 0.0, 10.0, 10.0);
    let d = [vec![found(0.9, &o)]];
    let ap = |objects: Vec<Object>| {
        evaluate(Protocol::Voc10, &d, &[objects], &["car"])
            .unwrap()
            .map
    };
    let ignored = Object { ignore: true, ..o };
    assert_eq!(ap(vec![o, ignored]), Some(1.0));
    assert_eq!(ap(vec![ignored, o]), Some(0.0));
}

#[test]
fn interpolations_by_hand() {
    // Four objects; ranked verdicts right, wrong, right, wrong, right: recall 1/4, 1/2, 3/4 at precision 1, 2/3, 3/5.
    let at = |x: f32| (x, 0.0, x + 10.0, 10.0);
    let objects = [vec![0.0, 100.0, 200.0, 300.0]
        .into_iter()
        .map(|x| {
            let (a, b, c, d) = at(x);
            object(0, a, b, c, d)
        })
        .collect::<Vec<_>>()];
    let d = [[0.0, 50.0, 100.0, 150.0, 200.0]
        .iter()
        .enumerate()
        .map(|(i, &x)| {
            let (a, b, c, e) = at(x);
            detection(0, 0.9 - 0.1 * i as f32, a, b, c, e)
        })
        .collect::<Vec<_>>()];
    let ap = |p| {
        evaluate(p, &d, &objects, &["car"]).unwrap().classes[0]
            .ap50
            .unwrap()
    };
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} against {b}");
    close(ap(Protocol::Voc10), (1.0 + 2.0 / 3.0 + 0.6) / 4.0);
    close(ap(Protocol::Mtnas2020), (1.0 + 2.0 / 3.0 + 0.6) / 4.0);
    close(
        ap(Protocol::Voc07),
        (3.0 + 3.0 * 2.0 / 3.0 + 2.0 * 0.6) / 11.0,
    );
    close(
        ap(Protocol::Coco),
        (26.0 + 25.0 * 2.0 / 3.0 + 25.0 * 0.6) / 101.0,
    );
}

#[test]
fn scores_at_the_floor_are_dropped_by_mtnas_2020_only() {
    let objects = [vec![object(0, 0.0, 0.0, 10.0, 10.0)]];
    let d = [vec![detection(0, 0.005, 0.0, 0.0, 10.0, 10.0)]];
    let r = |p| evaluate(p, &d, &objects, &["car"]).unwrap();
    assert_eq!(
        (
            r(Protocol::Mtnas2020).map,
            r(Protocol::Mtnas2020).classes[0].detections
        ),
        (Some(0.0), 0)
    );
    assert_eq!(r(Protocol::Voc10).map, Some(1.0));
}

#[test]
fn nothing_is_none() {
    for p in Protocol::ALL {
        let none: [Vec<Detection>; 0] = [];
        let r = evaluate(p, &none, &[] as &[Vec<Object>], &["car"]).unwrap();
        assert_eq!((r.map, r.map50, r.images), (None, None, 0));
        let r = evaluate(
            p,
            &[vec![detection(0, 0.5, 0.0, 0.0, 1.0, 1.0)]],
            &[vec![]],
            &["car"],
        )
        .unwrap();
        assert_eq!((r.map, r.classes[0].detections), (None, 1));
        let text = serde_json::to_string(&r).unwrap();
        assert_eq!(serde_json::from_str::<ApReport>(&text).unwrap(), r);
    }
}

#[test]
fn bad_input_is_an_error_with_its_place() {
    let o = [vec![object(0, 0.0, 0.0, 10.0, 10.0)]];
    let good = detection(0, 0.5, 0.0, 0.0, 10.0, 10.0);
    let cases = [
        (
            Detection {
                score: f32::NAN,
                ..good
            },
            Code::Argument,
        ),
        (
            Detection {
                score: f32::INFINITY,
                ..good
            },
            Code::Argument,
        ),
        (Detection { class: 1, ..good }, Code::BadLabelId),
        (detection(0, 0.5, f32::NAN, 0.0, 1.0, 1.0), Code::BadBox),
        (detection(0, 0.5, 3.0, 0.0, 1.0, 1.0), Code::BadBox),
    ];
    for p in Protocol::ALL {
        for (d, code) in cases {
            let e = evaluate(p, &[vec![good, d]], &o, &["car"]).unwrap_err();
            assert_eq!((e.code(), e.place()), (code, Some("image 0, detection 1")));
        }
        let e = evaluate(
            p,
            &[vec![good]],
            &[vec![object(3, 0.0, 0.0, 1.0, 1.0)]],
            &["car"],
        )
        .unwrap_err();
        assert_eq!(e.place(), Some("image 0, object 0"));
        assert_eq!(
            evaluate(p, &[vec![good], vec![]], &o, &["car"])
                .unwrap_err()
                .code(),
            Code::Argument
        );
    }
}

#[test]
fn names_parse_and_a_slip_is_answered_with_the_nearest() {
    for p in Protocol::ALL {
        assert_eq!(Protocol::parse(p.name()).unwrap(), p);
        assert_eq!(serde_json::to_string(&p).unwrap(), format!("\"{p}\""));
    }
    let e = Protocol::parse("voc-10").unwrap_err();
    assert!(e.to_string().contains("did you mean `voc10`"), "{e}");
}

#[test]
fn long_curves_are_thinned_and_keep_their_ends() {
    let n = 3 * CURVE_POINTS;
    let objects: Vec<Vec<Object>> = (0..n)
        .map(|_| vec![object(0, 0.0, 0.0, 9.0, 9.0)])
        .collect();
    let d: Vec<Vec<Detection>> = objects.iter().map(|o| vec![found(0.5, &o[0])]).collect();
    let c = &evaluate(Protocol::Voc10, &d, &objects, &["car"])
        .unwrap()
        .classes[0]
        .curve;
    assert_eq!(c.len(), CURVE_POINTS);
    assert!((c[0].recall - 1.0 / n as f64).abs() < 1e-12 && c[CURVE_POINTS - 1].recall == 1.0);
    assert!(c.windows(2).all(|w| w[0].recall < w[1].recall));
}
