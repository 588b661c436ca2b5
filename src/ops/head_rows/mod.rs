//! The heads of a single-shot detector (Liu et al. 2016, section 2.1): a convolution of the map of each level, stride 1, and of its result a row for
//! each prior, as [`super::to_rows()`] has them, `(N, P, width)`. On a device one launch for all levels forward, one for the gradients of all
//! maps, which it adds to what other operations sent these, and one for those of all weights and biases.

mod device;
mod entry;

pub use entry::ENTRY;

use crate::dual::Scalar;
use crate::error::Result;
use crate::ops::conv2d::{Conv2d, Conv2dParams};
use crate::ops::reference::{Arr, Reference};
use crate::ops::shape_rules::refuse;
use crate::ops::to_rows::ToRows;
use crate::portable::{Graph, Id};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Engine, Shape, Tensor};

const NAME: &str = "head_rows";

/// Operands of a level.
const EACH: usize = 3;

/// A level: its map, and weight and bias of its convolution.
#[derive(Debug)]
pub struct Head {
    /// `(N, D, H, W)`.
    pub x: Var,
    /// `(A width, D, K, K)` for A priors a position.
    pub w: Var,
    /// `(A width)`.
    pub b: Var,
}

/// The op; operands map, weight and bias of the first level, of the second, ...
#[derive(Debug, Clone)]
pub struct HeadRows {
    /// Of all convolutions; stride and groups are 1.
    pub params: Conv2dParams,
    /// Values of a row; divides the channels.
    pub width: usize,
}

/// Rows `(N, P, width)` of all levels, finest first if they are given so.
///
/// # Errors
/// [`crate::Code::Shape`] for no level, operands that do not fit each other, a stride or groups other than 1.
pub fn head_rows(levels: &[Head], params: Conv2dParams, width: usize) -> Result<Var> {
    let operands: Vec<&Var> = levels.iter().flat_map(|l| [&l.x, &l.w, &l.b]).collect();
    match levels.first() {
        Some(first) => (first.x.tape()).apply(HeadRows { params, width }, &operands),
        None => Err(refuse(NAME, "no level")),
    }
}

impl HeadRows {
    fn convolution(&self) -> Conv2d {
        Conv2d(self.params)
    }

    fn rows(&self) -> ToRows {
        ToRows { width: self.width }
    }

    /// Shapes of the results before they are rows.
    fn maps(&self, x: &[Shape]) -> Result<Vec<Shape>> {
        let Conv2dParams { stride, groups, .. } = self.params;
        if [stride, groups] != [1, 1] || !x.len().is_multiple_of(EACH) {
            let text = format!("stride {stride}, groups {groups}, {} operands", x.len());
            return Err(refuse(
                NAME,
                format!("expected stride 1, groups 1, three operands a level, got {text}"),
            ));
        }
        x.chunks(EACH)
            .map(|x| self.convolution().infer(x))
            .collect()
    }
}

impl Reference for HeadRows {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let maps: Vec<Arr<S>> = (x.chunks(EACH))
            .map(|x| self.convolution().fwd(x))
            .collect();
        self.rows().fwd(&maps)
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let maps: Vec<Arr<S>> = (x.chunks(EACH))
            .map(|x| self.convolution().fwd(x))
            .collect();
        let maps = self.rows().bwd(&maps, dy);
        let each = maps.into_iter().zip(x.chunks(EACH));
        each.flat_map(|(dy, x)| self.convolution().bwd(x, &dy.expect("of every map")))
            .collect()
    }
}

impl Op for HeadRows {
    fn name(&self) -> &'static str {
        NAME
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        self.rows().infer(&self.maps(x)?)
    }

    fn elementwise(&self, _x: &[Shape], y: &Shape) -> Elementwise {
        // One bias a value.
        Elementwise {
            add: y.numel() as u64,
            ..Elementwise::default()
        }
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let maps = (x.chunks(EACH)).map(|x| Ok(self.convolution().forward(x)?.y));
        self.rows().forward(&maps.collect::<Result<Vec<_>>>()?)
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let shapes = self.maps(b.shapes)?;
        let need: Vec<bool> = b.need.chunks(EACH).map(|n| n.contains(&true)).collect();
        let maps = self.rows().backward(&Backward {
            shapes: &shapes,
            need: &need,
            x: &[],
            ..*b
        })?;
        let mut all = vec![];
        for (level, map) in maps.into_iter().enumerate() {
            let of = level * EACH..(level + 1) * EACH;
            match map {
                Some(Grad::Whole(dy)) => all.extend(self.convolution().backward(&Backward {
                    x: &b.x[of.clone()],
                    shapes: &b.shapes[of.clone()],
                    need: &b.need[of],
                    dy: &dy,
                    terms: &[],
                    ..*b
                })?),
                _ => all.extend([None, None, None]),
            }
        }
        Ok(all)
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let mut maps = vec![];
        for x in x.chunks(EACH) {
            let shapes: Vec<Shape> = x.iter().map(|&x| *g.shape(x)).collect();
            let map = self.convolution().infer(&shapes).ok()?;
            maps.push(self.convolution().portable(g, x, map)?);
        }
        self.rows().portable(g, &maps, y)
    }

    fn adds_up(&self, k: usize) -> bool {
        k.is_multiple_of(EACH)
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let y = device::forward(e, self, x, self.infer(&shapes)?)?;
        Ok(y.map(Output::from))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        device::gradients(e, self, b)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
