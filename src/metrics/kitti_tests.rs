//! Each rule of the official evaluation by hand, and the algorithm against a port of the original (tests/reference/kitti_ap.py).

use super::*;
use crate::annotation::BBox;

const CLASSES: [&str; 3] = ["car", "pedestrian", "cyclist"];

fn bbox(x: f32, y: f32, w: f32, h: f32) -> BBox {
    BBox {
        x1: x,
        y1: y,
        x2: x + w,
        y2: y + h,
    }
}

fn truth(role: KittiRole, b: BBox) -> KittiTruth {
    KittiTruth {
        role,
        bbox: b,
        truncated: 0.0,
        occluded: 0,
    }
}

fn car(b: BBox) -> KittiTruth {
    truth(KittiRole::Object(0), b)
}

fn found(class: usize, score: f32, bbox: BBox) -> Detection {
    Detection { class, score, bbox }
}

/// R11 of class 0, which a threshold at the first place alone makes 1/11 of its precision: easy, moderate, hard.
fn first(detections: Vec<Detection>, truth: Vec<KittiTruth>) -> [Option<f64>; 3] {
    let r = evaluate(Protocol::KittiR11, &[detections], &[truth], &CLASSES).unwrap();
    let k = r.kitti.unwrap();
    [k.easy[0], k.moderate[0], k.hard[0]].map(|v| v.map(|v| (v * 11.0 * 1e9).round() / 1e9))
}

const TALL: BBox = BBox {
    x1: 0.0,
    y1: 0.0,
    x2: 80.0,
    y2: 50.0,
};

#[test]
fn difficulties_by_height_occlusion_and_truncation() {
    let one = |t: KittiTruth| first(vec![found(0, 0.9, t.bbox)], vec![t]);
    let all = [Some(1.0); 3];
    assert_eq!(one(car(TALL)), all);
    assert_eq!(one(car(bbox(5.0, 5.0, 80.0, 40.0))), all, "at the limit");
    let flat = |h: f32| one(car(bbox(5.0, 5.0, 80.0, h)));
    assert_eq!(flat(39.75), [None, Some(1.0), Some(1.0)]);
    assert_eq!(flat(25.0), [None, Some(1.0), Some(1.0)]);
    assert_eq!(flat(24.75), [None; 3]);
    let with = |occluded, truncated| {
        one(KittiTruth {
            occluded,
            truncated,
            ..car(TALL)
        })
    };
    assert_eq!(with(0, 0.15), all);
    assert_eq!(with(1, 0.0), [None, Some(1.0), Some(1.0)]);
    assert_eq!(with(2, 0.0), [None, None, Some(1.0)]);
    assert_eq!(with(3, 0.0), [None; 3]);
    assert_eq!(with(0, 0.16), [None, Some(1.0), Some(1.0)]);
    assert_eq!(with(0, 0.3), [None, Some(1.0), Some(1.0)]);
    assert_eq!(with(0, 0.31), [None, None, Some(1.0)]);
    assert_eq!(with(0, 0.51), [None; 3]);
}

#[test]
fn cars_need_more_overlap_than_people() {
    // 100 x 100 against its left 60 %.
    let (whole, part) = (bbox(0.0, 0.0, 100.0, 100.0), bbox(0.0, 0.0, 60.0, 100.0));
    let ap = |class: usize, part: BBox| {
        let t = truth(KittiRole::Object(class), whole);
        let d = [vec![found(class, 0.5, part)]];
        let r = evaluate(Protocol::KittiR11, &d, &[vec![t]], &CLASSES).unwrap();
        r.classes[class].ap.unwrap()
    };
    assert_eq!((ap(0, part), ap(1, part) > 0.09), (0.0, true));
    assert!(ap(0, bbox(0.0, 0.0, 71.0, 100.0)) > 0.09);
    // Exactly the limit is not enough.
    assert_eq!(ap(1, bbox(0.0, 0.0, 50.0, 100.0)), 0.0);
    assert_eq!(
        ["Car", "van", "tram", "cyclist", "sign"].map(least_overlap),
        [0.7, 0.7, 0.7, 0.5, 0.5]
    );
}

