//! Cases of kernels that ops of the table do not reach: what the host refuses before a launch, and threads that take more values
//! than those of a small map do.

use std::sync::Arc;

use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::{Code, Error, Result};
use crate::gradcheck::{agree, pull};
use crate::ops::cosine::Cosine;
use crate::ops::cross_entropy::{CrossEntropy, Denominator};
use crate::ops::drop_path::DropPath;
use crate::ops::dropout::Dropout;
use crate::ops::multibox::Multibox;
use crate::ops::table::Case;
use crate::ops::upsample_bilinear::UpsampleBilinear;
use crate::ops::weighted_sum::{Term, WeightedSum};
use crate::rng::Rng;
use crate::tape::{Backward, Grad, Op, Path};
use crate::tensor::{DType, DeviceBuffer, Engine, Shape, Tensor};

pub(super) fn wrong(text: String) -> Error {
    Error::new(Code::CheckFailed, text)
}

fn normal(r: &mut Rng, shape: &[usize]) -> Result<Tensor> {
    let n = shape.iter().product();
    Tensor::from_f32(shape, (0..n).map(|_| r.normal() as f32).collect())
}

/// On the device alone, where the host does not look at it.
fn hidden(e: Engine, shape: &[usize], v: &[i32]) -> Result<Tensor> {
    let d = DeviceBuffer::scratch(e, DType::I32, v.len())?;
    d.write(bytemuck::cast_slice(v))?;
    Ok(Tensor::from_device(shape, d))
}

/// A class outside of the range makes the cross entropy NaN, and the gradient of its position; the others are as without it.
pub fn classes_outside(e: Engine) -> Result<()> {
    let (classes, mut r) = (3, Rng::new(7, &[]));
    let op: Arc<dyn Op> = Arc::new(CrossEntropy {
        ignore: Some(-5),
        denominator: Denominator::Fixed(2.0),
        ..CrossEntropy::default()
    });
    for (last, nan) in [(-5, false), (2, false), (-1, true), (classes as i32, true)] {
        let x = normal(&mut r, &[2, classes, 1, 2])?;
        let t = hidden(e, &[2, 1, 2], &[0, 1, last, 2])?;
        let dy = Tensor::scalar(DType::F32, 1.0);
        let (y, dx) = pull(&op, &[x, t], Path::Device(e), &dy)?;
        let dx = dx[0].as_ref().map(|g| g.to_f64()).unwrap_or_default();
        let at: Vec<usize> = (0..dx.len()).filter(|&i| dx[i].is_nan()).collect();
        // Image 1, position 0, of every class.
        let want: Vec<usize> = if nan { vec![6, 8, 10] } else { vec![] };
        if y.item().is_nan() != nan || at != want {
            return Err(wrong(format!(
                "class {last}: {} and NaN at {at:?}",
                y.item()
            )));
        }
    }
    Ok(())
}

/// The same of priors that count: their class term is NaN.
pub fn labels_outside(e: Engine) -> Result<()> {
    let (classes, mut r) = (3, Rng::new(8, &[]));
    let op: Arc<dyn Op> = Arc::new(Multibox { denominator: 2.0 });
    for (last, nan) in [(0, false), (2, false), (-1, true), (classes as i32, true)] {
        let x = [
            normal(&mut r, &[1, 3, 4])?,
            normal(&mut r, &[1, 3, classes])?,
            hidden(e, &[1, 3], &[1, 0, last])?,
            normal(&mut r, &[1, 3, 4])?,
            hidden(e, &[1, 3], &[1, 1, 1])?,
        ];
        let dy = Tensor::scalar(DType::F32, 1.0);
        let (y, _) = pull(&op, &x, Path::Device(e), &dy)?;
        if y.item().is_nan() != nan {
            return Err(wrong(format!("label {last}: {}", y.item())));
        }
    }
    Ok(())
}

