//! What a network is built from: frame, input size, cells, heads. Plain data.

use super::config::{Frame, FrameConfig};
use super::memory::Memory;
use crate::space::{ArchOptions, Genotype};
use crate::task::config::TaskKind;

/// The cells of the backbone or of a branch.
#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    /// Search cells whose architecture parameters are named `GROUP.alpha_normal` and so on. Two parts of the same group share
    /// them: in branch search the backbone carries the branch's.
    Search {
        /// Prefix of the parameters: `backbone`, `det` or `seg`.
        group: String,
        /// Candidates, edge normalisation, initial values.
        options: ArchOptions,
    },
    /// Cells of a genotype.
    Derived(Genotype),
    /// Layers by hand; for branches only (systems.md 3.5, end).
    HandCrafted,
}

impl Cells {
    /// Search cells of a group, with the frame's number of nodes and edge normalisation and all primitives.
    pub fn search(group: &str, frame: &FrameConfig) -> Cells {
        Cells::Search {
            group: group.into(),
            options: ArchOptions::new(frame.nodes, frame.edge_norm),
        }
    }
}

/// The detection head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetHead {
    /// Object classes, background not counted.
    pub classes: usize,
    /// Priors per position of each level, finest first; their number is that of the levels.
    pub anchors: Vec<usize>,
}

/// A network. A head that is `None` is not built, nor what only it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSpec {
    /// The frame: widths, number of cells, reductions.
    pub frame: FrameConfig,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Cells of the backbone.
    pub backbone: Cells,
    /// Detection branch (`mtnas-release`).
    pub det: Cells,
    /// Segmentation branch, which is also the top-down path of detection (`mtnas-release`).
    pub seg: Cells,
    /// Detection head.
    pub det_head: Option<DetHead>,
    /// Classes of the segmentation head.
    pub seg_classes: Option<usize>,
    /// Tasks of values for each pixel; each has a head like that of segmentation with its own number of planes.
    pub values: Vec<TaskKind>,
    /// Classes of the classifier over the last backbone map.
    pub classes: Option<usize>,
    /// Whether the classifier has an auxiliary head while it is trained (DARTS evaluation networks).
    pub auxiliary: bool,
    /// What its search cells keep for the way back.
    pub memory: Memory,
}

impl NetworkSpec {
    /// A frame with these backbone cells, hand-crafted branches and no head yet.
    pub fn new(frame: &FrameConfig, height: usize, width: usize, backbone: Cells) -> NetworkSpec {
        NetworkSpec {
            frame: frame.clone(),
            height,
            width,
            backbone,
            det: Cells::HandCrafted,
            seg: Cells::HandCrafted,
            det_head: None,
            seg_classes: None,
            values: vec![],
            classes: None,
            auxiliary: false,
            memory: Memory::Fast,
        }
    }

    /// The tasks that its heads serve: detection, segmentation, classification, then those of values.
    pub fn tasks(&self) -> Vec<TaskKind> {
        let all = [
            (self.det_head.is_some(), TaskKind::Detection),
            (self.seg_classes.is_some(), TaskKind::Segmentation),
            (self.classes.is_some(), TaskKind::Classification),
        ];
        let classes = all.into_iter().filter(|t| t.0).map(|t| t.1);
        classes.chain(self.values.iter().copied()).collect()
    }

    /// Whether it says something of places in the picture, not only of the whole.
    pub fn is_dense(&self) -> bool {
        self.det_head.is_some() || self.has_maps()
    }

    /// Whether it has a head that predicts something for each pixel.
    pub fn has_maps(&self) -> bool {
        self.seg_classes.is_some() || !self.values.is_empty()
    }

    /// Planes of the head that predicts a map for this task; 0 without one.
    pub fn planes(&self, task: TaskKind) -> usize {
        match task {
            TaskKind::Segmentation => self.seg_classes.unwrap_or(0),
            other if self.values.contains(&other) => other.planes().unwrap_or(0),
            _ => 0,
        }
    }

    /// The heads that predict a map: task and planes, segmentation first.
    pub fn map_heads(&self) -> Vec<(TaskKind, usize)> {
        let mut tasks = self.tasks();
        tasks.retain(|t| self.planes(*t) > 0);
        tasks.into_iter().map(|t| (t, self.planes(t))).collect()
    }

    /// Priors per position of each level of the frame.
    pub fn anchors(frame: &FrameConfig) -> Vec<usize> {
        let levels = frame.detection_levels();
        match frame.frame {
            Frame::MtnasPeer => vec![6; levels],
            _ => NetworkSpec::release_anchors(levels),
        }
    }

    /// The released detection head: 6 priors on six levels, 4 on the seventh; the first `levels` of them.
    pub fn release_anchors(levels: usize) -> Vec<usize> {
        [6, 6, 6, 6, 6, 6, 4].into_iter().take(levels).collect()
    }
}
