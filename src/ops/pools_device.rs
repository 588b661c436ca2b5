//! Both poolings by one kernel (`kernels/pool_pair.cu`), where 16 bytes divide the rows; elsewhere by those of one pooling each, over
//! the channels cut out.

use super::Pools;
use crate::backend::driver::{self as k, Arg, Kernel, Scalar};
use crate::backend::engine::Slab;
use crate::error::Result;
use crate::ops::on_device::{int, list, long, over_units, pick};
use crate::ops::pool::{Kind, device as single};
use crate::ops::shape_rules::with_dim;
use crate::ops::slice::Slice;
use crate::tape::{Backward, Grad, Op, Output};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Gradients of one result that a launch adds (`POOL_TERMS` of pool_pair.cu).
const TERMS: usize = 8;
/// Rows of a map that a thread takes, forward and backward.
const ROWS: usize = 2;

/// Kernels of the forward and of the backward.
fn kernels(p: &Pools, w: usize, dtype: DType) -> Option<[Kernel; 2]> {
    if !w.is_multiple_of(p.stride.max(1) * 16 / dtype.size()) {
        return None;
    }
    let [forward, backward] = match p.stride {
        1 => [
            pick(dtype, k::POOL_PAIR_S1_F32, k::POOL_PAIR_S1_BF16),
            pick(dtype, k::POOL_PAIR_S1_BWD_F32, k::POOL_PAIR_S1_BWD_BF16),
        ],
        2 => [
            pick(dtype, k::POOL_PAIR_S2_F32, k::POOL_PAIR_S2_BF16),
            pick(dtype, k::POOL_PAIR_S2_BWD_F32, k::POOL_PAIR_S2_BWD_BF16),
        ],
        _ => return None,
    };
    Some([forward?, backward?])
}

/// Planes, rows and columns of x and of the results, as the kernels take them.
fn sizes(x: &Shape, y: &Shape) -> [Arg; 5] {
    let ([_, _, h, w], [n, c, ho, wo]) = (x.dims(), y.dims()) else {
        unreachable!("maps");
    };
    [long(n * c), int(*h), int(*w), int(*ho), int(*wo)]
}

fn bytes(a: Arg) -> Arg {
    match a {
        Arg::In(at, _) => Arg::In(at, Scalar::U8),
        Arg::Out(at, _) => Arg::Out(at, Scalar::U8),
        other => other,
    }
}

/// Threads: 16 bytes of the results and [`ROWS`] rows of them, of dx in the backward.
fn units(y: &Shape, rows: usize, dtype: DType) -> usize {
    let d = y.dims();
    d[0] * d[1] * rows.div_ceil(ROWS) * (d[3] * dtype.size() / 16)
}

pub(super) fn forward(p: &Pools, e: Engine, x: &Tensor) -> Result<Option<Output>> {
    let y = p.infer(&[*x.shape()])?;
    let (dtype, d) = (x.dtype(), x.dims());
    let Some([kernel, _]) = kernels(p, d[3], dtype) else {
        let cut = Slice {
            start: 0,
            channels: p.channels,
        };
        let Some(x) = cut.forward_device(e, std::slice::from_ref(x))? else {
            return Ok(None);
        };
        let means = single::forward(&p.pool(Kind::Average), e, &x.y)?;
        let Some(means) = means else { return Ok(None) };
        p.means.put(vec![means.y]);
        return single::forward(&p.pool(Kind::Max), e, &x.y);
    };
    let mut maxima = Tensor::scratch_on(e, y, dtype)?;
    let mut means = Tensor::scratch_on(e, y, dtype)?;
    let mut taps = Tensor::scratch_on(e, [y.numel().div_ceil(4)], DType::I32)?;
    let pointers = [
        x.arg(e)?,
        maxima.arg_out(e)?,
        means.arg_out(e)?,
        bytes(taps.arg_out(e)?),
        int(p.channels),
        int(d[1]),
    ];
    let args = [&pointers[..], &sizes(x.shape(), &y)].concat();
    over_units(e, kernel, units(&y, y.dims()[2], dtype), &args)?;
    p.means.put(vec![means]);
    Ok(Some(Output {
        y: maxima,
        saved: vec![taps],
    }))
}

pub(super) fn backward(p: &Pools, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
    let [taps] = b.saved else { return Ok(None) };
    let x = with_dim(&b.shapes[0], 1, p.channels);
    let (dtype, y) = (b.dy.dtype(), p.infer(&[x])?);
    let Some([_, kernel]) = kernels(p, x.dims()[3], dtype) else {
        return by_single(p, e, b, x);
    };
    let pointers = |terms: &[Tensor]| -> Result<Vec<Arg>> {
        let pointers = terms.iter().map(|t| t.arg(e)).collect::<Result<Vec<_>>>()?;
        Ok(list(&pointers, TERMS, b.dy.arg(e)?))
    };
    // What is too much for a launch is added before.
    let fewer = |terms: &[Tensor]| match terms.len() > TERMS {
        true => Ok(vec![summed(e, terms)?]),
        false => Ok(terms.to_vec()),
    };
    let of = |i: usize| b.terms.get(i).map_or(Ok(vec![]), |t| fewer(t));
    let [maxima, means] = [of(0)?, of(1)?];
    let mut dx = Tensor::scratch_on(e, x, dtype)?;
    let ends = [
        bytes(taps.arg(e)?),
        dx.arg_out(e)?,
        int(maxima.len()),
        int(means.len()),
    ];
    let args = [
        &pointers(&maxima)?[..],
        &pointers(&means)?,
        &ends,
        &sizes(&x, &y),
    ]
    .concat();
    // Rows that a thread takes are of x at stride 2 as well.
    let units = units(&y, x.dims()[2], dtype);
    over_units(e, kernel, units, &args)?;
    Ok(Some(vec![Some(p.grad(&b.shapes[0], dx))]))
}

/// The sum of gradients of one size.
fn summed(e: Engine, terms: &[Tensor]) -> Result<Tensor> {
    let mut slabs = vec![];
    for t in terms {
        slabs.push(Slab::whole(t.on(e)?, 1));
    }
    let shape = *terms[0].shape();
    Ok(Tensor::from_device(
        shape,
        e.sum([1, 1, shape.numel()], &slabs)?,
    ))
}

/// The backward of each pooling, added.
fn by_single(p: &Pools, e: Engine, b: &Backward, x: Shape) -> Result<Option<Vec<Option<Grad>>>> {
    let mut all = vec![];
    for (kind, terms) in [Kind::Max, Kind::Average].into_iter().zip(b.terms) {
        if terms.is_empty() {
            continue;
        }
        let dy = summed(e, terms)?;
        let own = Backward {
            x: &[None],
            shapes: &[x],
            y: None,
            saved: if kind == Kind::Max { b.saved } else { &[] },
            dy: &dy,
            terms: &[vec![dy.clone()]],
            so_far: &[],
            need: b.need,
        };
        let Some(mut dx) = single::backward(&p.pool(kind), e, &own)? else {
            return Ok(None);
        };
        if let Some(Some(Grad::Whole(dx))) = dx.pop() {
            all.push(dx);
        }
    }
    let dx = summed(e, &all)?;
    Ok(Some(vec![Some(p.grad(&b.shapes[0], dx))]))
}
