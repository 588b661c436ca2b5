//! Normalisation of a rectified map, `batch_norm(max(x, 0))`, with the batch's own statistics: on a device without a rectified map, in the
//! bits of both operations.

use super::device::{self, BEFORE};
use super::{BatchNorm, BatchNormParams, BatchStats};
use crate::error::Result;
use crate::ops::relu::Relu;
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Engine, Shape, Tensor};

/// The op; operands of [`BatchNorm`].
#[derive(Debug, Clone, Copy)]
struct RectifiedBatchNorm(BatchNorm);

/// Normalises `max(x, 0)` and returns its statistics.
///
/// # Errors
/// As [`super::batch_norm`].
pub fn rectified_batch_norm(
    x: &Var,
    affine: Option<(&Var, &Var)>,
    params: BatchNormParams,
) -> Result<(Var, BatchStats)> {
    let affine = affine.into_iter().flat_map(|(g, b)| [g, b]);
    let operands: Vec<&Var> = [x].into_iter().chain(affine).collect();
    let op = RectifiedBatchNorm(BatchNorm(params));
    let (y, saved) = x.tape().apply_saving(op, &operands)?;
    Ok((y, BatchStats::new(saved, x)))
}

fn rectified(x: &Tensor) -> Result<Tensor> {
    Ok(Relu.forward(std::slice::from_ref(x))?.y)
}

impl Op for RectifiedBatchNorm {
    fn name(&self) -> &'static str {
        "rectified_batch_norm"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        self.0.infer(x)
    }

    fn saves(&self) -> Saves {
        self.0.saves()
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let mut x = x.to_vec();
        x[0] = rectified(&x[0])?;
        self.0.forward(&x)
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (mut x, map) = (b.x.to_vec(), rectified(b.input(0))?);
        x[0] = Some(map.clone());
        let mut all = self.0.backward(&Backward { x: &x, ..*b })?;
        if let Some(Grad::Whole(dy)) = all[0].take() {
            let own = Backward {
                x: &[None],
                shapes: &b.shapes[..1],
                y: Some(&map),
                saved: &[],
                dy: &dy,
                terms: &[],
                so_far: &[],
                need: &[true],
            };
            all[0] = Relu.backward(&own)?.into_iter().next().flatten();
        }
        Ok(all)
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        device::forward(e, x, self.0.0, BEFORE)
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let [mean, var, rest] = b.saved else {
            return Ok(None);
        };
        let rest = Some(rest);
        device::backward(e, b, device::Known { mean, var, rest }, self.0.0, BEFORE)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::error::{Code, Error};
    use crate::ops;
    use crate::rng::Rng;
    use crate::tape::{Cx, Path, Tape};
    use crate::tensor::DType;

    /// Value, statistics, running statistics and gradients.
    fn run(path: Path, shape: [usize; 4], dtype: DType, relu: bool, fused: bool) -> Vec<Tensor> {
        let tape = Tape::new(Cx {
            path,
            ..Cx::default()
        });
        let mut r = Rng::new(9, &[shape[3] as u64]);
        let mut draw = |shape: &[usize], dtype| {
            let n = shape.iter().product();
            let v = (0..n).map(|_| (r.normal() - 0.2) as f32).collect();
            let t = Tensor::from_f32(Shape::new(shape), v).unwrap().cast(dtype);
            tape.param(t)
        };
        let single = if dtype == DType::F64 {
            dtype
        } else {
            DType::F32
        };
        let (x, by) = (draw(&shape, dtype), draw(&shape, dtype));
        let [gamma, beta] = [0; 2].map(|_| draw(&[shape[1]], single));
        let params = BatchNormParams { eps: 1e-5, relu };
        let affine = Some((&gamma, &beta));
        let (y, stats) = match fused {
            true => rectified_batch_norm(&x, affine, params).unwrap(),
            false => ops::batch_norm(&ops::relu(&x).unwrap(), affine, params).unwrap(),
        };
        let loss = ops::sum(&ops::mul(&y, &by).unwrap()).unwrap();
        let mut grads = tape.backward(&loss).unwrap();
        let of = [&x, &gamma, &beta].map(|v| grads.take(v).unwrap().detached());
        let old = [0.5, 2.0].map(|v| Tensor::full([shape[1]], DType::F32, v));
        let mut all = vec![y.value().detached(), stats.mean(), stats.var()];
        all.extend(stats.running(&old[0], &old[1], 0.1).unwrap());
        all.extend(of);
        all
    }

    fn check(path: Path, shape: [usize; 4], dtype: DType, relu: bool) -> Result<()> {
        if run(path, shape, dtype, relu, true) == run(path, shape, dtype, relu, false) {
            return Ok(());
        }
        let text = format!("{shape:?} in {dtype:?} has other bits than both operations");
        Err(Error::new(Code::CheckFailed, text))
    }

    /// What `kernels/norm.cu` computes of rectified maps; few cases that between them reach every line.
    pub(crate) fn mutation_cases(e: Engine) -> Result<()> {
        let path = Path::Device(e);
        check(path, [2, 3, 2, 6], DType::F32, false)?;
        check(path, [3, 2, 3, 5], DType::Bf16, true)?;
        check(path, [1, 1, 32, 40], DType::F32, true)?;
        check(path, [2, 2, 4, 8], DType::Bf16, false)
    }

    #[test]
    fn it_has_the_bits_of_both_operations() {
        mutation_cases(Engine::emulated(2)).unwrap();
        for (dtype, relu) in [(DType::F32, true), (DType::F64, false)] {
            check(Path::Fast, [2, 3, 2, 6], dtype, relu).unwrap();
        }
    }

    #[test]
    fn it_takes_fewer_launches() {
        let e = Engine::emulated(1);
        let launches = |fused| {
            let before = e.counts().launches;
            run(Path::Device(e), [2, 3, 4, 4], DType::F32, false, fused);
            e.counts().launches - before
        };
        assert_eq!(launches(false) - launches(true), 2);
    }
}
