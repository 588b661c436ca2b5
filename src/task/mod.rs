//! (module doc)

pub mod config;
