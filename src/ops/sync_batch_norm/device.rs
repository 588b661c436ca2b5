//! Batch normalisation over groups and over devices by kernels (`kernels/norm.cu`, `kernels/norm_sync.cu`).

use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::Result;
use crate::ops::batch_norm::device::{Back, Sizes, statistics};
use crate::ops::on_device::{int, long, pick};
use crate::tensor::{DType, Engine, Tensor};

/// Writes (count, mean, rest, M2) of the images of `s` from `first` on into row `slot` of `moments`, `(rows, C, 4)`; zeros without a value.
pub(super) fn send(
    e: Engine,
    x: &Tensor,
    first: usize,
    s: Sizes,
    moments: &mut Tensor,
    slot: usize,
) -> Result<()> {
    if s.channels == 0 {
        return Ok(());
    }
    let part = match s.empty() {
        true => None,
        false => Some(statistics(e, x, first, s)?),
    };
    let kernel = pick(x.dtype(), k::NORM_LOCAL_F32, k::NORM_LOCAL_BF16).expect("supported");
    let args = [
        x.arg(e)?,
        match &part {
            Some(part) => part.arg(e)?,
            None => moments.arg(e)?,
        },
        moments.arg_out(e)?,
        int(part.map_or(0, |p| p.dims()[0])),
        long(first),
        int(s.channels),
        long(s.plane),
        int(slot),
    ];
    // A warp for each channel.
    let blocks = s.channels.div_ceil(8) as u32;
    e.launch(kernel, Launch::new([blocks, 1, 1], [256, 1, 1]), &args)
}

/// `[mean, var, rest]` of all rows of `moments` together.
pub(super) fn merge(e: Engine, moments: &Tensor) -> Result<Vec<Tensor>> {
    let (rows, c) = (moments.dims()[0], moments.dims()[1]);
    let mut mean = Tensor::scratch_on(e, [c], DType::F32)?;
    let mut var = Tensor::scratch_on(e, [c], DType::F32)?;
    let mut rest = Tensor::scratch_on(e, [2, c], DType::F32)?;
    let args = [
        moments.arg(e)?,
        mean.arg_out(e)?,
        var.arg_out(e)?,
        rest.arg_out(e)?,
        int(rows),
    ];
    e.over(k::NORM_MERGE_F32, c, &args)?;
    Ok(vec![mean, var, rest])
}

/// Writes `(sum dy, sum dy (x - mean))` of the images of `s` from `first` on into row `slot` of `sums`, `(rows, C, 2)`.
pub(super) fn send_sums(
    e: Engine,
    back: &Back,
    first: usize,
    s: Sizes,
    sums: &mut Tensor,
    slot: usize,
) -> Result<()> {
    let part = match s.empty() {
        true => None,
        false => Some(back.sums(e, first, s)?),
    };
    let args: [Arg; 4] = [
        match &part {
            Some(part) => part.arg(e)?,
            None => sums.arg(e)?,
        },
        sums.arg_out(e)?,
        int(part.map_or(0, |p| p.dims()[0])),
        int(slot),
    ];
    e.over(k::NORM_LOCAL_SUMS_F32, 2 * s.channels, &args)
}
