//! ReLU and 1x1 convolutions without bias, several to results of one size: what brings the inputs of a cell to its width. A map as it is,
//! `w max(x, 0)`, or its factorised reduction, `concat(w1 r[.., 0::2, 0::2], w2 r[.., 1::2, 1::2])` of `r = max(x, 0)` (DARTS, reference
//! code). On a device one launch forward, one for the gradients of all maps, which it adds to what other operations sent these, and one
//! for those of all weights; rectified maps are not stored.

mod device;
pub(crate) mod normalised;

use self::device::Made;
use crate::backend::host::by_float;
use crate::error::Result;
use crate::ops::Conv2dParams;
use crate::ops::concat::Concat;
use crate::ops::conv2d::Conv2d;
use crate::ops::relu::Relu;
use crate::ops::shape_rules::{refuse, same, with_dim};
use crate::ops::subsample::Subsample;
use crate::tape::{Aside, Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

pub use normalised::normalised_pointwise;

const NAME: &str = "pointwise_many";

/// Weights of a launch (`MANY_UNITS` of conv.cuh).
pub const WEIGHTS: usize = 4;

/// A map, before its ReLU, with the weights of its convolutions, `(C, D, 1, 1)`, or two of `(C / 2, D, 1, 1)` for a reduction.
#[derive(Debug)]
pub struct Convolved {
    /// `(N, D, H, W)`, or `(N, D, 2 H, 2 W)` for a reduction.
    pub x: Var,
    /// One weight or two.
    pub w: Vec<Var>,
}

/// The op: of each result, how many weights it has. Operands: the map and the weights of the first, of the second, ...
#[derive(Debug)]
struct PointwiseMany {
    weights: Vec<usize>,
    further: Aside,
}

/// A result `(N, C, H, W)` of each.
///
/// # Errors
/// [`crate::Code::Shape`] where weights do not fit a map, or results are not of one shape.
///
/// # Panics
/// When they have more than [`WEIGHTS`] weights, or one of them neither one nor two: a bug of the caller.
pub fn pointwise_many(all: &[Convolved]) -> Result<Vec<Var>> {
    let (op, operands) = PointwiseMany::of(all);
    Ok(operands[0].tape().apply_many(op, &operands, all.len())?.0)
}

impl PointwiseMany {
    /// The op and its operands.
    fn of(all: &[Convolved]) -> (PointwiseMany, Vec<&Var>) {
        let weights: Vec<usize> = all.iter().map(|c| c.w.len()).collect();
        assert!(
            weights.iter().all(|n| [1, 2].contains(n)) && weights.iter().sum::<usize>() <= WEIGHTS
        );
        let operands = all.iter().flat_map(|c| [&c.x].into_iter().chain(&c.w));
        let further = Aside::default();
        (PointwiseMany { weights, further }, operands.collect())
    }

    /// The forward on a device, with statistics of the results gathered by so many blocks at most where `gather` says so.
    fn launch(&self, e: Engine, x: &[Tensor], gather: Option<usize>) -> Result<Option<Made>> {
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let parts: Vec<_> = (self.starts())
            .map(|(at, n)| (&x[at], x[at + 1..=at + n].iter().collect()))
            .collect();
        device::forward(e, &parts, self.infer(&shapes)?, gather)
    }

    /// Where the operands of each result begin.
    fn starts(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut at = 0;
        self.weights.iter().map(move |&n| {
            let start = at;
            at += n + 1;
            (start, n)
        })
    }
}

/// The shape of a result.
fn shape_of(x: &Shape, w: &[Shape]) -> Result<Shape> {
    let (n, depth, h, wide) = x.nchw(NAME)?;
    let (rows, ..) = w[0].nchw(NAME)?;
    for w in w {
        if w.dims() != [rows, depth, 1, 1] {
            return Err(refuse(NAME, format!("weight {w} over a map {x}")));
        }
    }
    let halves = w.len();
    if h % halves + wide % halves != 0 {
        return Err(refuse(
            NAME,
            format!("a map {x} with an odd side is halved"),
        ));
    }
    Ok(Shape::from([n, halves * rows, h / halves, wide / halves]))
}

/// Every second pixel, from row and column `offset` on.
fn taken(offset: usize) -> Subsample {
    Subsample { stride: 2, offset }
}

fn convolution() -> Conv2d {
    Conv2d(Conv2dParams::default())
}

/// What a backward of one operation is given of one map.
fn whole(g: Option<Grad>) -> Tensor {
    match g {
        Some(Grad::Whole(t)) => t,
        _ => unreachable!("the host computes whole gradients"),
    }
}

fn rectified(x: &Tensor) -> Result<Tensor> {
    Ok(Relu.forward(std::slice::from_ref(x))?.y)
}

/// One result, by the ops that it is made of, of a rectified map.
fn composed(x: &Tensor, w: &[Tensor]) -> Result<Tensor> {
    if let [w] = w {
        return Ok(convolution().forward(&[x.clone(), w.clone()])?.y);
    }
    let half = |(offset, w): (usize, &Tensor)| {
        let x = taken(offset).forward(std::slice::from_ref(x))?.y;
        Ok(convolution().forward(&[x, w.clone()])?.y)
    };
    let halves = w.iter().enumerate().map(half).collect::<Result<Vec<_>>>()?;
    Ok(Concat.forward(&halves)?.y)
}

/// Gradients of [`convolution`].
fn convolved(x: &Tensor, w: &Tensor, dy: &Tensor, need: &[bool]) -> Result<Vec<Option<Grad>>> {
    convolution().backward(&Backward {
        x: &[Some(x.clone()), Some(w.clone())],
        shapes: &[*x.shape(), *w.shape()],
        y: None,
        saved: &[],
        dy,
        terms: &[vec![dy.clone()]],
        so_far: &[],
        need,
    })
}

/// The first or the second half of the channels.
fn half_of(dy: &Tensor, half: usize) -> Tensor {
    let shape = with_dim(dy.shape(), 1, dy.dims()[1] / 2);
    let image = shape.numel() / shape.dims()[0].max(1);
    let mut y = Buffer::scratch(dy.dtype(), shape.numel());
    by_float!(dy.dtype(), T => {
        let from = dy.data::<T>().chunks(image.max(1)).skip(half).step_by(2);
        let to = y.values_mut::<T>().chunks_mut(image.max(1));
        to.zip(from).for_each(|(to, from)| to.copy_from_slice(from));
    });
    Tensor::from_buffer(shape, y)
}

/// The gradient of a map from that of its rectified values.
fn unrectified(r: &Tensor, dy: &Tensor) -> Result<Option<Grad>> {
    let all = Relu.backward(&Backward {
        x: &[None],
        shapes: &[*r.shape()],
        y: Some(r),
        saved: &[],
        dy,
        terms: &[],
        so_far: &[],
        need: &[true],
    })?;
    Ok(all.into_iter().next().flatten())
}

/// Gradients of [`composed`], of the rectified map and of each weight.
fn gradients(x: &Tensor, w: &[Tensor], dy: &Tensor, need: &[bool]) -> Result<Vec<Option<Grad>>> {
    if let [w] = w {
        return convolved(x, w, dy, need);
    }
    let (mut dx, mut all): (Option<Tensor>, _) = (None, vec![None]);
    for (offset, w) in w.iter().enumerate() {
        let (part, dy) = (
            taken(offset).forward(std::slice::from_ref(x))?.y,
            half_of(dy, offset),
        );
        let mut own = convolved(&part, w, &dy, &[need[0], need[1 + offset]])?;
        all.push(own.remove(1));
        if !need[0] {
            continue;
        }
        let back = taken(offset).backward(&Backward {
            x: &[None],
            shapes: &[*x.shape()],
            y: None,
            saved: &[],
            dy: &whole(own.remove(0)),
            terms: &[],
            so_far: &[],
            need: &[true],
        })?;
        let back = whole(back.into_iter().next().flatten());
        dx = Some(match dx {
            None => back,
            Some(mut sum) => {
                by_float!(back.dtype(), T => {
                    let all = sum.data_mut::<T>().iter_mut().zip(back.data::<T>());
                    all.for_each(|(a, b)| *a += *b);
                });
                sum
            }
        });
    }
    all[0] = dx.map(Grad::Whole);
    Ok(all)
}

impl Op for PointwiseMany {
    fn name(&self) -> &'static str {
        NAME
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let mut first = None;
        for (at, n) in self.starts() {
            let y = shape_of(&x[at], &x[at + 1..=at + n])?;
            same(NAME, first.get_or_insert(y), &y)?;
        }
        Ok(first.expect("a result"))
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let of = |(at, n)| composed(&rectified(&x[at])?, &x[at + 1..=at + n]);
        let mut all = self.starts().map(of).collect::<Result<Vec<_>>>()?;
        let y = all.remove(0);
        self.further.put(all);
        Ok(Output::from(y))
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let mut grads = vec![];
        for ((at, n), terms) in self.starts().zip(b.terms) {
            let weights: Vec<Tensor> = (at + 1..=at + n).map(|i| b.input(i).clone()).collect();
            match &terms[..] {
                [dy] => {
                    let r = rectified(b.input(at))?;
                    let mut own = gradients(&r, &weights, dy, &b.need[at..=at + n])?;
                    if let Some(dr) = own[0].take() {
                        own[0] = unrectified(&r, &whole(Some(dr)))?;
                    }
                    grads.extend(own);
                }
                _ => grads.extend((0..=n).map(|_| None)),
            }
        }
        Ok(grads)
    }

    fn aside(&self) -> Option<&Aside> {
        Some(&self.further)
    }

    fn adds_up(&self, k: usize) -> bool {
        self.starts().any(|(at, _)| at == k)
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let Some(Made { mut all, .. }) = self.launch(e, x, None)? else {
            return Ok(None);
        };
        let y = all.remove(0);
        self.further.put(all);
        Ok(Some(Output::from(y)))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let parts: Vec<_> = (self.starts().zip(b.terms))
            .map(|((at, n), terms)| device::Part {
                x: b.input(at),
                w: (at + 1..=at + n).map(|i| b.input(i)).collect(),
                dy: terms.first(),
                so_far: b.so_far.get(at).and_then(Option::as_ref),
                need: &b.need[at..=at + n],
            })
            .collect();
        device::gradients(e, &parts)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
