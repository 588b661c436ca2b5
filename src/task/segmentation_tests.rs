use super::*;
use crate::metrics::Average;
use crate::tape::{Cx, Tape};

fn task(denominator: SegDenominator) -> SegmentationTask {
    let names = ["road", "sky", "car"].map(String::from).to_vec();
    SegmentationTask::new(
        names,
        &SegmentationConfig {
            denominator,
            ..Default::default()
        },
    )
    .unwrap()
}

fn labels(width: usize, data: &[u8]) -> Annotation {
    Annotation::Labels(LabelMap {
        height: data.len() / width,
        width,
        data: data.to_vec(),
    })
}

#[test]
fn denominators_by_hand() {
    let truth = [labels(2, &[0, 255, 2, 255])];
    for (rule, d) in [
        (SegDenominator::AllPixels, 4.0),
        (SegDenominator::ValidPixels, 2.0),
    ] {
        let task = task(rule);
        let t = task.targets(&truth).unwrap();
        assert_eq!(t.denominator, d);
        let tape = Tape::new(Cx::default());
        let x = tape.param(Tensor::from_f64([1, 3, 2, 2], vec![0.0; 12]).unwrap());
        let loss = task.loss(std::slice::from_ref(&x), &t).unwrap();
        assert!((loss.total.value().item() - 2.0 * 3f64.ln() / d).abs() < 1e-12);
        let g = tape.backward(&loss.total).unwrap();
        let g = g.get(&x).unwrap().f64s();
        // Pixel 0 of class 0, pixel 1 (ignored) of class 0, pixel 2 of class 0.
        let want = [-2.0 / 3.0 / d, 0.0, 1.0 / 3.0 / d];
        assert!(
            g[..3].iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12),
            "{g:?}"
        );
    }
}