#[test]
fn neighbours_and_regions_excuse_detections() {
    let van = truth(KittiRole::Neighbour(0), bbox(200.0, 0.0, 80.0, 50.0));
    let right = found(0, 0.5, TALL);
    let stray = found(0, 0.9, van.bbox);
    // Wrong without the van, excused by it, and one of two again when it is a neighbour of another class.
    assert_eq!(
        first(vec![right, stray], vec![car(TALL)])[0],
        Some(0.5),
        "a false alarm"
    );
    assert_eq!(
        first(vec![right, stray], vec![car(TALL), van])[0],
        Some(1.0)
    );
    let other = KittiTruth {
        role: KittiRole::Neighbour(1),
        ..van
    };
    assert_eq!(
        first(vec![right, stray], vec![car(TALL), other])[0],
        Some(0.5)
    );
    // One van excuses one detection.
    assert_eq!(
        first(vec![right, stray, stray], vec![car(TALL), van])[0],
        Some(0.5)
    );
    // A region any number, by the share of the detection inside it.
    let region = |w: f32| truth(KittiRole::DontCare, bbox(200.0, 0.0, w, 500.0));
    let two = vec![right, stray, stray];
    assert_eq!(
        first(two.clone(), vec![car(TALL), region(57.0)])[0],
        Some(1.0)
    );
    assert_eq!(
        first(two, vec![car(TALL), region(56.0)])[0],
        Some((1e9f64 / 3.0).round() / 1e9)
    );
    // It does not make an object: nothing to find in it.
    assert_eq!(first(vec![stray], vec![region(57.0)]), [None; 3]);
}

#[test]
fn low_detections_are_set_aside() {
    // A stray of 39 pixels is no false alarm where 40 count, but one where 25 do.
    let stray = found(0, 0.9, bbox(300.0, 0.0, 80.0, 39.0));
    let right = found(0, 0.5, TALL);
    assert_eq!(
        first(vec![right, stray], vec![car(TALL)]),
        [Some(1.0), Some(0.5), Some(0.5)]
    );
    // An object of 45 found at 39: neither found nor missed for easy.
    let object = car(bbox(300.0, 0.0, 80.0, 45.0));
    let r = evaluate(
        Protocol::KittiR11,
        &[vec![right, stray]],
        &[vec![car(TALL), object]],
        &CLASSES,
    )
    .unwrap();
    let k = r.kitti.unwrap();
    assert!((k.easy[0].unwrap() * 11.0 - 1.0).abs() < 1e-12);
    // The original asks for the height before the class: a low pedestrian hides the car that it covers.
    let pedestrian = Detection { class: 1, ..stray };
    let scene = Scene::new(
        0,
        0.7,
        &DIFFICULTIES[0],
        &[pedestrian],
        std::slice::from_ref(&object),
    );
    let mut c = Count::default();
    scene.count(0.0, &mut c);
    assert_eq!((c.right, c.wrong, c.missed), (0, 0, 0));
}

#[test]
fn the_first_pass_goes_by_score_and_the_second_by_overlap() {
    // The better-placed box has the lower score. First pass: 0.9 is the match. Second pass at 0.9: it is alone, right.
    let near = found(0, 0.4, TALL);
    let far = found(0, 0.9, bbox(8.0, 0.0, 80.0, 50.0));
    let scene = Scene::new(0, 0.7, &DIFFICULTIES[0], &[near, far], &[car(TALL)]);
    let mut scores = vec![];
    scene.matches(&mut scores);
    assert_eq!(scores, [0.9]);
    let at = |t: f32| {
        let mut c = Count::default();
        scene.count(t, &mut c);
        (c.right, c.wrong, c.missed)
    };
    assert_eq!(at(0.9), (1, 0, 0));
    assert_eq!(
        at(0.4),
        (1, 1, 0),
        "now the nearer box is right and the other one wrong"
    );
    assert_eq!(at(0.95), (0, 0, 1));
}

#[test]
fn thresholds_are_thinned_to_steps_of_a_fortieth() {
    let scores: Vec<f32> = (0..400).map(|i| 1.0 - i as f32 / 1000.0).collect();
    let t = thresholds(scores.clone(), 400);
    assert_eq!(t.len(), PLACES);
    assert_eq!((t[0], t[1], t[40]), (scores[0], scores[9], scores[399]));
    // Half of the objects found: half of the places, the rest counts 0.
    assert_eq!(thresholds(scores[..200].to_vec(), 400).len(), 21);
    // Few objects: each match is a threshold, so that all found of three is 2 of 40 places.
    let n = [0.9, 0.8, 0.7];
    let boxes = |i: usize| bbox(100.0 * i as f32, 0.0, 80.0, 50.0);
    let d: Vec<_> = (0..3).map(|i| found(0, n[i], boxes(i))).collect();
    let t: Vec<_> = (0..3).map(|i| car(boxes(i))).collect();
    let ap = |p| {
        let r = evaluate(
            p,
            std::slice::from_ref(&d),
            std::slice::from_ref(&t),
            &CLASSES,
        );
        let r = r.unwrap();
        assert_eq!((r.classes[0].objects, r.map50), (3, None));
        assert_eq!(r.classes[0].curve.last().unwrap().recall, 1.0);
        r.map.unwrap()
    };
    assert!((ap(Protocol::KittiR40) - 2.0 / 40.0).abs() < 1e-12);
    assert!((ap(Protocol::KittiR11) - 1.0 / 11.0).abs() < 1e-12);
}

