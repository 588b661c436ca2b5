//! Concatenation along dimension 1: channels of maps, rows of `(N, rows, values)`. The gradient is cut the same way.

use std::sync::Arc;

use super::on_device::one_type;
use super::reference::{Arr, Reference};
use super::shape_rules::{has_dim, refuse, same_but, split, with_dim};
use super::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::backend::engine::Slab;
use crate::backend::host::by_float;
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};

/// The op; it has no parameters.
#[derive(Debug, Clone)]
pub struct Concat;

/// The operands one after the other along dimension 1; they agree in every other dimension.
///
/// # Errors
/// [`crate::Code::Shape`] for no operand, rank below 2, or shapes that differ elsewhere.
pub fn concat(x: &[&Var]) -> Result<Var> {
    match x.first() {
        Some(first) => first.tape().apply(Concat, x),
        None => Err(refuse("concat", "no operand")),
    }
}

impl Reference for Concat {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let len = x.iter().map(|x| x.dim(1)).sum();
        let shape = with_dim(&x[0].shape, 1, len);
        let mut data = Vec::new();
        for n in 0..shape.dims()[0] {
            for x in x {
                let row = split(&x.shape, 1).row();
                data.extend_from_slice(&x.data[n * row..][..row]);
            }
        }
        Arr { shape, data }
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let mut dx: Vec<Arr<S>> = x.iter().map(|x| Arr::zeros(x.shape)).collect();
        let mut dy = dy.data.iter();
        for n in 0..x[0].dim(0) {
            for dx in &mut dx {
                let row = split(&dx.shape, 1).row();
                for (d, &g) in dx.data[n * row..][..row].iter_mut().zip(&mut dy) {
                    *d = g;
                }
            }
        }
        dx.into_iter().map(Some).collect()
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        has_dim(self.name(), &x[0], 1)?;
        for s in &x[1..] {
            same_but(self.name(), &x[0], s, 1)?;
        }
        let len = x.iter().map(|s| s.dims()[1]).sum();
        Ok(with_dim(&x[0], 1, len))
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let shape = self.infer(&shapes)?;
        let mut y = Buffer::scratch(x[0].dtype(), shape.numel());
        by_float!(x[0].dtype(), T => {
            let mut rest = y.values_mut::<T>();
            for n in 0..shape.dims()[0] {
                for x in x {
                    let row = split(x.shape(), 1).row();
                    let (head, tail) = rest.split_at_mut(row);
                    head.copy_from_slice(&x.data::<T>()[n * row..][..row]);
                    rest = tail;
                }
            }
        });
        Ok(Tensor::from_buffer(shape, y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let total = split(b.dy.shape(), 1).row();
        let mut from = 0;
        let mut grads = Vec::new();
        for (s, &need) in b.shapes.iter().zip(b.need) {
            let row = split(s, 1).row();
            grads.push(need.then(|| {
                let mut dx = Buffer::scratch(b.dy.dtype(), s.numel());
                by_float!(b.dy.dtype(), T => {
                    let rows = dx.values_mut::<T>().chunks_mut(row.max(1));
                    for (dx, dy) in rows.zip(b.dy.data::<T>().chunks(total.max(1))) {
                        dx.copy_from_slice(&dy[from..from + row]);
                    }
                });
                Grad::Whole(Tensor::from_buffer(*s, dx))
            }));
            from += row;
        }
        Ok(grads)
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        Some(g.node(Kind::Concat, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        if !on_device(x) {
            return Ok(None);
        }
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let shape = self.infer(&shapes)?;
        Ok(Some(joined(e, x, &shape)?.into()))
    }

    fn backward_device(&self, _e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let there = on_device(std::slice::from_ref(b.dy));
        Ok(there.then(|| cut(b.dy, b.shapes, b.need)))
    }
}

/// Whether kernels join these, or sum them.
pub(super) fn on_device(x: &[Tensor]) -> bool {
    [DType::F32, DType::Bf16].contains(&x[0].dtype()) && one_type(x)
}

/// The concatenation, `shape`, in one launch.
fn joined(e: Engine, x: &[Tensor], shape: &Shape) -> Result<Tensor> {
    let (mut terms, mut to) = (vec![], 0);
    for x in x {
        let channels = x.dims()[1];
        let whole = Slab::whole(x.on(e)?, channels);
        terms.push(Slab { to, ..whole });
        to += channels;
    }
    let v = split(shape, 1);
    let y = e.sum([shape.dims()[0], v.len, v.inner], &terms)?;
    Ok(Tensor::from_device(*shape, y))
}

/// The gradients of operands of these shapes, within `dy`.
pub(super) fn cut(dy: &Tensor, shapes: &[Shape], need: &[bool]) -> Vec<Option<Grad>> {
    let mut next = 0;
    let mut grads = vec![];
    for (s, &need) in shapes.iter().zip(need) {
        let (start, dx) = (next, dy.clone());
        grads.push(need.then_some(Grad::Within { start, dx }));
        next += s.dims()[1];
    }
    grads
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "concat",
    case: |g| {
        let s = g.map_shape();
        let rank = g.pick(&[2, 3, 4, 4]);
        let parts = g.int(1, 4);
        let x = (0..parts)
            .map(|_| {
                let c = g.int(1, 5);
                g.normal(&[s[0], c, s[2], s[3]][..rank])
            })
            .collect();
        Case {
            op: Arc::new(Concat),
            x,
        }
    },
    refusals: || {
        vec![
            Refusal {
                op: Arc::new(Concat),
                shapes: vec![[1, 4, 2, 2].into(), [1, 4, 2, 3].into()],
                expect: "shapes may differ in dimension 1 only, got (1, 4, 2, 2) and (1, 4, 2, 3)",
            },
            Refusal {
                op: Arc::new(Concat),
                shapes: vec![[4].into()],
                expect: "concat: (4) has no dimension 1",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "gradient of the last operand too large by a factor 1.0005",
            spoil: |_, _, g| {
                let last = g.len() - 1;
                scale_gradient(g, last)
            },
        },
        Planted {
            what: "gradients of two operands of one shape swapped",
            spoil: |_, _, g| {
                for i in 1..g.len() {
                    let same = match (&g[0], &g[i]) {
                        (Some(a), Some(b)) => a.shape() == b.shape() && a != b,
                        _ => false,
                    };
                    if same {
                        g.swap(0, i);
                        return true;
                    }
                }
                false
            },
        },
    ],
};
