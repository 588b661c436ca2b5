//! Hand-made cases, and figures that NumPy computed once from the same made-up values.

use super::*;
use crate::annotation::Quantity;
use PixelAverage::{BatchMeans, Pixels};

fn map(quantity: Quantity, width: usize, data: &[f32], valid: &[bool]) -> ValueMap {
    ValueMap {
        quantity,
        height: valid.len() / width,
        width,
        data: data.to_vec(),
        valid: valid.to_vec(),
    }
}

fn near(a: Option<f64>, b: f64) {
    assert!((a.unwrap() - b).abs() < 1e-9, "{a:?}, not {b}");
}

/// Numbers of 0 to 1 that any language makes alike: s = (1103515245 s + 12345) mod 2^31, s / 2^31.
pub(in crate::metrics) fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let next = |s: &mut u64| {
        *s = (*s * 1103515245 + 12345) % (1 << 31);
        Some(*s as f64 / (1u64 << 31) as f64)
    };
    std::iter::repeat(())
        .scan(seed, |s, ()| next(s))
        .take(n)
        .collect()
}

#[test]
fn depth_by_hand() {
    let truth = map(
        Quantity::Depth,
        3,
        &[1.0, 2.0, 4.0, 1.0, 0.0, 9.0],
        &[true, true, true, true, true, false],
    );
    // Right; 1.5 times; half; not positive, which a negative ratio would pass; ground truth 0: no relative error; not looked at.
    let p = [1.0, 3.0, 2.0, -1.0, 0.5, f32::NAN];
    let mut d = DepthErrors::default();
    d.add(&[(&p, &truth)]).unwrap();
    near(d.abs(Pixels), (0.0 + 1.0 + 2.0 + 2.0 + 0.5) / 5.0);
    near(d.rel(Pixels), (0.0 + 0.5 + 0.5 + 2.0) / 4.0);
    assert_eq!(d.within(), Some([0.25, 0.5, 0.5]));
    // A ratio of exactly 1.25 is not below it; 1.25^2 is 1.5625.
    let truth = map(Quantity::Depth, 2, &[4.0, 4.0], &[true, true]);
    let mut d = DepthErrors::default();
    d.add(&[(&[5.0, 6.2499995], &truth)]).unwrap();
    assert_eq!(d.within(), Some([0.0, 1.0, 1.0]));
}

#[test]
fn the_two_averages_differ_where_masks_do() {
    let full = map(Quantity::Edges, 2, &[0.0; 2], &[true, true]);
    let half = map(Quantity::Edges, 2, &[0.0; 2], &[true, false]);
    let none = map(Quantity::Edges, 2, &[0.0; 2], &[false, false]);
    let mut e = AbsoluteError::default();
    assert_eq!((e.get(Pixels), e.get(BatchMeans)), (None, None));
    e.add(&[(&[1.0, 1.0], &full), (&[-4.0, 0.0], &half)])
        .unwrap();
    e.add(&[(&[6.0, 0.0], &half)]).unwrap();
    // A batch without a known pixel counts in neither.
    e.add(&[(&[7.0, 7.0], &none)]).unwrap();
    near(e.get(Pixels), (1.0 + 1.0 + 4.0 + 6.0) / 4.0);
    near(e.get(BatchMeans), (2.0 * 2.0 + 6.0) / 3.0);
}

/// Python: `g = (.4 + 4 u(seed)).astype(f4)`, `p = (g * (.55 + .9 u(seed + 1))).astype(f4)`, `p[::31] = -g[::31]`, valid where
/// `arange(80) % 7 != seed % 7`; batches of seeds [3, 5] and [8]; a = |p - g|, r = a / g over the valid pixels; `a.mean()`,
/// `(batch_means * [2, 1]).sum() / 3`, and counts of max(p/g, g/p) < 1.25^k where p > 0.
#[test]
fn depth_as_numpy() {
    let made = |seed: u64| {
        let g: Vec<f32> = numbers(seed, 80)
            .iter()
            .map(|u| (0.4 + 4.0 * u) as f32)
            .collect();
        let v = numbers(seed + 1, 80);
        let p = (0..80).map(|i| match i % 31 {
            0 => -g[i],
            _ => (g[i] as f64 * (0.55 + 0.9 * v[i])) as f32,
        });
        let valid: Vec<bool> = (0..80).map(|i| i % 7 != seed % 7).collect();
        (
            p.collect::<Vec<f32>>(),
            map(Quantity::Depth, 10, &g, &valid),
        )
    };
    let all = [made(3), made(5), made(8)];
    let of = |i: usize| (all[i].0.as_slice(), &all[i].1);
    let mut d = DepthErrors::default();
    d.add(&[of(0), of(1)]).unwrap();
    d.add(&[of(2)]).unwrap();
    near(d.abs(Pixels), 0.6754072980539313);
    near(d.abs(BatchMeans), 0.6754085136496503);
    near(d.rel(Pixels), 0.29465066352692115);
    near(d.rel(BatchMeans), 0.2947465208859736);
    assert_eq!(
        d.within(),
        Some([102.0, 178.0, 198.0].map(|n: f64| n / 206.0))
    );
}

#[test]
fn bad_predictions_add_nothing() {
    let t = map(Quantity::Depth, 2, &[1.0; 4], &[true; 4]);
    let mut d = DepthErrors::default();
    assert_eq!(
        d.add(&[(&[1.0; 3], &t)]).unwrap_err().code(),
        Code::SizeMismatch
    );
    let e = d
        .add(&[(&[1.0; 4], &t), (&[1.0, 1.0, 1.0, f32::INFINITY], &t)])
        .unwrap_err();
    assert_eq!(e.place(), Some("image 1 of the batch, pixel (1, 1)"));
    let normals = ValueMap::unknown(Quantity::Normals(Default::default()), 2, 2);
    assert!(d.add(&[(&[0.0; 12], &normals)]).is_err());
    assert_eq!(d, DepthErrors::default());
    assert_eq!(
        (d.abs(Pixels), d.rel(BatchMeans), d.within()),
        (None, None, None)
    );
}
