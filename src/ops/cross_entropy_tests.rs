use super::*;
use crate::tape::{Cx, Path, Tape};

fn loss(op: CrossEntropy, x: Vec<f32>, t: Vec<i32>) -> Result<f64> {
    let tape = Tape::new(Cx::default());
    let (n, c) = (t.len(), x.len() / t.len());
    let x = tape.leaf(Tensor::from_f32([n, c], x)?);
    let t = tape.leaf(Tensor::from_i32([n], t)?);
    Ok(cross_entropy(&x, &t, op)?.value().item())
}

fn ignoring(denominator: Denominator) -> CrossEntropy {
    CrossEntropy {
        ignore: Some(255),
        denominator,
        ..CrossEntropy::default()
    }
}

#[test]
fn ignored_positions_and_denominators() {
    // Equal scores of four classes: ln 4 at each of three positions out of four.
    let four = |d| loss(ignoring(d), vec![0.0; 16], vec![0, 255, 3, 1]).unwrap();
    let ln = 4f64.ln();
    assert!((four(Denominator::Valid) - ln).abs() < 1e-6);
    assert!((four(Denominator::All) - 0.75 * ln).abs() < 1e-6);
    assert!((four(Denominator::Fixed(6.0)) - 0.5 * ln).abs() < 1e-6);
}

#[test]
fn all_ignored_is_zero_and_has_no_gradient() {
    for path in [Path::Fast, Path::Reference] {
        let tape = Tape::new(Cx {
            path,
            check_finite: true,
            ..Cx::default()
        });
        let x = tape.param(Tensor::from_f32([1, 2], vec![3.0, 1.0]).unwrap());
        let t = tape.leaf(Tensor::from_i32([1], vec![255]).unwrap());
        let y = cross_entropy(&x, &t, ignoring(Denominator::Valid)).unwrap();
        assert_eq!(y.value().item(), 0.0);
        assert_eq!(
            tape.backward(&y).unwrap().get(&x).unwrap().f32s(),
            &[0.0, 0.0]
        );
    }
}

#[test]
fn large_scores_stay_finite() {
    let y = loss(CrossEntropy::default(), vec![1e4, -1e4], vec![1]).unwrap();
    assert_eq!(y, 2e4);
}

#[test]
fn a_bad_target_is_named_with_its_place() {
    let e = loss(CrossEntropy::default(), vec![0.0; 6], vec![1, 3]).unwrap_err();
    assert_eq!(e.code(), Code::Argument);
    assert_eq!(e.message(), "cross_entropy: target 3 is not in 0..3");
    assert_eq!(e.place(), Some("targets[1]"));
}
