//! ONNX, the exchange format of networks: written and read without its compiler, from own declarations of its messages.

pub mod array;
pub mod builder;
pub mod decode;
pub mod evaluate;
mod lower;
mod operators;
pub mod proto;
pub mod read;
mod suppress;
pub mod write;

pub use decode::Decoding;
pub use write::{Batch, Options, to_onnx};

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod runtime_tests;
