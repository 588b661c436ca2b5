//! The node as the composition of primitive operations: its definition, for every scalar.

use super::plan::{Plan, Unit};
use super::{Candidate, MixedNode};
use crate::backend::host::rearrange::shuffled_from;
use crate::dual::Scalar;
use crate::error::Result;
use crate::ops::batch_norm::{BatchNorm, BatchNormParams};
use crate::ops::conv2d::{Conv2d, Conv2dParams};
use crate::ops::reference::{Arr, Reference};
use crate::ops::relu::Relu;
use crate::ops::subsample::Subsample;
use crate::tensor::{Shape, Tensor};

/// One primitive operation of a candidate; a convolution with the operand that is its weight.
enum Step {
    Relu,
    Conv(Conv2d, usize),
    Norm(BatchNorm),
    /// The two pointwise convolutions of a factorised reduction, of every second row and column and of those between them.
    Reduce(usize),
}

const TAKEN: [Subsample; 2] = [
    Subsample {
        stride: 2,
        offset: 0,
    },
    Subsample {
        stride: 2,
        offset: 1,
    },
];

impl Step {
    fn fwd<S: Scalar>(&self, all: &[Arr<S>], x: &Arr<S>) -> Arr<S> {
        match self {
            Step::Relu => Relu.fwd(std::slice::from_ref(x)),
            Step::Conv(conv, w) => conv.fwd(&[x.clone(), all[*w].clone()]),
            Step::Norm(norm) => norm.fwd(std::slice::from_ref(x)),
            Step::Reduce(w) => {
                let [first, second] = [0, 1].map(|i| {
                    let taken = TAKEN[i].fwd(std::slice::from_ref(x));
                    pointwise().fwd(&[taken, all[w + i].clone()])
                });
                let mut y = Arr::zeros(wider(&first));
                add(&mut y, 0, S::c(1.0), &first);
                add(&mut y, first.dim(1), S::c(1.0), &second);
                y
            }
        }
    }

    /// Its first operand besides the map, where it has some.
    fn weights(&self) -> Option<usize> {
        match self {
            Step::Conv(_, w) | Step::Reduce(w) => Some(*w),
            Step::Relu | Step::Norm(_) => None,
        }
    }

    /// Gradients of `x` and of the weights.
    fn bwd<S: Scalar>(&self, all: &[Arr<S>], x: &Arr<S>, dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        match self {
            Step::Relu => Relu.bwd(std::slice::from_ref(x), dy),
            Step::Conv(conv, w) => conv.bwd(&[x.clone(), all[*w].clone()], dy),
            Step::Norm(norm) => norm.bwd(std::slice::from_ref(x), dy),
            Step::Reduce(w) => {
                let half = dy.dim(1) / 2;
                let mut dx = Arr::zeros(x.shape);
                let mut all: Vec<_> = (0..2)
                    .map(|i| {
                        let taken = TAKEN[i].fwd(std::slice::from_ref(x));
                        let operands = [taken, all[w + i].clone()];
                        let mut d = pointwise().bwd(&operands, &channels(dy, i * half, half));
                        let back =
                            TAKEN[i].bwd(std::slice::from_ref(x), d[0].as_ref().expect("of a map"));
                        add(&mut dx, 0, S::c(1.0), back[0].as_ref().expect("of a map"));
                        d.pop().expect("of a weight")
                    })
                    .collect();
                all.insert(0, Some(dx));
                all
            }
        }
    }
}

fn pointwise() -> Conv2d {
    Conv2d(Conv2dParams::default())
}

/// The shape of `x` with twice the channels.
fn wider<S: Scalar>(x: &Arr<S>) -> Shape {
    let [n, c, h, w] = x.nchw();
    Shape::new(&[n, 2 * c, h, w])
}

fn steps(op: &MixedNode, p: &Plan, unit: &Unit) -> Vec<Step> {
    let norm = || {
        Step::Norm(BatchNorm(BatchNormParams {
            eps: op.eps,
            relu: false,
        }))
    };
    match unit.candidate {
        Candidate::Pooled => return vec![norm()],
        Candidate::Reduced => return vec![Step::Relu, Step::Reduce(unit.own), norm()],
        _ => {}
    }
    let Some((k, dilation)) = unit.candidate.kernel() else {
        return vec![];
    };
    let depthwise = |at: usize| Conv2dParams {
        stride: if at == 0 {
            p.edges[unit.edge].stride
        } else {
            1
        },
        padding: dilation * (k / 2),
        dilation,
        groups: p.a,
    };
    let half = |at: usize| {
        let first = unit.own + 2 * at;
        let convs = [
            Step::Conv(Conv2d(depthwise(at)), first),
            Step::Conv(pointwise(), first + 1),
        ];
        [Step::Relu].into_iter().chain(convs).chain([norm()])
    };
    (0..unit.maps.len()).flat_map(half).collect()
}

/// What a candidate starts from.
fn starts<S: Scalar>(unit: &Unit, active: &Arr<S>, x: &[Arr<S>]) -> Arr<S> {
    match unit.candidate {
        Candidate::Pooled => x[unit.own].clone(),
        _ => active.clone(),
    }
}

