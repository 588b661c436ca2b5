//! Concatenation along dimension 1 with its rectified twin: what a cell hands on, and what the next ones read. On a device one launch
//! makes both, and one adds the gradients of both.

use std::sync::Arc;

use super::concat::{self, Concat};
use super::reference::{self, Arr, Reference};
use super::relu::Relu;
use super::shape_rules::refuse;
use super::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::backend::engine::{Beside, Slab};
use crate::backend::host::elementwise::add_into;
use crate::dual::{Dual, Scalar};
use crate::error::Result;
use crate::rounding::Bounded;
use crate::tape::{Aside, Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{DeviceBuffer, Engine, Shape, Tensor};

/// The op. Its result is the concatenation; the second of the pair is that rectified.
#[derive(Debug, Default)]
pub struct ConcatRelu {
    rectified: Aside,
}

/// `[concat(x), max(concat(x), 0)]`.
///
/// # Errors
/// As [`super::concat()`].
pub fn concat_relu(x: &[&Var]) -> Result<[Var; 2]> {
    match x.first() {
        Some(first) => {
            let (y, _) = first.tape().apply_many(ConcatRelu::default(), x, 2)?;
            Ok(y.try_into().expect("two results"))
        }
        None => Err(refuse("concat_relu", "no operand")),
    }
}

impl ConcatRelu {
    /// Keeps the second result for the record of its own, and for the backward.
    fn with(&self, y: Tensor, rectified: Tensor) -> Output {
        let saved = vec![rectified.clone()];
        self.rectified.put(vec![rectified]);
        Output { y, saved }
    }

    /// By the ops that it is made of.
    fn forward_by(
        &self,
        x: &[Tensor],
        concat: fn(&Concat, &[Tensor]) -> Result<Output>,
        relu: fn(&Relu, &[Tensor]) -> Result<Output>,
    ) -> Result<Output> {
        let y = concat(&Concat, x)?.y;
        let rectified = relu(&Relu, std::slice::from_ref(&y))?.y;
        Ok(self.with(y, rectified))
    }
}

impl Reference for ConcatRelu {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        Concat.fwd(x)
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        Concat.bwd(x, dy)
    }
}

impl Op for ConcatRelu {
    fn name(&self) -> &'static str {
        "concat_relu"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        Concat.infer(x)
    }

    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        self.forward_by(x, Concat::forward, Relu::forward)
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let mut sum: Option<Tensor> = None;
        for dy in &b.terms[0] {
            match &mut sum {
                Some(sum) => add_into(sum, dy),
                None => sum = Some(dy.clone()),
            }
        }
        let rectified = b.saved[0].cast(b.dy.dtype());
        for dy in b.terms.iter().skip(1).flatten() {
            let own = Backward {
                x: &[None],
                shapes: &[*rectified.shape()],
                y: Some(&rectified),
                saved: &[],
                dy,
                terms: &[vec![dy.clone()]],
                need: &[true],
            };
            if let Some(Some(Grad::Whole(dx))) = Relu.backward(&own)?.pop() {
                match &mut sum {
                    Some(sum) => add_into(sum, &dx),
                    None => sum = Some(dx),
                }
            }
        }
        let dy = sum.expect("a gradient of one of both");
        let own = Backward {
            dy: &dy,
            terms: &[vec![dy.clone()]],
            saved: &[],
            ..*b
        };
        Concat.backward(&own)
    }

    fn forward_dual(&self, x: &[(Shape, Vec<Dual>)]) -> Option<Vec<Dual>> {
        reference::forward_over(self, x)
    }

    fn forward_bounded(&self, x: &[(Shape, Vec<Bounded>)]) -> Option<Vec<Bounded>> {
        reference::forward_over(self, x)
    }

    fn backward_bounded(
        &self,
        x: &[(Shape, Vec<Bounded>)],
        dy: &(Shape, Vec<Bounded>),
    ) -> Option<Vec<Option<Vec<Bounded>>>> {
        reference::backward_over(self, x, dy)
    }

    fn forward_reference(&self, x: &[Tensor]) -> Result<Output> {
        self.forward_by(x, Concat::forward_reference, Relu::forward_reference)
    }

    fn aside(&self) -> Option<&Aside> {
        Some(&self.rectified)
    }

    fn takes_terms(&self) -> bool {
        true
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        if !concat::on_device(x) {
            return Ok(None);
        }
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let shape = self.infer(&shapes)?;
        let rectified = DeviceBuffer::scratch(e, x[0].dtype(), shape.numel())?;
        let beside = Beside {
            rectified: Some(&rectified),
            mask: None,
        };
        let y = concat::joined(e, x, &shape, beside)?;
        let rectified = Tensor::from_device(shape, rectified);
        Ok(Some(self.with(y, rectified)))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let (shape, terms) = (*b.dy.shape(), b.terms.concat());
        let one_type = terms.iter().all(|t| t.dtype() == b.saved[0].dtype());
        if !concat::on_device(&terms) || !one_type {
            return Ok(None);
        }
        let first = b.terms[0].len();
        let dy = match &terms[..] {
            [one] if first == 1 => one.clone(),
            _ => {
                let mut slabs = vec![];
                for t in &terms {
                    slabs.push(Slab::whole(t.on(e)?, 1));
                }
                let beside = Beside {
                    rectified: None,
                    mask: Some((b.saved[0].on(e)?, first)),
                };
                let sum = e.sum_beside([1, 1, shape.numel()], &slabs, beside)?;
                Tensor::from_device(shape, sum)
            }
        };
        Ok(Some(concat::cut(&dy, b.shapes, b.need)))
    }
}

