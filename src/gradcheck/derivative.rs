//! The two independent derivatives, and the error of a gradient against them.

use std::sync::Arc;

use super::{DIFFERENCE_TOLERANCE, DUAL_TOLERANCE};
use crate::dual::Dual;
use crate::error::Result;
use crate::ops::table::Case;
use crate::rng::Rng;
use crate::rounding::Bounded;
use crate::tape::{Aside, Backward, Cx, Grad, Op, Output, Path, Saves, Tape};
use crate::tensor::{Engine, Shape, Tensor};

/// A shared op is an op: cases hold theirs behind a pointer.
impl Op for Arc<dyn Op> {
    fn name(&self) -> &'static str {
        (**self).name()
    }
    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        (**self).infer(x)
    }
    fn saves(&self) -> Saves {
        (**self).saves()
    }
    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        (**self).forward(x)
    }
    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        (**self).backward(b)
    }
    fn forward_reference(&self, x: &[Tensor]) -> Result<Output> {
        (**self).forward_reference(x)
    }
    fn backward_reference(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        (**self).backward_reference(b)
    }
    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        (**self).forward_device(e, x)
    }
    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        (**self).backward_device(e, b)
    }
    fn aside(&self) -> Option<&Aside> {
        (**self).aside()
    }

    fn takes_terms(&self) -> bool {
        (**self).takes_terms()
    }
    fn adds_up(&self, k: usize) -> bool {
        (**self).adds_up(k)
    }

    fn forward_dual(&self, x: &[(Shape, Vec<Dual>)]) -> Option<Vec<Dual>> {
        (**self).forward_dual(x)
    }
    fn forward_bounded(&self, x: &[(Shape, Vec<Bounded>)]) -> Option<Vec<Bounded>> {
        (**self).forward_bounded(x)
    }
    fn backward_bounded(
        &self,
        x: &[(Shape, Vec<Bounded>)],
        dy: &(Shape, Vec<Bounded>),
    ) -> Option<Vec<Option<Vec<Bounded>>>> {
        (**self).backward_bounded(x, dy)
    }
}

/// Runs the op on a tape; the gradients of `sum(u y)` of the float operands, `None` for the others.
pub fn pull(
    op: &Arc<dyn Op>,
    x: &[Tensor],
    path: Path,
    u: &Tensor,
) -> Result<(Tensor, Vec<Option<Tensor>>)> {
    let tape = Tape::new(Cx {
        path,
        check_finite: false,
        ..Cx::default()
    });
    let vars: Vec<_> = x
        .iter()
        .map(|t| match t.dtype().is_float() {
            true => tape.param(t.clone()),
            false => tape.leaf(t.clone()),
        })
        .collect();
    let y = tape.apply(op.clone(), &vars.iter().collect::<Vec<_>>())?;
    let mut grads = tape.backward_from(&y, u.cast(y.value().dtype()))?;
    // A float operand without a gradient has the gradient 0.
    let dx = vars
        .iter()
        .map(|v| {
            let float = v.value().dtype().is_float();
            float.then(|| {
                let zero = || Tensor::zeros(*v.shape(), v.value().dtype());
                grads.take(v).unwrap_or_else(zero)
            })
        })
        .collect();
    Ok((y.value().clone(), dx))
}

/// Standard normal values in f64.
pub fn normal(shape: &Shape, r: &mut Rng) -> Tensor {
    let v = (0..shape.numel()).map(|_| r.normal()).collect();
    Tensor::from_f64(*shape, v).expect("as many values as the shape holds")
}

/// A direction of the operands: normal for floats, nothing for integers.
fn direction(x: &[Tensor], r: &mut Rng) -> Vec<Option<Tensor>> {
    x.iter()
        .map(|t| t.dtype().is_float().then(|| normal(t.shape(), r)))
        .collect()
}

/// `J v`: how the outputs change in a direction.
struct Change {
    /// By dual numbers, if the op has a forward over them.
    pub dual: Option<Vec<f64>>,
    /// By central differences of fourth order, for each step of [`STEPS`].
    pub differences: Vec<Vec<f64>>,
}

/// Steps of the differences. The error of a gradient is taken against the one that fits best: for a wrong gradient none does.
const STEPS: [f64; 3] = [3e-3, 1e-3, 2e-4];

/// `J v` in both ways at the operands of a case.
fn change(case: &Case, v: &[Option<Tensor>]) -> Result<Change> {
    let duals: Vec<(Shape, Vec<Dual>)> = case
        .x
        .iter()
        .zip(v)
        .map(|(x, v)| {
            let d = v.as_ref().map_or(vec![0.0; x.numel()], |v| v.to_f64());
            let both = x.to_f64().into_iter().zip(d);
            (*x.shape(), both.map(|(v, d)| Dual { v, d }).collect())
        })
        .collect();
    let dual = case.op.forward_dual(&duals);
    let at = |h: f64| -> Result<Vec<f64>> {
        let mut moved = case.x.clone();
        for (x, v) in moved.iter_mut().zip(v) {
            if let Some(v) = v {
                let x = x.data_mut::<f64>();
                x.iter_mut().zip(v.f64s()).for_each(|(x, v)| *x += h * v);
            }
        }
        Ok(case.op.forward(&moved)?.y.to_f64())
    };
    let mut differences = Vec::new();
    for h in STEPS {
        let (a, b, c, d) = (at(h)?, at(-h)?, at(2.0 * h)?, at(-2.0 * h)?);
        let slope = |i: usize| (8.0 * (a[i] - b[i]) - (c[i] - d[i])) / (12.0 * h);
        differences.push((0..a.len()).map(slope).collect());
    }
    Ok(Change {
        dual: dual.map(|y| y.iter().map(|y| y.d).collect()),
        differences,
    })
}

