//! Networks made by hand throughout: the baseline of the MTNAS release (systems.md 4) and the classifiers that trunks are published as.

use super::config::{Frame, TrunkKind};
use super::network::Outputs;
use super::release::{BranchMixtures, Release, Taps};
use super::spec::{Cells, NetworkSpec};
use super::trunk::{Trunk, TrunkClassifier};
use crate::error::{Code, Error, Result};
use crate::nn::{Builder, Map, Pass};
use crate::space::operation::State;
use crate::tape::Var;
use crate::task::config::TaskKind;

/// Scope of the trunk under branches: `trunk.layer1.0.conv1.weight`.
pub const TRUNK: &str = "trunk";

/// A trunk and what is put on it.
#[derive(Debug)]
pub struct HandCrafted {
    trunk: Trunk,
    head: Head,
    maps: Vec<Map>,
}

#[derive(Debug)]
enum Head {
    /// The hand-crafted branches of the release.
    Branches(Box<Release>),
    Classifier(TrunkClassifier),
    /// Nothing: the trunk is counted alone.
    None,
}

impl HandCrafted {
    /// Declares the trunk and the heads that `spec` asks for.
    ///
    /// # Errors
    /// `MT0105` for cells or heads that the frame does not have, an input that is not a multiple of 32, a map that would vanish.
    pub fn new(b: &mut Builder, spec: &NetworkSpec) -> Result<HandCrafted> {
        let frame = &spec.frame;
        let misfit =
            |what: String, help: &str| Err(Error::new(Code::NetworkDoesNotFit, what).help(help));
        let parts = [&spec.backbone, &spec.det, &spec.seg];
        if parts.iter().any(|c| **c != Cells::HandCrafted) {
            let what = format!("the frame {} has no cells", frame.frame);
            return misfit(what, "leave the genotype out, or use another frame");
        }
        let size = [spec.height, spec.width];
        let dense = spec.is_dense();
        match frame.frame {
            Frame::MtlResnet18 if spec.classes.is_none() => {
                let (trunk, maps) = b.scope(TRUNK, |b| Trunk::new(b, TrunkKind::Resnet18, size))?;
                let head = match dense {
                    true => {
                        Head::Branches(Box::new(Release::new(b, spec, &taps(&maps), None, None)?))
                    }
                    false => Head::None,
                };
                Ok(HandCrafted { trunk, head, maps })
            }
            Frame::Trunk if !dense => {
                let (trunk, maps) = Trunk::new(b, frame.trunk, size)?;
                let last = *maps.last().expect("a map");
                let classifier =
                    (spec.classes).map(|n| TrunkClassifier::new(b, frame.trunk, last, n));
                let head = classifier.transpose()?.map_or(Head::None, Head::Classifier);
                Ok(HandCrafted { trunk, head, maps })
            }
            Frame::MtlResnet18 => misfit(
                "the frame mtl-resnet18 has no classifier".into(),
                "use the frame trunk with `trunk = \"resnet18\"`",
            ),
            _ => misfit(
                format!("the frame {} only classifies", frame.frame),
                "use the frame mtl-resnet18 for detection, segmentation and values of pixels",
            ),
        }
    }

    /// The maps of the detection levels, finest first; empty without a detection head.
    pub fn levels(&self) -> &[Map] {
        match &self.head {
            Head::Branches(r) => r.levels(),
            _ => &[],
        }
    }

    /// The maps that the trunk yields, finest first.
    pub fn outputs(&self) -> &[Map] {
        &self.maps
    }

    /// The outputs of these tasks for images `(N, 3, H, W)`; the trunk is computed once.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(
        &self,
        p: &Pass,
        image: &Var,
        tasks: &[TaskKind],
    ) -> Result<Vec<(TaskKind, Outputs)>> {
        if tasks.is_empty() {
            return Ok(vec![]);
        }
        let maps = self.trunk.forward(p, image)?;
        Ok(match &self.head {
            Head::Branches(r) => {
                let states: Vec<State> = maps.into_iter().map(State::new).collect();
                let all: Vec<&State> = states.iter().collect();
                r.heads(p, &taps(&all), tasks, BranchMixtures::default())?
            }
            Head::Classifier(c) => {
                let logits = c.forward(p, maps.last().expect("a map"))?;
                let outputs = Outputs::Classification {
                    logits,
                    auxiliary: None,
                };
                vec![(TaskKind::Classification, outputs)]
            }
            Head::None => vec![],
        })
    }
}

/// What branches read of the five maps of a ResNet.
fn taps<T: Copy>(maps: &[T]) -> Taps<T> {
    Taps {
        half: maps[0],
        features: [maps[1], maps[2], maps[3], maps[4]],
        before_last: maps[3],
    }
}
