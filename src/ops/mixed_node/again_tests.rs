//! Maps that are computed once more against maps that are kept: bit by bit the same gradients, for less that is saved.

use super::*;
use crate::ops::table::Gen;
use crate::rng::Rng;

/// The bits of a node's value and of all gradients, and the elements of what is saved for the way back.
fn run(op: &MixedNode, x: &[Tensor], dy: &Tensor) -> (Vec<Vec<f64>>, usize) {
    let Output { y, saved } = op.forward(x).unwrap();
    let (given, need): (Vec<_>, Vec<_>) = x.iter().map(|t| (Some(t.clone()), true)).unzip();
    let shapes: Vec<Shape> = x.iter().map(|t| *t.shape()).collect();
    let b = Backward {
        x: &given,
        shapes: &shapes,
        y: None,
        saved: &saved,
        dy,
        terms: &[],
        so_far: &[],
        need: &need,
    };
    let mut all = vec![y.to_f64()];
    for g in op.backward(&b).unwrap().into_iter().flatten() {
        all.push(match g {
            Grad::Whole(t)
            | Grad::Channels { dx: t, .. }
            | Grad::Within { dx: t, .. }
            | Grad::Chunks(t) => t.to_f64(),
        });
    }
    (all, saved.iter().map(|t| t.shape().numel()).sum())
}

#[test]
fn the_same_bits_are_computed_once_more() {
    let mut fewer = 0;
    for seed in 0..12 {
        let mut g = Gen::new(Rng::new(seed, &[3]));
        let (op, x) = entry::draw(&mut g);
        let shapes: Vec<Shape> = x.iter().map(|t| *t.shape()).collect();
        let dy = g.normal(op.infer(&shapes).unwrap());
        let of = |recompute| {
            let op = MixedNode {
                recompute,
                ..op.clone()
            };
            run(&op, &x, &dy)
        };
        let (kept, again) = (of(false), of(true));
        assert_eq!(kept.0, again.0, "{op:?}");
        let p = Plan::new(&op, &shapes);
        assert_eq!(kept.1 - again.1, p.maps * p.n * p.active(), "{op:?}");
        fewer += usize::from(again.1 < kept.1);
    }
    assert!(fewer > 8, "{fewer} cases have maps");
}
