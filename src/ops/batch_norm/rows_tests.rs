//! Rows normalised at once against maps normalised one by one and laid out as rows.

use super::*;
use crate::error::{Code, Error};
use crate::ops;
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};
use crate::tensor::DType;

const EPS: f64 = 1e-5;

/// Maps and the values of a row; `mean` of each channel, its deviation is 1.
struct Levels<'a> {
    maps: &'a [[usize; 4]],
    width: usize,
    dtype: DType,
    mean: f64,
}

/// What wants a gradient: the rows; of each level the scale, the shift.
const ALL: [bool; 3] = [true; 3];

/// Value, statistics, running statistics and gradients of those that are wanted, of all levels.
fn run(path: Path, l: &Levels, want: [bool; 3], together: bool) -> Vec<Tensor> {
    let tape = Tape::new(Cx {
        path,
        ..Cx::default()
    });
    let mut r = Rng::new(11, &[l.maps[0][2] as u64]);
    let mut draw = |shape: &[usize], dtype, by: f64, mean: f64, want| {
        let n = shape.iter().product();
        let v = (0..n).map(|_| (mean + by * r.normal()) as f32).collect();
        let t = Tensor::from_f32(Shape::new(shape), v).unwrap().cast(dtype);
        if want { tape.param(t) } else { tape.leaf(t) }
    };
    let single = match l.dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let (mut x, mut affine) = (vec![], vec![]);
    for d in l.maps {
        x.push(draw(d, l.dtype, 1.0, l.mean, want[0]));
        let gamma = draw(&[d[1]], single, 0.3, 1.0, want[1]);
        affine.push((gamma, draw(&[d[1]], single, 1.0, 0.0, want[2])));
    }
    let rows = |x: &[Var]| ops::to_rows(&x.iter().collect::<Vec<_>>(), l.width).unwrap();
    let by = draw(rows(&x).shape().dims(), l.dtype, 1.0, 0.0, false);
    let (y, stats) = if together {
        let affine: Vec<_> = affine.iter().map(|(g, b)| (g, b)).collect();
        let pixels: Vec<usize> = l.maps.iter().map(|d| d[2] * d[3]).collect();
        rows_batch_norm(&rows(&x), &affine, &pixels, EPS).unwrap()
    } else {
        let params = BatchNormParams {
            eps: EPS,
            relu: false,
        };
        let each = x.iter().zip(&affine);
        let each = each.map(|(x, (g, b))| ops::batch_norm(x, Some((g, b)), params).unwrap());
        let (maps, stats): (Vec<Var>, Vec<BatchStats>) = each.unzip();
        (rows(&maps), stats)
    };
    let loss = ops::sum(&ops::mul(&y, &by).unwrap()).unwrap();
    let mut grads = tape.backward(&loss).unwrap();
    let mut all = vec![y.value().detached()];
    for (s, d) in stats.iter().zip(l.maps) {
        let old = [0.5, 2.0].map(|v| Tensor::full([d[1]], DType::F32, v));
        all.extend([s.mean(), s.var()]);
        all.extend(s.running(&old[0], &old[1], 0.1).unwrap());
    }
    let operands = x.iter().chain(affine.iter().flat_map(|(g, b)| [g, b]));
    all.extend(operands.filter_map(|v| grads.take(v)).map(|g| g.detached()));
    all
}

/// Against the composition in f64 of the same values: errors within so many roundings of the largest value of a tensor.
fn check(e: Engine, l: &Levels, want: [bool; 3]) -> Result<()> {
    let got = run(Path::Device(e), l, want, true);
    let stored = run(Path::Device(e), l, want, false);
    let bound = match l.dtype {
        DType::Bf16 => 1.0 / 128.0,
        _ => 4e-6,
    };
    for (i, (got, want)) in got.iter().zip(&stored).enumerate() {
        let (a, b) = (got.to_f64(), want.to_f64());
        let largest = b.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        let error = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
        let worst = error.fold(0.0, |m: f64, v| if v > m || v.is_nan() { v } else { m });
        let alike = got.shape() == want.shape() && got.dtype() == want.dtype();
        if !alike || worst.is_nan() || worst > bound * largest {
            let text = format!(
                "{:?} in {:?}: result {i} is {worst:.1e} off, of {largest:.1e}",
                l.maps, l.dtype
            );
            return Err(Error::new(Code::CheckFailed, text));
        }
    }
    if got.len() != stored.len() {
        let text = format!("{} results for {}", got.len(), stored.len());
        return Err(Error::new(Code::CheckFailed, text));
    }
    Ok(())
}

