//! mtnas: searches joint detection and segmentation networks.

pub mod annotation;
pub mod backend;
pub mod cli;
pub mod data;
pub mod dual;
pub mod error;
pub mod export;
pub mod files;
pub mod gradcheck;
pub mod metrics;
pub mod model;
pub mod nn;
pub mod ops;
pub mod optim;
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
