//! Together against one at a time: the same bits, but of weight gradients, whose sums may be cut otherwise.

use super::*;
use crate::error::{Code, Error};
use crate::ops;
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};
use crate::tensor::DType;

/// Results of one size: images, channels, height, width.
type Size = [usize; 4];

/// A map: its channels, whether it is reduced, and whether its result is read.
type Source = (usize, bool, bool);

fn draw(r: &mut Rng, shape: [usize; 4], dtype: DType) -> Tensor {
    let v = (0..shape.iter().product()).map(|_| r.normal() as f32);
    Tensor::from_f32(shape, v.collect()).unwrap().cast(dtype)
}

/// Results and gradients of maps, then gradients of weights.
fn run(
    path: Path,
    y: Size,
    sources: &[Source],
    dtype: DType,
    together: bool,
    twice: bool,
) -> [Vec<Tensor>; 2] {
    let tape = Tape::new(Cx {
        path,
        ..Cx::default()
    });
    let mut r = Rng::new(7, &[]);
    let single = if dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let mut all = vec![];
    for &(depth, reduced, _) in sources {
        let by = 1 + usize::from(reduced);
        let x = draw(&mut r, [y[0], depth, by * y[2], by * y[3]], dtype);
        let w = (0..by).map(|_| tape.param(draw(&mut r, [y[1] / by, depth, 1, 1], single)));
        let w = w.collect();
        all.push(Convolved {
            x: tape.param(x),
            w,
        });
    }
    let one = |c: &Convolved, r: &Var| match &c.w[..] {
        [w] => ops::conv2d(r, w, None, Conv2dParams::default()),
        halves => {
            let half = |(offset, w): (usize, &Var)| {
                let x = ops::subsample(r, 2, offset)?;
                ops::conv2d(&x, w, None, Conv2dParams::default())
            };
            let halves = halves
                .iter()
                .enumerate()
                .map(half)
                .collect::<Result<Vec<_>>>()?;
            ops::concat(&halves.iter().collect::<Vec<_>>())
        }
    };
    let convolve = |all: &[Convolved]| -> Vec<Var> {
        match together {
            true => pointwise_many(all).unwrap(),
            false => (all.iter())
                .map(|c| one(c, &ops::relu(&c.x).unwrap()).unwrap())
                .collect(),
        }
    };
    let mut results = convolve(&all);
    // Read again, by other operations: gradients add up.
    if twice {
        let other: Vec<Convolved> = (all.iter().rev())
            .map(|c| Convolved {
                x: c.x.clone(),
                w: (c.w.iter().map(|w| ops::scale(w, -0.5).unwrap())).collect(),
            })
            .collect();
        results.extend(convolve(&other));
    }
    let mut loss: Option<Var> = None;
    for (v, source) in results
        .iter()
        .zip(sources.iter().chain(sources.iter().rev()))
    {
        let by = tape.leaf(draw(&mut r, y, dtype));
        if source.2 {
            let part = ops::sum(&ops::mul(v, &by).unwrap()).unwrap();
            loss = Some(match loss {
                Some(l) => ops::add(&l, &part).unwrap(),
                None => part,
            });
        }
    }
    let mut grads = tape.backward(&loss.unwrap()).unwrap();
    let mut of = |v: &Var| {
        let zeros = || Tensor::zeros(*v.shape(), v.dtype());
        grads.take(v).unwrap_or_else(zeros).detached()
    };
    let mut maps: Vec<Tensor> = results.iter().map(|y| y.value().detached()).collect();
    maps.extend(all.iter().map(|c| of(&c.x)));
    let weights = all.iter().flat_map(|c| &c.w).map(of).collect();
    [maps, weights]
}

