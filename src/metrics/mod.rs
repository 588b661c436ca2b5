//! Metrics: pure functions from predictions and ground truth to figures.
//!
//! Every figure carries the name of its protocol or averaging rule, because the same boxes score differently under each.
//! An average over nothing is `None`, never NaN; a prediction that is not finite is an error that names it.

pub mod ap;
pub mod classification;
mod coco;
mod curve;
pub mod kitti;
pub mod segmentation;
mod sets;
mod voc;

pub use ap::{ApReport, AreaAp, ClassAp, CocoStats, PrPoint, Protocol, evaluate};
pub use classification::TopK;
pub use segmentation::{Average, Confusion};
