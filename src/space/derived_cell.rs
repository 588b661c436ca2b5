//! The body of a derived cell: two operations per node, their sum (DARTS section 2.4).

use super::genotype::INPUTS;
use super::operation::{Norms, Operation, Site, State};
use super::primitive::Primitive;
use crate::error::{Code, Error, Result};
use crate::nn::{Builder, Map, Pass};
use crate::ops;
use crate::tape::Var;

/// Operations of a derived cell.
#[derive(Debug)]
pub struct DerivedBody {
    operations: Vec<(Box<dyn Operation>, usize)>,
    concat: Vec<usize>,
    drop_path: DropPath,
}

/// Whether drop path acts in a cell (in the released network not in the branches).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropPath {
    /// Every operation but the identity is dropped with the pass's probability, per sample.
    Active,
    /// Never.
    Never,
}

impl DerivedBody {
    /// Declares the operations of a cell whose preprocessed inputs are `x` maps, as `ops.0`, `ops.1`, ..., in the order of the
    /// genotype; returns it with the map of a node.
    ///
    /// # Errors
    /// `MT0105` when an operation does not fit.
    pub fn new(
        b: &mut Builder,
        x: Map,
        reduction: bool,
        cell: &[(Primitive, usize)],
        concat: &[usize],
        drop_path: DropPath,
    ) -> Result<(DerivedBody, Map)> {
        let mut operations = vec![];
        let mut out = x;
        for (i, &(primitive, from)) in cell.iter().enumerate() {
            let stride = if reduction && from < INPUTS { 2 } else { 1 };
            let input = if from < INPUTS { x } else { out };
            let site = Site {
                x: input,
                stride,
                norms: Norms::Derived,
            };
            let (op, y) = b.scope(format!("ops.{i}"), |b| primitive.declare(b, site))?;
            if i > 0 && y != out {
                let message = format!("`{}`: operations yield {out} and {y} maps", b.here());
                return Err(Error::new(Code::NetworkDoesNotFit, message)
                    .help("use an input whose sides are multiples of the network's stride"));
            }
            out = y;
            operations.push((op, from));
        }
        let body = DerivedBody {
            operations,
            concat: concat.to_vec(),
            drop_path,
        };
        Ok((body, out))
    }

    /// The concatenated nodes, in the order of the genotype's concat.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, inputs: [Var; 2]) -> Result<Vec<Var>> {
        let mut states: Vec<State> = inputs.into_iter().map(State::new).collect();
        for pair in self.operations.chunks_exact(2) {
            let a = self.apply(p, &pair[0], &states)?;
            let b = self.apply(p, &pair[1], &states)?;
            states.push(State::new(ops::add(&a, &b)?));
        }
        Ok(self.concat.iter().map(|&n| states[n].x().clone()).collect())
    }

    fn apply(&self, p: &Pass, op: &(Box<dyn Operation>, usize), states: &[State]) -> Result<Var> {
        let y = op.0.forward(p, &states[op.1])?;
        let dropped =
            self.drop_path == DropPath::Active && p.mode.training && p.mode.drop_path > 0.0;
        if dropped && !op.0.is_identity() {
            let [seed, path @ ..] = p.stream();
            let drop = ops::DropPath {
                p: p.mode.drop_path,
                seed,
                path: path.to_vec(),
            };
            return match p.draw()? {
                Some(draw) => ops::drop_path_drawn(&y, drop, &draw),
                None => ops::drop_path(&y, drop),
            };
        }
        Ok(y)
    }
}

#[cfg(test)]
#[path = "derived_cell_tests.rs"]
mod tests;