/// What the loss of priors saves: `ln sum e^z` where a prior is marked, 0 elsewhere, and the two terms by themselves. A background score
/// far above the others, and a difference at the bend of smooth L1.
pub fn terms_of_priors(e: Engine) -> Result<()> {
    let op = Multibox { denominator: 4.0 };
    let x = [
        Tensor::from_f32(
            [1, 3, 4],
            vec![1.0, 0.5, -3.0, 0.0, 0.1, 0.2, 0.3, 0.4, 9.0, 9.0, 9.0, 9.0],
        )?,
        Tensor::from_f32([1, 3, 2], vec![0.0, 0.0, 200.0, -200.0, 3.0, 4.0])?,
        hidden(e, &[1, 3], &[1, 0, 0])?,
        Tensor::from_f32([1, 3, 4], vec![0.0; 12])?,
        hidden(e, &[1, 3], &[1, 1, 0])?,
    ];
    let Some(out) = op.forward_device(e, &x)? else {
        return Err(wrong("terms of priors: no kernel takes them".to_string()));
    };
    let all = out.saved[0].to_f64();
    let of = |t: &Tensor| t.item();
    let (location, class, sum) = (of(&out.saved[1]), of(&out.saved[2]), of(&out.y));
    // 1/2 + 1/8 + 5/2 of the first prior; ln 2 of the first and 0 of the second.
    let want = [3.125 / 4.0, 2f64.ln() / 4.0];
    let far = |a: f64, b: f64| !((a - b).abs() <= 1e-6);
    if far(location, want[0]) || far(class, want[1]) || far(sum, want[0] + want[1]) {
        let text = format!("terms of priors: {location} + {class} = {sum} instead of {want:?}");
        return Err(wrong(text));
    }
    if far(all[0], 2f64.ln()) || all[1..] != [200.0, 0.0] {
        return Err(wrong(format!("terms of priors: ln sum e^z {all:?}")));
    }
    let op: Arc<dyn Op> = Arc::new(op);
    let dy = Tensor::scalar(DType::F32, 4.0);
    let (_, dx) = pull(&op, &x, Path::Device(e), &dy)?;
    let got = dx[0].as_ref().map(|g| g.to_f64()).unwrap_or_default();
    if got[..4] != [1.0, 0.5, -1.0, 0.0] || got[4..].iter().any(|&v| v != 0.0) {
        return Err(wrong(format!("terms of priors: slopes {got:?}")));
    }
    Ok(())
}

/// Vectors without length in the prediction and in the target, one that is barely long enough, one that is barely too short, and one that
/// does not count though it is not finite.
pub fn short_vectors(e: Engine) -> Result<()> {
    let op: Arc<dyn Op> = Arc::new(Cosine { denominator: 2.0 });
    let x = [
        Tensor::from_f32(
            [1, 2, 5],
            vec![0.0, 3e-8, 5e-9, f32::NAN, 0.5, 0.0, 0.0, 0.0, 1.0, 2.0],
        )?,
        Tensor::from_f32(
            [1, 2, 5],
            vec![0.5, 0.3, 0.3, 1.0, 0.0, 0.0, 0.4, 0.4, 1.0, 0.0],
        )?,
        Tensor::from_f32([1, 5], vec![1.0, 0.5, 1.0, 0.0, 2.0])?,
    ];
    let dy = Tensor::scalar(DType::F32, 3.0);
    let (y, got) = pull(&op, &x, Path::Device(e), &dy)?;
    let (host, want) = pull(&op, &x, Path::Fast, &dy)?;
    if !((y.item() - host.item()).abs() <= 1e-6) {
        let (y, host) = (y.item(), host.item());
        return Err(wrong(format!("short vectors: {y} instead of {host}")));
    }
    // The gradient of the weight that does not count is not a number.
    for (got, want) in got.iter().flatten().zip(want.iter().flatten()).take(2) {
        let (got, want) = (got.to_f64(), want.to_f64());
        let most = want.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-5 * most;
        if !got.iter().zip(&want).all(near) {
            return Err(wrong(format!("short vectors: {got:?} instead of {want:?}")));
        }
    }
    Ok(())
}