/// `twice`: every map is read by two operations.
fn check(path: Path, y: Size, sources: &[Source], dtype: DType, twice: bool) -> Result<()> {
    let [maps, weights] = run(path, y, sources, dtype, true, twice);
    let [maps_apart, weights_apart] = run(path, y, sources, dtype, false, twice);
    let wrong = |what: &str| {
        let text = format!("{what} of {sources:?} to {y:?} in {dtype:?} are not those of each");
        Err(Error::new(Code::CheckFailed, text))
    };
    if let Path::Device(e) = path {
        e.healthy()?;
    }
    let near = |a: &[Tensor], b: &[Tensor], allowed: f64| {
        a.iter().zip(b).all(|(a, b)| {
            let (a, b) = (a.to_f64(), b.to_f64());
            let size = b.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
            a.len() == b.len()
                && a.iter()
                    .zip(&b)
                    .all(|(a, b)| (a - b).abs() <= allowed * size)
        })
    };
    // A sum that is rounded once, where it was rounded after every term.
    let bits = dtype != DType::Bf16 || !twice;
    if bits && maps != maps_apart || !near(&maps, &maps_apart, 1e-2) {
        return wrong("maps");
    }
    match near(&weights, &weights_apart, if bits { 1e-5 } else { 1e-2 }) {
        true => Ok(()),
        false => wrong("gradients of weights"),
    }
}

/// What `conv_many` and `conv_many_bwd_w` compute; few cases that between them reach every line.
pub(crate) fn mutation_cases(e: Engine, dtype: DType) -> Result<()> {
    let path = Path::Device(e);
    let cases: [(Size, &[Source]); 6] = [
        ([2, 6, 3, 5], &[(5, true, true), (7, false, true)]),
        ([1, 34, 4, 4], &[(18, false, true), (70, true, true)]),
        ([3, 4, 2, 4], &[(3, true, true), (2, true, true)]),
        ([1, 18, 8, 16], &[(4, true, true)]),
        ([2, 20, 2, 2], &[(4, false, false), (20, true, true)]),
        (
            [1, 2, 30, 36],
            &[(2, false, true), (1, false, true), (1, true, true)],
        ),
    ];
    for (y, sources) in cases {
        check(path, y, sources, dtype, false)?;
    }
    let sources = [(5, true, true), (18, false, true)];
    check(path, [1, 20, 4, 4], &sources, dtype, true)?;
    check(path, [2, 6, 3, 5], &sources, dtype, true)
}

#[test]
fn together_they_are_those_of_each() {
    for dtype in [DType::F32, DType::Bf16] {
        mutation_cases(Engine::emulated(2), dtype).unwrap();
    }
    let sources = [(3, true, true), (5, false, true), (2, false, false)];
    check(Path::Fast, [2, 4, 3, 5], &sources, DType::F64, true).unwrap();
    check(Path::Fast, [2, 4, 3, 5], &sources, DType::F32, true).unwrap();
}

#[test]
fn all_take_one_launch_forward_and_two_back() {
    let e = Engine::emulated(1);
    let launches = |together, twice| {
        let before = e.counts().launches;
        let sources = [(6, true, true), (4, false, true)];
        run(
            Path::Device(e),
            [2, 4, 2, 4],
            &sources,
            DType::Bf16,
            together,
            twice,
        );
        e.counts().launches - before
    };
    // Apart: two rectifications and their gradients, two subsamplings, three convolutions and a concatenation; the gradient of that in two cuts, three
    // input gradients, two of subsamplings, their sum; three of weights.
    assert_eq!(
        launches(false, false) - launches(true, false),
        8 + 10 + 3 - 3
    );
    // Sums of the gradients of both maps.
    let more = |together| launches(together, true) - launches(together, false);
    assert_eq!(more(false) - more(true), 8 + 10 + 3 - 3 + 2);
}

#[test]
fn what_does_not_fit_is_refused() {
    let tape = Tape::new(Cx::default());
    let leaf = |d: [usize; 4]| tape.leaf(Tensor::zeros(d, DType::F32));
    let of = |x: [usize; 4], w: &[[usize; 4]]| Convolved {
        x: leaf(x),
        w: w.iter().map(|&w| leaf(w)).collect(),
    };
    let one = || of([1, 2, 4, 4], &[[6, 2, 1, 1]]);
    for (other, says) in [
        (
            of([1, 3, 4, 4], &[[6, 2, 1, 1]]),
            "weight (6, 2, 1, 1) over a map (1, 3, 4, 4)",
        ),
        (of([1, 2, 7, 8], &[[3, 2, 1, 1]; 2]), "odd side"),
        (of([1, 2, 4, 4], &[[3, 2, 1, 1]; 2]), "(1, 6, 2, 2)"),
    ] {
        let e = pointwise_many(&[one(), other]).unwrap_err();
        assert_eq!(e.code(), Code::Shape);
        assert!(e.to_string().contains(says), "{e}");
    }
}
