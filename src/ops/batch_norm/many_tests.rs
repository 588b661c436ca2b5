//! Several at once against one at a time: the same bits.

use super::*;
use crate::error::{Code, Error};
use crate::ops;
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};

/// Values, statistics and gradients of all maps, and the running statistics that they lead to; `readers`: which are read.
fn run(path: Path, x: &[Tensor], together: bool, readers: &[bool], relu: bool) -> Vec<Tensor> {
    let tape = Tape::new(Cx {
        path,
        ..Cx::default()
    });
    let params = BatchNormParams { eps: 1e-5, relu };
    let x: Vec<Var> = x.iter().map(|x| tape.param(x.clone())).collect();
    let (y, stats): (Vec<Var>, Vec<BatchStats>) = match together {
        true => batch_norms(&x.iter().collect::<Vec<_>>(), params).unwrap(),
        false => (x.iter().map(|x| ops::batch_norm(x, None, params).unwrap())).unzip(),
    };
    let mut r = Rng::new(3, &[]);
    let mut loss: Option<Var> = None;
    for (y, read) in y.iter().zip(readers) {
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
    let mut all: Vec<Tensor> = y.iter().map(|y| y.value().clone()).collect();
    let c = y[0].dims()[1];
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

fn check(path: Path, shape: [usize; 4], readers: &[bool], dtype: DType, relu: bool) -> Result<()> {
    let mut r = Rng::new(4, &[shape[2] as u64]);
    let n = shape.iter().product();
    let mut draw = |mean: f64| {
        let v = (0..n).map(|_| (mean + r.normal()) as f32).collect();
        Tensor::from_f32(shape, v).map(|t| t.cast(dtype))
    };
    let x = (0..readers.len()).map(|i| draw(0.3 - 3.0 * i as f64));
    let x: Vec<Tensor> = x.collect::<Result<_>>()?;
    if run(path, &x, true, readers, relu) == run(path, &x, false, readers, relu) {
        return Ok(());
    }
    let text = format!("maps of {shape:?} in {dtype:?} together have other bits");
    Err(Error::new(Code::CheckFailed, text))
}

/// What `kernels/norm_many.cu` computes; few cases that between them reach every line.
pub(crate) fn mutation_cases(e: Engine) -> Result<()> {
    let path = Path::Device(e);
    check(path, [2, 3, 2, 6], &[true, true, true], DType::F32, false)?;
    check(path, [3, 2, 3, 5], &[false, true, true], DType::Bf16, true)?;
    // Two chunks of a channel.
    check(path, [1, 1, 32, 40], &[true, true], DType::F32, true)?;
    check(path, [1, 2, 1, 8], &[true, true], DType::Bf16, false)?;
    check(path, [1, 1, 1, 4], &[true; MAPS], DType::F32, false)
}

#[test]
fn together_they_have_the_bits_of_each() {
    mutation_cases(Engine::emulated(2)).unwrap();
    check(Path::Fast, [2, 3, 2, 6], &[true, false], DType::Bf16, true).unwrap();
}

#[test]
fn all_take_two_launches_each_way() {
    let e = Engine::emulated(1);
    let mut r = Rng::new(5, &[]);
    let mut draw = || {
        let v = (0..96).map(|_| r.normal() as f32).collect();
        Tensor::from_f32([2, 3, 4, 4], v).unwrap()
    };
    let x = [draw(), draw(), draw()];
    let launches = |together| {
        let before = e.counts().launches;
        run(Path::Device(e), &x, together, &[true; 3], false);
        e.counts().launches - before
    };
    assert_eq!(launches(false) - launches(true), 8);
}
