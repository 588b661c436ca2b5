//! Data from disk: one file a format, then splits, augmentation and the loader; a generator of made-up data sets; checks.
//!
//! Reading order: [`dataset`] (what a data set is), [`kitti`], [`cityscapes`], [`cifar`], [`image_folder`] (formats);
//! [`split`] (who sees what when), [`augment`], [`photometric`], [`transform`], [`input`] (what it looks like), [`batch`],
//! [`sight`] (a batch without its pixels), [`loader`];
//! [`source`] opens what a configuration names. [`synth`] makes data sets; [`check`], [`stats`], [`preview`] look at them;
//! [`convert`] writes them in another format.
//!
//! **Invariant.** No data set folder is ever written to, except by the generator, which only fills a folder of its own.

pub mod augment;
#[cfg(test)]
mod bad_input_tests;
pub mod batch;
pub mod cached;
pub mod check;
pub mod cifar;
pub mod cityscapes;
pub mod class_map;
pub mod config;
pub mod convert;
pub mod dataset;
pub mod image_file;
pub mod image_folder;
pub mod input;
mod jpeg_file;
pub mod kitti;
pub mod kitti_classes;
pub mod kitti_label;
pub mod loader;
#[cfg(test)]
mod mutation_tests;
pub mod normalise;
pub mod photometric;
mod png_file;
pub mod preview;
pub mod results;
pub mod sight;
pub mod source;
pub mod split;
pub mod stats;
pub mod synth;
pub mod text_file;
pub mod transform;
