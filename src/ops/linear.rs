//! Fully connected layer: `y = x w^T + b` for `x (N, I)`, `w (O, I)`, `b (O)`; `dx = dy w`, `dw = dy^T x`, `db = sum_n dy`.

use std::sync::Arc;

use super::conv2d::device;
use super::reference::{Arr, Reference};
use super::shape_rules::refuse;
use super::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::backend::host::conv::ConvSizes;
use crate::backend::host::{by_float, elementwise};
use crate::backend::threads::{for_pieces, shards, tree_fold};
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op; operands are `x`, `w` and, optionally, `b`.
#[derive(Debug, Clone)]
pub struct Linear;

/// `x w^T + b`, shape `(N, O)`.
///
/// # Errors
/// [`crate::Code::Shape`] when the operands do not fit.
pub fn linear(x: &Var, w: &Var, b: Option<&Var>) -> Result<Var> {
    let mut operands = vec![x, w];
    operands.extend(b);
    x.tape().apply(Linear, &operands)
}

impl Reference for Linear {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let (n, i, o) = (x[0].dim(0), x[0].dim(1), x[1].dim(0));
        let mut y = Arr::zeros(Shape::from([n, o]));
        for r in 0..n {
            for c in 0..o {
                let mut s = x.get(2).map_or(S::zero(), |b| b.data[c]);
                for k in 0..i {
                    s += x[0].data[r * i + k] * x[1].data[c * i + k];
                }
                y.data[r * o + c] = s;
            }
        }
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let (n, i, o) = (x[0].dim(0), x[0].dim(1), x[1].dim(0));
        let mut g: Vec<Arr<S>> = x.iter().map(|x| Arr::zeros(x.shape)).collect();
        for r in 0..n {
            for c in 0..o {
                let d = dy.data[r * o + c];
                for k in 0..i {
                    g[0].data[r * i + k] += d * x[1].data[c * i + k];
                    g[1].data[c * i + k] += d * x[0].data[r * i + k];
                }
                if let Some(db) = g.get_mut(2) {
                    db.data[c] += d;
                }
            }
        }
        g.into_iter().map(Some).collect()
    }
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let (a, w) = (x[0].dims(), x[1].dims());
        let fits = a.len() == 2 && w.len() == 2 && a[1] == w[1];
        if !fits || x.get(2).is_some_and(|b| b.dims() != &w[..1]) {
            let got: Vec<String> = x.iter().map(|s| s.to_string()).collect();
            let text = format!("expected (N, I), (O, I) and (O), got {}", got.join(", "));
            return Err(refuse(self.name(), text));
        }
        Ok(Shape::from([a[0], w[0]]))
    }

    fn elementwise(&self, x: &[Shape], y: &Shape) -> Elementwise {
        Elementwise {
            add: if x.len() > 2 { y.numel() as u64 } else { 0 },
            ..Elementwise::default()
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let (n, i, o) = (x[0].dims()[0], x[0].dims()[1], x[1].dims()[0]);
        let mut y = Buffer::scratch(x[0].dtype(), n * o);
        by_float!(x[0].dtype(), T => {
            let (a, w) = (x[0].data::<T>(), x[1].data::<T>());
            let b = x.get(2).map(|b| b.data::<T>());
            for_pieces(y.values_mut::<T>(), o, n * i * o, |r, y| {
                for (c, y) in y.iter_mut().enumerate() {
                    let s = elementwise::dot(&a[r * i..][..i], &w[c * i..][..i]);
                    *y = b.map_or(s, |b| s + b[c]);
                }
            });
        });
        Ok(Tensor::from_buffer([n, o], y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (n, i, o) = (
            b.shapes[0].dims()[0],
            b.shapes[0].dims()[1],
            b.shapes[1].dims()[0],
        );
        let scratch = |k: usize| Buffer::zeros(b.dy.dtype(), b.shapes[k].numel());
        let done = |k: usize, g: Buffer| Some(Grad::Whole(Tensor::from_buffer(b.shapes[k], g)));
        let mut grads: Vec<Option<Grad>> = b.need.iter().map(|_| None).collect();
        by_float!(b.dy.dtype(), T => {
            let dy = b.dy.data::<T>();
            if b.need[0] {
                let (w, mut dx) = (b.input(1).data::<T>(), scratch(0));
                for_pieces(dx.values_mut::<T>(), i, n * i * o, |r, dx| {
                    for c in 0..o {
                        elementwise::axpy(dy[r * o + c], &w[c * i..][..i], dx);
                    }
                });
                grads[0] = done(0, dx);
            }
            if b.need[1] {
                let (x, mut dw) = (b.input(0).data::<T>(), scratch(1));
                for_pieces(dw.values_mut::<T>(), i, n * i * o, |c, dw| {
                    let parts = shards(n).map(|rows| {
                        let mut part = vec![0.0 as T; i];
                        for r in rows {
                            elementwise::axpy(dy[r * o + c], &x[r * i..][..i], &mut part);
                        }
                        part
                    });
                    let sum = tree_fold(parts.collect(), |mut a, b| {
                        elementwise::add_assign(&mut a, &b);
                        a
                    });
                    dw.copy_from_slice(&sum.unwrap_or_default());
                });
                grads[1] = done(1, dw);
            }
            if b.need.get(2) == Some(&true) {
                let mut db = scratch(2);
                for (c, d) in db.values_mut::<T>().iter_mut().enumerate() {
                    let parts = shards(n).map(|rows| rows.map(|r| dy[r * o + c]).sum::<T>());
                    *d = tree_fold(parts.collect(), |a, b| a + b).unwrap_or(0.0);
                }
                grads[2] = done(2, db);
            }
        });
        Ok(grads)
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        Some(g.node(Kind::Linear, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let s = pointwise(x[0].shape(), x[1].shape());
        device::apply(e, &s, false, x, [s.n, s.c_out].into())
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let s = pointwise(&b.shapes[0], &b.shapes[1]);
        device::gradients(e, &s, false, b)
    }
}

/// The layer as a convolution of maps of one pixel.
fn pointwise(x: &Shape, w: &Shape) -> ConvSizes {
    ConvSizes {
        n: x.dims()[0],
        c_in: x.dims()[1],
        h: 1,
        w: 1,
        c_out: w.dims()[0],
        ho: 1,
        wo: 1,
        k: 1,
        stride: 1,
        padding: 0,
        dilation: 1,
        groups: 1,
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "linear",
    case: |g| {
        let (n, i, o) = (g.int(1, 11), g.int(1, 70), g.int(1, g.side - 2));
        let mut x = vec![g.normal([n, i]), g.normal([o, i])];
        if g.rng.coin(0.7) {
            x.push(g.normal([o]));
        }
        Case {
            op: Arc::new(Linear),
            x,
        }
    },
    refusals: || {
        vec![
            Refusal {
                op: Arc::new(Linear),
                shapes: vec![[2, 3].into(), [5, 4].into()],
                expect: "expected (N, I), (O, I) and (O), got (2, 3), (5, 4)",
            },
            Refusal {
                op: Arc::new(Linear),
                shapes: vec![[2, 3].into(), [5, 3].into(), [3].into()],
                expect: "got (2, 3), (5, 3), (3)",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "dw too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 1),
        },
        Planted {
            what: "db misses the last row",
            spoil: |_, dy, g| {
                let Some(Some(db)) = g.get_mut(2) else {
                    return false;
                };
                let last = &dy.f64s()[dy.numel() - db.numel()..];
                for (d, l) in db.data_mut::<f64>().iter_mut().zip(last) {
                    *d -= l;
                }
                true
            },
        },
    ],
};