/// Statistics of channels by one block each, so that a thread has more than sixteen values: one at a time, four and eight.
pub fn statistics_of_one_block(e: Engine) -> Result<()> {
    let (first, images, channels) = (1, 2, 2);
    let f32s = (DType::F32, k::NORM_STATS_F32);
    let bf16s = (DType::Bf16, k::NORM_STATS_BF16);
    for (plane, (dtype, kernel)) in [(1792, f32s), (1792, bf16s), (1975, f32s)] {
        let mut r = Rng::new(9, &[plane as u64]);
        let x = normal(&mut r, &[first + images, channels, plane])?.cast(dtype);
        let mut part = Tensor::scratch_on(e, [1, channels, 3], DType::F32)?;
        let args = [
            x.arg(e)?,
            part.arg_out(e)?,
            Arg::I32(0),
            Arg::I64(first as i64),
            Arg::I64(images as i64),
            Arg::I32(channels as i32),
            Arg::I64(plane as i64),
        ];
        let launch = Launch::new([channels as u32, 1, 1], [256, 1, 1]);
        e.launch(kernel, launch, &args)?;
        let (x, got) = (x.to_f64(), part.to_f64());
        for c in 0..channels {
            let of = |i: usize| &x[(i * channels + c) * plane..][..plane];
            let all: Vec<f64> = (first..first + images).flat_map(of).copied().collect();
            let n = all.len() as f64;
            let mean = all.iter().sum::<f64>() / n;
            let m2 = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            let got = &got[3 * c..3 * c + 3];
            // The mean is that of the deviations from the first value.
            let close = (got[1] + all[0] - mean).abs() < 1e-5 && (got[2] / m2 - 1.0).abs() < 1e-5;
            if got[0] != n || !close {
                return Err(wrong(format!(
                    "statistics of {plane}: {got:?} for {n} {mean} {m2}"
                )));
            }
        }
    }
    Ok(())
}

/// A weighted sum in two launches, the second of two terms, or three: they share some weights, and one operand has more channels.
pub fn more_terms_than_a_launch_takes(e: Engine) -> Result<()> {
    let mut r = Rng::new(10, &[]);
    // An operand whose values begin off 16 bytes, all else being on them; one that begins on them.
    // An image of six values, which hold no whole number of vectors, though both images and the number of terms do.
    for (plane, c, wide, start, terms) in [(3, 4, 0, 1, 18), (8, 4, 17, 1, 33), (2, 3, 1, 2, 4)] {
        let term = |i: usize| Term {
            weight: i % 11,
            start: if i == wide { start } else { 0 },
        };
        let terms: Vec<Term> = (0..terms).map(term).collect();
        let map = |t: &Term| normal(&mut r, &[2, c + t.start, 1, plane]);
        let mut x = terms.iter().map(map).collect::<Result<Vec<_>>>()?;
        x.push(normal(&mut r, &[11])?);
        let case = Case {
            op: Arc::new(WeightedSum { terms }),
            x,
        };
        agree(e, &case, DType::F32, &mut r)?;
        agree(e, &case, DType::Bf16, &mut r)?;
    }
    Ok(())
}

/// A sum of which some operands want a gradient: nothing else is written.
pub fn some_gradients_of_a_sum(e: Engine) -> Result<()> {
    let mut r = Rng::new(15, &[]);
    let terms = (0..3).map(|weight| Term { weight, start: 0 }).collect();
    let op = WeightedSum { terms };
    let shapes = [[2, 2, 1, 4]; 3].map(Shape::from);
    let maps = (0..3).map(|_| normal(&mut r, shapes[0].dims()));
    let mut x = maps.collect::<Result<Vec<_>>>()?;
    x.push(normal(&mut r, &[3])?);
    let weights = x[3].f32s().to_vec();
    let dy = normal(&mut r, shapes[0].dims())?;
    let before = dy.f32s().to_vec();
    let b = Backward {
        x: &x.iter().cloned().map(Some).collect::<Vec<_>>(),
        shapes: &[&shapes[..], &[Shape::from([3])]].concat(),
        y: None,
        saved: &[],
        dy: &dy,
        terms: &[],
        so_far: &[],
        need: &[true, false, true, false],
    };
    let grads = op.backward_device(e, &b)?.unwrap_or_default();
    let there: Vec<bool> = grads.iter().map(Option::is_some).collect();
    let after = dy.on(e)?.download().values::<f32>().to_vec();
    if there != [true, false, true, false] || after != before {
        return Err(wrong(format!("{there:?}, dy {after:?} for {before:?}")));
    }
    for (i, g) in grads.into_iter().enumerate() {
        let Some(Grad::Whole(g)) = g else { continue };
        let mut pairs = g.f32s().iter().zip(&before);
        if !pairs.all(|(g, dy)| *g == weights[i] * dy) {
            return Err(wrong(format!("the gradient of operand {i}")));
        }
    }
    Ok(())
}

