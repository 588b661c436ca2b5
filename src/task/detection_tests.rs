use super::*;
use crate::annotation::BBox;
use crate::rng::Rng;
use crate::tape::{Cx, Tape};
use crate::task::priors::PriorLayout;

fn task() -> DetectionTask {
    let config = DetectionConfig {
        // The official KITTI evaluation gives a handful of objects less than 1; it has a test of its own.
        protocols: Protocol::ALL[..4].to_vec(),
        ..Default::default()
    };
    let names = ["car", "person"].map(String::from).to_vec();
    DetectionTask::new(names, PriorLayout::peer(64, 96, 4).unwrap(), &config).unwrap()
}

fn scene() -> Annotation {
    let o = |class, x1, y1, x2, y2| Object {
        class,
        bbox: BBox { x1, y1, x2, y2 },
        ignore: false,
    };
    Annotation::Objects(vec![
        o(0, 4.0, 4.0, 24.0, 20.0),
        o(1, 40.0, 10.0, 60.0, 50.0),
        o(0, 60.0, 30.0, 96.0, 60.0),
    ])
}

fn empty() -> Annotation {
    Annotation::Objects(vec![])
}

fn random(seed: u64, shape: [usize; 3]) -> Tensor {
    let r = &mut Rng::new(seed, &[]);
    let v = (0..shape.iter().product()).map(|_| r.normal()).collect();
    Tensor::from_f64(shape, v).unwrap()
}

/// The loss of 4.3 in one piece: probabilities of every prior, a full sort of the negatives, sums.
fn oracle(loc: &[f64], conf: &[f64], t: &Targets, priors: usize, values: usize) -> (f64, f64) {
    let (labels, offsets) = (t.get("label").i32s(), t.get("offset").to_f64());
    let n = labels.iter().filter(|&&l| l > 0).count().max(1) as f64;
    let (mut location, mut confidence) = (0.0, 0.0);
    for image in 0..labels.len() / priors {
        let mut negatives = vec![];
        let mut positives = 0;
        for i in image * priors..(image + 1) * priors {
            let e: Vec<f64> = conf[i * 3..][..3].iter().map(|v| v.exp()).collect();
            let ce = -(e[labels[i] as usize] / e.iter().sum::<f64>()).ln();
            if labels[i] == 0 {
                negatives.push(ce);
                continue;
            }
            positives += 1;
            confidence += ce;
            for k in 0..4 {
                let d: f64 = loc[i * values + k] - offsets[i * 4 + k];
                location += if d.abs() < 1.0 {
                    d * d / 2.0
                } else {
                    d.abs() - 0.5
                };
            }
        }
        negatives.sort_by(|a, b| b.total_cmp(a));
        confidence += negatives[..3 * positives].iter().sum::<f64>();
    }
    (location / n, confidence / n)
}

#[test]
fn loss_equals_the_formula() {
    let task = task();
    let p = task.priors().len();
    for (seed, values) in [(1, 4), (2, 6), (3, 4)] {
        let t = task.targets(&[scene(), empty(), scene()]).unwrap();
        let (loc, conf) = (random(seed, [3, p, values]), random(seed + 10, [3, p, 3]));
        let want = oracle(loc.f64s(), conf.f64s(), &t, p, values);
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let tape = Tape::new(Cx::default());
            let out = [tape.param(loc.cast(dtype)), tape.param(conf.cast(dtype))];
            let loss = task.loss(&out, &t).unwrap();
            let total = loss.total.value().item();
            assert!(
                (total - want.0 - want.1).abs() < tolerance * total,
                "{total} {want:?}"
            );
            let parts = [("loc", want.0), ("conf", want.1)];
            for (got, want) in loss.parts.iter().zip(parts) {
                assert!(got.0 == want.0 && (got.1.item() - want.1).abs() < tolerance * total);
            }
            // Three negatives a positive in the images with objects, none in the empty one.
            let used = loss.audit[0].1.i32s();
            let sums: Vec<i32> = used.chunks(p).map(|u| u.iter().sum()).collect();
            let positives = t.denominator as i32 / 2;
            assert_eq!(sums, [4 * positives, 0, 4 * positives]);
            let g = tape.backward(&loss.total).unwrap();
            let g = g.get(&out[1]).unwrap().to_f64();
            let reached = g.chunks(3).map(|g| g.iter().any(|v| *v != 0.0) as i32);
            assert!(reached.eq(used.iter().copied()));
        }
    }
}

