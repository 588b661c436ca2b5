//! Hand-made cases, and figures that NumPy computed once from the same made-up vectors.

use super::*;
use crate::metrics::values::tests::numbers;

/// A map of one row of vectors.
fn map(space: NormalSpace, vectors: &[[f32; 3]]) -> ValueMap {
    let width = vectors.len();
    let mut m = ValueMap::unknown(Quantity::Normals(space), 1, width);
    m.valid.fill(true);
    m.data = planes(vectors);
    m
}

fn planes(vectors: &[[f32; 3]]) -> Vec<f32> {
    (0..3)
        .flat_map(|c| vectors.iter().map(move |v| v[c]))
        .collect()
}

fn errors(space: NormalSpace, p: &[[f32; 3]], t: &ValueMap) -> NormalErrors {
    let mut e = NormalErrors::new(space);
    e.add(&planes(p), t).unwrap();
    e
}

fn near(a: Option<f64>, b: f64, bound: f64) {
    assert!((a.unwrap() - b).abs() < bound, "{a:?}, not {b}");
}

#[test]
fn angles_by_hand() {
    let z = [0.0, 0.0, 1.0];
    let t = map(NormalSpace::True, &[z, z, z, z, z]);
    let (a, b) = (20f32.to_radians(), 40f32.to_radians());
    // 0 degrees at any length, 20, 40, 90 for no direction at all, 180.
    let p = [
        [0.0, 0.0, 7.0],
        [a.sin(), 0.0, a.cos()],
        [0.0, -b.sin(), b.cos()],
        [0.0; 3],
        [0.0, 0.0, -1.0],
    ];
    let e = errors(NormalSpace::True, &p, &t);
    near(e.mean(), (0.0 + 20.0 + 40.0 + 90.0 + 180.0) / 5.0, 1e-5);
    near(e.median(), 40.0, 6e-4);
    assert_eq!(e.within(), Some([0.2, 0.4, 0.4]));
    let cosines = 1.0 + (a as f64).cos() + (b as f64).cos() + 0.0 - 1.0;
    near(e.cosine(), cosines / 5.0, 1e-6);
    // Of four, the middle of the two in the middle.
    let e = errors(NormalSpace::True, &p[..4], &map(NormalSpace::True, &[z; 4]));
    near(e.median(), 30.0, 6e-4);
    // What is not valid is not looked at.
    let mut t = t;
    t.valid = vec![true, false, false, false, false];
    let mut p = p;
    p[1] = [f32::NAN; 3];
    assert_eq!(errors(NormalSpace::True, &p, &t).mean(), Some(0.0));
}

#[test]
fn encoded_angles_are_smaller_than_true_ones() {
    // x and y axes, 90 degrees apart: encoded (1, .5, .5) and (.5, 1, .5), whose cosine is 1.25 / 1.5.
    let encoded = map(NormalSpace::Encoded, &[[1.0, 0.5, 0.5]]);
    let p = [[0.5, 1.0, 0.5]];
    let as_coded = errors(NormalSpace::Encoded, &p, &encoded).mean();
    near(as_coded, (1.25f64 / 1.5).acos().to_degrees(), 1e-9);
    near(errors(NormalSpace::True, &p, &encoded).mean(), 90.0, 1e-9);
    // The same pair as unit vectors, of any length predicted.
    let plain = map(NormalSpace::True, &[[1.0, 0.0, 0.0]]);
    let p = [[0.0, 3.0, 0.0]];
    near(errors(NormalSpace::True, &p, &plain).mean(), 90.0, 1e-9);
    near(
        errors(NormalSpace::Encoded, &p, &plain).mean(),
        as_coded.unwrap(),
        1e-9,
    );
}

/// Python: `t = u(11, 240).reshape(3, 80) - .5` of unit length, `p = t + .8 (u(12, 240).reshape(3, 80) - .5)`, both as f4; valid where
/// `arange(80) % 5 != 0`; arccos of the cosines in degrees: mean, `np.median`, counts, mean cosine; then the same of
/// `(v / |v| + 1) / 2`.
#[test]
fn angles_as_numpy() {
    let (u, v) = (numbers(11, 240), numbers(12, 240));
    let t: Vec<[f32; 3]> = (0..80)
        .map(|i| {
            let t = [0, 1, 2].map(|c| u[c * 80 + i] - 0.5);
            t.map(|c| (c / length(t)) as f32)
        })
        .collect();
    let p: Vec<[f32; 3]> = (0..80)
        .map(|i| [0, 1, 2].map(|c| (t[i][c] as f64 + 0.8 * (v[c * 80 + i] - 0.5)) as f32))
        .collect();
    let mut truth = map(NormalSpace::True, &t);
    truth.valid = (0..80).map(|i| i % 5 != 0).collect();
    let shares = |n: [u32; 3]| Some(n.map(|n| n as f64 / 64.0));
    let e = errors(NormalSpace::True, &p, &truth);
    near(e.mean(), 17.352507694175912, 1e-9);
    near(e.median(), 17.65613768495103, 1e-3);
    near(e.cosine(), 0.9457466956424788, 1e-9);
    assert_eq!(e.within(), shares([15, 49, 60]));
    let e = errors(NormalSpace::Encoded, &p, &truth);
    near(e.mean(), 8.870371599258782, 1e-9);
    near(e.median(), 7.0759941870081065, 1e-3);
    near(e.cosine(), 0.9827904659285001, 1e-9);
    assert_eq!(e.within(), shares([48, 62, 64]));
}

#[test]
fn bad_input_adds_nothing() {
    let t = map(NormalSpace::True, &[[0.0, 0.0, 1.0]]);
    let mut e = NormalErrors::new(NormalSpace::True);
    assert_eq!(
        (e.mean(), e.median(), e.within(), e.cosine()),
        (None, None, None, None)
    );
    assert_eq!(e.add(&[0.0; 2], &t).unwrap_err().code(), Code::SizeMismatch);
    let nan = e.add(&[0.0, f32::NAN, 0.0], &t).unwrap_err();
    assert_eq!(nan.place(), Some("image 0 of the batch, pixel (0, 0)"));
    assert!(
        e.add(&[0.0], &ValueMap::unknown(Quantity::Depth, 1, 1))
            .is_err()
    );
    assert_eq!(e, NormalErrors::new(NormalSpace::True));
}
