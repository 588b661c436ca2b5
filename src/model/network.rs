//! A whole network, of cells or by hand, built from a [`NetworkSpec`] alone.

use std::collections::{BTreeMap, BTreeSet};

use super::cells::CellNetwork;
use super::config::Frame;
use super::cost::Cost;
use super::hand::HandCrafted;
use super::spec::{Cells, NetworkSpec};
use crate::error::{Code, Error, Result};
use crate::nn::{BatchNormOptions, Builder, Map, Pass, SearchedCell, Store};
use crate::space::random::OneHot;
use crate::space::{ArchGroup, Mixture};
use crate::tape::Var;
use crate::task::config::TaskKind;
use crate::tensor::{DType, Shape};

/// What a forward pass yields for one task.
#[derive(Debug, Clone)]
pub enum Outputs {
    /// Boxes, one row per prior: levels from fine to coarse, rows, columns, priors of a position.
    Detection {
        /// `(N, P, 4)` or `(N, P, 6)`: offsets of centre and size first.
        loc: Var,
        /// `(N, P, classes + 1)`: scores, background first.
        conf: Var,
    },
    /// `(N, classes, H, W)`: scores of every pixel.
    Segmentation(Var),
    /// `(N, planes, H, W)`: depth, normals, keypoints, edges of every pixel.
    Values(Var),
    /// Scores of an image.
    Classification {
        /// `(N, classes)`.
        logits: Var,
        /// `(N, classes)`: those of the auxiliary head, in training.
        auxiliary: Option<Var>,
    },
}

impl Outputs {
    /// What a task's loss and decoding read, in their order.
    pub fn vars(self) -> Vec<Var> {
        match self {
            Outputs::Detection { loc, conf } => vec![loc, conf],
            Outputs::Segmentation(y) | Outputs::Values(y) => vec![y],
            Outputs::Classification { logits, auxiliary } => {
                [Some(logits), auxiliary].into_iter().flatten().collect()
            }
        }
    }

    /// The map of a task.
    pub fn of_map(task: TaskKind, y: Var) -> Outputs {
        match task {
            TaskKind::Segmentation => Outputs::Segmentation(y),
            _ => Outputs::Values(y),
        }
    }
}

/// Where search cells take their mixing weights from.
#[derive(Debug, Clone, Copy)]
pub enum Mixing<'a> {
    /// The architecture parameters.
    Parameters,
    /// Given ones of the normal and the reduction cell, by group (weight-sharing random search).
    Fixed(&'a BTreeMap<String, [OneHot; 2]>),
}

#[derive(Debug)]
enum Body {
    Cells(Box<CellNetwork>),
    HandCrafted(Box<HandCrafted>),
}

/// A declared network. It holds no values: those are in the [`Store`] made with it.
#[derive(Debug)]
pub struct Network {
    spec: NetworkSpec,
    groups: Vec<ArchGroup>,
    body: Body,
    cost: Cost,
    /// Which of its search cells compute maps again.
    recomputes: Vec<bool>,
    searched: Vec<SearchedCell>,
}

impl Network {
    /// Builds a network and its parameters, initialised from `seed` and their names. `dtype` is that of the parameters, f32 or f64.
    ///
    /// # Errors
    /// `MT0105`, naming the layer or cell that does not fit, before anything is allocated.
    pub fn build(spec: &NetworkSpec, seed: u64, dtype: DType) -> Result<(Network, Store)> {
        let (network, builder) = Network::declare(spec)?;
        Ok((network, builder.finish(seed, dtype)))
    }

    /// As [`Network::build`], all values 0: for what depends on shapes alone.
    ///
    /// # Errors
    /// As [`Network::build`].
    pub fn blank(spec: &NetworkSpec, dtype: DType) -> Result<(Network, Store)> {
        let (network, builder) = Network::declare(spec)?;
        Ok((network, builder.blank(dtype)))
    }

    /// The tasks that its heads serve, as of [`NetworkSpec::tasks`].
    pub fn tasks(&self) -> Vec<TaskKind> {
        self.spec.tasks()
    }

    /// Checks a network and counts its cost without allocating it.
    ///
    /// # Errors
    /// As [`Network::build`].
    pub fn plan(spec: &NetworkSpec) -> Result<Network> {
        Ok(Network::declare(spec)?.0)
    }

    /// Names and shapes of the weights and of the running statistics that [`Network::build`] would allocate.
    ///
    /// # Errors
    /// As [`Network::build`].
    pub fn tensors(spec: &NetworkSpec) -> Result<Vec<(String, Shape)>> {
        Ok(Network::declare(spec)?.1.tensors())
    }

    fn declare(spec: &NetworkSpec) -> Result<(Network, Builder)> {
        let plain = Network::declare_with(spec, BTreeSet::new())?;
        let chosen = spec.memory.recomputed(plain.1.blocks());
        if chosen.is_empty() {
            return Ok(plain);
        }
        Network::declare_with(spec, chosen)
    }

    fn declare_with(spec: &NetworkSpec, recomputed: BTreeSet<usize>) -> Result<(Network, Builder)> {
        let frame = &spec.frame;
        let mut b = Builder::new();
        b.recomputed = recomputed;
        b.batch_norm = BatchNormOptions {
            eps: frame.bn_eps,
            momentum: frame.bn_momentum,
        };
        if frame.is_hand_crafted() {
            let body = Body::HandCrafted(Box::new(HandCrafted::new(&mut b, spec)?));
            return Ok(Network::with(spec, vec![], body, b));
        }
        let groups = declare_groups(&mut b, spec);
        let body = Body::Cells(Box::new(CellNetwork::new(&mut b, spec)?));
        Ok(Network::with(spec, groups, body, b))
    }

