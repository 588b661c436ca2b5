//! Launches: `softmaxes` and `softmaxes_bwd` of `kernels/softmax.cu`.

use super::VECTORS;
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::error::Result;
use crate::ops::on_device::{int, list};
use crate::tensor::{DType, Engine, Tensor};

/// Threads of a block.
const THREADS: u32 = 32;

/// What a forward reads of a tensor.
pub struct Read<'a> {
    pub x: &'a Tensor,
    pub mask: Option<&'a Tensor>,
    pub sizes: &'a [usize],
}

/// What a backward reads of one.
pub struct Made<'a> {
    pub y: &'a Tensor,
    pub dy: &'a Tensor,
    pub sizes: &'a [usize],
}

/// A softmax of each; `None` when no kernel takes these.
///
/// # Errors
/// Those of the device.
pub fn forward(e: Engine, all: &[Read]) -> Result<Option<Vec<Tensor>>> {
    let of = |r: &Read| r.x.dtype() == DType::F32 && r.mask.is_none_or(|m| m.dtype() == DType::F32);
    if !all.iter().all(of) {
        return Ok(None);
    }
    let mut read = [vec![], vec![]];
    for r in all {
        let x = r.x.arg(e)?;
        read[0].push(x);
        read[1].push(r.mask.map_or(Ok(x.null()), |m| m.arg(e))?);
    }
    let sizes: Vec<&[usize]> = all.iter().map(|r| r.sizes).collect();
    let like: Vec<&Tensor> = all.iter().map(|r| r.x).collect();
    run(e, k::SOFTMAXES_F32, read, &sizes, &like).map(Some)
}

/// The gradient of each; `None` when no kernel takes these.
///
/// # Errors
/// Those of the device.
pub fn backward(e: Engine, all: &[Made]) -> Result<Option<Vec<Tensor>>> {
    let of = |m: &Made| [m.y, m.dy].iter().all(|t| t.dtype() == DType::F32);
    if !all.iter().all(of) {
        return Ok(None);
    }
    let mut read = [vec![], vec![]];
    for m in all {
        read[0].push(m.y.arg(e)?);
        read[1].push(m.dy.arg(e)?);
    }
    let sizes: Vec<&[usize]> = all.iter().map(|m| m.sizes).collect();
    let like: Vec<&Tensor> = all.iter().map(|m| m.y).collect();
    run(e, k::SOFTMAXES_BWD_F32, read, &sizes, &like).map(Some)
}

/// Results of the shapes of `like`; no stretch: no launch.
fn run(
    e: Engine,
    kernel: Kernel,
    read: [Vec<Arg>; 2],
    sizes: &[&[usize]],
    like: &[&Tensor],
) -> Result<Vec<Tensor>> {
    let mut all = vec![];
    for t in like {
        all.push(Tensor::scratch_on(e, *t.shape(), DType::F32)?);
    }
    let mut table: Vec<i32> = vec![];
    for (vector, sizes) in sizes.iter().enumerate() {
        let mut first = 0;
        for size in *sizes {
            table.extend([vector, first, first + size].map(|v| v as i32));
            first += size;
        }
    }
    let stretches = table.len() / 3;
    if stretches > 0 {
        let to = all.iter_mut().map(|t| t.arg_out(e));
        let to = to.collect::<Result<Vec<Arg>>>()?;
        let lists = [&read[0], &read[1], &to].map(|l| list(l, VECTORS, l[0]));
        let table = e.constant(&table)?;
        let args = [
            &lists[0][..],
            &lists[1],
            &[table.arg()],
            &lists[2],
            &[int(stretches)],
        ];
        e.launch(kernel, Launch::over(stretches, THREADS), &args.concat())?;
    }
    Ok(all)
}
