//! Metrics: pure functions from predictions and ground truth to figures.
//!
//! Every figure carries the name of its protocol or averaging rule, because the same boxes score differently under each.
//! An average over nothing is `None`, never NaN; a prediction that is not finite is an error that names it.

pub mod ap;
pub mod classification;
mod coco;
pub mod cross_entropy;
mod curve;
pub mod figure;
pub mod kitti;
pub mod normals;
pub mod pixel_mean;
pub mod relative;
pub mod segmentation;
mod sets;
pub mod values;
mod voc;

pub use ap::{ApReport, AreaAp, ClassAp, CocoStats, PrPoint, Protocol, evaluate};
pub use classification::TopK;
pub use cross_entropy::PixelCrossEntropy;
pub use figure::{Figure, Unit};
pub use normals::NormalErrors;
pub use pixel_mean::PixelAverage;
pub use relative::{Compared, delta_m, delta_task};
pub use segmentation::{Average, Confusion};
pub use values::{AbsoluteError, DepthErrors};
