//! Softmax over consecutive stretches of several tensors, rows of a matrix or the groups of [`super::edge_softmax()`]: all mixing weights of a
//! network. On a device one launch forward and one backward for up to sixteen; elsewhere the ops that they are made of, in their bits.

pub(super) mod device;

use crate::error::Result;
use crate::ops::add::Add;
use crate::ops::edge_softmax::EdgeSoftmax;
use crate::ops::shape_rules::{refuse, same};
use crate::tape::{Aside, Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Engine, Shape, Tensor};

const NAME: &str = "softmaxes";

/// Tensors of a launch (`SOFTMAX_VECTORS` of softmax.cu).
const VECTORS: usize = 16;

/// A tensor, taken as a vector, and its stretches.
#[derive(Debug, Clone)]
pub struct Stretches {
    /// Of any shape.
    pub x: Var,
    /// Added to it first: a constant of its shape, which gets no gradient.
    pub mask: Option<Var>,
    /// Lengths of the stretches, one behind the other.
    pub sizes: Vec<usize>,
}

/// One tensor of the op.
#[derive(Debug)]
struct One {
    masked: bool,
    softmax: EdgeSoftmax,
}

/// The op. Operands: the first tensor and its mask, where it has one, the second, ... Saves all results.
#[derive(Debug)]
struct Softmaxes {
    all: Vec<One>,
    further: Aside,
}

/// The softmax of each.
///
/// # Errors
/// [`crate::Code::Shape`] when a tensor has not as many values as its stretches, a stretch none, or a mask is of another shape.
pub fn softmaxes(all: &[Stretches]) -> Result<Vec<Var>> {
    let mut results = vec![];
    for all in all.chunks(VECTORS) {
        let one = |s: &Stretches| One {
            masked: s.mask.is_some(),
            softmax: EdgeSoftmax {
                sizes: s.sizes.clone(),
            },
        };
        let op = Softmaxes {
            all: all.iter().map(one).collect(),
            further: Aside::default(),
        };
        let x: Vec<&Var> = (all.iter())
            .flat_map(|s| [&s.x].into_iter().chain(&s.mask))
            .collect();
        results.extend(x[0].tape().apply_many(op, &x, all.len())?.0);
    }
    Ok(results)
}

impl Softmaxes {
    /// Each tensor with the place of its operand; a mask follows it.
    fn each(&self) -> impl Iterator<Item = (usize, &One)> {
        self.all.iter().scan(0, |next, one| {
            let at = *next;
            *next += 1 + usize::from(one.masked);
            Some((at, one))
        })
    }
}

impl Op for Softmaxes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        for (at, one) in self.each() {
            let sizes = &one.softmax.sizes;
            let sum: usize = sizes.iter().sum();
            if x[at].numel() != sum || sizes.contains(&0) {
                let text = format!(
                    "stretches {sizes:?}, none empty, need {sum} values, got {}",
                    x[at]
                );
                return Err(refuse(NAME, text));
            }
            if one.masked {
                same(NAME, &x[at], &x[at + 1])?;
            }
        }
        Ok(x[0])
    }

    fn infer_result(&self, result: usize, x: &[Shape]) -> Result<Shape> {
        let (at, _) = self.each().nth(result).expect("a result of each tensor");
        Ok(x[at])
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let of = |(at, one): (usize, &One)| {
            let x = match one.masked {
                true => Add.forward(&x[at..=at + 1])?.y,
                false => x[at].clone(),
            };
            Ok(one.softmax.forward(&[x])?.y)
        };
        let all = self.each().map(of).collect::<Result<Vec<_>>>()?;
        Ok(self.output(all))
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let mut grads: Vec<Option<Grad>> = b.need.iter().map(|_| None).collect();
        for (i, (at, one)) in self.each().enumerate() {
            let [dy] = &b.terms[i][..] else {
                continue;
            };
            let own = one.softmax.backward(&Backward {
                x: &[None],
                shapes: &b.shapes[at..=at],
                y: Some(&b.saved[i]),
                saved: &[],
                dy,
                terms: &[],
                so_far: &[],
                need: &b.need[at..=at],
            })?;
            grads[at] = own.into_iter().next().flatten();
        }
        Ok(grads)
    }

    fn aside(&self) -> Option<&Aside> {
        Some(&self.further)
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let read: Vec<device::Read> = (self.each())
            .map(|(at, one)| device::Read {
                x: &x[at],
                mask: one.masked.then(|| &x[at + 1]),
                sizes: &one.softmax.sizes,
            })
            .collect();
        Ok(device::forward(e, &read)?.map(|all| self.output(all)))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let (mut asked, mut made) = (vec![], vec![]);
        for (i, (at, one)) in self.each().enumerate() {
            if let (true, [dy]) = (b.need[at], &b.terms[i][..]) {
                asked.push(at);
                made.push(device::Made {
                    y: &b.saved[i],
                    dy,
                    sizes: &one.softmax.sizes,
                });
            }
        }
        let Some(dx) = device::backward(e, &made)? else {
            return Ok(None);
        };
        let mut grads: Vec<Option<Grad>> = b.need.iter().map(|_| None).collect();
        for (at, dx) in asked.into_iter().zip(dx) {
            grads[at] = Some(Grad::Whole(dx));
        }
        Ok(Some(grads))
    }
}

impl Softmaxes {
    fn output(&self, mut all: Vec<Tensor>) -> Output {
        let saved = all.clone();
        let y = all.remove(0);
        self.further.put(all);
        Output { y, saved }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
