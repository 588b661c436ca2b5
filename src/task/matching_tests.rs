use super::*;
use crate::rng::Rng;
use crate::task::priors::{PriorLayout, PriorLevel};

fn object(class: usize, x1: f32, y1: f32, x2: f32, y2: f32) -> Object {
    Object {
        class,
        bbox: BBox { x1, y1, x2, y2 },
        ignore: false,
    }
}

/// One level, 4 x 4 positions on a 64 x 64 input, squares of 16 and sqrt(16 * 36) = 24 pixels.
fn grid() -> Matcher {
    let level = PriorLevel {
        rows: 4,
        cols: 4,
        step: 16.0,
        min: 16.0,
        max: 36.0,
        ratios: vec![],
    };
    let priors = PriorLayout {
        height: 64,
        width: 64,
        levels: vec![level],
    }
    .priors()
    .unwrap();
    Matcher::new(priors, MatchConfig::default())
}

fn positives(m: &Matched) -> Vec<(usize, i32)> {
    m.labels
        .iter()
        .copied()
        .enumerate()
        .filter(|p| p.1 > 0)
        .collect()
}

#[test]
fn an_object_on_a_prior_is_that_prior_with_zero_offsets() {
    let m = grid()
        .targets(&[object(1, 16.0, 32.0, 32.0, 48.0)], (64, 64), 2)
        .unwrap();
    // Row 2, column 1, small square; IoU with the large square there is 256/576 < 0.5.
    let i = (2 * 4 + 1) * 2;
    assert_eq!(positives(&m), [(i, 2)]);
    assert_eq!(&m.offsets[4 * i..4 * i + 4], [0.0; 4]);
    assert_eq!(m.positives(), 1);
}

#[test]
fn offsets_by_hand() {
    // 16 x 8 at (20, 34) .. : centre (28, 38) against the prior at centre (24, 40), 16 x 16.
    let m = grid()
        .targets(&[object(0, 20.0, 34.0, 36.0, 42.0)], (64, 64), 1)
        .unwrap();
    let i = (2 * 4 + 1) * 2;
    assert_eq!(positives(&m), [(i, 1)]);
    let want = [4.0 / 16.0 / 0.1, -2.0 / 16.0 / 0.1, 0.0, 0.5f64.ln() / 0.2];
    for (a, b) in m.offsets[4 * i..4 * i + 4].iter().zip(want) {
        assert!((a - b).abs() < 1e-5, "{a} against {b}");
    }
}

#[test]
fn a_claimed_prior_is_positive_at_any_iou() {
    // 3 x 3 pixels: IoU with every prior is below 0.04.
    let m = grid()
        .targets(&[object(0, 2.0, 2.0, 5.0, 5.0)], (64, 64), 1)
        .unwrap();
    assert_eq!(positives(&m), [(0, 1)]);
}

#[test]
fn ties_go_to_the_lowest_prior_and_later_objects_override() {
    // On the corner of four small squares: all overlap alike (the large squares less, relative to their area).
    let tie = object(0, 28.0, 28.0, 36.0, 36.0);
    let m = grid().targets(&[tie], (64, 64), 1).unwrap();
    let p = positives(&m);
    assert_eq!(p.len(), 1);
    assert_eq!(p[0].0 / 2, 4 + 1);
    // Two objects claim the same prior: the later one has it, and the earlier one has none.
    let m = grid()
        .targets(
            &[
                object(0, 2.0, 2.0, 6.0, 6.0),
                object(1, 8.0, 8.0, 14.0, 14.0),
            ],
            (64, 64),
            2,
        )
        .unwrap();
    assert_eq!(positives(&m), [(0, 2)]);
    let m = grid()
        .targets(
            &[
                object(1, 8.0, 8.0, 14.0, 14.0),
                object(0, 2.0, 2.0, 6.0, 6.0),
            ],
            (64, 64),
            2,
        )
        .unwrap();
    assert_eq!(positives(&m), [(0, 1)]);
    // Equal IoU with two objects: the large square takes the first, the small one is claimed by both, the second last.
    let same = [
        object(0, 0.0, 0.0, 16.0, 16.0),
        object(1, 0.0, 0.0, 16.0, 16.0),
    ];
    assert_eq!(
        positives(&grid().targets(&same, (64, 64), 2).unwrap()),
        [(0, 2), (1, 1)]
    );
}

