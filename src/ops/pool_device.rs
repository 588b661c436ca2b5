//! Pooling by kernels: 16 bytes at a time where a search's windows meet rows that allow it (`kernels/pool_strips.cu`), else a value a
//! thread (`kernels/pool.cu`).

use super::{Kind, Pool};
use crate::backend::driver::{self as k, Arg, Kernel};
use crate::backend::host::depthwise::Geometry;
use crate::error::Result;
use crate::ops::on_device::{int, long, over_maps, over_units, pick};
use crate::tape::{Backward, Grad, Op, Output};
use crate::tensor::{DType, Engine, Tensor};

/// The widest window whose taps a byte can number.
const WIDEST: usize = 15;

/// The bytes of a tensor, whatever its type says: taps are numbered by bytes.
fn bytes(a: Arg) -> Arg {
    match a {
        Arg::In(at, _) => Arg::In(at, k::Scalar::U8),
        Arg::Out(at, _) => Arg::Out(at, k::Scalar::U8),
        other => other,
    }
}

/// The sizes as the kernels take them; those of `pool_strips.cu` take the first five.
fn sizes(planes: usize, g: &Geometry) -> [Arg; 8] {
    let [h, w, ho, wo] = [g.h, g.w, g.ho, g.wo].map(int);
    let [k, stride, padding] = [g.k, g.stride, g.padding].map(int);
    [long(planes), h, w, ho, wo, k, stride, padding]
}
const STRIP_SIZES: usize = 5;

/// Kernels of the forward and the backward, for f32 and for bf16.
type Kernels = [[Kernel; 2]; 2];

/// Those that take 16 bytes at a time, where the windows and the rows are such.
fn in_strips(kind: Kind, g: &Geometry, dtype: DType) -> Option<Kernels> {
    if !g.w.is_multiple_of(g.stride * 16 / dtype.size()) {
        return None;
    }
    Some(match (kind, g.k, g.stride, g.padding) {
        (Kind::Max, 3, 1, 1) => [
            [k::MAX_POOL3_S1_F32, k::MAX_POOL3_S1_BF16],
            [k::MAX_POOL3_S1_BWD_F32, k::MAX_POOL3_S1_BWD_BF16],
        ],
        (Kind::Max, 3, 2, 1) => [
            [k::MAX_POOL3_S2_F32, k::MAX_POOL3_S2_BF16],
            [k::MAX_POOL3_S2_BWD_F32, k::MAX_POOL3_S2_BWD_BF16],
        ],
        (Kind::Max, 2, 2, 0) => [
            [k::MAX_POOL2_S2_F32, k::MAX_POOL2_S2_BF16],
            [k::MAX_POOL2_S2_BWD_F32, k::MAX_POOL2_S2_BWD_BF16],
        ],
        (Kind::Average, 3, 1, 1) => [
            [k::AVG_POOL3_S1_F32, k::AVG_POOL3_S1_BF16],
            [k::AVG_POOL3_S1_BWD_F32, k::AVG_POOL3_S1_BWD_BF16],
        ],
        (Kind::Average, 3, 2, 1) => [
            [k::AVG_POOL3_S2_F32, k::AVG_POOL3_S2_BF16],
            [k::AVG_POOL3_S2_BWD_F32, k::AVG_POOL3_S2_BWD_BF16],
        ],
        _ => return None,
    })
}

/// Those that take any window, a value a thread.
fn any(kind: Kind) -> Kernels {
    match kind {
        Kind::Max => [
            [k::MAX_POOL_F32, k::MAX_POOL_BF16],
            [k::MAX_POOL_BWD_F32, k::MAX_POOL_BWD_BF16],
        ],
        Kind::Average => [
            [k::AVG_POOL_F32, k::AVG_POOL_BF16],
            [k::AVG_POOL_BWD_F32, k::AVG_POOL_BWD_BF16],
        ],
    }
}

/// Whether there are kernels for this type and window.
fn known(g: &Geometry, dtype: DType) -> bool {
    g.k <= WIDEST && matches!(dtype, DType::F32 | DType::Bf16)
}

/// Launches the forward (0) or the backward (1) over `planes` of a type that is known.
fn launch(
    op: &Pool,
    e: Engine,
    g: &Geometry,
    dtype: DType,
    pass: usize,
    planes: usize,
    pointers: Vec<Arg>,
) -> Result<()> {
    let strips = in_strips(op.kind, g, dtype);
    let [f32, bf16] = strips.unwrap_or(any(op.kind))[pass];
    let kernel = pick(dtype, f32, bf16).expect("a type that is known");
    let mut args = pointers;
    let (h, w) = if pass == 0 { (g.ho, g.wo) } else { (g.h, g.w) };
    if strips.is_none() {
        args.extend(sizes(planes, g));
        return over_maps(e, kernel, [planes, h, w], &args);
    }
    args.extend_from_slice(&sizes(planes, g)[..STRIP_SIZES]);
    // Rows of the result that a thread takes (`ROWS`, `S ROWS_BWD`).
    let rows = if g.stride == 1 { 4 } else { 2 };
    let units = planes * h.div_ceil(rows) * (g.wo * dtype.size() / 16);
    over_units(e, kernel, units, &args)
}

pub(in crate::ops) fn forward(op: &Pool, e: Engine, x: &Tensor) -> Result<Option<Output>> {
    let g = op.geometry(x.shape())?;
    if !known(&g, x.dtype()) {
        return Ok(None);
    }
    let shape = op.infer(&[*x.shape()])?;
    let mut y = Tensor::scratch_on(e, shape, x.dtype())?;
    let mut saved = vec![];
    let mut pointers = vec![x.arg(e)?, y.arg_out(e)?];
    if op.kind == Kind::Max {
        let words = shape.numel().div_ceil(4);
        let mut taps = Tensor::scratch_on(e, [words], DType::I32)?;
        pointers.push(bytes(taps.arg_out(e)?));
        saved.push(taps);
    }
    let planes = shape.dims()[0] * shape.dims()[1];
    launch(op, e, &g, x.dtype(), 0, planes, pointers)?;
    Ok(Some(Output { y, saved }))
}

pub(in crate::ops) fn backward(
    op: &Pool,
    e: Engine,
    b: &Backward,
) -> Result<Option<Vec<Option<Grad>>>> {
    let g = op.geometry(&b.shapes[0])?;
    let taps = b.saved.first();
    let told = taps.is_some() || op.kind == Kind::Average;
    if !known(&g, b.dy.dtype()) || !told {
        return Ok(None);
    }
    let mut dx = Tensor::scratch_on(e, b.shapes[0], b.dy.dtype())?;
    let mut pointers = vec![b.dy.arg(e)?];
    if let Some(taps) = taps {
        pointers.push(bytes(taps.arg(e)?));
    }
    pointers.push(dx.arg_out(e)?);
    let planes = b.shapes[0].dims()[0] * b.shapes[0].dims()[1];
    launch(op, e, &g, b.dy.dtype(), 1, planes, pointers)?;
    Ok(Some(vec![Some(Grad::Whole(dx))]))
}
