//! Statistics of a batch, and the running ones that move to them.

use super::device;
use crate::backend::driver::DevicePtr;
use crate::error::Result;
use crate::tape::{Path, Saved, Var};
use crate::tensor::{Buffer, DType, Tensor};

/// Statistics of a batch, per channel; there once the normalisation has run ([`crate::tape::Tape::deferred`]).
#[derive(Debug, Clone)]
pub struct BatchStats {
    pub(super) saved: Saved,
    at: Place,
    path: Path,
    /// Values per channel, of this device's images.
    pub count: usize,
}

/// Where statistics are among what an operation saved.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Mean, variance and, on a device, the rest are tensors of their own, this one and those after it.
    Tensors(usize),
    /// A row of a tensor `(maps, 4, C)`.
    Row { tensor: usize, row: usize },
}

impl BatchStats {
    pub(in crate::ops) fn new(saved: Saved, x: &Var) -> BatchStats {
        let count = x.shape().numel() / x.dims()[1].max(1);
        BatchStats::at(saved, 0, x, count)
    }

    /// Those whose mean is the `at`-th tensor saved by an operation on the tape of `x`, followed by the variance.
    pub(in crate::ops) fn at(saved: Saved, at: usize, x: &Var, count: usize) -> BatchStats {
        BatchStats {
            saved,
            at: Place::Tensors(at),
            path: x.tape().cx().path,
            count,
        }
    }

    /// Those in row `row` of the `tensor`-th tensor saved by an operation on the tape of `x`: f32 `(maps, 4, C)`, of each map mean,
    /// biased variance, low part of the mean and number of values.
    pub(in crate::ops) fn row(
        saved: Saved,
        [tensor, row]: [usize; 2],
        x: &Var,
        count: usize,
    ) -> BatchStats {
        BatchStats {
            at: Place::Row { tensor, row },
            ..BatchStats::at(saved, 0, x, count)
        }
    }

    /// The mean (0) or the variance (1), `(C)`; out of a row they are fetched.
    fn part(&self, part: usize) -> Tensor {
        let all = self.saved.get();
        match self.at {
            Place::Tensors(at) => all[at + part].clone(),
            Place::Row { tensor, row } => {
                let c = all[tensor].dims()[2];
                let values = &all[tensor].to_f64()[(4 * row + part) * c..][..c];
                Tensor::from_buffer([c], Buffer::from_slice(values)).cast(all[tensor].dtype())
            }
        }
    }

    /// Mean `(C)`.
    pub fn mean(&self) -> Tensor {
        self.part(0)
    }

    /// Biased variance `(C)`.
    pub fn var(&self) -> Tensor {
        self.part(1)
    }

    /// Where mean, variance and rest `(2, C)` of the batch are, in f32 where a device computed them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn on_device(&self) -> Result<Option<[DevicePtr; 3]>> {
        let Path::Device(e) = self.path else {
            return Ok(None);
        };
        let single = |t: &Tensor| t.dtype() == DType::F32;
        let address = |t: &Tensor| t.on(e).map(|b| b.address());
        match (self.at, self.saved.get()) {
            (Place::Tensors(0), [mean, var, rest]) if [mean, var, rest].into_iter().all(single) => {
                Ok(Some([address(mean)?, address(var)?, address(rest)?]))
            }
            (Place::Row { tensor, row }, all) if single(&all[tensor]) => {
                let t = &all[tensor];
                let c = t.dims()[2];
                let at = |part: usize| (4 * row + part) * c * DType::F32.size();
                let base = address(t)?.0;
                Ok(Some([0, 1, 2].map(|part| DevicePtr(base + at(part)))))
            }
            _ => Ok(None),
        }
    }

    /// What the variance is multiplied by to have the divisor `count - 1`; 1 when there is a single value.
    fn unbias(&self) -> f64 {
        self.count as f64 / (self.count.max(2) - 1) as f64
    }

    /// New running statistics, `old + momentum (batch - old)` each, of the mean and of the variance with divisor `count - 1`; on a
    /// device one launch, and nothing is fetched.
    ///
    /// # Errors
    /// Those of the device.
    pub fn running(&self, mean: &Tensor, var: &Tensor, momentum: f64) -> Result<[Tensor; 2]> {
        let f32 = |t: &&Tensor| t.dtype() == DType::F32;
        let old = [mean, var];
        match (self.path, self.on_device()?) {
            (Path::Device(e), Some(batch)) if old.iter().all(f32) => {
                device::running(e, batch, old, momentum)
            }
            _ => Ok([
                moved(mean, &self.mean(), 1.0, momentum),
                moved(var, &self.var(), self.unbias(), momentum),
            ]),
        }
    }
}

/// `old + momentum (factor batch - old)`.
fn moved(old: &Tensor, batch: &Tensor, factor: f64, momentum: f64) -> Tensor {
    // The batch's value is rounded to its own type first.
    let batch: Vec<f64> = batch.to_f64().iter().map(|v| v * factor).collect();
    let batch = Tensor::from_buffer(*old.shape(), Buffer::from_slice(&batch)).cast(old.dtype());
    let move_by = |(o, b): (f64, f64)| o + momentum * (b - o);
    let v: Vec<f64> = old
        .to_f64()
        .into_iter()
        .zip(batch.to_f64())
        .map(move_by)
        .collect();
    Tensor::from_buffer(*old.shape(), Buffer::from_slice(&v)).cast(old.dtype())
}
