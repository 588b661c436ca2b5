//! The batches of a step as they go up, and the loss over them wherever they lie.

use std::rc::Rc;

use crate::error::Result;
use crate::model::{Mixing, Network};
use crate::nn::Pass;
use crate::search::bilevel::Loss;
use crate::search::feed::Drawn;
use crate::search::workbench::Workbench;
use crate::tape::Path;
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
        let (own, rest) = inputs.split_at(f.len());
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

/// The images of a batch, as they go up.
pub(super) enum Pictures {
    /// In the type of activations.
    Whole(Tensor),
    /// To be made there.
    Drawn(Drawn),
}

impl Pictures {
    fn tensors(&self) -> Vec<Tensor> {
        match self {
            Pictures::Whole(t) => vec![t.clone()],
            Pictures::Drawn(d) => [&d.table].into_iter().chain(&d.bytes).cloned().collect(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Pictures::Whole(t) => t.dims()[0],
            Pictures::Drawn(d) => d.table.dims()[0],
        }
    }

    /// The images of their tensors, wherever these lie, and label maps that are made with them.
    fn made(&self, path: Path, own: &[Tensor]) -> Result<(Tensor, Option<Tensor>)> {
        match (self, path) {
            (Pictures::Drawn(d), Path::Device(e)) => d.recipe.make(e, &own[0], own.get(1)),
            _ => Ok((own[0].clone(), None)),
        }
    }
}

/// A batch of a task, as it goes up.
pub(super) struct Fed {
    /// Whose it is.
    pub bench: Rc<Workbench>,
    /// What images are made of.
    pub pictures: Pictures,
    /// What targets are made of.
    pub targets: Targets,
}

impl Fed {
    /// Number of its tensors.
    fn len(&self) -> usize {
        self.pictures.tensors().len() + self.targets.tensors.len()
    }

    /// The loss of its tensors, wherever they lie.
    fn loss(
        &self,
        net: &Network,
        p: &Pass,
        inputs: &[Tensor],
        dtype: DType,
        mixing: Mixing,
    ) -> Result<Loss> {
        let path = p.tape.cx().path;
        let (own, rest) = inputs.split_at(inputs.len() - self.targets.tensors.len());
        let (images, labels) = self.pictures.made(path, own)?;
        let names = self.targets.tensors.iter().map(|(name, _)| *name);
        let mut tensors: Vec<_> = names.zip(rest.iter().cloned()).collect();
        tensors.extend(labels.map(|l| ("labels", l)));
        let staged = Targets {
            tensors,
            denominator: self.targets.denominator,
        };
        let targets = self.bench.task.targets_of(path, staged)?;
        self.bench.loss(net, p, &images, &targets, dtype, mixing)
    }
}

/// All tensors of the batches, in order.
pub(super) fn inputs(fed: &[Fed]) -> Vec<Tensor> {
    let of = |f: &Fed| {
        let mut all = f.pictures.tensors();
        all.extend(f.targets.tensors.iter().map(|(_, t)| t.clone()));
        all
    };
    fed.iter().flat_map(of).collect()
}

/// Number of images.
pub(super) fn images_of(fed: &[Fed]) -> u64 {
    fed.iter().map(|f| f.pictures.count() as u64).sum()
}

/// What tells a step's launches from others: its tasks, what their losses are divided by, how far their pictures are resampled.
pub(super) fn numbers(tasks: &[usize], fed: &[Fed]) -> Vec<u64> {
    let by = fed.iter().map(|f| f.targets.denominator.to_bits());
    let taps = fed.iter().map(|f| match &f.pictures {
        Pictures::Whole(_) => 0,
        Pictures::Drawn(d) => d.recipe.taps as u64,
    });
    tasks
        .iter()
        .map(|&t| t as u64)
        .chain(by)
        .chain(taps)
        .collect()
}
