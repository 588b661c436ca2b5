//! Batch normalisation of a batch that lies on several devices, a part on each: every rank sends (count, mean, M2) of its images, all
//! merge what all have sent in the order of the ranks, and the backward sums `dy` and `dy (x - mean)` over the ranks. Parts may be uneven
//! or empty.

use std::sync::Arc;

use super::device;
use crate::backend::driver::Stream;
use crate::dist::{Communicator, Reduce};
use crate::error::{Code, Error, Result};
use crate::ops::batch_norm::device::{Back, Known, Sizes, apply, supported};
use crate::ops::batch_norm::{BatchNormParams, BatchStats, check};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// The op of one rank; operands x `(N, C, H, W)`, its part of the batch, and, if affine, gamma and beta `(C)`.
///
/// The gradients of gamma and beta are of this rank's images, as those of every other parameter: what sums parameters' gradients over
/// the ranks sums these too.
#[derive(Debug, Clone)]
pub struct RankBatchNorm {
    /// What is added to the variance; whether the output is rectified.
    pub params: BatchNormParams,
    /// This rank among the others.
    pub comm: Arc<dyn Communicator>,
}

/// Normalises this rank's part of a batch with the statistics of all parts; every rank calls it at the same place of its network.
///
/// # Errors
/// [`Code::Shape`] when gamma or beta do not fit; [`Code::Argument`] off a device or for a type without kernels; `Device` when another
/// rank is gone.
pub fn rank_batch_norm(
    x: &Var,
    affine: Option<(&Var, &Var)>,
    op: RankBatchNorm,
) -> Result<(Var, BatchStats)> {
    let mut operands = vec![x];
    operands.extend(affine.iter().flat_map(|(g, b)| [*g, *b]));
    let (y, saved) = x.tape().apply_saving(op, &operands)?;
    Ok((y, BatchStats::new(saved, x)))
}

impl RankBatchNorm {
    fn off_device<T>(&self) -> Result<T> {
        let text = format!("{}: needs f32 or bf16 maps on a device", self.name());
        Err(Error::new(Code::Argument, text))
    }
}

impl Op for RankBatchNorm {
    fn name(&self) -> &'static str {
        "rank_batch_norm"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        check(self.name(), x, None)
    }

    fn saves(&self) -> Saves {
        Saves {
            inputs: 0b111,
            output: false,
        }
    }

    fn forward(&self, _x: &[Tensor]) -> Result<Output> {
        self.off_device()
    }

    fn backward(&self, _b: &Backward) -> Result<Vec<Option<Grad>>> {
        self.off_device()
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        if !supported(x) {
            return self.off_device();
        }
        let s = Sizes::of(x[0].shape());
        let c = s.channels;
        let mut mine = Tensor::scratch_on(e, [1, c, 4], DType::F32)?;
        let mut all = Tensor::scratch_on(e, [self.comm.size(), c, 4], DType::F32)?;
        device::send(e, &x[0], 0, s, &mut mine, 0)?;
        self.comm
            .all_gather(mine.on(e)?, all.on_mut(e)?, Stream::MAIN)?;
        let saved = device::merge(e, &all)?;
        let known = Known {
            mean: &saved[0],
            var: &saved[1],
            rest: Some(&saved[2]),
        };
        let Some(y) = apply(e, x, &known, self.params)? else {
            return self.off_device();
        };
        Ok(Some(Output { y, saved }))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let [mean, var, rest] = b.saved else {
            return self.off_device();
        };
        let back = Back {
            x: b.input(0),
            affine: (b.shapes.len() == 3).then(|| [b.input(1), b.input(2)]),
            dy: b.dy,
            known: Known {
                mean,
                var,
                rest: Some(rest),
            },
            params: self.params,
            before: 0,
        };
        if !back.supported() {
            return self.off_device();
        }
        let s = Sizes::of(&b.shapes[0]);
        let mut mine = Tensor::scratch_on(e, [1, s.channels, 2], DType::F32)?;
        let mut all = Tensor::scratch_on(e, [1, s.channels, 2], DType::F32)?;
        device::send_sums(e, &back, 0, s, &mut mine, 0)?;
        self.comm
            .all_reduce(mine.on(e)?, all.on_mut(e)?, Reduce::Sum, Stream::MAIN)?;
        if s.empty() {
            return back.nothing(e, b.need).map(Some);
        }
        // dx from the sums of all ranks; gamma and beta from this rank's.
        let (first, others) = b.need.split_at(1);
        let mut grads = match first[0] {
            true => back.gradients(e, Some(&all), &[true])?,
            false => vec![None],
        };
        if others.contains(&true) {
            let want: Vec<bool> = [&[false], others].concat();
            let more = back.gradients(e, Some(&mine), &want)?;
            grads.extend(more.into_iter().skip(1));
        } else {
            grads.resize_with(b.need.len(), || None);
        }
        Ok(Some(grads))
    }
}

#[cfg(test)]
#[path = "ranks_tests.rs"]
mod tests;
