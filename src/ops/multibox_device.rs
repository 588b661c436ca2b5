//! The loss of the SSD head by launches. Saved are `ln sum e^z` of each prior and the two terms, location and class,
//! and what they were divided by, one number each.

use super::super::on_device::{self, THREADS, stored, sum_blocks, wide};
use super::{Multibox, Sizes};
use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::Result;
use crate::tape::{Backward, Grad, Output};
use crate::tensor::{DType, DeviceBuffer, Engine, Shape, Tensor};

impl Multibox {
    /// What the sum is divided by, in device memory: the positives that the matching counted there, or our number.
    fn denominator_on(&self, e: Engine, positives: Option<&Tensor>) -> Result<Tensor> {
        let Some(positives) = positives else {
            return Tensor::constant_on(e, &Tensor::scalar(DType::F32, self.denominator));
        };
        let mut den = Tensor::scratch_on(e, Shape::new(&[]), DType::F32)?;
        let args = [positives.arg(e)?, den.arg_out(e)?];
        let launch = Launch::new([1, 1, 1], [32, 1, 1]);
        e.launch(k::MULTIBOX_DENOMINATOR, launch, &args)?;
        Ok(den)
    }

    /// See [`crate::tape::Op::forward_device`].
    pub(super) fn launch_forward(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let kernel = on_device::pick(x[0].dtype(), k::MULTIBOX_F32, k::MULTIBOX_BF16);
        let Some(kernel) =
            kernel.filter(|_| x[1].dtype() == x[0].dtype() && x[3].dtype() != DType::F64)
        else {
            return Ok(None);
        };
        let s = Sizes::of(x[0].dims(), x[1].dims());
        let n = s.images * s.priors;
        let den = self.denominator_on(e, x.get(5))?;
        let mut y = Tensor::zeros_on(e, Shape::new(&[]), DType::F32)?;
        let mut location = Tensor::zeros_on(e, Shape::new(&[]), DType::F32)?;
        let mut class = Tensor::zeros_on(e, Shape::new(&[]), DType::F32)?;
        let mut lse = Tensor::scratch_on(e, *x[2].shape(), DType::F32)?;
        if n > 0 {
            let (offsets, blocks) = (wide(e, &x[3])?, sum_blocks(4 * n));
            let part = DeviceBuffer::scratch(e, DType::F32, 2 * blocks)?;
            let launch = |blocks: usize| Launch::new([blocks as u32, 1, 1], [THREADS, 1, 1]);
            let args = [
                x[0].arg(e)?,
                x[1].arg(e)?,
                x[2].arg(e)?,
                offsets.arg(e)?,
                x[4].arg(e)?,
                lse.arg_out(e)?,
                part.arg_out(),
                Arg::I64(n as i64),
                Arg::I32(s.values as i32),
                Arg::I32(s.classes as i32),
            ];
            e.launch(kernel, launch(blocks), &args)?;
            let args = [
                part.arg(),
                y.arg_out(e)?,
                location.arg_out(e)?,
                class.arg_out(e)?,
                den.arg(e)?,
                Arg::I32(blocks as i32),
            ];
            e.launch(k::MULTIBOX_FINISH, launch(1), &args)?;
        }
        let saved = vec![lse, location, class, den];
        Ok(Some(Output { y, saved }))
    }

    /// See [`crate::tape::Op::backward_device`].
    pub(super) fn launch_backward(
        &self,
        e: Engine,
        b: &Backward,
    ) -> Result<Option<Vec<Option<Grad>>>> {
        let [lse, _, _, den] = b.saved else {
            return Ok(None); // of the host's forward
        };
        let (loc, conf, labels) = (b.input(0), b.input(1), b.input(2));
        let (offsets, used) = (b.input(3), b.input(4));
        if b.dy.dtype() != DType::F32 {
            return Ok(None);
        }
        let half = loc.dtype() == DType::Bf16;
        let s = Sizes::of(loc.dims(), conf.dims());
        let n = s.images * s.priors;
        let wide_offsets = wide(e, offsets)?;
        let d_loc = |kernel, dtype, width: usize, sign: f32| -> Result<Tensor> {
            let mut d = Tensor::scratch_on(e, [s.images, s.priors, width], dtype)?;
            let args = [
                loc.arg(e)?,
                labels.arg(e)?,
                wide_offsets.arg(e)?,
                b.dy.arg(e)?,
                d.arg_out(e)?,
                den.arg(e)?,
                Arg::F32(sign),
                Arg::I32(s.values as i32),
                Arg::I32(width as i32),
            ];
            e.over(kernel, n * width, &args)?;
            Ok(d)
        };
        let mut all: Vec<Option<Grad>> = b.need.iter().map(|_| None).collect();
        if b.need[0] {
            let kernel = if half {
                k::MULTIBOX_BWD_LOC_BF16
            } else {
                k::MULTIBOX_BWD_LOC_F32
            };
            all[0] = Some(Grad::Whole(d_loc(kernel, loc.dtype(), s.values, 1.0)?));
        }
        if b.need[1] {
            let mut d = Tensor::scratch_on(e, *conf.shape(), conf.dtype())?;
            let args = [
                conf.arg(e)?,
                labels.arg(e)?,
                used.arg(e)?,
                lse.arg(e)?,
                b.dy.arg(e)?,
                d.arg_out(e)?,
                den.arg(e)?,
                Arg::I32(s.classes as i32),
            ];
            let kernel = if half {
                k::MULTIBOX_BWD_CONF_BF16
            } else {
                k::MULTIBOX_BWD_CONF_F32
            };
            e.over(kernel, n * s.classes, &args)?;
            all[1] = Some(Grad::Whole(d));
        }
        if b.need[3] {
            let kernel = if half {
                k::MULTIBOX_BWD_OFFSET_BF16
            } else {
                k::MULTIBOX_BWD_LOC_F32
            };
            let d = d_loc(kernel, DType::F32, 4, -1.0)?;
            all[3] = Some(Grad::Whole(stored(e, d, offsets.dtype())?));
        }
        Ok(Some(all))
    }
}