#[test]
fn perfect_detections_of_many_objects_score_1() {
    let image = |i: usize| vec![car(bbox(i as f32, 0.0, 80.0, 50.0))];
    let t: Vec<_> = (0..50).map(image).collect();
    let d: Vec<_> = (t.iter().enumerate())
        .map(|(i, t)| vec![found(0, i as f32 / 64.0, t[0].bbox)])
        .collect();
    for p in [Protocol::KittiR40, Protocol::KittiR11] {
        let r = evaluate(p, &d, &t, &CLASSES).unwrap();
        assert_eq!((r.map, r.classes[1].ap), (Some(1.0), None), "{p}");
    }
}

#[test]
fn objects_without_facts_are_fully_visible() {
    let object = |ignore, x| Object {
        class: 0,
        bbox: bbox(x, 0.0, 80.0, 50.0),
        ignore,
    };
    let t = visible(&[object(false, 0.0), object(true, 100.0)]);
    assert_eq!(
        (t[0].role, t[1].role),
        (KittiRole::Object(0), KittiRole::Neighbour(0))
    );
    let d = [vec![found(0, 0.9, t[1].bbox), found(0, 0.5, t[0].bbox)]];
    let o = [vec![object(false, 0.0), object(true, 100.0)]];
    let r = crate::metrics::evaluate(Protocol::KittiR11, &d, &o, &["car"]).unwrap();
    assert!((r.map.unwrap() - 1.0 / 11.0).abs() < 1e-12);
    assert_eq!((r.classes[0].objects, r.classes[0].ignored), (1, 1));
}

#[test]
fn equals_the_official_algorithm() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/kitti_ap.json");
    let file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let sets = file["sets"].as_array().unwrap();
    let images: usize = sets
        .iter()
        .map(|s| s["images"].as_array().unwrap().len())
        .sum();
    assert!(sets.len() >= 150 && images >= 500);
    let mut above = 0;
    for (n, set) in sets.iter().enumerate() {
        let (mut d, mut t) = (vec![], vec![]);
        let f = |v: &serde_json::Value| v.as_f64().unwrap() as f32;
        let edges = |v: &[serde_json::Value]| BBox {
            x1: f(&v[0]) / 4.0,
            y1: f(&v[1]) / 4.0,
            x2: f(&v[2]) / 4.0,
            y2: f(&v[3]) / 4.0,
        };
        for image in set["images"].as_array().unwrap() {
            let rows = |key: &str| image[key].as_array().unwrap().iter();
            let object = |v: &serde_json::Value| {
                let v = v.as_array().unwrap();
                let role = match v[0].as_str().unwrap() {
                    "Car" => KittiRole::Object(0),
                    "Pedestrian" => KittiRole::Object(1),
                    "Cyclist" => KittiRole::Object(2),
                    "Van" => KittiRole::Neighbour(0),
                    "Person_sitting" => KittiRole::Neighbour(1),
                    "DontCare" => KittiRole::DontCare,
                    _ => return None,
                };
                Some(KittiTruth {
                    role,
                    bbox: edges(&v[1..5]),
                    occluded: f(&v[5]) as i32,
                    truncated: f(&v[6]) / 20.0,
                })
            };
            t.push(rows("truth").filter_map(object).collect::<Vec<_>>());
            let one = |v: &serde_json::Value| {
                let v = v.as_array().unwrap();
                found(f(&v[0]) as usize, f(&v[1]) / 64.0, edges(&v[2..6]))
            };
            d.push(rows("found").map(one).collect::<Vec<_>>());
        }
        for (p, key) in [(Protocol::KittiR40, "r40"), (Protocol::KittiR11, "r11")] {
            let r = evaluate(p, &d, &t, &CLASSES).unwrap();
            let k = r.kitti.unwrap();
            for (level, ours) in [&k.easy, &k.moderate, &k.hard].into_iter().enumerate() {
                for (class, ap) in ours.iter().enumerate() {
                    let theirs = set[key][class][level].as_f64().unwrap();
                    let ours = ap.unwrap_or(-1.0);
                    assert!(
                        (ours - theirs).abs() < 1e-12,
                        "set {n}, {p}, class {class}, level {level}: {ours} against {theirs}"
                    );
                    above += usize::from(theirs > 0.0);
                }
            }
            let counted: Vec<u64> = r.classes.iter().map(|c| c.objects as u64).collect();
            let theirs: Vec<u64> = (0..3)
                .map(|c| set["counted"][c][1].as_u64().unwrap())
                .collect();
            assert_eq!(counted, theirs, "set {n}");
        }
    }
    assert!(above > 300, "{above} figures above 0");
}
