use super::*;
use crate::metrics::{PixelAverage, Unit};
use crate::tape::{Cx, Tape};
use crate::task::Report;
use crate::task::config::ComparedFigures;
use crate::tensor::Engine;

fn task(kind: TaskKind) -> ValueTask {
    ValueTask::new(kind, NormalSpace::True, &ValuesConfig::default()).unwrap()
}

fn map(quantity: Quantity, width: usize, data: &[f32], valid: &[bool]) -> Annotation {
    Annotation::Values(ValueMap {
        quantity,
        height: valid.len() / width,
        width,
        data: data.to_vec(),
        valid: valid.to_vec(),
    })
}

fn depth(data: &[f32], valid: &[bool]) -> Annotation {
    map(Quantity::Depth, 2, data, valid)
}

#[test]
fn every_task_of_values_has_its_row() {
    for kind in TaskKind::values() {
        let t = task(kind);
        assert_eq!((t.kind(), Some(t.values().planes())), (kind, kind.planes()));
        assert_eq!(t.values().name(), kind.name());
    }
    assert_eq!(TaskKind::values().count(), ROWS.len());
    let none = ValueTask::new(
        TaskKind::Segmentation,
        NormalSpace::True,
        &ValuesConfig::default(),
    );
    assert_eq!(none.err().unwrap().code(), Code::Internal);
}

/// |1 - 3| and |2 - 2.5| of three known pixels of eight; the unknown ones take no gradient.
#[test]
fn depth_by_hand() {
    let t = task(TaskKind::Depth);
    let truth = [
        depth(&[3.0, 2.5, 0.0, 0.0], &[true, true, false, false]),
        depth(&[0.0, 0.0, 0.0, 4.0], &[false, false, false, true]),
    ];
    let targets = t.targets(&truth).unwrap();
    assert_eq!(targets.denominator, 3.0);
    let tape = Tape::new(Cx::default());
    let y = vec![1.0, 2.0, 9.0, 9.0, 9.0, 9.0, 9.0, 7.0];
    let x = tape.param(Tensor::from_f64([2, 1, 2, 2], y).unwrap());
    let loss = t.loss(std::slice::from_ref(&x), &targets).unwrap().total;
    assert!((loss.value().item() - (2.0 + 0.5 + 3.0) / 3.0).abs() < 1e-12);
    let g = tape.backward(&loss).unwrap();
    let third = 1.0 / 3.0;
    let want = [-third, -third, 0.0, 0.0, 0.0, 0.0, 0.0, third];
    let g = g.get(&x).unwrap().f64s();
    assert!(
        g.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12),
        "{g:?}"
    );
}

/// Angles of 0 and 90 degrees of two known pixels of three: the mean of 0 and 1.
#[test]
fn normals_by_hand() {
    let t = task(TaskKind::Normals);
    let q = Quantity::Normals(NormalSpace::True);
    let data = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
    let truth = map(q, 3, &data, &[true, true, false]);
    let targets = t.targets(&[truth]).unwrap();
    assert_eq!(targets.get("weight").dims(), [1, 1, 3]);
    let tape = Tape::new(Cx::default());
    let y = vec![0.0, 0.0, 5.0, 0.0, 3.0, 5.0, 0.25, 0.0, 5.0];
    let x = tape.param(Tensor::from_f32([1, 3, 1, 3], y).unwrap());
    let loss = t.loss(std::slice::from_ref(&x), &targets).unwrap().total;
    assert!((loss.value().item() - 0.5).abs() < 1e-6);
}

#[test]
fn a_batch_without_a_known_pixel_has_loss_zero() {
    for kind in TaskKind::values() {
        let t = task(kind);
        let empty = Annotation::Values(ValueMap::unknown(t.values(), 2, 2));
        let targets = t.targets(&[empty]).unwrap();
        let tape = Tape::new(Cx::default());
        let planes = kind.planes().unwrap();
        let x = Tensor::from_f32([1, planes, 2, 2], vec![0.5; 4 * planes]).unwrap();
        let x = tape.param(x);
        let loss = t.loss(std::slice::from_ref(&x), &targets).unwrap().total;
        assert_eq!(loss.value().item(), 0.0, "{kind}");
        let g = tape.backward(&loss).unwrap();
        assert!(
            g.get(&x).unwrap().f32s().iter().all(|v| *v == 0.0),
            "{kind}"
        );
    }
}

