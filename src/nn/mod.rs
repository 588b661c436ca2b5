//! Parameters, the pass that binds them to a tape, and layers made of ops.

pub mod builder;
pub mod layers;
pub mod linear;
pub mod map;
pub mod params;
pub mod pass;

pub use builder::{BatchNormOptions, Builder, Init, SearchedCell};
pub use layers::{Affine, BatchNorm, Bias, Conv2d, ConvTranspose2d};
pub use linear::Linear;
pub use map::{LayerCost, LayerKind, Map};
pub use params::{ParamId, ParamSet, Store};
pub use pass::{LayerRecord, Mode, Moving, Pass, PassGrads};
