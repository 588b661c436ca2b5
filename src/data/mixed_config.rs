//! Keys of a data set that is made of others (systems.md 8.8).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::config::DataSetConfig;
use crate::settings::Describe;
use crate::{choices, settings};

/// Names of data sets of the configuration, and their tables once these are known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sources {
    /// As they are written.
    pub names: Vec<String>,
    /// Those that exist, in the same order.
    pub tables: Vec<(String, DataSetConfig)>,
}

impl Sources {
    /// Looks the names up; a set made of others is not found, so that none is made of itself.
    pub fn look_up(&mut self, all: &BTreeMap<String, DataSetConfig>) {
        let simple = |n: &String| Some((n.clone(), all.get(n).filter(|t| !t.is_mixed())?.clone()));
        self.tables = self.names.iter().filter_map(simple).collect();
    }
}

impl Describe for Sources {
    fn kind() -> String {
        Vec::<String>::kind()
    }
}

impl Serialize for Sources {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.names.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Sources, D::Error> {
        Ok(Sources {
            names: Vec::deserialize(d)?,
            tables: vec![],
        })
    }
}

choices! {
    /// What boxes of motorcycles and bicycles are among the classes of the mixed set.
    pub enum Cycles {
        /// Nothing: their riders are persons.
        Exclude = "exclude",
        /// Cars, as the released converter of BDD100K has it.
        Car = "car",
    }
}

choices! {
    /// What a class is to a source that has no objects of it.
    pub enum Unlabelled {
        /// Background, as in the reference: finding a sign in a picture of Waymo is punished.
        Background = "background",
        /// Unknown: the loss of background leaves the class out in pictures of that source.
        Mask = "mask",
    }
}

settings! {
    /// Of what a data set of `format = "mixed"` is made. `classes = ["mixed-3"]` are the detection classes of the mixed set of MTNAS: car,
    /// person, sign, out of the class names of BDD100K, Waymo and KITTI; for other classes `merge` maps those of the sources.
    pub struct MixedConfig {
        /// Data sets that it is made of, by their names in `[data]`: all with boxes, or all with label maps of the same classes.
        pub sources: Sources = Sources::default(),
        /// Images taken of the training split of a source, for example { waymo = 50000 }, drawn at random; all of a source that is not named.
        pub take: BTreeMap<String, usize> = BTreeMap::new(),
        /// Images taken of the held-out split of a source, likewise.
        pub take_val: BTreeMap<String, usize> = BTreeMap::new(),
        /// Images drawn at random out of all training splits together: they are the split "held-out", and "train" is without them.
        pub held_out: usize = 0,
        /// Seed of these draws. It is not the run's, so that runs share their splits; the paper's is unknown.
        pub seed: u64 = 0,
        /// What boxes of motorcycles and bicycles are, with `classes = ["mixed-3"]`. Whether they are cars in the paper's figures is unknown.
        pub cycles: Cycles = Cycles::Exclude,
        /// What a class is in pictures of a source that does not label it, as signs of Waymo.
        pub unlabelled: Unlabelled = Unlabelled::Background,
    }
}
