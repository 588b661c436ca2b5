//! The configuration of a run: one typed tree, read from TOML, printed back to TOML that reads to the same tree.
//!
//! Each layer declares its own part; this module joins them. Order of precedence: defaults, file, `-s key=value`, flags.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::data::config::{DataSetConfig, InputConfig, LoaderConfig};
use crate::model::config::FrameConfig;
use crate::settings;
use crate::space::config::SpaceConfig;
use crate::task::config::{TaskConfig, TaskKind};

mod constraint;
mod diff;
pub mod explain;
mod overrides;
mod read;
mod run;
mod search;
mod source;
mod validate;

pub use constraint::*;
pub use diff::Change;
pub use overrides::Override;
pub use run::*;
pub use search::*;
pub use validate::Problem;

settings! {
    /// Everything a run depends on.
    pub struct Config {
        /// Version of this format.
        pub version: u64 = 1,
        /// Seed, threads, precision.
        pub run: RunConfig = RunConfig::default(),
        /// What the network sees.
        pub input: InputConfig = InputConfig::default(),
        /// Tasks by name; steps alternate in the order of the names.
        pub tasks: BTreeMap<String, TaskConfig> = BTreeMap::new(),
        /// Data sets by name.
        pub data: BTreeMap<String, DataSetConfig> = BTreeMap::new(),
        /// The threads that read ahead.
        pub loader: LoaderConfig = LoaderConfig::default(),
        /// The network around the cells.
        pub model: FrameConfig = FrameConfig::default(),
        /// What may stand on an edge of a cell.
        pub space: SpaceConfig = SpaceConfig::default(),
        /// The search.
        pub search: SearchConfig = SearchConfig::default(),
        /// Training of the derived network.
        pub finetune: FinetuneConfig = FinetuneConfig::default(),
        /// Evaluation.
        pub eval: EvalConfig = EvalConfig::default(),
        /// Checkpoints.
        pub checkpoint: CheckpointConfig = CheckpointConfig::default(),
        /// Records and progress.
        pub log: LogConfig = LogConfig::default(),
    }
}

impl Config {
    /// The same configuration with every value that follows from others written out: reductions, detection levels, the tables
    /// of each task's kind. Idempotent.
    pub fn resolved(mut self) -> Config {
        if !self.model.is_hand_crafted() {
            self.model.reductions = Some(self.model.reduction_cells());
        }
        if !self.model.classifies() {
            // Without detection nothing reads the coarse levels, which would ask for large inputs.
            let detects = self.tasks.is_empty() || self.task(TaskKind::Detection).is_some();
            let all = self.model.detection_levels();
            self.model.det_levels = match self.model.det_levels {
                None if !detects => Some(all.min(4)),
                _ => Some(all),
            };
        }
        let simple = self.data.clone();
        for set in self.data.values_mut() {
            set.mixed.sources.look_up(&simple);
        }
        for task in self.tasks.values_mut() {
            match task.kind {
                TaskKind::Detection => _ = task.detection.get_or_insert_default(),
                TaskKind::Segmentation => _ = task.segmentation.get_or_insert_default(),
                TaskKind::Classification => _ = task.classification.get_or_insert_default(),
                _ => _ = task.values.get_or_insert_default(),
            }
        }
        self
    }

    /// TOML text that reads to this configuration.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration holds only what TOML can say")
    }

    /// SHA-256 of [`Config::to_toml`], in hexadecimal: the identity of what a run computes.
    pub fn sha256(&self) -> String {
        Sha256::digest(self.to_toml())
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    /// Name and table of the task of this kind, if there is one.
    pub fn task(&self, kind: TaskKind) -> Option<(&str, &TaskConfig)> {
        self.tasks
            .iter()
            .find(|(_, t)| t.kind == kind)
            .map(|(n, t)| (n.as_str(), t))
    }
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
