//! Cosine distance by launches, in f32; operands in bf16 are cast.

use super::super::on_device::{THREADS, int, long, stored, sum_blocks, wide};
use super::super::shape_rules::split;
use super::Cosine;
use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::Result;
use crate::tape::{Backward, Grad, Output};
use crate::tensor::{DType, DeviceBuffer, Engine, Shape, Tensor};

/// True for types that the casts know.
fn known(x: &[&Tensor]) -> bool {
    x.iter()
        .all(|x| [DType::F32, DType::Bf16].contains(&x.dtype()))
}

impl Cosine {
    /// See [`crate::tape::Op::forward_device`].
    pub(super) fn launch_forward(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        if !known(&[&x[0], &x[1], &x[2]]) {
            return Ok(None);
        }
        let (v, n) = (split(x[0].shape(), 1), x[2].numel());
        let mut y = Tensor::zeros_on(e, Shape::new(&[]), DType::F32)?;
        if n > 0 {
            let (p, t, m) = (wide(e, &x[0])?, wide(e, &x[1])?, wide(e, &x[2])?);
            let blocks = sum_blocks(n);
            let part = DeviceBuffer::scratch(e, DType::F32, blocks)?;
            let launch = |blocks: usize| Launch::new([blocks as u32, 1, 1], [THREADS, 1, 1]);
            let args = [
                p.arg(e)?,
                t.arg(e)?,
                m.arg(e)?,
                part.arg_out(),
                int(v.len),
                long(v.inner),
                long(n),
            ];
            e.launch(k::COSINE_F32, launch(blocks), &args)?;
            let factor = Arg::F32((1.0 / self.denominator) as f32);
            let args = [part.arg(), y.arg_out(e)?, int(blocks), factor];
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
        let (v, n) = (split(&b.shapes[0], 1), b.shapes[2].numel());
        let [p, t, m] = [wide(e, x[0])?, wide(e, x[1])?, wide(e, x[2])?];
        let factor = (1.0 / self.denominator) as f32;
        let sizes = [int(v.len), long(v.inner)];
        let mut all = vec![];
        for (i, need) in b.need.iter().take(3).enumerate() {
            if !need {
                all.push(None);
                continue;
            }
            let mut d = Tensor::scratch_on(e, b.shapes[i], DType::F32)?;
            // The gradient of a vector is that of the first one of a pair.
            let (own, other) = if i == 1 { (&t, &p) } else { (&p, &t) };
            let mut args = vec![own.arg(e)?, other.arg(e)?];
            let (kernel, sign) = match i {
                2 => (k::COSINE_BWD_WEIGHT_F32, 1.0),
                _ => (k::COSINE_BWD_F32, -1.0),
            };
            args.extend((i < 2).then(|| m.arg(e)).transpose()?);
            args.extend([b.dy.arg(e)?, d.arg_out(e)?, Arg::F32(sign * factor)]);
            args.extend(sizes);
            e.over(kernel, n, &args)?;
            all.push(Some(Grad::Whole(stored(e, d, x[i].dtype())?)));
        }
        Ok(Some(all))
    }
}