/// On a device the division is in the weights; the loss is the same, in bf16 too where the maps alone are rounded.
#[test]
fn a_device_takes_the_same_loss() {
    let e = Engine::emulated(2);
    let known = [true, true, false, true];
    let normals = [0.0, 1.0, 0.0, 0.6, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8];
    let space = Quantity::Normals(NormalSpace::True);
    for (kind, truth) in [
        (TaskKind::Depth, depth(&[3.0, 2.5, 0.0, 9.0], &known)),
        (TaskKind::Normals, map(space, 2, &normals, &known)),
    ] {
        let t = task(kind);
        let y: Vec<f32> = (0..4 * kind.planes().unwrap())
            .map(|i| (i * i % 7) as f32 + 0.5)
            .collect();
        let loss = |path: Path, dtype: DType| {
            let cx = Cx {
                path,
                ..Cx::default()
            };
            let targets = t.inputs(path, std::slice::from_ref(&truth)).unwrap();
            assert_eq!(targets.denominator == 1.0, path != Path::Fast);
            let tape = Tape::new(cx);
            let y = Tensor::from_f32([1, kind.planes().unwrap(), 2, 2], y.clone()).unwrap();
            let x = tape.param(y.cast(dtype));
            let loss = t.loss(std::slice::from_ref(&x), &targets).unwrap().total;
            let g = tape.backward(&loss).unwrap();
            (loss.value().item(), g.get(&x).unwrap().to_f64())
        };
        let host = loss(Path::Fast, DType::F32);
        for (dtype, near) in [(DType::F32, 1e-6), (DType::Bf16, 5e-3)] {
            let device = loss(Path::Device(e), dtype);
            assert!(
                (host.0 - device.0).abs() < near,
                "{kind}: {host:?} {device:?}"
            );
            let mut pairs = host.1.iter().zip(&device.1);
            assert!(
                pairs.all(|(a, b)| (a - b).abs() < near),
                "{kind}: {host:?} {device:?}"
            );
        }
    }
    assert!(e.fallbacks().is_empty(), "{:?}", e.fallbacks());
}

fn report(t: &ValueTask, batches: &[&[(Vec<f32>, Annotation)]]) -> Report {
    let mut m = t.meter();
    for batch in batches {
        for (y, truth) in *batch {
            let Annotation::Values(map) = truth else {
                unreachable!()
            };
            let planes = t.values().planes();
            let y = Tensor::from_f32([1, planes, map.height, map.width], y.clone()).unwrap();
            let p = t.predict(&[y], &[(map.height, map.width)]).unwrap();
            m.add(p.into_iter().next().unwrap(), truth).unwrap();
        }
        m.end_batch().unwrap();
    }
    m.report().unwrap()
}

fn value(r: &Report, name: &str) -> f64 {
    let Report::Values { figures, .. } = r else {
        panic!("{r:?}")
    };
    let f = figures.iter().find(|f| f.name == name);
    f.unwrap_or_else(|| panic!("{name} in {figures:?}"))
        .value
        .unwrap()
}

/// Two batches, of one image with an error of 1 in one known pixel and of two images with errors of 0 in three: 1 / 4 over all pixels;
/// batch means 1 and 0 over three images.
#[test]
fn both_averages_and_the_shares() {
    let t = task(TaskKind::Depth);
    let one = |y: f32, valid: &[bool]| (vec![y; 4], depth(&[2.0; 4], valid));
    let first = [one(3.0, &[true, false, false, false])];
    let second = [
        one(2.0, &[true, true, false, false]),
        one(2.0, &[true, false, false, false]),
    ];
    let r = report(&t, &[&first, &second]);
    assert!((value(&r, "abs (pixels)") - 0.25).abs() < 1e-12);
    assert!((value(&r, "abs (batch-means)") - 1.0 / 3.0).abs() < 1e-12);
    assert!((value(&r, "rel (pixels)") - 0.125).abs() < 1e-12);
    assert_eq!(value(&r, "within 1.25"), 0.75);
    assert_eq!(value(&r, "within 1.25^2"), 1.0);
    assert_eq!(r.headline(), ("depth abs (pixels)".into(), Some(0.25)));
    assert_eq!(r.fitness(), Some(-0.25));
    let by_batch = ValuesConfig {
        average: PixelAverage::BatchMeans,
        ..Default::default()
    };
    let t = ValueTask::new(TaskKind::Depth, NormalSpace::True, &by_batch).unwrap();
    let r = report(&t, &[&first, &second]);
    assert_eq!(r.headline().0, "depth abs (batch-means)");
    let text = serde_json::to_string(&r).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), r);
}