/// Channels `from..from + count` of a map.
fn channels<S: Scalar>(x: &Arr<S>, from: usize, count: usize) -> Arr<S> {
    let [n, c, h, w] = x.nchw();
    let plane = h * w;
    let data = (0..n).flat_map(|i| &x.data[(i * c + from) * plane..][..count * plane]);
    Arr {
        shape: Shape::new(&[n, count, h, w]),
        data: data.copied().collect(),
    }
}

/// `to[channels from..] += scale x`.
fn add<S: Scalar>(to: &mut Arr<S>, from: usize, scale: S, x: &Arr<S>) {
    let [n, c, h, w] = to.nchw();
    let plane = h * w;
    let row = x.dim(1) * plane;
    for i in 0..n {
        let to = &mut to.data[(i * c + from) * plane..][..row];
        for (to, &x) in to.iter_mut().zip(&x.data[i * row..]) {
            *to += scale * x;
        }
    }
}

fn dot<S: Scalar>(a: &Arr<S>, b: &Arr<S>) -> S {
    let mut sum = S::zero();
    for (&a, &b) in a.data.iter().zip(&b.data) {
        sum += a * b;
    }
    sum
}

/// The map whose channel `d` is channel `from(d)` of `x`.
fn permuted<S: Scalar>(x: &Arr<S>, from: impl Fn(usize) -> usize) -> Arr<S> {
    let mut y = Arr::zeros(x.shape);
    for d in 0..x.dim(1) {
        add(&mut y, d, S::c(1.0), &channels(x, from(d), 1));
    }
    y
}

impl Reference for MixedNode {
    fn saved(&self, x: &[Tensor]) -> Result<Vec<Tensor>> {
        // The maps and statistics of the fast path: the tape's own backward on this path reads none of them.
        Ok(crate::tape::Op::forward(self, x)?.saved)
    }

    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let shapes: Vec<Shape> = x.iter().map(|x| x.shape).collect();
        let p = Plan::new(self, &shapes);
        let mut y = Arr::zeros(Shape::new(&[p.n, p.c, p.h, p.w]));
        for e in &p.edges {
            let beta = x[p.beta].data[e.beta];
            let active = channels(&x[e.x], 0, p.a);
            let mut mixed = Arr::zeros(Shape::new(&[p.n, p.a, p.h, p.w]));
            if e.units.is_empty() {
                mixed = active.clone();
            }
            for unit in &p.units[e.units.clone()] {
                let through = |v: Arr<S>, s: Step| s.fwd(x, &v);
                let first = starts(unit, &active, x);
                let value = steps(self, &p, unit).into_iter().fold(first, through);
                add(&mut mixed, 0, x[p.alpha].data[unit.alpha], &value);
            }
            add(&mut y, 0, beta, &mixed);
            if p.k > 1 {
                let (t, start) = e.bypass;
                add(&mut y, p.a, beta, &channels(&x[t], start, p.c - p.a));
            }
        }
        permuted(&y, |d| shuffled_from(d, p.c, p.k))
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let shapes: Vec<Shape> = x.iter().map(|x| x.shape).collect();
        let p = Plan::new(self, &shapes);
        let dy = permuted(dy, |c| shuffled_from(c, p.c, p.c / p.k));
        let (mixed, bypass) = (channels(&dy, 0, p.a), channels(&dy, p.a, p.c - p.a));
        let mut grads: Vec<Arr<S>> = x.iter().map(|x| Arr::zeros(x.shape)).collect();
        for e in &p.edges {
            let beta = x[p.beta].data[e.beta];
            let active = channels(&x[e.x], 0, p.a);
            if p.k > 1 {
                let (t, start) = e.bypass;
                add(&mut grads[t], start, beta, &bypass);
                let rest = channels(&x[t], start, p.c - p.a);
                grads[p.beta].data[e.beta] += dot(&bypass, &rest);
            }
            if e.units.is_empty() {
                add(&mut grads[e.x], 0, beta, &mixed);
                grads[p.beta].data[e.beta] += dot(&mixed, &active);
            }
            for unit in &p.units[e.units.clone()] {
                let alpha = x[p.alpha].data[unit.alpha];
                let steps = steps(self, &p, unit);
                let mut values = vec![starts(unit, &active, x)];
                for s in &steps {
                    let v = s.fwd(x, values.last().expect("a value"));
                    values.push(v);
                }
                let value = values.last().expect("a value");
                let along = dot(&mixed, value);
                grads[p.alpha].data[unit.alpha] += beta * along;
                grads[p.beta].data[e.beta] += alpha * along;
                let mut d = mixed.map(|v| beta * alpha * v);
                for (s, v) in steps.iter().zip(&values).rev() {
                    let mut all = s.bwd(x, v, &d).into_iter();
                    d = all.next().flatten().expect("the gradient of a map");
                    for (at, dw) in all.enumerate() {
                        if let (Some(w), Some(dw)) = (s.weights(), dw) {
                            grads[w + at] = dw;
                        }
                    }
                }
                match unit.candidate {
                    Candidate::Pooled => grads[unit.own] = d,
                    _ => add(&mut grads[e.x], 0, S::c(1.0), &d),
                }
            }
        }
        grads.into_iter().map(Some).collect()
    }
}
