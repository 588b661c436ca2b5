//! Networks: frames, supernets, derived networks.

pub mod config;
