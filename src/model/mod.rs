//! Networks: frames, supernets, derived networks. A network is built from a [`NetworkSpec`], plain data, alone.

pub mod backbone;
mod cells;
pub mod classifier;
pub mod coarse_levels;
pub mod config;
mod conv_norm;
pub mod cost;
pub mod expected;
mod hand;
pub mod memory;
pub mod names;
pub mod network;
pub mod peer;
pub mod preset;
pub mod release;
pub mod spec;
pub mod stem;
pub mod top_down;
pub mod trunk;
pub mod work;

pub use cost::{Cost, Count};
pub use expected::{ExpectedCost, Place, searched_places};
pub use memory::Memory;
pub use network::{Mixing, Network, Outputs};
pub use spec::{Cells, DetHead, NetworkSpec};
