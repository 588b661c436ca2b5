use super::*;
use crate::ops::table::Gen;
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};

/// Two images of three priors, three classes with background; the second image has no positive.
fn example(path: Path, loc: &[f32], conf: &[f32], used: &[i32]) -> (Var, Var, Result<Var>) {
    let tape = Tape::new(Cx {
        path,
        ..Cx::default()
    });
    let ids = |v: &[i32]| tape.leaf(Tensor::from_i32([2, 3], v.to_vec()).unwrap());
    let mut offsets = vec![9.0; 24];
    offsets[4..8].copy_from_slice(&[0.0, 1.0, 2.0, -3.0]);
    let targets = MultiboxTargets {
        labels: ids(&[0, 2, -1, 0, 0, 0]),
        offsets: tape.leaf(Tensor::from_f32([2, 3, 4], offsets).unwrap()),
        used: ids(used),
    };
    let loc = tape.param(Tensor::from_f32([2, 3, 5], loc.to_vec()).unwrap());
    let conf = tape.param(Tensor::from_f32([2, 3, 3], conf.to_vec()).unwrap());
    let y = multibox(&loc, &conf, &targets, Multibox { denominator: 2.0 });
    (loc, conf, y)
}

#[test]
fn value_and_gradients_by_hand() {
    for path in [Path::Fast, Path::Reference] {
        // Differences of the positive prior: 0.5, 0, -2, 3.
        let mut loc = vec![7.0; 30];
        loc[5..10].copy_from_slice(&[0.5, 1.0, 0.0, 0.0, 100.0]);
        let (l, c, y) = example(path, &loc, &[0.0; 18], &[1, 1, 0, 0, 0, 0]);
        let y = y.unwrap();
        let want = (0.125 + 0.0 + 1.5 + 2.5 + 2.0 * 3f64.ln()) / 2.0;
        assert!((y.value().item() - want).abs() < 1e-6, "{path:?}");
        let g = y.tape().backward(&y).unwrap();
        let mut dl = vec![0.0; 30];
        dl[5..9].copy_from_slice(&[0.25, 0.0, -0.5, 0.5]);
        assert_eq!(g.get(&l).unwrap().f32s(), dl);
        let third = 1.0 / 3.0;
        let mut dc = vec![0.0; 18];
        dc[..6].copy_from_slice(&[
            (third - 1.0) / 2.0,
            third / 2.0,
            third / 2.0,
            third / 2.0,
            third / 2.0,
            (third - 1.0) / 2.0,
        ]);
        for (a, b) in g.get(&c).unwrap().f32s().iter().zip(dc) {
            assert!((a - b).abs() < 1e-6, "{path:?}: {a} against {b}");
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let mut conf = vec![0.0; 18];
    conf[0] = 1000.0;
    conf[3] = -1000.0;
    conf[5] = 1000.0;
    let (_, c, y) = example(Path::Fast, &[0.0; 30], &conf, &[1, 1, 0, 0, 0, 0]);
    let y = y.unwrap();
    assert!(y.value().all_finite());
    assert!(y.tape().backward(&y).unwrap().get(&c).unwrap().all_finite());
}

#[test]
fn without_any_counting_prior_the_loss_is_zero() {
    let tape = Tape::new(Cx::default());
    let ids = || tape.leaf(Tensor::zeros([1, 2], DType::I32));
    let targets = MultiboxTargets {
        labels: ids(),
        offsets: tape.leaf(Tensor::zeros([1, 2, 4], DType::F32)),
        used: ids(),
    };
    let loc = tape.param(Tensor::zeros([1, 2, 4], DType::F32));
    let conf = tape.param(Tensor::zeros([1, 2, 2], DType::F32));
    let y = multibox(&loc, &conf, &targets, Multibox { denominator: 1.0 }).unwrap();
    assert_eq!(y.value().item(), 0.0);
    assert_eq!(
        tape.backward(&y).unwrap().get(&conf).unwrap().f32s(),
        [0.0; 4]
    );
}

#[test]
fn bad_marks_and_labels_name_the_prior() {
    let place = |used: &[i32]| {
        let e = example(Path::Fast, &[0.0; 30], &[0.0; 18], used)
            .2
            .unwrap_err();
        assert_eq!(e.code(), Code::Argument);
        e.place().unwrap_or_default().to_string()
    };
    assert_eq!(place(&[0, 0, 1, 0, 0, 0]), "image 0, prior 2");
    assert_eq!(place(&[0, 0, 0, 0, 2, 0]), "image 1, prior 1");
}

#[test]
fn gradients_match_differences() {
    for seed in 0..20 {
        let case = (ENTRY.case)(&mut Gen(Rng::new(seed, &[])));
        let value = |k: usize, i: usize, by: f64| {
            let mut x = case.x.clone();
            x[k].data_mut::<f64>()[i] += by;
            case.op.forward(&x).unwrap().y.item()
        };
        let x: Vec<Option<Tensor>> = case.x.iter().cloned().map(Some).collect();
        let shapes: Vec<Shape> = case.x.iter().map(|t| *t.shape()).collect();
        let dy = Tensor::scalar(DType::F64, 1.0);
        let b = Backward {
            x: &x,
            shapes: &shapes,
            y: None,
            saved: &[],
            dy: &dy,
            need: &[true, true, false, true, false],
        };
        for grads in [
            case.op.backward(&b).unwrap(),
            case.op.backward_reference(&b).unwrap(),
        ] {
            for k in [0, 1, 3] {
                let Some(Grad::Whole(g)) = &grads[k] else {
                    panic!("no gradient of operand {k}")
                };
                for (i, &g) in g.f64s().iter().enumerate() {
                    let h = 1e-5;
                    let d = (value(k, i, h) - value(k, i, -h)) / (2.0 * h);
                    assert!(
                        (d - g).abs() < 1e-8,
                        "seed {seed}, operand {k}, element {i}: {g} against {d}"
                    );
                }
            }
        }
    }
}

#[test]
fn fast_value_equals_reference() {
    for seed in 0..40 {
        let case = (ENTRY.case)(&mut Gen(Rng::new(seed, &[1])));
        let fast = case.op.forward(&case.x).unwrap().y.item();
        let slow = case.op.forward_reference(&case.x).unwrap().y.item();
        assert!((fast - slow).abs() <= 1e-13 * slow.abs().max(1.0));
    }
}