/// `|<u, Jv> - <g, v>| / sum |u_i (Jv)_i|`.
fn error(u: &Tensor, jv: &[f64], g: &[Option<Tensor>], v: &[Option<Tensor>]) -> f64 {
    let terms = u.f64s().iter().zip(jv).map(|(u, j)| u * j);
    let (a, scale) = terms.fold((0.0, 0.0f64), |(a, s), t| (a + t, s + t.abs()));
    let dot = |(g, v): (&Option<Tensor>, &Option<Tensor>)| match (g, v) {
        (Some(g), Some(v)) => g.f64s().iter().zip(v.f64s()).map(|(g, v)| g * v).sum(),
        _ => 0.0,
    };
    let b: f64 = g.iter().zip(v).map(dot).sum();
    let e = (a - b).abs();
    match e == 0.0 {
        true => 0.0,
        false => e / scale,
    }
}

/// Errors of a gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    /// Against dual numbers, if the op has a forward over them.
    pub dual: Option<f64>,
    /// Against differences.
    pub difference: f64,
}

impl Errors {
    fn of(u: &Tensor, change: &Change, g: &[Option<Tensor>], v: &[Option<Tensor>]) -> Errors {
        let by = |jv: &Vec<f64>| error(u, jv, g, v);
        // Not `f64::min`, which would drop a NaN.
        let best = |a: f64, b: f64| if b < a { b } else { a };
        Errors {
            dual: change.dual.as_ref().map(by),
            difference: change.differences.iter().map(by).fold(f64::INFINITY, best),
        }
    }

    /// What is wrong, if anything. A NaN is wrong.
    pub fn complaint(&self) -> Option<String> {
        let within = |e: f64, limit: f64| e <= limit;
        if let Some(d) = self.dual.filter(|&d| !within(d, DUAL_TOLERANCE)) {
            return Some(format!(
                "gradient is off by {d:.2e} against dual numbers (allowed {DUAL_TOLERANCE:.0e})"
            ));
        }
        let d = self.difference;
        (!within(d, DIFFERENCE_TOLERANCE)).then(|| {
            format!("gradient is off by {d:.2e} against differences (allowed {DIFFERENCE_TOLERANCE:.0e})")
        })
    }

    /// The greater of each.
    pub fn worst(self, o: Errors) -> Errors {
        Errors {
            dual: self.dual.into_iter().chain(o.dual).reduce(f64::max),
            difference: self.difference.max(o.difference),
        }
    }
}

/// A random cotangent and direction, and how the outputs change in it.
pub struct Probe {
    /// Output cotangent.
    pub u: Tensor,
    v: Vec<Option<Tensor>>,
    change: Change,
}

/// With fewer outputs than this, sums over the inputs may cancel in an unlucky direction and leave nothing to compare.
const FEW_OUTPUTS: usize = 8;

impl Probe {
    /// Draws one; with few outputs, the direction of four in which they change most.
    ///
    /// # Errors
    /// Those of the op.
    pub fn draw(case: &Case, r: &mut Rng) -> Result<Probe> {
        let shapes: Vec<Shape> = case.x.iter().map(|x| *x.shape()).collect();
        let u = normal(&case.op.infer(&shapes)?, r);
        let directions = if u.numel() < FEW_OUTPUTS { 4 } else { 1 };
        let mut best: Option<(f64, Probe)> = None;
        for _ in 0..directions {
            let v = direction(&case.x, r);
            let change = change(case, &v)?;
            let jv = change.dual.as_ref().unwrap_or(&change.differences[1]);
            let size = u.f64s().iter().zip(jv).map(|(u, j)| (u * j).abs()).sum();
            if best.as_ref().is_none_or(|(most, _)| size > *most) {
                let u = u.clone();
                best = Some((size, Probe { u, v, change }));
            }
        }
        Ok(best.expect("at least one direction").1)
    }

    /// Errors of gradients with respect to the cotangent.
    pub fn errors(&self, g: &[Option<Tensor>]) -> Errors {
        Errors::of(&self.u, &self.change, g, &self.v)
    }
}

/// Errors of the gradients of both paths in one random direction.
///
/// # Errors
/// Those of the op.
pub fn errors(case: &Case, r: &mut Rng) -> Result<Errors> {
    let probe = Probe::draw(case, r)?;
    let of = |path| -> Result<Errors> {
        let (_, g) = pull(&case.op, &case.x, path, &probe.u)?;
        Ok(probe.errors(&g))
    };
    Ok(of(Path::Reference)?.worst(of(Path::Fast)?))
}
