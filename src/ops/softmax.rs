//! Softmax over one dimension, max-stabilised: `y = e^x / sum e^x`; `dx = y (dy - sum y dy)`.

use std::sync::Arc;

use super::on_device;
use super::reference::{Arr, Reference};
use super::shape_rules::{Split, has_dim, split};
use super::table::{Case, Entry, FACTOR, Gen, Planted, Refusal};
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::backend::host::{by_float, softmax as kernel};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op: softmax over dimension `dim`.
#[derive(Debug, Clone)]
pub struct Softmax {
    /// The dimension.
    pub dim: usize,
}

/// Softmax over dimension `dim`, any shape.
///
/// # Errors
/// [`crate::Code::Shape`] when the tensor has no such dimension.
pub fn softmax(x: &Var, dim: usize) -> Result<Var> {
    x.tape().apply(Softmax { dim }, &[x])
}

/// The indices of each group of values that are normalised together.
pub(super) fn lines(v: Split) -> impl Iterator<Item = impl Iterator<Item = usize> + Clone> {
    (0..v.outer * v.inner).map(move |i| {
        let first = i / v.inner * v.row() + i % v.inner;
        (0..v.len).map(move |c| first + c * v.inner)
    })
}

impl Reference for Softmax {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let mut y = x[0].clone();
        for line in lines(split(&x[0].shape, self.dim)) {
            let max = line
                .clone()
                .map(|i| x[0].data[i].v())
                .fold(f64::NEG_INFINITY, f64::max);
            let mut sum = S::zero();
            for i in line.clone() {
                y.data[i] = (x[0].data[i] - S::c(max)).exp();
                sum += y.data[i];
            }
            for i in line {
                y.data[i] = y.data[i] / sum;
            }
        }
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let y = self.fwd(x);
        let mut dx = dy.clone();
        for line in lines(split(&dy.shape, self.dim)) {
            let mut sum = S::zero();
            for i in line.clone() {
                sum += y.data[i] * dy.data[i];
            }
            for i in line {
                dx.data[i] = y.data[i] * (dy.data[i] - sum);
            }
        }
        vec![Some(dx)]
    }
}

/// A kernel over the lines of `v`: `x` are the tensors it reads. Long lines that lie side by side go to a warp each.
pub(super) fn over_lines(e: Engine, kernel: Kernel, v: Split, x: &[&Tensor]) -> Result<Tensor> {
    over_lines_by(e, kernel, v, x, usize::MAX)
}

/// The same by so many threads at most, rounded up to a block: the lines that are left are theirs too.
fn over_lines_by(
    e: Engine,
    kernel: Kernel,
    v: Split,
    x: &[&Tensor],
    threads: usize,
) -> Result<Tensor> {
    let mut y = Tensor::scratch_on(e, *x[0].shape(), x[0].dtype())?;
    let lines = v.outer * v.inner;
    if y.numel() == 0 {
        return Ok(y);
    }
    let lanes = if v.inner < 32 && v.len >= 32 { 32 } else { 1 };
    let mut args = x.iter().map(|x| x.arg(e)).collect::<Result<Vec<Arg>>>()?;
    args.extend([
        y.arg_out(e)?,
        Arg::I64(lines as i64),
        Arg::I32(v.len as i32),
        Arg::I64(v.inner as i64),
        Arg::I32(lanes as i32),
    ]);
    e.launch(
        kernel,
        Launch::over((lines * lanes).min(threads), on_device::THREADS),
        &args,
    )?;
    Ok(y)
}

