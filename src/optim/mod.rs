//! Optimisers and schedules. They see parameters and gradients, never a network.

pub mod adam;
pub mod config;
pub mod schedule;
pub mod sgd;

pub use adam::Adam;
pub use schedule::rate;
pub use sgd::Sgd;
