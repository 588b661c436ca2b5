//! Search: configuration, run directory, bi-level optimisation and the pipelines.

pub mod bilevel;
pub mod checkpoint;
mod closing;
pub mod config;
pub mod darts;
pub mod evaluate;
mod given;
mod learner_io;
pub mod method;
pub mod model_file;
#[cfg(test)]
mod mutation_tests;
pub mod noise;
pub mod op_profile;
pub mod p_darts;
pub mod pipeline;
pub mod planted;
pub mod progress;
pub mod random_search;
pub mod records_io;
pub mod run_dir;
pub mod samples;
pub mod session;
pub mod signals;
pub mod stage;
pub mod stage_record;
pub mod step_dump;
mod step_facts;
mod step_recorder;
pub mod step_timing;
mod step_workload;
pub mod stop;
pub mod tensorboard;
pub mod workbench;
