//! Some channels of a tensor: `y = x[:, start..start + channels]`; `dx` is `dy` there and 0 elsewhere.

use std::sync::Arc;

use super::on_device::{Part, copy_part};
use super::reference::{Arr, Reference};
use super::shape_rules::{has_dim, refuse, split, with_dim};
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::host::by_float;
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};

/// The op: the channels `start..start + channels`.
#[derive(Debug, Clone)]
pub struct Slice {
    /// First channel taken.
    pub start: usize,
    /// Number of channels taken.
    pub channels: usize,
}

/// Channels (dimension 1) `start..start + channels` of a tensor of rank 2 or more.
///
/// # Errors
/// [`crate::Code::Shape`] when the tensor does not have these channels.
pub fn slice(x: &Var, start: usize, channels: usize) -> Result<Var> {
    x.tape().apply(Slice { start, channels }, &[x])
}

impl Reference for Slice {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let v = split(&x[0].shape, 1);
        let mut y = Arr::zeros(with_dim(&x[0].shape, 1, self.channels));
        let row = self.channels * v.inner;
        for i in 0..y.data.len() {
            y.data[i] = x[0].data[i / row * v.row() + self.start * v.inner + i % row];
        }
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let v = split(&x[0].shape, 1);
        let mut dx = Arr::zeros(x[0].shape);
        let row = self.channels * v.inner;
        for (i, &g) in dy.data.iter().enumerate() {
            dx.data[i / row * v.row() + self.start * v.inner + i % row] = g;
        }
        vec![Some(dx)]
    }
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        has_dim(self.name(), &x[0], 1)?;
        let end = self.start.saturating_add(self.channels);
        if end > x[0].dims()[1] {
            let text = format!("channels {}..{end} of {}", self.start, x[0]);
            return Err(refuse(self.name(), text));
        }
        Ok(with_dim(&x[0], 1, self.channels))
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let v = split(x[0].shape(), 1);
        let shape = with_dim(x[0].shape(), 1, self.channels);
        if shape == *x[0].shape() {
            return Ok(x[0].clone().into());
        }
        let mut y = Buffer::scratch(x[0].dtype(), shape.numel());
        let (row, from) = (self.channels * v.inner, self.start * v.inner);
        by_float!(x[0].dtype(), T => {
            let rows = y.values_mut::<T>().chunks_mut(row.max(1));
            for (y, x) in rows.zip(x[0].data::<T>().chunks(v.row().max(1))) {
                y.copy_from_slice(&x[from..from + row]);
            }
        });
        Ok(Tensor::from_buffer(shape, y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        Ok(vec![Some(Grad::Channels {
            start: self.start,
            dx: b.dy.clone(),
        })])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let (start, channels) = (self.start, self.channels);
        Some(g.node(Kind::Slice { start, channels }, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let x = &x[0];
        let shape = with_dim(x.shape(), 1, self.channels);
        if shape == *x.shape() {
            return Ok(Some(x.clone().into()));
        }
        if ![DType::F32, DType::Bf16].contains(&x.dtype()) {
            return Ok(None);
        }
        let v = split(x.shape(), 1);
        let mut y = Tensor::scratch_on(e, shape, x.dtype())?;
        let from = Part {
            whole: v.row(),
            start: self.start * v.inner,
        };
        let part = self.channels * v.inner;
        let to = Part {
            whole: part,
            start: 0,
        };
        copy_part(e, x, from, &mut y, to, part)?;
        Ok(Some(y.into()))
    }

    fn backward_device(&self, _e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        self.backward(b).map(Some)
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "slice",
    case: |g| {
        let s = g.map_shape();
        let start = g.int(0, s[1] - 1);
        let channels = g.int(1, s[1] - start);
        Case {
            op: Arc::new(Slice { start, channels }),
            x: vec![g.normal(s)],
        }
    },
    refusals: || {
        vec![
            Refusal {
                op: Arc::new(Slice {
                    start: 2,
                    channels: 3,
                }),
                shapes: vec![[1, 4, 2, 2].into()],
                expect: "slice: channels 2..5 of (1, 4, 2, 2)",
            },
            Refusal {
                op: Arc::new(Slice {
                    start: 0,
                    channels: 1,
                }),
                shapes: vec![[4].into()],
                expect: "slice: (4) has no dimension 1",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "one element too far",
            spoil: |_, _, g| {
                let Some(dx) = g[0].as_mut() else {
                    return false;
                };
                let before = dx.f64s().to_vec();
                dx.data_mut::<f64>().rotate_right(1);
                before != dx.f64s()
            },
        },
    ],
};
