//! Differentiable operations: one file each, always in the same order: formula, op, free function, reference, fast path,
//! registry entry. [`table::OPS`] is the only list.
//!
//! **Invariant:** no op knows a network, and no op asks which driver it runs on.

pub mod batch_norm;
pub mod conv2d;
pub mod conv_transpose2d;
pub mod pool;
pub mod reference;
pub mod relu;
pub mod subsample;
pub mod table;

pub use batch_norm::{BatchNormParams, BatchStats, batch_norm, batch_norm_eval};
pub use conv_transpose2d::conv_transpose2d;
pub use conv2d::{Conv2dParams, conv2d};
pub use pool::{avg_pool, max_pool};
pub use relu::relu;
pub use subsample::subsample;
