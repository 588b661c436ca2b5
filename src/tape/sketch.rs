//! What a record says without values: the operations of a network from shapes alone, their element-wise work, and what they keep.

use std::collections::HashMap;

use super::Tape;
use super::node::lock;
use crate::error::Result;
use crate::tensor::{Shape, Tensor};

/// Work on single values, convolutions and linear layers apart (those are counted as multiply-adds). Moving values about (concatenations,
/// slices, shuffles, rows) is no work; nor are exponentials of mixing weights and of decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Elementwise {
    /// Normalisations with given statistics: 2 a value, a multiplication and an addition.
    pub norm: u64,
    /// Rectifiers: 1 a value.
    pub relu: u64,
    /// Poolings: as many as the window has places, for each value of the result.
    pub pool: u64,
    /// Sums of maps, biases: 1 a value; weighted sums of n maps: 2n - 1 a value; products with a mask or a factor: 1 a value.
    pub add: u64,
    /// Enlargements: 1 for each value of the result (nearest), 7 (bilinear).
    pub upsample: u64,
}

impl Elementwise {
    /// All but the normalisations.
    pub fn without_norms(self) -> u64 {
        self.relu + self.pool + self.add + self.upsample
    }
}

impl std::ops::AddAssign for Elementwise {
    fn add_assign(&mut self, other: Elementwise) {
        self.norm += other.norm;
        self.relu += other.relu;
        self.pool += other.pool;
        self.add += other.add;
        self.upsample += other.upsample;
    }
}

/// An operation that was recorded and not run.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketched {
    /// Its place on the tape.
    pub id: usize,
    /// Name of the operation.
    pub name: &'static str,
    /// Places of its operands.
    pub inputs: Vec<usize>,
    /// Shape of its result.
    pub shape: Shape,
    /// Its work.
    pub work: Elementwise,
}

impl Tape {
    /// Records what `f` applies and runs none of it; the values of the variables that `f` returns are never there.
    ///
    /// # Errors
    /// Those of `f`; those of shape rules.
    pub fn sketch<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<(R, Vec<Sketched>)> {
        let from = self.len();
        let outer = self.0.queue.replace(Some(vec![]));
        let made = f();
        *self.0.queue.borrow_mut() = outer;
        let made = made?;
        let mut list = vec![];
        for (id, node) in self.0.nodes.borrow().iter().enumerate().skip(from) {
            let Some(op) = &node.op else { continue };
            let shape = op.infer(&node.shapes)?;
            list.push(Sketched {
                id,
                name: op.name(),
                inputs: node.inputs.clone(),
                shape,
                work: op.elementwise(&node.shapes, &shape),
            });
        }
        Ok((made, list))
    }

    /// Bytes that the operations run so far keep for the walk back: operands, results and what else they put aside, each tensor once.
    /// Parameters that an operation reads on the way back are among them.
    pub fn kept_bytes(&self) -> u64 {
        let mut held: HashMap<usize, u64> = HashMap::new();
        let mut hold = |t: &Tensor| {
            let bytes = (t.numel() * t.dtype().size()) as u64;
            held.insert(t.storage_id(), bytes);
        };
        for node in self.0.nodes.borrow().iter() {
            if let Some(kept) = &*lock(&node.kept) {
                kept.x.iter().flatten().for_each(&mut hold);
                kept.y.iter().for_each(&mut hold);
                kept.saved.iter().for_each(&mut hold);
            }
        }
        held.values().sum()
    }
}
