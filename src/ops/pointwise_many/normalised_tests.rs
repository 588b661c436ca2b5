//! Against the composition of both ops.

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

const EPS: f64 = 1e-5;

/// How results are made: apart, or by one op whose blocks are so many at most.
#[derive(Clone, Copy)]
enum How {
    Apart,
    Together(usize),
}

fn draw(r: &mut Rng, shape: [usize; 4], dtype: DType) -> Tensor {
    let v = (0..shape.iter().product()).map(|_| r.normal() as f32);
    Tensor::from_f32(shape, v.collect()).unwrap().cast(dtype)
}

/// Results, statistics and running ones; then gradients of maps and weights. `twice`: another operation reads the maps as well.
fn run(
    path: Path,
    y: Size,
    sources: &[Source],
    dtype: DType,
    how: How,
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
    let (results, stats) = match how {
        How::Together(most) => recorded(&all, EPS, most).unwrap(),
        How::Apart => {
            let maps = ops::pointwise_many(&all).unwrap();
            let params = BatchNormParams {
                eps: EPS,
                relu: false,
            };
            ops::batch_norms(&maps.iter().collect::<Vec<_>>(), params).unwrap()
        }
    };
    let mut parts = vec![];
    for (v, source) in results.iter().zip(sources) {
        let by = tape.leaf(draw(&mut r, y, dtype));
        if source.2 {
            parts.push(ops::sum(&ops::mul(v, &by).unwrap()).unwrap());
        }
    }
    if twice {
        let x = &all[0].x;
        let by = tape.leaf(draw(&mut r, x.dims().try_into().unwrap(), dtype));
        parts.push(ops::sum(&ops::mul(x, &by).unwrap()).unwrap());
    }
    let loss = (parts.into_iter()).reduce(|a, b| ops::add(&a, &b).unwrap());
    let mut grads = tape.backward(&loss.unwrap()).unwrap();
    let mut values: Vec<Tensor> = results.iter().map(|y| y.value().detached()).collect();
    for s in &stats {
        let old = [0.5, 2.0].map(|v| Tensor::full([y[1]], DType::F32, v));
        values.extend([s.mean(), s.var()]);
        values.extend(s.running(&old[0], &old[1], 0.1).unwrap());
        assert_eq!(s.count, y[0] * y[2] * y[3]);
    }
    let of = |v: &Var| {
        let zeros = || Tensor::zeros(*v.shape(), v.dtype());
        grads.take(v).unwrap_or_else(zeros).detached()
    };
    let operands = all.iter().flat_map(|c| [&c.x].into_iter().chain(&c.w));
    [values, operands.map(of).collect()]
}

/// Whether values are near others, of the size of the largest.
fn near(a: &[Tensor], b: &[Tensor], allowed: f64) -> bool {
    a.iter().zip(b).all(|(a, b)| {
        let (a, b) = (a.to_f64(), b.to_f64());
        let size = b.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        let off = |(a, b): (&f64, &f64)| (a - b).abs() <= allowed * size;
        a.len() == b.len() && a.iter().zip(&b).all(off)
    })
}

fn check(
    path: Path,
    y: Size,
    sources: &[Source],
    dtype: DType,
    most: usize,
    twice: bool,
) -> Result<()> {
    let [values, grads] = run(path, y, sources, dtype, How::Together(most), twice);
    let [values_apart, grads_apart] = run(path, y, sources, dtype, How::Apart, twice);
    if let Path::Device(e) = path {
        e.healthy()?;
    }
    // Of bf16 maps what differs in the last bit of a statistic may be rounded the other way, and what is summed of it.
    let (exact, allowed) = match (path, dtype) {
        (Path::Device(_), DType::Bf16) => (false, 1e-2),
        (Path::Device(_), _) => (false, 2e-6),
        _ => (true, 0.0),
    };
    let statistics = |v: &[Tensor]| v[sources.len()..].to_vec();
    let wrong = |what: &str| {
        let text = format!("{what} of {sources:?} to {y:?} in {dtype:?} are not those of both ops");
        Err(Error::new(Code::CheckFailed, text))
    };
    if exact && (&values, &grads) != (&values_apart, &grads_apart) {
        return wrong("bits");
    }
    if !near(&values, &values_apart, allowed) {
        return wrong("results");
    }
    // They are f32, of the same maps.
    if !near(&statistics(&values), &statistics(&values_apart), 1e-6) {
        return wrong("statistics");
    }
    match near(&grads, &grads_apart, 5.0 * allowed) {
        true => Ok(()),
        false => wrong("gradients"),
    }
}

