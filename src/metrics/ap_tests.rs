use super::*;
use crate::annotation::BBox;

/// Those without difficulties: the official KITTI evaluation gives a handful of objects less than 1.
const GENERAL: [Protocol; 4] = [
    Protocol::Mtnas2020,
    Protocol::Voc10,
    Protocol::Voc07,
    Protocol::Coco,
];

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
    for p in GENERAL {
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
    for p in GENERAL {
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
    for p in GENERAL {
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
