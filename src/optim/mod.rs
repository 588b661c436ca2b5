//! Optimisers and schedules. They see parameters and gradients, never a network.

pub mod adam;
pub mod config;
pub mod device;
pub mod schedule;
pub mod sgd;

pub use adam::Adam;
pub use device::{Figures, Teller};
pub use schedule::rate;
pub use sgd::Sgd;