    fn with(
        spec: &NetworkSpec,
        groups: Vec<ArchGroup>,
        body: Body,
        b: Builder,
    ) -> (Network, Builder) {
        let network = Network {
            spec: spec.clone(),
            groups,
            body,
            cost: Cost::new(b.layers()),
            recomputes: (0..b.blocks().len())
                .map(|i| b.recomputed.contains(&i))
                .collect(),
            searched: b.searched().to_vec(),
        };
        (network, b)
    }

    /// What it was built from.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Parameters and multiply-adds, layer by layer.
    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    /// Whether each of its search cells computes on the way back what it would otherwise keep for it, in the order of their declaration:
    /// backbone, detection branch, segmentation branch.
    pub fn recomputes(&self) -> &[bool] {
        &self.recomputes
    }

    /// Its search cells in the order of their declaration: backbone, detection branch, segmentation branch.
    pub fn searched(&self) -> &[SearchedCell] {
        &self.searched
    }

    /// Its groups of architecture parameters; none in a derived network.
    pub fn groups(&self) -> &[ArchGroup] {
        &self.groups
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&ArchGroup> {
        self.groups.iter().find(|g| g.name() == name)
    }

    /// The maps of the detection levels, finest first; empty without a detection head.
    pub fn levels(&self) -> &[Map] {
        match &self.body {
            Body::Cells(n) => n.levels(),
            Body::HandCrafted(n) => n.levels(),
        }
    }

    /// The maps that the backbone's cells yield, or the trunk.
    pub fn backbone_maps(&self) -> &[Map] {
        match &self.body {
            Body::Cells(n) => n.outputs(),
            Body::HandCrafted(n) => n.outputs(),
        }
    }

    /// One task's outputs for images `(N, 3, H, W)`; only what they need is computed.
    ///
    /// # Errors
    /// `MT0403` when the network has no head for `task`; those of the ops.
    pub fn forward(&self, p: &Pass, image: &Var, task: TaskKind) -> Result<Outputs> {
        self.forward_with(p, image, task, Mixing::Parameters)
    }

    /// As [`Network::forward`], with the mixing weights of search cells from `mixing`. Independent layers run at the same time.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn forward_with(
        &self,
        p: &Pass,
        image: &Var,
        task: TaskKind,
        mixing: Mixing,
    ) -> Result<Outputs> {
        let all = self.forward_all(p, image, &[task], mixing)?;
        Ok(all.into_iter().next().expect("outputs of the one task"))
    }

    /// The outputs of several tasks for the same images, in the order of `tasks`: what their branches share, the backbone above all, is
    /// computed once. Every value is that of [`Network::forward_with`], bit for bit.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn forward_all(
        &self,
        p: &Pass,
        image: &Var,
        tasks: &[TaskKind],
        mixing: Mixing,
    ) -> Result<Vec<Outputs>> {
        p.deferred(|| self.record(p, image, tasks, mixing))
    }

    fn record(
        &self,
        p: &Pass,
        image: &Var,
        tasks: &[TaskKind],
        mixing: Mixing,
    ) -> Result<Vec<Outputs>> {
        let (spec, own) = (&self.spec, self.tasks());
        if let Some(task) = tasks.iter().find(|t| !own.contains(t)) {
            let what = format!("the network has no {task} head");
            return Err(Error::new(Code::Argument, what));
        }
        let found = match &self.body {
            Body::Cells(n) => n.forward(p, image, tasks, spec, &self.mixtures(p, mixing)?)?,
            Body::HandCrafted(n) => n.forward(p, image, tasks)?,
        };
        let of = |task: &TaskKind| found.iter().find(|f| f.0 == *task).map(|f| f.1.clone());
        let all = tasks.iter().map(|t| of(t).expect("a head of its own"));
        Ok(all.collect())
    }

    fn mixtures(&self, p: &Pass, mixing: Mixing) -> Result<BTreeMap<&str, Mixture>> {
        let dtype = |p: &Pass| {
            p.store()
                .arch
                .iter()
                .next()
                .map_or(DType::F32, |a| a.2.dtype())
        };
        let names = self.groups.iter().map(|g| g.name());
        let given = match mixing {
            Mixing::Parameters => {
                let groups: Vec<&ArchGroup> = self.groups.iter().collect();
                return Ok(names.zip(ArchGroup::mixtures(&groups, p)?).collect());
            }
            Mixing::Fixed(given) => given,
        };
        let fixed = |name| {
            let [normal, reduce] = given.get(name).ok_or_else(|| {
                Error::new(
                    Code::Argument,
                    format!("no mixing weights for group `{name}`"),
                )
            })?;
            Ok((name, Mixture::fixed(p, normal, reduce, dtype(p))))
        };
        names.map(fixed).collect()
    }
}

/// One group per name, in the order backbone, det, seg; branches only where the frame and its heads use them.
fn declare_groups(b: &mut Builder, spec: &NetworkSpec) -> Vec<ArchGroup> {
    let release = spec.frame.frame == Frame::MtnasRelease;
    let dense = spec.is_dense();
    let det = release && spec.det_head.is_some();
    let used = [
        (&spec.backbone, true),
        (&spec.det, det),
        (&spec.seg, release && dense),
    ];
    let mut groups: Vec<ArchGroup> = vec![];
    for (cells, used) in used {
        if let Cells::Search { group, options } = cells
            && used
            && !groups.iter().any(|g| g.name() == group)
        {
            groups.push(ArchGroup::new(b, group, options));
        }
    }
    groups
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
