//! Two maps of one size normalised by their own statistics, without scale and shift: on a device two launches for both forward, and two
//! backward (`kernels/norm_pair.cu`), in the bits of [`super::BatchNorm`] of each.

use std::sync::{Mutex, PoisonError};

use super::device::{Sizes, supported};
use super::{BatchNorm, BatchNormParams, BatchStats};
use crate::backend::driver::{self as k, Arg, DevicePtr, Scalar};
use crate::error::Result;
use crate::ops::on_device::{int, list, one_type, pick};
use crate::ops::shape_rules::same;
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// The op; operands two maps `(N, C, H, W)`. Saves the statistics of both, `(2, 4, C)`: mean, variance, low part of the mean, count.
#[derive(Debug)]
struct BatchNormPair {
    eps: f64,
    second: Mutex<Option<Tensor>>,
}

/// Normalises both with the batch's statistics and returns these.
///
/// # Errors
/// [`crate::Code::Shape`] when they are not of one shape.
pub fn batch_norm_pair(x: [&Var; 2], eps: f64) -> Result<([Var; 2], [BatchStats; 2])> {
    let op = BatchNormPair {
        eps,
        second: Mutex::default(),
    };
    let (y, saved) = x[0].tape().apply_pair(op, &x)?;
    let count = x[0].shape().numel() / x[0].dims()[1].max(1);
    let stats = |row| BatchStats::row(saved.clone(), [0, row], x[0], count);
    Ok((y, [stats(0), stats(1)]))
}

impl BatchNormPair {
    /// The op of each.
    fn single(&self) -> BatchNorm {
        let (eps, relu) = (self.eps, false);
        BatchNorm(BatchNormParams { eps, relu })
    }

    fn put_aside(&self, y: Tensor) {
        *self.second.lock().unwrap_or_else(PoisonError::into_inner) = Some(y);
    }
}

