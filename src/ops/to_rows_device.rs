//! Rows of all maps in one launch (`kernels/maps.cu`).

use super::{ToRows, places, sizes};
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::error::Result;
use crate::ops::on_device::{int, list, long, one_type, pick, untouched};
use crate::tape::{Backward, Grad, Op, Output};
use crate::tensor::{Engine, Shape, Tensor};

/// Side of the tile that a block turns, and maps of a launch at most: as in `kernels/maps.cu`.
const TILE: usize = 32;
const MAPS: usize = 16;

/// Launches for as many maps at a time as fit; `pointers` are theirs, `rows` those of all.
fn turned(
    e: Engine,
    kernel: Kernel,
    x: &[Shape],
    pointers: &[Arg],
    rows: Arg,
    back: bool,
) -> Result<()> {
    let (total, first) = places(x);
    let images = x[0].dims()[0];
    for (i, maps) in x.chunks(MAPS).enumerate() {
        let (mut table, mut tiles) = (vec![], 0);
        for (s, first) in maps.iter().zip(&first[i * MAPS..]) {
            let [c, plane] = sizes(s);
            table.extend([c, plane, *first].map(|v| v as i32));
            tiles += images * c.div_ceil(TILE) * plane.div_ceil(TILE);
        }
        if tiles == 0 {
            continue;
        }
        let own = &pointers[i * MAPS..][..maps.len()];
        let table = e.constant(&table)?;
        let mut args = if back { vec![rows] } else { vec![] };
        args.extend(list(own, MAPS, own[0]));
        args.extend((!back).then_some(rows));
        args.extend([table.arg(), int(maps.len()), int(images), long(total)]);
        let launch = Launch::new([tiles.min(1 << 30) as u32, 1, 1], [TILE as u32, 8, 1]);
        e.launch(kernel, launch, &args)?;
    }
    Ok(())
}

pub(super) fn forward(op: &ToRows, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
    let dtype = x[0].dtype();
    let (Some(kernel), true) = (pick(dtype, k::TO_ROWS_F32, k::TO_ROWS_BF16), one_type(x)) else {
        return Ok(None);
    };
    let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
    let mut y = Tensor::scratch_on(e, op.infer(&shapes)?, dtype)?;
    let pointers = x.iter().map(|x| x.arg(e)).collect::<Result<Vec<_>>>()?;
    turned(e, kernel, &shapes, &pointers, y.arg_out(e)?, false)?;
    Ok(Some(y.into()))
}

pub(super) fn backward(e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
    let dtype = b.dy.dtype();
    let Some(kernel) = pick(dtype, k::TO_ROWS_BWD_F32, k::TO_ROWS_BWD_BF16) else {
        return Ok(None);
    };
    let none = untouched(b.dy.arg(e)?).null();
    let (mut all, mut pointers) = (vec![], vec![]);
    for (s, &need) in b.shapes.iter().zip(b.need) {
        let make = || Tensor::scratch_on(e, *s, dtype);
        let mut dx = need.then(make).transpose()?;
        pointers.push(dx.as_mut().map_or(Ok(none), |t| t.arg_out(e))?);
        all.push(dx.map(Grad::Whole));
    }
    turned(e, kernel, b.shapes, &pointers, b.dy.arg(e)?, true)?;
    Ok(Some(all))
}
