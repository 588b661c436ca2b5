use super::*;
use crate::annotation::Object;
use crate::rng::Rng;
use crate::task::matching::{MatchConfig, Matcher};
use crate::task::priors::PriorLayout;

const SIZE: (usize, usize) = (64, 96);

fn matcher() -> Matcher {
    Matcher::new(
        PriorLayout::peer(64, 96, 4).unwrap().priors().unwrap(),
        MatchConfig::default(),
    )
}

/// Logits that put a score close to `p` on `label` (0 = background) of three.
fn logits(label: i32, p: f32) -> [f32; 3] {
    let mut row = [0.0; 3];
    row[label as usize] = (2.0 * p / (1.0 - p)).ln();
    row
}

/// Outputs of a head that predicts the targets of `objects` exactly, `width` location values a prior.
fn ideal(objects: &[Object], width: usize) -> (Vec<f32>, Vec<f32>) {
    let t = matcher().targets(objects, SIZE, 2).unwrap();
    let conf = t.labels.iter().flat_map(|&l| logits(l, 0.999)).collect();
    let pad = |o: &[f64]| {
        o.iter()
            .map(|&v| v as f32)
            .chain(std::iter::repeat_n(7.0, width - 4))
            .collect::<Vec<_>>()
    };
    (t.offsets.chunks(4).flat_map(pad).collect(), conf)
}

fn objects() -> Vec<Object> {
    let o = |class, x1, y1, x2, y2| Object {
        class,
        bbox: BBox { x1, y1, x2, y2 },
        ignore: false,
    };
    vec![
        o(0, 4.0, 4.0, 24.0, 20.0),
        o(1, 40.0, 10.0, 60.0, 50.0),
        o(0, 60.0, 30.0, 96.0, 60.0),
    ]
}

#[test]
fn an_ideal_head_gives_back_the_objects_once_each() {
    for width in [4, 6] {
        let (loc, conf) = ideal(&objects(), width);
        let d = decode(
            matcher().priors(),
            &loc,
            &conf,
            2,
            SIZE,
            &DecodeConfig::default(),
        )
        .unwrap();
        assert_eq!(d.iter().map(|d| d.class).collect::<Vec<_>>(), [0, 0, 1]);
        let edges = |b: &BBox| [b.x1, b.y1, b.x2, b.y2];
        for o in objects() {
            let near = |d: &&Detection| {
                d.class == o.class
                    && edges(&d.bbox)
                        .iter()
                        .zip(edges(&o.bbox))
                        .all(|(a, b)| (a - b).abs() < 0.01)
            };
            let hit = d
                .iter()
                .find(near)
                .unwrap_or_else(|| panic!("{o:?} not among {d:?}"));
            assert!((hit.score - 0.999).abs() < 1e-4);
        }
    }
}

#[test]
fn scores_must_exceed_the_threshold() {
    let n = matcher().priors().len();
    let loc = vec![0.0; 4 * n];
    let mut conf: Vec<f32> = (0..n).flat_map(|_| logits(0, 0.999)).collect();
    conf[3..6].copy_from_slice(&logits(1, 0.6));
    let run = |score| {
        let c = DecodeConfig {
            score,
            ..Default::default()
        };
        decode(matcher().priors(), &loc, &conf, 2, SIZE, &c).unwrap()
    };
    let d = run(0.01);
    // The row's other class has 0.2.
    assert_eq!(d.len(), 2);
    assert!((d[0].score - 0.6).abs() < 1e-6 && (d[1].score - 0.2).abs() < 1e-6);
    assert_eq!((d[0].class, d[1].class), (0, 1));
    assert_eq!(run(d[0].score), []);
    assert_eq!(run(0.3).len(), 1);
}

#[test]
fn the_best_of_each_class_and_of_the_image_are_kept() {
    let n = matcher().priors().len();
    let mut r = Rng::new(1, &[2]);
    let loc = vec![0.0; 4 * n];
    let conf: Vec<f32> = (0..3 * n).map(|_| r.normal() as f32).collect();
    let run = |c: DecodeConfig| decode(matcher().priors(), &loc, &conf, 2, SIZE, &c).unwrap();
    let all = run(DecodeConfig {
        iou: 1.0,
        score: 0.0,
        per_class: n,
        ..Default::default()
    });
    assert_eq!(all.len(), 2 * n);
    assert!(all[..n].windows(2).all(|w| w[0].score >= w[1].score));
    let few = run(DecodeConfig {
        iou: 1.0,
        score: 0.0,
        per_class: 5,
        ..Default::default()
    });
    assert_eq!(few, [&all[..5], &all[n..n + 5]].concat());
    let capped = run(DecodeConfig {
        iou: 1.0,
        score: 0.0,
        per_class: n,
        per_image: Some(7),
        ..Default::default()
    });
    let mut ranked = all.clone();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    assert_eq!(capped, ranked[..7]);
    let suppressed = run(DecodeConfig::default());
    assert!(suppressed.len() < all.len());
    for (i, a) in suppressed.iter().enumerate() {
        // Clipping comes after suppression, so only boxes well inside are compared.
        let inside = |b: &BBox| b.x1 > 0.0 && b.y1 > 0.0 && b.x2 < 96.0 && b.y2 < 64.0;
        for b in suppressed[..i]
            .iter()
            .filter(|b| b.class == a.class && inside(&b.bbox) && inside(&a.bbox))
        {
            assert!(super::super::nms::iou(&a.bbox, &b.bbox) <= 0.45);
        }
    }
}

#[test]
fn boxes_outside_the_image_are_clipped_or_dropped() {
    let n = matcher().priors().len();
    let mut loc = vec![0.0; 4 * n];
    let mut conf: Vec<f32> = (0..n).flat_map(|_| logits(0, 0.9999)).collect();
    conf[..3].copy_from_slice(&logits(1, 0.9));
    conf[3..6].copy_from_slice(&logits(1, 0.8));
    loc[..4].copy_from_slice(&[-1000.0, 0.0, 0.0, 0.0]); // far left
    loc[4..8].copy_from_slice(&[0.0, 0.0, 1e30, 1e30]); // everything
    let run = |clip| {
        let c = DecodeConfig {
            clip,
            score: 0.5,
            ..Default::default()
        };
        decode(matcher().priors(), &loc, &conf, 2, SIZE, &c).unwrap()
    };
    assert_eq!(
        run(true).iter().map(|d| d.bbox).collect::<Vec<_>>(),
        [BBox {
            x1: 0.0,
            y1: 0.0,
            x2: 96.0,
            y2: 64.0
        }]
    );
    let raw = run(false);
    assert_eq!(raw.len(), 2);
    assert!(raw.iter().all(|d| d.bbox.area().is_finite()) && raw[0].bbox.x2 < 0.0);
}

#[test]
fn outputs_that_are_not_finite_or_do_not_fit_are_errors() {
    let (loc, conf) = ideal(&objects(), 4);
    let c = DecodeConfig::default();
    let run =
        |loc: &[f32], conf: &[f32]| decode(matcher().priors(), loc, conf, 2, SIZE, &c).unwrap_err();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut l = loc.clone();
        l[4 * 3] = bad;
        assert_eq!(run(&l, &conf).place(), Some("prior 3"));
        let mut k = conf.clone();
        k[3 * 5 + 2] = bad;
        assert_eq!(run(&loc, &k).place(), Some("prior 5"));
    }
    assert_eq!(run(&loc[1..], &conf).code(), Code::Shape);
    assert_eq!(run(&loc, &conf[3..]).code(), Code::Shape);
    assert_eq!(run(&[], &[]).code(), Code::Shape);
}
