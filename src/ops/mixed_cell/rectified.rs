//! The cell with a second result, `max(y, 0)`, which the cells behind it begin with: written beside the first.

use super::plan::Plan;
use super::{MixedCell, device};
use crate::backend::engine::{Beside, Slab};
use crate::backend::host::elementwise::add_into;
use crate::error::Result;
use crate::ops::relu::Relu;
use crate::tape::{Aside, Backward, Grad, Op, Output, Saves};
use crate::tensor::{Engine, Shape, Tensor};

/// The op: operands and first result are those of [`MixedCell`].
#[derive(Debug)]
pub struct RectifiedCell {
    cell: MixedCell,
    rectified: Aside,
}

impl RectifiedCell {
    /// Of a cell.
    pub fn new(cell: MixedCell) -> RectifiedCell {
        RectifiedCell {
            cell,
            rectified: Aside::default(),
        }
    }

    fn with(&self, out: Output) -> Result<Output> {
        let rectified = Relu.forward(std::slice::from_ref(&out.y))?.y;
        self.rectified.put(vec![rectified]);
        Ok(out)
    }
}

/// The gradient of the first result, those of the second added where the value is positive.
fn on_host(b: &Backward) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    let mut add = |dy: &Tensor| match &mut sum {
        Some(sum) => add_into(sum, dy),
        None => sum = Some(dy.clone()),
    };
    for dy in b.terms.first().into_iter().flatten() {
        add(dy);
    }
    let y = b.y.expect("the output, which is saved");
    let rectified = Relu.forward(&[y.cast(b.dy.dtype())])?.y;
    for dy in b.terms.iter().skip(1).flatten() {
        let own = Backward {
            x: &[None],
            shapes: &[*y.shape()],
            y: Some(&rectified),
            saved: &[],
            dy,
            terms: &[vec![dy.clone()]],
            need: &[true],
        };
        if let Some(Some(Grad::Whole(dx))) = Relu.backward(&own)?.pop() {
            add(&dx);
        }
    }
    Ok(sum.unwrap_or_else(|| b.dy.clone()))
}

/// The same in one launch; nothing where the first result alone has one gradient.
fn on_device(e: Engine, b: &Backward) -> Result<Option<Tensor>> {
    let (terms, y) = (b.terms.concat(), b.y.expect("the output, which is saved"));
    if terms.iter().any(|t| t.dtype() != y.dtype()) {
        return Ok(None);
    }
    let first = b.terms.first().map_or(0, Vec::len);
    if let ([one], 1) = (&terms[..], first) {
        return Ok(Some(one.clone()));
    }
    let mut slabs = vec![];
    for t in &terms {
        slabs.push(Slab::whole(t.on(e)?, 1));
    }
    let beside = Beside {
        rectified: None,
        mask: Some((y.on(e)?, first)),
    };
    let sum = e.sum_beside([1, 1, y.numel()], &slabs, beside)?;
    Ok(Some(Tensor::from_device(*y.shape(), sum)))
}

impl Op for RectifiedCell {
    fn name(&self) -> &'static str {
        self.cell.name()
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        self.cell.infer(x)
    }

    fn saves(&self) -> Saves {
        self.cell.saves()
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        self.with(self.cell.forward(x)?)
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let dy = on_host(b)?;
        self.cell.backward(&Backward { dy: &dy, ..*b })
    }

    fn forward_reference(&self, x: &[Tensor]) -> Result<Output> {
        self.with(self.cell.forward_reference(x)?)
    }

    fn backward_reference(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let dy = on_host(b)?;
        self.cell.backward_reference(&Backward { dy: &dy, ..*b })
    }

    fn aside(&self) -> Option<&Aside> {
        Some(&self.rectified)
    }

    fn takes_terms(&self) -> bool {
        true
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
        let plan = Plan::new(&self.cell, &shapes);
        device::forward(e, &self.cell, &plan, x, Some(&self.rectified))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let Some(dy) = on_device(e, b)? else {
            return Ok(None);
        };
        let b = Backward { dy: &dy, ..*b };
        device::backward(e, &self.cell, &Plan::new(&self.cell, b.shapes), &b)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ENTRY, mixed_cell};
    use super::*;
    use crate::ops;
    use crate::ops::table::Gen;
    use crate::rng::Rng;
    use crate::tape::{Cx, Path, Tape};
    use crate::tensor::DType;

    /// Both results and the gradients of all operands; `readers` operations read each.
    fn run(seed: u64, path: Path, readers: [usize; 2], fused: bool) -> Vec<Vec<f64>> {
        let mut g = Gen::new(Rng::new(seed, &[8]));
        let (op, x) = super::super::entry::draw(&mut g);
        let tape = Tape::new(Cx {
            path,
            ..Cx::default()
        });
        let of = |t: &Tensor| tape.leaf(t.cast(DType::F32));
        let x: Vec<_> = x.iter().map(of).collect();
        let x: Vec<_> = x.iter().collect();
        let (y, rectified) = match fused {
            true => {
                let ([y, r], _) = mixed_cell(op, &x[..2], [x[2], x[3]], &x[4..]).unwrap();
                (y, r)
            }
            false => {
                let y = tape.apply(op, &x).unwrap();
                (y.clone(), ops::relu(&y).unwrap())
            }
        };
        let mut all = vec![y.value().to_f64(), rectified.value().to_f64()];
        let mut total = ops::scale(&ops::mean(&ops::mul(&y, &y).unwrap()).unwrap(), 0.1).unwrap();
        for (v, readers) in [(&y, readers[0]), (&rectified, readers[1])] {
            for i in 0..readers {
                let of = ops::mul(v, v).unwrap();
                let mean = ops::scale(&ops::mean(&of).unwrap(), 1.0 + i as f64).unwrap();
                total = ops::add(&total, &mean).unwrap();
            }
        }
        let grads = tape.backward(&total).unwrap();
        all.extend(
            x.iter()
                .map(|x| grads.get(x).map_or(vec![], |g| g.to_f64())),
        );
        all
    }

    #[test]
    fn both_results_are_those_of_the_cell_and_a_rectifier() {
        assert_eq!(ENTRY.name, "mixed_cell");
        let e = Engine::emulated(1);
        for (seed, readers) in [(1, [1, 2]), (2, [0, 1]), (3, [2, 0])] {
            for path in [Path::Reference, Path::Device(e)] {
                let (both, apart) = (
                    run(seed, path, readers, true),
                    run(seed, path, readers, false),
                );
                for (i, (b, a)) in both.iter().zip(&apart).enumerate() {
                    let large = a.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
                    let near = |(b, a): (&f64, &f64)| (b - a).abs() <= 1e-5 * large;
                    assert!(
                        b.len() == a.len() && b.iter().zip(a).all(near),
                        "{seed} {path:?}: {i}"
                    );
                }
            }
        }
    }
}
