//! Drop path (Larsson et al. 2017; DARTS trains its derived networks with it): whole images of the batch become 0 with
//! probability p, the others are divided by `1 - p`. `dx` is `dy` times the same factor.

use std::sync::Arc;

use super::dropout::{DRAW, MASK_FORGOTTEN, check_probability, drawn, of_operands, with_draw};
use super::on_device::{self, THREADS};
use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Refusal};
use crate::backend::driver::{self as k, Arg, Launch};
use crate::backend::host::{by_float, elementwise};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::Result;
use crate::rng::Rng;
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op with its probability and the key of its mask.
#[derive(Debug, Clone)]
pub struct DropPath {
    /// Probability that an image becomes 0, in 0..1.
    pub p: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Path of the stream: stage, step, place in the network.
    pub path: Vec<u64>,
}

/// Drops the path for random images (dimension 0), in training; do not call it in evaluation.
///
/// # Errors
/// [`crate::Code::Argument`] unless p is in 0..1.
pub fn drop_path(x: &Var, op: DropPath) -> Result<Var> {
    x.tape().apply(op, &[x])
}

/// [`drop_path`] on a device, drawn as [`super::dropout_drawn`] draws.
///
/// # Errors
/// As there.
pub fn drop_path_drawn(x: &Var, op: DropPath, draw: &Var) -> Result<Var> {
    x.tape().apply(op, &[x, draw])
}

impl DropPath {
    /// The factor of image `n`.
    fn factor(&self, n: usize) -> f64 {
        let path: Vec<u64> = self.path.iter().copied().chain([n as u64]).collect();
        if Rng::new(self.seed, &path).coin(self.p) {
            0.0
        } else {
            1.0 / (1.0 - self.p)
        }
    }

    fn masked<S: Scalar>(&self, x: &Arr<S>) -> Arr<S> {
        let mut y = x.clone();
        let row = image(&x.shape);
        for (n, y) in y.data.chunks_mut(row.max(1)).enumerate() {
            let m = S::c(self.factor(n));
            y.iter_mut().for_each(|y| *y = m * *y);
        }
        y
    }
}

/// Elements of one image.
fn image(s: &Shape) -> usize {
    s.dims().iter().skip(1).product()
}

impl Reference for DropPath {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        self.masked(&x[0])
    }

    fn bwd<S: Scalar>(&self, _x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        vec![Some(self.masked(dy))]
    }
}

impl Op for DropPath {
    fn name(&self) -> &'static str {
        "drop_path"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        check_probability(self.name(), self.p)?;
        Ok(x[0])
    }

    fn saves(&self) -> Saves {
        DRAW
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let row = image(x.shape());
        let mut y = Buffer::scratch(x.dtype(), x.numel());
        by_float!(x.dtype(), T => {
            let x = x.data::<T>();
            for_pieces(y.values_mut::<T>(), row, x.len(), |n, y| {
                elementwise::scale(T::c(self.factor(n)), &x[n * row..][..row], y);
            });
        });
        Ok(Tensor::from_buffer(*x.shape(), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let dx = self.forward(std::slice::from_ref(b.dy))?.y;
        Ok(of_operands(b, dx))
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let (draw, x) = (x.get(1), &x[0]);
        let kernel = on_device::pick(x.dtype(), k::DROP_PATH_F32, k::DROP_PATH_BF16);
        let drawn = drawn(e, draw, (self.seed, &self.path), [0.0, self.p])?;
        let (Some(kernel), Some((_words, [words, which]))) = (kernel, drawn) else {
            return Ok(None);
        };
        let (n, row) = (x.numel(), image(x.shape()));
        let mut y = Tensor::scratch_on(e, *x.shape(), x.dtype())?;
        if n > 0 {
            let images = n / row;
            let args = [
                x.arg(e)?,
                y.arg_out(e)?,
                words,
                which,
                Arg::I64(images as i64),
                Arg::I64(row as i64),
            ];
            let across = Launch::over(row.div_ceil(4), THREADS).grid[0];
            let grid = [across, images.min(65535) as u32, 1];
            e.launch(kernel, Launch::new(grid, [THREADS, 1, 1]), &args)?;
        }
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let dx = self.forward_device(e, &with_draw(b))?;
        Ok(dx.map(|dx| of_operands(b, dx.y)))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "drop_path",
    case: |g| {
        let s = g.map_shape();
        let n = g.int(1, 6);
        Case {
            op: Arc::new(DropPath {
                p: g.pick(&[0.0, 0.2, 0.5]),
                seed: g.rng.u64(),
                path: vec![g.rng.u64()],
            }),
            x: vec![g.normal([n, s[1], s[2], s[3]])],
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(DropPath {
                p: -0.1,
                seed: 0,
                path: vec![],
            }),
            shapes: vec![[3].into()],
            expect: "drop_path: the probability must be in 0..1, got -0.1",
        }]
    },
    planted: &[FACTOR, MASK_FORGOTTEN],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_dropped_whole() {
        let op = DropPath {
            p: 0.4,
            seed: 1,
            path: vec![7],
        };
        let y = op.masked(&Arr {
            shape: [2000, 3].into(),
            data: vec![1.0; 6000],
        });
        assert!(y.data.chunks(3).all(|r| r[0] == r[1] && r[1] == r[2]));
        let dropped = y.data.chunks(3).filter(|r| r[0] == 0.0).count();
        assert!((700..900).contains(&dropped), "{dropped}");
    }
}
