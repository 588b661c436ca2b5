//! Search: configuration, run directory, bi-level optimisation and the pipelines.

pub mod checkpoint;
pub mod config;
