//! Batch normalisation of rows `(N, P, V)`, of each level by its own statistics, as [`crate::ops::to_rows`] of normalised maps: on a device
//! two launches for up to eight levels forward, and two backward (`kernels/norm_rows.cu`).

use super::{BatchNorm, BatchNormParams, BatchStats, rows_device};
use crate::backend::host::{by_float, rearrange};
use crate::backend::threads::for_pieces;
use crate::error::Result;
use crate::ops::shape_rules::refuse;
use crate::tape::{Backward, Grad, Op, Output, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op; operands rows `(N, P, V)` and of each level gamma and beta `(C)`. Saves the statistics of each level, `(1, 4, C)`: mean,
/// variance, low part of the mean, count.
#[derive(Debug, Clone)]
pub struct RowsBatchNorm {
    /// Channels and pixels of each level, in the order of the rows.
    pub levels: Vec<[usize; 2]>,
    /// Added to the variance.
    pub eps: f64,
}

/// Normalises the rows of levels of so many pixels with the batch's statistics and returns these, of each level; `affine` has the scale
/// and shift of each.
///
/// # Errors
/// [`crate::Code::Shape`] when they are not as many, or the values of all levels not those of an image.
pub fn rows_batch_norm(
    x: &Var,
    affine: &[(&Var, &Var)],
    pixels: &[usize],
    eps: f64,
) -> Result<(Var, Vec<BatchStats>)> {
    if affine.len() != pixels.len() {
        let text = format!("{} scales for {} levels", affine.len(), pixels.len());
        return Err(refuse("rows_batch_norm", text));
    }
    let channels = affine.iter().map(|(gamma, _)| gamma.shape().numel());
    let levels = channels.zip(pixels).map(|(c, &p)| [c, p]).collect();
    let affine = affine.iter().flat_map(|&(g, b)| [g, b]);
    let operands: Vec<&Var> = [x].into_iter().chain(affine).collect();
    let (y, saved) = (x.tape()).apply_saving(RowsBatchNorm { levels, eps }, &operands)?;
    let images = x.dims()[0];
    let stats = |(l, &p): (usize, &usize)| BatchStats::row(saved.clone(), [l, 0], x, images * p);
    Ok((y, pixels.iter().enumerate().map(stats).collect()))
}

impl RowsBatchNorm {
    /// The op of a level's map.
    fn single(&self) -> BatchNorm {
        BatchNorm(BatchNormParams {
            eps: self.eps,
            relu: false,
        })
    }

    /// Values of an image, and where those of each level begin.
    pub(super) fn places(&self) -> (usize, Vec<usize>) {
        let mut first = vec![];
        let total = self.levels.iter().fold(0, |at, [c, p]| {
            first.push(at);
            at + c * p
        });
        (total, first)
    }

    /// Scale and shift of level `l` among the operands.
    pub(super) fn own(l: usize) -> [usize; 2] {
        [1 + 2 * l, 2 + 2 * l]
    }

    /// Level `l` of the rows as a map `(N, C, pixels, 1)`.
    pub(super) fn map(&self, rows: &Tensor, l: usize) -> Tensor {
        let ((total, first), [c, p]) = (self.places(), self.levels[l]);
        let shape = Shape::from([rows.dims()[0], c, p, 1]);
        let mut y = Buffer::scratch(rows.dtype(), shape.numel());
        by_float!(rows.dtype(), T => {
            let rows = rows.data::<T>();
            for_pieces(y.values_mut::<T>(), c * p, shape.numel(), |i, y| {
                rearrange::transpose(&rows[i * total + first[l]..][..c * p], p, c, y);
            });
        });
        Tensor::from_buffer(shape, y)
    }

    /// The way back, of the maps of all levels.
    fn rows(&self, shape: Shape, maps: &[Tensor]) -> Tensor {
        let ((total, first), dtype) = (self.places(), maps[0].dtype());
        let mut y = Buffer::scratch(dtype, shape.numel());
        by_float!(dtype, T => {
            let maps: Vec<&[T]> = maps.iter().map(|x| x.data::<T>()).collect();
            for_pieces(y.values_mut::<T>(), total, shape.numel(), |i, y| {
                for ((map, [c, p]), first) in maps.iter().zip(&self.levels).zip(&first) {
                    let of = c * p;
                    rearrange::transpose(&map[i * of..][..of], *c, *p, &mut y[*first..][..of]);
                }
            });
        });
        Tensor::from_buffer(shape, y)
    }

    /// Statistics of a level as they are saved.
    pub(super) fn row(mean: &Tensor, var: &Tensor, count: usize) -> Result<Tensor> {
        let c = mean.numel();
        let rest = [vec![0.0; c], vec![count as f64; c]].concat();
        let all = [mean.to_f64(), var.to_f64(), rest].concat();
        Ok(Tensor::from_f64([1, 4, c], all)?.cast(mean.dtype()))
    }
}

impl Op for RowsBatchNorm {
    fn name(&self) -> &'static str {
        "rows_batch_norm"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let no = |text: String| Err(refuse(self.name(), text));
        let &[_, p, v] = x[0].dims() else {
            return no(format!("expected (N, P, V), got {}", x[0]));
        };
        if x.len() != 1 + 2 * self.levels.len() || self.levels.is_empty() {
            let levels = self.levels.len();
            return no(format!("{} operands for {levels} levels", x.len()));
        }
        for (l, [c, _]) in self.levels.iter().enumerate() {
            if !c.is_multiple_of(v) {
                return no(format!("{c} channels of level {l} are not rows of {v}"));
            }
            for (i, what) in Self::own(l).into_iter().zip(["gamma", "beta"]) {
                if x[i].dims() != [*c] {
                    let own = &x[i];
                    return no(format!("{what} {own} does not fit {c} channels"));
                }
            }
        }
        let (total, _) = self.places();
        if total != p * v {
            let text = format!("levels of {total} values for {} of an image", p * v);
            return no(text);
        }
        Ok(x[0])
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let (mut maps, mut saved) = (vec![], vec![]);
        for (l, [_, p]) in self.levels.iter().enumerate() {
            let [gamma, beta] = Self::own(l).map(|i| x[i].clone());
            let one = self.single().forward(&[self.map(&x[0], l), gamma, beta])?;
            let count = x[0].dims()[0] * p;
            saved.push(Self::row(&one.saved[0], &one.saved[1], count)?);
            maps.push(one.y);
        }
        Ok(Output {
            y: self.rows(*x[0].shape(), &maps),
            saved,
        })
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (mut maps, mut grads) = (vec![], vec![None]);
        for (l, &[c, _]) in self.levels.iter().enumerate() {
            let own = Self::own(l);
            let (x, dy) = (self.map(b.input(0), l), self.map(b.dy, l));
            let all = b.saved[l].to_f64();
            let part = |part: usize| {
                let values = all[part * c..][..c].to_vec();
                Ok(Tensor::from_f64([c], values)?.cast(b.saved[l].dtype()))
            };
            let single = Backward {
                shapes: &[*x.shape(), b.shapes[own[0]], b.shapes[own[1]]],
                x: &[Some(x), b.x[own[0]].clone(), b.x[own[1]].clone()],
                y: None,
                saved: &[part(0)?, part(1)?],
                dy: &dy,
                terms: &[],
                so_far: &[],
                need: &[b.need[0], b.need[own[0]], b.need[own[1]]],
            };
            let mut of = self.single().backward(&single)?.into_iter();
            if let Some(Some(Grad::Whole(dx))) = of.next() {
                maps.push(dx);
            }
            grads.extend(of);
        }
        if b.need[0] {
            grads[0] = Some(Grad::Whole(self.rows(b.shapes[0], &maps)));
        }
        Ok(grads)
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        rows_device::forward(e, self, x)
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        rows_device::backward(e, self, b)
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
pub(crate) mod tests;
