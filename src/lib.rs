//! mtnas searches joint detection and segmentation networks: MTNAS (ACCV 2020) from data to report, on the CPU.
//!
//! Read from the bottom up: [`tensor`] and [`backend`] hold the bytes and the slice kernels, [`tape`] records operations, [`ops`]
//! are the operations (one file each, [`ops::table::OPS`] is their list), [`nn`] binds parameters, [`space`] is what may be searched,
//! [`model`] the networks, [`task`] what they predict, [`data`] what they learn from, [`search`] how, [`report`] what came out,
//! [`cli`] the commands.
//!
//! ```text
//! cli -> search -> model -> space -> nn -> ops -> tape -> tensor <-> backend
//!                                          |-> dist -> tensor
//!          |-> optim -> nn        |-> task -> ops, metrics
//!          |-> data -> tensor     |-> report, export
//! ```
//!
//! - **`tape` knows no op, `ops` no model, `space` no task.** Left may use right, never back; a test holds the table.
//! - **`unsafe` only under [`backend`].**
//! - **No op asks where it runs.** The reference path is the specification, the fast path must agree with it.
//! - **Architecture parameters and weights are two sets** with two optimisers; the two halves of the data are disjoint.
//! - **A genotype is plain data** that prints and parses to itself; a network is built from it alone.
//! - **Everything is a function of (seed, stage, step)**, for any number of threads, also after kill and resume.

pub mod annotation;
pub mod backend;
pub mod cli;
pub mod data;
pub mod dist;
pub mod dual;
pub mod error;
pub mod export;
pub mod files;
pub mod gradcheck;
pub mod infer;
pub mod metrics;
pub mod microbench;
pub mod model;
#[cfg(test)]
mod mutation;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod portable;
pub mod report;
pub mod rng;
pub mod rounding;
pub mod search;
pub mod settings;
pub mod space;
pub mod tape;
pub mod task;
pub mod tensor;

pub use error::{Code, Error, Result};
