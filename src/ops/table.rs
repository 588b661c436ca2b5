//! The one list of differentiable ops: what the gradient check, the agreement tests and the docs walk.
//!
//! Adding an op: one file in `ops/`, one line in [`OPS`].

use std::sync::Arc;

use crate::rng::Rng;
use crate::tape::Op;
use crate::tensor::{Shape, Tensor};

/// One set of operands for an op.
#[derive(Debug, Clone)]
pub struct Case {
    /// The op with its parameters.
    pub op: Arc<dyn Op>,
    /// Operands in f64 (i32 for class ids), away from kinks such as ties of a maximum.
    pub x: Vec<Tensor>,
}

/// A call that must be refused.
pub struct Refusal {
    /// The op with its parameters.
    pub op: Arc<dyn Op>,
    /// Shapes of the operands.
    pub shapes: Vec<Shape>,
    /// A part of the message that is expected.
    pub expect: &'static str,
}

/// A wrong gradient that the check has to catch.
pub struct Planted {
    /// What is wrong.
    pub what: &'static str,
    /// Spoils the gradients of a case; false when the case is too small to show the bug.
    pub spoil: fn(&Case, &Tensor, &mut [Option<Tensor>]) -> bool,
}

/// One op of the registry.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Draws a case: odd sizes, 1x1 maps, batch 1, channels that are a multiple of nothing.
    pub case: fn(&mut Gen) -> Case,
    /// Calls that must be refused, with the message.
    pub refusals: fn() -> Vec<Refusal>,
    /// Wrong gradients, at least two.
    pub planted: &'static [Planted],
}

/// Every differentiable op.
pub static OPS: &[&Entry] = &[
    &super::add::ENTRY,
    &super::batch_norm::ENTRY,
    &super::batch_norm::EVAL,
    &super::batch_norm::ROWS,
    &super::channel_shuffle::ENTRY,
    &super::concat::ENTRY,
    &super::concat_shuffle::ENTRY,
    &super::conv2d::ENTRY,
    &super::conv_transpose2d::ENTRY,
    &super::cosine::ENTRY,
    &super::cross_entropy::ENTRY,
    &super::drop_path::ENTRY,
    &super::dropout::ENTRY,
    &super::edge_softmax::ENTRY,
    &super::global_avg_pool::ENTRY,
    &super::head_rows::ENTRY,
    &super::leave_out::ENTRY,
    &super::linear::ENTRY,
    &super::log_softmax::ENTRY,
    &super::mixed_cell::ENTRY,
    &super::mixed_node::ENTRY,
    &super::mul::ENTRY,
    &super::multibox::ENTRY,
    &super::pool::AVERAGE,
    &super::pool::MAX,
    &super::pools::ENTRY,
    &super::reduce::ENTRY,
    &super::relu::ENTRY,
    &super::relu6::ENTRY,
    &super::reshape::ENTRY,
    &super::scale::ENTRY,
    &super::scale_rows::ENTRY,
    &super::slice::ENTRY,
    &super::smooth_l1::ENTRY,
    &super::softmax::ENTRY,
    &super::subsample::ENTRY,
    &super::sync_batch_norm::ENTRY,
    &super::to_rows::ENTRY,
    &super::upsample_add::ENTRY,
    &super::upsample_bilinear::ENTRY,
    &super::upsample_nearest::ENTRY,
    &super::weighted_sum::ENTRY,
];

/// Draws sizes and values for cases.
pub struct Gen {
    /// Where they come from.
    pub rng: Rng,
    /// Largest height and width of a map; also about the largest number of channels.
    pub side: usize,
}

impl Gen {
    /// Small cases: sides up to 9.
    pub fn new(rng: Rng) -> Gen {
        Gen { rng, side: 9 }
    }

    /// An integer in lo..=hi.
    pub fn int(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.rng.below(hi - lo + 1)
    }

    /// One of `items`.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.rng.below(items.len())]
    }

    /// Sizes `(N, C, H, W)` of a map: batch 1 to 3, maps from 1x1 to `side`.
    pub fn map_shape(&mut self) -> [usize; 4] {
        let tiny = self.rng.coin(0.15);
        let side = |g: &mut Gen| if tiny { 1 } else { g.int(1, g.side) };
        let (h, w) = (side(self), side(self));
        let channels = if self.side > 9 { self.side } else { 7 };
        [self.int(1, 3), self.int(1, channels), h, w]
    }

    /// Standard normal values.
    pub fn normal(&mut self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        let v = (0..shape.numel()).map(|_| self.rng.normal()).collect();
        Tensor::from_f64(shape, v).expect("as many values as the shape holds")
    }

    /// Values at least 0.05 away from zero, for ops with a kink there.
    pub fn off_zero(&mut self, shape: impl Into<Shape>) -> Tensor {
        let mut t = self.normal(shape);
        for v in t.data_mut::<f64>() {
            *v += 0.05 * v.signum();
        }
        t
    }

    /// Distinct values, pairwise at least `1 / 4` apart, shuffled: no ties for a maximum.
    pub fn distinct(&mut self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        let n = shape.numel();
        let v = self
            .rng
            .permutation(n)
            .into_iter()
            .map(|i| (i as f64 - n as f64 / 2.0) * 0.25)
            .collect();
        Tensor::from_f64(shape, v).expect("as many values as the shape holds")
    }

    /// Integers in 0..classes, with `ignore` (if any) at about one in eight.
    pub fn classes(
        &mut self,
        shape: impl Into<Shape>,
        classes: usize,
        ignore: Option<i32>,
    ) -> Tensor {
        let shape = shape.into();
        let v = (0..shape.numel())
            .map(|_| match ignore {
                Some(i) if self.rng.coin(0.125) => i,
                _ => self.rng.below(classes) as i32,
            })
            .collect();
        Tensor::from_i32(shape, v).expect("as many values as the shape holds")
    }
}

/// Multiplies gradient `i` by 1.0005: the slip that a loose tolerance lets through.
pub fn scale_gradient(g: &mut [Option<Tensor>], i: usize) -> bool {
    match g.get_mut(i) {
        Some(Some(t)) if t.numel() > 0 => {
            t.data_mut::<f64>().iter_mut().for_each(|v| *v *= 1.0005);
            t.f64s().iter().any(|v| *v != 0.0)
        }
        _ => false,
    }
}

/// The planted factor on the gradient of the first operand.
pub const FACTOR: Planted = Planted {
    what: "dx too large by a factor 1.0005",
    spoil: |_, _, g| scale_gradient(g, 0),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_op_file_is_in_the_table() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
        let shared = ["mod", "on_device", "reference", "shape_rules", "table"];
        let mut missing: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "rs"))
            .map(|p| p.file_stem().unwrap().to_string_lossy().into_owned())
            .filter(|n| !shared.contains(&n.as_str()))
            .filter(|n| !["_tests", "_device"].iter().any(|end| n.ends_with(end)))
            .collect();
        let lines = include_str!("table.rs");
        missing.retain(|n| !lines.contains(&format!("    &super::{n}::")));
        assert!(
            missing.is_empty(),
            "op files without a line in OPS: {missing:?}"
        );
    }

    #[test]
    fn names_are_unique_and_entries_complete() {
        let mut names: Vec<&str> = OPS.iter().map(|e| e.name).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        for e in OPS {
            assert!(e.planted.len() >= 2, "{} plants too little", e.name);
            let case = (e.case)(&mut Gen::new(Rng::new(1, &[])));
            assert_eq!(case.op.name(), e.name);
        }
    }
}