/// The digits of a channel whose mean is a thousand times its deviation.
fn keeps_digits(e: Engine) -> Result<()> {
    let tape = Tape::new(Cx {
        path: Path::Device(e),
        ..Cx::default()
    });
    let (n, c, pixels) = (3, 3, 400);
    let mut r = Rng::new(12, &[]);
    let v = (0..n * c * pixels).map(|_| (1000.0 + r.normal()) as f32);
    let v: Vec<f32> = v.collect();
    let x = tape.param(Tensor::from_f32([n, pixels, c], v.clone())?);
    let [gamma, beta] = [1.0, 0.0].map(|v| tape.param(Tensor::full([c], DType::F32, v)));
    let (y, stats) = rows_batch_norm(&x, &[(&gamma, &beta)], &[pixels], EPS)?;
    let (mean, var) = (stats[0].mean().to_f64(), stats[0].var().to_f64());
    // A gradient that x and a constant make: hardly any is left for x.
    let dy = v.iter().map(|v| v - 999.0).collect();
    let mut grads = tape.backward_from(&y, Tensor::from_f32([n, pixels, c], dy)?)?;
    let grads = [&x, &gamma, &beta].map(|v| grads.take(v).map_or(vec![], |g| g.to_f64()));
    let y = y.value().to_f64();
    for ch in 0..c {
        let own = || v.iter().skip(ch).step_by(c).map(|&v| v as f64);
        let count = (n * pixels) as f64;
        let want = own().sum::<f64>() / count;
        let square = own().map(|v| (v - want).powi(2)).sum::<f64>() / count;
        let inverse = 1.0 / (square + EPS).sqrt();
        let dgamma = own().map(|v| (v - want) * (v - 999.0)).sum::<f64>() * inverse;
        let dbeta = own().map(|v| v - 999.0).sum::<f64>();
        let slope = |v: f64| (v - want) * (1.0 - dgamma * inverse / count);
        let worst = |got: &[f64], of: &dyn Fn(f64) -> f64| {
            let each = got.iter().skip(ch).step_by(c).zip(own());
            each.map(|(got, v)| (got - of(v)).abs()).fold(0.0, f64::max)
        };
        let off = [
            (mean[ch] / want - 1.0).abs() / 1e-6,
            (var[ch] / square - 1.0).abs() / 1e-6,
            worst(&y, &|v| (v - want) * inverse) / 2e-6,
            worst(&grads[0], &|v| slope(v) * inverse) / 5e-6,
            (grads[1][ch] / dgamma - 1.0).abs() / 4e-6,
            (grads[2][ch] / dbeta - 1.0).abs() / 1e-6,
        ];
        if !off.iter().all(|v| *v <= 1.0) {
            let text = format!("channel {ch}: errors over their bounds {off:.1?}");
            return Err(Error::new(Code::CheckFailed, text));
        }
    }
    Ok(())
}