#[test]
fn overlap_is_measured_inside_the_image_and_the_prior_stays_whole() {
    // The large square of the first position is -4 .. 20, inside the image 0 .. 20; the object is exactly that part.
    let m = grid()
        .targets(&[object(0, -30.0, -30.0, 20.0, 20.0)], (64, 64), 1)
        .unwrap();
    assert!(
        m.labels[1] == 1 && m.labels[0] == 1,
        "IoU 1 with the large, 256/400 with the small square"
    );
    // Encoded: centre 10 against 8, size 20 against 24.
    let want = [
        2.0 / 24.0 / 0.1,
        2.0 / 24.0 / 0.1,
        (20f64 / 24.0).ln() / 0.2,
        (20f64 / 24.0).ln() / 0.2,
    ];
    for (a, b) in m.offsets[4..8].iter().zip(want) {
        assert!((a - b).abs() < 1e-5, "{a} against {b}");
    }
}

#[test]
fn boxes_are_relative_to_their_own_image() {
    let small = grid()
        .targets(&[object(0, 16.0, 32.0, 32.0, 48.0)], (64, 64), 1)
        .unwrap();
    let large = grid()
        .targets(&[object(0, 160.0, 64.0, 320.0, 96.0)], (128, 640), 1)
        .unwrap();
    assert_eq!(small, large);
}

#[test]
fn thin_and_empty_boxes_become_one_pixel() {
    for o in [
        object(0, 24.0, 40.0, 24.0, 40.0),
        object(0, 24.0, 36.0, 24.001, 44.0),
        object(0, 64.0, 60.0, 64.0, 64.0),
        object(0, -5.0, -5.0, 0.0, 3.0),
    ] {
        let m = grid().targets(&[o], (64, 64), 1).unwrap();
        assert_eq!(m.positives(), 1, "{o:?}");
        assert!(m.offsets.iter().all(|v| v.is_finite()));
        let i = positives(&m)[0].0;
        let [x1, y1, x2, y2] = decode(
            std::array::from_fn(|k| m.offsets[4 * i + k]),
            grid().priors().boxes()[i],
            MatchConfig::default().variances,
        );
        assert!((x2 - x1) * 64.0 > 0.999 && (y2 - y1) * 64.0 > 0.999);
        assert!(x1 > -1e-6 && y1 > -1e-6 && x2 < 1.0 + 1e-6 && y2 < 1.0 + 1e-6);
    }
}

#[test]
fn ignored_objects_shield_background_priors_only() {
    let crowd = Object {
        ignore: true,
        ..object(9, 0.0, 0.0, 32.0, 64.0)
    };
    let m = grid()
        .targets(&[crowd, object(0, 0.0, 0.0, 16.0, 16.0)], (64, 64), 1)
        .unwrap();
    assert_eq!(positives(&m), [(0, 1), (1, 1)]);
    for row in 0..4 {
        for col in 0..4 {
            let small = m.labels[(row * 4 + col) * 2];
            let want = if (row, col) == (0, 0) {
                1
            } else if col < 2 {
                NEITHER
            } else {
                0
            };
            assert_eq!(small, want, "{row} {col}");
        }
    }
    assert_eq!(
        grid().targets(&[crowd], (64, 64), 1).unwrap().positives(),
        0
    );
}

#[test]
fn an_empty_image_is_all_background() {
    let m = grid().targets(&[], (64, 64), 3).unwrap();
    assert!(m.labels.iter().all(|&l| l == 0) && m.offsets.iter().all(|&v| v == 0.0));
}

#[test]
fn bad_boxes_are_errors_with_the_object() {
    let good = object(0, 1.0, 1.0, 9.0, 9.0);
    let cases = [
        (object(0, f32::NAN, 0.0, 1.0, 1.0), Code::BadBox),
        (object(0, 0.0, 0.0, f32::INFINITY, 1.0), Code::BadBox),
        (object(0, 5.0, 0.0, 1.0, 1.0), Code::BadBox),
        (object(0, 70.0, 0.0, 80.0, 1.0), Code::BadBox),
        (object(2, 0.0, 0.0, 1.0, 1.0), Code::BadLabelId),
    ];
    for (o, code) in cases {
        let e = grid().targets(&[good, o], (64, 64), 2).unwrap_err();
        assert_eq!((e.code(), e.place()), (code, Some("object 1")));
    }
    assert_eq!(
        grid().targets(&[], (0, 64), 2).unwrap_err().code(),
        Code::BadImage
    );
}

