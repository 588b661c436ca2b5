//! A network of cells below its heads: stem, backbone, and the branches or the classifier that the frame puts on them.

use std::collections::BTreeMap;

use super::backbone::Backbone;
use super::classifier::{Auxiliary, AuxiliaryKind, Classifier};
use super::config::{Frame, Stem as StemKind};
use super::network::Outputs;
use super::peer::Peer;
use super::release::{BranchMixtures, Release, Taps};
use super::spec::{Cells, NetworkSpec};
use super::stem::Stem;
use crate::error::{Code, Error, Result};
use crate::nn::{Builder, Map, Pass};
use crate::space::operation::State;
use crate::space::{CellKind, Mixture};
use crate::tape::Var;
use crate::task::config::TaskKind;

/// Stem, cells, and what is put on them.
#[derive(Debug)]
pub struct CellNetwork {
    stem: Stem,
    backbone: Backbone,
    branches: Branches,
    classifier: Option<Classifier>,
    auxiliary: Option<(Auxiliary, usize)>,
}

#[derive(Debug)]
enum Branches {
    Release(Box<Release>),
    Peer(Box<Peer>),
    None,
}

impl CellNetwork {
    /// Declares what `spec` asks for.
    ///
    /// # Errors
    /// `MT0105`, naming the layer or cell that does not fit.
    pub fn new(b: &mut Builder, spec: &NetworkSpec) -> Result<CellNetwork> {
        let frame = &spec.frame;
        let Some(kind) = cell_kind(&spec.backbone, frame.partial_k) else {
            let message = "the backbone is made of cells, it cannot be hand-crafted";
            return Err(Error::new(Code::NetworkDoesNotFit, message)
                .help("give it a genotype or search it"));
        };
        let (stem, maps) = Stem::new(b, frame, spec.height, spec.width)?;
        let reductions = frame.reduction_cells();
        let backbone = Backbone::new(b, maps, frame.channels, frame.cells, &reductions, &kind)?;
        let last = *backbone.outputs().last().expect("at least one cell");
        let dense = spec.is_dense();
        let branches = match frame.frame {
            _ if !dense => Branches::None,
            Frame::MtnasRelease => {
                let det = cell_kind(&spec.det, frame.partial_k);
                let seg = cell_kind(&spec.seg, frame.partial_k);
                let taps = Taps::of_cells(&reductions, [maps.s0, maps.s1], backbone.outputs())?;
                let release = Release::new(b, spec, &taps, det.as_ref(), seg.as_ref())?;
                Branches::Release(Box::new(release))
            }
            Frame::MtnasPeer => Branches::Peer(Box::new(Peer::new(b, spec, &backbone)?)),
            frame => {
                let message = format!("the frame {frame} has no head for boxes or pixels");
                return Err(Error::new(Code::NetworkDoesNotFit, message)
                    .help("use the frame mtnas-release or mtnas-peer"));
            }
        };
        let classifier = spec.classes.map(|n| Classifier::new(b, last, n));
        let auxiliary = match (spec.auxiliary, spec.classes) {
            (true, Some(classes)) => {
                let at = 2 * frame.cells / 3;
                let kind = match frame.stem {
                    StemKind::Cifar => AuxiliaryKind::Cifar,
                    StemKind::Imagenet => AuxiliaryKind::Imagenet,
                };
                let head = Auxiliary::new(b, backbone.outputs()[at], classes, kind)?;
                Some((head, at))
            }
            _ => None,
        };
        Ok(CellNetwork {
            stem,
            backbone,
            branches,
            classifier,
            auxiliary,
        })
    }

    /// The maps of the detection levels, finest first; empty without a detection head.
    pub fn levels(&self) -> &[Map] {
        match &self.branches {
            Branches::Release(r) => r.levels(),
            Branches::Peer(p) => p.levels(),
            Branches::None => &[],
        }
    }

    /// The maps that the cells of the backbone yield.
    pub fn outputs(&self) -> &[Map] {
        self.backbone.outputs()
    }

    /// The outputs of these tasks for images `(N, 3, H, W)`; the stem and the backbone are computed once. `mixtures`: weights of search
    /// cells, by group.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(
        &self,
        p: &Pass,
        image: &Var,
        tasks: &[TaskKind],
        spec: &NetworkSpec,
        mixtures: &BTreeMap<&str, Mixture>,
    ) -> Result<Vec<(TaskKind, Outputs)>> {
        let of = |cells: &Cells| match cells {
            Cells::Search { group, .. } => mixtures.get(group.as_str()),
            _ => None,
        };
        let stem = self.stem.forward(p, image)?;
        let cells = self.backbone.forward(p, &stem, of(&spec.backbone))?;
        let branch = BranchMixtures {
            det: of(&spec.det),
            seg: of(&spec.seg),
        };
        let dense = tasks.iter().any(|t| *t != TaskKind::Classification);
        let mut all = match &self.branches {
            Branches::Release(r) if dense => {
                let cells: Vec<&State> = cells.iter().collect();
                let reductions = spec.frame.reduction_cells();
                let taps = Taps::of_cells(&reductions, [&stem[0], &stem[1]], &cells)?;
                r.heads(p, &taps, tasks, branch)?
            }
            Branches::Peer(n) if dense => n.heads(p, &cells, tasks)?,
            _ => vec![],
        };
        if let Some(classifier) = &self.classifier
            && tasks.contains(&TaskKind::Classification)
        {
            let outputs = self.classify(p, classifier, &cells)?;
            all.push((TaskKind::Classification, outputs));
        }
        Ok(all)
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
