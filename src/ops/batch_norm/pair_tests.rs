//! The pair against two normalisations: the same bits.

use super::*;
use crate::error::{Code, Error};
use crate::ops;
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};

/// Values, means, variances and gradients of both maps, and the running statistics that they lead to.
fn run(path: Path, x: &[Tensor; 2], pair: bool, readers: [bool; 2]) -> Vec<Tensor> {
    let tape = Tape::new(Cx {
        path,
        ..Cx::default()
    });
    let params = BatchNormParams {
        eps: 1e-5,
        relu: false,
    };
    let x = x.each_ref().map(|x| tape.param(x.clone()));
    let ([a, b], stats) = match pair {
        true => batch_norm_pair([&x[0], &x[1]], params.eps).unwrap(),
        false => {
            let [(a, s), (b, t)] =
                (x.each_ref()).map(|x| ops::batch_norm(x, None, params).unwrap());
            ([a, b], [s, t])
        }
    };
    let mut r = Rng::new(3, &[]);
    let mut loss: Option<Var> = None;
    for (y, read) in [&a, &b].into_iter().zip(readers) {
        let v = (0..y.shape().numel()).map(|_| r.normal() as f32).collect();
        let by = tape.leaf(Tensor::from_f32(*y.shape(), v).unwrap().cast(y.dtype()));
        let part = ops::sum(&ops::mul(y, &by).unwrap()).unwrap();
        loss = match loss {
            _ if !read => loss,
            Some(l) => Some(ops::add(&l, &part).unwrap()),
            None => Some(part),
        };
    }
    let mut grads = tape.backward(&loss.unwrap()).unwrap();
    let mut all = vec![a.value().clone(), b.value().clone()];
    let c = a.dims()[1];
    for s in &stats {
        let old = [0.5, 2.0].map(|v| Tensor::full([c], DType::F32, v));
        all.extend([s.mean(), s.var()]);
        all.extend(s.running(&old[0], &old[1], 0.1).unwrap());
    }
    for x in &x {
        let zeros = || Tensor::zeros(*x.shape(), x.dtype());
        all.push(grads.take(x).unwrap_or_else(zeros));
    }
    all
}

/// What `kernels/norm_pair.cu` computes; few cases that between them reach every line.
pub(crate) fn mutation_cases(e: Engine) -> Result<()> {
    for shape in [[2, 3, 4, 6], [3, 2, 3, 5], [2, 2, 48, 64]] {
        for dtype in [DType::F32, DType::Bf16] {
            let mut r = Rng::new(4, &[shape[2] as u64]);
            let n = shape.iter().product();
            let mut draw = |mean: f64| {
                let v = (0..n).map(|_| (mean + r.normal()) as f32).collect();
                Tensor::from_f32(shape, v).map(|t| t.cast(dtype))
            };
            let x = [draw(0.3)?, draw(-7.0)?];
            for readers in [[true, true], [false, true]] {
                for path in [Path::Device(e), Path::Fast] {
                    if run(path, &x, true, readers) != run(path, &x, false, readers) {
                        let text = format!("a pair of {shape:?} in {dtype:?} has other bits");
                        return Err(Error::new(Code::CheckFailed, text));
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_pair_has_the_bits_of_both() {
    mutation_cases(Engine::emulated(2)).unwrap();
}

#[test]
fn a_pair_takes_two_launches_each_way() {
    let e = Engine::emulated(1);
    let mut r = Rng::new(5, &[]);
    let mut draw = || {
        let v = (0..96).map(|_| r.normal() as f32).collect();
        Tensor::from_f32([2, 3, 4, 4], v).unwrap()
    };
    let x = [draw(), draw()];
    let launches = |pair| {
        let before = e.counts().launches;
        run(Path::Device(e), &x, pair, [true, true]);
        e.counts().launches - before
    };
    assert_eq!(launches(false) - launches(true), 4);
}