/// What `kernels/norm_rows.cu` computes; few cases that between them reach every line.
pub(crate) fn mutation_cases(e: Engine) -> Result<()> {
    let levels = |maps, width, dtype| Levels {
        maps,
        width,
        dtype,
        mean: 0.4,
    };
    let three: [[usize; 4]; 3] = [[2, 6, 4, 5], [2, 3, 2, 3], [2, 12, 1, 4]];
    check(e, &levels(&three, 3, DType::F32), ALL)?;
    let two = [[3, 6, 4, 5], [3, 3, 2, 3]];
    check(e, &levels(&two, 3, DType::Bf16), ALL)?;
    check(e, &levels(&three, 3, DType::F32), [false, true, false])?;
    check(e, &levels(&three, 3, DType::F32), [false, false, true])?;
    check(e, &levels(&two, 3, DType::F32), [true, false, false])?;
    // Chunks, a thread with more than sixteen values, and groups that are no power of two.
    let chunks = [[3, 50, 11, 19], [3, 25, 2, 2]];
    check(e, &levels(&chunks, 25, DType::F32), ALL)?;
    // Tiles of channels, the last one narrower.
    let tiles = [[3, 10, 2, 2], [3, 520, 2, 6]];
    check(e, &levels(&tiles, 5, DType::Bf16), ALL)?;
    check(e, &levels(&tiles, 5, DType::F32), ALL)?;
    // More levels than a launch takes.
    let many: Vec<[usize; 4]> = (1..=9).map(|l| [2, 2 * l, 2, 2]).collect();
    check(e, &levels(&many, 2, DType::F32), ALL)?;
    keeps_digits(e)
}

#[test]
fn devices_compute_what_single_operations_do() {
    mutation_cases(Engine::emulated(2)).unwrap();
}

#[test]
fn the_host_has_the_bits_of_single_operations() {
    let maps = [[3, 6, 4, 5], [3, 3, 2, 3], [3, 12, 1, 1]];
    for dtype in [DType::F32, DType::F64, DType::Bf16] {
        let l = Levels {
            maps: &maps,
            width: 3,
            dtype,
            mean: 0.4,
        };
        for want in [ALL, [false, true, false], [true, false, true]] {
            let [got, all] = [true, false].map(|t| run(Path::Fast, &l, want, t));
            assert_eq!(got.len(), all.len());
            for (i, (got, want)) in got.iter().zip(&all).enumerate() {
                assert_eq!(got, want, "result {i} in {dtype:?}");
            }
        }
    }
}

#[test]
fn nothing_is_normalised_of_no_image() {
    let l = Levels {
        maps: &[[0, 2, 2, 2], [0, 4, 1, 1]],
        width: 2,
        dtype: DType::F32,
        mean: 0.0,
    };
    let all = run(Path::Device(Engine::emulated(1)), &l, ALL, true);
    assert_eq!(all[0].dims(), [0, 6, 2]);
    assert!(
        all[1..]
            .iter()
            .all(|t| t.to_f64().iter().all(|v| v.is_finite()))
    );
}

/// Launches of rows that are made beforehand, forward and backward, and bytes fetched.
#[test]
fn all_levels_take_two_launches_each_way() {
    let e = Engine::emulated(1);
    let tape = Tape::new(Cx {
        path: Path::Device(e),
        ..Cx::default()
    });
    let draw = |shape: &[usize]| {
        let (n, mut r) = (shape.iter().product(), Rng::new(13, &[]));
        let v = (0..n).map(|_| 1.0 + r.normal() as f32).collect();
        tape.param(Tensor::from_f32(Shape::new(shape), v).unwrap())
    };
    let levels = [[4, 6], [6, 4], [2, 1]];
    let x = draw(&[2, 25, 2]);
    let affine = levels.map(|[c, _]| (draw(&[c]), draw(&[c])));
    let affine: Vec<_> = affine.iter().map(|(g, b)| (g, b)).collect();
    let counts = || (e.counts().launches, e.counts().downloaded);
    let before = counts();
    let (y, stats) = rows_batch_norm(&x, &affine, &levels.map(|l| l[1]), EPS).unwrap();
    assert_eq!(counts(), (before.0 + 2, before.1));
    for (s, [c, pixels]) in stats.iter().zip(levels) {
        assert_eq!(s.count, 2 * pixels);
        let old = [0.0, 1.0].map(|v| Tensor::full([c], DType::F32, v));
        s.running(&old[0], &old[1], 0.1).unwrap();
    }
    assert_eq!(counts(), (before.0 + 5, before.1));
    let dy = Tensor::full([2, 25, 2], DType::F32, 0.5);
    tape.backward_from(&y, dy).unwrap();
    assert_eq!(counts(), (before.0 + 7, before.1));
}
