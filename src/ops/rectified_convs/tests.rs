//! Together against one at a time: the same bits, but of weight gradients, whose sums may be cut otherwise.

use super::*;
use crate::error::{Code, Error};
use crate::ops;
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};
use crate::tensor::DType;

/// A map: its channels, and whether its result is read.
type Source = (usize, bool);

struct Setting<'a> {
    images: usize,
    /// Height and width of the maps.
    map: [usize; 2],
    sources: &'a [Source],
    /// Channels of the results.
    channels: usize,
    /// Kernel, padding, dilation.
    window: [usize; 3],
    dtype: DType,
    /// Other operations read the maps too: gradients add up.
    shared: bool,
}

/// Results and gradients of maps, then gradients of weights; with the launches that they took.
fn run(path: Path, s: &Setting, together: bool) -> ([Vec<Tensor>; 2], u64) {
    let launched = || match path {
        Path::Device(e) => e.counts().launches,
        _ => 0,
    };
    let tape = Tape::new(Cx {
        path,
        ..Cx::default()
    });
    let mut r = Rng::new(8, &[]);
    let mut draw = |shape: [usize; 4], dtype| {
        let v = (0..shape.iter().product()).map(|_| r.normal()).collect();
        tape.param(Tensor::from_f64(shape, v).unwrap().cast(dtype))
    };
    let single = match s.dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let ([h, w], [k, padding, dilation]) = (s.map, s.window);
    let params = Conv2dParams {
        padding,
        dilation,
        ..Conv2dParams::default()
    };
    let all: Vec<(Var, Var)> = (s.sources.iter())
        .map(|&(depth, _)| {
            let x = draw([s.images, depth, h, w], s.dtype);
            (x, draw([s.channels, depth, k, k], single))
        })
        .collect();
    let y = ops::conv2d_shape(all[0].0.shape(), all[0].1.shape(), params).unwrap();
    let d = y.dims();
    let by = draw([d[0], d[1], d[2], d[3]], s.dtype);
    let before = launched();
    let results: Vec<Var> = match together {
        true => {
            let all: Vec<(&Var, &Var)> = all.iter().map(|(x, w)| (x, w)).collect();
            rectified_convs(&all, params).unwrap()
        }
        false => (all.iter())
            .map(|(x, w)| ops::conv2d(&ops::relu(x).unwrap(), w, None, params).unwrap())
            .collect(),
    };
    let mut loss: Option<Var> = None;
    let mut more = |v: &Var| {
        let part = ops::sum(v).unwrap();
        loss = Some(match loss.take() {
            Some(l) => ops::add(&l, &part).unwrap(),
            None => part,
        });
    };
    for ((y, source), (x, _)) in results.iter().zip(s.sources).zip(&all) {
        if source.1 {
            more(&ops::mul(y, &by).unwrap());
        }
        if s.shared {
            more(&ops::scale(x, 0.25).unwrap());
        }
    }
    let mut grads = tape.backward(&loss.unwrap()).unwrap();
    let launches = launched() - before;
    let mut of = |v: &Var| {
        let zeros = || Tensor::zeros(*v.shape(), v.dtype());
        grads.take(v).unwrap_or_else(zeros).detached()
    };
    let mut maps: Vec<Tensor> = results.iter().map(|y| y.value().detached()).collect();
    maps.extend(all.iter().map(|(x, _)| of(x)));
    let weights = all.iter().map(|(_, w)| of(w)).collect();
    ([maps, weights], launches)
}

