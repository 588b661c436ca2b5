//! Smooth L1 by launches, in f32; operands in bf16 are cast.

use super::super::on_device::{THREADS, stored, sum_blocks, wide};
use super::SmoothL1;
use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::Result;
use crate::tape::{Backward, Grad, Output};
use crate::tensor::{DType, DeviceBuffer, Engine, Shape, Tensor};

/// True for types that the casts know.
fn known(x: &[&Tensor]) -> bool {
    x.iter()
        .all(|x| [DType::F32, DType::Bf16].contains(&x.dtype()))
}

impl SmoothL1 {
    /// See [`crate::tape::Op::forward_device`].
    pub(super) fn launch_forward(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        if !known(&[&x[0], &x[1], &x[2]]) {
            return Ok(None);
        }
        let n = x[0].numel();
        let mut y = Tensor::zeros_on(e, Shape::new(&[]), DType::F32)?;
        if n > 0 {
            let (p, t, m) = (wide(e, &x[0])?, wide(e, &x[1])?, wide(e, &x[2])?);
            let blocks = sum_blocks(n);
            let part = DeviceBuffer::scratch(e, DType::F32, blocks)?;
            let launch = |blocks: usize| Launch::new([blocks as u32, 1, 1], [THREADS, 1, 1]);
            let beta = Arg::F32(self.beta as f32);
            let args = [
                p.arg(e)?,
                t.arg(e)?,
                m.arg(e)?,
                part.arg_out(),
                beta,
                Arg::I64(n as i64),
            ];
            e.launch(k::SMOOTH_L1_F32, launch(blocks), &args)?;
            let factor = Arg::F32((1.0 / self.denominator) as f32);
            let args = [part.arg(), y.arg_out(e)?, Arg::I32(blocks as i32), factor];
            e.launch(k::REDUCE_FINISH, launch(1), &args)?;
        }
        Ok(Some(y.into()))
    }

    /// See [`crate::tape::Op::backward_device`].
    pub(super) fn launch_backward(
        &self,
        e: Engine,
        b: &Backward,
    ) -> Result<Option<Vec<Option<Grad>>>> {
        let x = [b.input(0), b.input(1), b.input(2)];
        if !known(&x) || b.dy.dtype() != DType::F32 {
            return Ok(None);
        }
        let (p, t, m) = (wide(e, x[0])?, wide(e, x[1])?, wide(e, x[2])?);
        let (n, beta) = (p.numel(), Arg::F32(self.beta as f32));
        let factor = (1.0 / self.denominator) as f32;
        let mut all = vec![];
        for (i, sign) in [1.0, -1.0, 1.0].into_iter().enumerate() {
            if !b.need[i] {
                all.push(None);
                continue;
            }
            let mut d = Tensor::scratch_on(e, *p.shape(), DType::F32)?;
            let mut args = vec![p.arg(e)?, t.arg(e)?];
            args.extend((i < 2).then(|| m.arg(e)).transpose()?);
            args.extend([b.dy.arg(e)?, d.arg_out(e)?, beta, Arg::F32(sign * factor)]);
            let kernel = if i < 2 {
                k::SMOOTH_L1_BWD_F32
            } else {
                k::SMOOTH_L1_BWD_WEIGHT_F32
            };
            e.over(kernel, n, &args)?;
            all.push(Some(Grad::Whole(stored(e, d, x[i].dtype())?)));
        }
        Ok(Some(all))
    }
}
