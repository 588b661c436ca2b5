//! The pair against the ops that it is made of.

use super::*;
use crate::error::{Code, Error};
use crate::ops;
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};
use crate::tensor::DType;

fn normal(r: &mut Rng, shape: Shape, dtype: DType) -> Tensor {
    let v = (0..shape.numel()).map(|_| r.normal() as f32).collect();
    Tensor::from_f32(shape, v).unwrap().cast(dtype)
}

/// What is done with the maxima and the means: how many operations read each.
type Readers = [usize; 2];

/// `[maxima, means, dx]` where every reader multiplies by numbers of its own.
fn run(
    path: Path,
    x: &Tensor,
    [channels, stride]: [usize; 2],
    readers: Readers,
    pair: bool,
) -> Vec<Tensor> {
    let tape = Tape::new(Cx {
        path,
        ..Cx::default()
    });
    let x = tape.param(x.clone());
    let both = match pair {
        true => ops::pools(&x, channels, stride).unwrap(),
        false => {
            let cut = ops::slice(&x, 0, channels).unwrap();
            let max = ops::max_pool(&cut, 3, stride, 1).unwrap();
            [max, ops::avg_pool(&cut, 3, stride, 1).unwrap()]
        }
    };
    let mut loss: Option<Var> = None;
    let mut r = Rng::new(3, &[]);
    for (y, n) in both.iter().zip(readers) {
        for _ in 0..n {
            let by = tape.leaf(normal(&mut r, *y.shape(), y.dtype()));
            let part = ops::sum(&ops::mul(y, &by).unwrap()).unwrap();
            loss = Some(match loss {
                Some(l) => ops::add(&l, &part).unwrap(),
                None => part,
            });
        }
    }
    let mut grads = tape.backward(&loss.unwrap()).unwrap();
    let [a, b] = both.map(|v| v.value().clone());
    vec![a, b, grads.take(&x).unwrap()]
}

fn near(what: &str, a: &Tensor, b: &Tensor, within: f64) -> Result<()> {
    let far = |(a, b): (f64, f64)| (a - b).abs() > within * b.abs().max(4.0);
    let at = a.to_f64().into_iter().zip(b.to_f64()).position(far);
    match at {
        None if a.shape() == b.shape() && a.dtype() == b.dtype() => Ok(()),
        at => {
            let text = format!("{what} differs at {at:?} of {}", a.shape());
            Err(Error::new(Code::CheckFailed, text))
        }
    }
}

fn check(e: Engine, shape: [usize; 4], at: [usize; 2], readers: Readers) -> Result<()> {
    for dtype in [DType::F32, DType::Bf16] {
        let x = normal(&mut Rng::new(4, &[shape[3] as u64]), shape.into(), dtype);
        let want = run(Path::Fast, &x, at, readers, false);
        let got = run(Path::Device(e), &x, at, readers, true);
        let round = if dtype == DType::Bf16 {
            1.0 / 64.0
        } else {
            1e-5
        };
        let what = ["maxima", "means", "dx"];
        for ((what, got), want) in what.iter().zip(&got).zip(&want) {
            let what = format!("{what} of {shape:?} {at:?} {readers:?} in {dtype:?}");
            near(&what, got, want, round)?;
        }
        // The same on the processor, and by the reference.
        for path in [Path::Fast, Path::Reference] {
            for (got, want) in run(path, &x, at, readers, true).iter().zip(&want) {
                near("the host", got, want, round)?;
            }
        }
    }
    Ok(())
}

/// What `kernels/pool_pair.cu` computes; few cases that between them reach every line.
pub(crate) fn mutation_cases(e: Engine) -> Result<()> {
    for (shape, at, readers) in [
        ([2, 5, 5, 16], [2, 1], [2, 3]),
        ([1, 3, 1, 8], [3, 1], [1, 1]),
        ([2, 4, 4, 24], [1, 1], [9, 0]),
        ([2, 3, 7, 32], [2, 2], [1, 2]),
        ([1, 2, 6, 16], [1, 2], [0, 1]),
        ([1, 2, 2, 16], [2, 2], [2, 10]),
        ([2, 3, 3, 8], [2, 1], [0, 2]),
        // Rows that 16 bytes do not divide.
        ([2, 3, 5, 7], [2, 1], [2, 2]),
        ([1, 3, 4, 5], [1, 2], [1, 0]),
    ] {
        check(e, shape, at, readers)?;
    }
    few_threads(e)
}

/// A thread has several strips.
fn few_threads(e: Engine) -> Result<()> {
    use crate::backend::driver::{self as k, Arg, Launch, Scalar};
    let x = normal(&mut Rng::new(5, &[]), [3, 3, 6, 8].into(), DType::F32);
    let cut = Slice {
        start: 0,
        channels: 2,
    };
    let cut = cut.forward(std::slice::from_ref(&x))?.y;
    let of = |kind| {
        Pools::new(2, 1)
            .pool(kind)
            .forward(std::slice::from_ref(&cut))
    };
    let mut got = vec![Tensor::scratch_on(e, *cut.shape(), DType::F32)?; 2];
    for t in &mut got {
        *t = Tensor::scratch_on(e, *cut.shape(), DType::F32)?;
    }
    let mut taps = Tensor::scratch_on(e, [cut.numel() / 4], DType::I32)?;
    let Arg::Out(at, _) = taps.arg_out(e)? else {
        unreachable!()
    };
    let mut args = vec![x.arg(e)?, got[0].arg_out(e)?, got[1].arg_out(e)?];
    args.extend([
        Arg::Out(at, Scalar::U8),
        Arg::I32(2),
        Arg::I32(3),
        Arg::I64(6),
    ]);
    args.extend([6, 8, 6, 8].map(Arg::I32));
    e.launch(
        k::POOL_PAIR_S1_F32,
        Launch::new([2, 1, 1], [4, 1, 1]),
        &args,
    )?;
    near("maxima of few threads", &got[0], &of(Kind::Max)?.y, 0.0)?;
    near("means of few threads", &got[1], &of(Kind::Average)?.y, 1e-6)
}

#[test]
fn the_pair_is_both_poolings() {
    mutation_cases(Engine::emulated(2)).unwrap();
}

#[test]
fn a_pair_takes_one_launch_each_way() {
    let e = Engine::emulated(1);
    let x = normal(&mut Rng::new(6, &[]), [2, 4, 4, 16].into(), DType::F32);
    let launches = |readers, pair| {
        let before = e.counts().launches;
        run(Path::Device(e), &x, [1, 1], readers, pair);
        e.counts().launches - before
    };
    // Three readers of each have a product, a sum and their gradients; the rest is poolings, sums of gradients and the cut.
    let own = launches([3, 3], false) - launches([3, 3], true);
    // Of slice, two poolings, two sums, two gradients, their sum and its place in x, two are left and the place.
    assert_eq!(own, 9 - 3);
}
