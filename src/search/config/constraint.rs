//! Keys of the constraint: what a searched network may cost.

use std::path::PathBuf;

use crate::{choices, settings};

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
        /// JSON file of measured operations, for `metric = "latency"` (`mtnas bench net NET --ops-table FILE` writes it).
        pub table: PathBuf = PathBuf::new(),
        /// Batch of the rows of the table that count: that of the deployed network.
        pub batch: usize = 1,
    }
}
