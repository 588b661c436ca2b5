//! A whole network: stem, backbone, branches and heads, built from a [`NetworkSpec`] alone.

use std::collections::{BTreeMap, BTreeSet};

use super::backbone::Backbone;
use super::classifier::{Auxiliary, AuxiliaryKind, Classifier};
use super::config::{Frame, Stem as StemKind};
use super::cost::Cost;
use super::peer::Peer;
use super::release::{BranchMixtures, Release};
use super::spec::{Cells, NetworkSpec};
use super::stem::Stem;
use crate::error::{Code, Error, Result};
use crate::nn::{BatchNormOptions, Builder, Map, Pass, Store};
use crate::space::operation::State;
use crate::space::random::OneHot;
use crate::space::{ArchGroup, CellKind, Mixture};
use crate::tape::Var;
use crate::task::config::TaskKind;
use crate::tensor::DType;

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
    /// Scores of an image.
    Classification {
        /// `(N, classes)`.
        logits: Var,
        /// `(N, classes)`: those of the auxiliary head, in training.
        auxiliary: Option<Var>,
    },
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
enum Branches {
    Release(Box<Release>),
    Peer(Box<Peer>),
    None,
}

/// A declared network. It holds no values: those are in the [`Store`] made with it.
#[derive(Debug)]
pub struct Network {
    spec: NetworkSpec,
    groups: Vec<ArchGroup>,
    stem: Stem,
    backbone: Backbone,
    branches: Branches,
    classifier: Option<Classifier>,
    auxiliary: Option<(Auxiliary, usize)>,
    cost: Cost,
    /// Which of its search cells compute maps again.
    recomputes: Vec<bool>,
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

    /// The tasks that its heads serve: detection, segmentation, classification.
    pub fn tasks(&self) -> Vec<TaskKind> {
        let s = &self.spec;
        let all = [
            (s.det_head.is_some(), TaskKind::Detection),
            (s.seg_classes.is_some(), TaskKind::Segmentation),
            (s.classes.is_some(), TaskKind::Classification),
        ];
        all.into_iter().filter(|t| t.0).map(|t| t.1).collect()
    }

    /// Checks a network and counts its cost without allocating it.
    ///
    /// # Errors
    /// As [`Network::build`].
    pub fn plan(spec: &NetworkSpec) -> Result<Network> {
        Ok(Network::declare(spec)?.0)
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
        let Some(kind) = cell_kind(&spec.backbone, frame.partial_k) else {
            let message = "the backbone is made of cells, it cannot be hand-crafted";
            return Err(Error::new(Code::NetworkDoesNotFit, message)
                .help("give it a genotype or search it"));
        };
        let groups = declare_groups(&mut b, spec);
        let (stem, maps) = Stem::new(&mut b, frame, spec.height, spec.width)?;
        let reductions = frame.reduction_cells();
        let backbone = Backbone::new(
            &mut b,
            maps,
            frame.channels,
            frame.cells,
            &reductions,
            &kind,
        )?;
        let last = *backbone.outputs().last().expect("at least one cell");
        let dense = spec.det_head.is_some() || spec.seg_classes.is_some();
        let branches = match frame.frame {
            _ if !dense => Branches::None,
            Frame::MtnasRelease => {
                let det = cell_kind(&spec.det, frame.partial_k);
                let seg = cell_kind(&spec.seg, frame.partial_k);
                let release =
                    Release::new(&mut b, spec, maps, &backbone, det.as_ref(), seg.as_ref())?;
                Branches::Release(Box::new(release))
            }
            Frame::MtnasPeer => Branches::Peer(Box::new(Peer::new(&mut b, spec, &backbone)?)),
            Frame::Classification => {
                let message = "the classification frame has no detection or segmentation head";
                return Err(Error::new(Code::NetworkDoesNotFit, message)
                    .help("use the frame mtnas-release or mtnas-peer"));
            }
        };
        let classifier = spec.classes.map(|n| Classifier::new(&mut b, last, n));
        let auxiliary = match (spec.auxiliary, spec.classes) {
            (true, Some(classes)) => {
                let at = 2 * frame.cells / 3;
                let kind = match frame.stem {
                    StemKind::Cifar => AuxiliaryKind::Cifar,
                    StemKind::Imagenet => AuxiliaryKind::Imagenet,
                };
                Some((
                    Auxiliary::new(&mut b, backbone.outputs()[at], classes, kind)?,
                    at,
                ))
            }
            _ => None,
        };
        let network = Network {
            spec: spec.clone(),
            groups,
            stem,
            backbone,
            branches,
            classifier,
            auxiliary,
            cost: Cost::new(b.layers()),
            recomputes: (0..b.blocks().len())
                .map(|i| b.recomputed.contains(&i))
                .collect(),
        };
        Ok((network, b))
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
        match &self.branches {
            Branches::Release(r) => r.levels(),
            Branches::Peer(p) => p.levels(),
            Branches::None => &[],
        }
    }

