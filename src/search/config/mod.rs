//! The configuration of a run: one typed tree, read from TOML, printed back to TOML that reads to the same tree.
//!
//! Each layer declares its own part; this module joins them. Order of precedence: defaults, file, `-s key=value`, flags.

use std::collections::BTreeMap;

use crate::data::config::{DataSetConfig, InputConfig, LoaderConfig};
use crate::model::config::FrameConfig;
use crate::settings;
use crate::space::config::SpaceConfig;
use crate::task::config::TaskConfig;

mod run;
mod search;

pub use run::*;
pub use search::*;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Describe, Key};

    #[test]
    fn defaults_print_and_parse_to_themselves() {
        let mut config = Config::default();
        config.tasks.insert("det".into(), TaskConfig::default());
        config.data.insert("kitti".into(), DataSetConfig::default());
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config, "{text}");
        assert_eq!(Config::default(), toml::from_str("").unwrap());
    }

    #[test]
    fn every_key_is_documented() {
        fn walk(keys: &[Key], path: &str) {
            for k in keys {
                assert!(!k.doc.is_empty(), "{path}{} has no documentation", k.name);
                walk(&k.keys, &format!("{path}{}.", k.name));
            }
        }
        walk(&Config::keys(), "");
    }
}
