//! Normalisations of rows at once against those of maps one by one.

use super::*;
use crate::nn::{Mode, Store};
use crate::rng::Rng;
use crate::tape::Cx;
use crate::tensor::{DType, Engine, Tensor};

const WIDTH: usize = 2;
const SIZES: [[usize; 4]; 3] = [[2, 6, 3, 4], [2, 4, 2, 2], [2, 4, 1, 3]];

fn norms(affine: Affine) -> (Store, Vec<BatchNorm>) {
    let mut b = Builder::new();
    let of = |(l, [_, c, h, w]): (usize, [usize; 4])| {
        let map = Map::new(c, h, w);
        b.scope(l, |b| BatchNorm::new(b, "norm", map, affine))
    };
    let all = SIZES.into_iter().enumerate().map(of).collect();
    (b.finish(3, DType::F32), all)
}

/// The rows and, where the pass collects them, the running statistics; `None` where they are not normalised together.
fn run(path: Path, mode: Mode, affine: Affine, together: bool) -> Option<Vec<Tensor>> {
    let (store, norms) = norms(affine);
    let norms: Vec<&BatchNorm> = norms.iter().collect();
    let cx = Cx {
        path,
        ..Cx::default()
    };
    let p = Pass::new(&store, cx, mode);
    let mut r = Rng::new(4, &[]);
    let mut x = vec![];
    for shape in SIZES {
        let v = (0..shape.iter().product()).map(|_| (0.5 + r.normal()) as f32);
        x.push(p.tape.leaf(Tensor::from_f32(shape, v.collect()).unwrap()));
    }
    let rows = |x: &[Var]| ops::to_rows(&x.iter().collect::<Vec<_>>(), WIDTH).unwrap();
    let y = if together {
        let pixels = SIZES.map(|[_, _, h, w]| h * w);
        BatchNorm::forward_rows(&norms, &p, &rows(&x), &pixels).unwrap()?
    } else {
        let each = norms.iter().zip(&x).map(|(n, x)| n.forward(&p, x).unwrap());
        rows(&each.collect::<Vec<_>>())
    };
    let mut all = vec![y.value().detached()];
    let moved = p.take_statistics().unwrap();
    all.extend(moved.into_iter().map(|(_, t)| t.detached()));
    Some(all)
}

#[test]
fn rows_of_all_levels_are_normalised_as_their_maps_are() {
    let path = Path::Device(Engine::emulated(1));
    for mode in [Mode::WEIGHT_STEP, Mode::ARCH_STEP] {
        let [got, want] = [true, false].map(|t| run(path, mode, Affine::Yes, t).unwrap());
        let noted = if mode.update_statistics { 6 } else { 0 };
        assert_eq!((got.len(), want.len()), (1 + noted, 1 + noted));
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.shape(), want.shape());
            for (a, b) in got.to_f64().iter().zip(want.to_f64()) {
                assert!((a - b).abs() <= 2e-6, "{a} {b}");
            }
        }
    }
}

/// A normalisation that runs for several tasks in one pass, as where their gradients are added before one step.
#[test]
fn statistics_see_every_batch_of_a_pass_in_turn() {
    for path in [Path::Fast, Path::Device(Engine::emulated(1))] {
        let (store, norms) = norms(Affine::Yes);
        let cx = Cx {
            path,
            ..Cx::default()
        };
        let p = Pass::new(&store, cx, Mode::WEIGHT_STEP);
        let [n, c, h, w] = SIZES[0];
        for value in [1.0, 3.0] {
            let x = Tensor::full([n, c, h, w], DType::F32, value);
            norms[0].forward(&p, &p.tape.leaf(x)).unwrap();
        }
        norms[1]
            .forward(&p, &p.tape.leaf(Tensor::zeros(SIZES[1], DType::F32)))
            .unwrap();
        let moved = p.take_statistics().unwrap();
        assert_eq!(moved.len(), 4);
        // 0 + 0.1 (1 - 0) = 0.1, then 0.1 + 0.1 (3 - 0.1) = 0.39; of the variance 0.9 times 0.9.
        for (got, want) in moved.iter().zip([0.39, 0.81, 0.0, 0.9]) {
            let v = got.1.to_f64();
            assert!(
                v.iter().all(|v| (v - want).abs() < 1e-6),
                "{path:?} {v:?} {want}"
            );
        }
    }
}

#[test]
fn others_are_left_to_the_caller() {
    let device = Path::Device(Engine::emulated(1));
    for (path, mode, affine) in [
        (Path::Fast, Mode::WEIGHT_STEP, Affine::Yes),
        (device, Mode::EVAL, Affine::Yes),
        (device, Mode::WEIGHT_STEP, Affine::No),
    ] {
        assert!(run(path, mode, affine, true).is_none(), "{path:?} {mode:?}");
    }
}
