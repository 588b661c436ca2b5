//! Keys of the constraint: what a searched network may cost.

use std::fmt;
use std::path::PathBuf;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::settings::Describe;
use crate::{choices, settings};

/// Files: one, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files(pub Vec<PathBuf>);

impl Describe for Files {
    fn kind() -> String {
        "path, or list of path".into()
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|p| p.display().to_string()).collect();
        f.write_str(&all.join(", "))
    }
}

impl Serialize for Files {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => one.serialize(s),
            all => all.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Files, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Files;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or a list of paths")
            }
            fn visit_str<E>(self, one: &str) -> Result<Files, E> {
                Ok(Files(vec![one.into()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Files, A::Error> {
                let mut files = vec![];
                while let Some(one) = all.next_element::<String>()? {
                    files.push(one.into());
                }
                Ok(Files(files))
            }
        }
        d.deserialize_any(Either)
    }
}

choices! {
    /// What an operation costs.
    pub enum CostMetric {
        /// Multiply-adds of its convolutions for one image, counted.
        Macs = "macs",
        /// Microseconds, measured: those of `table`.
        Latency = "latency",
    }
}

settings! {
    /// A penalty on what the searched cells are expected to cost, added to the loss of the architecture steps
    /// ([`crate::search::constraint`]).
    pub struct ConstraintConfig {
        /// What an operation costs.
        pub metric: CostMetric = CostMetric::Macs,
        /// Weight of the penalty; 0: no constraint. The penalty is the mean cost over the architectures that the parameters stand for, over
        /// the cost of the uniform one, in which all operations and all edges of a node are equally likely; each stage has its own.
        pub weight: f64 = 0.0,
        /// Share of the uniform architecture's cost that is free: the penalty is then max(share / target - 1, 0); 0: every share counts.
        pub target: f64 = 0.0,
        /// JSON file of measured operations, for `metric = "latency"` (`mtnas bench net NET --ops-table FILE` writes it). A list where stages
        /// have networks or inputs of their own, as the pre-search has; of an operation that several have the first counts.
        pub table: Files = Files::default(),
        /// Batch of the rows of the table that count: that of the deployed network.
        pub batch: usize = 1,
    }
}
