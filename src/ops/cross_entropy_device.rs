//! Cross entropy by launches. Saved are the scores (shared, not copied), `ln sum e^x` of each position, and the denominator.

use std::sync::Arc;

use super::super::on_device::{self, THREADS, sum_blocks};
use super::super::shape_rules::split;
use super::{CrossEntropy, Denominator};
use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::Result;
use crate::tape::{Backward, Grad, Output};
use crate::tensor::{DType, DeviceBuffer, Engine, Shape, Tensor};

impl CrossEntropy {
    /// Class weights on the device: one that is not read when there are none.
    fn weights_on(&self, e: Engine) -> Result<Arc<DeviceBuffer>> {
        let w: Option<Vec<f32>> =
            (self.weights.as_ref()).map(|w| w.iter().map(|&w| w as f32).collect());
        e.constant(&w.unwrap_or(vec![1.0]))
    }

    /// The parameters as the kernels take them: weighted, class to ignore, whether one is, smoothing, number of classes.
    fn parameters(&self, classes: usize) -> [Arg; 5] {
        [
            Arg::I32(self.weights.is_some().into()),
            Arg::I32(self.ignore.unwrap_or(0)),
            Arg::I32(self.ignore.is_some().into()),
            Arg::F32(self.smoothing as f32),
            Arg::I32(classes as i32),
        ]
    }

    /// See [`crate::tape::Op::forward_device`].
    pub(super) fn launch_forward(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let (x, t) = (&x[0], &x[1]);
        let Some(kernel) = on_device::pick(x.dtype(), k::CROSS_ENTROPY_F32, k::CROSS_ENTROPY_BF16)
        else {
            return Ok(None);
        };
        let (v, n) = (split(x.shape(), 1), t.numel());
        let mut y = Tensor::zeros_on(e, Shape::new(&[]), DType::F32)?;
        let mut den = Tensor::zeros_on(e, Shape::new(&[]), DType::F32)?;
        let mut lse = Tensor::scratch_on(e, *t.shape(), DType::F32)?;
        if n > 0 {
            let (blocks, w) = (sum_blocks(n), self.weights_on(e)?);
            let part = DeviceBuffer::scratch(e, DType::F32, 2 * blocks)?;
            let mut args = vec![
                x.arg(e)?,
                t.arg(e)?,
                w.arg(),
                lse.arg_out(e)?,
                part.arg_out(),
            ];
            args.extend(self.parameters(v.len));
            args.extend([Arg::I64(v.inner as i64), Arg::I64(n as i64)]);
            let launch = |blocks: usize| Launch::new([blocks as u32, 1, 1], [THREADS, 1, 1]);
            e.launch(kernel, launch(blocks), &args)?;
            let fixed = match self.denominator {
                Denominator::Fixed(d) => d as f32,
                Denominator::All => n as f32,
                Denominator::Valid => 0.0,
            };
            let args = [
                part.arg(),
                y.arg_out(e)?,
                den.arg_out(e)?,
                Arg::I32(blocks as i32),
                Arg::F32(fixed),
            ];
            e.launch(k::CROSS_ENTROPY_FINISH, launch(1), &args)?;
        }
        let saved = vec![x.clone(), lse, den];
        Ok(Some(Output { y, saved }))
    }

    /// See [`crate::tape::Op::backward_device`].
    pub(super) fn launch_backward(
        &self,
        e: Engine,
        b: &Backward,
    ) -> Result<Option<Vec<Option<Grad>>>> {
        let [x, lse, den] = b.saved else {
            return Ok(None); // of the host's forward
        };
        let kernel = on_device::pick(
            x.dtype(),
            k::CROSS_ENTROPY_BWD_F32,
            k::CROSS_ENTROPY_BWD_BF16,
        );
        let Some(kernel) = kernel.filter(|_| b.dy.dtype() == DType::F32) else {
            return Ok(None);
        };
        let (v, t) = (split(x.shape(), 1), b.input(1));
        let mut dx = Tensor::scratch_on(e, *x.shape(), x.dtype())?;
        if t.numel() > 0 {
            let w = self.weights_on(e)?;
            let mut args = vec![x.arg(e)?, t.arg(e)?, w.arg(), lse.arg(e)?, b.dy.arg(e)?];
            args.extend([den.arg(e)?, dx.arg_out(e)?]);
            args.extend(self.parameters(v.len));
            let total: f64 = self.weights(v.len).iter().sum();
            args.extend([
                Arg::I64(v.inner as i64),
                Arg::I64(t.numel() as i64),
                Arg::F32(total as f32),
            ]);
            e.launch(kernel, Launch::over(t.numel(), THREADS), &args)?;
        }
        Ok(Some(vec![Some(Grad::Whole(dx)), None]))
    }
}
