//! Parameters, the pass that binds them to a tape, and layers made of ops.

pub mod builder;
pub mod layers;
pub mod params;
pub mod pass;

pub use builder::{Builder, Init};
pub use layers::{BatchNorm, Conv2d, ConvTranspose2d};
pub use params::{ParamId, ParamSet, Store};
pub use pass::{LayerRecord, Mode, Pass, PassGrads};
