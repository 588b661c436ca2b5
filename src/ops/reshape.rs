//! The same elements under another shape; the gradient under the old one.

use std::sync::Arc;

use super::on_device;
use super::reference::{Arr, Reference};
use super::shape_rules::refuse;
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// The op with its new shape.
#[derive(Debug, Clone)]
pub struct Reshape(pub Shape);

/// `x` viewed as `shape`, row-major; nothing is copied.
///
/// # Errors
/// [`crate::Code::Shape`] when the numbers of elements differ.
pub fn reshape(x: &Var, shape: impl Into<Shape>) -> Result<Var> {
    x.tape().apply(Reshape(shape.into()), &[x])
}

impl Reference for Reshape {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        Arr {
            shape: self.0,
            data: x[0].data.clone(),
        }
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        vec![Some(Arr {
            shape: x[0].shape,
            data: dy.data.clone(),
        })]
    }
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        if x[0].numel() != self.0.numel() {
            let text = format!("cannot view {} as {}", x[0], self.0);
            return Err(refuse(self.name(), text));
        }
        Ok(self.0)
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        Ok(x[0].reshape(self.0)?.into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        Ok(vec![Some(Grad::Whole(b.dy.reshape(b.shapes[0])?))])
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        // Others know it where images stay apart: their number may be open.
        let apart = y.rank() > 0 && g.shape(x[0]).dims().first() == y.dims().first();
        apart.then(|| g.node(Kind::Reshape, x, y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let y = x[0].reshape(self.0)?;
        // What is no map is stored in f32.
        let bf16 = y.dtype() == DType::Bf16 && self.0.rank() <= 1;
        let y = if bf16 { on_device::wide(e, &y)? } else { y };
        Ok(Some(y.into()))
    }

    fn backward_device(&self, _e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        self.backward(b).map(Some)
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "reshape",
    case: |g| {
        let s = g.map_shape();
        let to: Shape = match g.int(0, 2) {
            0 => [s[0], s[1] * s[2] * s[3]].into(),
            1 => [s[0] * s[1], s[2], s[3]].into(),
            _ => [s[0] * s[1] * s[2] * s[3]].into(),
        };
        Case {
            op: Arc::new(Reshape(to)),
            x: vec![g.normal(s)],
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(Reshape([5].into())),
            shapes: vec![[2, 3].into()],
            expect: "cannot view (2, 3) as (5)",
        }]
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
