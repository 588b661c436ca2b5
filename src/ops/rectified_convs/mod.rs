//! ReLU and convolutions without bias, several of one window to results of one size, `w max(x, 0)`: what brings the inputs of a cell to its width
//! where this takes more than single pixels. On a device one launch forward, one for the gradients of all maps, which it adds to what other
//! operations sent these, and one for those of all weights; rectified maps are not stored.

mod device;

use crate::error::Result;
use crate::ops::conv2d::{Conv2d, Conv2dParams};
use crate::ops::relu::Relu;
use crate::ops::shape_rules::{refuse, same};
use crate::tape::{Aside, Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Engine, Shape, Tensor};

const NAME: &str = "rectified_convs";

/// Operands of a result.
const EACH: usize = 2;

/// Convolutions of a launch (`RECTIFIED_UNITS` of conv.cuh).
pub const UNITS: usize = 2;

/// The op; operands map and weight of the first result, of the second, ...
#[derive(Debug)]
struct RectifiedConvs {
    params: Conv2dParams,
    further: Aside,
}

/// Of each map before its ReLU, `(N, D, H, W)`, and weight `(C, D, K, K)` a result `(N, C, H', W')`.
///
/// # Errors
/// [`crate::Code::Shape`] where a weight does not fit its map, results are not of one shape, stride or groups other than 1.
///
/// # Panics
/// When there are none, or more than [`UNITS`]: a bug of the caller.
pub fn rectified_convs(all: &[(&Var, &Var)], params: Conv2dParams) -> Result<Vec<Var>> {
    assert!((1..=UNITS).contains(&all.len()));
    let operands: Vec<&Var> = all.iter().flat_map(|&(x, w)| [x, w]).collect();
    let op = RectifiedConvs {
        params,
        further: Aside::default(),
    };
    Ok(operands[0].tape().apply_many(op, &operands, all.len())?.0)
}

fn rectified(x: &Tensor) -> Result<Tensor> {
    Ok(Relu.forward(std::slice::from_ref(x))?.y)
}

impl RectifiedConvs {
    fn convolution(&self) -> Conv2d {
        Conv2d(self.params)
    }

    /// Gradients of a map and its weight, by the ops that the result is made of.
    fn pulled(&self, x: &[&Tensor], dy: &Tensor, need: &[bool]) -> Result<Vec<Option<Grad>>> {
        let r = rectified(x[0])?;
        let own = Backward {
            x: &[Some(r.clone()), Some(x[1].clone())],
            shapes: &[*r.shape(), *x[1].shape()],
            y: None,
            saved: &[],
            dy,
            terms: &[],
            so_far: &[],
            need,
        };
        let mut all = self.convolution().backward(&own)?;
        if let Some(Grad::Whole(dr)) = all[0].take() {
            let own = Backward {
                x: &[None],
                shapes: &[*r.shape()],
                y: Some(&r),
                dy: &dr,
                need: &[true],
                ..own
            };
            all[0] = Relu.backward(&own)?.into_iter().next().flatten();
        }
        Ok(all)
    }
}

impl Op for RectifiedConvs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let Conv2dParams { stride, groups, .. } = self.params;
        if [stride, groups] != [1, 1] {
            let text = format!("expected stride 1, groups 1, got {stride} and {groups}");
            return Err(refuse(NAME, text));
        }
        let mut first = None;
        for x in x.chunks(EACH) {
            let y = self.convolution().infer(x)?;
            same(NAME, first.get_or_insert(y), &y)?;
        }
        Ok(first.expect("a result"))
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let of = |x: &[Tensor]| {
            Ok((self.convolution())
                .forward(&[rectified(&x[0])?, x[1].clone()])?
                .y)
        };
        let mut all = x.chunks(EACH).map(of).collect::<Result<Vec<_>>>()?;
        let y = all.remove(0);
        self.further.put(all);
        Ok(Output::from(y))
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let mut grads = vec![];
        for (i, terms) in b.terms.iter().enumerate() {
            let at = i * EACH;
            match &terms[..] {
                [dy] => grads.extend(self.pulled(
                    &[b.input(at), b.input(at + 1)],
                    dy,
                    &b.need[at..at + EACH],
                )?),
                _ => grads.extend([None, None]),
            }
        }
        Ok(grads)
    }

    fn aside(&self) -> Option<&Aside> {
        Some(&self.further)
    }

    fn adds_up(&self, k: usize) -> bool {
        k.is_multiple_of(EACH)
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let parts: Vec<_> = x.chunks(EACH).map(|x| (&x[0], &x[1])).collect();
        let Some(mut all) = device::forward(e, self.params, &parts, self.infer(&shapes)?)? else {
            return Ok(None);
        };
        let y = all.remove(0);
        self.further.put(all);
        Ok(Some(Output::from(y)))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let parts: Vec<_> = (b.terms.iter().enumerate())
            .map(|(i, terms)| device::Part {
                x: b.input(i * EACH),
                w: b.input(i * EACH + 1),
                dy: terms.first(),
                so_far: b.so_far.get(i * EACH).and_then(Option::as_ref),
                need: &b.need[i * EACH..(i + 1) * EACH],
            })
            .collect();
        device::gradients(e, self.params, &parts)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
