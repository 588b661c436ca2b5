//! Rectifier with a ceiling: `y = min(max(x, 0), 6)`; `dx = dy` where `0 < y < 6`, else 0 (0 at both kinks). MobileNetV2 (Sandler et
//! al. 2018) has it; no searched network does, so it has no kernels and a device leaves it to the host.

use std::sync::Arc;

use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::host::{by_float, elementwise};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Shape, Tensor};

/// Largest value that passes.
const CEILING: f64 = 6.0;

/// The op; it has no parameters.
#[derive(Debug)]
pub struct Relu6;

/// `min(max(x, 0), 6)`, any shape.
///
/// # Errors
/// None of its own.
pub fn relu6(x: &Var) -> Result<Var> {
    x.tape().apply(Relu6, &[x])
}

impl Reference for Relu6 {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        x[0].map(|v| match v.v() {
            low if low <= 0.0 => S::zero(),
            high if high >= CEILING => S::c(CEILING),
            _ => v,
        })
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let mut dx = dy.clone();
        for (d, x) in dx.data.iter_mut().zip(&x[0].data) {
            if x.v() <= 0.0 || x.v() >= CEILING {
                *d = S::zero();
            }
        }
        vec![Some(dx)]
    }
}

/// Elements a thread takes at a time.
const PIECE: usize = 1 << 14;

impl Op for Relu6 {
    fn name(&self) -> &'static str {
        "relu6"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        Ok(x[0])
    }

    fn saves(&self) -> Saves {
        Saves::OUTPUT
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let mut y = Buffer::scratch(x.dtype(), x.numel());
        by_float!(x.dtype(), T => {
            let (x, ceiling) = (x.data::<T>(), <T as Scalar>::c(CEILING));
            for_pieces(y.values_mut::<T>(), PIECE, x.len(), |i, y| {
                elementwise::clip_relu(ceiling, &x[i * PIECE..][..y.len()], y);
            });
        });
        Ok(Tensor::from_buffer(*x.shape(), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let y = b.y.expect("saved");
        let mut dx = Buffer::scratch(y.dtype(), y.numel());
        by_float!(y.dtype(), T => {
            let (y, dy, ceiling) = (y.data::<T>(), b.dy.data::<T>(), <T as Scalar>::c(CEILING));
            for_pieces(dx.values_mut::<T>(), PIECE, y.len(), |i, dx| {
                let r = i * PIECE..i * PIECE + dx.len();
                elementwise::clip_relu_bwd(ceiling, &y[r.clone()], &dy[r], dx);
            });
        });
        Ok(vec![Some(Grad::Whole(Tensor::from_buffer(*y.shape(), dx)))])
    }

    crate::reference_path!();

    fn elementwise(&self, _x: &[Shape], y: &Shape) -> Elementwise {
        Elementwise {
            relu: y.numel() as u64,
            ..Elementwise::default()
        }
    }

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        Some(g.node(Kind::Relu6, x, y))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "relu6",
    case: |g| {
        let s = g.map_shape();
        // About every fifth value is above the ceiling; none is near a kink.
        let mut x = g.off_zero(s);
        for v in x.data_mut::<f64>() {
            *v *= 6.0;
            if (*v - CEILING).abs() < 0.1 {
                *v += 0.3;
            }
        }
        Case {
            op: Arc::new(Relu6),
            x: vec![x],
        }
    },
    refusals: Vec::<Refusal>::new,
    planted: &[
        FACTOR,
        Planted {
            what: "passes the gradient above the ceiling",
            spoil: |c, dy, g| {
                let (x, dy) = (c.x[0].f64s().to_vec(), dy.f64s().to_vec());
                let Some(t) = &mut g[0] else { return false };
                let mut hit = false;
                for ((d, x), dy) in t.data_mut::<f64>().iter_mut().zip(x).zip(dy) {
                    if x > CEILING {
                        hit |= dy != 0.0;
                        *d = dy;
                    }
                }
                hit
            },
        },
    ],
};