/// Probabilities that are exactly what was drawn for the first element, and for the first image: it is kept.
pub fn chances_at_the_edge(e: Engine) -> Result<()> {
    let path = vec![1, 2];
    for seed in 0..3 {
        let drawn = || Rng::new(seed, &[1, 2, 0]);
        let p = f64::from(drawn().u32()) / 4_294_967_296.0;
        let dropout: Arc<dyn Op> = Arc::new(Dropout {
            p,
            seed,
            path: path.clone(),
        });
        let drop_path: Arc<dyn Op> = Arc::new(DropPath {
            p: drawn().f64(),
            seed,
            path: path.clone(),
        });
        for op in [dropout, drop_path] {
            let mut r = Rng::new(11, &[seed]);
            let x = vec![normal(&mut r, &[2, 1, 1, 5])?];
            agree(e, &Case { op, x }, DType::F32, &mut r)?;
        }
    }
    Ok(())
}

/// A part so long that its size fits no 32 bits, of which a few values are copied.
pub fn divisor_of_many_bits(e: Engine) -> Result<()> {
    let (n, long) = (8, Arg::I64(1 << 33));
    let x = normal(&mut Rng::new(12, &[]), &[n])?;
    let mut y = Tensor::scratch_on(e, [n], DType::F32)?;
    let none = Arg::I64(0);
    let args = [x.arg(e)?, y.arg_out(e)?, long, long, none, long, none];
    let args = [&args[..], &[Arg::I64(n as i64)]].concat();
    e.launch(k::COPY_PART_F32, Launch::over(4, 32), &args)?;
    match y.f32s() == x.f32s() {
        true => Ok(()),
        false => Err(wrong(format!("a copy: {:?} of {:?}", y.f32s(), x.f32s()))),
    }
}

/// Rows of a matrix that one block takes one after another: the sums of all use the same shared memory.
pub fn rows_of_one_block(e: Engine) -> Result<()> {
    let (rows, row) = (5, 70);
    let mut r = Rng::new(13, &[]);
    let (x, dy) = (normal(&mut r, &[rows, row])?, normal(&mut r, &[rows, row])?);
    let s = normal(&mut r, &[rows])?;
    let mut dx = Tensor::scratch_on(e, [rows, row], DType::F32)?;
    let mut ds = Tensor::scratch_on(e, [rows], DType::F32)?;
    let read = [x.arg(e)?, s.arg(e)?, dy.arg(e)?];
    let written = [dx.arg_out(e)?, ds.arg_out(e)?];
    let sizes = [Arg::I64(rows as i64), Arg::I64(row as i64)];
    let args = [&read[..], &written, &sizes].concat();
    let launch = Launch::new([1, 1, 1], [64, 1, 1]);
    e.launch(k::SCALE_ROWS_BWD_F32, launch, &args)?;
    let (x, dy, got) = (x.f32s(), dy.f32s(), ds.f32s());
    for (i, got) in got.iter().enumerate() {
        let of = |k: usize| f64::from(x[i * row + k]) * f64::from(dy[i * row + k]);
        let want: f64 = (0..row).map(of).sum();
        if (f64::from(*got) - want).abs() > 1e-4 {
            return Err(wrong(format!("the sum of row {i}: {got} for {want}")));
        }
    }
    Ok(())
}

/// Maps of a single row or column whose outermost pixels shall coincide with those of larger ones: no pixel lies beside another.
pub fn corners_of_single_lines(e: Engine) -> Result<()> {
    for (h, w, height, width) in [(1, 3, 4, 5), (3, 1, 5, 4), (1, 1, 1, 3)] {
        bilinear(e, [h, w], [height, width], true)?;
    }
    Ok(())
}

/// Sizes that are no multiples of each other, larger and smaller, by both ways to lay maps over each other.
pub fn any_size_to_any(e: Engine) -> Result<()> {
    for (h, w, height, width) in [(2, 3, 5, 7), (5, 4, 3, 9), (4, 7, 4, 2), (2, 8, 1, 20)] {
        for corners in [false, true] {
            bilinear(e, [h, w], [height, width], corners)?;
        }
    }
    Ok(())
}

fn bilinear(
    e: Engine,
    [h, w]: [usize; 2],
    [height, width]: [usize; 2],
    align_corners: bool,
) -> Result<()> {
    let mut r = Rng::new(14, &[h as u64, w as u64]);
    let op = Arc::new(UpsampleBilinear {
        height,
        width,
        align_corners,
    });
    let x = vec![normal(&mut r, &[1, 2, h, w])?];
    agree(e, &Case { op, x }, DType::F32, &mut r).map(drop)
}