/// The rule written out over a full table of overlaps.
fn oracle(m: &Matcher, objects: &[Object], (height, width): (f64, f64)) -> Vec<i32> {
    let clamp = |e: [f64; 4]| e.map(|v| v.clamp(0.0, 1.0));
    let prior =
        |&[x, y, w, h]: &[f64; 4]| clamp([x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]);
    let truth = |o: &Object| {
        clamp([
            o.bbox.x1 as f64 / width,
            o.bbox.y1 as f64 / height,
            o.bbox.x2 as f64 / width,
            o.bbox.y2 as f64 / height,
        ])
    };
    let iou = |a: [f64; 4], b: [f64; 4]| {
        let (w, h) = (
            (a[2].min(b[2]) - a[0].max(b[0])).max(0.0),
            (a[3].min(b[3]) - a[1].max(b[1])).max(0.0),
        );
        let area = |r: [f64; 4]| (r[2] - r[0]) * (r[3] - r[1]);
        w * h / (area(a) + area(b) - w * h)
    };
    let row = |o: &Object| {
        m.priors()
            .boxes()
            .iter()
            .map(|p| iou(truth(o), prior(p)))
            .collect()
    };
    let table: Vec<Vec<f64>> = objects.iter().map(row).collect();
    // `max_by` keeps the last of equals; reversed, that is the lowest index.
    let mut owner: Vec<Option<usize>> = (0..m.priors().len())
        .map(|i| {
            let over = (0..objects.len()).rev().filter(|&k| table[k][i] >= 0.5);
            over.max_by(|&a, &b| table[a][i].total_cmp(&table[b][i]))
        })
        .collect();
    for (k, row) in table.iter().enumerate() {
        let best = (0..row.len())
            .rev()
            .max_by(|&a, &b| row[a].total_cmp(&row[b]))
            .unwrap();
        owner[best] = Some(k);
    }
    owner
        .into_iter()
        .map(|k| k.map_or(0, |k| 1 + objects[k].class as i32))
        .collect()
}

#[test]
fn labels_equal_a_table_of_all_overlaps_and_offsets_decode_to_the_objects() {
    let priors = PriorLayout::release(64, 96, 4).unwrap().priors().unwrap();
    let m = Matcher::new(priors, MatchConfig::default());
    for seed in 0..40 {
        let r = &mut Rng::new(seed, &[3]);
        let objects: Vec<Object> = (0..1 + r.below(6))
            .map(|_| {
                let (x, y) = (r.range(0.0, 180.0) as f32, r.range(0.0, 120.0) as f32);
                let (w, h) = (r.range(3.0, 90.0) as f32, r.range(3.0, 90.0) as f32);
                object(r.below(3), x, y, (x + w).min(192.0), (y + h).min(128.0))
            })
            .collect();
        let t = m.targets(&objects, (128, 192), 3).unwrap();
        assert_eq!(
            t.labels,
            oracle(&m, &objects, (128.0, 192.0)),
            "seed {seed}"
        );
        for (i, label) in positives(&t) {
            let e = decode(
                std::array::from_fn(|k| t.offsets[4 * i + k]),
                m.priors().boxes()[i],
                [0.1, 0.2],
            );
            let near = |o: &Object| {
                let b = o.bbox;
                let want = [b.x1 / 192.0, b.y1 / 128.0, b.x2 / 192.0, b.y2 / 128.0].map(f64::from);
                o.class as i32 + 1 == label && e.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4)
            };
            assert!(objects.iter().any(near), "seed {seed}, prior {i}");
        }
    }
}

#[test]
fn decode_stays_finite() {
    let e = decode([0.0, 0.0, 1e30, -1e30], [0.5, 0.5, 0.1, 0.1], [0.1, 0.2]);
    assert!(e.iter().all(|v| v.is_finite()));
}
