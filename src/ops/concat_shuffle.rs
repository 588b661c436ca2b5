//! Concatenation of channels followed by a channel shuffle, in one copy: the end of a partial-channel mixed operation.
//! Equal bit for bit to [`super::concat()`] then [`super::channel_shuffle()`].

use std::sync::Arc;

use super::channel_shuffle::{ChannelShuffle, Part};
use super::concat::Concat;
use super::on_device::one_type;
use super::reference::{Arr, Reference};
use super::shape_rules::{refuse, split};
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::host::{by_float, rearrange::shuffled_from};
use crate::dual::Scalar;
use crate::error::Result;
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};

/// The op with its number of groups.
#[derive(Debug, Clone)]
pub struct ConcatShuffle {
    /// Groups of the shuffle; divides the channels of all operands together.
    pub groups: usize,
}

/// `channel_shuffle(concat(x), groups)`.
///
/// # Errors
/// [`crate::Code::Shape`] and [`crate::Code::Argument`] as the two ops.
pub fn concat_shuffle(x: &[&Var], groups: usize) -> Result<Var> {
    match x.first() {
        Some(first) => first.tape().apply(ConcatShuffle { groups }, x),
        None => Err(refuse("concat_shuffle", "no operand")),
    }
}

impl Reference for ConcatShuffle {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let shuffle = ChannelShuffle {
            groups: self.groups,
        };
        shuffle.fwd(&[Concat.fwd(x)])
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let shuffle = ChannelShuffle {
            groups: self.groups,
        };
        let mid = shuffle.bwd(&[], dy).pop().flatten().expect("one gradient");
        Concat.bwd(x, &mid)
    }
}

/// Where channel `c` of the concatenation lands in the shuffled output.
fn lands(c: usize, channels: usize, groups: usize) -> usize {
    shuffled_from(c, channels, channels / groups)
}

impl Op for ConcatShuffle {
    fn name(&self) -> &'static str {
        "concat_shuffle"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let shuffle = ChannelShuffle {
            groups: self.groups,
        };
        shuffle.infer(&[Concat.infer(x)?])
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let shape = self.infer(&shapes)?;
        let v = split(&shape, 1);
        let mut y = Buffer::scratch(x[0].dtype(), shape.numel());
        by_float!(x[0].dtype(), T => {
            let y = y.values_mut::<T>();
            let mut first = 0;
            for x in x {
                let u = split(x.shape(), 1);
                for (i, plane) in x.data::<T>().chunks(u.inner.max(1)).enumerate() {
                    let (n, c) = (i / u.len, i % u.len);
                    let to = n * v.row() + lands(first + c, v.len, self.groups) * v.inner;
                    y[to..to + v.inner].copy_from_slice(plane);
                }
                first += u.len;
            }
        });
        Ok(Tensor::from_buffer(shape, y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let v = split(b.dy.shape(), 1);
        let mut first = 0;
        let mut grads = Vec::new();
        for (s, &need) in b.shapes.iter().zip(b.need) {
            let u = split(s, 1);
            grads.push(need.then(|| {
                let mut dx = Buffer::scratch(b.dy.dtype(), s.numel());
                by_float!(b.dy.dtype(), T => {
                    let dy = b.dy.data::<T>();
                    for (i, plane) in dx.values_mut::<T>().chunks_mut(u.inner.max(1)).enumerate() {
                        let (n, c) = (i / u.len, i % u.len);
                        let from = n * v.row() + lands(first + c, v.len, self.groups) * v.inner;
                        plane.copy_from_slice(&dy[from..from + v.inner]);
                    }
                });
                Grad::Whole(Tensor::from_buffer(*s, dx))
            }));
            first += u.len;
        }
        Ok(grads)
    }

    crate::reference_path!();

    fn portable(&self, g: &mut Graph, x: &[Id], y: Shape) -> Option<Id> {
        let joined = g.node(Kind::Concat, x, y);
        let groups = self.groups;
        (y.rank() == 4).then(|| g.node(Kind::ChannelShuffle { groups }, &[joined], y))
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let maps = [DType::F32, DType::Bf16].contains(&x[0].dtype());
        if !maps || !one_type(x) {
            return Ok(None);
        }
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let shape = self.infer(&shapes)?;
        let mut y = Tensor::scratch_on(e, shape, x[0].dtype())?;
        let mut first = 0;
        for x in x {
            Part::of(x.shape(), shape.dims()[1], first, self.groups).write(e, x, &mut y)?;
            first += x.dims()[1];
        }
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let channels = b.dy.dims()[1];
        let mut first = 0;
        let mut grads = Vec::new();
        for (s, &need) in b.shapes.iter().zip(b.need) {
            let part = Part::of(s, channels, first, self.groups);
            first += s.dims()[1];
            grads.push(match need {
                true => match part.copy(e, b.dy, *s, true)? {
                    Some(dx) => Some(Grad::Whole(dx)),
                    None => return Ok(None),
                },
                false => None,
            });
        }
        Ok(Some(grads))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "concat_shuffle",
    case: |g| {
        let s = g.map_shape();
        let groups = g.pick(&[1, 2, 4]);
        let each = g.int(1, 3);
        // A first part of C / k channels and the rest, as partial channels give it.
        let parts = match groups {
            1 => vec![each],
            k => vec![each, (k - 1) * each],
        };
        Case {
            op: Arc::new(ConcatShuffle { groups }),
            x: parts
                .into_iter()
                .map(|c| g.normal([s[0], c, s[2], s[3]]))
                .collect(),
        }
    },
    refusals: || {
        vec![
            Refusal {
                op: Arc::new(ConcatShuffle { groups: 4 }),
                shapes: vec![[1, 2, 2, 2].into(), [1, 4, 2, 2].into()],
                expect: "channels of (1, 6, 2, 2) are not a multiple of 4",
            },
            Refusal {
                op: Arc::new(ConcatShuffle { groups: 2 }),
                shapes: vec![[1, 2, 2, 2].into(), [2, 2, 2, 2].into()],
                expect: "shapes may differ in dimension 1 only",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "not shuffled back",
            spoil: |c, dy, g| {
                let mut x: Vec<Arr<f64>> = Vec::new();
                for x_i in &c.x {
                    x.push(Arr::zeros(*x_i.shape()));
                }
                let dy = Arr {
                    shape: *dy.shape(),
                    data: dy.f64s().to_vec(),
                };
                let mut differs = false;
                for (g, wrong) in g.iter_mut().zip(Concat.bwd(&x, &dy)) {
                    let wrong =
                        wrong.map(|w| Tensor::from_buffer(w.shape, Buffer::from_slice(&w.data)));
                    differs |= *g != wrong;
                    *g = wrong;
                }
                differs
            },
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{channel_shuffle, concat};
    use crate::tape::{Cx, Tape};

    #[test]
    fn equals_the_two_ops() {
        let tape = Tape::new(Cx::default());
        let ramp = |c: usize, from: f32| {
            let v = (0..2 * c * 3).map(|i| from + i as f32).collect();
            tape.leaf(Tensor::from_f32([2, c, 1, 3], v).unwrap())
        };
        let (a, b) = (ramp(2, 0.0), ramp(6, 100.0));
        let fused = concat_shuffle(&[&a, &b], 4).unwrap();
        let composed = channel_shuffle(&concat(&[&a, &b]).unwrap(), 4).unwrap();
        assert_eq!(fused.value(), composed.value());
    }
}
