//! Search: configuration, run directory, bi-level optimisation and the pipelines.

pub mod bilevel;
pub mod checkpoint;
pub mod config;
pub mod evaluate;
mod learner_io;
pub mod method;
pub mod model_file;
pub mod noise;
pub mod op_profile;
pub mod pipeline;
pub mod progress;
pub mod records_io;
pub mod run_dir;
pub mod samples;
pub mod session;
pub mod signals;
pub mod stage;
pub mod step_dump;
mod step_facts;
pub mod step_timing;
pub mod stop;
pub mod tensorboard;
pub mod workbench;