/// What `conv_many_norm` and `norm_many_fwd_parts` compute; few cases that between them reach every line.
pub(crate) fn mutation_cases(e: Engine, dtype: DType) -> Result<()> {
    let path = Path::Device(e);
    let cases: [(Size, &[Source], usize); 7] = [
        ([2, 6, 3, 5], &[(5, true, true), (7, false, true)], BLOCKS),
        (
            [1, 34, 4, 4],
            &[(18, false, true), (70, true, true)],
            BLOCKS,
        ),
        ([3, 4, 2, 4], &[(3, true, false), (2, true, true)], BLOCKS),
        // Rows of tiles, several tiles a block, the last of them with few pixels.
        ([1, 70, 19, 15], &[(3, false, true)], 2),
        ([1, 18, 16, 34], &[(4, true, true)], 2),
        ([2, 4, 18, 20], &[(2, false, true), (3, true, true)], 2),
        ([1, 2, 30, 36], &[(2, false, true), (1, true, true)], BLOCKS),
    ];
    for (y, sources, most) in cases {
        check(path, y, sources, dtype, most, false)?;
    }
    check(path, [1, 20, 4, 4], &[(5, true, true)], dtype, BLOCKS, true)?;
    digits(e, dtype, [2, 2, 12, 15])?;
    digits(e, dtype, [1, 34, 14, 16])
}

/// A channel whose mean is a thousand deviations keeps its digits: more than the smallest step of bf16, so of maps in f32; of bf16 as many as
/// are stored.
fn digits(e: Engine, dtype: DType, y: Size) -> Result<()> {
    let mean = if dtype == DType::F32 { 1000.0 } else { 30.0 };
    let mut r = Rng::new(9, &[]);
    let v = (0..y[0] * y[2] * y[3]).map(|_| (mean + r.normal()) as f32);
    let x = Tensor::from_f32([y[0], 1, y[2], y[3]], v.collect())?.cast(dtype);
    let x64 = x.to_f64();
    let tape = Tape::new(Cx {
        path: Path::Device(e),
        ..Cx::default()
    });
    let ones = Tensor::full([y[1], 1, 1, 1], DType::F32, 1.0);
    let one = Convolved {
        x: tape.leaf(x),
        w: vec![tape.leaf(ones)],
    };
    let (z, stats) = recorded(&[one], EPS, 2)?;
    let n = x64.len() as f64;
    let mean = x64.iter().sum::<f64>() / n;
    let var = x64.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let plane = y[2] * y[3];
    let means = stats[0].mean().to_f64();
    let near = (means.iter()).all(|m| (m - mean).abs() <= 1e-6 * mean.abs())
        && (stats[0].var().to_f64().iter()).all(|v| (v / var - 1.0).abs() <= 1e-6);
    let allowed = if dtype == DType::F32 { 4e-6 } else { 2e-2 };
    let value = |(i, z): (usize, f64)| {
        let x = x64[i / plane / y[1] * plane + i % plane];
        (z - (x - mean) / (var + EPS).sqrt()).abs() <= allowed
    };
    let all = z[0].value().to_f64();
    e.healthy()?;
    match near && all.into_iter().enumerate().all(value) {
        true => Ok(()),
        false => Err(Error::new(
            Code::CheckFailed,
            format!("digits are lost: {y:?}"),
        )),
    }
}

#[test]
fn results_are_those_of_both_ops() {
    for dtype in [DType::F32, DType::Bf16] {
        mutation_cases(Engine::emulated(2), dtype).unwrap();
    }
    let sources = [(3, true, true), (5, false, true), (2, false, false)];
    for dtype in [DType::F64, DType::F32] {
        check(Path::Fast, [2, 4, 3, 5], &sources, dtype, BLOCKS, true).unwrap();
    }
}

#[test]
fn bits_are_the_same_every_time() {
    let of = |threads| {
        let path = Path::Device(Engine::emulated(threads));
        let sources = [(3, true, true), (5, false, true)];
        let how = How::Together(2);
        run(path, [2, 18, 14, 16], &sources, DType::Bf16, how, false)
    };
    assert_eq!(of(1), of(3));
}

#[test]
fn blocks_have_tiles_of_the_same_number_and_are_few() {
    let blocks = super::super::device::blocks;
    let of = |pixels: usize| blocks(&Shape::from([1, 4, 1, pixels]), 128, BLOCKS);
    assert_eq!([1, 128, 129].map(of), [1, 1, 2]);
    assert_eq!(of(256 * 128), 256);
    // Three tiles each, and one of two.
    assert_eq!(of(704 * 128), 235);
    for tiles in [257, 511, 513, 1000, 5121] {
        let (n, each) = (of(tiles * 128), tiles.div_ceil(256));
        assert!(n <= 256 && n * each >= tiles && n <= tiles);
    }
}

#[test]
fn they_take_one_launch_less() {
    let e = Engine::emulated(1);
    let launches = |how| {
        let before = e.counts().launches;
        let sources = [(6, true, true), (4, false, true)];
        run(
            Path::Device(e),
            [2, 4, 2, 4],
            &sources,
            DType::Bf16,
            how,
            false,
        );
        e.counts().launches - before
    };
    assert_eq!(launches(How::Apart) - launches(How::Together(BLOCKS)), 1);
}