/// AutoMTL compares all figures on NYUv2 and one of each task on Taskonomy.
#[test]
fn what_is_compared_is_chosen() {
    for (kind, all, one) in [
        (TaskKind::Depth, 5, "abs (batch-means)"),
        (TaskKind::Normals, 5, "cosine (true space)"),
        (TaskKind::Edges, 1, "abs (batch-means)"),
    ] {
        let compared = |compare| {
            let config = ValuesConfig {
                compare,
                average: PixelAverage::BatchMeans,
                ..Default::default()
            };
            let t = ValueTask::new(kind, NormalSpace::True, &config).unwrap();
            let Report::Values { figures, .. } = t.meter().report().unwrap() else {
                panic!()
            };
            let names = figures.into_iter().filter(|f| f.compared).map(|f| f.name);
            names.collect::<Vec<_>>()
        };
        assert_eq!(compared(ComparedFigures::All).len(), all, "{kind}");
        assert_eq!(compared(ComparedFigures::One), [one], "{kind}");
    }
}

/// Straight ahead against straight up is 90 degrees between surfaces and less between their codes.
#[test]
fn angles_in_both_spaces() {
    let truth = |q| map(q, 1, &[0.0, 0.0, 1.0], &[true]);
    let measured = |angles| {
        let config = ValuesConfig {
            angles,
            ..Default::default()
        };
        let t = ValueTask::new(TaskKind::Normals, NormalSpace::True, &config).unwrap();
        let q = Quantity::Normals(NormalSpace::True);
        report(&t, &[&[(vec![0.0, 1.0, 0.0], truth(q))]])
    };
    let r = measured(None);
    assert!((value(&r, "mean angle (true space)") - 90.0).abs() < 1e-9);
    assert!((value(&r, "cosine (true space)")).abs() < 1e-9);
    let r = measured(Some(NormalSpace::Encoded));
    // (.5, 1, .5) and (.5, .5, 1): cosine 1.25 / 1.5.
    let want = (1.25f64 / 1.5).acos().to_degrees();
    assert!((value(&r, "mean angle (encoded space)") - want).abs() < 1e-6);
    let Report::Values { figures, .. } = &r else {
        panic!()
    };
    assert_eq!((figures[0].unit, figures[0].higher), (Unit::Degrees, false));
}

#[test]
fn planes_are_resized_one_by_one() {
    let got = resize_nearest(&[1.0, 2.0, 3.0, 4.0], 2, (1, 2), (2, 4));
    let want = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0];
    assert_eq!(got[..8], want);
    assert_eq!(got[8..], want.map(|v| v + 2.0));
}

#[test]
fn misfits_are_errors_with_their_image() {
    let t = task(TaskKind::Depth);
    let good = depth(&[1.0; 4], &[true; 4]);
    let e = t
        .targets(&[good.clone(), Annotation::Class(0)])
        .unwrap_err();
    assert_eq!(e.place(), Some("image 1 of the batch"));
    let small = map(Quantity::Depth, 1, &[1.0], &[true]);
    let e = t.targets(&[good.clone(), small]).unwrap_err();
    assert_eq!(e.code(), Code::SizeMismatch);
    let edges = map(Quantity::Edges, 2, &[1.0; 4], &[true; 4]);
    assert!(t.targets(std::slice::from_ref(&edges)).is_err());
    // Normals in another space are not those that the network learns.
    let encoded = map(
        Quantity::Normals(NormalSpace::Encoded),
        1,
        &[0.5; 3],
        &[true],
    );
    let e = task(TaskKind::Normals).targets(&[encoded]).unwrap_err();
    assert!(e.to_string().contains("normal_space"), "{e}");
    let targets = t.targets(std::slice::from_ref(&good)).unwrap();
    let tape = Tape::new(Cx::default());
    let x = tape.leaf(Tensor::from_f32([1, 2, 2, 2], vec![0.0; 8]).unwrap());
    assert_eq!(t.loss(&[x], &targets).unwrap_err().code(), Code::Shape);
    let y = Tensor::from_f32([1, 1, 1, 2], vec![0.0, f32::NAN]).unwrap();
    let e = t.predict(&[y], &[(1, 2)]).unwrap_err();
    assert_eq!(e.place(), Some("pixel (1, 0)"));
    let mut m = t.meter();
    assert!(m.add(Prediction::Scores(vec![]), &good).is_err());
    assert!(m.add(Prediction::Scores(vec![]), &edges).is_err());
    assert_eq!(m.report().unwrap().headline().1, None);
}