/// Registry entry: of the concatenation; a test holds both results against the ops that they are.
pub static ENTRY: Entry = Entry {
    name: "concat_relu",
    case: |g| {
        let case = (concat::ENTRY.case)(g);
        Case {
            op: Arc::new(ConcatRelu::default()),
            ..case
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(ConcatRelu::default()),
            shapes: vec![[1, 4, 2, 2].into(), [1, 4, 2, 3].into()],
            expect: "shapes may differ in dimension 1 only, got (1, 4, 2, 2) and (1, 4, 2, 3)",
        }]
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
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;
    use crate::rng::Rng;
    use crate::tape::{Cx, Path, Tape};
    use crate::tensor::DType;

    /// Both results and the gradients of two operands; `readers` operations read each.
    fn run(path: Path, dtype: DType, pair: bool, readers: [usize; 2]) -> Vec<Tensor> {
        let tape = Tape::new(Cx {
            path,
            ..Cx::default()
        });
        let mut r = Rng::new(2, &[]);
        let mut draw = |shape: [usize; 4]| {
            let v = (0..shape.iter().product())
                .map(|_| r.normal() as f32)
                .collect();
            Tensor::from_f32(shape, v).unwrap().cast(dtype)
        };
        let x = [[2, 3, 4, 4], [2, 2, 4, 4]].map(|s| tape.param(draw(s)));
        let both = match pair {
            true => concat_relu(&[&x[0], &x[1]]).unwrap(),
            false => {
                let y = ops::concat(&[&x[0], &x[1]]).unwrap();
                let rectified = ops::relu(&y).unwrap();
                [y, rectified]
            }
        };
        let mut loss: Option<Var> = None;
        for (y, n) in both.iter().zip(readers) {
            for _ in 0..n {
                let by = tape.leaf(draw([2, 5, 4, 4]));
                let part = ops::sum(&ops::mul(y, &by).unwrap()).unwrap();
                loss = Some(match loss {
                    Some(l) => ops::add(&l, &part).unwrap(),
                    None => part,
                });
            }
        }
        let mut grads = tape.backward(&loss.unwrap()).unwrap();
        let mut all = both.map(|v| v.value().clone()).to_vec();
        all.extend(x.iter().map(|x| grads.take(x).unwrap()));
        all
    }

    #[test]
    fn both_results_are_those_of_the_two_ops() {
        let e = Engine::emulated(2);
        for dtype in [DType::F32, DType::Bf16] {
            let round = if dtype == DType::Bf16 {
                1.0 / 64.0
            } else {
                1e-5
            };
            for readers in [[1, 0], [0, 2], [2, 3], [9, 9]] {
                let want = run(Path::Fast, dtype, false, readers);
                for path in [Path::Device(e), Path::Fast, Path::Reference] {
                    for (got, want) in run(path, dtype, true, readers).iter().zip(&want) {
                        assert_eq!((got.shape(), got.dtype()), (want.shape(), want.dtype()));
                        for (g, w) in got.to_f64().into_iter().zip(want.to_f64()) {
                            let far = round * w.abs().max(4.0);
                            assert!((g - w).abs() <= far, "{path:?} {readers:?}: {g} {w}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_pair_saves_the_rectifiers_launches() {
        let e = Engine::emulated(1);
        let launches = |pair| {
            let before = e.counts().launches;
            run(Path::Device(e), DType::F32, pair, [1, 2]);
            e.counts().launches - before
        };
        // The rectifier, its gradient, the sum of its readers' gradients.
        assert_eq!(launches(false) - launches(true), 3);
    }
}
