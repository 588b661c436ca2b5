//! Differentiable operations: one file each, always in the same order: formula, op, free function, reference, fast path,
//! registry entry. [`table::OPS`] is the only list.
//!
//! **Invariant:** no op knows a network, and no op asks which driver it runs on.

pub mod reference;
pub mod relu;
pub mod table;

pub use relu::relu;
