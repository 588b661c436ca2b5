//! The weighted sum by kernels (`kernels/sum.cu`): up to sixteen terms a launch, longer sums in several, which hand on what they have in
//! f32: the result is rounded once.

use super::{Term, place};
use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::Result;
use crate::ops::on_device::{int, long, over_packs, pack_blocks, pick, untouched};
use crate::ops::shape_rules::split;
use crate::tape::{Backward, Grad, Output};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Terms of a launch (`SUM_TERMS` of sum.cu).
const TERMS: usize = 16;
/// The most blocks of a backward: each leaves a row of partial products.
const BLOCKS: usize = 1024;

/// What the kernels are told of up to [`TERMS`] terms; the ones that are left repeat the first and are not looked at.
struct Launched {
    weights: [Arg; TERMS],
    skips: [Arg; TERMS],
    /// Values of an image of the result; all of them where no operand has more.
    row: usize,
}

impl Launched {
    fn new(terms: &[Term], shapes: &[Shape], out: &Shape) -> Launched {
        let at = |i: usize| if i < terms.len() { i } else { 0 };
        let skip = |i: usize| place(&shapes[at(i)], &terms[at(i)]).1;
        let whole = (0..terms.len()).all(|i| skip(i) == 0);
        Launched {
            weights: std::array::from_fn(|i| int(terms[at(i)].weight)),
            skips: std::array::from_fn(|i| long(skip(i))),
            row: if whole {
                out.numel()
            } else {
                split(out, 1).row()
            },
        }
    }
}

/// All sixteen, what is missing filled with `other`.
fn sixteen(mut args: Vec<Arg>, other: Arg) -> Vec<Arg> {
    args.resize(TERMS, other);
    args
}

/// The weights as kernels read them.
fn weights(w: &Tensor) -> Option<Tensor> {
    (w.dtype() != DType::F64).then(|| w.cast(DType::F32))
}

pub(super) fn forward(
    e: Engine,
    terms: &[Term],
    x: &[Tensor],
    w: &Tensor,
    shape: Shape,
) -> Result<Option<Output>> {
    let dtype = x[0].dtype();
    let last = pick(dtype, k::WEIGHTED_SUM_F32, k::WEIGHTED_SUM_BF16);
    let first = pick(dtype, k::WEIGHTED_SUM_F32, k::WEIGHTED_SUM_BF16_F32);
    let (Some(last), Some(first), Some(w)) = (last, first, weights(w)) else {
        return Ok(None);
    };
    let n = shape.numel();
    let mut before: Option<Tensor> = None;
    let launches = terms.len().div_ceil(TERMS);
    for (i, (terms, x)) in terms.chunks(TERMS).zip(x.chunks(TERMS)).enumerate() {
        let (kernel, to) = match i + 1 < launches {
            true => (first, DType::F32),
            false => (last, dtype),
        };
        let mut y = Tensor::scratch_on(e, shape, to)?;
        if n > 0 {
            let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
            let l = Launched::new(terms, &shapes, &shape);
            let maps: Vec<Arg> = x.iter().map(|x| x.arg(e)).collect::<Result<_>>()?;
            let maps = sixteen(maps.clone(), maps[0]);
            // Not looked at where there is nothing yet.
            let sums = before.as_ref().unwrap_or(&w).arg(e)?;
            let ends = [w.arg(e)?, sums, y.arg_out(e)?];
            let sizes = [int(terms.len()), int(usize::from(i > 0)), long(l.row)];
            let args = [&maps[..], &ends, &l.weights, &l.skips, &sizes].concat();
            over_packs(e, kernel, dtype, n, &args)?;
        }
        before = Some(y);
    }
    Ok(before.map(Output::from))
}

pub(super) fn backward(
    e: Engine,
    terms: &[Term],
    b: &Backward,
) -> Result<Option<Vec<Option<Grad>>>> {
    let m = terms.len();
    let (dy, dtype) = (b.dy, b.dy.dtype());
    let same = (0..m).all(|i| b.input(i).dtype() == dtype);
    let kernel = pick(dtype, k::WEIGHTED_SUM_BWD_F32, k::WEIGHTED_SUM_BWD_BF16);
    let (Some(kernel), Some(w), true) = (kernel, weights(b.input(m)), same) else {
        return Ok(None);
    };
    let n = dy.numel();
    let dots = b.need[m];
    let new = |i: usize| {
        let make = || Tensor::scratch_on(e, *dy.shape(), dtype);
        b.need[i].then(make).transpose()
    };
    let mut dx: Vec<Option<Tensor>> = (0..m).map(new).collect::<Result<_>>()?;
    let mut dw = match dots {
        true => Some(Tensor::zeros_on(e, b.shapes[m], DType::F32)?),
        false => None,
    };
    let starts: Vec<usize> = (0..m).step_by(TERMS).collect();
    for start in starts.into_iter().filter(|_| n > 0) {
        let end = (start + TERMS).min(m);
        let l = Launched::new(&terms[start..end], &b.shapes[start..end], dy.shape());
        let blocks = pack_blocks(n, dtype, BLOCKS);
        let mut part = Tensor::scratch_on(e, [blocks, end - start], DType::F32)?;
        let g = dy.arg(e)?;
        let mut outs = vec![];
        let mut want = 0;
        for (i, dx) in dx[start..end].iter_mut().enumerate() {
            outs.push(match dx {
                Some(dx) => {
                    want |= 1 << i;
                    dx.arg_out(e)?
                }
                None => untouched(g),
            });
        }
        let maps: Vec<Arg> = (start..end)
            .map(|i| b.input(i).arg(e))
            .collect::<Result<_>>()?;
        let maps = sixteen(maps, g);
        let ends = [w.arg(e)?, g];
        let outs = sixteen(outs, untouched(g));
        let sizes = [int(end - start), int(want), int(usize::from(dots))];
        let tail = [long(l.row), long(n)];
        let to = [part.arg_out(e)?];
        let args = [
            &maps[..],
            &ends,
            &outs,
            &to,
            &l.weights,
            &l.skips,
            &sizes,
            &tail,
        ]
        .concat();
        let launch = Launch::new([blocks as u32, 1, 1], [256, 1, 1]);
        e.launch(kernel, launch, &args)?;
        if let Some(dw) = &mut dw {
            let launch = Launch::new([dw.numel() as u32, 1, 1], [256, 1, 1]);
            let ends = [part.arg(e)?, dw.arg_out(e)?];
            let sizes = [int(end - start), int(blocks), int(usize::from(start > 0))];
            let args = [&ends[..], &l.weights, &sizes].concat();
            e.launch(k::WEIGHTED_SUM_DOTS_F32, launch, &args)?;
        }
    }
    let mut grads: Vec<Option<Grad>> = dx
        .into_iter()
        .zip(terms)
        .map(|(dx, t)| {
            Some(match t.start {
                0 => Grad::Whole(dx?),
                start => Grad::Channels { start, dx: dx? },
            })
        })
        .collect();
    grads.push(dw.map(|dw| Grad::Whole(dw.cast(b.input(m).dtype()))));
    Ok(Some(grads))
}