fn check(path: Path, s: &Setting) -> Result<()> {
    let [maps, weights] = run(path, s, true).0;
    let [maps_apart, weights_apart] = run(path, s, false).0;
    let wrong = |what: &str| {
        let text = format!(
            "{what} of {:?} in {:?} are not those of each",
            s.sources, s.dtype
        );
        Err(Error::new(Code::CheckFailed, text))
    };
    if let Path::Device(e) = path {
        e.healthy()?;
    }
    let near = |a: &[Tensor], b: &[Tensor], allowed: f64| {
        a.iter().zip(b).all(|(a, b)| {
            let (a, b) = (a.to_f64(), b.to_f64());
            let size = b.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
            let pairs = || a.iter().zip(&b);
            a.len() == b.len() && pairs().all(|(a, b)| (a - b).abs() <= allowed * size)
        })
    };
    // A sum that is rounded once, where it was rounded after every term.
    let bits = s.dtype != DType::Bf16 || !s.shared;
    if bits && maps != maps_apart || !near(&maps, &maps_apart, 1e-2) {
        return wrong("maps");
    }
    // The host computes what it is composed of.
    let others = matches!(path, Path::Fast) && weights != weights_apart;
    match !others && near(&weights, &weights_apart, 1e-5) {
        true => Ok(()),
        false => wrong("gradients of weights"),
    }
}

/// What `conv_rectified` and `conv_rectified_bwd_w` compute; few cases that between them reach every line.
pub(crate) fn mutation_cases(e: Engine, dtype: DType) -> Result<()> {
    let case = |images, map, sources: &[Source], channels, window, shared| {
        let s = Setting {
            images,
            map,
            sources,
            channels,
            window,
            dtype,
            shared,
        };
        check(Path::Device(e), &s)
    };
    let three = [3, 0, 1];
    case(2, [5, 7], &[(5, true), (3, true)], 6, three, false)?;
    case(1, [4, 6], &[(18, true), (4, true)], 20, three, true)?;
    case(2, [5, 4], &[(4, false), (20, true)], 3, [3, 1, 1], true)?;
    case(1, [6, 7], &[(2, true)], 18, [2, 1, 2], false)?;
    case(1, [28, 30], &[(2, true), (1, true)], 2, three, false)
}

#[test]
fn together_they_are_those_of_each() {
    for dtype in [DType::F32, DType::Bf16] {
        mutation_cases(Engine::emulated(2), dtype).unwrap();
    }
    for dtype in [DType::F32, DType::F64, DType::Bf16] {
        let s = Setting {
            images: 2,
            map: [5, 6],
            sources: &[(3, true), (5, true)],
            channels: 4,
            window: [3, 0, 1],
            dtype,
            shared: false,
        };
        check(Path::Fast, &s).unwrap();
        check(Path::Fast, &Setting { shared: true, ..s }).unwrap();
    }
}

#[test]
fn both_take_one_launch_forward_and_two_back() {
    let e = Engine::emulated(1);
    let saved = |shared| {
        let s = Setting {
            images: 2,
            map: [5, 6],
            sources: &[(6, true), (4, true)],
            channels: 4,
            window: [3, 0, 1],
            dtype: DType::Bf16,
            shared,
        };
        let [apart, together] = [false, true].map(|t| run(Path::Device(e), &s, t).1);
        apart - together
    };
    // Apart: two rectifications and two convolutions; two gradients of each, two of weights.
    assert_eq!(saved(false), (4 + 6) - 3);
    // Sums with the gradients of other readers.
    assert_eq!(saved(true), (4 + 6) - 3 + 2);
}

#[test]
fn what_does_not_fit_is_refused() {
    let tape = Tape::new(Cx::default());
    let leaf = |d: [usize; 4]| tape.leaf(Tensor::zeros(d, DType::F32));
    let (x, w) = (leaf([1, 2, 5, 5]), leaf([4, 2, 3, 3]));
    for (stride, other, says) in [
        (2, [4, 2, 3, 3], "expected stride 1"),
        (1, [4, 3, 3, 3], "does not fit input"),
        (1, [6, 2, 3, 3], "(1, 6, 3, 3)"),
    ] {
        let params = Conv2dParams {
            stride,
            ..Conv2dParams::default()
        };
        let e = rectified_convs(&[(&x, &w), (&x, &leaf(other))], params).unwrap_err();
        assert_eq!(e.code(), Code::Shape);
        assert!(e.to_string().contains(says), "{e}");
    }
}