    /// The maps that the backbone's cells yield.
    pub fn backbone_maps(&self) -> &[Map] {
        self.backbone.outputs()
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
        p.deferred(|| self.record(p, image, task, mixing))
    }

    fn record(&self, p: &Pass, image: &Var, task: TaskKind, mixing: Mixing) -> Result<Outputs> {
        let mixtures = self.mixtures(p, mixing)?;
        let of = |cells: &Cells| match cells {
            Cells::Search { group, .. } => mixtures.get(group.as_str()),
            _ => None,
        };
        let stem = self.stem.forward(p, image)?;
        let cells = self.backbone.forward(p, &stem, of(&self.spec.backbone))?;
        let branch = BranchMixtures {
            det: of(&self.spec.det),
            seg: of(&self.spec.seg),
        };
        match (task, &self.branches, &self.classifier) {
            (TaskKind::Detection, Branches::Release(r), _) if self.spec.det_head.is_some() => {
                let (loc, conf) = r.detect(p, &stem, &cells, branch)?;
                Ok(Outputs::Detection { loc, conf })
            }
            (TaskKind::Detection, Branches::Peer(n), _) if self.spec.det_head.is_some() => {
                let (loc, conf) = n.detect(p, &cells)?;
                Ok(Outputs::Detection { loc, conf })
            }
            (TaskKind::Segmentation, Branches::Release(r), _)
                if self.spec.seg_classes.is_some() =>
            {
                Ok(Outputs::Segmentation(r.segment(p, &stem, &cells, branch)?))
            }
            (TaskKind::Segmentation, Branches::Peer(n), _) if self.spec.seg_classes.is_some() => {
                Ok(Outputs::Segmentation(n.segment(p, &cells)?))
            }
            (TaskKind::Classification, _, Some(classifier)) => self.classify(p, classifier, &cells),
            _ => Err(Error::new(
                Code::Argument,
                format!("the network has no {task} head"),
            )),
        }
    }

    fn classify(&self, p: &Pass, classifier: &Classifier, cells: &[State]) -> Result<Outputs> {
        let last = cells.last().expect("at least one cell");
        let auxiliary = match &self.auxiliary {
            Some((head, at)) if p.mode.training => Some(head.forward(p, cells[*at].x())?),
            _ => None,
        };
        Ok(Outputs::Classification {
            logits: classifier.forward(p, last.x())?,
            auxiliary,
        })
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

fn cell_kind(cells: &Cells, partial_k: usize) -> Option<CellKind> {
    match cells {
        Cells::Search { options, .. } => Some(CellKind::Search {
            partial_k,
            options: options.clone(),
        }),
        Cells::Derived(genotype) => Some(CellKind::Derived(genotype.clone())),
        Cells::HandCrafted => None,
    }
}

/// One group per name, in the order backbone, det, seg; branches only where the frame and its heads use them.
fn declare_groups(b: &mut Builder, spec: &NetworkSpec) -> Vec<ArchGroup> {
    let release = spec.frame.frame == Frame::MtnasRelease;
    let dense = spec.det_head.is_some() || spec.seg_classes.is_some();
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
