//! Bits of the convolutions and the rows that the operation stands for, launches, and cases that reach every line of its kernels.

use super::*;
use crate::error::{Code, Error};
use crate::ops;
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};
use crate::tensor::DType;

/// A level: channels, height, width of the map, priors.
type Level = [usize; 4];

struct Setting<'a> {
    images: usize,
    levels: &'a [Level],
    k: usize,
    padding: usize,
    dilation: usize,
    width: usize,
    dtype: DType,
}

/// Value and gradients of all operands; another operation reads the maps too.
fn run(path: Path, s: &Setting, fused: bool) -> Vec<Tensor> {
    let tape = Tape::new(Cx {
        path,
        ..Cx::default()
    });
    let mut r = Rng::new(5, &[s.k as u64]);
    let mut draw = |shape: &[usize], dtype| {
        let n = shape.iter().product();
        let v = (0..n).map(|_| r.normal() as f32).collect();
        let t = Tensor::from_f32(Shape::new(shape), v).unwrap().cast(dtype);
        tape.param(t)
    };
    let single = match s.dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let params = Conv2dParams {
        padding: s.padding,
        dilation: s.dilation,
        ..Conv2dParams::default()
    };
    let heads: Vec<Head> = (s.levels.iter())
        .map(|&[c, h, w, priors]| Head {
            x: draw(&[s.images, c, h, w], s.dtype),
            w: draw(&[priors * s.width, c, s.k, s.k], single),
            b: draw(&[priors * s.width], single),
        })
        .collect();
    let y = match fused {
        true => head_rows(&heads, params, s.width).unwrap(),
        false => {
            let one = |l: &Head| ops::conv2d(&l.x, &l.w, Some(&l.b), params).unwrap();
            let maps: Vec<Var> = heads.iter().map(one).collect();
            ops::to_rows(&maps.iter().collect::<Vec<_>>(), s.width).unwrap()
        }
    };
    let by = draw(y.dims(), s.dtype);
    let mut loss = ops::sum(&ops::mul(&y, &by).unwrap()).unwrap();
    for l in &heads {
        // Sends the map its gradient first.
        let more = ops::sum(&ops::relu(&l.x).unwrap()).unwrap();
        loss = ops::add(&loss, &more).unwrap();
    }
    let mut grads = tape.backward(&loss).unwrap();
    let mut all = vec![y.value().detached()];
    for l in &heads {
        all.extend([&l.x, &l.w, &l.b].map(|v| grads.take(v).unwrap().detached()));
    }
    all
}

/// Compares with the composition, by `tolerance` of the largest value; maps, gradients in chunks and biases are summed in other orders.
fn check(path: Path, s: &Setting, tolerance: f64) -> Result<()> {
    let pairs = run(path, s, true).into_iter().zip(run(path, s, false));
    for (i, (a, b)) in pairs.enumerate() {
        let (a, b) = (a.to_f64(), b.to_f64());
        let most = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let off = (a.iter().zip(&b)).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
        if !(off <= tolerance * most) || a.len() != b.len() {
            let text = format!("tensor {i} of {:?} is off by {off:e} of {most:e}", s.levels);
            return Err(Error::new(Code::CheckFailed, text));
        }
    }
    Ok(())
}

/// What the kernels compute; few cases that between them reach every line.
pub(crate) fn mutation_cases(e: Engine, dtype: DType) -> Result<()> {
    let tolerance = if dtype == DType::Bf16 { 8e-3 } else { 2e-6 };
    let case = |images, levels: &[Level], [k, padding, dilation]: [usize; 3], width| {
        let s = Setting {
            images,
            levels,
            k,
            padding,
            dilation,
            width,
            dtype,
        };
        check(Path::Device(e), &s, tolerance)
    };
    case(2, &[[5, 3, 4, 2], [18, 2, 3, 1]], [3, 1, 1], 3)?;
    case(2, &[[17, 4, 4, 9], [3, 2, 1, 2]], [1, 0, 1], 2)?;
    case(1, &[[2, 24, 26, 1]], [3, 2, 2], 2)?;
    case(1, &[[4, 23, 23, 11]], [2, 1, 1], 6)
}

#[test]
fn it_is_what_it_stands_for() {
    for dtype in [DType::F32, DType::Bf16] {
        mutation_cases(Engine::emulated(2), dtype).unwrap();
    }
    for dtype in [DType::F32, DType::F64, DType::Bf16] {
        let s = Setting {
            images: 3,
            levels: &[[4, 5, 6, 2], [3, 2, 3, 3]],
            k: 3,
            padding: 1,
            dilation: 1,
            width: 4,
            dtype,
        };
        assert_eq!(
            run(Path::Fast, &s, true),
            run(Path::Fast, &s, false),
            "{dtype:?}"
        );
    }
}

#[test]
fn levels_share_launches() {
    let e = Engine::emulated(1);
    let launches = |fused| {
        let s = Setting {
            images: 2,
            levels: &[[4, 4, 4, 2], [4, 2, 2, 2], [4, 1, 1, 2]],
            k: 3,
            padding: 1,
            dilation: 1,
            width: 4,
            dtype: DType::F32,
        };
        let before = e.counts().launches;
        run(Path::Device(e), &s, fused);
        e.counts().launches - before
    };
    // Of three levels: 2 convolutions less; rows and their way back; 2 gradients of maps and 3 sums with others; 2 of weights; 3 of biases.
    assert_eq!(launches(false) - launches(true), 2 + 2 + 5 + 2 + 3);
}
