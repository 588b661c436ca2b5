//! Made-up data sets: seeded driving scenes in the real formats, so that the whole program runs on a bare machine.
//!
//! [`scene`] composes a [`street`] of a [`town`], its [`light`] and road users; [`render`] draws it; [`mod@write`] lays out
//! KITTI, Cityscapes, an image folder and CIFAR-10. A picture is a function of (seed, part, split, number) alone.
//!
//! Colours of objects overlap with those of the background, towns of the held-out scenes never occur in training, and
//! conditions vary, so that shape, texture and place have to be learned; tests hold colour-only models to little.

pub mod car;
pub mod config;
pub mod crops;
pub mod cyclist;
pub mod facade;
pub mod geometry;
pub mod ground;
pub mod light;
pub mod noise;
pub mod paint;
pub mod person;
pub mod plant;
pub mod render;
pub mod scene;
pub mod sign;
pub mod street;
pub mod town;
pub mod users;
pub mod write;

pub use config::SynthConfig;
pub use write::generate;

#[cfg(test)]
mod tests;