#[test]
fn a_batch_without_objects_has_loss_zero() {
    let task = task();
    let p = task.priors().len();
    let t = task.targets(&[empty(), empty()]).unwrap();
    assert_eq!(t.denominator, 1.0);
    let tape = Tape::new(Cx::default());
    let out = [
        tape.param(random(1, [2, p, 4])),
        tape.param(random(2, [2, p, 3])),
    ];
    let loss = task.loss(&out, &t).unwrap();
    assert_eq!(loss.total.value().item(), 0.0);
    let g = tape.backward(&loss.total).unwrap();
    assert!(
        out.iter()
            .all(|v| g.get(v).unwrap().f64s().iter().all(|g| *g == 0.0))
    );
}

#[test]
fn scores_that_are_not_numbers_reach_the_loss() {
    let task = task();
    let p = task.priors().len();
    let t = task.targets(&[scene()]).unwrap();
    let mut conf = random(1, [1, p, 3]);
    let i = t.get("label").i32s().iter().position(|&l| l == 0).unwrap();
    conf.data_mut::<f64>()[3 * i + 1] = f64::NAN;
    let tape = Tape::new(Cx::default());
    let out = [tape.param(random(2, [1, p, 4])), tape.param(conf)];
    assert!(task.loss(&out, &t).unwrap().total.value().item().is_nan());
}

/// Outputs of a head that says exactly what the targets ask.
fn ideal(task: &DetectionTask, annotations: &[Annotation]) -> [Tensor; 2] {
    let t = task.targets(annotations).unwrap();
    let one = |&l: &i32| (0..3).map(move |c| if c == l { 8.0 } else { 0.0 });
    let conf = t.get("label").i32s().iter().flat_map(one).collect();
    let shape = [annotations.len(), task.priors().len(), 3];
    [
        t.get("offset").clone(),
        Tensor::from_f32(shape, conf).unwrap(),
    ]
}

