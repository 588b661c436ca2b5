//! Search: configuration, run directory, bi-level optimisation and the pipelines.

pub mod bilevel;
pub mod checkpoint;
pub mod config;
pub mod progress;
pub mod records_io;
pub mod run_dir;
pub mod signals;
pub mod tensorboard;