impl Op for BatchNormPair {
    fn name(&self) -> &'static str {
        "batch_norm_pair"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        same(self.name(), &x[0], &x[1])?;
        self.single().infer(&x[..1])
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let [one, two] = [0, 1].map(|i| self.single().forward(&x[i..=i]));
        let (one, two) = (one?, two?);
        let c = x[0].dims()[1];
        let count = vec![(x[0].numel() / c.max(1)) as f64; c];
        let rows = [&one, &two].map(|of| {
            let [mean, var] = [0, 1].map(|i| of.saved[i].to_f64());
            [mean, var, vec![0.0; c], count.clone()].concat()
        });
        self.put_aside(two.y);
        Ok(Output {
            y: one.y,
            saved: vec![Tensor::from_f64([2, 4, c], rows.concat())?.cast(x[0].dtype())],
        })
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (all, c) = (b.saved[0].to_f64(), b.shapes[0].dims()[1]);
        let mut grads = vec![];
        for (i, terms) in b.terms.into_iter().enumerate() {
            let [dy] = terms else {
                grads.push(None);
                continue;
            };
            let part = |part: usize| {
                let values = all[(4 * i + part) * c..][..c].to_vec();
                Ok(Tensor::from_f64([c], values)?.cast(b.saved[0].dtype()))
            };
            let own = Backward {
                x: &b.x[i..=i],
                shapes: &b.shapes[i..=i],
                y: None,
                saved: &[part(0)?, part(1)?],
                dy,
                terms: [terms, &[]],
                need: &b.need[i..=i],
            };
            grads.extend(self.single().backward(&own)?);
        }
        Ok(grads)
    }

    fn take_second(&self) -> Option<Tensor> {
        (self.second.lock().unwrap_or_else(PoisonError::into_inner)).take()
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let s = Sizes::of(x[0].shape());
        if !supported(&x[..1]) || !one_type(x) || s.empty() {
            return Ok(None);
        }
        let (shape, dtype) = (*x[0].shape(), x[0].dtype());
        let statistics = pick(dtype, k::NORM_PAIR_STATS_F32, k::NORM_PAIR_STATS_BF16);
        let forward = pick(dtype, k::NORM_PAIR_FWD_F32, k::NORM_PAIR_FWD_BF16);
        let mut launch = s.grid();
        launch.grid[2] = 2;
        let maps = [x[0].arg(e)?, x[1].arg(e)?];
        let mut part = Tensor::scratch_on(e, [2, s.chunks(), s.channels, 3], DType::F32)?;
        let args = [&maps[..], &[part.arg_out(e)?], &s.args()].concat();
        e.launch(statistics.expect("supported"), launch, &args)?;
        let mut stats = Tensor::scratch_on(e, [2, 4, s.channels], DType::F32)?;
        let mut one = Tensor::scratch_on(e, shape, dtype)?;
        let mut two = Tensor::scratch_on(e, shape, dtype)?;
        let to = [one.arg_out(e)?, two.arg_out(e)?];
        let ends = [part.arg(e)?, to[0], to[1], stats.arg_out(e)?];
        let tail = [Arg::F32(self.eps as f32)];
        let args = [&maps[..], &ends, &[int(s.chunks())], &s.args(), &tail].concat();
        e.launch(forward.expect("supported"), launch, &args)?;
        self.put_aside(two);
        Ok(Some(Output {
            y: one,
            saved: vec![stats],
        }))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let s = Sizes::of(&b.shapes[0]);
        let dtype = b.dy.dtype();
        let sums = pick(dtype, k::NORM_PAIR_BWD_SUMS_F32, k::NORM_PAIR_BWD_SUMS_BF16);
        let to_x = pick(dtype, k::NORM_PAIR_BWD_X_F32, k::NORM_PAIR_BWD_X_BF16);
        let (Some(sums), Some(to_x)) = (sums, to_x) else {
            return Ok(None);
        };
        let stored = b.terms.concat().iter().all(|t| t.dtype() == dtype);
        if b.saved[0].dtype() != DType::F32 || !stored || s.empty() {
            return Ok(None);
        }
        let wanted: Vec<usize> = (0..2)
            .filter(|&i| b.need[i] && !b.terms[i].is_empty())
            .collect();
        let Some(&first) = wanted.first() else {
            return Ok(Some(vec![None, None]));
        };
        let (mut maps, mut gradients, mut dx) = (vec![], vec![], vec![]);
        for &i in &wanted {
            maps.push(b.input(i).arg(e)?);
            gradients.push(b.terms[i][0].arg(e)?);
            dx.push(Tensor::scratch_on(e, b.shapes[i], dtype)?);
        }
        let to = dx.iter_mut().map(|t| t.arg_out(e));
        let to: Vec<Arg> = to.collect::<Result<_>>()?;
        let maps = list(&maps, 2, maps[0]);
        let maps = [&maps[..], &list(&gradients, 2, gradients[0])].concat();
        let row = 4 * s.channels * DType::F32.size();
        let stats = DevicePtr(b.saved[0].on(e)?.address().0 + first * row);
        let stats = Arg::In(stats, Scalar::F32);
        let tail = [Arg::F32(self.eps as f32)];
        let mut part =
            Tensor::scratch_on(e, [wanted.len(), s.chunks(), s.channels, 2], DType::F32)?;
        let mut launch = s.grid();
        launch.grid[2] = wanted.len() as u32;
        let args = [&maps[..], &[stats, part.arg_out(e)?], &s.args(), &tail].concat();
        e.launch(sums, launch, &args)?;
        let ends = [&[stats, part.arg(e)?][..], &list(&to, 2, to[0])].concat();
        let args = [&maps[..], &ends, &[int(s.chunks())], &s.args(), &tail].concat();
        e.launch(to_x, launch, &args)?;
        let mut grads = vec![None, None];
        for (i, dx) in wanted.into_iter().zip(dx) {
            grads[i] = Some(Grad::Whole(dx));
        }
        Ok(Some(grads))
    }
}

#[cfg(test)]
#[path = "pair_tests.rs"]
pub(crate) mod tests;
