use super::*;
use crate::ops::table::Gen;
use crate::ops::{self, CrossEntropy, Denominator, SmoothL1};
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
        positives: None,
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
        positives: None,
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
        let case = (ENTRY.case)(&mut Gen::new(Rng::new(seed, &[])));
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
            terms: &[vec![dy.clone()]],
            so_far: &[],
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

/// The same loss put together from smaller ops: the readable definition.
fn composed(x: &[Var], op: &Multibox) -> Result<Var> {
    let (priors, values) = (x[2].value().numel(), x[0].dims()[2]);
    let classes = x[1].dims()[2];
    let tape = x[0].tape();
    let labels = x[2].value().i32s();
    let positive = labels.iter().flat_map(|&t| [(t > 0) as i32 as f64; 4]);
    let positive = tape.leaf(Tensor::from_f64([priors, 4], positive.collect())?);
    let counted = labels.iter().zip(x[4].value().i32s());
    let counted = counted
        .map(|(&t, &u)| if u == 1 { t } else { -1 })
        .collect();
    let counted = tape.leaf(Tensor::from_i32([priors], counted)?);

    let loc = ops::slice(&ops::reshape(&x[0], [priors, values])?, 0, 4)?;
    let offsets = ops::reshape(&x[3], [priors, 4])?;
    let positives = x.get(5).map(|n| n.value().item().max(1.0));
    let denominator = positives.unwrap_or(op.denominator);
    let smooth = SmoothL1 {
        beta: 1.0,
        denominator,
    };
    let entropy = CrossEntropy {
        ignore: Some(-1),
        denominator: Denominator::Fixed(denominator),
        ..Default::default()
    };
    let conf = ops::reshape(&x[1], [priors, classes])?;
    ops::add(
        &ops::smooth_l1(&loc, &offsets, &positive, smooth)?,
        &ops::cross_entropy(&conf, &counted, entropy)?,
    )
}

#[test]
fn equals_the_composed_loss() {
    for seed in 0..40 {
        let case = (ENTRY.case)(&mut Gen::new(Rng::new(seed, &[1])));
        let n = case.x[2].numel() as f64;
        let op = Multibox { denominator: n };
        let run = |fused: bool| {
            let tape = Tape::new(Cx::default());
            let put = |t: &Tensor| {
                if t.dtype().is_float() {
                    tape.param(t.clone())
                } else {
                    tape.leaf(t.clone())
                }
            };
            let x: Vec<Var> = case.x.iter().map(put).collect();
            let y = if fused {
                tape.apply(op.clone(), &x.iter().collect::<Vec<_>>())
            } else {
                composed(&x, &op)
            };
            let y = y.unwrap();
            let g = tape.backward(&y).unwrap();
            let grads = [0, 1, 3].map(|k| g.get(&x[k]).unwrap().to_f64());
            (y.value().item(), grads.concat())
        };
        let ((y, g), (yc, gc)) = (run(true), run(false));
        assert!((y - yc).abs() <= 1e-13 * yc.abs().max(1.0), "{y} {yc}");
        for (a, b) in g.iter().zip(&gc) {
            assert!((a - b).abs() <= 1e-14, "seed {seed}: {a} {b}");
        }
    }
}
