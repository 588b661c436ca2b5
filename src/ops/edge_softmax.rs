//! Edge normalisation (PC-DARTS, Xu et al. 2020, section 3.3): softmax over each of several consecutive groups of a vector,
//! the incoming edges of each node. `dx = y (dy - sum y dy)` within a group.

use std::sync::Arc;

use super::reference::{Arr, Reference};
use super::shape_rules::refuse;
use super::softmaxes::device;
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::host::{by_float, softmax as kernel};
use crate::dual::Scalar;
use crate::error::Result;
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op: sizes of the groups in order.
#[derive(Debug, Clone)]
pub struct EdgeSoftmax {
    /// Sum to the number of values; 2, 3, 4, 5 in a cell with four nodes.
    pub sizes: Vec<usize>,
}

/// Softmax over each group of consecutive values of the vector `x`.
///
/// # Errors
/// [`crate::Code::Shape`] when `x` is not a vector as long as the sum of the sizes.
pub fn edge_softmax(x: &Var, sizes: &[usize]) -> Result<Var> {
    let op = EdgeSoftmax {
        sizes: sizes.to_vec(),
    };
    x.tape().apply(op, &[x])
}

impl EdgeSoftmax {
    /// Ranges of the groups.
    fn groups(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.sizes.iter().scan(0, |from, &n| {
            *from += n;
            Some(*from - n..*from)
        })
    }
}

impl Reference for EdgeSoftmax {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let mut y = x[0].clone();
        for r in self.groups() {
            let x = &x[0].data[r.clone()];
            let max = x.iter().map(|x| x.v()).fold(f64::NEG_INFINITY, f64::max);
            let mut sum = S::zero();
            for (y, &x) in y.data[r.clone()].iter_mut().zip(x) {
                *y = (x - S::c(max)).exp();
                sum += *y;
            }
            y.data[r].iter_mut().for_each(|y| *y = *y / sum);
        }
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let y = self.fwd(x);
        let mut dx = dy.clone();
        for r in self.groups() {
            let mut sum = S::zero();
            for i in r.clone() {
                sum += y.data[i] * dy.data[i];
            }
            for i in r {
                dx.data[i] = y.data[i] * (dy.data[i] - sum);
            }
        }
        vec![Some(dx)]
    }
}

impl Op for EdgeSoftmax {
    fn name(&self) -> &'static str {
        "edge_softmax"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let sum: usize = self.sizes.iter().sum();
        if x[0].dims() != [sum] || self.sizes.contains(&0) {
            let text = format!(
                "groups {:?}, none empty, need ({sum}), got {}",
                self.sizes, x[0]
            );
            return Err(refuse(self.name(), text));
        }
        Ok(x[0])
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUT
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let mut y = Buffer::scratch(x.dtype(), x.numel());
        by_float!(x.dtype(), T => {
            let (x, y) = (x.data::<T>(), y.values_mut::<T>());
            for r in self.groups() {
                kernel::softmax(&x[r.clone()], r.len(), 1, &mut y[r], &mut [0.0]);
            }
        });
        Ok(Tensor::from_buffer(*x.shape(), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let y = b.y.expect("saved");
        let mut dx = Buffer::scratch(y.dtype(), y.numel());
        by_float!(y.dtype(), T => {
            let (y, dy, dx) = (y.data::<T>(), b.dy.data::<T>(), dx.values_mut::<T>());
            for r in self.groups() {
                kernel::softmax_bwd(&y[r.clone()], &dy[r.clone()], r.len(), 1, &mut dx[r]);
            }
        });
        Ok(vec![Some(Grad::Whole(Tensor::from_buffer(*y.shape(), dx)))])
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let one = device::Read {
            x: &x[0],
            mask: None,
            sizes: &self.sizes,
        };
        let y = device::forward(e, &[one])?;
        Ok(y.map(|mut y| y.remove(0).into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let one = device::Made {
            y: b.y.expect("saved"),
            dy: b.dy,
            sizes: &self.sizes,
        };
        let dx = device::backward(e, &[one])?;
        Ok(dx.map(|dx| dx.into_iter().map(|dx| Some(Grad::Whole(dx))).collect()))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "edge_softmax",
    case: |g| {
        let sizes: Vec<usize> = match g.int(0, 2) {
            0 => vec![2, 3, 4, 5],
            _ => (0..g.int(1, 4)).map(|_| g.int(1, 6)).collect(),
        };
        let n: usize = sizes.iter().sum();
        Case {
            op: Arc::new(EdgeSoftmax { sizes }),
            x: vec![g.normal([n])],
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(EdgeSoftmax {
                sizes: vec![2, 3, 4, 5],
            }),
            shapes: vec![[13].into()],
            expect: "groups [2, 3, 4, 5], none empty, need (14), got (13)",
        }]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "the whole vector taken as one group",
            spoil: |c, dy, g| {
                let Ok(y) = c.op.forward(&c.x) else {
                    return false;
                };
                let sum: f64 = y.y.f64s().iter().zip(dy.f64s()).map(|(a, b)| a * b).sum();
                let Some(dx) = g[0].as_mut() else {
                    return false;
                };
                // One group is right as it is.
                if (y.y.f64s().iter().sum::<f64>() - 1.0).abs() < 1e-9 {
                    return false;
                }
                for ((d, y), g) in dx
                    .data_mut::<f64>()
                    .iter_mut()
                    .zip(y.y.f64s())
                    .zip(dy.f64s())
                {
                    *d = y * (g - sum);
                }
                true
            },
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{Cx, Tape};

    #[test]
    fn each_group_sums_to_one() {
        let tape = Tape::new(Cx::default());
        let v = (0..14).map(|i| (i as f64).sin()).collect();
        let x = tape.leaf(Tensor::from_f64([14], v).unwrap());
        let y = edge_softmax(&x, &[2, 3, 4, 5]).unwrap();
        let mut from = 0;
        for n in [2, 3, 4, 5] {
            let s: f64 = y.value().f64s()[from..from + n].iter().sum();
            assert!((s - 1.0).abs() < 1e-15);
            from += n;
        }
    }
}