/// Elements a thread takes at a time: whole blocks.
pub(super) fn piece(v: Split) -> usize {
    v.row() * ((1 << 13) / v.row().max(1)).max(1)
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        has_dim(self.name(), &x[0], self.dim)?;
        Ok(x[0])
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUT
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let v = split(x.shape(), self.dim);
        let mut y = Buffer::scratch(x.dtype(), x.numel());
        by_float!(x.dtype(), T => {
            let x = x.data::<T>();
            let piece = piece(v);
            for_pieces(y.values_mut::<T>(), piece, 16 * x.len(), |i, y| {
                let mut lse = vec![0.0 as T; y.len() / v.len];
                kernel::softmax(&x[i * piece..][..y.len()], v.len, v.inner, y, &mut lse);
            });
        });
        Ok(Tensor::from_buffer(*x.shape(), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let y = b.y.expect("saved");
        let v = split(y.shape(), self.dim);
        let mut dx = Buffer::scratch(y.dtype(), y.numel());
        by_float!(y.dtype(), T => {
            let (y, dy) = (y.data::<T>(), b.dy.data::<T>());
            let piece = piece(v);
            for_pieces(dx.values_mut::<T>(), piece, 2 * y.len(), |i, dx| {
                let r = i * piece..i * piece + dx.len();
                kernel::softmax_bwd(&y[r.clone()], &dy[r], v.len, v.inner, dx);
            });
        });
        Ok(vec![Some(Grad::Whole(Tensor::from_buffer(*y.shape(), dx)))])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        // Dimension 0 holds the images.
        let axis = self.dim;
        (axis > 0).then(|| g.node(Kind::Softmax { axis }, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let x = &x[0];
        let Some(kernel) = on_device::pick(x.dtype(), k::SOFTMAX_F32, k::SOFTMAX_BF16) else {
            return Ok(None);
        };
        let y = over_lines(e, kernel, split(x.shape(), self.dim), &[x])?;
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let y = b.y.expect("saved");
        let kernel = on_device::pick(y.dtype(), k::SOFTMAX_BWD_F32, k::SOFTMAX_BWD_BF16);
        let Some(kernel) = kernel.filter(|_| b.dy.dtype() == y.dtype()) else {
            return Ok(None);
        };
        let dx = over_lines(e, kernel, split(y.shape(), self.dim), &[y, b.dy])?;
        Ok(Some(vec![Some(Grad::Whole(dx))]))
    }
}

/// An operand and the dimension of its lines: one in four has long lines that lie side by side, which kernels treat differently.
pub(super) fn operand(g: &mut Gen) -> (Tensor, usize) {
    let rank = g.int(1, 4);
    let (s, dim) = match g.rng.coin(0.25) {
        true => (vec![g.int(1, 3), g.int(32, 70), g.int(1, 3)], 1),
        false => (g.map_shape()[..rank].to_vec(), g.int(0, rank - 1)),
    };
    let mut x = g.normal(&s[..]);
    move_lines(g, &mut x, dim);
    (x, dim)
}

/// Moves each line, by a distance of its own, where `e^x` overflows: nothing but the stabilisation sees it.
pub(super) fn move_lines(g: &mut Gen, x: &mut Tensor, dim: usize) {
    let v = split(x.shape(), dim);
    for line in lines(v) {
        let by = g.pick(&[-200.0, 0.0, 200.0]);
        line.for_each(|i| x.data_mut::<f64>()[i] += by);
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "softmax",
    case: |g| {
        let (x, dim) = operand(g);
        Case {
            op: Arc::new(Softmax { dim }),
            x: vec![x],
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(Softmax { dim: 2 }),
            shapes: vec![[3, 4].into()],
            expect: "softmax: (3, 4) has no dimension 2",
        }]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "y dy without the sum",
            spoil: |c, dy, g| {
                let y = c.op.forward(&c.x).map(|o| o.y.to_f64()).unwrap_or_default();
                let Some(dx) = g[0].as_mut() else {
                    return false;
                };
                let before = dx.f64s().to_vec();
                for ((d, y), g) in dx.data_mut::<f64>().iter_mut().zip(y).zip(dy.f64s()) {
                    *d = y * g;
                }
                before != dx.f64s()
            },
        },
    ],
};

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::error::{Code, Error};
    use crate::rng::Rng;
    use crate::tape::{Cx, Tape};

    /// A block takes more lines than it has room for at a time, a warp or a thread each.
    pub(crate) fn more_lines_than_threads(e: Engine) -> Result<()> {
        let mut r = Rng::new(3, &[]);
        for dims in [[20, 40], [600, 3]] {
            let v = (0..dims[0] * dims[1]).map(|_| r.normal() as f32).collect();
            let x = Tensor::from_f32(dims, v)?;
            let v = split(x.shape(), 1);
            let [all, one] =
                [usize::MAX, 1].map(|threads| over_lines_by(e, k::SOFTMAX_F32, v, &[&x], threads));
            if all?.to_f64() != one?.to_f64() {
                let text = format!("lines of {dims:?} by one block");
                return Err(Error::new(Code::CheckFailed, text));
            }
        }
        Ok(())
    }

    #[test]
    fn few_threads_take_all_lines() {
        more_lines_than_threads(Engine::emulated(1)).unwrap();
    }

    #[test]
    fn large_values_do_not_overflow() {
        let tape = Tape::new(Cx::default());
        let x = tape.leaf(Tensor::from_f32([1, 3], vec![1e4, 1e4, -1e4]).unwrap());
        assert_eq!(softmax(&x, 1).unwrap().value().f32s(), &[0.5, 0.5, 0.0]);
    }
}