/// Weights 1 and 3 of the pixels' classes: torch divides by 4, the released loss by the pixels.
#[test]
fn class_weights_by_hand() {
    let truth = [labels(2, &[0, 255, 2, 255])];
    for denominator in [SegDenominator::AllPixels, SegDenominator::ValidPixels] {
        let config = |weights: &[f64]| SegmentationConfig {
            denominator,
            class_weights: Some(weights.to_vec()),
            ..Default::default()
        };
        let names = ["road", "sky", "car"].map(String::from).to_vec();
        let new = |weights: &[f64]| SegmentationTask::new(names.clone(), &config(weights));
        let task = new(&[1.0, 0.0, 3.0]).unwrap();
        let loss = |path: Path| {
            let t = task.inputs(path, &truth).unwrap();
            let tape = Tape::new(Cx {
                path,
                ..Cx::default()
            });
            let x = vec![0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
            let x = tape.leaf(Tensor::from_f32([1, 3, 2, 2], x).unwrap());
            task.loss(&[x], &t).unwrap().total.value().item()
        };
        // -ln of 1 / 3 with weight 1, of 1 / (2 + e) with weight 3.
        let sum = 3f64.ln() + 3.0 * (2.0 + 1f64.exp()).ln();
        for path in [Path::Fast, Path::Device(crate::tensor::Engine::emulated(1))] {
            assert!((loss(path) - sum / 4.0).abs() < 1e-6, "{denominator:?}");
        }
        for bad in [&[1.0, 2.0][..], &[1.0, -1.0, 1.0], &[0.0; 3]] {
            assert_eq!(new(bad).err().unwrap().code(), Code::ConfigValue);
        }
    }
}

#[test]
fn a_batch_without_a_valid_pixel_has_loss_zero() {
    let task = task(SegDenominator::ValidPixels);
    let t = task.targets(&[labels(1, &[255])]).unwrap();
    let tape = Tape::new(Cx::default());
    let x = tape.param(Tensor::from_f32([1, 3, 1, 1], vec![1.0, 2.0, 3.0]).unwrap());
    let loss = task.loss(std::slice::from_ref(&x), &t).unwrap();
    assert_eq!(loss.total.value().item(), 0.0);
    assert_eq!(
        tape.backward(&loss.total).unwrap().get(&x).unwrap().f32s(),
        [0.0; 3]
    );
}

#[test]
fn the_best_class_wins_and_ties_go_to_the_lowest() {
    let logits = [0.0, 1.0, 1.0, 5.0, 0.0, 1.0, 2.0, 5.0, -1.0, 1.5, 2.0, 5.0];
    let m = argmax(&logits, 3, (2, 2)).unwrap();
    assert_eq!(m.data, [0, 2, 1, 0]);
    let mut bad = logits;
    bad[5] = f32::NAN;
    assert_eq!(
        argmax(&bad, 3, (2, 2)).unwrap_err().place(),
        Some("pixel (1, 0)")
    );
}

#[test]
fn nearest_resize_takes_the_floor() {
    let m = LabelMap {
        height: 2,
        width: 3,
        data: vec![0, 1, 2, 3, 4, 5],
    };
    assert_eq!(resize_nearest(&m, 2, 3), m);
    let up = resize_nearest(&m, 3, 6);
    assert_eq!(
        up.data,
        [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    );
    assert_eq!(resize_nearest(&m, 1, 2).data, [0, 1]);
}

#[test]
fn perfect_logits_score_1_at_another_size() {
    let task = task(SegDenominator::AllPixels);
    let truth = LabelMap {
        height: 2,
        width: 2,
        data: vec![0, 1, 2, 0],
    };
    let mut logits = vec![0.0; 12];
    for (p, &c) in truth.data.iter().enumerate() {
        logits[c as usize * 4 + p] = 9.0;
    }
    let out = Tensor::from_f32([1, 3, 2, 2], logits).unwrap();
    let p = task.predict(&[out], &[(4, 6)]).unwrap().remove(0);
    let mut m = task.meter();
    assert_eq!(m.report().unwrap().headline().1, None);
    m.add(p, &Annotation::Labels(resize_nearest(&truth, 4, 6)))
        .unwrap();
    let report = m.report().unwrap();
    assert_eq!(
        report.headline(),
        (
            format!("mIoU ({})", Average::PresentInGroundTruth.name()),
            Some(1.0)
        )
    );
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

/// Every pixel of the truth is class 1 of weight 2, and the logits say (0, ln 2, 0): 2 ln 2 / 2, whatever size the picture has.
#[test]
fn the_weighted_cross_entropy_is_a_figure_where_it_is_compared() {
    let config = SegmentationConfig {
        compare: ComparedLabels::CrossEntropy,
        class_weights: Some(vec![1.0, 2.0, 1.0]),
        ..Default::default()
    };
    let names = ["road", "sky", "car"].map(String::from).to_vec();
    let task = SegmentationTask::new(names, &config).unwrap();
    let logits = [[0.0; 4], [2f32.ln(); 4], [0.0; 4]].concat();
    let out = Tensor::from_f32([1, 3, 2, 2], logits).unwrap();
    let p = task.predict(&[out], &[(3, 5)]).unwrap().remove(0);
    let truth = labels(5, &[1; 15]);
    let mut m = task.meter();
    m.add(p, &truth).unwrap();
    m.end_batch().unwrap();
    let report = m.report().unwrap();
    let Report::Segmentation {
        counts,
        more,
        weights,
        ..
    } = &report
    else {
        unreachable!()
    };
    assert_eq!((counts.pixel_accuracy(), more.len()), (Some(1.0), 2));
    assert_eq!(weights, &[1.0, 2.0, 1.0]);
    assert_eq!(
        (&more[0].name[..], &more[0].text()[..], more[0].compared),
        ("cross-entropy (pixels)", "0.6931", true)
    );
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    let Annotation::Labels(map) = truth.clone() else {
        unreachable!()
    };
    let e = m.add(Prediction::Labels(map), &truth).unwrap_err();
    assert!(e.to_string().contains("a label map with scores"), "{e}");
}

#[test]
fn misfits_are_errors_with_their_image() {
    let t = task(SegDenominator::AllPixels);
    let e = t
        .targets(&[labels(2, &[0, 1]), labels(2, &[0, 3])])
        .unwrap_err();
    assert_eq!(
        (e.code(), e.place()),
        (Code::BadLabelId, Some("image 1 of the batch"))
    );
    let e = t
        .targets(&[labels(2, &[0, 1]), labels(1, &[0, 1])])
        .unwrap_err();
    assert_eq!(e.code(), Code::SizeMismatch);
    assert!(t.targets(&[Annotation::Class(0)]).is_err());
    let targets = t.targets(&[labels(2, &[0, 1])]).unwrap();
    let tape = Tape::new(Cx::default());
    let x = tape.leaf(Tensor::from_f32([1, 3, 2, 2], vec![0.0; 12]).unwrap());
    assert_eq!(t.loss(&[x], &targets).unwrap_err().code(), Code::Shape);
    let out = Tensor::from_f32([1, 2, 1, 1], vec![0.0; 2]).unwrap();
    assert_eq!(
        t.predict(&[out], &[(1, 1)]).unwrap_err().code(),
        Code::Shape
    );
    let mut m = t.meter();
    assert!(m.add(Prediction::Scores(vec![]), &labels(1, &[0])).is_err());
    assert!(SegmentationTask::new(vec![], &SegmentationConfig::default()).is_err());
}
