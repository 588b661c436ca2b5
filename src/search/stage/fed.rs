//! The batches of a step as they go up, and the loss over them wherever they lie.

use std::rc::Rc;

use crate::error::Result;
use crate::model::{Mixing, Network};
use crate::nn::Pass;
use crate::search::bilevel::Loss;
use crate::search::workbench::Workbench;
use crate::task::Targets;
use crate::tensor::{DType, Tensor};

/// The sum of the losses of all batches, whose tensors are `inputs`.
pub(super) fn total(
    net: &Network,
    p: &Pass,
    fed: &[Fed],
    mut inputs: &[Tensor],
    dtype: DType,
    mixing: Mixing,
) -> Result<Loss> {
    let mut sum: Option<Loss> = None;
    for f in fed {
        let (own, rest) = inputs.split_at(1 + f.targets.tensors.len());
        inputs = rest;
        let l = f.loss(net, p, own, dtype, mixing)?;
        sum = Some(match sum {
            None => l,
            Some(mut s) => {
                s.total = crate::ops::add(&s.total, &l.total)?;
                s.parts.extend(l.parts);
                s
            }
        });
    }
    Ok(sum.expect("a step has a task"))
}

/// A batch of a task, as it goes up.
pub(super) struct Fed {
    /// Whose it is.
    pub bench: Rc<Workbench>,
    /// In the type of activations.
    pub images: Tensor,
    /// What targets are made of.
    pub targets: Targets,
}

impl Fed {
    /// The loss of the images and the targets' tensors, wherever they lie.
    fn loss(
        &self,
        net: &Network,
        p: &Pass,
        inputs: &[Tensor],
        dtype: DType,
        mixing: Mixing,
    ) -> Result<Loss> {
        let names = self.targets.tensors.iter().map(|(name, _)| *name);
        let staged = Targets {
            tensors: names.zip(inputs[1..].iter().cloned()).collect(),
            denominator: self.targets.denominator,
        };
        let targets = self.bench.task.targets_of(p.tape.cx().path, staged)?;
        self.bench.loss(net, p, &inputs[0], &targets, dtype, mixing)
    }
}

/// All tensors of the batches, in order.
pub(super) fn inputs(fed: &[Fed]) -> Vec<Tensor> {
    let of = |f: &Fed| {
        let targets = f.targets.tensors.iter().map(|(_, t)| t.clone());
        [f.images.clone()].into_iter().chain(targets).collect()
    };
    fed.iter().flat_map::<Vec<Tensor>, _>(of).collect()
}

/// Number of images.
pub(super) fn images_of(fed: &[Fed]) -> u64 {
    fed.iter().map(|f| f.images.dims()[0] as u64).sum()
}

/// What tells a step's launches from others: its tasks, and what their losses are divided by.
pub(super) fn numbers(tasks: &[usize], fed: &[Fed]) -> Vec<u64> {
    let by = fed.iter().map(|f| f.targets.denominator.to_bits());
    tasks.iter().map(|&t| t as u64).chain(by).collect()
}
