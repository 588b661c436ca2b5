//! mtnas: searches joint detection and segmentation networks.

pub mod annotation;
pub mod data;
pub mod error;
pub mod metrics;
pub mod optim;
pub mod report;
pub mod rng;
pub mod search;
pub mod space;
pub mod task;

pub use error::{Code, Error, Result};
