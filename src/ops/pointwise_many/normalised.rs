//! [`super::pointwise_many`] and the normalisation of its results by their own statistics, without scale and shift: both inputs of a search cell.
//! On a device whoever writes the maps gathers their statistics: two launches forward, and nothing reads the maps once more for them; four back.

use super::{Convolved, PointwiseMany};
use crate::error::Result;
use crate::ops::batch_norm::many::BatchNorms;
use crate::ops::{BatchNormParams, BatchStats};
use crate::tape::{Aside, Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Engine, Shape, Tensor};

/// Blocks that share the pixels of a map: each leaves statistics that every block of the normalisation merges.
const BLOCKS: usize = 256;

/// The op; operands as of [`PointwiseMany`]. Saves the statistics as [`BatchNorms`] does, and the maps that it normalises.
#[derive(Debug)]
struct NormalisedPointwise {
    maps: PointwiseMany,
    norms: BatchNorms,
    /// Blocks that gather statistics of a channel, at most.
    most: usize,
}

/// A result `(N, C, H, W)` of each, normalised with the statistics that come with them; `eps` is added to the variance.
///
/// # Errors
/// As [`super::pointwise_many`].
///
/// # Panics
/// As [`super::pointwise_many`].
pub fn normalised_pointwise(all: &[Convolved], eps: f64) -> Result<(Vec<Var>, Vec<BatchStats>)> {
    recorded(all, eps, BLOCKS)
}

fn recorded(all: &[Convolved], eps: f64, most: usize) -> Result<(Vec<Var>, Vec<BatchStats>)> {
    let (maps, operands) = PointwiseMany::of(all);
    let norms = BatchNorms::new(BatchNormParams { eps, relu: false });
    let op = NormalisedPointwise { maps, norms, most };
    let (y, saved) = operands[0].tape().apply_many(op, &operands, all.len())?;
    let count = y[0].shape().numel() / y[0].dims()[1].max(1);
    let stats = |row| BatchStats::row(saved.clone(), [0, row], &y[0], count);
    let stats = (0..all.len()).map(stats).collect();
    Ok((y, stats))
}

impl NormalisedPointwise {
    /// What a forward put aside, behind its first result.
    fn all(&self, first: Tensor, aside: Option<&Aside>) -> Vec<Tensor> {
        let further = (1..self.maps.weights.len()).map_while(|i| aside?.take(i));
        [first].into_iter().chain(further).collect()
    }

    /// Gradients of the maps from those of the results, by `norms`; then those of the operands, by `maps`.
    fn back<N, M>(&self, b: &Backward, norms: N, maps: M) -> Result<Option<Vec<Option<Grad>>>>
    where
        N: FnOnce(&Backward) -> Result<Option<Vec<Option<Grad>>>>,
        M: FnOnce(&Backward) -> Result<Option<Vec<Option<Grad>>>>,
    {
        let (stats, kept) = b.saved.split_at(1);
        let x: Vec<Option<Tensor>> = kept.iter().cloned().map(Some).collect();
        let shapes: Vec<Shape> = kept.iter().map(|t| *t.shape()).collect();
        let need: Vec<bool> = (self.maps.starts())
            .map(|(at, n)| b.need[at..=at + n].contains(&true))
            .collect();
        let Some(grads) = norms(&Backward {
            x: &x,
            shapes: &shapes,
            y: None,
            saved: stats,
            dy: b.dy,
            terms: b.terms,
            so_far: &[],
            need: &need,
        })?
        else {
            return Ok(None);
        };
        let whole = |g: Option<Grad>| g.map(|g| super::whole(Some(g))).into_iter().collect();
        let terms: Vec<Vec<Tensor>> = grads.into_iter().map(whole).collect();
        maps(&Backward {
            x: b.x,
            shapes: b.shapes,
            y: None,
            saved: &[],
            dy: b.dy,
            terms: &terms,
            so_far: b.so_far,
            need: b.need,
        })
    }
}

impl Op for NormalisedPointwise {
    fn name(&self) -> &'static str {
        "normalised_pointwise"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        self.norms.infer(&[self.maps.infer(x)?])
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let first = self.maps.forward(x)?.y;
        let maps = self.all(first, self.maps.aside());
        let mut out = self.norms.forward(&maps)?;
        out.saved.extend(maps);
        Ok(out)
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let norms = |b: &Backward| self.norms.backward(b).map(Some);
        let grads = self.back(b, norms, |b| self.maps.backward(b).map(Some))?;
        Ok(grads.expect("the host computes every gradient"))
    }

    fn aside(&self) -> Option<&Aside> {
        self.norms.aside()
    }

    fn adds_up(&self, k: usize) -> bool {
        self.maps.adds_up(k)
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let Some(made) = self.maps.launch(e, x, Some(self.most))? else {
            return Ok(None);
        };
        let part = made.part.expect("statistics were asked for");
        let mut out = self.norms.of_parts(e, &made.all, &part)?;
        out.saved.extend(made.all);
        Ok(Some(out))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let norms = |b: &Backward| self.norms.backward_device(e, b);
        self.back(b, norms, |b| self.maps.backward_device(e, b))
    }
}

#[cfg(test)]
#[path = "normalised_tests.rs"]
pub(crate) mod tests;
