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
use crate::tensor::{Shape, Tensor};

/// One primitive operation of a candidate; a convolution with the operand that is its weight.
enum Step {
    Relu,
    Conv(Conv2d, usize),
    Norm(BatchNorm),
}

impl Step {
    fn fwd<S: Scalar>(&self, all: &[Arr<S>], x: &Arr<S>) -> Arr<S> {
        match self {
            Step::Relu => Relu.fwd(std::slice::from_ref(x)),
            Step::Conv(conv, w) => conv.fwd(&[x.clone(), all[*w].clone()]),
            Step::Norm(norm) => norm.fwd(std::slice::from_ref(x)),
        }
    }

    /// Gradients of `x` and, of a convolution, of its weight.
    fn bwd<S: Scalar>(&self, all: &[Arr<S>], x: &Arr<S>, dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        match self {
            Step::Relu => Relu.bwd(std::slice::from_ref(x), dy),
            Step::Conv(conv, w) => conv.bwd(&[x.clone(), all[*w].clone()], dy),
            Step::Norm(norm) => norm.bwd(std::slice::from_ref(x), dy),
        }
    }
}

fn steps(op: &MixedNode, p: &Plan, unit: &Unit) -> Vec<Step> {
    let norm = || {
        Step::Norm(BatchNorm(BatchNormParams {
            eps: op.eps,
            relu: false,
        }))
    };
    if unit.candidate == Candidate::Pooled {
        return vec![norm()];
    }
    let Some((k, dilation)) = unit.candidate.kernel() else {
        return vec![];
    };
    let depthwise = Conv2dParams {
        stride: 1,
        padding: dilation * (k / 2),
        dilation,
        groups: p.a,
    };
    let half = |at: usize| {
        let first = unit.own + 2 * at;
        let pointwise = Conv2d(Conv2dParams::default());
        let convs = [
            Step::Conv(Conv2d(depthwise), first),
            Step::Conv(pointwise, first + 1),
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
            let mut mixed = Arr::zeros(active.shape);
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
                    if let (Step::Conv(_, w), Some(Some(dw))) = (s, all.next()) {
                        grads[*w] = dw;
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