#[test]
fn an_ideal_head_scores_1_under_every_protocol() {
    let task = task();
    let truth = [scene(), empty()];
    let out = ideal(&task, &truth);
    let mut m = task.meter();
    assert_eq!(m.report().unwrap().headline().1, None);
    for (p, t) in task
        .predict(&out, &[(64, 96); 2])
        .unwrap()
        .into_iter()
        .zip(&truth)
    {
        m.add(p, t).unwrap();
    }
    let report = m.report().unwrap();
    assert_eq!(report.headline(), ("mAP (mtnas-2020)".into(), Some(1.0)));
    let Report::Detection(all) = &report else {
        panic!("{report:?}")
    };
    assert_eq!(all.len(), 4);
    // Background priors that overlap an object by less than half score below every true positive.
    assert!(all.iter().all(|r| r.map50 == Some(1.0)), "{report:?}");
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[test]
fn predictions_are_in_pixels_of_the_size_asked_for() {
    let task = task();
    let out = ideal(&task, &[scene()]);
    let boxes = |size| match task.predict(&out, &[size]).unwrap().remove(0) {
        Prediction::Objects(d) => d,
        other => panic!("{other:?}"),
    };
    for (a, b) in boxes((64, 96)).iter().zip(boxes((640, 192))) {
        let near = |a: f32, b: f32| (a - b).abs() < 1e-2;
        assert!(near(a.bbox.x1 * 2.0, b.bbox.x1) && near(a.bbox.y2 * 10.0, b.bbox.y2));
        assert_eq!((a.class, a.score), (b.class, b.score));
    }
}

#[test]
fn kitti_protocols_look_at_the_picture_itself() {
    let config = DetectionConfig {
        protocols: vec![Protocol::KittiR11, Protocol::Voc10],
        ..Default::default()
    };
    let layout = PriorLayout::peer(64, 96, 4).unwrap();
    let task = DetectionTask::new(vec!["car".into()], layout, &config).unwrap();
    let bbox = BBox {
        x1: 4.0,
        y1: 4.0,
        x2: 24.0,
        y2: 20.0,
    };
    let truth = Annotation::Objects(vec![Object {
        class: 0,
        bbox,
        ignore: false,
    }]);
    let found = || {
        Prediction::Objects(vec![Detection {
            class: 0,
            score: 0.5,
            bbox,
        }])
    };
    let of = |picture: Option<&Picture>| {
        let mut m = task.meter();
        match picture {
            Some(p) => m.add_seen(found(), &truth, p).unwrap(),
            None => m.add(found(), &truth).unwrap(),
        }
        let Report::Detection(all) = m.report().unwrap() else {
            panic!()
        };
        assert_eq!((all[1].map, all[1].protocol), (Some(1.0), Protocol::Voc10));
        let k = all[0].kitti.clone().unwrap();
        [k.easy[0], k.moderate[0], k.hard[0]].map(|v| v.map(|v| (11.0 * v).round()))
    };
    // 16 pixels high: too low to count, until the picture is known to be twice or three times as high.
    assert_eq!(of(None), [None; 3]);
    let mut picture = Picture {
        scale: [2.0, 3.0],
        kitti: None,
    };
    assert_eq!(of(Some(&picture)), [None, Some(1.0), Some(1.0)]);
    picture.scale[0] = 3.0;
    assert_eq!(of(Some(&picture)), [Some(1.0); 3]);
    // Labels of the picture itself go before what is left of them at the network's size.
    let own = KittiTruth {
        role: crate::annotation::KittiRole::Object(0),
        bbox: BBox {
            x1: 12.0,
            y1: 12.0,
            x2: 72.0,
            y2: 60.0,
        },
        truncated: 0.0,
        occluded: 2,
    };
    picture.kitti = Some(vec![own]);
    assert_eq!(of(Some(&picture)), [None, None, Some(1.0)]);
}

#[test]
fn the_configuration_defaults_are_those_of_the_parts() {
    let c = DetectionConfig::default();
    assert_eq!(MatchConfig::from(&c), MatchConfig::default());
    assert_eq!(DecodeConfig::from(&c), DecodeConfig::default());
    assert_eq!(c.negative_ratio, crate::task::mining::RATIO);
    let capped = DetectionConfig { max_boxes: 5, ..c };
    assert_eq!(DecodeConfig::from(&capped).per_image, Some(5));
}

#[test]
fn misfits_are_errors() {
    let task = task();
    let p = task.priors().len();
    let layout = || PriorLayout::peer(64, 96, 4).unwrap();
    let config = DetectionConfig::default();
    assert!(DetectionTask::new(vec![], layout(), &config).is_err());
    let mut bad = config.clone();
    bad.priors.variances[1] = 0.0;
    assert_eq!(
        DetectionTask::new(vec!["a".into()], layout(), &bad)
            .unwrap_err()
            .code(),
        Code::ConfigValue
    );
    bad = DetectionConfig {
        negative_ratio: f64::NAN,
        ..config
    };
    assert!(DetectionTask::new(vec!["a".into()], layout(), &bad).is_err());

    assert!(
        task.targets(&[Annotation::Class(1)])
            .unwrap_err()
            .message()
            .contains("expected boxes, got a class")
    );
    let mut outside = scene();
    if let Annotation::Objects(o) = &mut outside {
        o[1].bbox.x1 = f32::NAN;
    }
    let e = task.targets(&[scene(), outside]).unwrap_err();
    assert!(e.render().contains("image 1 of the batch") && e.place() == Some("object 1"));

    let t = task.targets(&[scene()]).unwrap();
    let tape = Tape::new(Cx::default());
    let var = |shape: [usize; 3]| tape.leaf(Tensor::zeros(shape, DType::F32));
    for out in [
        vec![var([1, p, 4])],
        vec![var([1, p - 1, 4]), var([1, p - 1, 3])],
        vec![var([1, p, 3]), var([1, p, 3])],
        vec![var([1, p, 4]), var([1, p, 4])],
        vec![var([2, p, 4]), var([2, p, 3])],
    ] {
        assert_eq!(task.loss(&out, &t).unwrap_err().code(), Code::Shape);
        let tensors: Vec<Tensor> = out.iter().map(|v| v.value().clone()).collect();
        assert_eq!(
            task.predict(&tensors, &[(64, 96)]).unwrap_err().code(),
            Code::Shape
        );
    }
    let mut m = task.meter();
    assert!(m.add(Prediction::Scores(vec![]), &scene()).is_err());
    assert!(
        m.add(Prediction::Objects(vec![]), &Annotation::Class(0))
            .is_err()
    );
}
