//! Tasks: what a head shall predict, its loss, and how its outputs become annotations.

pub mod config;
pub mod decode;
pub mod matching;
pub mod mining;
pub mod nms;
pub mod priors;
